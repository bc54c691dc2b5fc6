//! A TCP proxy in front of a server or a database that delays, loses or cuts what passes through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// They arrive this much later.
    Delayed(Duration),
    /// They are taken and never arrive. A connection that has lost some stays silent afterwards, and so does
    /// one that was opened meanwhile: no end notices by itself.
    Swallowing,
    /// What the client sends arrives, and no answer comes back; afterwards as with [`Link::Swallowing`].
    HalfOpen,
    /// Connections are reset, and so are new ones.
    Cut,
    /// Connections are reset, and new ones get one byte that no protocol has, as some get from a server that
    /// goes down.
    Garbled,
    /// Connections are reset, and new ones get the page of a proxy whose server is away (HTTP 502).
    BadGateway,
}

const BAD_GATEWAY: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 24\r\n\
    Connection: close\r\n\r\n<h1>502 Bad Gateway</h1>";

/// A proxy in front of one address. Its connections end with it.
pub struct FaultProxy {
    address: SocketAddr,
    target_url: String,
    link: watch::Sender<Link>,
    accepting: AbortHandle,
}

impl FaultProxy {
    /// A proxy to what this URL names, without any fault so far.
    ///
    /// # Panics
    /// When the URL names no host and port.
    pub async fn start(url: &str) -> Self {
        let target = host_and_port(url).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (link, watched) = watch::channel(Link::Delayed(Duration::ZERO));
        let accepting = tokio::spawn(accept(listener, target, watched)).abort_handle();
        Self { address, target_url: url.to_owned(), link, accepting }
    }

    /// The target's URL by way of this proxy.
    #[must_use]
    pub fn url(&self) -> String {
        self.target_url.replacen(host_and_port(&self.target_url), &self.address.to_string(), 1)
    }

    /// What becomes of bytes from now on.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn host_and_port(url: &str) -> &str {
    let rest = url.split_once("://").expect("a URL has a scheme").1;
    let authority = rest.split('/').next().unwrap_or(rest);
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

async fn accept(listener: TcpListener, target: String, link: watch::Receiver<Link>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                connections.spawn(connect(client, target.clone(), link.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(client: TcpStream, target: String, link: watch::Receiver<Link>) {
    let now = *link.borrow();
    if now == Link::Cut {
        return reset(&client);
    }
    if now == Link::Garbled {
        let mut client = client;
        let _ = client.read(&mut [0; 64]).await;
        let _ = client.write_all(&[0]).await;
        return;
    }
    if now == Link::BadGateway {
        let mut client = client;
        // a request that is larger than this is not sent in the tests
        let _ = client.read(&mut [0; 64 * 1024]).await;
        let _ = client.write_all(BAD_GATEWAY).await;
        return;
    }
    let Ok(server) = TcpStream::connect(&target).await else { return reset(&client) };
    // without it small packets would wait for one another, which is not the delay that was asked for
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let silent = Arc::new(AtomicBool::new(false));
    let questions = Pump { silent: Arc::clone(&silent), link: link.clone(), lost_by: &[Link::Swallowing] };
    let answers = Pump { silent, link: link.clone(), lost_by: &[Link::Swallowing, Link::HalfOpen] };
    tokio::join!(questions.run(from_client, to_server), answers.run(from_server, to_client));
}

fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// One direction of one connection.
struct Pump {
    /// Something was lost on this connection, in either direction.
    silent: Arc<AtomicBool>,
    link: watch::Receiver<Link>,
    /// When this direction loses its bytes.
    lost_by: &'static [Link],
}

impl Pump {
    async fn run(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = tokio::select! {
                changed = self.link.changed() => match changed {
                    Ok(()) => None,
                    Err(_) => return,
                },
                read = from.read(&mut buffer) => match read {
                    Ok(length) if length > 0 => Some(length),
                    Ok(_) | Err(_) => return,
                },
            };
            // also when bytes came first: those that come after a cut do not pass
            let link = *self.link.borrow_and_update();
            if matches!(link, Link::Cut | Link::Garbled | Link::BadGateway) {
                reset(from.as_ref());
                reset(to.as_ref());
                return;
            }
            let Some(length) = length else { continue };
            if self.lost_by.contains(&link) {
                self.silent.store(true, Ordering::Release);
            }
            if self.silent.load(Ordering::Acquire) {
                continue;
            }
            if let Link::Delayed(delay) = link
                && !delay.is_zero()
            {
                tokio::time::sleep(delay).await;
            }
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }
}
