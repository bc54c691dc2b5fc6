//! The user that each workspace runs as, when the server is root.
//!
//! Every workspace has a number of its own, kept in a file of its outer folder; its user is the first one, a
//! setting, plus that number. The first one itself is the user of all workspaces that a server before 0.2
//! started; their files get their own user at the next start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::life;

/// User and group of a workspace on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    /// A user with a group of the same number.
    pub(crate) const fn of(id: u32) -> Self {
        Self { uid: id, gid: id }
    }
}

/// Numbers of workspaces are below this.
const NUMBERS: u32 = 10_000;
const NUMBER_FILE: &str = "user-number";

#[derive(Debug)]
pub(crate) struct Users {
    workspaces: PathBuf,
    first: u32,
    /// Held while a free number is looked for and taken.
    taking: Mutex<()>,
}

impl Users {
    pub(crate) fn new(data_dir: &Path, first: u32) -> Self {
        // Never root.
        Self { workspaces: data_dir.join("workspaces"), first: first.max(1), taking: Mutex::new(()) }
    }

    /// For what belongs to no workspace.
    pub(crate) const fn first(&self) -> Owner {
        Owner::of(self.first)
    }

    /// The user that the workspace with this outer folder is to have.
    pub(crate) fn owner(&self, outer: &Path) -> Owner {
        Owner::of(self.first.saturating_add(number(outer).unwrap_or(0)))
    }

    /// The user that no other workspace has, if the one with this outer folder has such a user.
    pub(crate) fn own_user(&self, outer: &Path) -> Option<u32> {
        number(outer).map(|number| self.first.saturating_add(number))
    }

    /// Gives the workspace a number unless it has one. A user that still has processes, of a deleted workspace or
    /// of another program, is left alone. Blocks.
    ///
    /// # Errors
    /// All numbers are taken, or the folders cannot be read or written.
    pub(crate) fn take_number(&self, outer: &Path) -> io::Result<()> {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        if number(outer).is_some() {
            return Ok(());
        }
        let mut taken: Vec<u32> =
            std::fs::read_dir(&self.workspaces)?.filter_map(|entry| number(&entry.ok()?.path())).collect();
        taken.sort_unstable();
        let living = life::users_with_processes()?;
        let is_free = |number: &u32| {
            taken.binary_search(number).is_err() && !living.contains(&self.first.saturating_add(*number))
        };
        let free = (1..NUMBERS)
            .find(is_free)
            .ok_or_else(|| io::Error::other("all users for workspaces are taken; delete workspaces"))?;
        let fresh = outer.join("new.user-number");
        std::fs::write(&fresh, free.to_string())?;
        std::fs::rename(fresh, outer.join(NUMBER_FILE))
    }
}

fn number(outer: &Path) -> Option<u32> {
    std::fs::read_to_string(outer.join(NUMBER_FILE)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_workspace_keeps_its_number_and_a_free_one_is_given_out_again() {
        let data = tempfile::tempdir().unwrap();
        let users = Users::new(data.path(), 500);
        let outer = |name: &str| data.path().join("workspaces").join(name);
        for name in ["a", "b", "c"] {
            std::fs::create_dir_all(outer(name)).unwrap();
            assert_eq!(users.owner(&outer(name)), Owner::of(500));
        }
        for name in ["a", "b", "a"] {
            users.take_number(&outer(name)).unwrap();
        }
        assert_eq!((users.owner(&outer("a")), users.owner(&outer("b"))), (Owner::of(501), Owner::of(502)));
        std::fs::remove_dir_all(outer("a")).unwrap();
        users.take_number(&outer("c")).unwrap();
        assert_eq!(users.owner(&outer("c")), Owner::of(501));
        assert_eq!(Users::new(data.path(), 0).first(), Owner::of(1));
    }
}
