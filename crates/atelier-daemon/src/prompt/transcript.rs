//! Decoded rows of chats, kept between turns so that a turn in a long chat starts as fast as in a new one.
//!
//! An entry is right as long as its chat's `rewind` is the same; newer rows are read from the database and
//! appended.

use std::sync::Arc;

use atelier_domain::message::{FinishReason, MessagePart};
use atelier_domain::{ChatId, MessageId};
use atelier_store::{Store, StoreError};
use serde_json::Value;

use super::history::TranscriptRow;
use super::kept::Kept;

/// Memory kept by one replica.
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
            let parts = row.decode().map_err(|source| TranscriptError::Content { message: row.id, source })?;
            let declined = row.finish_reason == Some(FinishReason::Refused);
            let transcript_row = TranscriptRow { id: row.id, role: row.role, parts, declined };
            let (row, row_bytes) = kept_row(transcript_row, row.content.len());
            bytes += row_bytes;
            rows.push(row);
        }
        self.kept.put(chat, Known { rewind, rows: rows.clone(), bytes }, bytes);
        Ok(rows)
    }
}

/// What the allocator takes for a block, the counts of an `Arc` and the like.
const BLOCK_BYTES: usize = 16;
/// Blocks of a part beside its JSON values: its texts and what came with it from the provider.
const BLOCKS_A_PART: usize = 6;
/// A field of a JSON object: its place in the map and the blocks of its name and value.
const BYTES_A_VALUE: usize = 120;

/// A row as it is kept, and the memory it takes.
fn kept_row(mut row: TranscriptRow, content_bytes: usize) -> (Arc<TranscriptRow>, usize) {
    // most rows have one part, in a list with room for several
    row.parts.shrink_to_fit();
    let bytes = row_bytes(&row, content_bytes);
    (Arc::new(row), bytes)
}

/// The memory that a kept row takes. Its texts are about as long as the content they were read from.
fn row_bytes(row: &TranscriptRow, content_bytes: usize) -> usize {
    let parts = row.parts.capacity() * size_of::<MessagePart>();
    let values: usize = row.parts.iter().map(values).sum();
    size_of::<TranscriptRow>()
        + size_of::<Arc<TranscriptRow>>()
        + (2 + BLOCKS_A_PART * row.parts.len()) * BLOCK_BYTES
        + parts
        + content_bytes
        + values * BYTES_A_VALUE
}

/// JSON values inside a part.
fn values(part: &MessagePart) -> usize {
    fn inside(value: &Value) -> usize {
        1 + match value {
            Value::Array(items) => items.iter().map(inside).sum(),
            Value::Object(fields) => fields.values().map(inside).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }
    match part {
        MessagePart::ToolCall(call) => inside(&call.args),
        MessagePart::ToolResult(result) => inside(&result.result),
        MessagePart::Text(_)
        | MessagePart::Reasoning(_)
        | MessagePart::Source(_)
        | MessagePart::File(_)
        | MessagePart::FileReference(_)
        | MessagePart::DiffComment(_) => 0,
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

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_domain::message::{CONTENT_VERSION, Role, content_decode, content_encode};

    /// Memory of this process that is in use and no part of its program, as the kernel sees it.
    fn resident_bytes() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    fn read(id: i64, role: Role, content: &str) -> (Arc<TranscriptRow>, usize) {
        let parts = content_decode(CONTENT_VERSION, role, content).unwrap();
        kept_row(TranscriptRow { id: MessageId(id), role, parts, declined: false }, content.len())
    }

    #[test]
    fn many_tiny_chats_take_no_more_memory_than_the_cache_may_have() {
        const BOUND: usize = 32 * 1024 * 1024;
        let kept = Kept::new(BOUND);
        let content = content_encode(&[MessagePart::text("hello")]);
        let before = resident_bytes();
        for at in 0..150_000 {
            let (question, first) = read(2 * at, Role::User, &content);
            let (answer, second) = read(2 * at + 1, Role::Assistant, &content);
            let bytes = first + second;
            kept.put(ChatId::new(), Known { rewind: 0, rows: vec![question, answer], bytes }, bytes);
        }
        let held = resident_bytes().saturating_sub(before);
        // the rest is the allocator's and that of maps that have just grown
        assert!(held <= 2 * BOUND, "{held} bytes are held where {BOUND} are allowed");
        assert!(held >= BOUND / 3, "{held} bytes are held, far fewer than the {BOUND} that are counted");
    }
}
