//! The one path by which a chat changes.
//!
//! Handlers, runs and recovery hand in an event. One transaction locks the chat's row, asks
//! `atelier_domain::chat::apply` what the event means, writes the effects in their order and the next
//! state, and books what was spent. After the commit the change is published in the fixed order (history
//! reset, messages, queue, retry or error, status, watch), then the executor is told. This module never
//! decides: a rule that is not in `apply` is not followed here.
//!
//! Invariants:
//! - no statement runs outside the transaction while it is open, and nothing but the database is waited for;
//! - a run whose epoch is over writes nothing but its bill, and publishes nothing;
//! - what is published was committed before.
//!
//! Lock order: the owner's pins (`users`), ancestor chats first, then by id, then ledger rows, `spend_days` last.

mod carry_out;
mod contents;
mod people;
mod publish;
mod recovery;
mod run;
mod types;

use std::sync::{Arc, PoisonError, RwLock};

use atelier_domain::chat::{Activity, ChatEffect, ChatEvent};
use atelier_domain::{ChatId, Incarnation, SharedClock, Timestamp, clock};
use atelier_store::{ChatNew, ChatRow, Setting, Store, Tx};
use atelier_stream::Hubs;
use futures::future::BoxFuture;

use self::carry_out::{Applied, Locked};
use self::contents::Payload;
pub(crate) use self::contents::UserMessage;
pub use self::types::{
    AnswerCommitted, AnswerContent, AnswerStored, CallEnd, Claimed, CommitError, Fail, NewToolCall, RetryPlanned,
    RunFence, RunSignals, Settle, Settled, StepBegun, StoredCall,
};
use crate::prompt::text::system_prompt;

/// Makes changes of chats. Cheap to clone.
#[derive(Clone)]
pub struct Commits {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    hubs: Hubs,
    clock: SharedClock,
    /// This life of this replica: the owner of what is claimed here.
    incarnation: RwLock<Incarnation>,
    signals: Arc<dyn RunSignals>,
}

/// What an operation writes in the transaction of its change, for instance the result of an idempotent
/// request.
pub type AlsoInTx<T> =
    Box<dyn for<'t, 'c> FnOnce(&'t mut Tx<'c>, &'t T) -> BoxFuture<'t, Result<(), atelier_store::StoreError>> + Send>;

impl Commits {
    #[must_use]
    pub fn new(
        store: Store,
        hubs: Hubs,
        clock: SharedClock,
        incarnation: Incarnation,
        signals: Arc<dyn RunSignals>,
    ) -> Self {
        let incarnation = RwLock::new(incarnation);
        Self { inner: Arc::new(Inner { store, hubs, clock, incarnation, signals }) }
    }

    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        *self.inner.incarnation.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life before was taken for dead: what is claimed from here on belongs to this one.
    pub(crate) fn live_as(&self, incarnation: Incarnation) {
        *self.inner.incarnation.write().unwrap_or_else(PoisonError::into_inner) = incarnation;
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn hubs(&self) -> &Hubs {
        &self.inner.hubs
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.inner.clock
    }

    /// Now, as exact as it is stored.
    pub(crate) fn now(&self) -> Timestamp {
        clock::to_micros(self.inner.clock.now())
    }

    /// T1: inserts the chat with its first message. `also` sees the row.
    pub(crate) async fn create(
        &self,
        chat: ChatNew,
        message: UserMessage,
        also: Option<AlsoInTx<ChatRow>>,
    ) -> Result<ChatRow, CommitError> {
        let now = chat.created_at;
        let applied = self
            .inner
            .store
            .write("chat_create", move |tx| {
                Box::pin(async move {
                    atelier_store::chat_insert_in_tx(tx, &chat).await?;
                    let row = contents::new_chat_row(chat);
                    let prompt = atelier_store::setting_in_tx(tx, Setting::SystemPrompt).await?;
                    let applied = carry_out::first_messages(tx, row, system_prompt(prompt), message, now).await?;
                    if let Some(also) = also {
                        also(tx, &applied.chat).await?;
                    }
                    Ok::<_, CommitError>(applied)
                })
            })
            .await?;
        Ok(self.published(applied).chat)
    }

    /// An event of a caller rather than of a run. `also` sees what came of it.
    pub(crate) async fn change<T: Send + Sync + 'static>(
        &self,
        name: &'static str,
        chat_id: ChatId,
        event: ChatEvent,
        message: Option<UserMessage>,
        view: fn(&Changed) -> T,
        also: Option<AlsoInTx<T>>,
    ) -> Result<Changed, CommitError> {
        let now = self.now();
        let applied = self
            .inner
            .store
            .write(name, move |tx| {
                Box::pin(async move {
                    let locked = lock(tx, chat_id).await?;
                    let payload = Payload { message, ..Payload::default() };
                    let applied = carry_out::carry_out(tx, locked, event, payload, now).await??;
                    let changed = Changed::of(&applied);
                    if let Some(also) = also {
                        also(tx, &view(&changed)).await?;
                    }
                    Ok::<_, CommitError>((applied, changed))
                })
            })
            .await;
        let (applied, changed) = applied?;
        self.published(*applied);
        Ok(changed)
    }
}

impl Commits {
    /// Tells viewers that a pending chat waits for a place: its status is sent again, under a version of its
    /// own so that it is not taken for an old one. Nothing happens if the chat is not pending any more.
    ///
    /// # Errors
    /// [`CommitError::NotFound`] and the store's.
    pub async fn queued_for_capacity(&self, chat_id: ChatId) -> Result<(), CommitError> {
        let now = self.now();
        let applied = self
            .inner
            .store
            .write("chat_queued_for_capacity", move |tx| {
                Box::pin(async move {
                    let locked = lock(tx, chat_id).await?;
                    if !matches!(locked.chat.state.activity, Activity::Pending { .. }) {
                        return Ok::<_, CommitError>(None);
                    }
                    let event = ChatEvent::SetMeta { visible: true };
                    let mut applied = carry_out::carry_out(tx, locked, event, Payload::default(), now).await??;
                    applied.publish.insert(0, ChatEffect::PublishStatus);
                    Ok(Some(applied))
                })
            })
            .await?;
        if let Some(applied) = applied {
            self.published(*applied);
        }
        Ok(())
    }
}

/// What a caller's event came to.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    pub(crate) chat: ChatRow,
    /// The message the event brought, if it became one at once.
    pub(crate) message: Option<atelier_store::MessageRow>,
    /// The message the event brought, if it waits in the queue.
    pub(crate) entry: Option<atelier_store::QueueRow>,
}

impl Changed {
    fn of(applied: &Applied) -> Self {
        let message = match &applied.entry {
            // with a backlog the queue's head became a message, not the one at hand
            Some(_) => None,
            None => applied.messages.last().cloned(),
        };
        Self { chat: applied.chat.clone(), message, entry: applied.entry.clone() }
    }
}

async fn lock(tx: &mut Tx<'_>, chat: ChatId) -> Result<Locked, CommitError> {
    match atelier_store::chat_lock_in_tx(tx, chat).await? {
        Some(chat) => Ok(Locked::new(chat)),
        None => Err(CommitError::NotFound),
    }
}
