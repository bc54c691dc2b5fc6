//! The program on a PostgreSQL that is far away, silent or gone, and with clients that leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use atelier_test_support::{Actor, FaultProxy, Link, PostgresDatabase, TestServer, eventually};
use serde_json::json;
use tokio::task::JoinSet;

use crate::server;

const SCRIPT: &str = r#"
rules:
  - when: {user_contains: "run", step: 0}
    steps:
      - tool_call: {name: execute, args: {command: "echo once >> $HOME/runs; echo begun; until [ -e $HOME/go ]; do sleep 0.05; done; echo ended"}}
  - when: {user_contains: "run", step: 1}
    steps:
      - text: "It ran."
  - steps:
      - text: "An answer."
"#;

/// What a far database needs for each round trip.
const FAR: Link = Link::Delayed(Duration::from_millis(2));
const NEAR: Link = Link::Delayed(Duration::ZERO);

/// A server whose database lies behind a proxy.
struct Behind {
    server: TestServer,
    proxy: FaultProxy,
    database: PostgresDatabase,
}

async fn behind_proxy() -> Behind {
    let database = PostgresDatabase::create();
    let proxy = FaultProxy::start(&database.url()).await;
    let server = server().env("ATELIER_DATABASE_URL", &proxy.url()).script("words", SCRIPT).start().await;
    Behind { server, proxy, database }
}

/// Looks at the server's health until it is `status`; how long that took.
async fn wait_for_health(server: &TestServer, status: u16) -> Duration {
    let begun = Instant::now();
    eventually(&format!("a health of {status}"), || async {
        (server.anonymous().get("/healthz").await.status == status).then_some(())
    })
    .await;
    begun.elapsed()
}

/// Asks for something and drops the connection after up to 30 ms, again and again.
async fn leave_again_and_again(actor: Actor, paths: Vec<String>, stop: Arc<AtomicBool>, requests: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Acquire) {
        let n = requests.fetch_add(1, Ordering::AcqRel);
        let request = actor.request(reqwest::Method::GET, &paths[n % paths.len()]);
        // spread over all moments of a request
        let patience = Duration::from_micros(n as u64 * 7_919 % 30_000);
        let _ = tokio::time::timeout(patience, request.header("accept", "text/event-stream").send()).await;
    }
}

/// One round of a user who checks every answer; what was wrong.
async fn check_answers(user: &Actor, round: usize) -> Vec<String> {
    const CHATS: &str = "/api/experimental/chats";
    const TOKENS: &str = "/api/v2/users/me/keys/tokens";
    let mut wrong = Vec::new();
    let mut expect = |what: &str, is_right: bool, seen: &str| {
        if !is_right {
            wrong.push(format!("{what}: {seen}"));
        }
    };
    let content = json!({"content": [{"type": "text", "text": format!("round {round}")}]});
    let made = user.post(&format!("{CHATS}/"), content).await;
    expect("a chat is made", made.status == 201, &made.text);
    if let Some(id) = made.body["id"].as_str() {
        let path = format!("{CHATS}/{id}");
        let seen = user.get(&path).await;
        expect("it is there", seen.status == 200, &seen.text);
        let title = format!("title {round}");
        let renamed = user.patch(&path, json!({ "title": title })).await;
        expect("it is renamed", renamed.status == 204, &renamed.text);
        let seen = user.get(&path).await;
        expect("it has its new title", seen.body["title"] == title.as_str(), &seen.text);
        let messages = user.get(&format!("{path}/messages")).await;
        expect("its messages are there", messages.body["messages"][0]["id"].is_number(), &messages.text);
    }
    let made = user.post(TOKENS, json!({})).await;
    expect("a token is made", made.status == 201, &made.text);
    if let Some(key) = made.body["key"].as_str() {
        let with_token = user.with_token(key);
        let seen = with_token.get("/api/v2/users/me").await;
        expect("it is taken", seen.status == 200, &seen.text);
        let list = user.get(TOKENS).await;
        expect("it is in the list", list.body[0]["id"].is_string(), &list.text);
        let id = list.body[0]["id"].as_str().unwrap_or_default();
        let deleted = user.delete(&format!("/api/v2/users/me/keys/{id}")).await;
        expect("it is deleted", deleted.status == 204, &deleted.text);
        let seen = with_token.get("/api/v2/users/me").await;
        expect("it is refused afterwards", seen.status == 401, &seen.text);
    }
    wrong
}

/// Rounds of one user beside `clients` that leave, for as long as `goes_on` says; rounds, requests, wrong answers.
async fn beside_leaving_clients(clients: usize, mut goes_on: impl FnMut(usize) -> bool) -> (usize, usize, Vec<String>) {
    let behind = behind_proxy().await;
    let (ada, leaving) = (behind.server.user("ada").await, behind.server.user("eve").await);
    let chat = leaving.chat_create("hello").await;
    chat.wait_for_status("waiting").await;
    behind.proxy.set(FAR);
    let paths = [chat.path(""), chat.path("/messages"), chat.path("/stream"), "/api/experimental/chats".to_owned()];
    let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (actor, stop, requests) = (leaving.clone(), Arc::clone(&stop), Arc::clone(&requests));
        running.spawn(leave_again_and_again(actor, paths.to_vec(), stop, requests));
    }
    let (mut rounds, mut wrong) = (0, Vec::new());
    while goes_on(rounds) {
        wrong.extend(check_answers(&ada, rounds).await);
        rounds += 1;
    }
    stop.store(true, Ordering::Release);
    running.join_all().await;
    (rounds, requests.load(Ordering::Acquire), wrong)
}

