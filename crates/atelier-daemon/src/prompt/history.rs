//! From stored rows to the messages a model gets: order, conversions and repairs (daemon.md 7.2, 7.3).
//!
//! Pure. What is stored is never changed: a repair is made in what is sent only, and the same rows
//! always give the same messages, so that the prompt of a step starts with that of the step before.

use std::collections::{HashMap, HashSet};

use atelier_domain::MessageId;
use atelier_domain::message::{DiffSide, MessagePart, Role, ToolCallPart, ToolResultPart};
use atelier_llm::{HistoryMessage, HistoryRole};
use serde_json::{Map, Value, json};

/// One live row of a chat, decoded once.
#[derive(Clone, Debug)]
pub(crate) struct TranscriptRow {
    pub(crate) id: MessageId,
    pub(crate) role: Role,
    pub(crate) parts: Vec<MessagePart>,
    /// The model declined in the middle of this answer. It is not sent, nor are its calls and their results: a
    /// model that reads it declines again.
    pub(crate) declined: bool,
}

/// The messages for `rows`, which are in id order and hold no system rows.
pub(crate) fn history<'a>(rows: impl IntoIterator<Item = &'a TranscriptRow>) -> Vec<HistoryMessage> {
    let rows: Vec<&TranscriptRow> = rows.into_iter().collect();
    let mut results = results_by_call(&rows);
    let calls: HashSet<&str> = rows.iter().flat_map(|row| local_calls(&row.parts)).map(call_id).collect();
    let mut messages = Vec::with_capacity(rows.len());
    for row in &rows {
        match row.role {
            Role::System => {}
            Role::Assistant if row.declined => {}
            Role::User => push(&mut messages, HistoryRole::User, user_parts(&row.parts)),
            Role::Assistant => {
                push(&mut messages, HistoryRole::Assistant, assistant_parts(&row.parts));
                for call in local_calls(&row.parts) {
                    let result = results.remove(call.tool_call_id.as_str()).cloned();
                    let result = result.unwrap_or_else(|| interrupted(call));
                    push(&mut messages, HistoryRole::Tool, vec![MessagePart::ToolResult(result)]);
                }
            }
            Role::Tool => {
                for result in tool_results(&row.parts) {
                    if !calls.contains(result.tool_call_id.as_str())
                        && results.remove(result.tool_call_id.as_str()).is_some()
                    {
                        push(&mut messages, HistoryRole::Assistant, vec![invented_call(result)]);
                        push(&mut messages, HistoryRole::Tool, vec![MessagePart::ToolResult(result.clone())]);
                    }
                }
            }
        }
    }
    messages
}

/// Ids of all calls in `rows`, so that new ones can be made unique.
pub(crate) fn call_ids<'a>(rows: impl IntoIterator<Item = &'a TranscriptRow>) -> HashSet<String> {
    rows.into_iter()
        .flat_map(|row| &row.parts)
        .filter_map(|part| match part {
            MessagePart::ToolCall(call) => Some(call.tool_call_id.clone()),
            _ => None,
        })
        .collect()
}

/// The first result of each call: a duplicate is ignored.
fn results_by_call<'a>(rows: &[&'a TranscriptRow]) -> HashMap<&'a str, &'a ToolResultPart> {
    let mut results = HashMap::new();
    for row in rows.iter().filter(|row| row.role == Role::Tool) {
        for result in tool_results(&row.parts) {
            results.entry(result.tool_call_id.as_str()).or_insert(result);
        }
    }
    results
}

fn tool_results(parts: &[MessagePart]) -> impl Iterator<Item = &ToolResultPart> {
    parts.iter().filter_map(|part| match part {
        MessagePart::ToolResult(result) if !result.provider_executed => Some(result),
        _ => None,
    })
}

fn local_calls(parts: &[MessagePart]) -> impl Iterator<Item = &ToolCallPart> {
    parts.iter().filter_map(|part| match part {
        MessagePart::ToolCall(call) if !call.provider_executed => Some(call),
        _ => None,
    })
}

