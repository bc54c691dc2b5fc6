//! The scripted model.

use std::sync::Arc;
use std::time::Duration;

use atelier_domain::error::ErrorKind;
use atelier_domain::message::{FinishReason, MessagePart};
use atelier_egress::{Egress, EgressPolicy};
use atelier_llm::{
    HistoryMessage, HistoryRole, ModelEvent, ModelRequest, Provider, ProviderKind, ProviderRegistry, ProviderSettings,
    RegistryParts, Script, Scripts,
};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};

use crate::fake::{HastyClock, ManualClock, call, events, failure, message, parts, request, result, text, usage, user};

fn provider_of(scripts: Scripts, clock: atelier_domain::SharedClock) -> Arc<dyn Provider> {
    let egress = Egress::new(EgressPolicy::default()).unwrap();
    let registry = ProviderRegistry::new(RegistryParts { egress, clock, scripts: Some(scripts) });
    let settings = ProviderSettings {
        kind: ProviderKind::Scripted,
        display_name: "Scripted".into(),
        base_url: None,
        api_key: None,
    };
    registry.build(settings).unwrap()
}

fn provider(yaml: &str) -> Arc<dyn Provider> {
    provider_of(Scripts::new(None).with("test", Script::parse("test", yaml).unwrap()), Arc::new(HastyClock))
}

fn ask(messages: Vec<HistoryMessage>) -> ModelRequest {
    ModelRequest { model: "test".into(), ..request(messages) }
}

#[tokio::test]
async fn the_first_rule_that_holds_answers() {
    let provider = provider(
        "
rules:
  - when: {user_contains: Build}
    steps: [{tool_call: {name: execute, args: {command: make}}}]
  - when: {tool_result: {name: execute, contains: 'error: x'}, step: 1}
    steps: [{text: it failed}]
  - when: {tool_result: {is_error: true}}
    steps: [{text: tool error}]
  - when: {tool_result: {name: execute}}
    steps: [{text: it worked}]
  - when: {attempt: 2}
    steps: [{text: second try}]
  - steps: [{text: whatever}]
",
    );
    let after = |result_text: Value, is_error| {
        vec![
            user("please build it"),
            message(HistoryRole::Assistant, vec![call("c", "execute", json!({}))]),
            result("c", "execute", result_text, is_error),
        ]
    };
    let said = async |request| text(&events(&provider, request).await.0);
    let (first, _) = events(&provider, ask(vec![user("please BUILD it")])).await;
    assert!(
        matches!(&parts(&first)[..], [MessagePart::ToolCall(call)] if call.tool_call_id == "call_1" && call.args == json!({"command": "make"}))
    );
    assert!(matches!(first.last(), Some(ModelEvent::Finish { reason: FinishReason::ToolCalls, .. })));
    assert_eq!(said(ask(after(json!({"output": "line\nError: x"}), false))).await, "it failed");
    assert_eq!(said(ask(after(json!("fine"), true))).await, "tool error");
    assert_eq!(said(ask(after(json!("fine"), false))).await, "it worked");
    assert_eq!(said(ask(vec![user("hello")])).await, "whatever");
    assert_eq!(said(ModelRequest { attempt: 2, ..ask(vec![user("hello")]) }).await, "second try");
}

#[tokio::test]
async fn every_step_does_its_thing() {
    let provider = provider(
        "
rules:
  - steps:
      - {reasoning: thinking hard, chunk: 5}
      - {text: 'part {n} ', repeat: 3, delay_ms: 10}
      - {delay_ms: 5}
      - {text: ünïcödé, chunk: 2}
      - {tool_call: {name: a, id: mine, raw_args: '{\"half\":'}}
      - {tool_call: {name: b}}
      - {usage: {input_tokens: 7, output_tokens: 0, cache_read_tokens: 5}}
      - {finish: length}
",
    );
    let (events, error) = events(&provider, ask(vec![user("hi")])).await;
    assert_eq!(error, None);
    insta::assert_debug_snapshot!(events);
    assert_eq!(usage(&events)["cache_read_tokens"], 5);
}

