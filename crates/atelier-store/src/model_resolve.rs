//! Which model a chat uses, and with which key (governance.md 1 and 2). The decisions about keys are
//! `atelier_domain::provider_keys`; this module reads what they need in one snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use atelier_domain::provider_keys::{
    CentralKey, CentralKeys, KeyChoice, KeyMissing, KeyPolicy, ProviderKeyRow, central_key, key_choose,
};
use atelier_domain::{ModelConfigId, ProviderId, UserId};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::model_calls::PaidBy;
use crate::models::{ModelConfigRow, model_default_in_tx, model_get_in_tx};
use crate::providers::{ProviderRow, provider_get_in_tx, user_provider_key_exists_in_tx, user_provider_key_in_tx};
use crate::secrets::{SecretString, Secrets};

/// What the server's settings add to the rows of providers.
#[derive(Clone, Debug, Default)]
pub struct ProviderPresets {
    pub presets: Vec<ProviderPreset>,
    /// Types that work without a key, for instance `scripted`.
    pub keyless: BTreeSet<String>,
}

/// Key and address of a type, from the environment. They belong to the provider whose name equals its type.
#[derive(Clone, Debug)]
pub struct ProviderPreset {
    pub provider: String,
    pub api_key: Option<SecretString>,
    pub base_url: Option<String>,
}

impl ProviderPresets {
    /// The preset of a provider with this type and name.
    #[must_use]
    pub fn of(&self, provider: &str, name: &str) -> Option<&ProviderPreset> {
        self.presets.iter().find(|preset| preset.provider == provider && provider == name)
    }
}

/// Which model is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelWanted {
    /// Exactly this one.
    Explicit(ModelConfigId),
    /// The chat's last one if it can be used, else the default.
    LastOrDefault(Option<ModelConfigId>),
}

/// A model that can be called, with all a call needs.
#[derive(Clone, Debug)]
pub struct ResolvedModel {
    pub model: ModelConfigRow,
    pub provider: ResolvedProvider,
}

/// A provider as one user may call it.
#[derive(Clone, Debug)]
pub struct ResolvedProvider {
    /// Absent for a preset.
    pub id: Option<ProviderId>,
    /// The type.
    pub provider: String,
    pub name: String,
    /// Empty = the built-in one of the type.
    pub display_name: String,
    /// Absent = that of the type.
    pub base_url: Option<String>,
    pub api_key: Option<SecretString>,
    pub paid_by: PaidBy,
}

/// Why no model can be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelResolveError {
    #[error("the model does not exist or is switched off")]
    Unavailable,
    #[error("the model cannot be used: {0}")]
    KeyMissing(KeyMissing),
    #[error("there is no default model")]
    NoDefault,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is known of the keys of a provider, without opening one.
struct Keys {
    choice: Result<KeyChoice, KeyMissing>,
    central: CentralKey,
}

/// The model a chat of `owner` uses now, its provider, and the opened key.
///
/// # Errors
/// What was asked for cannot be used: unknown, deleted, switched off, without a key for the owner.
pub async fn model_resolve_in_tx(
    tx: &mut Tx<'_>,
    secrets: &Secrets,
    owner: UserId,
    wanted: ModelWanted,
    presets: &ProviderPresets,
) -> Result<ResolvedModel, ModelResolveError> {
    let last = match wanted {
        ModelWanted::Explicit(id) => {
            let model = model_get_in_tx(tx, id).await?.ok_or(ModelResolveError::Unavailable)?;
            return use_model(tx, secrets, owner, model, presets).await;
        }
        ModelWanted::LastOrDefault(last) => last,
    };
    if let Some(last) = last
        && let Some(model) = model_get_in_tx(tx, last).await?
    {
        match use_model(tx, secrets, owner, model, presets).await {
            Err(ModelResolveError::Unavailable | ModelResolveError::KeyMissing(_)) => {}
            other => return other,
        }
    }
    let model = model_default_in_tx(tx).await?.ok_or(ModelResolveError::NoDefault)?;
    use_model(tx, secrets, owner, model, presets).await
}