fn call_id(call: &ToolCallPart) -> &str {
    &call.tool_call_id
}

fn push(messages: &mut Vec<HistoryMessage>, role: HistoryRole, parts: Vec<MessagePart>) {
    if !parts.is_empty() {
        messages.push(HistoryMessage { role, parts, cache_mark: false });
    }
}

/// References and comments become text; empty texts are left out.
fn user_parts(parts: &[MessagePart]) -> Vec<MessagePart> {
    parts
        .iter()
        .filter_map(|part| match part {
            MessagePart::Text(text) => sent_text(&text.text).map(MessagePart::text),
            MessagePart::FileReference(reference) => Some(MessagePart::text(quoted(
                &format!("File {}{}", reference.file_name, lines(reference.start_line, reference.end_line)),
                &reference.content,
            ))),
            MessagePart::DiffComment(comment) => Some(MessagePart::text(quoted(
                &format!(
                    "Comment on {}{} ({} side of the diff)",
                    comment.file_name,
                    lines(comment.start_line, comment.end_line),
                    match comment.side {
                        DiffSide::Old => "old",
                        DiffSide::New => "new",
                    }
                ),
                &comment.content,
            ))),
            MessagePart::File(_)
            | MessagePart::Reasoning(_)
            | MessagePart::ToolCall(_)
            | MessagePart::ToolResult(_)
            | MessagePart::Source(_) => Some(part.clone()),
        })
        .collect()
}

/// Reasoning that did not end is shown to people, but never replayed.
fn assistant_parts(parts: &[MessagePart]) -> Vec<MessagePart> {
    parts
        .iter()
        .filter_map(|part| match part {
            MessagePart::Text(text) if text.native.is_none() => sent_text(&text.text).map(MessagePart::text),
            MessagePart::Reasoning(reasoning) if reasoning.completed_at.is_none() => None,
            MessagePart::Text(_)
            | MessagePart::Reasoning(_)
            | MessagePart::ToolCall(_)
            | MessagePart::ToolResult(_)
            | MessagePart::Source(_)
            | MessagePart::File(_)
            | MessagePart::FileReference(_)
            | MessagePart::DiffComment(_) => Some(part.clone()),
        })
        .collect()
}

/// U+0000 is stored as it came and sent as U+FFFD.
fn sent_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.replace('\0', "\u{fffd}"))
}

fn lines(start: i32, end: i32) -> String {
    match (start, end) {
        (0, 0) => String::new(),
        (start, end) if start == end || end == 0 => format!(", line {start}"),
        (start, end) => format!(", lines {start} to {end}"),
    }
}

/// `heading`, then `content` in a fence that is longer than any fence inside.
fn quoted(heading: &str, content: &str) -> String {
    let content = content.replace('\0', "\u{fffd}");
    if content.is_empty() {
        return heading.to_owned();
    }
    let longest = content.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{heading}:\n{fence}\n{content}\n{fence}")
}

fn interrupted(call: &ToolCallPart) -> ToolResultPart {
    ToolResultPart {
        tool_call_id: call.tool_call_id.clone(),
        tool_name: call.tool_name.clone(),
        result: json!({"error": {"code": "interrupted", "message": "The call was interrupted.", "retryable": false}}),
        is_error: true,
        is_media: false,
        provider_executed: false,
        mcp_server_config_id: None,
        created_at: None,
        native: None,
    }
}

