//! Stored messages: roles, parts, usage, and the one encoding of their content.
//!
//! These are the parts as the database keeps them. They carry what never leaves the server (the
//! provider's own block in `native`); the conversion to wire types drops it. Content is a JSON text
//! with a version beside it. Version 1, the only one written, is an array of parts for every role; version 0
//! comes from imports.

mod legacy;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{FileId, McpServerId};

/// The version of every content written today.
pub const CONTENT_VERSION: i16 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

impl Role {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// Who a stored message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Shown to people, not sent to the model.
    User,
    /// Sent to the model, not shown to people.
    Model,
    Both,
}

impl Visibility {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Model => "model",
            Self::Both => "both",
        }
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    Stop,
    ToolCalls,
    Length,
    Refused,
    /// The provider paused a long answer; the next request goes on with it.
    Pause,
    Interrupted,
}

impl FinishReason {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::ToolCalls => "tool_calls",
            Self::Length => "length",
            Self::Refused => "refused",
            Self::Pause => "pause",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Where a native block came from. It is replayed verbatim only to the same origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Provider type, for instance `anthropic`.
    pub provider: String,
    /// Host (and port, if not the default) of the base URL.
    pub host: String,
    pub model: String,
}

/// The provider's own form of a part, kept byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Native {
    pub origin: Origin,
    /// JSON text exactly as the provider sent it (signatures and unknown fields included).
    pub block: String,
}

/// Which side of a diff a comment is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiffSide {
    Old,
    New,
}

