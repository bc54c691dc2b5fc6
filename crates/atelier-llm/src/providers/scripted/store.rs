//! Where scripts come from: built in, or files of one folder.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::script::{Script, ScriptError};

/// A bigger file is no script.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

const BUILT_IN: [(&str, &str); 1] = [("demo", include_str!("../../../scripts/demo.yaml"))];

/// The scripts of this server. Cheap to clone.
///
/// Files `<name>.yaml` of the folder are read when they are first used, and again when they changed; they
/// win over built-in scripts.
#[derive(Clone, Debug)]
pub struct Scripts {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    built_in: HashMap<String, Arc<Script>>,
    folder: Option<PathBuf>,
    read: Mutex<HashMap<String, Read>>,
}

#[derive(Debug)]
struct Read {
    modified: Option<SystemTime>,
    bytes: u64,
    script: Arc<Script>,
}

impl Scripts {
    /// The built-in scripts and those of `folder`, which need not exist yet.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Self {
        let built_in = BUILT_IN
            .iter()
            .map(|(name, yaml)| {
                let script = Script::parse(name, yaml).expect("a test reads every built-in script");
                ((*name).to_owned(), Arc::new(script))
            })
            .collect();
        Self { shared: Arc::new(Shared { built_in, folder, read: Mutex::default() }) }
    }

    /// The same with one more script in memory, for tests.
    #[must_use]
    pub fn with(self, name: &str, script: Script) -> Self {
        let mut built_in = self.shared.built_in.clone();
        built_in.insert(name.to_owned(), Arc::new(script));
        Self { shared: Arc::new(Shared { built_in, folder: self.shared.folder.clone(), read: Mutex::default() }) }
    }

    /// Names of all scripts, sorted.
    pub async fn names(&self) -> Vec<String> {
        let mut names: BTreeSet<String> = self.shared.built_in.keys().cloned().collect();
        if let Some(folder) = &self.shared.folder
            && let Ok(mut entries) = tokio::fs::read_dir(folder).await
        {
            while let Ok(Some(entry)) = entries.next_entry().await {
                let path = entry.path();
                let name = path.file_stem().and_then(|stem| stem.to_str()).filter(|name| is_name(name));
                if let (Some(name), Some("yaml")) = (name, path.extension().and_then(|end| end.to_str())) {
                    names.insert(name.to_owned());
                }
            }
        }
        names.into_iter().collect()
    }

    pub(super) async fn find(&self, name: &str) -> Result<Arc<Script>, ScriptError> {
        if let Some(folder) = self.shared.folder.as_ref().filter(|_| is_name(name)) {
            let path = folder.join(format!("{name}.yaml"));
            if let Ok(found) = tokio::fs::metadata(&path).await {
                return self.read(name, &path, &found).await;
            }
        }
        match self.shared.built_in.get(name) {
            Some(script) => Ok(Arc::clone(script)),
            None => Err(ScriptError::Unknown(name.to_owned(), self.names().await.join(", "))),
        }
    }

    async fn read(&self, name: &str, path: &Path, found: &std::fs::Metadata) -> Result<Arc<Script>, ScriptError> {
        let (modified, bytes) = (found.modified().ok(), found.len());
        if let Some(read) = self.lock().get(name)
            && (read.modified, read.bytes) == (modified, bytes)
        {
            return Ok(Arc::clone(&read.script));
        }
        let invalid = |detail: String| ScriptError::Invalid { name: name.to_owned(), detail };
        if bytes > MAX_FILE_BYTES {
            return Err(invalid(format!("it is over {MAX_FILE_BYTES} bytes long")));
        }
        let yaml = tokio::fs::read_to_string(path).await.map_err(|error| invalid(error.to_string()))?;
        let script = Arc::new(Script::parse(name, &yaml)?);
        self.lock().insert(name.to_owned(), Read { modified, bytes, script: Arc::clone(&script) });
        Ok(script)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Read>> {
        // what it holds is whole after each statement
        self.shared.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that cannot leave the folder.
fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}
