//! Users, logins, tokens.

use atelier_test_support::{Actor, Engine};
use reqwest::Method;
use serde_json::json;

use crate::host::{Host, PLATFORM, SETUP_CODE};

const USERS: &str = "/api/v2/users";

fn new_user(name: &str) -> serde_json::Value {
    json!({"email": format!("{name}@example.com"), "username": name, "password": "a good password"})
}

#[tokio::test]
async fn b015_the_first_user_is_made_once_and_owns_the_site() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).without_model().start().await;
        let nobody = host.anonymous();
        let first = format!("{USERS}/first");
        nobody.get(&first).await.expect(404);
        let with_code = |mut user: serde_json::Value, code: &str| {
            user["setup_code"] = json!(code);
            user
        };
        for bad in [
            json!({"email": "a", "username": "a", "password": "a good password"}),
            json!({"email": "a@b", "username": "-a", "password": "a good password"}),
            json!({"email": "a@b", "username": "a", "password": "short"}),
            json!({}),
        ] {
            // the code comes before what else is wrong
            nobody.post(&first, bad.clone()).await.expect_error(403, "setup_code_required");
            nobody.post(&first, with_code(bad, SETUP_CODE)).await.expect_error(400, "validation_failed");
        }
        for wrong in ["", " ", "abcde-fghij-kmnpq-rstuw", &SETUP_CODE[1..], &SETUP_CODE.repeat(2)] {
            let refused = nobody.post(&first, with_code(new_user("root"), wrong)).await;
            assert!(!refused.text.contains(SETUP_CODE), "{}", refused.text);
            assert_eq!(refused.body["validations"][0]["field"], "setup_code", "{}", refused.text);
            refused.expect_error(403, "setup_code_required");
        }
        nobody.get(&first).await.expect(404);
        let made = nobody.post(&first, with_code(new_user("root"), SETUP_CODE)).await.body(201);
        assert!(nobody.get(&first).await.body(200)["message"].is_string());
        for code in ["", SETUP_CODE] {
            let other = with_code(new_user("other"), code);
            nobody.post(&first, other).await.expect_error(409, "first_user_exists");
        }
        let root = log_in(&host, "ROOT@example.com").await;
        let me = root.get("/api/v2/users/me").await.body(200);
        assert_eq!(me["id"], made["user_id"]);
        assert_eq!(me["roles"], json!([{"name": "owner", "display_name": "Owner"}]));
        assert_eq!(me["organization_ids"], json!([made["organization_id"]]));
        let default = root.get("/api/v2/organizations/default").await.body(200);
        assert_eq!((&default["id"], &default["is_default"]), (&made["organization_id"], &json!(true)));
        host.stop().await;
    }
}

async fn log_in(host: &Host, email: &str) -> Actor {
    let login = json!({"email": email, "password": "a good password"});
    let token = host.anonymous().post("/api/v2/users/login", login).await.body(201)["session_token"].clone();
    host.anonymous().with_token(token.as_str().unwrap())
}

#[tokio::test]
async fn b016_logins_give_a_cookie_and_say_nothing_about_users() {
    let host = Host::builder().access_url("https://atelier.example").start().await;
    let admin = host.admin().await;
    admin.post(USERS, new_user("ada")).await.expect(201);
    let nobody = host.anonymous();
    let login = format!("{USERS}/login");
    let answer = nobody.post(&login, json!({"email": "Ada@Example.com", "password": "a good password"})).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    let token = answer.body(201)["session_token"].as_str().unwrap().to_owned();
    assert!(cookie.starts_with(&format!("coder_session_token={token};")), "{cookie}");
    for part in ["HttpOnly", "SameSite=Lax", "Path=/", "Secure"] {
        assert!(cookie.contains(part), "{part} is not in {cookie}");
    }
    let wrong = nobody.post(&login, json!({"email": "ada@example.com", "password": "a wrong password"})).await;
    let unknown = nobody.post(&login, json!({"email": "eve@example.com", "password": "a wrong password"})).await;
    assert_eq!((wrong.status, &wrong.body), (unknown.status, &unknown.body));
    wrong.expect_error(401, "invalid_credentials");

    // logging out ends this session only
    let (one, other) = (nobody.with_token(&token), log_in(&host, "ada@example.com").await);
    one.post(&format!("{USERS}/logout"), json!({})).await.expect(200);
    one.get("/api/v2/users/me").await.expect_error(401, "unauthenticated");
    other.get("/api/v2/users/me").await.expect(200);
    // a suspended account learns it only with the right password
    admin.put("/api/v2/users/ada/status/suspend", json!({})).await.expect(200);
    admin.put("/api/v2/users/ada/status/suspend", json!({})).await.expect(200);
    nobody
        .post(&login, json!({"email": "ada@example.com", "password": "a good password"}))
        .await
        .expect_error(401, "account_suspended");
    nobody
        .post(&login, json!({"email": "ada@example.com", "password": "a wrong password"}))
        .await
        .expect_error(401, "invalid_credentials");
    other.get("/api/v2/users/me").await.expect_error(401, "unauthenticated");
    admin.put("/api/v2/users/ada/status/activate", json!({})).await.expect(200);
    log_in(&host, "ada@example.com").await.get("/api/v2/users/me").await.expect(200);
    host.stop().await;
}

