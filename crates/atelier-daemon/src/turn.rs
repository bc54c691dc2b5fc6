//! A run: from the claim of a chat to its settle, failure or hand-over.
//!
//! The loop alternates between a model request and the calls it asked for. What has to survive is
//! committed before the next thing begins: the answer before its calls, each result as its call ends.
//! Every write carries the run's fence; a run that has lost it stops without writing anything.

mod metering;
mod writer;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use atelier_domain::chat::{CallState, RetryInfo};
use atelier_domain::error::{ErrorKind, TurnError};
use atelier_domain::message::FinishReason;
use atelier_domain::{CallToken, Chain, ChatId, SharedClock, Timestamp, UserId, retry};
use atelier_llm::{HistoryRole, LeftOut, ModelRequest, ProviderError};
use atelier_store::{ChatRow, ModelCallNew, PaidBy, Store};
use atelier_stream::StepLog;
use futures::FutureExt as _;
use futures::future::BoxFuture;

pub(crate) use self::writer::{RunEnd, RunWriter};
use crate::answer::Answer;
use crate::calls::{self, Begun, CallsEnd, OpenCall};
use crate::commit::{AnswerContent, AnswerStored, Claimed, Commits, NewToolCall, StepBegun, StoredCall};
use crate::executor::{Place, Work};
use crate::fault::Faults;
use crate::models::{Models, TurnModel};
use crate::prompt::files::Files;
use crate::prompt::text::system_prompt;
use crate::prompt::transcript::Transcripts;
use crate::prompt::{self, PromptSources, TurnPrompt};
use crate::step::{self, Outcome, StepRequest};
use crate::tool_error::ToolError;
use crate::tools::Tool;
use crate::tools::run::ToolEnvironment;
use crate::workspace::{Access, AgentRequest, CallContext, Method, Workspaces};

/// Pending chats that one look of the executor finds; it holds those back for which it has no place.
const PENDING_AT_ONCE: i64 = 10_000;
/// Steps of one turn.
const MAX_STEPS: i64 = 1200;
/// Answers cut by their length, one after another, before the turn ends.
const MAX_CUT_ANSWERS: u32 = 3;
/// From this part of the context on, a refusal that names no cause is one of the length.
const LONG_PROMPT_PERCENT: i64 = 80;
/// A retry that waits longer gives its place back meanwhile.
const PARK_AFTER: Duration = Duration::from_secs(2);
/// How long a turn waits for the instruction files of its workspace.
const CONTEXT_WAIT: Duration = Duration::from_secs(5);

/// What every run works with.
pub(crate) struct Turns {
    pub(crate) store: Store,
    pub(crate) commits: Commits,
    pub(crate) models: Models,
    pub(crate) workspaces: Arc<dyn Workspaces>,
    pub(crate) transcripts: Transcripts,
    pub(crate) files: Files,
    pub(crate) clock: SharedClock,
    pub(crate) faults: Faults,
}

impl Work for Turns {
    fn run(self: Arc<Self>, chat: ChatId, place: Place) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let claimed = match self.commits.claim(chat).await {
                Ok(Some(claimed)) => claimed,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(chat.id = %chat, "chat {chat} could not be claimed: {}", Chain(&error));
                    return;
                }
            };
            self.faults.hit("claimed");
            self.run_claimed(claimed, place).await;
        })
    }

    fn poll_pending(&self) -> BoxFuture<'_, Option<Vec<(ChatId, UserId, Timestamp)>>> {
        Box::pin(async move {
            let found = self.store.chats_pending_for_system(PENDING_AT_ONCE).await;
            found.inspect_err(|error| tracing::warn!("pending chats could not be looked for: {}", Chain(error))).ok()
        })
    }

    fn held_back(&self, chats: Vec<ChatId>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for chat in chats {
                if let Err(error) = self.commits.queued_for_capacity(chat).await {
                    tracing::warn!(chat.id = %chat, "viewers could not be told that chat {chat} waits: {}", Chain(&error));
                }
            }
        })
    }
}

