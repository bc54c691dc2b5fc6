//! Hubs: what is known of a chat while somebody looks.
//!
//! A hub keeps a ring of encoded events with the position behind each. Changes are applied in the order of
//! their versions; one that comes too early is held, and a gap that stays is healed by reading: the ring
//! is broken, and every viewer catches up from its own position.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use atelier_api::{ChatMessagePart, ChatStreamEvent, ChatStreamPayload};
use atelier_domain::chat::{RetryInfo, WatchKind};
use atelier_domain::{ChatId, SharedClock, UserId};
use atelier_store::Store;
use bytes::Bytes;
use tokio::sync::watch;

use crate::cursor::Position;
use crate::frames::LongFrames;
use crate::log::{Block, LiveParts, whole};
use crate::watch::Watchers;
use crate::{convert, encode};

/// Events and bytes that a ring keeps.
const RING_EVENTS: usize = 1024;
const RING_BYTES: usize = 256 * 1024;
/// How long a missing version is waited for.
pub(crate) const GAP_WAIT: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
pub struct StreamConfig {
    /// Viewers of one chat, and of all chats of this replica.
    pub viewers_a_chat: usize,
    pub viewers: usize,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self { viewers_a_chat: 1000, viewers: 20_000 }
    }
}

/// What a commit changed, for viewers.
#[derive(Clone, Debug)]
pub struct ChatChange {
    pub chat_id: ChatId,
    pub owner_id: UserId,
    pub version: i64,
    pub queue_version: i64,
    pub rewind: i64,
    /// In the order of publication.
    pub events: Vec<ChatStreamEvent>,
    pub watch: Option<WatchKind>,
}

/// All hubs of a replica. Cheap to clone.
#[derive(Clone)]
pub struct Hubs {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) config: StreamConfig,
    hubs: Mutex<HashMap<ChatId, Arc<Hub>>>,
    pub(crate) viewers: AtomicUsize,
    pub(crate) watchers: Watchers,
    pub(crate) stopped: watch::Sender<bool>,
}

pub(crate) struct Hub {
    pub(crate) chat: ChatId,
    state: Mutex<HubState>,
    /// Moves with every event; viewers wait for it.
    pub(crate) news: watch::Sender<u64>,
    /// Moves with every durable change; waiters wait for it.
    changes: watch::Sender<i64>,
    pub(crate) viewers: AtomicUsize,
    pub(crate) long_frames: LongFrames,
    /// Viewers, waiters and logs that hold this hub.
    holders: AtomicUsize,
}

/// An event in the ring.
pub(crate) struct Item {
    /// The event, encoded.
    pub(crate) event: Bytes,
    pub(crate) kind: ItemKind,
    /// Where a viewer is behind it.
    pub(crate) after: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    /// Part of the change with this version.
    Durable {
        version: i64,
        is_reset: bool,
        is_answer: bool,
    },
    Part {
        is_model: bool,
    },
    Retry,
}

#[derive(Default)]
pub(crate) struct HubState {
    /// Version of the newest change applied; absent until one is known.
    applied: Option<i64>,
    held: BTreeMap<i64, ChatChange>,
    pub(crate) live: Option<LiveParts>,
    items: VecDeque<Item>,
    bytes: usize,
    /// Number of the first item in the ring, and of the next one to come.
    pub(crate) first: u64,
    pub(crate) next: u64,
    head: Position,
}

