//! Ground rules: credentials, origins, ids, paths, bodies, rates.

use atelier_test_support::{Actor, Answer, DEADLINE, Engine, Form, eventually};
use reqwest::Method;
use serde_json::{Value, json};

use crate::host::{CHATS, Host, PLATFORM, UNKNOWN, text};

async fn with_header(actor: &Actor, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = actor.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    actor.send(request).await
}

#[tokio::test]
async fn b001_every_route_asks_for_a_credential_before_anything_else() {
    let host = Host::start().await;
    let document = host.anonymous().get("/api/openapi.json").await.body(200);
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if operation.get("security").is_none() || path.ends_with("/me/connect") {
                continue;
            }
            let path = filled(path, "not-an-id");
            let method: Method = method.to_uppercase().parse().unwrap();
            let request = host.anonymous().request(method.clone(), &path).body("{broken");
            let answer = host.anonymous().send(request).await;
            assert_eq!(
                (answer.status, answer.body["code"].as_str()),
                (401, Some("unauthenticated")),
                "{method} {path}: {}",
                answer.text
            );
            asked += 1;
        }
    }
    assert!(asked > 60, "{asked}");
    for path in ["/healthz", "/api/openapi.json", "/api/v2/buildinfo", "/api/v2/users/authmethods"] {
        host.anonymous().get(path).await.expect(200);
    }
    host.stop().await;
}

/// The path with `value` in place of each parameter.
pub(crate) fn filled(path: &str, value: &str) -> String {
    path.split('/').map(|piece| if piece.starts_with('{') { value } else { piece }).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn b002_b003_a_token_is_taken_from_header_bearer_and_cookie_in_that_order() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let token = ada.token().to_owned();
    let nobody = host.anonymous();
    let me = "/api/v2/users/me";
    let cookie = format!("a=b; coder_session_token={token}");
    let bearer = format!("Bearer {token}");
    for headers in [
        vec![("Coder-Session-Token", token.as_str())],
        vec![("Authorization", bearer.as_str())],
        vec![("Cookie", cookie.as_str())],
        vec![
            ("Coder-Session-Token", token.as_str()),
            ("Authorization", "Bearer wrong"),
            ("Cookie", "coder_session_token=wrong"),
        ],
        vec![("Authorization", bearer.as_str()), ("Cookie", "coder_session_token=wrong")],
    ] {
        let answer = with_header(&nobody, Method::GET, me, &headers).await;
        assert_eq!(answer.body(200)["username"], "ada");
    }
    // the first one present decides
    for headers in [
        vec![("Coder-Session-Token", "wrong"), ("Cookie", cookie.as_str())],
        vec![("Authorization", "Bearer wrong"), ("Cookie", cookie.as_str())],
        vec![("Coder-Session-Token", "wrong"), ("Authorization", bearer.as_str())],
    ] {
        with_header(&nobody, Method::GET, me, &headers).await.expect_error(401, "unauthenticated");
    }
    // in a query it counts for sockets only
    nobody.get(&format!("{me}?coder_session_token={token}")).await.expect_error(401, "unauthenticated");
    host.stop().await;
}

