//! The model a turn runs with: found at its start, kept to its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use atelier_domain::error::{ErrorKind, TurnError};
use atelier_domain::money::PriceSheet;
use atelier_domain::{ModelConfigId, SharedClock};
use atelier_llm::{
    Catalogue, ModelOptions, ModelPrices, Provider, ProviderKind, ProviderRegistry, ProviderSettings, Secret,
    shown_name,
};
use atelier_store::{ChatRow, ModelResolveError, ModelWanted, PaidBy, ProviderPresets, ResolvedModel, Store};
use serde_json::Value;

/// Providers that are kept built: their connections stay open between turns.
const MAX_BUILT: usize = 64;

/// A model that can be asked.
pub(crate) struct TurnModel {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) provider_name: String,
    /// What errors call the provider.
    pub(crate) provider_display_name: String,
    pub(crate) config_id: ModelConfigId,
    pub(crate) model: String,
    pub(crate) options: ModelOptions,
    pub(crate) max_output_tokens: u32,
    pub(crate) context_limit: Option<i64>,
    pub(crate) prices: PriceSheet,
    pub(crate) price_source: &'static str,
    /// Of the shipped table, if some of the prices are from it.
    pub(crate) price_version: Option<String>,
    pub(crate) paid_by: PaidBy,
}

/// Finds models. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Models {
    store: Store,
    registry: ProviderRegistry,
    presets: Arc<ProviderPresets>,
    clock: SharedClock,
    built: Arc<Mutex<HashMap<Built, Arc<dyn Provider>>>>,
}

/// What makes two providers the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Built {
    kind: ProviderKind,
    name: String,
    base_url: Option<String>,
    key_sha256: Option<[u8; 32]>,
}

impl Models {
    pub(crate) fn new(
        store: Store,
        registry: ProviderRegistry,
        presets: Arc<ProviderPresets>,
        clock: SharedClock,
    ) -> Self {
        Self { store, registry, presets, clock, built: Arc::default() }
    }

    /// The chat's last model if it can be used, else the default; otherwise the error the turn ends with.
    pub(crate) async fn for_turn(&self, chat: &ChatRow) -> Result<TurnModel, TurnError> {
        let wanted = ModelWanted::LastOrDefault(Some(chat.last_model_config_id));
        let resolved = self
            .store
            .model_resolve_for_chat(chat.owner_id, wanted, Arc::clone(&self.presets))
            .await
            .map_err(|error| resolve_error(&error))?;
        let kind = ProviderKind::from_name(&resolved.provider.provider)
            .ok_or_else(|| unusable(&format!("The provider type {} is not known.", resolved.provider.provider)))?;
        let provider_display_name =
            shown_name(&resolved.provider.provider, &resolved.provider.name, &resolved.provider.display_name);
        let provider = self.built(kind, &provider_display_name, &resolved)?;
        let config = resolved.model.model_config.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let config = config.unwrap_or(Value::Null);
        let options = ModelOptions::from_model_config(kind, &config);
        let prices = ModelPrices::of(kind, &resolved.model.model, &config, self.clock.now());
        Ok(TurnModel {
            provider,
            provider_name: resolved.provider.name,
            provider_display_name,
            config_id: resolved.model.id,
            max_output_tokens: options.output_tokens(resolved.model.context_limit),
            options,
            context_limit: Some(resolved.model.context_limit),
            prices: prices.effective,
            price_source: prices.source.as_str(),
            price_version: prices.source.uses_table().then(|| Catalogue::shipped().as_of()),
            model: resolved.model.model,
            paid_by: resolved.provider.paid_by,
        })
    }

    fn built(
        &self,
        kind: ProviderKind,
        display_name: &str,
        resolved: &ResolvedModel,
    ) -> Result<Arc<dyn Provider>, TurnError> {
        use sha2::Digest as _;
        let api_key = resolved.provider.api_key.as_ref().and_then(|key| Secret::new(key.expose()));
        let settings = ProviderSettings {
            kind,
            display_name: display_name.to_owned(),
            base_url: resolved.provider.base_url.clone(),
            api_key,
        };
        let key = Built {
            kind,
            name: settings.display_name.clone(),
            base_url: settings.base_url.clone(),
            key_sha256: settings.api_key.as_ref().map(|key| sha2::Sha256::digest(key.reveal()).into()),
        };
        let mut built = self.built.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(provider) = built.get(&key) {
            return Ok(Arc::clone(provider));
        }
        let provider = self.registry.build(settings).map_err(|error| match error {
            atelier_llm::BuildError::EgressDenied(denied) => {
                let mut error = unusable(&format!("The address of the model may not be reached: {denied}."));
                error.code = Some("egress_denied".to_owned());
                error
            }
            other => unusable(&format!("The model's provider cannot be used: {other}.")),
        })?;
        if built.len() >= MAX_BUILT {
            built.clear();
        }
        built.insert(key, Arc::clone(&provider));
        Ok(provider)
    }
}

fn resolve_error(error: &ModelResolveError) -> TurnError {
    match error {
        ModelResolveError::Store(source) => {
            tracing::error!("a model could not be looked up: {source}");
            TurnError::new(ErrorKind::Internal, "The model could not be looked up. Send another message to try again.")
        }
        ModelResolveError::Unavailable | ModelResolveError::KeyMissing(_) | ModelResolveError::NoDefault => {
            unusable(&format!("No model can be used: {error}. An administrator sets models up."))
        }
    }
}

fn unusable(message: &str) -> TurnError {
    let mut error = TurnError::new(ErrorKind::Config, message);
    error.code = Some("model_unavailable".to_owned());
    error
}
