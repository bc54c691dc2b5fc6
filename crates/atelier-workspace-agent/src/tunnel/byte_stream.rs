//! The binary frames of a WebSocket as one stream of bytes (`workspaces.md` 2.1).
//!
//! Pings and the check for silence happen in `poll_read`, which the multiplexer polls all the time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use atelier_workspace_protocol::FRAME_SENT_BYTES;
use bytes::{Buf, Bytes};
use futures::{Sink, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) ping: Duration,
    pub(super) dead: Duration,
}

pub(super) struct ByteStream<S> {
    socket: WebSocketStream<S>,
    unread: Bytes,
    pings: Interval,
    ping_due: bool,
    dead_after: Duration,
    heard_at: Instant,
    /// The code of the close frame that came.
    code: Arc<AtomicU16>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream<S> {
    pub(super) fn new(socket: WebSocketStream<S>, pace: Pace, code: Arc<AtomicU16>) -> Self {
        let mut pings = tokio::time::interval_at(Instant::now() + pace.ping, pace.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            socket,
            unread: Bytes::new(),
            pings,
            ping_due: false,
            dead_after: pace.dead,
            heard_at: Instant::now(),
            code,
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
                Message::Binary(bytes) => this.unread = bytes,
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(frame) => {
                    this.code.store(frame.map_or(0, |frame| frame.code.into()), Ordering::Relaxed);
                    return Poll::Ready(Ok(()));
                }
                Message::Text(_) | Message::Frame(_) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a frame that is not binary")));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ByteStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.socket).poll_ready(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(ready) => ready.map_err(to_io)?,
        }
        let count = bytes.len().min(FRAME_SENT_BYTES);
        let frame = Message::Binary(Bytes::copy_from_slice(&bytes[..count]));
        Pin::new(&mut self.socket).start_send(frame).map_err(to_io)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(to_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.socket).poll_close(cx) {
            // Closed by the other side already.
            Poll::Ready(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => Poll::Ready(Ok(())),
            other => other.map_err(to_io),
        }
    }
}

fn to_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::ConnectionAborted.into(),
        other => io::Error::other(other),
    }
}
