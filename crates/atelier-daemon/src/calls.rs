//! Running the calls of a step: what runs together, what waits, what becomes of them on a stop.
//!
//! The outcome is that of calls run one after another: calls without effects run together, at most
//! [`AT_ONCE`] of them, and a call with effects runs alone, after all before it. Calls that are refused get their
//! results first, all in one transaction; each other result is stored as its call ends, others still running.
//! After a takeover a call that had begun is gone on with according to its class; see `tools/run.rs` for what that
//! means for each tool.

use std::collections::VecDeque;
use std::time::Duration;

use atelier_domain::CallToken;
use atelier_domain::chat::CallClass;
use atelier_domain::message::{MessagePart, ToolCallPart};
use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::commit::CallEnd;
use crate::executor::RunTokens;
use crate::tool_error::{ToolError, ToolErrorCode};
use crate::tools::Tool;
use crate::tools::run::{self, Attempt, Call, LedgerRefused, ToolEnvironment, ToolOutcome};
use crate::turn::{RunEnd, RunWriter};

/// Calls without effects of one chat that run together.
pub(crate) const AT_ONCE: usize = 8;
/// Calls of one answer that are run at all.
pub(crate) const MAX_CALLS_A_STEP: usize = 64;

/// What a stopped call may still take, for instance to end a command and read what it printed. An interrupt
/// waits 5 s for the whole turn.
const STOP_GRACE: Duration = Duration::from_millis(2500);

/// One call that has no result yet.
pub(crate) struct OpenCall {
    pub(crate) token: CallToken,
    pub(crate) part: ToolCallPart,
    pub(crate) begun: Begun,
    pub(crate) class: CallClass,
    pub(crate) ledger_id: Option<String>,
    /// SHA-256 of the canonical arguments, hex.
    pub(crate) digest: String,
    /// It is not run: this is its result.
    pub(crate) refused: Option<ToolError>,
}

/// Whether a call has begun, and on whose watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// Stored as ready: it is marked as started before it begins.
    No,
    /// Stored as started by this run, together with its answer.
    ByThisRun,
    /// Started under a run that is gone.
    Before,
}

/// How a step's calls ended.
pub(crate) enum CallsEnd {
    /// Every call has its result stored.
    AllStored,
    /// A stop: these results are stored with the settle.
    Stopped(Vec<(CallToken, Vec<MessagePart>)>),
    /// The process goes down: what is open stays open.
    HandOver,
}

