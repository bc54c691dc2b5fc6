//! Streams as clients get them, recorded for the tests of the site.
//!
//! Each recording is a list of frames, each frame a list of events, with ids and times fixed. What a run
//! of today sends must be what was recorded, as far as timing does not decide it: which parts share a
//! frame, and where a text is cut into parts. `ATELIER_RECORD=1` records anew (`./dev generate`).

use std::path::PathBuf;

use atelier_test_support::{Builder, Chat, ChatView, EventStream, Form};
use serde_json::Value;

use crate::fixed::Fixed;
use crate::server;
use crate::transcript::VARYING;

const SCRIPT: &str = r#"
rules:
  - when: {user_contains: "think"}
    steps:
      - {reasoning: "First I look at the question. ", repeat: 4, delay_ms: 50}
      - {text: "This is sentence {n} of an answer. ", repeat: 20, delay_ms: 50}
      - usage: {input_tokens: 120, output_tokens: 80, reasoning_tokens: 30}
  - when: {user_contains: "fail once", attempt: 1}
    steps:
      - {text: "This attempt breaks. ", repeat: 5, delay_ms: 200}
      - error: {kind: overloaded, retry_after_ms: 50}
  - when: {user_contains: "fail once"}
    steps:
      - {text: "This attempt holds. ", repeat: 5, delay_ms: 10}
      - usage: {input_tokens: 10, output_tokens: 5}
  - when: {user_contains: "fail for good"}
    steps:
      - {text: "Then the provider refuses. ", repeat: 3, delay_ms: 10}
      - error: {kind: auth}
  - when: {user_contains: "talk on"}
    steps:
      - {text: "word {n} ", repeat: 2000, delay_ms: 10}
      - hang: true
  - steps:
      - text: "An answer."
      - usage: {input_tokens: 10, output_tokens: 2}
"#;

/// The answer of `think`, whose server is to die behind its fourth sentence.
const DYING: &str = r#"
rules:
  - when: {attempt: 1}
    steps:
      - {reasoning: "First I look at the question. ", repeat: 4, delay_ms: 50}
      - {text: "This is sentence {n} of an answer. ", repeat: 4, delay_ms: 50}
      - hang: true
  - steps:
      - {reasoning: "First I look at the question. ", repeat: 4, delay_ms: 50}
      - {text: "This is sentence {n} of an answer. ", repeat: 20, delay_ms: 50}
      - usage: {input_tokens: 120, output_tokens: 80, reasoning_tokens: 30}
"#;

type Frames = Vec<Value>;

/// A client that writes down what it gets.
struct Recorder {
    stream: EventStream,
    view: ChatView,
    frames: Frames,
}

impl Recorder {
    /// Ready for the first event of a turn that has not begun.
    async fn of(chat: &Chat) -> Self {
        let stream = chat.stream(Form::WebSocket, Some("")).await;
        let mut recorder = Self { stream, view: ChatView::default(), frames: Vec::new() };
        recorder.until(|view| view.ready).await;
        recorder
    }

    /// Reads until `is_done` says so of what the client holds, or the server ends the stream.
    async fn until(&mut self, is_done: impl Fn(&ChatView) -> bool) {
        while !is_done(&self.view) {
            let Some(frame) = self.stream.next().await else { break };
            self.view.apply(&frame);
            if frame.kind == "data" {
                self.frames.push(frame.data);
            }
        }
    }
}

/// The turn has ended: with an answer, or without.
fn is_over(view: &ChatView) -> bool {
    view.ready && (view.status == "error" || (view.status == "waiting" && view.messages.len() > 1))
}

fn scripted(script: &str) -> Builder {
    server().script("recorded", script).one_turn_at_a_time()
}

async fn whole_turn(builder: Builder, text: &str) -> Frames {
    let server = builder.start().await;
    let admin = server.admin().await;
    let held = admin.hold_turns().await;
    let mut recorder = Recorder::of(&admin.chat_create(text).await).await;
    held.interrupt().await.expect(200);
    recorder.until(is_over).await;
    recorder.frames
}

async fn interrupted() -> Frames {
    let server = scripted(SCRIPT).start().await;
    let admin = server.admin().await;
    let held = admin.hold_turns().await;
    let chat = admin.chat_create("talk on").await;
    let mut recorder = Recorder::of(&chat).await;
    held.interrupt().await.expect(200);
    recorder.until(|view| view.live_parts > 5).await;
    chat.interrupt().await.expect(200);
    recorder.until(is_over).await;
    recorder.frames
}

/// A second message waits behind the first and gets its turn.
async fn queued() -> Frames {
    let server = scripted(SCRIPT).start().await;
    let admin = server.admin().await;
    let held = admin.hold_turns().await;
    let chat = admin.chat_create("think").await;
    let mut recorder = Recorder::of(&chat).await;
    chat.send("and then?").await;
    held.interrupt().await.expect(200);
    let has_two_answers = |view: &ChatView| {
        let answers = view.messages.values().filter(|message| message["role"] == "assistant").count();
        is_over(view) && answers == 2
    };
    recorder.until(has_two_answers).await;
    recorder.frames
}

