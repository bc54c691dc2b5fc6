//! How much disk a workspace takes: what lies in its folders, and what its processes hold open after
//! removing it.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where counting ends. A tree of so many files takes minutes to walk.
const ENTRIES: usize = 2_000_000;
/// `st_blocks` counts in these, whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;

/// Bytes below `folder`, links not followed. What cannot be read counts as nothing.
pub(super) fn of_folder(folder: &Path) -> u64 {
    let mut folders = vec![folder.to_owned()];
    let (mut bytes, mut entries) = (0, 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            entries += 1;
            if entries > ENTRIES {
                return bytes;
            }
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += metadata.blocks() * BLOCK_BYTES;
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    bytes
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
        let bytes = of_folder(folder.path());
        assert!((300_000..600_000).contains(&bytes), "{bytes}");

        let own = [i32::try_from(std::process::id()).unwrap()];
        let before = of_removed_files(folder.path(), &own);
        std::fs::remove_file(&file).unwrap();
        let grown = of_removed_files(folder.path(), &own) - before;
        assert!((300_000..600_000).contains(&grown), "{grown}");
        assert!(of_folder(folder.path()) < 100_000);
        drop(held);
    }
}
