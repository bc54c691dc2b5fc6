//! Live parts of the step in progress.
//!
//! Neighbouring parts of one block form a run: its text is held once, with the end of each part, so that
//! any number can be resumed at. What a message has replaced is freed; numbers go on, and a part that is
//! sent later stands for the freed ones before it too.

use atelier_api::{ChatMessagePart, ChatMessageRole};
use atelier_domain::ChatId;
use atelier_domain::text::head;
use bytes::Bytes;

use crate::encode;

/// What a run is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    Text,
    Reasoning,
    CallArgs {
        tool_call_id: String,
        tool_name: String,
    },
    ToolOutput {
        tool_call_id: String,
        tool_name: String,
    },
    /// A whole part, encoded.
    Whole(String),
}

impl Block {
    const fn role(&self) -> ChatMessageRole {
        match self {
            Self::ToolOutput { .. } => ChatMessageRole::Tool,
            Self::Text | Self::Reasoning | Self::CallArgs { .. } | Self::Whole(_) => ChatMessageRole::Assistant,
        }
    }

    pub(crate) const fn is_model(&self) -> bool {
        !matches!(self, Self::ToolOutput { .. })
    }

    /// The part with this piece of text, as JSON.
    fn part(&self, text: &str) -> String {
        match self {
            Self::Text => format!("{{\"type\":\"text\",\"text\":{}}}", encode::string(text)),
            Self::Reasoning => format!("{{\"type\":\"reasoning\",\"text\":{}}}", encode::string(text)),
            Self::CallArgs { tool_call_id, tool_name } => format!(
                "{{\"type\":\"tool-call\",\"tool_call_id\":{},\"tool_name\":{},\"args_delta\":{}}}",
                encode::string(tool_call_id),
                encode::string(tool_name),
                encode::string(text)
            ),
            Self::ToolOutput { tool_call_id, tool_name } => format!(
                "{{\"type\":\"tool-result\",\"tool_call_id\":{},\"tool_name\":{},\"result_delta\":{}}}",
                encode::string(tool_call_id),
                encode::string(tool_name),
                encode::string(text)
            ),
            Self::Whole(part) => part.clone(),
        }
    }
}

struct Run {
    block: Block,
    index: u32,
    from_seq: u64,
    text: String,
    /// End of each part in `text`.
    ends: Vec<u32>,
}

impl Run {
    fn last_seq(&self) -> u64 {
        self.from_seq + self.ends.len() as u64 - 1
    }
}

/// Bytes of live output that one step keeps for one of its calls, and for all of them.
const MAX_CALL_OUTPUT: usize = 64 * 1024;
const MAX_STEP_OUTPUT: usize = 1024 * 1024;

/// The live output of one call.
struct CallOutput {
    tool_call_id: String,
    bytes: usize,
}

/// Neighbouring parts as one event.
pub(crate) struct Missed {
    pub(crate) event: Bytes,
    /// Number of the last part in it.
    pub(crate) seq: u64,
    /// Of the model's answer, not of what a command prints.
    pub(crate) is_model: bool,
}

#[derive(Default)]
pub(crate) struct LiveParts {
    pub(crate) step: i64,
    pub(crate) attempt: i32,
    /// Number of the newest part.
    pub(crate) seq: u64,
    runs: Vec<Run>,
    /// In the order of their first output.
    output_calls: Vec<CallOutput>,
}

impl LiveParts {
    /// Starts an attempt: nothing of the one before is kept.
    pub(crate) fn begin(&mut self, step: i64, attempt: i32) {
        *self = Self { step, attempt, ..Self::default() };
    }

