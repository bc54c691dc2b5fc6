//! A running turn, or one that waits for its place, keeps the chat's workspace alive.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atelier_domain::Timestamp;
use atelier_test_support::{Actor, Chat, Engine, PausedClock, eventually};
use serde_json::{Value, json};

use crate::host::{Host, text};

const TTL: Duration = Duration::from_mins(10);
/// Moves of the deadline after which a workspace without turns would be over: each takes two looks of the server,
/// which are half a minute apart. The answer that hangs is given up after 30 minutes.
const MOVES: usize = 12;
/// How far a test moves the clock between two looks: far less than the time a workspace has left.
const STEP: Duration = Duration::from_secs(2);

/// A program that stays until it is asked to end, and ends by itself should the test fail.
fn staying_program(folder: &tempfile::TempDir) -> PathBuf {
    let program = folder.path().join("program");
    let script = concat!(
        include_str!("../../../atelier-workspaces/tests/first-process.sh"),
        "trap 'exit 0' TERM\ni=0\nwhile [ $i -lt 300 ]; do sleep 1 & wait $!; i=$((i+1)); done\n"
    );
    std::fs::write(&program, script).unwrap();
    for path in [folder.path(), &program] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    program
}

struct Workspace {
    owner: Actor,
    id: String,
}

impl Workspace {
    /// Started, with this span of life at most (0 = no bound).
    async fn start(host: &Host, owner: &Actor, max_lifetime: Duration) -> Self {
        let ttl_ms = TTL.as_millis();
        let autostop = json!({
            "default_ttl_ms": ttl_ms, "activity_bump_ms": ttl_ms, "max_lifetime_ms": max_lifetime.as_millis()
        });
        let template = json!({"name": "base", "driver": "local", "spec": {"autostop": autostop}});
        let admin = host.admin().await;
        let template = admin.post("/api/v2/organizations/default/templates", template).await.body(201);
        let create = json!({"template_id": template["id"], "name": "box"});
        let made = owner.post("/api/v2/users/me/workspaces", create).await.body(201);
        let workspace = Self { owner: owner.clone(), id: made["id"].as_str().unwrap().to_owned() };
        eventually("the workspace to run", async || {
            let build = workspace.build().await;
            assert_ne!(build["status"], "failed", "{build}");
            (build["status"] == "running").then_some(())
        })
        .await;
        workspace
    }

    async fn build(&self) -> Value {
        self.owner.get(&format!("/api/v2/workspaces/{}", self.id)).await.body(200)["latest_build"].clone()
    }

    /// Its deadline, as long as it is not asked to stop.
    async fn deadline(&self) -> Option<Timestamp> {
        let build = self.build().await;
        assert_eq!(build["transition"], "start", "{build}");
        build["deadline"].as_str().map(|deadline| deadline.parse().unwrap())
    }

    /// Moves the clock on until the deadline has moved.
    async fn deadline_moves(&self, clock: &PausedClock) {
        let before = self.deadline().await;
        eventually("the deadline to move", async || {
            clock.advance(STEP);
            (self.deadline().await > before).then_some(())
        })
        .await;
    }

    /// Moves the clock on until the server stops it.
    async fn stops_by_itself(&self, clock: &PausedClock) {
        eventually("the workspace to stop", async || {
            let build = self.build().await;
            clock.advance(Duration::from_secs(5));
            let is_stopped = build["status"] == "stopped";
            is_stopped.then(|| assert_eq!(build["reason"], "autostop"))
        })
        .await;
    }

    async fn chat(&self, words: &str) -> Chat {
        self.owner.chat_create_with(json!({"content": text(words), "workspace_id": self.id})).await
    }
}

/// Ends the server, whose grace for running turns passes by the clock of the test.
async fn stop(host: Host, clock: &PausedClock) {
    let stopping = host.stop();
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(Duration::from_millis(20)) => clock.advance(STEP),
        }
    }
}

#[tokio::test]
async fn a_workspace_lives_as_long_as_its_turn_and_stops_when_it_is_idle() {
    for engine in Engine::ALL {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(PausedClock::new(Timestamp::now()));
        let host = Host::builder()
            .engine(engine)
            .clock(clock.clone())
            .workspace_program(staying_program(&folder))
            .start()
            .await;
        let ada = host.user("ada", &[]).await;
        let workspace = Workspace::start(&host, &ada, Duration::ZERO).await;
        let chat = workspace.chat("hang").await;
        chat.wait_for_status("running").await;
        for _ in 0..MOVES {
            workspace.deadline_moves(&clock).await;
        }
        chat.interrupt().await.expect(200);
        chat.wait_for_status("waiting").await;
        workspace.stops_by_itself(&clock).await;
        stop(host, &clock).await;
    }
}

#[tokio::test]
async fn the_longest_life_of_a_workspace_ends_it_in_mid_turn() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(PausedClock::new(Timestamp::now()));
    let host = Host::builder().clock(clock.clone()).workspace_program(staying_program(&folder)).start().await;
    let ada = host.user("ada", &[]).await;
    let longest = TTL + TTL / 2;
    let workspace = Workspace::start(&host, &ada, longest).await;
    let chat = workspace.chat("hang").await;
    chat.wait_for_status("running").await;
    for _ in 0..3 {
        workspace.deadline_moves(&clock).await;
    }
    workspace.stops_by_itself(&clock).await;
    assert_eq!(chat.get().await["status"], "running");
    stop(host, &clock).await;
}

#[tokio::test]
async fn a_turn_that_waits_for_its_place_keeps_its_workspace() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(PausedClock::new(Timestamp::now()));
    let host = Host::builder().clock(clock.clone()).workspace_program(staying_program(&folder)).start().await;
    let ada = host.user("ada", &[]).await;
    let workspace = Workspace::start(&host, &ada, Duration::ZERO).await;
    // all places of one user
    for _ in 0..16 {
        ada.chat_create("hang").await.wait_for_status("running").await;
    }
    let chat = workspace.chat("hello").await;
    for _ in 0..2 {
        workspace.deadline_moves(&clock).await;
    }
    assert_eq!(chat.get().await["status"], "pending");
    ada.delete(&format!("/api/v2/workspaces/{}", workspace.id)).await;
    stop(host, &clock).await;
}
