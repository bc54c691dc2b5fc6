//! Who may call what: every documented route, by every role, against a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use atelier_test_support::Actor;
use reqwest::Method;
use serde_json::{Value, json};

use crate::host::{CHATS, Host};

/// What the calls are about.
struct World {
    host: Host,
    actors: Vec<(&'static str, Actor)>,
    /// Things of somebody else, in the default organization, by the name of the path's parameter.
    foreign: BTreeMap<&'static str, String>,
}

impl World {
    async fn new() -> Self {
        let host = Host::start().await;
        let admin = host.admin().await;
        let target = host.user("target", &[]).await;
        let org_admin = host.user("olga", &[]).await;
        admin
            .put("/api/v2/organizations/default/members/olga/roles", json!({"roles": ["organization-admin"]}))
            .await
            .expect(200);
        let actors = vec![
            ("anonymous", host.anonymous()),
            ("member", host.user("mia", &[]).await),
            ("organization-admin", org_admin),
            ("template-admin", host.user("tim", &["template-admin"]).await),
            ("user-admin", host.user("uma", &["user-admin"]).await),
            ("auditor", host.user("abe", &["auditor"]).await),
            ("owner", admin.clone()),
        ];
        let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
        let template = json!({"name": "base", "driver": "local", "spec": {}});
        let template = id(&admin.post("/api/v2/organizations/default/templates", template).await.body(201));
        let workspace = json!({"template_id": template, "name": "box"});
        let workspace = target.post("/api/v2/users/me/workspaces", workspace).await.body(201);
        let group = admin.post("/api/v2/organizations/default/groups", json!({"name": "team"})).await.body(201);
        let chat = target.chat_create("hello").await;
        chat.wait_for_status("waiting").await;
        let file = crate::files::uploaded(&target, "text/plain", "notes.txt", b"remember").await;
        let attached = json!({"content": [{"type": "file", "file_id": file}]});
        chat.send_with(attached).await.expect(200);
        chat.wait_for_status("waiting").await;
        target.post("/api/v2/users/me/keys/tokens", json!({"token_name": "t"})).await.expect(201);
        let token = id(&target.get("/api/v2/users/me/keys/tokens").await.body(200)[0]);
        let model = id(&admin.get(&format!("{CHATS}/model-configs")).await.body(200)[0]);
        let providers = admin.get(&format!("{CHATS}/providers")).await.body(200);
        let provider = providers.as_array().unwrap().iter().find(|row| row["name"] == "scripted").unwrap();
        let foreign = BTreeMap::from([
            ("user", "target".to_owned()),
            ("organization", "default".to_owned()),
            ("group", id(&group)),
            ("template", template),
            ("workspace", id(&workspace)),
            ("name", "box".to_owned()),
            ("build", id(&workspace["latest_build"])),
            ("agent", workspace["latest_build"]["agents"][0]["id"].as_str().unwrap().to_owned()),
            ("chat", chat.id.clone()),
            ("file", file),
            ("message", "1".to_owned()),
            ("queued", "1".to_owned()),
            ("token", token),
            ("model", model),
            ("provider", id(provider)),
        ]);
        Self { host, actors, foreign }
    }

