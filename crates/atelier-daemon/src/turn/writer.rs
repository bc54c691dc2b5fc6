//! The writes of a run: each carries the fence, and each is repeated while the database is away.

use std::sync::Arc;
use std::time::Duration;

use atelier_domain::error::TurnError;
use atelier_domain::message::MessagePart;
use atelier_domain::{CallToken, Chain, SharedClock, Timestamp};
use atelier_store::{ModelCallNew, StoreError};

use crate::commit::{
    AnswerCommitted, AnswerContent, AnswerStored, CallEnd, CommitError, Commits, Fail, RetryPlanned, RunFence, Settle,
    StepBegun,
};
use crate::fault::Faults;
use crate::patience::Patience;

/// Why a run ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunEnd {
    /// Another run owns the chat, or it was edited: nothing of this run is written any more.
    #[error("the chat belongs to another run")]
    Lost,
    /// A stop was committed: settle.
    #[error("a stop was asked for")]
    Stopping,
    #[error(transparent)]
    Failed(Arc<dyn std::error::Error + Send + Sync>),
}

impl RunEnd {
    pub(crate) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Failed(Arc::new(error))
    }

    pub(crate) fn store(error: StoreError) -> Self {
        Self::failed(error)
    }
}

#[derive(Clone)]
pub(crate) struct RunWriter {
    commits: Commits,
    fence: RunFence,
    clock: SharedClock,
    faults: Faults,
}

impl RunWriter {
    pub(crate) const fn new(commits: Commits, fence: RunFence, clock: SharedClock, faults: Faults) -> Self {
        Self { commits, fence, clock, faults }
    }

    pub(crate) const fn faults(&self) -> &Faults {
        &self.faults
    }

    pub(crate) async fn step_begin(&self) -> Result<StepBegun, RunEnd> {
        self.repeat(|| self.commits.step_begin(&self.fence)).await
    }

    /// False: a stop came first, and the turn is settled with what the attempt cost.
    pub(crate) async fn retry_planned(
        &self,
        error: TurnError,
        attempt: i32,
        delay: Duration,
        retrying_at: Timestamp,
        metering: Option<ModelCallNew>,
    ) -> Result<bool, RunEnd> {
        let planned = RetryPlanned { error, attempt, delay, retrying_at, metering: metering.clone() };
        match self.repeat(|| self.commits.retry_planned(&self.fence, planned.clone())).await {
            Err(RunEnd::Stopping) => self.settle_stopped(None, Vec::new(), metering).await.map(|()| false),
            planned => planned.map(|()| true),
        }
    }

    /// None: a stop came first, and the turn is settled with the answer.
    pub(crate) async fn answer_stored(&self, answer: AnswerStored) -> Result<Option<AnswerCommitted>, RunEnd> {
        match self.repeat(|| self.commits.answer_stored(&self.fence, answer.clone())).await {
            Err(RunEnd::Stopping) => {
                let AnswerStored { content, metering, .. } = answer;
                self.settle_stopped(Some(content), Vec::new(), Some(metering)).await.map(|()| None)
            }
            stored => stored.map(Some),
        }
    }

    pub(crate) async fn call_start(&self, call: CallToken) -> Result<(), RunEnd> {
        self.repeat(|| self.commits.call_start(&self.fence, call)).await
    }

    pub(crate) async fn call_ledger(&self, call: CallToken, ledger_id: String) -> Result<(), RunEnd> {
        self.repeat(|| self.commits.call_ledger(&self.fence, call, ledger_id.clone())).await
    }

    pub(crate) async fn call_end(&self, call: CallToken, part: MessagePart, unknown: bool) -> Result<(), RunEnd> {
        self.calls_end(vec![(call, CallEnd { parts: vec![part], unknown })]).await
    }

    pub(crate) async fn calls_end(&self, ends: Vec<(CallToken, CallEnd)>) -> Result<(), RunEnd> {
        self.repeat(|| self.commits.calls_end(&self.fence, ends.clone())).await.map(|_| ())
    }

    pub(crate) async fn settle_done(&self) -> Result<(), RunEnd> {
        self.repeat(|| self.commits.settle(&self.fence, Settle::Done)).await.map(|_| ())
    }

    pub(crate) async fn settle_stopped(
        &self,
        partial: Option<AnswerContent>,
        results: Vec<(CallToken, Vec<MessagePart>)>,
        metering: Option<ModelCallNew>,
    ) -> Result<(), RunEnd> {
        let settle = Settle::Stopped { partial, results, metering: metering.clone() };
        self.repeat(|| {
            let (settle, metering) = (settle.clone(), metering.clone());
            async move {
                match self.commits.settle(&self.fence, settle).await {
                    // a signal that was meant for the run before this one: the turn goes on
                    Err(CommitError::NotAsked) => self.commits.release(&self.fence, metering).await,
                    settled => settled.map(|_| ()),
                }
            }
        })
        .await
    }

    pub(crate) async fn fail(
        &self,
        error: TurnError,
        answer: Option<AnswerContent>,
        metering: Option<ModelCallNew>,
    ) -> Result<(), RunEnd> {
        let fail = Fail { error, answer, metering };
        match self.repeat(|| self.commits.fail(&self.fence, fail.clone())).await {
            // a stop came first: the turn ends as stopped, with what came and what it cost
            Err(RunEnd::Stopping) => self.settle_stopped(fail.answer, Vec::new(), fail.metering).await,
            failed => failed.map(|_| ()),
        }
    }

    pub(crate) async fn release(&self, metering: Option<ModelCallNew>) -> Result<(), RunEnd> {
        self.repeat(|| self.commits.release(&self.fence, metering.clone())).await.map(|_| ())
    }

    /// Carries `write` out, again and again while the database is away: results wait in memory.
    async fn repeat<T, F>(&self, mut write: impl FnMut() -> F) -> Result<T, RunEnd>
    where
        F: Future<Output = Result<T, CommitError>>,
    {
        let mut patience = Patience::new(&self.clock);
        loop {
            match write().await {
                Ok(value) => return Ok(value),
                Err(CommitError::Lost | CommitError::NotFound) => return Err(RunEnd::Lost),
                Err(CommitError::Stopping(_)) => return Err(RunEnd::Stopping),
                Err(CommitError::Store(error)) if error.is_transient() && patience.is_left() => {
                    tracing::warn!(chat.id = %self.fence.chat_id, "the database is away, trying again: {}", Chain(&error));
                    patience.pause().await;
                }
                Err(error) => return Err(RunEnd::failed(error)),
            }
        }
    }
}
