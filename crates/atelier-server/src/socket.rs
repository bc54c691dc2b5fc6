//! One-way WebSockets: the upgrade, frames out, heartbeats, and how they are closed.
//!
//! A socket belongs to one task, which sends frames and otherwise lets [`Socket::attend`] look after the
//! connection. A client that takes no byte for 30 s is told 1013 behind what still lies in its buffers.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use atelier_domain::SharedClock;
use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::task::TaskTracker;

use crate::error::{ApiError, ApiResult};

/// A ping this often, and a heartbeat frame after this silence.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// Without a word from the client for so long it is gone.
const DEAD_AFTER: Duration = Duration::from_secs(45);
/// A socket that takes no byte for so long is closed.
const SLOW_AFTER: Duration = Duration::from_secs(30);
/// How often a blocked socket is looked at.
const SLOW_LOOK: Duration = Duration::from_secs(5);
/// How long a client has to answer the close.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// What a client of a one-way stream may send, and buffers of the socket.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
const READ_BUFFER_BYTES: usize = 1024;
/// What is handed to a connection at once. A longer message goes out in fragments of this length, so that no
/// more than one of them is copied for a client that does not read: the rest is shared with other viewers.
const FRAGMENT_BYTES: usize = 64 * 1024;

/// Close codes of the contract.
pub(crate) mod code {
    pub(crate) const DONE: u16 = 1000;
    pub(crate) const AWAY: u16 = 1001;
    pub(crate) const PROTOCOL: u16 = 1002;
    pub(crate) const POLICY: u16 = 1008;
    pub(crate) const INTERNAL: u16 = 1011;
    pub(crate) const SLOW: u16 = 1013;
}

/// A WebSocket that a request asks for, if it asks for one.
pub(crate) struct Upgrade(Option<Asked>);

struct Asked {
    upgrade: OnUpgrade,
    accept: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        if parts.method != Method::GET || !asks_for_upgrade(&parts.headers) {
            return Ok(Self(None));
        }
        let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        Ok(Self(upgrade.zip(key).map(|(upgrade, accept)| Asked { upgrade, accept })))
    }
}

/// Whether a request wants to become a WebSocket.
pub(crate) fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value: &HeaderValue| value.to_str().ok())
            .any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case(word)))
    };
    has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
        && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13")
}

impl Upgrade {
    pub(crate) const fn is_asked(&self) -> bool {
        self.0.is_some()
    }

    /// Answers 101 and hands the socket to `work`, in a task of `tasks`.
    ///
    /// # Errors
    /// 426: no WebSocket was asked for.
    pub(crate) fn start<F>(
        self,
        tasks: &TaskTracker,
        clock: SharedClock,
        work: impl FnOnce(Socket) -> F + Send + 'static,
    ) -> ApiResult<Response>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Asked { upgrade, accept } = self.0.ok_or_else(upgrade_required)?;
        tasks.spawn(async move {
            match upgrade.await {
                // boxed: the handshake is over, and a viewer that waits should be small
                Ok(upgraded) => Box::pin(work(Socket::new(upgraded, clock).await)).await,
                Err(error) => tracing::debug!("a client left before its stream began: {error}"),
            }
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, accept)
            .body(Body::empty())
            .map_err(|error| ApiError::internal(&error))
    }
}

pub(crate) fn upgrade_required() -> ApiError {
    ApiError::new(
        StatusCode::UPGRADE_REQUIRED,
        "upgrade_required",
        "This is a stream: upgrade to a WebSocket, or ask for text/event-stream.",
    )
}

/// Why a socket is over.
#[derive(Debug)]
pub(crate) enum Over {
    /// The client closed it or is gone.
    Gone,
    /// The server closes it. All but a normal end have a reason.
    Close(u16, Option<ApiError>),
}

impl Over {
    pub(crate) const fn because(code: u16, error: ApiError) -> Self {
        Self::Close(code, Some(error))
    }
}

