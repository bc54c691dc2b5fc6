//! The command line for people: `atelier chat`, `chats`, `models`, `login`, `user create`, `token create`.
//!
//! It knows the HTTP API and nothing else of the server: no database, no settings file. What a command
//! produces goes to standard output, everything else to standard error. Exit codes: 0 good, 1 the turn
//! or the request failed, 2 wrong usage, 3 the server cannot be reached, 130 interrupted ([`EXIT_CODES`]).

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod accounts;
mod arguments;
mod chat;
mod client;
mod conversation;
mod credentials;
mod editor;
mod files;
mod lists;
mod markdown;
mod one;
mod output;
mod render;
mod session;
mod signals;
mod stream;
mod styled;
mod tools;
mod turn;

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub use arguments::with_joined_prompt;
pub use client::{Unreachable, Usage};

/// What `--help` says about them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the turn or the request failed
  2    wrong usage: a flag, a file, a model, a chat or a workspace that is not there
  3    the server cannot be reached
  130  interrupted (Ctrl-C)";

const INTERRUPTED: u8 = 130;
/// As of a program that a closed pipe ends.
const CLOSED_PIPE: u8 = 128 + 13;

/// Ctrl-C while something was asked.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

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
    #[command(after_help = EXIT_CODES)]
    Chat(chat::ChatArgs),
    /// List chats, with the ids to resume them by
    Chats(lists::ChatsArgs),
    /// List models, with the names for `atelier chat --model`
    Models(lists::ModelsArgs),
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
        CliCommand::Chats(arguments) => lists::chats(arguments, &connection).await,
        CliCommand::Models(arguments) => lists::models(arguments, &connection).await,
        CliCommand::Login(arguments) => accounts::login(arguments, &connection).await,
        CliCommand::User(command) => accounts::user(command, &connection, setup_code).await,
        CliCommand::Token(command) => accounts::token(command, &connection).await,
    };
    exit_code(result)
}

/// How a command ended, for the shell; the reason goes to standard error.
pub fn exit_code(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        // the program that read the output has ended
        Err(error) if is_closed_pipe(&error) => ExitCode::from(CLOSED_PIPE),
        Err(error) if error.is::<Interrupted>() => ExitCode::from(INTERRUPTED),
        Err(error) => {
            output::note(&format!("atelier: {error:#}"));
            ExitCode::from(match () {
                () if error.is::<Usage>() => 2,
                () if error.is::<Unreachable>() => 3,
                () => 1,
            })
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
