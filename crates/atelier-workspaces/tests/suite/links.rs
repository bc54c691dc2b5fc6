//! Links: who may connect, who wins, and what bad agents get.

use std::time::Duration;

use atelier_daemon::tool_error::ToolErrorCode;
use atelier_daemon::workspace::{ConnectionError, Method};
use atelier_domain::{CallToken, ChatId, UserId};
use atelier_store::{AgentLifecycle, AgentStatus, Transition};
use atelier_workspace_protocol::{SUBPROTOCOL, close};
use atelier_workspaces::BuildCreate;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::fake_agent::{dial, refused, serve, token};
use crate::host::{Engine, Host, PATIENCE, json_of, request};

async fn connected(host: &Host, run: &std::path::Path) -> JoinHandle<Option<u16>> {
    let socket = dial(run, &token(run), SUBPROTOCOL).await.unwrap();
    let _ = host;
    tokio::spawn(serve(socket))
}

async fn the_link_carries_requests_and_reports(engine: Engine) {
    let mut host = Host::without_agent(engine).await;
    let id = host.workspace("box", json!({ "startup_script": "exit 3" })).await;
    let run = host.folder(id).join("run");
    let agent = connected(&host, &run).await;
    let connection = host.connect(id).await;
    assert_eq!(connection.ledger_id(), "ledger");

    let mut echo = request(Method::Get, "/echo?a=b", None);
    let (chat, parent, call) = (ChatId::new(), ChatId::new(), CallToken::new());
    echo.context.chat_id = chat;
    echo.context.ancestors = vec![parent];
    echo.context.call = Some((call, "abc".into()));
    let headers = json_of(&connection.request(echo).await.unwrap());
    assert_eq!(headers["atelier-chat-id"], chat.to_string());
    assert_eq!(headers["atelier-chat-ancestors"], parent.to_string());
    assert_eq!(headers["atelier-access"], "full");
    assert_eq!(headers["atelier-call-token"], call.to_string());
    assert_eq!(headers["atelier-call-digest"], "abc");

    // The report reaches the rows, each line once.
    let view = host
        .wait_for(id, "start_error", |view| {
            view.agent.as_ref().is_some_and(|agent| agent.lifecycle == AgentLifecycle::StartError)
        })
        .await;
    let row = view.agent.unwrap();
    assert_eq!((row.status, row.ledger_id.as_str()), (AgentStatus::Connected, "ledger"));
    let lines = host.store.logs_of_agent(row.id, 0, 100).await.unwrap();
    let outputs: Vec<&str> = lines.iter().map(|line| line.output.as_str()).collect();
    assert_eq!(outputs, ["one", "two"]);

    // Nor does a restart of the server, or a link that comes again, double them.
    host.restart().await;
    assert_eq!(agent.await.unwrap(), None);
    let agent = connected(&host, &run).await;
    host.wait_for(id, "connected again", |view| {
        view.agent.as_ref().is_some_and(|agent| agent.status == AgentStatus::Connected && agent.generation == 2)
    })
    .await;
    let connection = host.connect(id).await;
    connection.request(request(Method::Get, "/echo", None)).await.unwrap();
    assert_eq!(host.store.logs_of_agent(row.id, 0, 100).await.unwrap().len(), 2);
    drop(connection);
    agent.abort();
}

async fn x10_a_bad_answer_ends_one_request_only(engine: Engine) {
    let host = Host::without_agent(engine).await;
    let id = host.workspace("box", json!({})).await;
    let agent = connected(&host, &host.folder(id).join("run")).await;
    let connection = host.connect(id).await;
    let mut big = request(Method::Get, "/big", None);
    big.max_response_bytes = 1024;
    let error = connection.request(big).await.unwrap_err();
    assert!(matches!(&error, ConnectionError::Protocol(words) if words.contains("1024")), "{error:?}");
    let error = connection.request(request(Method::Get, "/garbage", None)).await.unwrap_err();
    assert!(matches!(error, ConnectionError::Protocol(_)), "{error:?}");
    let whole = connection.request(request(Method::Get, "/big", None)).await.unwrap();
    assert_eq!(whole.body.len(), 1024 * 1024);

    // A link that ends in the middle of a request.
    let hanging = connection.request(request(Method::Get, "/hang", None));
    let cut = async {
        tokio::task::yield_now().await;
        agent.abort();
    };
    let (answer, ()) = tokio::join!(tokio::time::timeout(PATIENCE, hanging), cut);
    assert!(matches!(answer.unwrap(), Err(ConnectionError::Lost)));
    host.wait_for(id, "disconnected", |view| {
        view.agent.as_ref().is_some_and(|agent| agent.status == AgentStatus::Disconnected)
    })
    .await;
    let error = host.tools().connect(id, host.ada, Duration::from_millis(50)).await.err().unwrap();
    assert_eq!(error.code, ToolErrorCode::AgentNotConnected);
}

