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

#[tokio::test]
async fn b160_a_specification_comes_back_as_it_was_or_with_every_fault() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        let spec = json!({
            "directory": "/home/atelier/work",
            "startup_script": "cargo fetch",
            "shutdown_script": "true",
            "startup_timeout_ms": 60_000,
            "env": {"RUST_LOG": "debug", "OWNER": "${owner.username}"},
            "repository": {"url": "https://git.example.com/a/b.git", "branch": "${param.branch}", "path": "~/work"},
            "resources": {"memory_mb": 1024, "cpu": 2.0, "pids": 512},
            "network": {"policy": "open"},
            "autostop": {"default_ttl_ms": 3_600_000, "user_autostop_enabled": false},
            "desktop": {"enabled": false},
            "parameters": [
                {"name": "branch", "type": "string", "default": "main", "mutable": true},
                {"name": "token", "type": "string", "sensitive": true},
            ],
        });
        let body = json!({"name": "whole", "driver": "local", "spec": spec});
        let made = admin.post(TEMPLATES, body).await.body(201);
        let path = format!("/api/v2/templates/{}", made["id"].as_str().unwrap());
        let read = admin.get(&path).await.body(200);
        for (field, value) in spec.as_object().unwrap() {
            assert_eq!(&read["spec"][field], value, "{field}");
        }
        assert_eq!((&read["default_ttl_ms"], &read["user_autostop_enabled"]), (&json!(3_600_000), &json!(false)));
        assert_eq!((&read["desktop_enabled"], &read["network_policy"]), (&json!(false), &json!("open")));
        // the same as a document
        let toml = "startup_script = \"true\"\n[env]\nA = \"b\"\n";
        let body = json!({"name": "text", "driver": "local", "spec": toml, "spec_format": "toml"});
        assert_eq!(admin.post(TEMPLATES, body).await.body(201)["spec"]["env"]["A"], "b");

        let broken = json!({
            "nothing": 1,
            "startup_timeout_ms": "soon",
            "env": {"A": 5},
            "repository": {"branch": "main"},
            "parameters": [{"type": "string"}],
        });
        let refused = admin.post(TEMPLATES, json!({"name": "x", "driver": "local", "spec": broken})).await.body(400);
        let faults = refused["validations"].as_array().unwrap();
        let mut fields: Vec<&str> = faults.iter().map(|fault| fault["field"].as_str().unwrap()).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            ["spec.env.A", "spec.nothing", "spec.parameters[0].name", "spec.repository.url", "spec.startup_timeout_ms"]
        );

        let secret = "hunter2-is-no-word";
        let workspace =
            json!({"template_id": made["id"], "name": "box", "parameters": {"token": secret, "branch": "next"}});
        let workspace = ada.post("/api/v2/users/me/workspaces", workspace).await;
        assert!(!workspace.text.contains(secret), "{}", workspace.text);
        let one = format!("/api/v2/workspaces/{}", workspace.body(201)["id"].as_str().unwrap());
        for path in [one.clone(), format!("{one}/builds"), "/api/v2/workspaces".to_owned(), path] {
            for actor in [&ada, &admin] {
                let answer = actor.get(&path).await;
                assert!(!answer.text.contains(secret), "{path}: {}", answer.text);
            }
        }
        host.stop().await;
    }
}

#[tokio::test]
async fn b165_a_user_has_so_many_workspaces_and_tokens_of_their_own_only() {
    let host = Host::start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let demo = template(&admin, "demo").await;
    let create = async |n: usize| {
        let body = json!({"template_id": demo["id"], "name": format!("box-{n}")});
        ada.post("/api/v2/users/me/workspaces", body).await
    };
    for n in 0..20 {
        let made = create(n).await.body(201);
        let one = format!("/api/v2/workspaces/{}", made["id"].as_str().unwrap());
        ended(&ada, &one).await;
        ada.post(&format!("{one}/builds"), json!({"transition": "stop"})).await.expect(201);
        ended(&ada, &one).await;
    }
    create(20).await.expect_error(409, "quota_exceeded");
    let token = json!({"token_name": "t"});
    admin.post("/api/v2/users/ada/keys/tokens", token.clone()).await.expect_error(403, "forbidden");
    ada.post("/api/v2/users/me/keys/tokens", token).await.expect(201);
    host.stop().await;
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
