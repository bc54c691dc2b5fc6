//! Chats: handlers on top of `atelier_daemon::chats`.

mod content;
mod create;
mod list;
mod messages;
mod queue;
mod update;

use std::marker::PhantomData;
use std::sync::Arc;

use atelier_domain::ChatId;
use atelier_domain::permissions::{Action, Object};
use atelier_store::ChatRow;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::StatusCode;
use axum::http::request::Parts;

pub(crate) use create::chat_create;
pub(crate) use list::{chat_get, chat_list, chats_by_workspace_get, chats_by_workspace_post};
pub(crate) use messages::{chat_interrupt, chat_read_set, chat_retry, message_edit, message_list, message_send};
pub(crate) use queue::{queue_delete, queue_promote};
pub(crate) use update::{chat_archive, chat_unarchive, chat_update};

use crate::auth::{Caller, LoggedIn};
use crate::error::{ApiError, ApiResult};
use crate::extract::id;
use crate::state::Shared;

/// What a handler does with a chat.
pub(crate) trait Right: std::marker::Send + Sync + 'static {
    const ACTION: Action;
}

macro_rules! rights {
    ($($name:ident = $action:ident;)*) => {$(
        pub(crate) struct $name;

        impl Right for $name {
            const ACTION: Action = Action::$action;
        }
    )*};
}

rights! {
    Read = ChatRead;
    Send = ChatSend;
    Interrupt = ChatInterrupt;
    Retry = ChatSend;
    MarkRead = ChatReadMark;
    Edit = ChatEdit;
    Queue = ChatQueue;
    Promote = ChatPromote;
    Rename = ChatRename;
    Archive = ChatArchive;
    Unarchive = ChatUnarchive;
}

/// The chat that the path names and its caller, who has the right `R` on it.
pub(crate) struct ChatAccess<R> {
    pub(crate) caller: Arc<Caller>,
    pub(crate) chat: ChatRow,
    right: PhantomData<R>,
}

impl<R: Right> FromRequestParts<Shared> for ChatAccess<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, ApiError> {
        let LoggedIn(caller) = LoggedIn::from_request_parts(parts, app).await?;
        let path = RawPathParams::from_request_parts(parts, app).await.map_err(|_| ApiError::invalid_id("chat"))?;
        let (_, chat) = path.iter().find(|(name, _)| *name == "chat").ok_or_else(|| ApiError::invalid_id("chat"))?;
        let chat = readable(app, &caller, id(chat, "chat")?).await?;
        must(&caller, R::ACTION, &chat)?;
        Ok(Self { caller, chat, right: PhantomData })
    }
}

/// Refuses what a reader of the chat may not do with it.
fn must(caller: &Caller, action: Action, chat: &ChatRow) -> ApiResult<()> {
    if caller.may(action, &Object::owned_by(chat.owner_id)) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "not_chat_owner",
        "Only the chat's owner can do this: the agent acts in the owner's name.",
    ))
}

/// The chat, if the caller may read it.
pub(crate) async fn readable(app: &Shared, caller: &Caller, chat: ChatId) -> ApiResult<ChatRow> {
    app.store
        .chat_get_for_system(chat)
        .await?
        .filter(|row| caller.may(Action::ChatRead, &Object::owned_by(row.owner_id)))
        .ok_or_else(ApiError::not_found)
}
