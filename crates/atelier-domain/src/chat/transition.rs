//! The transition table: which rule an event meets in which state.

use jiff::Timestamp;

use super::effect::{ChatEffect, StopScope, WatchKind};
use super::event::{BusyBehavior, CallOutcome, ChatEvent, EditTarget};
use super::rules::Draft;
use super::state::{Activity, ChatState, StopKind};

/// Why nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    #[error("the chat is archived")]
    Archived,
    #[error("the run has lost the chat")]
    Lost,
    #[error("the turn is stopping ({})", .0.as_str())]
    Stopping(StopKind),
    #[error("nobody asked the turn to stop")]
    NotAsked,
    #[error("the chat is in a reserved state")]
    Reserved,
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
    #[error("the call is not open")]
    CallNotOpen,
    #[error("the step is not in progress")]
    StepClosed,
    #[error("the step before has open calls")]
    CallsOpen,
}

/// The columns of the transition table.
#[derive(Clone, Copy)]
enum Phase {
    Waiting,
    Pending,
    Running,
    Stopping(StopKind),
    Error,
    Archived,
    ArchivedStopping,
}

fn phase(state: &ChatState) -> Result<Phase, TransitionError> {
    Ok(match (&state.activity, state.archived) {
        (Activity::RequiresAction, _) => return Err(TransitionError::Reserved),
        (Activity::Stopping { .. }, true) => Phase::ArchivedStopping,
        // pending or running beside archived cannot be stored
        (Activity::Waiting | Activity::Error(_) | Activity::Pending { .. } | Activity::Running { .. }, true) => {
            Phase::Archived
        }
        (Activity::Waiting, false) => Phase::Waiting,
        (Activity::Pending { .. }, false) => Phase::Pending,
        (Activity::Running { .. }, false) => Phase::Running,
        (Activity::Stopping { kind, .. }, false) => Phase::Stopping(*kind),
        (Activity::Error(_), false) => Phase::Error,
    })
}

/// T1: a new chat, pending, with its first user message. `is_root`: it is no sub-agent.
#[must_use]
pub fn create(at: Timestamp, is_root: bool) -> (ChatState, Vec<ChatEffect>) {
    let state = ChatState {
        activity: Activity::Pending { since: at },
        archived: false,
        is_root,
        root_archived: false,
        epoch: 0,
        version: 1,
        queue_version: 0,
        rewind: 0,
        turn_no: 1,
        step_no: 0,
        committed_step: 0,
        attempt: 0,
        takeovers: 0,
        step_begun_at: None,
        retry: None,
        closed_at: None,
        pin_order: 0,
        updated_at: at,
        queue: Vec::new(),
        open_calls: Vec::new(),
    };
    let effects =
        vec![ChatEffect::UserMessageInsert, ChatEffect::Watch(WatchKind::Created), ChatEffect::Wake { since: at }];
    (state, effects)
}

