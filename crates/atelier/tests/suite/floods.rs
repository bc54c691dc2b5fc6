//! A workspace that floods the server through its own link.

mod faults {
    use std::path::Path;

    use atelier_test_support::{Engine, TestServer, eventually};
    use futures::{SinkExt as _, StreamExt as _};
    use serde_json::json;
    use tokio::net::UnixStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

    use crate::server;

    const STREAMS: u32 = 1_000_000;
    const MEBIBYTE: u64 = 1024 * 1024;
    const TOKEN: &str = "a-token-of-this-test";

    const WINDOW_UPDATE: u8 = 1;
    const PING: u8 = 2;
    const SYN: u16 = 1;
    const RST: u16 = 8;

    /// A frame of the multiplexer without payload.
    fn frame(kind: u8, flags: u16, stream: u32) -> Vec<u8> {
        let mut bytes = vec![0, kind];
        bytes.extend(flags.to_be_bytes());
        bytes.extend(stream.to_be_bytes());
        bytes.extend(0_u32.to_be_bytes());
        bytes
    }

    /// Sends a flood over a link of its own, to its end or that of the link; returns the close code.
    async fn flood(socket: &Path, frames: impl Fn(u32) -> Vec<u8>) -> Option<u16> {
        let stream = UnixStream::connect(socket).await.unwrap();
        let mut request = "ws://workspace/api/v2/workspaceagents/me/connect".into_client_request().unwrap();
        for (name, value) in
            [("authorization", format!("Bearer {TOKEN}")), ("sec-websocket-protocol", "atelier-agent.v1".to_owned())]
        {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (link, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        let (mut out, mut incoming) = link.split();
        let reading = tokio::spawn(async move {
            loop {
                match incoming.next().await {
                    Some(Ok(Message::Close(frame))) => break frame.map(|frame| frame.code.into()),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => break None,
                }
            }
        });
        let numbers: Vec<u32> = (1..=STREAMS).collect();
        for numbers in numbers.chunks(2_500) {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| frames(*number)).collect();
            if out.send(Message::Binary(bytes.into())).await.is_err() {
                break;
            }
        }
        tokio::time::timeout(atelier_test_support::DEADLINE, reading)
            .await
            .expect("the server closes the link")
            .unwrap()
    }

    /// The most memory that the server had since the last call.
    fn peak_bytes(server: &TestServer) -> u64 {
        let process = format!("/proc/{}", server.pid());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        std::fs::write(format!("{process}/clear_refs"), "5").unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    #[tokio::test]
    async fn x10_a_million_streams_cost_neither_memory_nor_log() {
        let server = server().engine(Engine::Postgres).start().await;
        let admin = server.admin().await;
        let template = json!({"name": "base", "driver": "local", "spec": {}});
        let template = admin.post("/api/v2/organizations/default/templates", template).await.body(201);
        let workspace = json!({"template_id": template["id"], "name": "box"});
        let made = admin.post("/api/v2/users/me/workspaces", workspace).await.body(201);
        let path = format!("/api/v2/workspaces/{}", made["id"].as_str().unwrap());
        eventually("the workspace to be ready", async || {
            let row = admin.get(&path).await.body(200);
            (row["latest_build"]["agents"][0]["lifecycle_state"] == "ready").then_some(())
        })
        .await;
        // The real agent keeps its link until the next one takes over; then its own token is a stranger's.
        let _ =
            server.database().unwrap().query(&format!("UPDATE workspace_agents SET token_hash = sha256('{TOKEN}')"));
        let socket = server.data_dir().join("workspaces").join(made["id"].as_str().unwrap()).join("run/agent.sock");

        let opened = |number: u32| frame(WINDOW_UPDATE, SYN, 2 * number);
        let opened_and_reset = |number: u32| [opened(number), frame(WINDOW_UPDATE, RST, 2 * number)].concat();
        let pinged = |_| frame(PING, SYN, 0);
        let _ = peak_bytes(&server);
        let before = peak_bytes(&server);
        let log_before = server.log().len();
        for round in 0..3 {
            let codes =
                [flood(&socket, opened_and_reset).await, flood(&socket, opened).await, flood(&socket, pinged).await];
            assert_eq!(codes, [Some(1008); 3], "round {round}");
        }
        let (grown, logged) = (peak_bytes(&server).saturating_sub(before), server.log().len() - log_before);
        println!("memory: {before} bytes and {grown} more; log: {logged} bytes");
        assert!(grown < 32 * MEBIBYTE, "the server grew by {grown} bytes");
        assert!(logged < 64 * 1024, "the log grew by {logged} bytes");
        admin.get(&path).await.expect(200);
    }
}
