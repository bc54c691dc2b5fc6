//! Workspace agents, and the log lines of builds and agents.

use atelier_domain::{AgentId, BuildId, Timestamp, WorkspaceId, named_enum};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::{DbRow, args};

/// Bytes of log lines that one build or agent keeps.
const MAX_LOG_BYTES: i64 = 1024 * 1024;
/// What a line counts beside its text, so that empty ones have an end too. As in `LOG_SIZE`.
const LOG_LINE_COST: i64 = 32;

statements! {
    AGENT_INSERT = "INSERT INTO workspace_agents (id, workspace_id, build_id, name, token_hash, status, lifecycle_state, generation,
        ledger_id, operating_system, architecture, directory, version, created_at)
        VALUES ($1, $2, $3, 'main', $4, 'connecting', 'created', 0, '', '', '', '', '', $5)";
    AGENT_GET = "SELECT * FROM workspace_agents WHERE id = $1";
    AGENT_TOKEN = "UPDATE workspace_agents SET token_hash = $2 WHERE id = $1";
    AGENT_OF_BUILD = "SELECT * FROM workspace_agents WHERE build_id = $1 ORDER BY id LIMIT 1";
    AGENT_BY_TOKEN = "SELECT a.id, a.workspace_id, a.build_id, b.transition, b.state, b.build_number,
        (SELECT MAX(n.build_number) FROM workspace_builds n WHERE n.workspace_id = a.workspace_id) AS newest
        FROM workspace_agents a JOIN workspace_builds b ON b.id = a.build_id WHERE a.token_hash = $1";
    AGENT_CONNECTED = "UPDATE workspace_agents SET status = 'connected', generation = generation + 1, ledger_id = $2, version = $3,
        first_connected_at = COALESCE(first_connected_at, $4), last_connected_at = $4, disconnected_at = NULL,
        broken = NULL
        WHERE id = $1 AND lifecycle_state <> 'off' RETURNING generation";
    AGENT_DISCONNECTED = "UPDATE workspace_agents SET status = 'disconnected', disconnected_at = $3 WHERE id = $1 AND generation = $2";
    AGENT_TIMEOUT = "UPDATE workspace_agents SET status = 'timeout' WHERE id = $1 AND status = 'connecting'";
    // an agent that is off stays so, whatever it reports late
    AGENT_LIFECYCLE = "UPDATE workspace_agents SET lifecycle_state = $2 WHERE id = $1 AND lifecycle_state <> 'off'";
    AGENT_BROKEN = "UPDATE workspace_agents SET broken = $2 WHERE id = $1";
    AGENT_FACTS = "UPDATE workspace_agents SET operating_system = $2, architecture = $3, directory = $4 WHERE id = $1";
    AGENTS_OFF = "UPDATE workspace_agents SET lifecycle_state = 'off' WHERE workspace_id = $1";
    BUILD_UNSUPPORTED = "UPDATE workspace_builds SET error = $2, error_code = 'agent_version_unsupported' WHERE id = $1";
    LOG_SIZE = "SELECT CAST(COALESCE(SUM(octet_length(output) + 32), 0) AS BIGINT) AS bytes,
        CAST(COALESCE(MAX(CASE WHEN closes THEN 1 ELSE 0 END), 0) AS BIGINT) AS closed
        FROM workspace_logs WHERE build_id = $1 AND agent_id IS NOT DISTINCT FROM $2";
    LOG_INSERT = "INSERT INTO workspace_logs (build_id, agent_id, created_at, log_source, log_level, stage, output, closes)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    LOGS_OF_BUILD = "SELECT * FROM workspace_logs WHERE build_id = $1 AND agent_id IS NULL AND id > $2 ORDER BY id LIMIT $3";
    LOGS_OF_AGENT = "SELECT * FROM workspace_logs WHERE agent_id = $1 AND id > $2 ORDER BY id LIMIT $3";
}

named_enum! {
    AgentStatus { Connecting = "connecting", Connected = "connected", Disconnected = "disconnected", Timeout = "timeout" }
}

named_enum! {
    AgentLifecycle {
        Created = "created",
        Starting = "starting",
        Ready = "ready",
        StartError = "start_error",
        StartTimeout = "start_timeout",
        Off = "off",
    }
}

