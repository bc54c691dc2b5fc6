//! A provider on loopback that says what it is told to, a clock that moves when told to, and requests.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atelier_domain::message::{MessagePart, ToolCallPart, ToolResultPart};
use atelier_domain::{Clock, Timestamp};
use atelier_egress::Egress;
use atelier_llm::{
    HistoryMessage, HistoryRole, ModelEvent, ModelRequest, Provider, ProviderError, ProviderKind, ProviderRegistry,
    ProviderSettings, RegistryParts, Scripts, Secret, SystemBlock, ToolDefinition,
};
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

pub(crate) const KEY: &str = "test-key-0123456789";

/// A piece of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    /// Waits until the test lets it go on.
    Wait(Arc<Notify>),
    /// Says nothing more and keeps the connection.
    Hang,
    /// The connection breaks.
    Break,
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) pieces: Vec<Piece>,
}

impl Reply {
    pub(crate) fn stream(text: &str) -> Self {
        Self::pieces(vec![Piece::Bytes(text.as_bytes().to_vec())])
    }

    pub(crate) fn pieces(pieces: Vec<Piece>) -> Self {
        Self { status: 200, headers: vec![("content-type", "text/event-stream".to_owned())], pieces }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            pieces: vec![Piece::Bytes(body.to_string().into_bytes())],
        }
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    /// Port of the client: the same for requests of one connection.
    pub(crate) client_port: u16,
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    replies: Mutex<VecDeque<Reply>>,
    received: Mutex<Vec<Received>>,
    /// Answers that are being sent.
    open: AtomicUsize,
    changed: Notify,
}

/// Counts an answer as open until it is dropped, by its end or by the client.
struct OpenGuard(Arc<Shared>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl Fake {
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let shared = Arc::new(Shared { replies: Mutex::new(replies.into_iter().collect()), ..Shared::default() });
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { port, shared }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub(crate) fn last_body(&self) -> Value {
        self.received().pop().unwrap().body
    }

    pub(crate) fn provider(&self, kind: ProviderKind) -> Arc<dyn Provider> {
        self.provider_with(kind, &Arc::new(ManualClock::default()))
    }

    pub(crate) fn provider_with(&self, kind: ProviderKind, clock: &Arc<ManualClock>) -> Arc<dyn Provider> {
        provider_at(self.port, kind, clock)
    }

    /// Ends once no answer is being sent any more.
    pub(crate) async fn all_closed(&self) {
        tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.shared.open.load(Ordering::SeqCst) == 0 {
                    return;
                }
                changed.await;
            }
        })
        .await
        .expect("the request was cancelled at the provider");
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(client): ConnectInfo<std::net::SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    shared.received.lock().unwrap().push(Received {
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        client_port: client.port(),
    });
    let reply = shared.replies.lock().unwrap().pop_front();
    let reply = reply.unwrap_or_else(|| Reply::json(500, &json!({"error": {"message": "no reply is prepared"}})));
    shared.open.fetch_add(1, Ordering::SeqCst);
    let guard = OpenGuard(shared);
    let pieces = futures::stream::iter(reply.pieces).then(move |piece| {
        // lives as long as the body
        let _guard = &guard;
        async move {
            match piece {
                Piece::Bytes(bytes) => Some(Ok(Bytes::from(bytes))),
                Piece::Wait(go) => {
                    go.notified().await;
                    None
                }
                Piece::Hang => std::future::pending().await,
                Piece::Break => {
                    // what came before is flushed once the body has nothing ready
                    tokio::task::yield_now().await;
                    Some(Err(std::io::Error::other("broken on purpose")))
                }
            }
        }
    });
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from_stream(pieces.filter_map(std::future::ready))).unwrap()
}

/// Time that moves when a test moves it.
pub(crate) struct ManualClock {
    now: watch::Sender<Duration>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self { now: watch::Sender::new(Duration::ZERO) }
    }
}

