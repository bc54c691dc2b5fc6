//! From what is stored to what is sent: the one place where rows become wire types.
//!
//! What never leaves the server is dropped here: the provider's own blocks, what only models see, system
//! rows, tokens of calls.

use atelier_api as api;
use atelier_domain::chat::{Activity, ChatStatus, RetryInfo};
use atelier_domain::error::TurnError;
use atelier_domain::message::{ContentError, DiffSide, MessagePart, Role, Usage, Visibility};
use atelier_domain::{AgentId, BuildId, Timestamp};
use atelier_store::{ChatRow, MessageRow, QueueRow};
use uuid::Uuid;

/// A chat that is pending for longer waits for a place.
const HELD_BACK_AFTER: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);

/// A chat. `build` and agent are those of its workspace's newest build.
#[must_use]
pub fn chat(row: &ChatRow, build: Option<(BuildId, Option<AgentId>)>, now: Timestamp) -> api::Chat {
    let error = match &row.state.activity {
        Activity::Error(error) => Some(error),
        Activity::Waiting
        | Activity::Pending { .. }
        | Activity::Running { .. }
        | Activity::Stopping { .. }
        | Activity::RequiresAction => None,
    };
    api::Chat {
        id: row.id.uuid(),
        owner_id: row.owner_id.uuid(),
        organization_id: row.organization_id.uuid(),
        last_model_config_id: row.last_model_config_id.uuid(),
        root_chat_id: row.root_chat_id.uuid(),
        parent_chat_id: row.parent_chat_id.map(Uuid::from),
        workspace_id: row.workspace_id.map(Uuid::from),
        build_id: build.map(|(build, _)| build.uuid()),
        agent_id: build.and_then(|(_, agent)| agent).map(Uuid::from),
        title: row.title.clone(),
        status: status(row.status()),
        mode: row.mode.clone(),
        last_error: error.map(|error| error.message.clone()),
        last_error_info: error.map(turn_error),
        created_at: row.created_at.into(),
        updated_at: row.state.updated_at.into(),
        archived: row.state.archived,
        has_unread: row.has_unread(),
        queued_for_capacity: held_back(row, now),
        mcp_server_ids: row.mcp_server_ids.iter().map(|id| id.uuid()).collect(),
        labels: row.labels.clone(),
        pin_order: row.state.pin_order,
        children: None,
        search_match: None,
    }
}

/// The status as an event.
#[must_use]
pub fn status_event(row: &ChatRow, now: Timestamp) -> api::ChatStatusEvent {
    api::ChatStatusEvent { status: status(row.status()), queued_for_capacity: held_back(row, now) }
}

fn held_back(row: &ChatRow, now: Timestamp) -> Option<bool> {
    match &row.state.activity {
        Activity::Pending { since } => (now.duration_since(*since) > HELD_BACK_AFTER).then_some(true),
        Activity::Waiting
        | Activity::Running { .. }
        | Activity::Stopping { .. }
        | Activity::Error(_)
        | Activity::RequiresAction => None,
    }
}

/// The status on the wire.
#[must_use]
pub const fn status(status: ChatStatus) -> api::ChatStatus {
    match status {
        ChatStatus::Waiting => api::ChatStatus::Waiting,
        ChatStatus::Pending => api::ChatStatus::Pending,
        ChatStatus::Running => api::ChatStatus::Running,
        ChatStatus::Error => api::ChatStatus::Error,
        ChatStatus::RequiresAction => api::ChatStatus::RequiresAction,
    }
}

#[must_use]
pub fn turn_error(error: &TurnError) -> api::ChatError {
    api::ChatError {
        message: error.message.clone(),
        kind: error.kind.as_str().to_owned(),
        code: error.code.clone(),
        detail: error.detail.clone(),
        provider: error.provider.clone(),
        status_code: error.status_code,
        retryable: error.retryable,
    }
}

#[must_use]
pub fn retry(info: &RetryInfo) -> api::ChatRetry {
    api::ChatRetry {
        attempt: info.attempt,
        delay_ms: info.delay_ms,
        retrying_at: info.retrying_at.into(),
        error: info.error.message.clone(),
        kind: info.error.kind.as_str().to_owned(),
        code: info.error.code.clone(),
        detail: info.error.detail.clone(),
        provider: info.error.provider.clone(),
        status_code: info.error.status_code,
        retryable: info.error.retryable,
    }
}

/// Whether people may see the row at all.
#[must_use]
pub fn is_shown(row: &MessageRow) -> bool {
    !row.deleted && row.role != Role::System && row.visibility != Visibility::Model
}

