//! Answers that are not quite what the documents of the wires say, as servers and gateways send them.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use atelier_domain::message::MessagePart;
use atelier_llm::{ModelEvent, Provider, ProviderError, ProviderKind};
use futures::StreamExt as _;
use serde_json::json;
use tokio::sync::Notify;

use crate::fake::{Fake, ManualClock, Piece, Reply, events, request, text, usage, user};
use crate::raw::{HEAD, RawProvider};

/// What a consumer has in the end, in a few words.
fn told(events: &[ModelEvent], error: Option<&ProviderError>) -> String {
    let mut told = Vec::new();
    let mut words = String::new();
    for event in events {
        match event {
            ModelEvent::TextDelta { text, .. } => words.push_str(text),
            ModelEvent::ReasoningDelta { text, .. } => told.push(format!("thinks {text}")),
            ModelEvent::Part { part: MessagePart::ToolCall(call), .. } => {
                let invalid = if call.invalid_args { " invalid" } else { "" };
                told.push(format!("{} {}{}{invalid}", call.tool_call_id, call.tool_name, call.args).trim().to_owned());
            }
            ModelEvent::Finish { reason, .. } => {
                if !words.is_empty() {
                    told.push(format!("says {}", std::mem::take(&mut words)));
                }
                told.push(format!("{reason:?}").to_lowercase());
            }
            _ => {}
        }
    }
    if let Some(error) = error {
        let words = error.detail.as_deref().unwrap_or_default();
        told.push(format!("{:?}: {words}", error.kind).to_lowercase());
    }
    told.join(", ")
}

/// Plays a body that ends with its connection.
async fn played(kind: ProviderKind, body: &str) -> String {
    let raw = RawProvider::closing([body.as_bytes().to_vec()]).await;
    let (events, error) = events(&raw.provider(kind), request(vec![user("hi")])).await;
    told(&events, error.as_ref())
}

fn stream(data: &[&str]) -> String {
    data.iter().map(|data| format!("data: {data}\n\n")).collect()
}

const HALF: &str = r#"{"choices":[{"delta":{"content":"half "}}]}"#;
const REST: &str = r#"{"choices":[{"delta":{"content":"whole"}}]}"#;
const STOP: &str = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
const DONE: &str = "[DONE]";

