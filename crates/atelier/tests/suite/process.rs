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

mod faults {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::time::Duration;

    use atelier_test_support::TestServer;

    use super::*;
    use crate::PROGRAM;

    /// How a program is started by a user whose limit of threads counts: root has none. What lets it read files
    /// of root does not lift that limit.
    fn by_a_user() -> &'static str {
        match rustix::process::geteuid().is_root() {
            true => {
                "setpriv --reuid=41234 --clear-groups --inh-caps=-all,+dac_override --ambient-caps=-all,+dac_override"
            }
            false => "env",
        }
    }

    fn program_of_a_user(folder: &Path) -> PathBuf {
        let path = folder.join("program");
        std::fs::write(&path, format!("#!/bin/sh\nexec {} {PROGRAM} \"$@\"\n", by_a_user())).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn set_thread_limit(server: &TestServer, limit: u32) {
        let mut words = by_a_user().split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["prlimit", "--pid", &server.pid().to_string(), &format!("--nproc={limit}:")]);
        assert!(command.status().unwrap().success());
    }

    #[tokio::test]
    async fn a_host_that_gives_out_no_more_threads_delays_work_and_ends_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let server = TestServer::builder(program_of_a_user(folder.path())).script("words", SCRIPT).start().await;
        server.admin().await.get("/api/v2/users/me").await.expect(200);
        set_thread_limit(&server, 1);
        // idle threads would be gone by now: tokio lets them wait for ten seconds
        tokio::time::sleep(Duration::from_secs(12)).await;
        for _ in 0..3 {
            // each needs a thread for its password
            server.admin().await.get("/api/v2/users/me").await.expect(200);
        }
        assert!(!server.log().contains("panicked"), "{}", server.log());
        set_thread_limit(&server, 4096);
        server.admin().await.chat_create("hello").await.wait_for_status("running").await;
    }
}
