//! A fake model that speaks Chat Completions on loopback.
//!
//! What a request answers is told by a directive in its newest user message:
//! `%%{"id":"k","n":200,"delay_us":0,"tools":2}%%`: n text parts, `delay_us` apart (0 = all at once), after
//! `tools` steps that each call `execute` with an echo. Every text part is `@<microseconds>;`, the moment
//! it was written. The times of a request are kept under its id.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use futures::stream;
use serde_json::{Value, json};

/// Times of one request, in microseconds of [`FakeModel::now`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestTimes {
    pub(crate) received: u64,
    pub(crate) first: u64,
    pub(crate) bytes: usize,
}

#[derive(Clone)]
pub(crate) struct FakeModel {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    start: Instant,
    times: Mutex<HashMap<String, RequestTimes>>,
}

impl FakeModel {
    /// Microseconds on the one clock of this benchmark.
    pub(crate) fn now(&self) -> u64 {
        self.shared.now()
    }

    pub(crate) fn times(&self, id: &str) -> Option<RequestTimes> {
        self.shared.times.lock().expect("no thread panics with this lock").get(id).copied()
    }
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).expect("a benchmark ends within 500,000 years")
    }
}

pub(crate) async fn start() -> anyhow::Result<FakeModel> {
    let shared = Arc::new(Shared { start: Instant::now(), times: Mutex::default() });
    let router = Router::new().route("/v1/chat/completions", post(answer)).with_state(Arc::clone(&shared));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            let _ = stream.set_nodelay(true);
        });
        let _ = axum::serve(listener, router).await;
    });
    Ok(FakeModel { port, shared })
}

/// What one request is to answer.
struct Plan {
    id: Option<String>,
    parts: u64,
    delay: Duration,
    call: bool,
}

fn plan(request: &Value) -> Plan {
    let empty = Vec::new();
    let messages = request["messages"].as_array().unwrap_or(&empty);
    let mut results = 0;
    for message in messages.iter().rev() {
        match message["role"].as_str() {
            Some("tool") => results += 1,
            Some("user") => {
                let text = match &message["content"] {
                    Value::String(text) => text.clone(),
                    Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
                    _ => String::new(),
                };
                let directive = text
                    .rfind("%%{")
                    .and_then(|at| text[at + 2..].split("%%").next())
                    .and_then(|json| serde_json::from_str::<Value>(json).ok())
                    .unwrap_or_default();
                let tools = directive["tools"].as_u64().unwrap_or(0);
                return Plan {
                    id: directive["id"].as_str().filter(|_| results == 0).map(str::to_owned),
                    parts: directive["n"].as_u64().unwrap_or(3),
                    delay: Duration::from_micros(directive["delay_us"].as_u64().unwrap_or(0)),
                    call: results < tools,
                };
            }
            _ => {}
        }
    }
    Plan { id: None, parts: 3, delay: Duration::ZERO, call: false }
}

async fn answer(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let received = shared.now();
    let plan = plan(&serde_json::from_slice(&body).unwrap_or_default());
    let times = RequestTimes { received, first: 0, bytes: body.len() };
    let body = if plan.call {
        Body::from(tool_call(received))
    } else if plan.delay.is_zero() {
        let mut text = String::new();
        for _ in 0..plan.parts {
            push_part(&mut text, shared.now());
        }
        end(&mut text, plan.parts);
        Body::from(text)
    } else {
        Body::from_stream(paced(Arc::clone(&shared), plan.parts, plan.delay, plan.id.clone()))
    };
    if let Some(id) = plan.id {
        let first = if plan.delay.is_zero() { shared.now() } else { 0 };
        shared.times.lock().expect("no thread panics with this lock").insert(id, RequestTimes { first, ..times });
    }
    Response::builder().header("content-type", "text/event-stream").body(body).expect("a fixed header is valid")
}

fn paced(
    shared: Arc<Shared>,
    parts: u64,
    delay: Duration,
    id: Option<String>,
) -> impl futures::Stream<Item = Result<Bytes, Infallible>> {
    let begun = tokio::time::Instant::now();
    stream::unfold(0_u64, move |at| {
        let (shared, id) = (Arc::clone(&shared), id.clone());
        async move {
            if at > parts {
                return None;
            }
            let mut text = String::new();
            if at == parts {
                end(&mut text, parts);
            } else {
                tokio::time::sleep_until(begun + delay * u32::try_from(at).unwrap_or(u32::MAX)).await;
                let now = shared.now();
                if at == 0
                    && let Some(id) = id
                    && let Some(times) = shared.times.lock().expect("no thread panics with this lock").get_mut(&id)
                {
                    times.first = now;
                }
                push_part(&mut text, now);
            }
            Some((Ok(Bytes::from(text)), at + 1))
        }
    })
}

fn push_part(text: &mut String, now: u64) {
    let _ = write!(text, "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"@{now};\"}}}}]}}\n\n");
}

fn end(text: &mut String, parts: u64) {
    let _ = write!(
        text,
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":1000,\"completion_tokens\":{parts},\"total_tokens\":{}}}}}\n\ndata: [DONE]\n\n",
        1000 + parts
    );
}

fn tool_call(unique: u64) -> String {
    let arguments = json!({"command": "echo step"}).to_string();
    let chunk = json!({"choices": [{"index": 0, "delta": {"tool_calls": [
        {"index": 0, "id": format!("call_{unique}"), "type": "function",
         "function": {"name": "execute", "arguments": arguments}}
    ]}}]});
    let finish = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020}});
    format!("data: {chunk}\n\ndata: {finish}\n\ndata: [DONE]\n\n")
}
