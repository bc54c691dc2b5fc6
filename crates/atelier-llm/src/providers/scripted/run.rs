//! Playing the steps of a rule.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use atelier_domain::SharedClock;
use atelier_domain::error::ErrorKind;
use atelier_domain::message::{FinishReason, MessagePart, ReasoningPart, ToolCallPart, Usage};
use futures::{Stream, StreamExt as _, stream};

use super::script::{Script, ScriptFailure, Step, ToolCall};
use crate::error::{Blame, ProviderError, Reported};
use crate::event::ModelEvent;
use crate::json::arguments;
use crate::request::{ModelRequest, Timeouts};
use crate::usage::grown;

/// A text without `chunk` comes in parts of this many characters.
const CHUNK_CHARS: usize = 24;

/// Something that happens in an answer.
enum Cue {
    Event(ModelEvent),
    Pause(Duration),
    Fail(ProviderError),
    /// A text that is still to be taken apart: long ones never lie in memory as a list.
    Parts(Parts),
    Hang,
}

struct Parts {
    index: u32,
    is_reasoning: bool,
    text: String,
    chunk: usize,
    repeat: u32,
    played: u32,
    /// Byte in `text` where the next part of this round begins.
    at: usize,
    pause: Option<Duration>,
    is_paused: bool,
}

/// The answer of `script` to `request`.
pub(super) fn play(
    script: &Script,
    request: &ModelRequest,
    clock: SharedClock,
    provider: Arc<str>,
) -> impl Stream<Item = Result<ModelEvent, ProviderError>> + Send + use<> {
    let cues = match script.rule_for(request) {
        Some(rule) => Composer::new(request, &provider).compose(&rule.steps),
        None => {
            let mut error = ProviderError::new(ErrorKind::Config, &provider).with_code("script");
            error.message =
                format!("The script `{}` has no rule for this message. Add a rule without `when`.", request.model);
            VecDeque::from([Cue::Fail(error)])
        }
    };
    let player = Player { cues, clock, provider, timeouts: request.timeouts, has_begun: false, is_over: false };
    stream::unfold(player, Player::next).fuse()
}

struct Player {
    cues: VecDeque<Cue>,
    clock: SharedClock,
    provider: Arc<str>,
    timeouts: Timeouts,
    has_begun: bool,
    is_over: bool,
}

impl Player {
    async fn next(mut self) -> Option<(Result<ModelEvent, ProviderError>, Self)> {
        if self.is_over {
            return None;
        }
        loop {
            match self.cues.front_mut()? {
                Cue::Parts(parts) => match parts.next() {
                    None => {
                        self.cues.pop_front();
                    }
                    Some(Part::Pause(pause)) => self.clock.sleep(pause).await,
                    Some(Part::Event(event)) => {
                        self.has_begun = true;
                        return Some((Ok(event), self));
                    }
                },
                Cue::Event(_) | Cue::Pause(_) | Cue::Fail(_) | Cue::Hang => match self.cues.pop_front()? {
                    Cue::Event(event) => {
                        self.has_begun = true;
                        return Some((Ok(event), self));
                    }
                    Cue::Pause(pause) => self.clock.sleep(pause).await,
                    Cue::Fail(error) => {
                        self.is_over = true;
                        return Some((Err(error), self));
                    }
                    Cue::Hang => {
                        let (limit, kind) = if self.has_begun {
                            (self.timeouts.silence, ErrorKind::Timeout)
                        } else {
                            (self.timeouts.first_event, ErrorKind::StartupTimeout)
                        };
                        self.clock.sleep(limit).await;
                        self.is_over = true;
                        return Some((Err(ProviderError::new(kind, &self.provider)), self));
                    }
                    Cue::Parts(_) => {}
                },
            }
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "moved on at once, never stored")]
enum Part {
    Event(ModelEvent),
    Pause(Duration),
}

impl Parts {
    fn next(&mut self) -> Option<Part> {
        if self.played == self.repeat {
            return None;
        }
        if let Some(pause) = self.pause.filter(|_| !self.is_paused) {
            self.is_paused = true;
            return Some(Part::Pause(pause));
        }
        self.is_paused = false;
        let round = self.text.replace("{n}", &(self.played + 1).to_string());
        let rest = &round[self.at..];
        let length = rest.char_indices().nth(self.chunk).map_or(rest.len(), |(end, _)| end);
        let text = rest[..length].to_owned();
        self.at += length;
        if self.at >= round.len() {
            self.at = 0;
            self.played += 1;
        }
        let index = self.index;
        Some(Part::Event(if self.is_reasoning {
            ModelEvent::ReasoningDelta { index, text }
        } else {
            ModelEvent::TextDelta { index, text }
        }))
    }
}

/// Turns steps into cues.
struct Composer<'a> {
    provider: &'a str,
    index: u32,
    /// Calls in the chat so far, for ids that are the same whenever the request is.
    calls: usize,
    prompt_bytes: usize,
    output_bytes: usize,
    has_calls: bool,
    cues: VecDeque<Cue>,
}

impl<'a> Composer<'a> {
    fn new(request: &ModelRequest, provider: &'a str) -> Self {
        let parts = request.messages.iter().flat_map(|message| &message.parts);
        let mut calls = 0;
        let mut prompt_bytes: usize = request.system.iter().map(|block| block.text.len()).sum();
        for part in parts {
            calls += usize::from(matches!(part, MessagePart::ToolCall(_)));
            prompt_bytes += bytes_of(part);
        }
        Self { provider, index: 0, calls, prompt_bytes, output_bytes: 0, has_calls: false, cues: VecDeque::new() }
    }

