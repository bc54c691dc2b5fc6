//! The shipped list prices.

use atelier_test_support::Actor;
use serde_json::{Value, json};

use crate::host::{CHATS, Host, text};
use crate::provider::{ModelServer, answer};

async fn prices(reader: &Actor, query: &str) -> Vec<Value> {
    let body = reader.get(&format!("{CHATS}/model-prices{query}")).await.body(200);
    body["prices"].as_array().unwrap().clone()
}

fn models(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["model"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_shipped_prices_are_listed_by_provider_and_model() {
    let host = Host::builder().without_model().start().await;
    let (admin, auditor) = (host.admin().await, host.user("abe", &["auditor"]).await);
    host.user("mia", &[]).await.get(&format!("{CHATS}/model-prices")).await.expect_error(403, "forbidden");

    let all = auditor.get(&format!("{CHATS}/model-prices")).await.body(200);
    let as_of = all["as_of"].as_str().unwrap();
    assert!(as_of.parse::<jiff::civil::Date>().is_ok(), "{as_of}");
    assert!(all["prices"].as_array().unwrap().len() > 50);
    for row in all["prices"].as_array().unwrap() {
        assert!(row["source_url"].as_str().unwrap().starts_with("https://"), "{row}");
        assert!(row["input_price_per_million_tokens"].is_string(), "{row}");
    }

    let row = prices(&admin, "?provider=anthropic&model=claude-sonnet-4-5-20250929").await;
    assert_eq!(models(&row), ["claude-sonnet-4-5-20250929"]);
    assert_eq!(
        (&row[0]["provider"], &row[0]["display_name"], &row[0]["context_limit"]),
        (&json!("anthropic"), &json!("Claude Sonnet 4.5"), &json!(200_000))
    );
    assert_eq!(
        (&row[0]["input_price_per_million_tokens"], &row[0]["cache_write_price_per_million_tokens"]),
        (&json!("3"), &json!("3.75"))
    );
    let long = &prices(&admin, "?provider=openai&model=gpt-5.5").await[0]["long_context"];
    assert_eq!(
        (&long["above_prompt_tokens"], &long["input_price_per_million_tokens"]),
        (&json!(272_000), &json!("10"))
    );

    let own = json!({"provider": "openrouter", "name": "ours", "api_key": "k"});
    admin.post(&format!("{CHATS}/providers"), own).await.expect(201);
    for provider in ["openrouter", "ours", "%20OpenRouter%20"] {
        let of_gateway = prices(&admin, &format!("?provider={provider}")).await;
        let ids = models(&of_gateway);
        assert!(ids.contains(&"anthropic/claude-sonnet-4.5") && ids.contains(&"x-ai/grok-4.7"), "{provider}: {ids:?}");
        assert!(of_gateway.iter().all(|row| row["provider"] == "openrouter"));
    }
    assert_eq!(prices(&admin, "?provider=openai&model=my-own").await, Vec::<Value>::new());
    assert_eq!(prices(&admin, "?provider=openai-compat&model=gpt-5.5").await, Vec::<Value>::new());
    assert_eq!(prices(&admin, "?provider=&model=").await.len(), all["prices"].as_array().unwrap().len());
    let refused = admin.get(&format!("{CHATS}/model-prices?provider=nobody")).await.body(400);
    assert_eq!(refused["validations"][0]["field"], "provider", "{refused}");
    host.stop().await;
}

#[tokio::test]
async fn b120_a_blank_price_is_the_shipped_one_where_the_model_is_known() {
    let host = Host::builder().without_model().start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let server = ModelServer::start(answer("hello", "stop")).await;
    let provider = json!({"provider": "openai", "base_url": server.url, "api_key": "k"});
    admin.post(&format!("{CHATS}/providers"), provider).await.expect(201);
    let made = async |model: &str, config: Value| {
        let fields = json!({"provider": "openai", "model": model, "context_limit": 100_000, "model_config": config});
        admin.post(&format!("{CHATS}/model-configs"), fields).await.body(201)
    };
    let input = "/input_price_per_million_tokens";
    let known = made("gpt-5.1", json!({})).await;
    assert_eq!(known["effective_cost"].pointer(input), Some(&json!("1.25")));
    assert_eq!(known["effective_cost"], known["default_cost"]);
    assert!(known["effective_cost"]["price_version"].is_string());
    let own = made("gpt-5.2", json!({"cost": {"input_price_per_million_tokens": "9"}})).await;
    assert_eq!(own["effective_cost"].pointer(input), Some(&json!("9")));
    assert_eq!(own["default_cost"].pointer(input), Some(&json!("1.75")));
    let off = made("gpt-5-mini", json!({"cost": {"use_defaults": false}})).await;
    assert_eq!((off["effective_cost"].pointer(input), off["effective_cost"].get("price_version")), (None, None));
    let unknown = made("my-own", json!({})).await;
    assert_eq!((&unknown["effective_cost"], unknown.get("default_cost")), (&json!({}), None));
    let seen = ada.get(&format!("{CHATS}/model-configs")).await.body(200);
    assert!(seen.as_array().unwrap().iter().all(|row| row.get("effective_cost").is_none()), "{seen}");

    // an answer takes 1,000 tokens and makes 100
    for (model, cost) in [(&known, Some(1000 * 5 / 4 + 100 * 10)), (&unknown, None)] {
        let body = json!({"content": text("hello"), "model_config_id": model["id"]});
        let chat = ada.chat_create_with(body).await;
        chat.wait_for_status("waiting").await;
        let answer = chat.messages().await.pop().unwrap();
        assert_eq!(answer.get("cost_micros").and_then(Value::as_i64), cost, "{answer}");
    }
    host.stop().await;
}

#[tokio::test]
async fn documented_options_of_a_model_are_those_that_are_taken() {
    let host = Host::start().await;
    let admin = host.admin().await;
    let document = host.anonymous().get("/api/openapi.json").await.body(200);
    let schemas = &document["components"]["schemas"];
    let reference = &schemas["ModelConfig"]["properties"]["model_config"];
    assert!(reference.to_string().contains("#/components/schemas/ModelOptions"), "{reference}");
    let options = schemas["ModelOptions"]["properties"].as_object().unwrap();
    assert!(options.len() >= 8, "{options:?}");
    for name in options.keys() {
        // of a wrong sort, so that the fault is about the value and not about the name
        let fields = json!({"provider": "scripted", "model": "m", "context_limit": 1000, "model_config": {name: true}});
        let refused = admin.post(&format!("{CHATS}/model-configs"), fields).await.body(400);
        let fault = &refused["validations"][0];
        assert_ne!(fault["detail"], "is not a known option", "{refused}");
        assert_eq!(fault["field"], *name, "{refused}");
    }
    host.stop().await;
}