/// A frame of the multiplexer without payload.
fn frame(kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
    let mut bytes = vec![0, kind];
    bytes.extend(flags.to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes
}

/// Sends bytes over a link of their own until all are out or the link ends; returns the close code.
async fn flooded(run: &std::path::Path, bytes: Vec<u8>) -> Option<u16> {
    let socket = dial(run, &token(run), SUBPROTOCOL).await.unwrap();
    let (mut out, mut incoming) = socket.split();
    let sending = tokio::spawn(async move {
        for piece in bytes.chunks(60_000) {
            if out.send(Message::Binary(piece.to_vec().into())).await.is_err() {
                break;
            }
        }
        out
    });
    let code = async {
        loop {
            match incoming.next().await {
                Some(Ok(Message::Close(frame))) => break frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break None,
            }
        }
    };
    let code = tokio::time::timeout(PATIENCE, code).await.expect("the server closes the link");
    drop(sending.await.unwrap());
    code
}

async fn x10_floods_and_broken_frames_close_the_link(engine: Engine) {
    const WINDOW_UPDATE: u8 = 1;
    const PING: u8 = 2;
    const SYN: u16 = 1;
    const RST: u16 = 8;
    let host = Host::without_agent(engine).await;
    let id = host.workspace("box", json!({})).await;
    let run = host.folder(id).join("run");
    let many = |frames: &dyn Fn(u32) -> Vec<u8>| (1..=50_000).flat_map(frames).collect::<Vec<u8>>();
    let opened = |n: u32| frame(WINDOW_UPDATE, SYN, 2 * n, 0);
    let opened_and_reset = |n: u32| [opened(n), frame(WINDOW_UPDATE, RST, 2 * n, 0)].concat();
    for (what, bytes, code) in [
        ("streams opened and reset", many(&opened_and_reset), close::POLICY),
        ("streams opened", many(&opened), close::POLICY),
        ("pings", many(&|n| frame(PING, SYN, 0, n)), close::POLICY),
        ("no frame", b"this is not the multiplexer's protocol".to_vec(), close::PROTOCOL),
        ("a stream opened twice", [opened(1), opened(1)].concat(), close::PROTOCOL),
    ] {
        assert_eq!(flooded(&run, bytes).await, Some(code), "{what}");
    }
    // The next link is as good as any.
    let agent = connected(&host, &run).await;
    host.connect(id).await.request(request(Method::Get, "/echo", None)).await.unwrap();
    agent.abort();
}

async fn w46_a_newer_link_takes_over(engine: Engine) {
    let host = Host::without_agent(engine).await;
    let id = host.workspace("box", json!({})).await;
    let run = host.folder(id).join("run");
    let first = connected(&host, &run).await;
    host.connect(id).await;
    let second = connected(&host, &run).await;
    assert_eq!(first.await.unwrap(), Some(close::SUPERSEDED));
    let view = host.view(id).await;
    assert_eq!(view.agent.unwrap().status, AgentStatus::Connected, "the late end of the first link changes nothing");
    host.connect(id).await.request(request(Method::Get, "/echo", None)).await.unwrap();
    second.abort();
}

/// Sends three requests at once over one connection of a workspace's socket, and counts the answers.
async fn answers_to_a_pipeline(run: &std::path::Path) -> usize {
    let mut stream = tokio::net::UnixStream::connect(run.join("agent.sock")).await.unwrap();
    let request =
        "GET /api/v2/workspaceagents/me/connect HTTP/1.1\r\nHost: workspace\r\nAuthorization: Bearer x\r\n\r\n";
    stream.write_all(request.repeat(3).as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    // the rest of the pipeline may be told of by a reset
    let _ = stream.read_to_end(&mut answers).await;
    String::from_utf8_lossy(&answers).matches("HTTP/1.1 401").count()
}

async fn w47_and_w48_refused_links(engine: Engine) {
    let host = Host::without_agent(engine).await;
    let id = host.workspace("box", json!({})).await;
    let other = host.workspace("other", json!({})).await;
    let run = host.folder(id).join("run");
    let old = token(&run);
    let (status, body) = refused(&run, "atag_wrong", SUBPROTOCOL).await;
    assert_eq!(status, 401, "{body}");
    let (status, _) = refused(&host.folder(other).join("run"), &old, SUBPROTOCOL).await;
    assert_eq!(status, 401, "a token is good on its own workspace's socket only");
    assert_eq!(answers_to_a_pipeline(&run).await, 1, "a refused request is the last one of its connection");
    let (status, body) = refused(&run, &old, "atelier-agent.v9").await;
    assert_eq!(status, 426);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&body["code"], &body["min"], &body["max"]),
        (&json!("agent_version_unsupported"), &json!(1), &json!(1))
    );
    assert_eq!(host.view(id).await.build.error_code.as_deref(), Some("agent_version_unsupported"));

    let build = |transition| BuildCreate {
        workspace_id: id,
        initiator_id: host.ada,
        transition,
        template_version_id: None,
        parameters: Vec::new(),
    };
    host.service.build_create(build(Transition::Start)).await.unwrap();
    host.wait_for_status(id, "running").await;
    let new = token(&run);
    assert_ne!(old, new);
    assert_eq!(refused(&run, &old, SUBPROTOCOL).await.0, 410);
    let agent = connected(&host, &run).await;
    host.connect(id).await;
    host.service.build_create(build(Transition::Stop)).await.unwrap();
    host.wait_for_status(id, "stopped").await;
    tokio::time::timeout(PATIENCE, agent).await.expect("stopping closes the link").unwrap();
    assert!(!run.join("token").exists());
}

async fn w71_only_the_owner_gets_a_link(engine: Engine) {
    let host = Host::without_agent(engine).await;
    let id = host.workspace("box", json!({})).await;
    let error = host.tools().connect(id, UserId::new(), Duration::ZERO).await.err().unwrap();
    assert_eq!(error.code, ToolErrorCode::WorkspaceAccessRevoked);
    let unknown =
        host.tools().connect(atelier_domain::WorkspaceId::new(), host.ada, Duration::ZERO).await.err().unwrap();
    assert_eq!(unknown, error, "unknown and forbidden look the same");
}

on_both_databases!(
    the_link_carries_requests_and_reports,
    x10_a_bad_answer_ends_one_request_only,
    x10_floods_and_broken_frames_close_the_link,
    w46_a_newer_link_takes_over,
    w47_and_w48_refused_links,
    w71_only_the_owner_gets_a_link,
);
