//! Changing several files as one: all or none, also if the agent is killed in between.
//!
//! Beside each file lie its new content and its old one until the journal entry says that all is done. An
//! entry that does not say so is undone, at once or by the next agent: what has the new content gets the
//! old one back, and what has neither was changed by somebody else and is left alone.
//!
//! A file takes its new content by a rename. One with other names (hard links) is written in place, so that
//! they stay names of the same file; half written, it is a mixture of both contents and undone as well.

use atelier_domain::Chain;
use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lines::FileState;
use super::open::{Fingerprint, sha256};
use crate::storage::{self, Durability};

const NEW_FILE_MODE: u32 = 0o644;
const NEW_FOLDER_MODE: u32 = 0o755;

/// New content for one file, whose path has no links.
pub(crate) struct Change {
    pub(crate) path: PathBuf,
    /// What the file is now; `None` if there is none.
    pub(crate) before: Option<(Metadata, Fingerprint)>,
    pub(crate) content: Vec<u8>,
}

/// For whom files are changed, and what is answered: with it the next agent can finish the call's record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) call: Option<(String, String)>,
    pub(crate) chat_id: Option<String>,
    pub(crate) answer: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// New and old content are being laid beside the files.
    Preparing,
    /// Files are being renamed.
    Renaming,
    Done,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    stage: Stage,
    order: Order,
    files: Vec<EntryFile>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct EntryFile {
    path: PathBuf,
    fresh: PathBuf,
    backup: PathBuf,
    before: Option<Fingerprint>,
    after: Fingerprint,
    #[serde(default)]
    in_place: bool,
}

/// Where a change can be made to fail in tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Fresh(usize),
    Backup(usize),
    Rename(usize),
    /// In the middle of writing a file in place.
    Half(usize),
    MarkDone,
    CleanUp,
}

/// Asked before each step.
pub(crate) type Checkpoint<'c> = &'c dyn Fn(Step) -> io::Result<()>;

#[derive(Debug)]
pub(crate) enum Fault {
    /// Nothing was changed.
    Unprepared { path: PathBuf, error: io::Error },
    /// Files were changed and have their old content again, those in `conflicts` apart.
    Undone { path: PathBuf, error: io::Error, conflicts: Vec<PathBuf>, is_whole: bool },
}

/// A change that is done, and whose record must be kept before [`Journal::forget`].
#[must_use]
pub(crate) struct Committed {
    file: PathBuf,
    entry: Entry,
}

impl Committed {
    pub(crate) fn order(&self) -> &Order {
        &self.entry.order
    }

    /// Paths with what they were and what they are now.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, Option<&Fingerprint>, &Fingerprint)> {
        self.entry.files.iter().map(|file| (file.path.as_path(), file.before.as_ref(), &file.after))
    }
}

pub(crate) struct Journal {
    folder: PathBuf,
}

