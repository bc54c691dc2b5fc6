//! What every request to a model has to keep (daemon.md 15, I10).

use std::collections::HashSet;

use atelier_domain::message::MessagePart;

use crate::request::{HistoryMessage, HistoryRole};

/// Names what is wrong with `messages`. `pauses`: the last message may be an answer.
pub(super) fn check(messages: &[HistoryMessage], pauses: bool) -> Result<(), String> {
    let mut seen: HashSet<&str> = HashSet::new();
    // calls of the answer before that have no result yet
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        if message.role != HistoryRole::Tool
            && let Some(id) = open.first()
        {
            return Err(format!("call {id} has no result"));
        }
        for part in &message.parts {
            match (message.role, part) {
                (HistoryRole::Assistant, MessagePart::ToolCall(call)) if !call.provider_executed => {
                    let id = call.tool_call_id.as_str();
                    if !is_id(id) {
                        return Err(format!("{id:?} is not an id of a call"));
                    }
                    if !seen.insert(id) {
                        return Err(format!("two calls have the id {id}"));
                    }
                    open.push(id);
                }
                (HistoryRole::Tool, MessagePart::ToolResult(result)) => {
                    let id = result.tool_call_id.as_str();
                    match open.iter().position(|open| *open == id) {
                        Some(at) => {
                            open.remove(at);
                        }
                        None => return Err(format!("the result of {id} does not follow its call")),
                    }
                }
                (HistoryRole::Tool, MessagePart::File(_)) => {}
                (HistoryRole::Tool, _) => {
                    return Err("a tool message holds something else than results".to_owned());
                }
                (
                    HistoryRole::User,
                    MessagePart::ToolCall(_) | MessagePart::ToolResult(_) | MessagePart::Reasoning(_),
                ) => {
                    return Err("a user message holds a call, a result or reasoning".to_owned());
                }
                (HistoryRole::User | HistoryRole::Assistant, MessagePart::Text(text))
                    if text.text.is_empty() && text.native.is_none() =>
                {
                    return Err("a text is empty".to_owned());
                }
                (HistoryRole::User | HistoryRole::Assistant, _) => {}
            }
        }
        if message.parts.is_empty() {
            return Err("a message is empty".to_owned());
        }
    }
    if let Some(id) = open.first() {
        return Err(format!("call {id} has no result"));
    }
    match messages.last().map(|message| message.role) {
        None => Err("there is no message".to_owned()),
        Some(HistoryRole::Assistant) if !pauses => Err("the last message is an answer".to_owned()),
        Some(HistoryRole::User | HistoryRole::Tool | HistoryRole::Assistant) => Ok(()),
    }
}

fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_domain::message::{ToolCallPart, ToolResultPart};
    use serde_json::json;

    fn message(role: HistoryRole, parts: Vec<MessagePart>) -> HistoryMessage {
        HistoryMessage { role, parts, cache_mark: false }
    }

    fn user() -> HistoryMessage {
        message(HistoryRole::User, vec![MessagePart::text("go")])
    }

    fn answer(ids: &[&str]) -> HistoryMessage {
        let call = |id: &&str| {
            MessagePart::ToolCall(ToolCallPart {
                tool_call_id: (*id).to_owned(),
                tool_name: "t".into(),
                args: json!({}),
                provider_executed: false,
                invalid_args: false,
                mcp_server_config_id: None,
                created_at: None,
                native: None,
            })
        };
        message(HistoryRole::Assistant, ids.iter().map(call).collect())
    }

    fn result(id: &str) -> HistoryMessage {
        let part = MessagePart::ToolResult(ToolResultPart {
            tool_call_id: id.to_owned(),
            tool_name: "t".into(),
            result: json!("r"),
            is_error: false,
            is_media: false,
            provider_executed: false,
            mcp_server_config_id: None,
            created_at: None,
            native: None,
        });
        message(HistoryRole::Tool, vec![part])
    }

    #[test]
    fn sound_requests_pass() {
        for messages in [
            vec![user()],
            vec![user(), answer(&["a", "b"]), result("b"), result("a")],
            vec![user(), answer(&["a"]), result("a"), user()],
        ] {
            assert_eq!(check(&messages, false), Ok(()));
        }
        let said = message(HistoryRole::Assistant, vec![MessagePart::text("so far")]);
        assert_eq!(check(&[user(), said], true), Ok(()));
    }

    #[test]
    fn each_violation_is_named() {
        for (messages, violation) in [
            (vec![], "there is no message"),
            (vec![user(), answer(&["a"])], "call a has no result"),
            (vec![user(), answer(&["a", "b"]), result("a"), user()], "call b has no result"),
            (vec![user(), result("a")], "the result of a does not follow its call"),
            (vec![user(), answer(&["a"]), result("a"), result("a")], "the result of a does not follow its call"),
            (vec![user(), answer(&["a", "a"])], "two calls have the id a"),
            (vec![user(), answer(&["a"]), result("a"), answer(&["a"])], "two calls have the id a"),
            (vec![user(), answer(&["a b"])], "\"a b\" is not an id of a call"),
            (
                vec![user(), message(HistoryRole::Assistant, vec![MessagePart::text("x")])],
                "the last message is an answer",
            ),
            (vec![message(HistoryRole::User, vec![])], "a message is empty"),
            (vec![message(HistoryRole::User, vec![MessagePart::text("")])], "a text is empty"),
        ] {
            assert_eq!(check(&messages, false), Err(violation.to_owned()));
        }
    }
}
