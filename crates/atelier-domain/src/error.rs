//! Why a turn or a model request failed, as people and clients see it (daemon.md 6).

use serde::{Deserialize, Serialize};

/// The kind of a turn's error. `Takeover` appears in `retry` events only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    Overloaded,
    RateLimit,
    Quota,
    Auth,
    Network,
    Timeout,
    StartupTimeout,
    Malformed,
    Generic,
    ContextTooLong,
    BadReplay,
    Config,
    Refused,
    UsageLimit,
    StepLimit,
    CrashLoop,
    OwnerSuspended,
    Internal,
    Takeover,
}

impl ErrorKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::RateLimit => "rate_limit",
            Self::Quota => "quota",
            Self::Auth => "auth",
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::StartupTimeout => "startup_timeout",
            Self::Malformed => "malformed",
            Self::Generic => "generic",
            Self::ContextTooLong => "context_too_long",
            Self::BadReplay => "bad_replay",
            Self::Config => "config",
            Self::Refused => "refused",
            Self::UsageLimit => "usage_limit",
            Self::StepLimit => "step_limit",
            Self::CrashLoop => "crash_loop",
            Self::OwnerSuspended => "owner_suspended",
            Self::Internal => "internal",
            Self::Takeover => "takeover",
        }
    }
}

/// A failed turn as it is stored in `chats.last_error` and sent as `ChatError`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnError {
    /// For people: what happened and what to do next.
    pub message: String,
    pub kind: ErrorKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The provider's own words, at most 500 characters, credentials removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    pub retryable: bool,
}

impl TurnError {
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind,
            code: None,
            detail: None,
            provider: None,
            status_code: None,
            retryable: false,
        }
    }
}
