//! Providers and model configs. At most one live model is the default; every change keeps it that way.

use atelier_domain::{ModelConfigId, ProviderId, Timestamp};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::secrets::SecretString;
use crate::statement::statements;
use crate::value::{DbRow, args};

statements! {
    PROVIDERS = "SELECT * FROM providers ORDER BY provider, name";
    PROVIDER_GET = "SELECT * FROM providers WHERE id = $1";
    PROVIDER_INSERT = "INSERT INTO providers (id, provider, name, display_name, enabled, api_key, base_url, central_api_key_enabled,
        allow_user_api_key, allow_central_api_key_fallback, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)";
    PROVIDER_UPDATE = "UPDATE providers SET name = $2, display_name = $3, enabled = $4, api_key = $5, base_url = $6,
        central_api_key_enabled = $7, allow_user_api_key = $8, allow_central_api_key_fallback = $9, updated_at = $10 WHERE id = $1";
    PROVIDER_DELETE = "DELETE FROM providers WHERE id = $1";
    PROVIDER_IN_USE = "SELECT COUNT(*) AS n FROM model_configs m JOIN chats c ON c.last_model_config_id = m.id
        WHERE m.provider_id = $1 AND NOT m.deleted";
    PROVIDER_MODELS_DELETE = "UPDATE model_configs SET deleted = true, is_default = false, updated_at = $2
        WHERE provider_id = $1 AND NOT deleted";
    PROVIDER_MODELS_RENAME = "UPDATE model_configs SET provider_name = $2 WHERE provider_id = $1 AND NOT deleted";

    MODELS_LOCK = { sqlite: "SELECT 1 AS one", postgres: "SELECT 1 AS one FROM pg_advisory_xact_lock(4711002)" };
    MODELS = "SELECT m.*, p.enabled AS provider_enabled FROM model_configs m LEFT JOIN providers p ON p.id = m.provider_id
        WHERE NOT m.deleted ORDER BY m.created_at, m.id";
    MODEL_GET = "SELECT m.*, p.enabled AS provider_enabled FROM model_configs m LEFT JOIN providers p ON p.id = m.provider_id
        WHERE m.id = $1";
    MODEL_DEFAULT = "SELECT m.*, p.enabled AS provider_enabled FROM model_configs m LEFT JOIN providers p ON p.id = m.provider_id
        WHERE m.is_default";
    MODEL_DOUBLE = "SELECT id FROM model_configs WHERE NOT deleted AND provider_name = $1 AND lower(model) = lower($2)
        AND display_name = $3 AND id <> $4";
    MODEL_INSERT = "INSERT INTO model_configs (id, provider_id, provider, provider_name, model, display_name, enabled, is_default, deleted,
        context_limit, compression_threshold, model_config, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, false, false, $8, $9, $10, $11, $11)";
    MODEL_UPDATE = "UPDATE model_configs SET model = $2, display_name = $3, enabled = $4, is_default = is_default AND $4,
        context_limit = $5, compression_threshold = $6, model_config = $7, updated_at = $8 WHERE id = $1";
    MODEL_DELETE = "UPDATE model_configs SET deleted = true, is_default = false, updated_at = $2 WHERE id = $1 AND NOT deleted";
    DEFAULT_UNSET = "UPDATE model_configs SET is_default = false WHERE is_default";
    DEFAULT_SET = "UPDATE model_configs SET is_default = true WHERE id = $1";
    DEFAULT_UNFIT = "UPDATE model_configs SET is_default = false WHERE is_default
        AND EXISTS (SELECT 1 FROM providers p WHERE p.id = model_configs.provider_id AND NOT p.enabled)";
    DEFAULT_CANDIDATES = "SELECT m.id FROM model_configs m LEFT JOIN providers p ON p.id = m.provider_id
        WHERE NOT m.deleted AND m.enabled AND (p.id IS NULL OR p.enabled) ORDER BY m.created_at, m.id";
}

#[derive(Clone, Debug)]
pub struct ProviderRow {
    pub id: ProviderId,
    /// The type, for instance `anthropic`.
    pub provider: String,
    pub name: String,
    pub display_name: String,
    pub enabled: bool,
    pub has_api_key: bool,
    pub base_url: Option<String>,
    pub central_api_key_enabled: bool,
    pub allow_user_api_key: bool,
    pub allow_central_api_key_fallback: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    sealed_key: Option<Vec<u8>>,
}

