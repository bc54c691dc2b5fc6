//! Cut streams.

use atelier_test_support::{ChatView, Engine, Form, text_of};

use crate::server;

/// 2,000 parts over about four seconds, and then nothing more.
const LONG: &str = r#"
rules:
  - steps:
      - {text: "part {n} of two thousand; ", repeat: 2000, delay_ms: 2}
      - hang: true
"#;

const PARTS: usize = 2_000;
const CUTS: usize = 20;

async fn cut_twenty_times(engine: Engine, form: Form) {
    let server = server().engine(engine).script("long", LONG).start().await;
    let chat = server.admin().await.chat_create("go").await;
    let mut view = ChatView::default();
    let mut stream = chat.stream(form, None).await;
    let mut cuts = 0;
    let expected: String = (1..=PARTS).map(|n| format!("part {n} of two thousand; ")).collect();
    let mut last_live = String::new();
    while cuts < CUTS || last_live.len() < expected.len() {
        let frame = stream.next().await.expect("the server does not end the stream");
        view.apply(&frame);
        if let Some(live) = view.live.values().next_back() {
            last_live.clone_from(live);
        }
        if cuts < CUTS && last_live.matches("; ").count() > (cuts + 1) * PARTS / (CUTS + 2) {
            cuts += 1;
            // cut without a goodbye, in the middle of whatever was under way
            drop(stream);
            stream = chat.stream(form, Some(&view.cursor)).await;
        }
    }
    // the parts were numbered without a gap (`ChatView` checks)
    assert!(last_live == expected, "the live text differs");
    chat.interrupt().await.expect(200);
    while view.status != "waiting" || view.messages.len() < 2 {
        view.apply(&stream.next().await.expect("the server does not end the stream"));
    }
    let stored = text_of(chat.messages().await.last().unwrap());
    assert_eq!(view.last_answer().len(), expected.len());
    assert_eq!(view.last_answer(), expected);
    assert_eq!(stored, expected);
}

#[tokio::test]
async fn b091_a_web_socket_cut_twenty_times_loses_and_doubles_nothing() {
    for engine in Engine::ALL {
        cut_twenty_times(engine, Form::WebSocket).await;
    }
}

#[tokio::test]
async fn b091_server_sent_events_cut_twenty_times_lose_and_double_nothing() {
    for engine in Engine::ALL {
        cut_twenty_times(engine, Form::ServerSentEvents).await;
    }
}

/// A thousand parts at once, and then nothing more.
const PAUSED: &str = r#"
rules:
  - steps:
      - {text: "word {n} ", repeat: 1000}
      - hang: true
"#;

#[tokio::test]
async fn b095_a_late_viewer_gets_the_beginning_in_few_parts() {
    for engine in Engine::ALL {
        let server = server().engine(engine).script("paused", PAUSED).start().await;
        let chat = server.admin().await.chat_create("go").await;
        let expected: String = (1..=1000).map(|n| format!("word {n} ")).collect();
        let mut view = ChatView::default();
        let mut stream = chat.stream(Form::WebSocket, None).await;
        while view.live.values().next_back() != Some(&expected) {
            view.apply(&stream.next().await.expect("the stream goes on"));
        }
        let mut late = chat.stream(Form::WebSocket, Some("")).await;
        let (mut parts, mut text) = (0, String::new());
        while text != expected {
            let frame = late.next().await.expect("the stream goes on");
            let events = frame.data.as_array().map_or(&[][..], Vec::as_slice);
            for event in events.iter().filter(|event| event["type"] == "message_part") {
                parts += 1;
                text.push_str(event["message_part"]["part"]["text"].as_str().unwrap_or_default());
            }
            assert!(expected.starts_with(&text), "{text}");
        }
        assert!(parts <= 4, "{parts} parts for {} bytes", text.len());
    }
}
