//! Walking and removing trees of folders that a workspace made.
//!
//! They may lie deeper in each other than a stack or a path reaches, and the workspace may move them while
//! they are read. So every step goes from the descriptor of one folder to the next one, follows no link, and
//! holds no more than [`HELD`] descriptors.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, Dir, DirEntry, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

/// Folders that are open at once.
const HELD: usize = 64;
/// How often a folder is read again in which something is left after removing all that was found.
const PASSES: usize = 8;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How much of a tree was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    /// Not what cannot be read, was moved away meanwhile or lies beyond the limit.
    Part,
}

/// Calls `visit` with the folder, the name and the metadata of up to `limit` entries below `root`, of every
/// folder before what lies in it.
pub(super) fn walk(
    root: &Path,
    limit: usize,
    mut visit: impl FnMut(BorrowedFd<'_>, &CStr, &Stat) -> io::Result<()>,
) -> io::Result<Extent> {
    let mut here = Dir::new(fs::open(root, FOLDER, Mode::empty())?)?;
    let mut above = Vec::new();
    let mut extent = Extent::Whole;
    let mut entries = 0;
    loop {
        let Some(entry) = next(&mut here) else {
            let Some(place) = above.pop() else { return Ok(extent) };
            let Some(folder) = Place::enter(place, here.fd()?)? else { return Ok(Extent::Part) };
            here = folder;
            continue;
        };
        entries += 1;
        if entries > limit {
            return Ok(Extent::Part);
        }
        let seen = entry.and_then(|entry| {
            let found = fs::statat(here.fd()?, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((entry, found))
        });
        let (entry, found) = match seen {
            Ok(seen) => seen,
            Err(Errno::NOENT) => continue,
            Err(_) => {
                extent = Extent::Part;
                continue;
            }
        };
        visit(here.fd()?, entry.file_name(), &found)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
            continue;
        }
        match fs::openat(here.fd()?, entry.file_name(), FOLDER, Mode::empty()) {
            Ok(folder) => {
                let left = std::mem::replace(&mut here, Dir::new(folder)?);
                above.push(Place::leave(left, entry.offset(), above.len())?);
            }
            // Something else has taken its place.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(_) => extent = Extent::Part,
        }
    }
}

/// A folder that is to be read on.
enum Place {
    Open(Dir),
    /// Found again as the folder above the one that was read meanwhile.
    Closed {
        device: u64,
        inode: u64,
        offset: i64,
    },
}

impl Place {
    fn leave(folder: Dir, offset: i64, depth: usize) -> io::Result<Self> {
        if depth < HELD {
            return Ok(Self::Open(folder));
        }
        let status = folder.stat()?;
        Ok(Self::Closed { device: status.st_dev, inode: status.st_ino, offset })
    }

    /// `None` when `below` has been moved elsewhere, or nobody may go up.
    fn enter(self, below: BorrowedFd<'_>) -> io::Result<Option<Dir>> {
        let (device, inode, offset) = match self {
            Self::Open(folder) => return Ok(Some(folder)),
            Self::Closed { device, inode, offset } => (device, inode, offset),
        };
        let Ok(folder) = fs::openat(below, c"..", FOLDER, Mode::empty()) else { return Ok(None) };
        let status = fs::fstat(&folder)?;
        if (status.st_dev, status.st_ino) != (device, inode) {
            return Ok(None);
        }
        fs::seek(&folder, SeekFrom::Start(offset.cast_unsigned()))?;
        Ok(Some(Dir::new(folder)?))
    }
}

/// Removes what lies at `path`, whatever that is. Repeatable. The folder above is opened through no link.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let Some(parent) = if_there(open_with_rights(CWD, parent.as_os_str().as_bytes()))? else { return Ok(()) };
    let name = std::ffi::CString::new(name.as_bytes())?;
    Removal { top: None, moved: 0 }.entry(parent.as_fd(), &name, 0)
}

/// Removes all that lies in the folder at `path`, if there is one.
pub(super) fn empty(path: &Path) -> io::Result<()> {
    let Some(folder) = if_there(open_with_rights(CWD, path.as_os_str().as_bytes()))? else { return Ok(()) };
    let top = Some(folder.try_clone()?);
    Removal { top, moved: 0 }.content(folder, 0)
}

