//! The agent as a program of its own, called like the whole one: `atelier-workspace-agent agent serve ...`.

use clap::Parser;

#[derive(Parser)]
#[command(name = "atelier", version)]
enum Program {
    /// The parts of a workspace
    #[command(subcommand)]
    Agent(atelier_workspace_agent::AgentCommand),
}

fn main() -> std::process::ExitCode {
    let Program::Agent(command) = Program::parse();
    atelier_workspace_agent::run(command)
}
