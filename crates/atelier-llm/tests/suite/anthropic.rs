//! Anthropic Messages.

use atelier_domain::error::ErrorKind;
use atelier_domain::message::{FilePart, FinishReason, MessagePart};
use atelier_llm::{HistoryMessage, HistoryRole, ModelEvent, ModelOptions, ModelRequest, ProviderKind};
use serde_json::{Value, json};

use crate::fake::{Fake, KEY, Reply, call, events, failure, message, parts, request, result, usage, user};

const TOOLS: &str = include_str!("../streams/anthropic-tools.sse");
const SEARCH: &str = include_str!("../streams/anthropic-search.sse");

async fn played(stream: &str) -> Vec<ModelEvent> {
    let fake = Fake::start([Reply::stream(stream)]).await;
    let (events, error) = events(&fake.provider(ProviderKind::Anthropic), request(vec![user("hi")])).await;
    assert_eq!(error, None);
    events
}

async fn body(request: ModelRequest) -> Value {
    let fake = Fake::start([Reply::stream(TOOLS)]).await;
    events(&fake.provider(ProviderKind::Anthropic), request).await;
    fake.last_body()
}

/// Events without the port of the server, which differs from run to run.
fn shown(events: &[ModelEvent]) -> String {
    let mut lines: Vec<String> = format!("{events:#?}").lines().map(str::to_owned).collect();
    for line in lines.iter_mut().filter(|line| line.trim_start().starts_with("host: ")) {
        let indent = line.len() - line.trim_start().len();
        *line = format!("{}host: [host],", " ".repeat(indent));
    }
    lines.join("\n")
}

/// An answer put together the way the daemon does, text included.
fn stored(events: &[ModelEvent]) -> Vec<MessagePart> {
    let mut blocks: Vec<(u32, MessagePart)> = Vec::new();
    for event in events {
        match event {
            ModelEvent::TextDelta { index, text } => match blocks.iter_mut().find(|(at, _)| at == index) {
                Some((_, MessagePart::Text(part))) => part.text.push_str(text),
                _ => blocks.push((*index, MessagePart::text(text.clone()))),
            },
            ModelEvent::Part { index, part } => {
                blocks.retain(|(at, _)| at != index);
                blocks.push((*index, part.clone()));
            }
            _ => {}
        }
    }
    blocks.sort_by_key(|(index, _)| *index);
    blocks.into_iter().map(|(_, part)| part).collect()
}

#[tokio::test]
async fn thinking_text_and_calls() {
    let origin = Fake::start([]).await.provider(ProviderKind::Anthropic).origin("m");
    assert_eq!(origin.provider, "anthropic");
    insta::assert_snapshot!(shown(&played(TOOLS).await));
}

#[tokio::test]
async fn blocks_of_the_provider_are_kept() {
    insta::assert_snapshot!(shown(&played(SEARCH).await));
}

#[tokio::test]
async fn an_answer_goes_back_as_it_came() {
    let fake = Fake::start([Reply::stream(TOOLS), Reply::stream(SEARCH), Reply::stream(TOOLS)]).await;
    let provider = fake.provider(ProviderKind::Anthropic);
    let (first, _) = events(&provider, request(vec![user("hi")])).await;
    let (second, _) = events(&provider, request(vec![user("hi")])).await;
    let mut answer = stored(&first);
    // the daemon made this id unique
    let Some(MessagePart::ToolCall(renamed)) = answer.last_mut() else { panic!() };
    renamed.tool_call_id = "toolu_02_5".into();
    let messages = vec![
        user("hi"),
        message(HistoryRole::Assistant, answer),
        result("toolu_01", "execute", json!({"output": "a.txt"}), false),
        HistoryMessage { cache_mark: true, ..result("toolu_02_5", "process_list", json!({"processes": []}), false) },
        message(HistoryRole::Assistant, stored(&second)),
        user("go on"),
    ];
    events(&provider, request(messages)).await;
    insta::assert_json_snapshot!(fake.last_body());
}

