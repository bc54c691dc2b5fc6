//! Signals to a command and everything it started.

use std::io;
use std::sync::mpsc::Sender;
use std::time::Duration;

use atelier_workspace_protocol::ProcessSignal;
use rustix::process::{Pid, Signal, kill_process_group};

use super::{Event, thread};
use crate::process_tree::{self, Seen};

/// Rounds of killing what forks while it is killed.
const KILL_ROUNDS: usize = 100;
const LOOK: Duration = Duration::from_millis(5);

/// To the command's group as one, then to every descendant outside of it.
pub(super) fn to_all(own: i32, command: Option<i32>, signal: Signal) {
    let group = command.and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, signal);
    }
    let outside = |seen: &&Seen| Some(seen.group) != command;
    for seen in process_tree::descendants(own).iter().filter(outside) {
        process_tree::send(seen, signal);
    }
}

/// Kills until nobody is left.
pub(super) fn kill_all(own: i32, command: Option<i32>) {
    to_all(own, command, Signal::KILL);
    for _ in 0..KILL_ROUNDS {
        let left = process_tree::descendants(own);
        if left.is_empty() {
            return;
        }
        for seen in &left {
            process_tree::send(seen, Signal::KILL);
        }
        std::thread::sleep(LOOK);
    }
}

/// Hands SIGTERM, as sent to all at the workspace's end, on to the command. Without this the shim would
/// end first and the exit code with it.
pub(super) fn forward_terminate(events: Sender<Event>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut stream = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?
    };
    thread("terminate", move || {
        while runtime.block_on(stream.recv()).is_some() {
            if events.send(Event::Signal { signal: ProcessSignal::Terminate, kill_after: None, asker: None }).is_err() {
                break;
            }
        }
    })
}

/// `SIGTERM` and so on; a number for the rare ones.
pub(super) fn name(signal: i32) -> String {
    const NAMES: [(Signal, &str); 16] = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::SYS, "SIGSYS"),
    ];
    NAMES
        .iter()
        .find(|(known, _)| known.as_raw() == signal)
        .map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}