fn invented_call(result: &ToolResultPart) -> MessagePart {
    MessagePart::ToolCall(ToolCallPart {
        tool_call_id: result.tool_call_id.clone(),
        tool_name: result.tool_name.clone(),
        args: Value::Object(Map::new()),
        provider_executed: false,
        invalid_args: false,
        mcp_server_config_id: None,
        created_at: None,
        native: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_domain::message::FileReferencePart;
    use proptest::prelude::*;

    fn row(id: i64, role: Role, parts: Vec<MessagePart>) -> TranscriptRow {
        TranscriptRow { id: MessageId(id), role, parts, declined: false }
    }

    fn call(id: &str) -> MessagePart {
        let MessagePart::ToolCall(call) = invented_call(&result_part(id, "")) else { unreachable!() };
        MessagePart::ToolCall(call)
    }

    fn result_part(id: &str, text: &str) -> ToolResultPart {
        ToolResultPart {
            tool_call_id: id.into(),
            tool_name: "execute".into(),
            result: json!({ "text": text }),
            is_error: false,
            is_media: false,
            provider_executed: false,
            mcp_server_config_id: None,
            created_at: None,
            native: None,
        }
    }

    fn result(id: &str, text: &str) -> MessagePart {
        MessagePart::ToolResult(result_part(id, text))
    }

    #[test]
    fn results_stand_behind_their_answer_in_call_order() {
        let rows = [
            row(1, Role::User, vec![MessagePart::text("go")]),
            row(2, Role::Assistant, vec![call("a"), call("b"), call("c")]),
            row(3, Role::Tool, vec![result("c", "first to end")]),
            row(4, Role::Tool, vec![result("a", "second")]),
            row(5, Role::Tool, vec![result("a", "a duplicate")]),
        ];
        let messages = history(&rows);
        let tools: Vec<_> = messages[2..]
            .iter()
            .map(|message| match &message.parts[0] {
                MessagePart::ToolResult(result) => (result.tool_call_id.as_str(), result.is_error),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(tools, [("a", false), ("b", true), ("c", false)]);
    }

    #[test]
    fn an_answer_in_which_the_model_declined_is_left_out_with_its_calls() {
        let declined = TranscriptRow {
            declined: true,
            ..row(2, Role::Assistant, vec![MessagePart::text("I will not"), call("a")])
        };
        let rows = [
            row(1, Role::User, vec![MessagePart::text("go")]),
            declined,
            row(3, Role::Tool, vec![result("a", "interrupted")]),
            row(4, Role::Assistant, vec![MessagePart::text("Well")]),
        ];
        let roles: Vec<_> = history(&rows).into_iter().map(|message| message.role).collect();
        assert_eq!(roles, [HistoryRole::User, HistoryRole::Assistant]);
    }

    #[test]
    fn references_become_text_with_a_fence_that_holds() {
        let part = MessagePart::FileReference(FileReferencePart {
            file_name: "a.md".into(),
            start_line: 2,
            end_line: 4,
            content: "```sh\nls\n```".into(),
        });
        let messages = history(&[row(1, Role::User, vec![part])]);
        assert_eq!(messages[0].parts, [MessagePart::text("File a.md, lines 2 to 4:\n````\n```sh\nls\n```\n````")]);
    }

    proptest! {
        /// Whatever the rows: each result follows its call, each call has exactly one result.
        #[test]
        fn every_call_is_followed_by_its_result(
            kinds in prop::collection::vec((0_u8..3, prop::collection::vec(0_u8..6, 0..3)), 0..12)
        ) {
            let rows: Vec<_> = kinds.iter().enumerate().map(|(at, (kind, ids))| {
                let id = i64::try_from(at).unwrap();
                match kind {
                    0 => row(id, Role::User, vec![MessagePart::text("x")]),
                    // an id belongs to one answer only
                    1 => row(id, Role::Assistant, ids.iter().enumerate().map(|(n, _)| call(&format!("{id}_{n}"))).collect()),
                    _ => row(id, Role::Tool, ids.iter().map(|n| result(&format!("{}_{n}", id - 1), "r")).collect()),
                }
            }).collect();
            let mut open: Vec<String> = Vec::new();
            for message in history(&rows) {
                for part in &message.parts {
                    match part {
                        MessagePart::ToolCall(call) => open.push(call.tool_call_id.clone()),
                        MessagePart::ToolResult(result) => {
                            prop_assert!(!open.is_empty());
                            prop_assert_eq!(open.remove(0), result.tool_call_id.clone());
                        }
                        _ => prop_assert!(open.is_empty()),
                    }
                }
            }
            prop_assert!(open.is_empty());
        }
    }
}
