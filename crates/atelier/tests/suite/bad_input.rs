//! Whatever comes in: a clear refusal, nothing lost, and the server goes on.

use std::time::Duration;

use atelier_test_support::{Actor, Engine, TestServer};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::server;

const CHATS: &str = "/api/experimental/chats";
const ECHO: &str = "rules:\n  - steps:\n      - text: fine\n";

async fn post_bytes(actor: &Actor, path: &str, body: impl Into<reqwest::Body>) -> atelier_test_support::Answer {
    let request = actor.request(Method::POST, path).header("Content-Type", "application/json").body(body);
    actor.send(request).await
}

async fn is_alive(server: &TestServer, admin: &Actor) {
    assert_eq!(server.anonymous().get("/healthz").await.status, 200);
    let chat = admin.chat_create("still there?").await;
    chat.wait_for_status("waiting").await;
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test]
async fn bodies_that_are_not_what_is_expected() {
    for engine in Engine::ALL {
        let server = server().engine(engine).script("echo", ECHO).start().await;
        let admin = server.admin().await;
        let chat = admin.chat_create("hello").await;
        chat.wait_for_status("waiting").await;
        let messages = chat.path("/messages");
        for path in [format!("{CHATS}/"), messages.clone(), "/api/v2/users".into(), format!("{CHATS}/providers")] {
            for body in ["{", "[]", "3", "\"text\"", "{\"content\": }", "nonsense", "{\"a\":1}{\"b\":2}"] {
                let answer = post_bytes(&admin, &path, body).await;
                assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text);
                assert!(answer.body["message"].is_string() && answer.body["code"].is_string(), "{}", answer.text);
            }
            post_bytes(&admin, &path, vec![b'"', 0xff, 0xfe, b'"']).await.expect_error(400, "invalid_json");
            post_bytes(&admin, &path, vec![b' '; 3 * 1024 * 1024]).await.expect_error(413, "body_too_large");
            post_bytes(&admin, &path, "[".repeat(100_000)).await.expect_error(400, "invalid_json");
        }
        for content in [
            json!("text"),
            json!([]),
            json!([{}]),
            json!([{"type": "text"}]),
            json!([{"type": "text", "text": 5}]),
            json!([{"type": "text", "text": ""}]),
            json!([{"type": "made-up", "text": "x"}]),
            json!([{"type": "tool-result", "text": "x"}]),
            Value::Null,
        ] {
            let answer = admin.post(&messages, json!({"content": content})).await;
            assert_eq!(answer.status, 400, "{content}: {}", answer.text);
            assert!(answer.body["code"].is_string(), "{}", answer.text);
        }
        let wrong = json!({"content": [{"type": "text", "text": "x"}], "busy_behavior": "shout"});
        admin.post(&messages, wrong).await.expect_error(400, "validation_failed");
        assert_eq!(chat.messages().await.len(), 2, "nothing of that was stored");
        is_alive(&server, &admin).await;
    }
}

#[tokio::test]
async fn ids_paths_and_queries_that_do_not_exist() {
    let server = server().script("echo", ECHO).start().await;
    let admin = server.admin().await;
    let nowhere = uuid::Uuid::now_v7();
    for path in ["", "/messages", "/stream"] {
        let answer = admin
            .send(admin.request(Method::GET, &format!("{CHATS}/{nowhere}{path}")).header("Accept", "text/event-stream"))
            .await;
        answer.expect_error(404, "not_found");
    }
    for id in ["nonsense", "%00", "..%2f..%2fetc%2fpasswd", "%ff", "0", &"9".repeat(4_000)] {
        let answer = admin.get(&format!("{CHATS}/{id}/messages")).await;
        assert!((400..500).contains(&answer.status), "{id}: {} {}", answer.status, answer.text);
    }
    for path in ["/api/v2/nothing", "/nothing", "/api/experimental/chats/x/y/z", "//x", "/api/v2/../../etc/passwd"] {
        let answer = admin.get(path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text);
    }
    admin.delete("/api/v2/buildinfo").await.expect_error(405, "method_not_allowed");
    let chat = admin.chat_create("hello").await;
    chat.wait_for_status("waiting").await;
    for query in ["limit=no", "limit=-1", "limit=100000", "before_id=x", "after_id=-5", "before_id=3&after_id=9"] {
        admin.get(&chat.path(&format!("/messages?{query}"))).await.expect_error(400, "validation_failed");
    }
    for cursor in ["nonsense", "AAAA", &"A".repeat(5_000)] {
        let path = chat.path(&format!("/stream?cursor={cursor}"));
        let answer = admin.send(admin.request(Method::GET, &path).header("Accept", "text/event-stream")).await;
        answer.expect_error(400, "invalid_cursor");
    }
    admin.get(&chat.path("/stream")).await.expect_error(426, "upgrade_required");
    server.anonymous().get(&chat.path("")).await.expect(401);
    let stranger = server.user("stranger").await;
    stranger.get(&chat.path("")).await.expect_error(404, "not_found");
    stranger.post(&chat.path("/interrupt"), json!({})).await.expect_error(404, "not_found");
    is_alive(&server, &admin).await;
}

