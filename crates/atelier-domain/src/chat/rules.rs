//! The rules that several transitions share, as steps on a draft of the next state.

use std::time::Duration;

use jiff::Timestamp;

use super::effect::{ChatEffect, StopScope, WatchKind};
use super::event::{Admission, StepAnswer};
use super::state::{Activity, CallClass, CallState, ChatState, EntryRef, OpenCall, QueueEntry, RetryInfo, StopKind};
use super::transition::TransitionError;
use super::{QUEUE_MAX, TAKEOVERS_MAX};
use crate::error::{ErrorKind, TurnError};
use crate::id::{CallToken, Incarnation, MessageId, QueueEntryId};
use crate::retry;

/// Whether the step in progress has used up its requests or its time, so that it may not begin again.
fn step_window_over(state: &ChatState, at: Timestamp) -> bool {
    state.step_in_progress()
        && state.step_begun_at.is_some_and(|begun_at| {
            // a clock that was set back counts as no time
            let since = Duration::try_from(at.duration_since(begun_at)).unwrap_or_default();
            retry::window_over(u32::try_from(state.attempt).unwrap_or(0), since)
        })
}

/// What is published after the commit. Kept apart, so that its order is fixed in one place.
#[derive(Default)]
struct Publications {
    history_reset: bool,
    queue: bool,
    retry: bool,
    error: bool,
    status: bool,
    watch: Option<WatchKind>,
    wake: bool,
    stop_run: Option<(Incarnation, Option<StopKind>)>,
}

/// The next state while it is being made.
pub(super) struct Draft {
    pub(super) state: ChatState,
    effects: Vec<ChatEffect>,
    publish: Publications,
    visible: bool,
}

impl Draft {
    pub(super) fn new(state: &ChatState) -> Self {
        Self { state: state.clone(), effects: Vec::new(), publish: Publications::default(), visible: false }
    }

    /// Moves the version if anything visible changed, and lists the publications in their fixed order.
    pub(super) fn finish(mut self) -> (ChatState, Vec<ChatEffect>) {
        if self.visible {
            self.state.version += 1;
            if self.publish.queue {
                self.state.queue_version = self.state.version;
            }
        }
        let Publications { history_reset, queue, retry, error, status, watch, wake, stop_run } = self.publish;
        if history_reset {
            self.effects.push(ChatEffect::PublishHistoryReset);
        }
        if queue {
            self.effects.push(ChatEffect::PublishQueue);
        }
        if retry {
            self.effects.push(ChatEffect::PublishRetry);
        }
        if error {
            self.effects.push(ChatEffect::PublishError);
        }
        if status {
            self.effects.push(ChatEffect::PublishStatus);
        }
        self.effects.extend(watch.map(ChatEffect::Watch));
        if let (true, Activity::Pending { since }) = (wake, &self.state.activity) {
            self.effects.push(ChatEffect::Wake { since: *since });
        }
        self.effects.extend(stop_run.map(|(owner, kind)| ChatEffect::StopRun { owner, kind }));
        (self.state, self.effects)
    }

    fn write(&mut self, effect: ChatEffect) {
        self.effects.push(effect);
    }

    /// A message row appears.
    fn write_message(&mut self, effect: ChatEffect) {
        self.effects.push(effect);
        self.visible = true;
    }

    fn queue_changed(&mut self) {
        self.publish.queue = true;
        self.visible = true;
    }

    fn status_changed(&mut self, at: Timestamp) {
        self.publish.status = true;
        self.publish.watch = Some(WatchKind::StatusChange);
        self.state.updated_at = at;
        self.visible = true;
    }

    pub(super) fn watch(&mut self, kind: WatchKind) {
        self.publish.watch = Some(kind);
        self.visible = true;
    }

    pub(super) fn has_backlog(&self) -> bool {
        !self.state.queue.is_empty()
    }

    // --- queue ---