#[tokio::test]
async fn another_origin_gets_the_canonical_form() {
    let mut answer = stored(&played(TOOLS).await);
    answer.extend(stored(&played(SEARCH).await));
    let messages = vec![
        user("hi"),
        message(HistoryRole::Assistant, answer),
        result("toolu_01", "execute", json!("x"), false),
        result("toolu_02", "process_list", json!("y"), false),
    ];
    // another server, so another origin
    insta::assert_json_snapshot!(body(request(messages)).await["messages"]);
}

#[tokio::test]
async fn counts_come_from_both_events() {
    assert_eq!(
        usage(&played(TOOLS).await),
        json!({
            "input_tokens": 12, "output_tokens": 89, "reasoning_tokens": 31, "cache_read_tokens": 4000,
            "cache_creation_tokens": 300, "total_tokens": null,
        })
    );
    assert_eq!(
        usage(&played(SEARCH).await),
        json!({
            "input_tokens": 70, "output_tokens": 20, "reasoning_tokens": null, "cache_read_tokens": null,
            "cache_creation_tokens": null, "total_tokens": null,
        })
    );
}

#[tokio::test]
async fn finish_words() {
    for (word, reason) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
        ("refusal", FinishReason::Refused),
        ("pause_turn", FinishReason::Pause),
        ("unheard_of", FinishReason::Stop),
    ] {
        let events =
            played(&TOOLS.replace("\"stop_reason\":\"tool_use\"", &format!("\"stop_reason\":\"{word}\""))).await;
        let expected = ModelEvent::Finish { reason, response_id: Some("msg_01".into()) };
        assert_eq!(events.last(), Some(&expected));
    }
}

#[tokio::test]
async fn errors_in_mid_stream_have_a_kind() {
    for (error_type, kind, retryable) in [
        ("overloaded_error", ErrorKind::Overloaded, true),
        ("rate_limit_error", ErrorKind::RateLimit, true),
        ("api_error", ErrorKind::Generic, true),
        ("invalid_request_error", ErrorKind::Config, false),
        ("unheard_of", ErrorKind::Generic, true),
    ] {
        let error = json!({"type": "error", "error": {"type": error_type, "message": "m"}});
        let fake = Fake::start([Reply::stream(&format!("{}event: error\ndata: {error}\n\n", &TOOLS[..900]))]).await;
        let error = failure(&fake.provider(ProviderKind::Anthropic), request(vec![user("hi")])).await;
        assert_eq!((error.kind, error.retryable, error.code.as_deref()), (kind, retryable, Some(error_type)));
    }
}

#[tokio::test]
async fn pieces_without_a_block_are_malformed() {
    let stream =
        "data: {\"type\":\"content_block_delta\",\"index\":7,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n";
    let fake = Fake::start([Reply::stream(stream)]).await;
    let error = failure(&fake.provider(ProviderKind::Anthropic), request(vec![user("hi")])).await;
    assert_eq!(error.kind, ErrorKind::Malformed);
}

