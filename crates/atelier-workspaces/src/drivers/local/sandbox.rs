//! How a local workspace is shut in (`workspaces.md` 5.4), and the command that starts it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::folders::Folders;
use super::life::Tree;
use super::network::Network;
use super::users::Owner;
use crate::templates::ResolvedSpec;

/// The home folder as a workspace in bubblewrap sees it.
pub(crate) const INNER_HOME: &str = "/home/atelier";
pub(crate) const INNER_RUN: &str = "/.atelier/run";
const INNER_STATE: &str = "/.atelier/state";
pub(crate) const INNER_PROGRAM: &str = "/.atelier/bin/atelier";
const DISABLE_USERNS: &str = "--disable-userns";
const INNER_LOCK: &str = "/.atelier/lock";
pub(crate) const USER: &str = "atelier";

const BUBBLEWRAP_PLACES: [&str; 3] = ["/usr/bin/bwrap", "/usr/local/bin/bwrap", "/run/current-system/sw/bin/bwrap"];

pub(super) const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What of `/etc` a workspace sees.
const ETC: [&str; 14] = [
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ssl",
    "pki",
    "ca-certificates",
    "ca-certificates.conf",
    "alternatives",
    "hosts",
    "resolv.conf",
    "nsswitch.conf",
    "localtime",
    "fonts",
    "X11",
];

/// Bytes that a workspace may share between its processes in memory.
const SHARED_MEMORY_BYTES: u64 = 256 * 1024 * 1024;

/// Of 1000: when the host's memory runs out, the kernel ends a workspace before the server, which stays at what
/// its administrator chose, mostly 0.
const OUT_OF_MEMORY_SCORE: u32 = 500;

/// Prepares the process that becomes the workspace. The arguments before what follows are the control group, or
/// nothing, and the score for lack of memory. Inside of the workspace nobody may write the score any more.
const PREPARE: &str = r#"ulimit -c 0
if [ -n "$1" ]; then echo 0 > "$1/cgroup.procs" || exit 97; fi
read -r score < /proc/self/oom_score_adj
if [ "$score" -lt "$2" ]; then echo "$2" > /proc/self/oom_score_adj || exit 98; fi
shift 2; exec "$@""#;

/// The setting `ATELIER_LOCAL_SANDBOX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SandboxChoice {
    /// Bubblewrap, else Landlock.
    #[default]
    Auto,
    Bubblewrap,
    Landlock,
    /// Nothing. Only if named.
    Off,
}

impl SandboxChoice {
    /// The choice with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "auto" => Self::Auto,
            "bubblewrap" => Self::Bubblewrap,
            "landlock" => Self::Landlock,
            "off" => Self::Off,
            _ => return None,
        })
    }
}

/// How workspaces of this host are shut in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    Bubblewrap {
        program: PathBuf,
        /// Whether it can keep user namespaces from being made inside (0.8 on).
        disables_user_namespaces: bool,
    },
    Landlock,
    Off,
}

impl Sandbox {
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Bubblewrap { .. } => "bubblewrap",
            Self::Landlock => "landlock",
            Self::Off => "off",
        }
    }

    /// How a tree that is started now is shaped.
    pub(crate) const fn tree(&self) -> Tree {
        match self {
            Self::Bubblewrap { .. } => Tree::Namespace,
            Self::Landlock | Self::Off => Tree::Descendants,
        }
    }

    /// Whether workspaces have a process namespace and network of their own.
    pub(crate) const fn has_namespaces(&self) -> bool {
        matches!(self, Self::Bubblewrap { .. })
    }

    /// Finds what works here.
    ///
    /// # Errors
    /// Why nothing of `choice` works, in words for people.
    pub(crate) async fn find(
        choice: SandboxChoice,
        owner: Option<Owner>,
        agent_program: &Path,
    ) -> Result<Self, String> {
        let bubblewrap = match choice {
            SandboxChoice::Off => return Ok(Self::Off),
            SandboxChoice::Landlock => return try_landlock(agent_program).await,
            SandboxChoice::Auto | SandboxChoice::Bubblewrap => find_bubblewrap(owner).await,
        };
        match (bubblewrap, choice) {
            (Ok(found), _) => Ok(found),
            (Err(reason), SandboxChoice::Bubblewrap) => Err(reason),
            (Err(reason), _) => try_landlock(agent_program).await.map_err(|other| format!("{reason}; {other}")),
        }
    }
}

