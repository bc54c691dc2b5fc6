//! Chats, their messages, and the events of their streams.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Time;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Chat {
    pub id: Uuid,
    pub owner_id: Uuid,
    pub organization_id: Uuid,
    pub last_model_config_id: Uuid,
    /// The root of a root chat is itself.
    pub root_chat_id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_chat_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<Uuid>,
    pub title: String,
    pub status: ChatStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Text of the last turn's error, or null.
    pub last_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_info: Option<ChatError>,
    pub created_at: Time,
    pub updated_at: Time,
    pub archived: bool,
    pub has_unread: bool,
    /// True only while the chat waits for a place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_for_capacity: Option<bool>,
    pub mcp_server_ids: Vec<Uuid>,
    pub labels: BTreeMap<String, String>,
    /// 0 = not pinned.
    pub pin_order: i32,
    /// The chats below a root, newest first; only with `include=children`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub children: Option<Vec<Chat>>,
    /// Where the words of a search were found; only in lists with bare words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_match: Option<ChatSearchMatch>,
}

/// At most 25.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceIds {
    pub workspace_ids: Vec<Uuid>,
}

/// The caller's newest chat of each workspace; those without a chat are absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct ChatsByWorkspace(pub BTreeMap<Uuid, Uuid>);

/// A file that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChatFile {
    pub id: Uuid,
    pub name: String,
    pub media_type: String,
    /// Bytes.
    pub size: i64,
}

