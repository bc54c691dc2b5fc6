//! Templates.

use atelier_api as api;
use atelier_domain::TemplateId;
use atelier_domain::permissions::{Action, Object};
use atelier_store::TemplateRow;
use atelier_workspaces::templates::redact_spec;
use atelier_workspaces::{TemplateCreate, TemplateUpdate};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;

use crate::auth::{Caller, LoggedIn};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Path, RawBody, id};
use crate::organizations;
use crate::state::{App, Shared};

pub(crate) async fn template_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
) -> ApiResult<Json<Vec<api::Template>>> {
    let rows = app.store.templates_for_system().await?;
    let seen = rows.into_iter().filter(|row| caller.may(Action::TemplateRead, &Object::inside(row.organization_id)));
    Ok(Json(seen.map(|row| view(&app, &caller, row)).collect()))
}

pub(crate) async fn template_list_of_organization(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(organization): Path<String>,
) -> ApiResult<Json<Vec<api::Template>>> {
    let organization = organizations::visible(&app, &caller, &organization).await?;
    let rows = app.store.templates_of_organization(organization.id).await?;
    let seen = rows.into_iter().filter(|row| caller.may(Action::TemplateRead, &Object::inside(row.organization_id)));
    Ok(Json(seen.map(|row| view(&app, &caller, row)).collect()))
}

pub(crate) async fn template_create(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(organization): Path<String>,
    body: RawBody,
) -> ApiResult<(StatusCode, Json<api::Template>)> {
    let organization = organizations::visible(&app, &caller, &organization).await?;
    caller.must(Action::TemplateCreate, &Object::inside(organization.id))?;
    let fields: api::TemplateFields = body.json().await?;
    let create = TemplateCreate {
        name: fields.name.unwrap_or_default(),
        display_name: fields.display_name.unwrap_or_default(),
        description: fields.description.unwrap_or_default(),
        icon: fields.icon.unwrap_or_default(),
        readme: fields.readme.unwrap_or_default(),
        driver: fields.driver.unwrap_or_default(),
        spec: fields.spec.unwrap_or(Value::Null),
        spec_format: fields.spec_format,
        require_active_version: fields.require_active_version.unwrap_or(false),
    };
    let row = app.workspaces.template_create(organization.id, caller.id(), create).await?;
    Ok((StatusCode::CREATED, Json(view(&app, &caller, row))))
}

pub(crate) async fn template_get(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(template): Path<String>,
) -> ApiResult<Json<api::Template>> {
    let row = visible(&app, &caller, &template).await?;
    Ok(Json(view(&app, &caller, row)))
}

pub(crate) async fn template_update(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(template): Path<String>,
    body: RawBody,
) -> ApiResult<Json<api::Template>> {
    let row = visible(&app, &caller, &template).await?;
    caller.must(Action::TemplateUpdate, &Object::inside(row.organization_id))?;
    let fields: api::TemplateFields = body.json().await?;
    let update = TemplateUpdate {
        name: fields.name,
        display_name: fields.display_name,
        description: fields.description,
        icon: fields.icon,
        readme: fields.readme,
        driver: fields.driver,
        spec: fields.spec,
        spec_format: fields.spec_format,
        require_active_version: fields.require_active_version,
    };
    let row = app.workspaces.template_update(row.id, caller.id(), update).await?;
    Ok(Json(view(&app, &caller, row)))
}

pub(crate) async fn template_delete(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(template): Path<String>,
) -> ApiResult<Json<api::Response>> {
    let row = visible(&app, &caller, &template).await?;
    caller.must(Action::TemplateDelete, &Object::inside(row.organization_id))?;
    app.workspaces.template_delete(row.id).await?;
    Ok(Json(api::Response { message: format!("Deleted {}.", row.name) }))
}

pub(crate) async fn template_version_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(template): Path<String>,
) -> ApiResult<Json<Vec<api::TemplateVersion>>> {
    let row = visible(&app, &caller, &template).await?;
    let versions = app.store.template_versions(row.id).await?;
    let writes = caller.may(Action::TemplateUpdate, &Object::inside(row.organization_id));
    Ok(Json(
        versions
            .into_iter()
            .map(|version| api::TemplateVersion {
                id: version.id.uuid(),
                number: version.number,
                created_at: version.created_at.into(),
                created_by: version.created_by.uuid(),
                spec: shown_spec(&version.spec, writes),
            })
            .collect(),
    ))
}

async fn visible(app: &Shared, caller: &Caller, template: &str) -> ApiResult<TemplateRow> {
    let template: TemplateId = id(template, "template")?;
    app.store
        .template_get_for_system(template)
        .await?
        .filter(|row| caller.may(Action::TemplateRead, &Object::inside(row.organization_id)))
        .ok_or_else(ApiError::not_found)
}

/// The specification; what is secret in it only for those who may write the template.
fn shown_spec(spec: &str, writes: bool) -> Value {
    let spec: Value = serde_json::from_str(spec).unwrap_or_default();
    if writes { spec } else { redact_spec(&spec) }
}

fn view(app: &App, caller: &Caller, row: TemplateRow) -> api::Template {
    let writes = caller.may(Action::TemplateUpdate, &Object::inside(row.organization_id));
    let spec = shown_spec(&row.spec, writes);
    let (autostop, desktop, network) = (&spec["autostop"], &spec["desktop"], &spec["network"]);
    let parsed = app.workspaces.template_spec(&row);
    api::Template {
        id: row.id.uuid(),
        organization_id: row.organization_id.uuid(),
        organization_name: row.organization_name,
        name: row.name,
        display_name: row.display_name,
        description: row.description,
        icon: row.icon,
        driver: row.driver,
        active_version_id: row.active_version_id.uuid(),
        require_active_version: row.require_active_version,
        readme: row.readme,
        parameters: spec["parameters"].as_array().cloned().unwrap_or_default(),
        default_ttl_ms: parsed
            .as_ref()
            .map_or_else(|| autostop["default_ttl_ms"].as_i64().unwrap_or(0), |spec| spec.autostop.default_ttl_ms),
        user_autostop_enabled: autostop["user_autostop_enabled"].as_bool().unwrap_or(true),
        desktop_enabled: desktop["enabled"].as_bool().unwrap_or(true),
        network_policy: network["policy"].as_str().unwrap_or("open").to_owned(),
        deprecated: row.deprecated,
        deprecation_message: row.deprecation_message,
        created_by_id: row.created_by_id.uuid(),
        created_by_name: row.created_by_name,
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
        spec,
    }
}
