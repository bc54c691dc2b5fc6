//! One command in the agent's table, and following its shim.

use atelier_domain::Chain;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atelier_workspace_protocol::{LeftRunning, ProcessSignal, ProcessState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::record::{BEGUN_FILE, Begun, EXIT_FILE, Exit, LOCK_FILE, Meta};
use super::view::LISTED_COMMAND_BYTES;
use crate::shim::{CONTROL_SOCKET, SECRET_FILE};
use crate::{process_tree, storage};

/// How long a shim that holds its lock is looked for before it is asked again.
const LOOK: Duration = Duration::from_millis(20);
/// The same where its folder cannot be looked at.
const LOOK_AFTER_FAULT: Duration = Duration::from_secs(1);

/// Processes that are named of those that a command left running.
const MAX_LEFT_RUNNING: usize = 20;

pub(crate) struct Entry {
    pub(crate) meta: Meta,
    pub(crate) folder: PathBuf,
    status: watch::Sender<Status>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) state: ProcessState,
    pub(crate) exit: Option<Exit>,
    /// Grows with output.
    ticks: u64,
}

impl Status {
    pub(crate) fn is_running(&self) -> bool {
        match self.state {
            ProcessState::Starting | ProcessState::Running => true,
            ProcessState::Exited | ProcessState::Lost => false,
        }
    }
}

/// What the files say about a command.
#[derive(Debug)]
pub(crate) enum OnDisk {
    /// Somebody holds the lock, and there is no end yet.
    Running,
    Exited(Exit),
    /// Nobody holds the lock. `begun`: it may have run.
    Ended {
        begun: bool,
    },
}

impl Entry {
    pub(crate) fn new(meta: Meta, folder: PathBuf, state: ProcessState, exit: Option<Exit>) -> Self {
        Self { meta, folder, status: watch::Sender::new(Status { state, exit, ticks: 0 }) }
    }

