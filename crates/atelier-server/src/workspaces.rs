//! Workspaces, builds, and the route that workspace agents connect to.

use std::collections::HashMap;

use atelier_api as api;
use atelier_domain::permissions::{Action, Object};
use atelier_domain::search::Keys;
use atelier_domain::{BuildId, WorkspaceId};
use atelier_store::{AgentRow, BuildRow, Transition, WorkspaceRow};
use atelier_workspaces::{BuildCreate, WorkspaceCreate, build_status};
use axum::Json;
use axum::body::Body;
use axum::extract::{Query as RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use crate::auth::{Caller, LoggedIn};
use crate::error::{ApiError, ApiResult, fault};
use crate::extract::{Path, Query, RawBody, id};
use crate::organizations;
use crate::state::Shared;
use crate::users::visible_user;

pub(crate) async fn workspace_create(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(user): Path<String>,
    body: RawBody,
) -> ApiResult<(StatusCode, Json<api::Workspace>)> {
    create(&app, &caller, &user, None, &body).await
}

pub(crate) async fn workspace_create_in_organization(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path((organization, user)): Path<(String, String)>,
    body: RawBody,
) -> ApiResult<(StatusCode, Json<api::Workspace>)> {
    create(&app, &caller, &user, Some(&organization), &body).await
}

async fn create(
    app: &Shared,
    caller: &Caller,
    user: &str,
    organization: Option<&str>,
    body: &RawBody,
) -> ApiResult<(StatusCode, Json<api::Workspace>)> {
    let owner = visible_user(app, caller, user).await?;
    if owner.id != caller.id() {
        return Err(ApiError::forbidden());
    }
    let organization = match organization {
        Some(name) => Some(organizations::visible(app, caller, name).await?.id),
        None => None,
    };
    let fields: api::WorkspaceCreate = body.json().await?;
    let unknown = || ApiError::validation(vec![fault("template_id", "names no template you may use")]);
    let template = app
        .store
        .template_get_for_system(fields.template_id.ok_or_else(unknown)?.into())
        .await?
        .filter(|row| caller.may(Action::TemplateUse, &Object::inside(row.organization_id)))
        .ok_or_else(unknown)?;
    let mut parameters: Vec<(String, String)> = fields.parameters.unwrap_or_default().into_iter().collect();
    let listed = fields.rich_parameter_values.unwrap_or_default();
    parameters.extend(listed.into_iter().map(|value| (value.name, value.value)));
    let (workspace, _) = app
        .workspaces
        .workspace_create(WorkspaceCreate {
            owner_id: caller.id(),
            organization_id: organization,
            template_id: template.id,
            template_version_id: fields.template_version_id.map(Into::into),
            name: fields.name,
            ttl_ms: fields.ttl_ms.flatten(),
            parameters,
        })
        .await?;
    let row = app.store.workspace_get_for_system(workspace).await?.ok_or_else(ApiError::not_found)?;
    Ok((StatusCode::CREATED, Json(view(app, row).await?)))
}

pub(crate) async fn workspace_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    RawQuery(query): RawQuery<HashMap<String, String>>,
) -> ApiResult<Json<api::WorkspacePage>> {
    let mut query = Query::new(query);
    let (limit, offset) = query.page();
    let terms = query.terms(Keys { single: &["owner", "name", "template", "status", "organization"], repeated: &[] });
    query.finish()?;
    let is = |key: &str, value: &str| terms.value(key).is_none_or(|wanted| wanted == value);
    let mut found = Vec::new();
    for row in app.store.workspaces_for_system().await? {
        if !caller.may(Action::WorkspaceRead, &on(&row)) {
            continue;
        }
        let fits = (is("owner", &row.owner_name) || (is("owner", "me") && row.owner_id == caller.id()))
            && terms.value("name").is_none_or(|name| row.name.contains(name))
            && is("template", &row.template_name)
            && is("organization", &row.organization_name)
            && terms.bare.iter().all(|word| row.name.contains(&word.to_lowercase()));
        if fits {
            found.push(row);
        }
    }
    let mut workspaces = Vec::new();
    for row in found {
        let workspace = view(&app, row).await?;
        if is("status", &workspace.latest_build.status) {
            workspaces.push(workspace);
        }
    }
    let count = i64::try_from(workspaces.len()).unwrap_or(i64::MAX);
    let page = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    let workspaces = workspaces.into_iter().skip(page(offset)).take(page(limit)).collect();
    Ok(Json(api::WorkspacePage { workspaces, count }))
}

pub(crate) async fn workspace_get(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(workspace): Path<String>,
) -> ApiResult<Json<api::Workspace>> {
    let row = visible(&app, &caller, &workspace).await?;
    Ok(Json(view(&app, row).await?))
}

pub(crate) async fn workspace_by_name(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path((user, name)): Path<(String, String)>,
) -> ApiResult<Json<api::Workspace>> {
    let owner = visible_user(&app, &caller, &user).await?;
    let row = app
        .store
        .workspace_by_name(owner.id, &name)
        .await?
        .filter(|row| caller.may(Action::WorkspaceRead, &on(row)))
        .ok_or_else(ApiError::not_found)?;
    Ok(Json(view(&app, row).await?))
}

