//! What a workspace is given in confidence is read nowhere else.

use atelier_test_support::eventually;
use serde_json::json;

use crate::server;

const KEY: &str = "hunter2-is-no-word";

#[tokio::test]
async fn values_of_sensitive_parameters_are_masked_in_logs() {
    let server = server().demo().start().await;
    let admin = server.admin().await;
    let spec = json!({
        "parameters": [{"name": "key", "sensitive": true}],
        "startup_script": "echo the key is $ATELIER_PARAM_KEY; echo $ATELIER_PARAM_KEY | rev | rev",
    });
    let template = json!({"name": "secret", "driver": "local", "spec": spec});
    let template = admin.post("/api/v2/organizations/default/templates", template).await.body(201);
    let workspace = json!({"template_id": template["id"], "name": "box", "parameters": {"key": KEY}});
    let workspace = admin.post("/api/v2/users/me/workspaces", workspace).await.body(201);
    let agent = workspace["latest_build"]["agents"][0]["id"].as_str().unwrap();
    let lines = eventually("the log of the script", || async {
        let logs = admin.get(&format!("/api/v2/workspaceagents/{agent}/logs")).await.body(200).to_string();
        logs.contains("the key is").then_some(logs)
    })
    .await;
    assert!(lines.contains("the key is ••••"), "{lines}");
    assert!(!lines.contains(KEY), "{lines}");
    let shown = admin.get(&format!("/api/v2/workspaces/{}", workspace["id"].as_str().unwrap())).await;
    assert!(!shown.text.contains(KEY), "{}", shown.text);
}
