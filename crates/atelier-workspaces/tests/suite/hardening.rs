//! What a command cannot do from inside (`workspaces.md` 5.4), tried with the real workspace agent.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use atelier_daemon::workspace::Method;
use atelier_domain::{CallToken, WorkspaceId};
use atelier_store::Transition;
use atelier_workspaces::drivers::local::SandboxChoice;
use rustix::process::{Flock, FlockType, Resource, Rlimit, fcntl_getlk, getrlimit, setrlimit};
use serde_json::json;

use crate::host::{AGENT_VARIABLE, Engine, Host, PATIENCE, agent_program, request, run};

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
        let mut start = request(Method::Post, "/v1/processes", Some(json!({ "command": command })));
        start.context.call = Some((CallToken::new(), "0".repeat(64)));
        let deadline = Instant::now() + 2 * PATIENCE;
        // The agent may be killed before it answers, and the first connection may be to the one that is killed.
        while host.connect(id).await.request(start.clone()).await.is_err() && !answers_with(&host, id, mark).await {
            assert!(Instant::now() < deadline, "no agent takes the command that writes ~/{mark}");
        }
        wait_for_answer(&host, id, mark).await;
    }
    assert_eq!(first_process(&host, id), first);
    assert_eq!(host.view(id).await.status(), "running");
}

async fn wait_for_answer(host: &Host, id: WorkspaceId, name: &str) {
    let deadline = Instant::now() + 2 * PATIENCE;
    while !answers_with(host, id, name).await {
        assert!(Instant::now() < deadline, "no answer with ~/{name}");
    }
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
async fn tmp_lies_on_the_disk_and_is_emptied_at_each_stop() {
    let host = Host::with_agent(Engine::Sqlite, SandboxChoice::Bubblewrap).await;
    let id = host.workspace("box", json!({})).await;
    let look = "stat -c %d /tmp; stat -c %d ~; ls -A /tmp; touch /tmp/left";
    let output = run(&*host.connect(id).await, look).await;
    let devices: Vec<&str> = output.lines().collect();
    assert_eq!(devices[..], [devices[0]; 2], "{output}");
    let tmp = host.folder(id).join("tmp");
    host.build(id, Transition::Stop).await;
    assert_eq!(std::fs::read_dir(&tmp).unwrap().count(), 0);
    // A stop that was cut short leaves something.
    std::fs::write(tmp.join("left"), "").unwrap();
    host.build(id, Transition::Start).await;
    assert_eq!(run(&*host.connect(id).await, "ls -A /tmp").await, "");
}

#[tokio::test]
async fn a_workspace_with_more_folders_in_each_other_than_files_may_be_open_is_stopped_started_and_deleted() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(1024), maximum }).unwrap();
    let host = Host::with_agent(Engine::Sqlite, SandboxChoice::Bubblewrap).await;
    let id = host.workspace("box", json!({})).await;
    let nest = |place: &str| {
        format!(
            r#"cd {place} && perl -e 'for (1..1500) {{ mkdir "a" or die $!; chdir "a" or die $! }} print "nested"'"#
        )
    };
    assert_eq!(run(&*host.connect(id).await, &nest("/tmp")).await, "nested");
    host.build(id, Transition::Stop).await;
    assert_eq!(std::fs::read_dir(host.folder(id).join("tmp")).unwrap().count(), 0);
    host.build(id, Transition::Start).await;
    assert_eq!(run(&*host.connect(id).await, &nest("~")).await, "nested");
    host.build(id, Transition::Delete).await;
}

