//! The workspace's side of a link, played by the test.

use std::path::Path;

use atelier_workspace_protocol as protocol;
use futures::{SinkExt as _, StreamExt as _};
use hyper::http::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

pub(crate) type Socket = WebSocketStream<UnixStream>;

/// Dials the socket in `run` as an agent with this token would.
pub(crate) async fn dial(run: &Path, token: &str, subprotocol: &str) -> Result<Socket, Error> {
    let stream = UnixStream::connect(run.join(protocol::run_file::SOCKET)).await.map_err(Error::Io)?;
    let mut request = format!("ws://workspace{}", protocol::CONNECT_PATH).into_client_request()?;
    for (name, value) in [
        ("authorization", format!("Bearer {token}")),
        ("sec-websocket-protocol", subprotocol.to_owned()),
        (protocol::header::AGENT_VERSION, "0.0.0".to_owned()),
        (protocol::header::BOOT_ID, "boot".to_owned()),
        (protocol::header::LEDGER_ID, "ledger".to_owned()),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    Ok(tokio_tungstenite::client_async(request, stream).await?.0)
}

/// The status with which a dial is refused.
pub(crate) async fn refused(run: &Path, token: &str, subprotocol: &str) -> (u16, String) {
    match dial(run, token, subprotocol).await {
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            (response.status().as_u16(), String::from_utf8_lossy(&body).into_owned())
        }
        Err(other) => panic!("not refused but broken: {other}"),
        Ok(_) => panic!("not refused"),
    }
}

/// The token of a running workspace, as the server put it into the run folder.
pub(crate) fn token(run: &Path) -> String {
    std::fs::read_to_string(run.join(protocol::run_file::TOKEN)).unwrap()
}

/// Answers the server's requests until the link ends; returns the close code, if one came.
///
/// `/echo` answers the request's headers, `/big` 1 MiB, `/garbage` no HTTP, `/hang` nothing.
pub(crate) async fn serve(socket: Socket) -> Option<u16> {
    let (mut out, mut incoming) = socket.split();
    let (ours, theirs) = tokio::io::duplex(256 * 1024);
    let (mut from_session, mut to_session) = tokio::io::split(ours);
    let session = tokio_yamux::Session::new_server(theirs, tokio_yamux::Config::default());
    // Ends with this future, however that ends.
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let mut session = session;
        while let Some(Ok(stream)) = session.next().await {
            tokio::spawn(answer(stream));
        }
    });
    tasks.spawn(async move {
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(count @ 1..) = from_session.read(&mut buffer).await {
            if out.send(Message::Binary(buffer[..count].to_vec().into())).await.is_err() {
                break;
            }
        }
    });
    let mut code = None;
    while let Some(Ok(message)) = incoming.next().await {
        match message {
            Message::Binary(bytes) => {
                let _ = to_session.write_all(&bytes).await;
            }
            Message::Close(frame) => code = frame.map(|frame| frame.code.into()),
            _ => {}
        }
    }
    code
}

async fn answer(mut stream: tokio_yamux::StreamHandle) {
    // A look at the first bytes decides; `/garbage` must not get HTTP at all.
    let mut head = [0; 16];
    let mut seen = 0;
    while seen < head.len() {
        let Ok(count @ 1..) = stream.peek(&mut head).await else { return };
        seen = count;
    }
    if head.starts_with(b"GET /garbage") {
        let _ = stream.write_all(b"\x00\x01\x02 this is not HTTP\r\n\r\n").await;
        return;
    }
    let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
        if request.uri().path() == "/v1/shutdown" {
            // Not obeyed: the server ends the workspace itself.
            return Ok(Response::builder().status(500).body(String::new()).unwrap());
        }
        let body = match request.uri().path() {
            "/v1/hello" => json!({
                "protocol": 1, "version": "0.0.0", "boot_id": "boot", "ledger_id": "ledger", "os": "linux",
                "arch": "x86_64", "kernel": "6", "user": "atelier", "home": "/home/atelier",
                "directory": "/home/atelier", "shell": "/bin/sh",
            })
            .to_string(),
            "/v1/events" => {
                let events = [
                    json!({"seq": 1, "at": "", "type": "lifecycle", "state": "starting", "has_script": true}),
                    json!({"seq": 2, "at": "", "type": "log", "stage": "script", "level": "info", "output": "one"}),
                    json!({"seq": 3, "at": "", "type": "log", "stage": "script", "level": "info", "output": "two"}),
                    json!({"seq": 4, "at": "", "type": "lifecycle", "state": "start_error", "has_script": true,
                        "exit_code": 3, "log_tail": "one\ntwo"}),
                    json!({"seq": 5, "at": "", "type": "something_new"}),
                ];
                events.iter().map(|event| format!("{event}\n")).collect()
            }
            "/big" => "x".repeat(1024 * 1024),
            "/hang" => std::future::pending().await,
            _ => {
                let headers: serde_json::Map<String, serde_json::Value> = request
                    .headers()
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().into()))
                    .collect();
                json!(headers).to_string()
            }
        };
        Ok::<_, std::convert::Infallible>(Response::new(body))
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
