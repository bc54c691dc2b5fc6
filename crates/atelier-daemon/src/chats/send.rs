//! Sending a message: it starts a turn, waits in the queue, or interrupts the turn that runs.

use atelier_domain::chat::{BusyBehavior, ChatEvent};
use atelier_domain::message::MessagePart;
use atelier_domain::{ChatId, McpServerId, ModelConfigId, UserId};
use atelier_store::{MessageRow, QueueRow};

use super::Chats;
use crate::commit::{AlsoInTx, Changed, CommitError, UserMessage};

/// A message of a user, checked.
#[derive(Clone, Debug)]
pub struct MessageSend {
    pub chat_id: ChatId,
    pub author_id: UserId,
    pub parts: Vec<MessagePart>,
    /// Absent: the chat's last model.
    pub model_config_id: Option<ModelConfigId>,
    /// Absent keeps the chat's selection, a list replaces it.
    pub mcp_server_ids: Option<Vec<McpServerId>>,
    pub busy_behavior: BusyBehavior,
}

/// What became of a message.
#[derive(Clone, Debug)]
pub enum Sent {
    /// It is in the transcript.
    Stored(MessageRow),
    /// It waits in the queue.
    Queued(QueueRow),
}

impl Sent {
    fn of(changed: &Changed) -> Self {
        match (&changed.entry, &changed.message) {
            (Some(entry), _) => Self::Queued(entry.clone()),
            (None, Some(message)) => Self::Stored(message.clone()),
            (None, None) => unreachable!("a send stores its message or queues it"),
        }
    }
}

impl Chats {
    /// Sends a message. `also` is written in the same transaction.
    ///
    /// # Errors
    /// [`CommitError::NotFound`], [`CommitError::Archived`], [`CommitError::QueueFull`]; nothing is stored.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the message was stored.
    pub async fn message_send(&self, send: MessageSend, also: Option<AlsoInTx<Sent>>) -> Result<Sent, CommitError> {
        let event = ChatEvent::Send { at: self.commits.now(), behavior: send.busy_behavior };
        let message = UserMessage {
            parts: send.parts,
            author: send.author_id,
            model_config_id: send.model_config_id,
            mcp_server_ids: send.mcp_server_ids,
        };
        let changed = self.commits.change("message_send", send.chat_id, event, Some(message), Sent::of, also).await?;
        Ok(Sent::of(&changed))
    }
}
