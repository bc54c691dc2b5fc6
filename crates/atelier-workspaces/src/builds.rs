//! Builds: starting, stopping and deleting workspaces as jobs that outlive a request.
//!
//! ```text
//! pending --claimed--> running --all steps done--> succeeded
//!    \                   \--a step failed--------> failed
//! ```
//!
//! A job is driven by one task of the replica that holds the workspace's host. Every step can be repeated,
//! so a job that a restart cut short is simply run again from its first step. What runs is compared with
//! what should run on a signal and on a timer: a tree that is gone makes a finished stop with the reason
//! `lost`, a passed deadline makes a stop with the reason `autostop`.

mod disk;
mod manifest;
pub(crate) mod parameters;
mod reserve;
mod token;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atelier_daemon::workspace::{Access, AgentRequest, CallContext, Method, WorkspaceConnection as _};
use atelier_domain::{BuildId, Chain, ChatId, SharedClock, Timestamp, WorkspaceId};
use atelier_store::{
    BuildEnd, BuildNew, BuildRow, BuildState, LogNew, Store, StoreError, Transition, WorkspaceError, WorkspaceRow,
    build_create_in_tx, build_latest_in_tx, workspace_lock_in_tx,
};
use atelier_workspace_protocol::{AgentLimits, ShutdownRequest, run_file};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connections::Connections;
use crate::demo;
use crate::drivers::local::{DriverError, LocalDriver, Sandbox, Start};
use crate::templates::{BUILTIN_DEMO, DRIVER_LOCAL, Facts, Fault, ResolvedSpec, SpecRules, SpecSource, TemplateSpec};
use reserve::Reserve;

pub(crate) use token::fresh as fresh_token;

/// Bytes of one line of a build's log.
const LOG_LINE_BYTES: usize = 8 * 1024;
/// Time until a job that met a failing database looks again.
const RETRY: Duration = Duration::from_secs(1);

/// Runs the builds of this host. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Builds {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    driver: LocalDriver,
    connections: Connections,
    clock: SharedClock,
    data_dir: PathBuf,
    host_id: String,
    rules: SpecRules,
    every: Duration,
    agent_timeout: Duration,
    agent_limits: Option<AgentLimits>,
    reserve: Reserve,
    /// Workspaces that were ended to keep the disk from filling up, with what their log says.
    ended_for_disk: Mutex<HashMap<WorkspaceId, String>>,
    /// Builds that a task drives now.
    driven: Mutex<HashSet<BuildId>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    look: tokio::sync::Notify,
}

pub(crate) struct BuildsParts {
    pub(crate) store: Store,
    pub(crate) driver: LocalDriver,
    pub(crate) connections: Connections,
    pub(crate) clock: SharedClock,
    pub(crate) data_dir: PathBuf,
    pub(crate) host_id: String,
    pub(crate) rules: SpecRules,
    pub(crate) every: Duration,
    pub(crate) agent_timeout: Duration,
    pub(crate) agent_limits: Option<AgentLimits>,
    pub(crate) disk_reserve_bytes: u64,
}

/// Why a build failed, as its row says.
#[derive(Debug)]
struct Failure {
    code: &'static str,
    message: String,
}

impl Failure {
    fn failed(message: impl Into<String>) -> Self {
        Self { code: "build_failed", message: message.into() }
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        let code = match &error {
            DriverError::SandboxUnavailable(_) => "sandbox_unavailable",
            DriverError::Refused(_) | DriverError::Io { .. } => "build_failed",
        };
        let mut message = error.to_string();
        if let DriverError::Io { source, .. } = &error {
            message = format!("{message}: {source}");
        }
        Self { code, message }
    }
}

