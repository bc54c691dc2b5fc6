//! One command in the agent's table, and following its shim.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atelier_workspace_protocol::{ProcessSignal, ProcessState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::record::{BEGUN_FILE, Begun, EXIT_FILE, Exit, LOCK_FILE, Meta};
use crate::shim::{CONTROL_SOCKET, SECRET_FILE};
use crate::{process_tree, storage};

/// How long a shim that holds its lock is looked for before it is asked again.
const LOOK: Duration = Duration::from_millis(20);

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
                Ok(OnDisk::Running) => {}
                Err(error) => {
                    tracing::warn!(process.id = %self.meta.process_id, %error, "a command cannot be looked after");
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn tick(&self) {
        self.status.send_modify(|status| status.ticks += 1);
    }

    /// Sends a signal through the shim; false if the command has ended.
    pub(crate) async fn signal(&self, signal: ProcessSignal, kill_after_ms: Option<u64>) -> io::Result<bool> {
        let after = kill_after_ms.map(|ms| format!(" {ms}")).unwrap_or_default();
        let mut stream = match ask(&self.folder, &format!("signal {}{after}", signal.as_str())).await {
            Ok(stream) => stream,
            Err(_) if !matches!(on_disk(&self.folder)?, OnDisk::Running) => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        match answer.as_str() {
            "ok\n" => Ok(true),
            _ => Ok(false),
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
    let lock = File::options().read(true).write(true).create(true).truncate(false).open(folder.join(LOCK_FILE))?;
    match lock.try_lock_shared() {
        Err(std::fs::TryLockError::WouldBlock) => return Ok(OnDisk::Running),
        Err(std::fs::TryLockError::Error(error)) => return Err(error),
        Ok(()) => {}
    }
    Ok(match read_exit(folder)? {
        Some(exit) => OnDisk::Exited(exit),
        None => OnDisk::Ended { begun: folder.join(BEGUN_FILE).exists() },
    })
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