    /// T4: the message at hand waits in the queue.
    pub(super) fn entry_insert(&mut self) -> Result<(), TransitionError> {
        self.entry_push(None, QUEUE_MAX)
    }

    /// T6: the message at hand is the next one.
    pub(super) fn entry_insert_urgent(&mut self) -> Result<(), TransitionError> {
        let urgent_no = self.next_urgent_no();
        self.entry_push(Some(urgent_no), QUEUE_MAX)
    }

    /// T3: the message at hand goes behind the backlog, whose head then starts.
    pub(super) fn entry_insert_and_pop(&mut self, at: Timestamp) -> Result<(), TransitionError> {
        // the pop below makes room at once
        self.entry_push(None, QUEUE_MAX + 1)?;
        self.pop(at);
        Ok(())
    }

    fn entry_push(&mut self, urgent_no: Option<i64>, max: usize) -> Result<(), TransitionError> {
        if self.state.queue.len() >= max {
            return Err(TransitionError::QueueFull);
        }
        self.state.queue.push(QueueEntry { entry: EntryRef::Incoming, urgent_no });
        self.write(ChatEffect::EntryInsert { urgent_no });
        self.queue_changed();
        Ok(())
    }

    fn next_urgent_no(&self) -> i64 {
        self.state.queue.iter().filter_map(|entry| entry.urgent_no).max().unwrap_or(0) + 1
    }

    fn entry_position(&self, id: QueueEntryId) -> Result<usize, TransitionError> {
        self.state
            .queue
            .iter()
            .position(|entry| entry.entry == EntryRef::Stored(id))
            .ok_or(TransitionError::EntryNotFound)
    }

    /// T8: this entry becomes the next message now.
    pub(super) fn entry_start(&mut self, id: QueueEntryId, at: Timestamp) -> Result<(), TransitionError> {
        let position = self.entry_position(id)?;
        self.state.queue.remove(position);
        self.close_calls();
        self.write_message(ChatEffect::EntriesPop(vec![id]));
        self.queue_changed();
        self.turn_wanted(at);
        Ok(())
    }

    /// T9: this entry is the next one.
    pub(super) fn entry_make_urgent(&mut self, id: QueueEntryId) -> Result<(), TransitionError> {
        let position = self.entry_position(id)?;
        let urgent_no = match self.state.queue[position].urgent_no {
            Some(urgent_no) => urgent_no,
            None => self.next_urgent_no(),
        };
        self.state.queue[position].urgent_no = Some(urgent_no);
        self.write(ChatEffect::EntryMakeUrgent { entry: id, urgent_no });
        self.queue_changed();
        Ok(())
    }

    /// T10.
    pub(super) fn entry_delete(&mut self, id: QueueEntryId) -> Result<(), TransitionError> {
        let position = self.entry_position(id)?;
        self.state.queue.remove(position);
        self.write(ChatEffect::EntryDelete(id));
        self.queue_changed();
        Ok(())
    }

    pub(super) fn entries_delete(&mut self) {
        self.state.queue.clear();
        self.write(ChatEffect::EntriesDelete);
        self.queue_changed();
    }

    /// T25b: all urgent entries in the order of their requests, else the oldest entry, become messages.
    fn pop(&mut self, at: Timestamp) -> bool {
        let mut urgent: Vec<(i64, EntryRef)> =
            self.state.queue.iter().filter_map(|entry| Some((entry.urgent_no?, entry.entry))).collect();
        urgent.sort_unstable_by_key(|(urgent_no, _)| *urgent_no);
        let popped: Vec<EntryRef> = if urgent.is_empty() {
            self.state.queue.first().map(|entry| entry.entry).into_iter().collect()
        } else {
            urgent.into_iter().map(|(_, entry)| entry).collect()
        };
        let ids: Vec<QueueEntryId> = popped
            .iter()
            .filter_map(|entry| match entry {
                EntryRef::Stored(id) => Some(*id),
                // an entry that comes in joins behind others and is never popped by its own event
                EntryRef::Incoming => None,
            })
            .collect();
        if ids.is_empty() {
            return false;
        }
        self.state.queue.retain(|entry| !popped.contains(&entry.entry));
        self.write_message(ChatEffect::EntriesPop(ids));
        self.queue_changed();
        self.turn_wanted(at);
        true
    }

