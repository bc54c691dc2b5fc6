//! The daemon as a whole: what it is made of, how it starts, how it ends.

use std::sync::Arc;
use std::time::Duration;

use atelier_domain::{Chain, Incarnation, SharedClock};
use atelier_llm::ProviderRegistry;
use atelier_store::{ProviderPresets, Replica, Store, StoreError};
use atelier_stream::Hubs;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::chats::Chats;
use crate::commit::{CommitError, Commits};
use crate::executor::{Executor, ExecutorConfig, Places};
use crate::fault::Faults;
use crate::lease::Lease;
use crate::models::Models;
use crate::prompt::files::Files;
use crate::prompt::transcript::Transcripts;
use crate::pulse::Pulse;
use crate::turn::Turns;
use crate::workspace::Workspaces;

/// How often the chats of dead replicas are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often the workspaces of turns are kept from stopping (`workspaces.md` 6).
const WORKSPACES_EVERY: Duration = Duration::from_secs(30);

/// How often unused files are looked for, how long they are kept, and how many go at once.
const FILES_EVERY: Duration = Duration::from_hours(1);
const FILES_KEPT: Duration = Duration::from_hours(7 * 24);
const FILES_AT_ONCE: i64 = 1_000;

/// What a daemon is made of.
pub struct DaemonParts {
    pub store: Store,
    pub hubs: Hubs,
    pub registry: ProviderRegistry,
    pub presets: Arc<ProviderPresets>,
    pub workspaces: Arc<dyn Workspaces>,
    pub clock: SharedClock,
    pub faults: Faults,
    pub config: DaemonConfig,
}

#[derive(Clone, Debug, Default)]
pub struct DaemonConfig {
    pub executor: ExecutorConfig,
    /// URL of this replica, for its row.
    pub replica_url: String,
    pub build: String,
}

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("this replica could not be registered")]
    Register(#[source] StoreError),
    #[error("chats of an earlier run could not be taken over")]
    Recover(#[source] CommitError),
}

/// The running daemon of one replica.
pub struct Daemon {
    chats: Chats,
    commits: Commits,
    executor: Executor,
    lease: Arc<Pulse>,
    clock: SharedClock,
    upkeep: TaskTracker,
    stop_upkeep: CancellationToken,
}

impl Daemon {
    /// Takes over what an earlier life left, then begins to run turns.
    ///
    /// # Errors
    /// The store's.
    pub async fn start(parts: DaemonParts) -> Result<Self, StartError> {
        let DaemonParts { store, hubs, registry, presets, workspaces, clock, faults, mut config } = parts;
        let places = Places::new();
        let incarnation = Incarnation::new();
        let commits =
            Commits::new(store.clone(), hubs.clone(), Arc::clone(&clock), incarnation, Arc::clone(&places) as _);
        let coordination = store.coordination();
        let replica = Replica { incarnation, url: config.replica_url.clone(), build: config.build.clone() };
        let lease = Lease::join(&commits, &places, &clock, replica).await.map_err(StartError::Register)?;
        let taken_over = commits.leases_ended().await.map_err(StartError::Recover)?;
        if taken_over > 0 {
            tracing::info!("{taken_over} turns of an earlier run go on");
        }
        if coordination.has_leases() {
            // until hints come between replicas, pending chats are looked for every second
            config.executor.poll_every = config.executor.poll_every.min(Duration::from_secs(1));
        }
        let in_use = Arc::clone(&workspaces);
        let work = Arc::new(Turns {
            models: Models::new(store.clone(), registry, presets, Arc::clone(&clock)),
            store: store.clone(),
            commits: commits.clone(),
            workspaces,
            transcripts: Transcripts::default(),
            files: Files::default(),
            clock: Arc::clone(&clock),
            faults,
        });
        let executor = Executor::start(work, Arc::clone(&places), Arc::clone(&clock), config.executor);
        let daemon = Self {
            chats: Chats::new(commits.clone()),
            commits,
            executor,
            lease: lease.pulse(),
            clock,
            upkeep: TaskTracker::new(),
            stop_upkeep: CancellationToken::new(),
        };
        daemon.upkeep.spawn(lease.keep(daemon.stop_upkeep.clone()));
        if coordination.has_leases() {
            daemon.sweep();
        }
        daemon.remove_unused_files();
        daemon.keep_workspaces(in_use);
        Ok(daemon)
    }

    /// The operations on chats.
    #[must_use]
    pub const fn chats(&self) -> &Chats {
        &self.chats
    }

    /// This life of this replica.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.commits.incarnation()
    }

    /// A loop that should have done its work by now and has not, by its name.
    #[must_use]
    pub fn stuck_loop(&self) -> Option<&'static str> {
        if self.lease.is_stuck() {
            return Some("lease");
        }
        self.executor.is_stuck().then_some("search for pending chats")
    }

    /// Stops claiming, waits up to `grace` for turns to end, and hands over what is left.
    pub async fn shut_down(&self, grace: Duration) {
        self.executor.stop_claiming().await;
        self.executor.drain(&self.clock, grace).await;
        self.stop_upkeep.cancel();
        self.upkeep.close();
        self.upkeep.wait().await;
        let incarnation = self.commits.incarnation();
        if let Err(error) = self.commits.store().coordination().leave(incarnation).await {
            tracing::warn!(replica.id = %incarnation, "the lease of replica {incarnation} was not given back: {}", Chain(&error));
        }
    }

    /// Removes files that no message has used for a week.
    fn remove_unused_files(&self) {
        let (store, clock, stop) = (self.commits.store().clone(), Arc::clone(&self.clock), self.stop_upkeep.clone());
        self.upkeep.spawn(async move {
            loop {
                let now = clock.now();
                match store.files_remove_unused(now, now - FILES_KEPT, FILES_AT_ONCE).await {
                    Ok(0) => {}
                    Ok(removed) => tracing::info!("{removed} files that no message uses were removed"),
                    Err(error) => tracing::warn!("unused files could not be removed: {}", Chain(&error)),
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = clock.sleep(FILES_EVERY.mul_f64(rand::random_range(0.8..1.2))) => {}
                }
            }
        });
    }

    /// A running turn is activity in its workspace, and so is one that waits for its place.
    fn keep_workspaces(&self, workspaces: Arc<dyn Workspaces>) {
        let (commits, clock, stop) = (self.commits.clone(), Arc::clone(&self.clock), self.stop_upkeep.clone());
        self.upkeep.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = clock.sleep(WORKSPACES_EVERY.mul_f64(rand::random_range(0.8..1.0))) => {}
                }
                match commits.store().workspaces_in_use_for_system(commits.incarnation()).await {
                    Ok(in_use) => {
                        for workspace in in_use {
                            workspaces.touch(workspace).await;
                        }
                    }
                    Err(error) => tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the workspaces of turns could not be looked for"
                    ),
                }
            }
        });
    }

    /// Takes over the chats of dead replicas.
    fn sweep(&self) {
        let (commits, clock, stop) = (self.commits.clone(), Arc::clone(&self.clock), self.stop_upkeep.clone());
        self.upkeep.spawn(async move {
            loop {
                tokio::select! {
                    // a take-over that is under way ends before the token is looked at
                    () = stop.cancelled() => return,
                    () = clock.sleep(SWEEP_EVERY.mul_f64(rand::random_range(0.8..1.2))) => {}
                }
                match commits.leases_ended().await {
                    Ok(0) => {}
                    Ok(taken_over) => tracing::info!("{taken_over} turns of dead replicas go on here"),
                    Err(error) => tracing::warn!("dead replicas could not be looked for: {}", Chain(&error)),
                }
            }
        });
    }
}
