//! The keeper of one command (`workspaces.md` 2.5).
//!
//! It owns the command's pipe, its output files and its exit code. It holds the lock of the command's
//! folder through its standard input, which the agent locked before it started the shim; so there is no
//! moment in which a command that may run looks ended. It is a child subreaper: whatever the command
//! starts stays its descendant, `setsid` or not, and is reached by signals.
//!
//! Order on disk: `begun` before the command is started; output; `exit.json` after the last byte of
//! output. What others who hold the pipe write after that is read and dropped, so that they do not die of
//! it. The shim stays until they are done and until nothing is left of what the command started, so that
//! signals still reach that.
//!
//! Plain threads and blocking calls: there is one of these for each command, and it should cost little.

mod control;
mod signals;
mod spill;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use atelier_workspace_protocol::ProcessSignal;
use rustix::process::{DumpableBehavior, WaitOptions};

use self::control::Watchers;
pub(crate) use self::control::{CONTROL_SOCKET, SECRET_FILE};
use self::spill::Spill;
pub(crate) use self::spill::{HEAD_FILE, TAIL_FILES, TAIL_HEADER_BYTES};
use crate::command::complain;
use crate::processes::record::{BEGUN_FILE, Begun, EXIT_FILE, Exit, META_FILE, Meta};
use crate::storage::{self, Durability};

/// What the shim writes to its standard output when the command has begun.
pub(crate) const READY: &str = "ready\n";
/// How long output that was written before the command's end is awaited.
const BACKLOG: Duration = Duration::from_secs(5);
/// How often the pipe of an ended command is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// A wait that ends only with an event.
const LONG: Duration = Duration::from_secs(3600);

enum Event {
    /// The command itself has ended.
    Ended { exit_code: Option<i32>, signal: Option<i32> },
    /// Nobody holds the pipe any more.
    PipeClosed,
    /// Nothing that the command started is left.
    Childless,
    Signal {
        signal: ProcessSignal,
        kill_after: Option<Duration>,
        /// Gets `ok` or `ended`.
        asker: Option<UnixStream>,
    },
}

pub(crate) fn run(folder: &Path) -> ExitCode {
    match keep(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn keep(folder: &Path) -> anyhow::Result<()> {
    // Names in the folder stay short enough for a socket's address this way.
    std::env::set_current_dir(folder).context("enter the command's folder")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // Fails only for the leader of a group, which is in no session of the agent's either.
    let _ = rustix::process::setsid();
    let meta: Meta = storage::read_json(Path::new(META_FILE))?.context("meta.json is missing")?;

    let (events, incoming) = channel();
    signals::forward_terminate(events.clone())?;
    let secret = control::make_secret().context("write the secret of the control socket")?;
    let _ = std::fs::remove_file(CONTROL_SOCKET);
    let listener = UnixListener::bind(CONTROL_SOCKET).context("listen on the control socket")?;
    let watchers = Watchers::new();
    control::serve(listener, secret, watchers.clone(), events.clone())?;

    let spill = Arc::new(Mutex::new(Spill::open(meta.spill_head_bytes, meta.spill_tail_bytes)?));
    let started = Instant::now();
    let mut begun = Begun { shim_pid: std::process::id(), pid: None, started: None };
    storage::write_json(Path::new(BEGUN_FILE), &begun, Durability::Written)?;
    let (pipe, spawned) = spawn(&meta)?;
    let mut keeper = Keeper { meta: &meta, spill, watchers, pipe, command: None, started };
    match spawned {
        Ok(pid) => {
            keeper.command = Some(pid);
            begun.pid = Some(pid);
            begun.started = crate::process_tree::look(pid).map(|seen| seen.started);
            storage::write_json(Path::new(BEGUN_FILE), &begun, Durability::Written)?;
            announce();
            read_pipe(&keeper, events.clone())?;
            reap(pid, events)?;
            keeper.follow(&incoming)
        }
        Err(error) => {
            let words = format!("the command cannot be started in {}: {error}\n", meta.workdir);
            keeper.spill().write(words.as_bytes());
            keeper.finish(Some(127), None)
        }
    }
}

/// Tells the agent that the command has begun. An agent that was killed meanwhile reads it from the folder
/// later, so a closed output must not end the command.
fn announce() {
    let mut output = io::stdout();
    let _ = output.write_all(READY.as_bytes()).and_then(|()| output.flush());
}

/// The read end of the command's pipe, and the command's pid. The write end is the command's alone.
fn spawn(meta: &Meta) -> anyhow::Result<(File, io::Result<i32>)> {
    let (read_end, write_end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let spawned = Command::new(&meta.shell)
        .arg("-c")
        .arg(&meta.command)
        .current_dir(&meta.workdir)
        .env_clear()
        .envs(&meta.env)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(write_end.try_clone()?)
        .stderr(write_end)
        .spawn();
    // The child is reaped with all others, by its number.
    let pid = spawned.and_then(|child| i32::try_from(child.id()).map_err(io::Error::other));
    Ok((File::from(read_end), pid))
}

fn read_pipe(keeper: &Keeper<'_>, events: Sender<Event>) -> io::Result<()> {
    let mut pipe = keeper.pipe.try_clone()?;
    let (spill, watchers) = (Arc::clone(&keeper.spill), keeper.watchers.clone());
    thread("pipe", move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    spill.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write(&buffer[..count]);
                    watchers.tick();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = events.send(Event::PipeClosed);
    })
}

/// Reaps everything that is or becomes a child of this process.
fn reap(command: i32, events: Sender<Event>) -> io::Result<()> {
    thread("reaper", move || {
        loop {
            match rustix::process::wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == command => {
                    let ended = Event::Ended { exit_code: status.exit_status(), signal: status.terminating_signal() };
                    let _ = events.send(ended);
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                // No child is left, and without one none can be adopted.
                Err(_) => break,
            }
        }
        let _ = events.send(Event::Childless);
    })
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).stack_size(128 * 1024).spawn(body).map(drop)
}

fn answer(asker: Option<UnixStream>, words: &str) {
    if let Some(mut stream) = asker {
        // One who has left does not need it.
        let _ = stream.write_all(words.as_bytes());
    }
}

struct Keeper<'a> {
    meta: &'a Meta,
    spill: Arc<Mutex<Spill>>,
    watchers: Watchers,
    pipe: File,
    command: Option<i32>,
    started: Instant,
}