#[tokio::test]
async fn folders_in_the_place_of_the_servers_files_keep_no_workspace_from_stopping_and_starting() {
    let host = Host::with_agent(Engine::Sqlite, SandboxChoice::Bubblewrap).await;
    let id = host.workspace("box", json!({})).await;
    let lay = "cd /.atelier/run && for name in token manifest.json agent.sock demo.bundle; do \
                 rm -f $name && mkdir -p $name/x && chmod 000 $name/x; done; echo laid";
    assert_eq!(run(&*host.connect(id).await, lay).await, "laid\n");
    for transition in [Transition::Stop, Transition::Start, Transition::Stop, Transition::Start] {
        host.build(id, transition).await;
    }
    assert_eq!(run(&*host.connect(id).await, lay).await, "laid\n");
    host.build(id, Transition::Delete).await;
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

/// Whether the rest of this test is to run here. A test of root starts itself again as a user without rights,
/// where files of root cannot be read, and waits for it.
fn is_user_without_rights(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let folder = tempfile::tempdir().unwrap();
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), everybody.clone()).unwrap();
    let copy = |program: &Path, name: &str| {
        let copy = folder.path().join(name);
        std::fs::copy(program, &copy).unwrap();
        std::fs::set_permissions(&copy, everybody.clone()).unwrap();
        copy
    };
    let user = atelier_test_support::workspace_users();
    let status = Command::new("setpriv")
        .args([format!("--reuid={user}"), format!("--regid={user}")])
        .args(["--clear-groups", "--"])
        .arg(copy(&std::env::current_exe().unwrap(), "test"))
        .args(["--exact", test, "--nocapture"])
        .env(AGENT_VARIABLE, copy(&agent_program(), "agent"))
        .env("HOME", folder.path())
        .current_dir("/")
        .status()
        .unwrap();
    assert!(status.success(), "as another user: {status}");
    false
}

