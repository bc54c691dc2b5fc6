//! The stream of Messages.

use std::collections::VecDeque;

use atelier_domain::message::{
    FinishReason, MessagePart, Native, Origin, ReasoningPart, SourcePart, TextPart, ToolCallPart, ToolResultPart, Usage,
};
use serde_json::{Map, Value};

use crate::content::joined;
use crate::error::{ProviderError, Reported};
use crate::event::ModelEvent;
use crate::history::without_private;
use crate::json::{arguments, take_arguments, take_list, take_object, take_text};
use crate::usage::{count, grown};
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
    /// A reason came, and nothing of the answer behind it.
    is_proven: bool,
    is_finished: bool,
}

struct Block {
    /// The provider's number for it.
    number: Option<u64>,
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
            // a block that does not say what it is holds text
            "text" | "" => Self::Text,
            "thinking" => Self::Thinking,
            "redacted_thinking" => Self::RedactedThinking,
            "tool_use" => Self::ToolUse,
            name if name.ends_with("_tool_use") => Self::ServerToolUse,
            name if name.ends_with("_tool_result") => Self::ServerToolResult,
            _ => Self::Unknown,
        }
    }
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
            is_proven: false,
            is_finished: false,
        }
    }

    fn new_index(&mut self) -> u32 {
        self.next_index += 1;
        self.next_index - 1
    }

    /// The open block of a number. A piece without one belongs to the block that began last, one with a number
    /// that no block has to the last that began without.
    fn position(&self, number: Option<u64>) -> Option<usize> {
        match number {
            Some(_) => {
                let of = |number| self.open.iter().rposition(|block| block.number == number);
                of(number).or_else(|| of(None))
            }
            None => self.open.len().checked_sub(1),
        }
    }

    fn start(
        &mut self,
        number: Option<u64>,
        mut fields: Map<String, Value>,
        out: &mut Out,
    ) -> Result<(), ProviderError> {
        self.is_proven = false;
        // its end was not said
        if let Some(at) = number.and_then(|_| self.position(number)) {
            let block = self.open.remove(at);
            self.complete(block, out);
        }
        let kind = BlockKind::of(fields.get("type").and_then(Value::as_str).unwrap_or_default());
        let index = self.new_index();
        let mut text = String::new();
        match kind {
            BlockKind::Text => {
                text = self.words(fields.get("text").cloned())?;
                fields.insert("type".to_owned(), Value::String("text".to_owned()));
                if !text.is_empty() {
                    out.push_back(ModelEvent::TextDelta { index, text: text.clone() });
                }
            }
            BlockKind::Thinking => {
                text = self.words(fields.get("thinking").cloned())?;
                if !text.is_empty() {
                    out.push_back(ModelEvent::ReasoningDelta { index, text: text.clone() });
                }
            }
            BlockKind::ToolUse => {
                let word = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
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

    /// The text that `content` says.
    fn words(&self, content: Option<Value>) -> Result<String, ProviderError> {
        joined(content.unwrap_or_default())
            .ok_or_else(|| self.wire.malformed("the content of an event has an unknown shape"))
    }

    fn delta(
        &mut self,
        number: Option<u64>,
        mut delta: Map<String, Value>,
        out: &mut Out,
    ) -> Result<(), ProviderError> {
        let Some(at) = self.position(number) else {
            return Err(self.wire.malformed("a piece of a block came before the block"));
        };
        self.is_proven = false;
        let named = take_text(&mut delta, "type");
        match named.as_deref().unwrap_or_else(|| delta_kind(&delta)) {
            "text_delta" => {
                let text = self.words(delta.shift_remove("text"))?;
                let block = &mut self.open[at];
                if !text.is_empty() {
                    block.text.push_str(&text);
                    out.push_back(ModelEvent::TextDelta { index: block.index, text });
                }
            }
            "thinking_delta" => {
                let text = self.words(delta.shift_remove("thinking"))?;
                let block = &mut self.open[at];
                if !text.is_empty() {
                    block.text.push_str(&text);
                    out.push_back(ModelEvent::ReasoningDelta { index: block.index, text });
                }
            }
            "input_json_delta" => {
                let delta = take_arguments(&mut delta, "partial_json");
                let block = &mut self.open[at];
                if !delta.is_empty() {
                    block.input.push_str(&delta);
                    if block.kind == BlockKind::ToolUse {
                        out.push_back(ModelEvent::CallArgs { index: block.index, delta });
                    }
                }
            }
            "signature_delta" => {
                if let Some(signature) = take_text(&mut delta, "signature") {
                    append(&mut self.open[at].fields, "signature", Value::String(signature));
                }
            }
            "citations_delta" => self.open[at].citations.extend(delta.shift_remove("citation")),
            _ => delta.into_iter().for_each(|(name, value)| append(&mut self.open[at].fields, &name, value)),
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
                Some(Value::String(text)) => arguments(text),
                Some(Value::Null) | None => (Value::Object(Map::new()), false),
                Some(_) => (Value::Object(Map::new()), true),
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
    fn count(&mut self, report: Option<&Value>, out: &mut Out) {
        let Some(report) = report.filter(|usage| usage.is_object()) else {
            return;
        };
        let reported = Usage {
            input_tokens: count(report, "/input_tokens"),
            output_tokens: count(report, "/output_tokens"),
            reasoning_tokens: count(report, "/output_tokens_details/thinking_tokens"),
            cache_read_tokens: count(report, "/cache_read_input_tokens"),
            cache_creation_tokens: count(report, "/cache_creation_input_tokens"),
            total_tokens: None,
        };
        self.usage = grown(self.usage, reported);
        out.push_back(ModelEvent::Usage(self.usage));
    }

    fn stop_reason(&mut self, fields: &mut Map<String, Value>) -> Result<(), ProviderError> {
        let word = take_text(fields, "stop_reason").unwrap_or_default();
        if let Some(reason) = self.wire.finish_reason(&word)? {
            self.finish = Some(reason);
            self.is_proven = true;
        }
        Ok(())
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

/// What kind of piece it is that does not say so.
fn delta_kind(delta: &Map<String, Value>) -> &'static str {
    let kinds = [
        ("text", "text_delta"),
        ("thinking", "thinking_delta"),
        ("partial_json", "input_json_delta"),
        ("signature", "signature_delta"),
        ("citation", "citations_delta"),
    ];
    kinds.iter().find(|(field, _)| delta.contains_key(*field)).map_or("", |(_, kind)| kind)
}

impl Decoder for MessagesDecoder {
    const END_MARK: Option<&'static [u8]> = None;

    fn event(&mut self, mut event: Map<String, Value>, out: &mut Out) -> Result<bool, ProviderError> {
        if let Some(error) = self.fault(&event) {
            return Err(error);
        }
        let number = event.get("index").and_then(Value::as_u64);
        match take_text(&mut event, "type").unwrap_or_default().as_str() {
            "content_block_delta" => {
                if let Some(delta) = take_object(&mut event, "delta") {
                    self.delta(number, delta, out)?;
                }
            }
            "content_block_start" => {
                let block = take_object(&mut event, "content_block").unwrap_or_default();
                self.start(number, block, out)?;
            }
            "content_block_stop" => {
                if let Some(at) = self.position(number) {
                    let block = self.open.remove(at);
                    self.complete(block, out);
                }
            }
            "message_start" => {
                if let Some(mut message) = take_object(&mut event, "message") {
                    self.response_id = take_text(&mut message, "id");
                    self.count(message.get("usage"), out);
                }
            }
            "message_delta" => {
                if let Some(mut delta) = take_object(&mut event, "delta") {
                    self.stop_reason(&mut delta)?;
                }
                self.count(event.get("usage"), out);
            }
            "message_stop" => self.close(out),
            "" => return Ok(false),
            // `ping`, and events we do not know
            _ => out.push_back(ModelEvent::Alive),
        }
        Ok(true)
    }

    fn fault(&self, object: &Map<String, Value>) -> Option<ProviderError> {
        let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
        let names_error = kind.to_ascii_lowercase().ends_with("error");
        // events of types that we do not know are to be ignored
        let is_answer = !kind.is_empty() && !names_error;
        let reported = Reported::in_object(object, is_answer).or_else(|| names_error.then(Reported::default))?;
        Some(reported.into_error(self.wire.blame(self.replayed_reasoning)))
    }

    fn whole(&mut self, mut answer: Map<String, Value>, out: &mut Out) -> Result<bool, ProviderError> {
        if answer.get("type").and_then(Value::as_str) != Some("message") || !answer.contains_key("content") {
            return Ok(false);
        }
        self.response_id = take_text(&mut answer, "id");
        for block in take_list(&mut answer, "content") {
            let Value::Object(block) = block else { continue };
            self.start(None, block, out)?;
        }
        self.stop_reason(&mut answer)?;
        self.count(answer.get("usage"), out);
        self.close(out);
        Ok(true)
    }

    fn close(&mut self, out: &mut Out) {
        for block in std::mem::take(&mut self.open) {
            self.complete(block, out);
        }
        let reason = self.finish.unwrap_or(FinishReason::Stop);
        out.push_back(ModelEvent::Finish { reason, response_id: self.response_id.take() });
        self.is_finished = true;
    }

    fn is_finished(&self) -> bool {
        self.is_finished
    }

    // some gateways leave the end mark out
    fn is_proven(&self) -> bool {
        self.is_proven
    }
}