impl ManualClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now += by);
    }

    /// Ends once there are so many sleeps at a time.
    pub(crate) async fn slept_on_by(&self, sleeps: usize) {
        while self.now.receiver_count() < sleeps {
            tokio::task::yield_now().await;
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        "2026-11-22T10:00:00Z".parse::<Timestamp>().unwrap() + self.monotonic_now()
    }

    fn monotonic_now(&self) -> Duration {
        *self.now.borrow()
    }

    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut now = self.now.subscribe();
        Box::pin(async move {
            if now.wait_for(|now| *now >= deadline).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

/// A clock whose every sleep is over at once.
pub(crate) struct HastyClock;

impl Clock for HastyClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn monotonic_now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep_until(&self, _deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

/// The provider of `kind` at a port of this machine.
pub(crate) fn provider_at(port: u16, kind: ProviderKind, clock: &Arc<ManualClock>) -> Arc<dyn Provider> {
    let base_url = match kind {
        ProviderKind::Anthropic => format!("http://127.0.0.1:{port}"),
        _ => format!("http://127.0.0.1:{port}/v1"),
    };
    let settings =
        ProviderSettings { kind, display_name: "Acme".to_owned(), base_url: Some(base_url), api_key: Secret::new(KEY) };
    registry("loopback", clock).build(settings).unwrap()
}

pub(crate) fn registry(allow: &str, clock: &Arc<ManualClock>) -> ProviderRegistry {
    ProviderRegistry::new(RegistryParts {
        egress: Egress::new(allow.parse().unwrap()).unwrap(),
        clock: Arc::clone(clock) as _,
        scripts: Some(Scripts::new(None)),
    })
}

pub(crate) async fn events(
    provider: &Arc<dyn Provider>,
    request: ModelRequest,
) -> (Vec<ModelEvent>, Option<ProviderError>) {
    let mut stream = match provider.stream(request).await {
        Ok(stream) => stream,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => events.push(event),
            Err(error) => return (events, Some(error)),
        }
    }
    (events, None)
}

/// The error of a request, which must have one.
pub(crate) async fn failure(provider: &Arc<dyn Provider>, request: ModelRequest) -> ProviderError {
    events(provider, request).await.1.expect("the request fails")
}

pub(crate) fn parts(events: &[ModelEvent]) -> Vec<MessagePart> {
    let parts = events.iter().filter_map(|event| match event {
        ModelEvent::Part { part, .. } => Some(part.clone()),
        _ => None,
    });
    parts.collect()
}

pub(crate) fn usage(events: &[ModelEvent]) -> Value {
    let last = events.iter().rev().find_map(|event| match event {
        ModelEvent::Usage(usage) => Some(*usage),
        _ => None,
    });
    serde_json::to_value(last).unwrap()
}

pub(crate) fn text(events: &[ModelEvent]) -> String {
    let deltas = events.iter().filter_map(|event| match event {
        ModelEvent::TextDelta { text, .. } => Some(text.as_str()),
        _ => None,
    });
    deltas.collect()
}

pub(crate) fn message(role: HistoryRole, parts: Vec<MessagePart>) -> HistoryMessage {
    HistoryMessage { role, parts, cache_mark: false }
}

pub(crate) fn user(text: &str) -> HistoryMessage {
    message(HistoryRole::User, vec![MessagePart::text(text)])
}

pub(crate) fn call(id: &str, name: &str, args: Value) -> MessagePart {
    MessagePart::ToolCall(ToolCallPart {
        tool_call_id: id.to_owned(),
        tool_name: name.to_owned(),
        args,
        provider_executed: false,
        invalid_args: false,
        mcp_server_config_id: None,
        created_at: None,
        native: None,
    })
}

pub(crate) fn result(id: &str, name: &str, result: Value, is_error: bool) -> HistoryMessage {
    let part = MessagePart::ToolResult(ToolResultPart {
        tool_call_id: id.to_owned(),
        tool_name: name.to_owned(),
        result,
        is_error,
        is_media: false,
        provider_executed: false,
        mcp_server_config_id: None,
        created_at: None,
        native: None,
    });
    message(HistoryRole::Tool, vec![part])
}

pub(crate) fn request(messages: Vec<HistoryMessage>) -> ModelRequest {
    ModelRequest {
        model: "some-model".to_owned(),
        system: vec![
            SystemBlock { text: "Be brief.".to_owned(), cache: false },
            SystemBlock { text: "You have a workspace.".to_owned(), cache: true },
        ],
        messages,
        tools: vec![ToolDefinition {
            name: "execute".to_owned(),
            description: "Run a command.".to_owned(),
            input_schema: json!({"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}),
        }],
        max_output_tokens: 4096,
        cache_key: Some("chat-1".to_owned()),
        ..ModelRequest::default()
    }
}
