//! Templates and workspaces, as far as no workspace agent is needed.

use atelier_test_support::{Actor, Engine};
use serde_json::{Value, json};

use crate::host::{CHATS, Host};

const TEMPLATES: &str = "/api/v2/organizations/default/templates";

async fn template(admin: &Actor, name: &str) -> Value {
    let spec = json!({"env": {"TOKEN": "s3cret"}, "startup_script": "echo hidden"});
    admin.post(TEMPLATES, json!({"name": name, "driver": "local", "spec": spec})).await.body(201)
}

#[tokio::test]
async fn b022_templates_are_written_by_admins_and_shown_without_secrets() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        ada.post(TEMPLATES, json!({"name": "x", "driver": "local", "spec": {}})).await.expect_error(403, "forbidden");
        for bad in [
            json!({"name": "x", "driver": "cloud", "spec": {}}),
            json!({"name": "A B", "driver": "local", "spec": {}}),
            json!({"name": "x", "driver": "local", "spec": {"nothing": 1, "startup_timeout_ms": "x"}}),
        ] {
            let refused = admin.post(TEMPLATES, bad).await.body(400);
            assert!(!refused["validations"].as_array().unwrap().is_empty(), "{refused}");
        }
        let made = template(&admin, "demo").await;
        assert_eq!(made["spec"]["env"]["TOKEN"], "s3cret");
        admin
            .post(TEMPLATES, json!({"name": "demo", "driver": "local", "spec": {}}))
            .await
            .expect_error(409, "already_exists");
        let path = format!("/api/v2/templates/{}", made["id"].as_str().unwrap());
        let seen = ada.get(&path).await;
        assert!(!seen.text.contains("s3cret") && !seen.text.contains("hidden"), "{}", seen.text);
        let versions = ada.get(&format!("{path}/versions")).await;
        assert!(!versions.text.contains("s3cret"));
        assert_eq!(ada.get("/api/v2/templates").await.body(200).as_array().unwrap().len(), 1);
        assert_eq!(ada.get(TEMPLATES).await.body(200).as_array().unwrap().len(), 1);
        ada.patch(&path, json!({"description": "x"})).await.expect(403);
        let patched = admin.patch(&path, json!({"description": "x"})).await.body(200);
        assert_eq!(patched["active_version_id"], made["active_version_id"]);
        let patched = admin.patch(&path, json!({"spec": {"directory": "/w"}})).await.body(200);
        assert_ne!(patched["active_version_id"], made["active_version_id"]);
        assert_eq!(admin.get(&format!("{path}/versions")).await.body(200)[0]["number"], 2);
        admin.patch(&path, json!({"driver": "docker"})).await.expect(400);
        ada.delete(&path).await.expect(403);
        admin.delete(&path).await.expect(200);
        admin.get(&path).await.expect_error(404, "not_found");
        host.stop().await;
    }
}