#[tokio::test]
async fn a_password_change_ends_what_went_before() {
    let host = Host::start().await;
    let admin = host.admin().await;
    admin.post(USERS, new_user("ada")).await.expect(201);
    let ada = log_in(&host, "ada@example.com").await;
    let elsewhere = log_in(&host, "ada@example.com").await;
    let key = ada.post("/api/v2/users/me/keys/tokens", json!({})).await.body(201)["key"].as_str().unwrap().to_owned();
    let path = "/api/v2/users/me/password";
    ada.put(path, json!({"password": "another password"})).await.expect(400);
    ada.put(path, json!({"old_password": "not this one", "password": "another password"})).await.expect(400);
    ada.put(path, json!({"old_password": "a good password", "password": "short"})).await.expect(400);
    ada.put(path, json!({"old_password": "a good password", "password": "another password"})).await.expect(204);
    // the page on which it was changed goes on; all else ends
    ada.get("/api/v2/users/me").await.expect(200);
    ada.with_token(&key).get("/api/v2/users/me").await.expect(401);
    ada.with_token(elsewhere.token()).get("/api/v2/users/me").await.expect(401);
    // others need no old one
    admin.put("/api/v2/users/ada/password", json!({"password": "a good password"})).await.expect(204);
    ada.get("/api/v2/users/me").await.expect(401);
    log_in(&host, "ada@example.com").await;
    host.user("eve", &[])
        .await
        .put("/api/v2/users/ada/password", json!({"password": "a good password"}))
        .await
        .expect(404);
    host.stop().await;
}

#[tokio::test]
async fn what_everybody_may_know_of_a_server() {
    let host = Host::start().await;
    let methods = host.anonymous().get("/api/v2/users/authmethods").await.body(200);
    assert_eq!(
        methods,
        json!({"password": {"enabled": true}, "github": {"enabled": false}, "oidc": {"enabled": false}})
    );
    let info = host.anonymous().get("/api/v2/buildinfo").await.body(200);
    assert_eq!(
        (&info["external_url"], &info["deployment_id"]),
        (&json!("http://atelier.example"), &json!("deployment"))
    );
    host.stop().await;
}

