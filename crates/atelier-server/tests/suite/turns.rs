//! What sending, stopping and editing do to a chat and tell its viewers. Numbers are those of the contract.

use std::sync::Arc;

use atelier_test_support::{Chat, ChatView, DEADLINE, Engine, EventStream, Form, eventually, text_of};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::actions::{hanging, idle, watched};
use crate::host::{CHATS, Host, SystemClock, UNKNOWN, text};
use crate::provider::{ModelServer, Reply, answer};

async fn said(chat: &Chat) -> Vec<String> {
    chat.messages().await.iter().map(text_of).collect()
}

/// The next events of a stream up to the one that fits, with it.
async fn until(stream: &mut EventStream, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut seen = Vec::new();
    loop {
        let frame = stream.next().await.expect("the stream goes on");
        if frame.kind != "data" {
            continue;
        }
        for event in frame.data.as_array().unwrap() {
            seen.push(event.clone());
        }
        if seen.iter().any(&fits) {
            return seen;
        }
    }
}

async fn ready(chat: &Chat, cursor: Option<&str>) -> EventStream {
    let mut stream = chat.stream(Form::WebSocket, cursor.or(Some(""))).await;
    until(&mut stream, |event| event["type"] == "ready").await;
    stream
}

#[tokio::test]
async fn b029_b063_a_message_to_an_idle_chat_is_stored_and_answered() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = idle(&ada, "hello").await;
    let sent = chat.send_with(json!({"content": text("again")})).await.body(200);
    assert_eq!((&sent["queued"], &sent["message"]["role"]), (&json!(false), &json!("user")));
    assert!(sent.get("queued_message").is_none());
    ada.chat(UNKNOWN).send_with(json!({"content": text("x")})).await.expect_error(404, "not_found");
    chat.send_with(json!({"content": text(" ")})).await.expect_error(400, "invalid_content");
    chat.wait_for_status("waiting").await;
    // B29: no system message is ever seen
    assert!(chat.messages().await.iter().all(|message| message["role"] != "system"));
}

#[tokio::test]
async fn b065_b081_after_an_error_the_queue_waits_for_the_next_send() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = hanging(&ada).await;
        for words in ["fail", "second", "third"] {
            chat.send(words).await;
        }
        chat.interrupt().await.expect(200);
        // the failing one ran and none after it
        chat.wait_for_status("error").await;
        let page = ada.get(&chat.path("/messages")).await.body(200);
        assert_eq!(page["queued_messages"].as_array().unwrap().len(), 2);
        let sent = chat.send("fourth").await;
        assert_eq!(sent["queued"], true);
        // the oldest starts, then each has its own turn, in order
        eventually("an empty queue and rest", || async {
            let page = ada.get(&chat.path("/messages")).await.body(200);
            let is_over = page["queued_messages"] == json!([]) && chat.get().await["status"] == "waiting";
            is_over.then_some(())
        })
        .await;
        let told = said(&chat).await;
        let order: Vec<&str> = told.iter().map(String::as_str).filter(|words| *words != "Looking").collect();
        assert_eq!(
            order,
            ["hang", "fail", "second", "Hello there.", "third", "Hello there.", "fourth", "Hello there."]
        );
        host.stop().await;
    }
}

#[tokio::test]
async fn b072_an_urgent_message_stops_the_turn_and_runs_before_older_ones() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = hanging(&ada).await;
        chat.send("older").await;
        let urgent = json!({"content": text("urgent"), "busy_behavior": "interrupt"});
        assert_eq!(chat.send_with(urgent).await.body(200)["queued"], true);
        eventually("all to be answered", || async {
            let answers = said(&chat).await.into_iter().filter(|words| words == "Hello there.").count();
            (answers == 2).then_some(())
        })
        .await;
        assert_eq!(said(&chat).await, ["hang", "Looking", "urgent", "Hello there.", "older", "Hello there."]);
        // on an idle chat it is stored at once
        let again = json!({"content": text("now"), "busy_behavior": "interrupt"});
        chat.wait_for_status("waiting").await;
        assert_eq!(chat.send_with(again).await.body(200)["queued"], false);
        host.stop().await;
    }
}

