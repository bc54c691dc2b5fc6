//! The streams that the agent opens to the server, over whichever link there is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_yamux::{Control, StreamHandle};

/// Streams that may be open at once (`workspaces.md` 2.1).
const STREAMS: usize = 32;
/// A place is free again no sooner than this after it was taken, so that a program that is refused in a loop
/// opens no more streams a second than the server puts up with.
const PLACE_TIME: Duration = Duration::from_millis(100);
/// For a link to be there and a stream to be free.
const PATIENCE: Duration = Duration::from_secs(30);

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Uplink {
    control: watch::Sender<Option<Control>>,
    slots: Arc<Semaphore>,
}

impl Uplink {
    pub(crate) fn new() -> Self {
        Self { control: watch::Sender::new(None), slots: Arc::new(Semaphore::new(STREAMS)) }
    }

    /// Streams go over this link until what is returned is dropped.
    pub(super) fn offer(&self, control: Control) -> Offer<'_> {
        self.control.send_replace(Some(control));
        Offer(self)
    }

    /// Opens a stream, as soon as there is a link.
    ///
    /// # Cancel safety
    /// Dropping the future gives its place back.
    pub(crate) async fn open(&self) -> io::Result<UplinkStream> {
        let open = async {
            let slot = self.slots.clone().acquire_owned().await.map_err(io::Error::other)?;
            let mut links = self.control.subscribe();
            let control = links.wait_for(Option::is_some).await.map_err(io::Error::other)?.clone();
            let mut control = control.ok_or(io::ErrorKind::NotConnected)?;
            let stream = control.open_stream().await.map_err(io::Error::other)?;
            Ok(UplinkStream { stream, _place: Place { slot: Some(slot), taken_at: Instant::now() } })
        };
        tokio::time::timeout(PATIENCE, open).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

/// A link that is in use.
pub(super) struct Offer<'a>(&'a Uplink);

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        self.0.control.send_replace(None);
    }
}

/// A stream to the server, with its place among those that may be open.
pub(crate) struct UplinkStream {
    stream: StreamHandle,
    _place: Place,
}

/// Gives its slot back, but not before [`PLACE_TIME`] is over.
struct Place {
    slot: Option<OwnedSemaphorePermit>,
    taken_at: Instant,
}

impl Drop for Place {
    fn drop(&mut self) {
        let free_at = self.taken_at + PLACE_TIME;
        // Without a runtime the agent ends, and with it the need to wait.
        if let (true, Ok(runtime)) = (free_at > Instant::now(), tokio::runtime::Handle::try_current()) {
            let slot = self.slot.take();
            runtime.spawn(async move {
                tokio::time::sleep_until(free_at).await;
                drop(slot);
            });
        }
    }
}

impl AsyncRead for UplinkStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for UplinkStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tokio_yamux::{Config, Session};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn streams_that_end_at_once_are_opened_at_a_bounded_pace() {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let mut server = Session::new_client(theirs, Config::default());
        tokio::spawn(async move {
            while let Some(Ok(stream)) = server.next().await {
                drop(stream);
            }
        });
        let mut session = Session::new_server(ours, Config::default());
        let uplink = Uplink::new();
        let _offered = uplink.offer(session.control());
        tokio::spawn(async move {
            while let Some(Ok(stream)) = session.next().await {
                drop(stream);
            }
        });
        let begun = Instant::now();
        for _ in 0..10 * STREAMS {
            drop(uplink.open().await.unwrap());
        }
        assert!(begun.elapsed() >= 9 * PLACE_TIME, "{:?}", begun.elapsed());
    }
}
