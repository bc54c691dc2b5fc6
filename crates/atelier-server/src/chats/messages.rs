//! Messages of a chat: reading, sending, interrupting, going on after an error.

use std::collections::HashMap;

use atelier_api as api;
use atelier_daemon::chats::{MessageEdit, MessageSend, Sent};
use atelier_daemon::commit::AlsoInTx;
use atelier_domain::MessageId;
use atelier_domain::chat::{BusyBehavior, WatchKind};
use atelier_domain::message::ContentError;
use atelier_store::{MessageRange, MessageRow, QueueRow};
use atelier_stream::convert;
use axum::Json;
use axum::extract::{Path, Query as RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::content::message_parts;
use super::create::{no_servers, usable_model};
use super::{ChatAccess, Edit, Interrupt, MarkRead, Read, Retry, Send};
use crate::error::{ApiError, ApiResult, fault};
use crate::extract::{Query, RawBody, number};
use crate::repeats::KeptAnswer;
use crate::state::Shared;

/// A page ends early when its content has grown to this.
const MAX_PAGE_BYTES: i64 = 16 * 1024 * 1024;

pub(crate) async fn message_list(
    State(app): State<Shared>,
    ChatAccess { chat, .. }: ChatAccess<Read>,
    RawQuery(query): RawQuery<HashMap<String, String>>,
) -> ApiResult<Json<api::ChatMessagePage>> {
    let mut query = Query::new(query);
    let (has_before, has_after) = (query.text("before_id").is_some(), query.text("after_id").is_some());
    let limit = query.number("limit", 50, 1..=200);
    let before = query.number("before_id", i64::MAX, 1..=i64::MAX);
    let after = query.number("after_id", 0, 1..=i64::MAX);
    if has_before && has_after && after >= before {
        query.fault("after_id", "must be smaller than before_id");
    }
    query.finish()?;
    let range = MessageRange { after: MessageId(after), before: MessageId(before), limit, max_bytes: MAX_PAGE_BYTES };
    let page = if has_after && !has_before {
        app.store.messages_page_ascending(chat.id, range).await?
    } else {
        app.store.messages_page_newest(chat.id, range).await?
    };
    let queue: Vec<QueueRow> = if has_before || has_after { Vec::new() } else { app.store.queue_list(chat.id).await? };
    let messages = page.messages.iter().map(convert::message).collect::<Result<_, _>>().map_err(unreadable)?;
    let queued_messages = queue.iter().map(convert::queued_message).collect::<Result<_, _>>().map_err(unreadable)?;
    Ok(Json(api::ChatMessagePage { messages, queued_messages, has_more: page.has_more }))
}

#[allow(clippy::needless_pass_by_value, reason = "map_err hands the error over")]
pub(super) fn unreadable(error: ContentError) -> ApiError {
    ApiError::internal(&error)
}

pub(crate) async fn message_send(
    State(app): State<Shared>,
    ChatAccess { caller, chat, .. }: ChatAccess<Send>,
    body: RawBody,
) -> ApiResult<Response> {
    let create: api::ChatMessageCreate = body.json_with_any_text().await?;
    let parts = message_parts(&app, &caller, create.content).await?;
    let busy_behavior = match create.busy_behavior.as_deref() {
        None | Some("queue") => BusyBehavior::Queue,
        Some("interrupt") => BusyBehavior::Interrupt,
        Some(_) => return Err(ApiError::validation(vec![fault("busy_behavior", "must be queue or interrupt")])),
    };
    let model_config_id = match create.model_config_id {
        None => None,
        Some(model) => Some(usable_model(&app, &caller, Some(model.into())).await?),
    };
    no_servers(create.mcp_server_ids.as_deref())?;
    let send = MessageSend {
        chat_id: chat.id,
        author_id: caller.id(),
        parts,
        model_config_id,
        mcp_server_ids: create.mcp_server_ids.map(|_| Vec::new()),
        busy_behavior,
    };
    let also = body.scope().map(|scope| -> AlsoInTx<Sent> {
        Box::new(move |tx, sent| {
            Box::pin(async move {
                let body = view(sent).ok().and_then(|created| serde_json::to_string(&created).ok());
                atelier_store::idempotency_finish_in_tx(tx, scope, 200, body.unwrap_or_default()).await
            })
        })
    });
    let is_kept = also.is_some();
    let sent = app.daemon.chats().message_send(send, also).await?;
    let mut response = Json(view(&sent)?).into_response();
    if is_kept {
        response.extensions_mut().insert(KeptAnswer);
    }
    Ok(response)
}

pub(crate) async fn message_edit(
    State(app): State<Shared>,
    ChatAccess { caller, chat, .. }: ChatAccess<Edit>,
    Path((_, message)): Path<(String, String)>,
    body: RawBody,
) -> ApiResult<Response> {
    let message_id = MessageId(number(&message, "message")?);
    let edit: api::ChatMessageEdit = body.json_with_any_text().await?;
    let parts = message_parts(&app, &caller, edit.content).await?;
    let model_config_id = match edit.model_config_id {
        None => None,
        Some(model) => Some(usable_model(&app, &caller, Some(model.into())).await?),
    };
    let edit = MessageEdit { chat_id: chat.id, message_id, author_id: caller.id(), parts, model_config_id };
    let also = body.scope().map(|scope| -> AlsoInTx<MessageRow> {
        Box::new(move |tx, row| {
            Box::pin(async move {
                let body = convert::message(row).ok().and_then(|message| serde_json::to_string(&message).ok());
                atelier_store::idempotency_finish_in_tx(tx, scope, 200, body.unwrap_or_default()).await
            })
        })
    });
    let is_kept = also.is_some();
    let row = app.daemon.chats().message_edit(edit, also).await?;
    let mut response = Json(convert::message(&row).map_err(unreadable)?).into_response();
    if is_kept {
        response.extensions_mut().insert(KeptAnswer);
    }
    Ok(response)
}

fn view(sent: &Sent) -> ApiResult<api::ChatMessageCreated> {
    Ok(match sent {
        Sent::Stored(row) => api::ChatMessageCreated {
            queued: false,
            message: Some(convert::message(row).map_err(unreadable)?),
            queued_message: None,
        },
        Sent::Queued(row) => api::ChatMessageCreated {
            queued: true,
            message: None,
            queued_message: Some(convert::queued_message(row).map_err(unreadable)?),
        },
    })
}

pub(crate) async fn chat_interrupt(
    State(app): State<Shared>,
    ChatAccess { chat, .. }: ChatAccess<Interrupt>,
    body: RawBody,
) -> ApiResult<Json<api::Chat>> {
    body.begin().await?;
    let row = app.daemon.chats().chat_interrupt(chat.id).await?;
    Ok(Json(app.hubs.chat_view(&row).await?))
}

pub(crate) async fn chat_retry(
    State(app): State<Shared>,
    ChatAccess { caller, chat, .. }: ChatAccess<Retry>,
    body: RawBody,
) -> ApiResult<Json<api::Chat>> {
    let retry: api::ChatRetryCreate = body.json_or_default().await?;
    let model = match retry.model_config_id {
        None => None,
        Some(model) => Some(usable_model(&app, &caller, Some(model.into())).await?),
    };
    let row = app.daemon.chats().chat_retry(chat.id, model).await?;
    Ok(Json(app.hubs.chat_view(&row).await?))
}

pub(crate) async fn chat_read_set(
    State(app): State<Shared>,
    ChatAccess { caller, chat, .. }: ChatAccess<MarkRead>,
    body: RawBody,
) -> ApiResult<StatusCode> {
    let mark: api::ChatReadMark = body.json().await?;
    let message = mark.message_id.map_or(chat.last_message_id, MessageId);
    if message.get() < 0 {
        return Err(ApiError::validation(vec![fault("message_id", "must be a whole number from 0")]));
    }
    app.store.chat_read_set(chat.id, caller.id(), message, app.now()).await?;
    app.hubs.publish_watch(chat.owner_id, chat.id, WatchKind::Updated);
    Ok(StatusCode::NO_CONTENT)
}
