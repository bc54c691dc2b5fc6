//! One model request: the stream is read into the log and put together into an answer.
//!
//! Nothing is stored here. The caller decides what becomes of the outcome: it is stored, retried, kept as
//! a partial answer or dropped.

use std::collections::HashSet;
use std::sync::Arc;

use atelier_domain::message::FinishReason;
use atelier_domain::{Clock, SharedClock};
use atelier_llm::{ModelEvent, ModelRequest, ModelStream, Provider, ProviderError};
use atelier_stream::StepLog;
use futures::{FutureExt as _, StreamExt as _};

use crate::answer::{Answer, AnswerBuilder, Delta};
use crate::executor::RunTokens;
use crate::fault::Faults;

/// How a model request ended.
pub(crate) enum Outcome {
    /// The answer is whole (or was cut by its length).
    Whole(Answer),
    /// A stop was asked for in the middle of it.
    Stopped(Answer),
    /// The process goes down in the middle of it.
    HandOver(Answer),
    /// It failed; the answer is what had come until then.
    Failed { error: ProviderError, partial: Answer },
}

/// What one request needs.
pub(crate) struct StepRequest<'a> {
    pub(crate) provider: &'a Arc<dyn Provider>,
    pub(crate) request: ModelRequest,
    pub(crate) step_no: i64,
    pub(crate) used_call_ids: &'a HashSet<String>,
    pub(crate) log: &'a StepLog,
    pub(crate) tokens: &'a RunTokens,
    pub(crate) clock: &'a SharedClock,
    pub(crate) faults: &'a Faults,
}

/// Sends the request and reads its answer to the end.
///
/// # Cancel safety
/// Dropping the future cancels the request at the provider; the log keeps what was published.
pub(crate) async fn request(step: StepRequest<'_>) -> Outcome {
    let mut builder = AnswerBuilder::new(step.step_no, step.used_call_ids);
    let open = step.provider.stream(step.request.clone());
    tokio::pin!(open);
    let mut stream = tokio::select! {
        biased;
        // stop and hand-over only read a flag; dropping the opening request cancels it
        () = step.tokens.stop.cancelled() => return Outcome::Stopped(builder.into_answer(FinishReason::Interrupted)),
        () = step.tokens.hand_over.cancelled() => {
            return Outcome::HandOver(builder.into_answer(FinishReason::Interrupted));
        }
        opened = &mut open => match opened {
            Ok(stream) => stream,
            Err(error) => return Outcome::Failed { error, partial: builder.into_answer(FinishReason::Interrupted) },
        },
    };
    let mut deltas = Vec::new();
    loop {
        let event = tokio::select! {
            () = step.tokens.stop.cancelled() => {
                return Outcome::Stopped(builder.into_answer(FinishReason::Interrupted));
            }
            () = step.tokens.hand_over.cancelled() => {
                return Outcome::HandOver(builder.into_answer(FinishReason::Interrupted));
            }
            // the stream keeps its place when this arm is dropped
            event = stream.next() => event,
        };
        let read = read_batch(event, &mut stream, &mut builder, step.clock.as_ref(), &mut deltas);
        for delta in deltas.drain(..) {
            publish(step.log, delta);
            step.faults.hit("part_published");
        }
        match read {
            Ok(Progress::More) => {}
            Ok(Progress::Finished) => return Outcome::Whole(builder.into_answer(FinishReason::Stop)),
            Ok(Progress::TooLong) => {
                builder.cut_by_length(step.clock.now());
                return Outcome::Whole(builder.into_answer(FinishReason::Length));
            }
            Err(error) => return Outcome::Failed { error, partial: builder.into_answer(FinishReason::Interrupted) },
        }
    }
}

enum Progress {
    More,
    Finished,
    TooLong,
}

/// Takes in `first` and everything else that is there already, so that the deltas of one network read
/// become one part a block.
fn read_batch(
    first: Option<Result<ModelEvent, ProviderError>>,
    stream: &mut ModelStream,
    builder: &mut AnswerBuilder<'_>,
    clock: &dyn Clock,
    deltas: &mut Vec<Delta>,
) -> Result<Progress, ProviderError> {
    let now = clock.now();
    let mut next = Some(first);
    while let Some(event) = next {
        match event {
            Some(event) => builder.take(event?, now, deltas),
            // a provider ends its stream with `Finish` or with an error, never silently
            None => return Ok(Progress::Finished),
        }
        if builder.is_too_long() {
            return Ok(Progress::TooLong);
        }
        if builder.is_finished() {
            return Ok(Progress::Finished);
        }
        next = stream.next().now_or_never();
    }
    Ok(Progress::More)
}

fn publish(log: &StepLog, delta: Delta) {
    match delta {
        Delta::Text { index, text } => log.text(index, &text),
        Delta::Reasoning { index, text } => log.reasoning(index, &text),
        Delta::CallArgs { index, tool_call_id, tool_name, delta } => {
            log.call_args(index, &tool_call_id, &tool_name, &delta);
        }
        Delta::Part { index, part } => {
            if let Some(part) = atelier_stream::convert::part(&part) {
                log.part(index, part);
            }
        }
    }
}
