//! Connections of clients: accepted, bounded, served, and ended in order.
//!
//! Only HTTP/1.1 is spoken. A connection without a request under way does not stay: the head of its first
//! request has to be there soon, and after an answer the head of the next one.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};

use crate::listener::{Guarded, accept};
use crate::places::{Place, Places};
use crate::state::App;

/// Connections of one address beyond its places that are kept until they have been told why.
const REFUSED_AT_ONCE: usize = 64;

/// How long clients may stay silent, and how many connections and streams they may have; 0 = no limit.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// From the connection to the whole head of its first request.
    pub first_head: Duration,
    /// From the end of an answer to the whole head of the next request.
    pub next_head: Duration,
    pub per_address: usize,
    pub streams_per_user: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            first_head: Duration::from_secs(30),
            next_head: Duration::from_secs(60),
            per_address: 1000,
            streams_per_user: 200,
        }
    }
}

/// A connection, as its requests see it.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Accepted>);

struct Accepted {
    peer: IpAddr,
    /// The place that it takes among the connections of an address: that of its latest request, since a proxy
    /// sends requests of many clients over one connection.
    place: Mutex<Option<Place<IpAddr>>>,
    /// While it has no place: one among those that wait to be told so.
    _refused: Option<Place<IpAddr>>,
}

impl Connection {
    /// The address at the other end, which may be a proxy's.
    pub(crate) fn peer(&self) -> IpAddr {
        self.0.peer
    }

    /// Counts it as a connection of `client`. False when that one has too many.
    pub(crate) fn belongs_to(&self, client: IpAddr, places: &Places<IpAddr>) -> bool {
        let mut place = self.0.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.as_ref().is_some_and(|place| *place.key() == client) {
            return true;
        }
        let Some(new) = places.take(client) else { return false };
        *place = Some(new);
        true
    }
}

/// Accepts and serves until the server stops, then lets open requests end.
pub(crate) async fn serve<S>(listener: TcpListener, routes: S, app: &App)
where
    S: Service<Request, Response = Response, Error = std::convert::Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let tasks = TaskTracker::new();
    let refused = Places::new(REFUSED_AT_ONCE);
    loop {
        let (stream, address) = tokio::select! {
            // a connection is taken out only when it is returned
            accepted = accept(&listener) => accepted,
            () = app.stopping.cancelled() => break,
        };
        let Some(connection) = admit(app, &refused, address.ip().to_canonical()) else { continue };
        let io = Guarded::new(stream, connection.clone());
        tasks.spawn(serve_one(io, connection, routes.clone(), app.config.connections, app.stopping.clone()));
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// None if the address has so many connections that not even a refusal is due.
fn admit(app: &App, refused: &Places<IpAddr>, peer: IpAddr) -> Option<Connection> {
    // whom a proxy's connection is for is known with its first request
    let place = if app.config.trusted_proxies.contain(peer) { None } else { Some(app.connections.take(peer)) };
    let (place, refused) = match place {
        None => (None, None),
        Some(Some(place)) => (Some(place), None),
        Some(None) => (None, Some(refused.take(peer)?)),
    };
    Some(Connection(Arc::new(Accepted { peer, place: Mutex::new(place), _refused: refused })))
}

async fn serve_one<S>(
    io: Guarded<TcpStream>,
    connection: Connection,
    routes: S,
    limits: ConnectionLimits,
    stop: CancellationToken,
) where
    S: Service<Request, Response = Response, Error = std::convert::Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let begun = CancellationToken::new();
    let service = hyper::service::service_fn({
        let begun = begun.clone();
        move |request: hyper::Request<hyper::body::Incoming>| {
            begun.cancel();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(connection.clone());
            routes.clone().oneshot(request)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.next_head)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    // in this order: a request that has begun in time is served
    let ended = tokio::select! {
        biased;
        ended = &mut serving => Some(ended),
        () = begun.cancelled() => None,
        // dropped, and so closed
        () = stop.cancelled() => return,
        () = tokio::time::sleep(limits.first_head) => return,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => tokio::select! {
            ended = &mut serving => ended,
            () = stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        },
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
}
