#![allow(clippy::unwrap_used, reason = "tests")]
//! The agent's routes in process, with real commands; and its programs as processes of their own.

mod link;
mod output;
mod processes;
mod sandbox;
mod startup;
mod support;
