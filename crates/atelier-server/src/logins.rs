//! Coming in: the first user, logins, API tokens, and what everybody may know of the server.

use atelier_api as api;
use atelier_domain::ApiTokenId;
use atelier_domain::permissions::Action;
use atelier_store::{CredentialKind, UserStatus};
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use crate::auth::{COOKIE, LoggedIn, new_token, session_end};
use crate::error::{ApiError, ApiResult, fault};
use crate::extract::{Path, RawBody, id};
use crate::layers::address;
use crate::repeats::SecretAnswer;
use crate::state::Shared;
use crate::users::{check_user, find_user, self_or, user_new, visible_user};

const DEFAULT_TOKEN_SECONDS: i64 = 30 * 86_400;
const MAX_TOKEN_SECONDS: i64 = 365 * 86_400;

pub(crate) async fn build_info(State(app): State<Shared>) -> Json<api::BuildInfo> {
    Json(api::BuildInfo {
        version: app.config.version.clone(),
        external_url: app.config.access_url.clone(),
        dashboard_url: app.config.access_url.clone(),
        deployment_id: app.config.deployment_id.clone(),
    })
}

pub(crate) async fn experiments() -> Json<api::Experiments> {
    Json(api::Experiments(vec!["agents".to_owned()]))
}

pub(crate) async fn first_user_get(State(app): State<Shared>) -> ApiResult<Json<api::Response>> {
    if app.store.user_exists().await? {
        Ok(Json(api::Response { message: "The first user exists.".to_owned() }))
    } else {
        Err(ApiError::not_found())
    }
}

pub(crate) async fn first_user_create(
    State(app): State<Shared>,
    body: RawBody,
) -> ApiResult<(StatusCode, Json<api::FirstUserCreated>)> {
    if app.store.user_exists().await? {
        return Err(ApiError::conflict("first_user_exists", "The first user exists already."));
    }
    let create: api::FirstUserCreate = body.json().await?;
    let setup = app.config.setup.as_ref().ok_or_else(restart_for_setup)?;
    setup.check(&create.setup_code)?;
    let api::FirstUserCreate { email, username, password, name, .. } = create;
    let create = api::UserCreate { email, username, password, name, ..api::UserCreate::default() };
    check_user(&create)?;
    let password_hash = app.logins.hash_password(create.password.clone()).await?;
    let user = user_new(create, vec!["owner".to_owned()], password_hash);
    let (row, organization) = app.store.user_create_first(user, app.now()).await?;
    setup.forget();
    let created = api::FirstUserCreated { user_id: row.id.uuid(), organization_id: organization.uuid() };
    Ok((StatusCode::CREATED, Json(created)))
}

/// The database had a user when the server started and has none now.
fn restart_for_setup() -> ApiError {
    let message = "There is no set-up code. Restart the server: it prints one when there is no user.";
    ApiError::new(StatusCode::FORBIDDEN, "setup_code_required", message)
}

pub(crate) async fn login(State(app): State<Shared>, request: Request) -> ApiResult<Response> {
    let address = address(&request);
    let login: api::Login = RawBody::from_request(request, &app).await?.json().await?;
    app.limits.check_login(&address, &login.email)?;
    let user = app.store.user_by_email(&login.email).await?;
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let is_right = app.logins.verify_password(login.password, hash).await?;
    let Some(user) = user.filter(|_| is_right) else {
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "invalid_credentials",
            "Email address or password are not right.",
        ));
    };
    if user.status == UserStatus::Suspended {
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "account_suspended",
            "The account is suspended. Ask an administrator.",
        ));
    }
    let (token, hash) = new_token();
    let now = app.now();
    app.store.session_create(user.id, hash, now, session_end(now)).await?;
    let secure = if app.logins.is_https { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=604800{secure}");
    let mut response = (StatusCode::CREATED, Json(api::LoggedIn { session_token: token })).into_response();
    let cookie = HeaderValue::from_str(&cookie).expect("a base64 token is a valid header");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

pub(crate) async fn logout(State(app): State<Shared>, LoggedIn(caller): LoggedIn) -> ApiResult<Response> {
    match caller.kind {
        CredentialKind::Session(session) => app.store.session_delete(session).await?,
        CredentialKind::Token(token) => {
            app.store.api_token_delete(caller.id(), token).await?;
        }
    }
    app.logins.forget();
    let mut response = Json(api::Response { message: "Logged out.".to_owned() }).into_response();
    let cookie = HeaderValue::from_static("coder_session_token=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

pub(crate) async fn auth_methods() -> Json<api::AuthMethods> {
    Json(api::AuthMethods {
        password: api::AuthMethod { enabled: true },
        github: api::AuthMethod { enabled: false },
        oidc: api::AuthMethod { enabled: false },
    })
}

pub(crate) async fn token_create(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(user): Path<String>,
    body: RawBody,
) -> ApiResult<impl IntoResponse + use<>> {
    let row = find_user(&app, &caller, &user).await?;
    if row.as_ref().is_none_or(|row| row.id != caller.id()) {
        return Err(ApiError::forbidden());
    }
    let create: api::TokenCreate = body.json().await?;
    let seconds = create.lifetime_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS);
    let mut faults = Vec::new();
    if !(1..=MAX_TOKEN_SECONDS).contains(&seconds) {
        faults.push(fault("lifetime_seconds", "must be 1 to 31536000 (365 days)"));
    }
    let (token, hash) = new_token();
    let name = create.token_name.unwrap_or_else(|| format!("token-{}", &token[..8]));
    if name.trim().is_empty() || name.chars().count() > 64 {
        faults.push(fault("token_name", "must have 1 to 64 characters"));
    }
    if !faults.is_empty() {
        return Err(ApiError::validation(faults));
    }
    let now = app.now();
    let expires_at = now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(now);
    app.store.api_token_create(caller.id(), name, hash, now, expires_at).await.map_err(|error| match error {
        atelier_store::StoreError::Conflict { .. } => ApiError::taken("token_name", "The name"),
        other => other.into(),
    })?;
    Ok((StatusCode::CREATED, Extension(SecretAnswer), Json(api::TokenCreated { key: token })))
}

pub(crate) async fn token_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(user): Path<String>,
) -> ApiResult<Json<Vec<api::Token>>> {
    let row = visible_user(&app, &caller, &user).await?;
    self_or(&caller, &row, Action::ApiTokenList)?;
    let tokens = app.store.api_token_list(row.id).await?;
    Ok(Json(
        tokens
            .into_iter()
            .map(|token| api::Token {
                id: token.id.uuid(),
                user_id: token.user_id.uuid(),
                token_name: token.token_name,
                created_at: token.created_at.into(),
                last_used: token.last_used_at.map(Into::into),
                expires_at: token.expires_at.into(),
            })
            .collect(),
    ))
}

pub(crate) async fn token_delete(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path((user, token)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    let token: ApiTokenId = id(&token, "token")?;
    let row = visible_user(&app, &caller, &user).await?;
    self_or(&caller, &row, Action::ApiTokenRevoke)?;
    if !app.store.api_token_delete(row.id, token).await? {
        return Err(ApiError::not_found());
    }
    app.logins.forget();
    Ok(StatusCode::NO_CONTENT)
}
