//! One writer a file at a time. All paths of a call are taken at once, so nobody waits in a circle.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub(crate) struct PathLocks {
    held: Mutex<BTreeSet<PathBuf>>,
    freed: Condvar,
}

pub(crate) struct Held<'l> {
    locks: &'l PathLocks,
    paths: BTreeSet<PathBuf>,
}

impl PathLocks {
    /// Blocks until nobody holds any of them.
    pub(crate) fn hold(&self, paths: BTreeSet<PathBuf>) -> Held<'_> {
        let mut held = self.lock();
        while paths.iter().any(|path| held.contains(path)) {
            held = self.freed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held.extend(paths.iter().cloned());
        Held { locks: self, paths }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut held = self.locks.lock();
        for path in &self.paths {
            held.remove(path);
        }
        drop(held);
        self.locks.freed.notify_all();
    }
}
