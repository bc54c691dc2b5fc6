//! Editing a message: it and all behind it are replaced.

use atelier_domain::message::MessagePart;
use atelier_domain::{ChatId, MessageId, ModelConfigId, UserId};
use atelier_store::MessageRow;

use super::Chats;
use crate::commit::{AlsoInTx, CommitError, UserMessage};

/// A new text for an old message, checked.
#[derive(Clone, Debug)]
pub struct MessageEdit {
    pub chat_id: ChatId,
    pub message_id: MessageId,
    pub author_id: UserId,
    pub parts: Vec<MessagePart>,
    /// Absent: the edited message's model.
    pub model_config_id: Option<ModelConfigId>,
}

impl Chats {
    /// Replaces the message; all later ones go, the queue too, and a turn starts with the new one. A turn
    /// that runs is dropped; what it has cost stays. `also` is written in the same transaction.
    ///
    /// # Errors
    /// [`CommitError::NotFound`], [`CommitError::Archived`], [`CommitError::MessageNotFound`],
    /// [`CommitError::NotAUserMessage`]; nothing has changed.
    pub async fn message_edit(
        &self,
        edit: MessageEdit,
        also: Option<AlsoInTx<MessageRow>>,
    ) -> Result<MessageRow, CommitError> {
        let message = UserMessage {
            parts: edit.parts,
            author: edit.author_id,
            model_config_id: edit.model_config_id,
            mcp_server_ids: None,
        };
        self.commits.edit(edit.chat_id, edit.message_id, message, also).await
    }
}