impl ProviderRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        let sealed_key = row.bytes_opt("api_key")?;
        Ok(Self {
            id: row.id("id")?,
            provider: row.text("provider")?,
            name: row.text("name")?,
            display_name: row.text("display_name")?,
            enabled: row.boolean("enabled")?,
            has_api_key: sealed_key.is_some(),
            base_url: row.text_opt("base_url")?,
            central_api_key_enabled: row.boolean("central_api_key_enabled")?,
            allow_user_api_key: row.boolean("allow_user_api_key")?,
            allow_central_api_key_fallback: row.boolean("allow_central_api_key_fallback")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            sealed_key,
        })
    }
}

/// All that can be set of a provider.
#[derive(Clone, Debug)]
pub struct ProviderFields {
    pub provider: String,
    pub name: String,
    pub display_name: String,
    pub enabled: bool,
    pub api_key: ApiKeyChange,
    pub base_url: Option<String>,
    pub central_api_key_enabled: bool,
    pub allow_user_api_key: bool,
    pub allow_central_api_key_fallback: bool,
}

#[derive(Clone, Debug)]
pub enum ApiKeyChange {
    Keep,
    Clear,
    Set(SecretString),
}

#[derive(Clone, Debug)]
pub struct ModelConfigRow {
    pub id: ModelConfigId,
    /// Absent for a preset, or when the provider is gone.
    pub provider_id: Option<ProviderId>,
    pub provider: String,
    pub provider_name: String,
    pub model: String,
    pub display_name: String,
    pub enabled: bool,
    pub is_default: bool,
    pub deleted: bool,
    pub context_limit: i64,
    pub compression_threshold: i32,
    /// JSON object.
    pub model_config: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Whether its provider's row is enabled; true without a row.
    pub provider_enabled: bool,
}

impl ModelConfigRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            provider_id: row.id_opt("provider_id")?,
            provider: row.text("provider")?,
            provider_name: row.text("provider_name")?,
            model: row.text("model")?,
            display_name: row.text("display_name")?,
            enabled: row.boolean("enabled")?,
            is_default: row.boolean("is_default")?,
            deleted: row.boolean("deleted")?,
            context_limit: row.int("context_limit")?,
            compression_threshold: row.int32("compression_threshold")?,
            model_config: row.text_opt("model_config")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            provider_enabled: row.boolean_opt("provider_enabled")?.unwrap_or(true),
        })
    }

    /// Enabled, not deleted, of an enabled provider.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.enabled && !self.deleted && self.provider_enabled
    }
}

/// All that can be set of a model config.
#[derive(Clone, Debug)]
pub struct ModelConfigFields {
    pub model: String,
    pub display_name: String,
    pub enabled: bool,
    /// Absent keeps.
    pub is_default: Option<bool>,
    pub context_limit: i64,
    pub compression_threshold: i32,
    pub model_config: Option<String>,
}

/// Why a change of providers or models is refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("it does not exist")]
    NotFound,
    #[error("it is the last model of a chat")]
    InUse,
    #[error("there is one like this already")]
    Double,
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn key_place(provider: ProviderId) -> String {
    format!("providers|api_key|{provider}")
}

async fn provider_in_tx(tx: &mut Tx<'_>, id: ProviderId) -> Result<ProviderRow, ModelError> {
    let row = tx
        .first(PROVIDER_GET, args![id])
        .await?
        .ok_or(ModelError::NotFound)?;
    Ok(ProviderRow::read(&row)?)
}

async fn model_in_tx(tx: &mut Tx<'_>, id: ModelConfigId) -> Result<ModelConfigRow, ModelError> {
    let row = tx
        .first(MODEL_GET, args![id])
        .await?
        .ok_or(ModelError::NotFound)?;
    Ok(ModelConfigRow::read(&row)?)
}

/// Keeps exactly one live default as long as a model is fit to be one: an enabled model of an enabled
/// provider, the oldest first, `skip` only if there is no other.
async fn default_upkeep(tx: &mut Tx<'_>, skip: Option<ModelConfigId>) -> Result<(), StoreError> {
    tx.run(DEFAULT_UNFIT, Vec::new()).await?;
    if tx.first(MODEL_DEFAULT, Vec::new()).await?.is_some() {
        return Ok(());
    }
    let rows = tx.all(DEFAULT_CANDIDATES, Vec::new()).await?;
    let candidates = rows
        .iter()
        .map(|row| row.id::<ModelConfigId>("id"))
        .collect::<Result<Vec<_>, _>>()?;
    let next = candidates
        .iter()
        .find(|id| Some(**id) != skip)
        .or(candidates.first());
    if let Some(next) = next {
        tx.run(DEFAULT_SET, args![*next]).await?;
    }
    Ok(())
}

