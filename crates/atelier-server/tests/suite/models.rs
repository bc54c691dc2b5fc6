//! Providers, model configs, models, settings.

use atelier_test_support::{Actor, Engine, text_of};
use serde_json::{Value, json};

use crate::host::{CHATS, Host, text};
use crate::provider::{ModelServer, answer};

fn providers() -> String {
    format!("{CHATS}/providers")
}

fn configs() -> String {
    format!("{CHATS}/model-configs")
}

async fn provider(admin: &Actor, body: Value) -> String {
    admin.post(&providers(), body).await.body(201)["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn b109_providers_are_listed_in_the_order_of_types() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).without_model().start().await;
        let admin = host.admin().await;
        provider(&admin, json!({"provider": " OpenAI-Compat ", "name": "b", "base_url": "http://127.0.0.1:1/v1"}))
            .await;
        provider(&admin, json!({"provider": "openai-compat", "name": "a", "base_url": "http://127.0.0.1:2/v1"})).await;
        let list = admin.get(&providers()).await.body(200);
        let names: Vec<(&str, &str)> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["provider"].as_str().unwrap(), row["name"].as_str().unwrap()))
            .collect();
        assert_eq!(
            names,
            [
                ("anthropic", "anthropic"),
                ("openai", "openai"),
                ("openai-compat", "a"),
                ("openai-compat", "b"),
                ("openrouter", "openrouter"),
                ("vercel", "vercel"),
                ("scripted", "scripted"),
            ]
        );
        let unsaved = &list[0];
        assert_eq!(unsaved["id"], "00000000-0000-0000-0000-000000000000");
        assert_eq!((&unsaved["source"], &unsaved["enabled"]), (&json!("supported"), &json!(false)));
        assert!(unsaved.get("created_at").is_none());
        assert_eq!((&list[2]["source"], &list[2]["has_api_key"]), (&json!("database"), &json!(false)));
        host.user("ada", &[]).await.get(&providers()).await.expect_error(403, "forbidden");
        host.user("ben", &["auditor"]).await.get(&providers()).await.expect(200);
        host.stop().await;
    }
}

