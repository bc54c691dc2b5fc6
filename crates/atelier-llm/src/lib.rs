//! Provider trait, canonical history and the wire adapters.
//!
//! A step hands a [`ModelRequest`] to a [`Provider`] and reads a [`ModelStream`] of [`ModelEvent`]s. Only
//! this crate knows the JSON of any provider. What a provider sent and we do not understand is kept
//! word for word (`native` of a message part) and goes back to the same [`Origin`] only; everybody else
//! gets the canonical fields.
//!
//! The shipped table of prices is the [`Catalogue`].
//!
//! Absent on purpose: retries (the step decides, by [`ProviderError::kind`]), storage, and any reading of the
//! environment. All calls leave through `atelier-egress`.

mod base_url;
mod catalogue;
mod content;
mod error;
mod event;
mod finish;
mod history;
mod json;
mod kind;
mod options;
mod provider;
mod providers;
mod request;
mod secret;
mod sse;
mod usage;
mod wire;

pub use atelier_domain::message::{FinishReason, Native, Origin};
pub use base_url::{BaseUrl, BaseUrlError};
pub use catalogue::{Catalogue, ListPrice, ModelPrices, PriceSource};
pub use error::ProviderError;
pub use event::{ModelEvent, ModelStream};
pub use kind::{ProviderKind, shown_name};
pub use options::{
    FieldFault, ModelOptions, model_config_normalize, options_ignored, price_sheet, validate_model_config,
};
pub use provider::{BuildError, Provider, ProviderCheck, ProviderRegistry, ProviderSettings, RegistryParts};
pub use providers::scripted::{Script, ScriptError, Scripts};
pub use request::{
    HistoryMessage, HistoryRole, LeftOut, ModelRequest, SystemBlock, Timeouts, ToolDefinition,
    default_max_output_tokens,
};
pub use secret::Secret;
