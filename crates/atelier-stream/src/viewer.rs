//! Viewers: positions that are moved along a chat.
//!
//! A viewer is registered before it reads, so no change falls between. It reads when it comes, and again
//! whenever the ring can no longer take it further; in between it takes what the ring has.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use atelier_api::{ChatHistoryReset, ChatRetry, ChatStatusEvent, ChatStreamEvent, ChatStreamPayload};
use atelier_domain::chat::WatchKind;
use atelier_domain::error::ErrorKind;
use atelier_domain::message::{ContentError, Role};
use atelier_domain::{ChatId, MessageId, UserId};
use atelier_store::{ChatRow, MessagePage, MessageRange, QueueRow, StoreError};
use bytes::Bytes;
use tokio::sync::watch;

use crate::cursor::{InvalidCursor, Position};
use crate::hub::{GAP_WAIT, Hold, Hubs, ItemKind};
use crate::log::LiveParts;
use crate::{convert, encode};

/// Bounds of a frame: events, and bytes unless it holds one larger event.
const FRAME_EVENTS: usize = 256;
const FRAME_BYTES: usize = 1024 * 1024 - FRAME_AROUND;
/// Room for what surrounds the events of a frame: its type and its cursor.
const FRAME_AROUND: usize = 256;
/// Rows that one read takes.
const ROWS_AT_ONCE: i64 = 200;
/// And with content of about so much.
const BYTES_AT_ONCE: i64 = 1024 * 1024;
/// Reads in a row that are overtaken by changes before the viewer goes on with what it has.
const MAX_READS: u32 = 8;

