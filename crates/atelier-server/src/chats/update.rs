//! What people set about a chat, and the archive.

use atelier_api as api;
use atelier_daemon::chats::{ChatUpdate, ChatUpdateError};
use atelier_domain::WorkspaceId;
use atelier_domain::permissions::Action;
use atelier_domain::text::plain_line;
use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;

use super::create::{checked_labels, usable_workspace};
use super::{Archive, ChatAccess, Rename, Unarchive, must};
use crate::error::{ApiError, ApiResult, fault};
use crate::extract::RawBody;
use crate::state::Shared;

const MAX_TITLE_CHARACTERS: usize = 200;

pub(crate) async fn chat_update(
    State(app): State<Shared>,
    ChatAccess { caller, chat, .. }: ChatAccess<Rename>,
    body: RawBody,
) -> ApiResult<StatusCode> {
    let fields: api::ChatUpdate = body.json_with_any_text().await?;
    for (is_set, action) in [
        (fields.labels.is_some(), Action::ChatLabels),
        (fields.pin_order.is_some(), Action::ChatPin),
        (fields.workspace_id.is_some(), Action::ChatWorkspace),
    ] {
        if is_set {
            must(&caller, action, &chat)?;
        }
    }
    let mut faults = Vec::new();
    // a title is one line that steers nothing: what has no place in it is dropped
    let title = fields.title.map(|title| plain_line(&title).trim().to_owned());
    if title.as_ref().is_some_and(|title| title.is_empty() || title.chars().count() > MAX_TITLE_CHARACTERS) {
        faults.push(fault("title", "has 1 to 200 characters"));
    }
    let pin_order = fields.pin_order.map(u32::try_from);
    if matches!(pin_order, Some(Err(_))) {
        faults.push(fault("pin_order", "must be 0 or more"));
    }
    if !faults.is_empty() {
        return Err(ApiError::validation(faults));
    }
    let workspace_id = match fields.workspace_id {
        None => None,
        Some(id) => match id.filter(|id| *id != Uuid::nil()) {
            None => Some(None),
            Some(id) => Some(Some(usable_workspace(&app, caller.id(), WorkspaceId::from(id)).await?.id)),
        },
    };
    let labels = fields.labels.map(checked_labels).transpose()?;
    let pin_order = pin_order.and_then(Result::ok);
    let update = ChatUpdate { title, labels, pin_order, workspace_id, archived: fields.archived };
    app.daemon.chats().chat_update(chat.id, update).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn chat_archive(
    State(app): State<Shared>,
    ChatAccess { chat, .. }: ChatAccess<Archive>,
    body: RawBody,
) -> ApiResult<StatusCode> {
    body.begin().await?;
    app.daemon.chats().chat_archive(chat.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn chat_unarchive(
    State(app): State<Shared>,
    ChatAccess { chat, .. }: ChatAccess<Unarchive>,
    body: RawBody,
) -> ApiResult<StatusCode> {
    body.begin().await?;
    app.daemon.chats().chat_unarchive(chat.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<ChatUpdateError> for ApiError {
    fn from(error: ChatUpdateError) -> Self {
        match error {
            ChatUpdateError::AlreadyArchived => Self::bad_request("already_archived", "The chat is archived already."),
            ChatUpdateError::NotArchived => Self::bad_request("not_archived", "The chat is not archived."),
            ChatUpdateError::PinOnArchived => {
                Self::validation(vec![fault("pin_order", "an archived chat cannot be pinned")])
            }
            ChatUpdateError::Commit(error) => error.into(),
        }
    }
}
