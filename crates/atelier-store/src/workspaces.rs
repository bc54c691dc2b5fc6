//! Workspaces and their builds.

use atelier_domain::{
    AgentId, BuildId, CallToken, ChatId, OrganizationId, TemplateId, TemplateVersionId, Timestamp,
    UserId, WorkspaceId,
};

use crate::agents::agent_insert_in_tx;
use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::{DbRow, args};

/// Workspaces of one user, and how many of them may run.
pub const MAX_WORKSPACES_A_USER: i64 = 20;
pub const MAX_RUNNING_A_USER: i64 = 10;

statements! {
    WORKSPACE_INSERT = "INSERT INTO workspaces (id, owner_id, organization_id, template_id, name, parameters, ttl_ms, ttl_source,
        last_used_at, host_id, created_by_chat, created_by_call, deleted, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, false, $9, $9)";
    WORKSPACE_GET = "SELECT w.*, u.username AS owner_name, u.avatar_url AS owner_avatar_url, o.name AS organization_name,
        t.name AS template_name, t.display_name AS template_display_name, t.icon AS template_icon, t.active_version_id
        FROM workspaces w JOIN users u ON u.id = w.owner_id JOIN organizations o ON o.id = w.organization_id
        JOIN templates t ON t.id = w.template_id WHERE w.id = $1";
    WORKSPACE_BY_NAME = "SELECT w.*, u.username AS owner_name, u.avatar_url AS owner_avatar_url, o.name AS organization_name,
        t.name AS template_name, t.display_name AS template_display_name, t.icon AS template_icon, t.active_version_id
        FROM workspaces w JOIN users u ON u.id = w.owner_id JOIN organizations o ON o.id = w.organization_id
        JOIN templates t ON t.id = w.template_id WHERE w.owner_id = $1 AND w.name = $2 AND NOT w.deleted";
    WORKSPACE_BY_CALL = "SELECT id FROM workspaces WHERE created_by_call = $1";
    WORKSPACES_OF = "SELECT w.*, u.username AS owner_name, u.avatar_url AS owner_avatar_url, o.name AS organization_name,
        t.name AS template_name, t.display_name AS template_display_name, t.icon AS template_icon, t.active_version_id
        FROM workspaces w JOIN users u ON u.id = w.owner_id JOIN organizations o ON o.id = w.organization_id
        JOIN templates t ON t.id = w.template_id WHERE NOT w.deleted AND w.owner_id = $1 ORDER BY w.name, w.id";
    WORKSPACES_ALL = "SELECT w.*, u.username AS owner_name, u.avatar_url AS owner_avatar_url, o.name AS organization_name,
        t.name AS template_name, t.display_name AS template_display_name, t.icon AS template_icon, t.active_version_id
        FROM workspaces w JOIN users u ON u.id = w.owner_id JOIN organizations o ON o.id = w.organization_id
        JOIN templates t ON t.id = w.template_id WHERE NOT w.deleted ORDER BY w.name, w.id";
    WORKSPACES_OF_HOST = "SELECT id FROM workspaces WHERE host_id = $1 AND NOT deleted ORDER BY id";
    WORKSPACES_COUNT = "SELECT COUNT(*) AS n FROM workspaces WHERE owner_id = $1 AND NOT deleted";
    WORKSPACES_RUNNING = "SELECT COUNT(*) AS n FROM workspaces w JOIN workspace_builds b ON b.workspace_id = w.id
        WHERE w.owner_id = $1 AND NOT w.deleted AND b.transition = 'start' AND b.state IN ('pending', 'running', 'succeeded')
        AND b.build_number = (SELECT MAX(n.build_number) FROM workspace_builds n WHERE n.workspace_id = w.id)";
    USER_LOCK = { sqlite: "SELECT id FROM users WHERE id = $1", postgres: "SELECT id FROM users WHERE id = $1 FOR UPDATE" };
    WORKSPACE_LOCK = { sqlite: "SELECT id FROM workspaces WHERE id = $1 AND NOT deleted",
        postgres: "SELECT id FROM workspaces WHERE id = $1 AND NOT deleted FOR UPDATE" };
    WORKSPACE_TTL = "UPDATE workspaces SET ttl_ms = $2, updated_at = $3 WHERE id = $1";
    WORKSPACE_USED = "UPDATE workspaces SET last_used_at = $2 WHERE id = $1";
    WORKSPACE_DELETE = "UPDATE workspaces SET deleted = true, updated_at = $2 WHERE id = $1";
    BUILD_INSERT = "INSERT INTO workspace_builds (id, workspace_id, build_number, template_version_id, transition, state, reason,
        initiator_id, parameters, call, created_at, updated_at)
        SELECT $1, $2, COALESCE(MAX(build_number), 0) + 1, $3, $4, 'pending', $5, $6, $7, $8, $9, $9
        FROM workspace_builds WHERE workspace_id = $2";
    BUILD_GET = "SELECT b.*, u.username AS initiator_name FROM workspace_builds b JOIN users u ON u.id = b.initiator_id WHERE b.id = $1";
    BUILD_BY_CALL = "SELECT b.*, u.username AS initiator_name FROM workspace_builds b JOIN users u ON u.id = b.initiator_id WHERE b.call = $1";
    BUILD_LATEST = "SELECT b.*, u.username AS initiator_name FROM workspace_builds b JOIN users u ON u.id = b.initiator_id
        WHERE b.workspace_id = $1 ORDER BY b.build_number DESC LIMIT 1";
    BUILDS = "SELECT b.*, u.username AS initiator_name FROM workspace_builds b JOIN users u ON u.id = b.initiator_id
        WHERE b.workspace_id = $1 ORDER BY b.build_number DESC";
    BUILD_UNFINISHED = "SELECT b.*, u.username AS initiator_name FROM workspace_builds b JOIN users u ON u.id = b.initiator_id
        WHERE b.workspace_id = $1 AND b.state IN ('pending', 'running', 'canceling')";
    BUILDS_UNFINISHED_OF_HOST = "SELECT b.id FROM workspace_builds b JOIN workspaces w ON w.id = b.workspace_id
        WHERE w.host_id = $1 AND b.state IN ('pending', 'running', 'canceling') ORDER BY b.created_at, b.id";
    BUILD_STATE = "UPDATE workspace_builds SET state = $2, error = $3, error_code = $4, deadline = $5, updated_at = $6
        WHERE id = $1 AND state IN ('pending', 'running', 'canceling')";
    BUILD_DEADLINE = "UPDATE workspace_builds SET deadline = $2 WHERE id = $1";
}