pub(crate) struct Socket {
    stream: WebSocketStream<Measured<TokioIo<Upgraded>>>,
    clock: SharedClock,
    /// Bytes that the connection has taken.
    written: Arc<AtomicU64>,
    /// Fragments of the message being sent that have not been handed to the connection.
    unsent: VecDeque<Frame>,
    heard_at: Duration,
    pinged_at: Duration,
    framed_at: Duration,
    /// Until the next thing is due; made anew only when it has ended.
    alarm: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Socket {
    async fn new(upgraded: Upgraded, clock: SharedClock) -> Self {
        let written = Arc::new(AtomicU64::new(0));
        let io = Measured { io: TokioIo::new(upgraded), written: Arc::clone(&written) };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            // every frame goes out at once
            .write_buffer_size(0)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let stream = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let now = clock.monotonic_now();
        let alarm = clock.sleep(HEARTBEAT);
        Self { stream, clock, written, unsent: VecDeque::new(), heard_at: now, pinged_at: now, framed_at: now, alarm }
    }

    /// Sends one message: the text that these parts are together.
    pub(crate) async fn send(&mut self, parts: &[Bytes]) -> Result<(), Over> {
        self.unsent = fragments(parts);
        while let Some(fragment) = self.unsent.pop_front() {
            self.transmit(Message::Frame(fragment)).await?;
        }
        self.framed_at = self.clock.monotonic_now();
        // whoever takes bytes is there, even if its pongs wait to be read
        self.heard_at = self.heard_at.max(self.framed_at);
        Ok(())
    }

    async fn transmit(&mut self, message: Message) -> Result<(), Over> {
        let Self { stream, clock, written, .. } = self;
        let mut sending = std::pin::pin!(stream.send(message));
        if let Poll::Ready(sent) = futures::poll!(&mut sending) {
            return sent.map_err(|_| Over::Gone);
        }
        let (mut taken, mut since) = (written.load(Ordering::Relaxed), clock.monotonic_now());
        loop {
            tokio::select! {
                sent = &mut sending => return sent.map_err(|_| Over::Gone),
                // only looks; the message is still being sent
                () = clock.sleep(SLOW_LOOK) => {}
            }
            let (now_taken, now) = (written.load(Ordering::Relaxed), clock.monotonic_now());
            if now_taken != taken {
                (taken, since) = (now_taken, now);
            } else if now.saturating_sub(since) >= SLOW_AFTER {
                let error = ApiError::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "The client takes nothing. Connect again with the cursor.",
                );
                return Err(Over::because(code::SLOW, error));
            }
        }
    }

