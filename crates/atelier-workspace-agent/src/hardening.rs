//! What a process gives up before anything of a workspace runs in it (`workspaces.md` 5.4).

use std::io;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, bail};
use keyutils::Keyring;
use rustix::fs::Access;
use rustix::process::{Resource, Rlimit};

use crate::init::OWN_PROGRAM;

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

/// The file of this program, which others of the same user may be kept from reading. The kernel then lets nobody
/// look into a process from the moment that it starts to run the file; a process that asks for that itself was
/// open before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProgramFile {
    is_readable: bool,
    /// Seconds and nanoseconds. The owner of the file can make it readable and hide it again, but not this.
    changed: (i64, i64),
}

impl ProgramFile {
    pub(crate) fn look() -> anyhow::Result<Self> {
        let file = std::fs::metadata(OWN_PROGRAM).context("look at the program's file")?;
        Ok(Self {
            is_readable: rustix::fs::access(OWN_PROGRAM, Access::READ_OK).is_ok(),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }

    /// Fails when a file that could not be read may have been readable since.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if !self.is_readable && Self::look()? != *self {
            bail!("the program's file was changed, so commands may see the agent's token: start the workspace again");
        }
        Ok(())
    }
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
