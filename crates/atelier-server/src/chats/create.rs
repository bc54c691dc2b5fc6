//! `POST /chats`.

use std::collections::BTreeMap;

use atelier_api as api;
use atelier_daemon::chats::ChatCreate;
use atelier_daemon::commit::AlsoInTx;
use atelier_domain::permissions::Action;
use atelier_domain::{ModelConfigId, OrganizationId, UserId, WorkspaceId};
use atelier_store::{ChatRow, ModelResolveError, ModelWanted, WorkspaceRow};
use atelier_stream::convert;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::content::message_parts;
use crate::auth::{Caller, LoggedIn};
use crate::error::{ApiError, ApiResult, fault};
use crate::extract::RawBody;
use crate::repeats::KeptAnswer;
use crate::state::Shared;

pub(crate) async fn chat_create(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<Response> {
    caller.must(Action::ChatCreate, &atelier_domain::permissions::Object::owned_by(caller.id()))?;
    let create: api::ChatCreate = body.json_with_any_text().await?;
    let parts = message_parts(&app, &caller, create.content).await?;
    let wanted = create.organization_id.map(OrganizationId::from);
    if wanted.is_some_and(|wanted| !caller.organizations().any(|own| own == wanted)) {
        return Err(ApiError::validation(vec![fault("organization_id", "names no organization of yours")]));
    }
    let workspace = match create.workspace_id {
        None => None,
        Some(id) => Some(usable_workspace(&app, caller.id(), id.into()).await?),
    };
    let organization_id = workspace
        .as_ref()
        .map(|workspace| workspace.organization_id)
        .or(wanted)
        .or_else(|| caller.organizations().next())
        .ok_or_else(|| ApiError::validation(vec![fault("organization_id", "you are in no organization")]))?;
    let model_config_id = usable_model(&app, &caller, create.model_config_id.map(Into::into)).await?;
    no_servers(create.mcp_server_ids.as_deref())?;
    let labels = checked_labels(create.labels.unwrap_or_default())?;
    let workspace_id = workspace.map(|workspace| workspace.id);
    let new = ChatCreate {
        owner_id: caller.id(),
        organization_id,
        workspace_id,
        parts,
        model_config_id,
        mcp_server_ids: Vec::new(),
        labels,
    };
    let build = match &workspace_id {
        None => None,
        Some(id) => app.store.builds_newest_for_system(std::slice::from_ref(id)).await?.remove(id),
    };
    let now = app.now();
    // what is kept for a repeat is what is answered, byte for byte
    let also = body.scope().map(|scope| -> AlsoInTx<ChatRow> {
        Box::new(move |tx, row| {
            Box::pin(async move {
                let body = serde_json::to_string(&convert::chat(row, build, now)).unwrap_or_default();
                atelier_store::idempotency_finish_in_tx(tx, scope, 201, body).await
            })
        })
    });
    let is_kept = also.is_some();
    let row = app.daemon.chats().chat_create(new, also).await?;
    let mut response = (StatusCode::CREATED, Json(convert::chat(&row, build, now))).into_response();
    if is_kept {
        response.extensions_mut().insert(KeptAnswer);
    }
    Ok(response)
}

/// A workspace that the user may attach. Whatever is wrong, the answer is the same.
pub(super) async fn usable_workspace(app: &Shared, user: UserId, id: WorkspaceId) -> ApiResult<WorkspaceRow> {
    let row = app.store.workspace_get_for_system(id).await?.filter(|row| !row.deleted);
    if let Some(row) = row
        && app.workspaces.may_use(user, &row).await?
    {
        return Ok(row);
    }
    Err(ApiError::bad_request("workspace_unavailable", "There is no such workspace, or you may not use it."))
}

/// The model a new message asks for; none asked: the default.
pub(super) async fn usable_model(
    app: &Shared,
    caller: &Caller,
    wanted: Option<ModelConfigId>,
) -> ApiResult<ModelConfigId> {
    let wanted = wanted.map_or(ModelWanted::LastOrDefault(None), ModelWanted::Explicit);
    let presets = std::sync::Arc::clone(&app.presets);
    let resolved =
        app.store.model_resolve_for_chat(caller.id(), wanted, presets).await.map_err(|error| match error {
            ModelResolveError::NoDefault => {
                ApiError::bad_request("no_default_model", "No model is set up. An administrator adds one.")
            }
            ModelResolveError::Unavailable => {
                ApiError::bad_request("model_unavailable", "The model does not exist or is switched off.")
            }
            ModelResolveError::KeyMissing(missing) => {
                ApiError::bad_request("model_unavailable", "The model has no key that you may use.")
                    .with_detail(missing.as_str())
            }
            ModelResolveError::Store(error) => error.into(),
        })?;
    Ok(resolved.model.id)
}

/// There are no MCP servers yet, so every id is unknown.
pub(super) fn no_servers(ids: Option<&[uuid::Uuid]>) -> ApiResult<()> {
    match ids {
        Some(ids) if !ids.is_empty() => {
            let list = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Err(ApiError::bad_request("unknown_mcp_servers", "Some MCP servers do not exist.").with_detail(list))
        }
        _ => Ok(()),
    }
}

pub(super) fn checked_labels(labels: BTreeMap<String, String>) -> ApiResult<BTreeMap<String, String>> {
    let mut faults = Vec::new();
    if labels.len() > 50 {
        faults.push(fault("labels", "at most 50"));
    }
    for (key, value) in &labels {
        let is_key = (1..=64).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte))
            && key.as_bytes()[0].is_ascii_alphanumeric();
        if !is_key {
            faults.push(fault(format!("labels.{key}"), "a key has 1 to 64 of letters, digits, . _ / -"));
        }
        if !(1..=256).contains(&value.len()) || value.contains('\0') {
            faults.push(fault(format!("labels.{key}"), "a value has 1 to 256 bytes, without U+0000"));
        }
    }
    if faults.is_empty() { Ok(labels) } else { Err(ApiError::validation(faults)) }
}
