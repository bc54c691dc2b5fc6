//! What people do with chats and messages: set, archive, edit, queue. Numbers are those of the contract.

use atelier_test_support::{Actor, Chat, ChatView, Engine, EventStream, Form, eventually, text_of};
use reqwest::Method;
use serde_json::{Value, json};

use crate::host::{CHATS, Host, UNKNOWN, text};

/// A chat whose turn has ended.
pub(crate) async fn idle(actor: &Actor, words: &str) -> Chat {
    let chat = actor.chat_create(words).await;
    chat.wait_for_status("waiting").await;
    chat
}

/// A chat whose answer has begun and does not end by itself.
pub(crate) async fn hanging(actor: &Actor) -> Chat {
    let chat = actor.chat_create("hang").await;
    let mut stream = chat.stream(Form::WebSocket, Some("")).await;
    let mut view = ChatView::default();
    while view.live_parts == 0 {
        view.apply(&stream.next().await.unwrap());
    }
    chat
}

pub(crate) async fn patch(actor: &Actor, chat: &Chat, body: Value) -> u16 {
    actor.patch(&chat.path(""), body).await.status
}

/// The next event of a watch stream about this chat.
pub(crate) async fn watched(watch: &mut EventStream, chat: &Chat) -> Value {
    loop {
        let frame = watch.next().await.expect("the watch stream goes on");
        if frame.kind == "data" && frame.data["chat"]["id"] == json!(chat.id) {
            return frame.data;
        }
    }
}

async fn titles(actor: &Actor, query: &str) -> Vec<String> {
    let list = actor.get(&format!("{CHATS}?{query}")).await.body(200);
    list.as_array().unwrap().iter().map(|chat| chat["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn b050_a_title_is_trimmed_kept_and_told() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = idle(&ada, "hello").await;
        let mut watch = ada.watch().await;
        assert_eq!(patch(&ada, &chat, json!({"title": "  The plan  "})).await, 204);
        let event = watched(&mut watch, &chat).await;
        assert_eq!((&event["kind"], &event["chat"]["title"]), (&json!("title_change"), &json!("The plan")));
        for title in ["", "  ", &"x".repeat(201)] {
            ada.patch(&chat.path(""), json!({"title": title})).await.expect_error(400, "validation_failed");
        }
        assert_eq!(patch(&ada, &chat, json!({"title": "ä".repeat(200)})).await, 204);
        assert_eq!(chat.get().await["title"], json!("ä".repeat(200)));
        assert_eq!(patch(&ada, &chat, json!({"title": "a\u{1b}]0;b\u{7}\u{0}\n\u{202e}c"})).await, 204);
        assert_eq!(chat.get().await["title"], json!("a]0;b c"));
        host.stop().await;
    }
}

#[tokio::test]
async fn b051_labels_are_replaced_whole() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = idle(&ada, "hello").await;
    let many: serde_json::Map<String, Value> = (0..51).map(|at| (format!("k{at}"), json!("x"))).collect();
    for labels in [json!(many), json!({"-a": "x"}), json!({"a": ""})] {
        ada.patch(&chat.path(""), json!({"labels": labels})).await.expect_error(400, "validation_failed");
    }
    let mut watch = ada.watch().await;
    assert_eq!(patch(&ada, &chat, json!({"labels": {"team": "a", "b/c": "d"}})).await, 204);
    assert_eq!(watched(&mut watch, &chat).await["kind"], "updated");
    assert_eq!(chat.get().await["labels"], json!({"team": "a", "b/c": "d"}));
    assert_eq!(patch(&ada, &chat, json!({"labels": {}})).await, 204);
    assert_eq!(chat.get().await["labels"], json!({}));
    host.stop().await;
}