#[tokio::test]
async fn a_long_answer_comes_in_that_many_parts() {
    let provider = provider("rules: [{steps: [{text: 'part {n} ', repeat: 2000}]}]");
    let (events, _) = events(&provider, ask(vec![user("hi")])).await;
    let parts = events.iter().filter(|event| matches!(event, ModelEvent::TextDelta { .. })).count();
    assert_eq!(parts, 2000);
    assert!(text(&events).ends_with("part 1999 part 2000 "));
    assert_eq!(usage(&events)["output_tokens"], 4500);
}

#[tokio::test]
async fn pauses_follow_the_clock() {
    let clock = Arc::new(ManualClock::default());
    let script =
        Script::parse("test", "rules: [{steps: [{text: a, delay_ms: 1000}, {text: b, repeat: 2, delay_ms: 500}]}]")
            .unwrap();
    let provider = provider_of(Scripts::new(None).with("test", script), Arc::clone(&clock) as _);
    let mut stream = provider.stream(ask(vec![user("hi")])).await.unwrap();
    for wait in [1000, 500, 500] {
        assert!(stream.next().now_or_never().is_none());
        clock.advance(Duration::from_millis(wait));
        assert!(matches!(stream.next().await, Some(Ok(ModelEvent::TextDelta { .. }))));
    }
}

#[tokio::test]
async fn failures_are_typed() {
    let provider = provider(
        "
rules:
  - when: {user_contains: kind}
    steps: [{text: a}, {error: {kind: overloaded, code: c, retry_after_ms: 1500, message: words}}]
  - when: {user_contains: status}
    steps: [{error: {status: 401}}]
  - when: {user_contains: quota}
    steps: [{error: {status: 429, code: insufficient_quota}}]
  - when: {user_contains: cut}
    steps: [{text: half of}, {cut: true}]
  - when: {user_contains: hang}
    steps: [{hang: true}]
  - when: {user_contains: stall}
    steps: [{text: a}, {hang: true}]
",
    );
    let fails = async |words: &str| failure(&provider, ask(vec![user(words)])).await;
    let error = fails("kind").await;
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Overloaded, Some("c")));
    assert_eq!((error.retry_after, error.detail.as_deref()), (Some(Duration::from_millis(1500)), Some("words")));
    assert_eq!(fails("status").await.kind, ErrorKind::Auth);
    assert_eq!(fails("quota").await.kind, ErrorKind::Quota);
    assert_eq!((fails("cut").await.kind, fails("cut").await.code.as_deref()), (ErrorKind::Network, Some("truncated")));
    assert_eq!(fails("hang").await.kind, ErrorKind::StartupTimeout);
    assert_eq!(fails("stall").await.kind, ErrorKind::Timeout);
    let unknown = fails("something else").await;
    assert_eq!(unknown.kind, ErrorKind::Config);
    assert!(unknown.message.contains("has no rule"));
}

#[tokio::test]
async fn the_protocol_is_policed() {
    let provider = provider("rules: [{steps: [{text: ok}]}]");
    let error =
        failure(&provider, ask(vec![user("hi"), message(HistoryRole::Assistant, vec![call("c", "t", json!({}))])]))
            .await;
    assert_eq!(error.kind, ErrorKind::BadReplay);
    assert_eq!(error.message, "The request breaks the protocol: call c has no result.");
}

#[tokio::test]
async fn files_are_found_reread_and_win() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("demo.yaml");
    std::fs::write(&file, "rules: [{steps: [{text: mine}]}]").unwrap();
    std::fs::write(folder.path().join("other.yaml"), "rules: []").unwrap();
    std::fs::write(folder.path().join("notes.txt"), "").unwrap();
    let provider = provider_of(Scripts::new(Some(folder.path().to_owned())), Arc::new(HastyClock));
    let ask = |model: &str| ModelRequest { model: model.into(), ..request(vec![user("hi")]) };
    assert_eq!(text(&events(&provider, ask("demo")).await.0), "mine");
    std::fs::write(&file, "rules: [{steps: [{text: changed}]}]").unwrap();
    assert_eq!(text(&events(&provider, ask("demo")).await.0), "changed");
    assert_eq!(provider.check().await.models, ["demo", "other"]);
    let empty = failure(&provider, ask("other")).await;
    assert_eq!(
        (empty.kind, empty.message.as_str()),
        (ErrorKind::Config, "The script `other` cannot be read: it has no rules")
    );
    for unknown in ["gone", "../demo", "", "a/b", ".hidden"] {
        let error = failure(&provider, ask(unknown)).await;
        assert!(error.message.contains("Known scripts: demo, other."), "{error:?}");
    }
}

