//! Settings of the deployment and of users. Numbers are those of the contract.

use atelier_test_support::{Actor, Engine};
use serde_json::{Value, json};

use crate::host::{CHATS, Host};
use crate::provider::{ModelServer, answer};

fn config(name: &str) -> String {
    format!("{CHATS}/config/{name}")
}

#[tokio::test]
async fn b140_the_system_prompt_is_set_cleared_and_bounded() {
    let host = Host::start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let (one, other) = (config("system-prompt"), format!("{CHATS}/system-prompt"));
    let first = ada.get(&one).await.body(200);
    assert_eq!(first["system_prompt"], "");
    assert!(first["default_system_prompt"].as_str().unwrap().len() > 20);
    for path in [&one, &other] {
        ada.put(path, json!({"system_prompt": "x"})).await.expect_error(403, "forbidden");
        admin.put(path, json!({"system_prompt": "  Be brief.  "})).await.expect(204);
        for read in [&one, &other] {
            assert_eq!(ada.get(read).await.body(200)["system_prompt"], "Be brief.");
        }
        admin.put(path, json!({"system_prompt": "x".repeat(32_768)})).await.expect(204);
        admin.put(path, json!({"system_prompt": "x".repeat(32_769)})).await.expect_error(400, "validation_failed");
        admin.put(path, json!({"system_prompt": ""})).await.expect(204);
        assert_eq!(ada.get(&one).await.body(200), first);
    }
}

#[tokio::test]
async fn b140_a_changed_system_prompt_holds_from_the_next_turn_of_every_chat() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).without_model().start().await;
        let server = ModelServer::start(answer("Seen.", "stop")).await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        server.add(&admin, "openai-compat", "local").await;
        let systems = || -> Vec<String> {
            server.seen().iter().map(|request| request.body["messages"][0]["content"].to_string()).collect()
        };
        let set = async |prompt: &str| {
            admin.put(&config("system-prompt"), json!({"system_prompt": prompt})).await.expect(204);
        };
        set("First rule.").await;
        let chat = ada.chat_create("hello").await;
        chat.wait_for_status("waiting").await;
        for prompt in ["Second rule.", ""] {
            set(prompt).await;
            chat.send("again").await;
            chat.wait_for_status("waiting").await;
        }
        let systems = systems();
        assert!(systems[0].contains("First rule."), "{systems:?}");
        assert!(systems[1].contains("Second rule.") && !systems[1].contains("First rule."), "{systems:?}");
        assert!(!systems[2].contains("rule."), "{systems:?}");
        let builtin = ada.get(&config("system-prompt")).await.body(200)["default_system_prompt"].clone();
        let begin: String = builtin.as_str().unwrap().chars().take(30).collect();
        assert!(systems[2].contains(&begin), "{systems:?}");
        // nobody sees it among the messages
        assert!(chat.messages().await.iter().all(|message| message["role"] != "system"));
        host.stop().await;
    }
}

#[tokio::test]
async fn b141_a_user_prompt_is_trimmed_echoed_and_own() {
    let host = Host::start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let own = config("user-prompt");
    assert_eq!(ada.get(&own).await.body(200)["custom_prompt"], "");
    assert_eq!(ada.put(&own, json!({"custom_prompt": " Speak. "})).await.body(200)["custom_prompt"], "Speak.");
    assert_eq!(ada.get(&own).await.body(200)["custom_prompt"], "Speak.");
    assert_eq!(admin.get(&own).await.body(200)["custom_prompt"], "");
    ada.put(&own, json!({"custom_prompt": "x".repeat(32_769)})).await.expect_error(400, "validation_failed");
    ada.put(&own, json!({})).await.expect_error(400, "validation_failed");
}

#[tokio::test]
async fn b142_the_desktop_switch_is_read_by_all_and_set_by_admins() {
    let host = Host::start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let path = config("desktop-enabled");
    assert_eq!(ada.get(&path).await.body(200), json!({"enable_desktop": false}));
    for enabled in [true, false] {
        admin.put(&path, json!({"enable_desktop": enabled})).await.expect(204);
        assert_eq!(ada.get(&path).await.body(200), json!({"enable_desktop": enabled}));
    }
    ada.put(&path, json!({"enable_desktop": true})).await.expect_error(403, "forbidden");
    admin.put(&path, json!({"enable_desktop": "yes"})).await.expect_error(400, "validation_failed");
}

#[tokio::test]
async fn b143_the_lifetime_of_workspaces_has_bounds() {
    let host = Host::start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let ttl = config("workspace-ttl");
    assert_eq!(ada.get(&ttl).await.body(200)["workspace_ttl_ms"], 0);
    for (value, status) in [
        (7_200_000_i64, 204),
        (0, 204),
        (-1, 400),
        (30_000, 400),
        (59_999, 400),
        (2_592_000_001, 400),
        (60_000, 204),
        (2_592_000_000, 204),
    ] {
        admin.put(&ttl, json!({"workspace_ttl_ms": value})).await.expect(status);
    }
    assert_eq!(ada.get(&ttl).await.body(200)["workspace_ttl_ms"], 2_592_000_000_i64);
    ada.put(&ttl, json!({"workspace_ttl_ms": 0})).await.expect_error(403, "forbidden");
}

#[tokio::test]
async fn b144_thresholds_are_own_bounded_and_go_away() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let (admin, ada, eve) = (host.admin().await, host.user("ada", &[]).await, host.user("eve", &[]).await);
        let list = config("user-compaction-thresholds");
        let thresholds = async |actor: &Actor| actor.get(&list).await.body(200)["thresholds"].clone();
        let models = ada.get(&format!("{CHATS}/model-configs")).await.body(200);
        let model = models[0]["id"].as_str().unwrap();
        let path = format!("{list}/{model}");
        assert_eq!(thresholds(&ada).await, json!([]));
        for percent in [0, 100, 55] {
            let wanted = json!({"model_config_id": model, "threshold_percent": percent});
            assert_eq!(ada.put(&path, json!({"threshold_percent": percent})).await.body(200), wanted);
            assert_eq!(thresholds(&ada).await, json!([wanted]));
        }
        for percent in [json!(-1), json!(101), json!(1.5), json!("5"), Value::Null] {
            ada.put(&path, json!({"threshold_percent": percent})).await.expect_error(400, "validation_failed");
        }
        assert_eq!(thresholds(&eve).await, json!([]));
        for _ in 0..2 {
            ada.delete(&path).await.expect(204);
        }
        assert_eq!(thresholds(&ada).await, json!([]));
        let unknown = format!("{list}/01890000-0000-7000-8000-000000000000");
        ada.put(&unknown, json!({"threshold_percent": 5})).await.expect_error(404, "not_found");
        ada.delete(&format!("{list}/x")).await.expect_error(400, "invalid_id");
        let other = json!({"provider": "scripted", "model": "other", "context_limit": 1000, "enabled": false});
        let off = admin.post(&format!("{CHATS}/model-configs"), other).await.body(201)["id"].clone();
        let off = format!("{list}/{}", off.as_str().unwrap());
        ada.put(&off, json!({"threshold_percent": 5})).await.expect_error(400, "model_unavailable");
        host.stop().await;
    }
}
