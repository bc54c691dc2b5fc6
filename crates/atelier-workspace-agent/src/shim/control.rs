//! `ctl.sock`: one line a connection, which begins with the secret of `ctl.secret`. Only who may read the
//! folder knows it; the socket alone can be reached by others where workspaces share a user.
//!
//! `signal <name> [<kill after, ms>]` is answered `ok` or `ended`;
//! `watch` gets a byte whenever there is output, and the end of the stream when the command's end is on
//! disk or the shim is gone.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atelier_workspace_protocol::ProcessSignal;

use super::{Event, thread};
use crate::storage::{self, Durability};

pub(crate) const CONTROL_SOCKET: &str = "ctl.sock";
pub(crate) const SECRET_FILE: &str = "ctl.secret";
const TICK: u8 = b'o';
const MAX_WATCHERS: usize = 16;
const MAX_LINE_BYTES: u64 = 128;
const PATIENCE: Duration = Duration::from_secs(2);

/// Who wants to hear of new output; `None` once the command's end is on disk.
#[derive(Clone)]
pub(super) struct Watchers {
    streams: Arc<Mutex<Option<Vec<UnixStream>>>>,
}

impl Watchers {
    pub(super) fn new() -> Self {
        Self { streams: Arc::new(Mutex::new(Some(Vec::new()))) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<UnixStream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newcomer gets a tick at once: for output before it came nobody was told.
    fn add(&self, mut stream: UnixStream) {
        if let Some(streams) = self.lock().as_mut()
            && streams.len() < MAX_WATCHERS
            && stream.set_nonblocking(true).is_ok()
            && stream.write_all(&[TICK]).is_ok()
        {
            streams.push(stream);
        }
    }

    /// One who has not read the last ticks looks again anyway.
    pub(super) fn tick(&self) {
        if let Some(streams) = self.lock().as_mut() {
            streams.retain_mut(|stream| match stream.write(&[TICK]) {
                Ok(_) => true,
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            });
        }
    }

    pub(super) fn close(&self) {
        *self.lock() = None;
    }
}

/// Makes a new secret in the folder that this process is in.
pub(super) fn make_secret() -> io::Result<String> {
    let secret = uuid::Uuid::new_v4().simple().to_string();
    storage::write_json(Path::new(SECRET_FILE), &secret, Durability::Written)?;
    Ok(secret)
}

pub(super) fn serve(
    listener: UnixListener,
    secret: String,
    watchers: Watchers,
    events: Sender<Event>,
) -> io::Result<()> {
    thread("control", move || {
        for stream in listener.incoming() {
            match stream {
                // A broken or silent client is its own problem.
                Ok(stream) => {
                    let _ = answer(stream, &secret, &watchers, &events);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    })
}

fn answer(stream: UnixStream, secret: &str, watchers: &Watchers, events: &Sender<Event>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&stream).take(MAX_LINE_BYTES)).read_line(&mut line)?;
    let mut words = line.split_ascii_whitespace();
    if words.next() != Some(secret) {
        return Ok(());
    }
    match (words.next(), words.next().and_then(signal_named)) {
        (Some("watch"), _) => watchers.add(stream),
        (Some("signal"), Some(signal)) => {
            let kill_after = words.next().and_then(|word| word.parse().ok()).map(Duration::from_millis);
            // Who carries it out answers: this thread ends with the shim, which may be right after.
            let _ = events.send(Event::Signal { signal, kill_after, asker: Some(stream) });
        }
        _ => {}
    }
    Ok(())
}

fn signal_named(name: &str) -> Option<ProcessSignal> {
    [ProcessSignal::Interrupt, ProcessSignal::Terminate, ProcessSignal::Kill]
        .into_iter()
        .find(|signal| signal.as_str() == name)
}