#[tokio::test]
async fn the_request() {
    let file = |media_type: &str, name: &str, data: Option<&str>| {
        MessagePart::File(FilePart {
            media_type: media_type.into(),
            file_id: None,
            name: Some(name.into()),
            data: data.map(str::to_owned),
            native: None,
        })
    };
    let mut shot = result("call_1", "read_file", json!({"kind": "image"}), false);
    shot.parts.push(file("image/png", "p.png", Some("aGk=")));
    let messages = vec![
        user("look\0"),
        message(
            HistoryRole::User,
            vec![
                MessagePart::text("   "),
                file("application/pdf", "d.pdf", Some("aGk=")),
                file("text/plain; charset=utf-8", "t.txt", Some("aGVsbG8=")),
                file("application/zip", "z.zip", Some("aGk=")),
                file("image/png", "gone.png", None),
            ],
        ),
        message(
            HistoryRole::Assistant,
            vec![
                MessagePart::text("Reading."),
                call("call_1", "read_file", json!({"path": "a"})),
                call("call_2", "execute", json!([])),
            ],
        ),
        shot,
        HistoryMessage { cache_mark: true, ..result("call_2", "execute", json!(""), true) },
        message(HistoryRole::Assistant, vec![MessagePart::text("Done.")]),
        user("more"),
    ];
    let config = json!({"temperature": 0.5, "top_k": 7, "presence_penalty": 1, "provider_options": {"anthropic": {
        "thinking": {"budget_tokens": 2048}, "thinking_display": "summarized", "effort": "high",
        "disable_parallel_tool_use": true, "web_search_enabled": true, "blocked_domains": ["b.com"]}}});
    let options = ModelOptions::from_model_config(ProviderKind::Anthropic, &config);
    insta::assert_json_snapshot!(body(ModelRequest { options, ..request(messages) }).await);
}

#[tokio::test]
async fn thinking_waits_while_its_blocks_are_missing() {
    let config = json!({"temperature": 0.5, "provider_options": {"anthropic": {"thinking": {"budget_tokens": 2048}}}});
    let with = |messages| ModelRequest {
        options: ModelOptions::from_model_config(ProviderKind::Anthropic, &config),
        ..request(messages)
    };
    let answer = message(HistoryRole::Assistant, vec![call("call_1", "execute", json!({}))]);
    let in_turn = vec![user("hi"), answer.clone(), result("call_1", "execute", json!("x"), false)];
    let sent = body(with(in_turn)).await;
    assert_eq!((sent.get("thinking"), &sent["temperature"]), (None, &json!(0.5)));
    let next_turn = vec![
        user("hi"),
        answer,
        result("call_1", "execute", json!("x"), false),
        message(HistoryRole::Assistant, vec![MessagePart::text("ok")]),
        user("and?"),
    ];
    let sent = body(with(next_turn)).await;
    assert_eq!((&sent["thinking"]["type"], sent.get("temperature")), (&json!("enabled"), None));
}

#[tokio::test]
async fn reasoning_can_be_kept_back() {
    let fake = Fake::start([
        Reply::stream(TOOLS),
        Reply::stream(TOOLS),
        Reply::json(400, &json!({"error": {"type": "invalid_request_error"}})),
    ])
    .await;
    let provider = fake.provider(ProviderKind::Anthropic);
    let (first, _) = events(&provider, request(vec![user("hi")])).await;
    let history = || {
        vec![
            user("hi"),
            message(HistoryRole::Assistant, stored(&first)),
            result("toolu_01", "execute", json!("x"), false),
            result("toolu_02", "process_list", json!("y"), false),
        ]
    };
    let config = json!({"provider_options": {"anthropic": {"send_reasoning": false}}});
    let options = ModelOptions::from_model_config(ProviderKind::Anthropic, &config);
    events(&provider, ModelRequest { options, ..request(history()) }).await;
    assert_eq!(fake.last_body()["messages"][1]["content"][0]["type"], "text");
    let error = failure(&provider, request(history())).await;
    assert_eq!(error.kind, ErrorKind::BadReplay);
    assert_eq!(fake.last_body()["messages"][1]["content"][0]["type"], "thinking");
}

#[tokio::test]
async fn headers_and_parts_of_an_empty_answer() {
    let fake = Fake::start([Reply::stream("data: {\"type\":\"message_stop\"}\n\n")]).await;
    let (events, error) = events(&fake.provider(ProviderKind::Anthropic), request(vec![user("hi")])).await;
    assert_eq!((parts(&events).len(), error), (0, None));
    let received = fake.received().pop().unwrap();
    assert_eq!(received.path, "/v1/messages");
    assert_eq!(
        (&received.headers["x-api-key"], &received.headers["anthropic-version"]),
        (&KEY.parse().unwrap(), &"2023-06-01".parse().unwrap())
    );
}
