//! `Idempotency-Key`: the first answer counts.

use atelier_test_support::{Actor, Answer, Engine};
use reqwest::Method;
use serde_json::{Value, json};

use crate::host::{CHATS, Host};

async fn post(actor: &Actor, path: &str, key: &str, body: Value) -> Answer {
    actor.send(actor.request(Method::POST, path).header("Idempotency-Key", key).json(&body)).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

#[tokio::test]
async fn b009_a_repeat_gets_the_first_answer_and_has_no_effect() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let (ada, ben) = (host.user("ada", &[]).await, host.user("ben", &[]).await);
        let body = json!({"content": [{"type": "text", "text": "hi"}]});
        let first = post(&ada, CHATS, "k 1", body.clone()).await;
        assert_eq!((first.status, is_replayed(&first)), (201, false));
        let again = post(&ada, CHATS, "k 1", body.clone()).await;
        assert_eq!((again.status, is_replayed(&again)), (201, true));
        assert_eq!(again.text, first.text);
        assert!(again.headers["content-type"].to_str().unwrap().starts_with("application/json"));
        // with a slash it is the same path
        assert!(is_replayed(&post(&ada, &format!("{CHATS}/"), "k 1", body.clone()).await));
        let other = json!({"content": [{"type": "text", "text": "other"}]});
        post(&ada, CHATS, "k 1", other).await.expect_error(422, "idempotency_key_reused");
        let bens = post(&ben, CHATS, "k 1", body.clone()).await;
        assert_eq!((bens.status, is_replayed(&bens)), (201, false));
        assert_eq!(ada.get(CHATS).await.body(200).as_array().unwrap().len(), 1);

        let chat = ada.chat(first.body["id"].as_str().unwrap());
        chat.wait_for_status("waiting").await;
        let sent = post(&ada, &chat.path("/messages"), "k 1", body.clone()).await;
        let repeated = post(&ada, &chat.path("/messages"), "k 1", body.clone()).await;
        assert_eq!((sent.status, &sent.text, is_replayed(&repeated)), (200, &repeated.text, true));
        chat.wait_for_status("waiting").await;
        assert_eq!(chat.messages().await.len(), 4);
        // refusals are not kept
        post(&ada, CHATS, "k 2", json!({"content": []})).await.expect(400);
        post(&ada, CHATS, "k 2", body.clone()).await.expect(201);
        for bad in [String::new(), "x".repeat(256), "ä".to_owned()] {
            post(&ada, CHATS, &bad, body.clone()).await.expect_error(400, "validation_failed");
        }
        post(&ada, CHATS, &"x".repeat(255), body).await.expect(201);
        host.stop().await;
    }
}

#[tokio::test]
async fn who_may_not_do_it_gets_no_kept_answer() {
    let host = Host::start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &["owner"]).await);
    let lab = json!({"name": "lab"});
    post(&ada, "/api/v2/organizations", "k", lab.clone()).await.expect(201);
    assert!(is_replayed(&post(&ada, "/api/v2/organizations", "k", lab.clone()).await));
    admin.put("/api/v2/users/ada/roles", json!({"roles": []})).await.expect(200);
    post(&ada, "/api/v2/organizations", "k", lab.clone()).await.expect_error(403, "forbidden");
    // what is wrong with the key comes after what is wrong with the object, and before the body
    let nowhere = format!("{CHATS}/{}/messages", uuid::Uuid::now_v7());
    post(&ada, &nowhere, "", json!({})).await.expect_error(404, "not_found");
    post(&ada, "/api/v2/organizations", "", lab).await.expect_error(403, "forbidden");
    post(&ada, CHATS, "", json!({"content": 1})).await.expect_error(400, "validation_failed");
    post(&ada, &format!("{CHATS}/x/interrupt"), "", json!({})).await.expect_error(400, "invalid_id");
    host.stop().await;
}