#[test]
fn mistakes_in_a_script_are_named() {
    for (yaml, words) in [
        ("rules: [{steps: [{text: a, cut: true}]}]", "rule 1, step 1: a step is one of"),
        ("rules: [{steps: [{text: a}, {}]}]", "rule 1, step 2"),
        ("rules: [{steps: [{cut: true, repeat: 3}]}]", "chunk and repeat belong to text"),
        ("rules: [{steps: [{text: a, chunk: 0}]}]", "chunk is a number"),
        ("rules: [{steps: [{error: {}}]}]", "a kind or a status"),
        ("rules: [{steps: [{txt: a}]}]", "txt"),
        ("rules: [{when: {user: a}, steps: []}]", "user"),
        ("rules: 5", "rules"),
        ("{", ""),
    ] {
        let error = Script::parse("s", yaml).unwrap_err().to_string();
        assert!(error.contains(words), "{yaml}: {error}");
    }
}

/// Plays the demo against a make-believe workspace.
#[tokio::test]
async fn the_demo_does_its_work() {
    let provider = provider_of(Scripts::new(None), Arc::new(HastyClock));
    let program = include_str!("../../../atelier-workspaces/src/demo/repository/calc.sh");
    let mut file = program.to_owned();
    let mut messages = vec![user("Please make the tests pass!")];
    let mut tools = Vec::new();
    for _ in 0..10 {
        let request = ModelRequest { model: "demo".into(), ..request(messages.clone()) };
        let (events, error) = events(&provider, request).await;
        assert_eq!(error, None);
        let answer = parts(&events);
        let calls: Vec<_> = answer
            .iter()
            .filter_map(|part| match part {
                MessagePart::ToolCall(call) => Some(call.clone()),
                _ => None,
            })
            .collect();
        let said = text(&events);
        if calls.is_empty() {
            assert!(said.contains("3 passed, 0 failed"), "{said}");
            assert_eq!(tools, ["create_workspace", "execute", "read_file", "execute", "edit_files", "execute"]);
            assert_ne!(file, program);
            return;
        }
        messages.push(message(HistoryRole::Assistant, answer));
        for call in calls {
            let output = match call.tool_name.as_str() {
                "create_workspace" => json!({"created": true}),
                "read_file" => json!({"content": file}),
                "execute" if call.args["command"] == "sh test.sh" && file == program => {
                    json!({"success": false, "output": "FAILED  calc.sh add 2 3 = -1, expected 5\n2 passed, 1 failed\n"})
                }
                "execute" => json!({"success": true, "output": "3 passed, 0 failed\n"}),
                "edit_files" => {
                    let edit = &call.args["edits"][0];
                    let (old, new) = (edit["old_text"].as_str().unwrap(), edit["new_text"].as_str().unwrap());
                    assert_eq!(file.matches(old).count(), 1, "the edit fits the shipped program");
                    file = file.replace(old, new);
                    json!({"ok": true})
                }
                other => panic!("{other}"),
            };
            // results are one text that holds JSON
            messages.push(result(&call.tool_call_id, &call.tool_name, json!(output.to_string()), false));
            tools.push(call.tool_name);
        }
    }
    panic!("the demo does not end");
}

#[tokio::test]
async fn the_demo_is_honest_about_itself() {
    let provider = provider_of(Scripts::new(None), Arc::new(HastyClock));
    let demo = |messages| ModelRequest { model: "demo".into(), ..request(messages) };
    let said = text(&events(&provider, demo(vec![user("What is the meaning of life?")])).await.0);
    for words in ["scripted demo model", "make the tests pass", "Settings, Providers", "Settings, Models"] {
        assert!(said.contains(words), "{said}");
    }
    let failed = vec![
        user("make the tests pass"),
        message(HistoryRole::Assistant, vec![call("c", "create_workspace", json!({}))]),
        result("c", "create_workspace", json!({"error": {"code": "template_not_found"}}), true),
    ];
    assert!(text(&events(&provider, demo(failed)).await.0).contains("could not get a workspace"));
}
