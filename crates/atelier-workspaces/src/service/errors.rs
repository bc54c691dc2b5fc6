//! Errors of workspace tools, in words that say what to do next (`workspaces.md` 6).

use atelier_daemon::tool_error::{ToolError, ToolErrorCode};
use atelier_domain::BuildId;
use atelier_store::{LogRow, StoreError, WorkspaceError};
use serde_json::{Value, json};

use super::WorkspaceView;
use super::operations::OperationError;
use crate::templates::Fault;

pub(super) fn error(code: ToolErrorCode, message: impl Into<String>) -> ToolError {
    ToolError::new(code, message)
}

#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
pub(super) fn internal(error: StoreError) -> ToolError {
    ToolError::of_store(&error)
}

pub(super) fn deleted() -> ToolError {
    error(ToolErrorCode::WorkspaceDeleted, "The workspace was deleted. Call create_workspace to make a new one.")
}

pub(super) fn agent_away(view: &WorkspaceView) -> ToolError {
    let since = view.agent.as_ref().and_then(|agent| agent.disconnected_at);
    let since = since.map(|at| format!(" since {at}")).unwrap_or_default();
    error(
        ToolErrorCode::AgentNotConnected,
        format!(
            "The workspace runs, but its agent is not connected{since}. It reconnects by itself; try again in a moment."
        ),
    )
}

pub(super) fn in_progress(build: BuildId) -> ToolError {
    error(ToolErrorCode::BuildInProgress, "Another build of the workspace is under way. Try again in a moment.")
        .with("build_id", json!(build))
}

pub(super) fn invalid_parameters(faults: &[Fault]) -> ToolError {
    let validations: Vec<Value> =
        faults.iter().map(|fault| json!({ "field": fault.field, "detail": fault.detail })).collect();
    error(
        ToolErrorCode::InvalidParameters,
        "The parameters do not fit the template. Call read_template for what it takes.",
    )
    .with("validations", Value::Array(validations))
}

pub(super) fn workspace_error(failed: WorkspaceError) -> ToolError {
    match failed {
        WorkspaceError::NotFound => deleted(),
        WorkspaceError::TooMany => error(
            ToolErrorCode::QuotaExceeded,
            "The user has as many workspaces as allowed. One must be deleted before another can be created.",
        ),
        WorkspaceError::TooManyRunning => error(
            ToolErrorCode::QuotaExceeded,
            "The user has as many running workspaces as allowed. One must be stopped first.",
        ),
        WorkspaceError::BuildInProgress(build) => in_progress(build),
        WorkspaceError::NameTaken => error(ToolErrorCode::InvalidArguments, "The name is taken. Choose another one."),
        WorkspaceError::Store(error) => internal(error),
    }
}

pub(super) fn operation_error(failed: OperationError) -> ToolError {
    match failed {
        OperationError::NotFound => deleted(),
        OperationError::Invalid(faults) => invalid_parameters(&faults),
        OperationError::BuildInProgress(build) => in_progress(build),
        OperationError::QuotaExceeded(words) => error(ToolErrorCode::QuotaExceeded, words),
        OperationError::NameTaken | OperationError::InUse => {
            error(ToolErrorCode::Internal, "The workspace could not be started.")
        }
        OperationError::Store(error) => internal(error),
    }
}

/// The last lines that fit.
pub(super) fn last(lines: &[LogRow], bytes: usize) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut size = 0;
    for line in lines.iter().rev() {
        size += line.output.len() + 1;
        if size > bytes && !kept.is_empty() {
            break;
        }
        kept.push(&line.output);
    }
    kept.reverse();
    atelier_domain::text::tail(&kept.join("\n"), bytes).to_owned()
}

pub(super) fn sentence(text: &str) -> String {
    let text = atelier_domain::text::head(text.trim(), 2048);
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}