#[tokio::test]
async fn b084_an_interrupt_of_a_chat_with_a_queue_starts_the_next() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = hanging(&ada).await;
    chat.send("next").await;
    chat.interrupt().await.expect(200);
    chat.wait_for_status("waiting").await;
    assert_eq!(said(&chat).await, ["hang", "Looking", "next", "Hello there."]);
    // in error the queue stays
    let failed = hanging(&ada).await;
    failed.send("fail").await;
    failed.send("stays").await;
    failed.interrupt().await.expect(200);
    failed.wait_for_status("error").await;
    assert_eq!(failed.interrupt().await.body(200)["status"], "waiting");
    let page = ada.get(&failed.path("/messages")).await.body(200);
    assert_eq!(page["queued_messages"][0]["content"], text("stays"));
}

#[tokio::test]
async fn b085_chats_are_found_by_their_workspace() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        let template = json!({"name": "base", "driver": "local", "spec": {}});
        let template = admin.post("/api/v2/organizations/default/templates", template).await.body(201);
        let workspace = async |name: &str| -> String {
            let body = json!({"template_id": template["id"], "name": name});
            let made = ada.post("/api/v2/users/me/workspaces", body).await.body(201);
            made["id"].as_str().unwrap().to_owned()
        };
        let (one, two) = (workspace("one").await, workspace("two").await);
        let chat = async |workspace: &str| {
            let chat = ada.chat_create_with(json!({"content": text("hello"), "workspace_id": workspace})).await;
            chat.wait_for_status("waiting").await;
            chat
        };
        let found = async |ids: &[&str]| {
            let got = ada.get(&format!("{CHATS}/by-workspace?workspace_ids={}", ids.join(","))).await.body(200);
            let posted = ada.post(&format!("{CHATS}/by-workspace"), json!({"workspace_ids": ids})).await.body(200);
            assert_eq!(got, posted);
            got
        };
        assert_eq!(found(&[]).await, json!({}));
        assert_eq!(found(&[&one]).await, json!({}));
        let (old, new, other) = (chat(&one).await, chat(&one).await, chat(&two).await);
        assert_eq!(found(&[&one, &two, UNKNOWN]).await, json!({&one: new.id, &two: other.id}));
        // the one that was updated last, and none that is archived
        old.send("again").await;
        old.wait_for_status("waiting").await;
        assert_eq!(found(&[&one]).await, json!({&one: old.id}));
        ada.post(&old.path("/archive"), json!({})).await.expect(204);
        assert_eq!(found(&[&one]).await, json!({&one: new.id}));
        assert_eq!(found(&[UNKNOWN; 25]).await, json!({}));
        let many = vec![UNKNOWN; 26];
        ada.post(&format!("{CHATS}/by-workspace"), json!({"workspace_ids": many}))
            .await
            .expect_error(400, "validation_failed");
        ada.get(&format!("{CHATS}/by-workspace?workspace_ids=x")).await.expect_error(400, "validation_failed");
        host.stop().await;
    }
}

