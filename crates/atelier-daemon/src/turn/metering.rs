//! What a model request has cost: one row of `model_calls` each, also where it failed or was stopped.

use std::time::Duration;

use atelier_domain::message::Usage;
use atelier_domain::{ModelCallId, Timestamp, money};
use atelier_store::{CallOutcome, CallPurpose, ChatRow, ModelCallNew};

use crate::answer::Answer;
use crate::models::TurnModel;

/// One request to a model, as far as its bill goes.
pub(crate) struct Metered<'a> {
    pub(crate) model: &'a TurnModel,
    pub(crate) chat: &'a ChatRow,
    pub(crate) step_no: i64,
    pub(crate) attempt: i32,
    pub(crate) started_at: Timestamp,
    pub(crate) runtime: Duration,
}

impl Metered<'_> {
    pub(crate) fn finished(&self, answer: &Answer) -> ModelCallNew {
        self.row(answer, CallOutcome::Finished)
    }

    /// Nothing where the provider has sent nothing: it bills nothing.
    pub(crate) fn interrupted(&self, answer: &Answer) -> Option<ModelCallNew> {
        has_content(answer).then(|| self.row(answer, CallOutcome::Interrupted))
    }

    pub(crate) fn failed(&self, answer: &Answer) -> Option<ModelCallNew> {
        has_content(answer).then(|| self.row(answer, CallOutcome::Failed))
    }

    fn row(&self, answer: &Answer, outcome: CallOutcome) -> ModelCallNew {
        let (usage, estimated) = completed(answer, self.chat.context_tokens);
        let cost = money::cost(&usage, &self.model.prices);
        ModelCallNew {
            id: ModelCallId::new(),
            chat_id: self.chat.id,
            root_chat_id: self.chat.root_chat_id,
            owner_id: self.chat.owner_id,
            organization_id: self.chat.organization_id,
            purpose: CallPurpose::Step,
            step_no: self.step_no,
            attempt: self.attempt,
            model_config_id: self.model.config_id,
            provider: self.model.provider_name.clone(),
            model: self.model.model.clone(),
            paid_by: self.model.paid_by,
            usage,
            cost_micros: cost.micros,
            cost_partial: cost.partial,
            estimated,
            saturated: cost.saturated,
            price_source: self.model.price_source.to_owned(),
            price_version: self.model.price_version.clone(),
            runtime_ms: i64::try_from(self.runtime.as_millis()).unwrap_or(i64::MAX),
            outcome,
            started_at: self.started_at,
        }
    }
}

fn has_content(answer: &Answer) -> bool {
    answer.received_bytes > 0 || !answer.parts.is_empty() || answer.usage.is_reported()
}

/// Fills in what the provider did not come to report (governance.md 4): without any usage the input is that of
/// the context, and an answer that was cut off has made at least the output that was received. A single count
/// that a whole answer leaves out stays missing and costs nothing; a zero beside an answer does not count as a report.
fn completed(answer: &Answer, context_tokens: Option<i64>) -> (Usage, bool) {
    let mut usage = answer.usage;
    let counts = [usage.input_tokens, usage.cache_read_tokens, usage.cache_creation_tokens, usage.output_tokens];
    let has_received = answer.received_bytes > 0;
    let is_reported = counts.into_iter().flatten().any(|count| count > 0 || !has_received);
    if !is_reported {
        usage.input_tokens = context_tokens;
    }
    let is_denied = usage.output_tokens == Some(0) && has_received;
    if !is_reported || is_denied || !answer.is_whole {
        let received = i64::try_from(answer.received_bytes.div_ceil(4)).unwrap_or(i64::MAX);
        usage.output_tokens = usage.output_tokens.max(Some(received));
    }
    (usage, usage != answer.usage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_domain::message::{FinishReason, MessagePart};

    fn answer(usage: Usage, received_bytes: usize, is_whole: bool) -> Answer {
        Answer {
            parts: vec![MessagePart::text("x")],
            finish: FinishReason::Interrupted,
            usage,
            received_bytes,
            response_id: None,
            is_whole,
        }
    }

    #[test]
    fn a_stream_without_usage_is_estimated() {
        for is_whole in [true, false] {
            let (usage, estimated) = completed(&answer(Usage::default(), 9, is_whole), Some(100));
            assert_eq!((usage.input_tokens, usage.output_tokens, estimated), (Some(100), Some(3), true));
        }
    }

    #[test]
    fn zeros_beside_an_answer_are_no_report() {
        let zeros = |input| Usage { input_tokens: Some(input), output_tokens: Some(0), ..Usage::default() };
        let (usage, estimated) = completed(&answer(zeros(0), 300, true), Some(100));
        assert_eq!((usage.input_tokens, usage.output_tokens, estimated), (Some(100), Some(75), true));
        let (usage, estimated) = completed(&answer(zeros(50), 300, true), Some(100));
        assert_eq!((usage.input_tokens, usage.output_tokens, estimated), (Some(50), Some(75), true));
        assert_eq!(completed(&answer(zeros(0), 0, true), Some(100)), (zeros(0), false));
    }

    #[test]
    fn a_count_that_a_whole_answer_leaves_out_stays_missing() {
        for reported in [
            Usage { input_tokens: Some(0), output_tokens: Some(1), ..Usage::default() },
            Usage { input_tokens: Some(5), ..Usage::default() },
            Usage { output_tokens: Some(1), ..Usage::default() },
            Usage { cache_read_tokens: Some(7), ..Usage::default() },
        ] {
            assert_eq!(completed(&answer(reported, 9, true), Some(100)), (reported, false));
        }
    }

    #[test]
    fn an_answer_that_was_cut_off_has_made_what_was_received() {
        let early = Usage { input_tokens: Some(50), output_tokens: Some(1), ..Usage::default() };
        let (usage, estimated) = completed(&answer(early, 9, false), Some(100));
        assert_eq!((usage.input_tokens, usage.output_tokens, estimated), (Some(50), Some(3), true));
        let late = Usage { input_tokens: Some(50), output_tokens: Some(7), ..Usage::default() };
        assert_eq!(completed(&answer(late, 9, false), Some(100)), (late, false));
    }
}
