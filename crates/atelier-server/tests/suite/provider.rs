//! A model server of somebody else, which notes what it is sent.

use std::sync::{Arc, Mutex};

use atelier_test_support::Actor;
use axum::http::{HeaderMap, Uri};
use axum::routing::any;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::host::CHATS;

/// One answer of an OpenAI-compatible server: a word, and why it ends. It took 1,000 tokens and made 100.
pub(crate) fn answer(word: &str, finish_reason: &str) -> String {
    let chunk = json!({
        "choices": [{"delta": {"content": word}, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 100},
    });
    format!("data: {chunk}\n\ndata: [DONE]\n\n")
}

#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    /// The whole `Authorization`.
    pub(crate) authorization: String,
    /// Null where there is none.
    pub(crate) body: Value,
}

/// What a request is answered with.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
    /// Held back until the test lets it go.
    pub(crate) gate: Option<Arc<Notify>>,
}

impl Reply {
    pub(crate) fn events(body: String) -> Self {
        Self { status: 200, content_type: "text/event-stream", body, gate: None }
    }

    /// An answer in one event.
    pub(crate) fn answering(delta: &Value, finish_reason: &str) -> Self {
        let chunk = json!({"choices": [{"delta": delta, "finish_reason": finish_reason}]});
        Self::events(format!("data: {chunk}\n\ndata: [DONE]\n\n"))
    }

    /// An answer that asks for one call.
    pub(crate) fn calling(id: &str, name: &str, arguments: &Value) -> Self {
        let function = json!({"name": name, "arguments": arguments.to_string()});
        Self::answering(&json!({"tool_calls": [{"index": 0, "id": id, "function": function}]}), "tool_calls")
    }

    pub(crate) fn refusing(status: u16, error: &Value) -> Self {
        Self::json(status, &json!({ "error": error }))
    }

    /// A list of models.
    pub(crate) fn listing(ids: &[&str]) -> Self {
        let models: Vec<Value> = ids.iter().map(|id| json!({"id": id, "object": "model"})).collect();
        Self::json(200, &json!({"object": "list", "data": models}))
    }

    fn json(status: u16, body: &Value) -> Self {
        Self { status, content_type: "application/json", body: body.to_string(), gate: None }
    }
}

/// Answers each request with the next reply; the last one serves for all that follow.
pub(crate) struct ModelServer {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl ModelServer {
    pub(crate) async fn start(answer: String) -> Self {
        Self::replying(vec![Reply::events(answer)]).await
    }

    pub(crate) async fn replying(replies: Vec<Reply>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let replies = Arc::new(replies);
        let route = any(move |uri: Uri, headers: HeaderMap, body: axum::body::Bytes| async move {
            let authorization = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
            let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
            let reply = {
                let mut noted = noted.lock().unwrap();
                noted.push(Seen { path: uri.path().to_owned(), authorization: authorization.to_owned(), body });
                replies[noted.len().min(replies.len()) - 1].clone()
            };
            if let Some(gate) = &reply.gate {
                gate.notified().await;
            }
            let status = axum::http::StatusCode::from_u16(reply.status).unwrap();
            (status, [("content-type", reply.content_type)], reply.body)
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(route)).await });
        Self { url, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Makes a provider of this server and a model `m` of it; gives the model's id.
    pub(crate) async fn add(&self, admin: &Actor, kind: &str, name: &str) -> String {
        let provider =
            json!({"provider": kind, "name": name, "base_url": self.url, "api_key": format!("key of {name}")});
        admin.post(&format!("{CHATS}/providers"), provider).await.expect(201);
        let model = json!({"provider": name, "model": "m", "context_limit": 100_000});
        admin.post(&format!("{CHATS}/model-configs"), model).await.body(201)["id"].as_str().unwrap().to_owned()
    }
}