#[tokio::test]
async fn b096_b097_an_edit_resets_the_history_of_every_viewer() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = idle(&ada, "first").await;
        chat.send("second").await;
        chat.wait_for_status("waiting").await;
        let messages = chat.messages().await;
        let (survivor, edited) = (messages[1]["id"].clone(), messages[2]["id"].clone());
        let mut resumable = ready(&chat, None).await;
        let mut plain = chat.stream(Form::WebSocket, None).await;
        until(&mut plain, |event| event["message"]["id"] == messages[3]["id"]).await;
        let before = {
            let mut view = ChatView::default();
            let mut stream = chat.stream(Form::WebSocket, Some("")).await;
            while !view.ready {
                view.apply(&stream.next().await.unwrap());
            }
            view.cursor
        };
        let edit = json!({"content": text("better")});
        let new = ada.patch(&chat.path(&format!("/messages/{edited}")), edit).await.body(200)["id"].clone();
        let reset = json!({"after_message_id": survivor});
        let is_new = |event: &Value| event["message"]["id"] == new;
        let told = until(&mut resumable, is_new).await;
        let at = told.iter().position(|event| event["type"] == "history_reset").unwrap();
        assert_eq!(told[at]["history_reset"], reset);
        let messages_after: Vec<&Value> =
            told[at..].iter().filter(|event| event["type"] == "message").map(|event| &event["message"]["id"]).collect();
        assert_eq!(messages_after[0], &new, "nothing that survives comes again");
        let told = until(&mut plain, is_new).await;
        let at = told.iter().position(|event| event["type"] == "history_reset").unwrap();
        let messages_after: Vec<&Value> =
            told[at..].iter().filter(|event| event["type"] == "message").map(|event| &event["message"]["id"]).collect();
        assert_eq!(messages_after[..3], [&messages[0]["id"], &survivor, &new], "all that survives comes again");
        // a cursor from before begins with the reset
        let mut late = chat.stream(Form::WebSocket, Some(&before)).await;
        let told = until(&mut late, |event| event["type"] == "ready").await;
        assert_eq!((&told[0]["type"], &told[0]["history_reset"]), (&json!("history_reset"), &reset));
        host.stop().await;
    }
}

#[tokio::test]
async fn an_edit_tells_every_viewer_that_the_queue_is_empty() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        for cursor in [None, Some("")] {
            let chat = hanging(&ada).await;
            let first = chat.messages().await[0]["id"].clone();
            chat.send("waits").await;
            let mut stream = chat.stream(Form::WebSocket, cursor).await;
            until(&mut stream, |event| event["queued_messages"].as_array().is_some_and(|queue| queue.len() == 1)).await;
            let edit = json!({"content": text("better")});
            let new = ada.patch(&chat.path(&format!("/messages/{first}")), edit).await.body(200)["id"].clone();
            let wanted = |told: &[Value]| {
                let Some(reset) = told.iter().position(|event| event["type"] == "history_reset") else { return false };
                let after = &told[reset..];
                after.iter().any(|event| event["message"]["id"] == new)
                    && after.iter().any(|event| event["queued_messages"] == json!([]))
                    && after.iter().any(|event| event["type"] == "status")
            };
            let mut told = Vec::new();
            let all = async {
                while !wanted(&told) {
                    told.extend(until(&mut stream, |_| true).await);
                }
            };
            let is_told = tokio::time::timeout(DEADLINE, all).await;
            is_told.unwrap_or_else(|_| panic!("with cursor {cursor:?} only {told:?}"));
        }
        host.stop().await;
    }
}

#[tokio::test]
async fn a_chat_whose_unread_answer_was_edited_away_has_nothing_unread() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = idle(&ada, "hello").await;
        assert_eq!(chat.get().await["has_unread"], true);
        let first = chat.messages().await[0]["id"].clone();
        let edit = json!({"content": text("hang")});
        ada.patch(&chat.path(&format!("/messages/{first}")), edit).await.expect(200);
        assert_eq!(chat.get().await["has_unread"], false);
        let unread = ada.get(&format!("{CHATS}?q=has_unread:true")).await.body(200);
        assert_eq!(unread, json!([]));
        // an answer that stays is still unread when a later message is edited
        let chat = idle(&ada, "hello").await;
        chat.send("hello").await;
        chat.wait_for_status("waiting").await;
        let second = chat.messages().await[2]["id"].clone();
        let edit = json!({"content": text("hang")});
        ada.patch(&chat.path(&format!("/messages/{second}")), edit).await.expect(200);
        assert_eq!(chat.get().await["has_unread"], true);
        host.stop().await;
    }
}

