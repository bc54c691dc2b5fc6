//! The binary frames of a WebSocket as one stream of bytes (`workspaces.md` 2.1).
//!
//! Sends frames of at most 64 KiB, takes frames of at most 1 MiB, pings every 15 s and calls a link dead
//! that brought no frame for 45 s. All of it happens in `poll_read`, which the owner of the stream polls
//! all the time, so that nothing beside it has to be driven. A [`FrameGuard`] sees the bytes of both
//! directions; what it does not let through closes the stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use atelier_workspace_protocol::{FRAME_ACCEPTED_BYTES, FRAME_SENT_BYTES, close};
use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::frames::{FrameFault, FrameGuard};

/// For a close frame to leave.
const CLOSE_TIME: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) ping: Duration,
    pub(crate) dead: Duration,
}

pub(crate) fn web_socket_config() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(FRAME_ACCEPTED_BYTES)).max_frame_size(Some(FRAME_ACCEPTED_BYTES))
}

/// Why this side closes a link. The words go out with the close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CloseReason {
    #[error("a newer link took over")]
    Superseded,
    #[error("only binary frames")]
    Text,
    #[error("a broken multiplexer frame")]
    Broken,
    #[error("too many frames that carry nothing")]
    Flood,
    #[error("too many answers are not read")]
    Unread,
}

impl CloseReason {
    const fn code(self) -> u16 {
        match self {
            Self::Superseded => close::SUPERSEDED,
            Self::Text => close::UNSUPPORTED,
            Self::Broken => close::PROTOCOL,
            Self::Flood | Self::Unread => close::POLICY,
        }
    }
}

impl From<FrameFault> for CloseReason {
    fn from(fault: FrameFault) -> Self {
        match fault {
            FrameFault::Broken => Self::Broken,
            FrameFault::Flood => Self::Flood,
            FrameFault::Unread => Self::Unread,
        }
    }
}

/// A close frame on its way; once it is out, or cannot get out in time, reading ends.
struct Closing {
    reason: CloseReason,
    sent: bool,
    patience: Pin<Box<Sleep>>,
}

pub(crate) struct ByteStream<S> {
    socket: WebSocketStream<S>,
    unread: Bytes,
    pings: Interval,
    ping_due: bool,
    dead_after: Duration,
    heard_at: Instant,
    superseded: Pin<Box<WaitForCancellationFutureOwned>>,
    guard: FrameGuard,
    closing: Option<Closing>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream<S> {
    /// `superseded` closes the stream with 4001.
    pub(crate) fn new(socket: WebSocketStream<S>, pace: Pace, superseded: CancellationToken) -> Self {
        let mut pings = tokio::time::interval_at(Instant::now() + pace.ping, pace.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            socket,
            unread: Bytes::new(),
            pings,
            ping_due: false,
            dead_after: pace.dead,
            heard_at: Instant::now(),
            superseded: Box::pin(superseded.cancelled_owned()),
            guard: FrameGuard::new(),
            closing: None,
        }
    }

    fn close(&mut self, reason: CloseReason) {
        if self.closing.is_none() {
            let patience = Box::pin(tokio::time::sleep(CLOSE_TIME));
            self.closing = Some(Closing { reason, sent: false, patience });
        }
    }

    /// Sends the close frame if one is due, then ends reading with the reason as an error.
    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Result<()>>> {
        let closing = self.closing.as_mut()?;
        let reason = closing.reason;
        let ended = Some(Poll::Ready(Err(io::Error::other(reason))));
        if closing.patience.as_mut().poll(cx).is_ready() {
            return ended;
        }
        if !closing.sent {
            match Pin::new(&mut self.socket).poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    closing.sent = true;
                    let frame = CloseFrame { code: reason.code().into(), reason: reason.to_string().into() };
                    if Pin::new(&mut self.socket).start_send(Message::Close(Some(frame))).is_err() {
                        return ended;
                    }
                }
                Poll::Ready(Err(_)) => return ended,
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(_) => ended,
            Poll::Pending => Some(Poll::Pending),
        }
    }

