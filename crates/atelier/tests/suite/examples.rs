//! Every operation of the API, called once with a body that is good, as one long day of a team.
//!
//! What was sent and received are the examples of the OpenAPI document. What a run of today sends and gets
//! must have their form. `ATELIER_RECORD=1` records anew (`./dev generate`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use atelier_test_support::{Actor, Answer, TestServer, eventually};
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};

use crate::fixed::Fixed;
use crate::server;

const PASSWORD: &str = "correct horse battery staple";
const CHATS: &str = "/api/experimental/chats";
const SCRIPT: &str = r#"
rules:
  - when: {user_contains: "wait"}
    steps:
      - text: "I think about it."
      - hang: true
  - when: {user_contains: "fail"}
    steps:
      - error: {kind: auth, message: "The key is wrong."}
  - steps:
      - text: "The tests pass now."
      - usage: {input_tokens: 1200, output_tokens: 40}
"#;

/// Fields that an answer has or has not by the moment it is asked for.
const SOMETIMES: &[&str] = &["last_seen_at", "last_used", "first_connected_at", "last_connected_at"];
/// Fields whose value no example shows.
const SECRETS: &[&str] = &["session_token", "key", "setup_code"];
/// Operations without a JSON body in either direction, or that only streams or agents use.
const WITHOUT_JSON: &[&str] =
    &["health", "openapi_document", "workspace_agent_connect", "file_download", "chat_watch", "chat_stream"];

/// Who calls, what there is to call, and the first good call of each operation.
struct Day {
    server: TestServer,
    admin: Actor,
    /// Method, pieces of the path, name.
    operations: Vec<(String, Vec<String>, String)>,
    examples: BTreeMap<String, Value>,
}

impl Day {
    async fn begin() -> Self {
        let server = server().script("words", SCRIPT).start_empty().await;
        let anonymous = server.anonymous();
        let document = anonymous.get("/api/openapi.json").await.body(200);
        let mut operations = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let pieces = path.split('/').map(str::to_owned).collect();
                operations.push((method.to_uppercase(), pieces, operation["operationId"].as_str().unwrap().to_owned()));
            }
        }
        Self { admin: anonymous, server, operations, examples: BTreeMap::new() }
    }

    /// The operation that serves this path; one with a fixed piece goes before one with a parameter.
    fn operation(&self, method: &Method, path: &str) -> &str {
        let pieces: Vec<&str> = path.split('?').next().unwrap().trim_end_matches('/').split('/').collect();
        let fits = |wanted: &&(String, Vec<String>, String)| {
            wanted.0 == method.as_str()
                && wanted.1.len() == pieces.len()
                && wanted.1.iter().zip(&pieces).all(|(wanted, piece)| wanted == piece || wanted.starts_with('{'))
        };
        let parameters =
            |wanted: &&(String, Vec<String>, String)| wanted.1.iter().filter(|piece| piece.starts_with('{')).count();
        let found = self.operations.iter().filter(fits).min_by_key(parameters);
        &found.unwrap_or_else(|| panic!("{method} {path} is not documented")).2
    }

    fn note(&mut self, method: &Method, path: &str, sent: Option<Value>, answer: Answer) -> Value {
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.text);
        let name = self.operation(method, path).to_owned();
        let mut example = Map::new();
        if let Some(sent) = sent {
            example.insert("request".to_owned(), sent);
        }
        if !answer.body.is_null() {
            example.insert("response".to_owned(), answer.body.clone());
        }
        self.examples.entry(name).or_insert(Value::Object(example));
        answer.body
    }

    async fn call(&mut self, method: Method, path: &str, sent: Option<Value>) -> Value {
        let request: RequestBuilder = self.admin.request(method.clone(), path);
        let request = match &sent {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = self.admin.send(request).await;
        self.note(&method, path, sent, answer)
    }

    async fn get(&mut self, path: &str) -> Value {
        self.call(Method::GET, path, None).await
    }

    async fn post(&mut self, path: &str, body: Value) -> Value {
        self.call(Method::POST, path, Some(body)).await
    }

    /// A change that takes no body.
    async fn act(&mut self, path: &str) -> Value {
        self.call(Method::POST, path, None).await
    }

    async fn put(&mut self, path: &str, body: Value) -> Value {
        self.call(Method::PUT, path, Some(body)).await
    }

    async fn patch(&mut self, path: &str, body: Value) -> Value {
        self.call(Method::PATCH, path, Some(body)).await
    }

    async fn delete(&mut self, path: &str) {
        self.call(Method::DELETE, path, None).await;
    }

    /// Waits until a field of an answer has a value; nothing of it is noted.
    async fn until(&self, path: &str, pointer: &str, value: &str) {
        eventually(value, async || {
            let body = self.admin.get(path).await.body(200);
            (body.pointer(pointer).and_then(Value::as_str) == Some(value)).then_some(())
        })
        .await;
    }
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("{value} has no id")).to_owned()
}

