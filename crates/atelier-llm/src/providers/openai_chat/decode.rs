//! The stream of Chat Completions.

use std::collections::VecDeque;

use atelier_domain::message::{
    FinishReason, MessagePart, Native, Origin, ReasoningPart, SourcePart, ToolCallPart, Usage,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::error::{ProviderError, Reported};
use crate::event::ModelEvent;
use crate::json::{self, arguments};
use crate::wire::{Decoder, Wire};

pub(super) struct ChatDecoder {
    wire: Wire,
    origin: Origin,
    replayed_reasoning: bool,
    next_index: u32,
    open: Open,
    reasoning: Reasoning,
    calls: Vec<Call>,
    response_id: Option<String>,
    finish: Option<FinishReason>,
    is_refused: bool,
    is_finished: bool,
    /// Holds an event that had to be repaired.
    scratch: String,
}

/// Which block text goes to. Calls do not close it: their pieces carry their own number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Text(u32),
    Reasoning(u32),
}

/// Reasoning of the open block, under the names the server gave it.
#[derive(Default)]
struct Reasoning {
    text: String,
    fields: Map<String, Value>,
}

struct Call {
    index: u32,
    /// The server's number for it.
    number: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    is_announced: bool,
    /// What the server adds to a call, to be sent back with it.
    other: Map<String, Value>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    choices: Option<Vec<Choice>>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    reasoning_details: Option<Vec<Value>>,
    tool_calls: Option<Vec<CallDelta>>,
    annotations: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<String>,
}

type Out = VecDeque<ModelEvent>;

impl ChatDecoder {
    pub(super) fn new(wire: Wire, origin: Origin, replayed_reasoning: bool) -> Self {
        Self {
            wire,
            origin,
            replayed_reasoning,
            next_index: 0,
            open: Open::Nothing,
            reasoning: Reasoning::default(),
            calls: Vec::new(),
            response_id: None,
            finish: None,
            is_refused: false,
            is_finished: false,
            scratch: String::new(),
        }
    }

    fn new_index(&mut self) -> u32 {
        self.next_index += 1;
        self.next_index - 1
    }