/// What `event` makes of `state`: the next state and the effects, in order.
///
/// # Errors
/// The refusals of the transition table. Nothing may be written then, metering apart.
pub fn apply(state: &ChatState, event: ChatEvent) -> Result<(ChatState, Vec<ChatEffect>), TransitionError> {
    let phase = phase(state)?;
    if let Some(epoch) = event.fence() {
        match phase {
            Phase::Running | Phase::Stopping(_) | Phase::ArchivedStopping if epoch == state.epoch => {}
            Phase::Waiting
            | Phase::Pending
            | Phase::Running
            | Phase::Stopping(_)
            | Phase::Error
            | Phase::Archived
            | Phase::ArchivedStopping => return Err(TransitionError::Lost),
        }
    }
    let mut draft = Draft::new(state);
    match event {
        ChatEvent::Send { at, behavior: BusyBehavior::Queue } => send(&mut draft, phase, at)?,
        ChatEvent::Send { at, behavior: BusyBehavior::Interrupt } => send_now(&mut draft, phase, at)?,
        ChatEvent::Edit { at, target } => edit(&mut draft, phase, at, target)?,
        ChatEvent::Promote { at, entry } => match phase {
            Phase::Waiting | Phase::Pending | Phase::Error => draft.entry_start(entry, at)?,
            Phase::Running | Phase::Stopping(_) => {
                draft.entry_make_urgent(entry)?;
                draft.stop(StopKind::Promote);
            }
            Phase::Archived | Phase::ArchivedStopping => return Err(TransitionError::Archived),
        },
        ChatEvent::QueueDelete { entry } => draft.entry_delete(entry)?,
        ChatEvent::Interrupt { at } => interrupt(&mut draft, phase, at),
        ChatEvent::Retry { at } => match phase {
            Phase::Error => draft.turn_goes_on(at),
            Phase::Pending | Phase::Running | Phase::Stopping(_) => {}
            Phase::Waiting => return Err(TransitionError::NothingToRetry),
            Phase::Archived | Phase::ArchivedStopping => return Err(TransitionError::Archived),
        },
        ChatEvent::TreeStop { at } => stop_from_parent(&mut draft, phase, at, StopKind::Tree),
        ChatEvent::Close { at } => stop_from_parent(&mut draft, phase, at, StopKind::Close),
        ChatEvent::Archive { at } => archive(&mut draft, phase, at),
        ChatEvent::Unarchive { at } => match phase {
            Phase::Archived | Phase::ArchivedStopping => draft.unarchive(at)?,
            Phase::Waiting | Phase::Pending | Phase::Running | Phase::Stopping(_) | Phase::Error => {}
        },
        ChatEvent::SetMeta { visible } => {
            if visible {
                draft.watch(WatchKind::Updated);
            }
        }
        ChatEvent::Claim { at, owner, admission } => match phase {
            Phase::Pending => draft.claim(at, owner, admission),
            Phase::Waiting
            | Phase::Running
            | Phase::Stopping(_)
            | Phase::Error
            | Phase::Archived
            | Phase::ArchivedStopping => {}
        },
        ChatEvent::LeaseEnded { owner, at } => {
            if state.activity.owner() == Some(owner) {
                match phase {
                    Phase::Running => draft.take_from_dead(at),
                    Phase::Stopping(_) | Phase::ArchivedStopping => draft.settle(at, None),
                    Phase::Waiting | Phase::Pending | Phase::Error | Phase::Archived => {}
                }
            }
        }
        ChatEvent::StepBegin { epoch: _, at, admission } => {
            still_running(phase)?;
            if !state.open_calls.is_empty() {
                return Err(TransitionError::CallsOpen);
            }
            draft.step_begin(at, admission);
        }
        ChatEvent::RetryPlanned { epoch: _, retry } => {
            still_running(phase)?;
            draft.retry(retry);
        }
        ChatEvent::CallStart { epoch: _, tokens } => {
            still_running(phase)?;
            draft.calls_start(tokens)?;
        }
        ChatEvent::Park { epoch: _ } => {
            still_running(phase)?;
            draft.set_parked(true);
        }
        ChatEvent::Unpark { epoch: _ } => {
            still_running(phase)?;
            draft.set_parked(false);
        }
        ChatEvent::AnswerStored { epoch: _, at, answer, ends_turn } => {
            if still_running(phase).is_ok() {
                let goes_on = !ends_turn || !answer.calls.is_empty();
                draft.answer(answer)?;
                if !goes_on {
                    draft.settle(at, None);
                }
            } else {
                draft.settle(at, Some(answer));
            }
        }
        ChatEvent::CallsEnd { epoch: _, calls } => {
            for (token, outcome) in calls {
                let unknown = match outcome {
                    CallOutcome::Finished => false,
                    CallOutcome::Unknown => true,
                };
                draft.call_end(token, unknown)?;
            }
        }
        ChatEvent::Compacted { epoch: _, step_no } => draft.compacted(step_no)?,
        ChatEvent::SettledDone { epoch: _, at } => draft.settle(at, None),
        ChatEvent::SettledStopped { epoch: _, at, answer } => {
            if still_running(phase).is_ok() {
                return Err(TransitionError::NotAsked);
            }
            draft.settle(at, answer);
        }
        ChatEvent::Failed { epoch: _, at, error, answer } => {
            if still_running(phase).is_ok() {
                draft.fail(at, error, answer);
            } else {
                draft.settle(at, answer);
            }
        }
        ChatEvent::Released { epoch: _, at } => {
            if still_running(phase).is_ok() {
                draft.hand_over(at);
            } else {
                draft.settle(at, None);
            }
        }
    }
    Ok(draft.finish())
}

