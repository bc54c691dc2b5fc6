//! Chats that go on, whatever an earlier answer, another provider or a picture has left in them.

use atelier_test_support::{Actor, Chat, Engine, eventually};
use serde_json::{Value, json};

use crate::files::uploaded;
use crate::host::{CHATS, Host, text};
use crate::provider::{ModelServer, Reply, Seen, answer};

fn done() -> Reply {
    Reply::events(answer("Done", "stop"))
}

fn refusal() -> Reply {
    Reply::refusing(400, &json!({"message": "m", "type": "invalid_request_error", "code": null}))
}

/// The same behind a status that says that all is well.
fn refusal_in_stream() -> Reply {
    let error = json!({"error": {"message": "this model takes no images", "type": "invalid_request_error"}});
    Reply::events(format!("data: {error}\n\n"))
}

/// How llama.cpp says that its model takes no pictures, and many servers that something went wrong.
fn failure() -> Reply {
    Reply::refusing(500, &json!({"code": 500, "message": "image input is not supported", "type": "server_error"}))
}

async fn picture(actor: &Actor) -> Value {
    let picture = uploaded(actor, "image/png", "cat.png", b"\x89PNG\r\n\x1a\nnot much of a picture").await;
    json!([{"type": "text", "text": "look"}, {"type": "file", "file_id": picture}])
}

/// Which requests so far had a picture.
fn pictures(server: &ModelServer) -> Vec<bool> {
    server.seen().iter().map(|seen| seen.body.to_string().contains("image_url")).collect()
}

/// The turn is over, and well.
async fn settled(chat: &Chat) {
    let row = eventually("the end of the turn", async || {
        let row = chat.get().await;
        ["waiting", "error"].iter().any(|status| row["status"] == *status).then_some(row)
    })
    .await;
    assert_eq!(row["status"], "waiting", "{row}");
}

async fn sent(chat: &Chat, body: Value) {
    chat.send_with(body).await.expect(200);
    settled(chat).await;
}

async fn started(actor: &Actor, content: Value, model: &str) -> Chat {
    let chat = actor.chat_create_with(json!({"content": content, "model_config_id": model})).await;
    settled(&chat).await;
    chat
}

fn of_role<'a>(seen: &'a Seen, role: &str) -> Vec<&'a Value> {
    seen.body["messages"].as_array().unwrap().iter().filter(|message| message["role"] == role).collect()
}

#[tokio::test]
async fn names_and_arguments_that_a_model_made_up_are_sent_as_providers_take_them() {
    let host = Host::builder().without_model().start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let call = Reply::calling("c", "functions.list templates", &json!({"query": "a\0b", "x\0": ["\0"]}));
    let server = ModelServer::replying(vec![call, done()]).await;
    let model = server.add(&admin, "openai-compat", "local").await;
    started(&ada, text("go"), &model).await;
    let second = server.seen()[1].clone();
    let function = &of_role(&second, "assistant")[0]["tool_calls"][0]["function"];
    assert_eq!(function["name"], "functions_list_templates");
    let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"query": "a\u{fffd}b", "x\u{fffd}": ["\u{fffd}"]}));
    assert!(!second.body.to_string().contains("u0000"), "{}", second.body);
    host.stop().await;
}

#[tokio::test]
async fn ids_of_calls_are_sent_in_the_length_that_the_next_provider_takes() {
    let host = Host::builder().without_model().start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let ids = ["a", "b"].map(|end| format!("chatcmpl-tool-{}{end}", "0".repeat(31)));
    let calls = ids.iter().map(|id| Reply::calling(id, "list_templates", &json!({})));
    let first = ModelServer::replying(calls.chain([done()]).collect()).await;
    let second = ModelServer::replying(vec![done()]).await;
    let models = [first.add(&admin, "openai-compat", "local").await, second.add(&admin, "openai", "openai").await];
    let chat = started(&ada, text("go"), &models[0]).await;
    sent(&chat, json!({"content": text("on"), "model_config_id": models[1]})).await;
    let request = second.seen()[0].clone();
    let calls: Vec<&Value> = of_role(&request, "assistant")
        .into_iter()
        .filter_map(|message| message["tool_calls"].get(0))
        .map(|call| &call["id"])
        .collect();
    let results: Vec<&Value> = of_role(&request, "tool").into_iter().map(|message| &message["tool_call_id"]).collect();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls, results);
    assert_ne!(calls[0], calls[1]);
    assert!(calls.iter().all(|id| id.as_str().unwrap().len() <= 40), "{calls:?}");
    host.stop().await;
}

#[tokio::test]
async fn once_a_server_has_sent_reasoning_content_every_answer_it_gets_back_has_the_field() {
    let host = Host::builder().without_model().start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let other = ModelServer::replying(vec![done()]).await;
    let thinking = Reply::answering(&json!({"reasoning_content": "Hm", "content": "Well"}), "stop");
    let server = ModelServer::replying(vec![thinking, done(), done()]).await;
    let models =
        [other.add(&admin, "openai-compat", "other").await, server.add(&admin, "openai-compat", "thinker").await];
    let chat = started(&ada, text("go"), &models[0]).await;
    for words in ["one", "two", "three"] {
        sent(&chat, json!({"content": text(words), "model_config_id": models[1]})).await;
    }
    let seen = server.seen();
    let fields = |seen: &Seen| -> Vec<Value> {
        of_role(seen, "assistant").into_iter().map(|message| message["reasoning_content"].clone()).collect()
    };
    assert_eq!(fields(&seen[0]), [Value::Null], "nothing is known of this server yet");
    assert_eq!(fields(&seen[1]), ["", "Hm"]);
    assert_eq!(fields(&seen[2]), ["", "Hm", ""]);
    // to another server none of it goes
    sent(&chat, json!({"content": text("four"), "model_config_id": models[0]})).await;
    assert!(!other.seen()[1].body.to_string().contains("reasoning_content"));
    host.stop().await;
}