impl Keeper<'_> {
    /// From the command's start until nobody holds its pipe and nothing that it started is left.
    fn follow(&self, incoming: &Receiver<Event>) -> anyhow::Result<()> {
        let mut ended: Option<(Option<i32>, Option<i32>, Instant)> = None;
        let mut finished = false;
        let mut kill_at: Option<Instant> = None;
        let mut killed = false;
        let mut closed = false;
        let mut childless = false;
        while !(finished && closed && childless) {
            if let Some((exit_code, signal, at)) = ended
                && !finished
            {
                let grace = if killed { self.meta.pipe_after_kill_ms } else { self.meta.pipe_after_exit_ms };
                let over = at + Duration::from_millis(grace);
                let now = Instant::now();
                if closed || (now >= over && (self.is_drained() || now >= over + BACKLOG)) {
                    self.finish(exit_code, signal)?;
                    finished = true;
                    continue;
                }
            }
            let until_kill = kill_at.map_or(LONG, |at| at.saturating_duration_since(Instant::now()));
            let wait = if ended.is_some() && !finished { until_kill.min(LOOK) } else { until_kill };
            match incoming.recv_timeout(wait) {
                Ok(Event::Ended { exit_code, signal }) => ended = Some((exit_code, signal, Instant::now())),
                Ok(Event::PipeClosed) => closed = true,
                Ok(Event::Childless) => childless = true,
                Ok(Event::Signal { asker, .. }) if childless => answer(asker, "ended\n"),
                Ok(Event::Signal { signal, kill_after, asker }) => {
                    killed |= signal == ProcessSignal::Kill;
                    kill_at = kill_after.map(|after| Instant::now() + after).or(kill_at);
                    self.send(signal, ended.is_some());
                    answer(asker, "ok\n");
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the shim's threads are gone"),
            }
            if kill_at.is_some_and(|at| Instant::now() >= at) {
                kill_at = None;
                killed = true;
                self.send(ProcessSignal::Kill, ended.is_some());
            }
        }
        Ok(())
    }

    fn send(&self, signal: ProcessSignal, has_ended: bool) {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        // Once it has ended, its number may be another group's.
        let command = self.command.filter(|_| !has_ended);
        match signal {
            ProcessSignal::Interrupt => signals::to_all(own, command, rustix::process::Signal::INT),
            ProcessSignal::Terminate => signals::to_all(own, command, rustix::process::Signal::TERM),
            ProcessSignal::Kill => signals::kill_all(own, command),
        }
    }

    fn is_drained(&self) -> bool {
        rustix::io::ioctl_fionread(&self.pipe).map_or(true, |unread| unread == 0)
    }

    /// Ends the output and says how the command ended. Nothing is added to the output after this.
    fn finish(&self, exit_code: Option<i32>, signal: Option<i32>) -> anyhow::Result<()> {
        let (output_bytes, lost_bytes) = self.spill().close();
        let exit = Exit {
            exit_code,
            signal: signal.map(signals::name),
            output_bytes,
            lost_bytes,
            ended_at_ms: storage::now_ms(),
            duration_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        storage::write_json(Path::new(EXIT_FILE), &exit, Durability::Written).context("write exit.json")?;
        self.watchers.close();
        Ok(())
    }

    fn spill(&self) -> std::sync::MutexGuard<'_, Spill> {
        self.spill.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
