//! Settings of the site.

use atelier_domain::Timestamp;

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::args;

statements! {
    SETTING_GET = "SELECT value FROM site_settings WHERE name = $1";
    SETTING_SET = "INSERT INTO site_settings (name, value, updated_at) VALUES ($1, $2, $3)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
    SETTING_KEEP = "INSERT INTO site_settings (name, value, updated_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING";
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

/// The value of a setting, for a decision in the same transaction.
pub async fn setting_in_tx(tx: &mut Tx<'_>, setting: Setting) -> Result<Option<String>, StoreError> {
    tx.first(SETTING_GET, args![setting.name()]).await?.map(|row| row.text("value")).transpose()
}

pub async fn setting_set_in_tx(
    tx: &mut Tx<'_>,
    setting: Setting,
    value: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.run(SETTING_SET, args![setting.name(), value, now]).await.map(|_| ())
}

impl Store {
    pub async fn setting(&self, setting: Setting) -> Result<Option<String>, StoreError> {
        self.fetch_first(SETTING_GET, args![setting.name()]).await?.map(|row| row.text("value")).transpose()
    }

    pub async fn setting_set(&self, setting: Setting, value: String, now: Timestamp) -> Result<(), StoreError> {
        self.write("setting_set", move |tx| Box::pin(async move { setting_set_in_tx(tx, setting, &value, now).await }))
            .await
    }

    /// The id of this deployment, made when it is first asked for.
    pub async fn deployment_id(&self, now: Timestamp) -> Result<String, StoreError> {
        if let Some(id) = self.setting(Setting::DeploymentId).await? {
            return Ok(id);
        }
        self.write("deployment_id", move |tx| {
            Box::pin(async move {
                let (name, id) = (Setting::DeploymentId.name(), uuid::Uuid::now_v7().to_string());
                tx.run(SETTING_KEEP, args![name, id, now]).await?;
                tx.one(SETTING_GET, args![name]).await?.text("value")
            })
        })
        .await
    }

    /// The time to live that chats ask for when they create a workspace; 0 = the template decides.
    pub async fn setting_workspace_ttl_ms(&self) -> Result<i64, StoreError> {
        match self.setting(Setting::WorkspaceTtlMs).await? {
            None => Ok(0),
            Some(value) => value.parse().map_err(|_| StoreError::unreadable("site_settings.value")),
        }
    }
}
