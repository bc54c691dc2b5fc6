//! Watch streams: which of a user's chats changed.
//!
//! An event carries the whole chat as it is when it is sent, so several changes may be joined and none is
//! stale. A cursor is the time of the last read with short marks of what was sent around it; late commits
//! are found by looking back.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use atelier_api::{Chat, ChatWatchEvent, ChatWatchKind};
use atelier_domain::chat::WatchKind;
use atelier_domain::{ChatId, Timestamp, UserId};
use atelier_store::{ChatRow, StoreError};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::cursor::{InvalidCursor, MAX_CURSOR_CHARS, read_varint, varint};
use crate::hub::Hubs;
use crate::viewer::Ended;
use crate::{convert, encode};

const PREFIX: &str = "w1";
/// Events that wait for a slow client before it is told to read everything.
const MAX_WAITING: usize = 1024;
/// How far back a resume looks for late commits, and how old a cursor may be.
const LOOK_BACK: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);
const MAX_AGE: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
/// Marks in a cursor, four bytes each.
const MAX_MARKS: usize = 40;
/// Chats that a resume sends; more are a `resync`.
const MAX_RESUMED: i64 = 500;

/// Who watches, by user.
#[derive(Default)]
pub(crate) struct Watchers {
    owners: Mutex<HashMap<UserId, Arc<Owner>>>,
}

struct Owner {
    state: Mutex<OwnerState>,
    news: watch::Sender<u64>,
}

#[derive(Default)]
struct OwnerState {
    events: VecDeque<(ChatId, WatchKind)>,
    first: u64,
    next: u64,
    watchers: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Watchers {
    pub(crate) fn has(&self, owner: UserId) -> bool {
        lock(&self.owners).contains_key(&owner)
    }

    pub(crate) fn publish(&self, owner: UserId, chat: ChatId, kind: WatchKind) {
        let Some(owner) = lock(&self.owners).get(&owner).cloned() else {
            return;
        };
        let mut state = lock(&owner.state);
        state.events.push_back((chat, kind));
        state.next += 1;
        if state.events.len() > MAX_WAITING {
            state.events.pop_front();
            state.first += 1;
        }
        drop(state);
        owner.news.send_modify(|news| *news += 1);
    }
}

/// One event of a watch stream.
#[derive(Clone, Debug)]
pub struct WatchFrame {
    /// JSON of one event.
    pub data: Bytes,
    pub cursor: String,
}

/// One watch stream of a user.
pub struct WatchViewer {
    hubs: Hubs,
    owner_id: UserId,
    owner: Arc<Owner>,
    news: watch::Receiver<u64>,
    stopped: watch::Receiver<bool>,
    next_event: u64,
    resume: Option<Cursor>,
    ready: VecDeque<WatchFrame>,
    sent: VecDeque<(Timestamp, [u8; 4])>,
    read_at: Timestamp,
}

impl Hubs {
    /// Opens a watch stream of a user's own chats.
    ///
    /// # Errors
    /// A text that is no cursor.
    pub fn watch(&self, owner: UserId, cursor: Option<&str>) -> Result<WatchViewer, InvalidCursor> {
        let resume = cursor.filter(|cursor| !cursor.is_empty()).map(Cursor::decode).transpose()?;
        let entry = {
            let mut owners = lock(&self.shared.watchers.owners);
            let entry = owners
                .entry(owner)
                .or_insert_with(|| Arc::new(Owner { state: Mutex::default(), news: watch::Sender::new(0) }));
            lock(&entry.state).watchers += 1;
            Arc::clone(entry)
        };
        let next_event = lock(&entry.state).next;
        Ok(WatchViewer {
            news: entry.news.subscribe(),
            stopped: self.shared.stopped.subscribe(),
            hubs: self.clone(),
            owner_id: owner,
            owner: entry,
            next_event,
            // until all that was missed is sent, a cursor says how far that has come
            read_at: resume.as_ref().map_or_else(|| self.shared.clock.now(), |cursor| cursor.at),
            resume,
            ready: VecDeque::new(),
            sent: VecDeque::new(),
        })
    }

