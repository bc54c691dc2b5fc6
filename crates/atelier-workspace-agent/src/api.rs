//! The routes of the link (`workspaces.md` 2.4): reading requests, answering, errors.

use std::collections::BTreeSet;
use std::error::Error;

use atelier_workspace_protocol::{ErrorBody, TokenAnswer, access, code, header};
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::ledger::CallKey;
use crate::{context, files, processes};

/// Content of 1 MiB may be six times as long as JSON text; the server has cut what is longer.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

pub(crate) fn router(agent: Agent) -> Router {
    Router::new()
        .route("/v1/hello", get(hello))
        .route("/v1/events", get(events))
        .route("/v1/context", get(context))
        .route("/v1/tokens/{token}", get(token))
        .route("/v1/shutdown", post(shutdown))
        .merge(processes::routes::router())
        .merge(files::router())
        .fallback(async || not_found())
        .method_not_allowed_fallback(async || not_found())
        .with_state(agent)
}

fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, code::ROUTE_NOT_FOUND, "This workspace agent has no such route.")
}

async fn hello(State(agent): State<Agent>) -> Json<atelier_workspace_protocol::Hello> {
    Json(agent.hello().await)
}

async fn context(State(agent): State<Agent>) -> Result<Json<atelier_workspace_protocol::ContextAnswer>, ApiError> {
    let (home, directory) = (agent.home().to_owned(), agent.directory());
    tokio::task::spawn_blocking(move || context::gather(&home, &directory))
        .await
        .map(Json)
        .map_err(|error| ApiError::internal(&error))
}

async fn token(State(agent): State<Agent>, Path(token): Path<String>) -> Json<TokenAnswer> {
    Json(agent.ledger().answer(&token))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    #[serde(default)]
    after: u64,
}

async fn events(State(agent): State<Agent>, query: Fields<EventsQuery>) -> Response {
    let lines = agent.events().lines_after(query.0.after);
    ([("content-type", "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

async fn shutdown(
    State(agent): State<Agent>,
    request: Input<atelier_workspace_protocol::ShutdownRequest>,
) -> Json<atelier_workspace_protocol::ShutdownAnswer> {
    agent.shut_down(std::time::Duration::from_millis(request.0.deadline_ms));
    Json(atelier_workspace_protocol::ShutdownAnswer { ok: true })
}

/// An answer that is not 2xx.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) body: Box<ErrorBody>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, body: Box::new(ErrorBody { code: code.to_owned(), message: message.into(), detail: None }) }
    }

    pub(crate) fn with_detail(mut self, detail: Value) -> Self {
        self.body.detail = Some(detail);
        self
    }

    /// 400 that names one field.
    pub(crate) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::new(StatusCode::BAD_REQUEST, code::INVALID_ARGUMENTS, format!("{field} {detail}"))
            .with_detail(json!({ "validations": [{ "field": field, "detail": detail }] }))
    }

    /// 500. The agent's own words stay in its log.
    pub(crate) fn internal(error: &dyn Error) -> Self {
        tracing::error!("a request failed: {error}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            code::INTERNAL,
            format!("The workspace agent could not do it: {error}."),
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(*self.body)).into_response()
    }
}

/// The JSON body.
pub(crate) struct Input<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let bytes: Bytes = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await.map_err(|_| {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE, "The request's body is too long.")
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                code::INVALID_ARGUMENTS,
                format!("The body cannot be read: {error}."),
            )
        })
    }
}

/// The query. Names that are not known are refused.
pub(crate) struct Fields<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Fields<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                code::INVALID_ARGUMENTS,
                format!("The query cannot be read: {}.", error.body_text()),
            )),
        }
    }
}

/// Who a request is made for, from the headers that only the server sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) chat_id: Option<String>,
    pub(crate) ancestors: Vec<String>,
    pub(crate) read_only: bool,
    pub(crate) call: Option<CallKey>,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Self::read(&parts.headers)
    }
}

impl Caller {
    fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let chat_id = text(headers, header::CHAT_ID)?.map(|id| word(header::CHAT_ID, id)).transpose()?;
        let ancestors = text(headers, header::CHAT_ANCESTORS)?
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|id| !id.is_empty())
            .map(|id| word(header::CHAT_ANCESTORS, id))
            .collect::<Result<BTreeSet<_>, _>>()?
            .into_iter()
            .collect();
        let read_only = match text(headers, header::ACCESS)? {
            None | Some(access::FULL) => false,
            Some(access::READ_ONLY) => true,
            // Something newer than this agent: the safe side.
            Some(_) => true,
        };
        let call = match (text(headers, header::CALL_TOKEN)?, text(headers, header::CALL_DIGEST)?) {
            (None, _) => None,
            (Some(_), None) => {
                return Err(ApiError::invalid(header::CALL_DIGEST, "is missing beside a call token"));
            }
            (Some(token), Some(digest)) => {
                Some(CallKey { token: word(header::CALL_TOKEN, token)?, digest: word(header::CALL_DIGEST, digest)? })
            }
        };
        Ok(Self { chat_id, ancestors, read_only, call })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    headers.get(name).map(|value| value.to_str().map_err(|_| ApiError::invalid(name, "is no text"))).transpose()
}

/// An id as it may become a file's name.
fn word(name: &str, value: &str) -> Result<String, ApiError> {
    let good =
        (1..=128).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if good { Ok(value.to_owned()) } else { Err(ApiError::invalid(name, "must be letters, digits and hyphens")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_caller_is_read_and_an_unknown_access_is_read_only() {
        let caller = Caller::read(&headers(&[
            (header::CHAT_ID, "c-1"),
            (header::CHAT_ANCESTORS, "b, a"),
            (header::ACCESS, "something"),
            (header::CALL_TOKEN, "t"),
            (header::CALL_DIGEST, "d"),
        ]))
        .unwrap();
        assert_eq!(caller.ancestors, ["a", "b"]);
        assert!(caller.read_only);
        assert_eq!(caller.call, Some(CallKey { token: "t".into(), digest: "d".into() }));
        assert_eq!(Caller::read(&HeaderMap::new()).unwrap(), Caller::default());
    }

    #[test]
    fn ids_that_are_paths_are_refused() {
        assert!(Caller::read(&headers(&[(header::CHAT_ID, "../x")])).is_err());
        assert!(Caller::read(&headers(&[(header::CALL_TOKEN, "t")])).is_err());
    }
}