#[tokio::test]
async fn b004_a_cookie_works_from_this_site_only() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let cookie = format!("coder_session_token={}", ada.token());
    let own_host = format!("http://127.0.0.1:{}", host.port);
    let path = "/api/v2/users/me/preferences";
    let put = async |headers: &[(&str, &str)]| {
        let mut request = host.anonymous().request(Method::PUT, path).json(&json!({}));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        host.anonymous().send(request).await
    };
    let with_cookie = |more: Vec<(&'static str, String)>| {
        let mut headers = vec![("Cookie", cookie.clone())];
        headers.extend(more);
        headers
    };
    for (more, is_allowed) in [
        (vec![], true),
        (vec![("Origin", own_host.clone())], true),
        (vec![("Origin", "http://atelier.example".to_owned())], true),
        (vec![("Origin", "HTTP://Atelier.Example".to_owned())], true),
        (vec![("Origin", "http://evil.example".to_owned())], false),
        (vec![("Origin", "http://atelier.example.evil.example".to_owned())], false),
        (vec![("Origin", "null".to_owned())], false),
        (vec![("Sec-Fetch-Site", "same-origin".to_owned())], true),
        (vec![("Sec-Fetch-Site", "none".to_owned())], true),
        (vec![("Sec-Fetch-Site", "cross-site".to_owned())], false),
        (vec![("Sec-Fetch-Site", "same-site".to_owned())], false),
    ] {
        let headers = with_cookie(more);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = put(&headers).await;
        if is_allowed {
            answer.expect(200);
        } else {
            answer.expect_error(403, "origin_mismatch");
        }
    }
    // a header cannot be sent by another site's page, so its origin does not matter
    put(&[("Coder-Session-Token", ada.token()), ("Origin", "http://evil.example")]).await.expect(200);
    // reading changes nothing
    with_header(&host.anonymous(), Method::GET, path, &[("Cookie", &cookie), ("Origin", "http://evil.example")])
        .await
        .expect(200);
    host.stop().await;
}

/// A page of another site needs no cookie to create the first user or to log somebody in.
#[tokio::test]
async fn b168_anonymous_changes_are_refused_to_pages_of_other_sites() {
    let host = Host::start().await;
    let document = host.anonymous().get("/api/openapi.json").await.body(200);
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            if operation.get("security").is_none() && !method.is_safe() {
                routes.push((method, filled(path, "x")));
            }
        }
    }
    let own_host = format!("http://127.0.0.1:{}", host.port);
    assert!(routes.iter().any(|(_, path)| path == "/api/v2/users/first"), "{routes:?}");
    assert!(routes.iter().any(|(_, path)| path == "/api/v2/users/login"), "{routes:?}");
    for (method, path) in routes {
        for more in [
            vec![("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site"), ("Content-Type", "text/plain")],
            vec![("Origin", "null")],
            vec![("Sec-Fetch-Site", "cross-site")],
            vec![("Sec-Fetch-Site", "same-site"), ("Cookie", "coder_session_token=x")],
        ] {
            let answer = with_header(&host.anonymous(), method.clone(), &path, &more).await;
            let detail = answer.body["detail"].as_str().unwrap_or_default();
            for part in [more[0].1, "http://atelier.example", "ATELIER_ACCESS_URL", &own_host["http://".len()..]] {
                assert!(detail.contains(part), "{part} is not named: {}", answer.text);
            }
            answer.expect_error(403, "origin_mismatch");
        }
        for more in [
            vec![],
            vec![("Origin", own_host.as_str()), ("Sec-Fetch-Site", "same-origin")],
            vec![("Origin", "http://atelier.example:80")],
            vec![("Sec-Fetch-Site", "none")],
        ] {
            let answer = with_header(&host.anonymous(), method.clone(), &path, &more).await;
            assert_ne!(answer.body["code"], "origin_mismatch", "{method} {path} {more:?}");
        }
    }
    host.stop().await;
}

#[tokio::test]
async fn b005_ids_paths_and_methods_have_their_own_refusals() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    for path in [
        format!("{CHATS}/x"),
        format!("{CHATS}/x/messages"),
        format!("{CHATS}/x/stream"),
        format!("{PLATFORM}/templates/x"),
        format!("{PLATFORM}/workspaces/12"),
        format!("{PLATFORM}/groups/x"),
        format!("{PLATFORM}/users/a--b"),
        format!("{PLATFORM}/users/%ff"),
        format!("{PLATFORM}/users/me/workspace/%ff"),
        format!("{CHATS}/%ff"),
        format!("{CHATS}/%ff/messages"),
    ] {
        ada.get(&path).await.expect_error(400, "invalid_id");
    }
    let chat = ada.chat_create("hello").await;
    ada.get("/api/v2/nothing").await.expect_error(404, "route_not_found");
    ada.get("/nothing").await.expect_error(404, "route_not_found");
    ada.get(&chat.path("/diff-status")).await.expect_error(404, "route_not_found");
    let answer = ada.delete(&chat.path("")).await;
    assert!(answer.headers["allow"].to_str().unwrap().contains("GET"));
    answer.expect_error(405, "method_not_allowed");
    // a trailing slash makes no difference
    ada.get(&chat.path("/")).await.expect(200);
    ada.get(&format!("{CHATS}/")).await.expect(200);
    ada.get(CHATS).await.expect(200);
    ada.get("/api/v2/users/me/").await.expect(200);
    host.stop().await;
}

