//! Who is calling: passwords, sessions, tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use atelier_domain::permissions::{Action, Object, OrganizationRole, SiteRole, Subject, allows};
use atelier_domain::{OrganizationId, Timestamp, UserId};
use atelier_store::{Credential, CredentialKind, UserRow, UserStatus};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::error::{ApiError, ApiResult};
use crate::layers;
use crate::origin::OwnOrigin;
use crate::socket::asks_for_upgrade;
use crate::state::Shared;

pub(crate) const COOKIE: &str = "coder_session_token";
const HEADER: &str = "coder-session-token";
/// A session lasts this long from its last use.
const SESSION_LIFE: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);
/// A credential that was looked up is believed for so long.
const BELIEVED_FOR: Duration = Duration::from_secs(5);
const MAX_BELIEVED: usize = 10_000;
/// Passwords hashed at the same time: each takes 64 MiB.
const HASHES_AT_ONCE: usize = 2;
/// Passwords that wait for it. More would wait for seconds, and are refused at once.
const HASHES_WAITING: usize = 8;

/// What is known of logins, between requests.
pub(crate) struct Logins {
    memory: Mutex<Memory>,
    hashing: Arc<Semaphore>,
    /// A place for each password that is hashed or waits for it.
    hash_places: Arc<Semaphore>,
    pub(crate) is_https: bool,
    pub(crate) origin: OwnOrigin,
}

#[derive(Default)]
struct Memory {
    believed: HashMap<[u8; 32], Believed>,
    /// Moves with every change of rights or credentials.
    age: u64,
}

struct Believed {
    caller: Arc<Caller>,
    until: Duration,
}

/// The user behind a request.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) user: UserRow,
    pub(crate) kind: CredentialKind,
    pub(crate) token_hash: [u8; 32],
    subject: Subject,
}

impl Caller {
    pub(crate) const fn id(&self) -> UserId {
        self.user.id
    }

    pub(crate) fn may(&self, action: Action, object: &Object) -> bool {
        allows(&self.subject, action, object)
    }

    /// # Errors
    /// 403.
    pub(crate) fn must(&self, action: Action, object: &Object) -> ApiResult<()> {
        if self.may(action, object) { Ok(()) } else { Err(ApiError::forbidden()) }
    }

    /// # Errors
    /// 403.
    pub(crate) fn must_anywhere(&self, action: Action) -> ApiResult<()> {
        self.must(action, &Object::default())
    }

    pub(crate) fn organizations(&self) -> impl Iterator<Item = OrganizationId> + '_ {
        self.subject.organizations.iter().map(|(organization, _)| *organization)
    }
}

/// The caller in a handler's signature.
pub(crate) struct LoggedIn(pub(crate) Arc<Caller>);

impl<S: Send + Sync> FromRequestParts<S> for LoggedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Arc<Caller>>().cloned().map(Self).ok_or_else(ApiError::unauthenticated)
    }
}

impl Logins {
    pub(crate) fn new(access_url: &str) -> Self {
        Self {
            memory: Mutex::default(),
            hashing: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
            hash_places: Arc::new(Semaphore::new(HASHES_AT_ONCE + HASHES_WAITING)),
            is_https: access_url.starts_with("https://"),
            origin: OwnOrigin::new(access_url),
        }
    }

    /// Rights or credentials of users have changed: everything is looked up again.
    pub(crate) fn forget(&self) {
        let mut memory = self.lock();
        memory.believed.clear();
        memory.age += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Argon2id, 64 MiB, 3 passes, 4 lanes, off the threads that serve requests.
    pub(crate) async fn hash_password(&self, password: String) -> ApiResult<String> {
        self.hash_work(move || hash_password(&password)).await?.map_err(|error| {
            tracing::error!("a password could not be hashed: {error}");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed. Try again.")
        })
    }

    /// Whether the password is right. Without a hash it takes as long and is wrong.
    pub(crate) async fn verify_password(&self, password: String, hash: Option<String>) -> ApiResult<bool> {
        self.hash_work(move || match hash {
            Some(hash) => {
                PasswordHash::new(&hash).is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
            }
            None => {
                let _ = argon2().hash_password(password.as_bytes());
                false
            }
        })
        .await
    }

    async fn hash_work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> ApiResult<T> {
        let place = Arc::clone(&self.hash_places).try_acquire_owned().map_err(|_| ApiError::rate_limited(1))?;
        let permit = Arc::clone(&self.hashing).acquire_owned().await.expect("the semaphore is never closed");
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop((permit, place));
            result
        })
        .await
        .map_err(|error| ApiError::internal(&error))
    }
}

/// The password could not be hashed.
#[derive(Debug, thiserror::Error)]
#[error("a password could not be hashed: {0}")]
pub struct HashError(String);

