//! SIGKILL at every point of a turn: it goes on by itself, and nothing happens twice.

use atelier_test_support::{Chat, ChatView, Engine, Form, TestServer, eventually};
use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::server;
use crate::transcript::{assert_same, transcript};

/// A turn with an answer to be cut, a workspace, a slow command, two commands at once and an end.
const WORK: &str = r#"
rules:
  - when: {user_contains: "work", step: 0, attempt: 1}
    steps:
      - {text: "I begin with word {n}. ", repeat: 20, delay_ms: 5}
      - tool_call: {name: create_workspace, args: {template_id: demo}}
      - usage: {input_tokens: 10, output_tokens: 1}
  - when: {user_contains: "work", step: 0}
    steps:
      - {text: "I begin with word {n}. ", repeat: 20}
      - tool_call: {name: create_workspace, args: {template_id: demo}}
      - usage: {input_tokens: 10, output_tokens: 1}
  - when: {user_contains: "work", step: 1}
    steps:
      - text: "A slow command."
      - tool_call: {name: execute, args: {command: "echo slow >> $HOME/ran; sleep 5; echo slept"}}
      - usage: {input_tokens: 20, output_tokens: 2}
  - when: {user_contains: "work", step: 2}
    steps:
      - text: "Two at once."
      - tool_call: {name: execute, args: {command: "echo left >> $HOME/left; echo left"}}
      - tool_call: {name: execute, args: {command: "echo right >> $HOME/right; echo right"}}
      - usage: {input_tokens: 30, output_tokens: 3}
  - when: {user_contains: "work", step: 3}
    steps:
      - text: "Everything is done."
      - usage: {input_tokens: 100, output_tokens: 10}
"#;

const CHATS: &str = "/api/experimental/chats/";

/// Where the process is killed. `name:n`: the n-th time it comes there.
const POINTS: &[&str] = &[
    "claimed",
    "step_begun",
    "part_published:10",
    "answer_received",
    "answer_stored",
    "call_started:2",
    "call_result_received:2",
    "call_ended:3",
    "step_begun:4",
    "settled",
];

async fn start(engine: Engine, fault: Option<&str>) -> TestServer {
    let mut server = server().engine(engine).demo().script("work", WORK).start().await;
    if let Some(point) = fault {
        // the set-up is not what the point counts
        server.restart_with_fault(point).await;
    }
    server
}

async fn undisturbed(engine: Engine) -> Vec<Value> {
    let server = start(engine, None).await;
    let chat = server.admin().await.chat_create("work").await;
    chat.wait_for_status("waiting").await;
    transcript(&chat.messages().await)
}

async fn check_end(server: &TestServer, chat: &Chat, expected: &[Value], point: &str) {
    let row = settled(chat, point).await;
    assert_eq!(row["status"], "waiting", "{point}: {row}");
    assert_same(&transcript(&chat.messages().await), expected, point);
    for (file, line) in [("ran", "slow\n"), ("left", "left\n"), ("right", "right\n")] {
        assert_eq!(read_home(server, file), line, "{point}: the command ran once");
    }
}

async fn settled(chat: &Chat, what: &str) -> Value {
    eventually(&format!("{what}: the turn to end"), || async {
        let row = chat.get().await;
        (row["status"] == "waiting" || row["status"] == "error").then_some(row)
    })
    .await
}

fn read_home(server: &TestServer, file: &str) -> String {
    let workspaces = std::fs::read_dir(server.data_dir().join("workspaces")).unwrap();
    let homes: Vec<_> = workspaces.map(|entry| entry.unwrap().path().join("home")).collect();
    assert_eq!(homes.len(), 1, "one workspace, not several");
    let root = &homes[0];
    [root.join(file), root.join("atelier").join(file)]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_else(|| panic!("{file} does not lie in {}", root.display()))
}

async fn ten_kills(engine: Engine) {
    let expected = undisturbed(engine).await;
    assert!(expected.iter().any(|message| message.to_string().contains("slept")), "{expected:#?}");
    let runs = POINTS.iter().map(|point| {
        let expected = &expected;
        async move {
            let mut server = start(engine, Some(point)).await;
            // it may die before it answers
            let work = json!({"content": [{"type": "text", "text": "work"}]});
            let _ = server.admin().await.request(Method::POST, CHATS).json(&work).send().await;
            server.wait_until_dead().await;
            server.restart().await;
            let admin = server.admin().await;
            let chats = admin.get(CHATS).await.body(200);
            let chat = admin.chat(chats[0]["id"].as_str().expect("the chat was stored"));
            check_end(&server, &chat, expected, point).await;
        }
    });
    // each waits for a slow command most of the time
    futures::stream::iter(runs).buffer_unordered(5).collect::<Vec<()>>().await;
}

