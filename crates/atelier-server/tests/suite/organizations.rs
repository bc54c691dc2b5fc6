//! Organizations, members, groups.

use atelier_test_support::Engine;
use serde_json::json;

use crate::host::Host;

const ORGANIZATIONS: &str = "/api/v2/organizations";

#[tokio::test]
async fn organizations_are_seen_by_members_and_made_by_owners() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        ada.post(ORGANIZATIONS, json!({"name": "lab"})).await.expect_error(403, "forbidden");
        let lab = admin.post(ORGANIZATIONS, json!({"name": "lab", "description": "x"})).await.body(201);
        assert_eq!(
            (&lab["display_name"], &lab["is_default"], &lab["icon"]),
            (&json!("lab"), &json!(false), &json!(""))
        );
        admin.post(ORGANIZATIONS, json!({"name": "LAB"})).await.expect_error(409, "already_exists");
        admin.post(ORGANIZATIONS, json!({"name": "a b"})).await.expect_error(400, "validation_failed");
        ada.get(&format!("{ORGANIZATIONS}/lab")).await.expect_error(404, "not_found");
        assert_eq!(ada.get(ORGANIZATIONS).await.body(200).as_array().unwrap().len(), 1);
        assert_eq!(admin.get(ORGANIZATIONS).await.body(200).as_array().unwrap().len(), 2);

        admin.post(&format!("{ORGANIZATIONS}/lab/members/ada"), json!({})).await.expect(201);
        assert_eq!(ada.get(&format!("{ORGANIZATIONS}/lab")).await.body(200)["id"], lab["id"]);
        assert_eq!(ada.get("/api/v2/users/me/organizations").await.body(200).as_array().unwrap().len(), 2);
        ada.patch(&format!("{ORGANIZATIONS}/lab"), json!({"display_name": "Lab"})).await.expect(403);
        admin
            .put(&format!("{ORGANIZATIONS}/lab/members/ada/roles"), json!({"roles": ["organization-admin"]}))
            .await
            .expect(200);
        let patched = ada.patch(&format!("{ORGANIZATIONS}/lab"), json!({"display_name": "Lab"})).await.body(200);
        assert_eq!((&patched["display_name"], &patched["description"]), (&json!("Lab"), &json!("x")));

        admin.delete(&format!("{ORGANIZATIONS}/default")).await.expect_error(400, "in_use");
        ada.delete(&format!("{ORGANIZATIONS}/lab")).await.expect(403);
        host.stop().await;
    }
}

#[tokio::test]
async fn members_come_and_go() {
    let host = Host::start().await;
    let (admin, ada, eve) = (host.admin().await, host.user("ada", &[]).await, host.user("eve", &[]).await);
    let lab = admin.post(ORGANIZATIONS, json!({"name": "lab"})).await.body(201);
    let members = format!("{ORGANIZATIONS}/lab/members");
    ada.get(&members).await.expect_error(404, "not_found");
    let member = admin.post(&format!("{members}/ada"), json!({})).await.body(201);
    assert_eq!((&member["username"], &member["roles"]), (&json!("ada"), &json!([])));
    assert!(ada.get(&members).await.body(200).as_array().unwrap().iter().any(|member| member["username"] == "ada"));
    ada.post(&format!("{members}/eve"), json!({})).await.expect(403);
    admin.post(&format!("{members}/nobody"), json!({})).await.expect_error(404, "not_found");
    let set = admin.put(&format!("{members}/ada/roles"), json!({"roles": ["organization-admin"]})).await.body(200);
    assert_eq!(set["roles"], json!([{"name": "organization-admin"}]));
    admin.put(&format!("{members}/ada/roles"), json!({"roles": ["owner"]})).await.expect(400);
    // an admin of the organization may name users that they cannot see elsewhere
    ada.post(&format!("{members}/eve"), json!({})).await.expect(201);
    eve.get(&format!("{ORGANIZATIONS}/{}", lab["id"].as_str().unwrap())).await.expect(200);
    ada.delete(&format!("{members}/eve")).await.expect(204);
    ada.delete(&format!("{members}/eve")).await.expect_error(404, "not_found");
    eve.get(&format!("{ORGANIZATIONS}/lab")).await.expect(404);
    host.stop().await;
}

#[tokio::test]
async fn b021_groups_hold_members_of_their_organization() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
        let (ada_id, eve) = (host.user_id("ada").await, host.user("eve", &[]).await);
        let eve_id = host.user_id("eve").await;
        admin.post(ORGANIZATIONS, json!({"name": "lab"})).await.expect(201);
        admin.post(&format!("{ORGANIZATIONS}/lab/members/ada"), json!({})).await.expect(201);
        let groups = format!("{ORGANIZATIONS}/lab/groups");
        eve.get(&groups).await.expect(404);
        let made = admin.post(&groups, json!({"name": "team"})).await.body(201);
        admin.post(&groups, json!({"name": "team"})).await.expect_error(409, "already_exists");
        ada.post(&groups, json!({"name": "other"})).await.expect(403);
        let team = format!("/api/v2/groups/{}", made["id"].as_str().unwrap());
        let changed = admin.patch(&team, json!({"add_users": [ada_id], "display_name": "The team"})).await.body(200);
        assert_eq!((&changed["total_member_count"], &changed["members"][0]["username"]), (&json!(1), &json!("ada")));
        let refused = admin.patch(&team, json!({"add_users": [eve_id], "name": "renamed"})).await;
        refused.expect_error(400, "validation_failed");
        assert_eq!(ada.get(&team).await.body(200)["name"], "team");
        eve.get(&team).await.expect(404);
        let changed = admin.patch(&team, json!({"remove_users": [ada_id]})).await.body(200);
        assert_eq!(changed["members"], json!([]));

        let list = ada.get(&groups).await.body(200);
        let everyone = list.as_array().unwrap().iter().find(|group| group["name"] == "Everyone").unwrap().clone();
        assert_eq!(everyone["id"], everyone["organization_id"]);
        let everyone = format!("/api/v2/groups/{}", everyone["id"].as_str().unwrap());
        admin.delete(&everyone).await.expect(400);
        admin.patch(&everyone, json!({"name": "x"})).await.expect(400);
        ada.delete(&team).await.expect(403);
        admin.delete(&team).await.expect(200);
        admin.get(&team).await.expect(404);
        host.stop().await;
    }
}
