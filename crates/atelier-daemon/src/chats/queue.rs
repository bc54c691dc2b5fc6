//! Messages that wait: taking one out, or sending it now.

use std::time::Duration;

use atelier_domain::chat::ChatEvent;
use atelier_domain::{ChatId, QueueEntryId};
use atelier_store::{MessageRow, QueueRow};

use super::Chats;
use crate::commit::CommitError;

/// How long a promotion waits for the turn it interrupts. It is durable all the same.
const TAKEN_WAIT: Duration = Duration::from_secs(10);

/// What became of a promoted entry.
#[derive(Clone, Debug)]
pub enum Promoted {
    /// It is in the transcript, and its turn starts.
    Stored(MessageRow),
    /// It is the first in the queue; the turn before it has not stopped yet.
    Waiting(QueueRow),
}

impl Chats {
    /// Takes an entry out of the queue.
    ///
    /// # Errors
    /// [`CommitError::NotFound`], [`CommitError::EntryNotFound`].
    pub async fn queue_delete(&self, chat_id: ChatId, entry: QueueEntryId) -> Result<(), CommitError> {
        let event = ChatEvent::QueueDelete { entry };
        self.commits.change("queue_delete", chat_id, event, None, |_| (), None).await?;
        Ok(())
    }

    /// Sends an entry now: a running turn is interrupted first, and waited for at most 10 s.
    ///
    /// # Errors
    /// [`CommitError::NotFound`], [`CommitError::EntryNotFound`] (also when it was taken out while it was
    /// waited for), [`CommitError::Archived`].
    ///
    /// # Cancel safety
    /// Dropping the future while it waits takes nothing back.
    pub async fn queue_promote(&self, chat_id: ChatId, entry: QueueEntryId) -> Result<Promoted, CommitError> {
        // registered first, so that a settle right after the commit is not missed
        let mut waiter = self.commits.hubs().wait_change(chat_id);
        let event = ChatEvent::Promote { at: self.commits.now(), entry };
        let waiting = self.entry(chat_id, entry).await?;
        let changed = self.commits.change("queue_promote", chat_id, event, None, |_| (), None).await?;
        if let Some(message) = changed.message {
            return Ok(Promoted::Stored(message));
        }
        let waiting = waiting.ok_or(CommitError::EntryNotFound)?;
        let mut timeout = self.commits.clock().sleep(TAKEN_WAIT);
        loop {
            tokio::select! {
                // both arms only wait; the queue is read after either
                () = waiter.changed() => {}
                () = &mut timeout => return Ok(Promoted::Waiting(waiting)),
            }
            if self.entry(chat_id, entry).await?.is_none() {
                let taken = self.commits.store().message_of_queue_entry(chat_id, entry).await?;
                return taken.map(Promoted::Stored).ok_or(CommitError::EntryNotFound);
            }
        }
    }

    async fn entry(&self, chat_id: ChatId, entry: QueueEntryId) -> Result<Option<QueueRow>, CommitError> {
        let queue = self.commits.store().queue_list(chat_id).await?;
        Ok(queue.into_iter().find(|row| row.id == entry))
    }
}