fn said(text: &str) -> Value {
    json!([{"type": "text", "text": text}])
}

async fn people(day: &mut Day) {
    day.get("/api/v2/buildinfo").await;
    day.get("/api/v2/users/authmethods").await;
    let first = json!({
        "email": "admin@example.com", "username": "admin", "password": PASSWORD, "name": "Grace",
        "setup_code": day.server.setup_code(),
    });
    day.post("/api/v2/users/first", first).await;
    day.get("/api/v2/users/first").await;
    let login = json!({"email": "admin@example.com", "password": PASSWORD});
    let token = day.post("/api/v2/users/login", login).await["session_token"].as_str().unwrap().to_owned();
    day.admin = day.admin.with_token(&token);
    day.get("/api/v2/experiments").await;
    let ada = json!({"email": "ada@example.com", "username": "ada", "password": PASSWORD, "name": "Ada Lovelace"});
    day.post("/api/v2/users", ada).await;
    day.get("/api/v2/users?q=ada&limit=10").await;
    day.get("/api/v2/users/roles").await;
    day.get("/api/v2/users/ada").await;
    day.put("/api/v2/users/ada/profile", json!({"username": "ada", "name": "Ada King"})).await;
    day.put("/api/v2/users/ada/password", json!({"password": "another long password"})).await;
    day.put("/api/v2/users/me/preferences", json!({"theme": "dark"})).await;
    day.get("/api/v2/users/me/preferences").await;
    day.put("/api/v2/users/ada/roles", json!({"roles": ["template-admin"]})).await;
    day.get("/api/v2/users/ada/roles").await;
    day.get("/api/v2/users/ada/organizations").await;
    day.call(Method::PUT, "/api/v2/users/ada/status/suspend", None).await;
    day.call(Method::PUT, "/api/v2/users/ada/status/activate", None).await;
    let token = json!({"token_name": "ci", "lifetime_seconds": 86400});
    day.post("/api/v2/users/me/keys/tokens", token).await;
    let tokens = day.get("/api/v2/users/me/keys/tokens").await;
    day.delete(&format!("/api/v2/users/me/keys/{}", id(&tokens[0]))).await;
}

async fn organizations(day: &mut Day) {
    let research = json!({"name": "research", "display_name": "Research", "description": "Looks ahead", "icon": ""});
    day.post("/api/v2/organizations", research).await;
    day.get("/api/v2/organizations").await;
    let path = "/api/v2/organizations/research";
    day.get(path).await;
    day.patch(path, json!({"display_name": "Research and more"})).await;
    day.act(&format!("{path}/members/ada")).await;
    day.put(&format!("{path}/members/ada/roles"), json!({"roles": ["organization-admin"]})).await;
    day.get(&format!("{path}/members")).await;
    let ada = id(&day.get("/api/v2/users/ada").await);
    let group = json!({"name": "reviewers", "display_name": "Reviewers"});
    let group = format!("/api/v2/groups/{}", id(&day.post(&format!("{path}/groups"), group).await));
    day.patch(&group, json!({"add_users": [ada]})).await;
    day.get(&group).await;
    day.get(&format!("{path}/groups")).await;
    day.delete(&group).await;
    day.delete(&format!("{path}/members/ada")).await;
    day.delete(path).await;
}