/// Asks the program whether it can shut itself in here.
async fn try_landlock(agent_program: &Path) -> Result<Sandbox, String> {
    let run = Command::new(agent_program)
        .args(["agent", "sandbox-exec", "--check"])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(Duration::from_secs(10), run).await {
        Ok(Ok(output)) if output.status.success() => Ok(Sandbox::Landlock),
        Ok(Ok(output)) => {
            let words = String::from_utf8_lossy(&output.stderr);
            Err(format!("Landlock does not work here: {}", atelier_domain::text::head(words.trim(), 500)))
        }
        Ok(Err(error)) => Err(format!("{} cannot be started: {error}", agent_program.display())),
        Err(_) => Err("the check for Landlock does not end".into()),
    }
}

async fn find_bubblewrap(owner: Option<Owner>) -> Result<Sandbox, String> {
    let Some(program) = BUBBLEWRAP_PLACES.iter().map(PathBuf::from).find(|place| place.is_file()) else {
        return Err("bubblewrap is not installed (apt-get install bubblewrap)".into());
    };
    let disables_user_namespaces = try_bubblewrap(&program, &[DISABLE_USERNS], owner).await.is_ok();
    if !disables_user_namespaces {
        try_bubblewrap(&program, &[], owner).await?;
    }
    Ok(Sandbox::Bubblewrap { program, disables_user_namespaces })
}

async fn try_bubblewrap(program: &Path, more: &[&str], owner: Option<Owner>) -> Result<(), String> {
    let mut command = Command::new(program);
    command
        .args(["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"])
        .args(more)
        .args([
            "--unshare-net",
            "--as-pid-1",
            "--cap-drop",
            "ALL",
            "--new-session",
            "--die-with-parent",
            "--ro-bind",
            "/",
            "/",
        ])
        .args(["--proc", "/proc", "--dev", "/dev", "--", "/bin/true"])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    become_owner(&mut command, owner);
    let run = tokio::time::timeout(Duration::from_secs(10), command.output());
    match run.await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let words = String::from_utf8_lossy(&output.stderr);
            Err(format!("bubblewrap does not work here: {}", atelier_domain::text::head(words.trim(), 500)))
        }
        Ok(Err(error)) => Err(format!("bubblewrap cannot be started: {error}")),
        Err(_) => Err("bubblewrap does not end".into()),
    }
}

/// Drops to the workspace's user; the standard library drops the supplementary groups with it.
pub(super) fn become_owner(command: &mut Command, owner: Option<Owner>) {
    if let Some(owner) = owner {
        command.uid(owner.uid).gid(owner.gid);
    }
}

/// What a start needs beside the folders.
pub(crate) struct Launch<'a> {
    pub(crate) folders: &'a Folders,
    pub(crate) program: &'a Path,
    /// Folder with the made-up `passwd` and `group`.
    pub(crate) accounts: &'a Path,
    pub(crate) spec: &'a ResolvedSpec,
    pub(crate) network: &'a Network,
    pub(crate) hostname: &'a str,
    pub(crate) cgroup: Option<&'a Path>,
    /// Processes and threads that the workspace may have at once.
    pub(crate) processes: i64,
}

/// The paths a workspace sees its parts under.
pub(crate) struct View {
    pub(crate) home: PathBuf,
    pub(crate) run: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) program: PathBuf,
    pub(crate) lock: PathBuf,
}

impl Sandbox {
    pub(crate) fn view(&self, folders: &Folders, program: &Path) -> View {
        match self {
            Self::Bubblewrap { .. } => View {
                home: INNER_HOME.into(),
                run: INNER_RUN.into(),
                state: INNER_STATE.into(),
                program: INNER_PROGRAM.into(),
                lock: INNER_LOCK.into(),
            },
            Self::Landlock | Self::Off => View {
                home: folders.home.clone(),
                run: folders.run.clone(),
                state: folders.state.clone(),
                program: program.to_owned(),
                lock: folders.lock.clone(),
            },
        }
    }

