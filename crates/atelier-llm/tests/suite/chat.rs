//! Chat Completions.

use atelier_domain::error::ErrorKind;
use atelier_domain::message::{FilePart, FinishReason, MessagePart, Native, ReasoningPart};
use atelier_llm::{HistoryRole, ModelEvent, ModelOptions, ModelRequest, ProviderKind};
use serde_json::{Value, json};

use crate::fake::{Fake, KEY, Reply, call, events, failure, message, parts, request, result, text, usage, user};

const TOOLS: &str = include_str!("../streams/chat-tools.sse");
const REASONING: &str = include_str!("../streams/chat-reasoning.sse");
const DETAILS: &str = include_str!("../streams/chat-details.sse");

async fn played(kind: ProviderKind, stream: &str) -> Vec<ModelEvent> {
    let fake = Fake::start([Reply::stream(stream)]).await;
    let (events, error) = events(&fake.provider(kind), request(vec![user("hi")])).await;
    assert_eq!(error, None);
    events
}

/// The body that `kind` is sent for a request.
async fn body(kind: ProviderKind, request: ModelRequest) -> Value {
    let fake = Fake::start([Reply::stream(TOOLS)]).await;
    events(&fake.provider(kind), request).await;
    fake.last_body()
}

#[tokio::test]
async fn text_and_calls() {
    let events = played(ProviderKind::OpenAi, TOOLS).await;
    insta::assert_debug_snapshot!(events);
}

#[tokio::test]
async fn reasoning_of_compatible_servers_is_kept() {
    let events = played(ProviderKind::OpenAiCompat, REASONING).await;
    assert_eq!(text(&events), "It is 4");
    let Some(MessagePart::Reasoning(reasoning)) = parts(&events).pop() else { panic!() };
    assert_eq!(reasoning.text, "Two and two.");
    assert_eq!(reasoning.native.unwrap().block, r#"{"reasoning_content":"Two and two."}"#);
    assert!(
        matches!(events.last(), Some(ModelEvent::Finish { reason: FinishReason::Stop, .. })),
        "no end mark is needed"
    );
}

#[tokio::test]
async fn a_server_that_names_its_reasoning_gets_the_field_back_though_it_was_empty() {
    let chunk = |delta: &Value| format!("data: {}\n\n", json!({"choices": [{"delta": delta}]}));
    let done = "data: [DONE]\n\n";
    let tool_call = json!({"index": 0, "id": "c", "function": {"name": "one", "arguments": "{}"}});
    let calling = chunk(&json!({"reasoning_content": "", "tool_calls": [tool_call]}));
    let fake = Fake::start([Reply::stream(&(calling + done)), Reply::stream(TOOLS)]).await;
    let provider = fake.provider(ProviderKind::OpenAiCompat);
    let (first, _) = events(&provider, request(vec![user("hi")])).await;
    let messages =
        vec![user("hi"), message(HistoryRole::Assistant, parts(&first)), result("c", "one", json!("done"), false)];
    events(&provider, request(messages)).await;
    let answer = &fake.last_body()["messages"][2];
    assert_eq!((&answer["tool_calls"][0]["id"], &answer["reasoning_content"]), (&json!("c"), &json!("")));
    // alone it is no answer
    let nothing = chunk(&json!({"reasoning_content": ""})) + done;
    assert_eq!(parts(&played(ProviderKind::OpenAiCompat, &nothing).await), []);
}

#[tokio::test]
async fn blocks_with_signatures_are_put_together_and_sent_back() {
    let origin = Fake::start([]).await.provider(ProviderKind::OpenRouter).origin("m");
    assert_eq!(origin.provider, "openrouter");
    let fake = Fake::start([Reply::stream(DETAILS), Reply::stream(TOOLS)]).await;
    let provider = fake.provider(ProviderKind::OpenRouter);
    let (first, _) = events(&provider, request(vec![user("hi")])).await;
    let answer = parts(&first);
    insta::assert_debug_snapshot!(
        answer.iter().map(|part| part.native().map(|native| native.block.clone())).collect::<Vec<_>>()
    );
    let messages =
        vec![user("hi"), message(HistoryRole::Assistant, answer), result("call_x", "execute", json!("done"), false)];
    events(&provider, request(messages)).await;
    insta::assert_json_snapshot!(fake.last_body()["messages"]);
}

#[tokio::test]
async fn counts_do_not_overlap() {
    assert_eq!(
        usage(&played(ProviderKind::OpenAi, TOOLS).await),
        json!({
            "input_tokens": 86, "output_tokens": 300, "reasoning_tokens": 192, "cache_read_tokens": 1920,
            "cache_creation_tokens": null, "total_tokens": 2306,
        })
    );
    assert_eq!(
        usage(&played(ProviderKind::OpenRouter, DETAILS).await),
        json!({
            "input_tokens": 10, "output_tokens": 10, "reasoning_tokens": 0, "cache_read_tokens": 70,
            "cache_creation_tokens": 20, "total_tokens": 110,
        })
    );
    let odd = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],\"usage\":\
        {\"prompt_tokens\":5,\"completion_tokens\":-1,\"prompt_tokens_details\":{\"cached_tokens\":9}}}\n\n";
    assert_eq!(
        usage(&played(ProviderKind::OpenAiCompat, odd).await),
        json!({
            "input_tokens": 0, "output_tokens": null, "reasoning_tokens": null, "cache_read_tokens": 9,
            "cache_creation_tokens": null, "total_tokens": null,
        })
    );
}

