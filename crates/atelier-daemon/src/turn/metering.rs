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
            price_version: None,
            runtime_ms: i64::try_from(self.runtime.as_millis()).unwrap_or(i64::MAX),
            outcome,
            started_at: self.started_at,
        }
    }
}

fn has_content(answer: &Answer) -> bool {
    answer.received_bytes > 0 || !answer.parts.is_empty() || answer.usage.is_reported()
}

/// Fills in what the provider did not report: output from the bytes received, input from the context.
fn completed(answer: &Answer, context_tokens: Option<i64>) -> (Usage, bool) {
    let mut usage = answer.usage;
    let mut estimated = false;
    if usage.output_tokens.is_none() {
        usage.output_tokens = Some(i64::try_from(answer.received_bytes.div_ceil(4)).unwrap_or(i64::MAX));
        estimated = true;
    }
    if usage.input_tokens.is_none() && usage.cache_read_tokens.is_none() && usage.cache_creation_tokens.is_none() {
        usage.input_tokens = context_tokens;
        estimated = true;
    }
    (usage, estimated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_domain::message::{FinishReason, MessagePart};

    fn answer(usage: Usage, received_bytes: usize) -> Answer {
        Answer {
            parts: vec![MessagePart::text("x")],
            finish: FinishReason::Interrupted,
            usage,
            received_bytes,
            response_id: None,
        }
    }

    #[test]
    fn missing_counts_are_estimated_and_reported_ones_stay() {
        let (usage, estimated) = completed(&answer(Usage::default(), 9), Some(100));
        assert_eq!((usage.input_tokens, usage.output_tokens, estimated), (Some(100), Some(3), true));
        let reported = Usage { input_tokens: Some(0), output_tokens: Some(7), ..Usage::default() };
        assert_eq!(completed(&answer(reported, 9), Some(100)), (reported, false));
    }
}
