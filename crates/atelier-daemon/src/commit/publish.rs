//! After the commit: viewers first, in the fixed order, then the executor.

use atelier_api::{ChatHistoryReset, ChatStreamEvent, ChatStreamPayload};
use atelier_domain::Timestamp;
use atelier_domain::chat::{Activity, ChatEffect};
use atelier_stream::{ChatChange, convert};

use super::Commits;
use super::carry_out::Applied;

impl Commits {
    /// Publishes what was committed, and gives it back.
    pub(super) fn published(&self, mut applied: Applied) -> Applied {
        for descendant in std::mem::take(&mut applied.descendants) {
            self.published(descendant);
        }
        let (chat_id, owner) = (applied.chat.id, applied.chat.owner_id);
        if applied.is_visible && self.hubs().is_looked_at(chat_id, owner) {
            self.hubs().publish(change(&applied, self.now()));
        }
        let chat = &applied.chat;
        for effect in &applied.publish {
            match effect {
                ChatEffect::Wake { since } => self.inner.signals.wake(chat.id, chat.owner_id, *since),
                // a run of another replica reads the stop with its next renewal
                ChatEffect::StopRun { owner, .. } if *owner == self.incarnation() => {
                    self.inner.signals.stop(chat.id, chat.state.epoch);
                }
                _ => {}
            }
        }
        applied
    }
}

/// The change as viewers get it.
fn change(applied: &Applied, now: Timestamp) -> ChatChange {
    let (chat, state) = (&applied.chat, &applied.chat.state);
    let event = |step, payload| ChatStreamEvent { chat_id: chat.id.uuid(), step, payload };
    let mut events = Vec::new();
    let mut watch = None;
    if let Some(after) = applied.history_reset_after {
        let history_reset = ChatHistoryReset { after_message_id: after.get() };
        events.push(event(None, ChatStreamPayload::HistoryReset { history_reset }));
    }
    for row in applied.messages.iter().filter(|row| convert::is_shown(row)) {
        match convert::message(row) {
            Ok(message) => events.push(event(row.step_no, ChatStreamPayload::Message { message: Box::new(message) })),
            // viewers notice the gap and read; this content was encoded a moment ago
            Err(error) => tracing::error!(chat.id = %chat.id, "message {} cannot be shown: {error}", row.id),
        }
    }
    if let Some(queue) = &applied.queue {
        let queued_messages = queue.iter().filter_map(|entry| convert::queued_message(entry).ok()).collect();
        events.push(event(None, ChatStreamPayload::QueueUpdate { queued_messages }));
    }
    for effect in &applied.publish {
        match effect {
            ChatEffect::PublishRetry => {
                if let Some(retry) = &state.retry {
                    let retry = convert::retry(retry);
                    events.push(event(Some(state.step_no), ChatStreamPayload::Retry { retry }));
                }
            }
            ChatEffect::PublishError => {
                if let Activity::Error(error) = &state.activity {
                    events.push(event(None, ChatStreamPayload::Error { error: convert::turn_error(error) }));
                }
            }
            ChatEffect::PublishStatus => {
                events.push(event(None, ChatStreamPayload::Status { status: convert::status_event(chat, now) }));
            }
            ChatEffect::Watch(kind) => watch = Some(*kind),
            _ => {}
        }
    }
    ChatChange {
        chat_id: chat.id,
        owner_id: chat.owner_id,
        version: state.version,
        queue_version: state.queue_version,
        rewind: state.rewind,
        events,
        watch,
    }
}
