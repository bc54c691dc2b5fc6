//! The driver with a shell script in place of the program, so that every look is from inside a workspace.
//!
//! Needs bubblewrap. As root, workspaces run as another user.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use super::*;
use crate::templates::{Facts, HostNetwork, SpecRules, SpecSource, TemplateSpec};

/// Looks around, writes what it sees to `~/seen`, then waits until it is told to end.
const PROGRAM: &str = concat!(
    include_str!("../../../tests/first-process.sh"),
    r#"
trap 'echo ended > "$HOME/ended"; exit 0' TERM
{
    echo "uid $(id -u)"
    grep -E '^Cap(Eff|Prm|Bnd|Amb|Inh)' /proc/self/status
    env | sed 's/=.*//' | sort | sed 's/^/env /'
    for path in $LOOK /etc/shadow /etc/ssl/private/. /root/. /home/other /var/lib/. /sys/. /proc/1/root/etc/shadow; do
        if cat "$path" >/dev/null 2>&1 || ls "$path" 2>/dev/null | grep -q .; then echo "saw $path"; fi
    done
    for process in /proc/[0-9]*; do echo "process $(tr '\0' ' ' < "$process/cmdline" | cut -c1-40)"; done
    kill -0 "$SERVER" 2>/dev/null && echo "can signal $SERVER"
    for name in /usr /etc /.atelier/bin /dev /run /var / ; do touch "$name/x" 2>/dev/null && echo "wrote $name"; done
    for name in "$HOME" /tmp /.atelier/run; do touch "$name/x" 2>/dev/null || echo "cannot write $name"; done
    cat /.atelier/run/token; echo
    sed -n 's/^ *\([a-z0-9]*\):.*/net \1/p' /proc/net/dev
    echo "cores $(ulimit -c)"
    [ -t 0 ] && echo "terminal"
} > "$HOME/seen.new" 2>/dev/null
mv "$HOME/seen.new" "$HOME/seen"
while :; do sleep 60 & wait $!; done
"#
);

struct Host {
    data: tempfile::TempDir,
    /// The first user of workspaces.
    first_user: u32,
    driver: LocalDriver,
}