    fn poll_pings(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.pings.poll_tick(cx).is_ready() {
            if self.heard_at.elapsed() >= self.dead_after {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.ping_due = true;
        }
        if self.ping_due
            && let Poll::Ready(ready) = Pin::new(&mut self.socket).poll_ready(cx)
        {
            ready.map_err(to_io)?;
            self.ping_due = false;
            Pin::new(&mut self.socket).start_send(Message::Ping(Bytes::new())).map_err(to_io)?;
            if let Poll::Ready(flushed) = Pin::new(&mut self.socket).poll_flush(cx) {
                flushed.map_err(to_io)?;
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ByteStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.superseded.as_mut().poll(cx).is_ready() {
                this.close(CloseReason::Superseded);
            }
            if let Some(ended) = this.poll_closing(cx) {
                return ended;
            }
            if !this.unread.is_empty() {
                let count = this.unread.len().min(buffer.remaining());
                buffer.put_slice(&this.unread[..count]);
                this.unread.advance(count);
                return Poll::Ready(Ok(()));
            }
            this.poll_pings(cx)?;
            let message = match Pin::new(&mut this.socket).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(message)) => message.map_err(to_io)?,
            };
            this.heard_at = Instant::now();
            match message {
                Message::Binary(bytes) => match this.guard.check_incoming(&bytes) {
                    Ok(()) => this.unread = bytes,
                    Err(fault) => this.close(fault.into()),
                },
                Message::Ping(_) | Message::Pong(_) => {
                    if let Err(fault) = this.guard.check_empty() {
                        this.close(fault.into());
                    }
                }
                Message::Close(_) => return Poll::Ready(Ok(())),
                Message::Text(_) | Message::Frame(_) => this.close(CloseReason::Text),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ByteStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        std::task::ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(to_io)?;
        let count = bytes.len().min(FRAME_SENT_BYTES);
        Pin::new(&mut self.socket)
            .start_send(Message::Binary(Bytes::copy_from_slice(&bytes[..count])))
            .map_err(to_io)?;
        if let Err(fault) = self.guard.check_outgoing(&bytes[..count]) {
            self.close(fault.into());
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(to_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(to_io)
    }
}

fn to_io(error: tokio_tungstenite::tungstenite::Error) -> io::Error {
    match error {
        tokio_tungstenite::tungstenite::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use futures::{SinkExt as _, StreamExt as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    const CALM: Pace = Pace { ping: Duration::from_secs(15), dead: Duration::from_secs(45) };

    async fn pair(
        pace: Pace,
        superseded: CancellationToken,
    ) -> (ByteStream<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (server, client) = tokio::io::duplex(4096);
        let server = WebSocketStream::from_raw_socket(server, Role::Server, Some(web_socket_config())).await;
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        (ByteStream::new(server, pace, superseded), client)
    }

    #[tokio::test]
    async fn frames_of_any_size_join_and_writes_are_cut() {
        let (mut server, mut client) = pair(CALM, CancellationToken::new()).await;
        let written: Vec<u8> = (0..200_000_u32).map(|value| value.to_le_bytes()[0]).collect();
        let expected = written.clone();
        let other = tokio::spawn(async move {
            for piece in [&b"a"[..], b"", b"bc"] {
                client.send(Message::Binary(Bytes::copy_from_slice(piece))).await.unwrap();
            }
            let mut got = Vec::new();
            while got.len() < expected.len() {
                let Message::Binary(frame) = client.next().await.unwrap().unwrap() else { continue };
                assert!(frame.len() <= FRAME_SENT_BYTES);
                got.extend_from_slice(&frame);
            }
            assert_eq!(got, expected);
        });
        let mut got = [0; 3];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"abc");
        server.write_all(&written).await.unwrap();
        server.flush().await.unwrap();
        other.await.unwrap();
    }

    #[tokio::test]
    async fn a_text_frame_closes_with_1003() {
        let (mut server, mut client) = pair(CALM, CancellationToken::new()).await;
        client.send(Message::Text("hello".into())).await.unwrap();
        assert!(server.read_u8().await.is_err());
        let Message::Close(Some(frame)) = client.next().await.unwrap().unwrap() else { panic!("no close frame") };
        assert_eq!(u16::from(frame.code), close::UNSUPPORTED);
    }

    #[tokio::test]
    async fn a_superseded_link_is_closed_with_4001() {
        let superseded = CancellationToken::new();
        let (mut server, mut client) = pair(CALM, superseded.clone()).await;
        let reading = tokio::spawn(async move { server.read_u8().await });
        superseded.cancel();
        let Message::Close(Some(frame)) = client.next().await.unwrap().unwrap() else { panic!("no close frame") };
        assert_eq!(u16::from(frame.code), close::SUPERSEDED);
        assert!(reading.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_frame_over_1_mib_ends_the_stream() {
        let (mut server, mut client) = pair(CALM, CancellationToken::new()).await;
        let sending = tokio::spawn(async move {
            let _ = client.send(Message::Binary(vec![0; FRAME_ACCEPTED_BYTES + 1].into())).await;
        });
        assert!(server.read_u8().await.is_err());
        drop(server);
        sending.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_pinged_and_then_dead() {
        let (mut server, client) = pair(CALM, CancellationToken::new()).await;
        let error = server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }
}