#[tokio::test]
async fn without_a_login_nobody_learns_which_paths_and_methods_there_are() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let stranger = host.anonymous().with_token("no such token");
    for (method, path, status) in [
        (Method::GET, "/api".to_owned(), 404),
        (Method::GET, "/api/".to_owned(), 404),
        (Method::GET, "/api/v2/nothing".to_owned(), 404),
        (Method::POST, "/api/v2/nothing".to_owned(), 404),
        (Method::GET, "/api/experimental".to_owned(), 404),
        (Method::GET, format!("{CHATS}/{UNKNOWN}/diff-status"), 404),
        (Method::DELETE, format!("{CHATS}/{UNKNOWN}"), 405),
        (Method::PATCH, "/api/v2/users/me".to_owned(), 405),
        (Method::PATCH, "/api/v2/buildinfo".to_owned(), 405),
        (Method::POST, "/api/openapi.json".to_owned(), 405),
    ] {
        for nobody in [&host.anonymous(), &stranger] {
            nobody.send(nobody.request(method.clone(), &path)).await.expect_error(401, "unauthenticated");
        }
        assert_eq!(ada.send(ada.request(method.clone(), &path)).await.status, status, "{method} {path}");
    }
    // the site itself is open
    let page = host.anonymous().request(Method::GET, "/agents").header("Accept", "text/html");
    host.anonymous().send(page).await.expect(200);
    host.anonymous().get("/nothing").await.expect_error(404, "route_not_found");
    host.anonymous().get("/apis").await.expect_error(404, "route_not_found");
    host.anonymous().delete("/healthz").await.expect_error(405, "method_not_allowed");
    host.stop().await;
}

#[tokio::test]
async fn numbers_of_messages_and_queue_entries_are_positive() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = ada.chat_create("hello").await;
    for number in ["0", "-1", "x", "1.5", "9223372036854775808"] {
        let message = chat.path(&format!("/messages/{number}"));
        ada.patch(&message, json!({"content": text("x")})).await.expect_error(400, "invalid_id");
        let queued = chat.path(&format!("/queue/{number}"));
        ada.delete(&queued).await.expect_error(400, "invalid_id");
        ada.post(&format!("{queued}/promote"), json!({})).await.expect_error(400, "invalid_id");
    }
    ada.delete(&chat.path("/queue/9223372036854775807")).await.expect_error(404, "not_found");
    host.stop().await;
}

#[tokio::test]
async fn b006_what_one_may_not_know_of_looks_like_what_does_not_exist() {
    let host = Host::start().await;
    let (ada, ben) = (host.user("ada", &[]).await, host.user("ben", &[]).await);
    let chat = ada.chat_create("hello").await;
    let unknown = ben.chat("01890000-0000-7000-8000-000000000000");
    for rest in ["", "/messages", "/stream"] {
        let (foreign, missing) = (ben.get(&ben.chat(&chat.id).path(rest)).await, ben.get(&unknown.path(rest)).await);
        assert_eq!((foreign.status, &foreign.body), (missing.status, &missing.body));
        foreign.expect_error(404, "not_found");
    }
    let foreign = ben.chat(&chat.id).send_with(json!({"content": []})).await;
    foreign.expect_error(404, "not_found");
    ben.get(&format!("{CHATS}/00000000-0000-0000-0000-000000000000")).await.expect_error(404, "not_found");
    host.stop().await;
}

