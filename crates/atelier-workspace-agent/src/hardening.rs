//! What a process gives up before anything of a workspace runs in it (`workspaces.md` 5.4).

use std::io;

use anyhow::Context as _;
use keyutils::Keyring;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

const OUT_OF_MEMORY_SCORE: &str = "/proc/self/oom_score_adj";
/// Of 1000. The server stays at what its administrator chose, mostly 0.
const WORKSPACE_SCORE: i32 = 500;

/// Replaces the session keyring that this process was started with by an empty one: keys of a login, of
/// Kerberos or of mounted shares lie there, and workspaces would share it.
pub(crate) fn own_keyring() -> anyhow::Result<()> {
    match Keyring::join_anonymous_session() {
        Ok(_) => Ok(()),
        // Refused by a filter or unknown to the kernel: then no key can be reached either.
        Err(error) if matches!(error.0, libc::EPERM | libc::ENOSYS) => Ok(()),
        Err(error) => Err(io::Error::from_raw_os_error(error.0)).context("join a session keyring of its own"),
    }
}

/// When the host's memory runs out, the kernel ends this process and its children before the server. Call it
/// before anything of the workspace runs: for this the process must be open to others for a moment.
pub(crate) fn go_first() -> anyhow::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    let score = std::fs::read_to_string(OUT_OF_MEMORY_SCORE).context("read the score for lack of memory")?;
    if score.trim().parse::<i32>().is_ok_and(|score| score >= WORKSPACE_SCORE) {
        return Ok(());
    }
    std::fs::write(OUT_OF_MEMORY_SCORE, WORKSPACE_SCORE.to_string()).context("raise the score for lack of memory")
}

/// Files and sockets that a program may have open unless it asks for more. The server raises its own limit;
/// programs that close or watch every number up to the limit need the usual one.
const USUAL_OPEN_FILES: u64 = 1024;

/// Gives what runs in the workspace the usual soft limit of open files again. The hard limit stays.
pub(crate) fn usual_open_files() -> anyhow::Result<()> {
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let current = Some(maximum.map_or(USUAL_OPEN_FILES, |maximum| maximum.min(USUAL_OPEN_FILES)));
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current, maximum }).context("limit the number of open files")
}

/// Lets the user of this process have at most `count` processes and threads in its user namespace.
pub(crate) fn limit_processes(count: u64) -> anyhow::Result<()> {
    let allowed = rustix::process::getrlimit(Resource::Nproc).maximum;
    let count = Some(allowed.map_or(count, |allowed| allowed.min(count)));
    rustix::process::setrlimit(Resource::Nproc, Rlimit { current: count, maximum: count })
        .context("limit the number of processes")
}