#[tokio::test]
async fn b023_b024_workspaces_are_their_owners_and_built_one_at_a_time() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let (admin, ada, ben) = (host.admin().await, host.user("ada", &[]).await, host.user("ben", &[]).await);
        let demo = template(&admin, "demo").await;
        let create = |name: &str| json!({"template_id": demo["id"], "name": name});
        let path = "/api/v2/users/me/workspaces";
        for (body, field) in [
            (json!({"name": "a"}), "template_id"),
            (json!({"template_id": "01890000-0000-7000-8000-000000000000", "name": "a"}), "template_id"),
            (create("A b"), "name"),
        ] {
            let refused = ada.post(path, body).await.body(400);
            assert_eq!(refused["validations"][0]["field"], field, "{refused}");
        }
        admin.post("/api/v2/users/ada/workspaces", create("other")).await.expect_error(403, "forbidden");
        let made = ada.post(path, create("box")).await.body(201);
        let build = &made["latest_build"];
        assert_eq!(
            (&build["transition"], &build["reason"], &build["build_number"]),
            (&json!("start"), &json!("initiator"), &json!(1))
        );
        ada.post(path, create("box")).await.expect_error(409, "already_exists");
        let id = made["id"].as_str().unwrap();
        let one = format!("/api/v2/workspaces/{id}");
        assert_eq!(ada.get("/api/v2/users/me/workspace/box").await.body(200)["id"], made["id"]);
        ben.get(&one).await.expect_error(404, "not_found");
        ben.get(&format!("{one}/builds")).await.expect_error(404, "not_found");
        let build_path = format!("/api/v2/workspacebuilds/{}", build["id"].as_str().unwrap());
        ben.get(&build_path).await.expect_error(404, "not_found");
        ben.get(&format!("{build_path}/logs")).await.expect_error(404, "not_found");
        admin.get(&one).await.expect(200);
        // reading a workspace is not enough to work in it
        let chat = json!({"content": [{"type": "text", "text": "x"}], "workspace_id": id});
        admin.post(CHATS, chat.clone()).await.expect_error(400, "workspace_unavailable");
        let attached = ada.post(CHATS, chat).await.body(201);
        assert_eq!(attached["workspace_id"], made["id"]);
        assert!(attached["build_id"].is_string());
        assert_eq!(ada.get(CHATS).await.body(200)[0]["build_id"], attached["build_id"]);
        let by = ada.get(&format!("{CHATS}/by-workspace?workspace_ids={id}")).await.body(200);
        assert_eq!(by, json!({id: attached["id"]}));

        let list = ada.get("/api/v2/workspaces?q=owner:me").await.body(200);
        assert_eq!((&list["count"], &list["workspaces"][0]["name"]), (&json!(1), &json!("box")));
        assert_eq!(ben.get("/api/v2/workspaces").await.body(200), json!({"workspaces": [], "count": 0}));
        ada.get("/api/v2/workspaces?q=colour:red").await.expect(400);

        ada.post(&format!("{one}/builds"), json!({"transition": "jump"})).await.expect(400);
        ended(&ada, &one).await;
        let stop = ada.post(&format!("{one}/builds"), json!({"transition": "stop"})).await.body(201);
        assert_eq!(stop["build_number"], 2);
        ended(&ada, &one).await;
        let logs = ada.get(&format!("{build_path}/logs")).await.body(200);
        let lines = logs.as_array().unwrap();
        assert!(!lines.is_empty());
        let first = lines[0]["id"].as_i64().unwrap();
        let rest = ada.get(&format!("{build_path}/logs?after={first}")).await.body(200);
        assert_eq!(rest.as_array().unwrap().len(), lines.len() - 1);
        ada.get(&format!("{build_path}/logs?after=x")).await.expect(400);
        assert_eq!(followed(&host, &ada, &format!("{build_path}/logs?follow")).await, *lines);
        admin.delete(&format!("/api/v2/templates/{}", demo["id"].as_str().unwrap())).await.expect_error(400, "in_use");
        ada.post(&format!("{one}/builds"), json!({"transition": "delete"})).await.expect(201);
        atelier_test_support::eventually("the workspace to be gone", || async {
            (ada.get(&one).await.status == 404).then_some(())
        })
        .await;
        host.stop().await;
    }
}

/// Waits until no build is under way.
async fn ended(actor: &Actor, workspace: &str) {
    atelier_test_support::eventually("the build to end", || async {
        let status = actor.get(workspace).await.body(200)["latest_build"]["status"].as_str().unwrap().to_owned();
        ["running", "stopped", "failed"].contains(&status.as_str()).then_some(())
    })
    .await;
}

/// Every frame of a log that is followed to its end, which is a normal one.
async fn followed(host: &Host, actor: &Actor, path: &str) -> Vec<Value> {
    use futures::StreamExt as _;
    use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};
    let mut request = format!("ws://127.0.0.1:{}{path}", host.port).into_client_request().unwrap();
    request.headers_mut().insert("Coder-Session-Token", actor.token().parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let mut lines = Vec::new();
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => lines.push(serde_json::from_str(&text).unwrap()),
            Message::Close(Some(frame)) => {
                assert_eq!(u16::from(frame.code), 1000);
                return lines;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_workspace_agent_needs_its_own_token() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let connect = "/api/v2/workspaceagents/me/connect";
    host.anonymous().get(connect).await.expect(401);
    ada.get(connect).await.expect(401);
    ada.send(ada.request(reqwest::Method::GET, connect).bearer_auth("x")).await.expect(401);
    host.stop().await;
}
