//! The link to the server (`workspaces.md` 2.1, 2.2): one outgoing WebSocket, a multiplexer on it, and
//! HTTP/1.1 on each stream that the server opens.
//!
//! The agent never listens. A link that ends is made anew, after a random pause that grows with failures;
//! commands and events wait meanwhile. A server that says the agent is retired ends the workspace.

mod backoff;
mod byte_stream;
mod dial;
mod uplink;

use atelier_domain::Chain;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use atelier_workspace_protocol::{STREAM_WINDOW_BYTES, STREAMS, close};
use futures::StreamExt as _;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_yamux::{Config, Session};

use self::backoff::Backoff;
use self::byte_stream::{ByteStream, Pace};
pub(crate) use self::dial::Address;
use self::dial::{DialError, Stream};
pub(crate) use self::uplink::Uplink;
use crate::agent::Agent;

/// A link that lived this long was a good one.
const STABLE: Duration = Duration::from_secs(30);
/// How often, and for how long, a token that is refused is tried again.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
const REFUSED_PATIENCE: Duration = Duration::from_secs(600);
/// Another agent has this one's place, or the server is too old or too new: no hurry.
const LONG_PAUSE: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(crate) struct TunnelSettings {
    /// Tried in order.
    pub(crate) addresses: Vec<Address>,
    pub(crate) token: String,
}

/// Why the agent gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TunnelEnd {
    Retired,
}

/// Keeps a link until the server wants nothing of this agent any more.
///
/// # Cancel safety
/// Dropping it closes the link.
pub(crate) async fn run(agent: &Agent, settings: &TunnelSettings, uplink: &Uplink) -> TunnelEnd {
    let local = settings.addresses.iter().all(Address::is_local);
    let mut backoff = Backoff::new(if local { backoff::LOCAL_CAP } else { backoff::CAP });
    let mut refused_since: Option<Instant> = None;
    loop {
        let pause = match connect(agent, settings).await {
            Ok(stream) => {
                refused_since = None;
                let began = Instant::now();
                let code = link(agent, stream, uplink).await;
                if began.elapsed() >= STABLE {
                    backoff.reset();
                }
                tracing::info!(code, "the link to the server ended");
                if code == close::SUPERSEDED { LONG_PAUSE } else { backoff.next() }
            }
            Err(DialError::Retired) => return TunnelEnd::Retired,
            Err(DialError::Refused) => {
                let since = *refused_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= REFUSED_PATIENCE {
                    return TunnelEnd::Retired;
                }
                tracing::warn!("the server does not accept this agent's token");
                REFUSED_PAUSE
            }
            Err(DialError::Version) => {
                tracing::warn!("the server and this agent have no protocol in common");
                LONG_PAUSE
            }
            Err(DialError::Unreachable(error)) => {
                tracing::debug!("the server is not reached: {error}");
                backoff.next()
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// The first address that answers. What a server says counts more than that another is not reached.
async fn connect(agent: &Agent, settings: &TunnelSettings) -> Result<Stream, DialError> {
    let mut said = DialError::Unreachable("no address".to_owned());
    for address in &settings.addresses {
        match dial::dial(address, &settings.token, agent.boot_id(), agent.ledger_id()).await {
            Ok(stream) => return Ok(stream),
            Err(error @ DialError::Unreachable(_)) => {
                if matches!(said, DialError::Unreachable(_)) {
                    said = error;
                }
            }
            Err(error) => said = error,
        }
    }
    Err(said)
}

/// Serves one link to its end; the close code the server gave, or 0.
async fn link(agent: &Agent, stream: Stream, uplink: &Uplink) -> u16 {
    let limits = agent.limits();
    let pace = Pace { ping: Duration::from_millis(limits.ping_ms), dead: Duration::from_millis(limits.dead_ms) };
    let code = Arc::new(AtomicU16::new(0));
    let config = Config {
        accept_backlog: STREAMS,
        // The WebSocket pings already.
        enable_keepalive: false,
        connection_write_timeout: Duration::from_secs(10),
        max_stream_count: STREAMS,
        max_stream_window_size: STREAM_WINDOW_BYTES,
        ..Config::default()
    };
    let mut session = Session::new_server(ByteStream::new(stream, pace, Arc::clone(&code)), config);
    let _offered = uplink.offer(session.control());
    let router = agent.router();
    // Requests end with their link; what they began goes on.
    let mut requests = JoinSet::new();
    tracing::info!("connected to the server");
    loop {
        // Both arms may be dropped: a session keeps its state, a set too.
        let opened = tokio::select! {
            opened = session.next() => opened,
            Some(_) = requests.join_next() => continue,
        };
        match opened {
            Some(Ok(stream)) => {
                let service = TowerToHyperService::new(router.clone());
                requests.spawn(async move {
                    let served = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades()
                        .await;
                    if let Err(error) = served {
                        tracing::debug!(error = %Chain(&error), "a request broke off");
                    }
                });
            }
            Some(Err(error)) => {
                tracing::debug!(error = %Chain(&error), "the link broke");
                break;
            }
            None => break,
        }
    }
    code.load(Ordering::Relaxed)
}
