//! The program inside a workspace: commands, files, start-up, and the link to the server.
//!
//! Four programs in one, all behind `atelier agent`:
//!
//! * `init` is the first process. It reaps, restarts the agent and ends the workspace.
//! * `serve` is the agent. It dials the server and answers its requests ([`Agent::router`]).
//! * `shim` keeps one command: it owns the pipe, the output files and the exit code, so that a restart of
//!   the agent ends nothing.
//! * `sandbox-exec` shuts itself in with Landlock and seccomp, then becomes another program.
//!
//! No server secret is known here, nothing listens on a network (on loopback the proxy of a workspace that may
//! reach listed hosts only), and the server is the only one who asks.

mod agent;
mod api;
mod command;
mod context;
mod environment;
mod events;
mod files;
mod hardening;
mod init;
mod ledger;
mod paths;
mod process_tree;
mod processes;
mod proxy;
mod sandbox;
mod serve;
mod shim;
mod startup;
mod storage;
mod tunnel;

pub use agent::{Agent, AgentConfig};
pub use command::{AgentCommand, run};
