//! The first process of a workspace (`workspaces.md` 2.3).
//!
//! Everything in the workspace descends from it, for it adopts orphans. It reaps, restarts the agent and,
//! on SIGTERM or when the agent ends with code 3, ends everything: SIGTERM, some seconds, SIGKILL. It ends
//! only its own descendants, so it is right also where the workspace shares its user with others.
//!
//! It reads the agent's token once, deletes the file, and hands the token to each agent that it starts over a
//! pipe: neither can be looked into, so no command of the workspace ever sees it. An agent that runs a file which
//! commands could read would be open to them in its first moments, so [`ProgramFile`] is looked at before.
//!
//! Where it is process 1 of a namespace, commands can neither kill nor trace it, and a SIGTERM counts only
//! if it comes from outside of the namespace.

use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use atelier_workspace_protocol::{AgentLimits, run_file};
use rustix::fs::FlockOperation;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal, WaitOptions};
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Origin;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::command::{EXIT_RETIRED, InitArgs, complain};
use crate::hardening::{self, ProgramFile};
use crate::process_tree;
use crate::sandbox::seccomp;

/// The program itself, also when the file it came from was replaced.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// An agent that ran this long is started again at once.
const STABLE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);
const KILL_ROUNDS: usize = 200;

pub(crate) fn run(args: &InitArgs) -> ExitCode {
    match start(args) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn start(args: &InitArgs) -> anyhow::Result<ExitCode> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    hardening::usual_open_files()?;
    hardening::own_keyring()?;
    if let Some(count) = args.processes {
        hardening::limit_processes(count)?;
    }
    if args.filter {
        seccomp::apply()?;
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // A lock of the process, not of the file: others see who holds it. Opening the file a second time
    // anywhere in this process would lose it.
    let _lock = match &args.lock {
        Some(path) => {
            let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
            rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockShared)
                .with_context(|| format!("lock {}", path.display()))?;
            Some(file)
        }
        None => None,
    };
    let program = ProgramFile::look()?;
    let token = take_token(&args.run)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(supervise(args, &program, &token))
}

fn take_token(run_folder: &Path) -> anyhow::Result<String> {
    let path = run_folder.join(run_file::TOKEN);
    let token = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    Ok(token)
}

async fn supervise(args: &InitArgs, program: &ProgramFile, token: &str) -> anyhow::Result<ExitCode> {
    let mut children = signal(SignalKind::child())?;
    let mut terminate = terminations()?;
    let mut backoff = FIRST_BACKOFF;
    let code = 'workspace: loop {
        let agent = match start_agent(args, program, token) {
            Ok(agent) => agent,
            Err(error) => {
                complain(&error);
                break ExitCode::FAILURE;
            }
        };
        let started = Instant::now();
        let exit_code = loop {
            // Both streams are cancel safe.
            tokio::select! {
                _ = children.recv() => {
                    if let Some(exit_code) = reap(agent) {
                        break exit_code;
                    }
                }
                Some(()) = terminate.recv() => break 'workspace ExitCode::SUCCESS,
            }
        };
        if exit_code == Some(i32::from(EXIT_RETIRED)) {
            break ExitCode::from(EXIT_RETIRED);
        }
        if started.elapsed() >= STABLE {
            backoff = FIRST_BACKOFF;
        }
        let again = tokio::time::sleep(backoff);
        backoff = (backoff * 2).min(LAST_BACKOFF);
        tokio::pin!(again);
        loop {
            tokio::select! {
                () = &mut again => break,
                _ = children.recv() => {
                    reap(agent);
                }
                Some(()) = terminate.recv() => break 'workspace ExitCode::SUCCESS,
            }
        }
    };
    end_all(&mut children).await;
    Ok(code)
}

/// A message for each SIGTERM that is to end the workspace.
fn terminations() -> anyhow::Result<mpsc::Receiver<()>> {
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGTERM])?;
    let (sender, receiver) = mpsc::channel(1);
    std::thread::Builder::new().name("terminate".into()).stack_size(128 * 1024).spawn(move || {
        for _ in signals.forever().filter(ends_the_workspace) {
            // One that waits already is enough.
            let _ = sender.try_send(());
        }
    })?;
    Ok(receiver)
}

/// Whether the sender may end the workspace. The kernel names a sender outside of the process namespace 0;
/// inside of it commands send too, perhaps to all processes that they can reach.
fn ends_the_workspace(signal: &Origin) -> bool {
    let has_namespace = rustix::process::getpid() == rustix::process::Pid::INIT;
    !has_namespace || signal.process.is_none_or(|sender| sender.pid == 0)
}

fn start_agent(args: &InitArgs, program: &ProgramFile, token: &str) -> anyhow::Result<i32> {
    let (read_end, mut write_end) = std::io::pipe()?;
    let mut child = std::process::Command::new(OWN_PROGRAM)
        .arg0("atelier")
        .args(["agent", "serve", "--run"])
        .arg(&args.run)
        .arg("--state")
        .arg(&args.state)
        .stdin(read_end)
        .spawn()
        .context("start the agent")?;
    // The child is the agent by now, and whether others may look into it was decided by the file as it was then.
    if let Err(error) = program.check() {
        child.kill().context("end the agent")?;
        return Err(error);
    }
    // Fits into the pipe, so nobody has to read it yet. An agent that has ended already is reaped later.
    match write_end.write_all(token.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("hand the token over"),
        Ok(()) | Err(_) => Ok(i32::try_from(child.id())?),
    }
}

/// Reaps whoever has ended. `Some` if the agent is among them, with its exit code.
fn reap(agent: i32) -> Option<Option<i32>> {
    let mut found = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid.as_raw_nonzero().get() == agent {
            found = Some(status.exit_status());
        }
    }
    found
}

async fn end_all(children: &mut SignalStream) {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    for seen in process_tree::descendants(own) {
        process_tree::send(&seen, Signal::TERM);
    }
    let grace = Duration::from_millis(AgentLimits::default().stop_grace_ms);
    let ended = async {
        loop {
            reap(0);
            if process_tree::descendants(own).is_empty() {
                break;
            }
            // A look now and then, for ends of grandchildren are not told.
            let _ = tokio::time::timeout(LOOK * 5, children.recv()).await;
        }
    };
    if tokio::time::timeout(grace, ended).await.is_ok() {
        return;
    }
    for _ in 0..KILL_ROUNDS {
        let left = process_tree::descendants(own);
        if left.is_empty() {
            break;
        }
        for seen in &left {
            process_tree::send(seen, Signal::KILL);
        }
        tokio::time::sleep(LOOK).await;
        reap(0);
    }
}