/// How a stream begins.
#[derive(Clone, Debug)]
pub enum ViewerRequest {
    /// Everything after this message (0 = all), then what happens.
    Snapshot { after: MessageId },
    /// From a cursor on; an empty one is the beginning. Such a connection knows `history_reset` and `ready`.
    Resume { cursor: String },
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    InvalidCursor(#[from] InvalidCursor),
    #[error("there are too many viewers")]
    TooMany,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Come again: the cursor holds.
    #[error("the server stops")]
    ServerStops,
    #[error("the chat is gone")]
    Gone,
    #[error("a message cannot be read")]
    Content(#[from] ContentError),
    #[error("the chat cannot be read")]
    Store(#[from] StoreError),
}

/// Events to be sent together, and the position behind them.
#[derive(Clone, Debug)]
pub struct Frame {
    /// JSON array of 1 to 256 events.
    pub data: Bytes,
    pub cursor: String,
    /// The highest assistant message in it, for the read mark.
    pub answer: Option<MessageId>,
}

/// One viewer of one chat.
pub struct Viewer {
    hubs: Hubs,
    hold: Hold,
    news: watch::Receiver<u64>,
    stopped: watch::Receiver<bool>,
    position: Position,
    /// Came with a cursor. Other clients know no part that is only a piece of a command's output.
    resumable: bool,
    /// The next item of the ring; absent while reading is due.
    next_item: Option<u64>,
    /// Version of the last read: changes up to it are known.
    read_version: i64,
    /// Model parts of steps up to this one are not sent any more.
    committed_step: i64,
    /// The status that was sent last.
    status: Option<ChatStatusEvent>,
    ready: VecDeque<Frame>,
    /// A first read: `ready` ends it.
    first: bool,
    /// The cursor the viewer came with was not empty.
    resumes: bool,
}

impl Hubs {
    /// Opens a stream. Nothing is read before the first [`Viewer::next`].
    ///
    /// # Errors
    /// A cursor that is none of this chat, or too many viewers.
    pub fn open_viewer(&self, chat: ChatId, request: &ViewerRequest) -> Result<Viewer, OpenError> {
        let (position, resumable, resumes) = match request {
            ViewerRequest::Snapshot { after } => {
                (Position { message_id: after.get(), ..Position::default() }, false, false)
            }
            ViewerRequest::Resume { cursor } if cursor.is_empty() => (Position::default(), true, false),
            ViewerRequest::Resume { cursor } => (Position::decode(chat, cursor)?, true, true),
        };
        let shared = &self.shared;
        let hold = shared.hold(chat);
        let of_chat = hold.hub.viewers.fetch_add(1, Ordering::AcqRel);
        let of_all = shared.viewers.fetch_add(1, Ordering::AcqRel);
        let viewer = Viewer {
            news: hold.hub.news.subscribe(),
            stopped: shared.stopped.subscribe(),
            hold,
            position,
            resumable,
            next_item: None,
            read_version: 0,
            committed_step: 0,
            status: None,
            ready: VecDeque::new(),
            first: true,
            resumes,
            hubs: self.clone(),
        };
        // dropping the viewer takes it out of the counts again
        if of_chat >= shared.config.viewers_a_chat || of_all >= shared.config.viewers {
            return Err(OpenError::TooMany);
        }
        Ok(viewer)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.hold.hub.viewers.fetch_sub(1, Ordering::AcqRel);
        self.hubs.shared.viewers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Live parts, encoded, each with its number, and the number of the last one of all.
#[derive(Default)]
struct Live {
    events: Vec<(Bytes, u64)>,
    at: (i64, i32, u64),
}

/// What one read of a chat gave.
struct Snapshot {
    chat: ChatRow,
    page: MessagePage,
    queue: Vec<QueueRow>,
    /// Set when the viewer has to forget the messages after it.
    reset_after: Option<MessageId>,
}

impl Viewer {
    /// The next frame; waits until there is one.
    ///
    /// # Errors
    /// Why the stream ended.
    ///
    /// # Cancel safety
    /// Nothing is lost: a frame is taken out only when it is returned.
    pub async fn next(&mut self) -> Result<Frame, Ended> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(frame);
            }
            if *self.stopped.borrow_and_update() {
                return Err(Ended::ServerStops);
            }
            self.news.mark_unchanged();
            if self.next_item.is_none() {
                self.read().await?;
                continue;
            }
            let has_gap = self.take_from_ring();
            if !self.ready.is_empty() || self.next_item.is_none() {
                continue;
            }
            let gap_wait = async {
                if has_gap {
                    self.hubs.shared.clock.sleep(GAP_WAIT).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                // each arm only wakes the loop
                changed = self.news.changed() => if changed.is_err() { return Err(Ended::ServerStops) },
                _ = self.stopped.changed() => {}
                () = gap_wait => self.hold.hub.heal(),
            }
        }
    }

    /// Makes a frame of what the ring has. True: a version is missing.
    fn take_from_ring(&mut self) -> bool {
        let Some(mut number) = self.next_item else {
            return false;
        };
        let state = self.hold.hub.lock();
        if number < state.first {
            self.next_item = None;
            // the ring may have told of another status since it was read
            self.status = None;
            return false;
        }
        let mut events: Vec<Bytes> = Vec::new();
        let mut bytes = 0;
        let mut answer = None;
        let mut reset = false;
        while let Some(item) = state.item(number) {
            let is_due = match item.kind {
                ItemKind::Durable { version, .. } => version > self.read_version,
                ItemKind::Part { is_model } => {
                    let is_known = is_model || self.resumable;
                    let is_seen = (item.after.step, item.after.attempt) == (self.position.step, self.position.attempt)
                        && item.after.seq <= self.position.seq;
                    let is_old = (item.after.step, item.after.attempt) < (self.position.step, self.position.attempt);
                    let is_committed = is_model && item.after.step <= self.committed_step;
                    is_known && !(is_seen || is_old || is_committed)
                }
                ItemKind::Retry => item.after.step >= self.position.step,
            };
            if is_due {
                if !events.is_empty() && (events.len() >= FRAME_EVENTS || bytes + item.event.len() > FRAME_BYTES) {
                    break;
                }
                bytes += item.event.len() + 1;
                events.push(item.event.clone());
                self.position = merged(&self.position, &item.after);
                if let ItemKind::Durable { is_reset, is_answer, .. } = item.kind {
                    reset |= is_reset;
                    if is_answer {
                        answer = Some(item.after.message());
                    }
                }
            }
            number += 1;
            if reset && !self.resumable {
                break;
            }
        }
        let has_gap = state.has_gap() && state.item(number).is_none();
        drop(state);
        self.next_item = Some(number);
        if !events.is_empty() {
            self.ready.push_back(self.frame(&events, answer));
        }
        if reset && !self.resumable {
            // such a client gets all that survived once more, and what else the edit has changed
            self.position.message_id = 0;
            self.status = None;
            self.next_item = None;
        }
        has_gap
    }

    fn frame(&self, events: &[Bytes], answer: Option<MessageId>) -> Frame {
        let mut data = Vec::with_capacity(events.iter().map(|event| event.len() + 1).sum::<usize>() + 2);
        data.push(b'[');
        for (at, event) in events.iter().enumerate() {
            if at > 0 {
                data.push(b',');
            }
            data.extend_from_slice(event);
        }
        data.push(b']');
        Frame { data: self.hold.hub.long_frames.share(data), cursor: self.position.encode(self.hold.hub.chat), answer }
    }
}

// ---- reading ----

impl Viewer {
    /// Reads from the position on: one page of messages, and behind the last page whatever is live.
    async fn read(&mut self) -> Result<(), Ended> {
        let mut tries = 0;
        loop {
            tries += 1;
            let start = self.hold.hub.lock().next;
            let snapshot = self.snapshot().await?;
            let is_last_page = !snapshot.page.has_more;
            let parts_first = self.first && !self.resumable;
            if !is_last_page && !parts_first {
                return self.frames(&snapshot, &Live::default(), parts_first, is_last_page);
            }
            let head = self.head_of(&snapshot);
            let committed_step = snapshot.chat.state.committed_step;
            let (live, next_item) = {
                let mut state = self.hold.hub.lock();
                let overtaken = start < state.first
                    || (start..state.next).any(|number| {
                        state.item(number).is_some_and(
                            |item| matches!(item.kind, ItemKind::Durable { version, .. } if version > head.version),
                        )
                    });
                if overtaken && tries < MAX_READS {
                    continue;
                }
                state.saw_version(&head);
                if overtaken {
                    (Live::default(), start.max(state.first))
                } else {
                    (self.live(state.live.as_ref(), committed_step), state.next)
                }
            };
            self.committed_step = committed_step;
            self.next_item = is_last_page.then_some(next_item);
            return self.frames(&snapshot, &live, parts_first, is_last_page);
        }
    }

    /// The live parts this viewer has not seen.
    fn live(&self, parts: Option<&LiveParts>, committed_step: i64) -> Live {
        let Some(parts) = parts else {
            return Live::default();
        };
        let is_same = (parts.step, parts.attempt) == (self.position.step, self.position.attempt);
        let seq = if is_same { self.position.seq } else { 0 };
        let missed = parts.missed(self.hold.hub.chat, seq, committed_step).into_iter();
        let known = missed.filter(|part| part.is_model || self.resumable);
        let events = known.map(|part| (part.event, part.seq)).collect();
        Live { events, at: (parts.step, parts.attempt, parts.seq) }
    }

    /// One read transaction.
    async fn snapshot(&self) -> Result<Snapshot, Ended> {
        let (chat_id, position, resumes) = (self.hold.hub.chat, self.position, self.resumes || !self.first);
        let found = self
            .hubs
            .shared
            .store
            .read("chat_stream", move |tx| {
                Box::pin(async move {
                    let Some(chat) = atelier_store::chat_get_in_tx(tx, chat_id).await? else {
                        return Ok(None);
                    };
                    let is_beyond = position.version > chat.state.version
                        || position.step > chat.state.step_no
                        || position.rewind > chat.state.rewind
                        || (resumes && position.message_id > chat.last_message_id.get());
                    let reset_after = if is_beyond {
                        Some(MessageId(0))
                    } else if resumes && position.rewind < chat.state.rewind {
                        Some(atelier_store::last_message_before_rewind_in_tx(tx, chat_id, position.rewind).await?)
                    } else {
                        None
                    };
                    let after = reset_after.unwrap_or(position.message());
                    let range = MessageRange {
                        after,
                        before: MessageId(i64::MAX),
                        limit: ROWS_AT_ONCE,
                        max_bytes: BYTES_AT_ONCE,
                    };
                    let page = atelier_store::messages_page_in_tx(tx, chat_id, range).await?;
                    let queue = atelier_store::queue_list_in_tx(tx, chat_id).await?;
                    Ok::<_, StoreError>(Some(Snapshot { chat, page, queue, reset_after }))
                })
            })
            .await?;
        found.ok_or(Ended::Gone)
    }

    /// Where a viewer is that knows all of the snapshot.
    fn head_of(&self, snapshot: &Snapshot) -> Position {
        Position {
            rewind: snapshot.chat.state.rewind,
            message_id: snapshot.chat.last_message_id.get(),
            version: snapshot.chat.state.version,
            ..self.position
        }
    }

    /// Turns a snapshot into frames and moves the position behind them.
    fn frames(&mut self, snapshot: &Snapshot, live: &Live, parts_first: bool, is_last_page: bool) -> Result<(), Ended> {
        let chat = &snapshot.chat;
        let mut batch = Batch::new(self);
        if let Some(after) = snapshot.reset_after {
            let history_reset = ChatHistoryReset { after_message_id: after.get() };
            let behind = Position { message_id: after.get(), rewind: chat.state.rewind, ..batch.position };
            batch.event(None, ChatStreamPayload::HistoryReset { history_reset }, behind);
        }
        batch.position.rewind = chat.state.rewind;
        let status = convert::status_event(chat, batch.viewer.hubs.shared.clock.now());
        if batch.viewer.status.as_ref() != Some(&status) || (batch.viewer.first && batch.viewer.status.is_none()) {
            batch.viewer.status = Some(status.clone());
            batch.event(None, ChatStreamPayload::Status { status }, batch.position);
        }
        if parts_first {
            batch.retry(chat);
            batch.live(live);
        }
        for row in &snapshot.page.messages {
            let message = Box::new(convert::message(row)?);
            let step = match row.role {
                Role::Assistant | Role::Tool => row.step_no,
                Role::User | Role::System => None,
            };
            let behind = Position { message_id: row.id.get(), ..batch.position };
            batch.event(step, ChatStreamPayload::Message { message }, behind);
            if row.role == Role::Assistant {
                batch.answer = Some(row.id);
            }
        }
        if is_last_page {
            if !parts_first {
                batch.retry(chat);
                batch.live(live);
            }
            let is_first = batch.viewer.first;
            let knows_queue = !is_first || batch.viewer.resumes;
            let changed = knows_queue && batch.viewer.position.version < chat.state.queue_version;
            if changed || (is_first && !snapshot.queue.is_empty()) {
                let queued_messages = snapshot.queue.iter().map(convert::queued_message).collect::<Result<_, _>>()?;
                let behind = Position { version: chat.state.version, ..batch.position };
                batch.event(None, ChatStreamPayload::QueueUpdate { queued_messages }, behind);
            }
            batch.position.version = chat.state.version;
            if is_first && batch.viewer.resumable {
                batch.event(None, ChatStreamPayload::Ready, batch.position);
            }
        }
        batch.flush();
        self.position = batch.position;
        if is_last_page {
            self.read_version = chat.state.version;
            self.first = false;
        } else if parts_first {
            // what follows is the rest of the messages
            self.resumes = false;
        }
        Ok(())
    }
}

/// Collects events into frames within their bounds.
struct Batch<'a> {
    viewer: &'a mut Viewer,
    /// Behind the last event put in.
    position: Position,
    events: Vec<Bytes>,
    bytes: usize,
    answer: Option<MessageId>,
}

impl<'a> Batch<'a> {
    fn new(viewer: &'a mut Viewer) -> Self {
        let position = viewer.position;
        Self { viewer, position, events: Vec::new(), bytes: 0, answer: None }
    }

    fn event(&mut self, step: Option<i64>, payload: ChatStreamPayload, behind: Position) {
        let event = ChatStreamEvent { chat_id: self.viewer.hold.hub.chat.uuid(), step, payload };
        self.push(encode::json(&event).into(), behind);
    }

    /// Adds an event, to a frame of its own if it does not fit in with those before it.
    fn push(&mut self, event: Bytes, behind: Position) {
        if self.events.len() >= FRAME_EVENTS || self.bytes + event.len() > FRAME_BYTES {
            self.flush();
        }
        self.bytes += event.len() + 1;
        self.events.push(event);
        self.position = behind;
    }

    fn flush(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.events);
        self.bytes = 0;
        self.viewer.position = self.position;
        let frame = self.viewer.frame(&events, self.answer.take());
        self.viewer.ready.push_back(frame);
    }

    fn live(&mut self, live: &Live) {
        if live.events.is_empty() {
            return;
        }
        let (step, attempt, last) = live.at;
        for (event, seq) in &live.events {
            self.push(event.clone(), Position { step, attempt, seq: *seq, ..self.position });
        }
        self.position.seq = last;
    }

    /// The retry that is waited for, or the one a resuming viewer has missed.
    fn retry(&mut self, chat: &ChatRow) {
        let state = &chat.state;
        if !state.step_in_progress() {
            return;
        }
        let position = &self.viewer.position;
        let missed = self.viewer.resumes
            && self.viewer.first
            && position.step == state.step_no
            && position.attempt < state.attempt
            && position.attempt > 0;
        let retry = match &state.retry {
            Some(info) if self.viewer.first && info.attempt >= position.attempt => convert::retry(info),
            Some(_) | None if missed => ChatRetry {
                attempt: state.attempt - 1,
                delay_ms: 0,
                retrying_at: self.viewer.hubs.shared.clock.now().into(),
                error: "The turn was taken over and goes on.".to_owned(),
                kind: ErrorKind::Takeover.as_str().to_owned(),
                code: None,
                detail: None,
                provider: None,
                status_code: None,
                retryable: true,
            },
            Some(_) | None => return,
        };
        self.event(Some(state.step_no), ChatStreamPayload::Retry { retry }, self.position);
    }
}

/// The position behind an item: what the item does not name stays.
fn merged(position: &Position, after: &Position) -> Position {
    Position {
        rewind: after.rewind.max(position.rewind),
        message_id: if after.rewind > position.rewind {
            after.message_id
        } else {
            after.message_id.max(position.message_id)
        },
        version: after.version.max(position.version),
        step: after.step,
        attempt: after.attempt,
        seq: after.seq,
    }
}

impl Hubs {
    /// Moves the owner's read mark to an answer that was sent, and tells the owner's other clients.
    ///
    /// # Errors
    /// The store's.
    pub async fn mark_read(&self, chat: ChatId, owner: UserId, answer: MessageId) -> Result<(), StoreError> {
        let now = atelier_domain::clock::to_micros(self.shared.clock.now());
        if self.shared.store.chat_read_up_to(chat, owner, answer, now).await? {
            self.publish_watch(owner, chat, WatchKind::Updated);
        }
        Ok(())
    }
}
