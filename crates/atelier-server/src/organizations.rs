//! Organizations, members, groups.

use atelier_api as api;
use atelier_domain::permissions::{Action, Object, OrganizationRole};
use atelier_domain::{GroupId, OrganizationId, UserId};
use atelier_store::{GroupRow, GroupUpdate, MemberRow, OrganizationRow};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::auth::{Caller, LoggedIn};
use crate::error::{ApiError, ApiResult, fault};
use crate::extract::{Path, RawBody, id};
use crate::state::Shared;
use crate::users::visible_user;

pub(crate) async fn organization_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
) -> ApiResult<Json<Vec<api::Organization>>> {
    let rows = app.store.organizations_for_system().await?;
    let seen = rows.into_iter().filter(|row| caller.may(Action::OrganizationRead, &Object::inside(row.id)));
    Ok(Json(seen.map(view).collect()))
}

pub(crate) async fn user_organization_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(user): Path<String>,
) -> ApiResult<Json<Vec<api::Organization>>> {
    let row = visible_user(&app, &caller, &user).await?;
    Ok(Json(app.store.organizations_of(row.id).await?.into_iter().map(view).collect()))
}

pub(crate) async fn organization_get(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(organization): Path<String>,
) -> ApiResult<Json<api::Organization>> {
    Ok(Json(view(visible(&app, &caller, &organization).await?)))
}

pub(crate) async fn organization_create(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<(StatusCode, Json<api::Organization>)> {
    caller.must_anywhere(Action::OrganizationCreate)?;
    let fields: api::OrganizationFields = body.json().await?;
    let now = app.now();
    let name = fields.name.clone().unwrap_or_default();
    let row = OrganizationRow {
        id: OrganizationId::new(),
        display_name: name.clone(),
        name,
        description: String::new(),
        icon: String::new(),
        is_default: false,
        created_at: now,
        updated_at: now,
    };
    let row = with_fields(row, fields)?;
    let row = app.store.organization_create(row, caller.id(), now).await.map_err(name_taken)?;
    app.logins.forget();
    Ok((StatusCode::CREATED, Json(view(row))))
}

pub(crate) async fn organization_update(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(organization): Path<String>,
    body: RawBody,
) -> ApiResult<Json<api::Organization>> {
    let row = visible(&app, &caller, &organization).await?;
    caller.must(Action::OrganizationUpdate, &Object::inside(row.id))?;
    let row = with_fields(row, body.json().await?)?;
    let row = app.store.organization_update(row, app.now()).await.map_err(name_taken)?;
    Ok(Json(view(row)))
}

pub(crate) async fn organization_delete(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(organization): Path<String>,
) -> ApiResult<Json<api::Response>> {
    let row = visible(&app, &caller, &organization).await?;
    caller.must(Action::OrganizationDelete, &Object::inside(row.id))?;
    if !app.store.organization_delete(row.id).await? {
        return Err(ApiError::bad_request("in_use", "The organization is the default one or not empty."));
    }
    app.logins.forget();
    Ok(Json(api::Response { message: format!("Deleted {}.", row.name) }))
}

pub(crate) async fn member_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(organization): Path<String>,
) -> ApiResult<Json<Vec<api::Member>>> {
    let row = with_members(&app, &caller, &organization, Action::MembershipRead).await?;
    Ok(Json(app.store.members(row.id).await?.into_iter().map(member_view).collect()))
}

pub(crate) async fn member_add(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path((organization, user)): Path<(String, String)>,
    body: RawBody,
) -> ApiResult<(StatusCode, Json<api::Member>)> {
    let row = with_members(&app, &caller, &organization, Action::MembershipWrite).await?;
    let user = member_user(&app, &caller, &user).await?;
    body.begin().await?;
    let member = app.store.member_add(row.id, user, app.now()).await?;
    app.logins.forget();
    Ok((StatusCode::CREATED, Json(member_view(member))))
}