impl Turns {
    async fn run_claimed(&self, claimed: Claimed, place: Place) {
        let chat = claimed.chat.id;
        place.claimed(claimed.fence.epoch);
        let log = claimed.log.clone();
        let writer = RunWriter::new(self.commits.clone(), claimed.fence, self.clock.clone(), self.faults.clone());
        let driven = Turn::new(self, claimed, &place, writer.clone()).drive();
        let ended = match std::panic::AssertUnwindSafe(driven).catch_unwind().await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::error!(chat.id = %chat, "the run of chat {chat} panicked");
                let error = TurnError::new(
                    ErrorKind::Internal,
                    "The server failed inside this turn. Send another message to go on.",
                );
                writer.fail(error, None, None).await
            }
        };
        if let Err(end) = ended {
            match end {
                RunEnd::Lost => tracing::info!(chat.id = %chat, "the run of chat {chat} was overtaken"),
                RunEnd::Stopping | RunEnd::Failed(_) => {
                    tracing::error!(chat.id = %chat, "the run of chat {chat} could not settle: {}", Chain(&end));
                }
            }
        }
        log.close();
    }
}

/// What one step came to.
enum StepEnd {
    /// There are calls to run, or the model wants to go on.
    GoOn,
    TurnOver,
}

/// What this turn has found out about the pictures and PDFs of the chat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Media {
    /// They are sent.
    Undoubted,
    /// The model refused a request with them: an answer without them tells that it was for them.
    Refused,
    /// The server failed over a request with them. Some refuse so, but it may as well have been an accident.
    FailedWith,
    /// It fails without them, too: they are sent, whatever it fails over next.
    Cleared,
    /// An answer came without them only.
    LeftOut,
}

struct Turn<'a> {
    turns: &'a Turns,
    chat: Arc<ChatRow>,
    writer: RunWriter,
    log: StepLog,
    place: &'a Place,
    begun: Option<StepBegun>,
    open_calls: Vec<OpenCall>,
    /// Number of messages the step before was sent.
    previous: Option<usize>,
    left_out: LeftOut,
    media: Media,
    cut_answers: u32,
    first_step: i64,
}

impl<'a> Turn<'a> {
    fn new(turns: &'a Turns, claimed: Claimed, place: &'a Place, writer: RunWriter) -> Self {
        let first_step = claimed.chat.state.committed_step;
        let open_calls = claimed.open_calls.into_iter().filter_map(resumed_call).collect();
        Self {
            turns,
            chat: Arc::new(claimed.chat),
            writer,
            log: claimed.log,
            place,
            begun: claimed.step,
            open_calls,
            previous: None,
            left_out: LeftOut::default(),
            media: Media::Undoubted,
            cut_answers: 0,
            first_step,
        }
    }

    async fn drive(mut self) -> Result<(), RunEnd> {
        match Box::pin(self.steps()).await {
            Err(RunEnd::Stopping) => self.writer.settle_stopped(None, Vec::new(), None).await,
            Err(RunEnd::Failed(error)) => {
                let chat = self.chat.id;
                tracing::error!(chat.id = %chat, "a turn of chat {chat} failed inside the server: {}", Chain(&error));
                let error = TurnError::new(
                    ErrorKind::Internal,
                    "The server could not go on with this turn. Send another message to go on.",
                );
                self.writer.fail(error, None, None).await
            }
            ended => ended,
        }
    }

