//! Chats and their messages.

use atelier_test_support::{Engine, Form, eventually};
use serde_json::{Value, json};

use crate::host::{CHATS, Host, text};

#[tokio::test]
async fn b028_b047_a_chat_is_created_pending_and_answered() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let body = json!({"content": text("  fix the build  "), "labels": {"team": "a"}});
        let made = ada.post(&format!("{CHATS}/"), body).await.body(201);
        assert_eq!((&made["status"], &made["title"]), (&json!("pending"), &json!("fix the build")));
        assert_eq!((&made["root_chat_id"], &made["labels"]), (&made["id"], &json!({"team": "a"})));
        assert_eq!(made["owner_id"], json!(host.user_id("ada").await));
        for absent in ["workspace_id", "parent_chat_id", "diff_status", "build_id", "mode", "children"] {
            assert!(made.get(absent).is_none(), "{absent}");
        }
        assert_eq!(made["last_error"], Value::Null);
        let chat = ada.chat(made["id"].as_str().unwrap());
        let done = chat.wait_for_status("waiting").await;
        assert_eq!((&done["id"], &done["created_at"]), (&made["id"], &made["created_at"]));
        let messages = chat.messages().await;
        let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["user", "assistant"]);
        assert_eq!(messages[0]["content"], text("fix the build"));
        assert_eq!(messages[1]["content"], text("Hello there."));
        assert_eq!(
            (&messages[1]["finish_reason"], &messages[1]["usage"]["input_tokens"]),
            (&json!("stop"), &json!(10))
        );
        assert!(messages[1].get("created_by").is_none());
        assert_eq!(done["has_unread"], true);
        host.stop().await;
    }
}

