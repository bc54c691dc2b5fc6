#![allow(clippy::unwrap_used, reason = "tests")]
//! The agent's routes in process, with real commands; and its programs as processes of their own.

mod files;
mod files_edit;
mod files_kill;
mod files_write;
mod link;
mod output;
mod processes;
mod sandbox;
mod shim;
mod startup;
mod support;