#[tokio::test]
async fn b110_b111_a_provider_is_checked_and_its_key_never_comes_back() {
    let host = Host::builder().without_model().start().await;
    let admin = host.admin().await;
    let refused = async |body: Value| -> Vec<String> {
        let body = admin.post(&providers(), body).await.body(400);
        body["validations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["field"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(refused(json!({"provider": "nobody"})).await, ["provider"]);
    assert_eq!(refused(json!({})).await, ["provider"]);
    // known, but without an adapter yet
    assert_eq!(refused(json!({"provider": "bedrock"})).await, ["provider"]);
    assert_eq!(refused(json!({"provider": "openai-compat"})).await, ["base_url"]);
    assert_eq!(refused(json!({"provider": "openai", "base_url": "ftp://x"})).await, ["base_url"]);
    assert_eq!(refused(json!({"provider": "openai", "name": "anthropic"})).await, ["name"]);
    assert_eq!(refused(json!({"provider": "openai", "name": "A b"})).await, ["name"]);
    assert_eq!(
        refused(json!({"provider": "openai", "central_api_key_enabled": false})).await,
        ["central_api_key_enabled"]
    );
    let denied = json!({"provider": "openai-compat", "base_url": "http://169.254.169.254/v1"});
    admin.post(&providers(), denied).await.expect_error(400, "egress_denied");
    let ada = host.user("ada", &[]).await;
    ada.post(&providers(), json!({"provider": "openai"})).await.expect_error(403, "forbidden");

    let secret = "sk-very-secret";
    let made = admin.post(&providers(), json!({"provider": "openai", "api_key": format!(" {secret} ")})).await;
    assert!(!made.text.contains(secret));
    let made = made.body(201);
    assert_eq!((&made["has_api_key"], &made["display_name"]), (&json!(true), &json!("OpenAI")));
    admin.post(&providers(), json!({"provider": "openai"})).await.expect_error(409, "already_exists");
    admin.post(&providers(), json!({"provider": "openai", "name": "second"})).await.expect(201);
    assert!(!admin.get(&providers()).await.text.contains(secret));
    let path = format!("{}/{}", providers(), made["id"].as_str().unwrap());

    // another host needs a key of its own, or none
    let elsewhere = json!({"base_url": "http://127.0.0.1:9/v1", "display_name": "Mine"});
    admin.patch(&path, elsewhere).await.expect_error(400, "api_key_required");
    let list = admin.get(&providers()).await.body(200);
    let row = list.as_array().unwrap().iter().find(|row| row["id"] == made["id"]).unwrap();
    assert_eq!((&row["display_name"], row.get("base_url")), (&json!("OpenAI"), None));
    let patched = admin.patch(&path, json!({"base_url": "http://127.0.0.1:9/v1/", "api_key": ""})).await.body(200);
    assert_eq!((&patched["base_url"], &patched["has_api_key"]), (&json!("http://127.0.0.1:9/v1"), &json!(false)));
    let kept = admin.patch(&path, json!({"name": "", "display_name": " ", "enabled": false})).await.body(200);
    assert_eq!((&kept["name"], &kept["enabled"]), (&json!("openai"), &json!(false)));
    admin.patch(&path, json!({"provider": "anthropic"})).await.expect(400);
    let unknown = format!("{}/01890000-0000-7000-8000-000000000000", providers());
    admin.patch(&unknown, json!({"name": "X Y"})).await.expect_error(404, "not_found");
    admin.patch(&format!("{}/x", providers()), json!({})).await.expect_error(400, "invalid_id");
    ada.patch(&path, json!({})).await.expect(403);
    admin.delete(&unknown).await.expect_error(404, "not_found");
    admin.delete(&format!("{}/x", providers())).await.expect_error(400, "invalid_id");
    admin.delete(&path).await.expect(204);
    admin.delete(&path).await.expect_error(404, "not_found");
    host.stop().await;
}

#[tokio::test]
async fn b112_a_provider_in_use_stays() {
    let host = Host::start().await;
    let admin = host.admin().await;
    admin.chat_create("hello").await;
    let list = admin.get(&providers()).await.body(200);
    let scripted = list.as_array().unwrap().iter().find(|row| row["name"] == "scripted").unwrap();
    let path = format!("{}/{}", providers(), scripted["id"].as_str().unwrap());
    admin.delete(&path).await.expect_error(400, "in_use");
    host.stop().await;
}

#[tokio::test]
async fn b113_models_say_what_may_be_used_and_why_not() {
    let host = Host::builder().without_model().start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let models = format!("{CHATS}/models");
    // nothing is set up: every type, without models
    let all = ada.get(&models).await.body(200);
    let all = all["providers"].as_array().unwrap();
    assert_eq!(all.len(), 6);
    assert!(all.iter().all(|provider| provider["models"] == json!([])));
    let without = provider(&admin, json!({"provider": "anthropic"})).await;
    provider(&admin, json!({"provider": "openai", "api_key": "k"})).await;
    for (of, model, name) in
        [("anthropic", "m", ""), ("openai", "b", ""), ("openai", "a", "First"), ("openai", "A", "Again")]
    {
        let config = json!({"provider": of, "model": model, "display_name": name, "context_limit": 1000});
        admin.post(&configs(), config).await.expect(201);
    }
    let list = ada.get(&models).await.body(200);
    let by_name = |name: &str| {
        list["providers"].as_array().unwrap().iter().find(|provider| provider["name"] == name).cloned().unwrap()
    };
    let anthropic = by_name("anthropic");
    assert_eq!((&anthropic["available"], &anthropic["unavailable_reason"]), (&json!(false), &json!("missing_api_key")));
    let openai = by_name("openai");
    assert_eq!((&openai["available"], openai.get("unavailable_reason")), (&json!(true), None));
    let ids: Vec<&str> =
        openai["models"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2, "doubles are dropped: {ids:?}");
    assert!(ids.contains(&"openai:b"));
    admin.patch(&format!("{}/{without}", providers()), json!({"enabled": false})).await.expect(200);
    let list = ada.get(&models).await.body(200);
    assert!(!list["providers"].as_array().unwrap().iter().any(|provider| provider["name"] == "anthropic"));
    host.stop().await;
}

#[tokio::test]
async fn b116_b117_model_configs_name_every_fault() {
    let host = Host::start().await;
    let admin = host.admin().await;
    let faults = async |body: Value| -> Vec<String> {
        let body = admin.post(&configs(), body).await.body(400);
        let faults = body["validations"].as_array().unwrap().iter();
        let mut fields: Vec<String> = faults.map(|fault| fault["field"].as_str().unwrap().to_owned()).collect();
        fields.sort();
        fields
    };
    let config = |fields: Value| {
        let mut config = json!({"provider": "scripted", "model": "m", "context_limit": 1000});
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        config
    };
    assert_eq!(faults(json!({"provider": "scripted", "model": " "})).await, ["context_limit", "model"]);
    assert_eq!(faults(json!({"model": "m"})).await, ["context_limit", "provider"]);
    assert_eq!(faults(config(json!({"context_limit": 0}))).await, ["context_limit"]);
    assert_eq!(faults(config(json!({"context_limit": 100_000_001}))).await, ["context_limit"]);
    assert_eq!(faults(config(json!({"compression_threshold": 101}))).await, ["compression_threshold"]);
    assert_eq!(faults(config(json!({"compression_threshold": -1}))).await, ["compression_threshold"]);
    assert_eq!(faults(config(json!({"enabled": false, "is_default": true}))).await, ["is_default"]);
    // not saved, although it exists
    assert_eq!(faults(config(json!({"provider": "anthropic"}))).await, ["provider"]);
    for price in [json!("-1"), json!("0.1234567890123"), json!("x"), json!(-1)] {
        let priced = config(json!({"model_config": {"cost": {"input_price_per_million_tokens": price}}}));
        let found = faults(priced).await;
        assert!(found[0].contains("cost.input_price_per_million_tokens"), "{found:?}");
    }
    let odd = config(json!({"model_config": {"nothing": 1, "temperature": 9}}));
    assert_eq!(faults(odd).await.len(), 2);
    let foreign = config(json!({"model_config": {"provider_options": {"openai": {"store": true}}}}));
    assert_eq!(faults(foreign).await.len(), 1);
    admin.post(&configs(), config(json!({"context_limit": "many"}))).await.expect_error(400, "invalid_json");

    let made = admin.post(&configs(), config(json!({}))).await.body(201);
    admin.post(&configs(), config(json!({"model": "M"}))).await.expect_error(409, "already_exists");
    admin.post(&configs(), config(json!({"display_name": "Other"}))).await.expect(201);
    let path = format!("{}/{}", configs(), made["id"].as_str().unwrap());
    admin.patch(&path, json!({"context_limit": 0})).await.expect(400);
    let patched = admin.patch(&path, json!({"display_name": "Named", "context_limit": 5})).await.body(200);
    assert_eq!((&patched["display_name"], &patched["context_limit"]), (&json!("Named"), &json!(5)));
    assert_eq!(admin.patch(&path, json!({"display_name": ""})).await.body(200)["display_name"], "Named");
    assert_eq!(admin.patch(&path, json!({"display_name": null})).await.body(200)["display_name"], "m");
    admin.patch(&format!("{}/x", configs()), json!({})).await.expect_error(400, "invalid_id");
    let unknown = format!("{}/01890000-0000-7000-8000-000000000000", configs());
    admin.patch(&unknown, json!({})).await.expect_error(404, "not_found");
    admin.delete(&unknown).await.expect_error(404, "not_found");
    let ada = host.user("ada", &[]).await;
    ada.post(&configs(), config(json!({}))).await.expect(403);
    ada.patch(&path, json!({})).await.expect(403);
    ada.delete(&path).await.expect(403);
    admin.delete(&path).await.expect(204);
    admin.delete(&path).await.expect(404);
    host.stop().await;
}

#[tokio::test]
async fn b115_prices_come_back_as_decimal_texts() {
    let host = Host::start().await;
    let admin = host.admin().await;
    let config = json!({
        "provider": "scripted", "model": "priced", "context_limit": 1000,
        "model_config": {"input_price_per_million_tokens": "1.50", "output_price_per_million_tokens": 0.25,
            "cost": {"cache_read_price_per_million_tokens": 0}},
    });
    let cost = admin.post(&configs(), config).await.body(201)["model_config"]["cost"].clone();
    assert_eq!(cost["input_price_per_million_tokens"], "1.5");
    assert_eq!(cost["output_price_per_million_tokens"], "0.25");
    assert_eq!(cost["cache_read_price_per_million_tokens"], "0");
    host.stop().await;
}

#[tokio::test]
async fn b114_b118_b119_there_is_one_default_and_members_see_less() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).without_model().start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        provider(&admin, json!({"provider": "scripted"})).await;
        let make = async |model: &str, more: Value| {
            let mut config = json!({"provider": "scripted", "model": model, "context_limit": 1000});
            config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            admin.post(&configs(), config).await.body(201)
        };
        let first = make("one", json!({})).await;
        assert_eq!(first["is_default"], true);
        let second = make("two", json!({"is_default": true, "model_config": {"temperature": 0.5}})).await;
        let third = make("three", json!({})).await;
        let path = |config: &Value| format!("{}/{}", configs(), config["id"].as_str().unwrap());
        let default = async || {
            let list = admin.get(&configs()).await.body(200);
            let defaults: Vec<String> = list
                .as_array()
                .unwrap()
                .iter()
                .filter(|config| config["is_default"] == true)
                .map(|config| config["model"].as_str().unwrap().to_owned())
                .collect();
            assert!(defaults.len() <= 1, "{defaults:?}");
            defaults.into_iter().next()
        };
        assert_eq!(default().await.as_deref(), Some("two"));
        admin.patch(&path(&second), json!({"enabled": false})).await.expect(200);
        assert_eq!(default().await.as_deref(), Some("one"));
        admin.delete(&path(&first)).await.expect(204);
        assert_eq!(default().await.as_deref(), Some("three"));
        admin.patch(&path(&third), json!({"is_default": false})).await.expect(200);
        assert_eq!(default().await.as_deref(), Some("three"), "the only one stays");
        let seen = ada.get(&configs()).await.body(200);
        assert_eq!(seen.as_array().unwrap().len(), 1);
        assert_eq!(admin.get(&configs()).await.body(200).as_array().unwrap().len(), 2);
        admin.patch(&path(&third), json!({"enabled": false})).await.expect(200);
        assert_eq!(default().await, None);
        let chat = json!({"content": [{"type": "text", "text": "hi"}]});
        ada.post(CHATS, chat).await.expect_error(400, "no_default_model");
        host.stop().await;
    }
}

