//! Putting an answer together from a model's stream.
//!
//! Blocks are kept in the order of their first appearance; that position is the `index` viewers see and
//! the order in which parts are stored, so the live text of an answer equals its stored text. Nothing
//! here waits or writes: the step feeds events in and takes out what viewers should get.

use std::collections::{HashMap, HashSet};

use atelier_domain::Timestamp;
use atelier_domain::message::{FinishReason, MessagePart, ReasoningPart, TextPart, ToolCallPart, Usage};
use atelier_llm::ModelEvent;
use serde_json::Value;

/// Content of one answer, four bytes a part counted in. Beyond it the answer ends as one cut by length.
pub(crate) const MAX_ANSWER_BYTES: usize = 3 * 1024 * 1024;

/// Calls of one answer. What comes behind them is not read: the answer ends as one cut by length.
pub(crate) const MAX_ANSWER_CALLS: usize = 128;

/// What one event adds for viewers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Delta {
    Text {
        index: u32,
        text: String,
    },
    Reasoning {
        index: u32,
        text: String,
    },
    CallArgs {
        index: u32,
        tool_call_id: String,
        tool_name: String,
        delta: String,
    },
    /// A whole part: a call with its arguments, a source, a provider-run result.
    Part {
        index: u32,
        part: MessagePart,
    },
}

impl Delta {
    /// Takes `next` in if it continues this delta; else gives it back.
    #[allow(clippy::result_large_err, reason = "the refused delta itself, moved on at once")]
    pub(crate) fn join(&mut self, next: Self) -> Result<(), Self> {
        match (self, next) {
            (Self::Text { index, text }, Self::Text { index: same, text: more }) if *index == same => {
                text.push_str(&more);
                Ok(())
            }
            (Self::Reasoning { index, text }, Self::Reasoning { index: same, text: more }) if *index == same => {
                text.push_str(&more);
                Ok(())
            }
            (Self::CallArgs { index, delta, .. }, Self::CallArgs { index: same, delta: more, .. })
                if *index == same =>
            {
                delta.push_str(&more);
                Ok(())
            }
            (_, next) => Err(next),
        }
    }
}

enum Block {
    Text(String),
    Reasoning {
        text: String,
        created_at: Timestamp,
    },
    /// A call whose arguments are still coming.
    Call {
        tool_call_id: String,
        tool_name: String,
        args: String,
    },
    Complete(MessagePart),
}

/// An answer, whole or as far as it came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) parts: Vec<MessagePart>,
    pub(crate) finish: FinishReason,
    pub(crate) usage: Usage,
    /// Bytes of text, reasoning and arguments received, for an estimate where no usage came.
    pub(crate) received_bytes: usize,
    pub(crate) response_id: Option<String>,
    /// The provider has ended it, so nothing more would have come.
    pub(crate) is_whole: bool,
}

impl Answer {
    /// The calls that we have to run, in order.
    pub(crate) fn local_calls(&self) -> impl Iterator<Item = &ToolCallPart> {
        self.parts.iter().filter_map(|part| match part {
            MessagePart::ToolCall(call) if !call.provider_executed => Some(call),
            _ => None,
        })
    }
}

pub(crate) struct AnswerBuilder<'a> {
    blocks: Vec<Block>,
    /// From the provider's index of a block to ours.
    positions: HashMap<u32, u32>,
    /// Ids of calls that exist in the chat already.
    used_call_ids: &'a HashSet<String>,
    own_call_ids: HashSet<String>,
    step_no: i64,
    usage: Usage,
    finish: Option<FinishReason>,
    response_id: Option<String>,
    bytes: usize,
    calls: usize,
    /// A call came for which there was no room.
    has_refused_calls: bool,
    is_whole: bool,
}

impl<'a> AnswerBuilder<'a> {
    pub(crate) fn new(step_no: i64, used_call_ids: &'a HashSet<String>) -> Self {
        Self {
            blocks: Vec::new(),
            positions: HashMap::new(),
            used_call_ids,
            own_call_ids: HashSet::new(),
            step_no,
            usage: Usage::default(),
            finish: None,
            response_id: None,
            bytes: 0,
            calls: 0,
            has_refused_calls: false,
            is_whole: false,
        }
    }

