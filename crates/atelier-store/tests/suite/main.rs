//! Each body runs on SQLite and on PostgreSQL, on a fresh database each.
#![allow(clippy::unwrap_used, reason = "tests")]

mod chats;
mod coordination;
mod fixture;
mod ledgers;
mod messages;
mod schema;
mod writes;