impl HubState {
    /// The item with this number, if the ring still has it.
    pub(crate) fn item(&self, number: u64) -> Option<&Item> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.items.get(at)
    }

    pub(crate) fn has_gap(&self) -> bool {
        !self.held.is_empty()
    }

    /// What is known of the versions: a snapshot has this one.
    pub(crate) fn saw_version(&mut self, position: &Position) {
        // a later snapshot moves nothing: the change that it has and this hub has not is about to be published
        if self.applied.is_none() {
            self.applied = Some(position.version);
            let Position { rewind, message_id, version, .. } = *position;
            self.head = Position { rewind, message_id, version, ..self.head };
        }
    }

    fn push(&mut self, event: Bytes, kind: ItemKind) {
        self.bytes += event.len();
        self.items.push_back(Item { event, kind, after: self.head });
        self.next += 1;
        while self.items.len() > RING_EVENTS || (self.bytes > RING_BYTES && self.items.len() > 1) {
            if let Some(item) = self.items.pop_front() {
                self.bytes -= item.event.len();
                self.first += 1;
            }
        }
    }

    /// Nobody can go on from the ring: every viewer reads.
    pub(crate) fn break_ring(&mut self) {
        self.items.clear();
        self.bytes = 0;
        self.next += 1;
        self.first = self.next;
        if let Some((&newest, _)) = self.held.last_key_value() {
            self.applied = Some(newest);
        }
        self.held.clear();
    }

    /// Applies a change in its place. False: it has to wait for an earlier one.
    fn take(&mut self, change: ChatChange, has_viewers: bool) -> bool {
        match self.applied {
            Some(applied) if change.version <= applied => return true,
            Some(applied) if change.version > applied + 1 => {
                self.held.insert(change.version, change);
                return false;
            }
            Some(_) | None => {}
        }
        self.apply(change, has_viewers);
        while let Some(applied) = self.applied
            && let Some(next) = self.held.remove(&(applied + 1))
        {
            self.apply(next, has_viewers);
        }
        true
    }

    fn apply(&mut self, change: ChatChange, has_viewers: bool) {
        self.applied = Some(change.version);
        self.head.rewind = change.rewind;
        let count = change.events.len();
        for (at, event) in change.events.into_iter().enumerate() {
            if at + 1 == count {
                // a viewer that stops before the last event of a change does not know all of it yet
                self.head.version = change.version;
            }
            let version = change.version;
            let mut kind = ItemKind::Durable { version, is_reset: false, is_answer: false };
            match &event.payload {
                ChatStreamPayload::Message { message } => {
                    self.head.message_id = self.head.message_id.max(message.id);
                    let is_answer = message.role == atelier_api::ChatMessageRole::Assistant;
                    kind = ItemKind::Durable { version, is_reset: false, is_answer };
                    if let Some(live) = &mut self.live {
                        if is_answer && event.step == Some(live.step) {
                            live.seal_answer();
                        }
                        for part in &message.content {
                            if let ChatMessagePart::ToolResult { tool_call_id, .. } = part {
                                live.seal_call(tool_call_id);
                            }
                        }
                    }
                }
                ChatStreamPayload::HistoryReset { history_reset } => {
                    self.head.message_id = history_reset.after_message_id;
                    kind = ItemKind::Durable { version, is_reset: true, is_answer: false };
                    self.live = None;
                }
                ChatStreamPayload::Retry { .. } => {
                    if let Some(live) = &mut self.live {
                        live.drop_attempt();
                    }
                }
                ChatStreamPayload::Status { .. }
                | ChatStreamPayload::MessagePart { .. }
                | ChatStreamPayload::QueueUpdate { .. }
                | ChatStreamPayload::Error { .. }
                | ChatStreamPayload::Ready => {}
            }
            if has_viewers {
                self.push(encode::json(&event).into(), kind);
            }
        }
        self.head.version = change.version;
    }
}

impl Hub {
    fn new(chat: ChatId) -> Self {
        Self {
            chat,
            state: Mutex::default(),
            news: watch::Sender::new(0),
            changes: watch::Sender::new(0),
            viewers: AtomicUsize::new(0),
            long_frames: LongFrames::default(),
            holders: AtomicUsize::new(0),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, HubState> {
        // nothing panics while it is held; a poisoned hub is only a cache
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn has_viewers(&self) -> bool {
        self.viewers.load(Ordering::Acquire) > 0
    }

    fn tell(&self) {
        if self.has_viewers() {
            self.news.send_modify(|news| *news += 1);
        }
    }

    fn publish(&self, change: ChatChange) {
        let version = change.version;
        let has_viewers = self.has_viewers();
        self.lock().take(change, has_viewers);
        self.changes.send_modify(|newest| *newest = (*newest).max(version));
        self.tell();
    }

    /// Heals a gap of versions by having everybody read.
    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        if state.has_gap() {
            state.break_ring();
            drop(state);
            self.tell();
        }
    }
}

/// Holds a hub. The last one to go takes the hub along.
pub(crate) struct Hold {
    pub(crate) hub: Arc<Hub>,
    shared: Arc<Shared>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut hubs = self.shared.lock_hubs();
        if self.hub.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            hubs.remove(&self.hub.chat);
        }
    }
}

impl Shared {
    fn lock_hubs(&self) -> MutexGuard<'_, HashMap<ChatId, Arc<Hub>>> {
        self.hubs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn hold(self: &Arc<Self>, chat: ChatId) -> Hold {
        let mut hubs = self.lock_hubs();
        let hub = Arc::clone(hubs.entry(chat).or_insert_with(|| Arc::new(Hub::new(chat))));
        hub.holders.fetch_add(1, Ordering::AcqRel);
        drop(hubs);
        Hold { hub, shared: Arc::clone(self) }
    }

    fn find(&self, chat: ChatId) -> Option<Arc<Hub>> {
        self.lock_hubs().get(&chat).cloned()
    }
}

