//! Each body runs on SQLite and on PostgreSQL, on a fresh database each.
#![allow(clippy::unwrap_used, reason = "tests")]

mod chat_list;
mod chats;
mod coordination;
mod files;
mod fixture;
mod keys;
mod ledgers;
mod links;
mod messages;
mod models;
mod organizations;
mod schema;
mod settings;
mod users;
mod workspaces;
mod writes;
