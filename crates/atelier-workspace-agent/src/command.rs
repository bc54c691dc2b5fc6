//! `atelier agent ...`: the command line of the programs in a workspace.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::{init, sandbox, serve, shim};

/// Exit code of the agent that ends the workspace: the server wants nothing of it any more.
pub(crate) const EXIT_RETIRED: u8 = 3;

#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// The first process of a workspace: reaps, restarts the agent, ends everything on SIGTERM
    Init(InitArgs),
    /// The agent: connects to the server and answers it
    Serve(ServeArgs),
    /// Keeps one command
    #[command(hide = true)]
    Shim(ShimArgs),
    /// Shuts itself in with Landlock and seccomp, then runs a program
    SandboxExec(SandboxExecArgs),
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// Folder with token, manifest and socket; the token is deleted
    #[arg(long)]
    pub run: PathBuf,
    /// The agent's own folder, kept over restarts; made if it is missing
    #[arg(long)]
    pub state: PathBuf,
    /// File to hold a lock on as long as this process lives
    #[arg(long)]
    pub lock: Option<PathBuf>,
    /// Processes and threads that the workspace may have at once
    #[arg(long)]
    pub processes: Option<u64>,
    /// Refuse system calls that reach for the kernel or the host, to all that runs in the workspace
    #[arg(long)]
    pub filter: bool,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Folder with manifest and socket; the token comes over standard input
    #[arg(long)]
    pub run: PathBuf,
    /// The agent's own folder
    #[arg(long)]
    pub state: PathBuf,
}

#[derive(Debug, Args)]
pub struct ShimArgs {
    /// Folder of the command; standard input is its locked lock file
    #[arg(long)]
    pub folder: PathBuf,
}

#[derive(Debug, Args)]
pub struct SandboxExecArgs {
    /// Say whether this host can do it, and exit
    #[arg(long)]
    pub check: bool,
    /// Readable and executable path; one that is missing is skipped
    #[arg(long = "read-only", value_name = "PATH")]
    pub read_only: Vec<PathBuf>,
    /// Path with all rights; one that is missing is skipped
    #[arg(long = "writable", value_name = "PATH")]
    pub writable: Vec<PathBuf>,
    /// Program and arguments
    #[arg(last = true)]
    pub program: Vec<OsString>,
}

/// Runs one of the programs to its end. Call it before any thread or runtime is started.
#[must_use]
pub fn run(command: AgentCommand) -> ExitCode {
    match command {
        AgentCommand::Init(args) => init::run(&args),
        AgentCommand::Serve(args) => serve::run(&args),
        AgentCommand::Shim(args) => shim::run(&args.folder),
        AgentCommand::SandboxExec(args) => sandbox::run(&args),
    }
}

/// Writes a reason where the driver keeps the words of the first process.
pub(crate) fn complain(error: &anyhow::Error) {
    use std::io::Write as _;
    // Nobody is left to tell when this fails.
    let _ = writeln!(std::io::stderr(), "atelier agent: {error:#}");
}
