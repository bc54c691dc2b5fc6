//! The events of a run: claimed, begun, answered, settled. Each write is fenced by the run's epoch.

use std::collections::HashMap;

use atelier_domain::chat::{Admission, CallOutcome, ChatEvent, RetryInfo, TransitionError};
use atelier_domain::error::{ErrorKind, TurnError};
use atelier_domain::message::{FinishReason, MessagePart, ToolCallPart};
use atelier_domain::{CallToken, ChatId, MessageId, UserId};
use atelier_store::{ModelCallNew, StoreError, ToolCallRow, Tx};

use super::carry_out::{Applied, Locked, Outcome, carry_out};
use super::contents::{Answer, Payload};
use super::types::{
    AnswerCommitted, AnswerContent, AnswerStored, CallEnd, Claimed, CommitError, Fail, RetryPlanned, RunFence, Settle,
    Settled, StepBegun, StoredCall,
};
use super::{Commits, lock};

impl Commits {
    /// T18, with T19 when a model request comes next. None: nothing to claim (any more), or the chat's row
    /// is held by somebody else at this moment; the next look finds it if it is still pending.
    ///
    /// # Errors
    /// The store's, and messages that cannot be read.
    pub async fn claim(&self, chat_id: ChatId) -> Result<Option<Claimed>, CommitError> {
        let (now, owner) = (self.now(), self.incarnation());
        let claimed = self
            .store()
            .write("turn_claim", move |tx| {
                Box::pin(async move {
                    let Some(chat) = atelier_store::chat_lock_pending_in_tx(tx, chat_id).await? else {
                        return Ok::<_, CommitError>(None);
                    };
                    let admission = admission(tx, chat.owner_id).await?;
                    let event = ChatEvent::Claim { at: now, owner, admission };
                    let mut applied = carry_out(tx, Locked::new(chat), event, Payload::default(), now).await??;
                    let open_calls = std::mem::take(&mut applied.open_calls);
                    let open_calls = with_parts(tx, chat_id, open_calls).await?;
                    Ok(Some((applied, open_calls)))
                })
            })
            .await?;
        let Some((applied, open_calls)) = claimed else { return Ok(None) };
        if applied.settled() {
            // the owner may not run turns: the claim ended in an error
            self.published(*applied);
            return Ok(None);
        }
        let epoch = applied.chat.state.epoch;
        // before `running` is published, so that no viewer misses the first part
        let log = self.hubs().log_open(chat_id);
        let chat = self.published(*applied).chat;
        let fence = RunFence { chat_id, epoch, rewind: chat.state.rewind };
        let step = if open_calls.is_empty() { StepBegun::of(&chat.state) } else { None };
        Ok(Some(Claimed { fence, chat, log, step, open_calls }))
    }

    /// T19.
    ///
    /// # Errors
    /// [`CommitError::Lost`] also when the step was refused and the turn ended with it.
    pub async fn step_begin(&self, fence: &RunFence) -> Result<StepBegun, CommitError> {
        let (now, fence) = (self.now(), *fence);
        let outcome = self
            .store()
            .write("step_begin", move |tx| {
                Box::pin(async move {
                    let locked = lock(tx, fence.chat_id).await?;
                    let admission = admission(tx, locked.chat.owner_id).await?;
                    let event = ChatEvent::StepBegin { epoch: fence.epoch, at: now, admission };
                    carry_out(tx, locked, event, Payload::default(), now).await
                })
            })
            .await?;
        let applied = self.published(*outcome?);
        StepBegun::of(&applied.chat.state).filter(|_| !applied.settled()).ok_or(CommitError::Lost)
    }

    /// T20.
    ///
    /// # Errors
    /// As all writes of a run.
    pub async fn retry_planned(&self, fence: &RunFence, planned: RetryPlanned) -> Result<(), CommitError> {
        let RetryPlanned { error, attempt, delay, retrying_at, metering } = planned;
        let retry =
            RetryInfo { attempt, delay_ms: i64::try_from(delay.as_millis()).unwrap_or(i64::MAX), retrying_at, error };
        let event = ChatEvent::RetryPlanned { epoch: fence.epoch, retry };
        self.run_event("retry_planned", fence, event, Payload { metering, ..Payload::default() }).await?;
        Ok(())
    }