#[tokio::test]
async fn pictures_that_a_model_refuses_are_left_out_from_then_on() {
    for (engine, refusal) in
        Engine::ALL.into_iter().flat_map(|engine| [(engine, refusal()), (engine, refusal_in_stream())])
    {
        let host = Host::builder().engine(engine).without_model().start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        let blind = ModelServer::replying(vec![refusal, done()]).await;
        let seeing = ModelServer::replying(vec![done()]).await;
        let models =
            [blind.add(&admin, "openai-compat", "blind").await, seeing.add(&admin, "openai-compat", "seeing").await];
        let chat = started(&ada, picture(&ada).await, &models[0]).await;
        sent(&chat, json!({"content": text("and now?")})).await;
        assert_eq!(pictures(&blind), [true, false, false]);
        let last = blind.seen()[2].body.to_string();
        assert!(last.contains("left out, because this model does not take it: cat.png"), "{last}");
        // another model gets it
        sent(&chat, json!({"content": text("you?"), "model_config_id": models[1]})).await;
        assert_eq!(pictures(&seeing), [true]);
        host.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_fails_over_pictures_is_asked_once_without_them_in_each_turn() {
    let host = Host::builder().without_model().start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let call = Reply::calling("c", "list_templates", &json!({}));
    let server = ModelServer::replying(vec![failure(), call, done(), failure(), done()]).await;
    let model = server.add(&admin, "openai-compat", "local").await;
    let chat = started(&ada, picture(&ada).await, &model).await;
    assert_eq!(pictures(&server), [true, false, false]);
    // it may have been an accident
    sent(&chat, json!({"content": text("and now?")})).await;
    assert_eq!(pictures(&server)[3..], [true, false]);
    host.stop().await;
}

#[tokio::test]
async fn pictures_are_not_blamed_for_failures_that_come_without_them_too() {
    let host = Host::builder().without_model().start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let server = ModelServer::replying(vec![failure(), failure(), failure(), done()]).await;
    let model = server.add(&admin, "openai-compat", "local").await;
    let chat = started(&ada, picture(&ada).await, &model).await;
    sent(&chat, json!({"content": text("and now?")})).await;
    assert_eq!(pictures(&server), [true, false, true, true, true]);
    host.stop().await;
}

#[tokio::test]
async fn a_refusal_that_is_not_about_pictures_blames_none() {
    let host = Host::builder().without_model().start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let server = ModelServer::replying(vec![refusal(), refusal(), done()]).await;
    let model = server.add(&admin, "openai-compat", "local").await;
    let content = picture(&ada).await;
    let chat = ada.chat_create_with(json!({"content": content, "model_config_id": model})).await;
    let error = chat.wait_for_status("error").await["last_error_info"].clone();
    assert_eq!(error["kind"], "config", "{error}");
    assert!(!error["message"].as_str().unwrap().contains("admin"), "{error}");
    sent(&chat, json!({"content": text("again")})).await;
    assert!(server.seen()[2].body.to_string().contains("image_url"));
    host.stop().await;
}

#[tokio::test]
async fn an_empty_answer_behind_results_of_calls_ends_the_turn() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).without_model().start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        let call = Reply::calling("c", "list_templates", &json!({}));
        let server = ModelServer::replying(vec![call, Reply::answering(&json!({}), "stop"), done()]).await;
        let model = server.add(&admin, "openai-compat", "local").await;
        let chat = started(&ada, text("go"), &model).await;
        let last = chat.messages().await.pop().unwrap();
        assert_eq!(
            (&last["role"], &last["content"], &last["finish_reason"]),
            (&json!("assistant"), &json!([]), &json!("stop"))
        );
        sent(&chat, json!({"content": text("on")})).await;
        let seen = server.seen();
        assert_eq!((seen.len(), of_role(&seen[2], "assistant").len()), (3, 1));
        host.stop().await;
    }
}

#[tokio::test]
async fn a_refusal_near_the_limit_of_the_context_is_one_of_its_length() {
    let host = Host::builder().without_model().start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let server = ModelServer::replying(vec![refusal()]).await;
    let model = server.add(&admin, "openai-compat", "local").await;
    // the limit is 100,000 tokens; four bytes are taken for one
    for (kilobytes, kind) in [(200, "config"), (340, "context_too_long")] {
        let content = text(&"x".repeat(kilobytes * 1000));
        let chat = ada.chat_create_with(json!({"content": content, "model_config_id": model})).await;
        let error = chat.wait_for_status("error").await["last_error_info"].clone();
        assert_eq!(error["kind"], kind, "{error}");
        assert!(!error["message"].as_str().unwrap().contains("admin"), "{error}");
    }
    host.stop().await;
}

#[tokio::test]
async fn half_a_character_in_a_message_is_stored_as_a_replacement() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let body = r#"{"content":[{"type":"text","text":"a\ud83d b\ude00 \ud83d\ude00 \\ud83d"}]}"#;
    let request = ada.request(reqwest::Method::POST, CHATS).header("content-type", "application/json").body(body);
    let chat = ada.send(request).await.body(201);
    let chat = ada.chat(chat["id"].as_str().unwrap());
    assert_eq!(chat.messages().await[0]["content"], text("a\u{fffd} b\u{fffd} 😀 \\ud83d"));
    host.stop().await;
}
