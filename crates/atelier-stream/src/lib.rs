//! Streams of chats: live parts, hubs, cursors, viewers.
//!
//! A hub is the memory of a chat that somebody looks at, waits for or runs. Whoever changes a chat
//! publishes to it after the commit; a run writes its live parts to the log. A viewer is a position, not a
//! queue: at the head it gets frames that were encoded once for all, behind it rows from the database and
//! live parts joined. Losing a hub costs a read, never data.
//!
//! Absent on purpose: sockets and HTTP. The viewer is polled by whoever serves it.

pub mod convert;
mod cursor;
mod encode;
mod frames;
mod hub;
mod log;
mod viewer;
mod watch;

pub use atelier_domain::chat::WatchKind;
pub use cursor::InvalidCursor;
pub use hub::{ChatChange, Hubs, StepLog, StreamConfig, Waiter};
pub use viewer::{Ended, Frame, OpenError, Viewer, ViewerRequest};
pub use watch::{WatchFrame, WatchViewer};
