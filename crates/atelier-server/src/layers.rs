//! What happens around every handler: request ids, rates, headers, and changes that outlive their client.

use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use uuid::Uuid;

use crate::auth::Caller;
use crate::connections::Connection;
use crate::error::ApiError;
use crate::state::{Rates, Shared};

/// Keys that are remembered before those at rest are forgotten.
const MAX_KEYS: usize = 10_000;

/// Rates by user, by address, of logins and of uploads.
pub(crate) struct RateLimits {
    requests: Option<DefaultKeyedRateLimiter<String>>,
    logins: Option<DefaultKeyedRateLimiter<String>>,
    logins_per_address: Option<DefaultKeyedRateLimiter<String>>,
    files: Option<DefaultKeyedRateLimiter<String>>,
}

impl RateLimits {
    pub(crate) fn new(rates: Rates) -> Self {
        let limiter = |per_minute| NonZero::new(per_minute).map(|n| RateLimiter::keyed(Quota::per_minute(n)));
        Self {
            requests: limiter(rates.requests),
            logins: limiter(rates.logins),
            logins_per_address: limiter(rates.logins_per_address),
            files: limiter(rates.files),
        }
    }

    fn check(limiter: Option<&DefaultKeyedRateLimiter<String>>, key: &String) -> Result<(), ApiError> {
        let Some(limiter) = limiter else { return Ok(()) };
        if limiter.len() > MAX_KEYS {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|refused| {
            let wait = refused.wait_time_from(DefaultClock::default().now());
            ApiError::rate_limited(wait.as_secs() + 1)
        })
    }

    /// One request of a user, or of an address.
    pub(crate) fn check_request(&self, key: &String) -> Result<(), ApiError> {
        Self::check(self.requests.as_ref(), key)
    }

    /// One more file of a user.
    pub(crate) fn check_upload(&self, user: &String) -> Result<(), ApiError> {
        Self::check(self.files.as_ref(), user)
    }

    /// One login from an address, whatever its email, and one for this email.
    pub(crate) fn check_login(&self, address: &String, email: &str) -> Result<(), ApiError> {
        Self::check(self.logins_per_address.as_ref(), address)?;
        Self::check(self.logins.as_ref(), &format!("{address} {}", email.to_lowercase()))
    }
}

/// The address of the client, as far as it is known.
#[derive(Clone, Copy)]
struct ClientAddress(IpAddr);

/// The address of the client, for rates.
pub(crate) fn address(request: &Request) -> String {
    request.extensions().get::<ClientAddress>().map_or_else(String::new, |client| client.0.to_string())
}

/// Finds out whose request it is, and refuses those of an address with too many connections.
pub(crate) async fn client(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    if let Some(connection) = request.extensions().get::<Connection>() {
        let client = app.config.trusted_proxies.client(connection.peer(), request.headers());
        if !connection.belongs_to(client, &app.connections) {
            let mut refusal =
                ApiError::unavailable("Too many connections from this address. Close some, or try again later.", 5)
                    .into_response();
            refusal.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return refusal;
        }
        request.extensions_mut().insert(ClientAddress(client));
    }
    next.run(request).await
}

/// Two `Host` headers are two answers to the question which site is meant: proxies and servers may differ (RFC 9112, 3.2).
pub(crate) async fn one_host(request: Request, next: Next) -> Response {
    if request.headers().get_all(header::HOST).iter().nth(1).is_some() {
        return ApiError::bad_request("validation_failed", "The request has more than one Host header.")
            .into_response();
    }
    next.run(request).await
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