impl Drop for Host {
    fn drop(&mut self) {
        // What a failed test leaves behind.
        for entry in std::fs::read_dir(self.data.path().join("workspaces")).into_iter().flatten().flatten() {
            let lock = entry.path().join("lock");
            if let Ok(Some(pid)) = life::holder(&lock) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

async fn host() -> Host {
    let data = tempfile::tempdir().unwrap();
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let first_user = atelier_test_support::workspace_users();
    let driver = open_with(data.path(), first_user, SandboxChoice::Bubblewrap, HostNetwork::default()).await;
    Host { data, first_user, driver }
}

async fn open_with(data: &Path, uid: u32, sandbox: SandboxChoice, host_network: HostNetwork) -> LocalDriver {
    let program = data.join("program");
    if !program.exists() {
        std::fs::write(&program, PROGRAM).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    LocalDriver::open(LocalSettings {
        data_dir: data.to_owned(),
        agent_program: program,
        sandbox,
        host_network,
        uid,
        extra_paths: Vec::new(),
        stop_grace: Duration::from_secs(10),
    })
    .await
    .unwrap()
}

fn spec(document: &serde_json::Value) -> ResolvedSpec {
    let rules = SpecRules {
        network_isolation: true,
        private_network: true,
        host_network: HostNetwork::Allow,
        ..SpecRules::default()
    };
    let (spec, _) = TemplateSpec::parse("local", SpecSource::Json(document), &rules).unwrap();
    let facts = Facts { workspace_id: "id".into(), workspace_name: "box".into(), owner_username: "ada".into() };
    spec.resolve(&facts, &BTreeMap::new(), &rules).unwrap()
}

impl Host {
    /// Another driver on the same data, as after a restart of the server.
    async fn open_again(&self) -> LocalDriver {
        open_with(self.data.path(), self.first_user, SandboxChoice::Bubblewrap, HostNetwork::default()).await
    }

    async fn start(&self, id: WorkspaceId, key: &str, spec: &ResolvedSpec) -> Result<Started, DriverError> {
        self.driver.prepare(id).await.unwrap();
        let files = vec![("token", b"token-of-this-build".to_vec())];
        self.driver.start(Start { workspace_id: id, key, hostname: "box", spec, files }).await
    }

    fn home(&self, id: WorkspaceId) -> PathBuf {
        self.driver.folders(id).home
    }

    async fn seen(&self, id: WorkspaceId) -> String {
        let file = self.home(id).join("seen");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !file.exists() {
            assert!(Instant::now() < deadline, "the program did not look around");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::fs::read_to_string(file).unwrap()
    }
}

#[tokio::test]
async fn w61_each_step_twice_and_the_home_folder_stays_until_the_end() {
    let host = host().await;
    let id = WorkspaceId::new();
    let spec = spec(&serde_json::json!({}));
    host.start(id, "one", &spec).await.unwrap();
    let first = host.driver.life(id).unwrap().unwrap().pid();
    host.start(id, "one", &spec).await.unwrap();
    assert_eq!(host.driver.life(id).unwrap().unwrap().pid(), first);
    assert_eq!(host.driver.running(id).unwrap().as_deref(), Some("one"));
    host.seen(id).await;

    let again = host.open_again().await;
    assert_eq!(again.running(id).unwrap().as_deref(), Some("one"));

    let watch = {
        let driver = again.clone();
        tokio::spawn(async move { driver.ended(id).await })
    };
    again.stop(id).await.unwrap();
    watch.await.unwrap();
    again.stop(id).await.unwrap();
    assert_eq!(host.driver.running(id).unwrap(), None);
    assert!(host.home(id).join("ended").exists(), "the first process was asked to end");
    assert!(!host.driver.folders(id).run.join("token").exists());

    std::fs::remove_file(host.home(id).join("seen")).unwrap();
    host.start(id, "two", &spec).await.unwrap();
    host.seen(id).await;
    assert!(host.home(id).join("ended").exists(), "home was kept");
    // A start under another key takes the place of the running tree.
    host.start(id, "three", &spec).await.unwrap();
    assert_eq!(host.driver.running(id).unwrap().as_deref(), Some("three"));

    let log = host.driver.folders(id).log_tail();
    assert_eq!(log, "");
    host.driver.delete(id).await.unwrap();
    host.driver.delete(id).await.unwrap();
    assert_eq!(std::fs::read_dir(host.data.path().join("workspaces")).unwrap().count(), 0);
}

#[tokio::test]
async fn w63_and_w65_nothing_of_the_host_is_within_reach() {
    let mut host = host().await;
    let (id, other) = (WorkspaceId::new(), WorkspaceId::new());
    let mut spec = spec(&serde_json::json!({"network": {"policy": "none"}}));
    host.start(other, "one", &spec).await.unwrap();
    host.seen(other).await;
    let data = host.data.path().display().to_string();
    let others = host.home(other).display().to_string();
    // Environment of a workspace is the manifest's matter; here the program is told by a file.
    spec.env.clear();
    let program = PROGRAM
        .replace("$LOOK", &format!("{data}/. {data}/program {others}/seen {others}/."))
        .replace("\"$SERVER\"", &std::process::id().to_string());
    std::fs::write(host.data.path().join("program"), program).unwrap();
    host.driver = host.open_again().await;
    host.start(id, "one", &spec).await.unwrap();
    let seen = host.seen(id).await;
    let lines = |start: &str| -> Vec<String> {
        seen.lines().filter_map(|line| line.strip_prefix(start)).map(str::to_owned).collect()
    };
    if rustix::process::geteuid().is_root() {
        assert_eq!(lines("uid "), [(host.first_user + 2).to_string()], "the first one is the other's");
    }
    assert!(seen.contains("CapEff:\t0000000000000000"), "{seen}");
    assert!(seen.contains("CapBnd:\t0000000000000000"), "{seen}");
    assert!(seen.contains("token-of-this-build"), "{seen}");
    assert_eq!(lines("saw "), Vec::<String>::new());
    assert_eq!(lines("can signal "), Vec::<String>::new());
    assert_eq!(lines("wrote "), Vec::<String>::new());
    assert_eq!(lines("cannot write "), Vec::<String>::new());
    assert_eq!(lines("cores "), ["0"]);
    assert_eq!(lines("net "), ["lo"]);
    let known =
        ["ATELIER_AGENT_URLS", "HOME", "LANG", "LOGNAME", "OLDPWD", "PATH", "PWD", "SHELL", "SHLVL", "USER", "_"];
    for name in lines("env ") {
        assert!(known.contains(&name.as_str()), "the environment holds {name}");
    }
    for process in lines("process ") {
        assert!(
            ["bwrap", "/bin/sh /.atelier", "sed", "sort", "grep", "tr", "cut", "sh"]
                .iter()
                .any(|name| process.contains(name))
                || process.trim().is_empty(),
            "a process of somebody else: {process}"
        );
    }
    host.driver.delete(id).await.unwrap();
    host.driver.delete(other).await.unwrap();
}

#[tokio::test]
async fn a_first_process_that_ends_at_once_is_a_failed_start_with_its_words() {
    let mut host = host().await;
    std::fs::write(host.data.path().join("program"), "#!/bin/sh\necho 'no such thing' >&2\nexit 3\n").unwrap();
    host.driver = host.open_again().await;
    let id = WorkspaceId::new();
    let started = host.start(id, "one", &spec(&serde_json::json!({}))).await;
    // It may have been seen alive for a moment; then it is gone right after.
    if let Err(error) = started {
        assert!(error.to_string().contains("no such thing"), "{error}");
    }
    host.driver.ended(id).await;
    assert_eq!(host.driver.running(id).unwrap(), None);
    host.driver.delete(id).await.unwrap();
}

#[tokio::test]
async fn a_tree_of_an_older_server_is_found_asked_to_end_and_started_again() {
    let host = host().await;
    let id = WorkspaceId::new();
    host.driver.prepare(id).await.unwrap();
    let folders = host.driver.folders(id);
    // Process 1 was bubblewrap's, and held the lock.
    let init = r#"trap 'echo ended > "$0/ended"; exit 0' TERM; touch "$0/ready"; while :; do sleep 60 & wait $!; done"#;
    let Ok(Sandbox::Bubblewrap { program, .. }) = host.driver.sandbox() else { panic!("no bubblewrap") };
    let mut old = std::process::Command::new(program);
    if rustix::process::geteuid().is_root() {
        // All workspaces had one user.
        std::fs::remove_file(folders.outer.join("user-number")).unwrap();
        for folder in [&folders.home, &folders.run, &folders.tmp] {
            std::os::unix::fs::lchown(folder, Some(host.first_user), Some(host.first_user)).unwrap();
        }
        old.uid(host.first_user).gid(host.first_user);
    }
    let mut old = old
        .args(["--unshare-user", "--unshare-pid", "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc"])
        .arg("--lock-file")
        .args([folders.lock.as_path(), Path::new("--"), Path::new("/bin/sh"), Path::new("-c"), Path::new(init)])
        .arg(&folders.home)
        .spawn()
        .unwrap();
    std::fs::write(folders.outer.join("sandbox"), "bubblewrap").unwrap();
    std::fs::write(folders.outer.join("build"), "old").unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while host.driver.running(id).unwrap().is_none() || !folders.home.join("ready").exists() {
        assert!(Instant::now() < deadline, "the old tree does not appear");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(host.driver.running(id).unwrap().as_deref(), Some("old"));
    host.start(id, "new", &spec(&serde_json::json!({}))).await.unwrap();
    old.wait().unwrap();
    assert!(folders.home.join("ended").exists(), "its init was asked to end");
    let seen = host.seen(id).await;
    assert!(
        !rustix::process::geteuid().is_root() || seen.contains(&format!("uid {}\n", host.first_user + 1)),
        "{seen}"
    );
    assert_eq!(host.driver.tree(id), Tree::Namespace);
    host.driver.delete(id).await.unwrap();
}

#[tokio::test]
async fn a_closed_data_folder_is_named() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let host = host().await;
    std::fs::set_permissions(host.data.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let error = host.driver.prepare(WorkspaceId::new()).await.unwrap_err().to_string();
    assert!(error.contains(&host.first_user.to_string()) && error.contains("ATELIER_DATA_DIR"), "{error}");
}

#[tokio::test]
async fn a_workspace_does_not_start_among_processes_that_another_server_runs_as_its_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let host = host().await;
    let id = WorkspaceId::new();
    host.driver.prepare(id).await.unwrap();
    let mut stranger = std::process::Command::new("sleep").arg("787").uid(host.first_user + 1).spawn().unwrap();
    let spec = spec(&serde_json::json!({}));
    let error = host.start(id, "one", &spec).await.unwrap_err().to_string();
    assert!(error.contains("ATELIER_LOCAL_UID") && error.contains(&(host.first_user + 1).to_string()), "{error}");
    assert!(stranger.try_wait().unwrap().is_none(), "it was left alone");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    host.start(id, "one", &spec).await.unwrap();
    host.driver.delete(id).await.unwrap();
}

#[tokio::test]
async fn limits_that_nothing_keeps_fail_the_start_and_are_named() {
    if Delegation::find().is_some() {
        return; // this host keeps them
    }
    let host = host().await;
    let id = WorkspaceId::new();
    let asked = spec(&serde_json::json!({"resources": {"memory_mb": 256, "pids": 64}}));
    let error = host.start(id, "one", &asked).await.unwrap_err().to_string();
    assert!(error.contains("resources.memory_mb") && !error.contains("pids"), "{error}");
    assert_eq!(host.driver.running(id).unwrap(), None);
    host.start(id, "one", &spec(&serde_json::json!({"resources": {"pids": 64}}))).await.unwrap();
    host.driver.delete(id).await.unwrap();
}

/// Tries addresses and lists what it sees of the host's network, then waits until it is told to end.
const NETWORK_PROGRAM: &str = concat!(
    include_str!("../../../tests/first-process.sh"),
    r#"trap 'exit 0' TERM
{
    for address in ADDRESSES; do
        timeout 10 bash -c "exec 3<>/dev/tcp/$address/PORT" && echo "reached $address"
    done
    grep -q "@SOCKET" /proc/net/unix && echo "saw the abstract socket"
    grep -qE '^[a-z0-9]+\s+00000000' /proc/net/route && echo "has a default route"
} > "$HOME/seen.new" 2>/dev/null
mv "$HOME/seen.new" "$HOME/seen"
while :; do sleep 60 & wait $!; done
"#
);

/// What udev does on every desktop and server, for machines that have none.
pub(super) fn open_the_tunnel_device() {
    if rustix::process::geteuid().is_root() {
        let _ = std::fs::set_permissions("/dev/net/tun", std::fs::Permissions::from_mode(0o666));
    }
}

/// Every address of this host, those of link-local with the interface of a workspace.
fn addresses_of_host() -> Vec<String> {
    let output = std::process::Command::new("ip").args(["-json", "address"]).output().unwrap();
    let interfaces: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let addresses = interfaces.as_array().unwrap().iter().flat_map(|one| one["addr_info"].as_array().unwrap());
    let addresses = addresses.map(|info| match (info["local"].as_str().unwrap(), info["scope"].as_str()) {
        (address, Some("link")) if address.contains(':') => format!("{address}%eth0"),
        (address, _) => address.to_owned(),
    });
    addresses.collect()
}

/// Processes whose command line names `folder`.
fn processes_naming(folder: &Path) -> Vec<(i32, String)> {
    let folder = folder.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let processes = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
    });
    processes.filter(|(_, line)| line.contains(&folder)).collect()
}

pub(super) async fn eventually(what: &str, mut probe: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !probe() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn w64_open_is_the_internet_and_nothing_of_the_host() {
    open_the_tunnel_device();
    let mut host = host().await;
    let listener = std::net::TcpListener::bind("[::]:0").or_else(|_| std::net::TcpListener::bind("0.0.0.0:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = format!("atelier-test-{}", std::process::id());
    let name =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&socket).unwrap();
    let _abstract_socket = UnixListener::bind_addr(&name).unwrap();
    let own = addresses_of_host();
    assert!(own.contains(&"127.0.0.1".to_owned()) && own.len() > 1, "{own:?}");
    let program = NETWORK_PROGRAM
        .replace("ADDRESSES", &format!("{} 169.254.169.254", own.join(" ")))
        .replace("PORT", &port.to_string())
        .replace("SOCKET", &socket);
    std::fs::write(host.data.path().join("program"), program).unwrap();
    host.driver = open_with(host.data.path(), host.first_user, SandboxChoice::Bubblewrap, HostNetwork::Allow).await;
    assert_eq!(host.driver.private_network(), Ok(()));

    // Where the host's network is asked for, all of it is there: the probes can succeed.
    let shared = WorkspaceId::new();
    let policy = |policy: &str| spec(&serde_json::json!({"network": {"policy": policy}}));
    host.start(shared, "one", &policy("host")).await.unwrap();
    let seen = host.seen(shared).await;
    for address in own.iter().filter(|address| !address.contains('%')) {
        assert!(seen.contains(&format!("reached {address}\n")), "{address}: {seen}");
    }
    assert!(seen.contains("saw the abstract socket"), "{seen}");

    let id = WorkspaceId::new();
    let started = host.start(id, "one", &policy("open")).await.unwrap();
    assert_eq!(started.notes, Vec::<String>::new());
    assert_eq!(host.seen(id).await, "has a default route\n");

    // What carries the network ends with the workspace.
    let folder = host.driver.folders(id).outer;
    let is_pasta = |(_, line): &(i32, String)| line.contains("/pasta ");
    assert!(processes_naming(&folder).iter().any(is_pasta));
    host.driver.stop(id).await.unwrap();
    eventually("all processes of the workspace to end", || processes_naming(&folder).is_empty()).await;

    // When it is killed, the workspace stays in a namespace without a way out.
    std::fs::remove_file(host.home(id).join("seen")).unwrap();
    host.start(id, "two", &policy("open")).await.unwrap();
    host.seen(id).await;
    for (pid, _) in processes_naming(&folder).iter().filter(|process| is_pasta(process)) {
        rustix::process::kill_process(rustix::process::Pid::from_raw(*pid).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
    }
    eventually("pasta to end", || !processes_naming(&folder).iter().any(is_pasta)).await;
    if let Some(life) = host.driver.life(id).unwrap() {
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let its = namespace(&life.pid().to_string());
        assert!(its.is_none() || its != namespace("self"), "{its:?}");
    }
    host.driver.delete(id).await.unwrap();
    host.driver.delete(shared).await.unwrap();
}

#[tokio::test]
async fn without_pasta_open_is_the_hosts_network_with_a_warning_or_refused() {
    let data = tempfile::tempdir().unwrap();
    for (setting, policy, refused) in [
        (HostNetwork::Fallback, NetworkPolicy::Open, None),
        (HostNetwork::Allow, NetworkPolicy::Open, None),
        (HostNetwork::Refuse, NetworkPolicy::Open, Some("cannot be kept")),
        (HostNetwork::Fallback, NetworkPolicy::Host, Some("ATELIER_LOCAL_HOST_NETWORK")),
        (HostNetwork::Refuse, NetworkPolicy::Host, Some("ATELIER_LOCAL_HOST_NETWORK")),
        (HostNetwork::Allow, NetworkPolicy::None, Some("needs bubblewrap")),
    ] {
        let driver = open_with(data.path(), 10_000, SandboxChoice::Off, setting).await;
        assert!(driver.private_network().is_err());
        let mut notes = Vec::new();
        match (driver.network(policy, data.path(), &mut notes).await, refused) {
            (Ok(Network::Host), None) => assert!(notes[0].contains("host's network"), "{notes:?}"),
            (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{error}"),
            (other, _) => panic!("{setting:?} {policy:?}: {other:?}"),
        }
    }
}
