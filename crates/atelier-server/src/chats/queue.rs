//! Messages that wait.

use atelier_api as api;
use atelier_daemon::chats::Promoted;
use atelier_domain::QueueEntryId;
use atelier_stream::convert;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::messages::unreadable;
use super::{ChatAccess, Promote, Queue};
use crate::error::ApiResult;
use crate::extract::{RawBody, number};
use crate::state::Shared;

pub(crate) async fn queue_delete(
    State(app): State<Shared>,
    ChatAccess { chat, .. }: ChatAccess<Queue>,
    Path((_, entry)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    app.daemon.chats().queue_delete(chat.id, QueueEntryId(number(&entry, "queued message")?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn queue_promote(
    State(app): State<Shared>,
    ChatAccess { chat, .. }: ChatAccess<Promote>,
    Path((_, entry)): Path<(String, String)>,
    body: RawBody,
) -> ApiResult<Response> {
    let entry = QueueEntryId(number(&entry, "queued message")?);
    body.begin().await?;
    Ok(match app.daemon.chats().queue_promote(chat.id, entry).await? {
        Promoted::Stored(row) => Json(convert::message(&row).map_err(unreadable)?).into_response(),
        Promoted::Waiting(row) => {
            let queued_message = convert::queued_message(&row).map_err(unreadable)?;
            (StatusCode::ACCEPTED, Json(api::ChatPromotionWaits { queued: true, queued_message })).into_response()
        }
    })
}