/// What ends a run of a job.
enum Ended {
    Failed(Failure),
    /// The database did not answer: the job is run again.
    Again(StoreError),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Again(error)
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<DriverError> for Ended {
    fn from(error: DriverError) -> Self {
        Self::Failed(error.into())
    }
}

impl Builds {
    pub(crate) fn new(parts: BuildsParts) -> Self {
        let BuildsParts {
            store,
            driver,
            connections,
            clock,
            data_dir,
            host_id,
            rules,
            every,
            agent_timeout,
            agent_limits,
            disk_reserve_bytes,
        } = parts;
        let reserve = Reserve::new(&data_dir, disk_reserve_bytes);
        Self {
            shared: Arc::new(Shared {
                store,
                driver,
                connections,
                clock,
                data_dir,
                host_id,
                rules,
                every,
                agent_timeout,
                agent_limits,
                reserve,
                ended_for_disk: Mutex::default(),
                driven: Mutex::default(),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
                look: tokio::sync::Notify::new(),
            }),
        }
    }

    pub(crate) fn rules(&self) -> &SpecRules {
        &self.shared.rules
    }

    pub(crate) fn host_id(&self) -> &str {
        &self.shared.host_id
    }

    /// Goes on with what a restart cut short, takes running workspaces back, and keeps looking.
    pub(crate) async fn resume(&self) -> Result<(), StoreError> {
        self.reconcile().await?;
        self.keep_reserve();
        let builds = self.clone();
        self.shared.tasks.spawn(async move {
            loop {
                // All three may be dropped: a permit of the signal stays.
                tokio::select! {
                    () = builds.shared.clock.sleep(builds.shared.every) => {}
                    () = builds.shared.look.notified() => {}
                    () = builds.shared.stop.cancelled() => break,
                }
                if let Err(error) = builds.reconcile().await {
                    tracing::warn!(error = %Chain(&error), "workspaces cannot be looked after; trying again");
                }
            }
        });
        Ok(())
    }

    /// Drives a build in the background, unless a task does already.
    pub(crate) fn drive(&self, build: BuildId) {
        if self.shared.stop.is_cancelled() || !self.driven().insert(build) {
            return;
        }
        let builds = self.clone();
        self.shared.tasks.spawn(async move {
            // A driver step is not cut by the server's end: what it began is found again by the next one.
            while let Err(error) = builds.run(build).await {
                tracing::warn!(build.id = %build, error = %Chain(&error), "a build waits for the database");
                tokio::select! {
                    () = builds.shared.clock.sleep(RETRY) => {}
                    () = builds.shared.stop.cancelled() => break,
                }
            }
            builds.driven().remove(&build);
        });
    }

    fn driven(&self) -> std::sync::MutexGuard<'_, HashSet<BuildId>> {
        self.shared.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops looking and waits a moment for steps that are under way.
    pub(crate) async fn shut_down(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.shared.tasks.wait()).await;
    }

    async fn run(&self, id: BuildId) -> Result<(), StoreError> {
        let store = &self.shared.store;
        let Some(build) = store.build_get(id).await? else { return Ok(()) };
        if build.state.is_finished() {
            return Ok(());
        }
        let Some(workspace) = store.workspace_get_for_system(build.workspace_id).await? else { return Ok(()) };
        if build.state == BuildState::Pending {
            self.advance(&build, BuildState::Running, None, None).await?;
        }
        let ended = if workspace.host_id == self.shared.host_id {
            match build.transition {
                Transition::Start => self.start(&build, &workspace).await,
                Transition::Stop => self.stop(&workspace).await.map(|()| None),
                Transition::Delete => self.delete(&workspace).await.map(|()| None),
            }
        } else {
            Err(Ended::Failed(Failure {
                code: "driver_host_unavailable",
                message: "the host that holds this workspace has no running server".into(),
            }))
        };
        match ended {
            Ok(deadline) => self.advance(&build, BuildState::Succeeded, None, deadline).await?,
            Err(Ended::Again(error)) => return Err(error),
            Err(Ended::Failed(failure)) => {
                tracing::warn!(build.id = %id, code = failure.code, reason = %failure.message, "a build failed");
                if build.transition == Transition::Start && workspace.host_id == self.shared.host_id {
                    // Undo what this build created; the home folder stays.
                    if let Err(error) = self.shared.driver.stop(workspace.id).await {
                        tracing::warn!(build.id = %id, error = %Chain(&error), "a failed build cannot be undone");
                    }
                    self.shared.connections.close_socket(workspace.id);
                    store.agents_off(workspace.id).await?;
                }
                self.log(&build, "error", "create", &failure.message).await?;
                self.advance(&build, BuildState::Failed, Some(failure), None).await?;
            }
        }
        Ok(())
    }

