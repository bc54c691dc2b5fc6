//! A chat's messages without what differs from run to run: ids and times.

use serde_json::Value;

/// Fields whose values are made up anew in every run.
pub(crate) const VARYING: &[&str] = &[
    "id",
    "chat_id",
    "created_at",
    "completed_at",
    "tool_call_id",
    "workspace_id",
    "workspace_name",
    "process_id",
    "wall_duration_ms",
    "duration_ms",
    "agent_id",
    "build_id",
    "runtime_ms",
    "created_by",
    "model_config_id",
    "wait_ms",
];

/// Role and parts of every message. Results of one step stand in the order of their texts: they are
/// stored as they end.
pub(crate) fn transcript(messages: &[Value]) -> Vec<Value> {
    let mut messages: Vec<Value> = messages.to_vec();
    messages.iter_mut().for_each(strip);
    for step in messages.chunk_by_mut(|left, right| left["role"] == "tool" && right["role"] == "tool") {
        step.sort_by_key(Value::to_string);
    }
    messages
}

/// Fails at the first message that differs.
#[track_caller]
pub(crate) fn assert_same(found: &[Value], expected: &[Value], what: &str) {
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found, expected, "{what}: message {n}\nfound    {found}\nexpected {expected}\n");
    }
    assert_eq!(found.len(), expected.len(), "{what}: number of messages");
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !VARYING.contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