#[derive(Clone, Debug)]
pub struct AgentRow {
    pub id: AgentId,
    pub workspace_id: WorkspaceId,
    pub build_id: BuildId,
    pub name: String,
    pub status: AgentStatus,
    pub lifecycle: AgentLifecycle,
    pub generation: i64,
    pub ledger_id: String,
    pub operating_system: String,
    pub architecture: String,
    pub directory: String,
    pub version: String,
    pub first_connected_at: Option<Timestamp>,
    pub last_connected_at: Option<Timestamp>,
    pub disconnected_at: Option<Timestamp>,
    pub created_at: Timestamp,
    /// Why it cannot do its work though it may be connected.
    pub broken: Option<String>,
}

impl AgentRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            workspace_id: row.id("workspace_id")?,
            build_id: row.id("build_id")?,
            name: row.text("name")?,
            status: row.name("status", AgentStatus::from_name)?,
            lifecycle: row.name("lifecycle_state", AgentLifecycle::from_name)?,
            generation: row.int("generation")?,
            ledger_id: row.text("ledger_id")?,
            operating_system: row.text("operating_system")?,
            architecture: row.text("architecture")?,
            directory: row.text("directory")?,
            version: row.text("version")?,
            first_connected_at: row.time_opt("first_connected_at")?,
            last_connected_at: row.time_opt("last_connected_at")?,
            disconnected_at: row.time_opt("disconnected_at")?,
            created_at: row.time("created_at")?,
            broken: row.text_opt("broken")?,
        })
    }
}

/// Whose token an agent has shown.
#[derive(Clone, Copy, Debug)]
pub struct AgentByToken {
    pub agent_id: AgentId,
    pub workspace_id: WorkspaceId,
    pub build_id: BuildId,
    /// Its build is the newest of the workspace, and a start that has not failed.
    pub current: bool,
}

/// What an agent says of itself when it connects.
#[derive(Clone, Debug)]
pub struct AgentConnected {
    pub version: String,
    pub boot_id: String,
    pub ledger_id: String,
}

/// One line of a build's or an agent's log.
#[derive(Clone, Debug)]
pub struct LogRow {
    pub id: i64,
    pub created_at: Timestamp,
    pub log_source: String,
    pub log_level: String,
    pub stage: String,
    pub output: String,
}

impl LogRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.int("id")?,
            created_at: row.time("created_at")?,
            log_source: row.text("log_source")?,
            log_level: row.text("log_level")?,
            stage: row.text("stage")?,
            output: row.text("output")?,
        })
    }
}

/// A line to be logged.
#[derive(Clone, Debug)]
pub struct LogNew {
    pub log_source: String,
    pub log_level: String,
    pub stage: String,
    pub output: String,
}

pub(crate) async fn agent_insert_in_tx(
    tx: &mut Tx<'_>,
    agent: AgentId,
    workspace: WorkspaceId,
    build: BuildId,
    token_hash: [u8; 32],
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.run(AGENT_INSERT, args![agent, workspace, build, token_hash.to_vec(), now]).await.map(|_| ())
}

impl Store {
    pub async fn agent_get(&self, id: AgentId) -> Result<Option<AgentRow>, StoreError> {
        self.fetch_first(AGENT_GET, args![id]).await?.as_ref().map(AgentRow::read).transpose()
    }

    pub async fn agent_of_build(&self, build: BuildId) -> Result<Option<AgentRow>, StoreError> {
        self.fetch_first(AGENT_OF_BUILD, args![build]).await?.as_ref().map(AgentRow::read).transpose()
    }

    pub async fn agent_by_token_for_system(&self, token_hash: [u8; 32]) -> Result<Option<AgentByToken>, StoreError> {
        let Some(row) = self.fetch_first(AGENT_BY_TOKEN, args![token_hash.to_vec()]).await? else {
            return Ok(None);
        };
        let is_newest = row.int32("build_number")? == row.int32("newest")?;
        let is_start =
            row.text("transition")? == "start" && !["failed", "canceled"].contains(&row.text("state")?.as_str());
        Ok(Some(AgentByToken {
            agent_id: row.id("id")?,
            workspace_id: row.id("workspace_id")?,
            build_id: row.id("build_id")?,
            current: is_newest && is_start,
        }))
    }

    /// Gives an agent that has not started yet another token; the one before is known to nobody then.
    pub async fn agent_token_set(&self, id: AgentId, token_hash: [u8; 32]) -> Result<(), StoreError> {
        self.write("agent_token_set", move |tx| {
            Box::pin(async move { tx.run(AGENT_TOKEN, args![id, token_hash.to_vec()]).await.map(|_| ()) })
        })
        .await
    }

