//! The body of every answer that is not 2xx.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `{code, message, detail?}`. Codes are those of tool errors (`workspaces.md` 1.8) where one fits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub code: String,
    /// Says what to do next.
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
}

/// Codes the agent answers with.
pub mod code {
    /// 400: the request cannot be read, or a field is wrong. `detail.validations[{field, detail}]`.
    pub const INVALID_ARGUMENTS: &str = "invalid_arguments";
    /// 404: no such route.
    pub const ROUTE_NOT_FOUND: &str = "route_not_found";
    /// 403
    pub const READ_ONLY: &str = "read_only";
    /// 403: no read-only shell can be made here; nothing ran.
    pub const READ_ONLY_UNAVAILABLE: &str = "read_only_unavailable";
    /// 404, also for a process of another chat.
    pub const UNKNOWN_PROCESS: &str = "unknown_process";
    /// 409: it has ended already.
    pub const PROCESS_ENDED: &str = "process_ended";
    /// 429
    pub const TOO_MANY_PROCESSES: &str = "too_many_processes";
    /// 409: the token was used with other arguments.
    pub const TOKEN_CONFLICT: &str = "token_conflict";
    /// 500
    pub const INTERNAL: &str = "internal";
    /// 503: the workspace is ending.
    pub const SHUTTING_DOWN: &str = "shutting_down";

    /// 404
    pub const FILE_NOT_FOUND: &str = "file_not_found";
    /// 403
    pub const PERMISSION_DENIED: &str = "permission_denied";
    /// 400
    pub const NOT_REGULAR_FILE: &str = "not_regular_file";
    /// 409
    pub const FILE_CHANGED: &str = "file_changed";
    /// 413
    pub const TOO_LARGE: &str = "too_large";
    /// 422. `detail.failures[]`.
    pub const EDIT_FAILED: &str = "edit_failed";
    /// 500. `detail.rolled_back?`, `detail.conflicts[]?`.
    pub const WRITE_FAILED: &str = "write_failed";
}
