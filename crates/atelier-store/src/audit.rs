//! The audit log: entries are only ever added, in the transaction of the change they tell of.

use atelier_domain::{ChatId, OrganizationId, Timestamp, UserId, named_enum};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::{DbRow, args};

statements! {
    AUDIT_INSERT = "INSERT INTO audit_logs (id, created_at, user_id, username, actor_kind, action, resource_type, resource_id,
        resource_target, organization_id, outcome, diff, ip, user_agent, request_id, status_code, via_chat_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
    AUDIT_LIST = "SELECT * FROM audit_logs ORDER BY created_at DESC, id DESC LIMIT $1 OFFSET $2";
}

named_enum! {
    AuditOutcome { Success = "success", Denied = "denied" }
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
    /// The chat whose agent did it, as its owner.
    pub via_chat_id: Option<ChatId>,
    pub outcome: AuditOutcome,
    /// JSON object: field to `{old, new}` or `{secret: true}`.
    pub diff: String,
    pub ip: String,
    pub user_agent: String,
    pub request_id: String,
    pub status_code: i32,
}

/// An entry as it was written.
#[derive(Clone, Debug)]
pub struct AuditRow {
    pub id: uuid::Uuid,
    pub created_at: Timestamp,
    pub entry: AuditNew,
}

impl AuditRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            created_at: row.time("created_at")?,
            entry: AuditNew {
                user_id: row.id_opt("user_id")?,
                username: row.text("username")?,
                actor_kind: row.text("actor_kind")?,
                action: row.text("action")?,
                resource_type: row.text("resource_type")?,
                resource_id: row.text("resource_id")?,
                resource_target: row.text("resource_target")?,
                organization_id: row.id_opt("organization_id")?,
                via_chat_id: row.id_opt("via_chat_id")?,
                outcome: row.name("outcome", AuditOutcome::from_name)?,
                diff: row.text("diff")?,
                ip: row.text("ip")?,
                user_agent: row.text("user_agent")?,
                request_id: row.text("request_id")?,
                status_code: row.int32("status_code")?,
            },
        })
    }
}

/// Adds an entry.
pub async fn audit_insert_in_tx(tx: &mut Tx<'_>, entry: AuditNew, now: Timestamp) -> Result<(), StoreError> {
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
        entry.outcome.as_str(),
        entry.diff,
        entry.ip,
        entry.user_agent,
        entry.request_id,
        entry.status_code,
        entry.via_chat_id,
    ];
    tx.run(AUDIT_INSERT, args).await.map(|_| ())
}

impl Store {
    pub async fn audit(&self, entry: AuditNew, now: Timestamp) -> Result<(), StoreError> {
        self.write("audit", move |tx| Box::pin(async move { audit_insert_in_tx(tx, entry, now).await })).await
    }

    /// Entries, newest first.
    pub async fn audit_list_for_system(&self, limit: i64, offset: i64) -> Result<Vec<AuditRow>, StoreError> {
        self.fetch_all(AUDIT_LIST, args![limit, offset]).await?.iter().map(AuditRow::read).collect()
    }
}
