//! Settings of the site.

use atelier_domain::{ModelConfigId, Timestamp, UserId};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::args;

statements! {
    SETTING_GET = "SELECT value FROM site_settings WHERE name = $1";
    SETTING_SET = "INSERT INTO site_settings (name, value, updated_at) VALUES ($1, $2, $3)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
    SETTING_DELETE = "DELETE FROM site_settings WHERE name = $1";
    SETTING_KEEP = "INSERT INTO site_settings (name, value, updated_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING";
    // models that are gone stay away; their numbers come back with them
    THRESHOLDS = "SELECT t.model_config_id, t.threshold_percent FROM user_compaction_thresholds t
        JOIN model_configs m ON m.id = t.model_config_id AND NOT m.deleted WHERE t.user_id = $1 ORDER BY t.model_config_id";
    THRESHOLD_SET = "INSERT INTO user_compaction_thresholds (user_id, model_config_id, threshold_percent) VALUES ($1, $2, $3)
        ON CONFLICT (user_id, model_config_id) DO UPDATE SET threshold_percent = excluded.threshold_percent";
    THRESHOLD_DELETE = "DELETE FROM user_compaction_thresholds WHERE user_id = $1 AND model_config_id = $2";
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
    /// What the first user is created with. It goes when there is one.
    SetupCode,
}

impl Setting {
    const fn name(self) -> &'static str {
        match self {
            Self::SystemPrompt => "system_prompt",
            Self::DesktopEnabled => "desktop_enabled",
            Self::WorkspaceTtlMs => "workspace_ttl_ms",
            Self::DeploymentId => "deployment_id",
            Self::SetupCode => "setup_code",
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

pub(crate) async fn setting_delete_in_tx(tx: &mut Tx<'_>, setting: Setting) -> Result<(), StoreError> {
    tx.run(SETTING_DELETE, args![setting.name()]).await.map(|_| ())
}

impl Store {
    /// The user's own compaction thresholds, in percent of the context, by model.
    pub async fn compaction_thresholds(&self, user: UserId) -> Result<Vec<(ModelConfigId, i32)>, StoreError> {
        let rows = self.fetch_all(THRESHOLDS, args![user]).await?;
        rows.iter().map(|row| Ok((row.id("model_config_id")?, row.int32("threshold_percent")?))).collect()
    }

    pub async fn compaction_threshold_set(
        &self,
        user: UserId,
        model: ModelConfigId,
        percent: i32,
    ) -> Result<(), StoreError> {
        self.write("compaction_threshold_set", move |tx| {
            Box::pin(async move { tx.run(THRESHOLD_SET, args![user, model, percent]).await.map(|_| ()) })
        })
        .await
    }

    pub async fn compaction_threshold_delete(&self, user: UserId, model: ModelConfigId) -> Result<(), StoreError> {
        self.write("compaction_threshold_delete", move |tx| {
            Box::pin(async move { tx.run(THRESHOLD_DELETE, args![user, model]).await.map(|_| ()) })
        })
        .await
    }

    pub async fn setting(&self, setting: Setting) -> Result<Option<String>, StoreError> {
        self.fetch_first(SETTING_GET, args![setting.name()]).await?.map(|row| row.text("value")).transpose()
    }

    pub async fn setting_set(&self, setting: Setting, value: String, now: Timestamp) -> Result<(), StoreError> {
        self.write("setting_set", move |tx| Box::pin(async move { setting_set_in_tx(tx, setting, &value, now).await }))
            .await
    }

    /// The id of this deployment, made when it is first asked for.
    pub async fn deployment_id(&self, now: Timestamp) -> Result<String, StoreError> {
        self.setting_keep(Setting::DeploymentId, uuid::Uuid::now_v7().to_string(), now).await
    }

    /// The code that the first user is created with: the one that is kept, else this one. All replicas have the same.
    pub async fn setup_code(&self, made: String, now: Timestamp) -> Result<String, StoreError> {
        self.setting_keep(Setting::SetupCode, made, now).await
    }

    /// The value of a setting; `made` becomes it if there is none.
    async fn setting_keep(&self, setting: Setting, made: String, now: Timestamp) -> Result<String, StoreError> {
        if let Some(kept) = self.setting(setting).await? {
            return Ok(kept);
        }
        self.write("setting_keep", move |tx| {
            Box::pin(async move {
                tx.run(SETTING_KEEP, args![setting.name(), made, now]).await?;
                tx.one(SETTING_GET, args![setting.name()]).await?.text("value")
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
