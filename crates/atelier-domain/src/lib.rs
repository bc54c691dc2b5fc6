//! What Atelier is about, without any means of doing it.
//!
//! Ids, message parts, the chat's state machine, money and permissions live here as plain values and
//! pure functions. This crate never does IO, never reads a clock by itself, and knows neither tokio,
//! SQL nor HTTP. Everything that decides something is here, so that it can be tested in microseconds
//! and behaves the same on both databases.

#[macro_use]
mod named_enum;

pub mod chain;
pub mod chat;
pub mod clock;
pub mod error;
pub mod id;
pub mod message;
pub mod money;
pub mod permissions;
pub mod provider_keys;
pub mod retry;
pub mod search;
pub mod text;

pub use chain::Chain;
pub use clock::{Clock, SharedClock};
pub use id::*;
pub use jiff::Timestamp;