/// Gives the id of a workspace that runs.
async fn workspaces(day: &mut Day) -> String {
    let template = json!({
        "name": "base",
        "display_name": "Base",
        "description": "An empty workspace",
        "driver": "local",
        "spec": {"startup_script": "echo ready"},
    });
    let template = id(&day.post("/api/v2/organizations/default/templates", template).await);
    day.get("/api/v2/organizations/default/templates").await;
    day.get("/api/v2/templates").await;
    let path = format!("/api/v2/templates/{template}");
    day.patch(&path, json!({"description": "A workspace to begin with"})).await;
    day.get(&path).await;
    day.get(&format!("{path}/versions")).await;
    let wanted = |name: &str| json!({"name": name, "template_id": template});
    let box_id = id(&day.post("/api/v2/users/me/workspaces", wanted("box")).await);
    let other = day.post("/api/v2/organizations/default/members/me/workspaces", wanted("other")).await;
    for workspace in [&box_id, &id(&other)] {
        day.until(&format!("/api/v2/workspaces/{workspace}"), "/latest_build/status", "running").await;
        day.until(&format!("/api/v2/workspaces/{workspace}"), "/latest_build/agents/0/lifecycle_state", "ready").await;
    }
    let path = format!("/api/v2/workspaces/{}", id(&other));
    let stopped = day.post(&format!("{path}/builds"), json!({"transition": "stop"})).await;
    let build = format!("/api/v2/workspacebuilds/{}", id(&stopped));
    day.until(&build, "/status", "stopped").await;
    day.get(&build).await;
    let workspace = day.get(&format!("/api/v2/workspaces/{box_id}")).await;
    day.get("/api/v2/users/me/workspace/box").await;
    day.get("/api/v2/workspaces?limit=10").await;
    day.get(&format!("/api/v2/workspaces/{box_id}/builds")).await;
    day.get(&format!("/api/v2/workspacebuilds/{}/logs", id(&workspace["latest_build"]))).await;
    let agent = format!("/api/v2/workspaceagents/{}", id(&workspace["latest_build"]["agents"][0]));
    day.get(&agent).await;
    day.until(&format!("{agent}/logs"), "/0/output", "ready").await;
    day.get(&format!("{agent}/logs")).await;
    let unused = json!({"name": "unused", "driver": "local", "spec": {}});
    let unused = id(&day.post("/api/v2/organizations/default/templates", unused).await);
    day.delete(&format!("/api/v2/templates/{unused}")).await;
    box_id
}

async fn models(day: &mut Day) {
    let anthropic = json!({"provider": "anthropic", "display_name": "Anthropic", "api_key": "sk-ant-example"});
    let provider = id(&day.post(&format!("{CHATS}/providers"), anthropic).await);
    day.get(&format!("{CHATS}/providers")).await;
    let model = json!({
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "display_name": "Claude Sonnet 4.5",
        "context_limit": 200_000,
        "compression_threshold": 70,
    });
    let model = id(&day.post(&format!("{CHATS}/model-configs"), model).await);
    day.get(&format!("{CHATS}/model-configs")).await;
    let threshold = format!("{CHATS}/config/user-compaction-thresholds");
    day.put(&format!("{threshold}/{model}"), json!({"threshold_percent": 80})).await;
    day.get(&threshold).await;
    day.delete(&format!("{threshold}/{model}")).await;
    day.patch(&format!("{CHATS}/model-configs/{model}"), json!({"enabled": false})).await;
    day.patch(&format!("{CHATS}/providers/{provider}"), json!({"enabled": false})).await;
    day.delete(&format!("{CHATS}/model-configs/{model}")).await;
    day.delete(&format!("{CHATS}/providers/{provider}")).await;
    day.get(&format!("{CHATS}/model-prices?provider=anthropic&model=claude-sonnet-4-5")).await;
    let scripted = day.admin.post(&format!("{CHATS}/providers"), json!({"provider": "scripted"})).await.body(201);
    day.act(&format!("{CHATS}/providers/{}/check", id(&scripted))).await;
    let words = json!({"provider": "scripted", "model": "words", "context_limit": 200_000, "is_default": true});
    day.admin.post(&format!("{CHATS}/model-configs"), words).await.expect(201);
    day.get(&format!("{CHATS}/models")).await;
}