    /// The command that starts the first process. Its environment is built from nothing.
    pub(crate) fn command(&self, launch: &Launch<'_>) -> Command {
        let mut line: Vec<OsString> = Vec::new();
        // In a control group, the shell that joins it is still the server's user.
        let become_first = launch.cgroup.is_none();
        if let (Some(owner), false) = (launch.folders.owner(), become_first) {
            line.extend(["setpriv", "--reuid"].map(OsString::from));
            line.push(owner.uid.to_string().into());
            line.push("--regid".into());
            line.push(owner.gid.to_string().into());
            line.extend(["--clear-groups", "--"].map(OsString::from));
        }
        if let Network::Private(gate) = launch.network {
            line.extend(gate.line());
        }
        line.extend(match self {
            Self::Bubblewrap { program, disables_user_namespaces } => {
                bubblewrap(self, program, *disables_user_namespaces, launch)
            }
            Self::Landlock => landlock_line(launch),
            Self::Off => init_line(self, launch),
        });

        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(PREPARE)
            .arg("sh")
            .arg(launch.cgroup.map_or_else(|| OsStr::new(""), Path::as_os_str))
            .arg(OUT_OF_MEMORY_SCORE.to_string())
            .args(line)
            .env_clear()
            .envs(self.environment(launch))
            .current_dir("/")
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(false);
        if become_first {
            become_owner(&mut command, launch.folders.owner());
        }
        command
    }

    fn environment(&self, launch: &Launch<'_>) -> Vec<(OsString, OsString)> {
        let view = self.view(launch.folders, launch.program);
        let mut urls = OsString::from("unix:");
        urls.push(view.run.join("agent.sock"));
        let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
        let mut environment: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), SYSTEM_PATH.into()),
            ("HOME".into(), view.home.into()),
            ("USER".into(), USER.into()),
            ("LOGNAME".into(), USER.into()),
            ("SHELL".into(), shell.into()),
            ("LANG".into(), "C.UTF-8".into()),
            ("ATELIER_AGENT_URLS".into(), urls),
        ];
        if !self.has_namespaces() {
            // The host's own /tmp is shared by all workspaces.
            environment.push(("TMPDIR".into(), launch.folders.tmp.clone().into()));
        }
        environment
    }
}

/// The first process, which holds the lock.
fn init_line(sandbox: &Sandbox, launch: &Launch<'_>) -> Vec<OsString> {
    let view = sandbox.view(launch.folders, launch.program);
    let mut line = vec![view.program.into(), "agent".into(), "init".into(), "--run".into(), view.run.into()];
    line.extend(["--state".into(), view.state.into()]);
    if sandbox.has_namespaces() {
        // Landlock mode has set the filter before.
        line.push("--filter".into());
    }
    line.extend(["--processes".into(), launch.processes.to_string().into()]);
    line.extend(["--lock".into(), view.lock.into()]);
    line
}

fn landlock_line(launch: &Launch<'_>) -> Vec<OsString> {
    let mut line = Line(vec![launch.program.into()]);
    line.add(["agent", "sandbox-exec"]);
    let system = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32", "/proc"].map(PathBuf::from);
    let etc = ETC.iter().chain(&["passwd", "group"]).map(|name| Path::new("/etc").join(name));
    let own = [launch.program.to_owned(), launch.folders.lock.clone()];
    for path in system.into_iter().chain(etc).chain(own).chain(launch.spec.extra_paths.iter().cloned()) {
        line.add([OsStr::new("--read-only"), path.as_os_str()]);
    }
    let devices = ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts"];
    let devices = devices.map(|name| Path::new("/dev").join(name));
    let folders = launch.folders;
    for path in [&folders.home, &folders.run, &folders.state, &folders.tmp].into_iter().chain(&devices) {
        line.add([OsStr::new("--writable"), path.as_os_str()]);
    }
    line.add(["--"]);
    line.0.extend(init_line(&Sandbox::Landlock, launch));
    line.0
}