impl Journal {
    /// Undoes what the last agent left half done. What it had done is handed to `finish`, once or again.
    pub(crate) fn open(folder: PathBuf, mut finish: impl FnMut(&Committed) -> io::Result<()>) -> io::Result<Self> {
        storage::make_folder(&folder)?;
        let journal = Self { folder };
        for found in std::fs::read_dir(&journal.folder)? {
            let file = found?.path();
            if file.extension().is_none_or(|extension| extension != "json") {
                let _ = std::fs::remove_file(&file);
                continue;
            }
            let entry = match storage::read_json::<Entry>(&file) {
                Ok(Some(entry)) => entry,
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "a journal entry cannot be read; {} stays", file.display());
                    continue;
                }
            };
            match entry.stage {
                Stage::Preparing => journal.clean_up(&file, &entry),
                Stage::Renaming => {
                    let (conflicts, is_whole) = undo(&entry);
                    for path in conflicts {
                        tracing::warn!("{} was changed since; it stays as it is", path.display());
                    }
                    if is_whole {
                        journal.clean_up(&file, &entry);
                    }
                }
                Stage::Done => {
                    let committed = Committed { file, entry };
                    finish(&committed)?;
                    journal.forget(committed);
                }
            }
        }
        Ok(journal)
    }

    pub(crate) fn commit(
        &self,
        changes: &[Change],
        order: Order,
        checkpoint: Checkpoint<'_>,
    ) -> Result<Committed, Fault> {
        let files = changes
            .iter()
            .map(|change| {
                let id = uuid::Uuid::new_v4();
                let folder = change.path.parent().unwrap_or(Path::new("/"));
                EntryFile {
                    path: change.path.clone(),
                    fresh: folder.join(format!(".{id}.atelier-new")),
                    backup: folder.join(format!(".{id}.atelier-old")),
                    before: change.before.as_ref().map(|(_, fingerprint)| fingerprint.clone()),
                    after: Fingerprint {
                        size: change.content.len() as u64,
                        modified_ns: 0,
                        sha256: Some(sha256(&change.content)),
                    },
                    in_place: change.before.as_ref().is_some_and(|(metadata, _)| metadata.nlink() > 1),
                }
            })
            .collect();
        let mut entry = Entry { stage: Stage::Preparing, order, files };
        let file = self.folder.join(format!("{}.json", uuid::Uuid::new_v4()));
        let journal_fault = |error| Fault::Unprepared { path: file.clone(), error };
        storage::write_json(&file, &entry, Durability::Written).map_err(journal_fault)?;

        for (index, change) in changes.iter().enumerate() {
            if let Err(error) = prepare(change, &mut entry.files[index], index, checkpoint) {
                self.clean_up(&file, &entry);
                return Err(Fault::Unprepared { path: change.path.clone(), error });
            }
        }
        entry.stage = Stage::Renaming;
        let written = sync_folders(&entry).and_then(|()| storage::write_json(&file, &entry, Durability::Synced));
        if let Err(error) = written {
            self.clean_up(&file, &entry);
            return Err(journal_fault(error));
        }

        let mut failed = None;
        for (index, change) in changes.iter().enumerate() {
            let renamed = still_as_before(change)
                .and_then(|()| checkpoint(Step::Rename(index)))
                .and_then(|()| entry.files[index].take_over(&entry.files[index].fresh, checkpoint, index));
            if let Err(error) = renamed {
                failed = Some((change.path.clone(), error));
                break;
            }
        }
        if failed.is_none() {
            let mut done = entry.clone();
            done.stage = Stage::Done;
            let marked = sync_folders(&entry)
                .and_then(|()| checkpoint(Step::MarkDone))
                .and_then(|()| storage::write_json(&file, &done, Durability::Synced));
            match marked {
                Ok(()) => entry = done,
                Err(error) => failed = Some((file.clone(), error)),
            }
        }
        let Some((path, error)) = failed else {
            // Only in tests does this fail, and there it stands for the agent's end.
            let _ = checkpoint(Step::CleanUp);
            return Ok(Committed { file, entry });
        };
        let (conflicts, is_whole) = undo(&entry);
        if is_whole {
            self.clean_up(&file, &entry);
        }
        Err(Fault::Undone { path, error, conflicts, is_whole })
    }

    /// Removes the old contents and the entry.
    pub(crate) fn forget(&self, committed: Committed) {
        let Committed { file, entry } = committed;
        self.clean_up(&file, &entry);
    }

    /// The entry goes last, so that nothing is left lying about that no entry names.
    fn clean_up(&self, file: &Path, entry: &Entry) {
        for path in entry.files.iter().flat_map(|file| [&file.fresh, &file.backup]).map(PathBuf::as_path).chain([file])
        {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(error = %Chain(&error), "{} cannot be removed", path.display());
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
}

impl EntryFile {
    /// Gives the file the content of `source`, which lies beside it.
    fn take_over(&self, source: &Path, checkpoint: Checkpoint<'_>, index: usize) -> io::Result<()> {
        if !self.in_place {
            return std::fs::rename(source, &self.path);
        }
        let content = std::fs::read(source)?;
        let (first, second) = content.split_at(content.len() / 2);
        // Not truncated before it is written: whatever was written when this ends, old and new bytes are there.
        let mut file =
            OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(&self.path)?;
        file.write_all(first)?;
        checkpoint(Step::Half(index))?;
        file.write_all(second)?;
        file.set_len(content.len() as u64)?;
        file.sync_all()
    }

    /// Whether each byte of the file is that of its old or its new content, as after a write that broke off.
    fn is_mixture(&self) -> bool {
        let read = |path: &Path| std::fs::read(path).ok();
        let (Some(now), Some(old), Some(new)) = (read(&self.path), read(&self.backup), read(&self.fresh)) else {
            return false;
        };
        let is_known = |at: usize| [&old, &new].iter().any(|content| content.get(at) == Some(&now[at]));
        now.len() >= old.len().min(new.len()) && (0..now.len()).all(is_known)
    }
}

/// Lays the new content and the old one beside the file.
fn prepare(change: &Change, file: &mut EntryFile, index: usize, checkpoint: Checkpoint<'_>) -> io::Result<()> {
    checkpoint(Step::Fresh(index))?;
    let mut fresh = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file.fresh)?;
    fresh.write_all(&change.content)?;
    let mode = match &change.before {
        None => NEW_FILE_MODE,
        Some((metadata, _)) => {
            keep_owner(&fresh, metadata)?;
            metadata.mode() & 0o7777
        }
    };
    fresh.set_permissions(Permissions::from_mode(mode))?;
    fresh.sync_all()?;
    file.after = Fingerprint::new(&fresh.metadata()?, file.after.sha256.take());
    if change.before.is_some() {
        checkpoint(Step::Backup(index))?;
        // The file itself under another name, where that can be had: then nothing of it is lost.
        if file.in_place || std::fs::hard_link(&change.path, &file.backup).is_err() {
            std::fs::copy(&change.path, &file.backup)?;
            let backup = File::open(&file.backup)?;
            if let Some((metadata, _)) = &change.before {
                keep_owner(&backup, metadata)?;
            }
            backup.sync_all()?;
        }
    }
    Ok(())
}

