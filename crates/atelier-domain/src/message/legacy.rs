//! Content of version 0, as imports bring it. It is read, never written.
//!
//! | role | form |
//! |---|---|
//! | system | a text |
//! | user | a text, or a list of parts |
//! | assistant | a list of parts, or of envelopes `{type, data: {...}}`; its first element tells which |
//! | tool | a list of parts, or one `{tool_call_id, tool_name, result, is_error}` |

use serde::de::Error as _;
use serde_json::Value;

use super::{MessagePart, Role};

/// # Errors
/// A form that the role does not have.
pub(super) fn decode(role: Role, content: &str) -> Result<Vec<MessagePart>, serde_json::Error> {
    match (role, serde_json::from_str(content)?) {
        (Role::System | Role::User, Value::String(text)) => Ok(vec![MessagePart::text(text)]),
        (Role::User | Role::Tool, Value::Array(parts)) => parts.into_iter().map(serde_json::from_value).collect(),
        (Role::Assistant, Value::Array(parts)) => {
            let are_envelopes = parts.first().is_some_and(|first| first["data"].is_object());
            parts.into_iter().map(|part| part_of(part, are_envelopes)).collect()
        }
        (Role::Tool, Value::Object(mut result)) => {
            result.insert("type".to_owned(), Value::from("tool-result"));
            serde_json::from_value(Value::Object(result)).map(|part| vec![part])
        }
        (role, _) => Err(serde_json::Error::custom(format!("no content of a message of the {}", role.as_str()))),
    }
}

/// A part, taken out of its envelope.
fn part_of(part: Value, is_envelope: bool) -> Result<MessagePart, serde_json::Error> {
    if !is_envelope {
        return serde_json::from_value(part);
    }
    let Value::Object(mut envelope) = part else {
        return Err(serde_json::Error::custom("an envelope is an object"));
    };
    match (envelope.remove("type"), envelope.remove("data")) {
        (Some(kind), Some(Value::Object(mut fields))) => {
            fields.insert("type".to_owned(), kind);
            serde_json::from_value(Value::Object(fields))
        }
        _ => Err(serde_json::Error::custom("an envelope has a type and data")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ContentError, TextPart, content_decode};
    use super::*;
    use proptest::prelude::*;

    fn read(role: Role, content: &str) -> Vec<MessagePart> {
        content_decode(0, role, content).unwrap()
    }

    #[test]
    fn every_form_of_every_role_is_read() {
        assert_eq!(read(Role::System, r#""Be brief.""#), [MessagePart::text("Be brief.")]);
        assert_eq!(read(Role::User, r#""Hello\u0000""#), [MessagePart::text("Hello\0")]);
        let parts = r#"[{"type":"text","text":"Look"},{"type":"file-reference","file_name":"a.rs","start_line":1,"end_line":2,"content":"x"}]"#;
        assert_eq!(read(Role::User, parts).len(), 2);
        assert_eq!(read(Role::User, "[]"), []);
        let call = r#"{"type":"tool-call","tool_call_id":"c","tool_name":"execute","args":{"command":"ls"}}"#;
        let answer = read(Role::Assistant, &format!(r#"[{{"type":"text","text":"I look"}},{call}]"#));
        assert_eq!(answer[0], MessagePart::text("I look"));
        assert!(matches!(&answer[1], MessagePart::ToolCall(call) if call.args["command"] == "ls"));
        let envelopes = r#"[{"type":"reasoning","data":{"text":"Hm"}},
            {"type":"tool-call","data":{"tool_call_id":"c","tool_name":"execute","args":{"command":"ls"}}}]"#;
        let answer = read(Role::Assistant, envelopes);
        assert!(matches!(&answer[0], MessagePart::Reasoning(part) if part.text == "Hm"));
        assert!(matches!(&answer[1], MessagePart::ToolCall(call) if call.tool_call_id == "c"));
        let result = r#"{"tool_call_id":"c","tool_name":"execute","result":{"exit_code":1},"is_error":true}"#;
        let one = read(Role::Tool, result);
        assert!(matches!(&one[0], MessagePart::ToolResult(part) if part.is_error && part.result["exit_code"] == 1));
        let listed =
            read(Role::Tool, r#"[{"type":"tool-result","tool_call_id":"c","tool_name":"execute","result":"done"}]"#);
        assert!(matches!(&listed[0], MessagePart::ToolResult(part) if part.result == "done"));
    }

    #[test]
    fn other_forms_are_refused_whole() {
        for (role, content) in [
            (Role::System, "[]"),
            (Role::System, "{}"),
            (Role::User, "{}"),
            (Role::User, "5"),
            (Role::User, r#"[{"type":"nothing"}]"#),
            (Role::User, r#"["text"]"#),
            (Role::Assistant, r#""text""#),
            (Role::Assistant, r#"[{"type":"text","data":{"text":"x"}},{"type":"text","text":"y"}]"#),
            (Role::Assistant, r#"[{"type":"text","text":"x"},{"type":"text","data":{"text":"y"}}]"#),
            (Role::Assistant, r#"[{"data":{"text":"x"}}]"#),
            (Role::Tool, r#""done""#),
            (Role::Tool, r#"{"result":"done"}"#),
            (Role::Tool, ""),
        ] {
            let refused = content_decode(0, role, content);
            assert!(matches!(refused, Err(ContentError::Malformed { version: 0, .. })), "{role:?} {content}");
        }
    }

    proptest! {
        #[test]
        fn any_content_is_read_or_refused(
            role in prop_oneof![Just(Role::System), Just(Role::User), Just(Role::Assistant), Just(Role::Tool)],
            version in 0..3_i16,
            content in prop_oneof![
                any::<String>(),
                "(\\[|\\{)?(\"(type|data|text|tool_call_id|tool-result|text)\"[:,]?|\\{|\\[|\\}|\\]|1|null|,){0,12}",
            ],
        ) {
            let read = content_decode(version, role, &content);
            prop_assert!(version < 2 || read.is_err());
        }

        #[test]
        fn a_plain_text_is_read_as_it_is(text in any::<String>()) {
            let content = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(read(Role::User, &content), vec![MessagePart::Text(TextPart { text, native: None })]);
        }
    }
}