fn bubblewrap(sandbox: &Sandbox, program: &Path, disables_user_namespaces: bool, launch: &Launch<'_>) -> Vec<OsString> {
    let mut line = Line(vec![program.into()]);
    line.add(["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]);
    if disables_user_namespaces {
        line.add([DISABLE_USERNS]);
    }
    match launch.network {
        Network::Host => {}
        Network::Loopback => line.add(["--unshare-net"]),
        // The namespace around it calls the workspace's user root.
        Network::Private(_) => {
            let (uid, gid) = own_ids(launch.folders.owner());
            line.add(["--uid", &uid.to_string(), "--gid", &gid.to_string()]);
        }
    }
    // Init is process 1: commands cannot kill or trace it.
    line.add(["--as-pid-1", "--cap-drop", "ALL", "--new-session", "--hostname", launch.hostname]);
    line.add(["--ro-bind", "/usr", "/usr"]);
    for name in ["bin", "sbin", "lib", "lib64", "lib32", "libx32"] {
        let path = Path::new("/").join(name);
        match std::fs::read_link(&path) {
            Ok(target) => line.add([OsStr::new("--symlink"), target.as_os_str(), path.as_os_str()]),
            Err(_) if path.is_dir() => line.add([OsStr::new("--ro-bind"), path.as_os_str(), path.as_os_str()]),
            Err(_) => {}
        }
    }
    line.add(["--dir", "/etc"]);
    for name in ETC {
        let path = Path::new("/etc").join(name);
        line.add([OsStr::new("--ro-bind-try"), path.as_os_str(), path.as_os_str()]);
    }
    if let Network::Private(gate) = launch.network
        && let Some(resolver) = &gate.resolver
    {
        line.add([OsStr::new("--ro-bind"), resolver.as_os_str(), OsStr::new("/etc/resolv.conf")]);
    }
    if Path::new("/etc/ssl/private").is_dir() {
        // Readable by a group on some hosts, and no workspace needs the host's keys.
        line.add(["--tmpfs", "/etc/ssl/private", "--remount-ro", "/etc/ssl/private"]);
    }
    for name in ["passwd", "group"] {
        let (source, path) = (launch.accounts.join(name), Path::new("/etc").join(name));
        line.add([OsStr::new("--ro-bind"), source.as_os_str(), path.as_os_str()]);
    }
    line.add(["--dev", "/dev", "--proc", "/proc"]);
    line.add(["--perms", "1777", "--size", &SHARED_MEMORY_BYTES.to_string(), "--tmpfs", "/dev/shm"]);
    line.add(["--dir", "/var", "--symlink", "/tmp", "/var/tmp", "--dir", "/run"]);
    let folders = launch.folders;
    // /tmp lies on the disk: in memory it would be the server's memory.
    let writable =
        [(&folders.home, INNER_HOME), (&folders.run, INNER_RUN), (&folders.state, INNER_STATE), (&folders.tmp, "/tmp")];
    for (source, place) in writable {
        line.add([OsStr::new("--bind"), source.as_os_str(), OsStr::new(place)]);
    }
    for (source, place) in [(launch.program, INNER_PROGRAM), (launch.folders.lock.as_path(), INNER_LOCK)] {
        line.add([OsStr::new("--ro-bind"), source.as_os_str(), OsStr::new(place)]);
    }
    for path in &launch.spec.extra_paths {
        line.add([OsStr::new("--ro-bind"), path.as_os_str(), path.as_os_str()]);
    }
    // What bubblewrap itself made lies in memory: without this it would be writable and without limit.
    line.add(["--remount-ro", "/dev", "--remount-ro", "/"]);
    // Its files change processes: a command could have the kernel spare it when memory runs out.
    line.add(["--remount-ro", "/proc"]);
    line.add(["--chdir", INNER_HOME, "--"]);
    line.0.extend(init_line(sandbox, launch));
    line.0
}

/// User and group of workspaces, as the host calls them.
pub(super) fn own_ids(owner: Option<Owner>) -> (u32, u32) {
    match owner {
        Some(owner) => (owner.uid, owner.gid),
        None => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
    }
}

struct Line(Vec<OsString>);

impl Line {
    fn add<T: AsRef<OsStr>, const N: usize>(&mut self, words: [T; N]) {
        self.0.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
    }
}
