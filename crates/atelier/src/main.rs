//! One binary, three roles: the server, the program inside workspaces, and the command line.
//!
//! No logic lives here: settings are read, parts are put together, and they are ended in order.

mod clock;
mod demo;
mod doctor;
mod generate;
mod server;
mod settings;
mod setup;
mod signals;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// A self-hosted platform for AI coding agents.
#[derive(Parser)]
#[command(name = "atelier", version, arg_required_else_help = true, after_help = atelier_cli::EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: atelier_cli::Connection,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Server(Box<server::Arguments>),
    /// Check database, sandbox, git and providers of a server's settings, and say what to do
    Doctor(Box<settings::Settings>),
    /// The program inside a workspace
    #[command(subcommand, hide = true)]
    Agent(atelier_workspace_agent::AgentCommand),
    /// Write openapi/atelier.json and docs/reference/settings.md below the current folder
    #[command(hide = true)]
    Generate,
    /// Print the completions of a shell; `source <(atelier completions bash)` loads them
    Completions { shell: clap_complete::Shell },
    #[command(flatten)]
    Cli(atelier_cli::CliCommand),
}

fn main() -> ExitCode {
    let given: Vec<OsString> = atelier_cli::with_joined_prompt(std::env::args_os());
    let command = match settings::with_file_defaults(Arguments::command(), &given) {
        Ok(command) => command,
        Err(error) => return failed(&error, 2),
    };
    let arguments = match Arguments::from_arg_matches(&command.get_matches_from(given)) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match arguments.command {
        // before any thread: the agent forks and shuts itself in
        Command::Agent(command) => atelier_workspace_agent::run(command),
        Command::Generate => result(generate::run()),
        Command::Completions { shell } => atelier_cli::exit_code(completions(shell)),
        Command::Server(arguments) => runtime(async { result(server::run(*arguments).await) }),
        Command::Doctor(settings) => runtime(async { doctor::run(*settings).await }),
        Command::Cli(command) => runtime(atelier_cli::run(command, arguments.connection, setup::code_of_this_machine)),
    }
}

/// How long an idle thread for blocking work stays: for good. Without any, a host that is out of threads for a
/// moment would end whatever needs one with a panic; with one, the work waits for it.
const KEEP_THREADS: std::time::Duration = std::time::Duration::from_hours(24 * 365);

fn runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().thread_keep_alive(KEEP_THREADS).build() {
        Ok(runtime) => runtime.block_on(async {
            // From now on there is a thread for blocking work also when the host gives out no more.
            let _ = tokio::task::spawn_blocking(|| ()).await;
            work.await
        }),
        Err(error) => failed(&error.into(), 1),
    }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "atelier", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(0)
}

fn result(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, 1),
    }
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("atelier: {error:#}");
    ExitCode::from(code)
}
