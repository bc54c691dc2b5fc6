//! What a command cannot do from inside (`workspaces.md` 5.4), tried with the real workspace agent.

use std::fs::File;
use std::time::Instant;

use atelier_daemon::workspace::Method;
use atelier_domain::{CallToken, WorkspaceId};
use atelier_store::Transition;
use atelier_workspaces::BuildCreate;
use atelier_workspaces::drivers::local::SandboxChoice;
use rustix::process::{Flock, FlockType, Resource, Rlimit, fcntl_getlk, getrlimit, setrlimit};
use serde_json::json;

use crate::host::{Engine, Host, PATIENCE, request, run};

/// System calls with arguments with which they would not answer "not permitted" by themselves to everybody.
fn probes() -> Vec<(&'static str, libc::c_long, &'static str)> {
    vec![
        ("keyctl", libc::SYS_keyctl, "0, -3, 0"),
        ("add_key", libc::SYS_add_key, "0, 0, 0, 0, -3"),
        ("request_key", libc::SYS_request_key, "0, 0, 0, 0"),
        ("io_uring_setup", libc::SYS_io_uring_setup, "1, 0"),
        ("bpf", libc::SYS_bpf, "0, 0, 0"),
        ("perf_event_open", libc::SYS_perf_event_open, "0, 0, -1, -1, 0"),
        ("userfaultfd", libc::SYS_userfaultfd, "1"),
        ("mount", libc::SYS_mount, "0, 0, 0, 0, 0"),
        ("umount2", libc::SYS_umount2, "0, 0"),
        ("pivot_root", libc::SYS_pivot_root, "0, 0"),
        ("move_mount", libc::SYS_move_mount, "0, 0, 0, 0, 0"),
        ("open_tree", libc::SYS_open_tree, "0, 0, 0"),
        ("fsopen", libc::SYS_fsopen, "0, 0"),
        ("fsmount", libc::SYS_fsmount, "0, 0, 0"),
        ("mount_setattr", libc::SYS_mount_setattr, "0, 0, 0, 0, 0"),
        ("setns", libc::SYS_setns, "-1, 0"),
        ("unshare of users", libc::SYS_unshare, "0x10000000"),
        ("clone of users", libc::SYS_clone, "0x10000011, 0, 0, 0, 0"),
        ("clone3", libc::SYS_clone3, "0, 0"),
        ("ptrace of process 1", libc::SYS_ptrace, "16, 1, 0, 0"),
    ]
}

async fn calls_are_refused(sandbox: SandboxChoice) {
    let host = Host::with_agent(Engine::Sqlite, sandbox).await;
    let id = host.workspace("box", json!({})).await;
    let connection = host.connect(id).await;
    let mut script = String::new();
    for (name, number, arguments) in probes() {
        script.push_str(&format!(
            r#"perl -e 'my $answer = syscall({number}, {arguments}); exit 0 if $answer == 0; print "{name}: ", $answer < 0 ? ($!{{EPERM}} || $!{{ENOSYS}} ? "refused" : "tried: $!") : "done", "\n"'
"#
        ));
    }
    let output = run(&*connection, &script).await;
    let expected: String = probes().iter().map(|(name, ..)| format!("{name}: refused\n")).collect();
    assert_eq!(output, expected);
    assert_eq!(run(&*connection, "unshare -Urm true 2>/dev/null || echo refused").await, "refused\n");
}

#[tokio::test]
async fn w65_calls_that_reach_for_the_kernel_are_refused_in_bubblewrap() {
    calls_are_refused(SandboxChoice::Bubblewrap).await;
}

#[tokio::test]
async fn w65_calls_that_reach_for_the_kernel_are_refused_with_landlock() {
    calls_are_refused(SandboxChoice::Landlock).await;
}

async fn no_key_of_the_servers_session_is_there(sandbox: SandboxChoice) {
    // This thread is the one that starts workspaces, so they would inherit its keyring.
    let Ok(mut keyring) = keyutils::Keyring::join_anonymous_session() else {
        return; // this host has no keyrings, or refuses them to this test
    };
    keyring.add_key::<keyutils::keytypes::User, _, _>("secret-of-the-server", "secret".as_bytes()).unwrap();
    let host = Host::with_agent(Engine::Sqlite, sandbox).await;
    let id = host.workspace("box", json!({})).await;
    let search = format!(
        r#"cat /proc/keys; perl -e 'my ($type, $name) = ("user", "secret-of-the-" . "server");
            print syscall({}, 10, -3, $type, $name, 0) > 0 ? "found" : "none"'"#,
        libc::SYS_keyctl
    );
    let output = run(&*host.connect(id).await, &search).await;
    assert!(output.ends_with("none") && !output.contains("secret-of-the-server"), "{output}");
}

#[tokio::test]
async fn w63_no_key_of_the_servers_session_is_there_in_bubblewrap() {
    no_key_of_the_servers_session_is_there(SandboxChoice::Bubblewrap).await;
}

#[tokio::test]
async fn w63_no_key_of_the_servers_session_is_there_with_landlock() {
    no_key_of_the_servers_session_is_there(SandboxChoice::Landlock).await;
}

/// The number of the workspace's first process.
fn first_process(host: &Host, id: WorkspaceId) -> i32 {
    let lock = File::open(host.folder(id).join("lock")).unwrap();
    let holder = fcntl_getlk(&lock, &Flock::from(FlockType::WriteLock)).unwrap().and_then(|found| found.pid);
    holder.unwrap().as_raw_nonzero().get()
}