/// One who may not give files away keeps at least the group, if that may be had.
fn keep_owner(file: &File, wanted: &Metadata) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) != (wanted.uid(), wanted.gid())
        && fchown(file, Some(wanted.uid()), Some(wanted.gid())).is_err()
    {
        let _ = fchown(file, None, Some(wanted.gid()));
    }
    Ok(())
}

/// Nobody wrote since the file was read.
fn still_as_before(change: &Change) -> io::Result<()> {
    let now = match std::fs::symlink_metadata(&change.path) {
        Ok(now) => Some(now),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let before = change.before.as_ref().map(|(metadata, _)| FileState::of(metadata));
    let is_same = match (&now, before) {
        (None, None) => true,
        (Some(now), Some(before)) => FileState::of(now).is_same_content(&before),
        _ => false,
    };
    if is_same { Ok(()) } else { Err(io::Error::other("somebody else changed it just now")) }
}

/// Gives every file its old content back. Files that have neither content, and whether there is nothing
/// left to undo.
fn undo(entry: &Entry) -> (Vec<PathBuf>, bool) {
    let mut conflicts = Vec::new();
    let mut is_whole = true;
    for file in &entry.files {
        let now = match Fingerprint::of_path(&file.path) {
            Ok(now) => now,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "{} cannot be looked at", file.path.display());
                conflicts.push(file.path.clone());
                continue;
            }
        };
        let is_old = match (&now, &file.before) {
            (None, None) => true,
            (Some(now), Some(before)) => now.is_same(before),
            _ => false,
        };
        if is_old {
            continue;
        }
        let is_ours = now.is_some_and(|now| now.is_same(&file.after)) || (file.in_place && file.is_mixture());
        if !is_ours {
            conflicts.push(file.path.clone());
            continue;
        }
        let restored = match file.before {
            Some(_) => file.take_over(&file.backup, &|_| Ok(()), 0),
            None => std::fs::remove_file(&file.path),
        };
        if let Err(error) = restored {
            tracing::error!(error = %Chain(&error), "{} does not get its old content back", file.path.display());
            is_whole = false;
        }
    }
    if let Err(error) = sync_folders(entry) {
        tracing::warn!(error = %Chain(&error), "a folder cannot be synced");
    }
    (conflicts, is_whole)
}

