//! The check of a provider: one call with its key.

use atelier_test_support::Actor;
use serde_json::{Value, json};

use crate::host::{CHATS, Host, UNKNOWN};
use crate::provider::{ModelServer, Reply};

const KEY: &str = "sk-very-secret";

/// Makes a provider of `kind` at this address; gives the path of its check.
async fn provider(admin: &Actor, kind: &str, url: &str, key: &str) -> String {
    let fields = json!({"provider": kind, "base_url": url, "api_key": key});
    let made = admin.post(&format!("{CHATS}/providers"), fields).await.body(201);
    format!("{CHATS}/providers/{}/check", made["id"].as_str().unwrap())
}

async fn checked(admin: &Actor, path: &str) -> Value {
    let answer = admin.post(path, json!({})).await;
    assert!(!answer.text.contains(KEY), "{}", answer.text);
    answer.body(200)
}

#[tokio::test]
async fn a_check_uses_the_stored_key_and_lists_models() {
    let host = Host::builder().without_model().start().await;
    let admin = host.admin().await;
    let listed = ["whisper-1", "gpt-4o-2024-08-06", "gpt-5.1-2025-11-13", "gpt-5.1", "gpt-4o-2024-11-20"];
    let server = ModelServer::replying(vec![Reply::listing(&listed)]).await;
    let path = provider(&admin, "openai", &server.url, KEY).await;
    let before = admin.get(&format!("{CHATS}/providers")).await.body(200);

    let found = checked(&admin, &path).await;
    assert_eq!((&found["reachable"], &found["key_accepted"]), (&json!(true), &json!(true)));
    assert_eq!(found["models"], json!(listed));
    assert!(found.get("error").is_none(), "{found}");
    // of the table, under an id that the provider lists: the plain one, or that with the latest date
    let known: Vec<(&str, &str)> = found["known"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["model"].as_str().unwrap(), row["display_name"].as_str().unwrap()))
        .collect();
    assert_eq!(known, [("gpt-5.1", "GPT-5.1"), ("gpt-4o-2024-11-20", "GPT-4o")]);
    assert_eq!(found["known"][0]["input_price_per_million_tokens"], "1.25");
    assert_eq!(found["known"][0]["context_limit"], 400_000);

    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].path.as_str(), seen[0].authorization.as_str()), ("/v1/models", "Bearer sk-very-secret"));
    assert_eq!(admin.get(&format!("{CHATS}/providers")).await.body(200), before, "nothing is stored");
    host.stop().await;
}

#[tokio::test]
async fn a_check_tells_a_refused_key_from_a_server_that_is_not_there() {
    let host = Host::builder().without_model().start().await;
    let admin = host.admin().await;
    let refusal = json!({"message": format!("Incorrect API key provided: {KEY}")});
    let server = ModelServer::replying(vec![Reply::refusing(401, &refusal)]).await;
    let path = provider(&admin, "openai", &server.url, KEY).await;
    let refused = checked(&admin, &path).await;
    assert_eq!((&refused["reachable"], &refused["key_accepted"]), (&json!(true), &json!(false)));
    assert_eq!((&refused["models"], &refused["known"]), (&json!([]), &json!([])));
    assert_eq!(refused["error"], "OpenAI refused the key.");

    // nobody listens on this port
    let path = provider(&admin, "openai-compat", "http://127.0.0.1:1/v1", KEY).await;
    let gone = checked(&admin, &path).await;
    assert_eq!((&gone["reachable"], &gone["key_accepted"]), (&json!(false), &json!(null)));
    assert_eq!(gone["error"], "The connection to OpenAI-compatible was lost.");
    host.stop().await;
}

#[tokio::test]
async fn a_check_without_a_key_says_that_one_is_missing() {
    let host = Host::builder().without_model().start().await;
    let admin = host.admin().await;
    let server = ModelServer::replying(vec![Reply::refusing(401, &json!({"message": "no key"}))]).await;
    let path = provider(&admin, "anthropic", &server.url, "").await;
    let found = checked(&admin, &path).await;
    assert_eq!((&found["reachable"], &found["key_accepted"]), (&json!(true), &json!(null)));
    assert_eq!(found["error"], "No API key is stored.");

    // a type that needs none, and a provider that is switched off
    let open = ModelServer::replying(vec![Reply::listing(&["llama"])]).await;
    let path = provider(&admin, "openai-compat", &open.url, "").await;
    admin.patch(path.strip_suffix("/check").unwrap(), json!({"enabled": false})).await.expect(200);
    let found = checked(&admin, &path).await;
    assert_eq!((&found["reachable"], &found["key_accepted"]), (&json!(true), &json!(null)));
    assert_eq!((&found["models"], found.get("error")), (&json!(["llama"]), None));
    host.stop().await;
}

#[tokio::test]
async fn only_who_sets_providers_up_may_check_them() {
    let host = Host::builder().without_model().start().await;
    let admin = host.admin().await;
    let server = ModelServer::replying(vec![Reply::listing(&[])]).await;
    let path = provider(&admin, "openai", &server.url, KEY).await;
    for (name, roles) in [("mia", &[][..]), ("abe", &["auditor"])] {
        host.user(name, roles).await.post(&path, json!({})).await.expect_error(403, "forbidden");
    }
    host.anonymous().post(&path, json!({})).await.expect_error(401, "unauthenticated");
    assert!(server.seen().is_empty(), "nobody else causes a call");
    admin.post(&format!("{CHATS}/providers/{UNKNOWN}/check"), json!({})).await.expect_error(404, "not_found");
    admin.post(&format!("{CHATS}/providers/x/check"), json!({})).await.expect_error(400, "invalid_id");
    host.stop().await;
}
