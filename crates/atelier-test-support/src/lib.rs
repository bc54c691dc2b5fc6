//! The test kit: a real server process on a free port, on either database, with scripted models; actors
//! that talk HTTP to it; streams that can be cut; and a clock that tests move.
//!
//! For integration tests only. Servers are processes, so that a test can kill one the way a power cut
//! does and start it again on the same data.

mod actor;
mod bucket;
mod clock;
mod database;
mod server;
mod stream;

pub use actor::{Actor, Answer, Chat};
pub use bucket::Bucket;
pub use clock::PausedClock;
pub use database::{Engine, PostgresDatabase};
pub use server::{Builder, TestServer};
pub use stream::{ChatView, EventStream, Form, Frame, text_of};

/// How long a test waits for something that must happen. Never a measure of speed.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

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
