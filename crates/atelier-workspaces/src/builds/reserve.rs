//! Disk space that is kept for the server (`workspaces.md` 5.4, "Hardening").
//!
//! A file in the data folder takes the space as long as there is enough. When the disk is nearly full no
//! workspace is started, those to blame are ended, and only then the file is removed: what becomes free is
//! the server's. Once there is room again the file is made again.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use atelier_domain::WorkspaceId;
use rustix::fs::FallocateFlags;

use crate::drivers::local::DiskUse;

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

/// Why a workspace is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    GrewMost {
        bytes: u64,
    },
    /// It has files that cannot be counted.
    Uncounted,
    /// What all are seen to have grown by does not explain what the disk lost.
    Unexplained {
        lost: u64,
    },
}

#[derive(Debug, Default)]
struct Ledger {
    /// What each workspace took when it was last counted.
    counted: HashMap<WorkspaceId, u64>,
    /// Free bytes, the reserve among them, at the last look and at most since the last growth that was found.
    room: u64,
    most_room: u64,
}

#[derive(Debug)]
pub(super) struct Reserve {
    file: PathBuf,
    bytes: u64,
    is_short: AtomicBool,
    /// The file system cannot set space aside, so only looking is left.
    cannot_hold: AtomicBool,
    ledger: Mutex<Ledger>,
}

impl Reserve {
    /// 0 bytes switch it off.
    pub(super) fn new(data_dir: &std::path::Path, bytes: u64) -> Self {
        Self {
            file: data_dir.join(FILE),
            bytes,
            is_short: AtomicBool::new(false),
            cannot_hold: AtomicBool::new(false),
            ledger: Mutex::default(),
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
        {
            let mut ledger = self.ledger();
            ledger.room = left + if is_held { self.bytes } else { 0 };
            ledger.most_room = ledger.most_room.max(ledger.room);
        }
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

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a workspace takes, as the start of what it grows by.
    pub(super) fn count(&self, id: WorkspaceId, taken: DiskUse) {
        self.ledger().counted.insert(id, taken.bytes);
    }

    pub(super) fn forget(&self, id: WorkspaceId) {
        self.ledger().counted.remove(&id);
    }

    /// The running workspaces to end, after what they take now; then all are counted again. One that was not
    /// counted yet is counted now. Nobody is to blame for noise.
    ///
    /// That is the one that grew most and every one with files that cannot be counted. When all of them did
    /// not grow enough for what the disk lost, one of them hides its growth, and it could be each.
    pub(super) fn to_blame(&self, taken: &[(WorkspaceId, DiskUse)]) -> Vec<(WorkspaceId, Blame)> {
        let mut ledger = self.ledger();
        let lost = ledger.most_room - ledger.room;
        let grown = taken.iter().map(|(id, now)| {
            let before = *ledger.counted.entry(*id).or_insert(now.bytes);
            (*id, now.bytes.saturating_sub(before))
        });
        let grown: Vec<(WorkspaceId, u64)> = grown.collect();
        let most = grown.iter().copied().max_by_key(|(_, grown)| *grown).filter(|(_, grown)| *grown >= self.bytes / 16);
        // Others write too, the server among them, and the more so the longer ago the disk had most room.
        let explained: u64 = grown.iter().map(|(_, grown)| grown).sum();
        let is_explained = explained >= self.bytes.min(lost / 2);
        let blamed: Vec<(WorkspaceId, Blame)> = if !is_explained && lost >= self.bytes / 4 {
            taken.iter().map(|(id, _)| (*id, Blame::Unexplained { lost })).collect()
        } else {
            let blame = |id, now: DiskUse| match most {
                Some((most, bytes)) if most == id => Some(Blame::GrewMost { bytes }),
                Some(_) | None => now.is_part.then_some(Blame::Uncounted),
            };
            taken.iter().filter_map(|(id, now)| Some((*id, blame(*id, *now)?))).collect()
        };
        if !blamed.is_empty() {
            ledger.counted.extend(taken.iter().map(|(id, now)| (*id, now.bytes)));
            ledger.most_room = ledger.room;
        }
        blamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn whole(bytes: u64) -> DiskUse {
        DiskUse { bytes, is_part: false }
    }

    fn reserve(bytes: u64) -> Reserve {
        Reserve::new(std::path::Path::new("/nowhere"), bytes)
    }

    fn lose(reserve: &Reserve, bytes: u64) {
        let mut ledger = reserve.ledger();
        ledger.room = ledger.most_room - bytes;
    }

    #[test]
    fn the_one_that_grew_most_is_found_and_small_growth_is_nobodys_fault() {
        let reserve = reserve(1600);
        let [hog, calm, late] = [WorkspaceId::new(), WorkspaceId::new(), WorkspaceId::new()];
        reserve.count(hog, whole(1_000));
        reserve.count(calm, whole(900_000));
        assert_eq!(reserve.to_blame(&[(hog, whole(1_090)), (calm, whole(900_090))]), []);
        let taken = [(hog, whole(6_000)), (calm, whole(900_099)), (late, whole(50_000))];
        assert_eq!(reserve.to_blame(&taken), [(hog, Blame::GrewMost { bytes: 5_000 })]);
        assert_eq!(reserve.to_blame(&taken), [], "growth counts once");
        let taken = [(calm, whole(900_099)), (late, whole(50_200))];
        assert_eq!(reserve.to_blame(&taken), [(late, Blame::GrewMost { bytes: 200 })]);
    }

    #[test]
    fn no_innocent_one_is_blamed_alone_for_what_is_hidden() {
        let reserve = reserve(1600);
        let [hider, busy, calm] = [WorkspaceId::new(), WorkspaceId::new(), WorkspaceId::new()];
        reserve.ledger().most_room = 10_000;
        for id in [hider, busy, calm] {
            reserve.count(id, whole(1_000));
        }
        let taken = [(hider, whole(1_000)), (busy, whole(1_200)), (calm, whole(1_000))];
        lose(&reserve, 8_000);
        let all = Blame::Unexplained { lost: 8_000 };
        assert_eq!(reserve.to_blame(&taken), [(hider, all), (busy, all), (calm, all)]);
        assert_eq!(reserve.to_blame(&taken), [], "a loss counts once");
        lose(&reserve, 399);
        assert_eq!(reserve.to_blame(&taken), [], "the server writes too");
        lose(&reserve, 400);
        assert_eq!(reserve.to_blame(&taken).len(), 3);
    }

    #[test]
    fn one_that_cannot_be_counted_is_ended_whatever_others_grew_by() {
        let reserve = reserve(1600);
        let [closed, hog, calm] = [WorkspaceId::new(), WorkspaceId::new(), WorkspaceId::new()];
        reserve.ledger().most_room = 100_000;
        for id in [closed, hog, calm] {
            reserve.count(id, whole(1_000));
        }
        lose(&reserve, 100_000);
        let part = DiskUse { is_part: true, ..whole(1_000) };
        let taken = [(closed, part), (hog, whole(2_600)), (calm, whole(1_050))];
        let blamed = reserve.to_blame(&taken);
        assert_eq!(blamed, [(closed, Blame::Uncounted), (hog, Blame::GrewMost { bytes: 1_600 })]);
        assert_eq!(reserve.to_blame(&[(closed, part), (calm, whole(1_050))]), [(closed, Blame::Uncounted)]);
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