/// An answer that was cut in the middle of its calls: none of them is to be run.
const CUT: &str = r#"
rules:
  - when: {user_contains: "cut", step: 0}
    steps:
      - tool_call: {name: create_workspace, args: {template_id: demo}}
  - when: {user_contains: "cut", step: 1}
    steps:
      - tool_call: {name: execute, args: {command: "echo ran >> $HOME/ran"}}
      - finish: length
  - when: {user_contains: "cut", step: 2}
    steps:
      - text: "I see that it was cut."
"#;

#[tokio::test]
async fn calls_of_a_cut_answer_are_refused_after_a_kill_too() {
    for point in ["answer_stored:2", "call_ended:2"] {
        let mut server = server().demo().script("cut", CUT).start().await;
        server.restart_with_fault(point).await;
        let chat = server.admin().await.chat_create("cut").await;
        server.wait_until_dead().await;
        server.restart().await;
        let chat = chat.seen_by(&server.admin().await);
        settled(&chat, point).await;
        let messages = chat.messages().await;
        let refused =
            messages.iter().filter(|message| message.to_string().contains("was cut off by its length")).count();
        assert_eq!(refused, 1, "{point}: {messages:#?}");
        let homes = std::fs::read_dir(server.data_dir().join("workspaces")).unwrap();
        for home in homes.map(|entry| entry.unwrap().path().join("home")) {
            assert!(!home.join("ran").exists() && !home.join("atelier/ran").exists(), "{point}: the command ran");
        }
    }
}

#[tokio::test]
async fn ten_kills_leave_the_same_transcript_on_sqlite() {
    ten_kills(Engine::Sqlite).await;
}

#[tokio::test]
async fn ten_kills_leave_the_same_transcript_on_postgres() {
    ten_kills(Engine::Postgres).await;
}

/// The kill nobody plans: from outside, in a command of five seconds.
#[tokio::test]
async fn b104_a_kill_in_a_running_command_waits_for_it_and_does_not_repeat_it() {
    for engine in Engine::ALL {
        let expected = undisturbed(engine).await;
        let mut server = start(engine, None).await;
        let chat = server.admin().await.chat_create("work").await;
        eventually("the command to run", || async {
            let workspaces = std::fs::read_dir(server.data_dir().join("workspaces")).ok()?;
            let mut homes = workspaces.filter_map(|entry| Some(entry.ok()?.path().join("home")));
            homes.any(|home| home.join("ran").exists() || home.join("atelier/ran").exists()).then_some(())
        })
        .await;
        server.kill().await;
        server.restart().await;
        check_end(&server, &chat.seen_by(&server.admin().await), &expected, "external").await;
    }
}

/// A viewer that was in the middle of the answer comes back with its cursor and has every message once.
#[tokio::test]
async fn b092_a_viewer_comes_back_after_the_kill_with_its_cursor() {
    let builder = server().engine(Engine::Sqlite).demo().script("work", WORK).one_turn_at_a_time();
    let mut server = builder.start().await;
    server.restart_with_fault("part_published:10").await;
    let admin = server.admin().await;
    let held = admin.hold_turns().await;
    let chat = admin.chat_create("work").await;
    let mut view = ChatView::default();
    let mut stream = chat.stream(Form::WebSocket, None).await;
    view.apply(&stream.next().await.expect("a first frame"));
    // it may die before it answers
    let _ = admin.request(Method::POST, &held.path("/interrupt")).json(&json!({})).send().await;
    while let Some(frame) = stream.next().await {
        view.apply(&frame);
    }
    server.wait_until_dead().await;
    server.restart().await;
    let chat = chat.seen_by(&server.admin().await);
    let mut stream = chat.stream(Form::WebSocket, Some(&view.cursor)).await;
    while view.status != "waiting" {
        view.apply(&stream.next().await.expect("the stream goes on"));
    }
    assert_eq!(view.last_answer(), "Everything is done.");
    let ids: Vec<i64> = view.messages.keys().copied().collect();
    let stored: Vec<i64> = chat.messages().await.iter().map(|message| message["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, stored);
    let takeovers = view.retries.iter().filter(|retry| retry["kind"] == "takeover").count();
    assert!(takeovers <= 1, "{:?}", view.retries);
}