/// The server dies in the middle of an answer; the client comes again with its cursor.
async fn takeover() -> Frames {
    let mut server = scripted(DYING).start().await;
    let admin = server.admin().await;
    let held = admin.hold_turns().await;
    let chat = admin.chat_create("think").await;
    let mut recorder = Recorder::of(&chat).await;
    held.interrupt().await.expect(200);
    recorder.until(|view| view.live.values().any(|text| text.contains("sentence 4 of"))).await;
    server.kill().await;
    server.restart().await;
    let chat = chat.seen_by(&server.admin().await);
    recorder.stream = chat.stream(Form::WebSocket, Some(&recorder.view.cursor)).await;
    recorder.until(is_over).await;
    recorder.frames
}

fn fixed(mut frames: Frames) -> Frames {
    let mut fixed = Fixed::default();
    frames.iter_mut().for_each(|frame| fixed.fix(frame));
    frames
}

/// What timing does not decide: stored messages, failures and how the turn ended. Live parts are joined or
/// left out for a slow client, and how far the turn is when a look ends with `ready`, or whether it still runs
/// when a client comes back after a takeover, is chance.
fn durable(frames: &Frames) -> Vec<Value> {
    let mut fixed = Fixed::default();
    let mut events: Vec<Value> = frames
        .iter()
        .flat_map(|frame| frame.as_array().expect("a frame is a list of events"))
        .filter(|event| event["type"] != "message_part" && event["type"] != "ready")
        .filter(|event| event["retry"]["kind"] != "takeover")
        .filter(|event| !matches!(event["status"]["status"].as_str(), Some("pending" | "running")))
        .cloned()
        .collect();
    events.iter_mut().for_each(|event| fixed.fix(event));
    // a client that comes back when all is over is told the status first
    events.sort_by_key(|event| event["type"] == "status");
    // results of one step are stored as they end
    for step in
        events.chunk_by_mut(|left, right| left["message"]["role"] == "tool" && right["message"]["role"] == "tool")
    {
        step.sort_by_key(|event| event["message"]["content"][0]["tool_call_id"].to_string());
    }
    events
}

fn folder() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../site/src/testing/streams")
}

fn check(name: &str, frames: Frames) {
    let path = folder().join(format!("{name}.json"));
    let frames = fixed(frames);
    if std::env::var_os("ATELIER_RECORD").is_some() {
        let lines: Vec<String> = frames.iter().map(Value::to_string).collect();
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(&path, format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
        return;
    }
    let recorded =
        std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{name}.json is missing: run ./dev generate"));
    let recorded: Frames = serde_json::from_str(&recorded).unwrap();
    let (today, before) = (durable(&frames), durable(&recorded));
    for (n, (today, before)) in today.iter().zip(&before).enumerate() {
        assert_eq!(
            shape(today),
            shape(before),
            "{name}: event {n}: run ./dev generate if it is meant\n{today}\n{before}"
        );
    }
    assert_eq!(today.len(), before.len(), "{name}: number of events");
    let looks = |frames: &Frames| {
        frames.iter().filter_map(Value::as_array).flatten().filter(|event| event["type"] == "ready").count()
    };
    assert_eq!(looks(&frames), looks(&recorded), "{name}: each look ends with ready");
}

/// The event without what the moment decides: how ids were given out, what a command printed, how far a
/// stopped answer came.
fn shape(event: &Value) -> Value {
    let mut event = event.clone();
    strip(&mut event);
    event
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let is_cut = fields.get("finish_reason").is_some_and(|reason| reason == "interrupted");
            for (name, value) in fields {
                let is_measured = VARYING.contains(&name.as_str())
                    || matches!(name.as_str(), "output" | "output_bytes" | "next_offset");
                if is_measured || (is_cut && matches!(name.as_str(), "content" | "usage")) {
                    *value = Value::Null;
                } else {
                    strip(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(strip),
        Value::String(text) => {
            if ["00000000-0000-4000-8000-", "2026-01-02T03:", "call_"].iter().any(|fixed| text.starts_with(fixed)) {
                text.clear();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[tokio::test]
async fn an_answer_with_reasoning() {
    check("answer", whole_turn(scripted(SCRIPT), "think").await);
}

#[tokio::test]
async fn a_turn_with_tools() {
    check("tools", whole_turn(server().demo().one_turn_at_a_time(), "make the tests pass").await);
}

#[tokio::test]
async fn b093_a_provider_that_fails_once() {
    check("retry", whole_turn(scripted(SCRIPT), "fail once").await);
}

#[tokio::test]
async fn a_provider_that_refuses() {
    check("failed", whole_turn(scripted(SCRIPT), "fail for good").await);
}

#[tokio::test]
async fn a_turn_that_is_stopped() {
    let frames = interrupted().await;
    check("interrupted", frames);
}

#[tokio::test]
async fn a_message_that_waits_its_turn() {
    check("queued", queued().await);
}

#[tokio::test]
async fn a_server_that_dies_in_an_answer() {
    check("takeover", takeover().await);
}
