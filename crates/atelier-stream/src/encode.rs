//! Events as JSON text, written once for all viewers.

use std::io::Write as _;

use atelier_api::ChatMessageRole;
use atelier_domain::ChatId;
use bytes::Bytes;
use serde::Serialize;

pub(crate) struct PartEvent<'a> {
    pub(crate) chat: ChatId,
    pub(crate) role: ChatMessageRole,
    /// JSON of the part.
    pub(crate) part: &'a str,
    pub(crate) step: i64,
    pub(crate) attempt: i32,
    pub(crate) seq: u64,
    pub(crate) seq_from: u64,
    pub(crate) index: u32,
}

/// A `message_part` event. By hand: it is the one event that comes a thousand times a second.
pub(crate) fn message_part(event: &PartEvent<'_>) -> Bytes {
    let role = match event.role {
        ChatMessageRole::Tool => "tool",
        ChatMessageRole::User | ChatMessageRole::Assistant | ChatMessageRole::System => "assistant",
    };
    let mut bytes = Vec::with_capacity(event.part.len() + 192);
    let PartEvent { chat, part, step, attempt, seq, seq_from, index, .. } = event;
    let written = write!(
        bytes,
        "{{\"type\":\"message_part\",\"chat_id\":\"{chat}\",\"step\":{step},\"message_part\":{{\"role\":\"{role}\",\
         \"part\":{part},\"step\":{step},\"attempt\":{attempt},\"seq\":{seq}"
    )
    .and_then(|()| if seq_from == seq { Ok(()) } else { write!(bytes, ",\"seq_from\":{seq_from}") })
    .and_then(|()| write!(bytes, ",\"index\":{index}}}}}"));
    written.expect("writing to memory does not fail");
    bytes.into()
}

/// A JSON string.
pub(crate) fn string(text: &str) -> String {
    json(&text)
}

pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("wire types have string keys only and always serialize")
}
