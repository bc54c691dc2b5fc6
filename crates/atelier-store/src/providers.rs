//! Providers, their sealed keys, and the keys of users.
//!
//! A change of a provider touches its models and the default one: both are kept right in the same
//! transaction, behind [`models_lock_in_tx`].

use atelier_domain::provider_keys::KeyPolicy;
use atelier_domain::{ProviderId, Timestamp, UserId};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::models::{DefaultMove, ModelError, default_upkeep_in_tx, models_lock_in_tx};
use crate::secrets::{SecretString, Secrets};
use crate::statement::statements;
use crate::value::{DbRow, args};

statements! {
    // the fixed order of types is that of their names, with `scripted` behind
    PROVIDERS = "SELECT * FROM providers ORDER BY CASE WHEN provider = 'scripted' THEN 1 ELSE 0 END, provider, name";
    PROVIDER_GET = "SELECT * FROM providers WHERE id = $1";
    PROVIDER_BY_NAME = "SELECT * FROM providers WHERE name = $1";
    PROVIDER_INSERT = "INSERT INTO providers (id, provider, name, display_name, enabled, api_key, base_url, central_api_key_enabled,
        allow_user_api_key, allow_central_api_key_fallback, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)";
    PROVIDER_UPDATE = "UPDATE providers SET name = $2, display_name = $3, enabled = $4, api_key = $5, base_url = $6,
        central_api_key_enabled = $7, allow_user_api_key = $8, allow_central_api_key_fallback = $9, updated_at = $10 WHERE id = $1";
    PROVIDER_DELETE = "DELETE FROM providers WHERE id = $1";
    PROVIDER_IN_USE = "SELECT m.id FROM model_configs m JOIN chats c ON c.last_model_config_id = m.id
        WHERE m.provider_id = $1 AND NOT m.deleted LIMIT 1";
    PROVIDER_MODELS_DELETE = "UPDATE model_configs SET deleted = true, is_default = false, updated_at = $2
        WHERE provider_id = $1 AND NOT deleted";
    PROVIDER_MODELS_RENAME = "UPDATE model_configs SET provider_name = $2 WHERE provider_id = $1 AND NOT deleted";
    // models of a preset follow the row that takes its name
    PROVIDER_MODELS_ADOPT = "UPDATE model_configs SET provider_id = $1
        WHERE provider_id IS NULL AND provider = $2 AND provider_name = $3 AND NOT deleted";

    USER_KEYS = "SELECT provider_id FROM user_provider_keys WHERE user_id = $1";
    USER_KEY_GET = "SELECT api_key FROM user_provider_keys WHERE user_id = $1 AND provider_id = $2";
    USER_KEY_SET = "INSERT INTO user_provider_keys (user_id, provider_id, api_key, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $4)
        ON CONFLICT (user_id, provider_id) DO UPDATE SET api_key = excluded.api_key, updated_at = excluded.updated_at";
    USER_KEY_DELETE = "DELETE FROM user_provider_keys WHERE user_id = $1 AND provider_id = $2";
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

    pub(crate) fn key_open(&self, secrets: &Secrets) -> Result<Option<SecretString>, StoreError> {
        match &self.sealed_key {
            None => Ok(None),
            Some(sealed) => Ok(Some(secrets.open(&key_place(self.id), sealed)?)),
        }
    }

    /// The three key flags.
    #[must_use]
    pub const fn key_policy(&self) -> KeyPolicy {
        KeyPolicy {
            central_enabled: self.central_api_key_enabled,
            user_allowed: self.allow_user_api_key,
            central_fallback: self.allow_central_api_key_fallback,
        }
    }
}

/// All that can be set of a provider. The type of one that exists stays what it is.
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

fn key_place(provider: ProviderId) -> String {
    format!("providers|api_key|{provider}")
}

fn user_key_place(user: UserId, provider: ProviderId) -> String {
    format!("user_provider_keys|api_key|{user}/{provider}")
}

fn sealed(secrets: &Secrets, id: ProviderId, change: &ApiKeyChange, before: Option<Vec<u8>>) -> Option<Vec<u8>> {
    match change {
        ApiKeyChange::Keep => before,
        ApiKeyChange::Clear => None,
        ApiKeyChange::Set(key) => Some(secrets.seal(&key_place(id), key.expose())),
    }
}

/// A second row with a name, or models that would be doubles under one.
fn taken(error: StoreError) -> ModelError {
    if error.is_conflict_on("model_configs") { ModelError::Double } else { error.into() }
}