    async fn advance(
        &self,
        build: &BuildRow,
        state: BuildState,
        failure: Option<Failure>,
        deadline: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let (error, error_code) =
            failure.map_or((None, None), |failure| (Some(failure.message), Some(failure.code.to_owned())));
        let end = BuildEnd { state, error, error_code, deadline };
        self.shared.store.build_advance(build.id, end, self.shared.clock.now()).await?;
        self.shared.connections.changes().wake(build.workspace_id);
        Ok(())
    }

    async fn log(&self, build: &BuildRow, level: &str, stage: &str, output: &str) -> Result<(), StoreError> {
        let line = LogNew {
            log_source: "server".into(),
            log_level: level.into(),
            stage: stage.into(),
            output: atelier_domain::text::head(output, LOG_LINE_BYTES).to_owned(),
        };
        self.shared.store.log_append(build.id, None, vec![line], self.shared.clock.now()).await
    }

    /// Returns the deadline of the started workspace.
    async fn start(&self, build: &BuildRow, workspace: &WorkspaceRow) -> Result<Option<Timestamp>, Ended> {
        let Shared { store, driver, connections, .. } = &*self.shared;
        let agent = store.agent_of_build(build.id).await?.ok_or_else(|| Failure::failed("the build has no agent"))?;
        let key = build.id.to_string();
        let (spec, resolved) = self.resolve(build, workspace).await?;
        let ttl = workspace.ttl_ms.unwrap_or(0);
        let deadline = || deadline(self.shared.clock.now(), ttl, spec.autostop.max_lifetime_ms);

        driver.prepare(workspace.id).await?;
        if driver.running(workspace.id)?.as_deref() == Some(key.as_str()) {
            // Started before a restart cut the build short: the tree has its token already.
            self.adopt(workspace.id).await?;
            return Ok(deadline());
        }
        self.check_room()?;
        self.forget_ended_for_disk(workspace.id);
        self.log(build, "info", "prepare", &format!("preparing workspace {}", workspace.name)).await?;
        let mut files = Vec::new();
        let is_demo = resolved.repository.as_ref().is_some_and(|repository| repository.url == BUILTIN_DEMO);
        if is_demo {
            files.push((demo::BUNDLE, self.demo_bundle().await?));
        }
        // The token of an attempt that was cut short is known to nobody; this one takes its place.
        let (token, hash) = token::fresh();
        store.agent_token_set(agent.id, hash).await?;
        let places = driver.places(workspace.id)?;
        let owner = store.user_get(workspace.owner_id).await?;
        let manifest = manifest::manifest(&manifest::ManifestParts {
            build,
            workspace,
            owner: owner.as_ref(),
            spec: &resolved,
            places: &places,
            sandbox: driver.sandbox().map_or("none", Sandbox::name),
            limits: self.shared.agent_limits.as_ref(),
        });
        let manifest = serde_json::to_vec(&manifest).map_err(|error| Failure::failed(error.to_string()))?;
        files.push((run_file::MANIFEST, manifest));
        files.push((run_file::TOKEN, token.into_bytes()));
        connections
            .serve_socket(workspace.id, driver.listen(workspace.id).await?)
            .map_err(|error| Failure::failed(format!("cannot listen on the workspace's socket: {error}")))?;
        let started = driver
            .start(Start { workspace_id: workspace.id, key: &key, hostname: &workspace.name, spec: &resolved, files })
            .await?;
        for note in &started.notes {
            self.log(build, "warn", "create", note).await?;
        }
        let sandbox = driver.sandbox().map_or("none", Sandbox::name);
        self.log(build, "info", "create", &format!("the workspace runs (sandbox: {sandbox})")).await?;
        self.watch(workspace.id);
        self.count(workspace.id);
        Ok(deadline())
    }

