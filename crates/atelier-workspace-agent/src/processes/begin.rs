//! Beginning a command: its folder, then its shim.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::record::{LOCK_FILE, META_FILE, Meta};
use crate::shim::READY;
use crate::storage::{self, Durability};

/// How long a shim may take to start its command.
const START: Duration = Duration::from_secs(20);
/// Without look-alikes; 12 of them make 59 bits.
const ALPHABET: &[u8; 30] = b"23456789abcdefghjkmnpqrstvwxyz";
const ID_CHARACTERS: usize = 12;

/// Makes an id that no folder has, and its folder.
pub(super) fn make_folder(processes: &Path) -> io::Result<(String, PathBuf)> {
    use rand::RngExt as _;
    loop {
        let mut random = rand::rng();
        let id: String =
            (0..ID_CHARACTERS).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect();
        let folder = processes.join(&id);
        match storage::in_folder(processes, || std::fs::DirBuilder::new().mode(0o700).create(&folder)) {
            Ok(()) => return Ok((id, folder)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Locks the folder and makes what was asked for durable. Blocks. The lock is the shim's from now on.
pub(super) fn write_meta(folder: &Path, meta: &Meta) -> io::Result<File> {
    let lock =
        File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK_FILE))?;
    lock.try_lock()?;
    storage::write_json(&folder.join(META_FILE), meta, Durability::Synced)?;
    if let Some(processes) = folder.parent() {
        storage::sync_folder(processes)?;
    }
    Ok(lock)
}

/// Starts the shim and waits until it has started the command. An error says that nothing can have run,
/// unless the folder says otherwise.
pub(super) async fn start_shim(program: &Path, folder: &Path, lock: File) -> io::Result<()> {
    let mut command = std::process::Command::new(program);
    command
        .arg0("atelier")
        // Command lines are for everybody to read in some sandboxes, so the folder is not in it.
        .args(["agent", "shim", "--folder", "."])
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::from(lock))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = tokio::process::Command::from(command).kill_on_drop(false).spawn()?;
    let output = child.stdout.take().ok_or_else(|| io::Error::other("the shim has no output"))?;
    // Only fetches the shim's exit; the command's end is read from its folder.
    tokio::spawn(async move { child.wait().await });
    let mut line = String::new();
    let mut output = BufReader::new(output);
    match tokio::time::timeout(START, output.read_line(&mut line)).await {
        Ok(Ok(_)) if line == READY => Ok(()),
        // It says nothing where the command could not be started; the folder has the end then.
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the command's shim does not start")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_and_their_folders_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let processes = tempfile::tempdir().unwrap();
        let (id, folder) = make_folder(processes.path()).unwrap();
        assert_eq!(id.len(), ID_CHARACTERS);
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}