    /// Looks after the connection: answers pings, sends heartbeats, notices the end. Never ends otherwise.
    ///
    /// # Cancel safety
    /// A heartbeat that is given up is sent with the next one.
    pub(crate) async fn attend(&mut self) -> Over {
        loop {
            tokio::select! {
                // a message is taken out only when it is returned
                message = self.stream.next() => {
                    self.heard_at = self.clock.monotonic_now();
                    match message {
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Frame(_))) => {
                            let error = ApiError::bad_request("validation_failed", "This stream goes one way.");
                            return Over::because(code::PROTOCOL, error);
                        }
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return Over::Gone,
                    }
                }
                // only an alarm
                () = &mut self.alarm => {
                    if let Err(over) = self.beat().await {
                        return over;
                    }
                }
            }
        }
    }

    /// Sends what is due and sets the alarm for what is due next.
    async fn beat(&mut self) -> Result<(), Over> {
        let now = self.clock.monotonic_now();
        if now.saturating_sub(self.heard_at) > DEAD_AFTER {
            return Err(Over::Gone);
        }
        if now >= self.framed_at + HEARTBEAT {
            self.framed_at = now;
            self.transmit(Message::Text(PING_FRAME)).await?;
        }
        if now >= self.pinged_at + HEARTBEAT {
            self.pinged_at = now;
            self.transmit(Message::Ping(Bytes::new())).await?;
        }
        self.alarm = self.clock.sleep_until(self.framed_at.min(self.pinged_at) + HEARTBEAT);
        Ok(())
    }

    /// A heartbeat frame, now.
    pub(crate) async fn ping(&mut self) -> Result<(), Over> {
        self.send(&[PING_FRAME.into()]).await
    }

    /// Says why, closes, and waits a moment for the client to agree.
    pub(crate) async fn close(mut self, over: Over) {
        let Over::Close(code, error) = over else { return };
        let frame = CloseFrame { code: code.into(), reason: Utf8Bytes::default() };
        let farewell = async {
            // a message that was begun has to end before another one
            for fragment in std::mem::take(&mut self.unsent) {
                self.stream.send(Message::Frame(fragment)).await?;
            }
            if let Some(error) = error {
                let text = serde_json::json!({ "type": "error", "data": error.body }).to_string();
                self.stream.feed(Message::Text(text.into())).await?;
            }
            self.stream.send(Message::Close(Some(frame))).await
        };
        let is_told = tokio::select! {
            told = farewell => told.is_ok(),
            // what has not gone out by now is lost; the cursor is not
            () = self.clock.sleep(SLOW_AFTER) => false,
        };
        if is_told {
            let answered = async { while let Some(Ok(_)) = self.stream.next().await {} };
            let _ = tokio::time::timeout(CLOSE_WAIT, answered).await;
        }
    }
}

const PING_FRAME: Utf8Bytes = Utf8Bytes::from_static(r#"{"type":"ping"}"#);

/// A text message in fragments (RFC 6455, 5.4).
fn fragments(parts: &[Bytes]) -> VecDeque<Frame> {
    if parts.iter().map(Bytes::len).sum::<usize>() <= FRAGMENT_BYTES {
        return [Frame::message(parts.concat(), OpCode::Data(Data::Text), true)].into();
    }
    let mut fragments = VecDeque::new();
    for part in parts {
        for at in (0..part.len()).step_by(FRAGMENT_BYTES) {
            let piece = part.slice(at..part.len().min(at + FRAGMENT_BYTES));
            let opcode = if fragments.is_empty() { Data::Text } else { Data::Continue };
            fragments.push_back(Frame::message(piece, OpCode::Data(opcode), false));
        }
    }
    if let Some(last) = fragments.back_mut() {
        last.header_mut().is_final = true;
    }
    fragments
}

/// Counts the bytes that a connection takes.
struct Measured<S> {
    io: S,
    written: Arc<AtomicU64>,
}

impl<S> Measured<S> {
    fn count(&self, taken: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &taken {
            self.written.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        taken
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Measured<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Measured<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.count(taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_goes_out_in_fragments_that_share_its_bytes() {
        let data = Bytes::from(vec![b'x'; 2 * FRAGMENT_BYTES + 1]);
        let fragments = fragments(&[Bytes::from_static(b"["), data.clone(), Bytes::from_static(b"]")]);
        let lengths: Vec<_> = fragments.iter().map(|fragment| fragment.payload().len()).collect();
        assert_eq!(lengths, [1, FRAGMENT_BYTES, FRAGMENT_BYTES, 1, 1]);
        assert_eq!(fragments[1].payload().as_ptr(), data.as_ptr());
        let ends: Vec<_> = fragments.iter().map(|fragment| fragment.header().is_final).collect();
        assert_eq!(ends, [false, false, false, false, true]);
        assert_eq!(fragments[0].header().opcode, OpCode::Data(Data::Text));
        assert_eq!(fragments[4].header().opcode, OpCode::Data(Data::Continue));
        let short = super::fragments(&[Bytes::from_static(b"a"), Bytes::from_static(b"b")]);
        assert_eq!((short.len(), short[0].payload()), (1, &b"ab"[..]));
    }
}
