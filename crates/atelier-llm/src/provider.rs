//! What every model is to the daemon, and how one is made from settings.

use std::sync::Arc;

use atelier_domain::SharedClock;
use atelier_domain::message::Origin;
use atelier_egress::{Egress, EgressDenied};
use futures::future::BoxFuture;

use crate::base_url::{BaseUrl, BaseUrlError};
use crate::error::ProviderError;
use crate::event::ModelStream;
use crate::kind::ProviderKind;
use crate::providers::anthropic::Anthropic;
use crate::providers::openai_chat::OpenAiChat;
use crate::providers::scripted::{Scripted, Scripts};
use crate::request::ModelRequest;
use crate::secret::Secret;
use crate::wire::Wire;

/// One configured provider.
pub trait Provider: Send + Sync {
    /// Asks for an answer. Ready when the answer begins.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream cancels the request at the provider.
    fn stream(&self, request: ModelRequest) -> BoxFuture<'static, Result<ModelStream, ProviderError>>;

    /// Where parts of answers of `model` come from.
    fn origin(&self, model: &str) -> Origin;

    /// One cheap call that tells whether the provider is there and takes the key. Ends within 15 s.
    fn check(&self) -> BoxFuture<'static, ProviderCheck>;
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderCheck {
    pub reachable: bool,
    /// `None` if it could not be told.
    pub key_accepted: Option<bool>,
    pub models: Vec<String>,
    /// What went wrong, for people.
    pub error: Option<String>,
}

/// How one provider is reached.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    pub kind: ProviderKind,
    /// As people know it; named in errors.
    pub display_name: String,
    pub base_url: Option<String>,
    pub api_key: Option<Secret>,
}

/// What adapters are made of.
pub struct RegistryParts {
    pub egress: Egress,
    pub clock: SharedClock,
    /// Absent: the scripted provider does not exist here.
    pub scripts: Option<Scripts>,
}

/// Makes providers from settings. Cheap to clone; all share one pool of connections.
#[derive(Clone)]
pub struct ProviderRegistry {
    parts: Arc<RegistryParts>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("{0} is not supported yet")]
    NoAdapter(ProviderKind),
    #[error("the scripted provider is switched off; ATELIER_SCRIPTED_PROVIDER=true switches it on")]
    ScriptedOff,
    #[error("{0} needs a base URL")]
    MissingBaseUrl(ProviderKind),
    #[error("the base URL {0}")]
    InvalidBaseUrl(BaseUrlError),
    #[error(transparent)]
    EgressDenied(#[from] EgressDenied),
}

impl ProviderRegistry {
    #[must_use]
    pub fn new(parts: RegistryParts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// The types that can be used on this server, in their fixed order.
    pub fn kinds(&self) -> impl Iterator<Item = ProviderKind> + '_ {
        ProviderKind::ALL
            .into_iter()
            .filter(|kind| kind.has_adapter() && (*kind != ProviderKind::Scripted || self.parts.scripts.is_some()))
    }

    /// Makes the provider of `settings`. Does no IO.
    ///
    /// # Errors
    /// There is no adapter, or the base URL is missing, wrong, or a literal address that is denied.
    pub fn build(&self, settings: ProviderSettings) -> Result<Arc<dyn Provider>, BuildError> {
        let kind = settings.kind;
        if !kind.has_adapter() {
            return Err(BuildError::NoAdapter(kind));
        }
        if kind == ProviderKind::Scripted {
            let scripts = self.parts.scripts.clone().ok_or(BuildError::ScriptedOff)?;
            return Ok(Arc::new(Scripted::new(scripts, self.parts.clock.clone(), settings.display_name)));
        }
        let base_url = BaseUrl::in_use(kind, settings.base_url.as_deref())
            .ok_or(BuildError::MissingBaseUrl(kind))?
            .map_err(BuildError::InvalidBaseUrl)?;
        self.parts.egress.check_url(base_url.as_str())?;
        let wire = Wire {
            egress: self.parts.egress.clone(),
            clock: self.parts.clock.clone(),
            provider: settings.display_name,
            key: settings.api_key,
        };
        Ok(match kind {
            ProviderKind::Anthropic => Arc::new(Anthropic::new(wire, &base_url)),
            ProviderKind::OpenAi | ProviderKind::OpenAiCompat | ProviderKind::OpenRouter | ProviderKind::Vercel => {
                Arc::new(OpenAiChat::new(kind, wire, &base_url))
            }
            ProviderKind::Azure | ProviderKind::Bedrock | ProviderKind::Google | ProviderKind::Scripted => {
                return Err(BuildError::NoAdapter(kind));
            }
        })
    }
}
