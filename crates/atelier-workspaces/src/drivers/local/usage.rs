//! How much disk a workspace takes: what lies in its folders, and what its processes hold open after
//! removing it.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::tree::{self, Extent};

/// Where counting ends. A tree of so many files takes minutes to walk.
const ENTRIES: usize = 2_000_000;
/// `st_blocks` counts in these, whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;

/// What a workspace takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskUse {
    pub(crate) bytes: u64,
    /// Whether some files could not be counted.
    pub(crate) is_part: bool,
}

/// What lies below `folder`, links not followed.
pub(super) fn of_folder(folder: &Path) -> DiskUse {
    let mut bytes: u64 = 0;
    let extent = tree::walk(folder, ENTRIES, |_, _, found| {
        bytes += found.st_blocks.unsigned_abs() * BLOCK_BYTES;
        Ok(())
    });
    let is_part = !extent.is_ok_and(|extent| extent == Extent::Whole);
    DiskUse { bytes, is_part }
}

/// Bytes of removed files on the file system of `folder` that these processes hold open.
pub(super) fn of_removed_files(folder: &Path, processes: &[i32]) -> u64 {
    let Ok(device) = std::fs::metadata(folder).map(|metadata| metadata.dev()) else { return 0 };
    let open = processes.iter().flat_map(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten());
    let open: Vec<PathBuf> = open.flatten().map(|entry| entry.path()).collect();
    let mut seen = HashSet::new();
    // The link in /proc leads to the open file itself, also when it has no name any more.
    let files = open.iter().filter_map(|path| std::fs::metadata(path).ok());
    let removed = files.filter(|file: &Metadata| file.is_file() && file.nlink() == 0 && file.dev() == device);
    removed.filter(|file| seen.insert(file.ino())).map(|file| file.blocks() * BLOCK_BYTES).sum()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::tree::tests::{nest, without_privileges};
    use super::*;

    #[test]
    fn files_and_removed_ones_are_counted_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), vec![1; 1 << 20]).unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/usr", folder.path().join("folder")).unwrap();
        let file = folder.path().join("sub/file");
        std::fs::write(&file, vec![1; 300_000]).unwrap();
        let held = std::fs::File::open(&file).unwrap();
        held.sync_all().unwrap();
        let DiskUse { bytes, is_part } = of_folder(folder.path());
        assert!((300_000..600_000).contains(&bytes) && !is_part, "{bytes}");

        let own = [i32::try_from(std::process::id()).unwrap()];
        let before = of_removed_files(folder.path(), &own);
        std::fs::remove_file(&file).unwrap();
        let grown = of_removed_files(folder.path(), &own) - before;
        assert!((300_000..600_000).contains(&grown), "{grown}");
        assert!(of_folder(folder.path()).bytes < 100_000);
        drop(held);
    }

    #[test]
    fn files_beyond_the_longest_path_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        nest(folder.path(), &"long".repeat(60), 30, 1 << 20);
        let DiskUse { bytes, is_part } = of_folder(folder.path());
        assert!(bytes >= 1 << 20 && !is_part, "{bytes}");
    }

    #[test]
    fn what_cannot_be_read_makes_the_count_a_part() {
        without_privileges(|folder| {
            let closed = folder.join("closed");
            std::fs::create_dir(&closed).unwrap();
            std::fs::write(closed.join("file"), vec![1; 1 << 20]).unwrap();
            std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o300)).unwrap();
            assert!(of_folder(folder).is_part);
            assert!(of_folder(&folder.join("nothing")).is_part);
        });
    }
}
