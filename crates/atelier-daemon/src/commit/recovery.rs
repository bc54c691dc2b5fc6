//! What becomes of runs whose replica is gone: T28 for each chat they owned.

use atelier_domain::chat::ChatEvent;
use atelier_domain::{ChatId, Incarnation};
use futures::StreamExt as _;

use super::carry_out::carry_out;
use super::contents::Payload;
use super::types::CommitError;
use super::{Commits, lock};

/// Chats that one statement finds.
const BATCH: i64 = 500;
/// Transactions under way at once; on SQLite they share commits.
const AT_ONCE: usize = 16;

impl Commits {
    /// The run of this chat has ended with its replica. Nothing happens if another owns the chat by now.
    ///
    /// # Errors
    /// The store's.
    pub async fn lease_ended(&self, chat_id: ChatId, owner: Incarnation) -> Result<(), CommitError> {
        let now = self.now();
        let outcome = self
            .store()
            .write("lease_ended", move |tx| {
                Box::pin(async move {
                    let locked = lock(tx, chat_id).await?;
                    let event = ChatEvent::LeaseEnded { owner, at: now };
                    carry_out(tx, locked, event, Payload::default(), now).await
                })
            })
            .await?;
        self.published(*outcome?);
        Ok(())
    }

    /// Takes over all chats whose runs nobody carries on: on SQLite, at the start of the one process, all
    /// that are running; on PostgreSQL those of replicas whose lease is over. Returns how many.
    ///
    /// # Errors
    /// The store's, after the chats that could be taken were.
    pub async fn leases_ended(&self) -> Result<usize, CommitError> {
        let mut taken = 0;
        loop {
            let found = self.store().coordination().lost_runs(self.incarnation(), BATCH).await?;
            if found.is_empty() {
                return Ok(taken);
            }
            let ended: Vec<Result<(), CommitError>> = futures::stream::iter(found)
                .map(|(chat, owner)| self.lease_ended(chat, owner))
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            taken += ended.iter().filter(|ended| ended.is_ok()).count();
            // a chat that was deleted meanwhile is no failure; anything else would be found again for ever
            if let Some(error) = ended.into_iter().find_map(|ended| match ended {
                Ok(()) | Err(CommitError::NotFound) => None,
                Err(error) => Some(error),
            }) {
                return Err(error);
            }
        }
    }
}
