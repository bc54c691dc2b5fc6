//! Model configs. At most one live one is the default; every change keeps it that way.
//!
//! Default upkeep (governance.md 2): when no default is left, the oldest enabled model of an enabled provider
//! becomes it. So there is a default if and only if a model is fit to be one. All changes of models and
//! providers take turns behind [`models_lock_in_tx`]; a partial unique index backs the rule.

use atelier_domain::{ModelConfigId, ProviderId, Timestamp};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::providers::{provider_by_name_in_tx, provider_get_in_tx};
use crate::statement::statements;
use crate::value::{DbRow, args};

statements! {
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
    DEFAULT_ID = "SELECT id FROM model_configs WHERE is_default";
    DEFAULT_UNSET = "UPDATE model_configs SET is_default = false WHERE is_default";
    DEFAULT_SET = "UPDATE model_configs SET is_default = true WHERE id = $1";
    DEFAULT_UNFIT = "UPDATE model_configs SET is_default = false WHERE is_default
        AND EXISTS (SELECT 1 FROM providers p WHERE p.id = model_configs.provider_id AND NOT p.enabled)";
    // one that was just unset comes last
    DEFAULT_CANDIDATE = "SELECT m.id FROM model_configs m LEFT JOIN providers p ON p.id = m.provider_id
        WHERE NOT m.deleted AND m.enabled AND (p.id IS NULL OR p.enabled)
        ORDER BY CASE WHEN m.id = $1 THEN 1 ELSE 0 END, m.created_at, m.id LIMIT 1";
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

/// Where the default went in a change; each of the two deserves an entry in the audit log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultMove {
    pub before: Option<ModelConfigId>,
    pub after: Option<ModelConfigId>,
}

impl DefaultMove {
    /// The same move, begun at an earlier moment.
    pub(crate) const fn since(self, before: Option<ModelConfigId>) -> Self {
        Self { before, after: self.after }
    }

    /// The model that lost the default and the one that gained it.
    #[must_use]
    pub fn changed(self) -> [Option<ModelConfigId>; 2] {
        if self.before == self.after { [None, None] } else { [self.before, self.after] }
    }
}

/// Why a change of providers or models is refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("it does not exist")]
    NotFound,
    #[error("the provider does not exist")]
    UnknownProvider,
    #[error("it is the last model of a chat")]
    InUse,
    #[error("there is one like this already")]
    Double,
    #[error("a model that is disabled, or whose provider is, cannot be the default")]
    UnfitDefault,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Keeps other changes of models and providers out until the transaction ends. Every change takes it by
/// itself; who first reads and then decides takes it before reading.
pub async fn models_lock_in_tx(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.one(MODELS_LOCK, Vec::new()).await.map(|_| ())
}

/// A model config, also a deleted one.
pub async fn model_get_in_tx(tx: &mut Tx<'_>, id: ModelConfigId) -> Result<Option<ModelConfigRow>, StoreError> {
    tx.first(MODEL_GET, args![id]).await?.as_ref().map(ModelConfigRow::read).transpose()
}

pub async fn model_default_in_tx(tx: &mut Tx<'_>) -> Result<Option<ModelConfigRow>, StoreError> {
    tx.first(MODEL_DEFAULT, Vec::new()).await?.as_ref().map(ModelConfigRow::read).transpose()
}

async fn model_live_in_tx(tx: &mut Tx<'_>, id: ModelConfigId) -> Result<ModelConfigRow, ModelError> {
    model_get_in_tx(tx, id).await?.filter(|model| !model.deleted).ok_or(ModelError::NotFound)
}

pub(crate) async fn default_id_in_tx(tx: &mut Tx<'_>) -> Result<Option<ModelConfigId>, StoreError> {
    tx.first(DEFAULT_ID, Vec::new()).await?.map(|row| row.id("id")).transpose()
}

/// Keeps exactly one live default as long as a model is fit to be one.
pub(crate) async fn default_upkeep_in_tx(tx: &mut Tx<'_>) -> Result<DefaultMove, StoreError> {
    default_upkeep_skipping(tx, ModelConfigId::nil()).await
}

/// `skip` becomes the default only if no other model is fit to be.
async fn default_upkeep_skipping(tx: &mut Tx<'_>, skip: ModelConfigId) -> Result<DefaultMove, StoreError> {
    let before = default_id_in_tx(tx).await?;
    tx.run(DEFAULT_UNFIT, Vec::new()).await?;
    let mut after = default_id_in_tx(tx).await?;
    if after.is_none()
        && let Some(next) = tx.first(DEFAULT_CANDIDATE, args![skip]).await?
    {
        let next = next.id::<ModelConfigId>("id")?;
        tx.run(DEFAULT_SET, args![next]).await?;
        after = Some(next);
    }
    Ok(DefaultMove { before, after })
}

/// Does to the default what the request for `model` asks, and keeps one.
async fn default_ask_in_tx(
    tx: &mut Tx<'_>,
    model: ModelConfigId,
    asked: Option<bool>,
) -> Result<DefaultMove, ModelError> {
    let row = model_live_in_tx(tx, model).await?;
    let mut skip = ModelConfigId::nil();
    match asked {
        Some(true) if !row.is_usable() => return Err(ModelError::UnfitDefault),
        Some(true) => {
            // in this order: the index allows one at a time
            tx.run(DEFAULT_UNSET, Vec::new()).await?;
            tx.run(DEFAULT_SET, args![model]).await?;
        }
        Some(false) if row.is_default => {
            tx.run(DEFAULT_UNSET, Vec::new()).await?;
            skip = model;
        }
        Some(false) | None => {}
    }
    Ok(default_upkeep_skipping(tx, skip).await?)
}

