//! The folders of a workspace, and putting files into them.
//!
//! `home`, `run`, `state` and `tmp` belong to the workspace, which is not to be trusted: it may put links where the
//! server expects its own files. So the server never opens, writes or changes the owner of anything by
//! a path inside them. It makes a file in the workspace's outer folder, which only the server writes,
//! gives it away there, and renames it in.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use atelier_domain::WorkspaceId;
use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::tree::{self, Extent};
use super::users::Owner;

/// Where workspace agents before 0.2 kept their state.
const FORMER_STATE_PARENT: [&str; 3] = ["home", ".local", "state"];
const FORMER_STATE: &str = "atelier";
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Where one workspace lies on the host.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    /// `<data>/workspaces/<id>`: the server's.
    pub(crate) outer: PathBuf,
    pub(crate) home: PathBuf,
    pub(crate) run: PathBuf,
    /// What the workspace agent keeps over restarts. Beside home, where commands tidy up.
    pub(crate) state: PathBuf,
    /// What the workspace sees as `/tmp`, or as `TMPDIR` where it has no view of its own. Emptied at each stop
    /// and start.
    pub(crate) tmp: PathBuf,
    /// Held by the first process as long as it lives.
    pub(crate) lock: PathBuf,
    pub(crate) log: PathBuf,
    owner: Option<Owner>,
}

impl Folders {
    pub(crate) fn outer(data_dir: &Path, id: WorkspaceId) -> PathBuf {
        data_dir.join("workspaces").join(id.to_string())
    }

    pub(crate) fn of(data_dir: &Path, id: WorkspaceId, owner: Option<Owner>) -> Self {
        let outer = Self::outer(data_dir, id);
        Self {
            home: outer.join("home"),
            run: outer.join("run"),
            state: outer.join("state"),
            tmp: outer.join("tmp"),
            lock: outer.join("lock"),
            log: outer.join("init.log"),
            outer,
            owner,
        }
    }

    /// Makes the server's folder of the workspace. Repeatable.
    pub(crate) fn create_outer(&self) -> io::Result<()> {
        let workspaces = self.outer.parent().expect("the outer folder lies in workspaces");
        folder(workspaces, 0o711)?;
        folder(&self.outer, 0o711)
    }

