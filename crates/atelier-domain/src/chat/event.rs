//! What can happen to a chat.

use jiff::Timestamp;

use super::state::{Activity, ChatState, OpenCall, RetryInfo};
use crate::error::TurnError;
use crate::id::{CallToken, Incarnation, MessageId, QueueEntryId};

/// What a send does to a chat that is busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BusyBehavior {
    #[default]
    Queue,
    Interrupt,
}

/// What an edit's target turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditTarget {
    /// A visible, undeleted user message of this chat.
    UserMessage(MessageId),
    /// A visible, undeleted message of another role.
    OtherRole,
    NotFound,
}

/// Whether the next step may begin, as the checks outside the chat see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Allowed,
    /// Suspended owner, usage limit: the turn ends with this error.
    Refused(TurnError),
    /// The budget is reserved by other steps: the run parks until one of them ends.
    Wait,
}

/// How an open call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    Finished,
    /// Its result row says that the outcome is not known.
    Unknown,
}

/// The answer of a step, whole or partial, as far as the rules look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepAnswer {
    pub step_no: i64,
    /// Its complete local calls, each `ready` or `started`.
    pub calls: Vec<OpenCall>,
    /// The model declined; such an answer is kept though its turn fails.
    pub refused: bool,
}

/// Events by the names of the transition table. Those with an `epoch` come from a run and are fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatEvent {
    Send {
        at: Timestamp,
        behavior: BusyBehavior,
    },
    Edit {
        at: Timestamp,
        target: EditTarget,
    },
    Promote {
        at: Timestamp,
        entry: QueueEntryId,
    },
    QueueDelete {
        entry: QueueEntryId,
    },
    Interrupt {
        at: Timestamp,
    },
    /// The failed turn goes on.
    Retry {
        at: Timestamp,
    },
    /// The parent was stopped.
    TreeStop {
        at: Timestamp,
    },
    /// The parent closed this child.
    Close {
        at: Timestamp,
    },
    Archive {
        at: Timestamp,
    },
    Unarchive {
        at: Timestamp,
    },
    /// Title, labels, pin, workspace; the read mark is the one that nobody else sees.
    SetMeta {
        visible: bool,
    },
    Claim {
        at: Timestamp,
        owner: Incarnation,
        admission: Admission,
    },
    StepBegin {
        epoch: i64,
        at: Timestamp,
        admission: Admission,
    },
    RetryPlanned {
        epoch: i64,
        retry: RetryInfo,
    },
    /// `ends_turn`: the answer is final. With open calls the turn goes on all the same.
    AnswerStored {
        epoch: i64,
        at: Timestamp,
        answer: StepAnswer,
        ends_turn: bool,
    },
    CallStart {
        epoch: i64,
        tokens: Vec<CallToken>,
    },
    Park {
        epoch: i64,
    },
    Unpark {
        epoch: i64,
    },
    /// Calls have ended, all of them open until now.
    CallsEnd {
        epoch: i64,
        calls: Vec<(CallToken, CallOutcome)>,
    },
    Compacted {
        epoch: i64,
        step_no: i64,
    },
    SettledDone {
        epoch: i64,
        at: Timestamp,
    },
    SettledStopped {
        epoch: i64,
        at: Timestamp,
        answer: Option<StepAnswer>,
    },
    Failed {
        epoch: i64,
        at: Timestamp,
        error: TurnError,
        answer: Option<StepAnswer>,
    },
    Released {
        epoch: i64,
        at: Timestamp,
    },
    /// The lease of this replica is over, or it lives no more.
    LeaseEnded {
        owner: Incarnation,
        at: Timestamp,
    },
}

/// The lists an event looks at beside the chat's row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub queue: bool,
    pub open_calls: bool,
}

impl ChatEvent {
    /// The epoch a run's event is fenced by.
    #[must_use]
    pub const fn fence(&self) -> Option<i64> {
        match self {
            Self::StepBegin { epoch, .. }
            | Self::RetryPlanned { epoch, .. }
            | Self::AnswerStored { epoch, .. }
            | Self::CallStart { epoch, .. }
            | Self::Park { epoch }
            | Self::Unpark { epoch }
            | Self::CallsEnd { epoch, .. }
            | Self::Compacted { epoch, .. }
            | Self::SettledDone { epoch, .. }
            | Self::SettledStopped { epoch, .. }
            | Self::Failed { epoch, .. }
            | Self::Released { epoch, .. } => Some(*epoch),
            Self::Send { .. }
            | Self::Edit { .. }
            | Self::Promote { .. }
            | Self::QueueDelete { .. }
            | Self::Interrupt { .. }
            | Self::Retry { .. }
            | Self::TreeStop { .. }
            | Self::Close { .. }
            | Self::Archive { .. }
            | Self::Unarchive { .. }
            | Self::SetMeta { .. }
            | Self::Claim { .. }
            | Self::LeaseEnded { .. } => None,
        }
    }

    /// Which lists have to be loaded before this event is applied to `state`, whose own lists are not
    /// looked at. [`super::apply`] gives the same outcome with the other lists left empty.
    #[must_use]
    pub fn needs(&self, state: &ChatState) -> Needs {
        let pending = matches!(state.activity, Activity::Pending { .. });
        let stopping = matches!(state.activity, Activity::Stopping { .. });
        let owned = state.activity.owner().is_some();
        let none = Needs::default();
        let queue = Needs { queue: true, open_calls: false };
        let calls = Needs { queue: false, open_calls: true };
        let both = Needs { queue: true, open_calls: true };
        if self.fence().is_some_and(|epoch| epoch != state.epoch || !owned) {
            return none;
        }
        match self {
            Self::Send { behavior: BusyBehavior::Interrupt, .. } | Self::Promote { .. } | Self::Interrupt { .. }
                if pending =>
            {
                both
            }
            Self::Send { .. } | Self::Promote { .. } | Self::QueueDelete { .. } => queue,
            Self::Interrupt { .. } | Self::Retry { .. } | Self::Unarchive { .. } | Self::SetMeta { .. } => none,
            Self::Edit { .. } | Self::Close { .. } => both,
            Self::TreeStop { .. } | Self::Archive { .. } => {
                if pending {
                    calls
                } else {
                    none
                }
            }
            Self::Claim { .. } => {
                // a turn without a step yet has no calls
                if pending && state.step_begun_at.is_some() { calls } else { none }
            }
            Self::StepBegin { .. } => calls,
            Self::RetryPlanned { .. } | Self::Park { .. } | Self::Unpark { .. } | Self::Compacted { .. } => none,
            Self::AnswerStored { answer, ends_turn, .. } => {
                if stopping {
                    both
                } else if *ends_turn && answer.calls.is_empty() {
                    queue
                } else {
                    none
                }
            }
            Self::CallStart { .. } | Self::CallsEnd { .. } => calls,
            Self::SettledDone { .. } | Self::SettledStopped { .. } => both,
            Self::Failed { .. } | Self::Released { .. } => {
                if stopping {
                    both
                } else {
                    calls
                }
            }
            Self::LeaseEnded { owner, .. } => {
                if state.activity.owner() != Some(*owner) {
                    none
                } else if stopping {
                    both
                } else {
                    calls
                }
            }
        }
    }
}