#[derive(Clone, Debug)]
pub struct WorkspaceRow {
    pub id: WorkspaceId,
    pub owner_id: UserId,
    pub owner_name: String,
    pub owner_avatar_url: String,
    pub organization_id: OrganizationId,
    pub organization_name: String,
    pub template_id: TemplateId,
    pub template_name: String,
    pub template_display_name: String,
    pub template_icon: String,
    /// The template's newest version, for `outdated`.
    pub template_active_version_id: TemplateVersionId,
    pub name: String,
    /// JSON object of parameter values.
    pub parameters: String,
    pub ttl_ms: Option<i64>,
    pub ttl_source: String,
    pub last_used_at: Timestamp,
    pub host_id: String,
    pub created_by_chat: Option<ChatId>,
    pub deleted: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl WorkspaceRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            owner_id: row.id("owner_id")?,
            owner_name: row.text("owner_name")?,
            owner_avatar_url: row.text("owner_avatar_url")?,
            organization_id: row.id("organization_id")?,
            organization_name: row.text("organization_name")?,
            template_id: row.id("template_id")?,
            template_name: row.text("template_name")?,
            template_display_name: row.text("template_display_name")?,
            template_icon: row.text("template_icon")?,
            template_active_version_id: row.id("active_version_id")?,
            name: row.text("name")?,
            parameters: row.text("parameters")?,
            ttl_ms: row.int_opt("ttl_ms")?,
            ttl_source: row.text("ttl_source")?,
            last_used_at: row.time("last_used_at")?,
            host_id: row.text("host_id")?,
            created_by_chat: row.id_opt("created_by_chat")?,
            deleted: row.boolean("deleted")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
        })
    }
}

macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($variant),* }

        impl $name {
            /// The name in the database and on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The value with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
pub(crate) use named;

named! {
    Transition { Start = "start", Stop = "stop", Delete = "delete" }
}

named! {
    BuildState {
        Pending = "pending",
        Running = "running",
        Succeeded = "succeeded",
        Failed = "failed",
        Canceling = "canceling",
        Canceled = "canceled",
    }
}

impl BuildState {
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }
}

