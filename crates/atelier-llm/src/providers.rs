//! One folder for each wire.

pub(crate) mod anthropic;
pub(crate) mod openai_chat;
pub(crate) mod scripted;

use std::time::Duration;

use atelier_domain::error::ErrorKind;
use atelier_egress::{Request, Response};
use serde_json::Value;

use crate::error::ProviderError;
use crate::provider::ProviderCheck;
use crate::wire::{Wire, read_into};

/// A check ends after so long, whatever has come until then.
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);
/// Gateways list hundreds of models, with a page of words about each.
const MAX_LIST_BYTES: usize = 8 * 1024 * 1024;

/// The requests that show whether a provider is there and takes the key.
struct Check {
    /// The list of models. Both HTTP wires answer `{"data": [{"id": ...}]}`.
    models: Result<Request, ProviderError>,
    /// What only a key opens, for providers whose list of models is open to everybody.
    key: Option<Result<Request, ProviderError>>,
}

impl Check {
    async fn run(self, wire: &Wire) -> ProviderCheck {
        let mut found = ProviderCheck::default();
        let result = tokio::select! {
            result = self.calls(wire, &mut found) => result,
            // the request is dropped
            () = wire.clock.sleep(CHECK_TIMEOUT) => Err(wire.error(ErrorKind::StartupTimeout)),
        };
        if let Err(error) = result {
            found.reachable |= error.status_code.is_some();
            if error.kind == ErrorKind::Auth {
                found.key_accepted = Some(false);
            }
            found.error = Some(error.without_advice().to_owned());
        }
        found
    }

    async fn calls(self, wire: &Wire, found: &mut ProviderCheck) -> Result<(), ProviderError> {
        let list_needs_key = self.key.is_none();
        if let Some(key) = self.key {
            match answer(wire, key).await {
                Ok(_) => found.key_accepted = Some(true),
                Err(error) if error.kind == ErrorKind::Auth || error.status_code.is_none() => return Err(error),
                // a gateway of somebody's own may lack this path
                Err(_) => {}
            }
            found.reachable = true;
        }
        let response = answer(wire, self.models).await?;
        found.reachable = true;
        let mut list = Vec::new();
        read_into(&mut list, response, MAX_LIST_BYTES).await;
        found.models = model_ids(&list).ok_or_else(|| wire.malformed("it is no list of models"))?;
        if list_needs_key && wire.key.is_some() {
            found.key_accepted = Some(true);
        }
        Ok(())
    }
}

/// The answer to a request, if it was a good one.
async fn answer(wire: &Wire, request: Result<Request, ProviderError>) -> Result<Response, ProviderError> {
    let response = wire.egress.send(request?).await.map_err(|error| wire.egress_error(&error))?;
    wire.accepted(response, false).await
}

/// The ids in a list of models; `None` if it is none.
fn model_ids(body: &[u8]) -> Option<Vec<String>> {
    let list: Value = serde_json::from_slice(body).ok()?;
    let ids = list.get("data")?.as_array()?.iter();
    Some(ids.filter_map(|item| item.get("id")?.as_str().map(str::to_owned)).collect())
}
