//! The stream of Chat Completions.

use std::collections::VecDeque;

use atelier_domain::message::{
    FinishReason, MessagePart, Native, Origin, ReasoningPart, SourcePart, ToolCallPart, Usage,
};
use serde_json::{Map, Value, json};

use super::REASONING_CONTENT;
use crate::content::{Piece, joined, pieces};
use crate::error::{ProviderError, Reported};
use crate::event::ModelEvent;
use crate::json::{arguments, take_arguments, take_list, take_object, take_text};
use crate::usage::count;
use crate::wire::{Decoder, Wire};

pub(super) struct ChatDecoder {
    wire: Wire,
    origin: Origin,
    replayed_reasoning: bool,
    next_index: u32,
    open: Open,
    reasoning: Reasoning,
    reasoning_content: Seen,
    calls: Vec<Call>,
    response_id: Option<String>,
    counts: Counts,
    finish: Option<FinishReason>,
    /// A reason came, and nothing of the answer behind it.
    is_proven: bool,
    is_refused: bool,
    is_finished: bool,
}

/// Which block text goes to. Calls do not close it: their pieces carry their own number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Text(u32),
    Reasoning(u32),
}

/// What of `reasoning_content` came so far: a server that names it wants it back, even if it was empty.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Empty,
    Words,
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

/// A piece of a call, as it came.
struct CallPiece {
    /// The server's number for the call.
    number: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    other: Map<String, Value>,
}

impl CallPiece {
    /// `None` if the piece says nothing.
    fn read(piece: Value) -> Option<Self> {
        let Value::Object(mut fields) = piece else { return None };
        let number = fields.shift_remove("index").and_then(|number| number.as_u64());
        let id = take_text(&mut fields, "id").unwrap_or_default();
        let mut function = take_object(&mut fields, "function").unwrap_or_default();
        let name = take_text(&mut function, "name").unwrap_or_default();
        let arguments = take_arguments(&mut function, "arguments");
        fields.retain(|name, value| name != "type" && !value.is_null());
        let is_empty = id.is_empty() && name.is_empty() && arguments.is_empty() && fields.is_empty();
        (!is_empty).then_some(Self { number, id, name, arguments, other: fields })
    }
}

impl Call {
    fn has_whole_arguments(&self) -> bool {
        !arguments(&self.arguments).1 && !self.arguments.trim().is_empty()
    }

    /// Whether `piece`, which goes by its id or number to this call, begins another one: many servers give
    /// all calls the same number or the same id, or none.
    fn is_followed_by(&self, piece: &CallPiece) -> bool {
        if piece.name.is_empty() || !self.is_announced {
            return false;
        }
        let has_other_id = !piece.id.is_empty() && !self.id.is_empty() && piece.id != self.id;
        // some servers repeat the name with each piece, to the last, which is empty
        let repeats = piece.arguments.is_empty() && (!piece.id.is_empty() || piece.number.is_some());
        has_other_id || piece.name != self.name || (self.has_whole_arguments() && !repeats)
    }
}

/// Every count of the wire, as it came.
#[derive(Clone, Copy, Default)]
struct Counts {
    prompt: Option<i64>,
    completion: Option<i64>,
    reasoning: Option<i64>,
    cached: Option<i64>,
    written: Option<i64>,
    total: Option<i64>,
}

impl Counts {
    /// Takes a report in: counts of one request never fall.
    fn grow(&mut self, report: &Value) {
        let grow = |so_far: &mut Option<i64>, path: &str| *so_far = (*so_far).max(count(report, path));
        // some servers use the names of Responses
        for path in ["/prompt_tokens", "/input_tokens"] {
            grow(&mut self.prompt, path);
        }
        for path in ["/completion_tokens", "/output_tokens"] {
            grow(&mut self.completion, path);
        }
        for path in ["/completion_tokens_details/reasoning_tokens", "/output_tokens_details/reasoning_tokens"] {
            grow(&mut self.reasoning, path);
        }
        for path in [
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
            "/cached_tokens",
            "/prompt_cache_hit_tokens",
        ] {
            grow(&mut self.cached, path);
        }
        grow(&mut self.written, "/prompt_tokens_details/cache_write_tokens");
        grow(&mut self.total, "/total_tokens");
    }

    /// The counts without overlap (governance.md 4).
    fn usage(self) -> Usage {
        let input = self.prompt.map(|prompt| {
            let rest = prompt - self.cached.unwrap_or(0) - self.written.unwrap_or(0);
            if rest < 0 {
                tracing::warn!("a provider reported more cached tokens than the {prompt} of the prompt");
            }
            rest.max(0)
        });
        Usage {
            input_tokens: input,
            output_tokens: self.output(),
            reasoning_tokens: self.reasoning,
            cache_read_tokens: self.cached,
            cache_creation_tokens: self.written,
            total_tokens: self.total,
        }
    }