#[derive(Clone, Debug)]
pub struct BuildRow {
    pub id: BuildId,
    pub workspace_id: WorkspaceId,
    pub build_number: i32,
    pub template_version_id: TemplateVersionId,
    pub transition: Transition,
    pub state: BuildState,
    pub reason: String,
    pub initiator_id: UserId,
    pub initiator_name: String,
    pub parameters: String,
    pub deadline: Option<Timestamp>,
    pub error: Option<String>,
    pub error_code: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl BuildRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            workspace_id: row.id("workspace_id")?,
            build_number: row.int32("build_number")?,
            template_version_id: row.id("template_version_id")?,
            transition: row.name("transition", Transition::from_name)?,
            state: row.name("state", BuildState::from_name)?,
            reason: row.text("reason")?,
            initiator_id: row.id("initiator_id")?,
            initiator_name: row.text("initiator_name")?,
            parameters: row.text("parameters")?,
            deadline: row.time_opt("deadline")?,
            error: row.text_opt("error")?,
            error_code: row.text_opt("error_code")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
        })
    }
}

/// A workspace to be created, with its first build.
#[derive(Clone, Debug)]
pub struct WorkspaceNew {
    pub id: WorkspaceId,
    pub owner_id: UserId,
    pub organization_id: OrganizationId,
    pub template_id: TemplateId,
    pub name: String,
    pub parameters: String,
    pub ttl_ms: Option<i64>,
    pub ttl_source: String,
    pub host_id: String,
    pub created_by_chat: Option<ChatId>,
    pub created_by_call: Option<CallToken>,
    pub build: BuildNew,
}

/// A build to be begun. A start brings the agent that it makes.
#[derive(Clone, Debug)]
pub struct BuildNew {
    pub id: BuildId,
    pub template_version_id: TemplateVersionId,
    pub transition: Transition,
    pub reason: String,
    pub initiator_id: UserId,
    pub parameters: String,
    pub call: Option<CallToken>,
    /// Id and SHA-256 of the token of the new agent.
    pub agent: Option<(AgentId, [u8; 32])>,
}

/// How a build ended.
#[derive(Clone, Debug)]
pub struct BuildEnd {
    pub state: BuildState,
    pub error: Option<String>,
    pub error_code: Option<String>,
    pub deadline: Option<Timestamp>,
}

/// Why a workspace or build is not made.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("the workspace does not exist")]
    NotFound,
    #[error("there are too many workspaces")]
    TooMany,
    #[error("too many workspaces run")]
    TooManyRunning,
    #[error("build {0} is under way")]
    BuildInProgress(BuildId),
    #[error("the name is taken")]
    NameTaken,
    #[error(transparent)]
    Store(#[from] StoreError),
}

async fn build_insert(
    tx: &mut Tx<'_>,
    workspace: WorkspaceId,
    build: &BuildNew,
    now: Timestamp,
) -> Result<BuildRow, WorkspaceError> {
    let args = args![
        build.id,
        workspace,
        build.template_version_id,
        build.transition.as_str(),
        build.reason.clone(),
        build.initiator_id,
        build.parameters.clone(),
        build.call,
        now,
    ];
    tx.run(BUILD_INSERT, args).await?;
    if let Some((agent, token_hash)) = build.agent {
        agent_insert_in_tx(tx, agent, workspace, build.id, token_hash, now).await?;
    }
    Ok(BuildRow::read(&tx.one(BUILD_GET, args![build.id]).await?)?)
}

async fn check_running(tx: &mut Tx<'_>, owner: UserId) -> Result<(), WorkspaceError> {
    let running = tx.one(WORKSPACES_RUNNING, args![owner]).await?.int("n")?;
    if running >= MAX_RUNNING_A_USER {
        Err(WorkspaceError::TooManyRunning)
    } else {
        Ok(())
    }
}