    pub(crate) fn is_too_long(&self) -> bool {
        self.has_refused_calls || self.bytes + 4 * self.blocks.len() > MAX_ANSWER_BYTES
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Takes one event in; what it adds for viewers is pushed to `out`, joined where it continues.
    pub(crate) fn take(&mut self, event: ModelEvent, now: Timestamp, out: &mut Vec<Delta>) {
        match event {
            ModelEvent::TextDelta { index, text } => {
                let index = self.position(index, || Block::Text(String::new()));
                if let Block::Text(all) = &mut self.blocks[index as usize]
                    && !text.is_empty()
                {
                    self.bytes += text.len();
                    all.push_str(&text);
                    push(out, Delta::Text { index, text });
                }
            }
            ModelEvent::ReasoningDelta { index, text } => {
                let index = self.position(index, || Block::Reasoning { text: String::new(), created_at: now });
                if let Block::Reasoning { text: all, .. } = &mut self.blocks[index as usize]
                    && !text.is_empty()
                {
                    self.bytes += text.len();
                    all.push_str(&text);
                    push(out, Delta::Reasoning { index, text });
                }
            }
            ModelEvent::CallStart { index, tool_call_id, tool_name } => {
                if !self.has_room_for_call(index) {
                    return;
                }
                let tool_call_id = self.unique_call_id(&tool_call_id);
                let tool_name = clean_tool_name(&tool_name);
                let index = self.position(index, || Block::Call {
                    tool_call_id: tool_call_id.clone(),
                    tool_name: tool_name.clone(),
                    args: String::new(),
                });
                push(out, Delta::CallArgs { index, tool_call_id, tool_name, delta: String::new() });
            }
            ModelEvent::CallArgs { index, delta } => {
                let Some(&index) = self.positions.get(&index) else { return };
                if let Block::Call { tool_call_id, tool_name, args } = &mut self.blocks[index as usize] {
                    self.bytes += delta.len();
                    args.push_str(&delta);
                    let (tool_call_id, tool_name) = (tool_call_id.clone(), tool_name.clone());
                    push(out, Delta::CallArgs { index, tool_call_id, tool_name, delta });
                }
            }
            ModelEvent::Part { index, part } => self.complete(index, part, now, out),
            ModelEvent::Usage(usage) => self.usage = merged(self.usage, usage),
            ModelEvent::Alive => {}
            ModelEvent::Finish { reason, response_id } => {
                self.finish = Some(reason);
                self.response_id = response_id;
                self.is_whole = true;
            }
        }
    }

    /// Ends the answer because of its size. Some wires complete their calls only at the end: those whose
    /// arguments are whole belong to the answer all the same.
    pub(crate) fn cut_by_length(&mut self, now: Timestamp) {
        self.finish = Some(FinishReason::Length);
        for block in &mut self.blocks {
            if let Block::Call { tool_call_id, tool_name, args } = block
                && let Some(args) = whole_arguments(args)
            {
                *block = Block::Complete(MessagePart::ToolCall(ToolCallPart {
                    tool_call_id: std::mem::take(tool_call_id),
                    tool_name: std::mem::take(tool_name),
                    args,
                    provider_executed: false,
                    invalid_args: false,
                    mcp_server_config_id: None,
                    created_at: Some(now),
                    native: None,
                }));
            }
        }
    }

    /// The answer as it ended. `finish` speaks for an answer that did not end by itself.
    pub(crate) fn into_answer(self, otherwise: FinishReason) -> Answer {
        let finish = self.finish.unwrap_or(otherwise);
        let parts = self.blocks.into_iter().filter_map(stored_part).collect();
        Answer {
            parts,
            finish,
            usage: self.usage,
            received_bytes: self.bytes,
            response_id: self.response_id,
            is_whole: self.is_whole,
        }
    }

    /// Counts a call that begins. False: the answer has as many as it may have, and ends before this one.
    fn has_room_for_call(&mut self, index: u32) -> bool {
        if self.positions.contains_key(&index) {
            return true;
        }
        self.has_refused_calls |= self.calls >= MAX_ANSWER_CALLS;
        self.calls += usize::from(!self.has_refused_calls);
        !self.has_refused_calls
    }

    fn position(&mut self, index: u32, block: impl FnOnce() -> Block) -> u32 {
        if let Some(&position) = self.positions.get(&index) {
            return position;
        }
        let position = u32::try_from(self.blocks.len()).expect("an answer is far smaller than 2^32 blocks");
        self.blocks.push(block());
        self.positions.insert(index, position);
        position
    }

    fn complete(&mut self, index: u32, part: MessagePart, now: Timestamp, out: &mut Vec<Delta>) {
        if matches!(&part, MessagePart::ToolCall(call) if !call.provider_executed) && !self.has_room_for_call(index) {
            return;
        }
        let known = self.positions.get(&index).copied();
        let position = self.position(index, || Block::Text(String::new()));
        let block = &mut self.blocks[position as usize];
        let part = match (part, &*block) {
            (MessagePart::Text(text), block) => {
                // what was not streamed before the block ended
                let sent = if let Block::Text(sent) = block { sent.len() } else { 0 };
                if let Some(rest) = text.text.get(sent..)
                    && !rest.is_empty()
                {
                    self.bytes += rest.len();
                    push(out, Delta::Text { index: position, text: rest.to_owned() });
                }
                MessagePart::Text(text)
            }
            (MessagePart::Reasoning(mut reasoning), block) => {
                let (sent, created_at) = match block {
                    Block::Reasoning { text, created_at } => (text.len(), *created_at),
                    _ => (0, now),
                };
                if let Some(rest) = reasoning.text.get(sent..)
                    && !rest.is_empty()
                {
                    self.bytes += rest.len();
                    push(out, Delta::Reasoning { index: position, text: rest.to_owned() });
                }
                reasoning.created_at = Some(created_at);
                reasoning.completed_at = Some(now);
                MessagePart::Reasoning(reasoning)
            }
            (MessagePart::ToolCall(mut call), block) => {
                match block {
                    Block::Call { tool_call_id, tool_name, args } => {
                        self.bytes = self.bytes.max(args.len());
                        call.tool_call_id.clone_from(tool_call_id);
                        call.tool_name.clone_from(tool_name);
                    }
                    _ => {
                        self.bytes += call.args.to_string().len();
                        call.tool_name = clean_tool_name(&call.tool_name);
                        if !call.provider_executed || known.is_none() {
                            call.tool_call_id =
                                unique_id(&call.tool_call_id, self.step_no, self.used_call_ids, &mut self.own_call_ids);
                        }
                    }
                }
                if !call.args.is_object() {
                    call.args = Value::Object(serde_json::Map::new());
                    call.invalid_args = true;
                }
                call.created_at = Some(now);
                let part = MessagePart::ToolCall(call);
                push(out, Delta::Part { index: position, part: part.clone() });
                part
            }
            (
                part @ (MessagePart::ToolResult(_)
                | MessagePart::Source(_)
                | MessagePart::File(_)
                | MessagePart::FileReference(_)
                | MessagePart::DiffComment(_)),
                _,
            ) => {
                push(out, Delta::Part { index: position, part: part.clone() });
                part
            }
        };
        self.blocks[position as usize] = Block::Complete(part);
    }

    fn unique_call_id(&mut self, id: &str) -> String {
        unique_id(id, self.step_no, self.used_call_ids, &mut self.own_call_ids)
    }
}

fn push(out: &mut Vec<Delta>, delta: Delta) {
    let delta = match out.last_mut() {
        Some(last) => match last.join(delta) {
            Ok(()) => return,
            Err(delta) => delta,
        },
        None => delta,
    };
    out.push(delta);
}

/// Later counts replace earlier ones; a count that is not mentioned stays.
fn merged(before: Usage, now: Usage) -> Usage {
    Usage {
        input_tokens: now.input_tokens.or(before.input_tokens),
        output_tokens: now.output_tokens.or(before.output_tokens),
        reasoning_tokens: now.reasoning_tokens.or(before.reasoning_tokens),
        cache_read_tokens: now.cache_read_tokens.or(before.cache_read_tokens),
        cache_creation_tokens: now.cache_creation_tokens.or(before.cache_creation_tokens),
        total_tokens: now.total_tokens.or(before.total_tokens),
    }
}

/// The arguments of a call without a mark of their end, if they are whole; none at all are an empty object.
fn whole_arguments(args: &str) -> Option<Value> {
    if args.trim().is_empty() {
        return Some(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_str::<Value>(args).ok().filter(Value::is_object)
}

/// What is stored of a block: calls without their arguments are dropped, unfinished reasoning stays
/// without an end.
fn stored_part(block: Block) -> Option<MessagePart> {
    match block {
        Block::Text(text) if text.is_empty() => None,
        Block::Text(text) => Some(MessagePart::Text(TextPart { text, native: None })),
        Block::Reasoning { text, .. } if text.is_empty() => None,
        Block::Reasoning { text, created_at } => Some(MessagePart::Reasoning(ReasoningPart {
            text,
            created_at: Some(created_at),
            completed_at: None,
            native: None,
        })),
        Block::Call { .. } => None,
        Block::Complete(MessagePart::Text(text)) if text.text.is_empty() && text.native.is_none() => None,
        Block::Complete(part) => Some(part),
    }
}

/// Tool names lose U+0000 and stay within 128 characters.
fn clean_tool_name(name: &str) -> String {
    let name: String = name.chars().filter(|c| *c != '\0').take(128).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

/// An id that is unique in the chat and made of `[A-Za-z0-9_-]{1,64}`.
fn unique_id(id: &str, step_no: i64, used: &HashSet<String>, own: &mut HashSet<String>) -> String {
    let mut base: String =
        id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }).take(48).collect();
    if base.is_empty() {
        "call".clone_into(&mut base);
    }
    let free = |candidate: &str, own: &HashSet<String>| !used.contains(candidate) && !own.contains(candidate);
    let unique = if id == base && free(&base, own) {
        base
    } else {
        let stepped = format!("{base}_{step_no}");
        if free(&stepped, own) {
            stepped
        } else {
            (2_u32..)
                .map(|n| format!("{stepped}_{n}"))
                .find(|candidate| free(candidate, own))
                .expect("some number is free")
        }
    };
    own.insert(unique.clone());
    unique
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(index: u32, text: &str) -> ModelEvent {
        ModelEvent::TextDelta { index, text: text.into() }
    }

    fn build(events: Vec<ModelEvent>) -> (Vec<Delta>, Answer) {
        let used = HashSet::from(["taken".to_owned()]);
        let mut builder = AnswerBuilder::new(7, &used);
        let mut out = Vec::new();
        for event in events {
            builder.take(event, Timestamp::UNIX_EPOCH, &mut out);
        }
        (out, builder.into_answer(FinishReason::Interrupted))
    }

    fn call(index: u32, id: &str) -> [ModelEvent; 3] {
        [
            ModelEvent::CallStart { index, tool_call_id: id.into(), tool_name: "execute".into() },
            ModelEvent::CallArgs { index, delta: "{}".into() },
            ModelEvent::Part {
                index,
                part: MessagePart::ToolCall(ToolCallPart {
                    tool_call_id: id.into(),
                    tool_name: "execute".into(),
                    args: serde_json::json!({}),
                    provider_executed: false,
                    invalid_args: false,
                    mcp_server_config_id: None,
                    created_at: None,
                    native: None,
                }),
            },
        ]
    }

    #[test]
    fn ids_of_calls_are_unique_and_the_same_live_and_stored() {
        let events = ["taken", "a b", "", "x", "x"]
            .iter()
            .enumerate()
            .flat_map(|(index, id)| call(u32::try_from(index).unwrap(), id))
            .collect();
        let (deltas, answer) = build(events);
        let stored: Vec<_> = answer.local_calls().map(|call| call.tool_call_id.clone()).collect();
        assert_eq!(stored, ["taken_7", "a_b_7", "call_7", "x", "x_7"]);
        let live: Vec<_> = deltas
            .iter()
            .filter_map(|delta| match delta {
                Delta::Part { part: MessagePart::ToolCall(call), .. } => Some(call.tool_call_id.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(live, stored);
    }

    #[test]
    fn an_interrupted_answer_keeps_text_and_drops_half_a_call() {
        let [start, args, _] = call(1, "c");
        let (_, answer) = build(vec![text(0, "Looking"), start, args]);
        assert_eq!(answer.parts, [MessagePart::text("Looking")]);
        assert_eq!(answer.finish, FinishReason::Interrupted);
    }

    #[test]
    fn arguments_that_are_no_object_are_stored_as_an_empty_one() {
        let [start, args, part] = call(0, "c");
        let ModelEvent::Part { index, part: MessagePart::ToolCall(mut whole) } = part else { unreachable!() };
        whole.args = serde_json::json!("half");
        let (_, answer) = build(vec![start, args, ModelEvent::Part { index, part: MessagePart::ToolCall(whole) }]);
        let stored = answer.local_calls().next().unwrap();
        assert_eq!((stored.args.clone(), stored.invalid_args), (serde_json::json!({}), true));
    }

    #[test]
    fn a_later_count_replaces_an_earlier_one_and_absent_stays_absent() {
        let usage = |input, output| Usage { input_tokens: input, output_tokens: output, ..Usage::default() };
        let (_, answer) =
            build(vec![ModelEvent::Usage(usage(Some(3), Some(1))), ModelEvent::Usage(usage(None, Some(9)))]);
        assert_eq!(answer.usage, usage(Some(3), Some(9)));
    }

    proptest! {
        #[test]
        fn live_text_equals_stored_text(pieces in prop::collection::vec((0_u32..4, "\\PC{0,6}"), 0..60)) {
            let (deltas, answer) = build(pieces.iter().map(|(index, piece)| text(index * 3, piece)).collect());
            let mut live: Vec<String> = Vec::new();
            for delta in deltas {
                let Delta::Text { index, text } = delta else { unreachable!() };
                live.resize(live.len().max(index as usize + 1), String::new());
                live[index as usize].push_str(&text);
            }
            live.retain(|text| !text.is_empty());
            let stored: Vec<String> = answer
                .parts
                .into_iter()
                .map(|part| match part { MessagePart::Text(text) => text.text, _ => unreachable!() })
                .collect();
            prop_assert_eq!(live, stored);
        }
    }
}