/// A fenced event that begins something is refused once a stop was asked for.
fn still_running(phase: Phase) -> Result<(), TransitionError> {
    match phase {
        Phase::Running => Ok(()),
        Phase::Stopping(kind) => Err(TransitionError::Stopping(kind)),
        Phase::ArchivedStopping => Err(TransitionError::Stopping(StopKind::Archive)),
        // the fence has refused these before
        Phase::Waiting | Phase::Pending | Phase::Error | Phase::Archived => Err(TransitionError::Lost),
    }
}

fn send(draft: &mut Draft, phase: Phase, at: Timestamp) -> Result<(), TransitionError> {
    match phase {
        Phase::Waiting | Phase::Error => {
            if draft.has_backlog() {
                draft.entry_insert_and_pop(at)
            } else {
                draft.user_message(at);
                Ok(())
            }
        }
        Phase::Pending | Phase::Running => draft.entry_insert(),
        Phase::Stopping(_) => {
            draft.entry_insert()?;
            draft.stop_pops_again();
            Ok(())
        }
        Phase::Archived | Phase::ArchivedStopping => Err(TransitionError::Archived),
    }
}

fn send_now(draft: &mut Draft, phase: Phase, at: Timestamp) -> Result<(), TransitionError> {
    match phase {
        Phase::Waiting | Phase::Pending | Phase::Error => {
            draft.close_calls();
            draft.user_message(at);
            Ok(())
        }
        Phase::Running | Phase::Stopping(_) => {
            draft.entry_insert_urgent()?;
            draft.stop(StopKind::Send);
            Ok(())
        }
        Phase::Archived | Phase::ArchivedStopping => Err(TransitionError::Archived),
    }
}

fn edit(draft: &mut Draft, phase: Phase, at: Timestamp, target: EditTarget) -> Result<(), TransitionError> {
    match phase {
        Phase::Waiting | Phase::Pending | Phase::Running | Phase::Stopping(_) | Phase::Error => {}
        Phase::Archived | Phase::ArchivedStopping => return Err(TransitionError::Archived),
    }
    match target {
        EditTarget::UserMessage(id) => draft.edit(at, id),
        EditTarget::OtherRole => return Err(TransitionError::NotAUserMessage),
        EditTarget::NotFound => return Err(TransitionError::MessageNotFound),
    }
    Ok(())
}

fn interrupt(draft: &mut Draft, phase: Phase, at: Timestamp) {
    match phase {
        Phase::Waiting | Phase::Stopping(_) => {}
        Phase::Error => draft.rest(at),
        Phase::Pending => draft.withdraw(at),
        Phase::Running => draft.stop(StopKind::User),
        Phase::Archived | Phase::ArchivedStopping => return,
    }
    draft.descendants_stop(StopScope::All);
}

fn stop_from_parent(draft: &mut Draft, phase: Phase, at: Timestamp, kind: StopKind) {
    match phase {
        Phase::Archived | Phase::ArchivedStopping => return,
        Phase::Waiting | Phase::Error => {}
        Phase::Pending => {
            draft.state.committed_step = draft.state.step_no;
            draft.close_calls();
            draft.rest(at);
        }
        Phase::Running | Phase::Stopping(_) => draft.stop(kind),
    }
    if kind == StopKind::Close {
        draft.close(at);
    }
}

fn archive(draft: &mut Draft, phase: Phase, at: Timestamp) {
    match phase {
        Phase::Archived | Phase::ArchivedStopping => return,
        Phase::Waiting | Phase::Error => {}
        Phase::Pending => {
            draft.state.committed_step = draft.state.step_no;
            draft.close_calls();
            draft.rest(at);
        }
        Phase::Running | Phase::Stopping(_) => {
            draft.stop(StopKind::Archive);
            draft.publish_status();
        }
    }
    draft.archive(at);
}