    /// Makes what is missing in it. Repeatable, also while the workspace runs.
    pub(crate) fn create(&self) -> io::Result<()> {
        for inner in [&self.home, &self.run, &self.state, &self.tmp] {
            match DirBuilder::new().mode(0o700).create(inner) {
                Ok(()) => self.give(inner)?,
                // Given away before; an interrupted start may have missed it. The outer folder is the
                // server's, so this is the folder itself and no link.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.give(inner)?;
                    open_to_owner(inner)?;
                }
                Err(error) => return Err(error),
            }
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o644)
            .open(&self.lock)?
            .set_permissions(Permissions::from_mode(0o644))
    }

    /// Puts a file of the server's into `run`, in the place of whatever lies there.
    pub(crate) fn put(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let fresh = self.outer.join(format!("new.{name}"));
        remove_if_there(&fresh)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        self.give(&fresh)?;
        self.move_in(&fresh, name)
    }

    /// Takes a file out of `run`, for instance one the last start left, or whatever the workspace laid there.
    pub(crate) fn take_out(&self, name: &str) -> io::Result<()> {
        tree::remove(&self.run.join(name))
    }

    /// Listens on a socket in `run`, in the place of whatever lies there.
    pub(crate) fn listen(&self, name: &str) -> io::Result<UnixListener> {
        let fresh = self.outer.join(format!("new.{name}"));
        remove_if_there(&fresh)?;
        let listener = UnixListener::bind(&fresh)?;
        listener.set_nonblocking(true)?;
        self.give(&fresh)?;
        self.move_in(&fresh, name)?;
        Ok(listener)
    }

    fn move_in(&self, fresh: &Path, name: &str) -> io::Result<()> {
        let place = self.run.join(name);
        match std::fs::rename(fresh, &place) {
            // Only a folder is not replaced by itself.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                tree::remove(&place)?;
                std::fs::rename(fresh, &place)
            }
            other => other,
        }
    }

    /// An empty log for the output of the first process.
    pub(crate) fn open_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&self.log)?;
        OpenOptions::new().append(true).open(&self.log)
    }

    pub(crate) fn log_tail(&self) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(io::SeekFrom::Start(length.saturating_sub(4096)))?;
            let mut bytes = Vec::new();
            file.take(4096).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().unwrap_or_default();
        atelier_domain::text::tail(String::from_utf8_lossy(&bytes).trim(), 2048).to_owned()
    }

    /// Removes everything. Repeatable.
    pub(crate) fn remove(&self) -> io::Result<()> {
        tree::remove(&self.outer)
    }

    /// Takes out all that lies in `tmp`. Only while nothing of the workspace runs.
    pub(crate) fn empty_tmp(&self) -> io::Result<()> {
        tree::empty(&self.tmp)
    }

    /// The user that the workspace is to run as, when it is another one than the server's.
    pub(crate) const fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// Gives everything of the workspace to the user that it is to have, where that is not so: an older
    /// server ran it as another one, or the setting has changed. Only while nothing of the workspace runs.
    pub(crate) fn settle(&self) -> io::Result<()> {
        let (Some(owner), Some(former)) = (self.owner, self.owner_of_home()) else { return Ok(()) };
        if former == owner {
            return Ok(());
        }
        // Home comes last and its own folder after all that is in it: that says that nothing is left to do.
        for folder in [&self.run, &self.state, &self.tmp, &self.home] {
            pass_on(folder, former, owner)?;
        }
        Ok(())
    }

    /// Moves what an older workspace agent kept in the home folder to where it is kept now, if nothing is
    /// there yet. Only while nothing of the workspace runs.
    pub(crate) fn move_former_state(&self) -> io::Result<()> {
        let move_it = || {
            let outer = rustix::fs::open(&self.outer, FOLDER, Mode::empty())?;
            let mut parent = rustix::io::fcntl_dupfd_cloexec(&outer, 0)?;
            for name in FORMER_STATE_PARENT {
                // The workspace may have laid links on the way.
                parent = openat(&parent, name, FOLDER.union(OFlags::NOFOLLOW), Mode::empty())?;
            }
            renameat(&parent, FORMER_STATE, &outer, "state")
        };
        match move_it() {
            // There is none, it is no folder, or it cannot be had.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::ACCESS) => Ok(()),
            // The new place is in use already.
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            moved => Ok(moved?),
        }
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        // Not yet settled, it is still used by the one who has the home folder.
        match self.owner_of_home().or(self.owner) {
            Some(owner) if self.owner.is_some() => std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid)),
            Some(_) | None => Ok(()),
        }
    }

    /// `None` while the home folder is not there or not given away yet.
    fn owner_of_home(&self) -> Option<Owner> {
        let home = std::fs::symlink_metadata(&self.home).ok()?;
        (home.uid() != 0).then(|| Owner { uid: home.uid(), gid: home.gid() })
    }
}

/// Gives the owner of a folder all rights on it again: a command may have taken them away.
fn open_to_owner(path: &Path) -> io::Result<()> {
    let mode = std::fs::symlink_metadata(path)?.mode();
    if mode & 0o700 == 0o700 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 | 0o700))
}