    async fn steps(&mut self) -> Result<(), RunEnd> {
        let model = match self.turns.models.for_turn(&self.chat).await {
            Ok(model) => model,
            Err(error) => return self.writer.fail(error, None, None).await,
        };
        let prompt = self.prompt(&model).await?;
        loop {
            if self.place.tokens.stop.is_cancelled() {
                return self.writer.settle_stopped(None, Vec::new(), None).await;
            }
            if !self.open_calls.is_empty() {
                if self.begun.is_none() && self.previous.is_none() {
                    // calls of an earlier run: what they print belongs to their step
                    self.log.begin(self.chat.state.step_no, self.chat.state.attempt);
                }
                let calls = std::mem::take(&mut self.open_calls);
                let environment = self.environment();
                match calls::run_all(&environment, &self.writer, calls, &self.place.tokens).await? {
                    CallsEnd::AllStored => {}
                    CallsEnd::Stopped(results) => return self.writer.settle_stopped(None, results, None).await,
                    CallsEnd::HandOver => return self.writer.release(None).await,
                }
                continue;
            }
            if self.place.tokens.drain.is_cancelled() {
                return self.writer.release(None).await;
            }
            let begun = match self.begun.take() {
                Some(begun) => begun,
                None => self.writer.step_begin().await?,
            };
            self.turns.faults.hit("step_begun");
            if begun.step_no - self.first_step > MAX_STEPS {
                return self.writer.fail(step_limit(), None, None).await;
            }
            match self.step(&model, &prompt, begun).await? {
                StepEnd::GoOn => {}
                StepEnd::TurnOver => return Ok(()),
            }
        }
    }

    fn environment(&self) -> ToolEnvironment {
        ToolEnvironment {
            chat_id: self.chat.id,
            owner_id: self.chat.owner_id,
            organization_id: self.chat.organization_id,
            store: self.turns.store.clone(),
            workspaces: Arc::clone(&self.turns.workspaces),
            log: self.log.clone(),
            clock: self.turns.clock.clone(),
        }
    }

    /// The fixed part of the prompt of this turn.
    async fn prompt(&mut self, model: &TurnModel) -> Result<TurnPrompt, RunEnd> {
        let (chat, owner) = (self.chat.id, self.chat.owner_id);
        let stored = self.turns.store.prompt_sources(chat, owner, model.config_id).await.map_err(RunEnd::store)?;
        if stored.model_refuses_media {
            self.media = Media::LeftOut;
            self.left_out.media = true;
        }
        let mut deployment = stored.deployment;
        if !stored.has_answered {
            deployment = self.refreshed_system_prompt(deployment, stored.deployment_setting).await;
        }
        let context = match self.chat.workspace_id {
            Some(_) => self.workspace_context().await,
            None => None,
        };
        Ok(TurnPrompt::new(&PromptSources {
            deployment,
            workspace_name: stored.workspace_name,
            context,
            user: stored.user,
        }))
    }

    /// The deployment's prompt for a turn that begins: the chat's own copy, brought up to date.
    async fn refreshed_system_prompt(&self, kept: Option<String>, setting: Option<String>) -> Option<String> {
        let wanted = system_prompt(setting);
        if kept.as_ref() == Some(&wanted) {
            return kept;
        }
        let (chat, now) = (&self.chat, self.turns.clock.now());
        let replaced = self.turns.store.system_message_replace(chat.id, chat.state.turn_no, wanted.clone(), now).await;
        match replaced {
            Ok(()) => Some(wanted),
            Err(error) => {
                tracing::warn!(chat.id = %chat.id, "chat {} goes on with its former system prompt: {}", chat.id, Chain(&error));
                kept
            }
        }
    }

    /// Instruction files and facts of the workspace; without an answer in time, the last good copy.
    async fn workspace_context(&self) -> Option<atelier_workspace_protocol::ContextAnswer> {
        let workspace = self.chat.workspace_id?;
        let asked = async {
            let connection = self.turns.workspaces.connect(workspace, self.chat.owner_id, Duration::ZERO).await.ok()?;
            let request = AgentRequest {
                method: Method::Get,
                path: "/v1/context".to_owned(),
                context: CallContext {
                    chat_id: self.chat.id,
                    ancestors: Vec::new(),
                    access: Access::ReadOnly,
                    call: None,
                },
                body: None,
                max_response_bytes: 1024 * 1024,
            };
            let answer = connection.request(request).await.ok().filter(|answer| answer.status == 200)?;
            serde_json::from_slice(&answer.body).ok()
        };
        let answered = async {
            tokio::select! {
                // only a question
                () = self.turns.clock.sleep(CONTEXT_WAIT) => None,
                answer = asked => answer,
            }
        };
        // a turn that begins shortly before its workspace would stop keeps it from that
        let (fresh, ()) = tokio::join!(answered, self.turns.workspaces.touch(workspace));
        match fresh {
            Some(context) => {
                self.keep_context(&context).await;
                Some(context)
            }
            None => self.chat.workspace_context.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        }
    }