    /// Notes a new link; its generation fences the writes of older ones.
    pub async fn agent_connected(&self, id: AgentId, connected: AgentConnected) -> Result<i64, StoreError> {
        self.write("agent_connected", move |tx| {
            Box::pin(async move {
                let now = tx.now().await?;
                tx.one(AGENT_CONNECTED, args![id, connected.ledger_id, connected.version, now]).await?.int("generation")
            })
        })
        .await
    }

    /// Notes that a link has ended, unless a newer one is there.
    pub async fn agent_disconnected(&self, id: AgentId, generation: i64) -> Result<(), StoreError> {
        self.write("agent_disconnected", move |tx| {
            Box::pin(async move {
                let now = tx.now().await?;
                tx.run(AGENT_DISCONNECTED, args![id, generation, now]).await.map(|_| ())
            })
        })
        .await
    }

    /// Notes that an agent has never come.
    pub async fn agent_timeout(&self, id: AgentId) -> Result<(), StoreError> {
        self.write("agent_timeout", move |tx| {
            Box::pin(async move { tx.run(AGENT_TIMEOUT, args![id]).await.map(|_| ()) })
        })
        .await
    }

    pub async fn agent_lifecycle_set(&self, id: AgentId, lifecycle: AgentLifecycle) -> Result<(), StoreError> {
        self.write("agent_lifecycle_set", move |tx| {
            Box::pin(async move { tx.run(AGENT_LIFECYCLE, args![id, lifecycle.as_str()]).await.map(|_| ()) })
        })
        .await
    }

    /// Notes why an agent cannot do its work, or that it can again. A new link begins without a reason.
    pub async fn agent_broken_set(&self, id: AgentId, reason: Option<String>) -> Result<(), StoreError> {
        self.write("agent_broken_set", move |tx| {
            Box::pin(async move { tx.run(AGENT_BROKEN, args![id, reason]).await.map(|_| ()) })
        })
        .await
    }

    pub async fn agent_facts_set(
        &self,
        id: AgentId,
        operating_system: String,
        architecture: String,
        directory: String,
    ) -> Result<(), StoreError> {
        self.write("agent_facts_set", move |tx| {
            Box::pin(async move {
                tx.run(AGENT_FACTS, args![id, operating_system, architecture, directory]).await.map(|_| ())
            })
        })
        .await
    }

    /// The workspace has stopped: its agents are off.
    pub async fn agents_off(&self, workspace: WorkspaceId) -> Result<(), StoreError> {
        self.write("agents_off", move |tx| {
            Box::pin(async move { tx.run(AGENTS_OFF, args![workspace]).await.map(|_| ()) })
        })
        .await
    }

    /// Notes on a build that its agent speaks no protocol of this server.
    pub async fn build_agent_unsupported(&self, build: BuildId) -> Result<(), StoreError> {
        self.write("build_agent_unsupported", move |tx| {
            Box::pin(async move {
                let error = "the workspace agent and the server have no protocol in common; start the workspace anew";
                tx.run(BUILD_UNSUPPORTED, args![build, error]).await.map(|_| ())
            })
        })
        .await
    }

    /// Appends lines, up to 1 MiB a build or agent; then one line says so and the rest is dropped.
    pub async fn log_append(
        &self,
        build: BuildId,
        agent: Option<AgentId>,
        lines: Vec<LogNew>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("log_append", move |tx| {
            Box::pin(async move {
                let size = tx.one(LOG_SIZE, args![build, agent]).await?;
                let (mut bytes, mut closed) = (size.int("bytes")?, size.int("closed")? != 0);
                for line in lines {
                    if closed {
                        break;
                    }
                    bytes += i64::try_from(line.output.len()).unwrap_or(i64::MAX) + LOG_LINE_COST;
                    closed = bytes > MAX_LOG_BYTES;
                    let output = if closed {
                        "[the log is longer than 1 MiB, the rest is left out]".to_owned()
                    } else {
                        line.output
                    };
                    let args = args![build, agent, now, line.log_source, line.log_level, line.stage, output, closed];
                    tx.run(LOG_INSERT, args).await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub async fn logs_of_build(&self, build: BuildId, after: i64, limit: i64) -> Result<Vec<LogRow>, StoreError> {
        self.fetch_all(LOGS_OF_BUILD, args![build, after, limit]).await?.iter().map(LogRow::read).collect()
    }

    pub async fn logs_of_agent(&self, agent: AgentId, after: i64, limit: i64) -> Result<Vec<LogRow>, StoreError> {
        self.fetch_all(LOGS_OF_AGENT, args![agent, after, limit]).await?.iter().map(LogRow::read).collect()
    }
}
