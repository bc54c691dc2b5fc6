//! The operations on templates and workspaces, for handlers and for the tools of a turn.
//!
//! [`WorkspaceService`] owns the local driver, the builds of this host and the links of this replica. It
//! decides nothing about who may do what with a template or a workspace of somebody else; handlers do,
//! before they call. Operations for tools act with the rights of the chat's owner and check them here.

mod errors;
mod names;
mod operations;
mod provision;
mod report;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use atelier_domain::{AgentId, SharedClock, UserId, WorkspaceId};
use atelier_store::{AgentRow, BuildRow, BuildState, Store, StoreError, Transition, WorkspaceRow};
use atelier_stream::Hubs;
use atelier_workspace_protocol::AgentLimits;

use crate::builds::{self, Builds, BuildsParts};
use crate::connections::{Connections, Link, LinkSettings, OutgoingSettings};
use crate::drivers::local::{DriverError, LocalDriver, LocalSettings};
use crate::templates::{SpecRules, TemplateSpec};

pub use operations::{BuildCreate, OperationError, TemplateCreate, TemplateUpdate, WorkspaceCreate};

/// Settings of templates, workspaces and links.
#[derive(Clone, Debug)]
pub struct WorkspacesConfig {
    pub local: LocalSettings,
    /// Templates may clone `builtin:demo`.
    pub demo: bool,
    /// Site owners may use workspaces of others (`ATELIER_OWNER_WORKSPACE_SHELL`).
    pub owner_workspace_shell: bool,
    pub links: LinkSettings,
    /// How workspaces of the policy `allowlist` get out.
    pub outgoing: OutgoingSettings,
    pub waits: Waits,
    /// Time between two looks at what runs.
    pub reconcile_every: Duration,
    /// Limits that agents of new starts get; absent = their defaults.
    pub agent_limits: Option<AgentLimits>,
    /// Space of the data folder's disk that is set aside for the server; 0 = none.
    pub disk_reserve_bytes: u64,
}

impl WorkspacesConfig {
    #[must_use]
    pub fn new(local: LocalSettings) -> Self {
        Self {
            local,
            demo: false,
            owner_workspace_shell: false,
            links: LinkSettings::default(),
            outgoing: OutgoingSettings::default(),
            waits: Waits::default(),
            reconcile_every: Duration::from_secs(30),
            agent_limits: None,
            disk_reserve_bytes: 0,
        }
    }
}

/// How long tools wait (`workspaces.md` 1.5 and 6).
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    pub build: Duration,
    pub agent: Duration,
    pub script: Duration,
    /// A call that finds its workspace building.
    pub starting: Duration,
    /// Until an agent that never came is `timeout`.
    pub agent_timeout: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            build: Duration::from_secs(600),
            agent: Duration::from_secs(120),
            script: Duration::from_secs(600),
            starting: Duration::from_secs(60),
            agent_timeout: Duration::from_secs(300),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the local driver cannot be set up")]
    Driver(#[source] DriverError),
    #[error("the id of this host cannot be kept in the data folder")]
    HostId(#[source] std::io::Error),
    #[error("the workspaces of this host cannot be read")]
    Store(#[source] StoreError),
}

/// Templates, workspaces and links to them. Cheap to clone.
#[derive(Clone)]
pub struct WorkspaceService {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    hubs: Hubs,
    clock: SharedClock,
    builds: Builds,
    connections: Connections,
    waits: Waits,
    owner_workspace_shell: bool,
}

/// A workspace with its newest build and that build's agent, as the rows say.
#[derive(Clone, Debug)]
pub struct WorkspaceView {
    pub workspace: WorkspaceRow,
    pub build: BuildRow,
    pub agent: Option<AgentRow>,
}

impl WorkspaceView {
    /// The build's status on the wire.
    #[must_use]
    pub fn status(&self) -> &'static str {
        build_status(&self.build)
    }
}

/// The status of a build on the wire (`workspaces.md` 5.3).
#[must_use]
pub fn build_status(build: &BuildRow) -> &'static str {
    match (build.state, build.transition) {
        (BuildState::Pending, _) => "pending",
        (BuildState::Running, Transition::Start) => "starting",
        (BuildState::Running, Transition::Stop) => "stopping",
        (BuildState::Running, Transition::Delete) => "deleting",
        (BuildState::Succeeded, Transition::Start) => "running",
        (BuildState::Succeeded, Transition::Stop) => "stopped",
        (BuildState::Succeeded, Transition::Delete) => "deleted",
        (BuildState::Failed, _) => "failed",
        (BuildState::Canceling, _) => "canceling",
        (BuildState::Canceled, _) => "canceled",
    }
}

