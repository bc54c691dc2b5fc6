//! The program as a user has it: a process, its databases, its workspaces and its command line.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod bad_input;
mod command_line;
mod data_folder;
mod database;
mod demo;
mod disk;
mod examples;
mod files;
mod first_user;
mod fixed;
mod floods;
mod generated;
mod kills;
mod lives;
mod process;
mod recorded;
mod secrets;
mod stops;
mod streams;
mod terminal;
mod tools;
mod transcript;

use atelier_test_support::{Builder, TestServer};

const PROGRAM: &str = env!("CARGO_BIN_EXE_atelier");

fn server() -> Builder {
    TestServer::builder(PROGRAM)
}
