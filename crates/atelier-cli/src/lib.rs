//! The command line for people: `atelier chat`, `login`, `user create`, `token create`.
//!
//! It knows the HTTP API and nothing else of the server: no database, no settings file. What a command
//! produces goes to standard output, everything else to standard error. Exit codes: 0 good, 1 the turn
//! or the request failed, 2 wrong usage, 3 the server cannot be reached, 130 interrupted.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod accounts;
mod chat;
mod client;
mod credentials;
mod output;
mod render;

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub use client::Unreachable;

/// Where the server is and who asks.
#[derive(Args, Clone, Debug, Default)]
pub struct Connection {
    /// URL of the server [default: the one of `atelier login`, else http://127.0.0.1:3000]
    #[arg(long, env = "ATELIER_URL", global = true, value_name = "URL")]
    pub url: Option<String>,

    /// Token of the user [default: the one of `atelier login`]
    #[arg(long, env = "ATELIER_TOKEN", global = true, value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// The commands of this crate.
#[derive(Subcommand, Clone, Debug)]
pub enum CliCommand {
    /// Talk to an agent: interactive, or one message with -p
    Chat(chat::ChatArgs),
    /// Log in and keep the session for later commands
    Login(accounts::LoginArgs),
    /// Users of the server
    #[command(subcommand)]
    User(accounts::UserCommand),
    /// API tokens of the logged-in user
    #[command(subcommand)]
    Token(accounts::TokenCommand),
}

/// Runs a command to its end. `setup_code` finds the set-up code of a server on this machine.
pub async fn run(command: CliCommand, connection: Connection, setup_code: fn() -> Option<String>) -> ExitCode {
    let result = match command {
        CliCommand::Chat(arguments) => chat::run(arguments, &connection).await,
        CliCommand::Login(arguments) => accounts::login(arguments, &connection).await,
        CliCommand::User(command) => accounts::user(command, &connection, setup_code).await,
        CliCommand::Token(command) => accounts::token(command, &connection).await,
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::note(&format!("atelier: {error:#}"));
            ExitCode::from(if error.is::<Unreachable>() { 3 } else { 1 })
        }
    }
}
