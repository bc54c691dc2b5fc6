//! Settings of the site, repeats of requests, and the audit log.

use atelier_domain::{OrganizationId, Timestamp, UserId};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::args;

/// How long the answer of a request with an idempotency key is kept.
const IDEMPOTENCY_KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

statements! {
    SETTING_GET = "SELECT value FROM site_settings WHERE name = $1";
    SETTING_SET = "INSERT INTO site_settings (name, value, updated_at) VALUES ($1, $2, $3)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
    IDEMPOTENCY_EXPIRE = "DELETE FROM idempotency_keys WHERE created_at < $1";
    IDEMPOTENCY_INSERT = "INSERT INTO idempotency_keys (scope, body_hash, created_at) VALUES ($1, $2, $3)
        ON CONFLICT (scope) DO NOTHING";
    IDEMPOTENCY_GET = "SELECT body_hash, status, body FROM idempotency_keys WHERE scope = $1";
    IDEMPOTENCY_FINISH = "UPDATE idempotency_keys SET status = $2, body = $3 WHERE scope = $1";
    IDEMPOTENCY_FORGET = "DELETE FROM idempotency_keys WHERE scope = $1 AND status IS NULL";
    IDEMPOTENCY_FORGET_OPEN = "DELETE FROM idempotency_keys WHERE status IS NULL";
    AUDIT_INSERT = "INSERT INTO audit_logs (id, created_at, user_id, username, actor_kind, action, resource_type, resource_id,
        resource_target, organization_id, outcome, diff, ip, user_agent, request_id, status_code)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
}

/// What the site's owners set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Text; empty = the built-in prompt.
    SystemPrompt,
    /// `true` or `false`.
    DesktopEnabled,
    /// Milliseconds; 0 = the template decides.
    WorkspaceTtlMs,
    /// Id of this deployment.
    DeploymentId,
}

impl Setting {
    const fn name(self) -> &'static str {
        match self {
            Self::SystemPrompt => "system_prompt",
            Self::DesktopEnabled => "desktop_enabled",
            Self::WorkspaceTtlMs => "workspace_ttl_ms",
            Self::DeploymentId => "deployment_id",
        }
    }
}

/// What an idempotency key has led to so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// The caller is the first: carry the request out, then finish or forget.
    Begin,
    /// The same request was answered like this.
    Replay {
        status: u16,
        body: String,
    },
    InProgress,
    /// The key was used with another body.
    OtherBody,
}

/// An entry of the audit log.
#[derive(Clone, Debug)]
pub struct AuditNew {
    pub user_id: Option<UserId>,
    pub username: String,
    pub actor_kind: String,
    pub action: String,
    pub resource_type: String,
    pub resource_id: String,
    pub resource_target: String,
    pub organization_id: Option<OrganizationId>,
    pub outcome: &'static str,
    /// JSON object: field to `{old, new}` or `{secret: true}`.
    pub diff: String,
    pub ip: String,
    pub user_agent: String,
    pub request_id: String,
    pub status_code: i32,
}

/// The value of a setting, for a decision in the same transaction.
pub async fn setting_in_tx(
    tx: &mut Tx<'_>,
    setting: Setting,
) -> Result<Option<String>, StoreError> {
    tx.first(SETTING_GET, args![setting.name()])
        .await?
        .map(|row| row.text("value"))
        .transpose()
}

pub async fn audit_insert_in_tx(
    tx: &mut Tx<'_>,
    entry: AuditNew,
    now: Timestamp,
) -> Result<(), StoreError> {
    let args = args![
        uuid::Uuid::now_v7(),
        now,
        entry.user_id,
        entry.username,
        entry.actor_kind,
        entry.action,
        entry.resource_type,
        entry.resource_id,
        entry.resource_target,
        entry.organization_id,
        entry.outcome,
        entry.diff,
        entry.ip,
        entry.user_agent,
        entry.request_id,
        entry.status_code,
    ];
    tx.run(AUDIT_INSERT, args).await.map(|_| ())
}

impl Store {
    pub async fn setting(&self, setting: Setting) -> Result<Option<String>, StoreError> {
        self.fetch_first(SETTING_GET, args![setting.name()])
            .await?
            .map(|row| row.text("value"))
            .transpose()
    }

    pub async fn setting_set(
        &self,
        setting: Setting,
        value: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("setting_set", move |tx| {
            Box::pin(async move {
                tx.run(SETTING_SET, args![setting.name(), value, now])
                    .await
                    .map(|_| ())
            })
        })
        .await
    }

    /// The time to live that chats ask for when they create a workspace; 0 = the template decides.
    pub async fn setting_workspace_ttl_ms(&self) -> Result<i64, StoreError> {
        Ok(self
            .setting(Setting::WorkspaceTtlMs)
            .await?
            .and_then(|value| value.parse().ok())
            .unwrap_or(0))
    }

    /// Looks a request up by its key, or takes the key for it.
    pub async fn idempotency_begin(
        &self,
        scope: [u8; 32],
        body_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Idempotency, StoreError> {
        self.write("idempotency_begin", move |tx| {
            Box::pin(async move {
                let kept_since = now.checked_sub(IDEMPOTENCY_KEPT).unwrap_or(now);
                tx.run(IDEMPOTENCY_EXPIRE, args![kept_since]).await?;
                let args = args![scope.to_vec(), body_hash.to_vec(), now];
                if tx.run(IDEMPOTENCY_INSERT, args).await? > 0 {
                    return Ok(Idempotency::Begin);
                }
                let row = tx.one(IDEMPOTENCY_GET, args![scope.to_vec()]).await?;
                if row.bytes("body_hash")? != body_hash {
                    return Ok(Idempotency::OtherBody);
                }
                Ok(match row.int32_opt("status")? {
                    None => Idempotency::InProgress,
                    Some(status) => Idempotency::Replay {
                        status: u16::try_from(status).unwrap_or(200),
                        body: row.text_opt("body")?.unwrap_or_default(),
                    },
                })
            })
        })
        .await
    }

    /// Keeps a good answer.
    pub async fn idempotency_finish(
        &self,
        scope: [u8; 32],
        status: u16,
        body: String,
    ) -> Result<(), StoreError> {
        self.write("idempotency_finish", move |tx| {
            Box::pin(async move {
                tx.run(
                    IDEMPOTENCY_FINISH,
                    args![scope.to_vec(), i32::from(status), body],
                )
                .await
                .map(|_| ())
            })
        })
        .await
    }

    /// Frees the key of a request that was refused: it may be tried again.
    pub async fn idempotency_forget(&self, scope: [u8; 32]) -> Result<(), StoreError> {
        self.write("idempotency_forget", move |tx| {
            Box::pin(async move {
                tx.run(IDEMPOTENCY_FORGET, args![scope.to_vec()])
                    .await
                    .map(|_| ())
            })
        })
        .await
    }

    /// Frees the keys of requests that died with their process. For the start of a single process.
    pub async fn idempotency_forget_open_for_system(&self) -> Result<(), StoreError> {
        self.write("idempotency_forget_open", move |tx| {
            Box::pin(async move {
                tx.run(IDEMPOTENCY_FORGET_OPEN, Vec::new())
                    .await
                    .map(|_| ())
            })
        })
        .await
    }

    pub async fn audit(&self, entry: AuditNew, now: Timestamp) -> Result<(), StoreError> {
        self.write("audit", move |tx| {
            Box::pin(async move { audit_insert_in_tx(tx, entry, now).await })
        })
        .await
    }
}