async fn default_set(tx: &mut Tx<'_>, model: ModelConfigId) -> Result<(), StoreError> {
    tx.run(DEFAULT_UNSET, Vec::new()).await?;
    tx.run(DEFAULT_SET, args![model]).await.map(|_| ())
}

async fn refuse_double(
    tx: &mut Tx<'_>,
    provider_name: &str,
    fields: &ModelConfigFields,
    own: ModelConfigId,
) -> Result<(), ModelError> {
    let args = args![
        provider_name,
        fields.model.clone(),
        fields.display_name.clone(),
        own
    ];
    if tx.first(MODEL_DOUBLE, args).await?.is_some() {
        Err(ModelError::Double)
    } else {
        Ok(())
    }
}

impl Store {
    pub async fn provider_list(&self) -> Result<Vec<ProviderRow>, StoreError> {
        self.fetch_all(PROVIDERS, Vec::new())
            .await?
            .iter()
            .map(ProviderRow::read)
            .collect()
    }

    pub async fn provider_get(&self, id: ProviderId) -> Result<Option<ProviderRow>, StoreError> {
        self.fetch_first(PROVIDER_GET, args![id])
            .await?
            .as_ref()
            .map(ProviderRow::read)
            .transpose()
    }

    /// The provider's own key, opened.
    pub fn provider_api_key(
        &self,
        provider: &ProviderRow,
    ) -> Result<Option<SecretString>, StoreError> {
        match &provider.sealed_key {
            None => Ok(None),
            Some(sealed) => Ok(Some(self.secrets().open(&key_place(provider.id), sealed)?)),
        }
    }

    fn sealed(
        &self,
        id: ProviderId,
        change: &ApiKeyChange,
        before: Option<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        match change {
            ApiKeyChange::Keep => before,
            ApiKeyChange::Clear => None,
            ApiKeyChange::Set(key) => Some(self.secrets().seal(&key_place(id), key.expose())),
        }
    }

    /// # Errors
    /// A name that is taken is [`StoreError::Conflict`].
    pub async fn provider_create(
        &self,
        fields: ProviderFields,
        now: Timestamp,
    ) -> Result<ProviderRow, ModelError> {
        let id = ProviderId::new();
        let key = self.sealed(id, &fields.api_key, None);
        self.write("provider_create", move |tx| {
            Box::pin(async move {
                let args = args![
                    id,
                    fields.provider,
                    fields.name,
                    fields.display_name,
                    fields.enabled,
                    key,
                    fields.base_url,
                    fields.central_api_key_enabled,
                    fields.allow_user_api_key,
                    fields.allow_central_api_key_fallback,
                    now,
                ];
                tx.run(PROVIDER_INSERT, args).await?;
                default_upkeep(tx, None).await?;
                provider_in_tx(tx, id).await
            })
        })
        .await
    }

    pub async fn provider_update(
        &self,
        id: ProviderId,
        fields: ProviderFields,
        now: Timestamp,
    ) -> Result<ProviderRow, ModelError> {
        let before = self.provider_get(id).await?.ok_or(ModelError::NotFound)?;
        let key = self.sealed(id, &fields.api_key, before.sealed_key);
        self.write("provider_update", move |tx| {
            Box::pin(async move {
                tx.one(MODELS_LOCK, Vec::new()).await?;
                let args = args![
                    id,
                    fields.name.clone(),
                    fields.display_name,
                    fields.enabled,
                    key,
                    fields.base_url,
                    fields.central_api_key_enabled,
                    fields.allow_user_api_key,
                    fields.allow_central_api_key_fallback,
                    now,
                ];
                tx.run(PROVIDER_UPDATE, args).await?;
                tx.run(PROVIDER_MODELS_RENAME, args![id, fields.name])
                    .await?;
                default_upkeep(tx, None).await?;
                provider_in_tx(tx, id).await
            })
        })
        .await
    }