    /// T21, with T25 when the answer ends the turn. Repeating it after a commit whose outcome is unknown
    /// changes nothing.
    ///
    /// # Errors
    /// As all writes of a run.
    pub async fn answer_stored(&self, fence: &RunFence, answer: AnswerStored) -> Result<AnswerCommitted, CommitError> {
        let (now, fence) = (self.now(), *fence);
        let (step_no, ends_turn) = (answer.content.step_no, answer.ends_turn);
        let (answer, metering) = Answer::whole(answer);
        let event = ChatEvent::AnswerStored {
            epoch: fence.epoch,
            at: now,
            answer: answer.as_step_answer(step_no, false),
            ends_turn,
        };
        let payload = Payload { answer: Some(answer), metering: Some(metering), ..Payload::default() };
        let outcome = self
            .store()
            .write("answer_stored", move |tx| {
                Box::pin(async move {
                    let locked = lock(tx, fence.chat_id).await?;
                    let outcome = carry_out(tx, locked, event, payload, now).await?;
                    if let Err(TransitionError::StepClosed) = outcome {
                        return Ok::<_, CommitError>(Err(stored_before(tx, fence.chat_id, step_no).await?));
                    }
                    Ok(Ok(outcome))
                })
            })
            .await?;
        match outcome {
            Ok(outcome) => {
                let applied = self.published(*outcome?);
                let message = applied.messages.iter().find(|row| row.step_no == Some(step_no));
                Ok(AnswerCommitted {
                    message_id: message.map_or(MessageId(0), |row| row.id),
                    settled: applied.settled(),
                    pending_again: applied.pending_again(),
                    calls: applied.calls,
                })
            }
            Err(Some(committed)) => Ok(committed),
            Err(None) => Err(CommitError::OutOfStep(TransitionError::StepClosed)),
        }
    }

    /// T22: the call's side effects may begin now.
    ///
    /// # Errors
    /// As all writes of a run.
    pub async fn call_start(&self, fence: &RunFence, call: CallToken) -> Result<(), CommitError> {
        let event = ChatEvent::CallStart { epoch: fence.epoch, tokens: vec![call] };
        self.run_event("call_start", fence, event, Payload::default()).await?;
        Ok(())
    }

    /// Records which ledger of processes the call is about to be sent to.
    ///
    /// # Errors
    /// As all writes of a run.
    pub async fn call_ledger(&self, fence: &RunFence, call: CallToken, ledger_id: String) -> Result<(), CommitError> {
        let fence = *fence;
        self.store()
            .write("call_ledger", move |tx| {
                Box::pin(async move {
                    let locked = lock(tx, fence.chat_id).await?;
                    if locked.chat.state.epoch != fence.epoch {
                        return Err(CommitError::Lost);
                    }
                    Ok(atelier_store::tool_call_ledger_in_tx(tx, fence.chat_id, call, &ledger_id).await?)
                })
            })
            .await
    }

    /// T22: the run only waits from here on and holds no place.
    ///
    /// # Errors
    /// As all writes of a run.
    pub async fn park(&self, fence: &RunFence) -> Result<(), CommitError> {
        let event = ChatEvent::Park { epoch: fence.epoch };
        self.run_event("turn_park", fence, event, Payload::default()).await?;
        Ok(())
    }

    /// T22: the run has a place again.
    ///
    /// # Errors
    /// As all writes of a run.
    pub async fn unpark(&self, fence: &RunFence) -> Result<(), CommitError> {
        let event = ChatEvent::Unpark { epoch: fence.epoch };
        self.run_event("turn_unpark", fence, event, Payload::default()).await?;
        Ok(())
    }

    /// T23 for one call; see [`Self::calls_end`].
    ///
    /// # Errors
    /// As all writes of a run.
    pub async fn call_end(&self, fence: &RunFence, call: CallToken, end: CallEnd) -> Result<MessageId, CommitError> {
        self.calls_end(fence, vec![(call, end)]).await
    }

    /// T23 for calls that end together: one transaction, results in this order. Gives the last result.
    /// Repeating it after a commit whose outcome is unknown changes nothing.
    ///
    /// # Errors
    /// As all writes of a run.
    pub async fn calls_end(&self, fence: &RunFence, ends: Vec<(CallToken, CallEnd)>) -> Result<MessageId, CommitError> {
        let (now, fence) = (self.now(), *fence);
        let Some((last, _)) = ends.last() else { return Ok(MessageId(0)) };
        let last = *last;
        let outcome = |end: &CallEnd| if end.unknown { CallOutcome::Unknown } else { CallOutcome::Finished };
        let calls = ends.iter().map(|(token, end)| (*token, outcome(end))).collect();
        let event = ChatEvent::CallsEnd { epoch: fence.epoch, calls };
        let results = ends.into_iter().map(|(token, end)| (token, end.parts)).collect();
        let payload = Payload { results, ..Payload::default() };
        let outcome = self
            .store()
            .write("calls_end", move |tx| {
                Box::pin(async move {
                    let locked = lock(tx, fence.chat_id).await?;
                    let outcome = carry_out(tx, locked, event, payload, now).await?;
                    if let Err(TransitionError::CallNotOpen) = outcome {
                        return Ok::<_, CommitError>(Err(atelier_store::tool_call_result_in_tx(
                            tx,
                            fence.chat_id,
                            last,
                        )
                        .await?));
                    }
                    Ok(Ok(outcome))
                })
            })
            .await?;
        match outcome {
            Ok(outcome) => {
                let applied = self.published(*outcome?);
                Ok(applied.messages.last().map_or(MessageId(0), |row| row.id))
            }
            Err(Some(stored)) => Ok(stored),
            Err(None) => Err(CommitError::OutOfStep(TransitionError::CallNotOpen)),
        }
    }

