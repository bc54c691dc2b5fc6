//! Where a turn is: whether it is over, and what it does right now. Pure.

use std::time::Instant;

use serde_json::Value;

use crate::render::retry_words;
use crate::tools::{call_row, one_line};

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TurnEnd {
    Done,
    Failed,
}

/// Follows the status of a chat to see when a turn is over.
#[derive(Default)]
pub(crate) struct TurnWatch {
    busy: bool,
    queued: bool,
    /// The snapshot is complete. Its status comes first, what belongs to it after.
    ready: bool,
    end: Option<TurnEnd>,
}

impl TurnWatch {
    /// A turn is under way from here on.
    pub(crate) fn began(&mut self) {
        self.busy = true;
    }

    /// A connection begins: the status that comes first is followed by what was missed.
    pub(crate) fn connected(&mut self) {
        self.ready = false;
        self.end = None;
    }

    /// Takes an event in; says when the turn, and all that was queued, is over.
    pub(crate) fn event(&mut self, event: &Value) -> Option<TurnEnd> {
        match event["type"].as_str()? {
            "queue_update" => {
                self.queued = event["queued_messages"].as_array().is_some_and(|queue| !queue.is_empty());
            }
            "status" => match event["status"]["status"].as_str()? {
                "waiting" if self.busy && !(self.ready && self.queued) => self.end = Some(TurnEnd::Done),
                "error" if self.busy => self.end = Some(TurnEnd::Failed),
                "pending" | "running" => {
                    self.busy = true;
                    self.end = None;
                }
                _ => {}
            },
            "ready" => {
                self.ready = true;
                self.end.take_if(|end| self.queued && *end == TurnEnd::Done);
            }
            _ => {}
        }
        if !self.ready {
            return None;
        }
        let end = self.end.take()?;
        self.busy = false;
        Some(end)
    }
}

/// A tool call that runs.
pub(crate) struct RunningCall {
    id: String,
    pub(crate) row: String,
    pub(crate) since: Instant,
    /// The end of what the command has written so far.
    tail: String,
}

impl RunningCall {
    /// The last line that the command has written.
    pub(crate) fn last_line(&self) -> String {
        one_line(self.tail.trim_end().lines().last().unwrap_or_default())
    }
}

/// Bytes of the output of a running call that are kept.
const TAIL_BYTES: usize = 400;

/// What the turn does right now, for a line that says so.
#[derive(Default)]
pub(crate) struct Progress {
    since: Option<Instant>,
    pub(crate) calls: Vec<RunningCall>,
    phase: Phase,
}

#[derive(Default)]
enum Phase {
    #[default]
    Working,
    Waiting,
    Thinking,
    Writing,
    Retrying(String),
}

impl Progress {
    pub(crate) fn event(&mut self, event: &Value, now: Instant) {
        match event["type"].as_str() {
            Some("status") => self.status(&event["status"], now),
            Some("message_part") => self.part(&event["message_part"]["part"], now),
            Some("message") => self.message(&event["message"]),
            Some("retry") => {
                self.calls.clear();
                self.phase = Phase::Retrying(retry_words(&event["retry"]));
            }
            Some("history_reset") => self.calls.clear(),
            _ => {}
        }
    }

    /// What goes on and since when; nothing while the chat is idle.
    pub(crate) fn words(&self) -> Option<(&str, Instant)> {
        let words = match &self.phase {
            _ if !self.calls.is_empty() => "running",
            Phase::Working => "working",
            Phase::Waiting => "waiting for a free place on the server",
            Phase::Thinking => "thinking",
            Phase::Writing => "writing",
            Phase::Retrying(why) => why,
        };
        self.since.map(|since| (words, since))
    }

    fn status(&mut self, status: &Value, now: Instant) {
        match status["status"].as_str() {
            Some("waiting" | "error") => *self = Self::default(),
            _ => {
                self.since.get_or_insert(now);
                self.phase = if status["queued_for_capacity"] == true { Phase::Waiting } else { Phase::Working };
            }
        }
    }