    async fn resolve(&self, build: &BuildRow, workspace: &WorkspaceRow) -> Result<(TemplateSpec, ResolvedSpec), Ended> {
        let version = self
            .shared
            .store
            .template_version_get(build.template_version_id)
            .await?
            .ok_or_else(|| Failure::failed("the template's version is gone"))?;
        let spec: serde_json::Value = serde_json::from_str(&version.spec)
            .map_err(|error| Failure::failed(format!("the template cannot be read: {error}")))?;
        // A listed host that is never dialled is a fault of a new template, and no reason to keep an old one down.
        let rules = SpecRules { outgoing: None, ..self.shared.rules.clone() };
        let (spec, _) = TemplateSpec::parse(DRIVER_LOCAL, SpecSource::Json(&spec), &rules)
            .map_err(|faults| Failure::failed(format!("the template does not fit this server: {}", words(&faults))))?;
        let values = parameters::open(&self.shared.store, workspace.id, &build.parameters)
            .map_err(|reason| Failure::failed(format!("the parameters cannot be read: {reason}")))?;
        let facts = Facts {
            workspace_id: workspace.id.to_string(),
            workspace_name: workspace.name.clone(),
            owner_username: workspace.owner_name.clone(),
        };
        let resolved =
            spec.resolve(&facts, &values, &self.shared.rules).map_err(|faults| Failure::failed(words(&faults)))?;
        Ok((spec, resolved))
    }

    async fn demo_bundle(&self) -> Result<Vec<u8>, Failure> {
        let data_dir = self.shared.data_dir.clone();
        tokio::task::spawn_blocking(move || demo::bundle(&data_dir).and_then(std::fs::read))
            .await
            .map_err(|error| Failure::failed(error.to_string()))?
            .map_err(|error| Failure::failed(format!("the demo repository cannot be made: {error}")))
    }

    async fn stop(&self, workspace: &WorkspaceRow) -> Result<(), Ended> {
        self.ask_to_end(workspace.id).await;
        self.shared.driver.stop(workspace.id).await?;
        self.let_go(workspace.id).await?;
        Ok(())
    }

    /// Asks a connected agent to run the shutdown script and end, and waits for that. The driver ends what
    /// does not.
    async fn ask_to_end(&self, workspace: WorkspaceId) {
        let Some(link) = self.shared.connections.link_of(workspace) else { return };
        let grace = self.shared.driver.stop_grace();
        // Half of it for the script, the rest for processes that must be killed.
        let deadline_ms = u64::try_from((grace / 2).as_millis()).unwrap_or(u64::MAX);
        let Ok(body) = serde_json::to_vec(&ShutdownRequest { deadline_ms }) else { return };
        let request = AgentRequest {
            method: Method::Post,
            path: "/v1/shutdown".into(),
            context: CallContext { chat_id: ChatId::nil(), ancestors: Vec::new(), access: Access::Full, call: None },
            body: Some(body.into()),
            max_response_bytes: 64 * 1024,
        };
        let asked = async {
            match link.request(request).await {
                Ok(answer) if answer.status >= 300 => {
                    tracing::debug!(workspace.id = %workspace, answer.status, "the agent does not end");
                }
                // The link may end with the agent before the answer is here.
                Ok(_) | Err(_) => self.shared.driver.ended(workspace).await,
            }
        };
        let _ = tokio::time::timeout(grace, asked).await;
    }