    async fn keep_context(&self, context: &atelier_workspace_protocol::ContextAnswer) {
        let Ok(text) = serde_json::to_string(context) else { return };
        if self.chat.workspace_context.as_deref() == Some(text.as_str()) {
            return;
        }
        if let Err(error) = self.turns.store.chat_workspace_context_set(self.chat.id, text).await {
            tracing::warn!(chat.id = %self.chat.id, "the workspace context of chat {} was not kept: {}", self.chat.id, Chain(&error));
        }
    }

    /// One model request, with its retries, up to the stored answer.
    async fn step(&mut self, model: &TurnModel, prompt: &TurnPrompt, begun: StepBegun) -> Result<StepEnd, RunEnd> {
        let mut attempt = begun.attempt;
        let mut failures: HashMap<ErrorKind, u32> = HashMap::new();
        let mut requests = u32::try_from(begun.attempt).unwrap_or(u32::MAX);
        loop {
            let rows = self
                .turns
                .transcripts
                .rows(&self.turns.store, self.chat.id, self.chat.state.rewind)
                .await
                .map_err(RunEnd::failed)?;
            let mut step = prompt::step_messages(&rows, self.previous);
            tokio::select! {
                biased;
                // without all the bytes there is no request either: it meets the same tokens first
                () = self.place.tokens.stop.cancelled() => {}
                () = self.place.tokens.hand_over.cancelled() => {}
                filled = self.turns.files.fill(&self.turns.store, &mut step.messages) => {
                    filled.map_err(RunEnd::failed)?;
                }
            }
            let count = step.messages.len();
            let follows_results = step.messages.last().is_some_and(|message| message.role == HistoryRole::Tool);
            let request = ModelRequest {
                model: model.model.clone(),
                system: prompt.system(),
                messages: step.messages,
                tools: prompt.tools(),
                max_output_tokens: model.max_output_tokens,
                options: model.options.clone(),
                cache_key: Some(self.chat.id.to_string()),
                attempt: u32::try_from(attempt).unwrap_or(1),
                left_out: self.left_out,
                ..ModelRequest::default()
            };
            let has_media = request.has_media();
            self.log.begin(begun.step_no, attempt);
            let started_at = self.turns.clock.now();
            let started = self.turns.clock.monotonic_now();
            let outcome = step::request(StepRequest {
                provider: &model.provider,
                request,
                step_no: begun.step_no,
                used_call_ids: &step.call_ids,
                log: &self.log,
                tokens: &self.place.tokens,
                clock: &self.turns.clock,
                faults: &self.turns.faults,
            })
            .await;
            let chat = Arc::clone(&self.chat);
            let metered = metering::Metered {
                model,
                chat: &chat,
                step_no: begun.step_no,
                attempt,
                started_at,
                runtime: self.turns.clock.monotonic_now().saturating_sub(started),
            };
            let (error, partial) = match outcome {
                Outcome::Whole(answer) if !may_be_stored(&answer, follows_results) => {
                    (ProviderError::malformed(&model.provider_display_name, "the answer was empty"), answer)
                }
                Outcome::Whole(answer) => {
                    self.turns.faults.hit("answer_received");
                    self.previous = Some(count);
                    self.conclude_about_media(model).await;
                    return self.store_answer(&begun, answer, &metered).await;
                }
                Outcome::Stopped(partial) => {
                    let call = metered.interrupted(&partial);
                    let partial = partial_answer(&begun, partial, &metered);
                    self.writer.settle_stopped(partial, Vec::new(), call).await?;
                    return Ok(StepEnd::TurnOver);
                }
                Outcome::HandOver(partial) => {
                    self.writer.release(metered.interrupted(&partial)).await?;
                    return Ok(StepEnd::TurnOver);
                }
                Outcome::Failed { error, partial } => (error, partial),
            };
            let call = metered.failed(&partial);
            if let Some(left_out) = self.leave_out_more(&error, has_media) {
                if !self.retry(error.retried_without(left_out), attempt, Duration::ZERO, call).await? {
                    return Ok(StepEnd::TurnOver);
                }
                attempt += 1;
                requests += 1;
                continue;
            }
            let error = self.told_by_length(error, model).await?;
            let failed = failures.entry(error.kind).or_insert(0);
            *failed += 1;
            let plan = retry::plan(&retry::Failure {
                kind: error.kind,
                is_server_error: error.is_server_error(),
                failures_of_kind: *failed,
                requests,
                since_step_begun: span_since(begun.begun_at, self.turns.clock.now()),
                retry_after: error.retry_after,
                unit_random: rand::random(),
            });
            match plan {
                retry::Plan::After(delay) => {
                    if !self.retry(error.retried_after(delay), attempt, delay, call).await? {
                        return Ok(StepEnd::TurnOver);
                    }
                    if !self.wait_for_retry(delay).await {
                        return Ok(StepEnd::GoOn);
                    }
                    attempt += 1;
                    requests += 1;
                }
                retry::Plan::GiveUp => {
                    self.writer.fail(told_error(&error, model), None, call).await?;
                    return Ok(StepEnd::TurnOver);
                }
            }
        }
    }
}

