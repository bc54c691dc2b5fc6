//! Going on with a turn that failed. Numbers are those of the contract.

use std::sync::Arc;

use atelier_test_support::{Engine, Form};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::actions::{hanging, idle, watched};
use crate::host::{CHATS, Host, UNKNOWN, text};
use crate::provider::{ModelServer, Reply, answer};

fn forbidden() -> Reply {
    Reply::refusing(401, &json!({"message": "m", "type": "authentication_error"}))
}

#[tokio::test]
async fn b167_a_failed_turn_goes_on_from_its_last_stored_step() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).without_model().start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        let gate = Arc::new(Notify::new());
        let held = Reply { gate: Some(Arc::clone(&gate)), ..Reply::events(answer("Done", "stop")) };
        let call = Reply::calling("c", "list_templates", &json!({}));
        let server = ModelServer::replying(vec![call, forbidden(), held]).await;
        server.add(&admin, "openai-compat", "local").await;
        let chat = ada.chat_create_with(json!({"content": text("go")})).await;
        chat.wait_for_status("error").await;
        let mut stream = chat.stream(Form::WebSocket, Some("")).await;
        let mut watch = ada.watch().await;
        let row = ada.post(&chat.path("/retry"), json!({})).await.body(200);
        assert_eq!(
            (&row["id"], &row["status"], &row["last_error"]),
            (&json!(chat.id), &json!("pending"), &Value::Null)
        );
        // the read mark may move meanwhile
        while watched(&mut watch, &chat).await["kind"] != "status_change" {}
        // viewers are told, and busy it stays as it is
        let is_running = |event: &Value| event["type"] == "status" && event["status"]["status"] == "running";
        while !stream.next().await.unwrap().data.as_array().is_some_and(|events| events.iter().any(is_running)) {}
        chat.wait_for_status("running").await;
        assert_eq!(ada.post(&chat.path("/retry"), json!({})).await.body(200)["status"], "running");
        gate.notify_one();
        chat.wait_for_status("waiting").await;
        let roles: Vec<Value> = chat.messages().await.iter().map(|message| message["role"].clone()).collect();
        assert_eq!(roles, ["user", "assistant", "tool", "assistant"]);
        // the same prompt as of the request that failed
        let seen = server.seen();
        assert_eq!((seen.len(), &seen[1].body["messages"]), (3, &seen[2].body["messages"]));
        host.stop().await;
    }
}

#[tokio::test]
async fn b167_a_failed_turn_goes_on_with_another_model() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).without_model().start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        let first = ModelServer::replying(vec![forbidden()]).await;
        let second = ModelServer::start(answer("Done", "stop")).await;
        let models =
            [first.add(&admin, "openai-compat", "one").await, second.add(&admin, "openai-compat", "two").await];
        let chat = ada.chat_create_with(json!({"content": text("go"), "model_config_id": models[0]})).await;
        chat.wait_for_status("error").await;
        let retry = json!({"model_config_id": models[1]});
        assert_eq!(ada.post(&chat.path("/retry"), retry).await.body(200)["last_model_config_id"], models[1].as_str());
        assert_eq!(chat.wait_for_status("waiting").await["last_model_config_id"], models[1].as_str());
        assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
        host.stop().await;
    }
}

#[tokio::test]
async fn b167_only_a_failed_turn_goes_on() {
    let host = Host::start().await;
    let (ada, bob) = (host.user("ada", &[]).await, host.user("bob", &[]).await);
    let chat = idle(&ada, "hello").await;
    ada.post(&chat.path("/retry"), json!({})).await.expect_error(409, "nothing_to_retry");
    ada.post(&format!("{CHATS}/{UNKNOWN}/retry"), json!({})).await.expect_error(404, "not_found");
    bob.post(&chat.path("/retry"), json!({})).await.expect_error(404, "not_found");
    let failed = ada.chat_create("fail").await;
    failed.wait_for_status("error").await;
    let unknown = json!({"model_config_id": UNKNOWN});
    ada.post(&failed.path("/retry"), unknown).await.expect_error(400, "model_unavailable");
    // a request without a body asks for nothing special
    let bare = ada.request(reqwest::Method::POST, &failed.path("/retry"));
    ada.send(bare).await.expect(200);
    failed.wait_for_status("error").await;
    ada.patch(&failed.path(""), json!({"archived": true})).await.expect(204);
    ada.post(&failed.path("/retry"), json!({})).await.expect_error(409, "chat_archived");
    let busy = hanging(&ada).await;
    assert_eq!(ada.post(&busy.path("/retry"), json!({})).await.body(200)["status"], "running");
    host.stop().await;
}

#[tokio::test]
async fn viewers_of_a_retry_are_told_what_happens_and_what_the_provider_said() {
    let down = Reply::refusing(500, &json!({"message": "model requires more system memory"}));
    let empty = Reply::answering(&json!({}), "stop");
    for (reply, happened, detail) in [
        (down, "cellar reported an error.", "model requires more system memory"),
        (empty, "cellar sent an answer that cannot be used.", "the answer was empty"),
    ] {
        let host = Host::builder().without_model().start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        let gate = Arc::new(Notify::new());
        let held = Reply { gate: Some(Arc::clone(&gate)), ..reply };
        let server = ModelServer::replying(vec![held, Reply::events(answer("Done", "stop"))]).await;
        server.add(&admin, "openai-compat", "cellar").await;
        let chat = ada.chat_create_with(json!({"content": text("go")})).await;
        let mut stream = chat.stream(Form::WebSocket, Some("")).await;
        stream.next().await.expect("a first frame");
        gate.notify_one();
        let retry = loop {
            let frame = stream.next().await.expect("the stream goes on");
            let events = frame.data.as_array().cloned().unwrap_or_default();
            if let Some(event) = events.into_iter().find(|event| event["type"] == "retry") {
                break event["retry"].clone();
            }
        };
        assert_eq!(retry["detail"], detail);
        let words = retry["error"].as_str().unwrap();
        assert!(words.starts_with(&format!("{happened} The request is sent again in ")), "{words}");
        chat.wait_for_status("waiting").await;
        host.stop().await;
    }
}
