#![allow(clippy::unwrap_used, reason = "tests")]
//! What is dialled, against servers on loopback.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atelier_egress::{Egress, EgressError, HostResolver, Request, Url};
use futures::future::BoxFuture;
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

/// Answers each name with the same addresses and counts how often it was asked.
struct FixedResolver {
    addresses: Vec<IpAddr>,
    asked: AtomicUsize,
}

impl FixedResolver {
    fn new(addresses: &[&str]) -> Arc<Self> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self { addresses, asked: AtomicUsize::new(0) })
    }
}

impl HostResolver for FixedResolver {
    fn addresses(&self, _host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let addresses = self.addresses.clone();
        Box::pin(async move { Ok(addresses) })
    }
}

/// A server that counts its connections and answers every request with `answer`.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while let Ok(byte) = socket.read_u8().await {
                        request.push(byte);
                        if request.ends_with(b"\r\n\r\n") {
                            request.clear();
                            socket.write_all(answer.as_bytes()).await.unwrap();
                        }
                    }
                });
            }
        });
        Self { port, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn egress(allow: &str, resolver: Arc<FixedResolver>) -> Egress {
    let resolver: Arc<dyn HostResolver> = resolver;
    Egress::with_resolver(allow.parse().unwrap(), &resolver).unwrap()
}

async fn get(egress: &Egress, url: &str) -> Result<reqwest::Response, EgressError> {
    egress.send(Request::new(Method::GET, Url::parse(url).unwrap())).await
}

#[tokio::test]
async fn without_an_entry_nothing_near_is_dialled() {
    let server = Server::start(OK).await;
    let closed = egress("", FixedResolver::new(&["127.0.0.1"]));
    let port = server.port;
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://models.example:{port}/"),
        "http://10.0.0.1/".to_owned(),
        "http://169.254.169.254/".to_owned(),
    ] {
        assert!(matches!(get(&closed, &url).await, Err(EgressError::Denied(_))), "{url}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_with_one_denied_address_is_refused_whole() {
    let server = Server::start(OK).await;
    let mixed = egress("loopback", FixedResolver::new(&["127.0.0.1", "10.0.0.1"]));
    let answer = get(&mixed, &format!("http://models.example:{}/", server.port)).await;
    assert!(matches!(answer, Err(EgressError::Denied(denied)) if denied.host == "models.example"));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_checked_address_is_dialled_and_the_connection_kept() {
    let server = Server::start(OK).await;
    let resolver = FixedResolver::new(&["127.0.0.1"]);
    let open = egress("loopback", Arc::clone(&resolver));
    for _ in 0..3 {
        // no system resolver knows this name: the address can only be the one that was checked
        let answer = get(&open, &format!("http://no-such-name.invalid:{}/", server.port)).await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "ok");
    }
    assert_eq!((resolver.asked.load(Ordering::Relaxed), server.connections()), (1, 1));
}

#[tokio::test]
async fn a_listed_host_is_reached_on_its_port_only() {
    let (listed, other) = (Server::start(OK).await, Server::start(OK).await);
    let open = egress(&format!("models.example:{}", listed.port), FixedResolver::new(&["127.0.0.1"]));
    assert!(get(&open, &format!("http://models.example:{}/", listed.port)).await.is_ok());
    let refused = get(&open, &format!("http://models.example:{}/", other.port)).await;
    assert!(matches!(refused, Err(EgressError::Denied(_))));
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_listed_host_does_not_open_cloud_metadata() {
    let open = egress("metadata.example", FixedResolver::new(&["169.254.169.254"]));
    assert!(matches!(get(&open, "http://metadata.example/").await, Err(EgressError::Denied(_))));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = Server::start(OK).await;
    let answer: &'static str = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:{}/\r\ncontent-length: 0\r\n\r\n",
        target.port
    )
    .leak();
    let server = Server::start(answer).await;
    let open = egress("loopback", FixedResolver::new(&["127.0.0.1"]));
    let answer = get(&open, &format!("http://127.0.0.1:{}/", server.port)).await.unwrap();
    assert_eq!(answer.status(), 307);
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn a_dead_port_is_a_failed_connection() {
    // bound, so that nobody else can listen there meanwhile
    let bound = TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = bound.local_addr().unwrap().port();
    let open = egress("loopback", FixedResolver::new(&[]));
    let answer = get(&open, &format!("http://127.0.0.1:{port}/")).await;
    assert!(matches!(answer, Err(EgressError::Connect { .. })));
}

#[test]
fn literals_are_refused_on_save() {
    let closed = egress("", FixedResolver::new(&[]));
    assert!(closed.check_url("http://192.168.0.1/v1").is_err());
    assert!(closed.check_url("no url").is_err());
    assert!(closed.check_url("https://api.example.com/v1").is_ok());
}