#[tokio::test]
async fn b017_b020_users_are_made_found_and_deleted() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let admin = host.admin().await;
        let ada = admin.post(USERS, new_user("ada")).await.body(201);
        let default = admin.get("/api/v2/organizations/default").await.body(200);
        assert_eq!(ada["organization_ids"], json!([default["id"]]));
        assert_eq!((&ada["status"], &ada["roles"]), (&json!("active"), &json!([])));
        for (field, taken) in [
            ("email", json!({"email": "ADA@example.com", "username": "ada2", "password": "a good password"})),
            ("username", json!({"email": "ada2@example.com", "username": "ADA", "password": "a good password"})),
        ] {
            let body = admin.post(USERS, taken).await.body(409);
            assert_eq!((&body["code"], &body["validations"][0]["field"]), (&json!("already_exists"), &json!(field)));
        }
        let member = host.user("ben", &[]).await;
        member.post(USERS, new_user("eve")).await.expect_error(403, "forbidden");
        member.get(USERS).await.expect_error(403, "forbidden");
        member.get("/api/v2/users/ada").await.expect_error(404, "not_found");
        let auditor = host.user("cid", &["auditor"]).await;
        auditor.get(USERS).await.expect(200);
        auditor.get("/api/v2/users/ada").await.expect(200);
        auditor.post(USERS, new_user("eve")).await.expect(403);

        let found = async |q: &str| {
            let page = admin.get(&format!("{USERS}?q={q}")).await.body(200);
            let names =
                page["users"].as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned());
            (names.collect::<Vec<_>>(), page["count"].as_i64().unwrap())
        };
        assert_eq!(found("role:auditor").await, (vec!["cid".to_owned()], 1));
        assert_eq!(found("AD").await.1, 2);
        assert_eq!(found("%25").await.1, 0);
        let page = admin.get(&format!("{USERS}?limit=2&offset=1")).await.body(200);
        assert_eq!((page["users"].as_array().unwrap().len(), &page["count"]), (2, &json!(4)));
        let past = admin.get(&format!("{USERS}?offset=100")).await.body(200);
        assert_eq!((&past["users"], &past["count"]), (&json!([]), &json!(4)));
        for bad in ["status:x", "a:b", "a:b:c", ":x", "x:"] {
            admin.get(&format!("{USERS}?q={bad}")).await.expect_error(400, "validation_failed");
        }
        member.put("/api/v2/users/me/profile", json!({"username": "benjamin", "name": "Ben J."})).await.expect(200);
        assert_eq!(member.get("/api/v2/users/benjamin").await.body(200)["name"], "Ben J.");
        member
            .put("/api/v2/users/me/profile", json!({"username": "ada", "name": ""}))
            .await
            .expect_error(409, "already_exists");

        admin.delete("/api/v2/users/admin").await.expect(400);
        member.delete("/api/v2/users/ada").await.expect(403);
        admin.delete("/api/v2/users/benjamin").await.expect(200);
        member.get("/api/v2/users/me").await.expect(401);
        admin.get("/api/v2/users/benjamin").await.expect(404);
        host.stop().await;
    }
}

/// A user of such a name could not be reached by it.
#[tokio::test]
async fn names_that_stand_in_routes_are_no_usernames() {
    let host = Host::start().await;
    let admin = host.admin().await;
    let document = host.anonymous().get("/api/openapi.json").await.body(200);
    let mut names: Vec<&str> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .filter_map(|path| path.strip_prefix("/api/v2/users/")?.split('/').next())
        .filter(|name| !name.starts_with('{'))
        .collect();
    names.push("me");
    assert!(names.contains(&"first") && names.contains(&"roles"), "{names:?}");
    for name in names {
        for name in [name.to_owned(), name.to_uppercase()] {
            let body = admin.post(USERS, new_user(&name)).await.body(400);
            assert_eq!(body["validations"][0]["field"], "username", "{body}");
            let update = json!({"username": name, "name": ""});
            admin.put("/api/v2/users/me/profile", update).await.expect_error(400, "validation_failed");
        }
    }
    admin.post(USERS, new_user("roles-1")).await.expect(201);
    host.stop().await;
}

#[tokio::test]
async fn a_password_of_blanks_is_refused() {
    let host = Host::start().await;
    let admin = host.admin().await;
    for password in [" ".repeat(8), "\t\n \u{a0}\u{2003} \t\n".to_owned()] {
        let user = json!({"email": "ada@example.com", "username": "ada", "password": password});
        let body = admin.post(USERS, user).await.body(400);
        assert_eq!(body["validations"][0]["field"], "password", "{body}");
        let update = json!({"old_password": "", "password": password});
        let body = admin.put("/api/v2/users/me/password", update).await.body(400);
        assert_eq!(body["validations"][0]["field"], "password", "{body}");
    }
    host.stop().await;
}

