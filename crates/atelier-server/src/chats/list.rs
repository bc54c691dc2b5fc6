//! Finding chats.

use std::collections::{BTreeMap, HashMap};

use atelier_api as api;
use atelier_domain::{AgentId, BuildId, ChatId, WorkspaceId};
use atelier_store::{ChatPage, ChatRow};
use atelier_stream::convert;
use axum::Json;
use axum::extract::{Query as RawQuery, State};
use serde_json::Value;
use uuid::Uuid;

use super::{ChatAccess, Read};
use crate::auth::{Caller, LoggedIn};
use crate::error::{ApiError, ApiResult, fault};
use crate::extract::{Query, RawBody};
use crate::state::Shared;

const MAX_WORKSPACES: usize = 25;

pub(crate) async fn chat_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    RawQuery(query): RawQuery<HashMap<String, String>>,
) -> ApiResult<Json<Vec<api::Chat>>> {
    let mut query = Query::new(query);
    let (limit, offset) = query.page();
    let archived = query.boolean("archived").unwrap_or(false);
    let after = query.id::<ChatId>("after_id");
    query.finish()?;
    let rows = app.store.chat_list(caller.id(), ChatPage { archived, after, limit, offset }).await?;
    Ok(Json(views(&app, &rows).await?))
}

pub(crate) async fn chat_get(
    State(app): State<Shared>,
    ChatAccess { chat, .. }: ChatAccess<Read>,
) -> ApiResult<Json<api::Chat>> {
    Ok(Json(app.hubs.chat_view(&chat).await?))
}

/// Chats as they are sent. What several have in common is looked up once.
async fn views(app: &Shared, rows: &[ChatRow]) -> ApiResult<Vec<api::Chat>> {
    let mut builds: HashMap<WorkspaceId, Option<(BuildId, Option<AgentId>)>> = HashMap::new();
    for workspace in rows.iter().filter_map(|row| row.workspace_id) {
        if builds.contains_key(&workspace) {
            continue;
        }
        let build = match app.store.build_latest(workspace).await? {
            None => None,
            Some(build) => Some((build.id, app.store.agent_of_build(build.id).await?.map(|agent| agent.id))),
        };
        builds.insert(workspace, build);
    }
    let now = app.now();
    let build = |row: &ChatRow| row.workspace_id.and_then(|workspace| builds.get(&workspace).copied().flatten());
    Ok(rows.iter().map(|row| convert::chat(row, build(row), now)).collect())
}

pub(crate) async fn chats_by_workspace_get(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    RawQuery(query): RawQuery<HashMap<String, String>>,
) -> ApiResult<Json<BTreeMap<Uuid, Uuid>>> {
    let ids = query.get("workspace_ids").map(String::as_str).unwrap_or_default();
    let ids: Vec<&str> = ids.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    by_workspace(&app, &caller, &ids).await
}

pub(crate) async fn chats_by_workspace_post(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<Json<BTreeMap<Uuid, Uuid>>> {
    let body: Value = body.json().await?;
    let ids: Option<Vec<&str>> = match &body["workspace_ids"] {
        Value::Null => Some(Vec::new()),
        Value::Array(ids) => ids.iter().map(Value::as_str).collect(),
        _ => None,
    };
    let ids = ids.ok_or_else(|| ApiError::validation(vec![fault("workspace_ids", "must be a list of ids")]))?;
    by_workspace(&app, &caller, &ids).await
}

async fn by_workspace(app: &Shared, caller: &Caller, ids: &[&str]) -> ApiResult<Json<BTreeMap<Uuid, Uuid>>> {
    if ids.len() > MAX_WORKSPACES {
        return Err(ApiError::validation(vec![fault("workspace_ids", "has at most 25 ids")]));
    }
    let mut found = BTreeMap::new();
    for id in ids {
        let workspace: WorkspaceId =
            id.parse().map_err(|_| ApiError::validation(vec![fault("workspace_ids", format!("{id} is no id"))]))?;
        if let Some(chat) = app.store.chat_by_workspace(caller.id(), workspace).await? {
            found.insert(workspace.uuid(), chat.uuid());
        }
    }
    Ok(Json(found))
}