    fn part(&mut self, part: &Value, now: Instant) {
        let id = part["tool_call_id"].as_str().unwrap_or_default();
        match part["type"].as_str() {
            Some("text") => self.phase = Phase::Writing,
            Some("reasoning") => self.phase = Phase::Thinking,
            Some("tool-call") if !part["args"].is_null() => {
                self.phase = Phase::Working;
                if self.calls.iter().all(|call| call.id != id) {
                    self.calls.push(RunningCall {
                        id: id.to_owned(),
                        row: call_row(part),
                        since: now,
                        tail: String::new(),
                    });
                }
            }
            Some("tool-result") => {
                if let (Some(call), Some(text)) =
                    (self.calls.iter_mut().find(|call| call.id == id), part["result_delta"].as_str())
                {
                    call.tail.push_str(text);
                    call.tail = atelier_domain::text::tail(&call.tail, TAIL_BYTES).to_owned();
                }
            }
            _ => {}
        }
    }

    fn message(&mut self, message: &Value) {
        self.phase = Phase::Working;
        for part in message["content"].as_array().into_iter().flatten() {
            if part["type"] == "tool-result" {
                let id = part["tool_call_id"].as_str().unwrap_or_default();
                self.calls.retain(|call| call.id != id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_turn_is_over_when_nothing_is_queued_any_more() {
        let status = |status: &str| json!({"type": "status", "status": {"status": status}});
        let mut watch = TurnWatch::default();
        assert_eq!(watch.event(&json!({"type": "ready"})), None);
        assert_eq!(watch.event(&status("waiting")), None);
        watch.began();
        assert_eq!(watch.event(&json!({"type": "queue_update", "queued_messages": [{}]})), None);
        assert_eq!(watch.event(&status("waiting")), None);
        assert_eq!(watch.event(&json!({"type": "queue_update", "queued_messages": []})), None);
        assert_eq!(watch.event(&status("running")), None);
        assert_eq!(watch.event(&status("waiting")), Some(TurnEnd::Done));
        watch.began();
        assert_eq!(watch.event(&status("error")), Some(TurnEnd::Failed));
    }

    /// A turn may be over before its stream is open: then the snapshot is shown to its end.
    #[test]
    fn a_snapshot_of_a_finished_turn_ends_with_ready() {
        let mut watch = TurnWatch::default();
        watch.began();
        assert_eq!(watch.event(&json!({"type": "status", "status": {"status": "waiting"}})), None);
        assert_eq!(watch.event(&json!({"type": "message", "message": {}})), None);
        assert_eq!(watch.event(&json!({"type": "ready"})), Some(TurnEnd::Done));
    }

    /// A turn may end while the stream is cut: what was missed comes after the status.
    #[test]
    fn a_connection_that_is_opened_again_is_followed_to_its_end() {
        let mut watch = TurnWatch::default();
        watch.connected();
        watch.began();
        assert_eq!(watch.event(&json!({"type": "status", "status": {"status": "running"}})), None);
        assert_eq!(watch.event(&json!({"type": "ready"})), None);
        watch.connected();
        assert_eq!(watch.event(&json!({"type": "status", "status": {"status": "waiting"}})), None);
        assert_eq!(watch.event(&json!({"type": "message", "message": {}})), None);
        assert_eq!(watch.event(&json!({"type": "ready"})), Some(TurnEnd::Done));
    }

    #[test]
    fn a_running_command_is_named_with_the_end_of_its_output() {
        let part = |part: Value| json!({"type": "message_part", "message_part": {"step": 1, "index": 0, "part": part}});
        let mut progress = Progress::default();
        let now = Instant::now();
        progress.event(&json!({"type": "status", "status": {"status": "running"}}), now);
        assert_eq!(progress.words(), Some(("working", now)));
        progress.event(
            &part(
                json!({"type": "tool-call", "tool_call_id": "a", "tool_name": "execute", "args": {"command": "make"}}),
            ),
            now,
        );
        for _ in 0..100 {
            progress.event(
                &part(json!({"type": "tool-result", "tool_call_id": "a", "result_delta": "line\nlast 日本\n"})),
                now,
            );
        }
        assert_eq!(progress.words(), Some(("running", now)));
        assert_eq!(
            (progress.calls[0].row.as_str(), progress.calls[0].last_line().as_str()),
            ("execute make", "last 日本")
        );
        assert!(progress.calls[0].tail.len() <= TAIL_BYTES);
        progress.event(&json!({"type": "message", "message": {"role": "tool", "content": [{"type": "tool-result", "tool_call_id": "a"}]}}), now);
        assert!(progress.calls.is_empty());
        progress.event(&json!({"type": "status", "status": {"status": "waiting"}}), now);
        assert_eq!(progress.words(), None);
    }
}
