//! Cursors: positions in a chat's stream that hold across replicas and restarts (daemon.md 11.4).

use atelier_domain::{ChatId, MessageId};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

const PREFIX: &str = "c1";
/// Cursors that are longer are refused unread.
pub(crate) const MAX_CURSOR_CHARS: usize = 256;

/// How far a viewer has come. Durable things are named by version and message id, live parts by step,
/// attempt and number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) rewind: i64,
    pub(crate) message_id: MessageIdOrZero,
    pub(crate) version: i64,
    pub(crate) step: i64,
    pub(crate) attempt: i32,
    pub(crate) seq: u64,
}

/// A message id; 0 = before the first message.
pub(crate) type MessageIdOrZero = i64;

/// The text is no cursor of this chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one of this chat")]
pub struct InvalidCursor;

impl Position {
    pub(crate) const fn message(&self) -> MessageId {
        MessageId(self.message_id)
    }

    pub(crate) fn encode(&self, chat: ChatId) -> String {
        let mut bytes = Vec::with_capacity(40);
        bytes.extend_from_slice(&chat_tag(chat));
        let numbers = [self.rewind, self.message_id, self.version, self.step, i64::from(self.attempt)];
        for number in numbers {
            varint(&mut bytes, u64::try_from(number).unwrap_or(0));
        }
        varint(&mut bytes, self.seq);
        format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(crate) fn decode(chat: ChatId, text: &str) -> Result<Self, InvalidCursor> {
        if text.len() > MAX_CURSOR_CHARS {
            return Err(InvalidCursor);
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidCursor)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| InvalidCursor)?;
        let mut rest = bytes.strip_prefix(&chat_tag(chat)).ok_or(InvalidCursor)?;
        let mut next = || read_varint(&mut rest).ok_or(InvalidCursor);
        let mut signed = || next().and_then(|number| i64::try_from(number).map_err(|_| InvalidCursor));
        let (rewind, message_id, version, step, attempt) = (signed()?, signed()?, signed()?, signed()?, signed()?);
        let attempt = i32::try_from(attempt).map_err(|_| InvalidCursor)?;
        let seq = next()?;
        if !rest.is_empty() {
            return Err(InvalidCursor);
        }
        Ok(Self { rewind, message_id, version, step, attempt, seq })
    }
}

fn chat_tag(chat: ChatId) -> [u8; 4] {
    let hash = Sha256::digest(chat.uuid().as_bytes());
    [hash[0], hash[1], hash[2], hash[3]]
}

pub(crate) fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

pub(crate) fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if shift == 63 && low > 1 {
            return None;
        }
        number |= low << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_and_belongs_to_its_chat(
            rewind in 0..i64::MAX, message_id in 0..i64::MAX, version in 0..i64::MAX, step in 0..i64::MAX,
            attempt in 0..i32::MAX, seq in 0..u64::MAX,
        ) {
            let (chat, other) = (ChatId::new(), ChatId::new());
            let position = Position { rewind, message_id, version, step, attempt, seq };
            let text = position.encode(chat);
            prop_assert!(text.len() <= 96);
            prop_assert_eq!(Position::decode(chat, &text), Ok(position));
            prop_assert!(Position::decode(other, &text).is_err());
        }

        #[test]
        fn any_cursor_is_read_or_refused(text in "\\PC{0,300}") {
            let _ = Position::decode(ChatId::new(), &text);
        }
    }
}