#[tokio::test]
async fn b018_roles_are_set_exactly_and_owners_are_out_of_reach() {
    let host = Host::start().await;
    let admin = host.admin().await;
    let ada = host.user("ada", &[]).await;
    let user_admin = host.user("ursula", &["user-admin"]).await;
    let roles = "/api/v2/users/ada/roles";
    let names = |user: serde_json::Value| -> Vec<String> {
        user["roles"].as_array().unwrap().iter().map(|role| role["name"].as_str().unwrap().to_owned()).collect()
    };
    let set = admin.put(roles, json!({"roles": ["auditor", "member", "template-admin", "auditor"]})).await.body(200);
    assert_eq!(names(set), ["auditor", "template-admin"]);
    let set = admin.put(roles, json!({"roles": ["auditor"]})).await.body(200);
    assert_eq!(names(set), ["auditor"]);
    admin.put(roles, json!({"roles": ["king"]})).await.expect_error(400, "validation_failed");
    admin.put(roles, json!({})).await.expect_error(400, "invalid_json");
    ada.put(roles, json!({"roles": ["owner"]})).await.expect(403);
    user_admin.put(roles, json!({"roles": ["owner"]})).await.expect_error(403, "forbidden");
    user_admin.put(roles, json!({"roles": []})).await.expect(200);
    // the last owner stays
    admin.put("/api/v2/users/admin/roles", json!({"roles": []})).await.expect_error(400, "last_owner");
    // on an owner a user-admin may do nothing
    admin.put(roles, json!({"roles": ["owner"]})).await.expect(200);
    user_admin.put(roles, json!({"roles": []})).await.expect(403);
    user_admin.put("/api/v2/users/ada/status/suspend", json!({})).await.expect(403);
    user_admin.put("/api/v2/users/ada/password", json!({"password": "a good password"})).await.expect(403);
    user_admin.put("/api/v2/users/ada/profile", json!({"username": "adam", "name": "x"})).await.expect(403);
    user_admin.delete("/api/v2/users/ada").await.expect(403);
    let shown = admin.get(roles).await.body(200);
    assert_eq!(shown["roles"], json!(["owner"]));
    assert_eq!(shown["organization_roles"].as_object().unwrap().len(), 1);
    let assignable = user_admin.get("/api/v2/users/roles").await.body(200);
    let owner = assignable.as_array().unwrap().iter().find(|role| role["name"] == "owner").unwrap();
    assert_eq!(owner["assignable"], false);
    host.stop().await;
}

#[tokio::test]
async fn b019_tokens_are_shown_once_and_are_ones_own() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        let path = format!("{PLATFORM}/users/me/keys/tokens");
        let key = ada.post(&path, json!({"token_name": "ci", "lifetime_seconds": 3600})).await.body(201)["key"].clone();
        ada.post(&path, json!({"token_name": "ci"})).await.expect_error(409, "already_exists");
        ada.post(&path, json!({"token_name": "long", "lifetime_seconds": 366 * 86_400})).await.expect(400);
        ada.post(&path, json!({"token_name": "none", "lifetime_seconds": 0})).await.expect(400);
        ada.post(&path, json!({"token_name": "long", "lifetime_seconds": 365 * 86_400})).await.expect(201);
        let list = ada.get(&path).await.body(200);
        assert!(!list.to_string().contains(key.as_str().unwrap()));
        let ci = list.as_array().unwrap().iter().find(|token| token["token_name"] == "ci").unwrap().clone();
        assert!(ci.get("last_used").is_none());
        ada.with_token(key.as_str().unwrap()).get("/api/v2/users/me").await.expect(200);
        let list = admin.get("/api/v2/users/ada/keys/tokens").await.body(200);
        let ci_used = list.as_array().unwrap().iter().find(|token| token["token_name"] == "ci").unwrap();
        assert!(ci_used["last_used"].is_string());
        admin.post("/api/v2/users/ada/keys/tokens", json!({})).await.expect_error(403, "forbidden");
        let ben = host.user("ben", &[]).await;
        let one = format!("{PLATFORM}/users/ada/keys/{}", ci["id"].as_str().unwrap());
        ben.delete(&one).await.expect(404);
        admin.delete(&one).await.expect(204);
        admin.delete(&one).await.expect_error(404, "not_found");
        ada.delete(&format!("{PLATFORM}/users/me/keys/x")).await.expect_error(400, "invalid_id");
        host.stop().await;
    }
}

#[tokio::test]
async fn b161_preferences_are_any_object_of_ones_own() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let path = "/api/v2/users/me/preferences";
    assert_eq!(ada.get(path).await.body(200), json!({}));
    assert_eq!(ada.put(path, json!({"theme": {"dark": true}})).await.body(200), json!({"theme": {"dark": true}}));
    assert_eq!(ada.put(path, json!({"b": 1})).await.body(200), json!({"b": 1}));
    assert_eq!(ada.get("/api/v2/users/ada/preferences").await.body(200), json!({"b": 1}));
    ada.put(path, json!([1])).await.expect(400);
    let of_size = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    ada.send(ada.request(Method::PUT, path).body(of_size(16_384))).await.expect(200);
    ada.send(ada.request(Method::PUT, path).body(of_size(16_385))).await.expect(400);
    host.admin().await.get("/api/v2/users/ada/preferences").await.expect(404);
    host.stop().await;
}
