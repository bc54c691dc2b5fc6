//! The one mapping from what went wrong to what is answered.

use atelier_api as api;
use atelier_daemon::commit::CommitError;
use atelier_domain::Chain;
use atelier_store::{GroupError, ModelError, StoreError, UserError};
use atelier_workspaces::OperationError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A refusal, or a failure that is logged and answered without its reasons.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) body: Box<api::Error>,
    pub(crate) retry_after: Option<u64>,
}

pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let body = api::Error { message: message.into(), code: code.to_owned(), ..api::Error::default() };
        Self { status, body: Box::new(body), retry_after: None }
    }

    pub(crate) fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// What the caller may not know of, and what does not exist: the same answer.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such thing, or you may not see it.")
    }

    pub(crate) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "You may not do this. Ask an administrator for the right.")
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Log in first, or send a valid token.")
    }

    pub(crate) fn conflict(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    pub(crate) fn invalid_id(name: &str) -> Self {
        Self::bad_request("invalid_id", format!("The {name} in the path is not valid."))
    }

    /// One refusal that names every bad field.
    pub(crate) fn validation(faults: Vec<api::Validation>) -> Self {
        Self::faults("validation_failed", faults)
    }

    pub(crate) fn faults(code: &str, faults: Vec<api::Validation>) -> Self {
        let list =
            faults.iter().map(|fault| format!("{}: {}", fault.field, fault.detail)).collect::<Vec<_>>().join("; ");
        let mut error = Self::bad_request(code, format!("The request is not valid: {list}."));
        error.body.validations = faults;
        error
    }

    pub(crate) fn taken(field: &str, what: &str) -> Self {
        let mut error = Self::conflict("already_exists", format!("{what} is taken. Choose another."));
        error.body.validations = vec![fault(field, "is taken")];
        error
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.body.detail = Some(detail.into());
        self
    }

    /// Over a limit of a rate: wait so long.
    pub(crate) fn rate_limited(retry_after: u64) -> Self {
        let message = "Too many requests. Wait as long as Retry-After says.";
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
        Self { retry_after: Some(retry_after), ..error }
    }

    /// Not now; in so many seconds perhaps.
    pub(crate) fn unavailable(message: &str, retry_after: u64) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
        Self { retry_after: Some(retry_after), ..error }
    }

    /// A failure, without its reasons.
    pub(crate) fn failed() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed. Try again.")
    }

    /// For the log; the caller learns the request id only.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!("a request failed: {}", Chain(error));
        Self::failed()
    }
}

/// One bad field.
pub(crate) fn fault(field: impl Into<String>, detail: impl Into<String>) -> api::Validation {
    api::Validation { field: field.into(), detail: detail.into() }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::StorageFull => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "storage_full",
                "The server's disk is full. Ask an administrator to make room.",
            ),
            _ if error.is_transient() || matches!(error, StoreError::Closed) => {
                tracing::warn!("the store is away: {}", Chain(&error));
                let away = match error {
                    StoreError::Files(_) => "The store of files is away. Try again soon.",
                    _ => "The database is away. Try again soon.",
                };
                let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", away);
                error.retry_after = Some(1);
                error
            }
            _ => Self::internal(&error),
        }
    }
}

impl From<CommitError> for ApiError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NotFound | CommitError::EntryNotFound | CommitError::MessageNotFound => Self::not_found(),
            CommitError::Archived => Self::conflict("chat_archived", "The chat is archived. Unarchive it to go on."),
            CommitError::ParentArchived => Self::bad_request("parent_archived", "The chat's parent is archived."),
            CommitError::NothingToRetry => {
                Self::conflict("nothing_to_retry", "The last turn did not fail. Send a message to go on.")
            }
            CommitError::QueueFull => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "queue_full",
                "20 messages wait already. Wait for one to be taken, or delete one.",
            ),
            CommitError::NotAUserMessage => {
                Self::bad_request("not_a_user_message", "Only messages of users can be edited.")
            }
            CommitError::Store(error) => error.into(),
            error @ (CommitError::Lost
            | CommitError::Stopping(_)
            | CommitError::NotAsked
            | CommitError::Reserved
            | CommitError::OutOfStep(_)
            | CommitError::Content(_)) => Self::internal(&error),
        }
    }
}

impl From<UserError> for ApiError {
    fn from(error: UserError) -> Self {
        match error {
            UserError::FirstUserExists => Self::conflict("first_user_exists", "The first user exists already."),
            UserError::LastOwner => {
                Self::bad_request("last_owner", "This is the last owner of the site. Make another one first.")
            }
            UserError::NotFound => Self::not_found(),
            UserError::UnknownOrganization => {
                Self::validation(vec![fault("organization_ids", "names an organization that does not exist")])
            }
            UserError::EmailTaken => Self::taken("email", "The email address"),
            UserError::UsernameTaken => Self::taken("username", "The username"),
            UserError::Store(error) => error.into(),
        }
    }
}

impl From<GroupError> for ApiError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::NotFound => Self::not_found(),
            GroupError::Outsider(user) => {
                Self::validation(vec![fault("add_users", format!("{user} is not a member of the organization"))])
            }
            GroupError::Everyone => {
                Self::bad_request("validation_failed", "The group of all members cannot be changed or deleted.")
            }
            GroupError::NameTaken => Self::taken("name", "The name"),
            GroupError::Store(error) => error.into(),
        }
    }
}

impl From<ModelError> for ApiError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::NotFound => Self::not_found(),
            ModelError::UnknownProvider => {
                Self::validation(vec![fault("provider", "is not set up; add the provider first")])
            }
            ModelError::InUse => Self::bad_request(
                "in_use",
                "A model of this provider is the last one of a chat. Disable the provider instead.",
            ),
            ModelError::Double => Self::conflict(
                "already_exists",
                "There is a model config like this already. Give it another display name.",
            ),
            ModelError::UnfitDefault => {
                Self::validation(vec![fault("is_default", "only an enabled model can be the default")])
            }
            ModelError::Store(StoreError::Conflict { .. }) => Self::taken("name", "The name"),
            ModelError::Store(error) => error.into(),
        }
    }
}

impl From<OperationError> for ApiError {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::NotFound => Self::not_found(),
            OperationError::Invalid(faults) => {
                Self::validation(faults.into_iter().map(|found| fault(found.field, found.detail)).collect())
            }
            OperationError::NameTaken => Self::taken("name", "The name"),
            OperationError::InUse => Self::bad_request("in_use", "The template has workspaces. Delete them first."),
            OperationError::BuildInProgress(build) => {
                Self::conflict("build_in_progress", "A build is under way. Wait until it has ended.")
                    .with_detail(build.to_string())
            }
            OperationError::QuotaExceeded(what) => Self::conflict("quota_exceeded", format!("Not possible: {what}.")),
            OperationError::Store(error) => error.into(),
        }
    }
}
