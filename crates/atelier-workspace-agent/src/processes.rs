//! Commands: beginning them, finding them again, their output and signals (`workspaces.md` 1.3, 2.5).
//!
//! ```text
//!  folder locked, meta.json synced     begun.json        exit.json
//!  ───────────── starting ──────────── running ───────── exited
//!                                         └─ lock free without exit.json: lost
//! ```
//!
//! The agent owns the table in memory and the folders' beginning and end; in between a folder is its
//! shim's. Everything in the table can be read back from the folders, so a restart of the agent loses
//! nothing. A folder whose command never began (the agent was killed in between) is removed at the next
//! start, and its token is free again.

mod begin;
mod entry;
mod output;
pub(crate) mod record;
pub(crate) mod render;
pub(crate) mod routes;
mod shell;
mod view;

use atelier_domain::Chain;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atelier_workspace_protocol::{
    AgentLimits, EventKind, ProcessOutput, ProcessState, ProcessSummary, SignalAnswer, SignalRequest, code,
};
use axum::http::StatusCode;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::entry::{Entry, OnDisk, on_disk};
use self::record::{META_FILE, Meta};
pub(crate) use self::view::Part;
use crate::api::{ApiError, Caller};
use crate::events::Events;
use crate::ledger::{Begin, CallKey, Ledger, TokenRecord};
use crate::storage;

/// Entries of a list.
const LISTED: usize = 20;

/// Where and with what commands run.
#[derive(Clone, Debug)]
pub(crate) struct ProcessSettings {
    /// State folder of the agent.
    pub(crate) state: PathBuf,
    /// The program that is started as `agent shim`.
    pub(crate) program: PathBuf,
    pub(crate) limits: AgentLimits,
}

/// A command to begin.
#[derive(Clone, Debug)]
pub(crate) struct NewProcess {
    pub(crate) command: String,
    pub(crate) workdir: PathBuf,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) shell: PathBuf,
    pub(crate) background: bool,
    /// `None`: the workspace's own, seen by no chat and counted by none.
    pub(crate) chat_id: Option<String>,
    pub(crate) ancestors: Vec<String>,
    pub(crate) call: Option<CallKey>,
}

/// A command that was begun, now or before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BegunProcess {
    pub(crate) process_id: String,
    pub(crate) attached: bool,
    pub(crate) background: bool,
}

#[derive(Clone)]
pub(crate) struct Processes {
    shared: Arc<Shared>,
}

