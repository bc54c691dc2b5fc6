//! The server as a process among others: its signals and its limits.

use atelier_test_support::eventually;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::server;

const SCRIPT: &str = r#"
rules:
  - steps:
      - text: "Looking"
      - hang: true
"#;

#[tokio::test]
async fn no_signal_ends_the_server_without_its_order_of_stopping() {
    let mut server = server().script("words", SCRIPT).env("ATELIER_DAEMON_DRAIN_SECONDS", "0").start().await;
    let admin = server.admin().await;
    let chat = admin.chat_create("hello").await;
    chat.wait_for_status("running").await;
    for name in ["USR1", "USR2"] {
        server.signal(name);
        let words = format!("SIG{name} has no meaning");
        eventually("the signal to be noticed", || async { server.log().contains(&words).then_some(()) }).await;
    }
    admin.get("/healthz").await.expect(200);
    server.signal("HUP");
    server.wait_until_dead().await;
    assert!(server.log().contains("stopping"), "{}", server.log());
    // handed over in order: the turn goes on
    server.restart().await;
    server.admin().await.chat(&chat.id).wait_for_status("running").await;
}

#[tokio::test]
async fn the_server_takes_as_many_open_files_as_it_may() {
    let limit = getrlimit(Resource::Nofile);
    // every test is a process of its own, and the server inherits its limits
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum: limit.maximum }).unwrap();
    let server = server().start().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let (soft, hard) = (files.split_whitespace().next().unwrap(), files.split_whitespace().nth(1).unwrap());
    assert_eq!(soft, hard, "{limits}");
    assert_ne!(soft, "256");
}