    fn chunk(&mut self, chunk: Chunk<'_>, out: &mut Out) -> Result<(), ProviderError> {
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(Reported::from_value(&error).into_error(self.wire.blame(self.replayed_reasoning)));
        }
        if self.response_id.is_none() {
            self.response_id = chunk.id.and_then(|id| serde_json::from_str(id.get()).ok());
        }
        // one answer was asked for
        if let Some(choice) = chunk.choices.and_then(|choices| choices.into_iter().next()) {
            if let Some(delta) = choice.delta {
                self.delta(delta, out);
            }
            if let Some(word) = choice.finish_reason {
                self.finish = Some(self.finish_reason(&word)?);
            }
        }
        if let Some(usage) = chunk.usage.as_ref().and_then(usage) {
            out.push_back(ModelEvent::Usage(usage));
        }
        Ok(())
    }

    fn delta(&mut self, delta: Delta, out: &mut Out) {
        self.reasoning_delta(delta.reasoning_content, delta.reasoning, delta.reasoning_details, out);
        if let Some(text) = delta.content.filter(|text| !text.is_empty()) {
            self.text(text, out);
        }
        if let Some(refusal) = delta.refusal.filter(|text| !text.is_empty()) {
            self.is_refused = true;
            self.text(refusal, out);
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.call(call, out);
        }
        for annotation in delta.annotations.unwrap_or_default() {
            if let Some(source) = self.source(&annotation) {
                let index = self.new_index();
                out.push_back(ModelEvent::Part { index, part: MessagePart::Source(source) });
            }
        }
    }

    fn text(&mut self, text: String, out: &mut Out) {
        let index = if let Open::Text(index) = self.open {
            index
        } else {
            self.close_reasoning(out);
            let index = self.new_index();
            self.open = Open::Text(index);
            index
        };
        out.push_back(ModelEvent::TextDelta { index, text });
    }

    /// `reasoning_content` and `reasoning` are two names for the text, `reasoning_details` the same in
    /// blocks with signatures. What is shown is one of them; all are kept.
    fn reasoning_delta(
        &mut self,
        content: Option<String>,
        plain: Option<String>,
        details: Option<Vec<Value>>,
        out: &mut Out,
    ) {
        let content = content.filter(|text| !text.is_empty());
        let plain = plain.filter(|text| !text.is_empty());
        let details = details.unwrap_or_default();
        if content.is_none() && plain.is_none() && details.is_empty() {
            return;
        }
        let index = if let Open::Reasoning(index) = self.open {
            index
        } else {
            let index = self.new_index();
            self.open = Open::Reasoning(index);
            index
        };
        let shown = match (&content, &plain) {
            (Some(text), _) | (None, Some(text)) => text.clone(),
            (None, None) => details.iter().filter_map(detail_text).collect(),
        };
        for (name, text) in [("reasoning_content", content), ("reasoning", plain)] {
            match (self.reasoning.fields.get_mut(name), text) {
                (Some(Value::String(before)), Some(more)) => before.push_str(&more),
                (_, Some(text)) => {
                    self.reasoning.fields.insert(name.to_owned(), Value::String(text));
                }
                (_, None) => {}
            }
        }
        if !details.is_empty() {
            let kept = self.reasoning.fields.entry("reasoning_details").or_insert_with(|| json!([]));
            if let Value::Array(kept) = kept {
                details.into_iter().for_each(|detail| join_detail(kept, detail));
            }
        }
        if !shown.is_empty() {
            self.reasoning.text.push_str(&shown);
            out.push_back(ModelEvent::ReasoningDelta { index, text: shown });
        }
    }

    fn close_reasoning(&mut self, out: &mut Out) {
        let Open::Reasoning(index) = self.open else {
            return;
        };
        self.open = Open::Nothing;
        let Reasoning { text, fields } = std::mem::take(&mut self.reasoning);
        let native = self.native(&Value::Object(fields));
        let part = ReasoningPart { text, native: Some(native), ..ReasoningPart::default() };
        out.push_back(ModelEvent::Part { index, part: MessagePart::Reasoning(part) });
    }

    fn native(&self, block: &Value) -> Native {
        Native { origin: self.origin.clone(), block: block.to_string() }
    }

    fn call(&mut self, delta: CallDelta, out: &mut Out) {
        self.close_reasoning(out);
        // text behind a call is a block of its own
        self.open = Open::Nothing;
        let at = match self.call_of(&delta) {
            Some(at) => at,
            None => {
                let index = self.new_index();
                self.calls.push(Call {
                    index,
                    number: delta.index,
                    id: String::new(),
                    name: String::new(),
                    arguments: String::new(),
                    is_announced: false,
                    other: Map::new(),
                });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at];
        if let Some(id) = delta.id.filter(|id| !id.is_empty()) {
            call.id = id;
        }
        call.other.extend(delta.other.into_iter().filter(|(name, value)| name != "type" && !value.is_null()));
        let (name, arguments) = delta.function.map_or((None, None), |function| (function.name, function.arguments));
        if let Some(name) = name.filter(|_| !call.is_announced) {
            call.name.push_str(&name);
        }
        if !call.is_announced && !call.name.is_empty() {
            call.is_announced = true;
            let (tool_call_id, tool_name) = (call.id.clone(), call.name.clone());
            out.push_back(ModelEvent::CallStart { index: call.index, tool_call_id, tool_name });
        }
        if let Some(delta) = arguments.filter(|text| !text.is_empty()) {
            call.arguments.push_str(&delta);
            if call.is_announced {
                out.push_back(ModelEvent::CallArgs { index: call.index, delta });
            }
        }
    }

    /// The call a piece belongs to: the one of its number, unless it names another id. Some servers give
    /// all calls the same number, others none.
    fn call_of(&self, delta: &CallDelta) -> Option<usize> {
        let at = match delta.index {
            Some(number) => self.calls.iter().rposition(|call| call.number == Some(number))?,
            None => self.calls.len().checked_sub(1)?,
        };
        let other_id = delta
            .id
            .as_deref()
            .is_some_and(|id| !id.is_empty() && !self.calls[at].id.is_empty() && self.calls[at].id != id);
        (!other_id).then_some(at)
    }

    fn source(&self, annotation: &Value) -> Option<SourcePart> {
        let citation = annotation.get("url_citation")?;
        Some(SourcePart {
            url: citation.get("url")?.as_str()?.to_owned(),
            title: citation.get("title").and_then(Value::as_str).map(str::to_owned),
            source_id: None,
            native: Some(self.native(annotation)),
        })
    }

    fn finish_reason(&self, word: &str) -> Result<FinishReason, ProviderError> {
        Ok(match word {
            "tool_calls" | "function_call" => FinishReason::ToolCalls,
            "length" | "max_tokens" | "model_length" => FinishReason::Length,
            "content_filter" | "refusal" => FinishReason::Refused,
            // a gateway that gives no reason with it
            "error" => {
                return Err(Reported::default().into_error(self.wire.blame(false)));
            }
            // `stop`, and words we do not know
            _ => FinishReason::Stop,
        })
    }

    /// The answer is whole: its open blocks are, too.
    fn close(&mut self, out: &mut Out) {
        self.close_reasoning(out);
        for call in std::mem::take(&mut self.calls) {
            let index = call.index;
            let part = MessagePart::ToolCall(self.call_part(call));
            out.push_back(ModelEvent::Part { index, part });
        }
        let reason = if self.is_refused { FinishReason::Refused } else { self.finish.unwrap_or(FinishReason::Stop) };
        out.push_back(ModelEvent::Finish { reason, response_id: self.response_id.take() });
        self.is_finished = true;
    }

    fn call_part(&self, call: Call) -> ToolCallPart {
        let (args, invalid_args) = arguments(&call.arguments);
        let native = (!call.other.is_empty()).then(|| {
            let mut block = Map::new();
            block.insert("id".to_owned(), Value::String(call.id.clone()));
            block.insert("type".to_owned(), Value::String("function".to_owned()));
            let sent_back = if invalid_args { "{}" } else { call.arguments.as_str() };
            block.insert("function".to_owned(), json!({"name": call.name, "arguments": sent_back}));
            block.extend(call.other);
            self.native(&Value::Object(block))
        });
        ToolCallPart {
            tool_call_id: call.id,
            tool_name: call.name,
            args,
            provider_executed: false,
            invalid_args,
            mcp_server_config_id: None,
            created_at: None,
            native,
        }
    }
}

