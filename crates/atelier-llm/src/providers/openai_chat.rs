//! OpenAI Chat Completions, and every server that speaks it.
//!
//! The wire has one flat text, one list of calls, and, on many compatible servers, reasoning beside them
//! under names of their own. Text and calls are canonical; reasoning, and what a server adds to a call
//! (a thought signature, for instance), is kept as it came and goes back to the same origin.

mod body;
mod decode;

use atelier_domain::error::ErrorKind;
use atelier_domain::message::Origin;
use atelier_egress::{Request, Url};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};

use crate::base_url::BaseUrl;
use crate::error::ProviderError;
use crate::event::ModelStream;
use crate::kind::ProviderKind;
use crate::provider::{Provider, ProviderCheck};
use crate::providers::Check;
use crate::request::ModelRequest;
use crate::wire::Wire;

/// The field that some servers want on every answer, those of other models too, as soon as they think
/// (api-docs.deepseek.com/guides/thinking_mode, read 2026-12-01).
const REASONING_CONTENT: &str = "reasoning_content";

pub(crate) struct OpenAiChat {
    kind: ProviderKind,
    wire: Wire,
    chat_url: Url,
    models_url: Url,
    /// What tells whether a key is taken, where everybody may list the models.
    key_url: Option<Url>,
    host: String,
}

impl OpenAiChat {
    pub(crate) fn new(kind: ProviderKind, wire: Wire, base_url: &BaseUrl) -> Self {
        // openrouter.ai/docs/api/api-reference/api-keys/get-current-key, vercel.com/docs/ai-gateway/usage
        // (read 2026-12-01)
        let key_url = match kind {
            ProviderKind::OpenRouter => Some(base_url.join("key")),
            ProviderKind::Vercel => Some(base_url.join("credits")),
            _ => None,
        };
        Self {
            kind,
            wire,
            chat_url: base_url.join("chat/completions"),
            models_url: base_url.join("models"),
            key_url,
            host: base_url.host(),
        }
    }

    fn request(&self, method: Method, url: &Url) -> Result<Request, ProviderError> {
        let mut request = Request::new(method, url.clone());
        if let Some(key) = &self.wire.key {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.reveal()))
                .map_err(|_| self.wire.error(ErrorKind::Auth).with_code("invalid_api_key"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

impl Provider for OpenAiChat {
    fn stream(&self, request: ModelRequest) -> BoxFuture<'static, Result<ModelStream, ProviderError>> {
        let origin = self.origin(&request.model);
        let body = body::build(self.kind, &origin, &request);
        let replayed_reasoning = body.replayed_reasoning;
        let http = self.request(Method::POST, &self.chat_url).map(|mut http| {
            http.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *http.body_mut() = Some(body.json.into());
            http
        });
        let decoder = decode::ChatDecoder::new(self.wire.clone(), origin, replayed_reasoning);
        let wire = self.wire.clone();
        async move { wire.stream(http?, replayed_reasoning, request.timeouts, decoder).await }.boxed()
    }

    fn origin(&self, model: &str) -> Origin {
        Origin { provider: self.kind.as_str().to_owned(), host: self.host.clone(), model: model.to_owned() }
    }

    fn check(&self) -> BoxFuture<'static, ProviderCheck> {
        let key = self.key_url.as_ref().map(|url| self.request(Method::GET, url));
        let check = Check { models: self.request(Method::GET, &self.models_url), key };
        let wire = self.wire.clone();
        async move { check.run(&wire).await }.boxed()
    }
}

#[cfg(test)]
pub(crate) fn decoder(wire: &Wire, origin: Origin) -> impl crate::wire::Decoder + use<> {
    decode::ChatDecoder::new(wire.clone(), origin, false)
}
