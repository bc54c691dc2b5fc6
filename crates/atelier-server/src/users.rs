//! Users, logins, tokens.

use std::collections::HashMap;

use atelier_api as api;
use atelier_domain::permissions::{Action, Object, SiteRole};
use atelier_domain::{ApiTokenId, UserId};
use atelier_store::{CredentialKind, UserFilter, UserNew, UserRow, UserStatus};
use axum::extract::{Query as RawQuery, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use crate::auth::{COOKIE, Caller, LoggedIn, new_token, session_end};
use crate::error::{ApiError, ApiResult, fault};
use crate::extract::{Path, Query, RawBody, id, read_body, search_terms};
use crate::layers::{SecretAnswer, address};
use crate::state::Shared;

const DEFAULT_TOKEN_SECONDS: i64 = 30 * 86_400;
const MAX_TOKEN_SECONDS: i64 = 365 * 86_400;
const MAX_PREFERENCES_BYTES: usize = 16 * 1024;
const MAX_PROMPT_BYTES: usize = 32_768;

pub(crate) async fn build_info(State(app): State<Shared>) -> Json<api::BuildInfo> {
    Json(api::BuildInfo {
        version: app.config.version.clone(),
        external_url: app.config.access_url.clone(),
        dashboard_url: app.config.access_url.clone(),
        deployment_id: app.config.deployment_id.clone(),
    })
}

pub(crate) async fn experiments() -> Json<[&'static str; 1]> {
    Json(["agents"])
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
    let create: api::UserCreate = body.json()?;
    check_user(&create)?;
    if app.store.user_exists().await? {
        return Err(ApiError::conflict("first_user_exists", "The first user exists already."));
    }
    let password_hash = app.logins.hash_password(create.password.clone()).await?;
    let user = user_new(create, vec!["owner".to_owned()], password_hash);
    let (row, organization) = app.store.user_create_first(user, app.now()).await?;
    let created = api::FirstUserCreated { user_id: row.id.uuid(), organization_id: organization.uuid() };
    Ok((StatusCode::CREATED, Json(created)))
}

pub(crate) async fn login(State(app): State<Shared>, request: Request) -> ApiResult<Response> {
    let address = address(&request);
    let login: api::Login = RawBody(read_body(request.into_body()).await?).json()?;
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

pub(crate) async fn auth_methods(State(app): State<Shared>) -> Json<api::AuthMethods> {
    let demo = app.config.demo.as_ref();
    Json(api::AuthMethods {
        password: api::AuthMethod { enabled: true },
        github: api::AuthMethod { enabled: false },
        oidc: api::AuthMethod { enabled: false },
        demo: demo.map(|demo| api::Login { email: demo.email.clone(), password: demo.password.clone() }),
    })
}

pub(crate) async fn user_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    RawQuery(query): RawQuery<HashMap<String, String>>,
) -> ApiResult<Json<api::UserPage>> {
    caller.must_anywhere(Action::UserRead)?;
    let mut query = Query::new(query);
    let (limit, offset) = query.page();
    let (terms, text) = search_terms(query.text("q").unwrap_or_default(), &["status", "role"])?;
    let status = terms.get("status").map(|status| match status.as_str() {
        "active" => Some(UserStatus::Active),
        "suspended" => Some(UserStatus::Suspended),
        _ => None,
    });
    if status == Some(None) {
        query.fault("status", "must be active or suspended");
    }
    query.finish()?;
    let filter = UserFilter { status: status.flatten(), role: terms.get("role").cloned(), text };
    let (rows, count) = app.store.user_list(&filter, limit, offset).await?;
    let mut users = Vec::with_capacity(rows.len());
    for row in rows {
        users.push(view(&app, row).await?);
    }
    Ok(Json(api::UserPage { users, count }))
}

pub(crate) async fn user_create(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<(StatusCode, Json<api::User>)> {
    caller.must_anywhere(Action::UserCreate)?;
    let create: api::UserCreate = body.json()?;
    check_user(&create)?;
    let roles = roles_of(create.roles.clone().unwrap_or_default(), "roles")?;
    if !roles.is_empty() {
        let object = Object { changes_role_owner: roles.iter().any(|role| role == "owner"), ..Object::default() };
        caller.must(Action::SiteRolesAssign, &object)?;
    }
    let password_hash = app.logins.hash_password(create.password.clone()).await?;
    let row = app.store.user_create(user_new(create, roles, password_hash), app.now()).await?;
    Ok((StatusCode::CREATED, Json(view(&app, row).await?)))
}

pub(crate) async fn user_get(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(user): Path<String>,
) -> ApiResult<Json<api::User>> {
    let row = visible_user(&app, &caller, &user).await?;
    Ok(Json(view(&app, row).await?))
}

pub(crate) async fn user_delete(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(user): Path<String>,
) -> ApiResult<Json<api::Response>> {
    caller.must_anywhere(Action::UserDelete)?;
    let row = visible_user(&app, &caller, &user).await?;
    caller.must(Action::UserDelete, &on_user(&row))?;
    not_self(&caller, &row)?;
    app.store.user_delete(row.id, app.now()).await?;
    app.logins.forget();
    Ok(Json(api::Response { message: format!("Deleted {}.", row.username) }))
}

pub(crate) async fn user_profile_set(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(user): Path<String>,
    body: RawBody,
) -> ApiResult<Json<api::User>> {
    let row = visible_user(&app, &caller, &user).await?;
    self_or(&caller, &row, Action::UserSuspend)?;
    let update: api::ProfileUpdate = body.json()?;
    let mut faults = Vec::new();
    check_username(&update.username, &mut faults);
    if update.name.chars().count() > 128 {
        faults.push(fault("name", "has at most 128 characters"));
    }
    if !faults.is_empty() {
        return Err(ApiError::validation(faults));
    }
    let row = app.store.user_profile_set(row.id, update.username, update.name.trim().to_owned(), app.now()).await?;
    app.logins.forget();
    Ok(Json(view(&app, row).await?))
}

pub(crate) async fn user_password_set(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(user): Path<String>,
    body: RawBody,
) -> ApiResult<StatusCode> {
    let row = visible_user(&app, &caller, &user).await?;
    self_or(&caller, &row, Action::UserSuspend)?;
    let update: api::PasswordUpdate = body.json()?;
    let mut faults = Vec::new();
    check_password(&update.password, &mut faults);
    if !faults.is_empty() {
        return Err(ApiError::validation(faults));
    }
    if row.id == caller.id() {
        let old = update.old_password.unwrap_or_default();
        if !app.logins.verify_password(old, Some(row.password_hash)).await? {
            return Err(ApiError::validation(vec![fault("old_password", "is not right")]));
        }
    }
    let hash = app.logins.hash_password(update.password).await?;
    app.store.user_password_set(row.id, hash, app.now()).await?;
    app.logins.forget();
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn user_preferences_get(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(user): Path<String>,
) -> ApiResult<Json<serde_json::Value>> {
    let row = own_user(&app, &caller, &user).await?;
    Ok(Json(serde_json::from_str(&row.preferences).unwrap_or_default()))
}

pub(crate) async fn user_preferences_set(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(user): Path<String>,
    body: RawBody,
) -> ApiResult<Json<serde_json::Value>> {
    let row = own_user(&app, &caller, &user).await?;
    let preferences: serde_json::Value = body.json()?;
    let text = preferences.to_string();
    if !preferences.is_object() || body.0.len() > MAX_PREFERENCES_BYTES {
        return Err(ApiError::bad_request("validation_failed", "Preferences are a JSON object of at most 16 KiB."));
    }
    app.store.user_preferences_set(row.id, text).await?;
    Ok(Json(preferences))
}

pub(crate) async fn user_roles_get(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(user): Path<String>,
) -> ApiResult<Json<api::UserRoles>> {
    let row = visible_user(&app, &caller, &user).await?;
    let memberships = app.store.memberships(row.id).await?;
    let organization_roles =
        memberships.into_iter().map(|membership| (membership.organization_id.uuid(), membership.roles)).collect();
    Ok(Json(api::UserRoles { roles: row.roles, organization_roles }))
}

pub(crate) async fn user_roles_set(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(user): Path<String>,
    body: RawBody,
) -> ApiResult<Json<api::User>> {
    caller.must_anywhere(Action::SiteRolesAssign)?;
    let row = visible_user(&app, &caller, &user).await?;
    let update: api::RolesUpdate = body.json()?;
    let roles = roles_of(update.roles, "roles")?;
    let owner = |roles: &[String]| roles.iter().any(|role| role == "owner");
    let object = Object { changes_role_owner: owner(&row.roles) != owner(&roles), ..on_user(&row) };
    caller.must(Action::SiteRolesAssign, &object)?;
    let row = app.store.user_roles_set(row.id, roles, app.now()).await?;
    app.logins.forget();
    Ok(Json(view(&app, row).await?))
}

pub(crate) async fn user_suspend(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(user): Path<String>,
) -> ApiResult<Json<api::User>> {
    status_set(&app, &caller, &user, UserStatus::Suspended).await
}

pub(crate) async fn user_activate(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(user): Path<String>,
) -> ApiResult<Json<api::User>> {
    status_set(&app, &caller, &user, UserStatus::Active).await
}

async fn status_set(app: &Shared, caller: &Caller, user: &str, status: UserStatus) -> ApiResult<Json<api::User>> {
    caller.must_anywhere(Action::UserSuspend)?;
    let row = visible_user(app, caller, user).await?;
    caller.must(Action::UserSuspend, &on_user(&row))?;
    not_self(caller, &row)?;
    let row = app.store.user_status_set(row.id, status, app.now()).await?;
    app.logins.forget();
    Ok(Json(view(app, row).await?))
}

pub(crate) async fn role_list(LoggedIn(caller): LoggedIn) -> Json<Vec<api::AssignableRole>> {
    let roles = SiteRole::ALL.iter().filter(|role| **role != SiteRole::Member);
    Json(
        roles
            .map(|role| {
                let object = Object { changes_role_owner: *role == SiteRole::Owner, ..Object::default() };
                api::AssignableRole {
                    name: role.as_str().to_owned(),
                    display_name: role_display(role.as_str()),
                    assignable: caller.may(Action::SiteRolesAssign, &object),
                }
            })
            .collect(),
    )
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
    let create: api::TokenCreate = body.json()?;
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

pub(crate) async fn user_prompt_get(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
) -> ApiResult<Json<serde_json::Value>> {
    let row = app.store.user_get(caller.id()).await?.ok_or_else(ApiError::not_found)?;
    Ok(Json(serde_json::json!({ "custom_prompt": row.user_prompt })))
}

pub(crate) async fn user_prompt_set(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<Json<serde_json::Value>> {
    let body: serde_json::Value = body.json()?;
    let prompt = body["custom_prompt"]
        .as_str()
        .ok_or_else(|| ApiError::validation(vec![fault("custom_prompt", "must be a text")]))?
        .trim()
        .to_owned();
    if prompt.len() > MAX_PROMPT_BYTES {
        return Err(ApiError::validation(vec![fault("custom_prompt", "has at most 32768 bytes")]));
    }
    app.store.user_prompt_set(caller.id(), prompt.clone()).await?;
    Ok(Json(serde_json::json!({ "custom_prompt": prompt })))
}

// ---- shared pieces ----

/// The user a path names: id, username or `me`. None: there is none.
async fn find_user(app: &Shared, caller: &Caller, name: &str) -> ApiResult<Option<UserRow>> {
    Ok(if name == "me" {
        app.store.user_get(caller.id()).await?
    } else if let Ok(user) = name.parse::<UserId>() {
        app.store.user_get(user).await?
    } else if is_username(name) {
        app.store.user_by_username(name).await?
    } else {
        return Err(ApiError::invalid_id("user"));
    })
}

/// The user, if the caller may see them.
pub(crate) async fn visible_user(app: &Shared, caller: &Caller, name: &str) -> ApiResult<UserRow> {
    let row = find_user(app, caller, name).await?.ok_or_else(ApiError::not_found)?;
    if row.id == caller.id() || caller.may(Action::UserRead, &Object::owned_by(row.id)) {
        Ok(row)
    } else {
        Err(ApiError::not_found())
    }
}

async fn own_user(app: &Shared, caller: &Caller, name: &str) -> ApiResult<UserRow> {
    find_user(app, caller, name).await?.filter(|row| row.id == caller.id()).ok_or_else(ApiError::not_found)
}

fn on_user(row: &UserRow) -> Object {
    Object { owner_id: Some(row.id), is_site_owner: row.roles.iter().any(|role| role == "owner"), ..Object::default() }
}

fn self_or(caller: &Caller, row: &UserRow, action: Action) -> ApiResult<()> {
    if row.id == caller.id() { Ok(()) } else { caller.must(action, &on_user(row)) }
}

fn not_self(caller: &Caller, row: &UserRow) -> ApiResult<()> {
    if row.id == caller.id() {
        return Err(ApiError::bad_request("validation_failed", "You cannot do this to yourself."));
    }
    Ok(())
}

fn user_new(create: api::UserCreate, roles: Vec<String>, password_hash: String) -> UserNew {
    let name = create.name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    UserNew {
        id: UserId::new(),
        email: create.email.trim().to_owned(),
        name: name.unwrap_or_else(|| create.username.clone()),
        username: create.username,
        roles,
        password_hash,
        organization_ids: create.organization_ids.unwrap_or_default().into_iter().map(Into::into).collect(),
    }
}

fn check_user(create: &api::UserCreate) -> ApiResult<()> {
    let mut faults = Vec::new();
    let email = create.email.trim();
    let is_email = email.len() <= 254
        && email
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
        && !email.contains(char::is_whitespace);
    if !is_email {
        faults.push(fault("email", "must be an email address"));
    }
    check_username(&create.username, &mut faults);
    check_password(&create.password, &mut faults);
    if create.name.as_ref().is_some_and(|name| name.chars().count() > 128) {
        faults.push(fault("name", "has at most 128 characters"));
    }
    if faults.is_empty() { Ok(()) } else { Err(ApiError::validation(faults)) }
}

fn is_username(name: &str) -> bool {
    name.len() <= 32
        && !name.is_empty()
        && name.split('-').all(|piece| !piece.is_empty() && piece.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn check_username(username: &str, faults: &mut Vec<api::Validation>) {
    if !is_username(username) || username.eq_ignore_ascii_case("me") {
        faults.push(fault("username", "must be 1 to 32 letters and digits, with single - between them, and not me"));
    }
}

fn check_password(password: &str, faults: &mut Vec<api::Validation>) {
    if !(8..=128).contains(&password.len()) {
        faults.push(fault("password", "must have 8 to 128 bytes"));
    }
}

/// Site roles, each once; `member` is implied.
fn roles_of(roles: Vec<String>, field: &str) -> ApiResult<Vec<String>> {
    let mut known = Vec::new();
    for role in roles {
        match SiteRole::from_name(&role) {
            None => return Err(ApiError::validation(vec![fault(field, format!("{role} is no role"))])),
            Some(SiteRole::Member) => {}
            Some(_) if known.contains(&role) => {}
            Some(_) => known.push(role),
        }
    }
    Ok(known)
}

fn role_display(name: &str) -> String {
    let words = name.replace('-', " ");
    let mut characters = words.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// A user as it is sent.
pub(crate) async fn view(app: &Shared, row: UserRow) -> ApiResult<api::User> {
    let memberships = app.store.memberships(row.id).await?;
    let roles = row.roles.iter().map(|name| api::Role { name: name.clone(), display_name: role_display(name) });
    Ok(api::User {
        id: row.id.uuid(),
        roles: roles.collect(),
        username: row.username,
        name: row.name,
        email: row.email,
        avatar_url: row.avatar_url,
        status: row.status.as_str().to_owned(),
        organization_ids: memberships.into_iter().map(|membership| membership.organization_id.uuid()).collect(),
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
        last_seen_at: row.last_seen_at.map(Into::into),
    })
}