    // --- turns ---

    /// T2: the message at hand is stored and a turn is wanted.
    pub(super) fn user_message(&mut self, at: Timestamp) {
        self.write_message(ChatEffect::UserMessageInsert);
        self.turn_wanted(at);
    }

    fn turn_wanted(&mut self, at: Timestamp) {
        self.leave_run();
        self.state.activity = Activity::Pending { since: at };
        self.state.turn_no += 1;
        self.state.committed_step = self.state.step_no;
        self.state.step_begun_at = None;
        self.state.takeovers = 0;
        self.state.retry = None;
        self.publish.wake = true;
        self.status_changed(at);
    }

    /// T29: the failed turn goes on behind its last stored step.
    pub(super) fn turn_goes_on(&mut self, at: Timestamp) {
        self.state.activity = Activity::Pending { since: at };
        self.state.committed_step = self.state.step_no;
        self.state.step_begun_at = None;
        self.state.takeovers = 0;
        self.publish.wake = true;
        self.status_changed(at);
    }

    /// The owner is gone: the epoch becomes even.
    fn leave_run(&mut self) {
        if self.state.activity.owner().is_some() {
            self.state.epoch += 1;
        }
    }

    /// Nothing runs and nothing is wanted.
    pub(super) fn rest(&mut self, at: Timestamp) {
        self.leave_run();
        self.state.activity = Activity::Waiting;
        self.state.retry = None;
        self.status_changed(at);
    }

    /// T25a without an answer: each open call gets a result.
    pub(super) fn close_calls(&mut self) {
        let mut calls = std::mem::take(&mut self.state.open_calls);
        if calls.is_empty() {
            return;
        }
        calls.sort_unstable_by_key(|call| (call.step_no, call.call_index));
        self.write_message(ChatEffect::CallsClose(calls.iter().map(|call| call.token).collect()));
    }

    /// T7: calls of deleted messages.
    pub(super) fn forget_calls(&mut self) {
        let calls = std::mem::take(&mut self.state.open_calls);
        if !calls.is_empty() {
            self.write(ChatEffect::CallsForget(calls.iter().map(|call| call.token).collect()));
        }
    }

    /// T25: what is known of the answer and a result for each open call; then the next entry, or rest.
    pub(super) fn settle(&mut self, at: Timestamp, answer: Option<StepAnswer>) {
        let pops = !self.state.archived && self.state.activity.stop_kind().is_none_or(StopKind::pops_queue);
        self.keep_answer(answer);
        self.state.committed_step = self.state.step_no;
        self.close_calls();
        if !(pops && self.pop(at)) {
            self.rest(at);
        }
    }

    /// T12: the wish for a turn is withdrawn.
    pub(super) fn withdraw(&mut self, at: Timestamp) {
        self.state.committed_step = self.state.step_no;
        self.close_calls();
        if !self.pop(at) {
            self.rest(at);
        }
    }

    /// Stores `answer` if its step is the one in progress.
    fn keep_answer(&mut self, answer: Option<StepAnswer>) {
        let Some(answer) = answer else { return };
        if !self.state.step_in_progress() || answer.step_no != self.state.step_no {
            return;
        }
        self.state.committed_step = answer.step_no;
        self.write_message(ChatEffect::AnswerInsert { step_no: answer.step_no });
        if !answer.calls.is_empty() {
            self.state.open_calls.extend(answer.calls.iter().copied());
            self.write(ChatEffect::CallsInsert(answer.calls));
        }
    }