async fn refuse_double(
    tx: &mut Tx<'_>,
    provider_name: &str,
    fields: &ModelConfigFields,
    own: ModelConfigId,
) -> Result<(), ModelError> {
    let args = args![provider_name, fields.model.clone(), fields.display_name.clone(), own];
    if tx.first(MODEL_DOUBLE, args).await?.is_some() { Err(ModelError::Double) } else { Ok(()) }
}

/// Creates a model config. `provider`: id (absent for a preset), type and name; what the provider's row says
/// of type and name wins.
pub async fn model_create_in_tx(
    tx: &mut Tx<'_>,
    provider: (Option<ProviderId>, String, String),
    fields: &ModelConfigFields,
    now: Timestamp,
) -> Result<(ModelConfigRow, DefaultMove), ModelError> {
    models_lock_in_tx(tx).await?;
    let (provider_id, kind, name) = provider;
    let row = match provider_id {
        Some(id) => Some(provider_get_in_tx(tx, id).await?.ok_or(ModelError::UnknownProvider)?),
        None => provider_by_name_in_tx(tx, &name).await?,
    };
    let (provider_id, kind, name) = match row {
        Some(row) => (Some(row.id), row.provider, row.name),
        None => (None, kind, name),
    };
    let id = ModelConfigId::new();
    refuse_double(tx, &name, fields, id).await?;
    let before = default_id_in_tx(tx).await?;
    let args = args![
        id,
        provider_id,
        kind,
        name,
        fields.model.clone(),
        fields.display_name.clone(),
        fields.enabled,
        fields.context_limit,
        fields.compression_threshold,
        fields.model_config.clone(),
        now,
    ];
    tx.run(MODEL_INSERT, args).await?;
    let moved = default_ask_in_tx(tx, id, fields.is_default).await?;
    Ok((model_live_in_tx(tx, id).await?, moved.since(before)))
}

/// Sets all fields of a live model config but its provider.
pub async fn model_update_in_tx(
    tx: &mut Tx<'_>,
    id: ModelConfigId,
    fields: &ModelConfigFields,
    now: Timestamp,
) -> Result<(ModelConfigRow, DefaultMove), ModelError> {
    models_lock_in_tx(tx).await?;
    let row = model_live_in_tx(tx, id).await?;
    refuse_double(tx, &row.provider_name, fields, id).await?;
    let before = default_id_in_tx(tx).await?;
    let args = args![
        id,
        fields.model.clone(),
        fields.display_name.clone(),
        fields.enabled,
        fields.context_limit,
        fields.compression_threshold,
        fields.model_config.clone(),
        now,
    ];
    tx.run(MODEL_UPDATE, args).await?;
    let moved = default_ask_in_tx(tx, id, fields.is_default).await?;
    Ok((model_live_in_tx(tx, id).await?, moved.since(before)))
}

/// Deletes softly: costs stay, chats fall back to the default.
pub async fn model_delete_in_tx(tx: &mut Tx<'_>, id: ModelConfigId, now: Timestamp) -> Result<DefaultMove, ModelError> {
    models_lock_in_tx(tx).await?;
    let before = default_id_in_tx(tx).await?;
    if tx.run(MODEL_DELETE, args![id, now]).await? == 0 {
        return Err(ModelError::NotFound);
    }
    Ok(default_upkeep_in_tx(tx).await?.since(before))
}

impl Store {
    /// Live model configs, oldest first.
    pub async fn model_list(&self) -> Result<Vec<ModelConfigRow>, StoreError> {
        self.fetch_all(MODELS, Vec::new()).await?.iter().map(ModelConfigRow::read).collect()
    }

    /// A model config, also a deleted one.
    pub async fn model_get(&self, id: ModelConfigId) -> Result<Option<ModelConfigRow>, StoreError> {
        self.fetch_first(MODEL_GET, args![id]).await?.as_ref().map(ModelConfigRow::read).transpose()
    }

    pub async fn model_default(&self) -> Result<Option<ModelConfigRow>, StoreError> {
        self.fetch_first(MODEL_DEFAULT, Vec::new()).await?.as_ref().map(ModelConfigRow::read).transpose()
    }

    /// As [`model_create_in_tx`].
    pub async fn model_create(
        &self,
        provider: (Option<ProviderId>, String, String),
        fields: ModelConfigFields,
        now: Timestamp,
    ) -> Result<ModelConfigRow, ModelError> {
        self.write("model_create", move |tx| {
            Box::pin(async move {
                let (row, _) = model_create_in_tx(tx, provider, &fields, now).await?;
                Ok(row)
            })
        })
        .await
    }

    /// As [`model_update_in_tx`].
    pub async fn model_update(
        &self,
        id: ModelConfigId,
        fields: ModelConfigFields,
        now: Timestamp,
    ) -> Result<ModelConfigRow, ModelError> {
        self.write("model_update", move |tx| {
            Box::pin(async move {
                let (row, _) = model_update_in_tx(tx, id, &fields, now).await?;
                Ok(row)
            })
        })
        .await
    }

    /// As [`model_delete_in_tx`].
    pub async fn model_delete(&self, id: ModelConfigId, now: Timestamp) -> Result<(), ModelError> {
        self.write("model_delete", move |tx| Box::pin(async move { model_delete_in_tx(tx, id, now).await.map(|_| ()) }))
            .await
    }
}
