#![allow(clippy::unwrap_used, reason = "tests")]
//! Adapters against a server on loopback that replays what real ones send.

mod anthropic;
mod chat;
mod fake;
mod odd;
mod raw;
mod scripted;
mod transport;
