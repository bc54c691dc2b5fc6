//! What the rules look at.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::TurnError;
use crate::id::{CallToken, Incarnation, QueueEntryId};

named_enum! {
    /// `chats.status`.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    ChatStatus {
        Waiting = "waiting",
        Pending = "pending",
        Running = "running",
        Error = "error",
        /// Reserved: nothing enters it yet.
        RequiresAction = "requires_action",
    }
}

named_enum! {
    /// Why a running turn was asked to stop.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    StopKind {
        User = "user",
        Send = "send",
        Promote = "promote",
        Close = "close",
        Tree = "tree",
        Archive = "archive",
    }
}

impl StopKind {
    /// Whether the settle after this stop starts the next queue entry.
    #[must_use]
    pub const fn pops_queue(self) -> bool {
        match self {
            Self::User | Self::Send | Self::Promote => true,
            Self::Close | Self::Tree | Self::Archive => false,
        }
    }
}

named_enum! {
    /// What may be done with a call whose run ended while it was in work.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    CallClass {
        /// Run again.
        Repeatable = "repeatable",
        /// Asked about by its token; begun at most once.
        Keyed = "keyed",
        /// Never begun twice; its outcome is unknown.
        Opaque = "opaque",
    }
}

named_enum! {
    /// Where a tool call stands in the ledger. The first three are open.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    CallState {
        Ready = "ready",
        Started = "started",
        Detached = "detached",
        Finished = "finished",
        Unknown = "unknown",
    }
}

impl CallState {
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::Ready | Self::Started | Self::Detached => true,
            Self::Finished | Self::Unknown => false,
        }
    }
}

/// A retry that is being waited for (`chats.retry_info`), or the last one of the step in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryInfo {
    /// The attempt that failed.
    pub attempt: i32,
    pub delay_ms: i64,
    pub retrying_at: Timestamp,
    pub error: TurnError,
}

/// What the chat is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activity {
    Waiting,
    Pending {
        since: Timestamp,
    },
    Running {
        owner: Incarnation,
        started_at: Timestamp,
        parked: bool,
    },
    Stopping {
        owner: Incarnation,
        started_at: Timestamp,
        parked: bool,
        kind: StopKind,
    },
    Error(TurnError),
    /// Reserved: nothing enters it, every event on it is refused.
    RequiresAction,
}

impl Activity {
    #[must_use]
    pub const fn status(&self) -> ChatStatus {
        match self {
            Self::Waiting => ChatStatus::Waiting,
            Self::Pending { .. } => ChatStatus::Pending,
            Self::Running { .. } | Self::Stopping { .. } => ChatStatus::Running,
            Self::Error(_) => ChatStatus::Error,
            Self::RequiresAction => ChatStatus::RequiresAction,
        }
    }

    /// The replica whose run owns the chat.
    #[must_use]
    pub const fn owner(&self) -> Option<Incarnation> {
        match self {
            Self::Running { owner, .. } | Self::Stopping { owner, .. } => Some(*owner),
            Self::Waiting | Self::Pending { .. } | Self::Error(_) | Self::RequiresAction => None,
        }
    }

    #[must_use]
    pub const fn stop_kind(&self) -> Option<StopKind> {
        match self {
            Self::Stopping { kind, .. } => Some(*kind),
            Self::Waiting | Self::Pending { .. } | Self::Running { .. } | Self::Error(_) | Self::RequiresAction => None,
        }
    }
}

/// A queue entry as a decision sees it: one that is stored, or the one the event at hand brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryRef {
    Stored(QueueEntryId),
    Incoming,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    pub entry: EntryRef,
    /// Order of the requests for "now"; absent for a plain entry.
    pub urgent_no: Option<i64>,
}

/// An open call of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenCall {
    pub token: CallToken,
    pub step_no: i64,
    pub call_index: i32,
    pub class: CallClass,
    pub state: CallState,
}

/// A chat as the rules see it. The daemon builds it from the locked row.
///
/// `queue` (in order of ids) and `open_calls` (in order of steps and calls) may be left empty when
/// [`super::ChatEvent::needs`] says that the event does not look at them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatState {
    pub activity: Activity,
    pub archived: bool,
    pub is_root: bool,
    /// The root of this (child) chat is archived.
    pub root_archived: bool,
    pub epoch: i64,
    pub version: i64,
    pub queue_version: i64,
    pub rewind: i64,
    pub turn_no: i64,
    pub step_no: i64,
    pub committed_step: i64,
    pub attempt: i32,
    pub takeovers: i32,
    /// When the newest step of this turn began; absent before the turn's first one.
    pub step_begun_at: Option<Timestamp>,
    pub retry: Option<RetryInfo>,
    pub closed_at: Option<Timestamp>,
    pub pin_order: i32,
    /// Moves with user messages, status and archiving.
    pub updated_at: Timestamp,
    pub queue: Vec<QueueEntry>,
    pub open_calls: Vec<OpenCall>,
}

impl ChatState {
    /// Gives the entry that the last event brought the id it was stored under.
    pub fn entry_stored(&mut self, id: QueueEntryId) {
        for entry in &mut self.queue {
            if entry.entry == EntryRef::Incoming {
                entry.entry = EntryRef::Stored(id);
            }
        }
    }

    /// A step was begun and its answer is not stored.
    #[must_use]
    pub const fn step_in_progress(&self) -> bool {
        self.step_no > self.committed_step
    }
}