#[tokio::test]
async fn b007_bodies_are_bounded_and_read_once() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let send = async |path: &str, body: Vec<u8>| ada.send(ada.request(Method::POST, path).body(body)).await;
    let chats = format!("{CHATS}/");
    send(&chats, b"{\"content\": [".to_vec()).await.expect_error(400, "invalid_json");
    send(&chats, b"[]".to_vec()).await.expect_error(400, "invalid_json");
    send(&chats, b"{\"content\": \"text\"}".to_vec()).await.expect_error(400, "invalid_json");
    send(&chats, b"{\"content\": [{\"type\": \"text\", \"text\": \"\xff\"}]}".to_vec())
        .await
        .expect_error(400, "invalid_json");
    let mut deep = vec![b'['; 100_000];
    deep.extend(vec![b']'; 100_000]);
    send(&chats, deep).await.expect_error(400, "invalid_json");
    let of_size = |size: usize| {
        let mut body = json!({"content": [{"type": "text", "text": "hi"}], "padding": ""}).to_string().into_bytes();
        let end = body.len() - 2;
        body.splice(end..end, vec![b'x'; size - end - 2]);
        body
    };
    send(&chats, of_size(2 * 1024 * 1024)).await.expect(201);
    send(&chats, of_size(2 * 1024 * 1024 + 1)).await.expect_error(413, "body_too_large");
    send(&chats, vec![b'x'; 3 * 1024 * 1024]).await.expect_error(413, "body_too_large");
    // no content type is asked for, unknown fields are ignored
    send(&format!("{PLATFORM}/users/me/keys/tokens"), b"{\"other\": 1}".to_vec()).await.expect(201);
    ada.get("/api/v2/users/me").await.expect(200);
    host.stop().await;
}

/// Every route that takes JSON, by the document.
#[tokio::test]
async fn a_body_that_is_no_object_is_refused_by_every_route() {
    let host = Host::start().await;
    let admin = host.admin().await;
    let document = host.anonymous().get("/api/openapi.json").await.body(200);
    let chat = admin.chat_create("hello").await;
    chat.wait_for_status("waiting").await;
    let message = chat.messages().await[0]["id"].to_string();
    let made =
        async |path: &str, body: Value| admin.post(path, body).await.body(201)["id"].as_str().unwrap().to_owned();
    let organization = made("/api/v2/organizations", json!({"name": "lab"})).await;
    let group = made("/api/v2/organizations/lab/groups", json!({"name": "people"})).await;
    let template = json!({"name": "base", "driver": "local", "spec": {}});
    let template = made("/api/v2/organizations/default/templates", template).await;
    let workspace = made("/api/v2/users/me/workspaces", json!({"template_id": template, "name": "desk"})).await;
    let of = async |path: &str| {
        let list = admin.get(path).await.body(200);
        let mut ids = list.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap());
        // what could be added has a nil id
        ids.find(|id| *id != "00000000-0000-0000-0000-000000000000").unwrap().to_owned()
    };
    let provider = of(&format!("{CHATS}/providers")).await;
    let model = of(&format!("{CHATS}/model-configs")).await;
    let (mut asked, own) = (0, "me".to_owned());
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            // files may be JSON too, but have no schema
            if operation["requestBody"]["content"]["application/json"].get("schema").is_none() {
                continue;
            }
            let path = path
                .split('/')
                .map(|piece| match piece.strip_prefix('{').and_then(|piece| piece.strip_suffix('}')) {
                    None => piece,
                    Some("user") => &own,
                    Some("chat") => &chat.id,
                    Some("message") => &message,
                    Some("organization") => &organization,
                    Some("group") => &group,
                    Some("template") => &template,
                    Some("workspace") => &workspace,
                    Some("provider") => &provider,
                    Some("model") => &model,
                    Some(other) => panic!("{other} is a parameter that this test does not know"),
                })
                .collect::<Vec<_>>()
                .join("/");
            let method: Method = method.to_uppercase().parse().unwrap();
            for body in ["", " ", "null", "17", "\"x\"", "true", "[]", "[{}]", "{", "{}{}"] {
                let answer = admin.send(admin.request(method.clone(), &path).body(body)).await;
                let code = answer.body["code"].as_str();
                if path.ends_with("/users/first") {
                    // there is a first user, which comes before what the body holds
                    assert_eq!(code, Some("first_user_exists"));
                } else if path.ends_with("/retry") && body.is_empty() {
                    // a body is not needed here
                    assert_eq!(code, Some("nothing_to_retry"));
                } else {
                    assert_eq!((answer.status, code), (400, Some("invalid_json")), "{method} {path} {body:?}");
                }
                asked += 1;
            }
        }
    }
    assert!(asked > 250, "{asked}");
    // what takes no body needs none
    for path in ["/interrupt", "/archive", "/unarchive"] {
        let answer = admin.send(admin.request(Method::POST, &chat.path(path))).await;
        assert!((200..300).contains(&answer.status), "{path}: {}", answer.text);
    }
    host.stop().await;
}