    /// Deletes a provider and, softly, its models.
    pub async fn provider_delete(&self, id: ProviderId, now: Timestamp) -> Result<(), ModelError> {
        self.write("provider_delete", move |tx| {
            Box::pin(async move {
                tx.one(MODELS_LOCK, Vec::new()).await?;
                provider_in_tx(tx, id).await?;
                if tx.one(PROVIDER_IN_USE, args![id]).await?.int("n")? > 0 {
                    return Err(ModelError::InUse);
                }
                tx.run(PROVIDER_MODELS_DELETE, args![id, now]).await?;
                tx.run(PROVIDER_DELETE, args![id]).await?;
                Ok(default_upkeep(tx, None).await?)
            })
        })
        .await
    }

    /// Live model configs, oldest first.
    pub async fn model_list(&self) -> Result<Vec<ModelConfigRow>, StoreError> {
        self.fetch_all(MODELS, Vec::new())
            .await?
            .iter()
            .map(ModelConfigRow::read)
            .collect()
    }

    /// A model config, also a deleted one.
    pub async fn model_get(&self, id: ModelConfigId) -> Result<Option<ModelConfigRow>, StoreError> {
        self.fetch_first(MODEL_GET, args![id])
            .await?
            .as_ref()
            .map(ModelConfigRow::read)
            .transpose()
    }

    pub async fn model_default(&self) -> Result<Option<ModelConfigRow>, StoreError> {
        self.fetch_first(MODEL_DEFAULT, Vec::new())
            .await?
            .as_ref()
            .map(ModelConfigRow::read)
            .transpose()
    }

    /// `provider`: id (absent for a preset), type and name.
    pub async fn model_create(
        &self,
        provider: (Option<ProviderId>, String, String),
        fields: ModelConfigFields,
        now: Timestamp,
    ) -> Result<ModelConfigRow, ModelError> {
        let id = ModelConfigId::new();
        self.write("model_create", move |tx| {
            Box::pin(async move {
                tx.one(MODELS_LOCK, Vec::new()).await?;
                let (provider_id, kind, name) = provider;
                refuse_double(tx, &name, &fields, id).await?;
                let args = args![
                    id,
                    provider_id,
                    kind,
                    name,
                    fields.model,
                    fields.display_name,
                    fields.enabled,
                    fields.context_limit,
                    fields.compression_threshold,
                    fields.model_config,
                    now,
                ];
                tx.run(MODEL_INSERT, args).await?;
                if fields.is_default == Some(true) {
                    default_set(tx, id).await?;
                }
                default_upkeep(tx, None).await?;
                model_in_tx(tx, id).await
            })
        })
        .await
    }

    pub async fn model_update(
        &self,
        id: ModelConfigId,
        fields: ModelConfigFields,
        now: Timestamp,
    ) -> Result<ModelConfigRow, ModelError> {
        self.write("model_update", move |tx| {
            Box::pin(async move {
                tx.one(MODELS_LOCK, Vec::new()).await?;
                let before = model_in_tx(tx, id).await?;
                if before.deleted {
                    return Err(ModelError::NotFound);
                }
                refuse_double(tx, &before.provider_name, &fields, id).await?;
                let args = args![
                    id,
                    fields.model,
                    fields.display_name,
                    fields.enabled,
                    fields.context_limit,
                    fields.compression_threshold,
                    fields.model_config,
                    now,
                ];
                tx.run(MODEL_UPDATE, args).await?;
                let mut skip = None;
                match fields.is_default {
                    Some(true) => default_set(tx, id).await?,
                    Some(false) if before.is_default => {
                        tx.run(DEFAULT_UNSET, Vec::new()).await?;
                        skip = Some(id);
                    }
                    Some(false) | None => {}
                }
                default_upkeep(tx, skip).await?;
                model_in_tx(tx, id).await
            })
        })
        .await
    }

    /// Deletes softly: costs stay, chats fall back to the default.
    pub async fn model_delete(&self, id: ModelConfigId, now: Timestamp) -> Result<(), ModelError> {
        self.write("model_delete", move |tx| {
            Box::pin(async move {
                tx.one(MODELS_LOCK, Vec::new()).await?;
                if tx.run(MODEL_DELETE, args![id, now]).await? == 0 {
                    return Err(ModelError::NotFound);
                }
                Ok(default_upkeep(tx, None).await?)
            })
        })
        .await
    }
}
