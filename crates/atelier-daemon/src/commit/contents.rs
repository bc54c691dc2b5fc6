//! The contents that events bring along, and the rows they become.

use std::collections::HashMap;

use atelier_domain::chat::{self, CallClass, CallState};
use atelier_domain::message::{MessagePart, Role, ToolResultPart};
use atelier_domain::{CallToken, ChatId, McpServerId, MessageId, ModelConfigId, Timestamp, UserId};
use atelier_store::{ChatNew, ChatRow, MessageNew, ModelCallNew, ToolCallNew, ToolCallRow};

use super::types::{AnswerContent, AnswerStored, NewToolCall};
use crate::tool_error::{ToolError, ToolErrorCode};

/// A user's message before it is a row.
#[derive(Clone, Debug)]
pub(crate) struct UserMessage {
    pub(crate) parts: Vec<MessagePart>,
    pub(crate) author: UserId,
    /// Absent: the chat's last model.
    pub(crate) model_config_id: Option<ModelConfigId>,
    /// Absent: the chat's selection stays.
    pub(crate) mcp_server_ids: Option<Vec<McpServerId>>,
}

/// An answer before it is a row.
pub(super) struct Answer {
    pub(super) message: MessageNew,
    pub(super) calls: Vec<NewToolCall>,
    pub(super) context_tokens: i64,
}

/// What an event brings along: the contents that its effects speak of.
#[derive(Default)]
pub(super) struct Payload {
    pub(super) message: Option<UserMessage>,
    pub(super) answer: Option<Answer>,
    pub(super) results: HashMap<CallToken, Vec<MessagePart>>,
    pub(super) metering: Option<ModelCallNew>,
}

/// The row of a chat that was just inserted.
pub(super) fn new_chat_row(chat: ChatNew) -> ChatRow {
    let is_root = chat.id == chat.root_chat_id;
    let (state, _) = chat::create(chat.created_at, is_root);
    ChatRow {
        id: chat.id,
        owner_id: chat.owner_id,
        organization_id: chat.organization_id,
        workspace_id: chat.workspace_id,
        parent_chat_id: chat.parent_chat_id,
        root_chat_id: chat.root_chat_id,
        title: chat.title,
        title_source: chat.title_source,
        mode: None,
        labels: chat.labels,
        last_model_config_id: chat.model_config_id,
        mcp_server_ids: chat.mcp_server_ids,
        workspace_context: None,
        last_read_message_id: MessageId(0),
        created_at: chat.created_at,
        changed_at: chat.created_at,
        context_tokens: None,
        last_message_id: MessageId(0),
        last_answer_id: MessageId(0),
        state,
    }
}

/// The row of a call that was just entered.
pub(super) fn entered_row(call: ToolCallNew, chat_id: ChatId, step_no: i64, now: Timestamp) -> ToolCallRow {
    ToolCallRow {
        uid: call.uid,
        chat_id,
        step_no,
        call_index: call.call_index,
        tool_call_id: call.tool_call_id,
        tool_name: call.tool_name,
        input_sha256: call.input_sha256,
        class: call.class,
        state: call.state,
        ledger_id: call.ledger_id,
        started_at: (call.state == CallState::Started).then_some(now),
        created_at: now,
    }
}

impl From<NewToolCall> for ToolCallNew {
    fn from(call: NewToolCall) -> Self {
        Self {
            uid: call.uid,
            call_index: call.call_index,
            tool_call_id: call.tool_call_id,
            tool_name: call.tool_name,
            input_sha256: call.input_sha256,
            class: call.class,
            state: call.state,
            ledger_id: None,
        }
    }
}

impl Answer {
    fn new(content: AnswerContent, calls: Vec<NewToolCall>) -> Self {
        let message = MessageNew {
            model_config_id: Some(content.model_config_id),
            finish_reason: Some(content.finish_reason),
            usage: content.usage,
            estimated: content.estimated,
            context_limit: content.context_limit,
            cost_micros: content.cost_micros,
            runtime_ms: Some(content.runtime_ms),
            provider_response_id: content.provider_response_id,
            ..MessageNew::new(Role::Assistant, content.parts)
        };
        Self { message, calls, context_tokens: content.usage.context_tokens() }
    }

    pub(super) fn whole(answer: AnswerStored) -> (Self, ModelCallNew) {
        let AnswerStored { content, metering, calls, .. } = answer;
        (Self::new(content, calls), metering)
    }

    /// Its complete local calls are entered too: they get an "interrupted" result in the same transaction.
    pub(super) fn partial(answer: AnswerContent) -> Self {
        let local = answer.parts.iter().filter_map(|part| match part {
            MessagePart::ToolCall(call) if !call.provider_executed => Some(call),
            MessagePart::ToolCall(_)
            | MessagePart::Text(_)
            | MessagePart::Reasoning(_)
            | MessagePart::ToolResult(_)
            | MessagePart::Source(_)
            | MessagePart::File(_)
            | MessagePart::FileReference(_)
            | MessagePart::DiffComment(_) => None,
        });
        let calls = local
            .zip(0..)
            .map(|(call, call_index)| NewToolCall {
                uid: CallToken::new(),
                call_index,
                tool_call_id: call.tool_call_id.clone(),
                tool_name: call.tool_name.clone(),
                // never begun, so nobody asks whether it was begun with other arguments
                input_sha256: String::new(),
                class: CallClass::Repeatable,
                state: CallState::Ready,
            })
            .collect();
        Self::new(answer, calls)
    }

    /// The answer as far as the rules look at it.
    pub(super) fn as_step_answer(&self, step_no: i64, refused: bool) -> chat::StepAnswer {
        let calls = self
            .calls
            .iter()
            .map(|call| chat::OpenCall {
                token: call.uid,
                step_no,
                call_index: call.call_index,
                class: call.class,
                state: call.state,
            })
            .collect();
        chat::StepAnswer { step_no, calls, refused }
    }
}

/// The result of a call that a stop overtook.
pub(super) fn interrupted(tool_call_id: &str, tool_name: &str, now: Timestamp) -> MessagePart {
    let error = ToolError::new(ToolErrorCode::Interrupted, "The turn was interrupted before this call had a result.");
    MessagePart::ToolResult(ToolResultPart {
        tool_call_id: tool_call_id.to_owned(),
        tool_name: tool_name.to_owned(),
        result: error.to_result(),
        is_error: true,
        is_media: false,
        provider_executed: false,
        mcp_server_config_id: None,
        created_at: Some(now),
        native: None,
    })
}
