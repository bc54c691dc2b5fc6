//! `atelier agent serve`: the agent as a process. The only place that reads its environment and files.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use atelier_workspace_protocol::{EventKind, LifecycleState, Manifest, run_file};
use rustix::process::DumpableBehavior;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::{Agent, AgentConfig};
use crate::command::{EXIT_RETIRED, ServeArgs, complain};
use crate::init::OWN_PROGRAM;
use crate::tunnel::{self, Address, TunnelEnd, TunnelSettings, Uplink};
use crate::{proxy, startup};

/// Time for the answer to a shutdown request to leave.
const ANSWER: Duration = Duration::from_millis(100);
const TOKEN_BYTES: u64 = 4096;
const URLS_VARIABLE: &str = "ATELIER_AGENT_URLS";

pub(crate) fn run(args: &ServeArgs) -> ExitCode {
    match serve(args) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // A second call, as in a test, keeps the first one's.
    let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).try_init();
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let variable = |wanted: &str| environment.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let home = PathBuf::from(variable("HOME").context("HOME is not set")?);
    let addresses = variable(URLS_VARIABLE)
        .with_context(|| format!("{URLS_VARIABLE} is not set"))?
        .split(',')
        .map(Address::parse)
        .collect::<Result<Vec<_>, _>>()?;
    let mut token = String::new();
    std::io::stdin().take(TOKEN_BYTES).read_to_string(&mut token).context("read the token")?;
    let token = token.trim().to_owned();
    let manifest: Manifest =
        serde_json::from_str(&read(&args.run.join(run_file::MANIFEST))?).context("the manifest cannot be read")?;
    let config = AgentConfig { state: args.state.clone(), home, program: OWN_PROGRAM.into(), manifest, environment };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(work(config, TunnelSettings { addresses, token }));
    // Blocking reads that do not end must not hold the exit up.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

async fn work(config: AgentConfig, settings: TunnelSettings) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let agent = Agent::open(config).context("read the state folder")?;
    let uplink = Uplink::new();
    let mut tasks = vec![
        tokio::spawn({
            let agent = agent.clone();
            async move { agent.start_up().await }
        }),
        tokio::spawn({
            let agent = agent.clone();
            async move { agent.maintain().await }
        }),
    ];
    if let Some(port) = agent.manifest().proxy_port {
        tasks.push(tokio::spawn(proxy::run(port, uplink.clone())));
    }
    // Each arm may be dropped: the link is closed with its future, the others only wait.
    let code = tokio::select! {
        TunnelEnd::Retired = tunnel::run(&agent, &settings, &uplink) => EXIT_RETIRED,
        () = end_when_asked(&agent) => EXIT_RETIRED,
        _ = terminate.recv() => 0,
    };
    for task in tasks {
        task.abort();
    }
    Ok(ExitCode::from(code))
}

/// Ends when the server asked for the end and the shutdown script has run. The link lives on meanwhile.
async fn end_when_asked(agent: &Agent) {
    let deadline = agent.shutdown_asked().await;
    // The answer to the request is still on its way.
    tokio::time::sleep(ANSWER).await;
    shutdown_script(agent, deadline).await;
}

/// Runs the template's shutdown script for at most `deadline`.
async fn shutdown_script(agent: &Agent, deadline: Duration) {
    agent.events().push(EventKind::Lifecycle {
        state: LifecycleState::ShuttingDown,
        exit_code: None,
        log_tail: None,
        has_script: agent.manifest().startup_script.is_some(),
    });
    let Some(script) = &agent.manifest().shutdown_script else {
        return;
    };
    let run = async {
        match agent.processes().begin(startup::script_process(agent, "shutdown", script)).await {
            Ok(begun) => {
                agent.processes().ended(&begun.process_id).await;
            }
            Err(error) => tracing::warn!("the shutdown script cannot be started: {}", error.body.message),
        }
    };
    if tokio::time::timeout(deadline, run).await.is_err() {
        tracing::warn!("the shutdown script does not end in time");
    }
}
