//! The stream of Messages.

use std::collections::VecDeque;

use atelier_domain::message::{
    FinishReason, MessagePart, Native, Origin, ReasoningPart, SourcePart, TextPart, ToolCallPart, ToolResultPart, Usage,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::{ProviderError, Reported};
use crate::event::ModelEvent;
use crate::history::without_private;
use crate::json::{self, arguments};
use crate::wire::{Decoder, Wire};

pub(super) struct MessagesDecoder {
    wire: Wire,
    origin: Origin,
    replayed_reasoning: bool,
    next_index: u32,
    /// Blocks that have begun and not ended; one at a time so far, but nothing says it stays so.
    open: Vec<Block>,
    usage: Usage,
    response_id: Option<String>,
    finish: Option<FinishReason>,
    is_finished: bool,
    /// Holds an event that had to be repaired.
    scratch: String,
}

struct Block {
    /// The provider's number for it.
    number: u32,
    index: u32,
    kind: BlockKind,
    /// The block as it began, and what unknown deltas added.
    fields: Map<String, Value>,
    /// Text or thinking.
    text: String,
    /// Input as JSON text.
    input: String,
    citations: Vec<Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    Text,
    Thinking,
    RedactedThinking,
    ToolUse,
    /// A call that the provider runs itself.
    ServerToolUse,
    /// What came of it.
    ServerToolResult,
    Unknown,
}

impl BlockKind {
    fn of(name: &str) -> Self {
        match name {
            "text" => Self::Text,
            "thinking" => Self::Thinking,
            "redacted_thinking" => Self::RedactedThinking,
            "tool_use" => Self::ToolUse,
            name if name.ends_with("_tool_use") => Self::ServerToolUse,
            name if name.ends_with("_tool_result") => Self::ServerToolResult,
            _ => Self::Unknown,
        }
    }
}

/// One event. Its `type` decides which of the fields are there.
#[derive(Deserialize)]
struct Event<'a> {
    r#type: &'a str,
    index: Option<u32>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    message: Option<MessageStart>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct MessageStart {
    id: Option<String>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    r#type: Option<&'a str>,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    partial_json: Option<String>,
    citation: Option<Value>,
    stop_reason: Option<String>,
}

/// An event read for what it holds beside the known fields.
#[derive(Deserialize)]
struct OtherDelta {
    delta: Map<String, Value>,
}

type Out = VecDeque<ModelEvent>;

impl MessagesDecoder {
    pub(super) fn new(wire: Wire, origin: Origin, replayed_reasoning: bool) -> Self {
        Self {
            wire,
            origin,
            replayed_reasoning,
            next_index: 0,
            open: Vec::new(),
            usage: Usage::default(),
            response_id: None,
            finish: None,
            is_finished: false,
            scratch: String::new(),
        }
    }

    fn new_index(&mut self) -> u32 {
        self.next_index += 1;
        self.next_index - 1
    }

    fn take(&mut self, event: Event<'_>, data: &[u8], out: &mut Out) -> Result<(), ProviderError> {
        match event.r#type {
            "content_block_delta" => {
                if let (Some(number), Some(delta)) = (event.index, event.delta) {
                    self.delta(number, delta, data, out)?;
                }
            }
            "content_block_start" => {
                if let (Some(number), Some(block)) = (event.index, event.content_block) {
                    self.start(number, block, out)?;
                }
            }
            "content_block_stop" => {
                if let Some(at) = event.index.and_then(|number| self.position(number)) {
                    let block = self.open.remove(at);
                    self.complete(block, out);
                }
            }
            "message_start" => {
                if let Some(message) = event.message {
                    self.response_id = message.id;
                    self.count(message.usage.as_ref(), out);
                }
            }
            "message_delta" => {
                if let Some(word) = event.delta.and_then(|delta| delta.stop_reason) {
                    self.finish = Some(finish_reason(&word));
                }
                self.count(event.usage.as_ref(), out);
            }
            "message_stop" => self.close(out),
            "error" => {
                let reported = Reported::from_value(event.error.as_ref().unwrap_or(&Value::Null));
                return Err(reported.into_error(self.wire.blame(self.replayed_reasoning)));
            }
            // `ping`, and events we do not know
            _ => out.push_back(ModelEvent::Alive),
        }
        Ok(())
    }

    fn position(&self, number: u32) -> Option<usize> {
        self.open.iter().position(|block| block.number == number)
    }

    fn start(&mut self, number: u32, block: &RawValue, out: &mut Out) -> Result<(), ProviderError> {
        let mut scratch = String::new();
        let fields: Map<String, Value> = json::from_slice(block.get().as_bytes(), &mut scratch)
            .map_err(|_| self.wire.malformed("a block of the answer cannot be read"))?;
        let kind = BlockKind::of(fields.get("type").and_then(Value::as_str).unwrap_or_default());
        let index = self.new_index();
        let word = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut text = String::new();
        match kind {
            BlockKind::Text => {
                text = word("text");
                if !text.is_empty() {
                    out.push_back(ModelEvent::TextDelta { index, text: text.clone() });
                }
            }
            BlockKind::Thinking => {
                text = word("thinking");
                if !text.is_empty() {
                    out.push_back(ModelEvent::ReasoningDelta { index, text: text.clone() });
                }
            }
            BlockKind::ToolUse => {
                out.push_back(ModelEvent::CallStart { index, tool_call_id: word("id"), tool_name: word("name") });
            }
            BlockKind::RedactedThinking
            | BlockKind::ServerToolUse
            | BlockKind::ServerToolResult
            | BlockKind::Unknown => {}
        }
        self.open.push(Block { number, index, kind, fields, text, input: String::new(), citations: Vec::new() });
        Ok(())
    }

    fn delta(&mut self, number: u32, delta: Delta<'_>, data: &[u8], out: &mut Out) -> Result<(), ProviderError> {
        let Some(at) = self.position(number) else {
            return Err(self.wire.malformed("a piece of a block came before the block"));
        };
        let block = &mut self.open[at];
        let index = block.index;
        match delta.r#type {
            Some("text_delta") => {
                if let Some(text) = delta.text.filter(|text| !text.is_empty()) {
                    block.text.push_str(&text);
                    out.push_back(ModelEvent::TextDelta { index, text });
                }
            }
            Some("thinking_delta") => {
                if let Some(text) = delta.thinking.filter(|text| !text.is_empty()) {
                    block.text.push_str(&text);
                    out.push_back(ModelEvent::ReasoningDelta { index, text });
                }
            }
            Some("input_json_delta") => {
                if let Some(delta) = delta.partial_json.filter(|text| !text.is_empty()) {
                    block.input.push_str(&delta);
                    if block.kind == BlockKind::ToolUse {
                        out.push_back(ModelEvent::CallArgs { index, delta });
                    }
                }
            }
            Some("signature_delta") => {
                if let Some(signature) = delta.signature {
                    append(&mut block.fields, "signature", Value::String(signature));
                }
            }
            Some("citations_delta") => block.citations.extend(delta.citation),
            Some(_) | None => {
                let mut scratch = String::new();
                if let Ok(other) = json::from_slice::<OtherDelta>(data, &mut scratch) {
                    let added = other.delta.into_iter().filter(|(name, _)| name != "type");
                    added.for_each(|(name, value)| append(&mut block.fields, &name, value));
                }
            }
        }
        Ok(())
    }

    /// A block has ended: what it is, and its own form where the canonical one does not say all.
    fn complete(&mut self, block: Block, out: &mut Out) {
        let Block { index, kind, mut fields, text, input, citations, .. } = block;
        let part = match kind {
            BlockKind::Text => {
                if citations.is_empty() && only_has(&fields, &["type", "text", "citations"]) {
                    return;
                }
                fields.insert("text".to_owned(), Value::String(text.clone()));
                if !citations.is_empty() {
                    fields.insert("citations".to_owned(), Value::Array(citations.clone()));
                }
                MessagePart::Text(TextPart { text, native: Some(self.native(fields)) })
            }
            BlockKind::Thinking => {
                fields.insert("thinking".to_owned(), Value::String(text.clone()));
                MessagePart::Reasoning(ReasoningPart {
                    text,
                    native: Some(self.native(fields)),
                    ..ReasoningPart::default()
                })
            }
            BlockKind::RedactedThinking => {
                MessagePart::Reasoning(ReasoningPart { native: Some(self.native(fields)), ..ReasoningPart::default() })
            }
            BlockKind::ToolUse | BlockKind::ServerToolUse => MessagePart::ToolCall(self.call(kind, fields, &input)),
            BlockKind::ServerToolResult => MessagePart::ToolResult(self.result(fields)),
            // carried along unseen
            BlockKind::Unknown => {
                MessagePart::Text(TextPart { text: String::new(), native: Some(self.native(fields)) })
            }
        };
        out.push_back(ModelEvent::Part { index, part });
        for citation in citations {
            if let Some(source) = self.source(&citation) {
                let index = self.new_index();
                out.push_back(ModelEvent::Part { index, part: MessagePart::Source(source) });
            }
        }
    }

    fn native(&self, fields: Map<String, Value>) -> Native {
        Native { origin: self.origin.clone(), block: Value::Object(fields).to_string() }
    }

    fn call(&self, kind: BlockKind, mut fields: Map<String, Value>, input: &str) -> ToolCallPart {
        let word = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (tool_call_id, tool_name) = (word("id"), word("name"));
        let (args, invalid_args) = if input.is_empty() {
            // some calls come whole with their block
            match fields.get("input") {
                Some(args @ Value::Object(_)) => (args.clone(), false),
                _ => (Value::Object(Map::new()), false),
            }
        } else {
            arguments(input)
        };
        fields.insert("input".to_owned(), args.clone());
        let is_ours = kind == BlockKind::ToolUse;
        let is_canonical = is_ours && only_has(&fields, &["type", "id", "name", "input"]);
        ToolCallPart {
            tool_call_id,
            tool_name,
            args,
            provider_executed: !is_ours,
            invalid_args,
            mcp_server_config_id: None,
            created_at: None,
            native: (!is_canonical).then(|| self.native(fields)),
        }
    }

    fn result(&self, fields: Map<String, Value>) -> ToolResultPart {
        let word = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let content = fields.get("content").unwrap_or(&Value::Null);
        let names_error = content.get("type").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("_error"));
        ToolResultPart {
            tool_call_id: word("tool_use_id").to_owned(),
            tool_name: word("type").trim_end_matches("_tool_result").to_owned(),
            result: without_private(content),
            is_error: names_error || fields.get("is_error") == Some(&Value::Bool(true)),
            is_media: false,
            provider_executed: true,
            mcp_server_config_id: None,
            created_at: None,
            native: Some(self.native(fields)),
        }
    }

    fn source(&self, citation: &Value) -> Option<SourcePart> {
        let block = citation.as_object()?.clone();
        Some(SourcePart {
            url: citation.get("url")?.as_str()?.to_owned(),
            title: citation.get("title").and_then(Value::as_str).map(str::to_owned),
            source_id: None,
            native: Some(self.native(block)),
        })
    }

    /// Counts are totals so far; those not named keep their value.
    fn count(&mut self, reported: Option<&Value>, out: &mut Out) {
        let Some(reported) = reported.filter(|usage| usage.is_object()) else {
            return;
        };
        let count = |path: &str| {
            let number = reported.pointer(path).and_then(Value::as_i64)?;
            if number < 0 {
                tracing::warn!("a provider reported the negative count {path} = {number}");
            }
            (number >= 0).then_some(number)
        };
        let before = self.usage;
        self.usage = Usage {
            input_tokens: count("/input_tokens").or(before.input_tokens),
            output_tokens: count("/output_tokens").or(before.output_tokens),
            reasoning_tokens: count("/output_tokens_details/thinking_tokens").or(before.reasoning_tokens),
            cache_read_tokens: count("/cache_read_input_tokens").or(before.cache_read_tokens),
            cache_creation_tokens: count("/cache_creation_input_tokens").or(before.cache_creation_tokens),
            total_tokens: None,
        };
        out.push_back(ModelEvent::Usage(self.usage));
    }

    fn close(&mut self, out: &mut Out) {
        for block in std::mem::take(&mut self.open) {
            self.complete(block, out);
        }
        let reason = self.finish.unwrap_or(FinishReason::Stop);
        out.push_back(ModelEvent::Finish { reason, response_id: self.response_id.take() });
        self.is_finished = true;
    }
}