/// Ends the agent some times, and each time looks into its successor from its first moment on.
const STEAL: &str = r#"perl -e '
    sub is_agent { open(my $file, "<", "/proc/$_[0]/cmdline") or return 0; (<$file> // "") =~ /agent\0serve/ }
    # Agents of other workspaces may be seen and not signalled.
    sub agent { my ($agent) = grep { is_agent($_) && kill(0, $_) } map { /(\d+)$/ } </proc/[0-9]*>; $agent // 0 }
    for my $round (1 .. 3) {
        my $old = 0;
        $old = agent() until $old && kill("KILL", $old);
        my $new = 0;
        until ($new && $new != $old) {
            for (1 .. 100) {
                open(my $load, "<", "/proc/loadavg");
                my ($last) = <$load> =~ /(\d+)$/;
                for my $next ($last - 4 .. $last + 4) {
                    next if $next == $$ || $next == $old;
                    open(my $memory, "<", "/proc/$next/mem") and is_agent($next) and print "memory\n";
                    open(my $input, "<", "/proc/$next/fd/0") and sysread($input, my $token, 100)
                        and $token =~ /atag_/ and print "token\n";
                }
            }
            $new = agent();
        }
    }
    print "tried\n"' > ~/stolen.new 2>&1; mv ~/stolen.new ~/stolen"#;

async fn no_command_looks_into_a_new_agent(sandbox: SandboxChoice) {
    let host = Host::with_agent(Engine::Sqlite, sandbox).await;
    let id = host.workspace("box", json!({})).await;
    let mut start = request(Method::Post, "/v1/processes", Some(json!({ "command": STEAL, "background": true })));
    start.context.call = Some((CallToken::new(), "0".repeat(64)));
    // The agent may be killed before it answers.
    let _ = host.connect(id).await.request(start).await;
    wait_for_answer(&host, id, "stolen").await;
    assert_eq!(run(&*host.connect(id).await, "cat ~/stolen").await, "tried\n");
}

#[tokio::test]
async fn w47_no_command_looks_into_a_new_agent_of_a_server_that_is_not_root_in_bubblewrap() {
    if is_user_without_rights(
        "hardening::w47_no_command_looks_into_a_new_agent_of_a_server_that_is_not_root_in_bubblewrap",
    ) {
        no_command_looks_into_a_new_agent(SandboxChoice::Bubblewrap).await;
    }
}

#[tokio::test]
async fn w47_no_command_looks_into_a_new_agent_of_a_server_that_is_not_root_with_landlock() {
    if is_user_without_rights(
        "hardening::w47_no_command_looks_into_a_new_agent_of_a_server_that_is_not_root_with_landlock",
    ) {
        no_command_looks_into_a_new_agent(SandboxChoice::Landlock).await;
    }
}

#[tokio::test]
async fn w47_an_agent_whose_file_a_command_made_readable_gets_no_token() {
    if !is_user_without_rights("hardening::w47_an_agent_whose_file_a_command_made_readable_gets_no_token") {
        return;
    }
    let host = Host::with_agent(Engine::Sqlite, SandboxChoice::Landlock).await;
    let id = host.workspace("box", json!({})).await;
    let connection = host.connect(id).await;
    let copies: Vec<_> = std::fs::read_dir(host.data.path().join("bin")).unwrap().map(|entry| entry.unwrap()).collect();
    let program = copies[0].path().join("atelier");
    let open = format!("cd {} && [ ! -r atelier ] && chmod 755 atelier && echo opened", copies[0].path().display());
    assert_eq!(run(&*connection, &open).await, "opened\n");
    assert!(File::open(&program).is_ok());
    let mut start =
        request(Method::Post, "/v1/processes", Some(json!({ "command": "pkill -KILL -f 'agent [s]erve'" })));
    start.context.call = Some((CallToken::new(), "1".repeat(64)));
    let _ = connection.request(start).await;
    host.wait_for_status(id, "stopped").await;
}

/// Landlock lets a command end its first process; what that process no longer adopts is still the workspace's.
#[tokio::test]
async fn w50_nothing_outlives_a_workspace_whose_first_process_was_killed() {
    if !rustix::process::geteuid().is_root() {
        return; // without users of their own they cannot be told apart
    }
    let host = Host::with_agent(Engine::Sqlite, SandboxChoice::Landlock).await;
    let id = host.workspace("box", json!({})).await;
    let user: u32 = run(&*host.connect(id).await, "id -u").await.trim().parse().unwrap();
    let escape = format!(
        "for _ in 1 2 3; do (setsid sh -c 'trap \"\" TERM HUP; sleep 787; sleep 787' >/dev/null 2>&1 &); done; \
         kill -KILL {}",
        first_process(&host, id)
    );
    let mut start = request(Method::Post, "/v1/processes", Some(json!({ "command": escape })));
    start.context.call = Some((CallToken::new(), "0".repeat(64)));
    let _ = host.connect(id).await.request(start).await;
    host.wait_for_status(id, "stopped").await;
    assert_eq!(processes_of_user(user), Vec::<String>::new());
}

#[tokio::test]
async fn w65_a_user_with_living_processes_is_given_to_no_workspace() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let host = Host::with_agent(Engine::Sqlite, SandboxChoice::Landlock).await;
    let user = |id| {
        let connection = host.connect(id);
        async move { run(&*connection.await, "id -u").await.trim().parse::<u32>().unwrap() }
    };
    let first = user(host.workspace("one", json!({})).await).await;
    let taken = first + 1;
    let mut stranger = Command::new("sleep").arg("787").uid(taken).spawn().unwrap();
    let second = user(host.workspace("two", json!({})).await).await;
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(second, taken + 1);
    let third = user(host.workspace("three", json!({})).await).await;
    assert_eq!(third, taken);
}

/// The command lines of what lives as a user.
fn processes_of_user(user: u32) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| {
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let is_its = status.lines().any(|line| line.starts_with(&format!("Uid:\t{user}\t")));
        (is_its && !status.contains("State:\tZ"))
            .then(|| std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default())
    });
    lines.collect()
}