pub async fn provider_get_in_tx(tx: &mut Tx<'_>, id: ProviderId) -> Result<Option<ProviderRow>, StoreError> {
    tx.first(PROVIDER_GET, args![id]).await?.as_ref().map(ProviderRow::read).transpose()
}

pub async fn provider_by_name_in_tx(tx: &mut Tx<'_>, name: &str) -> Result<Option<ProviderRow>, StoreError> {
    tx.first(PROVIDER_BY_NAME, args![name]).await?.as_ref().map(ProviderRow::read).transpose()
}

async fn provider_existing_in_tx(tx: &mut Tx<'_>, id: ProviderId) -> Result<ProviderRow, ModelError> {
    provider_get_in_tx(tx, id).await?.ok_or(ModelError::NotFound)
}

/// Creates a provider. Models of the preset it takes the place of become its own.
///
/// # Errors
/// A name that is taken is [`StoreError::Conflict`].
pub async fn provider_create_in_tx(
    tx: &mut Tx<'_>,
    secrets: &Secrets,
    fields: &ProviderFields,
    now: Timestamp,
) -> Result<(ProviderRow, DefaultMove), ModelError> {
    models_lock_in_tx(tx).await?;
    let id = ProviderId::new();
    let args = args![
        id,
        fields.provider.clone(),
        fields.name.clone(),
        fields.display_name.clone(),
        fields.enabled,
        sealed(secrets, id, &fields.api_key, None),
        fields.base_url.clone(),
        fields.central_api_key_enabled,
        fields.allow_user_api_key,
        fields.allow_central_api_key_fallback,
        now,
    ];
    tx.run(PROVIDER_INSERT, args).await?;
    let args = args![id, fields.provider.clone(), fields.name.clone()];
    tx.run(PROVIDER_MODELS_ADOPT, args).await.map_err(taken)?;
    let moved = default_upkeep_in_tx(tx).await?;
    Ok((provider_existing_in_tx(tx, id).await?, moved))
}

/// Sets all fields of a provider but its type.
///
/// # Errors
/// A name that is taken is [`StoreError::Conflict`].
pub async fn provider_update_in_tx(
    tx: &mut Tx<'_>,
    secrets: &Secrets,
    id: ProviderId,
    fields: &ProviderFields,
    now: Timestamp,
) -> Result<(ProviderRow, DefaultMove), ModelError> {
    models_lock_in_tx(tx).await?;
    let before = provider_existing_in_tx(tx, id).await?;
    let args = args![
        id,
        fields.name.clone(),
        fields.display_name.clone(),
        fields.enabled,
        sealed(secrets, id, &fields.api_key, before.sealed_key),
        fields.base_url.clone(),
        fields.central_api_key_enabled,
        fields.allow_user_api_key,
        fields.allow_central_api_key_fallback,
        now,
    ];
    tx.run(PROVIDER_UPDATE, args).await?;
    if before.name != fields.name {
        let args = args![id, fields.name.clone()];
        tx.run(PROVIDER_MODELS_RENAME, args).await.map_err(taken)?;
        let args = args![id, before.provider, fields.name.clone()];
        tx.run(PROVIDER_MODELS_ADOPT, args).await.map_err(taken)?;
    }
    let moved = default_upkeep_in_tx(tx).await?;
    Ok((provider_existing_in_tx(tx, id).await?, moved))
}

/// Deletes a provider with its keys and, softly, its models.
///
/// # Errors
/// [`ModelError::InUse`] while one of its models is the last one of a chat.
pub async fn provider_delete_in_tx(tx: &mut Tx<'_>, id: ProviderId, now: Timestamp) -> Result<DefaultMove, ModelError> {
    models_lock_in_tx(tx).await?;
    provider_existing_in_tx(tx, id).await?;
    if tx.first(PROVIDER_IN_USE, args![id]).await?.is_some() {
        return Err(ModelError::InUse);
    }
    let default = crate::models::default_id_in_tx(tx).await?;
    tx.run(PROVIDER_MODELS_DELETE, args![id, now]).await?;
    tx.run(PROVIDER_DELETE, args![id]).await?;
    Ok(default_upkeep_in_tx(tx).await?.since(default))
}

