//! Users: who they are and what they may do.

use std::collections::HashMap;

use atelier_api as api;
use atelier_domain::UserId;
use atelier_domain::permissions::{Action, Object, SiteRole};
use atelier_domain::search::Keys;
use atelier_store::{CredentialKind, UserFilter, UserNew, UserRow, UserStatus};
use axum::Json;
use axum::extract::{Query as RawQuery, State};
use axum::http::StatusCode;

use crate::auth::{Caller, LoggedIn};
use crate::error::{ApiError, ApiResult, fault};
use crate::extract::{Path, Query, RawBody};
use crate::state::Shared;

const MAX_PREFERENCES_BYTES: usize = 16 * 1024;
/// What stands where paths name a user; a test compares it with the routes.
const RESERVED: [&str; 6] = ["authmethods", "first", "login", "logout", "me", "roles"];

pub(crate) async fn user_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    RawQuery(query): RawQuery<HashMap<String, String>>,
) -> ApiResult<Json<api::UserPage>> {
    caller.must_anywhere(Action::UserRead)?;
    let mut query = Query::new(query);
    let (limit, offset) = query.page();
    let terms = query.terms(Keys { single: &["status", "role"], repeated: &[] });
    let status = terms.value("status").map(|status| match status {
        "active" => Some(UserStatus::Active),
        "suspended" => Some(UserStatus::Suspended),
        _ => None,
    });
    if status == Some(None) {
        query.fault("status", "must be active or suspended");
    }
    query.finish()?;
    let filter = UserFilter {
        status: status.flatten(),
        role: terms.value("role").map(str::to_owned),
        text: terms.bare.join(" "),
    };
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
    let create: api::UserCreate = body.json().await?;
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
    let update: api::ProfileUpdate = body.json().await?;
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
    let update: api::PasswordUpdate = body.json().await?;
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
    let kept = match caller.kind {
        CredentialKind::Session(session) if row.id == caller.id() => Some(session),
        CredentialKind::Session(_) | CredentialKind::Token(_) => None,
    };
    app.store.user_password_set(row.id, hash, kept, app.now()).await?;
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
    let preferences: serde_json::Map<String, serde_json::Value> = body.json().await?;
    if body.len() > MAX_PREFERENCES_BYTES {
        return Err(ApiError::bad_request("validation_failed", "Preferences are a JSON object of at most 16 KiB."));
    }
    let preferences = serde_json::Value::Object(preferences);
    app.store.user_preferences_set(row.id, preferences.to_string()).await?;
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
    let update: api::RolesUpdate = body.json().await?;
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

// ---- shared pieces ----

/// The user a path names: id, username or `me`. None: there is none.
pub(crate) async fn find_user(app: &Shared, caller: &Caller, name: &str) -> ApiResult<Option<UserRow>> {
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

pub(crate) fn self_or(caller: &Caller, row: &UserRow, action: Action) -> ApiResult<()> {
    if row.id == caller.id() { Ok(()) } else { caller.must(action, &on_user(row)) }
}

fn not_self(caller: &Caller, row: &UserRow) -> ApiResult<()> {
    if row.id == caller.id() {
        return Err(ApiError::bad_request("validation_failed", "You cannot do this to yourself."));
    }
    Ok(())
}

pub(crate) fn user_new(create: api::UserCreate, roles: Vec<String>, password_hash: String) -> UserNew {
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

pub(crate) fn check_user(create: &api::UserCreate) -> ApiResult<()> {
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
    if !is_username(username) {
        faults.push(fault("username", "must be 1 to 32 letters and digits, with single - between them"));
    } else if RESERVED.iter().any(|reserved| username.eq_ignore_ascii_case(reserved)) {
        faults.push(fault("username", format!("must not be one of {}", RESERVED.join(", "))));
    }
}

fn check_password(password: &str, faults: &mut Vec<api::Validation>) {
    if !(8..=128).contains(&password.len()) {
        faults.push(fault("password", "must have 8 to 128 bytes"));
    } else if password.trim().is_empty() {
        faults.push(fault("password", "must not be blank"));
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