/// Tries to make a file below every mount of a folder, and to append to every other one.
const WRITE_EVERYWHERE: &str = r#"while read -r _ _ _ _ mount _; do
    case $mount in "$HOME" | /tmp | "$RUN" | /.atelier/state) continue ;; esac
    if [ -d "$mount" ]; then
        if (: > "$mount/x") 2>/dev/null; then echo "wrote $mount"; fi
        # where folders of the root are made in memory
        for below in "$mount"/*/; do if (: > "$below/x") 2>/dev/null; then echo "wrote $below"; fi; done
    elif [ ! -c "$mount" ] && (: >> "$mount") 2>/dev/null; then echo "wrote $mount"
    fi
done < /proc/self/mountinfo | sort -u"#;

#[tokio::test]
async fn w65_only_home_and_tmp_and_a_bounded_shared_memory_are_writable_in_bubblewrap() {
    let host = Host::with_agent(Engine::Sqlite, SandboxChoice::Bubblewrap).await;
    let id = host.workspace("box", json!({})).await;
    let connection = host.connect(id).await;
    let output = run(&*connection, &format!("RUN=/.atelier/run; {WRITE_EVERYWHERE}")).await;
    let place = |line: &str| line.trim_start_matches("wrote ").trim_end_matches('/').replace("//", "/");
    let found: BTreeSet<String> = output.lines().map(place).collect();
    assert_eq!(found, BTreeSet::from(["/dev/shm", "/tmp"].map(str::to_owned)));
    let bytes = run(&*connection, "echo $(( $(stat -f -c '%b * %S' /dev/shm) ))").await;
    assert_eq!(bytes.trim(), (256 * 1024 * 1024).to_string());
}

async fn no_command_lowers_its_score(sandbox: SandboxChoice) {
    let host = Host::with_agent(Engine::Sqlite, sandbox).await;
    let id = host.workspace("box", json!({})).await;
    let command = "(echo 0 > /proc/self/oom_score_adj) 2>/dev/null || echo refused; cat /proc/self/oom_score_adj; \
                   cat /proc/$PPID/oom_score_adj; echo to a standard place > /dev/stdout";
    assert_eq!(run(&*host.connect(id).await, command).await, "refused\n500\n500\nto a standard place\n");
}

#[tokio::test]
async fn no_command_makes_itself_last_to_go_in_bubblewrap() {
    no_command_lowers_its_score(SandboxChoice::Bubblewrap).await;
}

#[tokio::test]
async fn no_command_makes_itself_last_to_go_with_landlock() {
    no_command_lowers_its_score(SandboxChoice::Landlock).await;
}

async fn only_usual_sockets_are_made(sandbox: SandboxChoice) {
    let host = Host::with_agent(Engine::Sqlite, sandbox).await;
    let id = host.workspace("box", json!({ "network": { "policy": "open" } })).await;
    // Families: the usual ones, then packets, cryptography of the kernel, virtual machines, Bluetooth.
    let script = r#"perl -MSocket -e '
        for my $family (AF_UNIX, AF_INET, 16, 17, 38, 40, 31) {
            my $made = socket(my $socket, $family, $family == 16 ? SOCK_RAW : SOCK_STREAM, 0);
            print "$family: ", $made ? "made" : $!{EAFNOSUPPORT} ? "unknown" : "$!", "\n";
        }
        print "pair: ", socketpair(my $left, my $right, 30, SOCK_STREAM, 0) ? "made" : $!{EAFNOSUPPORT} ? "unknown" : "$!", "\n";
        print "pair: ", socketpair($left, $right, AF_UNIX, SOCK_STREAM, 0) ? "made" : "$!", "\n"'"#;
    assert_eq!(
        run(&*host.connect(id).await, script).await,
        "1: made\n2: made\n16: made\n17: unknown\n38: unknown\n40: unknown\n31: unknown\npair: unknown\npair: made\n"
    );
}

#[tokio::test]
async fn w64_no_socket_leads_past_the_network_in_bubblewrap() {
    only_usual_sockets_are_made(SandboxChoice::Bubblewrap).await;
}

#[tokio::test]
async fn w64_no_socket_leads_past_the_network_with_landlock() {
    only_usual_sockets_are_made(SandboxChoice::Landlock).await;
}
