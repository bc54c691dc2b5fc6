//! Small files that are whole or not there, and the folders they lie in.
//!
//! Commands run as the agent's own user, so they can remove its folders or take the rights on them away.
//! Whoever writes makes them again.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

const OWNER_ALL: u32 = 0o700;

/// Whether a write is on the disk when the function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    Synced,
    /// Survives the end of the process, not that of the machine.
    Written,
}

/// Makes a folder that only its owner may enter, and those above it. Where one of them is there, its owner
/// has all rights on it again.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let make = || DirBuilder::new().mode(OWNER_ALL).create(path);
    let made = match (make(), path.parent()) {
        (Err(error), Some(above)) if is_folder_fault(&error) => make_folder(above).and_then(|()| make()),
        (made, _) => made,
    };
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mode = std::fs::metadata(path)?.permissions().mode();
            if mode & OWNER_ALL == OWNER_ALL {
                return Ok(());
            }
            std::fs::set_permissions(path, Permissions::from_mode(mode | OWNER_ALL))
        }
        made => made,
    }
}

/// Does what needs the folder `path`, and once more after making the folder if that was what it lacked.
pub(crate) fn in_folder<T>(path: &Path, work: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match work() {
        Err(error) if is_folder_fault(&error) => make_folder(path).and_then(|()| work()),
        done => done,
    }
}

fn is_folder_fault(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

/// Writes `value` as JSON beside `path`, then renames it there. Makes the folder if it is missing.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T, durability: Durability) -> io::Result<()> {
    let bytes = serde_json::to_vec(value).map_err(io::Error::other)?;
    let fresh = path.with_extension("new");
    let folder = path.parent().unwrap_or(Path::new("/"));
    let open = || OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh);
    let mut file = in_folder(folder, open)?;
    file.write_all(&bytes)?;
    if durability == Durability::Synced {
        file.sync_all()?;
    }
    std::fs::rename(&fresh, path)?;
    if durability == Durability::Synced {
        sync_folder(folder)?;
    }
    Ok(())
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The file's value; `None` if it is not there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Milliseconds since 1970 by this machine's clock.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// RFC 3339 in UTC.
pub(crate) fn timestamp_text(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_again_and_its_owner_has_all_rights() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        make_folder(&folder).unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o000)).unwrap();
        make_folder(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
        std::fs::remove_dir_all(root.path().join("a")).unwrap();
        write_json(&folder.join("value.json"), &7, Durability::Synced).unwrap();
        assert_eq!(read_json::<i32>(&folder.join("value.json")).unwrap(), Some(7));
        assert_eq!((mode(&folder), mode(&root.path().join("a"))), (0o700, 0o700));

        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(make_folder(&file.join("below")).is_err());
        assert!(make_folder(Path::new("")).is_err());
    }
}