/// Creates a workspace with its first build, within the owner's quota. The caller may bind a chat to it in
/// the same transaction.
pub async fn workspace_create_in_tx(
    tx: &mut Tx<'_>,
    new: &WorkspaceNew,
    now: Timestamp,
) -> Result<BuildRow, WorkspaceError> {
    tx.first(USER_LOCK, args![new.owner_id]).await?;
    if tx
        .one(WORKSPACES_COUNT, args![new.owner_id])
        .await?
        .int("n")?
        >= MAX_WORKSPACES_A_USER
    {
        return Err(WorkspaceError::TooMany);
    }
    check_running(tx, new.owner_id).await?;
    let args = args![
        new.id,
        new.owner_id,
        new.organization_id,
        new.template_id,
        new.name.clone(),
        new.parameters.clone(),
        new.ttl_ms,
        new.ttl_source.clone(),
        now,
        new.host_id.clone(),
        new.created_by_chat,
        new.created_by_call,
    ];
    tx.run(WORKSPACE_INSERT, args).await.map_err(|error| {
        // SQLite names the columns, PostgreSQL the index
        if error.is_conflict_on("workspaces_name") || error.is_conflict_on("workspaces.name") {
            WorkspaceError::NameTaken
        } else {
            error.into()
        }
    })?;
    build_insert(tx, new.id, &new.build, now).await
}

/// Begins a build unless one is under way. A start counts against the owner's quota.
pub async fn build_create_in_tx(
    tx: &mut Tx<'_>,
    workspace: WorkspaceId,
    build: &BuildNew,
    now: Timestamp,
) -> Result<BuildRow, WorkspaceError> {
    let row = tx
        .first(WORKSPACE_GET, args![workspace])
        .await?
        .ok_or(WorkspaceError::NotFound)?;
    let row = WorkspaceRow::read(&row)?;
    tx.first(USER_LOCK, args![row.owner_id]).await?;
    tx.first(WORKSPACE_LOCK, args![workspace])
        .await?
        .ok_or(WorkspaceError::NotFound)?;
    if let Some(unfinished) = tx.first(BUILD_UNFINISHED, args![workspace]).await? {
        return Err(WorkspaceError::BuildInProgress(unfinished.id("id")?));
    }
    if build.transition == Transition::Start {
        let latest = tx.first(BUILD_LATEST, args![workspace]).await?;
        let runs = match latest {
            Some(latest) => {
                let latest = BuildRow::read(&latest)?;
                latest.transition == Transition::Start && latest.state == BuildState::Succeeded
            }
            None => false,
        };
        if !runs {
            check_running(tx, row.owner_id).await?;
        }
    }
    build_insert(tx, workspace, build, now).await
}

/// The build that a tool call has asked for before.
pub async fn build_by_call_in_tx(
    tx: &mut Tx<'_>,
    call: CallToken,
) -> Result<Option<BuildRow>, StoreError> {
    tx.first(BUILD_BY_CALL, args![call])
        .await?
        .as_ref()
        .map(BuildRow::read)
        .transpose()
}

/// The workspace that a tool call has made before.
pub async fn workspace_by_call_in_tx(
    tx: &mut Tx<'_>,
    call: CallToken,
) -> Result<Option<WorkspaceId>, StoreError> {
    tx.first(WORKSPACE_BY_CALL, args![call])
        .await?
        .map(|row| row.id("id"))
        .transpose()
}

pub async fn build_latest_in_tx(
    tx: &mut Tx<'_>,
    workspace: WorkspaceId,
) -> Result<Option<BuildRow>, StoreError> {
    tx.first(BUILD_LATEST, args![workspace])
        .await?
        .as_ref()
        .map(BuildRow::read)
        .transpose()
}

pub async fn workspace_get_in_tx(
    tx: &mut Tx<'_>,
    workspace: WorkspaceId,
) -> Result<Option<WorkspaceRow>, StoreError> {
    tx.first(WORKSPACE_GET, args![workspace])
        .await?
        .as_ref()
        .map(WorkspaceRow::read)
        .transpose()
}

impl Store {
    pub async fn workspace_create(
        &self,
        new: WorkspaceNew,
        now: Timestamp,
    ) -> Result<BuildRow, WorkspaceError> {
        self.write("workspace_create", move |tx| {
            Box::pin(async move { workspace_create_in_tx(tx, &new, now).await })
        })
        .await
    }

    pub async fn build_create(
        &self,
        workspace: WorkspaceId,
        build: BuildNew,
        now: Timestamp,
    ) -> Result<BuildRow, WorkspaceError> {
        self.write("build_create", move |tx| {
            Box::pin(async move { build_create_in_tx(tx, workspace, &build, now).await })
        })
        .await
    }

    /// A workspace, also a deleted one, whoever asks. Callers check the right to see it.
    pub async fn workspace_get_for_system(
        &self,
        id: WorkspaceId,
    ) -> Result<Option<WorkspaceRow>, StoreError> {
        self.fetch_first(WORKSPACE_GET, args![id])
            .await?
            .as_ref()
            .map(WorkspaceRow::read)
            .transpose()
    }