/// One part of a stored message (api.md 4.3, plus what never leaves the server).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum MessagePart {
    Text(TextPart),
    Reasoning(ReasoningPart),
    ToolCall(ToolCallPart),
    ToolResult(ToolResultPart),
    Source(SourcePart),
    File(FilePart),
    FileReference(FileReferencePart),
    DiffComment(DiffCommentPart),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TextPart {
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReasoningPart {
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Absent while, or because, the block did not end; such reasoning is shown, never replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCallPart {
    /// Unique within the chat, `[A-Za-z0-9_-]{1,64}`.
    pub tool_call_id: String,
    pub tool_name: String,
    /// A JSON object; arguments that were none are stored as `{}` with `invalid_args` set.
    pub args: serde_json::Value,
    #[serde(default, skip_serializing_if = "is_false")]
    pub provider_executed: bool,
    /// The arguments the model sent were no JSON object; the call gets an error result.
    #[serde(default, skip_serializing_if = "is_false")]
    pub invalid_args: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_server_config_id: Option<McpServerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolResultPart {
    pub tool_call_id: String,
    pub tool_name: String,
    pub result: serde_json::Value,
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_error: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_media: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub provider_executed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_server_config_id: Option<McpServerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourcePart {
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilePart {
    pub media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_id: Option<FileId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Base64, only where there is no `file_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReferencePart {
    pub file_name: String,
    pub start_line: i32,
    pub end_line: i32,
    pub content: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffCommentPart {
    pub file_name: String,
    pub start_line: i32,
    pub end_line: i32,
    pub side: DiffSide,
    pub content: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl MessagePart {
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(TextPart { text: text.into(), native: None })
    }

    /// The provider's own form of this part, if it has one.
    #[must_use]
    pub const fn native(&self) -> Option<&Native> {
        match self {
            Self::Text(part) => part.native.as_ref(),
            Self::Reasoning(part) => part.native.as_ref(),
            Self::ToolCall(part) => part.native.as_ref(),
            Self::ToolResult(part) => part.native.as_ref(),
            Self::Source(part) => part.native.as_ref(),
            Self::File(part) => part.native.as_ref(),
            Self::FileReference(_) | Self::DiffComment(_) => None,
        }
    }
}

/// A stored content that cannot be read. Never shown half.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error("message content has unknown version {0}")]
    UnknownVersion(i16),
    #[error("message content of version {version} is not readable")]
    Malformed {
        version: i16,
        #[source]
        source: serde_json::Error,
    },
}

/// The JSON text of `parts` in [`CONTENT_VERSION`]. U+0000 survives: it is written as an escape.
#[must_use]
pub fn content_encode(parts: &[MessagePart]) -> String {
    serde_json::to_string(parts).expect("message parts have string keys only and always serialize")
}

/// Reads the stored content of a message of this role.
///
/// # Errors
/// An unknown version or a text that is no content of its version and role.
pub fn content_decode(version: i16, role: Role, content: &str) -> Result<Vec<MessagePart>, ContentError> {
    let read = match version {
        0 => legacy::decode(role, content),
        CONTENT_VERSION => serde_json::from_str(content),
        other => return Err(ContentError::UnknownVersion(other)),
    };
    read.map_err(|source| ContentError::Malformed { version, source })
}

/// Token counts of one model call. Absent is not zero: `None` means the provider did not say.
///
/// The four priced classes do not overlap: `input_tokens` is without cache reads and writes.
/// `reasoning_tokens` lies inside `output_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub reasoning_tokens: Option<i64>,
    pub cache_read_tokens: Option<i64>,
    pub cache_creation_tokens: Option<i64>,
    pub total_tokens: Option<i64>,
}

impl Usage {
    /// Whether the provider reported any priced count.
    #[must_use]
    pub const fn is_reported(&self) -> bool {
        self.input_tokens.is_some()
            || self.output_tokens.is_some()
            || self.cache_read_tokens.is_some()
            || self.cache_creation_tokens.is_some()
    }

    /// Tokens the next request will at least contain: prompt (cache included) and answer.
    #[must_use]
    pub fn context_tokens(&self) -> i64 {
        [self.input_tokens, self.cache_read_tokens, self.cache_creation_tokens, self.output_tokens]
            .into_iter()
            .flatten()
            .fold(0, i64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn any_native() -> impl Strategy<Value = Option<Native>> {
        prop::option::of((any::<String>(), any::<String>()).prop_map(|(block, model)| Native {
            origin: Origin { provider: "anthropic".into(), host: "localhost:1".into(), model },
            block,
        }))
    }

    fn any_time() -> impl Strategy<Value = Option<Timestamp>> {
        prop::option::of((0_i64..4_000_000_000_000_000).prop_map(|micros| Timestamp::from_microsecond(micros).unwrap()))
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// Every variant, with text that includes U+0000.
    fn any_part() -> impl Strategy<Value = MessagePart> {
        let text = || prop_oneof![any::<String>(), Just("a\0b".to_owned())];
        let lines = || (any::<i32>(), any::<i32>());
        prop_oneof![
            (text(), any_native()).prop_map(|(text, native)| MessagePart::Text(TextPart { text, native })),
            (text(), any_time(), any_time(), any_native()).prop_map(|(text, created_at, completed_at, native)| {
                MessagePart::Reasoning(ReasoningPart { text, created_at, completed_at, native })
            }),
            (text(), any_json(), any::<bool>(), any::<bool>(), any_time(), any_native()).prop_map(
                |(tool_call_id, args, provider_executed, invalid_args, created_at, native)| {
                    MessagePart::ToolCall(ToolCallPart {
                        tool_call_id,
                        tool_name: "execute".into(),
                        args,
                        provider_executed,
                        invalid_args,
                        mcp_server_config_id: invalid_args.then(McpServerId::new),
                        created_at,
                        native,
                    })
                }
            ),
            (text(), any_json(), any::<bool>(), any::<bool>(), any_time(), any_native()).prop_map(
                |(tool_call_id, result, is_error, is_media, created_at, native)| {
                    MessagePart::ToolResult(ToolResultPart {
                        tool_call_id,
                        tool_name: "execute".into(),
                        result,
                        is_error,
                        is_media,
                        provider_executed: is_media,
                        mcp_server_config_id: None,
                        created_at,
                        native,
                    })
                }
            ),
            (text(), any_native()).prop_map(|(url, native)| {
                MessagePart::Source(SourcePart { title: Some(url.clone()), url, source_id: None, native })
            }),
            (text(), any::<bool>(), any_native()).prop_map(|(text, stored, native)| {
                MessagePart::File(FilePart {
                    media_type: "image/png".into(),
                    file_id: stored.then(FileId::new),
                    name: None,
                    data: (!stored).then_some(text),
                    native,
                })
            }),
            (text(), lines()).prop_map(|(content, (start_line, end_line))| {
                MessagePart::FileReference(FileReferencePart { file_name: "a".into(), start_line, end_line, content })
            }),
            (text(), lines()).prop_map(|(content, (start_line, end_line))| {
                let side = if start_line < 0 { DiffSide::Old } else { DiffSide::New };
                MessagePart::DiffComment(DiffCommentPart { file_name: "a".into(), start_line, end_line, side, content })
            }),
        ]
    }

    proptest! {
        #[test]
        fn content_reads_back_what_was_written(parts in prop::collection::vec(any_part(), 0..6)) {
            let content = content_encode(&parts);
            // an escape, so that a text column takes it
            prop_assert!(!content.contains('\0'));
            prop_assert_eq!(content_decode(CONTENT_VERSION, Role::User, &content).unwrap(), parts);
        }

        /// An object in `data` of the first element is how an older form of content is told apart.
        #[test]
        fn no_part_holds_an_object_in_data(part in any_part()) {
            let written: Value = serde_json::from_str(&content_encode(&[part])).unwrap();
            prop_assert!(!written[0]["data"].is_object());
        }
    }

    #[test]
    fn content_of_another_version_is_refused() {
        let content = json!([{"type": "text", "text": "x"}]).to_string();
        for version in [-1, 2, i16::MAX] {
            assert!(
                matches!(content_decode(version, Role::User, &content), Err(ContentError::UnknownVersion(v)) if v == version)
            );
        }
        for broken in ["", "{}", "[{\"type\":\"nothing\"}]", "[{\"type\":\"text\"}]"] {
            assert!(matches!(content_decode(CONTENT_VERSION, Role::User, broken), Err(ContentError::Malformed { .. })));
        }
    }
}