/// U+0000 is content like any other in messages, on both databases; elsewhere it is refused.
#[tokio::test]
async fn nul_bytes() {
    for engine in Engine::ALL {
        let server = server().engine(engine).script("echo", ECHO).start().await;
        let admin = server.admin().await;
        let text = "zero \0 and \\u0000 and \u{1f600}";
        let chat = admin.chat_create(text).await;
        chat.wait_for_status("waiting").await;
        let messages = chat.messages().await;
        assert_eq!(atelier_test_support::text_of(&messages[0]), text);
        assert!(!chat.get().await["title"].as_str().unwrap().contains('\0'));
        let user = json!({"email": "a\0b@example.com", "username": "nul", "password": "a long password"});
        let answer = admin.post("/api/v2/users", user).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        let labels = json!({"content": [{"type": "text", "text": "x"}], "labels": {"key": "a\0b"}});
        let answer = admin.post(&format!("{CHATS}/"), labels).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        is_alive(&server, &admin).await;
    }
}

/// Paths out of the workspace, wrong arguments, unknown tools, broken JSON: errors the model can read.
#[tokio::test]
async fn tool_calls_that_make_no_sense_are_answered_to_the_model() {
    let calls = [
        ("read_file", r#"{"path": "/etc/shadow"}"#),
        ("read_file", r#"{"path": "../../../../../etc/shadow"}"#),
        ("read_file", r#"{"path": 5}"#),
        ("read_file", r#"{"path": "a\u0000b"}"#),
        ("read_file", r#"{"#),
        ("read_file", r#"{}"#),
        ("write_file", r#"{"path": "/etc/passwd", "content": "x"}"#),
        ("write_file", r#"{"path": "/proc/1/mem", "content": "x"}"#),
        ("edit_files", r#"{"edits": "all"}"#),
        ("execute", r#"{"command": ""}"#),
        ("execute", r#"{"command": 3}"#),
        ("process_output", r#"{"process_id": "no"}"#),
        ("create_workspace", r#"{"template_id": "nowhere"}"#),
        ("made_up", r#"{"x": 1}"#),
        ("", "{}"),
    ];
    let mut script = String::from(
        "rules:\n  - when: {user_contains: go, step: 0}\n    steps:\n      - tool_call: {name: create_workspace, args: {template_id: demo}}\n",
    );
    script.push_str("  - when: {user_contains: go, step: 1}\n    steps:\n");
    for (name, arguments) in calls {
        let arguments = serde_json::to_string(arguments).unwrap();
        script.push_str(&format!("      - tool_call: {{name: \"{name}\", raw_args: {arguments}}}\n"));
    }
    script.push_str("  - steps:\n      - text: done\n");
    let server = server().demo().script("wrong", &script).start().await;
    let admin = server.admin().await;
    let chat = admin.chat_create("go").await;
    let row = atelier_test_support::eventually("the turn to end", || async {
        let row = chat.get().await;
        (row["status"] == "waiting" || row["status"] == "error").then_some(row)
    })
    .await;
    assert_eq!(row["status"], "waiting", "{row} {}", server.log());
    let messages = chat.messages().await;
    let results: Vec<&Value> = messages
        .iter()
        .filter_map(|message| message["content"].as_array())
        .flatten()
        .filter(|part| part["type"] == "tool-result" && part["tool_name"] != "create_workspace")
        .collect();
    assert!(results.len() >= calls.len() - 1, "{results:#?}");
    for result in results {
        assert_eq!(result["is_error"], true, "{result}");
        assert!(result["result"]["error"]["code"].is_string(), "{result}");
        assert!(!result.to_string().contains("root:"), "{result}");
    }
    assert_eq!(atelier_test_support::text_of(messages.last().unwrap()), "done");
    is_alive(&server, &admin).await;
}

/// A provider that speaks, but not what it should.
#[tokio::test]
async fn a_provider_that_answers_garbage_fails_the_turn_and_nothing_else() {
    let garbage: [&[u8]; 6] = [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {not json\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\r\n<html></html>",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n\xff\xfe\x00\x01\n\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    ];
    let server = server().script("echo", ECHO).start().await;
    let admin = server.admin().await;
    for (n, bytes) in garbage.into_iter().enumerate() {
        let port = answer_with(bytes).await;
        let name = format!("garbage{n}");
        let provider = json!({
            "provider": "openai-compat", "name": name, "base_url": format!("http://127.0.0.1:{port}/v1"),
        });
        let provider = admin.post(&format!("{CHATS}/providers"), provider).await.body(201);
        let model = json!({
            "provider": name, "ai_provider_id": provider["id"], "model": "m", "context_limit": 10_000,
        });
        let model = admin.post(&format!("{CHATS}/model-configs"), model).await.body(201);
        let create = json!({"content": [{"type": "text", "text": "hello"}], "model_config_id": model["id"]});
        let chat = admin.chat_create_with(create).await;
        // garbage may be a hiccup: it is tried again; a person does not wait for that
        let row = atelier_test_support::eventually("an error or a retry", || async {
            let row = chat.get().await;
            (row["status"] == "error").then_some(row)
        });
        if let Ok(row) = tokio::time::timeout(Duration::from_secs(4), row).await {
            assert!(row["last_error_info"]["message"].is_string(), "{row}");
            assert!(row["last_error_info"]["kind"].is_string(), "{row}");
        } else {
            chat.interrupt().await.expect(200);
            chat.wait_for_status("waiting").await;
        }
        assert_eq!(chat.messages().await.first().unwrap()["role"], "user");
    }
    is_alive(&server, &admin).await;
}

/// A server that answers every connection with these bytes and hangs up.
async fn answer_with(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    port
}
