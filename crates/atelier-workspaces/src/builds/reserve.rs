//! Disk space that is kept for the server (`workspaces.md` 5.4, "Hardening").
//!
//! A file in the data folder takes the space as long as there is enough. When the disk is nearly full no
//! workspace is started, the one that grew most is ended, and only then the file is removed: what becomes
//! free is the server's. Once there is room again the file is made again.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use atelier_domain::WorkspaceId;
use rustix::fs::FallocateFlags;

/// The file that takes the space.
const FILE: &str = "disk-reserve";

/// How the disk is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    /// Only so many bytes are left beside the reserve, or of it.
    Short {
        left: u64,
    },
}

#[derive(Debug)]
pub(super) struct Reserve {
    file: PathBuf,
    bytes: u64,
    is_short: AtomicBool,
    /// The file system cannot set space aside, so only looking is left.
    cannot_hold: AtomicBool,
    /// What each workspace took when it was last counted.
    counted: Mutex<HashMap<WorkspaceId, u64>>,
}

impl Reserve {
    /// 0 bytes switch it off.
    pub(super) fn new(data_dir: &std::path::Path, bytes: u64) -> Self {
        Self {
            file: data_dir.join(FILE),
            bytes,
            is_short: AtomicBool::new(false),
            cannot_hold: AtomicBool::new(false),
            counted: Mutex::default(),
        }
    }

    pub(super) const fn is_on(&self) -> bool {
        self.bytes > 0
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }

    /// Looks how much room there is, and sets the space aside when that is possible again. Blocks.
    pub(super) fn look(&self) -> io::Result<Room> {
        if !self.is_on() {
            self.release()?;
            return Ok(Room::Enough);
        }
        let left = self.left()?;
        // Beside the reserve, so that somebody notices before the last byte is gone.
        let margin = self.bytes / 4;
        let is_held = self.is_held();
        let enough = match (is_held, self.cannot_hold.load(Ordering::Relaxed)) {
            (true, _) => margin,
            (false, true) => self.bytes,
            (false, false) => self.bytes + 2 * margin,
        };
        if left >= enough && (is_held || self.hold()?) {
            self.is_short.store(false, Ordering::Relaxed);
            return Ok(Room::Enough);
        }
        self.is_short.store(true, Ordering::Relaxed);
        Ok(Room::Short { left })
    }

    /// Gives the space to the server.
    pub(super) fn release(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// What users without privileges may still write.
    fn left(&self) -> io::Result<u64> {
        let folder = self.file.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let status = rustix::fs::statvfs(folder)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    fn is_held(&self) -> bool {
        std::fs::metadata(&self.file).is_ok_and(|file| file.len() == self.bytes && file.blocks() * 512 >= self.bytes)
    }

    /// Whether the space is set aside now, as far as the file system can do that.
    fn hold(&self) -> io::Result<bool> {
        if self.cannot_hold.load(Ordering::Relaxed) {
            return Ok(true);
        }
        self.release()?;
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::OPNOTSUPP) => {
                tracing::warn!("the file system of the data folder cannot set space aside for the server");
                self.cannot_hold.store(true, Ordering::Relaxed);
                self.release()?;
                Ok(true)
            }
            Err(rustix::io::Errno::NOSPC) => {
                self.release()?;
                Ok(false)
            }
            Err(error) => {
                self.release()?;
                Err(error.into())
            }
        }
    }

    fn counted(&self) -> MutexGuard<'_, HashMap<WorkspaceId, u64>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a workspace takes, as the start of what it grows by.
    pub(super) fn count(&self, id: WorkspaceId, bytes: u64) {
        self.counted().insert(id, bytes);
    }

    pub(super) fn forget(&self, id: WorkspaceId) {
        self.counted().remove(&id);
    }

    /// The workspace that grew most since it was counted, if it grew by more than noise; then all are
    /// counted again. One that was not counted yet is counted now.
    pub(super) fn grown_most(&self, taken: &[(WorkspaceId, u64)]) -> Option<(WorkspaceId, u64)> {
        let mut counted = self.counted();
        for (id, bytes) in taken {
            counted.entry(*id).or_insert(*bytes);
        }
        let grown = taken.iter().map(|(id, bytes)| (*id, bytes.saturating_sub(counted[id])));
        let most = grown.max_by_key(|(_, grown)| *grown).filter(|(_, grown)| *grown >= self.bytes / 16)?;
        counted.extend(taken.iter().copied());
        Some(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_grew_most_is_found_and_small_growth_is_nobodys_fault() {
        let reserve = Reserve::new(std::path::Path::new("/nowhere"), 1600);
        let [hog, calm, late] = [WorkspaceId::new(), WorkspaceId::new(), WorkspaceId::new()];
        reserve.count(hog, 1_000);
        reserve.count(calm, 900_000);
        assert_eq!(reserve.grown_most(&[(hog, 1_090), (calm, 900_090)]), None);
        let taken = [(hog, 6_000), (calm, 900_099), (late, 50_000)];
        assert_eq!(reserve.grown_most(&taken), Some((hog, 5_000)));
        assert_eq!(reserve.grown_most(&taken), None, "growth counts once");
        assert_eq!(reserve.grown_most(&[(calm, 900_099), (late, 50_200)]), Some((late, 200)));
    }

    #[test]
    fn space_is_held_released_and_switched_off() {
        let data = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(data.path(), 1 << 20);
        assert_eq!(reserve.look().unwrap(), Room::Enough);
        let file = data.path().join(FILE);
        assert!(std::fs::metadata(&file).unwrap().blocks() * 512 >= 1 << 20);
        reserve.release().unwrap();
        reserve.release().unwrap();
        assert!(!file.exists());
        // Another size takes the place of the file of an older setting.
        reserve.look().unwrap();
        Reserve::new(data.path(), 2 << 20).look().unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 2 << 20);
        Reserve::new(data.path(), 0).look().unwrap();
        assert!(!file.exists());

        let endless = Reserve::new(data.path(), 1 << 60);
        assert!(matches!(endless.look().unwrap(), Room::Short { .. }));
        assert!(endless.is_short());
    }
}