    pub async fn workspace_by_name(
        &self,
        owner: UserId,
        name: &str,
    ) -> Result<Option<WorkspaceRow>, StoreError> {
        self.fetch_first(WORKSPACE_BY_NAME, args![owner, name])
            .await?
            .as_ref()
            .map(WorkspaceRow::read)
            .transpose()
    }

    /// A user's live workspaces, by name.
    pub async fn workspaces_of(&self, owner: UserId) -> Result<Vec<WorkspaceRow>, StoreError> {
        self.fetch_all(WORKSPACES_OF, args![owner])
            .await?
            .iter()
            .map(WorkspaceRow::read)
            .collect()
    }

    /// Every live workspace, by name.
    pub async fn workspaces_for_system(&self) -> Result<Vec<WorkspaceRow>, StoreError> {
        self.fetch_all(WORKSPACES_ALL, Vec::new())
            .await?
            .iter()
            .map(WorkspaceRow::read)
            .collect()
    }

    /// Live workspaces whose objects lie on a host.
    pub async fn workspaces_of_host_for_system(
        &self,
        host: &str,
    ) -> Result<Vec<WorkspaceId>, StoreError> {
        self.fetch_all(WORKSPACES_OF_HOST, args![host])
            .await?
            .iter()
            .map(|row| row.id("id"))
            .collect()
    }

    pub async fn workspace_ttl_set(
        &self,
        id: WorkspaceId,
        ttl_ms: Option<i64>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("workspace_ttl_set", move |tx| {
            Box::pin(async move {
                tx.run(WORKSPACE_TTL, args![id, ttl_ms, now])
                    .await
                    .map(|_| ())
            })
        })
        .await
    }

    /// Notes that a workspace was used, and moves the deadline of its newest build.
    pub async fn workspace_used(
        &self,
        id: WorkspaceId,
        deadline: Option<(BuildId, Timestamp)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("workspace_used", move |tx| {
            Box::pin(async move {
                if let Some((build, deadline)) = deadline {
                    tx.run(BUILD_DEADLINE, args![build, deadline]).await?;
                }
                tx.run(WORKSPACE_USED, args![id, now]).await.map(|_| ())
            })
        })
        .await
    }

    pub async fn build_get(&self, id: BuildId) -> Result<Option<BuildRow>, StoreError> {
        self.fetch_first(BUILD_GET, args![id])
            .await?
            .as_ref()
            .map(BuildRow::read)
            .transpose()
    }

    pub async fn build_latest(
        &self,
        workspace: WorkspaceId,
    ) -> Result<Option<BuildRow>, StoreError> {
        self.fetch_first(BUILD_LATEST, args![workspace])
            .await?
            .as_ref()
            .map(BuildRow::read)
            .transpose()
    }

    /// Newest first.
    pub async fn builds(&self, workspace: WorkspaceId) -> Result<Vec<BuildRow>, StoreError> {
        self.fetch_all(BUILDS, args![workspace])
            .await?
            .iter()
            .map(BuildRow::read)
            .collect()
    }

    /// Builds that a host has not finished, oldest first.
    pub async fn builds_unfinished_of_host_for_system(
        &self,
        host: &str,
    ) -> Result<Vec<BuildId>, StoreError> {
        self.fetch_all(BUILDS_UNFINISHED_OF_HOST, args![host])
            .await?
            .iter()
            .map(|row| row.id("id"))
            .collect()
    }

    /// Moves an unfinished build on; a finished `delete` deletes its workspace. False: it was finished already.
    pub async fn build_advance(
        &self,
        id: BuildId,
        end: BuildEnd,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write("build_advance", move |tx| {
            Box::pin(async move {
                let args = args![
                    id,
                    end.state.as_str(),
                    end.error,
                    end.error_code,
                    end.deadline,
                    now
                ];
                if tx.run(BUILD_STATE, args).await? == 0 {
                    return Ok(false);
                }
                let build = BuildRow::read(&tx.one(BUILD_GET, args![id]).await?)?;
                if build.transition == Transition::Delete && end.state == BuildState::Succeeded {
                    tx.run(WORKSPACE_DELETE, args![build.workspace_id, now])
                        .await?;
                }
                Ok(true)
            })
        })
        .await
    }
}
