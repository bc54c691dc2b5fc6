//! What each chat knows of files: their content when it last read or wrote them. Kept over restarts.

use atelier_domain::Chain;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::open::Fingerprint;
use crate::storage::{self, Durability};

/// Of one chat; the oldest are forgotten.
const MAX_FILES: usize = 1000;
/// Chats held in memory.
const MAX_CHATS: usize = 64;
/// Chats that did nothing for so long are forgotten when the agent starts.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SeenFile {
    fingerprint: Fingerprint,
    at_ms: i64,
}

type ChatFiles = HashMap<String, SeenFile>;

pub(crate) struct Seen {
    folder: PathBuf,
    chats: Mutex<HashMap<String, ChatFiles>>,
}

impl Seen {
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        storage::make_folder(&folder)?;
        for entry in std::fs::read_dir(&folder)?.flatten() {
            let age = entry.metadata().and_then(|found| found.modified()).ok();
            if age.and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|age| age > KEPT) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(Self { folder, chats: Mutex::default() })
    }

    pub(crate) fn get(&self, chat: &str, path: &Path) -> Option<Fingerprint> {
        self.load(chat).get(chat)?.get(&key(path)).map(|seen| seen.fingerprint.clone())
    }

    /// A fault is only logged: the file itself was read or written.
    pub(crate) fn note(&self, chat: &str, path: &Path, fingerprint: &Fingerprint) {
        let mut chats = self.load(chat);
        let files = chats.entry(chat.to_owned()).or_default();
        let key = key(path);
        if files.get(&key).is_some_and(|seen| seen.fingerprint == *fingerprint) {
            return;
        }
        files.insert(key, SeenFile { fingerprint: fingerprint.clone(), at_ms: storage::now_ms() });
        if files.len() > MAX_FILES
            && let Some(oldest) = files.iter().min_by_key(|(_, seen)| seen.at_ms).map(|(key, _)| key.clone())
        {
            files.remove(&oldest);
        }
        if let Err(error) = storage::write_json(&self.file(chat), files, Durability::Written) {
            tracing::warn!(error = %Chain(&error), "what a chat has read cannot be kept");
        }
    }

    fn load(&self, chat: &str) -> MutexGuard<'_, HashMap<String, ChatFiles>> {
        let mut chats = self.chats.lock().unwrap_or_else(PoisonError::into_inner);
        if !chats.contains_key(chat) {
            if chats.len() >= MAX_CHATS {
                chats.clear();
            }
            let files = storage::read_json(&self.file(chat)).unwrap_or_else(|error| {
                tracing::warn!(error = %Chain(&error), "what a chat has read cannot be read back");
                None
            });
            chats.insert(chat.to_owned(), files.unwrap_or_default());
        }
        chats
    }

    fn file(&self, chat: &str) -> PathBuf {
        self.folder.join(format!("{chat}.json"))
    }
}

fn key(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chat_has_its_own_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let fingerprint = |size| Fingerprint { size, modified_ns: 1, sha256: None };
        let seen = Seen::open(folder.path().into()).unwrap();
        for at in 0..=MAX_FILES {
            seen.note("a", Path::new(&format!("/{at}")), &fingerprint(at as u64));
        }
        let known =
            |seen: &Seen| (0..=MAX_FILES).filter(|at| seen.get("a", Path::new(&format!("/{at}"))).is_some()).count();
        assert_eq!(known(&seen), MAX_FILES);
        assert_eq!(seen.get("b", Path::new("/5")), None);
        let again = Seen::open(folder.path().into()).unwrap();
        assert_eq!(known(&again), MAX_FILES);
    }
}