#[tokio::test]
async fn equal_messages_that_are_promoted_together_are_each_answered_with_their_own() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = hanging(&ada).await;
        let mut entries = Vec::new();
        for _ in 0..2 {
            entries.push(chat.send("again").await["queued_message"]["id"].clone());
        }
        let promote = async |entry: &Value| {
            ada.post(&chat.path(&format!("/queue/{entry}/promote")), json!({})).await.body(200)["id"].clone()
        };
        let (one, other) = tokio::join!(promote(&entries[0]), promote(&entries[1]));
        chat.wait_for_status("waiting").await;
        let messages = chat.messages().await;
        let mut stored: Vec<&Value> =
            messages.iter().filter(|message| text_of(message) == "again").map(|message| &message["id"]).collect();
        let mut answered = vec![&one, &other];
        stored.sort_by_key(|id| id.as_i64());
        answered.sort_by_key(|id| id.as_i64());
        assert_eq!(answered, stored);
        host.stop().await;
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_in_mid_step_leaves_its_retries() {
    let clock = Arc::new(SystemClock::default());
    let host = Host::builder().clock(clock.clone()).without_model().start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let gate = Arc::new(Notify::new());
    let failure = Reply { status: 500, gate: Some(Arc::clone(&gate)), ..Reply::events(String::new()) };
    let server = ModelServer::replying(vec![failure, Reply::events(answer("Hi", "stop"))]).await;
    server.add(&admin, "openai-compat", "local").await;
    let chat = ada.chat_create("hello").await;
    eventually("the first request", async || server.seen().first().cloned()).await;
    clock.set_back(2);
    gate.notify_one();
    let over = eventually("the end of the turn", async || {
        let chat = chat.get().await;
        ["waiting", "error"].iter().any(|status| chat["status"] == *status).then_some(chat)
    })
    .await;
    assert_eq!((&over["status"], server.seen().len()), (&json!("waiting"), 2), "{over}");
    host.stop().await;
}

#[tokio::test]
async fn b098_a_cursor_of_nothing_or_of_another_chat_is_refused() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let (one, other) = (idle(&ada, "one").await, idle(&ada, "other").await);
    let mut view = ChatView::default();
    let mut stream = other.stream(Form::WebSocket, Some("")).await;
    while !view.ready {
        view.apply(&stream.next().await.unwrap());
    }
    for cursor in ["nonsense", &view.cursor] {
        let path = one.path(&format!("/stream?cursor={cursor}"));
        let request = ada.request(reqwest::Method::GET, &path).header("accept", "text/event-stream");
        ada.send(request).await.expect_error(400, "invalid_cursor");
    }
    // B99: neither a socket nor events asked for
    ada.get(&one.path("/stream")).await.expect_error(426, "upgrade_required");
}