impl Hubs {
    #[must_use]
    pub fn new(store: Store, clock: SharedClock, config: StreamConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                clock,
                config,
                hubs: Mutex::default(),
                viewers: AtomicUsize::new(0),
                watchers: Watchers::default(),
                stopped: watch::Sender::new(false),
            }),
        }
    }

    /// Tells viewers of a committed change. Never blocks; cheap where nobody looks.
    pub fn publish(&self, change: ChatChange) {
        if let Some(kind) = change.watch {
            self.shared.watchers.publish(change.owner_id, change.chat_id, kind);
        }
        if let Some(hub) = self.shared.find(change.chat_id) {
            hub.publish(change);
        }
    }

    /// Tells the owner's watch streams of something that moved no version, for instance the read mark.
    pub fn publish_watch(&self, owner: UserId, chat: ChatId, kind: WatchKind) {
        self.shared.watchers.publish(owner, chat, kind);
    }

    /// Whether a publication for this chat would reach anybody.
    #[must_use]
    pub fn is_looked_at(&self, chat: ChatId, owner: UserId) -> bool {
        self.shared.find(chat).is_some() || self.shared.watchers.has(owner)
    }

    /// How many viewers a chat has here.
    #[must_use]
    pub fn viewer_count(&self, chat: ChatId) -> usize {
        self.shared.find(chat).map_or(0, |hub| hub.viewers.load(Ordering::Acquire))
    }

    /// The log of a run, for the parts of its steps.
    #[must_use]
    pub fn log_open(&self, chat: ChatId) -> StepLog {
        let hold = self.shared.hold(chat);
        hold.hub.lock().live = None;
        StepLog { inner: Arc::new(LogInner { hold, closed: AtomicBool::new(false) }) }
    }

    /// Waits for changes of a chat that are committed after this call.
    #[must_use]
    pub fn wait_change(&self, chat: ChatId) -> Waiter {
        let hold = self.shared.hold(chat);
        let changes = hold.hub.changes.subscribe();
        Waiter { changes, _hold: hold }
    }

    /// Ends every stream: clients come again elsewhere, or here after a restart.
    pub fn shut_down(&self) {
        self.shared.stopped.send_replace(true);
    }
}

/// Waits for changes of one chat.
pub struct Waiter {
    changes: watch::Receiver<i64>,
    _hold: Hold,
}

impl Waiter {
    /// Ends after a change that this waiter has not been woken for.
    ///
    /// # Cancel safety
    /// A change is not lost when the future is dropped.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The log of one run. Cheap to clone.
#[derive(Clone)]
pub struct StepLog {
    inner: Arc<LogInner>,
}

struct LogInner {
    hold: Hold,
    closed: AtomicBool,
}

impl StepLog {
    /// Parts of this attempt follow, numbered from 1.
    pub fn begin(&self, step: i64, attempt: i32) {
        let mut state = self.hub().lock();
        state.live.get_or_insert_default().begin(step, attempt);
    }

    pub fn text(&self, index: u32, text: &str) {
        self.push(Block::Text, index, text);
    }

    pub fn reasoning(&self, index: u32, text: &str) {
        self.push(Block::Reasoning, index, text);
    }

    /// A piece of a call's arguments.
    pub fn call_args(&self, index: u32, tool_call_id: &str, tool_name: &str, delta: &str) {
        let block = Block::CallArgs { tool_call_id: tool_call_id.to_owned(), tool_name: tool_name.to_owned() };
        self.push(block, index, delta);
    }

    /// A whole part.
    #[allow(clippy::needless_pass_by_value, reason = "the part is made for this")]
    pub fn part(&self, index: u32, part: ChatMessagePart) {
        self.push(whole(&part), index, "");
    }

    /// A piece of what a running call prints. False: nothing more of this call will be shown.
    pub fn tool_output(&self, tool_call_id: &str, tool_name: &str, delta: &str) -> bool {
        let block = Block::ToolOutput { tool_call_id: tool_call_id.to_owned(), tool_name: tool_name.to_owned() };
        self.push(block, 0, delta);
        self.hub().lock().live.as_ref().is_some_and(|live| live.output_room(tool_call_id) > 0)
    }

    /// The attempt failed and is repeated: its parts are void.
    pub fn retry(&self, info: &RetryInfo) {
        let hub = self.hub();
        let mut state = hub.lock();
        let Some(live) = &mut state.live else { return };
        live.drop_attempt();
        let event = ChatStreamEvent {
            chat_id: hub.chat.uuid(),
            step: Some(live.step),
            payload: ChatStreamPayload::Retry { retry: convert::retry(info) },
        };
        if hub.has_viewers() {
            state.push(encode::json(&event).into(), ItemKind::Retry);
        }
        drop(state);
        hub.tell();
    }

    /// The run is over.
    pub fn close(&self) {
        if !self.inner.closed.swap(true, Ordering::AcqRel) {
            self.hub().lock().live = None;
        }
    }

    fn push(&self, block: Block, index: u32, text: &str) {
        let hub = self.hub();
        let is_model = block.is_model();
        let mut state = hub.lock();
        let Some(live) = &mut state.live else { return };
        let Some(event) = live.push(hub.chat, block, index, text) else {
            return;
        };
        let (step, attempt, seq) = (live.step, live.attempt, live.seq);
        state.head = Position { step, attempt, seq, ..state.head };
        if hub.has_viewers() {
            state.push(event, ItemKind::Part { is_model });
        }
        drop(state);
        hub.tell();
    }

    fn hub(&self) -> &Hub {
        &self.inner.hold.hub
    }
}