    async fn delete(&self, workspace: &WorkspaceRow) -> Result<(), Ended> {
        self.ask_to_end(workspace.id).await;
        self.shared.driver.delete(workspace.id).await?;
        self.let_go(workspace.id).await?;
        Ok(())
    }

    /// The tree is gone: no socket, no link, no agent.
    async fn let_go(&self, workspace: WorkspaceId) -> Result<(), StoreError> {
        self.shared.reserve.forget(workspace);
        self.forget_ended_for_disk(workspace);
        self.shared.connections.close_socket(workspace);
        self.shared.connections.close_links(workspace);
        self.shared.store.agents_off(workspace).await
    }

    /// Serves a running tree: its socket made anew, its end watched.
    async fn adopt(&self, workspace: WorkspaceId) -> Result<(), Failure> {
        let listener = self.shared.driver.listen(workspace).await?;
        self.shared
            .connections
            .serve_socket(workspace, listener)
            .map_err(|error| Failure::failed(format!("cannot listen on the workspace's socket: {error}")))?;
        self.watch(workspace);
        self.count(workspace);
        Ok(())
    }

    /// Looks after the workspaces again as soon as this one's tree has ended.
    fn watch(&self, workspace: WorkspaceId) {
        let builds = self.clone();
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = builds.shared.driver.ended(workspace) => builds.shared.look.notify_one(),
                () = builds.shared.stop.cancelled() => {}
            }
        });
    }

    /// Compares what should run on this host with what runs. Safe to repeat.
    async fn reconcile(&self) -> Result<(), StoreError> {
        let Shared { store, host_id, .. } = &*self.shared;
        for build in store.builds_unfinished_of_host_for_system(host_id).await? {
            self.drive(build);
        }
        for id in store.workspaces_of_host_for_system(host_id).await? {
            let Some(build) = store.build_latest(id).await? else { continue };
            if build.transition == Transition::Start && build.state == BuildState::Succeeded {
                self.look_after(id, &build).await?;
            }
        }
        Ok(())
    }

    async fn look_after(&self, workspace: WorkspaceId, build: &BuildRow) -> Result<(), StoreError> {
        let Shared { store, driver, connections, .. } = &*self.shared;
        match driver.running(workspace) {
            Ok(Some(key)) if key == build.id.to_string() => {}
            Ok(_) => {
                tracing::warn!(workspace.id = %workspace, "the workspace's processes are gone");
                return self.lost(workspace, build).await;
            }
            Err(error) => {
                tracing::warn!(workspace.id = %workspace, error = %Chain(&error), "cannot tell whether the workspace runs");
                return Ok(());
            }
        }
        if !connections.serves(workspace)
            && let Err(failure) = self.adopt(workspace).await
        {
            tracing::warn!(workspace.id = %workspace, reason = %failure.message, "the workspace cannot be taken back");
        }
        let now = self.shared.clock.now();
        if let Some(agent) = store.agent_of_build(build.id).await?
            && agent.first_connected_at.is_none()
            && agent.status == atelier_store::AgentStatus::Connecting
            && now.duration_since(build.updated_at).unsigned_abs() > self.shared.agent_timeout
        {
            store.agent_timeout(agent.id).await?;
            connections.changes().wake(workspace);
        }
        if build.deadline.is_some_and(|deadline| deadline <= now) {
            self.autostop(workspace, build).await?;
        }
        Ok(())
    }

    /// Notes the loss as a stop that is finished.
    async fn lost(&self, workspace: WorkspaceId, build: &BuildRow) -> Result<(), StoreError> {
        // What the tree left, for instance its token.
        if let Err(error) = self.shared.driver.stop(workspace).await {
            tracing::warn!(workspace.id = %workspace, error = %Chain(&error), "what a lost workspace left cannot be removed");
        }
        let for_disk = self.ended_for_disk(workspace);
        let reason = if for_disk.is_some() { "disk_full" } else { "lost" };
        if let Some(stop) = self.stop_build(workspace, build, reason, false).await? {
            if let Some(words) = for_disk {
                self.log(&stop, "warn", "stop", &words).await?;
            }
            self.advance(&stop, BuildState::Succeeded, None, None).await?;
        }
        self.let_go(workspace).await?;
        self.shared.connections.changes().wake(workspace);
        Ok(())
    }

    async fn autostop(&self, workspace: WorkspaceId, build: &BuildRow) -> Result<(), StoreError> {
        if let Some(stop) = self.stop_build(workspace, build, "autostop", true).await? {
            self.drive(stop.id);
        }
        Ok(())
    }

    /// Inserts a stop if `seen` is still the newest build, and, with `overdue`, its deadline has passed.
    async fn stop_build(
        &self,
        workspace: WorkspaceId,
        seen: &BuildRow,
        reason: &'static str,
        overdue: bool,
    ) -> Result<Option<BuildRow>, StoreError> {
        let now = self.shared.clock.now();
        let stop = BuildNew {
            id: BuildId::new(),
            template_version_id: seen.template_version_id,
            transition: Transition::Stop,
            reason: reason.into(),
            initiator_id: seen.initiator_id,
            parameters: seen.parameters.clone(),
            call: None,
            agent: None,
        };
        let seen = seen.id;
        let inserted = self
            .shared
            .store
            .write("workspace_stop_by_server", move |tx| {
                Box::pin(async move {
                    if !workspace_lock_in_tx(tx, workspace).await? {
                        return Err(WorkspaceError::NotFound);
                    }
                    // Read again behind the lock: a use may have moved the deadline.
                    let latest = build_latest_in_tx(tx, workspace).await?.filter(|build| build.id == seen);
                    let due = |build: &BuildRow| !overdue || build.deadline.is_some_and(|at| at <= now);
                    if !latest.as_ref().is_some_and(due) {
                        return Err(WorkspaceError::NotFound);
                    }
                    build_create_in_tx(tx, workspace, &stop, now).await
                })
            })
            .await;
        match inserted {
            Ok(stop) => Ok(Some(stop)),
            Err(WorkspaceError::Store(error)) => Err(error),
            // Somebody else was faster, or the workspace was used.
            Err(
                WorkspaceError::NotFound
                | WorkspaceError::BuildInProgress(_)
                | WorkspaceError::TooMany
                | WorkspaceError::TooManyRunning
                | WorkspaceError::NameTaken,
            ) => Ok(None),
        }
    }
}

