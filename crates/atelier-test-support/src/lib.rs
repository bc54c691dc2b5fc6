//! The test kit: a real server process on a free port, on either database, with scripted models; actors
//! that talk HTTP to it; streams that can be cut; and a clock that tests move.
//!
//! For integration tests only. Servers are processes, so that a test can kill one the way a power cut
//! does and start it again on the same data.

use std::path::{Path, PathBuf};

mod actor;
mod bucket;
mod clock;
mod database;
mod processes;
mod proxy;
mod server;
mod stream;

pub use actor::{Actor, Answer, Chat};
pub use bucket::Bucket;
pub use clock::PausedClock;
pub use database::{Engine, PostgresDatabase};
pub use processes::{kill_processes_of, workspace_users};
pub use proxy::{FaultProxy, Link};
pub use server::{Builder, TestServer};
pub use stream::{ChatView, EventStream, Form, Frame, text_of};

/// How long a test waits for something that must happen. Never a measure of speed.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

/// All files below a folder, in order.
///
/// # Panics
/// When a folder cannot be read.
#[must_use]
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("the folder is there").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// Looks every few milliseconds until `probe` gives something.
///
/// # Panics
/// When nothing came within [`DEADLINE`]; `what` says what was awaited.
pub async fn eventually<T, F>(what: &str, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let begun = std::time::Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(begun.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
