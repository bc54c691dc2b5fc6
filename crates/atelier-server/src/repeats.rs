//! `Idempotency-Key` (`api.md` 1.4): the first answer counts, a repeat gets it again.
//!
//! The layer only notes that a request has a key. Whether it is the first with it is asked where a handler
//! has checked who may do what is asked for, which is where it reads its body ([`RawBody`]): so somebody who
//! lost a right gets no old answer.
//!
//! [`RawBody`]: crate::extract::RawBody

use std::sync::{Arc, Mutex, PoisonError};

use atelier_domain::Chain;
use atelier_store::{Idempotency, IdempotencyKey};
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::state::Shared;

const LOGOUT: &str = "/api/v2/users/logout";
/// Marks an answer that is kept encrypted. No JSON begins like it.
const SEALED: &str = "sealed:";

/// What a key stands for: who asks what where. An operation may keep its answer under it in its own
/// transaction, and says so by [`KeptAnswer`].
pub(crate) type Scope = IdempotencyKey;

/// The handler has kept its answer itself.
#[derive(Clone, Copy)]
pub(crate) struct KeptAnswer;

/// The answer shows a secret: it is kept encrypted.
#[derive(Clone, Copy)]
pub(crate) struct SecretAnswer;

/// A request with a key.
pub(crate) struct Repeatable {
    app: Shared,
    key: HeaderValue,
    scope: Scope,
    stage: Mutex<Stage>,
}

#[derive(Default)]
enum Stage {
    /// The handler has not asked yet.
    #[default]
    Unasked,
    /// This request is the one that counts.
    First,
    /// The answer of the one that did.
    Repeat(Response),
}

impl Repeatable {
    pub(crate) const fn scope(&self) -> Scope {
        self.scope
    }

    /// Takes the key for this request.
    ///
    /// # Errors
    /// The key is malformed, in use, or was used: then the error stands for the kept answer.
    pub(crate) async fn begin(&self, body: &[u8]) -> ApiResult<()> {
        let key = self.key.as_bytes();
        if key.is_empty() || key.len() > 255 || !key.iter().all(|byte| (0x20..0x7f).contains(byte)) {
            return Err(ApiError::bad_request(
                "validation_failed",
                "An Idempotency-Key is 1 to 255 printable ASCII characters.",
            ));
        }
        let body_hash: [u8; 32] = Sha256::digest(body).into();
        match self.app.store.idempotency_begin(self.scope, body_hash, self.app.now()).await? {
            Idempotency::Begin => {
                self.set(Stage::First);
                Ok(())
            }
            Idempotency::Replay { status, body } => {
                let kept = kept_answer(&self.app, self.scope, status, body)?;
                self.set(Stage::Repeat(kept));
                Err(ApiError::conflict("idempotency_key_used", "The request had its effect already."))
            }
            Idempotency::InProgress => {
                let mut error =
                    ApiError::conflict("idempotency_in_progress", "The first request with this key still runs.");
                error.retry_after = Some(1);
                Err(error)
            }
            Idempotency::OtherBody => Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "This Idempotency-Key was used with another body. Use a new key for a new request.",
            )),
        }
    }

    fn set(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    fn take(&self) -> Stage {
        std::mem::take(&mut self.stage.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Of a POST, except a logout, and of an edit of a message.
pub(crate) async fn repeats(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let can_repeat = match *request.method() {
        Method::POST => path != LOGOUT,
        Method::PATCH => path.contains("/messages/"),
        _ => false,
    };
    let key = request.headers().get("idempotency-key").filter(|_| can_repeat).cloned();
    let (Some(key), Some(caller)) = (key, request.extensions().get::<Arc<Caller>>()) else {
        return next.run(request).await;
    };
    let mut scope = Sha256::new();
    let user = caller.id().uuid();
    let pieces = [&user.as_bytes()[..], request.method().as_str().as_bytes(), path.as_bytes(), key.as_bytes()];
    for piece in pieces {
        scope.update((piece.len() as u64).to_be_bytes());
        scope.update(piece);
    }
    let scope = IdempotencyKey { scope: scope.finalize().into(), owner: app.daemon.incarnation() };
    let repeatable = Arc::new(Repeatable { app: app.clone(), key, scope, stage: Mutex::default() });
    request.extensions_mut().insert(Arc::clone(&repeatable));
    let response = next.run(request).await;
    match repeatable.take() {
        Stage::Unasked => {
            debug_assert!(!response.status().is_success(), "a handler had its effect without asking for its key");
            response
        }
        Stage::First => keep_answer(&app, scope, response).await.unwrap_or_else(|error| error.into_response()),
        Stage::Repeat(kept) => kept,
    }
}

fn kept_answer(app: &Shared, scope: Scope, status: u16, mut body: String) -> ApiResult<Response> {
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
async fn keep_answer(app: &Shared, scope: Scope, response: Response) -> ApiResult<Response> {
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
        tracing::warn!("an answer was not kept for repeats: {}", Chain(&error));
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// What ties an encrypted answer to its row.
fn place(scope: Scope) -> String {
    format!("idempotency_keys|body|{}", BASE64_STANDARD.encode(scope.scope))
}