    /// A chat as it is sent: with the build and agent of its workspace.
    ///
    /// # Errors
    /// The store's.
    pub async fn chat_view(&self, row: &ChatRow) -> Result<Chat, StoreError> {
        Ok(self.chat_views(std::slice::from_ref(row)).await?.remove(0))
    }

    /// Chats as GET returns them, in the order of their rows.
    ///
    /// # Errors
    /// The store's.
    pub async fn chat_views(&self, rows: &[ChatRow]) -> Result<Vec<Chat>, StoreError> {
        let workspaces: Vec<_> = rows.iter().filter_map(|row| row.workspace_id).collect();
        let builds = self.shared.store.builds_newest_for_system(&workspaces).await?;
        let now = self.shared.clock.now();
        let build = |row: &ChatRow| row.workspace_id.and_then(|workspace| builds.get(&workspace).copied());
        Ok(rows.iter().map(|row| convert::chat(row, build(row), now)).collect())
    }
}

impl Drop for WatchViewer {
    fn drop(&mut self) {
        let mut owners = lock(&self.hubs.shared.watchers.owners);
        let mut state = lock(&self.owner.state);
        state.watchers -= 1;
        if state.watchers == 0 {
            owners.remove(&self.owner_id);
        }
    }
}

impl WatchViewer {
    /// The next event; waits until there is one.
    ///
    /// # Errors
    /// Why the stream ended.
    ///
    /// # Cancel safety
    /// Nothing is lost: an event is taken out only when it is returned.
    pub async fn next(&mut self) -> Result<WatchFrame, Ended> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(frame);
            }
            if *self.stopped.borrow_and_update() {
                return Err(Ended::ServerStops);
            }
            self.news.mark_unchanged();
            if let Some(cursor) = self.resume.clone() {
                self.catch_up(&cursor).await?;
                self.resume = None;
                continue;
            }
            if let Some((chat, kind, is_lost)) = self.peek() {
                if is_lost {
                    self.next_event = lock(&self.owner.state).next;
                    let frame = self.resync();
                    return Ok(frame);
                }
                let row = self.hubs.shared.store.chat_get_for_system(chat).await?;
                let frame = match row {
                    Some(row) => Some(self.event(kind_of(kind), &row).await?),
                    None => None,
                };
                self.next_event += 1;
                if let Some(frame) = frame {
                    return Ok(frame);
                }
                continue;
            }
            tokio::select! {
                // both only wake the loop
                changed = self.news.changed() => if changed.is_err() { return Err(Ended::ServerStops) },
                _ = self.stopped.changed() => {}
            }
        }
    }

    /// The next event that waits; true behind it: some before it are lost.
    fn peek(&self) -> Option<(ChatId, WatchKind, bool)> {
        let state = lock(&self.owner.state);
        if self.next_event < state.first {
            return state.events.front().map(|(chat, kind)| (*chat, *kind, true));
        }
        let at = usize::try_from(self.next_event - state.first).ok()?;
        state.events.get(at).map(|(chat, kind)| (*chat, *kind, false))
    }

    async fn catch_up(&mut self, cursor: &Cursor) -> Result<(), Ended> {
        let now = self.hubs.shared.clock.now();
        // a cursor of the future was made before the clock was set back: changes since then may carry earlier times
        let rows = if cursor.at > now || now.duration_since(cursor.at) > MAX_AGE {
            None
        } else {
            let since = cursor.at.checked_sub(LOOK_BACK).unwrap_or(cursor.at);
            let rows = self.hubs.shared.store.chats_changed(self.owner_id, since, MAX_RESUMED).await?;
            (i64::try_from(rows.len()).unwrap_or(i64::MAX) < MAX_RESUMED).then_some(rows)
        };
        let Some(rows) = rows else {
            let frame = self.resync();
            self.ready.push_back(frame);
            return Ok(());
        };
        for row in rows {
            let mark = mark(&row);
            if cursor.marks.contains(&mark) {
                self.sent.push_back((row.changed_at, mark));
                continue;
            }
            let kind = if row.state.archived {
                ChatWatchKind::Deleted
            } else if row.created_at >= cursor.at {
                ChatWatchKind::Created
            } else {
                ChatWatchKind::StatusChange
            };
            let frame = self.event(kind, &row).await?;
            self.ready.push_back(frame);
        }
        self.read_at = self.read_at.max(now);
        Ok(())
    }

    async fn event(&mut self, kind: ChatWatchKind, row: &ChatRow) -> Result<WatchFrame, StoreError> {
        let chat = self.hubs.chat_view(row).await?;
        self.read_at = self.read_at.max(row.changed_at);
        self.sent.push_back((row.changed_at, mark(row)));
        let event = ChatWatchEvent { kind, chat: Some(Box::new(chat)) };
        Ok(WatchFrame { data: encode::json(&event).into(), cursor: self.cursor() })
    }

    fn resync(&mut self) -> WatchFrame {
        self.read_at = self.hubs.shared.clock.now();
        let event = ChatWatchEvent { kind: ChatWatchKind::Resync, chat: None };
        WatchFrame { data: encode::json(&event).into(), cursor: self.cursor() }
    }

    fn cursor(&mut self) -> String {
        let oldest = self.read_at.checked_sub(LOOK_BACK).unwrap_or(self.read_at);
        while self.sent.front().is_some_and(|(at, _)| *at < oldest) || self.sent.len() > MAX_MARKS {
            self.sent.pop_front();
        }
        let marks: HashSet<[u8; 4]> = self.sent.iter().map(|(_, mark)| *mark).collect();
        Cursor { at: self.read_at, marks }.encode()
    }
}