#[tokio::test]
async fn b102_the_queue_is_told_whole_at_each_change() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = hanging(&ada).await;
    let mut stream = ready(&chat, None).await;
    let mut told = async || {
        let events = until(&mut stream, |event| event["type"] == "queue_update").await;
        let update = events.into_iter().find(|event| event["type"] == "queue_update").unwrap();
        let queue = update["queued_messages"].as_array().unwrap().clone();
        queue.iter().map(|entry| entry["content"][0]["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = chat.send("one").await["queued_message"]["id"].clone();
    assert_eq!(told().await, ["one"]);
    chat.send("two").await;
    assert_eq!(told().await, ["one", "two"]);
    ada.delete(&chat.path(&format!("/queue/{first}"))).await.expect(204);
    assert_eq!(told().await, ["two"]);
    chat.interrupt().await.expect(200);
    assert!(told().await.is_empty());
}

#[tokio::test]
async fn b107_each_change_has_its_kind_in_the_watch() {
    let host = Host::start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let chat = idle(&ada, "hello").await;
    let mut watch = ada.watch().await;
    let mut foreign = admin.watch().await;
    let kind = async |watch: &mut EventStream, chat: &Chat| watched(watch, chat).await["kind"].clone();
    ada.patch(&chat.path(""), json!({"title": "Other"})).await.expect(204);
    assert_eq!(kind(&mut watch, &chat).await, "title_change");
    ada.patch(&chat.path(""), json!({"labels": {"a": "b"}})).await.expect(204);
    assert_eq!(kind(&mut watch, &chat).await, "updated");
    ada.put(&chat.path("/read"), json!({})).await.expect(204);
    assert_eq!(kind(&mut watch, &chat).await, "updated");
    ada.post(&chat.path("/archive"), json!({})).await.expect(204);
    assert_eq!(kind(&mut watch, &chat).await, "deleted");
    ada.post(&chat.path("/unarchive"), json!({})).await.expect(204);
    assert_eq!(kind(&mut watch, &chat).await, "created");
    chat.send("again").await;
    let event = watched(&mut watch, &chat).await;
    assert_eq!(event["kind"], "status_change");
    // nothing of it for anybody else: the owner's next event is about the owner's chat
    let own = admin.chat_create("mine").await;
    loop {
        let frame = foreign.next().await.unwrap();
        if frame.kind == "data" {
            assert_eq!(frame.data["chat"]["id"], json!(own.id));
            break;
        }
    }
}

#[tokio::test]
async fn b105_the_turn_of_a_suspended_owner_ends_in_an_error() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        let chat = hanging(&ada).await;
        chat.send("next").await;
        admin.put("/api/v2/users/ada/status/suspend", json!({})).await.expect(200);
        let seen = chat.seen_by(&admin);
        // the site owner stops what runs, and the next turn is looked at anew
        seen.interrupt().await.expect(200);
        let failed = seen.wait_for_status("error").await;
        assert_eq!(failed["last_error_info"]["kind"], "owner_suspended");
        assert_eq!(said(&seen).await, ["hang", "Looking", "next"]);
        host.stop().await;
    }
}

/// What a provider says beside the words: signatures, encrypted blocks, a block that nobody knows.
const RICH: &str = include_str!("rich-answer.sse");

/// The fields that a part of each type may have.
const FIELDS: &[(&str, &[&str])] = &[
    ("text", &["text"]),
    ("reasoning", &["text", "created_at", "completed_at"]),
    (
        "tool-call",
        &["tool_call_id", "tool_name", "args", "args_delta", "provider_executed", "mcp_server_config_id", "created_at"],
    ),
    (
        "tool-result",
        &[
            "tool_call_id",
            "tool_name",
            "result",
            "result_delta",
            "is_error",
            "is_media",
            "provider_executed",
            "mcp_server_config_id",
            "created_at",
        ],
    ),
    ("source", &["url", "title", "source_id"]),
    ("file", &["media_type", "file_id", "name", "data"]),
    ("file-reference", &["file_name", "start_line", "end_line", "content"]),
    ("diff-comment", &["file_name", "start_line", "end_line", "side", "content"]),
];