#[tokio::test]
async fn b052_pins_append_move_clamp_and_close_gaps() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chats = [idle(&ada, "a").await, idle(&ada, "b").await, idle(&ada, "c").await, idle(&ada, "d").await];
        let order = async || {
            let mut places = Vec::new();
            for chat in &chats {
                places.push(chat.get().await["pin_order"].as_i64().unwrap());
            }
            places
        };
        for chat in &chats[..3] {
            assert_eq!(patch(&ada, chat, json!({"pin_order": 1})).await, 204);
        }
        assert_eq!(order().await, [1, 2, 3, 0]);
        assert_eq!(patch(&ada, &chats[2], json!({"pin_order": 1})).await, 204);
        assert_eq!(order().await, [2, 3, 1, 0]);
        assert_eq!(patch(&ada, &chats[2], json!({"pin_order": 99})).await, 204);
        assert_eq!(order().await, [1, 2, 3, 0]);
        assert_eq!(titles(&ada, "").await, ["a", "b", "c", "d"]);
        // paging across the border loses none (B46)
        let page = titles(&ada, &format!("limit=2&after_id={}", chats[1].id)).await;
        assert_eq!(page, ["c", "d"]);
        assert_eq!(patch(&ada, &chats[0], json!({"pin_order": 0})).await, 204);
        assert_eq!(order().await, [0, 1, 2, 0]);
        ada.post(&chats[1].path("/archive"), json!({})).await.expect(204);
        assert_eq!(order().await, [0, 0, 1, 0]);
        ada.patch(&chats[0].path(""), json!({"pin_order": -1})).await.expect_error(400, "validation_failed");
        ada.patch(&chats[1].path(""), json!({"pin_order": 1})).await.expect_error(400, "validation_failed");
        host.stop().await;
    }
}

#[tokio::test]
async fn pins_that_are_set_at_the_same_time_are_numbered_without_gaps() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chats = [idle(&ada, "a").await, idle(&ada, "b").await, idle(&ada, "c").await, idle(&ada, "d").await];
        let places = async || {
            let mut places = Vec::new();
            for chat in &chats {
                places.push(chat.get().await["pin_order"].as_i64().unwrap());
            }
            places.sort_unstable();
            places
        };
        let pin = |chat: &Chat| {
            let (ada, chat) = (ada.clone(), chat.clone());
            async move { assert_eq!(patch(&ada, &chat, json!({"pin_order": 1})).await, 204) }
        };
        let archive = |chat: &Chat, way: &str| {
            let (ada, path) = (ada.clone(), chat.path(way));
            async move { ada.post(&path, json!({})).await.expect(204) }
        };
        let [a, b, c, d] = &chats;
        for _ in 0..5 {
            tokio::join!(pin(a), pin(b), pin(c), pin(d));
            assert_eq!(places().await, [1, 2, 3, 4]);
            tokio::join!(archive(a, "/archive"), pin(b), archive(c, "/archive"), pin(d));
            assert_eq!(places().await, [0, 0, 1, 2]);
            tokio::join!(archive(b, "/archive"), archive(d, "/archive"));
            tokio::join!(archive(a, "/unarchive"), archive(b, "/unarchive"));
            tokio::join!(archive(c, "/unarchive"), archive(d, "/unarchive"));
            assert_eq!(places().await, [0, 0, 0, 0]);
        }
        host.stop().await;
    }
}

#[tokio::test]
async fn b053_all_fields_are_set_or_none() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = idle(&ada, "hello").await;
    let before = chat.get().await;
    let mut watch = ada.watch().await;
    assert_eq!(patch(&ada, &chat, json!({})).await, 204);
    let bad = json!({"title": "New", "labels": {"a": "b"}, "pin_order": -1});
    assert_eq!(patch(&ada, &chat, bad).await, 400);
    let bad = json!({"title": "New", "archived": false});
    ada.patch(&chat.path(""), bad).await.expect_error(400, "not_archived");
    assert_eq!(chat.get().await, before);
    // the first event is that of the change that holds
    assert_eq!(patch(&ada, &chat, json!({"labels": {"a": "b"}, "title": "Both"})).await, 204);
    assert_eq!(watched(&mut watch, &chat).await["chat"]["title"], "Both");
    host.stop().await;
}

