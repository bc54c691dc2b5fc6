//! The copy of the program that workspaces run.
//!
//! Workspaces may run as another user, who must not need to read the folder the server's own program lies
//! in. So it is copied once to `<data>/bin/<hash>/atelier`. The name holds the hash, so a server of
//! another version never changes the program of a running workspace.
//!
//! Workspaces may run it and not read it, not even those of the server's own user. The kernel then lets nobody
//! look into the processes from their first moment on; by themselves they could only ask for that after a moment
//! in which a command might get hold of the agent's token.

use std::fs::Permissions;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::folders::folder;

/// A script stays readable, for its interpreter has to read it.
const SCRIPT_MODE: u32 = 0o755;
const PROGRAM_MODE: u32 = 0o111;

/// Copies `program` below `data_dir` unless that was done before, and returns the copy. Blocks.
pub(crate) fn install(data_dir: &Path, program: &Path) -> io::Result<PathBuf> {
    let hash = hash(program)?;
    let bin = data_dir.join("bin");
    folder(&bin, 0o755)?;
    let home = bin.join(&hash[..16]);
    let installed = home.join("atelier");
    let mode = mode_for(program)?;
    if let Ok(file) = std::fs::metadata(&installed)
        && file.is_file()
    {
        // Where the server is not root, a command may have been able to change it.
        if file.permissions().mode() & 0o7777 != mode {
            std::fs::set_permissions(&installed, Permissions::from_mode(mode))?;
        }
        return Ok(installed);
    }
    folder(&home, 0o755)?;
    let fresh = tempfile::Builder::new().prefix(".new").tempfile_in(&home)?;
    std::fs::copy(program, fresh.path())?;
    fresh.as_file().set_permissions(Permissions::from_mode(mode))?;
    fresh.as_file().sync_all()?;
    fresh.persist(&installed).map_err(|error| error.error)?;
    Ok(installed)
}

fn mode_for(program: &Path) -> io::Result<u32> {
    let mut start = Vec::new();
    std::fs::File::open(program)?.take(2).read_to_end(&mut start)?;
    Ok(if start == b"#!" { SCRIPT_MODE } else { PROGRAM_MODE })
}

fn hash(program: &Path) -> io::Result<String> {
    let mut file = std::fs::File::open(program)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(crate::hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_copied_once_and_a_new_version_lies_beside() {
        let data = tempfile::tempdir().unwrap();
        let program = data.path().join("program");
        std::fs::write(&program, "#!one").unwrap();
        let first = install(data.path(), &program).unwrap();
        let made = std::fs::metadata(&first).unwrap();
        assert_eq!(made.permissions().mode() & 0o777, 0o755);
        assert_eq!(install(data.path(), &program).unwrap(), first);
        assert_eq!(std::fs::metadata(&first).unwrap().modified().unwrap(), made.modified().unwrap());
        std::fs::write(&program, "two").unwrap();
        let second = install(data.path(), &program).unwrap();
        assert_ne!(first, second);
        for _ in 0..2 {
            assert_eq!(std::fs::metadata(&second).unwrap().permissions().mode() & 0o777, 0o111);
            std::fs::set_permissions(&second, Permissions::from_mode(0o755)).unwrap();
            assert_eq!(install(data.path(), &program).unwrap(), second);
        }
        assert_eq!(std::fs::read_to_string(first).unwrap(), "#!one");
    }
}
