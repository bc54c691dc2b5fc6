//! A script: rules, each with a condition and the steps of an answer.

use atelier_domain::error::ErrorKind;
use atelier_domain::message::{FinishReason, MessagePart, ToolResultPart, Usage};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::history::result_text;
use crate::request::{HistoryMessage, HistoryRole, ModelRequest};

/// Parts one answer may be made of.
const MAX_PARTS: u32 = 1_000_000;

/// A checked script.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// For readers of the file.
    #[serde(default)]
    #[expect(dead_code, reason = "a description is for people")]
    description: Option<String>,
    pub(super) rules: Vec<Rule>,
}

/// Why a script cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    #[error("There is no script named `{0}`. Known scripts: {1}.")]
    Unknown(String, String),
    #[error("The script `{name}` cannot be read: {detail}")]
    Invalid { name: String, detail: String },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Absent: always.
    #[serde(default)]
    when: When,
    #[serde(default)]
    pub(super) steps: Vec<Step>,
}

/// All conditions that are given have to hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    user_contains: Option<String>,
    tool_result: Option<ToolResultMatch>,
    step: Option<u32>,
    attempt: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolResultMatch {
    name: Option<String>,
    contains: Option<String>,
    is_error: Option<bool>,
}

/// One step: exactly one thing it does, and how.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) text: Option<String>,
    pub(super) reasoning: Option<String>,
    pub(super) tool_call: Option<ToolCall>,
    pub(super) usage: Option<ScriptUsage>,
    pub(super) error: Option<ScriptFailure>,
    #[serde(default)]
    pub(super) cut: bool,
    #[serde(default)]
    pub(super) hang: bool,
    pub(super) finish: Option<Finish>,
    /// Alone: a pause. Beside text or reasoning: the pause before each of its parts.
    pub(super) delay_ms: Option<u64>,
    /// Characters in one part.
    pub(super) chunk: Option<u32>,
    pub(super) repeat: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolCall {
    pub(super) name: String,
    #[serde(default)]
    pub(super) args: Map<String, Value>,
    /// Arguments as text, to send some that are no JSON.
    pub(super) raw_args: Option<String>,
    pub(super) id: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScriptUsage {
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    reasoning_tokens: Option<i64>,
    cache_read_tokens: Option<i64>,
    cache_creation_tokens: Option<i64>,
    total_tokens: Option<i64>,
}

impl ScriptUsage {
    pub(super) const fn usage(self) -> Usage {
        Usage {
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            reasoning_tokens: self.reasoning_tokens,
            cache_read_tokens: self.cache_read_tokens,
            cache_creation_tokens: self.cache_creation_tokens,
            total_tokens: self.total_tokens,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScriptFailure {
    pub(super) kind: Option<ErrorKind>,
    pub(super) status: Option<u16>,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) retry_after_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Finish {
    Stop,
    ToolCalls,
    Length,
    Refused,
    Pause,
}

impl Finish {
    pub(super) const fn reason(self) -> FinishReason {
        match self {
            Self::Stop => FinishReason::Stop,
            Self::ToolCalls => FinishReason::ToolCalls,
            Self::Length => FinishReason::Length,
            Self::Refused => FinishReason::Refused,
            Self::Pause => FinishReason::Pause,
        }
    }
}

impl Script {
    /// Reads a script file.
    ///
    /// # Errors
    /// Where and how `yaml` is no script.
    pub fn parse(name: &str, yaml: &str) -> Result<Self, ScriptError> {
        let invalid = |detail: String| ScriptError::Invalid { name: name.to_owned(), detail };
        let script: Self = serde_saphyr::from_str(yaml).map_err(|error| invalid(error.to_string()))?;
        for (rule_no, rule) in script.rules.iter().enumerate() {
            for (step_no, step) in rule.steps.iter().enumerate() {
                step.check()
                    .map_err(|detail| invalid(format!("rule {}, step {}: {detail}", rule_no + 1, step_no + 1)))?;
            }
        }
        if script.rules.is_empty() {
            return Err(invalid("it has no rules".to_owned()));
        }
        Ok(script)
    }

    /// Whether an answer of this script may be one that goes on.
    pub(super) fn pauses(&self) -> bool {
        self.rules.iter().flat_map(|rule| &rule.steps).any(|step| step.finish == Some(Finish::Pause))
    }

    /// The first rule whose conditions hold.
    pub(super) fn rule_for(&self, request: &ModelRequest) -> Option<&Rule> {
        let situation = Situation::of(request);
        self.rules.iter().find(|rule| rule.when.holds(&situation))
    }
}

impl Step {
    fn check(&self) -> Result<(), String> {
        let things = [
            self.text.is_some(),
            self.reasoning.is_some(),
            self.tool_call.is_some(),
            self.usage.is_some(),
            self.error.is_some(),
            self.cut,
            self.hang,
            self.finish.is_some(),
        ];
        let is_stream = self.text.is_some() || self.reasoning.is_some();
        match things.into_iter().filter(|thing| *thing).count() {
            0 if self.delay_ms.is_some() => {}
            1 => {}
            _ => {
                return Err(
                    "a step is one of text, reasoning, tool_call, usage, error, cut, hang, finish, delay_ms".to_owned()
                );
            }
        }
        if !is_stream && (self.chunk.is_some() || self.repeat.is_some()) {
            return Err("chunk and repeat belong to text or reasoning".to_owned());
        }
        if self.chunk == Some(0) {
            return Err("chunk is a number of characters from 1".to_owned());
        }
        if self.repeat.is_some_and(|repeat| repeat > MAX_PARTS) {
            return Err(format!("repeat is at most {MAX_PARTS}"));
        }
        if let Some(error) = &self.error
            && error.kind.is_none() == error.status.is_none()
        {
            return Err("an error has a kind or a status".to_owned());
        }
        if let Some(call) = &self.tool_call
            && call.raw_args.is_some()
            && !call.args.is_empty()
        {
            return Err("a tool call has args or raw_args".to_owned());
        }
        Ok(())
    }
}

/// What the conditions look at.
struct Situation<'a> {
    /// In lower case.
    user_text: String,
    /// The results behind the last answer; empty if the last message is a user's.
    results: Vec<&'a ToolResultPart>,
    /// Answers since the last user message.
    step: u32,
    attempt: u32,
    ends_with_user: bool,
}

impl<'a> Situation<'a> {
    fn of(request: &'a ModelRequest) -> Self {
        let messages = &request.messages;
        let last_user = messages.iter().rposition(|message| message.role == HistoryRole::User);
        let since = last_user.map_or(0, |at| at + 1);
        let answers = messages[since..].iter().filter(|message| message.role == HistoryRole::Assistant).count();
        let results = messages
            .iter()
            .rev()
            .take_while(|message| message.role == HistoryRole::Tool)
            .flat_map(|message| &message.parts)
            .filter_map(|part| match part {
                MessagePart::ToolResult(result) => Some(result),
                _ => None,
            })
            .collect();
        Self {
            user_text: last_user.map(|at| text_of(&messages[at]).to_lowercase()).unwrap_or_default(),
            results,
            step: u32::try_from(answers).unwrap_or(u32::MAX),
            attempt: request.attempt,
            ends_with_user: messages.last().is_some_and(|message| message.role == HistoryRole::User),
        }
    }
}

fn text_of(message: &HistoryMessage) -> String {
    let texts = message.parts.iter().filter_map(|part| match part {
        MessagePart::Text(text) => Some(text.text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

impl When {
    fn holds(&self, situation: &Situation<'_>) -> bool {
        // a rule for a user's words does not apply to what came of its own calls, unless it says which step
        let is_of_another_moment = self.user_contains.is_some()
            && self.tool_result.is_none()
            && self.step.is_none()
            && !situation.ends_with_user;
        !is_of_another_moment
            && self.user_contains.as_ref().is_none_or(|text| situation.user_text.contains(&text.to_lowercase()))
            && self.step.is_none_or(|step| step == situation.step)
            && self.attempt.is_none_or(|attempt| attempt == situation.attempt)
            && self
                .tool_result
                .as_ref()
                .is_none_or(|wanted| situation.results.iter().any(|result| wanted.matches(result)))
    }
}

impl ToolResultMatch {
    fn matches(&self, result: &ToolResultPart) -> bool {
        self.name.as_ref().is_none_or(|name| *name == result.tool_name)
            && self.is_error.is_none_or(|is_error| is_error == result.is_error)
            && self.contains.as_ref().is_none_or(|text| shown(result).to_lowercase().contains(&text.to_lowercase()))
    }
}

/// A result as a reader sees it: strings inside are searched without their JSON escapes.
fn shown(result: &ToolResultPart) -> String {
    fn strings(value: &Value, out: &mut String) {
        match value {
            Value::String(text) => {
                out.push_str(text);
                out.push('\n');
            }
            Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
            Value::Object(fields) => fields.values().for_each(|value| strings(value, out)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut text = result_text(result).into_owned();
    text.push('\n');
    strings(&result.result, &mut text);
    // a result that is JSON text is looked into as well
    if let Value::String(inner) = &result.result
        && let Ok(value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str::<Value>(inner)
    {
        strings(&value, &mut text);
    }
    text
}