pub(crate) async fn member_remove(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path((organization, user)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    let row = with_members(&app, &caller, &organization, Action::MembershipWrite).await?;
    let user = member_user(&app, &caller, &user).await?;
    if !app.store.member_remove(row.id, user).await? {
        return Err(ApiError::not_found());
    }
    app.logins.forget();
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn member_roles_set(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path((organization, user)): Path<(String, String)>,
    body: RawBody,
) -> ApiResult<Json<api::Member>> {
    let row = with_members(&app, &caller, &organization, Action::MembershipWrite).await?;
    let user = member_user(&app, &caller, &user).await?;
    let update: api::RolesUpdate = body.json().await?;
    let mut roles = Vec::new();
    for role in update.roles {
        match OrganizationRole::from_name(&role) {
            None => return Err(ApiError::validation(vec![fault("roles", format!("{role} is no role here"))])),
            Some(OrganizationRole::Admin) if !roles.contains(&role) => roles.push(role),
            Some(OrganizationRole::Admin | OrganizationRole::Member) => {}
        }
    }
    let member = app.store.member_roles_set(row.id, user, roles).await?.ok_or_else(ApiError::not_found)?;
    app.logins.forget();
    Ok(Json(member_view(member)))
}

pub(crate) async fn group_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(organization): Path<String>,
) -> ApiResult<Json<Vec<api::Group>>> {
    let row = with_members(&app, &caller, &organization, Action::GroupRead).await?;
    let mut groups = Vec::new();
    for group in app.store.groups(row.id).await? {
        groups.push(group_view(&app, group, &row.name).await?);
    }
    Ok(Json(groups))
}

pub(crate) async fn group_create(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(organization): Path<String>,
    body: RawBody,
) -> ApiResult<(StatusCode, Json<api::Group>)> {
    let row = with_members(&app, &caller, &organization, Action::GroupWrite).await?;
    let fields: api::GroupFields = body.json().await?;
    let name = checked_name(fields.name.as_deref().unwrap_or_default())?;
    let group = GroupRow {
        id: GroupId::new(),
        organization_id: row.id,
        display_name: fields.display_name.unwrap_or_else(|| name.clone()),
        name,
        avatar_url: fields.avatar_url.unwrap_or_default(),
        created_at: app.now(),
    };
    let group = app.store.group_create(group).await?;
    Ok((StatusCode::CREATED, Json(group_view(&app, group, &row.name).await?)))
}

pub(crate) async fn group_get(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(group): Path<String>,
) -> ApiResult<Json<api::Group>> {
    let (group, organization) = visible_group(&app, &caller, &group).await?;
    Ok(Json(group_view(&app, group, &organization.name).await?))
}

pub(crate) async fn group_update(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(group): Path<String>,
    body: RawBody,
) -> ApiResult<Json<api::Group>> {
    let (group, organization) = visible_group(&app, &caller, &group).await?;
    caller.must(Action::GroupWrite, &Object::inside(organization.id))?;
    let fields: api::GroupFields = body.json().await?;
    let name = fields.name.as_deref().map(checked_name).transpose()?;
    let users = |ids: Vec<uuid::Uuid>| ids.into_iter().map(UserId::from).collect();
    let update = GroupUpdate {
        name,
        display_name: fields.display_name,
        avatar_url: fields.avatar_url,
        add_users: users(fields.add_users),
        remove_users: users(fields.remove_users),
    };
    let group = app.store.group_update(group.id, update).await?;
    Ok(Json(group_view(&app, group, &organization.name).await?))
}

pub(crate) async fn group_delete(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(group): Path<String>,
) -> ApiResult<Json<api::Response>> {
    let (group, organization) = visible_group(&app, &caller, &group).await?;
    caller.must(Action::GroupWrite, &Object::inside(organization.id))?;
    app.store.group_delete(group.id).await?;
    Ok(Json(api::Response { message: format!("Deleted {}.", group.name) }))
}

// ---- shared pieces ----

/// The organization a path names (id, name or `default`), if the caller may see it.
pub(crate) async fn visible(app: &Shared, caller: &Caller, name: &str) -> ApiResult<OrganizationRow> {
    let row = if name == "default" {
        app.store.organization_default().await?
    } else if let Ok(organization) = name.parse::<OrganizationId>() {
        app.store.organization_get(organization).await?
    } else if is_name(name) {
        app.store.organization_by_name(name).await?
    } else {
        return Err(ApiError::invalid_id("organization"));
    };
    row.filter(|row| caller.may(Action::OrganizationRead, &Object::inside(row.id))).ok_or_else(ApiError::not_found)
}

async fn with_members(app: &Shared, caller: &Caller, name: &str, action: Action) -> ApiResult<OrganizationRow> {
    let row = visible(app, caller, name).await?;
    if !caller.may(Action::MembershipRead, &Object::inside(row.id)) {
        return Err(ApiError::not_found());
    }
    caller.must(action, &Object::inside(row.id))?;
    Ok(row)
}

/// A user that is named for a membership. Whoever may change members may name any user.
async fn member_user(app: &Shared, caller: &Caller, name: &str) -> ApiResult<UserId> {
    if name == "me" {
        return Ok(caller.id());
    }
    let row = match name.parse::<UserId>() {
        Ok(user) => app.store.user_get(user).await?,
        Err(_) => app.store.user_by_username(name).await?,
    };
    row.map(|row| row.id).ok_or_else(ApiError::not_found)
}

async fn visible_group(app: &Shared, caller: &Caller, name: &str) -> ApiResult<(GroupRow, OrganizationRow)> {
    let group: GroupId = id(name, "group")?;
    let group = app.store.group_get(group).await?.ok_or_else(ApiError::not_found)?;
    if !caller.may(Action::GroupRead, &Object::inside(group.organization_id)) {
        return Err(ApiError::not_found());
    }
    let organization = app.store.organization_get(group.organization_id).await?.ok_or_else(ApiError::not_found)?;
    Ok((group, organization))
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn checked_name(name: &str) -> ApiResult<String> {
    if is_name(name) && !name.eq_ignore_ascii_case("default") {
        Ok(name.to_owned())
    } else {
        Err(ApiError::validation(vec![fault("name", "must be 1 to 64 letters, digits, - and _, and not default")]))
    }
}

fn with_fields(mut row: OrganizationRow, fields: api::OrganizationFields) -> ApiResult<OrganizationRow> {
    if let Some(name) = fields.name {
        row.name = if row.is_default && name == row.name { name } else { checked_name(&name)? };
    } else if row.name.is_empty() {
        return Err(ApiError::validation(vec![fault("name", "is required")]));
    }
    row.display_name = fields.display_name.unwrap_or(row.display_name);
    row.description = fields.description.unwrap_or(row.description);
    row.icon = fields.icon.unwrap_or(row.icon);
    Ok(row)
}

fn name_taken(error: atelier_store::StoreError) -> ApiError {
    match error {
        atelier_store::StoreError::Conflict { .. } => ApiError::taken("name", "The name"),
        other => other.into(),
    }
}

fn view(row: OrganizationRow) -> api::Organization {
    api::Organization {
        id: row.id.uuid(),
        name: row.name,
        display_name: row.display_name,
        description: row.description,
        icon: row.icon,
        is_default: row.is_default,
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
    }
}

fn member_view(row: MemberRow) -> api::Member {
    api::Member {
        user_id: row.user_id.uuid(),
        username: row.username,
        name: row.name,
        avatar_url: row.avatar_url,
        email: row.email,
        roles: row.roles.into_iter().map(|name| api::MemberRole { name }).collect(),
        created_at: row.created_at.into(),
    }
}

async fn group_view(app: &Shared, row: GroupRow, organization_name: &str) -> ApiResult<api::Group> {
    let members: Vec<api::GroupMember> = app
        .store
        .group_members(row.id)
        .await?
        .into_iter()
        .map(|member| api::GroupMember {
            id: member.id.uuid(),
            username: member.username,
            name: member.name,
            avatar_url: member.avatar_url,
        })
        .collect();
    Ok(api::Group {
        id: row.id.uuid(),
        organization_id: row.organization_id.uuid(),
        organization_name: organization_name.to_owned(),
        name: row.name,
        display_name: row.display_name,
        avatar_url: row.avatar_url,
        total_member_count: i64::try_from(members.len()).unwrap_or(i64::MAX),
        members,
        created_at: row.created_at.into(),
    })
}