    fn filled(&self, path: &str) -> String {
        let piece = |piece: &str| match piece.strip_prefix('{').and_then(|piece| piece.strip_suffix('}')) {
            Some(name) => self.foreign[name].clone(),
            None => piece.to_owned(),
        };
        path.split('/').map(piece).collect::<Vec<_>>().join("/")
    }
}

/// A right is asked for before the body is read, so a broken body shows who would have been let in, and
/// nothing changes. Calls without a body that would change something are left to other tests.
const WITHOUT_BODY: &[&str] = &[
    "user_delete",
    "user_suspend",
    "user_activate",
    "organization_delete",
    "member_add",
    "member_remove",
    "group_delete",
    "template_delete",
    "token_delete",
    "provider_delete",
    "model_config_delete",
    "chat_archive",
    "chat_unarchive",
    "queue_delete",
    "queue_promote",
    "compaction_threshold_delete",
    "logout",
];

#[tokio::test]
async fn b152_every_route_lets_in_whom_the_table_names() {
    let world = World::new().await;
    let document = world.host.anonymous().get("/api/openapi.json").await.body(200);
    let mut table = String::new();
    let roles: Vec<String> = world.actors.iter().map(|(role, _)| format!("{role:<20}")).collect();
    writeln!(table, "{:<36}{}", "operation", roles.concat().trim_end()).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if operation.get("security").is_none() {
                continue;
            }
            let name = operation["operationId"].as_str().unwrap();
            let is_changing_without_body = WITHOUT_BODY.contains(&name);
            let mut cells = Vec::new();
            for (role, actor) in &world.actors {
                if is_changing_without_body && *role != "anonymous" && *role != "member" {
                    cells.push("-".to_owned());
                    continue;
                }
                if name == "logout" && *role == "member" {
                    cells.push("-".to_owned());
                    continue;
                }
                let method: Method = method.to_uppercase().parse().unwrap();
                let request = actor.request(method.clone(), &world.filled(path));
                let request = if method == Method::GET { request } else { request.body("{broken") };
                let answer = actor.send(request).await;
                let is_let_in = answer.status < 300
                    || [Some("invalid_json"), Some("upgrade_required")].contains(&answer.body["code"].as_str())
                    // nothing is said of where the file belongs
                    || (name == "file_upload" && answer.body["code"] == "validation_failed")
                    || (name == "chat_interrupt" && answer.status == 200);
                cells.push(if is_let_in { "yes".to_owned() } else { answer.status.to_string() });
            }
            let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:<20}")).collect();
            writeln!(table, "{name:<36}{}", cells.concat().trim_end()).unwrap();
        }
    }
    let committed = include_str!("roles.txt");
    assert!(table == committed, "the table changed; review the difference. It is now\n{table}");
    world.host.stop().await;
}

#[tokio::test]
async fn what_changes_without_a_body_is_refused_to_those_without_the_right() {
    let world = World::new().await;
    let document = world.host.anonymous().get("/api/openapi.json").await.body(200);
    let everybody = ["member", "organization-admin", "template-admin", "user-admin", "auditor", "owner"];
    // who may do it, beside whom nobody may: section 12 of the contract
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("user_delete", ["user-admin", "owner"].as_slice()),
        ("user_suspend", &["user-admin", "owner"]),
        ("user_activate", &["user-admin", "owner"]),
        ("organization_delete", &["owner"]),
        ("member_add", &["organization-admin", "user-admin", "owner"]),
        ("member_remove", &["organization-admin", "user-admin", "owner"]),
        ("group_delete", &["organization-admin", "user-admin", "owner"]),
        ("template_delete", &["organization-admin", "template-admin", "owner"]),
        ("token_delete", &["user-admin", "owner"]),
        ("provider_delete", &["owner"]),
        ("model_config_delete", &["owner"]),
        ("chat_archive", &["owner"]),
        ("chat_unarchive", &["owner"]),
        ("queue_delete", &[]),
        ("queue_promote", &[]),
        ("compaction_threshold_delete", &everybody),
    ]);
    let mut looked_at = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            let Some(allowed) = allowed.get(name) else { continue };
            for (role, actor) in world.actors.iter().filter(|(role, _)| !allowed.contains(role)) {
                let method: Method = method.to_uppercase().parse().unwrap();
                let answer = actor.send(actor.request(method, &world.filled(path))).await;
                let refusals: &[u16] = if *role == "anonymous" { &[401] } else { &[403, 404] };
                assert!(refusals.contains(&answer.status), "{name} by {role}: {} {}", answer.status, answer.text);
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 40, "{looked_at}");
    // every one of them is known here
    assert_eq!(allowed.len() + 1, WITHOUT_BODY.len());
    world.host.stop().await;
}
