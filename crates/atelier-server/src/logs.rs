//! Logs of builds and workspace agents: read, or followed to their end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use atelier_api as api;
use atelier_domain::{AgentId, BuildId, WorkspaceId};
use atelier_store::{AgentLifecycle, BuildState, LogRow};
use axum::Json;
use axum::extract::{Query as RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use crate::auth::{Caller, LoggedIn};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Path, Query};
use crate::socket::{Over, Socket, Upgrade, code};
use crate::state::Shared;
use crate::streams::Guard;
use crate::workspaces::{visible_agent, visible_build};

/// Lines that one read gives.
const LOG_LINES: i64 = 10_000;
/// A log that is followed is looked at this often, woken or not.
const LOG_LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn build_log_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(build): Path<String>,
    RawQuery(query): RawQuery<HashMap<String, String>>,
    upgrade: Upgrade,
) -> ApiResult<Response> {
    let (build, row) = visible_build(&app, &caller, &build).await?;
    logs(&app, &caller, Log::Build(build.id), row.id, query, upgrade).await
}

pub(crate) async fn workspace_agent_log_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(agent): Path<String>,
    RawQuery(query): RawQuery<HashMap<String, String>>,
    upgrade: Upgrade,
) -> ApiResult<Response> {
    let agent = visible_agent(&app, &caller, &agent).await?;
    logs(&app, &caller, Log::Agent(agent.id), agent.workspace_id, query, upgrade).await
}

/// Which log: a build's, or that of clone and scripts.
#[derive(Clone, Copy)]
enum Log {
    Build(BuildId),
    Agent(AgentId),
}

impl Log {
    async fn lines(self, app: &Shared, after: i64) -> ApiResult<Vec<LogRow>> {
        Ok(match self {
            Self::Build(build) => app.store.logs_of_build(build, after, LOG_LINES).await?,
            Self::Agent(agent) => app.store.logs_of_agent(agent, after, LOG_LINES).await?,
        })
    }

    /// Whether no more lines will come.
    async fn is_complete(self, app: &Shared) -> ApiResult<bool> {
        Ok(match self {
            Self::Build(build) => app.store.build_get(build).await?.is_none_or(|row| match row.state {
                BuildState::Pending | BuildState::Running | BuildState::Canceling => false,
                BuildState::Succeeded | BuildState::Failed | BuildState::Canceled => true,
            }),
            Self::Agent(agent) => {
                let Some(row) = app.store.agent_get(agent).await? else { return Ok(true) };
                let latest = app.store.build_latest(row.workspace_id).await?;
                match row.lifecycle {
                    // another start has taken its place
                    AgentLifecycle::Created | AgentLifecycle::Starting => {
                        latest.is_none_or(|build| build.id != row.build_id)
                    }
                    AgentLifecycle::Ready
                    | AgentLifecycle::StartError
                    | AgentLifecycle::StartTimeout
                    | AgentLifecycle::Off => true,
                }
            }
        })
    }
}

async fn logs(
    app: &Shared,
    caller: &Caller,
    log: Log,
    workspace: WorkspaceId,
    query: HashMap<String, String>,
    upgrade: Upgrade,
) -> ApiResult<Response> {
    let mut query = Query::new(query);
    let after = query.number("after", 0, 0..=i64::MAX);
    let follows = query.text("follow").is_some_and(|value| value != "false");
    query.finish()?;
    if !follows {
        let lines: Vec<api::LogLine> = log.lines(app, after).await?.into_iter().map(line_view).collect();
        return Ok(Json(lines).into_response());
    }
    let (app, guard) = (Arc::clone(app), Guard::new(Arc::clone(app), caller, None)?);
    upgrade.start(&app.tasks.clone(), Arc::clone(&app.clock), move |socket| {
        follow(app, log, workspace, after, socket, guard)
    })
}

/// Sends a log line by line until it is complete.
async fn follow(app: Shared, log: Log, workspace: WorkspaceId, mut after: i64, mut socket: Socket, mut guard: Guard) {
    let over = async {
        let fault = |error: ApiError| Over::because(code::INTERNAL, error);
        loop {
            // asked before reading: what is written until then is read
            let is_complete = log.is_complete(&app).await.map_err(fault)?;
            let changed = app.workspaces.changed(workspace);
            let lines = log.lines(&app, after).await.map_err(fault)?;
            let is_full = lines.len() >= usize::try_from(LOG_LINES).unwrap_or(usize::MAX);
            for line in lines {
                after = line.id;
                let text = serde_json::to_string(&line_view(line)).unwrap_or_default();
                socket.send(&[text.into()]).await?;
            }
            if is_full {
                continue;
            }
            if is_complete {
                return Err(Over::Close(code::DONE, None));
            }
            tokio::select! {
                // all three only wait
                () = changed => {}
                () = app.clock.sleep(LOG_LOOK) => {}
                over = socket.attend() => return Err(over),
                error = guard.ended() => return Err(Over::because(code::POLICY, error)),
                () = app.stopping.cancelled() => return Err(Over::because(code::AWAY, stopping())),
            }
        }
    };
    let over: Result<Infallible, Over> = over.await;
    let Err(over) = over;
    socket.close(over).await;
}

fn stopping() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The server stops. Ask again.")
}

fn line_view(row: LogRow) -> api::LogLine {
    api::LogLine {
        id: row.id,
        created_at: row.created_at.into(),
        log_source: row.log_source,
        log_level: row.log_level,
        stage: row.stage,
        output: row.output,
    }
}
