//! One folder for each wire.

pub(crate) mod anthropic;
pub(crate) mod openai_chat;
pub(crate) mod scripted;

use std::time::Duration;

use atelier_domain::error::ErrorKind;
use atelier_egress::Request;
use serde_json::Value;

use crate::error::{ProviderError, from_response};
use crate::provider::ProviderCheck;
use crate::wire::Wire;

/// Lists the models of a provider, which shows whether it is there and takes the key. Both HTTP wires
/// answer `{"data": [{"id": ...}]}`.
async fn models_check(wire: &Wire, request: Result<Request, ProviderError>, limit: Duration) -> ProviderCheck {
    let call = async {
        let response = wire.egress.send(request?).await.map_err(|error| wire.egress_error(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = wire.read_text(response).await;
        if !status.is_success() {
            let now = wire.clock.now();
            return Err(from_response(status.as_u16(), &headers, &body, now, wire.blame(false)));
        }
        Ok(model_ids(&body))
    };
    let result = tokio::select! {
        result = call => result,
        // the request is dropped
        () = wire.clock.sleep(limit) => Err(wire.error(ErrorKind::StartupTimeout)),
    };
    match result {
        Ok(models) => ProviderCheck { reachable: true, key_accepted: Some(true), models, error: None },
        Err(error) => ProviderCheck {
            reachable: error.status_code.is_some(),
            // a server without a list of models says nothing about the key
            key_accepted: (error.kind == ErrorKind::Auth).then_some(false),
            models: Vec::new(),
            error: Some(error.message),
        },
    }
}

/// The ids in a list of models that may be cut at its end.
fn model_ids(body: &str) -> Vec<String> {
    let Ok(list) = serde_json::from_str::<Value>(body) else {
        return Vec::new();
    };
    let items = list.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item.get("id")?.as_str().map(str::to_owned)).collect()
}
