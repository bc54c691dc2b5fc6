//! Providers, model configs and prices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Time;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Provider {
    /// Nil for one that is not saved.
    pub id: Uuid,
    pub provider: String,
    pub name: String,
    pub display_name: String,
    pub enabled: bool,
    pub has_api_key: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// `database`, `env_preset` or `supported`.
    pub source: String,
    pub central_api_key_enabled: bool,
    pub allow_user_api_key: bool,
    pub allow_central_api_key_fallback: bool,
    pub warnings: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Time>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ProviderFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub central_api_key_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_user_api_key: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_central_api_key_fallback: Option<bool>,
}

/// What one call to a provider has shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderCheck {
    pub reachable: bool,
    /// Null if it could not be told.
    pub key_accepted: Option<bool>,
    /// Ids, as the provider lists them.
    pub models: Vec<String>,
    /// Rows of the shipped price table for models that the provider lists, each under an id that it lists.
    pub known: Vec<ModelPrice>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelConfig {
    pub id: Uuid,
    pub provider: String,
    /// Absent on a preset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<Uuid>,
    pub provider_name: String,
    pub model: String,
    pub display_name: String,
    pub enabled: bool,
    pub is_default: bool,
    pub context_limit: i64,
    pub compression_threshold: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ModelOptions>)]
    pub model_config: Option<Value>,
    /// The prices in use. For those who may read the deployment's settings, as is `default_cost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_cost: Option<ModelCost>,
    /// Those of the shipped table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_cost: Option<ModelCost>,
    pub warnings: Vec<String>,
    pub created_at: Time,
    pub updated_at: Time,
}

/// Fields of a create or an update. `display_name` null clears it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ModelConfigFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub display_name: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_default: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression_threshold: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ModelOptions>)]
    pub model_config: Option<Value>,
}

/// What a `model_config` may hold. It is checked field by field, so that every fault is named by its path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ModelOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostOptions>,
    /// By the name of a provider's block. Others than admins and auditors do not see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_options: Option<BTreeMap<String, Value>>,
}

/// Prices set at a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct CostOptions {
    #[serde(flatten)]
    pub prices: Prices,
    /// Whether blank prices take those of the shipped table; absent: they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_defaults: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long_context: Option<LongContextPrices>,
}

/// Dollars per million tokens as decimal texts, such as `"1.5"`; absent is unpriced, `"0"` is free. A request may
/// also have numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Prices {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_price_per_million_tokens: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_price_per_million_tokens: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_price_per_million_tokens: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_price_per_million_tokens: Option<String>,
}

/// Prices of a whole call whose prompt is longer than this; an absent one keeps the usual price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LongContextPrices {
    pub above_prompt_tokens: i64,
    #[serde(flatten)]
    pub prices: Prices,
}

/// What a model costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelCost {
    #[serde(flatten)]
    pub prices: Prices,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_context: Option<LongContextPrices>,
    /// The version of the shipped table, if some of the prices are from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_version: Option<String>,
}

/// The shipped table of list prices, or some of its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelPrices {
    /// Its version: the day it was last read over.
    pub as_of: String,
    pub prices: Vec<ModelPrice>,
}

/// A row of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelPrice {
    /// The type of the provider that was asked for, else the vendor.
    pub provider: String,
    /// As that provider calls it.
    pub model: String,
    pub display_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_limit: Option<i64>,
    #[serde(flatten)]
    pub prices: Prices,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_context: Option<LongContextPrices>,
    pub source_url: String,
}

/// Tells null from absent.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Models {
    pub providers: Vec<ModelsOfProvider>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelsOfProvider {
    pub provider: String,
    pub name: String,
    pub display_name: String,
    pub available: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable_reason: Option<String>,
    pub models: Vec<Model>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Model {
    /// `<provider name>:<model>`
    pub id: String,
    pub provider: String,
    pub model: String,
    pub display_name: String,
}
