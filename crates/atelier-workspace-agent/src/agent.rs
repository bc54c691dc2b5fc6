//! The agent of one workspace: what its parts share.

use atelier_domain::Chain;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atelier_workspace_protocol::{AgentLimits, Hello, Manifest, PROTOCOL};
use tokio::sync::{OnceCell, watch};

use crate::environment::Environment;
use crate::events::Events;
use crate::files::Files;
use crate::ledger::Ledger;
use crate::processes::{ProcessSettings, Processes};
use crate::{api, paths, startup};

/// How often ended commands are looked through.
const PRUNE: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
pub struct AgentConfig {
    pub home: PathBuf,
    /// The agent's own folder, kept over restarts. It lies outside of home, where commands tidy up.
    pub state: PathBuf,
    /// The program that understands `agent shim`.
    pub program: PathBuf,
    pub manifest: Manifest,
    /// The agent's own environment; commands get little of it.
    pub environment: Vec<(String, String)>,
}

/// Cheap to clone. When the last clone is dropped, commands go on; the next agent on the same state folder
/// reads them back.
#[derive(Clone)]
pub struct Agent {
    shared: Arc<Shared>,
}

struct Shared {
    config: AgentConfig,
    limits: AgentLimits,
    environment: Environment,
    events: Events,
    ledger: Arc<Ledger>,
    processes: Processes,
    files: Arc<Files>,
    boot_id: String,
    git_version: OnceCell<Option<String>>,
    shutdown: watch::Sender<Option<Duration>>,
}

impl Agent {
    /// Reads back what the last agent left. Needs a runtime.
    ///
    /// # Errors
    /// The state folder cannot be made or read.
    pub fn open(config: AgentConfig) -> io::Result<Self> {
        let limits = config.manifest.limits.clone().unwrap_or_default();
        let environment = Environment::new(config.environment.clone(), &config.home, &config.manifest);
        let events = Events::new(limits.events, limits.event_bytes);
        crate::storage::make_folder(&config.state)?;
        let ledger = Ledger::open(&config.state)?;
        let settings =
            ProcessSettings { state: config.state.clone(), program: config.program.clone(), limits: limits.clone() };
        let processes = Processes::open(settings, Arc::clone(&ledger), events.clone())?;
        let files = Arc::new(Files::open(&config.state, limits.clone(), Arc::clone(&ledger))?);
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                limits,
                environment,
                events,
                ledger,
                processes,
                files,
                boot_id: uuid::Uuid::new_v4().to_string(),
                git_version: OnceCell::new(),
                shutdown: watch::Sender::new(None),
            }),
        })
    }

    /// Answers the server's requests.
    pub fn router(&self) -> axum::Router {
        api::router(self.clone())
    }

    /// Clones the repository and runs the start-up script, if this start has not done so.
    pub async fn start_up(&self) {
        startup::run(self).await;
    }

    /// Removes what is old, now and then, without end.
    pub(crate) async fn maintain(&self) {
        loop {
            let processes = self.processes().clone();
            if let Err(error) = tokio::task::spawn_blocking(move || processes.prune()).await {
                tracing::warn!(error = %Chain(&error), "old commands cannot be removed");
            }
            tokio::time::sleep(PRUNE).await;
        }
    }

    #[must_use]
    pub fn ledger_id(&self) -> &str {
        self.shared.ledger.id()
    }

    /// Made anew by each [`Agent::open`].
    #[must_use]
    pub fn boot_id(&self) -> &str {
        &self.shared.boot_id
    }

    pub(crate) fn config(&self) -> &AgentConfig {
        &self.shared.config
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.shared.config.manifest
    }

    pub(crate) fn limits(&self) -> &AgentLimits {
        &self.shared.limits
    }

    pub(crate) fn home(&self) -> &Path {
        &self.shared.config.home
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.shared.environment
    }

    pub(crate) fn events(&self) -> &Events {
        &self.shared.events
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.shared.ledger
    }

    pub(crate) fn processes(&self) -> &Processes {
        &self.shared.processes
    }

    pub(crate) fn files(&self) -> &Arc<Files> {
        &self.shared.files
    }

    /// Where commands start: the template's folder, else the clone, else home; home also while the other
    /// one is not there.
    pub(crate) fn directory(&self) -> PathBuf {
        let home = self.home();
        let wanted = match &self.manifest().directory {
            Some(directory) => paths::resolve(home, home, directory).ok(),
            None => startup::clone_target(home, self.manifest()),
        };
        wanted.filter(|folder| folder.is_dir()).unwrap_or_else(|| home.to_owned())
    }

    pub(crate) async fn hello(&self) -> Hello {
        let git_version = self.shared.git_version.get_or_init(git_version).await.clone();
        Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: self.shared.boot_id.clone(),
            ledger_id: self.ledger_id().to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            user: self.environment().user(),
            home: self.home().display().to_string(),
            directory: self.directory().display().to_string(),
            shell: self.environment().shell().display().to_string(),
            git_version,
            capabilities: self.capabilities(),
            sandbox: self.manifest().sandbox.clone(),
            read_only_level: "none".to_owned(),
        }
    }

    fn capabilities(&self) -> Vec<String> {
        let proxy = self.manifest().proxy_port.map(|_| "proxy");
        ["processes", "files", "events", "context"].into_iter().chain(proxy).map(str::to_owned).collect()
    }

    /// The workspace is to end; the first one who says so decides by when.
    pub(crate) fn shut_down(&self, deadline: Duration) {
        self.shared.shutdown.send_if_modified(|asked| {
            let first = asked.is_none();
            asked.get_or_insert(deadline);
            first
        });
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shared.shutdown.borrow().is_some()
    }

    /// Ends when the workspace is to end, with the time there is for it.
    pub(crate) async fn shutdown_asked(&self) -> Duration {
        let mut asked = self.shared.shutdown.subscribe();
        match asked.wait_for(Option::is_some).await {
            Ok(deadline) => deadline.unwrap_or_default(),
            // The sender lives as long as this agent.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn git_version() -> Option<String> {
    let run = tokio::process::Command::new("git").arg("--version").stdin(std::process::Stdio::null()).output();
    let output = tokio::time::timeout(Duration::from_secs(5), run).await.ok()?.ok()?;
    let words = String::from_utf8(output.stdout).ok()?;
    Some(words.trim().strip_prefix("git version ")?.to_owned())
}