/// Argon2id, 64 MiB, 3 passes, 4 lanes.
///
/// # Errors
/// There is not enough memory.
pub fn hash_password(password: &str) -> Result<String, HashError> {
    let hash = argon2().hash_password(password.as_bytes()).map_err(|error| HashError(error.to_string()))?;
    Ok(hash.to_string())
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(64 * 1024, 3, 4, None).expect("the parameters are within their bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// A new token of 256 random bits, and the SHA-256 that is stored of it.
#[must_use]
pub fn new_token() -> (String, [u8; 32]) {
    let token = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let hash = Sha256::digest(token.as_bytes()).into();
    (token, hash)
}

/// A new secret that people can type: 4 times 5 letters and digits that look different, 100 random bits.
#[must_use]
pub fn new_code() -> String {
    const CHARACTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let random = rand::random::<[u8; 20]>().map(|byte| char::from(CHARACTERS[usize::from(byte) % CHARACTERS.len()]));
    random.chunks(5).map(String::from_iter).collect::<Vec<_>>().join("-")
}

pub(crate) fn session_end(now: Timestamp) -> Timestamp {
    now.checked_add(SESSION_LIFE).unwrap_or(now)
}

/// Puts the caller into the request, or answers 401; checks the origin of browsers.
pub(crate) async fn authenticate(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    match caller(&app, &request).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

/// Whose request it is.
///
/// # Errors
/// 401: nobody's, and 429 when its address sends too many of these; 403: another site made a browser send it.
pub(crate) fn caller<'a>(
    app: &'a Shared,
    request: &Request,
) -> impl Future<Output = ApiResult<Arc<Caller>>> + Send + use<'a> {
    let (presented, address) = (Presented::of(&app.logins, request), layers::address(request));
    async move {
        let found = match presented {
            Ok(presented) => presented.caller(app).await,
            Err(error) => Err(error),
        };
        match found {
            Err(error) if error.status == StatusCode::UNAUTHORIZED => {
                app.limits.check_request(&address)?;
                Err(error)
            }
            found => found,
        }
    }
}

/// The credential of a request: the first one present decides.
pub(crate) struct Presented {
    token_hash: [u8; 32],
    /// A cookie comes along by itself, so it does not prove that a page of this site sent the request.
    origin: ApiResult<()>,
}

impl Presented {
    /// # Errors
    /// 401: there is none.
    pub(crate) fn of(logins: &Logins, request: &Request) -> ApiResult<Self> {
        let headers = request.headers();
        let has_upgrade = headers.contains_key(header::UPGRADE);
        // browsers cannot send headers with a WebSocket; in any other request a token in the URL ends up in logs
        let from_query = || {
            let query = request.uri().query().filter(|_| asks_for_upgrade(headers))?;
            query.split('&').find_map(|pair| pair.strip_prefix("coder_session_token="))
        };
        let (token, is_cookie) = if let Some(token) = headers.get(HEADER) {
            (token.as_bytes(), false)
        } else if let Some(token) = bearer(headers).or_else(from_query) {
            (token.as_bytes(), false)
        } else {
            (cookie(headers).ok_or_else(ApiError::unauthenticated)?.as_bytes(), true)
        };
        let changes = has_upgrade || !request.method().is_safe();
        let origin = if is_cookie && changes { logins.origin.check(request) } else { Ok(()) };
        Ok(Self { token_hash: Sha256::digest(token).into(), origin })
    }

    /// # Errors
    /// 401: it opens nothing. 403: it is a cookie that another site made the browser send.
    pub(crate) async fn caller(self, app: &Shared) -> ApiResult<Arc<Caller>> {
        let caller = caller_by_token(app, self.token_hash).await?;
        self.origin.map(|()| caller)
    }
}

/// The caller with this token, from memory for a few seconds.
pub(crate) async fn caller_by_token(app: &Shared, token_hash: [u8; 32]) -> ApiResult<Arc<Caller>> {
    let monotonic = app.clock.monotonic_now();
    let age = {
        let memory = app.logins.lock();
        if let Some(believed) = memory.believed.get(&token_hash)
            && believed.until > monotonic
        {
            return Ok(Arc::clone(&believed.caller));
        }
        memory.age
    };
    let now = app.now();
    let credential = app.store.credential_by_hash(token_hash, now).await?.ok_or_else(ApiError::unauthenticated)?;
    if credential.user.status == UserStatus::Suspended {
        return Err(ApiError::unauthenticated());
    }
    app.store.credential_touch(&credential, now, session_end(now)).await?;
    let caller = Arc::new(caller_of(app, credential, token_hash).await?);
    let mut memory = app.logins.lock();
    // what was read before a change of rights is not remembered after it
    if memory.age == age {
        if memory.believed.len() >= MAX_BELIEVED {
            memory.believed.clear();
        }
        let until = monotonic + BELIEVED_FOR;
        memory.believed.insert(token_hash, Believed { caller: Arc::clone(&caller), until });
    }
    Ok(caller)
}

async fn caller_of(app: &Shared, credential: Credential, token_hash: [u8; 32]) -> ApiResult<Caller> {
    let Credential { kind, user, .. } = credential;
    let memberships = app.store.memberships(user.id).await?;
    let subject = Subject {
        user_id: user.id,
        site_roles: user.roles.iter().filter_map(|role| SiteRole::from_name(role)).collect(),
        organizations: memberships
            .into_iter()
            .map(|membership| {
                let is_admin = membership.roles.iter().any(|role| role == OrganizationRole::Admin.as_str());
                let role = if is_admin { OrganizationRole::Admin } else { OrganizationRole::Member };
                (membership.organization_id, role)
            })
            .collect(),
    };
    Ok(Caller { user, kind, token_hash, subject })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_password_that_would_wait_behind_eight_others_is_refused_at_once() {
        let logins = Arc::new(Logins::new("http://atelier.example"));
        let (release, hold) = mpsc::channel::<()>();
        let hold = Arc::new(Mutex::new(hold));
        let hashes: Vec<_> = (0..HASHES_AT_ONCE + HASHES_WAITING)
            .map(|_| {
                let (logins, hold) = (Arc::clone(&logins), Arc::clone(&hold));
                tokio::spawn(async move { logins.hash_work(move || hold.lock().unwrap().recv().is_err()).await })
            })
            .collect();
        while logins.hash_places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = logins.hash_work(|| ()).await.unwrap_err();
        assert_eq!((refused.status, refused.retry_after), (StatusCode::TOO_MANY_REQUESTS, Some(1)));
        drop(release);
        for hash in hashes {
            assert!(hash.await.unwrap().unwrap());
        }
        logins.hash_work(|| ()).await.unwrap();
    }
}
