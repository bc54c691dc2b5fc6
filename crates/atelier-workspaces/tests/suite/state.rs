//! The folder that the workspace agent keeps over restarts, which lies out of the way of commands.

use atelier_daemon::workspace::{Method, WorkspaceConnection};
use atelier_domain::CallToken;
use atelier_store::Transition;
use atelier_workspaces::drivers::local::SandboxChoice;
use serde_json::json;

use crate::host::{Engine, Host, json_of, request, run};

/// Runs a command that does not start in the home folder.
async fn run_elsewhere(connection: &dyn WorkspaceConnection, command: &str) -> String {
    let body = json!({ "command": command, "workdir": "/" });
    let mut start = request(Method::Post, "/v1/processes", Some(body));
    start.context.call = Some((CallToken::new(), "0".repeat(64)));
    let process = json_of(&connection.request(start).await.unwrap())["process_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/processes/{process}/output?wait_ms=30000");
    let result = json_of(&connection.request(request(Method::Get, &path, None)).await.unwrap());
    assert_eq!(result["exit_code"], 0, "{result}");
    result["output"].as_str().unwrap().to_owned()
}

async fn tidying_up_in_home_does_no_harm(sandbox: SandboxChoice) {
    let host = Host::with_agent(Engine::Sqlite, sandbox).await;
    let id = host.workspace("box", json!({})).await;
    let connection = host.connect(id).await;
    let ledger = connection.ledger_id();
    assert_eq!(run(&*connection, "rm -rf ~/.local; echo gone").await, "gone\n");
    assert_eq!(run(&*connection, "cd; git init -q; git add -A; git diff --cached --name-only").await, "");
    assert_eq!(run(&*connection, "chmod 000 ~; echo shut").await, "shut\n");
    assert_eq!(run_elsewhere(&*connection, "echo here").await, "here\n");

    host.build(id, Transition::Stop).await;
    host.build(id, Transition::Start).await;
    let connection = host.connect(id).await;
    assert_eq!(connection.ledger_id(), ledger, "the agent's folder is kept");
    assert_eq!(run(&*connection, "cd; ls -A").await, ".git\n", "home can be entered again");

    // As an older agent left it.
    host.build(id, Transition::Stop).await;
    let (outer, former) = (host.folder(id), host.folder(id).join("home/.local/state/atelier"));
    std::fs::create_dir_all(former.parent().unwrap()).unwrap();
    std::fs::rename(outer.join("state"), &former).unwrap();
    host.build(id, Transition::Start).await;
    assert_eq!(host.connect(id).await.ledger_id(), ledger, "it has moved");
    assert!(!former.exists() && outer.join("state/ledger.json").exists());
}

#[tokio::test]
async fn tidying_up_in_home_does_no_harm_in_bubblewrap() {
    tidying_up_in_home_does_no_harm(SandboxChoice::Bubblewrap).await;
}

#[tokio::test]
async fn tidying_up_in_home_does_no_harm_with_landlock() {
    tidying_up_in_home_does_no_harm(SandboxChoice::Landlock).await;
}

#[tokio::test]
async fn tidying_up_in_home_does_no_harm_without_a_sandbox() {
    tidying_up_in_home_does_no_harm(SandboxChoice::Off).await;
}

#[tokio::test]
async fn a_broken_agent_is_told_on_its_workspace_until_it_works_again() {
    let host = Host::with_agent(Engine::Sqlite, SandboxChoice::Bubblewrap).await;
    let id = host.workspace("box", json!({})).await;
    let connection = host.connect(id).await;
    let (processes, aside) = (host.folder(id).join("state/processes"), host.folder(id).join("state/aside"));
    std::fs::rename(&processes, &aside).unwrap();
    std::fs::write(&processes, "in the way").unwrap();
    let mut start = request(Method::Post, "/v1/processes", Some(json!({ "command": "true" })));
    start.context.call = Some((CallToken::new(), "0".repeat(64)));
    assert_eq!(connection.request(start).await.unwrap().status, 500);
    let broken = |view: &atelier_workspaces::WorkspaceView| view.agent.as_ref().and_then(|agent| agent.broken.clone());
    let view = host.wait_for(id, "broken", |view| broken(view).is_some()).await;
    assert!(broken(&view).unwrap().contains("its own folder"), "{view:?}");
    std::fs::remove_file(&processes).unwrap();
    assert_eq!(run(&*connection, "echo again").await, "again\n");
    host.wait_for(id, "well", |view| broken(view).is_none()).await;
}