#[tokio::test]
async fn w50_a_command_that_kills_all_it_can_reach_does_not_end_the_workspace() {
    let host = Host::with_agent(Engine::Sqlite, SandboxChoice::Bubblewrap).await;
    let id = host.workspace("box", json!({})).await;
    let first = first_process(&host, id);
    for (mark, command) in [
        ("one", "kill -KILL 1; kill -TERM 1; touch ~/one"),
        ("two", "trap '' TERM; kill -TERM -1; touch ~/two"),
        ("three", "touch ~/three; kill -KILL -1"),
    ] {
        let connection = host.connect(id).await;
        let mut start = request(Method::Post, "/v1/processes", Some(json!({ "command": command })));
        start.context.call = Some((CallToken::new(), "0".repeat(64)));
        // The agent may be killed before it answers.
        let _ = connection.request(start).await;
        let deadline = Instant::now() + PATIENCE;
        while !answers_with(&host, id, mark).await {
            assert!(Instant::now() < deadline, "no answer after {command}");
        }
    }
    assert_eq!(first_process(&host, id), first);
    assert_eq!(host.view(id).await.status(), "running");
}

/// Whether the agent, perhaps a new one, finds the file in the home folder.
async fn answers_with(host: &Host, id: WorkspaceId, name: &str) -> bool {
    let connection = host.connect(id).await;
    let look = request(Method::Post, "/v1/files/read", Some(json!({ "path": format!("~/{name}") })));
    tokio::time::timeout(PATIENCE, connection.request(look))
        .await
        .is_ok_and(|answer| answer.is_ok_and(|answer| answer.status == 200))
}

async fn limits_are_kept(sandbox: SandboxChoice) {
    // As the server does, which has a socket for each client.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let host = Host::with_agent(Engine::Sqlite, sandbox).await;
    let id = host.workspace("box", json!({})).await;
    let connection = host.connect(id).await;
    let look = "cat /proc/self/oom_score_adj; ulimit -Sn; grep 'Max processes' /proc/self/limits";
    let output = run(&*connection, look).await;
    let words: Vec<&str> = output.split_ascii_whitespace().collect();
    assert_eq!(words[..6], ["500", "1024", "Max", "processes", "4096", "4096"], "{output}");

    let small = host.workspace("small", json!({ "resources": { "pids": 80 } })).await;
    let connection = host.connect(small).await;
    let bomb = r#"perl -e 'for (1..100) { my $child = fork; if (!defined $child) { print "refused"; last }
        if (!$child) { sleep 60; exit } push @children, $child }
        kill "KILL", @children; waitpid $_, 0 for @children'"#;
    assert_eq!(run(&*connection, bomb).await, "refused");
    assert_eq!(run(&*connection, "echo here").await, "here\n", "the agent is still there");
    assert_eq!(run(&*host.connect(id).await, "sleep 0 & wait; echo here").await, "here\n");
}

#[tokio::test]
async fn a_workspace_goes_first_and_has_a_limit_of_processes_in_bubblewrap() {
    limits_are_kept(SandboxChoice::Bubblewrap).await;
}

#[tokio::test]
async fn a_workspace_goes_first_and_has_a_limit_of_processes_with_landlock() {
    if rustix::process::geteuid().is_root() {
        limits_are_kept(SandboxChoice::Landlock).await;
    }
}

#[tokio::test]
async fn tmp_lies_on_the_disk_and_is_empty_at_each_start() {
    let host = Host::with_agent(Engine::Sqlite, SandboxChoice::Bubblewrap).await;
    let id = host.workspace("box", json!({})).await;
    let look = "stat -c %d /tmp; stat -c %d ~; ls -A /tmp; touch /tmp/left";
    let output = run(&*host.connect(id).await, look).await;
    let devices: Vec<&str> = output.lines().collect();
    assert_eq!(devices[..], [devices[0]; 2], "{output}");
    for transition in [Transition::Stop, Transition::Start] {
        let build = BuildCreate {
            workspace_id: id,
            initiator_id: host.ada,
            transition,
            template_version_id: None,
            parameters: Vec::new(),
        };
        host.service.build_create(build).await.unwrap();
        host.wait_for_status(id, if transition == Transition::Stop { "stopped" } else { "running" }).await;
    }
    assert_eq!(run(&*host.connect(id).await, "ls -A /tmp").await, "");
}

#[tokio::test]
async fn w47_no_command_finds_the_agents_token() {
    for sandbox in [SandboxChoice::Bubblewrap, SandboxChoice::Landlock] {
        let host = Host::with_agent(Engine::Sqlite, sandbox).await;
        let id = host.workspace("box", json!({})).await;
        let connection = host.connect(id).await;
        // The pattern does not match the command's own line.
        let look = "run=/.atelier/run; [ -n \"$TMPDIR\" ] && run=${TMPDIR%/tmp}/run; ls $run; cat $run/token; \
                    grep -rs 'atag[_]' ~ $run; cat /proc/[0-9]*/environ 2>/dev/null | grep -a 'atag[_]'; true";
        let output = run(&*connection, look).await;
        assert!(output.contains("manifest.json") && !output.contains("atag_"), "{output}");
        assert!(!host.folder(id).join("run/token").exists());
        assert_eq!(run(&*connection, "echo here").await, "here\n");
    }
}
