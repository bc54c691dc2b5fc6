//! Anthropic Messages.
//!
//! An answer is a list of blocks. Text, thinking and calls have canonical forms; what those do not say
//! (signatures, citations, blocks of tools that the provider runs, blocks we do not know) is kept as it
//! came and goes back to the same origin in its place.

mod body;
mod decode;

use atelier_domain::error::ErrorKind;
use atelier_domain::message::Origin;
use atelier_egress::{Request, Url};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use crate::base_url::BaseUrl;
use crate::error::ProviderError;
use crate::event::ModelStream;
use crate::kind::ProviderKind;
use crate::provider::{Provider, ProviderCheck};
use crate::providers::Check;
use crate::request::ModelRequest;
use crate::wire::Wire;

/// docs.claude.com/en/api/versioning (read 2026-11-22).
const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

pub(crate) struct Anthropic {
    wire: Wire,
    messages_url: Url,
    models_url: Url,
    host: String,
}

impl Anthropic {
    pub(crate) fn new(wire: Wire, base_url: &BaseUrl) -> Self {
        let mut models_url = base_url.join_version("v1", "models");
        // a page has 20 unless more are asked for
        models_url.set_query(Some("limit=1000"));
        Self { wire, messages_url: base_url.join_version("v1", "messages"), models_url, host: base_url.host() }
    }

    fn request(&self, method: Method, url: &Url) -> Result<Request, ProviderError> {
        let mut request = Request::new(method, url.clone());
        request.headers_mut().insert(HeaderName::from_static("anthropic-version"), VERSION);
        if let Some(key) = &self.wire.key {
            let mut value = HeaderValue::from_str(key.reveal())
                .map_err(|_| self.wire.error(ErrorKind::Auth).with_code("invalid_api_key"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(HeaderName::from_static("x-api-key"), value);
        }
        Ok(request)
    }
}

impl Provider for Anthropic {
    fn stream(&self, request: ModelRequest) -> BoxFuture<'static, Result<ModelStream, ProviderError>> {
        let origin = self.origin(&request.model);
        let body = body::build(&origin, &request);
        let replayed_reasoning = body.replayed_reasoning;
        let http = self.request(Method::POST, &self.messages_url).map(|mut http| {
            http.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *http.body_mut() = Some(body.json.into());
            http
        });
        let decoder = decode::MessagesDecoder::new(self.wire.clone(), origin, replayed_reasoning);
        let wire = self.wire.clone();
        async move { wire.stream(http?, replayed_reasoning, request.timeouts, decoder).await }.boxed()
    }

    fn origin(&self, model: &str) -> Origin {
        Origin {
            provider: ProviderKind::Anthropic.as_str().to_owned(),
            host: self.host.clone(),
            model: model.to_owned(),
        }
    }

    fn check(&self) -> BoxFuture<'static, ProviderCheck> {
        let check = Check { models: self.request(Method::GET, &self.models_url), key: None };
        let wire = self.wire.clone();
        async move { check.run(&wire).await }.boxed()
    }
}

#[cfg(test)]
pub(crate) fn decoder(wire: &Wire, origin: Origin) -> impl crate::wire::Decoder + use<> {
    decode::MessagesDecoder::new(wire.clone(), origin, false)
}