    /// Adds a part and gives it encoded; of tool output as much as there is room for. None: there is none.
    pub(crate) fn push(&mut self, chat: ChatId, block: Block, index: u32, text: &str) -> Option<Bytes> {
        let (index, text) = match &block {
            Block::ToolOutput { tool_call_id, .. } => {
                let room = self.output_room(tool_call_id);
                let shown = head(text, room);
                // what is cut ends the call's live output, also where a few bytes are left before a long character
                let counted = if shown.len() < text.len() { room } else { shown.len() };
                let index = self.output_of(tool_call_id, counted);
                if shown.is_empty() {
                    return None;
                }
                (index, shown)
            }
            Block::Text | Block::Reasoning | Block::CallArgs { .. } | Block::Whole(_) => (index, text),
        };
        self.seq += 1;
        let event = self.event(chat, &block, index, text, self.seq, self.seq);
        match self.runs.last_mut() {
            Some(run)
                if run.index == index
                    && run.block == block
                    && run.last_seq() + 1 == self.seq
                    && !matches!(block, Block::Whole(_)) =>
            {
                run.text.push_str(text);
                run.ends.push(end_of(&run.text));
            }
            _ => {
                let text = text.to_owned();
                let ends = vec![end_of(&text)];
                self.runs.push(Run { block, index, from_seq: self.seq, text, ends });
            }
        }
        Some(event)
    }

    /// How many bytes of output of this call may still be shown.
    pub(crate) fn output_room(&self, tool_call_id: &str) -> usize {
        let of_step: usize = self.output_calls.iter().map(|call| call.bytes).sum();
        let of_call = self.output_calls.iter().find(|call| call.tool_call_id == tool_call_id);
        let of_call = of_call.map_or(0, |call| call.bytes);
        (MAX_CALL_OUTPUT - of_call).min(MAX_STEP_OUTPUT - of_step)
    }

