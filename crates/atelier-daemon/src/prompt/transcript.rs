//! Decoded rows of chats, kept between turns so that a turn in a long chat starts as fast as in a new one.
//!
//! A cache: losing it costs one read. An entry is right as long as its chat's `rewind` is the same; newer
//! rows are read from the database and appended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use atelier_domain::{ChatId, MessageId};
use atelier_store::{Store, StoreError};

use super::history::TranscriptRow;

/// Bytes of content kept by one replica.
const MAX_BYTES: usize = 128 * 1024 * 1024;

#[derive(Default)]
pub(crate) struct Transcripts {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<ChatId, Entry>,
    bytes: usize,
    uses: u64,
}

struct Entry {
    rewind: i64,
    rows: Vec<Arc<TranscriptRow>>,
    bytes: usize,
    last_use: u64,
}

impl Transcripts {
    /// All live rows of a chat that a model may see, oldest first.
    pub(crate) async fn rows(
        &self,
        store: &Store,
        chat: ChatId,
        rewind: i64,
    ) -> Result<Vec<Arc<TranscriptRow>>, TranscriptError> {
        let mut rows = self.take(chat, rewind);
        let after = rows.last().map_or(MessageId(0), |row| row.id);
        let mut new_bytes = 0;
        for row in store.messages_for_prompt(chat, after).await? {
            new_bytes += row.content.len() + 64;
            let parts = row.decode().map_err(|source| TranscriptError::Content { message: row.id, source })?;
            rows.push(Arc::new(TranscriptRow { id: row.id, role: row.role, parts }));
        }
        self.put(chat, rewind, &rows, new_bytes);
        Ok(rows)
    }

    fn take(&self, chat: ChatId, rewind: i64) -> Vec<Arc<TranscriptRow>> {
        let state = self.lock();
        state
            .entries
            .get(&chat)
            .filter(|entry| entry.rewind == rewind)
            .map(|entry| entry.rows.clone())
            .unwrap_or_default()
    }

    fn put(&self, chat: ChatId, rewind: i64, rows: &[Arc<TranscriptRow>], new_bytes: usize) {
        let mut state = self.lock();
        state.uses += 1;
        let now = state.uses;
        let known = state.entries.remove(&chat);
        let before = known.as_ref().map_or(0, |entry| entry.bytes);
        state.bytes -= before;
        let kept = if known.is_some_and(|entry| entry.rewind == rewind) { before } else { 0 };
        let bytes = kept + new_bytes;
        if bytes <= MAX_BYTES / 4 {
            state.bytes += bytes;
            state.entries.insert(chat, Entry { rewind, rows: rows.to_vec(), bytes, last_use: now });
        }
        while state.bytes > MAX_BYTES {
            let Some((&oldest, _)) = state.entries.iter().min_by_key(|(_, entry)| entry.last_use) else { break };
            if let Some(entry) = state.entries.remove(&oldest) {
                state.bytes -= entry.bytes;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Why a transcript could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TranscriptError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("message {message} cannot be read")]
    Content {
        message: MessageId,
        #[source]
        source: atelier_domain::message::ContentError,
    },
}