/// `\u0000` in JSON is U+0000; a backslash before it makes it six characters that anybody may write.
#[tokio::test]
async fn text_that_shows_an_escape_of_u0000_is_taken_everywhere() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let admin = host.admin().await;
        let shown = r"printf '\u0000' and \\u0000";
        for (path, field) in [
            (format!("{CHATS}/config/user-prompt"), "custom_prompt"),
            (format!("{CHATS}/config/system-prompt"), "system_prompt"),
            ("/api/v2/users/me/preferences".to_owned(), "note"),
        ] {
            let answer = admin.put(&path, json!({field: shown})).await;
            assert!((200..300).contains(&answer.status), "{path}: {}", answer.text);
            assert_eq!(admin.get(&path).await.body(200)[field], shown);
            for inside in [r"a\u0000", r"a\\\u0000b", "a\0b"] {
                let body = format!("{{\"{field}\": \"{inside}\"}}");
                admin.send(admin.request(Method::PUT, &path).body(body)).await.expect_error(400, "invalid_json");
            }
        }
        let template = json!({"name": "nul", "driver": "local", "spec": {"startup_script": shown}});
        let made = admin.post("/api/v2/organizations/default/templates", template).await.body(201);
        assert_eq!(made["spec"]["startup_script"], shown);
        host.stop().await;
    }
}

#[tokio::test]
async fn u0000_lives_in_message_content_only() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = ada.chat_create("a\0b c").await;
        assert_eq!(chat.get().await["title"], "ab c");
        assert_eq!(chat.messages().await[0]["content"][0]["text"], "a\0b c");
        let label = json!({"content": [{"type": "text", "text": "x"}], "labels": {"a": "b\0"}});
        ada.post(CHATS, label).await.expect(400);
        let admin = host.admin().await;
        admin.post("/api/v2/organizations", json!({"name": "a\0b"})).await.expect(400);
        admin.put(&format!("{CHATS}/config/system-prompt"), json!({"system_prompt": "a\0"})).await.expect(400);
        for path in [
            format!("{PLATFORM}/users?q=a%00b"),
            format!("{PLATFORM}/users/a%00b"),
            format!("{PLATFORM}/organizations/a%00b"),
            format!("{PLATFORM}/users/me/workspace/a%00b"),
            format!("{PLATFORM}/workspaces?q=name:a%00"),
        ] {
            let answer = admin.get(&path).await;
            assert!((200..500).contains(&answer.status), "{path}: {}", answer.text);
        }
        host.stop().await;
    }
}

#[tokio::test]
async fn queries_report_all_faults_together() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let faults = |answer: Answer| -> Vec<String> {
        let body = answer.body(400);
        assert_eq!(body["code"], "validation_failed");
        body["validations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["field"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        faults(ada.get(&format!("{CHATS}?limit=201&offset=-1&after_id=x")).await),
        ["limit", "offset", "after_id"]
    );
    assert_eq!(faults(ada.get(&format!("{CHATS}?limit=-1")).await), ["limit"]);
    assert_eq!(faults(ada.get(&format!("{CHATS}?limit=x&archived=maybe")).await), ["limit", "archived"]);
    ada.get(&format!("{CHATS}?limit=0&unknown=1")).await.expect(200);
    host.stop().await;
}