impl Turn<'_> {
    /// Plans another attempt. False: a stop came first, and the turn is over.
    async fn retry(
        &self,
        error: TurnError,
        attempt: i32,
        delay: Duration,
        call: Option<ModelCallNew>,
    ) -> Result<bool, RunEnd> {
        let retrying_at = self.turns.clock.now() + delay;
        if !self.writer.retry_planned(error.clone(), attempt, delay, retrying_at, call).await? {
            return Ok(false);
        }
        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        self.log.retry(&RetryInfo { attempt, delay_ms, retrying_at, error });
        self.turns.faults.hit("retry_planned");
        Ok(true)
    }

    /// Leaves out what the provider may have refused, once each: the request is sent again without it. Gives
    /// what that is, in words.
    fn leave_out_more(&mut self, error: &ProviderError, has_media: bool) -> Option<&'static str> {
        if error.kind == ErrorKind::BadReplay && !self.left_out.reasoning {
            self.left_out.reasoning = true;
            return Some("the reasoning of earlier answers");
        }
        let is_server_error = error.is_server_error();
        match self.media {
            Media::FailedWith if is_server_error => {
                self.media = Media::Cleared;
                self.left_out.media = false;
                None
            }
            Media::Cleared if is_server_error => None,
            _ if has_media && error.may_be_about_media() => {
                self.media = if is_server_error { Media::FailedWith } else { Media::Refused };
                self.left_out.media = true;
                Some("pictures and PDFs")
            }
            _ => None,
        }
    }

    /// An answer came. If none came with pictures and PDFs before, they are left out from now on; later turns
    /// do not try either, if it was a refusal.
    async fn conclude_about_media(&mut self, model: &TurnModel) {
        if !self.left_out.media {
            return;
        }
        let was_refused = self.media == Media::Refused;
        self.media = Media::LeftOut;
        if !was_refused {
            return;
        }
        let chat = self.chat.id;
        if let Err(error) = self.turns.store.media_refusal_add(chat, model.config_id).await {
            tracing::warn!(chat.id = %chat, "that the model refuses the files of chat {chat} was not kept: {}", Chain(&error));
        }
    }

    /// A refusal without a cause is taken for one of the length when the prompt is near the limit.
    async fn told_by_length(&self, error: ProviderError, model: &TurnModel) -> Result<ProviderError, RunEnd> {
        let (Some(limit), true) = (model.context_limit, error.may_be_about_length()) else {
            return Ok(error);
        };
        let chat = self.turns.store.chat_get_for_system(self.chat.id).await.map_err(RunEnd::store)?;
        let tokens = chat.and_then(|chat| chat.context_tokens).unwrap_or(0);
        let is_long = tokens.saturating_mul(100) >= limit.saturating_mul(LONG_PROMPT_PERCENT);
        Ok(if is_long { error.into_context_too_long() } else { error })
    }

    /// Waits for the next attempt; a long wait gives the place back. False: a stop or the end came first.
    async fn wait_for_retry(&self, delay: Duration) -> bool {
        let tokens = &self.place.tokens;
        let wait = async {
            tokio::select! {
                // nothing is lost by waking early
                () = tokens.stop.cancelled() => false,
                () = tokens.drain.cancelled() => false,
                () = self.turns.clock.sleep(delay) => true,
            }
        };
        if delay > PARK_AFTER { self.place.parked(wait).await } else { wait.await }
    }

    /// Stores a whole answer with the ledger of its calls. After this nothing of it is asked for again.
    async fn store_answer(
        &mut self,
        begun: &StepBegun,
        answer: Answer,
        metered: &metering::Metered<'_>,
    ) -> Result<StepEnd, RunEnd> {
        let call = metered.finished(&answer);
        if answer.finish == FinishReason::Refused {
            let error = TurnError::new(
                ErrorKind::Refused,
                "The model declined to answer this. Rephrase the message or choose another model.",
            );
            let partial = partial_answer(begun, answer, metered);
            self.writer.fail(error, partial, Some(call)).await?;
            return Ok(StepEnd::TurnOver);
        }
        let was_cut = answer.finish == FinishReason::Length;
        self.cut_answers = if was_cut { self.cut_answers + 1 } else { 0 };
        let mut open = self.calls_of(&answer, was_cut);
        let ends_turn = match answer.finish {
            FinishReason::Pause => false,
            FinishReason::Length => open.is_empty() || self.cut_answers >= MAX_CUT_ANSWERS,
            FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Interrupted | FinishReason::Refused => {
                open.is_empty()
            }
        };
        let stored = AnswerStored {
            content: content(begun, answer, metered, Some(&call)),
            calls: open
                .iter()
                .enumerate()
                .map(|(at, call)| NewToolCall {
                    uid: call.token,
                    call_index: i32::try_from(at).unwrap_or(i32::MAX),
                    tool_call_id: call.part.tool_call_id.clone(),
                    tool_name: call.part.tool_name.clone(),
                    input_sha256: call.digest.clone(),
                    class: call.class,
                    state: if call.begun == Begun::ByThisRun { CallState::Started } else { CallState::Ready },
                })
                .collect(),
            metering: call,
            ends_turn,
        };
        let Some(committed) = self.writer.answer_stored(stored).await? else { return Ok(StepEnd::TurnOver) };
        self.turns.faults.hit("answer_stored");
        if committed.settled {
            self.turns.faults.hit("settled");
            return Ok(StepEnd::TurnOver);
        }
        if ends_turn && !open.is_empty() {
            // cut three times in a row: the calls get their results, then the turn ends
            let environment = self.environment();
            return match calls::run_all(&environment, &self.writer, open, &self.place.tokens).await? {
                CallsEnd::Stopped(results) => {
                    self.writer.settle_stopped(None, results, None).await.map(|()| StepEnd::TurnOver)
                }
                CallsEnd::HandOver => self.writer.release(None).await.map(|()| StepEnd::TurnOver),
                CallsEnd::AllStored => self.writer.settle_done().await.map(|()| StepEnd::TurnOver),
            };
        }
        self.open_calls.append(&mut open);
        Ok(StepEnd::GoOn)
    }

    /// The calls of an answer, with what speaks against running them.
    fn calls_of(&self, answer: &Answer, was_cut: bool) -> Vec<OpenCall> {
        let refusals: Vec<Option<ToolError>> =
            answer.local_calls().enumerate().map(|(at, call)| calls::refusal(&call.tool_name, at, was_cut)).collect();
        let begins = calls::begin_at_once(
            answer.local_calls().zip(&refusals).map(|(call, refused)| (call.tool_name.as_str(), refused.is_some())),
        );
        answer
            .local_calls()
            .zip(refusals)
            .zip(begins)
            .map(|((part, refused), begins)| OpenCall {
                token: CallToken::new(),
                digest: calls::digest(&part.tool_name, &part.args),
                class: Tool::from_name(&part.tool_name)
                    .map_or(atelier_domain::chat::CallClass::Repeatable, Tool::class),
                part: part.clone(),
                begun: if begins { Begun::ByThisRun } else { Begun::No },
                ledger_id: None,
                refused,
            })
            .collect()
    }
}

