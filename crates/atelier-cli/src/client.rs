//! Calls to the API, and the stream of a chat that heals by its cursor.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use reqwest::Method;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub(crate) const CHATS: &str = "/api/experimental/chats";

/// How long a lost stream is looked for before the command gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server did not answer at all.
#[derive(Debug)]
pub struct Unreachable(pub(crate) String);

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot reach the server at {}\n  is it running? ATELIER_URL or --url says where it is", self.0)
    }
}

impl std::error::Error for Unreachable {}

/// The server refused, with its reason.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: String,
    message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Refused {}

#[derive(Clone)]
pub(crate) struct Client {
    url: String,
    token: Option<String>,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn new(url: &str, token: Option<&str>) -> anyhow::Result<Self> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            bail!("{url} is no URL of a server; it begins with http:// or https://");
        }
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).build()?;
        Ok(Self { url: url.to_owned(), token: token.map(str::to_owned), http })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).timeout(Duration::from_secs(60));
        if let Some(token) = &self.token {
            request = request.header("Coder-Session-Token", token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() || error.is_timeout() => {
                return Err(anyhow::Error::new(error).context(Unreachable(self.url.clone())));
            }
            Err(error) => return Err(error.into()),
        };
        let status = response.status();
        let text = response.text().await.context("the answer broke off")?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(body);
        }
        Err(refused(status.as_u16(), &body).into())
    }

    /// Opens the stream of a chat. It begins with everything.
    pub(crate) fn stream(&self, chat: &str) -> ChatStream {
        ChatStream { client: self.clone(), chat: chat.to_owned(), cursor: String::new(), socket: None }
    }

    async fn open(&self, chat: &str, cursor: &str) -> anyhow::Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
        let base = self.url.replacen("http", "ws", 1);
        let mut request = format!("{base}{CHATS}/{chat}/stream?cursor={cursor}").into_client_request()?;
        if let Some(token) = &self.token {
            request.headers_mut().insert("Coder-Session-Token", token.parse().context("the token is not ASCII")?);
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(socket),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                let body = response.body().as_deref().and_then(|body| serde_json::from_slice(body).ok());
                Err(refused(response.status().as_u16(), &body.unwrap_or(Value::Null)).into())
            }
            Err(error) => Err(anyhow::Error::new(error).context(Unreachable(self.url.clone()))),
        }
    }
}

fn refused(status: u16, body: &Value) -> Refused {
    let mut message = body["message"].as_str().unwrap_or("the server refused the request").to_owned();
    for fault in body["validations"].as_array().into_iter().flatten() {
        message = format!(
            "{message}\n  {}: {}",
            fault["field"].as_str().unwrap_or(""),
            fault["detail"].as_str().unwrap_or("")
        );
    }
    if status == 401 {
        message.push_str("\n  `atelier login` logs in; ATELIER_TOKEN or --token names a token");
    }
    Refused { code: body["code"].as_str().map_or_else(|| format!("HTTP {status}"), str::to_owned), message }
}

/// The events of a chat. A cut connection is opened again at the cursor; nothing is lost or repeated.
pub(crate) struct ChatStream {
    client: Client,
    chat: String,
    cursor: String,
    socket: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
}

impl ChatStream {
    /// The next events.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Vec<Value>> {
        loop {
            let Some(socket) = &mut self.socket else {
                self.reopen().await?;
                continue;
            };
            match socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let mut frame: Value = serde_json::from_str(&text).context("the server sent no JSON")?;
                    match frame["type"].as_str() {
                        Some("data") => {
                            if let Some(cursor) = frame["cursor"].as_str() {
                                cursor.clone_into(&mut self.cursor);
                            }
                            if let Value::Array(events) = frame["data"].take() {
                                return Ok(events);
                            }
                        }
                        // the server stops, or this end was too slow: the cursor holds
                        Some("error") if frame["data"]["code"] == "unavailable" => self.socket = None,
                        Some("error") => return Err(refused(500, &frame["data"]).into()),
                        _ => {}
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.socket = None,
            }
        }
    }

    /// Full jitter, 0.1 to 5 s, for a minute.
    async fn reopen(&mut self) -> anyhow::Result<()> {
        let begun = tokio::time::Instant::now();
        let mut pause = Duration::from_millis(100);
        loop {
            match self.client.open(&self.chat, &self.cursor).await {
                Ok(socket) => {
                    self.socket = Some(socket);
                    return Ok(());
                }
                // the very first opening does not wait for a server that is not there
                Err(error) if self.cursor.is_empty() || error.is::<Refused>() || begun.elapsed() > PATIENCE => {
                    return Err(error);
                }
                Err(_) => {
                    tokio::time::sleep(pause.mul_f64(rand::random())).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        }
    }
}