#[tokio::test]
async fn answers_carry_an_id_and_stay_out_of_caches() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let answers = [
        ada.get("/api/v2/users/me").await,
        ada.get("/nothing").await,
        host.anonymous().get("/api/v2/users").await,
        host.anonymous().get("/healthz").await,
    ];
    for answer in &answers {
        assert!(!answer.headers["x-request-id"].is_empty());
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(answer.headers.get("access-control-allow-origin").is_none());
    }
    assert_eq!(answers[3].text, "OK");
    let request = ada.request(Method::GET, "/api/openapi.json").header("Accept-Encoding", "br");
    assert_eq!(ada.send(request).await.headers["content-encoding"], "br");
    host.server.not_ready();
    host.anonymous().get("/healthz").await.expect(503);
    host.stop().await;
}

/// No year 1, no null lists, six decimals and `Z`.
fn check_times(value: &Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name.ends_with("_at") || name == "expires_at" || name == "last_used" {
                    let text = value.as_str().unwrap_or_else(|| panic!("{name} is {value}"));
                    assert!(text.len() == 27 && text.ends_with('Z') && text.as_bytes()[19] == b'.', "{name} is {text}");
                    assert!(text > "2020", "{name} is {text}");
                }
                check_times(value);
            }
        }
        Value::Array(items) => items.iter().for_each(check_times),
        _ => {}
    }
}

#[tokio::test]
async fn b008_times_have_six_decimals_and_lists_are_never_null() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let admin = host.admin().await;
        let chat = admin.chat_create("hello").await;
        chat.wait_for_status("waiting").await;
        let answers = [
            chat.get().await,
            admin.get(CHATS).await.body(200),
            admin.get(&chat.path("/messages")).await.body(200),
            admin.get("/api/v2/users").await.body(200),
            admin.get("/api/v2/organizations").await.body(200),
            admin.get("/api/v2/organizations/default/groups").await.body(200),
            admin.get(&format!("{CHATS}/model-configs")).await.body(200),
            admin.get(&format!("{CHATS}/providers")).await.body(200),
        ];
        answers.iter().for_each(check_times);
        assert_eq!(answers[0]["mcp_server_ids"], json!([]));
        assert_eq!(answers[2]["queued_messages"], json!([]));
        host.stop().await;
    }
}

#[tokio::test]
async fn b011_over_the_rate_a_user_waits_and_others_do_not() {
    let host = Host::builder().rates(5, 3).start().await;
    let (ada, ben) = (host.user("ada", &[]).await, host.user("ben", &[]).await);
    for _ in 0..5 {
        ada.get("/api/v2/users/me").await.expect(200);
    }
    let refused = ada.get("/api/v2/users/me").await;
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    refused.expect_error(429, "rate_limited");
    ben.get("/api/v2/users/me").await.expect(200);
    // logins: by address and email
    let login = |email: &str| json!({"email": email, "password": "wrong-password"});
    for _ in 0..3 {
        host.anonymous().post("/api/v2/users/login", login("x@example.com")).await.expect(401);
    }
    host.anonymous().post("/api/v2/users/login", login("X@example.com")).await.expect_error(429, "rate_limited");
    host.anonymous().post("/api/v2/users/login", login("y@example.com")).await.expect(401);
    // five in all: the address has none left, or one that came back meanwhile
    let refused = async || host.anonymous().get("/api/v2/buildinfo").await;
    eventually("the address to have none left", async || {
        let answer = refused().await;
        (answer.status == 429).then(|| answer.expect_error(429, "rate_limited"))
    })
    .await;
    host.anonymous().get("/healthz").await.expect(200);
    host.stop().await;
}

#[tokio::test]
async fn requests_without_a_good_credential_count_against_their_address() {
    for path in ["/api/v2/users/me", "/api/v2/no-such-route", "/api/v2/workspaceagents/me/connect"] {
        let host = Host::builder().rates(5, 100).start().await;
        let ada = host.user("ada", &[]).await;
        let nobody = host.anonymous().with_token("made-up");
        // making the users has used some
        let answers: Vec<u16> = futures::future::join_all((0..6).map(|_| async { nobody.get(path).await.status }))
            .await
            .into_iter()
            .collect();
        assert!(answers.iter().all(|status| [401, 429].contains(status)), "{path}: {answers:?}");
        nobody.get(path).await.expect_error(429, "rate_limited");
        // who has one is counted apart
        ada.get("/api/v2/users/me").await.expect(200);
        host.stop().await;
    }
}