pub(crate) async fn build_create(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(workspace): Path<String>,
    body: RawBody,
) -> ApiResult<(StatusCode, Json<api::Build>)> {
    let row = visible(&app, &caller, &workspace).await?;
    let fields: api::BuildCreate = body.json().await?;
    let Some(transition) = Transition::from_name(&fields.transition) else {
        return Err(ApiError::validation(vec![fault("transition", "must be start, stop or delete")]));
    };
    let action = match transition {
        Transition::Start => Action::WorkspaceStart,
        Transition::Stop => Action::WorkspaceStop,
        Transition::Delete => Action::WorkspaceDelete,
    };
    caller.must(action, &on(&row))?;
    let build = app
        .workspaces
        .build_create(BuildCreate {
            workspace_id: row.id,
            initiator_id: caller.id(),
            transition,
            template_version_id: fields.template_version_id.map(Into::into),
            parameters: fields.parameters.unwrap_or_default().into_iter().collect(),
        })
        .await?;
    let agent = app.store.agent_of_build(build.id).await?;
    Ok((StatusCode::CREATED, Json(build_view(build, agent, &row.name))))
}

pub(crate) async fn build_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(workspace): Path<String>,
) -> ApiResult<Json<Vec<api::Build>>> {
    let row = visible(&app, &caller, &workspace).await?;
    let mut builds = Vec::new();
    for build in app.store.builds(row.id).await? {
        let agent = app.store.agent_of_build(build.id).await?;
        builds.push(build_view(build, agent, &row.name));
    }
    Ok(Json(builds))
}

pub(crate) async fn build_get(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(build): Path<String>,
) -> ApiResult<Json<api::Build>> {
    let (build, row) = visible_build(&app, &caller, &build).await?;
    let agent = app.store.agent_of_build(build.id).await?;
    Ok(Json(build_view(build, agent, &row.name)))
}

pub(crate) async fn workspace_agent_get(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(agent): Path<String>,
) -> ApiResult<Json<api::Agent>> {
    Ok(Json(agent_view(visible_agent(&app, &caller, &agent).await?)))
}

/// The way home of workspaces that do not lie on this host.
pub(crate) async fn workspace_agent_connect(State(app): State<Shared>, request: Request) -> Response {
    // the tunnel takes the connection over; its body is nobody's
    app.workspaces.connections().handle(request.map(drop), None).await.map(Body::from)
}

fn on(row: &WorkspaceRow) -> Object {
    Object { owner_id: Some(row.owner_id), organization_id: Some(row.organization_id), ..Object::default() }
}

async fn visible(app: &Shared, caller: &Caller, workspace: &str) -> ApiResult<WorkspaceRow> {
    visible_by_id(app, caller, id(workspace, "workspace")?).await
}

async fn visible_by_id(app: &Shared, caller: &Caller, workspace: WorkspaceId) -> ApiResult<WorkspaceRow> {
    app.store
        .workspace_get_for_system(workspace)
        .await?
        .filter(|row| !row.deleted && caller.may(Action::WorkspaceRead, &on(row)))
        .ok_or_else(ApiError::not_found)
}

pub(crate) async fn visible_build(app: &Shared, caller: &Caller, build: &str) -> ApiResult<(BuildRow, WorkspaceRow)> {
    let build: BuildId = id(build, "build")?;
    let build = app.store.build_get(build).await?.ok_or_else(ApiError::not_found)?;
    let row = visible_by_id(app, caller, build.workspace_id).await?;
    Ok((build, row))
}

pub(crate) async fn visible_agent(app: &Shared, caller: &Caller, agent: &str) -> ApiResult<AgentRow> {
    let agent = app.store.agent_get(id(agent, "agent")?).await?.ok_or_else(ApiError::not_found)?;
    visible_by_id(app, caller, agent.workspace_id).await?;
    Ok(agent)
}

async fn view(app: &Shared, row: WorkspaceRow) -> ApiResult<api::Workspace> {
    let build = app.store.build_latest(row.id).await?.ok_or_else(ApiError::not_found)?;
    let agent = app.store.agent_of_build(build.id).await?;
    Ok(api::Workspace {
        id: row.id.uuid(),
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
        owner_id: row.owner_id.uuid(),
        owner_name: row.owner_name,
        owner_avatar_url: row.owner_avatar_url,
        organization_id: row.organization_id.uuid(),
        organization_name: row.organization_name,
        template_id: row.template_id.uuid(),
        template_name: row.template_name,
        template_display_name: row.template_display_name,
        template_icon: row.template_icon,
        outdated: build.template_version_id != row.template_active_version_id,
        ttl_ms: row.ttl_ms,
        last_used_at: row.last_used_at.into(),
        latest_build: build_view(build, agent, &row.name),
        name: row.name,
    })
}

fn build_view(row: BuildRow, agent: Option<AgentRow>, workspace: &str) -> api::Build {
    let status = build_status(&row).to_owned();
    let agents: Vec<api::Agent> = agent.into_iter().map(agent_view).collect();
    let resource = api::Resource {
        id: row.workspace_id.uuid(),
        name: workspace.to_owned(),
        r#type: "workspace".to_owned(),
        agents: agents.clone(),
    };
    api::Build {
        id: row.id.uuid(),
        build_number: row.build_number,
        workspace_id: row.workspace_id.uuid(),
        template_version_id: row.template_version_id.uuid(),
        transition: row.transition.as_str().to_owned(),
        status,
        reason: row.reason,
        initiator_id: row.initiator_id.uuid(),
        initiator_name: row.initiator_name,
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
        deadline: row.deadline.map(Into::into),
        error: row.error,
        error_code: row.error_code,
        agents,
        resources: vec![resource],
    }
}

fn agent_view(row: AgentRow) -> api::Agent {
    api::Agent {
        id: row.id.uuid(),
        name: row.name,
        status: row.status.as_str().to_owned(),
        lifecycle_state: row.lifecycle.as_str().to_owned(),
        operating_system: row.operating_system,
        architecture: row.architecture,
        directory: row.directory,
        version: row.version,
        first_connected_at: row.first_connected_at.map(Into::into),
        last_connected_at: row.last_connected_at.map(Into::into),
        disconnected_at: row.disconnected_at.map(Into::into),
        broken: row.broken,
    }
}
