//! Connections of clients: how long they may stay silent, how many there may be, and whose they are.

use std::time::Duration;

use atelier_server::ConnectionLimits;
use atelier_test_support::{DEADLINE, Form, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::host::Host;

const SOON: Duration = Duration::from_millis(200);
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: atelier\r\n\r\n";

async fn connect(host: &Host) -> TcpStream {
    TcpStream::connect(("127.0.0.1", host.port)).await.unwrap()
}

/// Status, head and body of the answer to a request; None if the connection is closed instead.
async fn ask(stream: &mut TcpStream, request: &str) -> Option<(u16, String, String)> {
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some((head.split(' ').nth(1)?.parse().unwrap(), head, body.to_owned()));
            }
        }
        let mut bytes = [0; 4096];
        match tokio::time::timeout(DEADLINE, stream.read(&mut bytes)).await.expect("an answer") {
            Ok(0) | Err(_) => return None,
            Ok(count) => answer.extend_from_slice(&bytes[..count]),
        }
    }
}

async fn status(stream: &mut TcpStream, request: &str) -> u16 {
    ask(stream, request).await.expect("an answer").0
}

/// Waits until the other end closes the connection, and meanwhile sends a byte of `drip` now and then.
async fn until_closed(mut stream: TcpStream, drip: &str) {
    let mut drip = drip.bytes().cycle();
    let mut answer = [0; 64];
    let closed = async {
        loop {
            tokio::select! {
                // nothing that is read is kept
                read = stream.read(&mut answer) => if matches!(read, Ok(0) | Err(_)) { return },
                () = tokio::time::sleep(SOON / 10) => {
                    if let Some(byte) = drip.next() && stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    tokio::time::timeout(DEADLINE, closed).await.expect("the connection to be closed");
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let limits = ConnectionLimits { first_head: SOON, next_head: SOON, ..ConnectionLimits::default() };
    let host = Host::builder().connections(limits).start().await;
    until_closed(connect(&host).await, "").await;
    let mut half = connect(&host).await;
    half.write_all(b"GET /healthz HTTP/1.1\r\nX-Long: ").await.unwrap();
    until_closed(half, "x").await;
    // HTTP/2 is not spoken
    let mut preface = connect(&host).await;
    preface.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    until_closed(preface, "").await;
    host.stop().await;
}

#[tokio::test]
async fn a_kept_connection_is_closed_when_no_next_request_comes_and_a_stream_is_not() {
    // long enough for the clients of this test, which keep their connections too
    let limits = ConnectionLimits { first_head: DEADLINE, next_head: 40 * SOON, ..ConnectionLimits::default() };
    let host = Host::builder().connections(limits).start().await;
    let ada = host.user("ada", &[]).await;
    let chat = ada.chat_create("hello").await;
    chat.wait_for_status("waiting").await;
    let mut streams =
        [chat.stream(Form::WebSocket, Some("")).await, chat.stream(Form::ServerSentEvents, Some("")).await];

    let mut kept = connect(&host).await;
    assert_eq!(status(&mut kept, HEALTH).await, 200);
    until_closed(kept, "").await;
    let mut dripping = connect(&host).await;
    assert_eq!(status(&mut dripping, HEALTH).await, 200);
    dripping.write_all(b"GET /healthz HTTP/1.1\r\nX-Long: ").await.unwrap();
    until_closed(dripping, "x").await;

    // both streams have lasted for longer than that
    chat.seen_by(&host.anonymous().with_token(ada.token())).send("hello again").await;
    for stream in &mut streams {
        loop {
            let frame = stream.next().await.expect("the stream goes on");
            if frame.data.to_string().contains("hello again") {
                break;
            }
        }
    }
    host.stop().await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_a_websocket_is_one_of_them() {
    let limits = ConnectionLimits { per_address: 2, ..ConnectionLimits::default() };
    let host = Host::builder().connections(limits).start().await;
    let ada = host.user("ada", &[]).await;
    let mut kept = connect(&host).await;
    assert_eq!(status(&mut kept, HEALTH).await, 200);
    let mut watching = connect(&host).await;
    let upgrade = format!(
        "GET /api/experimental/chats/watch HTTP/1.1\r\nHost: atelier\r\nCoder-Session-Token: {}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        ada.token()
    );
    assert_eq!(status(&mut watching, &upgrade).await, 101);

    let (refused, head, body) = ask(&mut connect(&host).await, HEALTH).await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((refused, &body["code"]), (503, &json!("unavailable")));
    assert!(head.contains("retry-after: ") && head.contains("connection: close"), "{head}");
    // one that was there goes on, and one that goes makes room
    assert_eq!(status(&mut kept, HEALTH).await, 200);
    drop(watching);
    eventually("a place", || async { (ask(&mut connect(&host).await, HEALTH).await?.0 == 200).then_some(()) }).await;
    host.stop().await;
}

fn health_for(client: &str) -> String {
    format!("GET /healthz HTTP/1.1\r\nHost: atelier\r\nX-Forwarded-For: {client}\r\n\r\n")
}

#[tokio::test]
async fn behind_a_trusted_proxy_connections_are_counted_for_the_clients_it_names() {
    let limits = ConnectionLimits { per_address: 1, ..ConnectionLimits::default() };
    let host = Host::builder().connections(limits).trusted_proxies("127.0.0.0/8").start().await;
    let (mut first, mut second) = (connect(&host).await, connect(&host).await);
    assert_eq!(status(&mut first, &health_for("203.0.113.1")).await, 200);
    assert_eq!(status(&mut second, &health_for("203.0.113.2")).await, 200);
    assert_eq!(status(&mut connect(&host).await, &health_for("203.0.113.1")).await, 503);
    // what the client itself claims stands further left
    assert_eq!(status(&mut connect(&host).await, &health_for("203.0.113.9, 203.0.113.1")).await, 503);
    // the connection is now used for somebody else
    assert_eq!(status(&mut first, &health_for("203.0.113.3")).await, 200);
    assert_eq!(status(&mut connect(&host).await, &health_for("203.0.113.1")).await, 200);
    host.stop().await;
}

#[tokio::test]
async fn logins_of_an_address_are_counted_whatever_the_email_and_proxies_are_believed_only_if_trusted() {
    for trusted in [true, false] {
        let proxies = if trusted { "127.0.0.1" } else { "" };
        let host = Host::builder().login_rate_of_address(2).trusted_proxies(proxies).start().await;
        let login = async |client: &str, email: &str| {
            let body = json!({"email": email, "password": "wrong-password"});
            let nobody = host.anonymous();
            let request = nobody.request(reqwest::Method::POST, "/api/v2/users/login").json(&body);
            nobody.send(request.header("X-Forwarded-For", client)).await.status
        };
        assert_eq!(login("203.0.113.1", "a@example.com").await, 401);
        assert_eq!(login("203.0.113.1", "b@example.com").await, 401);
        assert_eq!(login("203.0.113.1", "c@example.com").await, 429);
        assert_eq!(login("203.0.113.2", "a@example.com").await, if trusted { 401 } else { 429 });
        host.stop().await;
    }
}

#[tokio::test]
async fn a_user_has_so_many_streams() {
    let limits = ConnectionLimits { streams_per_user: 2, ..ConnectionLimits::default() };
    let host = Host::builder().connections(limits).start().await;
    let (ada, ben) = (host.user("ada", &[]).await, host.user("ben", &[]).await);
    let chat = ada.chat_create("hello").await;
    let first = chat.stream(Form::WebSocket, Some("")).await;
    let _second = ada.watch().await;
    let ask = async |form: &str| {
        let request = ada.request(reqwest::Method::GET, &chat.path("/stream")).header("Accept", form);
        ada.send(request).await
    };
    let refused = ask("text/event-stream").await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.expect_error(503, "unavailable");
    let _of_another = ben.watch().await;
    drop(first);
    eventually("a place", || async {
        let request = ada.request(reqwest::Method::GET, &chat.path("/stream")).header("Accept", "text/event-stream");
        // the body of a stream does not end: only its head is read
        (request.send().await.ok()?.status() == 200).then_some(())
    })
    .await;
    host.stop().await;
}

#[tokio::test]
async fn a_request_names_one_host() {
    let host = Host::start().await;
    let twice = "GET /healthz HTTP/1.1\r\nHost: atelier\r\nHost: evil.example\r\n\r\n";
    let (status, _, body) = ask(&mut connect(&host).await, twice).await.unwrap();
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("more than one Host"), "{body}");
    host.stop().await;
}

#[tokio::test]
async fn a_token_in_the_query_opens_websockets_only() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let path = format!("/api/v2/users/me?coder_session_token={}", ada.token());
    let watch = format!("/api/experimental/chats/watch?coder_session_token={}", ada.token());
    let websocket =
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    for (path, headers, wanted) in [
        (&path, "", 401),
        (&path, "Upgrade: websocket\r\n", 401),
        (&path, "Connection: upgrade\r\n", 401),
        (&watch, websocket, 401),
        (&watch, &format!("Connection: keep-alive, Upgrade\r\n{websocket}"), 101),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: atelier\r\n{headers}\r\n");
        assert_eq!(status(&mut connect(&host).await, &request).await, wanted, "{headers}");
    }
    host.stop().await;
}