#[tokio::test]
async fn b054_a_workspace_is_refused_as_in_create_and_null_clears() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = idle(&ada, "hello").await;
    let body = json!({"workspace_id": UNKNOWN});
    ada.patch(&chat.path(""), body).await.expect_error(400, "workspace_unavailable");
    for nothing in [Value::Null, json!("00000000-0000-0000-0000-000000000000")] {
        assert_eq!(patch(&ada, &chat, json!({"workspace_id": nothing})).await, 204);
    }
    assert!(chat.get().await.get("workspace_id").is_none());
    host.stop().await;
}

#[tokio::test]
async fn b055_b056_archiving_hides_a_chat_and_can_be_repeated() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = idle(&ada, "hello").await;
        ada.patch(&chat.path(""), json!({"archived": false})).await.expect_error(400, "not_archived");
        let mut watch = ada.watch().await;
        for _ in 0..2 {
            ada.post(&chat.path("/archive"), json!({})).await.expect(204);
        }
        assert_eq!(watched(&mut watch, &chat).await["kind"], "deleted");
        ada.patch(&chat.path(""), json!({"archived": true})).await.expect_error(400, "already_archived");
        assert!(titles(&ada, "").await.is_empty());
        assert_eq!(titles(&ada, "archived=true").await, ["hello"]);
        // reading, title and labels go on
        assert_eq!(patch(&ada, &chat, json!({"title": "Still here"})).await, 204);
        assert_eq!(watched(&mut watch, &chat).await["kind"], "title_change");
        for _ in 0..2 {
            ada.post(&chat.path("/unarchive"), json!({})).await.expect(204);
        }
        assert_eq!(watched(&mut watch, &chat).await["kind"], "created");
        assert_eq!(titles(&ada, "").await, ["Still here"]);
        assert_eq!(patch(&ada, &chat, json!({"archived": true})).await, 204);
        assert_eq!(patch(&ada, &chat, json!({"archived": false})).await, 204);
        for what in ["archive", "unarchive"] {
            ada.post(&format!("{CHATS}/{UNKNOWN}/{what}"), json!({})).await.expect_error(404, "not_found");
        }
        host.stop().await;
    }
}

#[tokio::test]
async fn b057_archiving_stops_a_turn_and_keeps_what_there_is() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = hanging(&ada).await;
        let queued = chat.send("later").await;
        let entry = queued["queued_message"]["id"].as_i64().unwrap();
        ada.post(&chat.path("/archive"), json!({})).await.expect(204);
        let messages = eventually("the partial answer", || async {
            let messages = chat.messages().await;
            (messages.len() == 2).then_some(messages)
        })
        .await;
        assert_eq!((text_of(&messages[1]).as_str(), &messages[1]["finish_reason"]), ("Looking", &json!("interrupted")));
        assert_eq!(chat.get().await["status"], "waiting");
        let first = messages[0]["id"].as_i64().unwrap();
        let refused = [
            (Method::POST, chat.path("/messages")),
            (Method::PATCH, chat.path(&format!("/messages/{first}"))),
            (Method::POST, chat.path(&format!("/queue/{entry}/promote"))),
        ];
        for (method, path) in refused {
            let request = ada.request(method, &path).json(&json!({"content": text("x")}));
            ada.send(request).await.expect_error(409, "chat_archived");
        }
        ada.post(&chat.path("/interrupt"), json!({})).await.expect(200);
        let page = ada.get(&chat.path("/messages")).await.body(200);
        assert_eq!(page["queued_messages"][0]["id"], json!(entry));
        ada.post(&chat.path("/unarchive"), json!({})).await.expect(204);
        assert_eq!(chat.get().await["status"], "waiting");
        let page = ada.get(&chat.path("/messages")).await.body(200);
        assert_eq!(page["queued_messages"].as_array().unwrap().len(), 1, "nothing starts");
        host.stop().await;
    }
}