    /// T21 in a run that goes on.
    pub(super) fn answer(&mut self, answer: StepAnswer) -> Result<(), TransitionError> {
        if !self.state.step_in_progress() || answer.step_no != self.state.step_no {
            return Err(TransitionError::StepClosed);
        }
        self.keep_answer(Some(answer));
        self.state.takeovers = 0;
        self.state.retry = None;
        Ok(())
    }

    /// T26: the turn ends in an error; the queue stays.
    pub(super) fn fail(&mut self, at: Timestamp, error: TurnError, answer: Option<StepAnswer>) {
        self.keep_answer(answer.filter(|answer| answer.refused));
        self.state.committed_step = self.state.step_no;
        self.close_calls();
        self.leave_run();
        self.state.activity = Activity::Error(error);
        self.state.retry = None;
        self.publish.error = true;
        self.status_changed(at);
    }

    /// T27: nobody runs the turn for a moment; calls that go on in the workspace are left to it.
    pub(super) fn hand_over(&mut self, at: Timestamp) {
        let mut detached = Vec::new();
        for call in &mut self.state.open_calls {
            if call.class == CallClass::Keyed && call.state == CallState::Started {
                call.state = CallState::Detached;
                detached.push(call.token);
            }
        }
        if !detached.is_empty() {
            self.write(ChatEffect::CallsDetach(detached));
        }
        self.leave_run();
        self.state.activity = Activity::Pending { since: at };
        self.publish.wake = true;
        self.status_changed(at);
    }

    /// T28: as a hand-over, until it has happened too often in one step.
    pub(super) fn take_from_dead(&mut self, at: Timestamp) {
        self.state.takeovers += 1;
        if self.state.takeovers >= TAKEOVERS_MAX {
            let error = TurnError::new(
                ErrorKind::CrashLoop,
                "The server stopped four times while it worked on this step. Send a message to try again.",
            );
            self.fail(at, error, None);
            return;
        }
        self.hand_over(at);
        let mut error = TurnError::new(ErrorKind::Takeover, "The server that ran this turn stopped; the turn goes on.");
        error.retryable = true;
        self.state.retry = Some(RetryInfo { attempt: self.state.attempt, delay_ms: 0, retrying_at: at, error });
        self.publish.retry = true;
    }

    // --- runs ---

    /// T18, with T19 when a model request comes next.
    pub(super) fn claim(&mut self, at: Timestamp, owner: Incarnation, admission: Admission) {
        self.state.epoch += 1;
        self.state.activity = Activity::Running { owner, started_at: at, parked: false };
        self.status_changed(at);
        if self.state.open_calls.is_empty() {
            self.step_begin(at, admission);
        } else {
            self.state.attempt += 1;
            self.state.retry = None;
        }
    }

    /// T19.
    pub(super) fn step_begin(&mut self, at: Timestamp, admission: Admission) {
        match admission {
            Admission::Refused(error) => return self.fail(at, error, None),
            Admission::Wait => return self.set_parked(true),
            Admission::Allowed => {}
        }
        if step_window_over(&self.state, at) {
            let mut error = TurnError::new(
                ErrorKind::Timeout,
                "The model gave no usable answer within 25 requests and 30 minutes. Send a message to try again.",
            );
            error.retryable = true;
            return self.fail(at, error, None);
        }
        if self.state.step_in_progress() {
            self.state.attempt += 1;
        } else {
            self.state.step_no += 1;
            self.state.attempt = 1;
            self.state.step_begun_at = Some(at);
        }
        self.state.retry = None;
        self.set_parked(false);
    }

    /// T20. Viewers learn of it through the log of the run.
    pub(super) fn retry(&mut self, retry: RetryInfo) {
        self.state.attempt += 1;
        self.state.retry = Some(retry);
    }

