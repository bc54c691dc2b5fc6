//! Finding and opening files: real paths, regular files only, never blocking.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use atelier_workspace_protocol::code;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::api::ApiError;

/// Of larger files no hash is taken.
pub(crate) const MAX_HASHED_BYTES: u64 = 64 * 1024 * 1024;
/// Of files that do not tell their size.
const MAX_UNSIZED_BYTES: u64 = 16 * 1024 * 1024;
/// As many links in a row as the kernel follows.
const MAX_LINKS: usize = 40;

/// What is behind a path.
pub(crate) enum Opened {
    Regular(File, Metadata),
    Directory,
}

/// Opens what the path leads to, without waiting for anybody: a pipe without a writer answers at once.
pub(crate) fn open(path: &Path) -> Result<Opened, ApiError> {
    let fault = |error| io_fault(path, &error);
    // Looked at before it is opened, for opening a device may do something.
    let found = std::fs::metadata(path).map_err(fault)?;
    if found.is_dir() {
        return Ok(Opened::Directory);
    }
    if !found.is_file() {
        return Err(not_regular(path));
    }
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(fault)?;
    let metadata = file.metadata().map_err(fault)?;
    if metadata.is_file() { Ok(Opened::Regular(file, metadata)) } else { Err(not_regular(path)) }
}

/// Opens a regular file.
pub(crate) fn open_regular(path: &Path) -> Result<(File, Metadata), ApiError> {
    match open(path)? {
        Opened::Regular(file, metadata) => Ok((file, metadata)),
        Opened::Directory => Err(not_regular(path)),
    }
}

/// A file to read from its beginning to its end by the size that its metadata tells. Files that say 0 bytes
/// may have content all the same, as those of the kernel in `/proc`: what they have is read, up to a bound,
/// and the answer is a copy in memory.
pub(crate) fn with_real_size(path: &Path, file: File, metadata: Metadata) -> Result<(File, Metadata), ApiError> {
    if metadata.size() > 0 {
        return Ok((file, metadata));
    }
    let fault = |error| io_fault(path, &error);
    let mut content = Vec::new();
    (&file).take(MAX_UNSIZED_BYTES + 1).read_to_end(&mut content).map_err(fault)?;
    if content.is_empty() {
        return Ok((file, metadata));
    }
    if content.len() as u64 > MAX_UNSIZED_BYTES {
        return Err(too_large(format!(
            "{} does not say how long it is and has more than {MAX_UNSIZED_BYTES} bytes. Use a command such as head \
             or grep.",
            path.display()
        )));
    }
    let copy = || -> io::Result<(File, Metadata)> {
        let mut copy = File::from(rustix::fs::memfd_create("copy", rustix::fs::MemfdFlags::CLOEXEC)?);
        copy.write_all(&content)?;
        copy.rewind()?;
        let metadata = copy.metadata()?;
        Ok((copy, metadata))
    };
    copy().map_err(fault)
}

pub(crate) fn not_regular(path: &Path) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        code::NOT_REGULAR_FILE,
        format!("{} is not a regular file. Only regular files can be read and written.", path.display()),
    )
}

pub(crate) fn too_large(message: String) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE, message)
}

/// The answer to a fault while reading, finding or preparing a file.
pub(crate) fn io_fault(path: &Path, error: &io::Error) -> ApiError {
    let path_text = path.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ApiError::new(
            StatusCode::NOT_FOUND,
            code::FILE_NOT_FOUND,
            format!("{path_text} does not exist. Look at the folder with read_file or list it with a command."),
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ApiError::new(
            StatusCode::FORBIDDEN,
            code::PERMISSION_DENIED,
            format!("{path_text} may not be used that way: {error}."),
        ),
        io::ErrorKind::InvalidFilename => ApiError::invalid("path", "has a name that is too long"),
        io::ErrorKind::IsADirectory => not_regular(path),
        _ => match error.raw_os_error() {
            Some(libc::ELOOP) => ApiError::invalid("path", "goes in a circle of links"),
            Some(libc::ENXIO | libc::ENODEV) => not_regular(path),
            _ => ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                code::INTERNAL,
                format!("{path_text} could not be used: {error}."),
            ),
        },
    }
}

/// The path without links, whether or not there is a file yet. A link to a missing file leads to where
/// that file would be.
pub(crate) fn real_path(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match std::fs::canonicalize(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        match std::fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => return real_missing(&path),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// The real path of the nearest folder that is there, and the rest as it is written.
fn real_missing(path: &Path) -> io::Result<PathBuf> {
    let mut rest: Vec<OsString> = Vec::new();
    let mut ancestor = path;
    loop {
        let (Some(parent), Some(last)) = (ancestor.parent(), ancestor.components().next_back()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        rest.push(last.as_os_str().to_owned());
        ancestor = parent;
        match std::fs::canonicalize(ancestor) {
            Ok(real) => {
                let mut whole = real;
                for part in rest.iter().rev() {
                    match Path::new(part).components().next() {
                        Some(Component::ParentDir) => {
                            whole.pop();
                        }
                        _ => whole.push(part),
                    }
                }
                return Ok(whole);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

/// By what a file's content is told from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    pub(crate) size: u64,
    pub(crate) modified_ns: i64,
    /// Of files up to 64 MiB.
    pub(crate) sha256: Option<String>,
}

impl Fingerprint {
    pub(crate) fn new(metadata: &Metadata, sha256: Option<String>) -> Self {
        Self { size: metadata.size(), modified_ns: modified_ns(metadata), sha256 }
    }

    pub(crate) fn of_open(file: &mut File, metadata: &Metadata) -> io::Result<Self> {
        if metadata.size() > MAX_HASHED_BYTES {
            return Ok(Self::new(metadata, None));
        }
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut left = MAX_HASHED_BYTES;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 || left == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            left = left.saturating_sub(read as u64);
        }
        Ok(Self::new(metadata, Some(hex(&hash.finalize()))))
    }

    /// `None` if there is no file.
    pub(crate) fn of_path(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => {
                let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
                let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
                let metadata = file.metadata()?;
                Self::of_open(&mut file, &metadata).map(Some)
            }
            Ok(_) => Err(io::Error::other("not a regular file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Same content, by hash where both have one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.sha256, &other.sha256) {
            (Some(mine), Some(other)) => mine == other,
            _ => self.size == other.size && self.modified_ns == other.modified_ns,
        }
    }
}

pub(crate) fn modified_ns(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn real_paths_of_missing_files_and_of_links_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let resolve = |name: &str| real_path(&folder.path().join(name));
        std::fs::create_dir(real.join("sub")).unwrap();
        symlink("sub", real.join("folder_link")).unwrap();
        symlink("folder_link/missing", real.join("file_link")).unwrap();
        symlink("circle", real.join("circle")).unwrap();
        assert_eq!(resolve("a/b").unwrap(), real.join("a/b"));
        assert_eq!(resolve("folder_link/x").unwrap(), real.join("sub/x"));
        assert_eq!(resolve("file_link").unwrap(), real.join("sub/missing"));
        assert_eq!(resolve("a/../b").unwrap(), real.join("b"));
        assert!(resolve("circle").is_err());
    }
}