    /// T25.
    ///
    /// # Errors
    /// As all writes of a run.
    pub async fn settle(&self, fence: &RunFence, settle: Settle) -> Result<Settled, CommitError> {
        let (at, epoch) = (self.now(), fence.epoch);
        let (event, payload) = match settle {
            Settle::Done => (ChatEvent::SettledDone { epoch, at }, Payload::default()),
            Settle::Stopped { partial, results, metering } => {
                let (answer, seen) = partial_of(partial);
                let event = ChatEvent::SettledStopped { epoch, at, answer: seen };
                (event, Payload { answer, results: results.into_iter().collect(), metering, message: None })
            }
        };
        let applied = self.run_event("turn_settle", fence, event, payload).await?;
        Ok(Settled { pending_again: applied.pending_again() })
    }

    /// T26, or T25 when a stop was asked for meanwhile.
    ///
    /// # Errors
    /// As all writes of a run.
    pub async fn fail(&self, fence: &RunFence, fail: Fail) -> Result<Settled, CommitError> {
        let (answer, seen) = partial_of(fail.answer);
        let event = ChatEvent::Failed { epoch: fence.epoch, at: self.now(), error: fail.error, answer: seen };
        let payload = Payload { answer, metering: fail.metering, ..Payload::default() };
        let applied = self.run_event("turn_fail", fence, event, payload).await?;
        Ok(Settled { pending_again: applied.pending_again() })
    }

    /// T27: the chat is pending again, for whoever takes it; or T25 when a stop was asked for meanwhile.
    ///
    /// # Errors
    /// As all writes of a run.
    pub async fn release(&self, fence: &RunFence, metering: Option<ModelCallNew>) -> Result<(), CommitError> {
        let event = ChatEvent::Released { epoch: fence.epoch, at: self.now() };
        self.run_event("turn_release", fence, event, Payload { metering, ..Payload::default() }).await?;
        Ok(())
    }

    async fn run_event(
        &self,
        name: &'static str,
        fence: &RunFence,
        event: ChatEvent,
        payload: Payload,
    ) -> Result<Applied, CommitError> {
        let (now, chat_id) = (self.now(), fence.chat_id);
        let outcome: Outcome = self
            .store()
            .write(name, move |tx| {
                Box::pin(async move {
                    let locked = lock(tx, chat_id).await?;
                    carry_out(tx, locked, event, payload, now).await
                })
            })
            .await?;
        Ok(self.published(*outcome?))
    }
}

impl StepBegun {
    fn of(state: &atelier_domain::chat::ChatState) -> Option<Self> {
        let begun_at = state.step_begun_at.filter(|_| state.step_in_progress())?;
        Some(Self { step_no: state.step_no, attempt: state.attempt, begun_at })
    }
}

fn partial_of(partial: Option<AnswerContent>) -> (Option<Answer>, Option<atelier_domain::chat::StepAnswer>) {
    let Some(partial) = partial else { return (None, None) };
    let (step_no, refused) = (partial.step_no, partial.finish_reason == FinishReason::Refused);
    let answer = Answer::partial(partial);
    let seen = answer.as_step_answer(step_no, refused);
    (Some(answer), Some(seen))
}

/// Whether the chat's owner may run a step now.
async fn admission(tx: &mut Tx<'_>, owner: UserId) -> Result<Admission, StoreError> {
    if atelier_store::owner_is_active_in_tx(tx, owner).await? {
        return Ok(Admission::Allowed);
    }
    Ok(Admission::Refused(TurnError::new(
        ErrorKind::OwnerSuspended,
        "The owner of this chat is suspended, so its turns do not run.",
    )))
}

/// An answer that an earlier try of this write has stored.
async fn stored_before(tx: &mut Tx<'_>, chat: ChatId, step_no: i64) -> Result<Option<AnswerCommitted>, CommitError> {
    let Some(message) = atelier_store::message_of_step_in_tx(tx, chat, step_no).await? else { return Ok(None) };
    let calls = atelier_store::tool_calls_open_in_tx(tx, chat).await?;
    Ok(Some(AnswerCommitted { message_id: message.id, calls, settled: false, pending_again: false }))
}

/// Each open call with its part of the stored answer.
async fn with_parts(tx: &mut Tx<'_>, chat: ChatId, calls: Vec<ToolCallRow>) -> Result<Vec<StoredCall>, CommitError> {
    let mut parts: HashMap<String, (ToolCallPart, bool)> = HashMap::new();
    let mut read = None;
    for call in &calls {
        if read == Some(call.step_no) {
            continue;
        }
        read = Some(call.step_no);
        let Some(message) = atelier_store::message_of_step_in_tx(tx, chat, call.step_no).await? else { continue };
        let was_cut = message.finish_reason == Some(FinishReason::Length);
        for part in message.decode().map_err(CommitError::Content)? {
            if let MessagePart::ToolCall(part) = part {
                parts.insert(part.tool_call_id.clone(), (part, was_cut));
            }
        }
    }
    Ok(calls
        .into_iter()
        .map(|row| {
            let (part, was_cut) = parts.remove(&row.tool_call_id).unzip();
            StoredCall { row, part, was_cut: was_cut.unwrap_or(false) }
        })
        .collect())
}
