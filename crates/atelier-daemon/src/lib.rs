//! The chat daemon: operations on chats, the executor, turns and steps, the prompt and the tools.
//!
//! Handlers and tools call the same operations. Decisions are made by `atelier-domain`, rows are written
//! by `atelier-store`, viewers are served by `atelier-stream`. This crate knows no HTTP and no SQL.

pub mod tool_error;
pub mod workspace;