async fn settings(day: &mut Day) {
    let prompt = json!({"system_prompt": "You work on the code of a bank. Ask before you add a dependency."});
    for path in ["config/system-prompt", "system-prompt"] {
        day.put(&format!("{CHATS}/{path}"), prompt.clone()).await;
        day.get(&format!("{CHATS}/{path}")).await;
    }
    for (path, body) in [
        ("desktop-enabled", json!({"enable_desktop": true})),
        ("workspace-ttl", json!({"workspace_ttl_ms": 28_800_000})),
        ("user-prompt", json!({"custom_prompt": "Answer in short sentences."})),
    ] {
        day.put(&format!("{CHATS}/config/{path}"), body).await;
        day.get(&format!("{CHATS}/config/{path}")).await;
    }
}

async fn chats(day: &mut Day, workspace: &str) {
    let organization = id(&day.get("/api/v2/organizations").await[0]);
    let path = format!("{CHATS}/files?organization={organization}");
    let request = day.admin.request(Method::POST, &path).header("content-type", "text/plain");
    let request = request.header("content-disposition", "attachment; filename=\"failures.txt\"").body("1 failed");
    let answer = day.admin.send(request).await;
    let file = id(&day.note(&Method::POST, &path, None, answer));
    day.get(&format!("{CHATS}/files/{file}")).await;
    let content = json!([{"type": "text", "text": "Make the tests pass"}, {"type": "file", "file_id": file}]);
    let chat = json!({"content": content, "workspace_id": workspace, "labels": {"team": "payments"}});
    let path = format!("{CHATS}/{}", id(&day.post(CHATS, chat).await));
    day.until(&path, "/status", "waiting").await;
    day.patch(&path, json!({"title": "Green tests", "pin_order": 1})).await;
    day.put(&format!("{path}/read"), json!({"last_read_message_id": 2})).await;
    day.get(&path).await;
    day.get(&format!("{CHATS}?q=tests&limit=10")).await;
    day.get(&format!("{CHATS}/by-workspace?workspace_ids={workspace}")).await;
    day.post(&format!("{CHATS}/by-workspace"), json!({"workspace_ids": [workspace]})).await;
    let messages = format!("{path}/messages");
    day.get(&format!("{messages}?limit=10")).await;
    day.post(&messages, json!({"content": said("Thank you. And now wait for me"), "busy_behavior": "queue"})).await;
    day.until(&path, "/status", "running").await;
    for text in ["First this", "Then that"] {
        day.post(&messages, json!({"content": said(text)})).await;
    }
    let queued = day.get(&messages).await["queued_messages"].clone();
    day.delete(&format!("{path}/queue/{}", queued[0]["id"])).await;
    day.act(&format!("{path}/queue/{}/promote", queued[1]["id"])).await;
    day.until(&path, "/status", "waiting").await;
    day.act(&format!("{path}/interrupt")).await;
    let page = day.admin.get(&messages).await.body(200);
    let of_user = page["messages"].as_array().unwrap().iter().find(|message| message["role"] == "user").unwrap();
    day.patch(&format!("{messages}/{}", of_user["id"]), json!({"content": said("Then that, but shorter")})).await;
    day.until(&path, "/status", "waiting").await;
    day.post(&messages, json!({"content": said("And now fail")})).await;
    day.until(&path, "/status", "error").await;
    let model = &day.admin.get(&path).await.body(200)["last_model_config_id"];
    day.post(&format!("{path}/retry"), json!({ "model_config_id": model })).await;
    day.until(&path, "/status", "error").await;
    day.act(&format!("{path}/archive")).await;
    day.act(&format!("{path}/unarchive")).await;
}

