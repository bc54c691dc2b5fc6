//! What happens around every handler: request ids, rates, repeats, headers, and changes that outlive their client.

use std::num::NonZero;
use std::sync::Arc;

use atelier_store::Idempotency;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::read_body;
use crate::listener::Peer;
use crate::state::{Rates, Shared};

/// Keys that are remembered before those at rest are forgotten.
const MAX_KEYS: usize = 10_000;
const LOGOUT: &str = "/api/v2/users/logout";
/// Marks an answer that is kept encrypted. No JSON begins like it.
const SEALED: &str = "sealed:";

/// Rates by user, by address, and of logins.
pub(crate) struct RateLimits {
    requests: Option<DefaultKeyedRateLimiter<String>>,
    logins: Option<DefaultKeyedRateLimiter<String>>,
}

impl RateLimits {
    pub(crate) fn new(rates: Rates) -> Self {
        let limiter = |per_minute| NonZero::new(per_minute).map(|n| RateLimiter::keyed(Quota::per_minute(n)));
        Self { requests: limiter(rates.requests), logins: limiter(rates.logins) }
    }

    fn check(limiter: Option<&DefaultKeyedRateLimiter<String>>, key: &String) -> Result<(), ApiError> {
        let Some(limiter) = limiter else { return Ok(()) };
        if limiter.len() > MAX_KEYS {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|refused| {
            let wait = refused.wait_time_from(DefaultClock::default().now());
            let mut error = ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "Too many requests. Wait as long as Retry-After says.",
            );
            error.retry_after = Some(wait.as_secs() + 1);
            error
        })
    }

    /// One request of a user, or of an address.
    pub(crate) fn check_request(&self, key: &String) -> Result<(), ApiError> {
        Self::check(self.requests.as_ref(), key)
    }

    pub(crate) fn check_login(&self, address: &str, email: &str) -> Result<(), ApiError> {
        Self::check(self.logins.as_ref(), &format!("{address} {}", email.to_lowercase()))
    }
}

/// The address of the other end.
pub(crate) fn address(request: &Request) -> String {
    request.extensions().get::<ConnectInfo<Peer>>().map_or_else(String::new, |info| info.0.0.ip().to_string())
}

