#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::large_futures, reason = "whole scenarios are one future each")]
//! Changes of chats, on both databases.

mod fixture;
mod publication;
mod recovery;
mod runs;
mod sends;