fn finish_reason(word: &str) -> FinishReason {
    match word {
        "tool_use" => FinishReason::ToolCalls,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "refusal" => FinishReason::Refused,
        "pause_turn" => FinishReason::Pause,
        // `end_turn`, `stop_sequence`, and words we do not know
        _ => FinishReason::Stop,
    }
}

/// Whether `fields` says nothing beside `names`; nulls say nothing.
fn only_has(fields: &Map<String, Value>, names: &[&str]) -> bool {
    fields.iter().all(|(name, value)| names.contains(&name.as_str()) || value.is_null())
}

/// Texts and lists grow, everything else is replaced.
fn append(fields: &mut Map<String, Value>, name: &str, value: Value) {
    match (fields.get_mut(name), value) {
        (Some(Value::String(before)), Value::String(more)) => before.push_str(&more),
        (Some(Value::Array(before)), Value::Array(more)) => before.extend(more),
        (_, value) => {
            fields.insert(name.to_owned(), value);
        }
    }
}

impl Decoder for MessagesDecoder {
    fn event(&mut self, data: &[u8], out: &mut Out) -> Result<(), ProviderError> {
        if data.is_empty() {
            return Ok(());
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = match json::from_slice(data, &mut scratch) {
            Ok(event) => self.take(event, data, out),
            Err(_) => Err(self.wire.malformed("an event of the stream cannot be read")),
        };
        scratch.clear();
        self.scratch = scratch;
        result
    }

    fn end(&mut self, _out: &mut Out) -> Result<(), ProviderError> {
        Err(self.wire.truncated())
    }

    fn is_finished(&self) -> bool {
        self.is_finished
    }

    fn is_complete(&self) -> bool {
        false
    }
}