/// Removing one tree.
struct Removal {
    /// The uppermost folder, into which deep ones are moved so that the way down to them is short.
    top: Option<OwnedFd>,
    moved: usize,
}

impl Removal {
    fn entry(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> io::Result<()> {
        match fs::unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {}
            other => return if_there(other.map_err(Into::into)).map(|_| ()),
        }
        // Also moving a folder takes the right to write into it.
        let folder = open_with_rights(parent, name)?;
        match &self.top {
            None => self.top = Some(folder.try_clone()?),
            Some(top) if depth >= HELD => {
                fs::renameat(parent, name, top, uuid::Uuid::now_v7().simple().to_string())?;
                self.moved += 1;
                return Ok(());
            }
            Some(_) => {}
        }
        self.content(folder, depth)?;
        Ok(fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
    }

    fn content(&mut self, folder: OwnedFd, depth: usize) -> io::Result<()> {
        let mut folder = Dir::new(folder)?;
        let mut passes = 0;
        while passes < PASSES {
            let moved = self.moved;
            let mut is_empty = true;
            folder.rewind();
            while let Some(entry) = next(&mut folder) {
                is_empty = false;
                self.entry(folder.fd()?, entry?.file_name(), depth + 1)?;
            }
            if is_empty {
                return Ok(());
            }
            // What was moved up is found in the next pass, at the latest.
            passes += usize::from(moved == self.moved);
        }
        Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, "there is always something new in a folder"))
    }
}