async fn use_model(
    tx: &mut Tx<'_>,
    secrets: &Secrets,
    owner: UserId,
    model: ModelConfigRow,
    presets: &ProviderPresets,
) -> Result<ResolvedModel, ModelResolveError> {
    if !model.is_usable() {
        return Err(ModelResolveError::Unavailable);
    }
    let row = match model.provider_id {
        Some(id) => provider_get_in_tx(tx, id).await?,
        None => None,
    };
    let preset = presets.of(&model.provider, &model.provider_name);
    if row.is_none() && preset.is_none() {
        return Err(ModelResolveError::Unavailable);
    }
    let kind = (model.provider.as_str(), model.provider_name.as_str());
    let keys = keys_in_tx(tx, owner, kind, row.as_ref(), presets).await?;
    let choice = keys.choice.map_err(ModelResolveError::KeyMissing)?;
    let api_key = match (choice, keys.central, &row) {
        (KeyChoice::User, _, Some(row)) => user_provider_key_in_tx(tx, secrets, owner, row.id).await?,
        (KeyChoice::Central, CentralKey::Row, Some(row)) => row.key_open(secrets)?,
        (KeyChoice::Central, CentralKey::Preset, _) => preset.and_then(|preset| preset.api_key.clone()),
        (KeyChoice::Central, CentralKey::Row | CentralKey::Absent, _) | (KeyChoice::User, _, None) => None,
    };
    let base_url =
        row.as_ref().and_then(|row| row.base_url.clone()).or_else(|| preset.and_then(|preset| preset.base_url.clone()));
    Ok(ResolvedModel {
        provider: ResolvedProvider {
            id: row.as_ref().map(|row| row.id),
            provider: model.provider.clone(),
            name: model.provider_name.clone(),
            display_name: row.map(|row| row.display_name).unwrap_or_default(),
            base_url,
            api_key,
            paid_by: paid_by(choice),
        },
        model,
    })
}

impl Store {
    /// As [`model_resolve_in_tx`].
    pub async fn model_resolve_for_chat(
        &self,
        owner: UserId,
        wanted: ModelWanted,
        presets: Arc<ProviderPresets>,
    ) -> Result<ResolvedModel, ModelResolveError> {
        let secrets = self.secrets().clone();
        self.read("model_resolve_for_chat", move |tx| {
            Box::pin(async move { model_resolve_in_tx(tx, &secrets, owner, wanted, &presets).await })
        })
        .await
    }

    /// Who would pay when `owner` calls a provider, or the key that is missing; for lists of models.
    pub async fn provider_key_state(
        &self,
        owner: UserId,
        provider: ProviderRow,
        presets: Arc<ProviderPresets>,
    ) -> Result<Result<PaidBy, KeyMissing>, StoreError> {
        self.read("provider_key_state", move |tx| {
            Box::pin(async move {
                let kind = (provider.provider.as_str(), provider.name.as_str());
                let keys = keys_in_tx(tx, owner, kind, Some(&provider), &presets).await?;
                Ok(keys.choice.map(paid_by))
            })
        })
        .await
    }
}

/// `kind`: type and name of the provider.
async fn keys_in_tx(
    tx: &mut Tx<'_>,
    owner: UserId,
    kind: (&str, &str),
    row: Option<&ProviderRow>,
    presets: &ProviderPresets,
) -> Result<Keys, StoreError> {
    let (provider, name) = kind;
    let central = central_key(CentralKeys {
        row: row.map(|row| ProviderKeyRow { enabled: row.enabled, has_key: row.has_api_key }),
        has_preset: presets.of(provider, name).is_some_and(|preset| preset.api_key.is_some()),
    });
    let policy = row.map_or_else(KeyPolicy::default, ProviderRow::key_policy);
    let has_user = match row {
        Some(row) if policy.user_allowed => user_provider_key_exists_in_tx(tx, owner, row.id).await?,
        Some(_) | None => false,
    };
    let is_enabled = row.is_none_or(|row| row.enabled);
    let has_central = central != CentralKey::Absent || (is_enabled && presets.keyless.contains(provider));
    Ok(Keys { choice: key_choose(policy, has_central, has_user), central })
}

const fn paid_by(choice: KeyChoice) -> PaidBy {
    match choice {
        KeyChoice::Central => PaidBy::Deployment,
        KeyChoice::User => PaidBy::User,
    }
}