#[tokio::test]
async fn b033_b035_b068_b069_content_is_checked_part_by_part() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let faults = async |content: Value| -> Vec<String> {
        let body = ada.post(CHATS, json!({"content": content})).await.body(400);
        assert_eq!(body["code"], "invalid_content");
        body["validations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["field"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(faults(Value::Null).await, ["content"]);
    assert_eq!(faults(json!([])).await, ["content"]);
    assert_eq!(faults(text(" \n")).await, ["content[0].text"]);
    assert_eq!(faults(json!([{"type": "image", "text": "x"}])).await, ["content[0].type"]);
    assert_eq!(faults(json!(vec![json!({"type": "text", "text": "x"}); 101])).await, ["content"]);
    assert_eq!(faults(text(&"x".repeat(1024 * 1024 + 1))).await, ["content"]);
    let file = json!([{"type": "file", "file_id": "01890000-0000-7000-8000-000000000000"}]);
    assert_eq!(faults(file).await, ["content[0].file_id"]);
    assert_eq!(faults(json!([{"type": "file-reference", "file_name": ""}])).await, ["content[0].file_name"]);
    let comment = json!([{"type": "diff-comment", "file_name": "a", "side": "x"}]);
    assert_eq!(faults(comment).await, ["content[0].side"]);
    ada.post(CHATS, json!({"content": [{"type": "text", "text": 1}]})).await.expect_error(400, "invalid_json");
    assert_eq!(ada.get(CHATS).await.body(200), json!([]));

    // order and values are kept, each part has its own fields only
    let chat = ada
        .chat_create_with(json!({"content": [
            {"type": "TEXT", "text": "one two three four five six seven", "side": "old"},
            {"type": "file-reference", "file_name": "src/main.rs", "start_line": 3, "end_line": 9, "content": "fn"},
            {"type": " diff-comment ", "file_name": "b", "content": "x"},
            {"type": "diff-comment", "file_name": "c", "side": "left"},
        ]}))
        .await;
    assert_eq!(chat.get().await["title"], "one two three four five six…");
    assert_eq!(
        chat.messages().await[0]["content"],
        json!([
            {"type": "text", "text": "one two three four five six seven"},
            {"type": "file-reference", "file_name": "src/main.rs", "start_line": 3, "end_line": 9, "content": "fn"},
            {"type": "diff-comment", "file_name": "b", "start_line": 0, "end_line": 0, "side": "new", "content": "x"},
            {"type": "diff-comment", "file_name": "c", "start_line": 0, "end_line": 0, "side": "old", "content": ""},
        ])
    );
    let reference =
        json!({"content": [{"type": "file-reference", "file_name": "a.rs", "start_line": 1, "end_line": 2}]});
    assert_eq!(ada.chat_create_with(reference).await.get().await["title"], "a.rs:1-2");
    host.stop().await;
}

#[tokio::test]
async fn b030_b032_b036_b037_b066_what_a_chat_names_must_be_usable() {
    let host = Host::start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let create = async |more: Value| {
        let mut body = json!({"content": text("hi")});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ada.post(CHATS, body).await
    };
    let nil = "00000000-0000-0000-0000-000000000000";
    let unknown = "01890000-0000-7000-8000-000000000000";
    for id in [nil, unknown] {
        create(json!({"model_config_id": id})).await.expect_error(400, "model_unavailable");
        create(json!({"workspace_id": id})).await.expect_error(400, "workspace_unavailable");
        let refused = create(json!({"mcp_server_ids": [id]})).await.body(400);
        assert_eq!((&refused["code"], &refused["detail"]), (&json!("unknown_mcp_servers"), &json!(id)));
    }
    create(json!({"mcp_server_ids": []})).await.expect(201);
    let disabled = json!({"provider": "scripted", "model": "off", "context_limit": 10, "enabled": false});
    let disabled = admin.post(&format!("{CHATS}/model-configs"), disabled).await.body(201);
    create(json!({"model_config_id": disabled["id"]})).await.expect_error(400, "model_unavailable");
    let lab = admin.post("/api/v2/organizations", json!({"name": "lab"})).await.body(201);
    create(json!({"organization_id": lab["id"]})).await.expect_error(400, "validation_failed");
    for labels in [json!({"-a": "x"}), json!({"a": ""}), json!({"a": "x".repeat(257)}), json!({"ä": "x"})] {
        create(json!({"labels": labels})).await.expect_error(400, "validation_failed");
    }
    let many: serde_json::Map<String, Value> = (0..51).map(|at| (format!("k{at}"), json!("x"))).collect();
    create(json!({"labels": many})).await.expect_error(400, "validation_failed");
    // the model is looked at when sending, too
    let chat = ada.chat_create("hang").await;
    chat.send_with(json!({"content": text("x"), "model_config_id": disabled["id"]}))
        .await
        .expect_error(400, "model_unavailable");
    chat.send_with(json!({"content": text("x"), "busy_behavior": "shout"}))
        .await
        .expect_error(400, "validation_failed");
    chat.send_with(json!({"content": text(" ")})).await.expect_error(400, "invalid_content");
    host.stop().await;
}

#[tokio::test]
async fn b060_b061_messages_come_in_pages_both_ways() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = ada.chat_create("one").await;
        chat.wait_for_status("waiting").await;
        chat.send("two").await;
        chat.wait_for_status("waiting").await;
        let page = async |query: &str| {
            let page = ada.get(&chat.path(&format!("/messages{query}"))).await.body(200);
            let ids: Vec<i64> =
                page["messages"].as_array().unwrap().iter().map(|message| message["id"].as_i64().unwrap()).collect();
            (ids, page["has_more"].as_bool().unwrap())
        };
        let (all, more) = page("").await;
        assert_eq!((all.len(), more), (4, false));
        assert!(all.is_sorted_by(|a, b| a > b));
        assert_eq!(page("?limit=2").await, (all[..2].to_vec(), true));
        assert_eq!(page(&format!("?limit=2&before_id={}", all[1])).await, (all[2..].to_vec(), false));
        let ascending: Vec<i64> = all.iter().rev().copied().collect();
        assert_eq!(page(&format!("?limit=2&after_id={}", all[3])).await, (ascending[1..3].to_vec(), true));
        let between = format!("?after_id={}&before_id={}", all[3], all[0]);
        assert_eq!(page(&between).await, (vec![all[1], all[2]], false));
        for bad in
            ["limit=0", "limit=201", "limit=x", "before_id=0", "before_id=x", "after_id=0", "after_id=5&before_id=5"]
        {
            ada.get(&chat.path(&format!("/messages?{bad}"))).await.expect_error(400, "validation_failed");
        }
        host.stop().await;
    }
}

