//! The HTTP proxy of a workspace whose network policy is `allowlist` (`workspaces.md` 5.4).
//!
//! It listens on loopback only, decides nothing, and hands each connection to the server, which knows the
//! list and dials. What the server refuses is passed on in its own words.

use atelier_domain::Chain;
use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::server::conn::http1 as server;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::tunnel::Uplink;

/// Connections of commands at once.
const CONNECTIONS: usize = 256;
/// For the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// For the server to answer: it dials for up to 10 s.
const ANSWER_TIME: Duration = Duration::from_secs(30);
const REFUSAL_BYTES: usize = 16 * 1024;
/// Between two attempts to listen, while somebody else has the port.
const LISTEN_PAUSE: Duration = Duration::from_secs(1);

/// Of one hop only; not passed on.
const HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];

type Body = Either<Full<Bytes>, Incoming>;

/// The variables that make programs use the proxy.
pub(crate) fn variables(port: u16) -> Vec<(String, String)> {
    let address = format!("http://127.0.0.1:{port}");
    let own = "localhost,127.0.0.1,::1";
    [("HTTP_PROXY", address.as_str()), ("HTTPS_PROXY", &address), ("NO_PROXY", own)]
        .into_iter()
        // curl reads the small form of the first one only
        .flat_map(|(name, value)| [(name.to_owned(), value.to_owned()), (name.to_lowercase(), value.to_owned())])
        .collect()
}

/// Serves the proxy without end.
///
/// # Cancel safety
/// Dropping it ends the listening; connections there are go on.
pub(crate) async fn run(port: u16, uplink: Uplink) {
    let listener = loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => break listener,
            Err(error) => {
                tracing::warn!(port, error = %Chain(&error), "the proxy cannot listen");
                tokio::time::sleep(LISTEN_PAUSE).await;
            }
        }
    };
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let uplink = uplink.clone();
                tokio::spawn(async move {
                    serve(stream, uplink).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "a connection to the proxy fails");
                tokio::time::sleep(LISTEN_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, uplink: Uplink) {
    let (tunnels, mut opened) = tokio::sync::mpsc::channel(1);
    let service = hyper::service::service_fn(|request| {
        let (uplink, tunnels) = (uplink.clone(), tunnels.clone());
        async move {
            let answer = if request.method() == Method::CONNECT {
                tunnel(&uplink, &request).await.map(|upstream| {
                    let _ = tunnels.try_send((hyper::upgrade::on(request), upstream));
                    Response::new(Either::Left(Full::default()))
                })
            } else {
                forward(&uplink, request).await
            };
            Ok::<_, Infallible>(answer.unwrap_or_else(Refusal::response))
        }
    });
    let served = server::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(error = %Chain(&error), "a connection to the proxy broke off");
    }
    if let Ok((upgrade, upstream)) = opened.try_recv()
        && let Ok(upgraded) = upgrade.await
    {
        // The server ends what is idle.
        let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut TokioIo::new(upstream)).await;
    }
}

/// What the server says when it does not connect, or that it is not reached.
struct Refusal {
    status: StatusCode,
    words: Bytes,
}

impl Refusal {
    fn new(status: StatusCode, words: &str) -> Self {
        Self { status, words: format!("{words}\n").into() }
    }

    fn response(self) -> Response<Body> {
        let mut response = Response::new(Either::Left(Full::new(self.words)));
        *response.status_mut() = self.status;
        response
    }
}

/// A connection that the server has made.
async fn tunnel(uplink: &Uplink, request: &Request<Incoming>) -> Result<Upgraded, Refusal> {
    match request.uri().authority() {
        Some(target) if target.port().is_some() => connect(uplink, target.as_str()).await,
        _ => Err(Refusal::new(StatusCode::BAD_REQUEST, "CONNECT needs a host and a port")),
    }
}

async fn connect(uplink: &Uplink, target: &str) -> Result<Upgraded, Refusal> {
    let unreachable = |error: &dyn std::fmt::Display| {
        Refusal::new(StatusCode::BAD_GATEWAY, &format!("the server is not reached: {error}"))
    };
    let ask = async {
        let stream = uplink.open().await.map_err(|error| unreachable(&error))?;
        let (mut sender, connection) =
            client::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        // Ends with the stream.
        tokio::spawn(connection.with_upgrades());
        let request = Request::connect(target)
            .header(header::HOST, target)
            .body(Empty::<Bytes>::new())
            .map_err(|error| unreachable(&error))?;
        let response = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
        if response.status().is_success() {
            return hyper::upgrade::on(response).await.map_err(|error| unreachable(&error));
        }
        let status = response.status();
        let words = Limited::new(response.into_body(), REFUSAL_BYTES).collect().await;
        Err(Refusal { status, words: words.map_or_else(|_| Bytes::new(), |words| words.to_bytes()) })
    };
    tokio::time::timeout(ANSWER_TIME, ask)
        .await
        .unwrap_or_else(|_| Err(unreachable(&io::Error::from(io::ErrorKind::TimedOut))))
}

/// Sends a request with an absolute `http://` address on, over a connection of its own.
async fn forward(uplink: &Uplink, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let absolute = request.uri().authority().filter(|_| request.uri().scheme() == Some(&Scheme::HTTP)).cloned();
    let Some(host) = absolute else {
        let words = "this is the proxy of the workspace: ask for an absolute http:// address, or by CONNECT";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, words));
    };
    let upstream = connect(uplink, &with_port(&host)).await?;
    let failed =
        |error: hyper::Error| Refusal::new(StatusCode::BAD_GATEWAY, &format!("{host} does not answer: {error}"));
    let (mut sender, connection) = client::handshake(upstream).await.map_err(failed)?;
    tokio::spawn(connection);
    let response = sender.send_request(for_origin(request, &host)).await.map_err(failed)?;
    let (mut head, body) = response.into_parts();
    drop_hop_headers(&mut head.headers);
    Ok(Response::from_parts(head, Either::Right(body)))
}

fn with_port(host: &Authority) -> String {
    if host.port().is_some() { host.to_string() } else { format!("{}:80", host.host()) }
}

/// As the origin expects it: the path alone, and the host in its header.
fn for_origin(request: Request<Incoming>, host: &Authority) -> Request<Incoming> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    head.uri = Uri::from(path);
    drop_hop_headers(&mut head.headers);
    // Without user and password.
    let host = host.as_str().rsplit('@').next().unwrap_or_default();
    if let Ok(host) = HeaderValue::from_str(host) {
        head.headers.insert(header::HOST, host);
    }
    Request::from_parts(head, body)
}

fn drop_hop_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP) {
        headers.remove(name);
    }
    headers.remove("proxy-connection");
    headers.remove("keep-alive");
}
