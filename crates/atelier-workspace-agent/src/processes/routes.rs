//! `/v1/processes`.

use std::path::PathBuf;
use std::time::Duration;

use atelier_workspace_protocol::{
    ProcessList, ProcessOutput, ProcessStart, ProcessStarted, SignalAnswer, SignalRequest, code,
};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{NewProcess, Part};
use crate::agent::Agent;
use crate::api::{ApiError, Caller, Fields, Input};
use crate::{environment, paths};

const MAX_COMMAND_BYTES: usize = 64 * 1024;
const MAX_ENV_NAMES: usize = 64;
const MAX_ENV_VALUE_BYTES: usize = 64 * 1024;
const MAX_PAGE_BYTES: usize = 32 * 1024;
const MAX_WAIT: Duration = Duration::from_secs(60);

pub(crate) fn router() -> Router<Agent> {
    Router::new()
        .route("/v1/processes", get(list).post(start))
        .route("/v1/processes/{id}/output", get(output))
        .route("/v1/processes/{id}/signal", post(signal))
}

async fn list(State(agent): State<Agent>, caller: Caller) -> Result<Json<ProcessList>, ApiError> {
    Ok(Json(ProcessList { processes: agent.processes().list(&caller).await? }))
}

async fn start(
    State(agent): State<Agent>,
    caller: Caller,
    Input(request): Input<ProcessStart>,
) -> Result<(StatusCode, Json<ProcessStarted>), ApiError> {
    if caller.read_only {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            code::READ_ONLY_UNAVAILABLE,
            "Commands cannot run read-only in this workspace. Nothing ran; read_file still works.",
        ));
    }
    if agent.is_shutting_down() {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code::SHUTTING_DOWN, "The workspace is stopping."));
    }
    let workdir = check(&agent, &request)?;
    let env = agent.environment().of_chat(caller.chat_id.as_deref(), &request.env);
    let begun = agent
        .processes()
        .begin(NewProcess {
            command: request.command,
            workdir,
            env,
            shell: agent.environment().shell(),
            background: request.background,
            chat_id: caller.chat_id,
            ancestors: caller.ancestors,
            call: caller.call,
        })
        .await?;
    let status = if begun.attached { StatusCode::OK } else { StatusCode::CREATED };
    let answer =
        ProcessStarted { process_id: begun.process_id, attached: begun.attached, background: begun.background };
    Ok((status, Json(answer)))
}

/// Names every bad field at once; the folder to start in if all are good.
fn check(agent: &Agent, request: &ProcessStart) -> Result<PathBuf, ApiError> {
    let mut faults: Vec<(String, String)> = Vec::new();
    if request.command.trim().is_empty() || request.command.len() > MAX_COMMAND_BYTES {
        faults.push(("command".into(), format!("must have 1 to {MAX_COMMAND_BYTES} bytes")));
    }
    if request.command.contains('\0') {
        faults.push(("command".into(), "must not contain U+0000".into()));
    }
    if request.env.len() > MAX_ENV_NAMES {
        faults.push(("env".into(), format!("must have at most {MAX_ENV_NAMES} names")));
    }
    for (name, value) in &request.env {
        if !environment::is_name(name) {
            faults.push((format!("env.{name}"), "is no name of a variable".into()));
        }
        if value.contains('\0') || value.len() > MAX_ENV_VALUE_BYTES {
            faults.push((
                format!("env.{name}"),
                format!("must have at most {MAX_ENV_VALUE_BYTES} bytes, none of them U+0000"),
            ));
        }
    }
    let directory = agent.directory();
    let workdir = match &request.workdir {
        None => Ok(directory),
        Some(path) => paths::resolve(agent.home(), &directory, path)
            .map_err(str::to_owned)
            .and_then(|path| if path.is_dir() { Ok(path) } else { Err(format!("is no folder: {}", path.display())) }),
    };
    match workdir {
        Ok(workdir) if faults.is_empty() => return Ok(workdir),
        Ok(_) => {}
        Err(fault) => faults.push(("workdir".into(), fault)),
    }
    let words: Vec<String> = faults.iter().map(|(field, detail)| format!("{field} {detail}")).collect();
    let validations: Vec<Value> =
        faults.iter().map(|(field, detail)| json!({ "field": field, "detail": detail })).collect();
    Err(ApiError::new(StatusCode::BAD_REQUEST, code::INVALID_ARGUMENTS, words.join("; "))
        .with_detail(json!({ "validations": validations })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputQuery {
    offset: Option<i64>,
    limit: Option<usize>,
    #[serde(default)]
    wait_ms: u64,
}

async fn output(
    State(agent): State<Agent>,
    caller: Caller,
    Path(id): Path<String>,
    Fields(query): Fields<OutputQuery>,
) -> Result<Json<ProcessOutput>, ApiError> {
    let part = match (query.offset, query.limit) {
        (None, None) => Part::HeadAndTail,
        (offset, limit) => {
            Part::Page { offset: offset.unwrap_or(0), limit: limit.unwrap_or(MAX_PAGE_BYTES).clamp(1, MAX_PAGE_BYTES) }
        }
    };
    let wait = Duration::from_millis(query.wait_ms).min(MAX_WAIT);
    agent.processes().output(&caller, &id, part, wait).await.map(Json)
}

async fn signal(
    State(agent): State<Agent>,
    caller: Caller,
    Path(id): Path<String>,
    Input(request): Input<SignalRequest>,
) -> Result<Json<SignalAnswer>, ApiError> {
    agent.processes().signal(&caller, &id, request).await.map(Json)
}