/// Makes a folder, or sets the mode of one that is there.
pub(crate) fn folder(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // The mask of the process may have taken bits away.
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

/// The first folder above `path` that other users cannot walk through.
pub(crate) fn closed_ancestor(path: &Path) -> io::Result<Option<PathBuf>> {
    for folder in path.ancestors() {
        if std::fs::metadata(folder)?.mode() & 0o001 == 0 {
            return Ok(Some(folder.to_owned()));
        }
    }
    Ok(None)
}

/// Puts a file in the place of another one, unless that has the same content.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut fresh = tempfile::Builder::new().prefix(".new").tempfile_in(folder)?;
    fresh.write_all(content)?;
    fresh.as_file().set_permissions(Permissions::from_mode(mode))?;
    fresh.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Gives what belongs to `former` below and at `path` to `owner`; links are not followed.
fn pass_on(path: &Path, former: Owner, owner: Owner) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)));
    let extent = tree::walk(path, usize::MAX, |folder, name, found| {
        if found.st_uid == former.uid {
            rustix::fs::chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    })?;
    if extent == Extent::Part {
        return Err(io::Error::other(format!("not all files in {} can be read", path.display())));
    }
    std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid))
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::{nest, quick_folder, without_privileges};
    use super::*;

    fn folders() -> (tempfile::TempDir, Folders) {
        let data = tempfile::tempdir().unwrap();
        let folders = Folders::of(data.path(), WorkspaceId::new(), None);
        folders.create_outer().unwrap();
        folders.create().unwrap();
        (data, folders)
    }

    #[test]
    fn a_link_laid_by_the_workspace_is_replaced_not_followed() {
        let (data, folders) = folders();
        let victim = data.path().join("victim");
        std::fs::write(&victim, "untouched").unwrap();
        for name in ["token", "agent.sock"] {
            std::os::unix::fs::symlink(&victim, folders.run.join(name)).unwrap();
        }
        folders.put("token", b"secret").unwrap();
        let _listener = folders.listen("agent.sock").unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(std::fs::read_to_string(folders.run.join("token")).unwrap(), "secret");
        assert_eq!(std::fs::metadata(folders.run.join("token")).unwrap().mode() & 0o777, 0o600);
        std::os::unix::net::UnixStream::connect(folders.run.join("agent.sock")).unwrap();
    }

    #[test]
    fn whatever_the_workspace_laid_in_the_place_of_a_file_is_replaced_or_taken_out() {
        let (data, folders) = folders();
        let victim = data.path().join("victim");
        std::fs::create_dir(&victim).unwrap();
        std::fs::write(victim.join("file"), "untouched").unwrap();
        let obstacles: [fn(&Path, &Path); 4] = [
            |place, _| std::fs::create_dir_all(place.join("x/y")).unwrap(),
            |place, victim| std::os::unix::fs::symlink(victim, place).unwrap(),
            |place, _| rustix::fs::mkfifoat(rustix::fs::CWD, place, rustix::fs::Mode::RUSR).unwrap(),
            |place, _| std::fs::write(place, "").unwrap(),
        ];
        for (number, lay) in obstacles.into_iter().enumerate() {
            for name in ["token", "agent.sock"] {
                lay(&folders.run.join(name), &victim);
            }
            folders.put("token", b"secret").unwrap();
            let _listener = folders.listen("agent.sock").unwrap();
            assert_eq!(std::fs::read_to_string(folders.run.join("token")).unwrap(), "secret", "{number}");
            for name in ["token", "agent.sock"] {
                folders.take_out(name).unwrap();
                lay(&folders.run.join(name), &victim);
                folders.take_out(name).unwrap();
                folders.take_out(name).unwrap();
            }
            assert_eq!(std::fs::read_dir(&folders.run).unwrap().count(), 0, "{number}");
        }
        assert_eq!(std::fs::read_to_string(victim.join("file")).unwrap(), "untouched");
    }

    #[test]
    fn removing_copes_with_folders_without_rights_and_with_nothing() {
        without_privileges(|data| {
            let folders = Folders::of(data, WorkspaceId::new(), None);
            folders.create_outer().unwrap();
            folders.create().unwrap();
            let cache = folders.home.join("cache/module");
            std::fs::create_dir_all(&cache).unwrap();
            std::fs::write(cache.join("file"), "").unwrap();
            std::fs::set_permissions(&cache, Permissions::from_mode(0o500)).unwrap();
            std::fs::set_permissions(&folders.home, Permissions::from_mode(0o000)).unwrap();
            folders.remove().unwrap();
            assert!(!folders.outer.exists());
            folders.remove().unwrap();
            folders.empty_tmp().unwrap();
            assert!(!folders.outer.exists());
        });
    }

    #[test]
    fn a_workspace_that_takes_its_own_rights_is_started_and_stopped() {
        without_privileges(|data| {
            let folders = Folders::of(data, WorkspaceId::new(), None);
            folders.create_outer().unwrap();
            let close = || {
                for folder in [&folders.home, &folders.run, &folders.tmp] {
                    std::fs::set_permissions(folder, Permissions::from_mode(0o000)).unwrap();
                }
            };
            folders.create().unwrap();
            close();
            folders.create().unwrap();
            folders.put("token", b"secret").unwrap();
            close();
            folders.take_out("token").unwrap();
            folders.empty_tmp().unwrap();
            assert_eq!(std::fs::metadata(&folders.tmp).unwrap().mode() & 0o777, 0o700);
        });
    }

    #[test]
    fn folders_deeper_than_any_stack_are_emptied_and_removed() {
        let data = quick_folder();
        let folders = Folders::of(data.path(), WorkspaceId::new(), None);
        folders.create_outer().unwrap();
        folders.create().unwrap();
        for inner in [&folders.tmp, &folders.home] {
            nest(inner, "a", 20_000, 1);
        }
        folders.empty_tmp().unwrap();
        assert_eq!(std::fs::read_dir(&folders.tmp).unwrap().count(), 0);
        folders.remove().unwrap();
        assert!(!folders.outer.exists());
    }

    #[test]
    fn tmp_is_emptied() {
        let (_data, folders) = folders();
        std::fs::create_dir(folders.tmp.join("closed")).unwrap();
        std::fs::write(folders.tmp.join("closed/file"), "").unwrap();
        std::fs::set_permissions(folders.tmp.join("closed"), Permissions::from_mode(0o500)).unwrap();
        folders.empty_tmp().unwrap();
        assert_eq!(std::fs::read_dir(&folders.tmp).unwrap().count(), 0);
    }

    #[test]
    fn files_of_another_user_are_passed_on_once_and_links_are_not_followed() {
        if !rustix::process::geteuid().is_root() {
            return; // only root gives files away
        }
        let (data, before) = folders();
        let id: WorkspaceId = before.outer.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let uid = |path: &Path| std::fs::symlink_metadata(path).unwrap().uid();
        let shared = Folders::of(data.path(), id, Some(Owner::of(500)));
        shared.create().unwrap();
        shared.put("token", b"secret").unwrap();
        let (file, link) = (shared.home.join("file"), shared.home.join("link"));
        std::fs::write(&file, "").unwrap();
        nest(&shared.home, "deep", 300, 1);
        let victim = data.path().join("victim");
        std::fs::write(&victim, "").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        for path in [&file, &link] {
            std::os::unix::fs::lchown(path, Some(500), Some(500)).unwrap();
        }

        // Until it is settled, what is put there still belongs to the one who runs.
        let own = Folders::of(data.path(), id, Some(Owner::of(501)));
        own.create().unwrap();
        own.put("manifest", b"").unwrap();
        assert_eq!((uid(&own.home), uid(&own.run.join("manifest"))), (500, 500));
        own.settle().unwrap();
        own.settle().unwrap();
        for path in
            [&own.home, &own.run, &own.state, &own.tmp, &file, &link, &own.run.join("token"), &own.run.join("manifest")]
        {
            assert_eq!(uid(path), 501, "{}", path.display());
        }
        assert_eq!(uid(&victim), 0);
        assert_eq!(uid(&own.outer), 0);
    }

    #[test]
    fn what_an_older_agent_kept_in_home_moves_once() {
        let (_data, folders) = folders();
        folders.move_former_state().unwrap();
        let former = folders.home.join(".local/state/atelier");
        std::fs::create_dir_all(&former).unwrap();
        std::fs::write(former.join("ledger.json"), "old").unwrap();
        folders.move_former_state().unwrap();
        assert!(!former.exists());
        assert_eq!(std::fs::read_to_string(folders.state.join("ledger.json")).unwrap(), "old");

        std::fs::create_dir(&former).unwrap();
        std::fs::write(former.join("ledger.json"), "a command's own").unwrap();
        folders.move_former_state().unwrap();
        assert!(former.exists());
        assert_eq!(std::fs::read_to_string(folders.state.join("ledger.json")).unwrap(), "old");
    }

    #[test]
    fn no_link_leads_to_what_is_moved() {
        let (data, folders) = folders();
        let victim = data.path().join("victim");
        std::fs::create_dir_all(victim.join("state/atelier")).unwrap();
        std::fs::write(victim.join("state/atelier/file"), "").unwrap();
        std::os::unix::fs::symlink(&victim, folders.home.join(".local")).unwrap();
        folders.move_former_state().unwrap();
        std::fs::remove_file(folders.home.join(".local")).unwrap();
        std::fs::create_dir_all(folders.home.join(".local/state")).unwrap();
        std::os::unix::fs::symlink(victim.join("state/atelier"), folders.home.join(".local/state/atelier")).unwrap();
        folders.move_former_state().unwrap();
        assert!(victim.join("state/atelier/file").exists());
        assert_eq!(std::fs::read_dir(&folders.state).unwrap().count(), 0);
    }

    #[test]
    fn a_home_that_nobody_may_enter_is_open_at_the_next_start() {
        let (_data, folders) = folders();
        std::fs::set_permissions(&folders.home, Permissions::from_mode(0o000)).unwrap();
        folders.create().unwrap();
        assert_eq!(std::fs::metadata(&folders.home).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn creating_twice_keeps_what_is_there() {
        let (_data, folders) = folders();
        std::fs::write(folders.home.join("file"), "kept").unwrap();
        folders.create().unwrap();
        assert_eq!(std::fs::read_to_string(folders.home.join("file")).unwrap(), "kept");
    }
}
