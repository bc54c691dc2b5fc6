//! What is fetched of the output of a command that prints without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atelier_daemon::workspace::{AgentRequest, AgentResponse, ConnectionError, WorkspaceConnection};
use atelier_test_support::{Chat, EventStream, Form};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::host::{Host, text};
use crate::played_agent::workspace_create;

const PAGE: usize = 32 * 1024;
/// Pages after which the command ends, so that a test that fetches them all ends too.
const PAGES: usize = 40;

/// A workspace agent with one command, which always has a page more.
#[derive(Default)]
struct NoisyAgent {
    pages: AtomicUsize,
    /// The command ends when it is told to.
    end: Option<Arc<Notify>>,
}

impl WorkspaceConnection for NoisyAgent {
    fn request(&self, request: AgentRequest) -> BoxFuture<'_, Result<AgentResponse, ConnectionError>> {
        let is_for_end = request.path.contains("/output?wait_ms=");
        let end = self.end.clone().filter(|_| is_for_end);
        let body = if request.path == "/v1/processes" {
            json!({"process_id": "p", "background": false})
        } else if request.path.contains("limit=") {
            let page = self.pages.fetch_add(1, Ordering::SeqCst) + 1;
            json!({"output": "y".repeat(PAGE), "next_offset": page * PAGE, "running": page < PAGES})
        } else {
            // asked for the shaped result: the command has ended when the wait is over
            json!({"output": "y", "running": false, "exit_code": 0, "pages": self.pages.load(Ordering::SeqCst)})
        };
        let answer = AgentResponse { status: 200, body: body.to_string().into() };
        async move {
            if let Some(end) = end {
                end.notified().await;
            }
            Ok(answer)
        }
        .boxed()
    }

    fn ledger_id(&self) -> String {
        "ledger".into()
    }
}

async fn noisy_host(end: Option<Arc<Notify>>) -> Host {
    Host::builder().agent(Arc::new(NoisyAgent { end, ..NoisyAgent::default() })).start().await
}

/// A chat with a workspace.
async fn chat_of(host: &Host, words: &str) -> Chat {
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let workspace = workspace_create(&admin, &ada).await;
    let chat = ada.chat_create_with(json!({"content": text(words), "workspace_id": workspace})).await;
    chat.wait_for_status("waiting").await;
    chat
}

/// Live parts up to the answer behind the tool's result.
async fn live_parts(stream: &mut EventStream) -> Vec<Value> {
    let (mut parts, mut has_result) = (Vec::new(), false);
    loop {
        for event in next_events(stream).await {
            let role = &event["message"]["role"];
            has_result |= role == "tool";
            if has_result && role == "assistant" {
                return parts;
            }
            parts.extend(event.get("message_part").cloned());
        }
    }
}

async fn next_events(stream: &mut EventStream) -> Vec<Value> {
    stream.next().await.expect("the stream goes on").data.as_array().unwrap().clone()
}

/// A piece of what a command prints.
fn is_piece(part: &Value) -> bool {
    part["part"].get("result_delta").is_some()
}

#[tokio::test]
async fn only_clients_with_a_cursor_get_parts_that_are_a_piece_of_output() {
    let end = Arc::new(Notify::new());
    let host = noisy_host(Some(Arc::clone(&end))).await;
    let chat = chat_of(&host, "hello").await;
    let mut with_cursor = chat.stream(Form::WebSocket, Some("")).await;
    let mut by_events = chat.stream(Form::ServerSentEvents, None).await;
    let mut without = chat.stream(Form::WebSocket, None).await;
    for stream in [&mut with_cursor, &mut by_events, &mut without] {
        stream.next().await.unwrap();
    }
    chat.send("print").await;
    let has_piece = |events: &[Value]| events.iter().any(|event| is_piece(&event["message_part"]));
    for stream in [&mut with_cursor, &mut by_events] {
        while !has_piece(&next_events(stream).await) {}
    }
    // those who come while the command runs are sent what it has printed so far, or not
    let mut late = [chat.stream(Form::WebSocket, Some("")).await, chat.stream(Form::WebSocket, None).await];
    let begun = [next_events(&mut late[0]).await, next_events(&mut late[1]).await];
    end.notify_one();
    let known = live_parts(&mut without).await;
    assert!(!known.iter().any(is_piece), "{known:?}");
    assert!(known.iter().any(|part| part["part"]["type"] == "tool-call"), "{known:?}");
    assert!(has_piece(&begun[0]) || live_parts(&mut late[0]).await.iter().any(is_piece));
    assert!(!has_piece(&begun[1]) && !live_parts(&mut late[1]).await.iter().any(is_piece));
    chat.wait_for_status("waiting").await;
    host.stop().await;
}

#[tokio::test]
async fn output_that_no_viewer_gets_is_not_fetched() {
    let host = noisy_host(None).await;
    let chat = chat_of(&host, "print").await;
    let messages = chat.messages().await;
    let result = &messages.iter().find(|message| message["role"] == "tool").unwrap()["content"][0]["result"];
    // 64 KiB are shown live, and then only the end is waited for
    assert_eq!((&result["exit_code"], &result["pages"]), (&json!(0), &json!(64 * 1024 / PAGE)), "{result}");
    host.stop().await;
}