const fn kind_of(kind: WatchKind) -> ChatWatchKind {
    match kind {
        WatchKind::Created => ChatWatchKind::Created,
        WatchKind::StatusChange => ChatWatchKind::StatusChange,
        WatchKind::TitleChange => ChatWatchKind::TitleChange,
        WatchKind::Updated => ChatWatchKind::Updated,
        WatchKind::Deleted => ChatWatchKind::Deleted,
    }
}

/// A short mark of a chat in one state.
fn mark(row: &ChatRow) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(row.id.uuid().as_bytes());
    hash.update(row.changed_at.as_microsecond().to_be_bytes());
    let hash = hash.finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor {
    at: Timestamp,
    marks: HashSet<[u8; 4]>,
}

impl Cursor {
    fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(10 + self.marks.len() * 4);
        varint(&mut bytes, u64::try_from(self.at.as_microsecond()).unwrap_or(0));
        for mark in &self.marks {
            bytes.extend_from_slice(mark);
        }
        format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    fn decode(text: &str) -> Result<Self, InvalidCursor> {
        if text.len() > MAX_CURSOR_CHARS {
            return Err(InvalidCursor);
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidCursor)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| InvalidCursor)?;
        let mut rest = bytes.as_slice();
        let micros = read_varint(&mut rest).and_then(|micros| i64::try_from(micros).ok()).ok_or(InvalidCursor)?;
        let at = Timestamp::from_microsecond(micros).map_err(|_| InvalidCursor)?;
        if rest.len() % 4 != 0 {
            return Err(InvalidCursor);
        }
        let marks = rest.chunks_exact(4).map(|mark| [mark[0], mark[1], mark[2], mark[3]]).collect();
        Ok(Self { at, marks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_stays_short() {
        let marks = (0..MAX_MARKS).map(|at| u32::try_from(at).unwrap().to_be_bytes()).collect();
        let cursor = Cursor { at: "2026-11-25T03:00:00.123456Z".parse().unwrap(), marks };
        let text = cursor.encode();
        assert!(text.len() <= MAX_CURSOR_CHARS);
        assert_eq!(Cursor::decode(&text), Ok(cursor));
        assert!(Cursor::decode("c1abc").is_err());
    }
}