#[tokio::test]
async fn b062_b064_b082_a_busy_chat_queues_and_is_interrupted() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = ada.chat_create("hang on").await;
        chat.wait_for_status("running").await;
        let sent = chat.send("later").await;
        assert_eq!(sent["queued"], true);
        assert_eq!(sent["queued_message"]["content"], text("later"));
        assert!(sent.get("message").is_none());
        for at in 1..20 {
            chat.send(&format!("later {at}")).await;
        }
        chat.send_with(json!({"content": text("one too many")})).await.expect_error(429, "queue_full");
        let page = ada.get(&chat.path("/messages")).await.body(200);
        assert_eq!(page["queued_messages"].as_array().unwrap().len(), 20);
        assert_eq!(page["queued_messages"][0]["id"], sent["queued_message"]["id"]);
        let first = page["messages"][0]["id"].as_i64().unwrap();
        let paged = ada.get(&chat.path(&format!("/messages?before_id={}", first + 1))).await.body(200);
        assert_eq!(paged["queued_messages"], json!([]));

        // an interrupt keeps what came and starts the next entry
        let mut stream = chat.stream(Form::WebSocket, Some("")).await;
        let mut seen = String::new();
        while !seen.contains("Looking") {
            seen.push_str(&stream.next().await.unwrap().data.to_string());
        }
        let answer = chat.interrupt().await.body(200);
        assert_eq!(answer["id"], json!(chat.id));
        let messages = eventually("the answer so far", async || {
            let messages = chat.messages().await;
            (messages.len() > 1).then_some(messages)
        })
        .await;
        assert_eq!(messages[1]["content"], text("Looking"));
        assert_eq!(messages[1]["finish_reason"], "interrupted");
        chat.wait_for_status("waiting").await;
        assert_eq!(ada.get(&chat.path("/messages")).await.body(200)["queued_messages"], json!([]));
        // idle: an interrupt changes nothing
        assert_eq!(chat.interrupt().await.body(200)["status"], "waiting");
        ada.chat("01890000-0000-7000-8000-000000000000").interrupt().await.expect_error(404, "not_found");
        host.stop().await;
    }
}

#[tokio::test]
async fn b083_a_failed_turn_shows_its_error_and_an_interrupt_clears_it() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = ada.chat_create("fail").await;
    let failed = chat.wait_for_status("error").await;
    assert_eq!(failed["last_error_info"]["kind"], "auth");
    assert!(failed["last_error"].as_str().unwrap().len() > 3);
    let cleared = chat.interrupt().await.body(200);
    assert_eq!((&cleared["status"], &cleared["last_error"]), (&json!("waiting"), &Value::Null));
    assert!(cleared.get("last_error_info").is_none());
    host.stop().await;
}

#[tokio::test]
async fn site_owners_read_and_stop_but_do_not_speak_for_others() {
    let host = Host::start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let chat = ada.chat_create("hang").await;
    chat.wait_for_status("running").await;
    let seen = admin.chat(&chat.id);
    assert_eq!(seen.get().await["id"], json!(chat.id));
    assert_eq!(seen.messages().await.len(), 1);
    seen.send_with(json!({"content": text("x")})).await.expect_error(403, "not_chat_owner");
    admin.put(&seen.path("/read"), json!({})).await.expect_error(403, "not_chat_owner");
    seen.interrupt().await.expect(200);
    chat.wait_for_status("waiting").await;
    // an owner's list holds own chats only
    assert_eq!(admin.get(CHATS).await.body(200), json!([]));
    let auditor = host.user("ben", &["auditor"]).await;
    auditor.get(&chat.path("")).await.expect_error(404, "not_found");
    auditor.chat(&chat.id).interrupt().await.expect_error(404, "not_found");
    host.stop().await;
}

#[tokio::test]
async fn b059_the_read_mark_follows_the_owners_stream() {
    let host = Host::start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let chat = ada.chat_create("hello").await;
    assert_eq!(chat.wait_for_status("waiting").await["has_unread"], true);
    // somebody else's look is none of the owner's
    let mut stream = admin.chat(&chat.id).stream(Form::WebSocket, Some("")).await;
    stream.next().await.unwrap();
    drop(stream);
    let mut stream = chat.stream(Form::WebSocket, Some("&mark_read=false")).await;
    stream.next().await.unwrap();
    drop(stream);
    assert_eq!(chat.get().await["has_unread"], true);
    for form in [Form::WebSocket, Form::ServerSentEvents] {
        ada.put(&chat.path("/read"), json!({"message_id": 0})).await.expect(204);
        assert_eq!(chat.get().await["has_unread"], true);
        let mut stream = chat.stream(form, Some("")).await;
        stream.next().await.unwrap();
        eventually("the chat to be read", || async { (chat.get().await["has_unread"] == false).then_some(()) }).await;
    }
    ada.put(&chat.path("/read"), json!({"message_id": 0})).await.expect(204);
    ada.put(&chat.path("/read"), json!({})).await.expect(204);
    assert_eq!(chat.get().await["has_unread"], false);
    ada.put(&chat.path("/read"), json!({"message_id": -1})).await.expect(400);
    host.stop().await;
}
