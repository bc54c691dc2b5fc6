//! What runs and operations hand in, and what they get back.

use std::time::Duration;

use atelier_domain::chat::{CallClass, CallState, StopKind, TransitionError};
use atelier_domain::error::TurnError;
use atelier_domain::message::{FinishReason, MessagePart, ToolCallPart, Usage};
use atelier_domain::{CallToken, ChatId, MessageId, ModelConfigId, Timestamp, UserId};
use atelier_store::{ChatRow, ModelCallNew, StoreError, ToolCallRow};
use atelier_stream::StepLog;

/// What a run's writes are fenced by. The epoch decides; the rewind says what became of a lost run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunFence {
    pub chat_id: ChatId,
    pub epoch: i64,
    pub rewind: i64,
}

/// Signals to the executor of this process. They are hints: a lost one costs a moment.
pub trait RunSignals: Send + Sync {
    /// The chat is pending since then.
    fn wake(&self, chat: ChatId, owner: UserId, pending_since: Timestamp);
    /// A run of the chat with this epoch or an older one has been asked to stop or has lost its chat. A
    /// signal that comes late is no business of a run that began since.
    fn stop(&self, chat: ChatId, up_to_epoch: i64);
}

/// Why a change of a chat was not made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("there is no such chat")]
    NotFound,
    #[error("the chat is archived")]
    Archived,
    #[error("the chat's root is archived")]
    ParentArchived,
    #[error("the queue has no such entry")]
    EntryNotFound,
    #[error("the queue is full")]
    QueueFull,
    #[error("the chat has no such message")]
    MessageNotFound,
    #[error("the message is not a user's")]
    NotAUserMessage,
    #[error("no turn has failed")]
    NothingToRetry,
    /// The chat belongs to another run, or to none: nothing was written but the bill.
    #[error("the run has lost the chat")]
    Lost,
    /// A stop was asked for: settle.
    #[error("the turn is stopping ({})", .0.as_str())]
    Stopping(StopKind),
    #[error("nobody asked the turn to stop")]
    NotAsked,
    #[error("the chat is in a reserved state")]
    Reserved,
    /// The run and its chat disagree about steps or calls: a defect of the caller.
    #[error("the run is out of step with its chat: {0}")]
    OutOfStep(TransitionError),
    /// A stored message that cannot be read.
    #[error("message content cannot be read")]
    Content(#[source] atelier_domain::message::ContentError),
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl From<TransitionError> for CommitError {
    fn from(refusal: TransitionError) -> Self {
        match refusal {
            TransitionError::Archived => Self::Archived,
            TransitionError::Lost => Self::Lost,
            TransitionError::Stopping(kind) => Self::Stopping(kind),
            TransitionError::NotAsked => Self::NotAsked,
            TransitionError::Reserved => Self::Reserved,
            TransitionError::ParentArchived => Self::ParentArchived,
            TransitionError::EntryNotFound => Self::EntryNotFound,
            TransitionError::QueueFull => Self::QueueFull,
            TransitionError::MessageNotFound => Self::MessageNotFound,
            TransitionError::NotAUserMessage => Self::NotAUserMessage,
            TransitionError::NothingToRetry => Self::NothingToRetry,
            TransitionError::CallNotOpen | TransitionError::StepClosed | TransitionError::CallsOpen => {
                Self::OutOfStep(refusal)
            }
        }
    }
}

/// A chat that this process runs now.
pub struct Claimed {
    pub fence: RunFence,
    pub chat: ChatRow,
    /// Opened before `running` was published.
    pub log: StepLog,
    /// The step that began with the claim; absent when open calls come first.
    pub step: Option<StepBegun>,
    /// Calls of runs before this one.
    pub open_calls: Vec<StoredCall>,
}

/// An open call as its answer has it.
#[derive(Clone, Debug)]
pub struct StoredCall {
    pub row: ToolCallRow,
    pub part: Option<ToolCallPart>,
    /// The answer was cut by its length.
    pub was_cut: bool,
}

/// A step that may send its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepBegun {
    pub step_no: i64,
    /// Number of the request within the step.
    pub attempt: i32,
    pub begun_at: Timestamp,
}

/// A request failed and is sent again.
#[derive(Clone, Debug)]
pub struct RetryPlanned {
    pub error: TurnError,
    /// The attempt that failed.
    pub attempt: i32,
    pub delay: Duration,
    pub retrying_at: Timestamp,
    pub metering: Option<ModelCallNew>,
}

/// A call of an answer, as it enters the ledger.
#[derive(Clone, Debug)]
pub struct NewToolCall {
    pub uid: CallToken,
    pub call_index: i32,
    pub tool_call_id: String,
    pub tool_name: String,
    pub input_sha256: String,
    pub class: CallClass,
    /// `Started` where it begins at once, else `Ready`.
    pub state: CallState,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct AnswerStored {
    pub content: AnswerContent,
    /// Its local calls in call order.
    pub calls: Vec<NewToolCall>,
    pub metering: ModelCallNew,
    /// Nothing follows it in this turn. With calls the turn goes on all the same.
    pub ends_turn: bool,
}

/// What is stored of an answer: a whole one, what came of one before it was cut off, or a refusal. Complete
/// local calls of the latter two get an "interrupted" result in the same transaction.
#[derive(Clone, Debug)]
pub struct AnswerContent {
    pub step_no: i64,
    pub parts: Vec<MessagePart>,
    pub finish_reason: FinishReason,
    pub usage: Usage,
    pub estimated: bool,
    pub cost_micros: Option<i64>,
    pub model_config_id: ModelConfigId,
    pub context_limit: Option<i64>,
    pub runtime_ms: i64,
    pub provider_response_id: Option<String>,
}

#[derive(Clone, Debug)]
pub struct AnswerCommitted {
    pub message_id: MessageId,
    pub calls: Vec<ToolCallRow>,
    /// The turn is over and the run with it.
    pub settled: bool,
    /// The next queue entry was started.
    pub pending_again: bool,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub struct CallEnd {
    /// One tool-result part.
    pub parts: Vec<MessagePart>,
    /// The result says that the outcome is not known.
    pub unknown: bool,
}

/// How a run ends that was not cut short.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a turn")]
pub enum Settle {
    Done,
    Stopped {
        partial: Option<AnswerContent>,
        /// What open calls had come to; the others get "interrupted".
        results: Vec<(CallToken, Vec<MessagePart>)>,
        metering: Option<ModelCallNew>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub pending_again: bool,
}

/// The turn ends in an error.
#[derive(Clone, Debug)]
pub struct Fail {
    pub error: TurnError,
    /// Kept only if the model declined, or if a stop was asked for meanwhile.
    pub answer: Option<AnswerContent>,
    pub metering: Option<ModelCallNew>,
}