/// SHA-256 over the tool's name and its arguments with sorted keys, as hex.
pub(crate) fn digest(name: &str, args: &Value) -> String {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([0]);
    hash.update(canonical(args).to_string().as_bytes());
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            Value::Object(sorted.into_iter().map(|(name, value)| (name.clone(), canonical(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

/// What speaks against running a call: the same whether its answer has just come or is read after a takeover.
pub(crate) fn refusal(name: &str, place: usize, was_cut: bool) -> Option<ToolError> {
    if was_cut {
        return Some(ToolError::new(
            ToolErrorCode::InvalidArguments,
            "The answer was cut off by its length, so this call was not run. Call again with less text at once.",
        ));
    }
    if place >= MAX_CALLS_A_STEP {
        return Some(ToolError::new(
            ToolErrorCode::InvalidArguments,
            format!("More than {MAX_CALLS_A_STEP} calls in one answer; this one was not run."),
        ));
    }
    Tool::from_name(name).is_none().then(|| run::unknown_tool(name))
}

/// The calls that run at a time.
#[derive(Default)]
struct Together {
    count: usize,
    with_effects: bool,
}

impl Together {
    /// Whether the next call in call order may begin beside those that run.
    const fn admits(&self, has_effects: bool) -> bool {
        self.count == 0 || (!self.with_effects && !has_effects && self.count < AT_ONCE)
    }

    const fn begin(&mut self, has_effects: bool) {
        self.count += 1;
        self.with_effects = has_effects;
    }

    const fn end(&mut self) {
        self.count -= 1;
        // a call with effects was the only one
        self.with_effects = false;
    }
}

/// A tool that is not known here may do anything.
fn has_effects(tool_name: &str) -> bool {
    Tool::from_name(tool_name).is_none_or(Tool::has_effects)
}

/// Which of the calls, given by name and whether they are refused, begin at once: these are stored as started.
pub(crate) fn begin_at_once<'a>(calls: impl Iterator<Item = (&'a str, bool)>) -> Vec<bool> {
    let mut together = Together::default();
    let mut is_held_up = false;
    calls
        .map(|(name, refused)| {
            if refused {
                return false;
            }
            is_held_up |= !together.admits(has_effects(name));
            if !is_held_up {
                together.begin(has_effects(name));
            }
            !is_held_up
        })
        .collect()
}

/// Runs `calls`, which are in call order, until each has a result, or a stop or the end of the process
/// comes first.
pub(crate) async fn run_all(
    environment: &ToolEnvironment,
    writer: &RunWriter,
    calls: Vec<OpenCall>,
    tokens: &RunTokens,
) -> Result<CallsEnd, RunEnd> {
    refuse(environment, writer, &calls).await?;
    let mut waiting: VecDeque<&OpenCall> = calls.iter().filter(|call| call.refused.is_none()).collect();
    let mut running = FuturesUnordered::new();
    let mut together = Together::default();
    let mut interrupted = Vec::new();
    loop {
        while !tokens.stop.is_cancelled() && !tokens.drain.is_cancelled() {
            let next = waiting.pop_front_if(|call| together.admits(has_effects(&call.part.tool_name)));
            let Some(call) = next else { break };
            together.begin(has_effects(&call.part.tool_name));
            running.push(one(environment, writer, call, tokens).map(move |end| (call.token, end)));
        }
        if running.is_empty() {
            break;
        }
        let (token, end) = tokio::select! {
            // dropping running calls is what a hand-over means: their work goes on in the workspace
            () = tokens.hand_over.cancelled() => return Ok(CallsEnd::HandOver),
            Some(done) = running.next() => done,
        };
        together.end();
        if let Some(part) = end? {
            interrupted.push((token, vec![part]));
        }
    }
    // a stop may be in the row before its signal is here
    if tokens.stop.is_cancelled() || !interrupted.is_empty() {
        return Ok(CallsEnd::Stopped(interrupted));
    }
    if !waiting.is_empty() {
        return Ok(CallsEnd::HandOver);
    }
    Ok(CallsEnd::AllStored)
}

/// Stores the results of all calls that are not run, in one transaction.
async fn refuse(environment: &ToolEnvironment, writer: &RunWriter, calls: &[OpenCall]) -> Result<(), RunEnd> {
    let now = environment.clock.now();
    let ends: Vec<(CallToken, CallEnd)> = calls
        .iter()
        .filter_map(|call| {
            let outcome: ToolOutcome = Err(call.refused.clone()?).into();
            Some((call.token, CallEnd { parts: vec![outcome.into_part(&call.part, now)], unknown: false }))
        })
        .collect();
    if ends.is_empty() {
        return Ok(());
    }
    writer.calls_end(ends).await?;
    writer.faults().hit("call_ended");
    Ok(())
}

/// Runs one call and stores its result; gives the result back instead when a stop interrupted it.
async fn one(
    environment: &ToolEnvironment,
    writer: &RunWriter,
    call: &OpenCall,
    tokens: &RunTokens,
) -> Result<Option<MessagePart>, RunEnd> {
    let outcome = match (call.begun, call.class) {
        (Begun::Before, CallClass::Opaque) => ToolOutcome::Unknown(run::outcome_unknown_after_restart()),
        (Begun::Before, CallClass::Keyed | CallClass::Repeatable) => {
            let attempt = Attempt::Resumed { ledger_id: call.ledger_id.clone() };
            run_guarded(environment, writer, call, attempt, tokens).await
        }
        (Begun::No, _) => match writer.call_start(call.token).await {
            Ok(()) => run_guarded(environment, writer, call, Attempt::First, tokens).await,
            Err(RunEnd::Stopping) => {
                // the calls beside it end as on any stop, and keep what they have
                tokens.stop.cancel();
                Err(run::interrupted()).into()
            }
            Err(end) => return Err(end),
        },
        (Begun::ByThisRun, _) => run_guarded(environment, writer, call, Attempt::First, tokens).await,
    };
    writer.faults().hit("call_result_received");
    let unknown = matches!(outcome, ToolOutcome::Unknown(_));
    let was_interrupted = matches!(outcome, ToolOutcome::Interrupted(_));
    let part = outcome.into_part(&call.part, environment.clock.now());
    if was_interrupted {
        return Ok(Some(part));
    }
    writer.call_end(call.token, part, unknown).await?;
    writer.faults().hit("call_ended");
    Ok(None)
}

/// Ends when a stop has been asked for so long ago.
async fn stopped_for(environment: &ToolEnvironment, tokens: &RunTokens, grace: Duration) {
    tokens.stop.cancelled().await;
    environment.clock.sleep(grace).await;
}

/// Runs the tool; a panic in it becomes an error result, and the turn goes on.
async fn run_guarded(
    environment: &ToolEnvironment,
    writer: &RunWriter,
    call: &OpenCall,
    attempt: Attempt,
    tokens: &RunTokens,
) -> ToolOutcome {
    let token = call.token;
    writer.faults().hit("call_started");
    let record_ledger =
        move |ledger: String| async move { writer.call_ledger(token, ledger).await.map_err(|_| LedgerRefused) }.boxed();
    let call = Call {
        part: &call.part,
        token,
        digest: &call.digest,
        attempt,
        stop: &tokens.stop,
        record_ledger: &record_ledger,
    };
    let ended = tokio::select! {
        ended = std::panic::AssertUnwindSafe(run::run(environment, &call)).catch_unwind() => ended,
        // a command ends by itself and keeps its output; what hangs is left behind
        () = stopped_for(environment, tokens, STOP_GRACE) => Ok(Err(run::interrupted()).into()),
    };
    match ended {
        Ok(outcome) => outcome,
        Err(_) => {
            tracing::error!(chat.id = %environment.chat_id, "tool {} panicked", call.part.tool_name);
            Err(ToolError::new(ToolErrorCode::Internal, "The tool failed inside the server. Try something else."))
                .into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_keys() {
        assert_eq!(
            digest("a", &json!({"x": {"b": 1, "a": 2}, "y": [1]})),
            digest("a", &json!({"y": [1], "x": {"a": 2, "b": 1}}))
        );
        assert_ne!(digest("a", &json!({"y": [1]})), digest("b", &json!({"y": [1]})));
    }

    #[test]
    fn what_begins_at_once_is_eight_calls_without_effects_or_one_with_them() {
        let begins = |calls: &[(&'static str, bool)]| begin_at_once(calls.iter().copied());
        let run = |name| (name, false);
        assert_eq!(begins(&[run("write_file"), run("read_file"), run("write_file")]), [true, false, false]);
        assert_eq!(
            begins(&[run("read_file"), run("list_templates"), run("execute"), run("read_file")]),
            [true, true, false, false]
        );
        assert_eq!(
            begins(&[("execute", true), run("read_file"), ("unknown", true), run("read_file")]),
            [false, true, false, true]
        );
        assert_eq!(begins(&[run("read_file"); 10]).iter().filter(|begins| **begins).count(), AT_ONCE);
    }
}
