//! Decoded rows of chats, kept between turns so that a turn in a long chat starts as fast as in a new one.
//!
//! An entry is right as long as its chat's `rewind` is the same; newer rows are read from the database and
//! appended.

use std::sync::Arc;

use atelier_domain::{ChatId, MessageId};
use atelier_store::{Store, StoreError};

use super::history::TranscriptRow;
use super::kept::Kept;

/// Bytes of content kept by one replica.
const MAX_BYTES: usize = 128 * 1024 * 1024;

pub(crate) struct Transcripts {
    kept: Kept<ChatId, Known>,
}

#[derive(Clone)]
struct Known {
    rewind: i64,
    rows: Vec<Arc<TranscriptRow>>,
    bytes: usize,
}

impl Default for Transcripts {
    fn default() -> Self {
        Self { kept: Kept::new(MAX_BYTES) }
    }
}

impl Transcripts {
    /// All live rows of a chat that a model may see, oldest first.
    pub(crate) async fn rows(
        &self,
        store: &Store,
        chat: ChatId,
        rewind: i64,
    ) -> Result<Vec<Arc<TranscriptRow>>, TranscriptError> {
        let known = self.kept.get(&chat).filter(|known| known.rewind == rewind);
        let Known { mut rows, mut bytes, .. } = known.unwrap_or(Known { rewind, rows: Vec::new(), bytes: 0 });
        let after = rows.last().map_or(MessageId(0), |row| row.id);
        for row in store.messages_for_prompt(chat, after).await? {
            bytes += row.content.len() + 64;
            let parts = row.decode().map_err(|source| TranscriptError::Content { message: row.id, source })?;
            rows.push(Arc::new(TranscriptRow { id: row.id, role: row.role, parts }));
        }
        self.kept.put(chat, Known { rewind, rows: rows.clone(), bytes }, bytes);
        Ok(rows)
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