#[tokio::test]
async fn b058_the_time_of_update_ignores_what_people_set() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = idle(&ada, "hello").await;
    let before = chat.get().await["updated_at"].clone();
    assert_eq!(patch(&ada, &chat, json!({"title": "t", "labels": {"a": "b"}, "pin_order": 1})).await, 204);
    ada.put(&chat.path("/read"), json!({"message_id": 0})).await.expect(204);
    assert_eq!(chat.get().await["updated_at"], before);
    ada.post(&chat.path("/archive"), json!({})).await.expect(204);
    assert_ne!(chat.get().await["updated_at"], before);
    host.stop().await;
}

#[tokio::test]
async fn b074_an_edit_replaces_the_message_and_all_behind_it() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = idle(&ada, "first").await;
        chat.send("second").await;
        chat.wait_for_status("waiting").await;
        let before = eventually("both answers", || async {
            let messages = chat.messages().await;
            (messages.len() == 4).then_some(messages)
        })
        .await;
        let edited = before[0]["id"].as_i64().unwrap();
        let mut stream = chat.stream(Form::WebSocket, Some("")).await;
        let mut view = ChatView::default();
        while !view.ready {
            view.apply(&stream.next().await.unwrap());
        }
        let body = json!({"content": text("better")});
        let made = ada.patch(&chat.path(&format!("/messages/{edited}")), body).await.body(200);
        assert_eq!((&made["role"], &made["content"]), (&json!("user"), &text("better")));
        assert!(made["id"].as_i64().unwrap() > before[3]["id"].as_i64().unwrap());
        assert_eq!(made["model_config_id"], before[0]["model_config_id"]);
        while view.messages.len() != 2 {
            view.apply(&stream.next().await.unwrap());
        }
        let texts: Vec<String> = view.messages.values().map(text_of).collect();
        assert_eq!(texts, ["better", "Hello there."]);
        let texts: Vec<String> = chat.messages().await.iter().map(text_of).collect();
        assert_eq!(texts, ["better", "Hello there."]);
        host.stop().await;
    }
}

#[tokio::test]
async fn b075_only_live_messages_of_the_user_can_be_edited() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let (chat, other) = (idle(&ada, "hello").await, idle(&ada, "other").await);
    let messages = chat.messages().await;
    let foreign = other.messages().await[0]["id"].clone();
    let edit = async |id: &str, content: Value| {
        ada.patch(&chat.path(&format!("/messages/{id}")), json!({"content": content})).await
    };
    edit(&messages[1]["id"].to_string(), text("x")).await.expect_error(400, "not_a_user_message");
    edit(&foreign.to_string(), text("x")).await.expect_error(404, "not_found");
    edit("999999", text("x")).await.expect_error(404, "not_found");
    edit("first", text("x")).await.expect_error(400, "invalid_id");
    edit(&messages[0]["id"].to_string(), text(" ")).await.expect_error(400, "invalid_content");
    let body = json!({"content": text("x"), "model_config_id": UNKNOWN});
    let path = chat.path(&format!("/messages/{}", messages[0]["id"]));
    ada.patch(&path, body).await.expect_error(400, "model_unavailable");
    assert_eq!(chat.messages().await, messages);
    // one that an edit took away cannot be edited either
    let made = ada.patch(&path, json!({"content": text("again")})).await.body(200);
    ada.patch(&path, json!({"content": text("x")})).await.expect_error(404, "not_found");
    assert_ne!(made["id"], messages[0]["id"]);
    host.stop().await;
}

#[tokio::test]
async fn b076_an_edit_drops_the_turn_that_runs_and_the_queue() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = hanging(&ada).await;
        chat.send("waits").await;
        let first = chat.messages().await[0]["id"].clone();
        let key = "edit-once";
        let edit = async || {
            let request = ada.request(Method::PATCH, &chat.path(&format!("/messages/{first}")));
            ada.send(request.header("Idempotency-Key", key).json(&json!({"content": text("hello")}))).await
        };
        let made = edit().await.body(200);
        chat.wait_for_status("waiting").await;
        let messages = chat.messages().await;
        let texts: Vec<String> = messages.iter().map(text_of).collect();
        assert_eq!(texts, ["hello", "Hello there."]);
        let page = ada.get(&chat.path("/messages")).await.body(200);
        assert_eq!(page["queued_messages"], json!([]));
        // the same edit again is the first one
        let again = edit().await;
        assert_eq!(again.headers.get("idempotent-replayed").unwrap(), "true");
        assert_eq!(again.body(200), made);
        assert_eq!(chat.messages().await, messages);
        host.stop().await;
    }
}