/// Cuts lists, and takes what is secret or the machine's.
fn tidy(value: &mut Value, server: &TestServer) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if SECRETS.contains(&name.as_str()) && value.is_string() {
                    *value = json!("4f3Kq0b1Vd-shown-once");
                } else {
                    tidy(value, server);
                }
            }
        }
        Value::Array(values) => {
            values.truncate(2);
            values.iter_mut().for_each(|value| tidy(value, server));
        }
        Value::String(text) => {
            *text = text
                .replace(&server.url(), "https://atelier.example.com")
                .replace(&server.data_dir().display().to_string(), "/var/lib/atelier");
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What makes two bodies differ in form, if anything does: fields that one lacks, kinds of values.
fn difference(today: &Value, example: &Value, at: &str) -> Option<String> {
    match (today, example) {
        (Value::Object(today), Value::Object(example)) => {
            let is_map = |fields: &Map<String, Value>| fields.keys().all(|key| uuid::Uuid::try_parse(key).is_ok());
            if is_map(today) && is_map(example) {
                return None;
            }
            today.keys().chain(example.keys()).find_map(|key| match (today.get(key), example.get(key)) {
                (Some(today), Some(example)) => difference(today, example, &format!("{at}.{key}")),
                _ if SOMETIMES.contains(&key.as_str()) => None,
                _ => Some(format!("{at}.{key}")),
            })
        }
        (Value::Array(today), Value::Array(example)) => {
            let pairs = today.iter().zip(example).enumerate();
            let inside = pairs.map(|(n, (today, example))| difference(today, example, &format!("{at}[{n}]")));
            inside.flatten().next().or_else(|| (today.is_empty() != example.is_empty()).then(|| at.to_owned()))
        }
        (Value::Null, _) | (_, Value::Null) => None,
        _ => (std::mem::discriminant(today) != std::mem::discriminant(example)).then(|| at.to_owned()),
    }
}

#[tokio::test]
async fn every_operation_has_an_example_that_holds() {
    let mut day = Day::begin().await;
    people(&mut day).await;
    organizations(&mut day).await;
    let workspace = workspaces(&mut day).await;
    models(&mut day).await;
    settings(&mut day).await;
    chats(&mut day, &workspace).await;
    day.delete("/api/v2/users/ada").await;
    day.act("/api/v2/users/logout").await;

    let called: Vec<&str> = day.examples.keys().map(String::as_str).collect();
    let left_out: Vec<&str> = day
        .operations
        .iter()
        .map(|(_, _, name)| name.as_str())
        .filter(|name| !called.contains(name) && !WITHOUT_JSON.contains(name))
        .collect();
    assert!(left_out.is_empty(), "never called: {left_out:?}");

    let mut fixed = Fixed::default();
    for example in day.examples.values_mut() {
        tidy(example, &day.server);
        fixed.fix(example);
    }
    day.examples.retain(|_, example| *example != json!({}));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../atelier-server/src/openapi/examples.json");
    if std::env::var_os("ATELIER_RECORD").is_some() {
        let lines: Vec<String> = day.examples.iter().map(|(name, example)| format!("\"{name}\": {example}")).collect();
        std::fs::write(path, format!("{{\n{}\n}}\n", lines.join(",\n"))).unwrap();
        return;
    }
    let examples: BTreeMap<String, Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(examples.keys().eq(day.examples.keys()), "run ./dev generate");
    for (name, today) in &day.examples {
        let differs = difference(today, &examples[name], "");
        assert_eq!(differs, None, "{name}: run ./dev generate if it is meant\n{today}\n{}", examples[name]);
    }
}
