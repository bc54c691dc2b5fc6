#![allow(clippy::unwrap_used, reason = "tests")]

mod agent;
mod fake_agent;
mod host;
mod links;
mod network;
mod templates;
mod tools;
