//! The chat daemon: operations on chats, the executor, turns and steps, the prompt and the tools.
//!
//! Handlers and tools call the same operations. Decisions are made by `atelier-domain`, rows are written
//! by `atelier-store`, viewers are served by `atelier-stream`. This crate knows no HTTP and no SQL.

mod answer;
mod calls;
pub mod chats;
pub mod commit;
mod daemon;
mod executor;
mod fault;
mod lease;
mod models;
mod patience;
mod prompt;
mod pulse;
mod step;
pub mod tool_error;
mod tools;
mod turn;
pub mod workspace;

pub use daemon::{Daemon, DaemonConfig, DaemonParts, StartError};
pub use executor::ExecutorConfig;
pub use fault::Faults;
pub use prompt::text::DEFAULT_SYSTEM_PROMPT;