/// The next entry that is not the folder itself or the one above.
fn next(folder: &mut Dir) -> Option<rustix::io::Result<DirEntry>> {
    folder.find(|entry| entry.as_ref().map_or(true, |entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")))
}

/// Opens a folder and gives its owner all rights, which some package caches take away.
fn open_with_rights(parent: BorrowedFd<'_>, name: impl rustix::path::Arg + Copy) -> io::Result<OwnedFd> {
    match fs::openat(parent, name, FOLDER, Mode::empty()) {
        Ok(folder) => {
            let mode = Mode::from_raw_mode(fs::fstat(&folder)?.st_mode);
            if !mode.contains(Mode::RWXU) {
                fs::fchmod(&folder, mode | Mode::RWXU)?;
            }
            Ok(folder)
        }
        Err(Errno::ACCESS) => {
            let closed = fs::openat(parent, name, FOLDER | OFlags::PATH, Mode::empty())?;
            // The mode of such a descriptor can only be changed by its link in /proc, which leads to the folder itself.
            fs::chmod(format!("/proc/self/fd/{}", closed.as_raw_fd()), Mode::RWXU)?;
            Ok(fs::openat(&closed, c".", FOLDER, Mode::empty())?)
        }
        Err(error) => Err(error.into()),
    }
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    /// Folders in each other, and a file of `bytes` in the last one.
    pub(in super::super) fn nest(root: &Path, name: &str, depth: usize, bytes: usize) {
        let mut folder = fs::open(root, FOLDER, Mode::empty()).unwrap();
        for _ in 0..depth {
            fs::mkdirat(&folder, name, Mode::RWXU).unwrap();
            folder = fs::openat(&folder, name, FOLDER, Mode::empty()).unwrap();
        }
        let file = fs::openat(&folder, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        std::io::Write::write_all(&mut std::fs::File::from(file), &vec![1; bytes]).unwrap();
    }

    /// Runs with a user for whom the rights on files count, in a folder of its own.
    pub(in super::super) fn without_privileges(work: impl FnOnce(&Path) + Send + 'static) {
        let folder = tempfile::tempdir().unwrap();
        if !rustix::process::geteuid().is_root() {
            return work(folder.path());
        }
        std::os::unix::fs::chown(folder.path(), Some(65534), Some(65534)).unwrap();
        let path = folder.path().to_owned();
        let thread = std::thread::spawn(move || {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            work(&path);
        });
        thread.join().unwrap();
    }

    /// In memory where that is possible, as disks take seconds to make and remove thousands of folders.
    pub(in super::super) fn quick_folder() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
    }

    fn entries(root: &Path) -> (usize, Extent) {
        let mut count = 0;
        let extent = walk(root, usize::MAX, |_, _, _| {
            count += 1;
            Ok(())
        });
        (count, extent.unwrap())
    }

    #[test]
    fn folders_deeper_than_any_stack_are_walked_and_removed() {
        let folder = quick_folder();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("beside")).unwrap();
        nest(&root, "a", 20_000, 1);
        nest(&root, &"long".repeat(60), 100, 1);
        nest(&root.join("beside"), "b", HELD - 2, 1);
        assert_eq!(entries(&root), (20_001 + 101 + HELD, Extent::Whole));
        empty(&root).unwrap();
        assert_eq!(entries(&root), (0, Extent::Whole));

        nest(&root, "a", 20_000, 1);
        remove(&root).unwrap();
        assert!(!root.exists());
        remove(&root).unwrap();
        remove(&root.join("nothing/there")).unwrap();
        empty(&root).unwrap();
    }

    #[test]
    fn every_entry_is_seen_once_when_wide_folders_lie_below_the_depth_that_is_held_open() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d/".repeat(HELD + 5));
        std::fs::create_dir_all(&deep).unwrap();
        for number in 0..300 {
            std::fs::create_dir(deep.join(number.to_string())).unwrap();
        }
        assert_eq!(entries(folder.path()), (HELD + 5 + 300, Extent::Whole));
        empty(folder.path()).unwrap();
        assert_eq!(entries(folder.path()).0, 0);
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (root, victim) = (folder.path().join("root"), folder.path().join("victim"));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(&victim).unwrap();
        std::fs::write(victim.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&victim, root.join("link")).unwrap();
        assert_eq!(entries(&root), (1, Extent::Whole));
        remove(&root).unwrap();
        assert!(victim.join("file").exists());
        // Nor is one in the place of the folder itself.
        std::os::unix::fs::symlink(&victim, &root).unwrap();
        empty(&root).unwrap_err();
        remove(&root.join("file")).unwrap_err();
        remove(&root).unwrap();
        assert!(victim.join("file").exists());
    }

    #[test]
    fn folders_without_rights_are_reported_and_removed() {
        without_privileges(|folder| {
            let root = folder.join("root");
            for mode in [0o000, 0o300, 0o500, 0o600] {
                let closed = root.join(format!("{mode:o}"));
                std::fs::create_dir_all(closed.join("inner")).unwrap();
                std::fs::write(closed.join("inner/file"), "").unwrap();
                nest(&closed, "a", 3 * HELD, 1);
                std::fs::set_permissions(&closed, Permissions::from_mode(mode)).unwrap();
                let extent = if mode == 0o500 { Extent::Whole } else { Extent::Part };
                assert_eq!(entries(&root).1, extent, "{mode:o}");
                remove(&closed).unwrap();
                assert!(!closed.exists());
            }
            std::fs::set_permissions(&root, Permissions::from_mode(0o000)).unwrap();
            empty(&root).unwrap();
            assert_eq!(std::fs::metadata(&root).unwrap().mode() & 0o777, 0o700);
        });
    }

    #[test]
    fn a_walk_ends_at_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        nest(folder.path(), "a", 10, 1);
        assert_eq!(walk(folder.path(), 11, |_, _, _| Ok(())).unwrap(), Extent::Whole);
        assert_eq!(walk(folder.path(), 10, |_, _, _| Ok(())).unwrap(), Extent::Part);
    }

    #[test]
    fn a_folder_that_is_moved_while_it_is_read_leaves_a_part_unseen() {
        let folder = tempfile::tempdir().unwrap();
        nest(folder.path(), "a", 2 * HELD, 1);
        let extent = walk(folder.path(), usize::MAX, |_, name, _| {
            if name == c"file" {
                let deep = folder.path().join("a/".repeat(HELD + 10));
                std::fs::rename(deep, folder.path().join("moved")).unwrap();
            }
            Ok(())
        });
        assert_eq!(extent.unwrap(), Extent::Part);
    }
}