/// Whether the user has a key of their own.
pub async fn user_provider_key_exists_in_tx(
    tx: &mut Tx<'_>,
    user: UserId,
    provider: ProviderId,
) -> Result<bool, StoreError> {
    Ok(tx.first(USER_KEY_GET, args![user, provider]).await?.is_some())
}

/// A user's own key, opened.
pub async fn user_provider_key_in_tx(
    tx: &mut Tx<'_>,
    secrets: &Secrets,
    user: UserId,
    provider: ProviderId,
) -> Result<Option<SecretString>, StoreError> {
    let Some(row) = tx.first(USER_KEY_GET, args![user, provider]).await? else {
        return Ok(None);
    };
    Ok(Some(secrets.open(&user_key_place(user, provider), &row.bytes("api_key")?)?))
}

/// Sets a user's own key.
///
/// # Errors
/// A provider that is gone is [`StoreError::Reference`].
pub async fn user_provider_key_set_in_tx(
    tx: &mut Tx<'_>,
    secrets: &Secrets,
    user: UserId,
    provider: ProviderId,
    key: &SecretString,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sealed = secrets.seal(&user_key_place(user, provider), key.expose());
    tx.run(USER_KEY_SET, args![user, provider, sealed, now]).await.map(|_| ())
}

/// False: there was none.
pub async fn user_provider_key_delete_in_tx(
    tx: &mut Tx<'_>,
    user: UserId,
    provider: ProviderId,
) -> Result<bool, StoreError> {
    Ok(tx.run(USER_KEY_DELETE, args![user, provider]).await? > 0)
}

impl Store {
    /// Every provider, by type in the fixed order, then by name.
    pub async fn provider_list(&self) -> Result<Vec<ProviderRow>, StoreError> {
        self.fetch_all(PROVIDERS, Vec::new()).await?.iter().map(ProviderRow::read).collect()
    }

    pub async fn provider_get(&self, id: ProviderId) -> Result<Option<ProviderRow>, StoreError> {
        self.fetch_first(PROVIDER_GET, args![id]).await?.as_ref().map(ProviderRow::read).transpose()
    }

    /// The provider's own key, opened.
    pub fn provider_api_key(&self, provider: &ProviderRow) -> Result<Option<SecretString>, StoreError> {
        provider.key_open(self.secrets())
    }

    /// As [`provider_create_in_tx`].
    pub async fn provider_create(&self, fields: ProviderFields, now: Timestamp) -> Result<ProviderRow, ModelError> {
        let secrets = self.secrets().clone();
        self.write("provider_create", move |tx| {
            Box::pin(async move {
                let (row, _) = provider_create_in_tx(tx, &secrets, &fields, now).await?;
                Ok(row)
            })
        })
        .await
    }

    /// As [`provider_update_in_tx`].
    pub async fn provider_update(
        &self,
        id: ProviderId,
        fields: ProviderFields,
        now: Timestamp,
    ) -> Result<ProviderRow, ModelError> {
        let secrets = self.secrets().clone();
        self.write("provider_update", move |tx| {
            Box::pin(async move {
                let (row, _) = provider_update_in_tx(tx, &secrets, id, &fields, now).await?;
                Ok(row)
            })
        })
        .await
    }

    /// As [`provider_delete_in_tx`].
    pub async fn provider_delete(&self, id: ProviderId, now: Timestamp) -> Result<(), ModelError> {
        self.write("provider_delete", move |tx| {
            Box::pin(async move { provider_delete_in_tx(tx, id, now).await.map(|_| ()) })
        })
        .await
    }

    /// The providers a user has a key of their own for.
    pub async fn user_provider_keys(&self, user: UserId) -> Result<Vec<ProviderId>, StoreError> {
        self.fetch_all(USER_KEYS, args![user]).await?.iter().map(|row| row.id("provider_id")).collect()
    }

    /// As [`user_provider_key_set_in_tx`].
    pub async fn user_provider_key_set(
        &self,
        user: UserId,
        provider: ProviderId,
        key: SecretString,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let secrets = self.secrets().clone();
        self.write("user_provider_key_set", move |tx| {
            Box::pin(async move { user_provider_key_set_in_tx(tx, &secrets, user, provider, &key, now).await })
        })
        .await
    }

    /// False: there was none.
    pub async fn user_provider_key_delete(&self, user: UserId, provider: ProviderId) -> Result<bool, StoreError> {
        self.write("user_provider_key_delete", move |tx| {
            Box::pin(async move { user_provider_key_delete_in_tx(tx, user, provider).await })
        })
        .await
    }
}
