//! The stream of a chat. A cut connection is opened again at its cursor; nothing is lost or repeated.

use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest as _};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::client::{CHATS, Client, Outage, Unreachable, refused};

/// The server sends something every 15 s; a connection without a sign of life for this long is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// How long opening a connection may take.
const OPENING: Duration = Duration::from_secs(15);

/// Events that came together.
pub(crate) struct Frame {
    pub(crate) events: Vec<Value>,
    /// A connection begins with it, and with the state of the chat: what was missed follows up to `ready`.
    pub(crate) begins: bool,
}

/// The events of a chat, read by a task that ends with this.
pub(crate) struct ChatStream {
    /// Holds little, so that a terminal that cannot follow slows the reading.
    frames: mpsc::Receiver<anyhow::Result<Frame>>,
    _reader: JoinSet<()>,
}

impl ChatStream {
    /// Opens the stream, which begins with everything. A lost one is looked for during `patience`, or without end.
    pub(crate) fn open(client: &Client, chat: &str, patience: Option<Duration>) -> Self {
        let (sender, frames) = mpsc::channel(4);
        let mut reader = JoinSet::new();
        let (client, chat) = (client.clone(), chat.to_owned());
        reader.spawn(async move {
            let mut reader = Reader { client: &client, chat: &chat, cursor: String::new(), frames: sender.clone() };
            if let Err(error) = reader.run(patience).await {
                // this fails only when nobody listens any more
                let _ = sender.send(Err(error)).await;
            }
        });
        Self { frames, _reader: reader }
    }

    /// The next events.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Frame> {
        self.frames.recv().await.context("the stream has ended")?
    }
}

struct Reader<'a> {
    client: &'a Client,
    chat: &'a str,
    cursor: String,
    frames: mpsc::Sender<anyhow::Result<Frame>>,
}

impl Reader<'_> {
    async fn run(&mut self, patience: Option<Duration>) -> anyhow::Result<()> {
        let mut outage = Outage::new(self.client, patience);
        loop {
            let lost = match self.connect().await {
                Ok(socket) => self.follow(socket, &mut outage).await?,
                Err(error) => error,
            };
            outage.wait(lost).await?;
        }
    }

    async fn connect(&self) -> anyhow::Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
        let base = self.client.url().replacen("http", "ws", 1);
        let url = format!("{base}{CHATS}/{}/stream?cursor={}", self.chat, self.cursor);
        let mut request = url.into_client_request()?;
        if let Some(token) = self.client.token() {
            request.headers_mut().insert("Coder-Session-Token", token.clone());
        }
        let away = || Unreachable(self.client.url().to_owned());
        match tokio::time::timeout(OPENING, connect_async(request)).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(Error::Http(response))) => {
                let body = response.body().as_deref().and_then(|body| serde_json::from_slice(body).ok());
                Err(refused(response.status().as_u16(), &body.unwrap_or(Value::Null)).into())
            }
            Ok(Err(error)) => Err(anyhow::Error::new(error).context(away())),
            Err(elapsed) => Err(anyhow::Error::new(elapsed).context(away())),
        }
    }

    /// Passes frames on until the connection is lost, and says how; fails when it is not to be opened again.
    async fn follow(
        &mut self,
        mut socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
        outage: &mut Outage<'_>,
    ) -> anyhow::Result<anyhow::Error> {
        let lost = || anyhow::Error::new(Unreachable(self.client.url().to_owned()));
        let mut begins = true;
        loop {
            let Ok(Some(Ok(message))) = tokio::time::timeout(SILENCE, socket.next()).await else { return Ok(lost()) };
            let Message::Text(text) = message else { continue };
            let mut frame: Value = serde_json::from_str(&text).context("the server sent no JSON")?;
            match frame["type"].as_str() {
                Some("data") => {
                    outage.over();
                    if let Some(cursor) = frame["cursor"].as_str() {
                        cursor.clone_into(&mut self.cursor);
                    }
                    let Value::Array(events) = frame["data"].take() else { continue };
                    let frame = Frame { events, begins: std::mem::take(&mut begins) };
                    if self.frames.send(Ok(frame)).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                // the server stops, or this end was too slow: the cursor holds
                Some("error") if frame["data"]["code"] == "unavailable" => return Ok(lost()),
                Some("error") => return Err(refused(500, &frame["data"]).into()),
                _ => {}
            }
        }
    }
}