#[tokio::test]
async fn b164_two_providers_of_one_type_have_addresses_and_keys_of_their_own() {
    let host = Host::builder().without_model().start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let mut asked = Vec::new();
    for name in ["left", "right"] {
        let server = ModelServer::start(answer(name, "stop")).await;
        let model = server.add(&admin, "openai-compat", name).await;
        asked.push((name, server, model));
    }
    for (name, server, model) in &asked {
        let body = json!({"content": text("hello"), "model_config_id": model});
        let chat = ada.chat_create_with(body).await;
        chat.wait_for_status("waiting").await;
        assert_eq!(text_of(chat.messages().await.last().unwrap()), *name);
        let keys: Vec<String> = server.seen().into_iter().map(|seen| seen.authorization).collect();
        assert_eq!(keys, [format!("Bearer key of {name}")]);
    }
    let list = ada.get(&format!("{CHATS}/models")).await.body(200);
    let mut ids: Vec<&str> = list["providers"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|provider| provider["models"].as_array().unwrap())
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, ["left:m", "right:m"]);
    // the type names neither of the two
    let model = json!({"provider": "openai-compat", "model": "m", "context_limit": 1000});
    let refused = admin.post(&configs(), model).await.body(400);
    assert_eq!(refused["validations"][0]["field"], "provider", "{refused}");
    host.stop().await;
}