#[tokio::test]
async fn b078_a_waiting_message_can_be_taken_out() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = hanging(&ada).await;
    let entry = chat.send("later").await["queued_message"]["id"].as_i64().unwrap();
    let path = chat.path(&format!("/queue/{entry}"));
    ada.delete(&path).await.expect(204);
    ada.delete(&path).await.expect_error(404, "not_found");
    ada.delete(&chat.path("/queue/first")).await.expect_error(400, "invalid_id");
    let page = ada.get(&chat.path("/messages")).await.body(200);
    assert_eq!(page["queued_messages"], json!([]));
    host.stop().await;
}

#[tokio::test]
async fn b079_b080_promoting_sends_a_waiting_message_now() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = hanging(&ada).await;
        let [older, newer] = [chat.send("hang too").await, chat.send("me first").await]
            .map(|sent| sent["queued_message"]["id"].as_i64().unwrap());
        let promote = async |entry: &str| ada.post(&chat.path(&format!("/queue/{entry}/promote")), json!({})).await;
        promote("999999").await.expect_error(404, "not_found");
        promote("first").await.expect_error(400, "invalid_id");
        let made = promote(&newer.to_string()).await.body(200);
        assert_eq!((&made["role"], &made["content"]), (&json!("user"), &text("me first")));
        promote(&newer.to_string()).await.expect_error(404, "not_found");
        // the partial answer lies before it, the older entry runs behind it
        let messages = eventually("the older entry's turn", || async {
            let messages = chat.messages().await;
            (messages.len() >= 5).then_some(messages)
        })
        .await;
        let texts: Vec<String> = messages.iter().map(text_of).collect();
        assert_eq!(texts[..5], ["hang", "Looking", "me first", "Hello there.", "hang too"]);
        assert!(older < newer);
        host.stop().await;
    }
}

#[tokio::test]
async fn b079_promoting_works_on_a_chat_at_rest() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = ada.chat_create("hang and fail").await;
    let entry = chat.send("now").await["queued_message"]["id"].as_i64().unwrap();
    // archived and back: at rest, with a queue
    ada.post(&chat.path("/archive"), json!({})).await.expect(204);
    eventually("the turn to stop", || async { (chat.get().await["status"] == "waiting").then_some(()) }).await;
    ada.post(&chat.path("/unarchive"), json!({})).await.expect(204);
    let made = ada.post(&chat.path(&format!("/queue/{entry}/promote")), json!({})).await.body(200);
    assert_eq!(made["content"], text("now"));
    host.stop().await;
}

#[tokio::test]
async fn b153_the_site_owner_renames_and_archives_but_does_not_act_for_others() {
    let host = Host::start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let chat = idle(&ada, "hello").await;
    let theirs = chat.seen_by(&admin);
    assert_eq!(patch(&admin, &theirs, json!({"title": "Renamed by the owner"})).await, 204);
    for body in [json!({"labels": {}}), json!({"pin_order": 1}), json!({"workspace_id": null})] {
        admin.patch(&theirs.path(""), body).await.expect_error(403, "not_chat_owner");
    }
    let first = chat.messages().await[0]["id"].clone();
    let edit = json!({"content": text("x")});
    admin.patch(&theirs.path(&format!("/messages/{first}")), edit).await.expect_error(403, "not_chat_owner");
    admin.delete(&theirs.path("/queue/1")).await.expect_error(403, "not_chat_owner");
    admin.post(&theirs.path("/queue/1/promote"), json!({})).await.expect_error(403, "not_chat_owner");
    admin.post(&theirs.path("/archive"), json!({})).await.expect(204);
    admin.post(&theirs.path("/unarchive"), json!({})).await.expect(204);
    assert_eq!(chat.get().await["title"], "Renamed by the owner");
    host.stop().await;
}
