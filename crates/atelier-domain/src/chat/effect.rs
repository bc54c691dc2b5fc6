//! What has to be done about a transition.

use jiff::Timestamp;

use super::state::{OpenCall, StopKind};
use crate::id::{CallToken, Incarnation, MessageId, QueueEntryId};

/// The kind of a watch event (api.md 4.7) that a transition causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WatchKind {
    Created,
    StatusChange,
    TitleChange,
    Updated,
    Deleted,
}

/// Which descendants of the chat are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopScope {
    /// All that are running or pending.
    All,
    /// Those spawned by steps of the deleted messages.
    SpawnedFrom(MessageId),
}

/// Effects in the order they are carried out: first what is written in the transaction, then what is
/// published after it committed. The chat's own row is written from the next [`super::ChatState`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatEffect {
    /// Insert the message the event brings; its model and MCP selection become the chat's.
    UserMessageInsert,
    /// Insert the message the event brings as a queue entry.
    EntryInsert {
        urgent_no: Option<i64>,
    },
    /// Remove these entries and insert them as user messages in this order, one batch.
    EntriesPop(Vec<QueueEntryId>),
    EntryDelete(QueueEntryId),
    EntriesDelete,
    EntryMakeUrgent {
        entry: QueueEntryId,
        urgent_no: i64,
    },
    /// Soft-delete all rows from this id on, system rows excepted.
    MessagesDelete {
        from: MessageId,
        rewind: i64,
    },
    /// Insert the assistant row of this step.
    AnswerInsert {
        step_no: i64,
    },
    /// Insert ledger rows for the calls of the answer.
    CallsInsert(Vec<OpenCall>),
    CallsStart(Vec<CallToken>),
    CallsDetach(Vec<CallToken>),
    /// Ledger rows become `unknown`; their messages are deleted, so no result row is written.
    CallsForget(Vec<CallToken>),
    /// Insert the result the event brings; the call is finished, or its outcome is unknown.
    ResultInsert {
        token: CallToken,
        unknown: bool,
    },
    /// Insert a result for each of these calls (what the run knows of it, else "interrupted"), in order.
    CallsClose(Vec<CallToken>),
    /// Insert the three rows of a compaction.
    SummaryInsert {
        step_no: i64,
    },
    /// Apply `TreeStop` to these descendants.
    DescendantsStop(StopScope),

    // after the commit, in this order; messages come with the inserts above, first of all
    PublishHistoryReset,
    PublishQueue,
    /// The retry that the state holds, to every viewer.
    PublishRetry,
    PublishError,
    PublishStatus,
    Watch(WatchKind),
    /// The chat is pending since then: start it.
    Wake {
        since: Timestamp,
    },
    /// Tell the run of this replica to stop; it lost the chat if `kind` is absent.
    StopRun {
        owner: Incarnation,
        kind: Option<StopKind>,
    },
}