/// Whether something can be done with a whole answer. An empty one behind results of calls says that there is
/// nothing to add.
fn may_be_stored(answer: &Answer, follows_results: bool) -> bool {
    match answer.finish {
        FinishReason::Refused => true,
        FinishReason::Stop if follows_results => true,
        FinishReason::Stop
        | FinishReason::ToolCalls
        | FinishReason::Length
        | FinishReason::Pause
        | FinishReason::Interrupted => !answer.parts.is_empty(),
    }
}

/// The error of a turn that is given up. Whose own key it is needs no admin.
fn told_error(error: &ProviderError, model: &TurnModel) -> TurnError {
    let provider = &error.provider;
    let message = match (error.kind, model.paid_by) {
        (ErrorKind::Auth, PaidBy::User) => {
            format!("{provider} refused your own key. Check it in your settings.")
        }
        (ErrorKind::Quota, PaidBy::User) => {
            format!(
                "The account of your own key at {provider} has no credit left. Add credit, or change the key in your settings."
            )
        }
        _ => return error.turn_error(),
    };
    TurnError { message, ..error.turn_error() }
}

/// What is stored of an answer that was interrupted or refused; nothing where nothing came.
fn partial_answer(begun: &StepBegun, answer: Answer, metered: &metering::Metered<'_>) -> Option<AnswerContent> {
    if answer.parts.is_empty() {
        return None;
    }
    let call = metered.interrupted(&answer);
    Some(content(begun, answer, metered, call.as_ref()))
}

