//! Interrupting a turn, and waiting until what came of it is stored.

use std::time::Duration;

use atelier_domain::ChatId;
use atelier_domain::chat::ChatEvent;
use atelier_store::ChatRow;

use super::Chats;
use crate::commit::CommitError;

/// How long an interrupt waits for the run to settle. The stop is durable all the same.
const SETTLE_WAIT: Duration = Duration::from_secs(5);

impl Chats {
    /// Asks the turn to stop and waits until it has, at most 5 s; the chat as it is then.
    ///
    /// # Errors
    /// [`CommitError::NotFound`] and the store's.
    ///
    /// # Cancel safety
    /// Dropping the future while it waits takes nothing back.
    pub async fn chat_interrupt(&self, chat_id: ChatId) -> Result<ChatRow, CommitError> {
        // registered first, so that a settle right after the commit is not missed
        let mut waiter = self.commits.hubs().wait_change(chat_id);
        let event = ChatEvent::Interrupt { at: self.commits.now() };
        let changed = self.commits.change("chat_interrupt", chat_id, event, None, |_| (), None).await?;
        let mut chat = changed.chat;
        let epoch = chat.state.epoch;
        if chat.state.activity.stop_kind().is_none() {
            return Ok(chat);
        }
        let mut timeout = self.commits.clock().sleep(SETTLE_WAIT);
        loop {
            tokio::select! {
                // both arms only wait; the row is read after either
                () = waiter.changed() => {}
                () = &mut timeout => return Ok(chat),
            }
            chat = self.commits.store().chat_get_for_system(chat_id).await?.ok_or(CommitError::NotFound)?;
            if chat.state.epoch != epoch {
                return Ok(chat);
            }
        }
    }
}