pub(crate) async fn limit_user(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let key = request.extensions().get::<Arc<Caller>>().map(|caller| caller.id().to_string()).unwrap_or_default();
    match app.limits.check_request(&key) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

pub(crate) async fn limit_address(State(app): State<Shared>, request: Request, next: Next) -> Response {
    match app.limits.check_request(&address(&request)) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Gives each request an id, keeps answers out of caches, and puts the id into a 500.
pub(crate) async fn frame(request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(request.id = %id, "{method} {path} failed, request {id}");
        response = ApiError::failed().with_detail(id.clone()).into_response();
    }
    let headers = response.headers_mut();
    headers.insert("x-request-id", HeaderValue::from_str(&id).expect("a uuid is a valid header"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// No path and no query may hold U+0000: no name does, and PostgreSQL stores none.
pub(crate) async fn without_nul(request: Request, next: Next) -> Response {
    let uri = request.uri();
    if uri.path().contains("%00") {
        return ApiError::invalid_id("name").into_response();
    }
    if uri.query().is_some_and(|query| query.contains("%00")) {
        return ApiError::bad_request("validation_failed", "The query holds U+0000.").into_response();
    }
    next.run(request).await
}

/// A change goes on when its client hangs up: what was begun is committed, published and kept for a repeat.
pub(crate) async fn completion(State(app): State<Shared>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    match app.tasks.spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => ApiError::internal(&cancelled).into_response(),
        },
    }
}

/// What an idempotency key stands for; an operation may keep its answer under it in its own transaction.
#[derive(Clone, Copy)]
pub(crate) struct IdempotencyScope(pub(crate) [u8; 32]);

/// The handler has kept its answer itself.
#[derive(Clone, Copy)]
pub(crate) struct KeptAnswer;

/// The answer shows a secret: it is kept encrypted.
#[derive(Clone, Copy)]
pub(crate) struct SecretAnswer;

/// `Idempotency-Key` on a POST, except a logout, and on an edit of a message: the first answer counts, a
/// repeat gets it again.
pub(crate) async fn idempotency(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let can_repeat = match *request.method() {
        Method::POST => path != LOGOUT,
        Method::PATCH => path.contains("/messages/"),
        _ => false,
    };
    let key = request.headers().get("idempotency-key").filter(|_| can_repeat).cloned();
    let (Some(key), Some(caller)) = (key, request.extensions().get::<Arc<Caller>>().cloned()) else {
        return next.run(request).await;
    };
    repeatable(&app, &caller, key.as_bytes(), request, next).await.unwrap_or_else(|error| error.into_response())
}

async fn repeatable(
    app: &Shared,
    caller: &Caller,
    key: &[u8],
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if key.is_empty() || key.len() > 255 || !key.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return Err(ApiError::bad_request(
            "validation_failed",
            "An Idempotency-Key is 1 to 255 printable ASCII characters.",
        ));
    }
    let (mut parts, body) = request.into_parts();
    let body = read_body(body).await?;
    let mut scope = Sha256::new();
    for piece in [caller.id().uuid().as_bytes(), parts.method.as_str().as_bytes(), parts.uri.path().as_bytes(), key] {
        scope.update((piece.len() as u64).to_be_bytes());
        scope.update(piece);
    }
    let scope: [u8; 32] = scope.finalize().into();
    let body_hash: [u8; 32] = Sha256::digest(&body).into();
    match app.store.idempotency_begin(scope, body_hash, app.now()).await? {
        Idempotency::Begin => {}
        Idempotency::Replay { status, body } => return replayed(app, scope, status, body),
        Idempotency::InProgress => {
            let mut error =
                ApiError::conflict("idempotency_in_progress", "The first request with this key still runs.");
            error.retry_after = Some(1);
            return Err(error);
        }
        Idempotency::OtherBody => {
            return Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "This Idempotency-Key was used with another body. Use a new key for a new request.",
            ));
        }
    }
    parts.extensions.insert(IdempotencyScope(scope));
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    keep_answer(app, scope, response).await
}

fn replayed(app: &Shared, scope: [u8; 32], status: u16, mut body: String) -> Result<Response, ApiError> {
    if let Some(sealed) = body.strip_prefix(SEALED) {
        let sealed = BASE64_STANDARD.decode(sealed).map_err(|error| ApiError::internal(&error))?;
        let opened = app.store.secrets().open(&place(scope), &sealed).map_err(|error| ApiError::internal(&error))?;
        opened.expose().clone_into(&mut body);
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    Ok(response)
}

/// Keeps a good answer for repeats; a refused request may be tried again.
async fn keep_answer(app: &Shared, scope: [u8; 32], response: Response) -> Result<Response, ApiError> {
    if !response.status().is_success() {
        app.store.idempotency_forget(scope).await?;
        return Ok(response);
    }
    if response.extensions().get::<KeptAnswer>().is_some() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.map_err(|error| ApiError::internal(&error))?;
    let mut text = String::from_utf8_lossy(&body).into_owned();
    if parts.extensions.get::<SecretAnswer>().is_some() {
        let sealed = app.store.secrets().seal(&place(scope), &text);
        text = format!("{SEALED}{}", BASE64_STANDARD.encode(sealed));
    }
    // the request has had its effect, whatever becomes of its repeats
    if let Err(error) = app.store.idempotency_finish(scope, parts.status.as_u16(), text).await {
        tracing::warn!("an answer was not kept for repeats: {error}");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// What ties an encrypted answer to its row.
fn place(scope: [u8; 32]) -> String {
    format!("idempotency_keys|body|{}", BASE64_STANDARD.encode(scope))
}