    pub(crate) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.status.borrow().is_running()
    }

    pub(crate) fn set(&self, state: ProcessState, exit: Option<Exit>) {
        self.status.send_modify(|status| {
            status.state = state;
            status.exit = exit;
        });
    }

    /// Follows the shim until the command's end is known.
    ///
    /// # Cancel safety
    /// Nothing is lost; another call begins from what is on disk.
    pub(crate) async fn follow(&self) {
        let mut is_fault_told = false;
        loop {
            if let Ok(mut stream) = ask(&self.folder, "watch").await {
                let mut ticks = [0; 256];
                while stream.read(&mut ticks).await.is_ok_and(|count| count > 0) {
                    self.tick();
                }
            }
            match on_disk(&self.folder) {
                Ok(OnDisk::Exited(exit)) => return self.set(ProcessState::Exited, Some(exit)),
                Ok(OnDisk::Ended { .. }) => {
                    end_lost(&self.folder);
                    return self.set(ProcessState::Lost, None);
                }
                Ok(OnDisk::Running) => tokio::time::sleep(LOOK).await,
                Err(_) if self.is_folder_gone() => return self.set(ProcessState::Lost, None),
                Err(error) => {
                    if !std::mem::replace(&mut is_fault_told, true) {
                        tracing::warn!(process.id = %self.meta.process_id, error = %Chain(&error), "a command cannot be looked after");
                    }
                    tokio::time::sleep(LOOK_AFTER_FAULT).await;
                }
            }
        }
    }

    /// Whether a command has removed it: commands run as the agent's own user.
    fn is_folder_gone(&self) -> bool {
        std::fs::metadata(&self.folder).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// What the ended command left running, from the shim's descendants: it stays as long as there are any.
    pub(crate) fn left_running(&self) -> Vec<LeftRunning> {
        // The lock is the shim's, so its number is not another process's meanwhile.
        if self.is_running() || !is_held(&self.folder) {
            return Vec::new();
        }
        let Ok(Some(begun)) = storage::read_json::<Begun>(&self.folder.join(BEGUN_FILE)) else {
            return Vec::new();
        };
        let Ok(shim) = i32::try_from(begun.shim_pid) else {
            return Vec::new();
        };
        let mut found = process_tree::descendants(shim);
        found.sort_by_key(|seen| (seen.started, seen.pid));
        found.truncate(MAX_LEFT_RUNNING);
        found.iter().filter_map(|seen| Some(LeftRunning { pid: seen.pid, command: command_line(seen.pid)? })).collect()
    }

    fn tick(&self) {
        self.status.send_modify(|status| status.ticks += 1);
    }

    /// Sends a signal through the shim to the command and all that it started; false if all have ended.
    pub(crate) async fn signal(&self, signal: ProcessSignal, kill_after_ms: Option<u64>) -> io::Result<bool> {
        let after = kill_after_ms.map(|ms| format!(" {ms}")).unwrap_or_default();
        let mut stream = match ask(&self.folder, &format!("signal {}{after}", signal.as_str())).await {
            Ok(stream) => stream,
            Err(_) if !self.is_running() || !matches!(on_disk(&self.folder)?, OnDisk::Running) => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut answer = String::new();
        match stream.read_to_string(&mut answer).await {
            Ok(_) => Ok(answer == "ok\n"),
            // The shim of an ended command may end while it is asked.
            Err(_) if !self.is_running() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Sends a line to the shim.
async fn ask(folder: &Path, words: &str) -> io::Result<UnixStream> {
    let secret: String = storage::read_json(&folder.join(SECRET_FILE))?.ok_or(io::ErrorKind::NotFound)?;
    let mut stream = connect(folder).await?;
    stream.write_all(format!("{secret} {words}\n").as_bytes()).await?;
    Ok(stream)
}

/// Connects through the folder's descriptor: the whole path may be too long for a socket's address.
async fn connect(folder: &Path) -> io::Result<UnixStream> {
    let folder = File::open(folder)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{CONTROL_SOCKET}", folder.as_raw_fd())).await
}

/// Looks at a command's files. The end is looked for before and after the lock, for it is written first.
pub(crate) fn on_disk(folder: &Path) -> io::Result<OnDisk> {
    if let Some(exit) = read_exit(folder)? {
        return Ok(OnDisk::Exited(exit));
    }
    match File::options().read(true).write(true).open(folder.join(LOCK_FILE)) {
        Ok(lock) => match lock.try_lock_shared() {
            Err(std::fs::TryLockError::WouldBlock) => return Ok(OnDisk::Running),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        },
        // A command has removed it; who held it cannot be told any more.
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder.is_dir() => {}
        Err(error) => return Err(error),
    }
    Ok(match read_exit(folder)? {
        Some(exit) => OnDisk::Exited(exit),
        None => OnDisk::Ended { begun: folder.join(BEGUN_FILE).exists() },
    })
}

/// Whether somebody holds the lock.
fn is_held(folder: &Path) -> bool {
    let lock = File::open(folder.join(LOCK_FILE));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
}

/// The words of a process's command line; of one that has none, as of one that is ending, its short name.
fn command_line(pid: i32) -> Option<String> {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
    let name = if words.is_empty() { std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()? } else { words };
    Some(atelier_domain::text::head(name.trim(), LISTED_COMMAND_BYTES).to_owned())
}

fn read_exit(folder: &Path) -> io::Result<Option<Exit>> {
    storage::read_json(&folder.join(EXIT_FILE))
}

/// Ends what a killed shim left: nobody reads its output any more. Only if the group's leader is the very
/// process that was started.
pub(super) fn end_lost(folder: &Path) {
    let Ok(Some(Begun { pid: Some(pid), started: Some(started), .. })) = storage::read_json(&folder.join(BEGUN_FILE))
    else {
        return;
    };
    if process_tree::look(pid).is_some_and(|seen| seen.started == started && seen.group == pid)
        && let Some(group) = rustix::process::Pid::from_raw(pid)
    {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}