/// When a workspace that starts now is stopped by itself.
fn deadline(now: Timestamp, ttl_ms: i64, max_lifetime_ms: i64) -> Option<Timestamp> {
    let span = match (ttl_ms, max_lifetime_ms) {
        (0, 0) => return None,
        (0, bound) => bound,
        (ttl, 0) => ttl,
        (ttl, bound) => ttl.min(bound),
    };
    now.checked_add(jiff::SignedDuration::from_millis(span)).ok()
}

pub(crate) fn words(faults: &[Fault]) -> String {
    let faults: Vec<String> = faults.iter().map(|fault| format!("{} {}", fault.field, fault.detail)).collect();
    faults.join("; ")
}

/// The id of this host: made once and kept in the data folder.
pub(crate) fn host_id(data_dir: &Path) -> std::io::Result<String> {
    let file = data_dir.join("host_id");
    match std::fs::read_to_string(&file) {
        Ok(id) if !id.trim().is_empty() => Ok(id.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(_) | Err(_) => {
            let id = uuid::Uuid::now_v7().to_string();
            let mut fresh = tempfile::NamedTempFile::new_in(data_dir)?;
            std::io::Write::write_all(&mut fresh, id.as_bytes())?;
            fresh.as_file().sync_all()?;
            fresh.persist(&file).map_err(|error| error.error)?;
            Ok(id)
        }
    }
}