    /// Counts output of a call, and gives the call's place among those with output.
    fn output_of(&mut self, tool_call_id: &str, bytes: usize) -> u32 {
        let known = self.output_calls.iter().position(|call| call.tool_call_id == tool_call_id);
        let at = known.unwrap_or_else(|| {
            self.output_calls.push(CallOutput { tool_call_id: tool_call_id.to_owned(), bytes: 0 });
            self.output_calls.len() - 1
        });
        self.output_calls[at].bytes += bytes;
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// The answer is stored: its message replaces the parts of the model.
    pub(crate) fn seal_answer(&mut self) {
        self.runs.retain(|run| run.block.role() == ChatMessageRole::Tool);
    }

    /// A result is stored: its message replaces the live output of the call.
    pub(crate) fn seal_call(&mut self, id: &str) {
        self.runs.retain(|run| !matches!(&run.block, Block::ToolOutput { tool_call_id, .. } if tool_call_id == id));
    }

    /// The attempt failed: its parts are void.
    pub(crate) fn drop_attempt(&mut self) {
        self.runs.clear();
    }

    /// What a viewer at `seq` has missed, neighbours joined, each with its number. Model parts of steps up to
    /// `committed_step` are not sent, their answers are stored.
    pub(crate) fn missed(&self, chat: ChatId, mut seq: u64, committed_step: i64) -> Vec<Missed> {
        let mut events = Vec::new();
        for run in &self.runs {
            let last = run.last_seq();
            if last <= seq || (run.block.role() == ChatMessageRole::Assistant && self.step <= committed_step) {
                continue;
            }
            let start = if seq >= run.from_seq {
                let seen = usize::try_from(seq - run.from_seq).unwrap_or(usize::MAX);
                run.ends.get(seen).map_or(0, |end| *end as usize)
            } else {
                0
            };
            let event = self.event(chat, &run.block, run.index, &run.text[start..], seq + 1, last);
            events.push(Missed { event, seq: last, is_model: run.block.is_model() });
            seq = last;
        }
        events
    }

    fn event(&self, chat: ChatId, block: &Block, index: u32, text: &str, seq_from: u64, seq: u64) -> Bytes {
        encode::message_part(&encode::PartEvent {
            chat,
            role: block.role(),
            part: &block.part(text),
            step: self.step,
            attempt: self.attempt,
            seq,
            seq_from,
            index,
        })
    }
}

fn end_of(text: &str) -> u32 {
    u32::try_from(text.len()).expect("a step's parts are bounded to 4 MiB")
}

/// A whole part as a block.
pub(crate) fn whole(part: &ChatMessagePart) -> Block {
    Block::Whole(encode::json(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn texts(events: &[Missed]) -> Vec<(u64, u64, u32, String)> {
        events
            .iter()
            .map(|Missed { event, seq: number, .. }| {
                let event: Value = serde_json::from_slice(event).unwrap();
                let part = &event["message_part"];
                let seq = part["seq"].as_u64().unwrap();
                assert_eq!(seq, *number);
                let index = u32::try_from(part["index"].as_u64().unwrap()).unwrap();
                let text = part["part"]["text"].as_str().unwrap().to_owned();
                (part["seq_from"].as_u64().unwrap_or(seq), seq, index, text)
            })
            .collect()
    }

    proptest! {
        /// From wherever a viewer resumes: no number twice, none missing, the same text.
        #[test]
        fn any_number_can_be_resumed_at(
            pieces in prop::collection::vec((0_u32..3, "\\PC{0,5}"), 1..40), at in 0_usize..40
        ) {
            let chat = ChatId::new();
            let mut live = LiveParts::default();
            live.begin(3, 1);
            let mut before: Vec<String> = vec![String::new(); 3];
            let mut all = before.clone();
            let at = at.min(pieces.len());
            for (n, (index, text)) in pieces.iter().enumerate() {
                live.push(chat, Block::Text, *index, text);
                all[*index as usize].push_str(text);
                if n < at {
                    before[*index as usize].push_str(text);
                }
            }
            let mut expected = at as u64 + 1;
            for (from, to, index, text) in texts(&live.missed(chat, at as u64, 2)) {
                prop_assert_eq!(from, expected);
                expected = to + 1;
                before[index as usize].push_str(&text);
            }
            prop_assert_eq!(expected, pieces.len() as u64 + 1);
            prop_assert_eq!(before, all);
        }
    }

    #[test]
    fn a_noisy_call_leaves_its_neighbours_their_live_output() {
        let chat = ChatId::new();
        let mut live = LiveParts::default();
        live.begin(1, 1);
        let mut print = |id: &str, bytes: usize| {
            let block = Block::ToolOutput { tool_call_id: id.into(), tool_name: "execute".into() };
            let event = live.push(chat, block, 0, &"x".repeat(bytes));
            let shown = event.map_or(0, |event| {
                let event: Value = serde_json::from_slice(&event).unwrap();
                event["message_part"]["part"]["result_delta"].as_str().unwrap().len()
            });
            (shown, live.output_room(id))
        };
        assert_eq!(print("noisy", 40 * 1024), (40 * 1024, 24 * 1024));
        assert_eq!(print("noisy", 40 * 1024), (24 * 1024, 0));
        assert_eq!(print("noisy", 1), (0, 0));
        assert_eq!(print("quiet", 5), (5, 64 * 1024 - 5));
        let shown: usize = (0..20).map(|n| print(&format!("call-{n}"), 64 * 1024).0).sum();
        assert_eq!(shown, 1024 * 1024 - 64 * 1024 - 5, "all calls of a step together");
    }

    #[test]
    fn what_is_freed_is_stood_for_by_the_next_part() {
        let chat = ChatId::new();
        let mut live = LiveParts::default();
        live.begin(1, 1);
        live.push(chat, Block::Text, 0, "a");
        live.push(chat, Block::Text, 0, "b");
        live.seal_answer();
        let output = Block::ToolOutput { tool_call_id: "c".into(), tool_name: "execute".into() };
        live.push(chat, output, 0, "out");
        let missed = live.missed(chat, 1, 1);
        let event: Value = serde_json::from_slice(&missed[0].event).unwrap();
        assert_eq!(missed.len(), 1);
        assert_eq!(
            (event["message_part"]["seq_from"].as_u64(), event["message_part"]["seq"].as_u64()),
            (Some(2), Some(3))
        );
        assert_eq!(event["message_part"]["role"], "tool");
    }
}