#[tokio::test]
async fn finish_words_and_refusals() {
    let finish = |word: &str| {
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"x\"}},\"finish_reason\":\"{word}\"}}]}}\n\n")
    };
    for (word, reason) in [
        ("stop", FinishReason::Stop),
        ("length", FinishReason::Length),
        ("content_filter", FinishReason::Refused),
        ("tool_calls", FinishReason::ToolCalls),
        ("something_new", FinishReason::Stop),
    ] {
        let events = played(ProviderKind::OpenAi, &finish(word)).await;
        assert_eq!(events.last(), Some(&ModelEvent::Finish { reason, response_id: None }));
    }
    let refusal =
        "data: {\"choices\":[{\"delta\":{\"refusal\":\"I will not\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let events = played(ProviderKind::OpenAi, refusal).await;
    assert_eq!(text(&events), "I will not");
    assert!(matches!(events.last(), Some(ModelEvent::Finish { reason: FinishReason::Refused, .. })));
    let fake = Fake::start([Reply::stream(&finish("error"))]).await;
    let error = failure(&fake.provider(ProviderKind::OpenRouter), request(vec![user("hi")])).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Generic, true));
}

#[tokio::test]
async fn odd_calls_are_told_apart() {
    let chunk = |calls: &Value| format!("data: {}\n\n", json!({"choices": [{"delta": {"tool_calls": calls}}]}));
    let stream = [
        // two calls under one number, the second without an id, arguments that are no object, and an id late
        chunk(&json!([{"index": 0, "id": "a", "function": {"name": "one", "arguments": "{}"}}])),
        chunk(&json!([{"index": 0, "id": "b", "function": {"name": "two", "arguments": "{\"x\":"}}])),
        chunk(&json!([{"index": 0, "function": {"arguments": "\"\\ud800\"}"}}])),
        chunk(&json!([{"index": 1, "function": {"name": "three", "arguments": "[1]"}}])),
        chunk(&json!([{"index": 2, "id": "d", "type": "function", "function": {"name": "four"}}])),
        "data: {\"choices\":[{\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let calls: Vec<_> = parts(&played(ProviderKind::OpenAiCompat, &stream).await)
        .into_iter()
        .map(|part| match part {
            MessagePart::ToolCall(call) => {
                (call.tool_call_id, call.tool_name, call.args.to_string(), call.invalid_args)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        calls,
        [
            ("a".into(), "one".into(), "{}".into(), false),
            ("b".into(), "two".into(), "{\"x\":\"\u{fffd}\"}".into(), false),
            (String::new(), "three".into(), "{}".into(), true),
            ("d".into(), "four".into(), "{}".into(), false),
        ]
    );
}

#[tokio::test]
async fn the_request_of_each_kind() {
    let messages = || {
        let picture = MessagePart::File(FilePart {
            media_type: "image/png".into(),
            file_id: None,
            name: Some("p.png".into()),
            data: Some("aGk=".into()),
            native: None,
        });
        let reasoning = MessagePart::Reasoning(ReasoningPart {
            text: "elsewhere".into(),
            native: Some(Native {
                origin: atelier_llm::Origin { provider: "anthropic".into(), host: "h".into(), model: "m".into() },
                block: r#"{"type":"thinking"}"#.into(),
            }),
            ..ReasoningPart::default()
        });
        let mut shot = result("call_1", "read_file", json!({"kind": "image"}), false);
        shot.parts.push(picture.clone());
        vec![
            user("look\0"),
            message(HistoryRole::User, vec![MessagePart::text("at this"), picture]),
            message(
                HistoryRole::Assistant,
                vec![
                    reasoning,
                    MessagePart::text("Reading."),
                    call("call_1", "read_file", json!({"path": "a"})),
                    call("call_2", "execute", json!("no object")),
                ],
            ),
            shot,
            result("call_2", "execute", json!("plain"), true),
            user("go on"),
        ]
    };
    let with = |kind: ProviderKind, config: Value| {
        let options = ModelOptions::from_model_config(kind, &config);
        ModelRequest { options, ..request(messages()) }
    };
    let general = json!({"temperature": 0.5, "top_p": 0.9, "top_k": 7, "presence_penalty": 1, "frequency_penalty": -1});
    let config = |name: &str, block: Value| {
        let mut config = general.clone();
        config["provider_options"] = json!({ name: block });
        config
    };
    let openai = config(
        "openai",
        json!({
            "reasoning_effort": "low", "text_verbosity": "high", "service_tier": "flex", "metadata": {"a": "b"},
            "parallel_tool_calls": false, "user": "u", "top_log_probs": 3, "reasoning_summary": "auto",
        }),
    );
    insta::assert_json_snapshot!("openai", body(ProviderKind::OpenAi, with(ProviderKind::OpenAi, openai)).await);
    let router = config(
        "openrouter",
        json!({
            "reasoning": {"effort": "high"}, "provider": {"order": ["x"]}, "extra_body": {"transforms": [], "temperature": 0},
        }),
    );
    let mut router = body(ProviderKind::OpenRouter, with(ProviderKind::OpenRouter, router)).await;
    router.as_object_mut().unwrap().remove("messages");
    insta::assert_json_snapshot!("openrouter", router);
    let vercel = config("vercel", json!({"reasoning": {"max_tokens": 5}, "providerOptions": {"order": ["x"]}}));
    let mut vercel = body(ProviderKind::Vercel, with(ProviderKind::Vercel, vercel)).await;
    vercel.as_object_mut().unwrap().remove("messages");
    insta::assert_json_snapshot!("vercel", vercel);
    let compat = config("openaicompat", json!({"reasoning_effort": "none", "user": "u"}));
    insta::assert_json_snapshot!(
        "compat",
        body(ProviderKind::OpenAiCompat, with(ProviderKind::OpenAiCompat, compat)).await
    );
}

#[tokio::test]
async fn the_key_travels_in_its_header_only() {
    let fake = Fake::start([Reply::stream(TOOLS)]).await;
    events(&fake.provider(ProviderKind::OpenAi), request(vec![user("hi")])).await;
    let received = fake.received().pop().unwrap();
    assert_eq!(received.path, "/v1/chat/completions");
    assert_eq!(received.headers["authorization"], format!("Bearer {KEY}"));
    assert!(!received.body.to_string().contains(KEY));
    assert_eq!(received.headers["accept-encoding"], "identity");
}

#[tokio::test]
async fn reasoning_of_another_model_stays_out() {
    let fake = Fake::start([Reply::stream(REASONING), Reply::stream(TOOLS), Reply::json(400, &json!({}))]).await;
    let provider = fake.provider(ProviderKind::OpenAiCompat);
    let (first, _) = events(&provider, request(vec![user("hi")])).await;
    let mut answer = parts(&first);
    answer.push(MessagePart::text("It is 4"));
    let history = || vec![user("hi"), message(HistoryRole::Assistant, answer.clone()), user("sure?")];
    events(&provider, ModelRequest { model: "another".into(), ..request(history()) }).await;
    assert_eq!(fake.last_body()["messages"][2], json!({"role": "assistant", "content": "It is 4"}));
    let error = failure(&provider, request(history())).await;
    assert_eq!(
        fake.last_body()["messages"][2],
        json!({"role": "assistant", "content": "It is 4", "reasoning_content": "Two and two."})
    );
    assert_eq!(error.kind, ErrorKind::BadReplay, "a bad request with reasoning is tried without it");
}