fn check_parts(parts: &Value) -> Vec<String> {
    let parts = parts.as_array().unwrap();
    for part in parts {
        let kind = part["type"].as_str().unwrap();
        let (_, allowed) = FIELDS.iter().find(|(name, _)| *name == kind).unwrap_or_else(|| panic!("{part}"));
        for field in part.as_object().unwrap().keys().filter(|field| *field != "type") {
            assert!(allowed.contains(&field.as_str()), "{field} in {part}");
        }
    }
    parts.iter().map(|part| part["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn b071_parts_have_their_fields_only_and_nothing_of_the_provider() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).without_model().start().await;
        let server = ModelServer::start(RICH.to_owned()).await;
        server.add(&host.admin().await, "anthropic", "anthropic").await;
        let ada = host.user("ada", &[]).await;
        let file = crate::files::uploaded(&ada, "text/plain", "notes.txt", b"remember").await;
        let content = json!([
            {"type": "text", "text": "look", "side": "left", "data": "aGk="},
            {"type": "file", "file_id": file},
            {"type": "file-reference", "file_name": "a.rs", "start_line": 1, "end_line": 2, "content": "fn"},
            {"type": "diff-comment", "file_name": "a.rs", "start_line": 1, "end_line": 1, "content": "why?"},
        ]);
        let chat = ada.chat_create_with(json!({"content": content})).await;
        let mut stream = chat.stream(Form::WebSocket, Some("")).await;
        let over = |event: &Value| ["waiting", "error"].iter().any(|status| event["status"]["status"] == *status);
        let mut streamed = until(&mut stream, over).await;
        assert_eq!(chat.get().await["last_error"], Value::Null);
        let mut late = chat.stream(Form::WebSocket, Some("")).await;
        streamed.extend(until(&mut late, |event| event["type"] == "ready").await);
        let messages = chat.messages().await;
        assert_eq!(check_parts(&messages[0]["content"]), ["text", "file", "file-reference", "diff-comment"]);
        let kinds = check_parts(&messages[1]["content"]);
        for kind in ["reasoning", "text", "tool-call", "tool-result", "source"] {
            assert!(kinds.iter().any(|found| found == kind), "{kind} in {kinds:?}");
        }
        for event in &streamed {
            if let Some(content) = event["message"].get("content") {
                check_parts(content);
            }
            if event["type"] == "message_part" {
                check_parts(&json!([event["message_part"]["part"]]));
            }
        }
        let shown = format!("{messages:?} {streamed:?}");
        for hidden in ["SIGNATURE", "ENCRYPTED", "REDACTED", "hologram", "native", "metadata", "aGk="] {
            assert!(!shown.contains(hidden), "{hidden} in {shown}");
        }
        // and yet the provider gets it back
        chat.send("again").await;
        chat.wait_for_status("waiting").await;
        let second = eventually("the second request", async || server.seen().get(1).cloned()).await.body.to_string();
        for kept in ["SIGNATURE", "ENCRYPTED", "REDACTED"] {
            assert!(second.contains(kept), "{kept} is missing in {second}");
        }
        host.stop().await;
    }
}

#[tokio::test]
async fn b166_a_cut_answer_and_a_stopped_one_say_so() {
    let host = Host::start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let model = ModelServer::start(answer("Half a", "length")).await.add(&admin, "openai-compat", "local").await;
    let cut = ada.chat_create_with(json!({"content": text("hello"), "model_config_id": model})).await;
    cut.wait_for_status("waiting").await;
    assert_eq!(cut.messages().await[1]["finish_reason"], "length");
    let stopped = hanging(&ada).await;
    stopped.interrupt().await.expect(200);
    stopped.wait_for_status("waiting").await;
    assert_eq!(stopped.messages().await[1]["finish_reason"], "interrupted");
    host.stop().await;
}

#[tokio::test]
async fn b073_answers_carry_cost_and_runtime() {
    let host = Host::builder().without_model().start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let model = ModelServer::start(answer("Hi", "stop")).await.add(&admin, "openai-compat", "local").await;
    let path = format!("{CHATS}/model-configs/{model}");
    // without prices nothing is said of cost, which is not the same as free
    let unpriced = idle(&ada, "hello").await.messages().await;
    assert!(unpriced[1].get("cost_micros").is_none(), "{}", unpriced[1]);
    let cost = json!({"input_price_per_million_tokens": "1.5", "output_price_per_million_tokens": "10"});
    admin.patch(&path, json!({"model_config": {"cost": cost}})).await.expect(200);
    let priced = idle(&ada, "hello").await.messages().await;
    assert_eq!(priced[1]["cost_micros"], 1000 * 3 / 2 + 100 * 10, "{}", priced[1]);
    assert!(priced[1]["runtime_ms"].is_u64() && priced[0].get("runtime_ms").is_none(), "{priced:?}");
    assert_eq!(unpriced[1]["usage"], priced[1]["usage"]);
    host.stop().await;
}
