//! The measuring client: plain JSON over HTTP and WebSocket, so that only the server is measured.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::fake_model::FakeModel;

const CHATS: &str = "/api/experimental/chats";
/// The measured servers are given it.
pub(crate) const SETUP_CODE: &str = "benchmark-setup-code";
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Client {
    port: u16,
    token: Arc<str>,
    http: reqwest::Client,
}

impl Client {
    /// Makes the first user, the fake model and logs in.
    pub(crate) async fn first(port: u16, model_port: u16) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).timeout(LIMIT).build()?;
        let mut client = Self { port, token: "".into(), http };
        let login = json!({
            "email": "bench@example.com", "username": "bench", "password": "benchmark-password", "setup_code": SETUP_CODE,
        });
        client.post("/api/v2/users/first", &login).await?;
        let session = client.post("/api/v2/users/login", &login).await?;
        client.token = session["session_token"].as_str().context("login answers without a token")?.into();
        let base_url = format!("http://127.0.0.1:{model_port}/v1");
        client.post(&format!("{CHATS}/providers"), &json!({"provider": "openai-compat", "base_url": base_url})).await?;
        client
            .post(
                &format!("{CHATS}/model-configs"),
                &json!({"provider": "openai-compat", "model": "fake", "context_limit": 200_000}),
            )
            .await?;
        Ok(client)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(self.url(path)).header("Coder-Session-Token", &*self.token).json(body);
        Self::answer(request, path).await
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.http.get(self.url(path)).header("Coder-Session-Token", &*self.token);
        Self::answer(request, path).await
    }

    async fn answer(request: reqwest::RequestBuilder, path: &str) -> anyhow::Result<Value> {
        let response = request.send().await.with_context(|| format!("no answer from {path}"))?;
        let (status, body) = (response.status(), response.bytes().await?);
        if !status.is_success() {
            bail!("{path}: {status} {}", String::from_utf8_lossy(&body));
        }
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? })
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A new chat after its first, tiny turn, with an open stream.
    pub(crate) async fn warm_chat(&self, workspace: Option<&str>) -> anyhow::Result<Chat> {
        let mut body = json!({"content": [{"type": "text", "text": directive(&json!({"n": 1}))}]});
        if let Some(workspace) = workspace {
            body["workspace_id"] = json!(workspace);
        }
        let chat = self.post(&format!("{CHATS}/"), &body).await?;
        let id = chat["id"].as_str().context("a chat without id")?.to_owned();
        let mut chat = Chat { id: id.clone(), client: self.clone(), stream: self.stream(&id).await? };
        chat.read_until_idle(None, true).await?;
        Ok(chat)
    }

    pub(crate) async fn stream(&self, chat: &str) -> anyhow::Result<WebSocketStream<TcpStream>> {
        let url = format!("ws://127.0.0.1:{}{CHATS}/{chat}/stream?cursor=", self.port);
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("Coder-Session-Token", self.token.parse()?);
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await?;
        socket.set_nodelay(true)?;
        Ok(client_async(request, socket).await?.0)
    }

    /// A workspace whose agent is ready.
    pub(crate) async fn workspace(&self) -> anyhow::Result<String> {
        let template = self
            .post("/api/v2/organizations/default/templates", &json!({"name": "bench", "driver": "local", "spec": {}}))
            .await?;
        let workspace =
            self.post("/api/v2/users/me/workspaces", &json!({"template_id": template["id"], "name": "bench"})).await?;
        let id = workspace["id"].as_str().context("a workspace without id")?.to_owned();
        for _ in 0..300 {
            let workspace = self.get(&format!("/api/v2/workspaces/{id}")).await?;
            let build = &workspace["latest_build"];
            if build["agents"][0]["lifecycle_state"] == "ready" {
                return Ok(id);
            }
            if build["status"] == "failed" {
                bail!("the workspace failed: {}", build["error"]);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the workspace was not ready within 30 s")
    }
}

pub(crate) fn directive(plan: &Value) -> String {
    format!("%%{plan}%% Answer as told.")
}

/// What one turn looked like from the client.
#[derive(Default)]
pub(crate) struct Seen {
    /// When the send began and ended, the first part came and the turn was over; microseconds.
    pub(crate) sent: u64,
    pub(crate) first_part: u64,
    pub(crate) idle: u64,
    /// Each part's arrival less its time stamp, microseconds.
    pub(crate) latencies: Vec<u64>,
}

/// One chat with an open stream.
pub(crate) struct Chat {
    pub(crate) id: String,
    client: Client,
    stream: WebSocketStream<TcpStream>,
}

impl Chat {
    pub(crate) async fn send(&self, plan: &Value) -> anyhow::Result<()> {
        let body = json!({"content": [{"type": "text", "text": directive(plan)}]});
        self.client.post(&format!("{CHATS}/{}/messages", self.id), &body).await?;
        Ok(())
    }

    pub(crate) async fn interrupt(&self) -> anyhow::Result<Value> {
        self.client.post(&format!("{CHATS}/{}/interrupt", self.id), &json!({})).await
    }

    /// Sends and reads until the chat is idle again.
    pub(crate) async fn turn(&mut self, model: &FakeModel, plan: &Value) -> anyhow::Result<Seen> {
        let sent = model.now();
        let (client, id) = (self.client.clone(), self.id.clone());
        let body = json!({"content": [{"type": "text", "text": directive(plan)}]});
        let send = async move { client.post(&format!("{CHATS}/{id}/messages"), &body).await };
        let (answer, seen) = tokio::join!(send, self.read_until_idle(Some(model), false));
        answer?;
        Ok(Seen { sent, ..seen? })
    }

    /// Reads until some parts have come.
    pub(crate) async fn read_parts(&mut self, count: usize) -> anyhow::Result<()> {
        let mut seen = 0;
        while seen < count {
            for event in self.next_events().await? {
                seen += usize::from(event["type"] == "message_part");
            }
        }
        Ok(())
    }

    /// Reads until the chat says `waiting` after having been busy.
    pub(crate) async fn read_until_idle(&mut self, model: Option<&FakeModel>, mut busy: bool) -> anyhow::Result<Seen> {
        let mut seen = Seen::default();
        let mut rest = String::new();
        loop {
            let events = self.next_events().await?;
            let now = model.map_or(0, FakeModel::now);
            for event in events {
                match event["type"].as_str() {
                    Some("message_part") => {
                        busy = true;
                        if let Some(text) = event["message_part"]["part"]["text"].as_str() {
                            if seen.first_part == 0 {
                                seen.first_part = now;
                            }
                            rest.push_str(text);
                            while let Some(end) = rest.find(';') {
                                if let Ok(written) = rest[..end].trim_start_matches('@').parse::<u64>() {
                                    seen.latencies.push(now.saturating_sub(written));
                                }
                                rest.drain(..=end);
                            }
                        }
                    }
                    Some("status") => match event["status"]["status"].as_str() {
                        Some("waiting") if busy => {
                            seen.idle = now;
                            return Ok(seen);
                        }
                        Some("error") => bail!("the turn failed: {event}"),
                        Some("pending" | "running") => busy = true,
                        _ => {}
                    },
                    Some("error") => bail!("the turn failed: {event}"),
                    _ => {}
                }
            }
        }
    }

    async fn next_events(&mut self) -> anyhow::Result<Vec<Value>> {
        loop {
            let message = tokio::time::timeout(LIMIT, self.stream.next())
                .await
                .context("nothing came for 60 s")?
                .context("the stream ended")??;
            let Message::Text(text) = message else { continue };
            let mut frame: Value = serde_json::from_str(&text)?;
            match frame["type"].as_str() {
                Some("data") => match frame["data"].take() {
                    Value::Array(events) => return Ok(events),
                    other => bail!("not a list of events: {other}"),
                },
                Some("error") => bail!("the stream failed: {frame}"),
                _ => {}
            }
        }
    }
}
