//! Errors of tools, as the model reads them (`workspaces.md` 1.1 and 1.8).

use atelier_domain::Chain;
use atelier_store::StoreError;
use serde_json::{Map, Value, json};

macro_rules! tool_error_codes {
    ($($variant:ident = $code:literal),* $(,)?) => {
        /// The stable code of a tool error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ToolErrorCode { $($variant),* }

        impl ToolErrorCode {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// The code with this name, for errors that come from a workspace agent.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

tool_error_codes! {
    InvalidArguments = "invalid_arguments",
    ToolNotAvailable = "tool_not_available",
    NoWorkspace = "no_workspace",
    WorkspaceStopped = "workspace_stopped",
    WorkspaceFailed = "workspace_failed",
    WorkspaceDeleted = "workspace_deleted",
    WorkspaceStarting = "workspace_starting",
    AgentNotConnected = "agent_not_connected",
    WorkspaceAccessRevoked = "workspace_access_revoked",
    Interrupted = "interrupted",
    Internal = "internal",
    OutcomeUnknown = "outcome_unknown",
    FileNotFound = "file_not_found",
    PermissionDenied = "permission_denied",
    NotRegularFile = "not_regular_file",
    FileChanged = "file_changed",
    TooLarge = "too_large",
    EditFailed = "edit_failed",
    WriteFailed = "write_failed",
    UnknownProcess = "unknown_process",
    TooManyProcesses = "too_many_processes",
    TokenConflict = "token_conflict",
    ReadOnly = "read_only",
    ReadOnlyUnavailable = "read_only_unavailable",
    TemplateNotFound = "template_not_found",
    InvalidParameters = "invalid_parameters",
    BuildFailed = "build_failed",
    BuildInProgress = "build_in_progress",
    WorkspaceInUse = "workspace_in_use",
    QuotaExceeded = "quota_exceeded",
}

impl ToolErrorCode {
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::WorkspaceStarting | Self::AgentNotConnected | Self::BuildInProgress)
    }
}

/// A tool's error result. The message says what to do next.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ToolError {
    pub code: ToolErrorCode,
    pub message: String,
    /// Further fields of the error object, for instance `validations` or `failures`.
    pub details: Map<String, Value>,
    /// The store was away: the same question may be answered in a moment. Not shown to the model.
    pub is_store_away: bool,
}

impl ToolError {
    #[must_use]
    pub fn new(code: ToolErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Map::new(), is_store_away: false }
    }

    /// The store failed behind a tool.
    #[must_use]
    pub fn of_store(error: &StoreError) -> Self {
        tracing::error!("the store failed behind a tool: {}", Chain(error));
        let message = "The server could not look up what it needs. Try again in a moment.";
        Self { is_store_away: error.is_transient(), ..Self::new(ToolErrorCode::Internal, message) }
    }

    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.details.insert(field.to_owned(), value);
        self
    }

    /// `{"error": {"code", "message", "retryable", ...}}`
    #[must_use]
    pub fn to_result(&self) -> Value {
        let mut error = Map::new();
        error.insert("code".into(), json!(self.code.as_str()));
        error.insert("message".into(), json!(self.message));
        error.insert("retryable".into(), json!(self.code.is_retryable()));
        error.extend(self.details.clone());
        json!({ "error": error })
    }
}