/// Where the words of a search were found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChatSearchMatch {
    /// Absent: in the title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<i64>,
    /// At most 160 characters of the message's text, or of the title.
    pub snippet: String,
    /// From and to of each hit, in characters (code points) of the snippet.
    #[schema(value_type = Vec<Vec<u32>>)]
    pub ranges: Vec<(usize, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChatStatus {
    Waiting,
    Pending,
    Running,
    Error,
    /// Reserved; clients treat it as busy.
    RequiresAction,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChatError {
    pub message: String,
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    pub retryable: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatMessage {
    pub id: i64,
    pub chat_id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_config_id: Option<Uuid>,
    pub created_at: Time,
    pub role: ChatMessageRole,
    pub content: Vec<ChatMessagePart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ChatMessageUsage>,
    /// Absent = unpriced, 0 = free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_ms: Option<i64>,
    /// `stop`, `tool_calls`, `length`, `refused`, `pause` or `interrupted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChatMessageRole {
    User,
    Assistant,
    Tool,
    /// Exists, but is never sent.
    System,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChatMessageUsage {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<i64>,
    /// Reasoning lies inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_creation_tokens: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read_tokens: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_limit: Option<i64>,
    /// True when the provider reported none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated: Option<bool>,
}

/// A piece of a message. A variant carries these fields and no others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ChatMessagePart {
    Text {
        text: String,
    },
    Reasoning {
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        created_at: Option<Time>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        completed_at: Option<Time>,
    },
    ToolCall {
        tool_call_id: String,
        tool_name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        args: Option<Value>,
        /// In streams only: a piece of the arguments' text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        args_delta: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_executed: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mcp_server_config_id: Option<Uuid>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        created_at: Option<Time>,
    },
    ToolResult {
        tool_call_id: String,
        tool_name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Value>,
        /// In streams only: a piece of the output so far.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result_delta: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_error: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_media: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_executed: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mcp_server_config_id: Option<Uuid>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        created_at: Option<Time>,
    },
    Source {
        url: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source_id: Option<String>,
    },
    File {
        media_type: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file_id: Option<Uuid>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Base64, only when there is no `file_id`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data: Option<String>,
    },
    FileReference {
        file_name: String,
        start_line: i32,
        end_line: i32,
        content: String,
    },
    DiffComment {
        file_name: String,
        start_line: i32,
        end_line: i32,
        /// `old` or `new`.
        side: String,
        content: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatQueuedMessage {
    pub id: i64,
    pub chat_id: Uuid,
    pub content: Vec<ChatMessagePart>,
    pub created_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_config_id: Option<Uuid>,
}

/// A piece of a message that a user sends. Which fields a type needs is checked by the server, so that
/// every fault is named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ChatInputPart {
    /// `text`, `file`, `file-reference` or `diff-comment`, any case.
    pub r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_line: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_line: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ChatCreate {
    pub content: Option<Vec<ChatInputPart>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_config_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_server_ids: Option<Vec<Uuid>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<Uuid>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ChatMessageCreate {
    pub content: Option<Vec<ChatInputPart>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_config_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_server_ids: Option<Vec<Uuid>>,
    /// `queue` (default) or `interrupt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_behavior: Option<String>,
}

/// With which model a failed turn goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ChatRetryCreate {
    /// Absent: the chat's last model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_config_id: Option<Uuid>,
}

/// Exactly one of `message` and `queued_message` is present.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatMessageCreated {
    pub queued: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<ChatMessage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_message: Option<ChatQueuedMessage>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatMessagePage {
    pub messages: Vec<ChatMessage>,
    pub queued_messages: Vec<ChatQueuedMessage>,
    pub has_more: bool,
}

/// What to set about a chat; absent fields stay. `workspace_id` null: no workspace any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ChatUpdate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    /// 1 to 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Replaces all labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Place among the pinned chats, from 1; 0 unpins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin_order: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::models::present")]
    pub workspace_id: Option<Option<Uuid>>,
}

/// A new content for a message of the user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ChatMessageEdit {
    pub content: Option<Vec<ChatInputPart>>,
    /// Absent: the edited message's model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_config_id: Option<Uuid>,
}

/// A promoted entry whose turn has not begun yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatPromotionWaits {
    pub queued: bool,
    pub queued_message: ChatQueuedMessage,
}

/// Where a chat's owner has read to. Absent = everything, 0 = nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ChatReadMark {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<i64>,
}

/// One event of a chat's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatStreamEvent {
    pub chat_id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<i64>,
    #[serde(flatten)]
    pub payload: ChatStreamPayload,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ChatStreamPayload {
    Status { status: ChatStatusEvent },
    MessagePart { message_part: ChatMessagePartEvent },
    Message { message: Box<ChatMessage> },
    QueueUpdate { queued_messages: Vec<ChatQueuedMessage> },
    Retry { retry: ChatRetry },
    Error { error: ChatError },
    HistoryReset { history_reset: ChatHistoryReset },
    Ready,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChatStatusEvent {
    pub status: ChatStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_for_capacity: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatMessagePartEvent {
    /// `assistant` or `tool`.
    pub role: ChatMessageRole,
    pub part: ChatMessagePart,
    pub step: i64,
    pub attempt: i32,
    /// From 1, without gaps within (step, attempt).
    pub seq: u64,
    /// Present when the part stands for `seq_from..seq`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq_from: Option<u64>,
    /// Block of the answer, in order of first appearance.
    pub index: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChatRetry {
    /// The attempt that failed.
    pub attempt: i32,
    pub delay_ms: i64,
    pub retrying_at: Time,
    pub error: String,
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The provider's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    pub retryable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChatHistoryReset {
    /// Id of the last surviving message; 0 = none.
    pub after_message_id: i64,
}

/// One event of the watch stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatWatchEvent {
    pub kind: ChatWatchKind,
    /// Absent for `resync`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<Box<Chat>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChatWatchKind {
    Created,
    StatusChange,
    TitleChange,
    Deleted,
    DiffStatusChange,
    Updated,
    Resync,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_flat_and_a_part_has_its_own_fields_only() {
        let event = ChatStreamEvent {
            chat_id: Uuid::nil(),
            step: None,
            payload: ChatStreamPayload::MessagePart {
                message_part: ChatMessagePartEvent {
                    role: ChatMessageRole::Assistant,
                    part: ChatMessagePart::Text { text: "hi".into() },
                    step: 1,
                    attempt: 1,
                    seq: 3,
                    seq_from: None,
                    index: 0,
                },
            },
        };
        assert_eq!(
            serde_json::to_value(&event).unwrap(),
            json!({"chat_id": Uuid::nil(), "type": "message_part", "message_part": {
                "role": "assistant", "part": {"type": "text", "text": "hi"}, "step": 1, "attempt": 1, "seq": 3, "index": 0}})
        );
        let ready = ChatStreamEvent { chat_id: Uuid::nil(), step: None, payload: ChatStreamPayload::Ready };
        assert_eq!(serde_json::to_value(&ready).unwrap(), json!({"chat_id": Uuid::nil(), "type": "ready"}));
    }
}
