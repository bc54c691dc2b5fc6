//! A workspace fills the disk that the server lives on.

use std::os::unix::fs::PermissionsExt as _;

use atelier_test_support::{Actor, TestServer, eventually};
use serde_json::{Value, json};

use crate::PROGRAM;

/// The program with a small disk of its own as data folder. Workspaces need a copy of the program there, which
/// has about 140 MB in a debug build.
fn on_a_small_disk(folder: &std::path::Path) -> std::path::PathBuf {
    let wrapper = folder.join("atelier-on-a-small-disk");
    let mount = r#"mkdir -p "$ATELIER_DATA_DIR" && mount -t tmpfs -o size=500m,mode=711 tmpfs "$ATELIER_DATA_DIR" && exec "$0" "$@""#;
    let script =
        format!("#!/bin/sh\nexec unshare --mount --propagation private /bin/sh -c '{mount}' {PROGRAM} \"$@\"\n");
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    wrapper
}

async fn workspace(admin: &Actor, template: &Value, name: &str) -> String {
    let workspace = json!({"template_id": template["id"], "name": name});
    let made = admin.post("/api/v2/users/me/workspaces", workspace).await.body(201);
    made["id"].as_str().unwrap().to_owned()
}

async fn build_is(admin: &Actor, workspace: &str, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let answer = admin.get(&format!("/api/v2/workspaces/{workspace}")).await;
        // While the disk is full, requests may be answered 507.
        let build = (answer.status == 200).then(|| answer.body["latest_build"].clone())?;
        matches(&build).then_some(build)
    })
    .await
}

fn is_ready(build: &Value) -> bool {
    build["agents"][0]["lifecycle_state"] == "ready"
}

#[tokio::test]
async fn the_workspace_that_fills_the_disk_is_stopped_and_the_server_has_room() {
    the_one_that_fills_the_disk_is_stopped("cat /dev/zero > $HOME/big").await;
}

#[tokio::test]
async fn a_workspace_that_fills_the_disk_beyond_the_longest_path_is_stopped() {
    let fill = r#"perl -e 'my $name = "a" x 250; for (1..20) { mkdir $name; chdir $name }
        open my $file, ">", "big"; 1 while syswrite $file, "0" x 65536'"#;
    the_one_that_fills_the_disk_is_stopped(fill).await;
}

async fn the_one_that_fills_the_disk_is_stopped(command: &str) {
    let mut mounting = std::process::Command::new("unshare");
    if !mounting.args(["--mount", "--propagation", "private", "true"]).status().is_ok_and(|status| status.success()) {
        eprintln!("left out: this user cannot make a small disk");
        return;
    }
    let script = json!({"rules": [
        {
            "when": {"user_contains": "fill", "step": 0},
            "steps": [{"tool_call": {"name": "execute", "args": {"command": command}}}],
        },
        {"steps": [{"text": "Done."}]},
    ]});
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::builder(on_a_small_disk(folder.path()))
        .env("ATELIER_DISK_RESERVE_MB", "40")
        // Its file lies on a disk that only the server sees.
        .env("ATELIER_SETUP_CODE", "set-up-code-of-a-test")
        .script("fill", &script.to_string())
        .start()
        .await;
    let admin = server.admin().await;
    let template = json!({"name": "base", "driver": "local", "spec": {"network": {"policy": "none"}}});
    let template = admin.post("/api/v2/organizations/default/templates", template).await.body(201);
    let calm = workspace(&admin, &template, "calm").await;
    let hog = workspace(&admin, &template, "hog").await;
    for id in [&calm, &hog] {
        build_is(&admin, id, "the workspace to be ready", is_ready).await;
    }
    let content = json!([{"type": "text", "text": "fill"}]);
    let chat = admin.chat_create_with(json!({"content": content, "workspace_id": hog})).await;

    // It is ended, and its page says why.
    let stopped = build_is(&admin, &hog, "the workspace to be stopped", |build| build["transition"] == "stop").await;
    assert_eq!(stopped["reason"], "disk_full");
    let logs = format!("/api/v2/workspacebuilds/{}/logs", stopped["id"].as_str().unwrap());
    let logs = eventually("the reason in the log", async || {
        let logs = admin.get(&logs).await.body(200).to_string();
        logs.contains("grew most").then_some(logs)
    })
    .await;
    assert!(logs.contains("disk"), "{logs}");
    chat.wait_for_status("waiting").await;

    // Others go on, people can log in, and nothing is started until there is room.
    assert!(is_ready(&build_is(&admin, &calm, "the other one", |_| true).await));
    let admin = server.admin().await;
    let start = json!({"transition": "start"});
    admin.post(&format!("/api/v2/workspaces/{hog}/builds"), start.clone()).await.expect(201);
    let failed = build_is(&admin, &hog, "the start to fail", |build| build["status"] == "failed").await;
    assert_eq!(failed["error_code"], "storage_full", "{failed}");
    assert!(failed["error"].as_str().unwrap().contains("nearly full"), "{failed}");

    // Deleting makes room.
    admin.post(&format!("/api/v2/workspaces/{hog}/builds"), json!({"transition": "delete"})).await.expect(201);
    eventually("a workspace to start again", async || {
        let next = workspace(&admin, &template, &format!("next-{}", uuid::Uuid::now_v7().simple())[..30]).await;
        let build =
            build_is(&admin, &next, "its build to end", |build| build["status"] == "failed" || is_ready(build)).await;
        if build["status"] == "failed" {
            admin.post(&format!("/api/v2/workspaces/{next}/builds"), json!({"transition": "delete"})).await.expect(201);
        }
        is_ready(&build).then_some(())
    })
    .await;
}