/// An answer with what its request cost; without a row of the request nothing is known of that.
fn content(
    begun: &StepBegun,
    answer: Answer,
    metered: &metering::Metered<'_>,
    call: Option<&ModelCallNew>,
) -> AnswerContent {
    AnswerContent {
        step_no: begun.step_no,
        finish_reason: answer.finish,
        usage: call.map(|call| call.usage).unwrap_or_default(),
        estimated: call.is_some_and(|call| call.estimated),
        cost_micros: call.and_then(|call| call.cost_micros),
        model_config_id: metered.model.config_id,
        context_limit: metered.model.context_limit,
        runtime_ms: call.map_or(0, |call| call.runtime_ms),
        provider_response_id: answer.response_id.map(without_nul),
        parts: answer.parts,
    }
}

/// An open call of a run before this one.
fn resumed_call(StoredCall { row, part, was_cut }: StoredCall) -> Option<OpenCall> {
    let part = part?;
    let begun = match row.state {
        CallState::Ready => Begun::No,
        CallState::Started | CallState::Detached => Begun::Before,
        CallState::Finished | CallState::Unknown => return None,
    };
    let place = usize::try_from(row.call_index).unwrap_or(usize::MAX);
    Some(OpenCall {
        token: row.uid,
        // what has begun was not refused
        refused: calls::refusal(&part.tool_name, place, was_cut).filter(|_| begun == Begun::No),
        begun,
        class: row.class,
        ledger_id: row.ledger_id,
        digest: row.input_sha256,
        part,
    })
}

/// The time between two moments of the wall clock; none where the clock was set back meanwhile.
fn span_since(begun_at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(begun_at)).unwrap_or(Duration::ZERO)
}

fn step_limit() -> TurnError {
    TurnError::new(
        ErrorKind::StepLimit,
        format!("The turn was ended after {MAX_STEPS} steps. Send a message, for instance \"go on\", to continue."),
    )
}

/// An id of a provider as both databases take it.
fn without_nul(id: String) -> String {
    if id.contains('\0') { id.replace('\0', "") } else { id }
}
