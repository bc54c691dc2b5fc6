//! Turns that work in a workspace. Numbers are those of the contract.

use atelier_test_support::{Actor, Engine, Form, eventually, files_below, text_of};
use serde_json::{Value, json};

use crate::server;

const SCRIPT: &str = r#"
rules:
  - when: {user_contains: "run", step: 0}
    steps:
      - tool_call: {name: execute, args: {command: "echo here"}}
  - when: {user_contains: "run", step: 1}
    steps:
      - text: "It ran."
  - when: {user_contains: "both", step: 0}
    steps:
      - text: "One by one."
      - tool_call: {name: execute, args: {command: "echo fast"}}
      - tool_call: {name: execute, args: {command: "until [ -e $HOME/go ]; do sleep 0.05; done; echo slow"}}
  - when: {user_contains: "both", step: 1}
    steps:
      - text: "Both are done."
"#;

/// A workspace of the admin, running.
async fn workspace(admin: &Actor) -> Value {
    let template = json!({"name": "base", "driver": "local", "spec": {}});
    let template = admin.post("/api/v2/organizations/default/templates", template).await.body(201);
    let workspace = json!({"template_id": template["id"], "name": "box"});
    let made = admin.post("/api/v2/users/me/workspaces", workspace).await.body(201);
    running(admin, made["id"].as_str().unwrap()).await
}

async fn running(admin: &Actor, workspace: &str) -> Value {
    eventually("the workspace to be ready", async || {
        let row = admin.get(&format!("/api/v2/workspaces/{workspace}")).await.body(200);
        (row["latest_build"]["agents"][0]["lifecycle_state"] == "ready").then_some(row)
    })
    .await
}

#[tokio::test]
async fn b031_a_workspace_that_was_stopped_and_started_is_worked_in_by_its_new_agent() {
    for engine in Engine::ALL {
        let server = server().engine(engine).script("words", SCRIPT).start().await;
        let admin = server.admin().await;
        let before = workspace(&admin).await;
        let id = before["id"].as_str().unwrap();
        let content = json!([{"type": "text", "text": "run"}]);
        let chat = admin.chat_create_with(json!({"content": content, "workspace_id": id})).await;
        let first = chat.wait_for_status("waiting").await;
        assert_eq!(first["workspace_id"], before["id"]);
        assert_eq!(first["agent_id"], before["latest_build"]["agents"][0]["id"]);
        for (transition, status) in [("stop", "stopped"), ("start", "running")] {
            admin.post(&format!("/api/v2/workspaces/{id}/builds"), json!({"transition": transition})).await.expect(201);
            eventually(status, async || {
                let row = admin.get(&format!("/api/v2/workspaces/{id}")).await.body(200);
                (row["latest_build"]["status"] == status).then_some(())
            })
            .await;
        }
        let after = running(&admin, id).await;
        chat.send("run").await;
        let row = chat.wait_for_status("waiting").await;
        let messages = chat.messages().await;
        let results: Vec<&Value> = messages
            .iter()
            .filter(|message| message["role"] == "tool")
            .map(|message| &message["content"][0]["result"])
            .collect();
        assert_eq!(results.len(), 2);
        for result in results {
            assert_eq!((&result["success"], &result["output"]), (&json!(true), &json!("here\n")), "{result}");
        }
        assert_eq!(row["agent_id"], after["latest_build"]["agents"][0]["id"]);
        assert_ne!(row["agent_id"], first["agent_id"]);
    }
}

#[tokio::test]
async fn b094_an_answer_is_there_before_its_calls_end_and_each_result_as_soon_as_its_call_ends() {
    for engine in Engine::ALL {
        let server = server().engine(engine).script("words", SCRIPT).start().await;
        let admin = server.admin().await;
        let workspace = workspace(&admin).await;
        let content = json!([{"type": "text", "text": "both"}]);
        let chat = admin.chat_create_with(json!({"content": content, "workspace_id": workspace["id"]})).await;
        let mut stream = chat.stream(Form::WebSocket, Some("")).await;
        let mut seen: Vec<Value> = Vec::new();
        let mut is_released = false;
        while seen.last().is_none_or(|message| text_of(message) != "Both are done.") {
            let frame = stream.next().await.expect("the stream goes on");
            if frame.kind == "data" {
                let events = frame.data.as_array().unwrap();
                seen.extend(
                    events.iter().filter(|event| event["type"] == "message").map(|event| event["message"].clone()),
                );
            }
            // the slow call waits for this, so nothing here is a race
            if !is_released && seen.iter().any(|message| message["role"] == "tool") {
                let id = workspace["id"].as_str().unwrap();
                std::fs::write(server.data_dir().join("workspaces").join(id).join("home/go"), "").unwrap();
                is_released = true;
            }
        }
        let told: Vec<String> = seen
            .iter()
            .map(|message| match message["content"][0]["result"]["output"].as_str() {
                Some(output) => output.trim().to_owned(),
                None => text_of(message),
            })
            .collect();
        assert_eq!(told, ["both", "One by one.", "fast", "slow", "Both are done."]);
        assert!(seen.is_sorted_by_key(|message| message["id"].as_i64()));
    }
}

/// A folder of files that hangs holds a turn up, and not those who stop it.
#[tokio::test]
async fn a_turn_that_waits_for_the_bytes_of_a_file_can_be_stopped() {
    let server = server().script("words", SCRIPT).env("ATELIER_FILE_STORE", "directory").start().await;
    let admin = server.admin().await;
    let file = crate::files::upload(&admin, b"what was said").await.body(201);
    let folder = server.data_dir().join("private/files");
    let mut paths = files_below(&folder);
    let path = paths.pop().unwrap();
    assert!(paths.is_empty());
    std::fs::remove_file(&path).unwrap();
    // whoever reads it waits for somebody who writes
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let content = json!([{"type": "text", "text": "run"}, {"type": "file", "file_id": file["id"]}]);
    let chat = admin.chat_create_with(json!({"content": content})).await;
    chat.wait_for_status("running").await;
    chat.interrupt().await.expect(200);
    let row = chat.wait_for_status("waiting").await;
    assert_eq!(row["last_error"], Value::Null);
    assert_eq!(chat.messages().await.len(), 1, "nothing was asked of the model");
}
