//! Finding chats.

use std::collections::{BTreeMap, HashMap};

use atelier_api as api;
use atelier_domain::search::{Keys, Phrase, Terms, snippet, words};
use atelier_domain::{ChatId, WorkspaceId};
use atelier_store::{ChatFilter, ChatPage, SearchHit};
use axum::Json;
use axum::extract::{Query as RawQuery, State};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{ChatAccess, Read};
use crate::auth::{Caller, LoggedIn};
use crate::error::{ApiError, ApiResult, fault};
use crate::extract::{Query, RawBody};
use crate::state::Shared;

const MAX_WORKSPACES: usize = 25;

const KEYS: Keys =
    Keys { single: &["archived", "title", "has_unread", "pr_status", "model", "workspace"], repeated: &["label"] };
const PR_STATES: [&str; 4] = ["draft", "open", "merged", "closed"];

pub(crate) async fn chat_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    RawQuery(query): RawQuery<Vec<(String, String)>>,
) -> ApiResult<Json<Vec<api::Chat>>> {
    let mut query = Query::new(query);
    let (limit, offset) = query.page();
    let page = ChatPage { after: query.id("after_id"), limit, offset };
    let has_children = includes_children(&mut query);
    let terms = query.terms(KEYS);
    let filter = filter(&mut query, &terms);
    query.finish()?;
    if terms.value("pr_status").is_some() {
        // no chat has a pull request that is known
        return Ok(Json(Vec::new()));
    }
    let rows = if has_children {
        app.store.chat_list_roots(caller.id(), &filter, page).await?
    } else {
        app.store.chat_list(caller.id(), &filter, page).await?
    };
    let mut chats = app.hubs.chat_views(&rows).await?;
    if has_children {
        add_children(&app, &mut chats, filter.archived).await?;
    }
    if !filter.phrases.is_empty() {
        add_matches(&app, &mut chats, &filter.phrases).await?;
    }
    Ok(Json(chats))
}

fn includes_children(query: &mut Query) -> bool {
    match query.text("include") {
        None => false,
        Some("children") => true,
        Some(_) => {
            query.fault("include", "must be children");
            false
        }
    }
}

fn filter(query: &mut Query, terms: &Terms) -> ChatFilter {
    let (archived, has_unread) = (query.boolean_term(terms, "archived"), query.boolean_term(terms, "has_unread"));
    if terms.value("pr_status").is_some_and(|states| states.split(',').any(|state| !PR_STATES.contains(&state))) {
        query.fault("pr_status", "must be a list of draft, open, merged, closed with commas between");
    }
    let mut labels: Vec<(String, Option<String>)> = terms
        .values("label")
        .map(|label| match label.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (label.to_owned(), None),
        })
        .collect();
    for label in query.texts("label") {
        match label.split_once(':') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                labels.push((key.to_owned(), Some(value.to_owned())));
            }
            _ => query.fault("label", format!("{label} is not key:value")),
        }
    }
    let archived = archived.or_else(|| query.boolean("archived")).unwrap_or(false);
    ChatFilter {
        archived,
        title: terms.value("title").map(str::to_owned),
        has_unread,
        labels,
        model: terms.value("model").map(str::to_owned),
        workspace: terms.value("workspace").map(str::to_owned),
        // signs alone are no words and are left out
        phrases: terms.bare.iter().filter_map(|text| Phrase::new(text)).collect(),
    }
}

/// Puts the chats below these roots into them.
async fn add_children(app: &Shared, roots: &mut [api::Chat], archived: bool) -> ApiResult<()> {
    let ids: Vec<ChatId> = roots.iter().map(|chat| ChatId::from(chat.id)).collect();
    let rows = app.store.chat_children_for_system(&ids, archived).await?;
    let mut children: HashMap<Uuid, Vec<api::Chat>> = HashMap::new();
    for child in app.hubs.chat_views(&rows).await? {
        children.entry(child.root_chat_id).or_default().push(child);
    }
    for root in roots {
        root.children = Some(children.remove(&root.id).unwrap_or_default());
    }
    Ok(())
}

/// Says of each chat where the phrases were found: in the message that holds most of them, unless the title
/// holds more.
async fn add_matches(app: &Shared, chats: &mut [api::Chat], phrases: &[Phrase]) -> ApiResult<()> {
    let ids: Vec<ChatId> = chats.iter().map(|chat| ChatId::from(chat.id)).collect();
    let hits = app.store.search_hits_for_system(&ids, phrases).await?;
    let hits: HashMap<ChatId, SearchHit> = hits.into_iter().map(|hit| (hit.chat_id, hit)).collect();
    let held = |text: &str| {
        let words = words(text);
        phrases.iter().filter(|phrase| phrase.is_in(&words)).count()
    };
    for chat in chats {
        let hit = hits.get(&ChatId::from(chat.id)).filter(|hit| held(&hit.text) >= held(&chat.title));
        let shown = snippet(hit.map_or(chat.title.as_str(), |hit| hit.text.as_str()), phrases);
        chat.search_match = Some(api::ChatSearchMatch {
            message_id: hit.map(|hit| hit.message_id.get()),
            snippet: shown.text,
            ranges: shown.ranges,
        });
    }
    Ok(())
}

pub(crate) async fn chat_get(
    State(app): State<Shared>,
    ChatAccess { chat, .. }: ChatAccess<Read>,
    RawQuery(query): RawQuery<Vec<(String, String)>>,
) -> ApiResult<Json<api::Chat>> {
    let mut query = Query::new(query);
    let has_children = includes_children(&mut query);
    query.finish()?;
    let mut view = app.hubs.chat_view(&chat).await?;
    if has_children {
        add_children(&app, std::slice::from_mut(&mut view), chat.state.archived).await?;
    }
    Ok(Json(view))
}

pub(crate) async fn chats_by_workspace_get(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    RawQuery(query): RawQuery<HashMap<String, String>>,
) -> ApiResult<Json<api::ChatsByWorkspace>> {
    let ids = query.get("workspace_ids").map(String::as_str).unwrap_or_default();
    let ids: Vec<&str> = ids.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    by_workspace(&app, &caller, &ids).await
}

pub(crate) async fn chats_by_workspace_post(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<Json<api::ChatsByWorkspace>> {
    let body: Map<String, Value> = body.json().await?;
    let ids: Option<Vec<&str>> = match body.get("workspace_ids") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    let ids = ids.ok_or_else(|| ApiError::validation(vec![fault("workspace_ids", "must be a list of ids")]))?;
    by_workspace(&app, &caller, &ids).await
}

async fn by_workspace(app: &Shared, caller: &Caller, ids: &[&str]) -> ApiResult<Json<api::ChatsByWorkspace>> {
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
    Ok(Json(api::ChatsByWorkspace(found)))
}