fn sync_folders(entry: &Entry) -> io::Result<()> {
    let folders: BTreeSet<&Path> = entry.files.iter().filter_map(|file| file.path.parent()).collect();
    folders.into_iter().try_for_each(storage::sync_folder)
}

/// Makes the folders above a file.
pub(crate) fn make_parents(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => std::fs::DirBuilder::new().recursive(true).mode(NEW_FOLDER_MODE).create(parent),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use serde_json::json;

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            for name in ["a", "b", "c"] {
                std::fs::write(folder.path(name), format!("old {name}")).unwrap();
            }
            folder
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn journal(&self) -> (Journal, Vec<Order>) {
            let mut done = Vec::new();
            let journal = Journal::open(self.path("journal"), |committed| {
                done.push(committed.order().clone());
                Ok(())
            });
            (journal.unwrap(), done)
        }

        /// Three files that are there and a new one.
        fn changes(&self) -> Vec<Change> {
            ["a", "b", "c", "d"]
                .map(|name| {
                    let path = self.path(name);
                    let before = std::fs::metadata(&path)
                        .ok()
                        .map(|metadata| (metadata, Fingerprint::of_path(&path).unwrap().unwrap()));
                    Change { path, before, content: format!("new {name}").into_bytes() }
                })
                .into()
        }

        fn contents(&self) -> Vec<Option<String>> {
            ["a", "b", "c", "d"].map(|name| std::fs::read_to_string(self.path(name)).ok()).into()
        }

        fn left_over(&self) -> usize {
            let of = |folder: &Path| std::fs::read_dir(folder).unwrap().flatten().count();
            of(self.0.path()) - 1 - self.contents().iter().flatten().count() + of(&self.path("journal"))
        }
    }

    fn order() -> Order {
        Order { call: Some(("t".into(), "d".into())), chat_id: None, answer: json!({"ok": true}) }
    }

    fn old() -> Vec<Option<String>> {
        vec![Some("old a".into()), Some("old b".into()), Some("old c".into()), None]
    }

    fn new() -> Vec<Option<String>> {
        ["a", "b", "c", "d"].map(|name| Some(format!("new {name}"))).into()
    }

    #[test]
    fn a_change_is_made_and_nothing_is_left_over() {
        let folder = Folder::new();
        let (journal, _) = folder.journal();
        let committed = journal.commit(&folder.changes(), order(), &|_| Ok(())).unwrap();
        journal.forget(committed);
        assert_eq!(folder.contents(), new());
        assert_eq!(folder.left_over(), 0);
    }

    #[test]
    fn w28_a_rename_that_fails_brings_the_first_files_back() {
        let folder = Folder::new();
        let (journal, _) = folder.journal();
        let inode = std::fs::metadata(folder.path("a")).unwrap().ino();
        let fail = |step| if step == Step::Rename(2) { Err(io::Error::other("no")) } else { Ok(()) };
        let Err(Fault::Undone { path, conflicts, is_whole: true, .. }) =
            journal.commit(&folder.changes(), order(), &fail)
        else {
            panic!("not undone");
        };
        assert_eq!(path, folder.path("c"));
        assert!(conflicts.is_empty());
        assert_eq!(folder.contents(), old());
        assert_eq!(std::fs::metadata(folder.path("a")).unwrap().ino(), inode, "the very same file");
        assert_eq!(folder.left_over(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_prepared_leaves_all_as_it_was() {
        for at in [Step::Fresh(1), Step::Backup(2), Step::MarkDone] {
            let folder = Folder::new();
            let (journal, _) = folder.journal();
            let fail = |step| if step == at { Err(io::Error::other("no")) } else { Ok(()) };
            assert!(journal.commit(&folder.changes(), order(), &fail).is_err());
            assert_eq!(folder.contents(), old());
            assert_eq!(folder.left_over(), 0);
        }
    }

    #[test]
    fn w29_an_agent_that_is_killed_leaves_all_old_or_all_new() {
        let steps = (0..4)
            .flat_map(|index| [Step::Fresh(index), Step::Backup(index), Step::Rename(index)])
            .chain([Step::MarkDone, Step::CleanUp]);
        for at in steps.filter(|step| *step != Step::Backup(3)) {
            let folder = Folder::new();
            let (journal, _) = folder.journal();
            let die = |step| if step == at { panic!("killed") } else { Ok(()) };
            let killed = catch_unwind(AssertUnwindSafe(|| journal.commit(&folder.changes(), order(), &die).is_ok()));
            assert!(killed.is_err(), "{at:?}");
            let (_, done) = folder.journal();
            let is_new = at == Step::CleanUp;
            assert_eq!(folder.contents(), if is_new { new() } else { old() }, "{at:?}");
            assert_eq!(done.len(), usize::from(is_new));
            assert_eq!(folder.left_over(), 0, "{at:?}");
        }
    }

    /// `a` with another name, to be written in place.
    fn with_other_name(folder: &Folder, content: &str) -> Vec<Change> {
        std::fs::hard_link(folder.path("a"), folder.path("journal/other")).unwrap();
        let mut changes = folder.changes();
        changes[0].content = content.into();
        changes
    }

    #[test]
    fn a_file_with_other_names_stays_one_file() {
        for content in ["longer than before", "s"] {
            let folder = Folder::new();
            let (journal, _) = folder.journal();
            let changes = with_other_name(&folder, content);
            let committed = journal.commit(&changes, order(), &|_| Ok(())).unwrap();
            journal.forget(committed);
            assert_eq!(std::fs::read_to_string(folder.path("journal/other")).unwrap(), content);
            assert_eq!(std::fs::metadata(folder.path("a")).unwrap().nlink(), 2);
            std::fs::remove_file(folder.path("journal/other")).unwrap();
            assert_eq!(folder.left_over(), 0);
        }
    }

    #[test]
    fn a_file_with_other_names_is_undone_also_when_it_is_half_written() {
        for content in ["longer than before", "s"] {
            for at in [Step::Half(0), Step::Rename(1)] {
                let folder = Folder::new();
                let (journal, _) = folder.journal();
                let changes = with_other_name(&folder, content);
                let die = |step| if step == at { panic!("killed") } else { Ok(()) };
                let killed = catch_unwind(AssertUnwindSafe(|| journal.commit(&changes, order(), &die).is_ok()));
                assert!(killed.is_err(), "{at:?}");
                let (_, done) = folder.journal();
                assert!(done.is_empty());
                assert_eq!(folder.contents(), old(), "{at:?}");
                assert_eq!(
                    std::fs::metadata(folder.path("a")).unwrap().nlink(),
                    1,
                    "the journal removed the other name"
                );
            }
        }
    }

    #[test]
    fn a_file_that_somebody_else_changed_is_left_alone_and_named() {
        let folder = Folder::new();
        let (journal, _) = folder.journal();
        let theirs = folder.path("a");
        let fail = |step| match step {
            Step::Rename(2) => {
                std::fs::write(&theirs, "theirs").unwrap();
                Err(io::Error::other("no"))
            }
            _ => Ok(()),
        };
        let Err(Fault::Undone { conflicts, .. }) = journal.commit(&folder.changes(), order(), &fail) else {
            panic!("not undone");
        };
        assert_eq!(conflicts, [theirs]);
        assert_eq!(folder.contents()[..2], [Some("theirs".into()), Some("old b".into())]);
    }

    #[test]
    fn a_write_in_between_is_seen_before_it_is_overwritten() {
        let folder = Folder::new();
        let (journal, _) = folder.journal();
        let changes = folder.changes();
        std::fs::write(folder.path("b"), "theirs").unwrap();
        let Err(Fault::Undone { path, .. }) = journal.commit(&changes, order(), &|_| Ok(())) else {
            panic!("overwritten");
        };
        assert_eq!(path, folder.path("b"));
        assert_eq!(folder.contents()[..2], [Some("old a".into()), Some("theirs".into())]);
    }
}