impl WorkspaceService {
    /// Opens the driver, takes running workspaces back and goes on with unfinished builds.
    ///
    /// # Errors
    /// The data folder or the database cannot be used.
    pub async fn open(
        store: Store,
        hubs: Hubs,
        clock: SharedClock,
        config: WorkspacesConfig,
    ) -> Result<Self, OpenError> {
        let WorkspacesConfig {
            local,
            demo,
            owner_workspace_shell,
            links,
            outgoing,
            waits,
            reconcile_every,
            agent_limits,
            disk_reserve_bytes,
        } = config;
        let data_dir = local.data_dir.clone();
        let host_id = builds::host_id(&data_dir).map_err(OpenError::HostId)?;
        let driver = LocalDriver::open(local).await.map_err(OpenError::Driver)?;
        let policy = outgoing.dialer.policy().clone();
        let connections = Connections::new(store.clone(), clock.clone(), links, outgoing);
        let rules = SpecRules {
            demo,
            extra_path_roots: driver.extra_path_roots().to_vec(),
            network_isolation: driver.isolates_network(),
            private_network: driver.private_network().is_ok(),
            host_network: driver.host_network(),
            outgoing: Some(policy),
        };
        let builds = Builds::new(BuildsParts {
            store: store.clone(),
            driver,
            connections: connections.clone(),
            clock: clock.clone(),
            data_dir,
            host_id,
            rules,
            every: reconcile_every,
            agent_timeout: waits.agent_timeout,
            agent_limits,
            disk_reserve_bytes,
        });
        let shared = Shared { store, hubs, clock, builds, connections, waits, owner_workspace_shell };
        let service = Self { shared: Arc::new(shared) };
        service.shared.builds.resume().await.map_err(OpenError::Store)?;
        Ok(service)
    }

    /// The links, for the HTTP route that agents connect to.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.shared.connections
    }

    /// Ends sockets, links and the looking after. Workspaces go on running.
    pub async fn shut_down(&self) {
        self.shared.builds.shut_down().await;
        self.shared.connections.shut_down().await;
    }

    /// Waits until something about the workspace may have changed: its build, its agent, its lifecycle.
    pub async fn changed(&self, workspace: WorkspaceId) {
        self.shared.connections.changes().waiter(workspace).changed().await;
    }

    /// A workspace with its newest build. None: there is no such workspace, or it is deleted.
    ///
    /// # Errors
    /// The database.
    pub async fn workspace_view(&self, id: WorkspaceId) -> Result<Option<WorkspaceView>, StoreError> {
        Ok(self.view(id).await?.filter(|view| !view.workspace.deleted))
    }

    /// The same, with deleted ones.
    async fn view(&self, id: WorkspaceId) -> Result<Option<WorkspaceView>, StoreError> {
        let store = &self.shared.store;
        let Some(workspace) = store.workspace_get_for_system(id).await? else { return Ok(None) };
        let Some(build) = store.build_latest(id).await? else { return Ok(None) };
        let agent = match build.transition {
            Transition::Start => store.agent_of_build(build.id).await?,
            Transition::Stop | Transition::Delete => None,
        };
        Ok(Some(WorkspaceView { workspace, build, agent }))
    }

    /// Whether `user` may run things in the workspace (`ssh`).
    ///
    /// # Errors
    /// The database.
    pub async fn may_use(&self, user: UserId, workspace: &WorkspaceRow) -> Result<bool, StoreError> {
        if workspace.owner_id == user {
            return Ok(true);
        }
        if !self.shared.owner_workspace_shell {
            return Ok(false);
        }
        let user = self.shared.store.user_get(user).await?;
        Ok(user.is_some_and(|user| user.roles.iter().any(|role| role == "owner")))
    }

    fn link(&self, agent: AgentId) -> Option<Arc<Link>> {
        self.shared.connections.link(agent)
    }

    /// The specification of a template, for what its wire type shows of it.
    #[must_use]
    pub fn template_spec(&self, template: &atelier_store::TemplateRow) -> Option<TemplateSpec> {
        TemplateSpec::stored(&template.spec)
    }
}