#[tokio::test]
async fn clients_that_leave_change_nobody_elses_answers() {
    let (_, _, wrong) = beside_leaving_clients(4, |round| round < 10).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_silent_database_makes_the_server_unhealthy_until_it_answers_again() {
    for fault in [Link::Swallowing, Link::HalfOpen, Link::Cut] {
        let behind = behind_proxy().await;
        let admin = behind.server.admin().await;
        admin.chat_create("hello").await.wait_for_status("waiting").await;
        behind.proxy.set(fault);
        wait_for_health(&behind.server, 503).await;
        behind.proxy.set(NEAR);
        wait_for_health(&behind.server, 200).await;
        let chat = eventually("a chat after the fault", || async {
            let content = json!({"content": [{"type": "text", "text": "and now"}]});
            let made = admin.post("/api/experimental/chats/", content).await;
            match made.status {
                201 => Some(admin.chat(made.body["id"].as_str().unwrap())),
                status => {
                    assert_eq!((status, made.body["code"].as_str()), (503, Some("unavailable")), "{}", made.text);
                    None
                }
            }
        })
        .await;
        chat.wait_for_status("waiting").await;
    }
}

#[tokio::test]
async fn a_command_is_followed_to_its_end_through_a_trouble_of_the_database() {
    let behind = behind_proxy().await;
    let admin = behind.server.admin().await;
    let template = json!({"name": "base", "driver": "local", "spec": {}});
    let template = admin.post("/api/v2/organizations/default/templates", template).await.body(201);
    let workspace = json!({"template_id": template["id"], "name": "box"});
    let workspace = admin.post("/api/v2/users/me/workspaces", workspace).await.body(201);
    let id = workspace["id"].as_str().unwrap();
    let content = json!([{"type": "text", "text": "run"}]);
    let chat = admin.chat_create_with(json!({"content": content, "workspace_id": id})).await;
    let home = behind.server.data_dir().join("workspaces").join(id).join("home");
    let runs = home.join("runs");
    eventually("the command to run", || async { runs.exists().then_some(()) }).await;
    behind.proxy.set(Link::Cut);
    // the next page of its output cannot be asked for
    eventually("the database to be missed", || async {
        behind.server.log().contains("the store failed behind a tool").then_some(())
    })
    .await;
    behind.proxy.set(NEAR);
    std::fs::write(home.join("go"), "").unwrap();
    eventually("the turn to end", || async {
        let seen = admin.get(&chat.path("")).await;
        (seen.body["status"] == "waiting").then_some(())
    })
    .await;
    let messages = chat.messages().await;
    let result = messages.iter().find(|message| message["role"] == "tool").unwrap()["content"][0]["result"].clone();
    assert_eq!(result["output"], "begun\nended\n", "{result}");
    assert_eq!(std::fs::read_to_string(runs).unwrap(), "once\n");
}

mod faults {
    use super::*;

    #[tokio::test]
    async fn twenty_clients_that_leave_for_a_minute_change_nobody_elses_answers() {
        let begun = Instant::now();
        let (rounds, requests, wrong) = beside_leaving_clients(20, |_| begun.elapsed() < Duration::from_secs(60)).await;
        println!("{requests} requests were left beside {rounds} rounds; wrong answers: {}", wrong.len());
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[tokio::test]
    async fn a_database_that_was_silent_for_200_seconds_is_found_again_without_a_restart() {
        const SILENCE: Duration = Duration::from_secs(200);
        let behind = behind_proxy().await;
        let admin = behind.server.admin().await;
        admin.chat_create("hello").await.wait_for_status("waiting").await;
        let silent_since = Instant::now();
        behind.proxy.set(Link::Swallowing);
        let unhealthy = wait_for_health(&behind.server, 503).await;
        let asked = Instant::now();
        admin.get("/api/v2/users/me").await.expect_error(503, "unavailable");
        let refused = asked.elapsed();
        while silent_since.elapsed() < SILENCE {
            let asked = Instant::now();
            behind.server.anonymous().get("/healthz").await.expect(503);
            assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        behind.proxy.set(NEAR);
        let over = Instant::now();
        let renewed = || behind.database.query("SELECT count(*) FROM replicas WHERE NOT dead AND lease_until > now()");
        eventually("a new life", || async { (renewed() == "1").then_some(()) }).await;
        let lease = over.elapsed();
        wait_for_health(&behind.server, 200).await;
        let healthy = over.elapsed();
        admin.chat_create("and now").await.wait_for_status("waiting").await;
        let answered = over.elapsed();
        println!(
            "unhealthy after {unhealthy:?}, a request was refused after {refused:?}; after the silence: lease \
             {lease:?}, healthy {healthy:?}, a chat answered {answered:?}"
        );
        assert!(unhealthy < Duration::from_secs(12) && answered < Duration::from_secs(30));
    }

    /// A database that answers, and a lease that cannot be renewed.
    #[tokio::test]
    async fn a_lease_that_is_not_renewed_makes_the_server_unhealthy() {
        let behind = behind_proxy().await;
        let locked = std::process::Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--dbname", &behind.database.url(), "--command"])
            .arg("BEGIN; LOCK TABLE replicas IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)")
            .spawn();
        let mut locked = locked.unwrap();
        wait_for_health(&behind.server, 503).await;
        let refusal = behind.server.anonymous().get("/healthz").await;
        assert_eq!((refusal.status, refusal.text.contains("lease")), (503, true), "{}", refusal.text);
        let waiting = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' \
                       AND datname = current_database() AND pid <> pg_backend_pid()";
        let _ = behind.database.query(waiting);
        let _ = locked.wait();
        wait_for_health(&behind.server, 200).await;
    }
}