    fn compose(mut self, steps: &[Step]) -> VecDeque<Cue> {
        let mut usage = None;
        let mut finish = None;
        for step in steps {
            if let Some(text) = &step.text {
                self.stream(step, text, false);
            } else if let Some(text) = &step.reasoning {
                self.stream(step, text, true);
            } else if let Some(call) = &step.tool_call {
                self.pause(step);
                self.call(call);
            } else if let Some(counts) = step.usage {
                let counts = grown(usage.unwrap_or_default(), counts.usage());
                usage = Some(counts);
                self.cues.push_back(Cue::Event(ModelEvent::Usage(counts)));
            } else if let Some(error) = &step.error {
                self.pause(step);
                self.cues.push_back(Cue::Fail(failure(error, self.provider)));
                return self.cues;
            } else if step.cut {
                self.pause(step);
                let error = ProviderError::new(ErrorKind::Network, self.provider).with_code("truncated");
                self.cues.push_back(Cue::Fail(error));
                return self.cues;
            } else if step.hang {
                self.cues.push_back(Cue::Hang);
                return self.cues;
            } else if let Some(word) = step.finish {
                finish = Some(word.reason());
            } else {
                self.pause(step);
            }
        }
        if usage.is_none() {
            self.cues.push_back(Cue::Event(ModelEvent::Usage(self.derived_usage())));
        }
        let reason = finish.unwrap_or(if self.has_calls { FinishReason::ToolCalls } else { FinishReason::Stop });
        self.cues.push_back(Cue::Event(ModelEvent::Finish { reason, response_id: None }));
        self.cues
    }

    fn pause(&mut self, step: &Step) {
        if let Some(delay) = step.delay_ms {
            self.cues.push_back(Cue::Pause(Duration::from_millis(delay)));
        }
    }

    fn new_index(&mut self) -> u32 {
        self.index += 1;
        self.index - 1
    }

    fn stream(&mut self, step: &Step, text: &str, is_reasoning: bool) {
        let repeat = step.repeat.unwrap_or(1);
        if text.is_empty() || repeat == 0 {
            return;
        }
        let index = self.new_index();
        let whole = || (1..=repeat).map(|n| text.replace("{n}", &n.to_string())).collect::<String>();
        let chunk = match step.chunk {
            Some(chunk) => chunk as usize,
            // what is repeated comes as it is, one part each time
            None if step.repeat.is_some() => usize::MAX,
            None => CHUNK_CHARS,
        };
        self.output_bytes += text.len() * repeat as usize;
        self.cues.push_back(Cue::Parts(Parts {
            index,
            is_reasoning,
            text: text.to_owned(),
            chunk,
            repeat,
            played: 0,
            at: 0,
            pause: step.delay_ms.filter(|delay| *delay > 0).map(Duration::from_millis),
            is_paused: false,
        }));
        if is_reasoning {
            let part = ReasoningPart { text: whole(), ..ReasoningPart::default() };
            self.cues.push_back(Cue::Event(ModelEvent::Part { index, part: MessagePart::Reasoning(part) }));
        }
    }

    fn call(&mut self, call: &ToolCall) {
        self.calls += 1;
        self.has_calls = true;
        let index = self.new_index();
        let tool_call_id = call.id.clone().unwrap_or_else(|| format!("call_{}", self.calls));
        let tool_name = call.name.clone();
        let text = call.raw_args.clone().unwrap_or_else(|| serde_json::Value::Object(call.args.clone()).to_string());
        let (args, invalid_args) = arguments(&text);
        self.output_bytes += text.len();
        let part = ToolCallPart {
            tool_call_id: tool_call_id.clone(),
            tool_name: tool_name.clone(),
            args,
            provider_executed: false,
            invalid_args,
            mcp_server_config_id: None,
            created_at: None,
            native: None,
        };
        let events = [
            ModelEvent::CallStart { index, tool_call_id, tool_name },
            ModelEvent::CallArgs { index, delta: text },
            ModelEvent::Part { index, part: MessagePart::ToolCall(part) },
        ];
        self.cues.extend(events.map(Cue::Event));
    }

    /// Counts such as a model might report: four bytes a token.
    fn derived_usage(&self) -> Usage {
        let tokens = |bytes: usize| i64::try_from(bytes.div_ceil(4)).unwrap_or(i64::MAX);
        let (input, output) = (tokens(self.prompt_bytes), tokens(self.output_bytes));
        Usage {
            input_tokens: Some(input),
            output_tokens: Some(output),
            total_tokens: Some(input.saturating_add(output)),
            ..Usage::default()
        }
    }
}

/// About how long a part is in the prompt.
fn bytes_of(part: &MessagePart) -> usize {
    match part {
        MessagePart::Text(part) => part.text.len(),
        MessagePart::Reasoning(part) => part.text.len(),
        MessagePart::ToolCall(part) => part.tool_name.len() + bytes_of_value(&part.args),
        MessagePart::ToolResult(part) => bytes_of_value(&part.result),
        MessagePart::Source(part) => part.url.len(),
        MessagePart::File(_) => 4096,
        MessagePart::FileReference(part) => part.content.len(),
        MessagePart::DiffComment(part) => part.content.len(),
    }
}

fn bytes_of_value(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes_of_value).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + bytes_of_value(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
    }
}

fn failure(failure: &ScriptFailure, provider: &str) -> ProviderError {
    let mut error = match (failure.kind, failure.status) {
        (Some(kind), _) => {
            let mut error = ProviderError::new(kind, provider);
            error.code.clone_from(&failure.code);
            error
        }
        (None, status) => {
            let reported = Reported { status, code: failure.code.clone(), ..Reported::default() };
            reported.into_error(Blame { provider, key: None, replayed_reasoning: false })
        }
    };
    if let Some(message) = &failure.message {
        error = error.with_detail(message, None);
    }
    error.retry_after = failure.retry_after_ms.map(Duration::from_millis);
    error
}