struct Shared {
    settings: ProcessSettings,
    folder: PathBuf,
    kernel_boot_id: String,
    ledger: Arc<Ledger>,
    events: Events,
    entries: Mutex<HashMap<String, Arc<Entry>>>,
    /// The agent's own folder could not be used when it was last tried.
    broken: AtomicBool,
    /// Ends the tasks that follow shims; the commands go on.
    stop: CancellationToken,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Processes {
    /// Reads all folders and follows what runs. Blocks a moment; needs a runtime.
    pub(crate) fn open(settings: ProcessSettings, ledger: Arc<Ledger>, events: Events) -> io::Result<Self> {
        let folder = settings.state.join("processes");
        storage::make_folder(&folder)?;
        let processes = Self {
            shared: Arc::new(Shared {
                settings,
                folder: folder.clone(),
                kernel_boot_id: record::kernel_boot_id(),
                ledger,
                events,
                entries: Mutex::default(),
                broken: AtomicBool::new(false),
                stop: CancellationToken::new(),
            }),
        };
        for entry in std::fs::read_dir(&folder)? {
            let folder = entry?.path();
            if let Err(error) = processes.adopt(&folder) {
                tracing::warn!(folder = %folder.display(), error = %Chain(&error), "a command cannot be read back");
            }
        }
        Ok(processes)
    }

    fn adopt(&self, folder: &Path) -> io::Result<()> {
        let Some(meta) = storage::read_json::<Meta>(&folder.join(META_FILE))? else {
            // Killed before anything was asked for.
            return std::fs::remove_dir_all(folder);
        };
        let (state, exit) = match on_disk(folder)? {
            OnDisk::Running => (ProcessState::Running, None),
            OnDisk::Exited(exit) => (ProcessState::Exited, Some(exit)),
            OnDisk::Ended { begun: false } if meta.kernel_boot_id == self.shared.kernel_boot_id => {
                return std::fs::remove_dir_all(folder);
            }
            OnDisk::Ended { .. } => {
                if meta.kernel_boot_id == self.shared.kernel_boot_id {
                    entry::end_lost(folder);
                }
                (ProcessState::Lost, None)
            }
        };
        if let Some(record) = token_record(&meta) {
            self.shared.ledger.adopt(record);
        }
        let entry = Arc::new(Entry::new(meta, folder.to_owned(), state, exit));
        self.lock().insert(entry.meta.process_id.clone(), Arc::clone(&entry));
        if state == ProcessState::Running {
            self.follow(entry);
        }
        Ok(())
    }

    /// Begins a command, or finds the one that was begun with its token.
    ///
    /// # Errors
    /// `token_conflict`, `too_many_processes`, `internal`: in each case nothing was begun by this call.
    ///
    /// # Cancel safety
    /// Dropped, the beginning goes on; the token finds it.
    pub(crate) async fn begin(&self, new: NewProcess) -> Result<BegunProcess, ApiError> {
        let processes = self.clone();
        tokio::spawn(async move { processes.begin_once(new).await })
            .await
            .map_err(|error| ApiError::internal(&error))?
    }

    async fn begin_once(&self, new: NewProcess) -> Result<BegunProcess, ApiError> {
        let claim = match &new.call {
            None => None,
            Some(key) => match self.shared.ledger.begin(key).await? {
                Begin::Known(TokenRecord { process_id: Some(process_id), .. }) => {
                    let background = self.lock().get(&process_id).is_some_and(|entry| entry.meta.background);
                    return Ok(BegunProcess { process_id, attached: true, background });
                }
                Begin::Known(_) => return Err(crate::ledger::conflict()),
                Begin::New(claim) => Some(claim),
            },
        };
        let meta = self.meta(new);
        let entry = self.reserve(meta).await?;
        let started = self.start(&entry).await;
        if let Err(error) = started {
            let may_have_begun = matches!(
                on_disk(&entry.folder),
                Err(_) | Ok(OnDisk::Running | OnDisk::Exited(_) | OnDisk::Ended { begun: true })
            );
            if !may_have_begun {
                self.lock().remove(&entry.meta.process_id);
                let _ = std::fs::remove_dir_all(&entry.folder);
                return Err(not_begun(&error));
            }
        }
        entry.set(ProcessState::Running, None);
        if let Some(claim) = claim {
            claim.finish_with_process(&entry.meta.process_id, entry.meta.created_at_ms);
        }
        let begun = BegunProcess {
            process_id: entry.meta.process_id.clone(),
            attached: false,
            background: entry.meta.background,
        };
        self.follow(entry);
        Ok(begun)
    }

    fn meta(&self, new: NewProcess) -> Meta {
        let limits = &self.shared.settings.limits;
        let mut notes = Vec::new();
        let (command, background) = match shell::without_lone_ampersand(&new.command) {
            Some(command) => {
                if !new.background {
                    notes.push(
                        "The command ended in &: it runs in the background. Follow it with process_output.".into(),
                    );
                }
                (command.to_owned(), true)
            }
            None => (new.command, new.background),
        };
        Meta {
            process_id: String::new(),
            token: new.call.as_ref().map(|call| call.token.clone()),
            digest: new.call.map(|call| call.digest),
            chat_id: new.chat_id,
            ancestors: new.ancestors,
            command,
            workdir: new.workdir.display().to_string(),
            background,
            notes,
            shell: new.shell.display().to_string(),
            env: new.env,
            created_at_ms: storage::now_ms(),
            kernel_boot_id: self.shared.kernel_boot_id.clone(),
            spill_head_bytes: limits.spill_head_bytes,
            spill_tail_bytes: limits.spill_tail_bytes,
            pipe_after_kill_ms: limits.pipe_after_kill_ms,
            pipe_after_exit_ms: limits.pipe_after_exit_ms,
        }
    }

    /// Takes a place among the running ones. It counts from here on.
    async fn reserve(&self, mut meta: Meta) -> Result<Arc<Entry>, ApiError> {
        let processes = self.shared.folder.clone();
        let made = tokio::task::spawn_blocking(move || begin::make_folder(&processes))
            .await
            .map_err(|error| ApiError::internal(&error))?;
        self.note_health(made.as_ref().err());
        let (id, folder) = made.map_err(|error| not_begun(&error))?;
        meta.process_id = id;
        let refused = {
            let mut entries = self.lock();
            match too_many(&entries, meta.chat_id.as_deref(), &self.shared.settings.limits) {
                Some(refused) => refused,
                None => {
                    let entry = Arc::new(Entry::new(meta, folder, ProcessState::Starting, None));
                    entries.insert(entry.meta.process_id.clone(), Arc::clone(&entry));
                    return Ok(entry);
                }
            }
        };
        let _ = std::fs::remove_dir(&folder);
        Err(refused)
    }

    async fn start(&self, entry: &Arc<Entry>) -> io::Result<()> {
        let written = Arc::clone(entry);
        let locked = tokio::task::spawn_blocking(move || begin::write_meta(&written.folder, &written.meta))
            .await
            .map_err(io::Error::other)?;
        self.note_health(locked.as_ref().err());
        begin::start_shim(&self.shared.settings.program, &entry.folder, locked?).await
    }

    /// Tells the server when the agent cannot use its own folder, and when it can again.
    fn note_health(&self, fault: Option<&io::Error>) {
        if self.shared.broken.swap(fault.is_some(), Ordering::Relaxed) != fault.is_some() {
            let broken = fault.map(|error| format!("the workspace agent cannot use its own folder: {error}"));
            self.shared.events.push(EventKind::Health { broken });
        }
    }

    fn follow(&self, entry: Arc<Entry>) {
        let (events, stop) = (self.shared.events.clone(), self.shared.stop.clone());
        let ledger = Arc::clone(&self.shared.ledger);
        tokio::spawn(async move {
            tokio::select! {
                () = entry.follow() => {}
                // The command goes on; the next agent reads it back.
                () = stop.cancelled() => return,
            }
            let status = entry.status();
            if status.state == ProcessState::Lost {
                keep_token(ledger, token_record(&entry.meta)).await;
            }
            events.push(EventKind::ProcessExit {
                process_id: entry.meta.process_id.clone(),
                chat_id: entry.meta.chat_id.clone(),
                exit_code: status.exit.as_ref().and_then(|exit| exit.exit_code),
                signal: status.exit.and_then(|exit| exit.signal),
                state: status.state,
            });
        });
    }

    /// Running first, then those that left something running, newest first.
    pub(crate) async fn list(&self, caller: &Caller) -> Result<Vec<ProcessSummary>, ApiError> {
        let visible: Vec<Arc<Entry>> =
            self.lock().values().filter(|entry| is_visible(&entry.meta, caller)).map(Arc::clone).collect();
        tokio::task::spawn_blocking(move || {
            let mut entries: Vec<_> = visible.iter().map(|entry| (entry.left_running(), entry)).collect();
            entries.sort_by_key(|(left, entry)| {
                std::cmp::Reverse((entry.is_running(), !left.is_empty(), entry.meta.created_at_ms))
            });
            entries.truncate(LISTED);
            // One that is removed at this moment is left out.
            entries.into_iter().filter_map(|(left, entry)| view::summary(entry, left).ok()).collect()
        })
        .await
        .map_err(|error| ApiError::internal(&error))
    }

    /// A part of a command's output. Waits up to `wait`: a page until it has something or nothing more can
    /// come, head and tail until the end.
    ///
    /// # Cancel safety
    /// Looking has no effect.
    pub(crate) async fn output(
        &self,
        caller: &Caller,
        process_id: &str,
        part: Part,
        wait: Duration,
    ) -> Result<ProcessOutput, ApiError> {
        let entry = self.visible(caller, process_id)?;
        let deadline = Instant::now() + wait;
        let mut status = entry.watch();
        loop {
            status.mark_unchanged();
            let running = status.borrow().is_running();
            let waits = running && Instant::now() < deadline;
            if part != Part::HeadAndTail || !waits {
                let answer = self.look(&entry, part).await?;
                let has_some = answer.offset.is_some_and(|offset| answer.next_offset > offset) || answer.gap.is_some();
                if !waits || !answer.running || (part != Part::HeadAndTail && has_some) {
                    return Ok(answer);
                }
            }
            tokio::select! {
                // Marked as seen above, so a change since then ends this at once.
                _ = status.changed() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    async fn look(&self, entry: &Arc<Entry>, part: Part) -> Result<ProcessOutput, ApiError> {
        let (entry, limits) = (Arc::clone(entry), self.shared.settings.limits.clone());
        tokio::task::spawn_blocking(move || view::output(&entry, part, &limits))
            .await
            .map_err(|error| ApiError::internal(&error))?
            .map_err(|error| ApiError::internal(&error))
    }

    pub(crate) async fn signal(
        &self,
        caller: &Caller,
        process_id: &str,
        request: SignalRequest,
    ) -> Result<SignalAnswer, ApiError> {
        let entry = self.visible(caller, process_id)?;
        let name = request.signal.as_str();
        let is_running = entry.is_running();
        let sent = entry.signal(request.signal, request.kill_after_ms).await;
        if sent.map_err(|error| ApiError::internal(&error))? {
            let whom = if is_running { "process" } else { "what was left running of process" };
            return Ok(SignalAnswer { success: true, message: format!("Sent {name} to {whom} {process_id}.") });
        }
        Err(ApiError::new(
            StatusCode::CONFLICT,
            code::PROCESS_ENDED,
            format!("Process {process_id} has ended already."),
        ))
    }

    /// Waits until a command has ended and returns its exit code and signal.
    pub(crate) async fn ended(&self, process_id: &str) -> Option<(Option<i32>, ProcessState)> {
        let entry = self.lock().get(process_id).cloned()?;
        let mut status = entry.watch();
        let status = status.wait_for(|status| !status.is_running()).await.ok()?;
        Some((status.exit.as_ref().and_then(|exit| exit.exit_code), status.state))
    }

    /// Removes ended commands that are too old, too many or whose output is too much, oldest end first.
    /// Blocks.
    pub(crate) fn prune(&self) {
        let limits = &self.shared.settings.limits;
        let now = storage::now_ms();
        let ms = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
        let mut ended: Vec<(i64, Arc<Entry>)> = self
            .lock()
            .values()
            .filter(|entry| !entry.is_running())
            .map(|entry| {
                let end = entry.status().exit.map_or(entry.meta.created_at_ms, |exit| exit.ended_at_ms);
                (end, Arc::clone(entry))
            })
            .collect();
        ended.sort_by_key(|(end, _)| std::cmp::Reverse(*end));
        let mut bytes = 0;
        for (rank, (end, entry)) in ended.iter().enumerate() {
            bytes += folder_bytes(&entry.folder);
            let kept = rank < limits.ended_kept
                && bytes <= limits.spill_total_bytes
                && *end >= now.saturating_sub(ms(limits.ended_kept_ms));
            if kept || !entry.left_running().is_empty() {
                continue;
            }
            if let Err(error) = self.remove(entry) {
                tracing::warn!(process.id = %entry.meta.process_id, error = %Chain(&error), "an ended command cannot be removed");
            }
        }
        let before = now.saturating_sub(ms(limits.tokens_kept_ms));
        self.shared.ledger.prune(before, |id| self.lock().contains_key(id));
    }

    fn remove(&self, entry: &Entry) -> io::Result<()> {
        if let Some(record) = token_record(&entry.meta) {
            self.shared.ledger.keep(&record)?;
        }
        self.lock().remove(&entry.meta.process_id);
        match std::fs::remove_dir_all(&entry.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn visible(&self, caller: &Caller, process_id: &str) -> Result<Arc<Entry>, ApiError> {
        self.lock().get(process_id).filter(|entry| is_visible(&entry.meta, caller)).cloned().ok_or_else(|| {
            ApiError::new(
                StatusCode::NOT_FOUND,
                code::UNKNOWN_PROCESS,
                format!("There is no process {process_id}. process_list names those of this chat."),
            )
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Entry>>> {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_begun(error: &io::Error) -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        code::INTERNAL,
        format!(
            "Nothing ran: the workspace agent cannot begin commands ({error}). Free disk space or end processes if \
             that is the reason, else stop and start the workspace."
        ),
    )
}

/// A command is its chat's, and that chat's ancestors may see it. The workspace's own are for nobody.
fn is_visible(meta: &Meta, caller: &Caller) -> bool {
    match (&meta.chat_id, &caller.chat_id) {
        (Some(owner), Some(chat)) => owner == chat || meta.ancestors.contains(chat),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn too_many(entries: &HashMap<String, Arc<Entry>>, chat_id: Option<&str>, limits: &AgentLimits) -> Option<ApiError> {
    chat_id?;
    let running = || entries.values().filter(|entry| entry.meta.chat_id.is_some() && entry.is_running());
    let of_chat = running().filter(|entry| entry.meta.chat_id.as_deref() == chat_id).count();
    let (whose, limit) = if of_chat >= limits.processes_per_chat {
        ("this chat", limits.processes_per_chat)
    } else if running().count() >= limits.processes {
        ("this workspace", limits.processes)
    } else {
        return None;
    };
    Some(ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        code::TOO_MANY_PROCESSES,
        format!("{limit} processes of {whose} run already. Wait for one to end, or end one with process_signal."),
    ))
}

/// The folder of a lost command may be gone or about to go, and then nothing else says that its token was used.
async fn keep_token(ledger: Arc<Ledger>, record: Option<TokenRecord>) {
    let Some(record) = record else { return };
    match tokio::task::spawn_blocking(move || ledger.keep(&record)).await.map_err(io::Error::other) {
        Ok(Ok(())) => {}
        Ok(Err(error)) | Err(error) => {
            tracing::error!(error = %Chain(&error), "the token of a lost command cannot be kept");
        }
    }
}

fn token_record(meta: &Meta) -> Option<TokenRecord> {
    Some(TokenRecord {
        token: meta.token.clone()?,
        digest: meta.digest.clone()?,
        at_ms: meta.created_at_ms,
        process_id: Some(meta.process_id.clone()),
        result: None,
    })
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(files) = std::fs::read_dir(folder) else {
        return 0;
    };
    files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum()
}