#[tokio::test]
async fn only_small_bodies_are_read_from_anybody() {
    let host = Host::start().await;
    let login = |bytes: usize| json!({"email": "x@example.com", "password": "p".repeat(bytes)});
    host.anonymous().post("/api/v2/users/login", login(20_000)).await.expect_error(413, "body_too_large");
    host.anonymous().post("/api/v2/users/first", login(20_000)).await.expect_error(413, "body_too_large");
    host.anonymous().post("/api/v2/users/login", login(1_000)).await.expect_error(401, "invalid_credentials");
    host.stop().await;
}

#[tokio::test]
async fn b012_a_credential_ends_at_once_and_takes_its_streams_along() {
    let host = Host::start().await;
    let admin = host.admin().await;
    let ada = host.user("ada", &[]).await;
    let chat = ada.chat_create("hello").await;
    chat.wait_for_status("waiting").await;
    let key = ada.post("/api/v2/users/me/keys/tokens", json!({"token_name": "a"})).await.body(201)["key"].clone();
    let by_token = ada.with_token(key.as_str().unwrap());
    by_token.get("/api/v2/users/me").await.expect(200);
    let tokens = ada.get("/api/v2/users/me/keys/tokens").await.body(200);
    let id = tokens[0]["id"].as_str().unwrap();
    ada.delete(&format!("/api/v2/users/me/keys/{id}")).await.expect(204);
    by_token.get("/api/v2/users/me").await.expect_error(401, "unauthenticated");

    let mut stream = chat.stream(Form::WebSocket, Some("")).await;
    stream.next().await.unwrap();
    admin.put("/api/v2/users/ada/status/suspend", json!({})).await.expect(200);
    ada.get("/api/v2/users/me").await.expect_error(401, "unauthenticated");
    // the stream says why, then closes
    let to_its_end = async {
        let mut last = None;
        while let Some(frame) = stream.next().await {
            last = Some(frame);
        }
        last
    };
    let last = tokio::time::timeout(DEADLINE, to_its_end).await.expect("the stream ends").unwrap();
    assert_eq!((last.kind.as_str(), last.data["code"].as_str()), ("error", Some("unauthenticated")));
    eventually("no viewer", || async { (host.anonymous().get("/healthz").await.status == 200).then_some(()) }).await;
    host.stop().await;
}

#[tokio::test]
async fn b013_the_document_has_the_routes_of_the_contract_and_no_other() {
    let host = Host::start().await;
    let document = host.anonymous().get("/api/openapi.json").await.body(200);
    let mut routes: Vec<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, operations)| {
            operations.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    routes.sort_by(|left, right| left.split(' ').rev().cmp(right.split(' ').rev()));
    let committed: Vec<&str> = include_str!("routes.txt").lines().collect();
    assert!(routes == committed, "the routes changed; compare with the contract. They are now\n{}", routes.join("\n"));
    host.stop().await;
}

#[tokio::test]
async fn b014_every_refusal_has_a_message_and_a_code() {
    let host = Host::start().await;
    let document = host.anonymous().get("/api/openapi.json").await.body(200);
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let mut refused = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            for actor in [&host.anonymous(), &ada, &admin] {
                for (id, body) in [("not-an-id", "{broken"), (UNKNOWN, "{}"), ("%2e%2e", "[]"), (UNKNOWN, "\u{0}")] {
                    let request = actor.request(method.clone(), &filled(path, id));
                    let answer = actor.send(if method == Method::GET { request } else { request.body(body) }).await;
                    if answer.status < 400 {
                        continue;
                    }
                    assert!(answer.status < 500, "{method} {path}: {} {}", answer.status, answer.text);
                    let has = |field: &str| answer.body[field].as_str().is_some_and(|text| !text.trim().is_empty());
                    assert!(has("message") && has("code"), "{method} {path}: {} {}", answer.status, answer.text);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 500, "{refused}");
    host.stop().await;
}
