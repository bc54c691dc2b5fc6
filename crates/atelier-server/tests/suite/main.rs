//! The HTTP API from outside: a real server on a free port, real databases, scripted models.
#![allow(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod actions;
mod activity;
mod answers;
mod call_order;
mod chats;
mod connections;
mod files;
mod ground;
mod host;
mod listing;
mod live_output;
mod models;
mod organizations;
mod played_agent;
mod prices;
mod provider;
mod provider_checks;
mod repeats;
mod replays;
mod retries;
mod roles;
mod settings;
mod streams;
mod templates;
mod turns;
