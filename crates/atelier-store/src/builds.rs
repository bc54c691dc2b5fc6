//! Builds of workspaces: the jobs that start, stop and delete them. A workspace has at most one that is
//! unfinished, and a build's state only moves forward.
//!
//! ```text
//! pending --> running --> succeeded | failed
//!    \___________\_______> canceling --> canceled
//! ```

use std::collections::HashMap;

use atelier_domain::{AgentId, BuildId, CallToken, TemplateVersionId, Timestamp, UserId, WorkspaceId, named_enum};

use crate::agents::agent_insert_in_tx;
use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::{DbRow, args, ids};
use crate::workspaces::{
    MAX_RUNNING_A_USER, WorkspaceError, user_lock_in_tx, workspace_delete_in_tx, workspace_get_in_tx,
    workspace_lock_in_tx,
};

macro_rules! agent_of {
    () => {
        "(SELECT a.id FROM workspace_agents a WHERE a.build_id = b.id ORDER BY a.id LIMIT 1) AS agent_id"
    };
}

macro_rules! is_newest {
    () => {
        "b.build_number = (SELECT MAX(n.build_number) FROM workspace_builds n WHERE n.workspace_id = b.workspace_id)"
    };
}

statements! {
    WORKSPACES_RUNNING = "SELECT COUNT(*) AS n FROM workspaces w JOIN workspace_builds b ON b.workspace_id = w.id
        WHERE w.owner_id = $1 AND NOT w.deleted AND b.transition = 'start' AND b.state IN ('pending', 'running', 'succeeded')
        AND b.build_number = (SELECT MAX(n.build_number) FROM workspace_builds n WHERE n.workspace_id = w.id)";
    BUILD_INSERT = "INSERT INTO workspace_builds (id, workspace_id, build_number, template_version_id, transition, state, reason,
        initiator_id, parameters, call, created_at, updated_at)
        SELECT $1, $2, COALESCE(MAX(build_number), 0) + 1, $3, $4, 'pending', $5, $6, $7, $8, $9, $9
        FROM workspace_builds WHERE workspace_id = $2";
    BUILD_GET = "SELECT b.*, u.username AS initiator_name FROM workspace_builds b JOIN users u ON u.id = b.initiator_id WHERE b.id = $1";
    BUILD_BY_CALL = "SELECT b.*, u.username AS initiator_name FROM workspace_builds b JOIN users u ON u.id = b.initiator_id WHERE b.call = $1";
    BUILD_FIRST = "SELECT b.*, u.username AS initiator_name FROM workspace_builds b JOIN users u ON u.id = b.initiator_id
        WHERE b.workspace_id = $1 ORDER BY b.build_number LIMIT 1";
    BUILD_LATEST = "SELECT b.*, u.username AS initiator_name FROM workspace_builds b JOIN users u ON u.id = b.initiator_id
        WHERE b.workspace_id = $1 ORDER BY b.build_number DESC LIMIT 1";
    // build and agent of each of these workspaces
    BUILDS_NEWEST = {
        sqlite: concat!("SELECT b.workspace_id, b.id, ", agent_of!(), " FROM workspace_builds b
            WHERE b.workspace_id IN (SELECT value FROM json_each($1)) AND ", is_newest!()),
        postgres: concat!("SELECT b.workspace_id, b.id, ", agent_of!(), " FROM workspace_builds b
            WHERE b.workspace_id = ANY($1) AND ", is_newest!())
    };
    BUILDS = "SELECT b.*, u.username AS initiator_name FROM workspace_builds b JOIN users u ON u.id = b.initiator_id
        WHERE b.workspace_id = $1 ORDER BY b.build_number DESC";
    BUILD_UNFINISHED = "SELECT b.*, u.username AS initiator_name FROM workspace_builds b JOIN users u ON u.id = b.initiator_id
        WHERE b.workspace_id = $1 AND b.state IN ('pending', 'running', 'canceling')";
    BUILDS_UNFINISHED_OF_HOST = "SELECT b.id FROM workspace_builds b JOIN workspaces w ON w.id = b.workspace_id
        WHERE w.host_id = $1 AND b.state IN ('pending', 'running', 'canceling') ORDER BY b.created_at, b.id";
    // only forward: a build that is being canceled does not run again
    BUILD_STATE = "UPDATE workspace_builds SET state = $2, error = $3, error_code = $4, deadline = $5, updated_at = $6
        WHERE id = $1 AND CASE state WHEN 'pending' THEN $2 <> 'pending' WHEN 'running' THEN $2 NOT IN ('pending', 'running')
            WHEN 'canceling' THEN $2 NOT IN ('pending', 'running', 'canceling') ELSE false END";
    BUILD_DEADLINE = "UPDATE workspace_builds SET deadline = $2
        WHERE id = $1 AND transition = 'start' AND state = 'succeeded'";
}

named_enum! {
    Transition { Start = "start", Stop = "stop", Delete = "delete" }
}

named_enum! {
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

pub(crate) async fn build_insert_in_tx(
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

/// Refuses a start beyond the owner's quota.
pub(crate) async fn check_running(tx: &mut Tx<'_>, owner: UserId) -> Result<(), WorkspaceError> {
    let running = tx.one(WORKSPACES_RUNNING, args![owner]).await?.int("n")?;
    if running >= MAX_RUNNING_A_USER { Err(WorkspaceError::TooManyRunning) } else { Ok(()) }
}

/// Begins a build unless one is under way; a call that has begun one before gets that. A start counts against
/// the owner's quota.
pub async fn build_create_in_tx(
    tx: &mut Tx<'_>,
    workspace: WorkspaceId,
    build: &BuildNew,
    now: Timestamp,
) -> Result<BuildRow, WorkspaceError> {
    let row = workspace_get_in_tx(tx, workspace).await?.ok_or(WorkspaceError::NotFound)?;
    // the user before the workspace, and for a start only: who stops one may have locked it already
    if build.transition == Transition::Start {
        user_lock_in_tx(tx, row.owner_id).await?;
    }
    if !workspace_lock_in_tx(tx, workspace).await? {
        return Err(WorkspaceError::NotFound);
    }
    if let Some(call) = build.call
        && let Some(begun) = build_by_call_in_tx(tx, call).await?
    {
        return Ok(begun);
    }
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
    build_insert_in_tx(tx, workspace, build, now).await
}

/// The build that a tool call has asked for before.
pub async fn build_by_call_in_tx(tx: &mut Tx<'_>, call: CallToken) -> Result<Option<BuildRow>, StoreError> {
    tx.first(BUILD_BY_CALL, args![call]).await?.as_ref().map(BuildRow::read).transpose()
}

pub async fn build_latest_in_tx(tx: &mut Tx<'_>, workspace: WorkspaceId) -> Result<Option<BuildRow>, StoreError> {
    tx.first(BUILD_LATEST, args![workspace]).await?.as_ref().map(BuildRow::read).transpose()
}

/// The build that made the workspace.
pub(crate) async fn build_first_in_tx(tx: &mut Tx<'_>, workspace: WorkspaceId) -> Result<BuildRow, StoreError> {
    BuildRow::read(&tx.one(BUILD_FIRST, args![workspace]).await?)
}

/// Moves the deadline of a start that has succeeded; of any other build there is none.
pub async fn build_deadline_set_in_tx(
    tx: &mut Tx<'_>,
    build: BuildId,
    deadline: Option<Timestamp>,
) -> Result<(), StoreError> {
    tx.run(BUILD_DEADLINE, args![build, deadline]).await.map(|_| ())
}

/// Moves an unfinished build on; a finished `delete` deletes its workspace. False: it cannot get there from
/// where it is, for instance because it is finished or being canceled.
pub async fn build_advance_in_tx(
    tx: &mut Tx<'_>,
    id: BuildId,
    end: BuildEnd,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let args = args![id, end.state.as_str(), end.error, end.error_code, end.deadline, now];
    if tx.run(BUILD_STATE, args).await? == 0 {
        return Ok(false);
    }
    let build = BuildRow::read(&tx.one(BUILD_GET, args![id]).await?)?;
    if build.transition == Transition::Delete && end.state == BuildState::Succeeded {
        workspace_delete_in_tx(tx, build.workspace_id, now).await?;
    }
    Ok(true)
}

impl Store {
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

    pub async fn build_get(&self, id: BuildId) -> Result<Option<BuildRow>, StoreError> {
        self.fetch_first(BUILD_GET, args![id]).await?.as_ref().map(BuildRow::read).transpose()
    }

    /// The newest build of each of these workspaces, and its agent; workspaces without a build are absent.
    pub async fn builds_newest_for_system(
        &self,
        workspaces: &[WorkspaceId],
    ) -> Result<HashMap<WorkspaceId, (BuildId, Option<AgentId>)>, StoreError> {
        if workspaces.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.fetch_all(BUILDS_NEWEST, vec![ids(workspaces)]).await?;
        rows.iter().map(|row| Ok((row.id("workspace_id")?, (row.id("id")?, row.id_opt("agent_id")?)))).collect()
    }

    pub async fn build_latest(&self, workspace: WorkspaceId) -> Result<Option<BuildRow>, StoreError> {
        self.fetch_first(BUILD_LATEST, args![workspace]).await?.as_ref().map(BuildRow::read).transpose()
    }

    /// Newest first.
    pub async fn builds(&self, workspace: WorkspaceId) -> Result<Vec<BuildRow>, StoreError> {
        self.fetch_all(BUILDS, args![workspace]).await?.iter().map(BuildRow::read).collect()
    }

    /// Builds that a host has not finished, oldest first.
    pub async fn builds_unfinished_of_host_for_system(&self, host: &str) -> Result<Vec<BuildId>, StoreError> {
        self.fetch_all(BUILDS_UNFINISHED_OF_HOST, args![host]).await?.iter().map(|row| row.id("id")).collect()
    }

    /// As [`build_advance_in_tx`].
    pub async fn build_advance(&self, id: BuildId, end: BuildEnd, now: Timestamp) -> Result<bool, StoreError> {
        self.write("build_advance", move |tx| Box::pin(async move { build_advance_in_tx(tx, id, end, now).await }))
            .await
    }
}