fn detail_text(detail: &Value) -> Option<&str> {
    detail.get("text").or_else(|| detail.get("summary"))?.as_str()
}

/// Pieces of one text follow each other: the texts are joined, a later value of another field replaces.
fn join_detail(kept: &mut Vec<Value>, detail: Value) {
    let continues = kept.last().is_some_and(|last| {
        let is_text =
            matches!(detail.get("type").and_then(Value::as_str), Some("reasoning.text" | "reasoning.summary"));
        let id = detail.get("id").filter(|id| !id.is_null());
        is_text
            && last.get("type") == detail.get("type")
            && last.get("index") == detail.get("index")
            && (id.is_none() || last.get("id") == id)
    });
    match (kept.last_mut(), detail) {
        (Some(Value::Object(last)), Value::Object(fields)) if continues => {
            for (name, value) in fields {
                match (last.get_mut(&name), value) {
                    (_, Value::Null) => {}
                    (Some(Value::String(before)), Value::String(more))
                        if matches!(name.as_str(), "text" | "summary") =>
                    {
                        before.push_str(&more);
                    }
                    (_, value) => {
                        last.insert(name, value);
                    }
                }
            }
        }
        (_, detail) => kept.push(detail),
    }
}

/// The counts without overlap (governance.md 4).
fn usage(reported: &Value) -> Option<Usage> {
    if !reported.is_object() {
        return None;
    }
    let count = |path: &str| {
        let number = reported.pointer(path)?;
        let number = number.as_i64().or_else(|| number.as_f64().map(|number| number as i64))?;
        if number < 0 {
            tracing::warn!("a provider reported the negative count {path} = {number}");
            return None;
        }
        Some(number)
    };
    let cached = count("/prompt_tokens_details/cached_tokens");
    let written = count("/prompt_tokens_details/cache_write_tokens");
    let input = count("/prompt_tokens").map(|prompt| {
        let rest = prompt - cached.unwrap_or(0) - written.unwrap_or(0);
        if rest < 0 {
            tracing::warn!("a provider reported more cached tokens than the {prompt} of the prompt");
        }
        rest.max(0)
    });
    Some(Usage {
        input_tokens: input,
        output_tokens: count("/completion_tokens"),
        reasoning_tokens: count("/completion_tokens_details/reasoning_tokens"),
        cache_read_tokens: cached,
        cache_creation_tokens: written,
        total_tokens: count("/total_tokens"),
    })
}

impl Decoder for ChatDecoder {
    fn event(&mut self, data: &[u8], out: &mut Out) -> Result<(), ProviderError> {
        if data == b"[DONE]" {
            self.close(out);
            return Ok(());
        }
        if data.is_empty() {
            return Ok(());
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = match json::from_slice(data, &mut scratch) {
            Ok(chunk) => self.chunk(chunk, out),
            Err(_) => Err(self.wire.malformed("an event of the stream cannot be read")),
        };
        scratch.clear();
        self.scratch = scratch;
        result
    }

    fn end(&mut self, out: &mut Out) -> Result<(), ProviderError> {
        // many servers leave the end mark out, none the reason
        if self.finish.is_none() {
            return Err(self.wire.truncated());
        }
        self.close(out);
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.is_finished
    }

    fn is_complete(&self) -> bool {
        self.finish.is_some()
    }
}