    /// xAI counts reasoning beside the completion (github.com/vercel/ai/pull/12425, read 2026-12-01): its total
    /// tells.
    fn output(self) -> Option<i64> {
        let completion = self.completion?;
        let with_reasoning = completion + self.reasoning.unwrap_or(0);
        let is_beside = self.total.is_some_and(|total| total == self.prompt.unwrap_or(0) + with_reasoning);
        Some(if is_beside { with_reasoning } else { completion })
    }
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
            reasoning_content: Seen::Nothing,
            calls: Vec::new(),
            response_id: None,
            counts: Counts::default(),
            finish: None,
            is_proven: false,
            is_refused: false,
            is_finished: false,
        }
    }

    fn new_index(&mut self) -> u32 {
        self.next_index += 1;
        self.next_index - 1
    }

    fn delta(&mut self, mut delta: Map<String, Value>, out: &mut Out) -> Result<(), ProviderError> {
        if self.reasoning_content == Seen::Nothing && delta.get(REASONING_CONTENT).is_some_and(Value::is_string) {
            self.reasoning_content = Seen::Empty;
        }
        let mut reasoning = |name: &str| {
            let words = delta.shift_remove(name).and_then(joined);
            words.filter(|words| !words.is_empty())
        };
        let (content, plain) = (reasoning(REASONING_CONTENT), reasoning("reasoning"));
        self.reasoning_delta(content, plain, take_list(&mut delta, "reasoning_details"), out);
        let content = pieces(delta.shift_remove("content").unwrap_or_default())
            .ok_or_else(|| self.wire.malformed("the content of an event has an unknown shape"))?;
        for piece in content {
            match piece {
                Piece::Text(text) => self.text(text, out),
                Piece::Reasoning(text) => self.shown_reasoning(text, out),
            }
        }
        if let Some(refusal) = take_text(&mut delta, "refusal").filter(|text| !text.is_empty()) {
            self.is_refused = true;
            self.text(refusal, out);
        }
        let mut pieces = take_list(&mut delta, "tool_calls");
        if pieces.is_empty() {
            // the one call of older servers; others say it a second time so
            pieces.extend(delta.shift_remove("function_call").map(|function| json!({"function": function})));
        }
        for piece in pieces.into_iter().filter_map(CallPiece::read) {
            self.call(piece, out);
        }
        for annotation in take_list(&mut delta, "annotations") {
            if let Some(source) = self.source(&annotation) {
                let index = self.new_index();
                out.push_back(ModelEvent::Part { index, part: MessagePart::Source(source) });
            }
        }
        Ok(())
    }

    fn text(&mut self, text: String, out: &mut Out) {
        self.is_proven = false;
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
    fn reasoning_delta(&mut self, content: Option<String>, plain: Option<String>, details: Vec<Value>, out: &mut Out) {
        if content.is_none() && plain.is_none() && details.is_empty() {
            return;
        }
        let shown = match (&content, &plain) {
            (Some(text), _) | (None, Some(text)) => text.clone(),
            (None, None) => details.iter().filter_map(detail_text).collect(),
        };
        if content.is_some() {
            self.reasoning_content = Seen::Words;
        }
        for (name, text) in [(REASONING_CONTENT, content), ("reasoning", plain)] {
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
        self.shown_reasoning(shown, out);
    }

    fn shown_reasoning(&mut self, text: String, out: &mut Out) {
        self.is_proven = false;
        let index = if let Open::Reasoning(index) = self.open {
            index
        } else {
            let index = self.new_index();
            self.open = Open::Reasoning(index);
            index
        };
        if !text.is_empty() {
            self.reasoning.text.push_str(&text);
            out.push_back(ModelEvent::ReasoningDelta { index, text });
        }
    }

    fn close_reasoning(&mut self, out: &mut Out) {
        let Open::Reasoning(index) = self.open else {
            return;
        };
        self.open = Open::Nothing;
        let Reasoning { text, fields } = std::mem::take(&mut self.reasoning);
        let native = (!fields.is_empty()).then(|| self.native(&Value::Object(fields)));
        let part = ReasoningPart { text, native, ..ReasoningPart::default() };
        out.push_back(ModelEvent::Part { index, part: MessagePart::Reasoning(part) });
    }

    fn native(&self, block: &Value) -> Native {
        Native { origin: self.origin.clone(), block: block.to_string() }
    }

    fn call(&mut self, piece: CallPiece, out: &mut Out) {
        self.is_proven = false;
        self.close_reasoning(out);
        // text behind a call is a block of its own
        self.open = Open::Nothing;
        let at = match self.call_of(&piece) {
            Some(at) => at,
            None => {
                let index = self.new_index();
                self.calls.push(Call {
                    index,
                    number: piece.number,
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
        if call.id.is_empty() {
            call.id = piece.id;
        }
        call.other.extend(piece.other);
        if !call.is_announced && !piece.name.is_empty() {
            call.is_announced = true;
            call.name = piece.name;
            let (tool_call_id, tool_name) = (call.id.clone(), call.name.clone());
            out.push_back(ModelEvent::CallStart { index: call.index, tool_call_id, tool_name });
        }
        if !piece.arguments.is_empty() {
            call.arguments.push_str(&piece.arguments);
            if call.is_announced {
                out.push_back(ModelEvent::CallArgs { index: call.index, delta: piece.arguments });
            }
        }
    }

    /// The call a piece belongs to; none, if it begins one. A piece with neither an id that is known nor a
    /// number goes on with the call that is open, and so does one that says nothing of another call but its number.
    fn call_of(&self, piece: &CallPiece) -> Option<usize> {
        let is_numbered = |call: &Call| piece.number.is_none() || call.number == piece.number;
        let named =
            self.calls.iter().rposition(|call| !piece.id.is_empty() && call.id == piece.id && is_numbered(call));
        let is_nameless = piece.id.is_empty() && piece.name.is_empty();
        let last = || self.calls.len().checked_sub(1).filter(|_| is_nameless);
        let at = named.or_else(|| self.calls.iter().rposition(is_numbered)).or_else(last)?;
        (!self.calls[at].is_followed_by(piece)).then_some(at)
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

impl Decoder for ChatDecoder {
    const END_MARK: Option<&'static [u8]> = Some(b"[DONE]");

    fn event(&mut self, mut event: Map<String, Value>, out: &mut Out) -> Result<bool, ProviderError> {
        if let Some(error) = self.fault(&event) {
            return Err(error);
        }
        if self.response_id.is_none() {
            self.response_id = take_text(&mut event, "id");
        }
        let has_choices = event.get("choices").is_some_and(Value::is_array);
        // one answer was asked for
        let choice = take_list(&mut event, "choices").into_iter().next();
        let mut choice = if let Some(Value::Object(choice)) = choice { choice } else { Map::new() };
        let reports = [
            event.shift_remove("usage"),
            choice.shift_remove("usage"),
            take_object(&mut event, "x_groq").and_then(|mut groq| groq.shift_remove("usage")),
        ];
        let delta = take_object(&mut choice, "delta")
            // an answer that was not streamed, though it was asked for
            .or_else(|| take_object(&mut choice, "message").filter(|_| self.next_index == 0))
            // older servers
            .or_else(|| choice.shift_remove("text").map(|text| Map::from_iter([("content".to_owned(), text)])));
        if let Some(delta) = delta {
            self.delta(delta, out)?;
        }
        let word = take_text(&mut choice, "finish_reason").unwrap_or_default();
        if let Some(reason) = self.wire.finish_reason(&word)? {
            self.finish = Some(reason);
            self.is_proven = true;
        }
        let mut reports = reports.into_iter().flatten().filter(Value::is_object).peekable();
        let has_report = reports.peek().is_some();
        if has_report {
            reports.for_each(|report| self.counts.grow(&report));
            out.push_back(ModelEvent::Usage(self.counts.usage()));
        }
        Ok(has_choices || has_report)
    }

    fn fault(&self, object: &Map<String, Value>) -> Option<ProviderError> {
        let is_answer = object.get("choices").is_some_and(Value::is_array);
        let reported = Reported::in_object(object, is_answer)?;
        Some(reported.into_error(self.wire.blame(self.replayed_reasoning)))
    }

    fn whole(&mut self, answer: Map<String, Value>, out: &mut Out) -> Result<bool, ProviderError> {
        let is_answer = answer.get("choices").and_then(Value::as_array).is_some_and(|choices| !choices.is_empty());
        if is_answer {
            self.event(answer, out)?;
            self.close(out);
        }
        Ok(is_answer)
    }

    /// The answer is whole: its open blocks are, too.
    fn close(&mut self, out: &mut Out) {
        self.close_reasoning(out);
        for call in std::mem::take(&mut self.calls) {
            let index = call.index;
            let part = MessagePart::ToolCall(self.call_part(call));
            out.push_back(ModelEvent::Part { index, part });
        }
        if self.reasoning_content == Seen::Empty && self.next_index > 0 {
            let index = self.new_index();
            let native = self.native(&json!({ REASONING_CONTENT: "" }));
            let part = ReasoningPart { native: Some(native), ..ReasoningPart::default() };
            out.push_back(ModelEvent::Part { index, part: MessagePart::Reasoning(part) });
        }
        let reason = if self.is_refused { FinishReason::Refused } else { self.finish.unwrap_or(FinishReason::Stop) };
        out.push_back(ModelEvent::Finish { reason, response_id: self.response_id.take() });
        self.is_finished = true;
    }

    fn is_finished(&self) -> bool {
        self.is_finished
    }

    // many servers leave the end mark out, none the reason
    fn is_proven(&self) -> bool {
        self.is_proven
    }
}