/// A message.
///
/// # Errors
/// Content that cannot be read. It is never shown half.
pub fn message(row: &MessageRow) -> Result<api::ChatMessage, ContentError> {
    let content = row.decode()?;
    Ok(api::ChatMessage {
        id: row.id.get(),
        chat_id: row.chat_id.uuid(),
        created_by: row.created_by.map(Uuid::from),
        model_config_id: row.model_config_id.map(Uuid::from),
        created_at: row.created_at.into(),
        role: match row.role {
            Role::System => api::ChatMessageRole::System,
            Role::User => api::ChatMessageRole::User,
            Role::Assistant => api::ChatMessageRole::Assistant,
            Role::Tool => api::ChatMessageRole::Tool,
        },
        content: content.iter().filter_map(part).collect(),
        usage: usage(&row.usage, row.context_limit, row.estimated),
        cost_micros: row.cost_micros,
        runtime_ms: row.runtime_ms,
        finish_reason: row.finish_reason.map(|finish| finish.as_str().to_owned()),
    })
}

fn usage(usage: &Usage, context_limit: Option<i64>, estimated: bool) -> Option<api::ChatMessageUsage> {
    let wire = api::ChatMessageUsage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        total_tokens: usage.total_tokens,
        reasoning_tokens: usage.reasoning_tokens,
        cache_creation_tokens: usage.cache_creation_tokens,
        cache_read_tokens: usage.cache_read_tokens,
        context_limit,
        estimated: estimated.then_some(true),
    };
    (wire != api::ChatMessageUsage::default()).then_some(wire)
}

/// A queued message.
///
/// # Errors
/// Content that cannot be read.
pub fn queued_message(row: &QueueRow) -> Result<api::ChatQueuedMessage, ContentError> {
    Ok(api::ChatQueuedMessage {
        id: row.id.get(),
        chat_id: row.chat_id.uuid(),
        content: row.decode()?.iter().filter_map(part).collect(),
        created_at: row.created_at.into(),
        created_by: row.created_by.map(Uuid::from),
        model_config_id: row.model_config_id.map(Uuid::from),
    })
}

/// A part; none for one that holds nothing but a provider's own block.
#[must_use]
pub fn part(part: &MessagePart) -> Option<api::ChatMessagePart> {
    Some(match part {
        MessagePart::Text(text) if text.text.is_empty() && text.native.is_some() => return None,
        MessagePart::Text(text) => api::ChatMessagePart::Text { text: text.text.clone() },
        MessagePart::Reasoning(reasoning) if reasoning.text.is_empty() && reasoning.native.is_some() => {
            return None;
        }
        MessagePart::Reasoning(reasoning) => api::ChatMessagePart::Reasoning {
            text: reasoning.text.clone(),
            created_at: reasoning.created_at.map(Into::into),
            completed_at: reasoning.completed_at.map(Into::into),
        },
        MessagePart::ToolCall(call) => api::ChatMessagePart::ToolCall {
            tool_call_id: call.tool_call_id.clone(),
            tool_name: call.tool_name.clone(),
            args: Some(call.args.clone()),
            args_delta: None,
            provider_executed: call.provider_executed.then_some(true),
            mcp_server_config_id: call.mcp_server_config_id.map(Uuid::from),
            created_at: call.created_at.map(Into::into),
        },
        MessagePart::ToolResult(result) => api::ChatMessagePart::ToolResult {
            tool_call_id: result.tool_call_id.clone(),
            tool_name: result.tool_name.clone(),
            result: Some(result.result.clone()),
            result_delta: None,
            is_error: result.is_error.then_some(true),
            is_media: result.is_media.then_some(true),
            provider_executed: result.provider_executed.then_some(true),
            mcp_server_config_id: result.mcp_server_config_id.map(Uuid::from),
            created_at: result.created_at.map(Into::into),
        },
        MessagePart::Source(source) => api::ChatMessagePart::Source {
            url: source.url.clone(),
            title: source.title.clone(),
            source_id: source.source_id.clone(),
        },
        MessagePart::File(file) => api::ChatMessagePart::File {
            media_type: file.media_type.clone(),
            file_id: file.file_id.map(Uuid::from),
            name: file.name.clone(),
            data: if file.file_id.is_some() { None } else { file.data.clone() },
        },
        MessagePart::FileReference(reference) => api::ChatMessagePart::FileReference {
            file_name: reference.file_name.clone(),
            start_line: reference.start_line,
            end_line: reference.end_line,
            content: reference.content.clone(),
        },
        MessagePart::DiffComment(comment) => api::ChatMessagePart::DiffComment {
            file_name: comment.file_name.clone(),
            start_line: comment.start_line,
            end_line: comment.end_line,
            side: match comment.side {
                DiffSide::Old => "old",
                DiffSide::New => "new",
            }
            .to_owned(),
            content: comment.content.clone(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_domain::message::{Native, Origin, TextPart};

    #[test]
    fn the_providers_own_block_never_leaves() {
        let native = Native {
            origin: Origin { provider: "p".into(), host: "h".into(), model: "m".into() },
            block: "{\"signature\":\"s3cret\"}".into(),
        };
        let text = MessagePart::Text(TextPart { text: "hi".into(), native: Some(native.clone()) });
        let sent = serde_json::to_string(&part(&text)).unwrap();
        assert_eq!(sent, r#"{"type":"text","text":"hi"}"#);
        assert_eq!(part(&MessagePart::Text(TextPart { text: String::new(), native: Some(native) })), None);
    }
}