/// An event with these fields of `delta`.
fn delta(fields: &str) -> String {
    format!(r#"{{"choices":[{{"delta":{{{fields}}}}}]}}"#)
}

/// An event with pieces of calls.
fn calls(pieces: &str) -> String {
    delta(&format!(r#""tool_calls":[{pieces}]"#))
}

#[tokio::test]
async fn the_end_of_a_chat_completion_is_proven() {
    let with_reason =
        |reason: &str| format!(r#"{{"choices":[{{"delta":{{"content":"half "}},"finish_reason":{reason}}}]}}"#);
    let empty = with_reason("\"\"");
    let null_word = with_reason("\"null\"");
    let early = with_reason("\"stop\"");
    let none_word = with_reason("\"None\"");
    let number = with_reason("0");
    let nothing = empty.replace("half ", "");
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#;
    let reasoning = delta(r#""reasoning_content":"hm""#);
    let call = calls(r#"{"index":0,"id":"a","function":{"name":"one","arguments":"{}"}}"#);
    let table: [(&[&str], &str); 16] = [
        (&[HALF], "network: "),
        (&[&empty], "network: "),
        (&[&empty, REST, STOP], "says half whole, stop"),
        (&[&null_word], "network: "),
        (&[&none_word], "network: "),
        (&[&number], "network: "),
        (&[&number, DONE], "says half , stop"),
        (&[&early], "says half , stop"),
        (&[&early, REST], "network: "),
        (&[&early, &reasoning], "thinks hm, network: "),
        (&[&early, &call], "network: "),
        (&[&early, REST, STOP], "says half whole, stop"),
        (&[&early, REST, DONE], "says half whole, stop"),
        (&[HALF, STOP, usage], "says half , stop"),
        (&[HALF, STOP, &nothing], "says half , stop"),
        (&[HALF, DONE], "says half , stop"),
    ];
    for (events, expected) in table {
        assert_eq!(played(ProviderKind::OpenAiCompat, &stream(events)).await, expected, "{events:?}");
    }
    // the last line may lack its end, unless it is cut
    let unended = |events: &[&str], cut: usize| {
        let stream = stream(events);
        stream[..stream.len() - cut].to_owned()
    };
    for (body, expected) in [
        (unended(&[HALF, STOP], 2), "says half , stop"),
        (unended(&[HALF, STOP], 3), "network: "),
        (unended(&[HALF, DONE], 2), "says half , stop"),
        (unended(&[HALF, DONE], 3), "network: "),
    ] {
        assert_eq!(played(ProviderKind::OpenAiCompat, &body).await, expected, "{body}");
    }
}

#[tokio::test]
async fn an_answer_that_its_server_broke_off_is_no_whole_one() {
    let table = [
        ("insufficient_system_resource", "overloaded: "),
        ("network_error", "network: "),
        ("abort", "generic: "),
        ("sensitive", "says Hello, refused"),
        ("MAX_TOKENS", "says Hello, length"),
        ("model_context_window_exceeded", "says Hello, length"),
        ("length", "says Hello, length"),
    ];
    for (word, expected) in table {
        let end = STOP.replace("stop", word);
        let body = stream(&[&delta(r#""content":"Hello""#), &end, DONE]);
        assert_eq!(played(ProviderKind::OpenAiCompat, &body).await, expected, "{word}");
        let end = MESSAGE[4].replace("end_turn", word);
        let body = stream(&[&MESSAGE[..4], &[&end, MESSAGE_STOP]].concat());
        assert_eq!(played(ProviderKind::Anthropic, &body).await, expected, "{word}");
    }
}

#[tokio::test]
async fn fields_of_chat_completions_in_odd_shapes() {
    let content = |content: &str| delta(&format!(r#""content":{content}"#));
    let parts = content(
        r#"[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"Hello"},{"type":"reference","reference_ids":[1]}]"#,
    );
    let one = |arguments: &str| {
        calls(&format!(r#"{{"index":0,"id":"a","function":{{"name":"one","arguments":{arguments}}}}}"#))
    };
    let unknown = "malformed: the content of an event has an unknown shape";
    let table = [
        (parts, "thinks hm, says Hello, stop"),
        (content(r#"{"type":"text","text":"Hello"}"#), "says Hello, stop"),
        (content(r#"["Hel","lo"]"#), "says Hello, stop"),
        (content("null"), "stop"),
        (content("7"), unknown),
        (content("true"), unknown),
        (content(r#"{"words":"Hello"}"#), unknown),
        (
            delta(r#""content":"Hello","reasoning_content":7,"tool_calls":"none","annotations":{},"refusal":[]"#),
            "says Hello, stop",
        ),
        (delta(r#""reasoning":{"text":"hm"},"content":"Hello""#), "thinks hm, says Hello, stop"),
        (
            r#"{"id":7,"choices":[{"delta":{"content":"Hello"},"index":"0"}],"usage":"none"}"#.to_owned(),
            "says Hello, stop",
        ),
        (r#"{"choices":[{"delta":"Hello"}]}"#.to_owned(), "stop"),
        (r#"{"choices":[{"message":{"role":"assistant","content":"Hello"}}]}"#.to_owned(), "says Hello, stop"),
        (r#"{"choices":[{"text":"Hello"}]}"#.to_owned(), "says Hello, stop"),
        (
            delta(r#""content":null,"function_call":{"name":"one","arguments":"{\"page\":2}"}"#),
            r#"one{"page":2}, stop"#,
        ),
        (
            delta(
                r#""tool_calls":[{"id":"a","function":{"name":"one","arguments":"{}"}}],"function_call":{"name":"one","arguments":"{}"}"#,
            ),
            "a one{}, stop",
        ),
        (one(r#"{"page":2}"#), r#"a one{"page":2}, stop"#),
        (one(r#""{\"page\":2}""#), r#"a one{"page":2}, stop"#),
        (one("null"), "a one{}, stop"),
        (one("[1]"), "a one{} invalid, stop"),
    ];
    for (event, expected) in table {
        let body = stream(&[&event, STOP]);
        assert_eq!(played(ProviderKind::OpenAiCompat, &body).await, expected, "{event}");
    }
}

#[tokio::test]
async fn pieces_of_calls_with_odd_ids_and_numbers() {
    let piece = |fields: &str, name: &str, arguments: &str| {
        let name = if name.is_empty() { String::new() } else { format!(r#""name":"{name}","#) };
        format!(r#"{{{fields}"function":{{{name}"arguments":{}}}}}"#, json!(arguments))
    };
    let one = |fields| piece(fields, "one", r#"{"page":1}"#);
    let two = |fields| piece(fields, "two", r#"{"page":2}"#);
    let number = r#""index":0,"#;
    let both = r#"one{"page":1}, two{"page":2}, stop"#;
    let table: [(Vec<String>, &str); 12] = [
        // two whole calls without a number and an id, in one event and in two
        (vec![[one(""), two("")].join(",")], both),
        (vec![one(""), two("")], both),
        (vec![one(number), two(number)], both),
        (vec![one(""), piece("", "one", r#"{"page":2}"#)], r#"one{"page":1}, one{"page":2}, stop"#),
        // one id for all
        (
            vec![one(r#""index":0,"id":"x","#), two(r#""index":0,"id":"x","#)],
            r#"x one{"page":1}, x two{"page":2}, stop"#,
        ),
        // a piece without a name goes on, whatever its id
        (
            vec![piece(r#""index":0,"id":"a","#, "one", ""), piece(r#""index":0,"id":"b","#, "", r#"{"page":2}"#)],
            r#"a one{"page":2}, stop"#,
        ),
        (
            vec![piece(r#""index":0,"id":"a","#, "one", ""), piece("", "", r#"{"page""#), piece("", "", ":2}")],
            r#"a one{"page":2}, stop"#,
        ),
        // a number that no call has
        (
            vec![piece(r#""index":0,"id":"a","#, "one", ""), piece(r#""index":1,"#, "", r#"{"page":2}"#)],
            r#"a one{"page":2}, stop"#,
        ),
        (
            vec![piece(r#""id":"a","#, "one", ""), piece(number, "", r#"{"page""#), piece(number, "", ":2}")],
            r#"a one{"page":2}, stop"#,
        ),
        // id and name with each piece
        (
            vec![
                piece(r#""index":0,"id":"a","#, "one", ""),
                piece(r#""index":0,"id":"a","#, "one", r#"{"page":"#),
                piece(r#""index":0,"id":"a","#, "one", "2}"),
                piece(r#""index":0,"id":"a","#, "one", ""),
            ],
            r#"a one{"page":2}, stop"#,
        ),
        (vec![one(number), piece(number, "one", "")], r#"one{"page":1}, stop"#),
        // pieces of two calls in turn
        (
            vec![
                piece(r#""index":0,"id":"a","#, "one", ""),
                piece(r#""index":1,"id":"b","#, "two", ""),
                piece(r#""index":0,"#, "", r#"{"page":1}"#),
                piece(r#""id":"b","#, "", r#"{"page":2}"#),
            ],
            r#"a one{"page":1}, b two{"page":2}, stop"#,
        ),
    ];
    for (pieces, expected) in table {
        let mut events: Vec<String> = pieces.iter().map(|pieces| calls(pieces)).collect();
        events.push(STOP.to_owned());
        let body = stream(&events.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(played(ProviderKind::OpenAiCompat, &body).await, expected, "{pieces:?}");
    }
}

const MESSAGE: [&str; 5] = [
    r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":50}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}"#,
];
const MESSAGE_STOP: &str = r#"{"type":"message_stop"}"#;

#[tokio::test]
async fn the_end_of_a_message_is_proven() {
    let ping = r#"{"type":"ping"}"#;
    let empty = MESSAGE[4].replace("end_turn", "");
    let null = MESSAGE[4].replace("\"end_turn\"", "null");
    let null_word = MESSAGE[4].replace("end_turn", "null");
    let number = MESSAGE[4].replace("\"end_turn\"", "7");
    let table: [(Vec<&str>, &str); 9] = [
        (MESSAGE[..4].to_vec(), "network: "),
        (MESSAGE.to_vec(), "says Hello, stop"),
        ([&MESSAGE[..], &[ping, ping]].concat(), "says Hello, stop"),
        ([&MESSAGE[..4], &[&empty]].concat(), "network: "),
        ([&MESSAGE[..4], &[&null]].concat(), "network: "),
        ([&MESSAGE[..4], &[&null_word]].concat(), "network: "),
        ([&MESSAGE[..4], &[&number]].concat(), "network: "),
        ([&MESSAGE[..], &MESSAGE[1..4]].concat(), "network: "),
        ([&MESSAGE[..4], &[MESSAGE_STOP]].concat(), "says Hello, stop"),
    ];
    for (events, expected) in table {
        assert_eq!(played(ProviderKind::Anthropic, &stream(&events)).await, expected, "{events:?}");
    }
}

#[tokio::test]
async fn fields_of_messages_in_odd_shapes() {
    let block = |block: &str| format!(r#"{{"type":"content_block_start","index":0,"content_block":{block}}}"#);
    let piece = |delta: &str| format!(r#"{{"type":"content_block_delta","index":0,"delta":{delta}}}"#);
    let text = || block(r#"{"type":"text","text":""}"#);
    let call = |input: &str| block(&format!(r#"{{"type":"tool_use","id":"a","name":"one","input":{input}}}"#));
    let unknown = "malformed: the content of an event has an unknown shape";
    let table = [
        (vec![text(), piece(r#"{"type":"text_delta","text":[{"type":"text","text":"Hello"}]}"#)], "says Hello, stop"),
        (vec![text(), piece(r#"{"type":"text_delta","text":null}"#)], "stop"),
        (vec![text(), piece(r#"{"type":"text_delta","text":7}"#)], unknown),
        (vec![text(), piece(r#"{"text":"Hello"}"#)], "says Hello, stop"),
        (
            vec![
                text().replace("\"index\":0,", ""),
                piece(r#"{"type":"text_delta","text":"Hello"}"#).replace("\"index\":0,", ""),
            ],
            "says Hello, stop",
        ),
        (
            vec![
                text().replace("\"index\":0", "\"index\":\"0\""),
                piece(r#"{"type":"text_delta","text":"Hello"}"#).replace("\"index\":0", "\"index\":null"),
            ],
            "says Hello, stop",
        ),
        (
            vec![
                text().replace("\"index\":0,", ""),
                piece(r#"{"type":"text_delta","text":"Hel"}"#),
                piece(r#"{"type":"text_delta","text":"lo"}"#),
                MESSAGE[3].to_owned(),
            ],
            "says Hello, stop",
        ),
        (vec![block("{}"), piece(r#"{"type":"text_delta","text":"Hello"}"#)], "says Hello, stop"),
        (
            vec![call("{}"), piece(r#"{"type":"input_json_delta","partial_json":{"page":2}}"#)],
            r#"a one{"page":2}, stop"#,
        ),
        (vec![call(r#""{\"page\":2}""#)], r#"a one{"page":2}, stop"#),
        (vec![call("[1]")], "a one{} invalid, stop"),
        (
            vec![
                text(),
                r#"{"type":"message_start","message":"none","usage":7}"#.to_owned(),
                r#"{"type":"content_block_delta","delta":7}"#.to_owned(),
            ],
            "stop",
        ),
        // the end of a block was not said
        (
            vec![
                text(),
                piece(r#"{"type":"text_delta","text":"Hel"}"#),
                text(),
                piece(r#"{"type":"text_delta","text":"lo"}"#),
            ],
            "says Hello, stop",
        ),
    ];
    for (events, expected) in table {
        let events: Vec<&str> = events.iter().map(String::as_str).chain([MESSAGE[4], MESSAGE_STOP]).collect();
        assert_eq!(played(ProviderKind::Anthropic, &stream(&events)).await, expected, "{events:?}");
    }
}

#[tokio::test]
async fn answers_in_odd_wrappings() {
    let chat = ProviderKind::OpenAiCompat;
    let completion = r#"{"object":"chat.completion","choices":[{"message":{"role":"assistant","content":"Hello","tool_calls":[{"id":"a","type":"function","function":{"name":"one","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"two","arguments":"{}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#;
    let pretty = serde_json::to_string_pretty(&completion.parse::<serde_json::Value>().unwrap()).unwrap();
    let completed = "a one{}, b two{}, says Hello, toolcalls";
    let message = r#"{"type":"message","id":"m","content":[{"type":"text","text":"Hello"},{"type":"tool_use","id":"a","name":"one","input":{"page":2}}],"stop_reason":"tool_use","usage":{"input_tokens":5,"output_tokens":2}}"#;
    let boom = r#"{"error":{"code":500,"message":"boom","type":"server_error"}}"#;
    let table = [
        // data that is no event
        (chat, stream(&["ping", HALF, "", "[1,2]", "\"x\"", STOP]), "says half , stop"),
        (chat, stream(&["ping"]), "malformed: text/event-stream: data: ping"),
        (chat, stream(&[HALF, "{nope", STOP]), "malformed: an event of the stream cannot be read"),
        (
            chat,
            stream(&[r#"{"choices":null}"#, DONE]),
            "malformed: text/event-stream: data: {\"choices\":null}\n\ndata: [done]",
        ),
        // no empty lines between events
        (chat, stream(&[HALF, REST, STOP, DONE]).replace("\n\n", "\n"), "says half whole, stop"),
        (chat, stream(&[HALF, "ping", STOP]).replace("\n\n", "\n"), "says half , stop"),
        (chat, stream(&[HALF, "{nope"]).replace("\n\n", "\n"), "network: "),
        (
            chat,
            format!("{}\n{}", stream(&[HALF, "{nope"]).replace("\n\n", "\n"), stream(&[STOP])),
            "malformed: an event of the stream cannot be read",
        ),
        (ProviderKind::Anthropic, stream(&MESSAGE).replace("\n\n", "\n"), "says Hello, stop"),
        // whole answers
        (chat, completion.to_owned(), completed),
        (chat, pretty, completed),
        (chat, stream(&[completion, DONE]), completed),
        (ProviderKind::Anthropic, message.to_owned(), r#"a one{"page":2}, says Hello, toolcalls"#),
        (chat, r#"{"id":"x","choices":[]}"#.to_owned(), "malformed: text/event-stream: {\"id\":\"x\",\"choices\":[]}"),
        // errors outside of events
        (chat, boom.to_owned(), "generic: boom"),
        (chat, format!("{}{boom}\n", stream(&[HALF])), "generic: boom"),
        (chat, format!("[{boom}]"), "generic: boom"),
        (ProviderKind::Anthropic, format!("{}{boom}", stream(&MESSAGE[..3])), "generic: boom"),
        (chat, format!("{}{boom}", stream(&[HALF, STOP])), "says half , stop"),
    ];
    for (kind, body, expected) in table {
        assert_eq!(played(kind, &body).await, expected, "{body}");
    }
    // the type of the body does not matter
    for body in [completion, boom] {
        let fake = Fake::start([Reply::json(200, &body.parse().unwrap())]).await;
        let (events, error) = events(&fake.provider(chat), request(vec![user("hi")])).await;
        let expected = if body == boom { "generic: boom" } else { completed };
        assert_eq!(told(&events, error.as_ref()), expected);
    }
}

#[tokio::test]
async fn errors_of_a_stream_in_odd_shapes() {
    let chat = ProviderKind::OpenAiCompat;
    let bad_request = r#"{"object":"error","message":"no such size","type":"BadRequestError","code":400}"#;
    let table = [
        (chat, bad_request, "config: no such size"),
        (chat, r#"{"detail":"Internal problem"}"#, "generic: internal problem"),
        (chat, r#"{"detail":[{"msg":"m"}]}"#, "generic: [{\"msg\":\"m\"}]"),
        (chat, r#"{"message":"slow","code":429}"#, "ratelimit: slow"),
        (chat, r#"{"error":"busy"}"#, "generic: busy"),
        (chat, r#"{"error":{"why":"busy"}}"#, "generic: {\"why\":\"busy\"}"),
        (chat, r#"{"error":true,"message":"busy"}"#, "generic: busy"),
        (chat, r#"{"error":"","message":""}"#, "says half , stop"),
        (chat, r#"{"error":{"code":1,"message":"busy"}}"#, "generic: busy"),
        (chat, r#"{"error":{"message":"no images","type":"invalid_request_error"}}"#, "config: no images"),
        (chat, r#"{"error":"no credit","code":"insufficient_quota"}"#, "quota: no credit"),
        // beside a piece of the answer
        (
            chat,
            r#"{"choices":[{"delta":{},"finish_reason":"error","error":{"code":429,"message":"slow"}}]}"#,
            "ratelimit: slow",
        ),
        (
            chat,
            r#"{"choices":[{"delta":{},"finish_reason":"stop","error":{"code":402,"message":"pay"}}]}"#,
            "quota: pay",
        ),
        (
            chat,
            r#"{"choices":null,"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#,
            "quota: insufficient balance",
        ),
        (chat, r#"{"choices":null,"base_resp":{"status_code":1002,"status_msg":"m"}}"#, "ratelimit: m"),
        (chat, r#"{"choices":null,"base_resp":{"status_code":1004,"status_msg":"m"}}"#, "auth: m"),
        (chat, r#"{"choices":[],"base_resp":{"status_code":0,"status_msg":"success"}}"#, "says half , stop"),
        (ProviderKind::Anthropic, r#"{"detail":"Internal problem"}"#, "generic: internal problem"),
        (ProviderKind::Anthropic, r#"{"type":"error","message":"m"}"#, "generic: m"),
        (ProviderKind::Anthropic, r#"{"type":"new_event","message":"m"}"#, "says Hello, stop"),
    ];
    for (kind, event, expected) in table {
        let body = match kind {
            ProviderKind::Anthropic => stream(&[&MESSAGE[..4], &[event], &MESSAGE[4..], &[MESSAGE_STOP]].concat()),
            _ => stream(&[HALF, event, STOP, DONE]),
        };
        assert_eq!(played(kind, &body).await, expected, "{event}");
    }
}

#[tokio::test]
async fn counts_are_found_in_many_places_and_never_fall() {
    let chat = |usage: &[&str]| {
        let usage = usage.iter().map(|usage| format!(r#"{{"choices":[],{usage}}}"#));
        let events: Vec<String> = [HALF.to_owned()].into_iter().chain(usage).chain([STOP.to_owned()]).collect();
        (ProviderKind::OpenAiCompat, stream(&events.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    let message = |usage: &str| {
        let last = MESSAGE[4].replace(r#"{"output_tokens":7}"#, usage);
        let events = [&MESSAGE[..], &[&last, MESSAGE_STOP]].concat();
        (ProviderKind::Anthropic, stream(&events))
    };
    let whole = r#""usage":{"prompt_tokens":50,"completion_tokens":7}"#;
    let zeros = r#""usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#;
    let in_choice = format!(r#"{{"choices":[{{"delta":{{}},{whole}}}]}}"#);
    // input, output, cached
    let table = [
        (chat(&[whole]), (50, 7, None)),
        (chat(&[whole, zeros]), (50, 7, None)),
        (chat(&[zeros]), (0, 0, None)),
        (chat(&[r#""usage":{"prompt_tokens":50,"completion_tokens":3}"#, whole]), (50, 7, None)),
        // what was cached may be told late
        (
            chat(&[whole, r#""usage":{"prompt_tokens":50,"prompt_tokens_details":{"cached_tokens":20}}"#]),
            (30, 7, Some(20)),
        ),
        (chat(&[r#""usage":{"prompt_tokens":50,"completion_tokens":7,"cached_tokens":20}"#]), (30, 7, Some(20))),
        (
            chat(&[r#""usage":{"prompt_tokens":50,"completion_tokens":7,"prompt_cache_hit_tokens":20}"#]),
            (30, 7, Some(20)),
        ),
        (chat(&[&format!(r#""x_groq":{{{whole}}}"#)]), (50, 7, None)),
        ((ProviderKind::OpenAiCompat, stream(&[HALF, &in_choice, STOP])), (50, 7, None)),
        // reasoning beside the completion, and inside of it
        (
            chat(&[
                r#""usage":{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,"completion_tokens_details":{"reasoning_tokens":94}}"#,
            ]),
            (32, 103, None),
        ),
        (
            chat(&[
                r#""usage":{"prompt_tokens":32,"completion_tokens":103,"total_tokens":135,"completion_tokens_details":{"reasoning_tokens":94}}"#,
            ]),
            (32, 103, None),
        ),
        // the names of Responses
        (
            chat(&[r#""usage":{"input_tokens":50,"output_tokens":7,"input_tokens_details":{"cached_tokens":20}}"#]),
            (30, 7, Some(20)),
        ),
        // counts that no request can have
        (chat(&[whole, r#""usage":{"prompt_tokens":50,"completion_tokens":18446744073709551615}"#]), (50, 7, None)),
        (chat(&[whole, r#""usage":{"prompt_tokens":-1,"completion_tokens":1e300}"#]), (50, 7, None)),
        (message(r#"{"input_tokens":0,"output_tokens":0}"#), (50, 7, None)),
        (message(r#"{"output_tokens":18446744073709551615}"#), (50, 7, None)),
        (message(r#"{"output_tokens":2000000000}"#), (50, 7, None)),
    ];
    for ((kind, body), (input, output, cached)) in table {
        let raw = RawProvider::closing([body.clone().into_bytes()]).await;
        let (events, error) = events(&raw.provider(kind), request(vec![user("hi")])).await;
        assert_eq!(error, None, "{body}");
        let usage = usage(&events);
        let found = (&usage["input_tokens"], &usage["output_tokens"], &usage["cache_read_tokens"]);
        assert_eq!(found, (&json!(input), &json!(output), &json!(cached)), "{body}");
    }
    let absurd = r#"{"choices":[],"usage":{"prompt_tokens":50,"completion_tokens":18446744073709551615}}"#;
    let raw = RawProvider::closing([stream(&[HALF, absurd, STOP]).into_bytes()]).await;
    let (events, _) = events(&raw.provider(ProviderKind::OpenAiCompat), request(vec![user("hi")])).await;
    assert_eq!(usage(&events)["output_tokens"], json!(null));
}

/// Reads an answer that must not fail to its end, and shows `seen` what is there after each event.
async fn read(provider: &Arc<dyn Provider>, seen: impl Fn(&[ModelEvent])) -> Vec<ModelEvent> {
    let mut stream = provider.stream(request(vec![user("hi")])).await.unwrap();
    let mut all = Vec::new();
    let reading = async {
        while let Some(event) = stream.next().await {
            all.push(event.unwrap());
            seen(&all);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("the answer ends");
    all
}

#[tokio::test]
async fn a_proven_answer_waits_half_a_minute_for_its_end_mark() {
    let ping = b"data: {\"type\":\"ping\"}\n\n: comment\n\n";
    for (kind, body) in
        [(ProviderKind::Anthropic, stream(&MESSAGE)), (ProviderKind::OpenAiCompat, stream(&[HALF, STOP]))]
    {
        let pings = Arc::new(Notify::new());
        let raw = RawProvider::start([vec![
            Piece::Bytes([HEAD.as_bytes(), body.as_bytes()].concat()),
            Piece::Wait(Arc::clone(&pings)),
            Piece::Bytes(ping.to_vec()),
            Piece::Hang,
        ]])
        .await;
        let clock = Arc::new(ManualClock::default());
        let all = read(&raw.provider_with(kind, &clock), |all| match all.last() {
            Some(ModelEvent::TextDelta { .. }) => pings.notify_one(),
            // the pings are here, and no time has passed so far
            Some(ModelEvent::Alive) => clock.advance(Duration::from_secs(30)),
            _ => {}
        })
        .await;
        assert!(matches!(all.last(), Some(ModelEvent::Finish { .. })), "{all:?}");
    }
}

#[tokio::test]
async fn a_reason_with_every_piece_does_not_cut_a_slow_answer() {
    let go = Arc::new(Notify::new());
    let piece = stream(&[r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#]);
    let mut pieces = vec![Piece::Bytes([HEAD.as_bytes(), piece.as_bytes()].concat())];
    for _ in 0..3 {
        pieces.extend([Piece::Wait(Arc::clone(&go)), Piece::Bytes(piece.clone().into_bytes())]);
    }
    let raw = RawProvider::start([pieces]).await;
    let clock = Arc::new(ManualClock::default());
    let provider = raw.provider_with(ProviderKind::OpenAiCompat, &clock);
    let all = read(&provider, |all| {
        if matches!(all.last(), Some(ModelEvent::TextDelta { .. })) {
            clock.advance(Duration::from_secs(29));
            go.notify_one();
        }
    })
    .await;
    assert_eq!(told(&all, None), "says xxxx, stop");
}

/// `text` compressed, with each piece flushed.
fn gzip(pieces: &[&str]) -> Vec<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut compressed: Vec<Vec<u8>> = pieces
        .iter()
        .map(|piece| {
            encoder.write_all(piece.as_bytes()).unwrap();
            encoder.flush().unwrap();
            std::mem::take(encoder.get_mut())
        })
        .collect();
    compressed.push(encoder.finish().unwrap());
    compressed
}

fn brotli(text: &str) -> Vec<u8> {
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut text.as_bytes(), &mut compressed, &brotli::enc::BrotliEncoderParams::default())
        .unwrap();
    compressed
}

/// What HTTP calls deflate.
fn zlib(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_compressed_stream_is_understood_as_it_comes_though_none_is_asked_for() {
    let head = HEAD.replace("connection", "content-encoding: gzip\r\nconnection");
    let compressed = gzip(&[&stream(&[HALF]), &stream(&[REST, STOP])]);
    let go = Arc::new(Notify::new());
    let whole = vec![
        Piece::Bytes([head.as_bytes(), &compressed[0]].concat()),
        Piece::Wait(Arc::clone(&go)),
        Piece::Bytes(compressed[1..].concat()),
    ];
    let cut = vec![Piece::Bytes([head.as_bytes(), &compressed[0]].concat())];
    let encoded = |encoding: &str, body: &[u8]| {
        let head = HEAD.replace("connection", &format!("content-encoding: {encoding}\r\nconnection"));
        vec![Piece::Bytes([head.as_bytes(), body].concat())]
    };
    let body = stream(&[HALF, REST, STOP]);
    let answers = [whole, cut, encoded("br", &brotli(&body)), encoded("deflate", &zlib(&body)), encoded("zstd", b"")];
    let raw = RawProvider::start(answers).await;
    let provider = raw.provider(ProviderKind::OpenAiCompat);
    let all = read(&provider, |all| {
        if text(all) == "half " {
            go.notify_one();
        }
    })
    .await;
    assert_eq!(told(&all, None), "says half whole, stop");
    assert!(raw.requests()[0].to_lowercase().contains("accept-encoding: identity\r\n"), "{:?}", raw.requests());
    let (all, error) = events(&provider, request(vec![user("hi")])).await;
    assert!(told(&all, error.as_ref()).starts_with("network: "), "{error:?}");
    for expected in [
        "says half whole, stop",
        "says half whole, stop",
        "malformed: the answer is compressed with zstd, which was not asked for",
    ] {
        let (all, error) = events(&provider, request(vec![user("hi")])).await;
        assert_eq!(told(&all, error.as_ref()), expected);
    }
}
