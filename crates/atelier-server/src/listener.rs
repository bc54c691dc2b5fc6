//! Accepted connections: without Nagle's delay, and given up when the other end takes nothing.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;

use crate::connections::Connection;

/// A connection whose writes wait for so long is dead. Streams give up on their clients before.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// The pause when no connection can be accepted, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The next connection. An error in accepting one does not end the listener.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // a part must not wait for the answer to the one before
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!("a connection keeps its delay: {error}");
                }
                return (stream, address);
            }
            Err(error) => {
                tracing::warn!("no connection could be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Fails writes that wait for [`STALLED_AFTER`].
pub(crate) struct Guarded<S> {
    io: S,
    /// Running while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Keeps its place, also when it has become a WebSocket.
    _connection: Option<Connection>,
}

impl<S> Guarded<S> {
    pub(crate) const fn new(io: S, connection: Connection) -> Self {
        Self { io, stalled: None, _connection: Some(connection) }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, taken: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if taken.is_ready() {
            self.stalled = None;
            return taken;
        }
        let alarm = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED_AFTER)));
        ready!(alarm.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watch(cx, taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.watch(cx, taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_takes_fails_and_a_slow_one_does_not() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut guarded = Guarded { io: near, stalled: None, _connection: None };
        let reader = tokio::spawn(async move {
            let mut bytes = [0; 4];
            for _ in 0..3 {
                tokio::time::sleep(STALLED_AFTER - Duration::from_secs(1)).await;
                far.read_exact(&mut bytes).await.unwrap();
            }
            far
        });
        guarded.write_all(b"0123456789ab").await.unwrap();
        let _far = reader.await.unwrap();
        let error = guarded.write_all(b"0123456789ab").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