    pub(super) fn set_parked(&mut self, value: bool) {
        match &mut self.state.activity {
            Activity::Running { parked, .. } | Activity::Stopping { parked, .. } => *parked = value,
            Activity::Waiting | Activity::Pending { .. } | Activity::Error(_) | Activity::RequiresAction => {}
        }
    }

    fn open_call(&mut self, token: CallToken) -> Result<&mut OpenCall, TransitionError> {
        self.state.open_calls.iter_mut().find(|call| call.token == token).ok_or(TransitionError::CallNotOpen)
    }

    /// T22.
    pub(super) fn calls_start(&mut self, tokens: Vec<CallToken>) -> Result<(), TransitionError> {
        for token in &tokens {
            self.open_call(*token)?.state = CallState::Started;
        }
        if !tokens.is_empty() {
            self.write(ChatEffect::CallsStart(tokens));
        }
        Ok(())
    }

    /// T23.
    pub(super) fn call_end(&mut self, token: CallToken, unknown: bool) -> Result<(), TransitionError> {
        self.open_call(token)?;
        self.state.open_calls.retain(|call| call.token != token);
        self.write_message(ChatEffect::ResultInsert { token, unknown });
        Ok(())
    }

    /// T24.
    pub(super) fn compacted(&mut self, step_no: i64) -> Result<(), TransitionError> {
        if !self.state.step_in_progress() || step_no != self.state.step_no {
            return Err(TransitionError::StepClosed);
        }
        self.state.committed_step = step_no;
        self.state.retry = None;
        self.write_message(ChatEffect::SummaryInsert { step_no });
        Ok(())
    }

    /// A stop is asked of the run, over any other that was asked before.
    pub(super) fn stop(&mut self, kind: StopKind) {
        let (Activity::Running { owner, started_at, parked } | Activity::Stopping { owner, started_at, parked, .. }) =
            self.state.activity
        else {
            return;
        };
        self.state.activity = Activity::Stopping { owner, started_at, parked, kind };
        self.publish.stop_run = Some((owner, Some(kind)));
    }

    /// T4 while stopping: what asked to leave the queue alone is outvoted by a new message.
    pub(super) fn stop_pops_again(&mut self) {
        if let Activity::Stopping { kind, .. } = &mut self.state.activity
            && !kind.pops_queue()
        {
            *kind = StopKind::User;
        }
    }

    pub(super) fn descendants_stop(&mut self, scope: StopScope) {
        if self.state.is_root {
            self.write(ChatEffect::DescendantsStop(scope));
        }
    }

    // --- the rest ---

    /// T7.
    pub(super) fn edit(&mut self, at: Timestamp, target: MessageId) {
        if let Some(owner) = self.state.activity.owner() {
            self.publish.stop_run = Some((owner, None));
        }
        self.state.rewind += 1;
        self.write_message(ChatEffect::MessagesDelete { from: target, rewind: self.state.rewind });
        self.publish.history_reset = true;
        self.forget_calls();
        self.entries_delete();
        self.descendants_stop(StopScope::SpawnedFrom(target));
        self.user_message(at);
    }

    /// T14 of `Close`.
    pub(super) fn close(&mut self, at: Timestamp) {
        if self.has_backlog() {
            self.entries_delete();
        }
        self.state.closed_at.get_or_insert(at);
    }

    /// T15 for one member of the tree.
    pub(super) fn archive(&mut self, at: Timestamp) {
        self.state.archived = true;
        self.state.pin_order = 0;
        self.state.updated_at = at;
        self.watch(WatchKind::Deleted);
    }

    /// T16 for one member of the tree.
    pub(super) fn unarchive(&mut self, at: Timestamp) -> Result<(), TransitionError> {
        if self.state.root_archived {
            return Err(TransitionError::ParentArchived);
        }
        self.state.archived = false;
        self.state.updated_at = at;
        self.watch(WatchKind::Created);
        Ok(())
    }

    pub(super) fn publish_status(&mut self) {
        self.publish.status = true;
    }
}