#[tokio::test]
async fn an_action_without_a_body_is_repeated_too() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let body = json!({"content": [{"type": "text", "text": "hi"}]});
    let chat = post(&ada, CHATS, "k", body).await.body(201)["id"].as_str().unwrap().to_owned();
    ada.chat(&chat).wait_for_status("waiting").await;
    for action in ["archive", "unarchive", "interrupt"] {
        let path = format!("{CHATS}/{chat}/{action}");
        let first = post(&ada, &path, "k", json!({})).await;
        let again = post(&ada, &path, "k", json!({})).await;
        assert_eq!((again.status, is_replayed(&again)), (first.status, true), "{action}: {}", again.text);
    }
    host.stop().await;
}

#[tokio::test]
async fn b010_parallel_requests_with_one_key_have_one_effect() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let body = json!({"content": [{"type": "text", "text": "hi"}]});
        let answers = futures::future::join_all((0..8).map(|_| post(&ada, CHATS, "together", body.clone()))).await;
        for answer in &answers {
            match answer.status {
                201 => {}
                409 => assert_eq!(answer.body["code"], "idempotency_in_progress"),
                other => panic!("{other}: {}", answer.text),
            }
        }
        assert_eq!(answers.iter().filter(|answer| answer.status == 201 && !is_replayed(answer)).count(), 1);
        assert_eq!(ada.get(CHATS).await.body(200).as_array().unwrap().len(), 1);
        host.stop().await;
    }
}

#[tokio::test]
async fn any_post_may_be_repeated_also_one_that_shows_a_secret() {
    let host = Host::start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let tokens = "/api/v2/users/me/keys/tokens";
    let first = post(&ada, tokens, "k", json!({})).await;
    let again = post(&ada, tokens, "k", json!({})).await;
    assert_eq!((first.status, &first.text, is_replayed(&again)), (201, &again.text, true));
    assert_eq!(ada.get(tokens).await.body(200).as_array().unwrap().len(), 1);
    let key = first.body["key"].as_str().unwrap().to_owned();
    ada.with_token(&key).get("/api/v2/users/me").await.expect(200);
    let lab = post(&admin, "/api/v2/organizations", "k", json!({"name": "lab"})).await;
    assert_eq!(post(&admin, "/api/v2/organizations", "k", json!({"name": "lab"})).await.text, lab.text);
    // compressed for one client, plain for the next
    let request = admin.request(Method::POST, "/api/v2/organizations").header("Idempotency-Key", "z");
    let body = json!({"name": "zip", "description": "x".repeat(1000)});
    admin.send(request.header("Accept-Encoding", "gzip").json(&body)).await;
    let plain = post(&admin, "/api/v2/organizations", "z", body).await;
    assert_eq!(plain.body(201)["name"], "zip");
    // a logout is never repeated for a session that is over
    let other = host.user("eve", &[]).await;
    post(&other, "/api/v2/users/logout", "k", json!({})).await.expect(200);
    post(&other, "/api/v2/users/logout", "k", json!({})).await.expect_error(401, "unauthenticated");
    host.stop().await;
}

#[tokio::test]
async fn a_request_goes_on_when_its_client_hangs_up() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let body = json!({"content": [{"type": "text", "text": "hi"}]});
    // given up at many moments: whatever was created is known under its key, and answered
    for at in 0..40_u64 {
        let request = ada.request(Method::POST, CHATS).header("Idempotency-Key", format!("k{at}")).json(&body);
        let _ = tokio::time::timeout(std::time::Duration::from_micros(at * 250), ada.send(request)).await;
    }
    for at in 0..40 {
        let key = format!("k{at}");
        let answer = atelier_test_support::eventually("the first request to end", || async {
            let answer = post(&ada, CHATS, &key, body.clone()).await;
            (answer.status != 409).then_some(answer)
        })
        .await;
        let chat = answer.body(201);
        ada.chat(chat["id"].as_str().unwrap()).wait_for_status("waiting").await;
    }
    assert_eq!(ada.get(&format!("{CHATS}?limit=200")).await.body(200).as_array().unwrap().len(), 40);
    host.stop().await;
}
