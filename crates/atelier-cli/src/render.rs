//! From stream events to what a terminal shows. Pure: events in, pieces out, as they were written: `output` cleans them.
//!
//! Text streams as it comes. A part is shown once, whether it came live or with its stored message.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::tools::{call_row, result_rows};

/// Something to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A piece of the answer, without a line end of its own.
    Text(String),
    /// A piece of the model's reasoning.
    Reasoning(String),
    /// A message of the user, with the names of its files.
    Own { text: String, files: Vec<String> },
    /// A tool call begins.
    Call(String),
    /// A tool call has ended: its row, and what came out.
    Result { call: String, rows: Vec<String> },
    /// A whole line beside the answer.
    Note(String),
    /// The last turn failed.
    Failure(String),
}

/// What is wanted of a chat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Messages up to this id were there before and are not shown.
    pub(crate) after: i64,
    /// Text while it is written; else when its step is stored, so that no text of a dropped attempt is shown.
    pub(crate) live_text: bool,
    pub(crate) own_messages: bool,
    pub(crate) reasoning: bool,
    /// A note on the queue waits for the end of the line that is being written; else it is shown above that line.
    pub(crate) notes_wait: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Reasoning,
}

pub(crate) struct Renderer {
    wanted: Wanted,
    /// What was shown of the running step, by step and block.
    live: BTreeMap<(i64, i64), (Kind, String)>,
    /// Rows of the calls without a result so far.
    open_calls: HashMap<String, String>,
    /// What the last piece was, when it has not ended its line.
    in_line: Option<Kind>,
    /// A note that waits for the end of the line that is being written.
    held: Option<String>,
    queued: usize,
    failure: Option<String>,
}

impl Renderer {
    pub(crate) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            live: BTreeMap::new(),
            open_calls: HashMap::new(),
            in_line: None,
            held: None,
            queued: 0,
            failure: None,
        }
    }

    /// What `event` adds to the screen.
    pub(crate) fn event(&mut self, event: &Value) -> Vec<Shown> {
        let mut out = Vec::new();
        match event["type"].as_str() {
            Some("message_part") => self.part(&event["message_part"], &mut out),
            Some("message") => self.message(&event["message"], event["step"].as_i64(), &mut out),
            Some("retry") => self.retry(event, &mut out),
            Some("error") => {
                let failure = failure(&event["error"]);
                self.end_line(&mut out);
                out.push(Shown::Failure(failure.clone()));
                self.failure = Some(failure);
            }
            Some("status") if event["status"]["status"] != "error" => self.failure = None,
            Some("history_reset") => self.reset(event["history_reset"]["after_message_id"].as_i64(), &mut out),
            Some("queue_update") => {
                let queued = event["queued_messages"].as_array().map_or(0, Vec::len);
                if queued > self.queued {
                    self.held = Some(format!("({queued} queued for after this turn)"));
                }
                self.queued = queued;
                self.line_ended(&mut out);
            }
            _ => {}
        }
        out
    }

    /// The failure of the last turn, when the stream has told it.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn part(&mut self, part: &Value, out: &mut Vec<Shown>) {
        let key = (part["step"].as_i64().unwrap_or(0), part["index"].as_i64().unwrap_or(0));
        let content = &part["part"];
        let text = content["text"].as_str().unwrap_or_default();
        match content["type"].as_str() {
            Some("text") if self.wanted.live_text => self.live_piece(key, Kind::Text, text, out),
            Some("reasoning") if self.wanted.reasoning => self.live_piece(key, Kind::Reasoning, text, out),
            Some("tool-call") if !content["args"].is_null() => self.call(content, out),
            _ => {}
        }
    }

    fn live_piece(&mut self, key: (i64, i64), kind: Kind, text: &str, out: &mut Vec<Shown>) {
        self.live.entry(key).or_insert_with(|| (kind, String::new())).1.push_str(text);
        self.piece(kind, text, out);
    }

    fn message(&mut self, message: &Value, step: Option<i64>, out: &mut Vec<Shown>) {
        let id = message["id"].as_i64().unwrap_or(0);
        let parts = message["content"].as_array().map_or(&[][..], Vec::as_slice);
        let role = message["role"].as_str();
        if id <= self.wanted.after {
            return;
        }
        match role {
            Some("user") if self.wanted.own_messages => self.own(parts, out),
            Some("assistant") => {
                self.answer(parts, step, out);
                if let Some(reason) = unfinished(message) {
                    self.note(reason, out);
                }
            }
            Some("tool") => parts.iter().filter(|part| part["type"] == "tool-result").for_each(|part| {
                self.result(part, out);
            }),
            _ => {}
        }
    }

    fn own(&mut self, parts: &[Value], out: &mut Vec<Shown>) {
        self.end_line(out);
        let of_type = |wanted: &'static str| parts.iter().filter(move |part| part["type"] == wanted);
        let texts: Vec<&str> = of_type("text").filter_map(|part| part["text"].as_str()).collect();
        let files = of_type("file").map(|part| part["name"].as_str().unwrap_or("file").to_owned());
        let references = of_type("file-reference").filter_map(|part| part["file_name"].as_str().map(str::to_owned));
        out.push(Shown::Own { text: texts.join("\n"), files: files.chain(references).collect() });
    }

    fn answer(&mut self, parts: &[Value], step: Option<i64>, out: &mut Vec<Shown>) {
        let mut seen = [Kind::Text, Kind::Reasoning].map(|wanted| {
            let of_step = self.live.iter().filter(|((of, _), (kind, _))| Some(*of) == step && *kind == wanted);
            of_step.map(|(_, (_, text))| text.as_str()).collect::<String>()
        });
        for part in parts {
            let text = part["text"].as_str().unwrap_or_default();
            match part["type"].as_str() {
                Some("text") => self.rest(Kind::Text, text, &mut seen[0], out),
                Some("reasoning") if self.wanted.reasoning => self.rest(Kind::Reasoning, text, &mut seen[1], out),
                Some("tool-call") => self.call(part, out),
                Some("tool-result") => self.result(part, out),
                _ => {}
            }
        }
        self.end_line(out);
        self.live.retain(|(of, _), _| Some(*of) != step);
    }

    /// Shows of a stored text what was not seen live.
    fn rest(&mut self, kind: Kind, text: &str, seen: &mut String, out: &mut Vec<Shown>) {
        if let Some(later) = seen.strip_prefix(text) {
            *seen = later.to_owned();
            return;
        }
        let rest = text.strip_prefix(seen.as_str()).unwrap_or(text).to_owned();
        seen.clear();
        self.piece(kind, &rest, out);
    }

    fn retry(&mut self, event: &Value, out: &mut Vec<Shown>) {
        let step = event["step"].as_i64();
        self.live.retain(|(of, _), _| Some(*of) != step);
        self.note(retry_words(&event["retry"]), out);
    }

    /// Later messages are gone, or all come once more.
    fn reset(&mut self, after: Option<i64>, out: &mut Vec<Shown>) {
        self.live.clear();
        self.open_calls.clear();
        match after.filter(|after| *after > 0) {
            Some(_) => self.note("(the conversation was changed elsewhere; what follows replaces its end)", out),
            None => self.note("(the conversation begins again)", out),
        }
    }

    fn call(&mut self, part: &Value, out: &mut Vec<Shown>) {
        let id = part["tool_call_id"].as_str().unwrap_or_default();
        if !self.open_calls.contains_key(id) {
            let row = call_row(part);
            self.open_calls.insert(id.to_owned(), row.clone());
            self.end_line(out);
            out.push(Shown::Call(row));
        }
    }

    fn result(&mut self, part: &Value, out: &mut Vec<Shown>) {
        let id = part["tool_call_id"].as_str().unwrap_or_default();
        let call = self.open_calls.remove(id).unwrap_or_else(|| call_row(part));
        self.end_line(out);
        out.push(Shown::Result { call, rows: result_rows(part) });
    }

    fn piece(&mut self, kind: Kind, text: &str, out: &mut Vec<Shown>) {
        if text.is_empty() {
            return;
        }
        if self.in_line.is_some_and(|before| before != kind) {
            self.end_line(out);
        }
        self.in_line = (!text.ends_with('\n')).then_some(kind);
        out.push(match kind {
            Kind::Text => Shown::Text(text.to_owned()),
            Kind::Reasoning => Shown::Reasoning(text.to_owned()),
        });
        self.line_ended(out);
    }

    fn end_line(&mut self, out: &mut Vec<Shown>) {
        match self.in_line.take() {
            Some(Kind::Text) => out.push(Shown::Text("\n".to_owned())),
            Some(Kind::Reasoning) => out.push(Shown::Reasoning("\n".to_owned())),
            None => {}
        }
        self.line_ended(out);
    }

    /// Shows the note that waited, unless it has to wait for the line that is being written.
    fn line_ended(&mut self, out: &mut Vec<Shown>) {
        if self.in_line.is_none() || !self.wanted.notes_wait {
            out.extend(self.held.take().map(Shown::Note));
        }
    }

    fn note(&mut self, line: impl Into<String>, out: &mut Vec<Shown>) {
        self.end_line(out);
        out.push(Shown::Note(line.into()));
    }
}

/// Why an answer ends before its end, if it does.
pub(crate) fn unfinished(message: &Value) -> Option<&'static str> {
    match message["finish_reason"].as_str()? {
        "length" => Some("(the answer is cut: it has reached the most that the model may write)"),
        "refused" => Some("(the model refused to go on)"),
        "interrupted" => Some("(interrupted)"),
        _ => None,
    }
}

/// An error of a chat in words.
pub(crate) fn failure(error: &Value) -> String {
    let message = error["message"].as_str().unwrap_or("the turn failed");
    match error["detail"].as_str() {
        Some(detail) => format!("{message}\n  {detail}"),
        None => message.to_owned(),
    }
}

/// Why an attempt is made again, and when: the server says both.
pub(crate) fn retry_words(retry: &Value) -> String {
    if retry["kind"] == "takeover" {
        return "(the server was restarted; the turn goes on from its last finished step)".to_owned();
    }
    let what = retry["error"].as_str().unwrap_or("The model did not answer. The request is sent again.");
    format!("({})", what.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn show(events: &[Value]) -> String {
        let wanted = Wanted { after: 0, live_text: true, own_messages: true, reasoning: false, notes_wait: false };
        show_wanted(wanted, events)
    }

    fn show_wanted(wanted: Wanted, events: &[Value]) -> String {
        let mut renderer = Renderer::new(wanted);
        let mut text = String::new();
        for event in events {
            for shown in renderer.event(event) {
                match shown {
                    Shown::Text(piece) | Shown::Reasoning(piece) => text.push_str(&piece),
                    Shown::Note(line) => text.push_str(&format!("{line}\n")),
                    Shown::Failure(line) => text.push_str(&format!("failed: {line}\n")),
                    Shown::Call(row) => text.push_str(&format!("● {row}\n")),
                    Shown::Own { text: own, files } => text.push_str(&format!("> {own} {files:?}\n")),
                    Shown::Result { rows, .. } => {
                        rows.iter().for_each(|row| text.push_str(&format!("  {row}\n")));
                    }
                }
            }
        }
        text
    }

    fn live(step: i64, index: i64, part: &Value) -> Value {
        json!({"type": "message_part", "message_part": {"role": "assistant", "part": part, "step": step, "attempt": 1, "seq": 1, "index": index}})
    }

    #[test]
    fn a_turn_with_a_command() {
        let call = json!({"type": "tool-call", "tool_call_id": "c1", "tool_name": "execute", "args": {"command": "sh\ntest.sh"}});
        let text = json!({"type": "text", "text": "Running the tests."});
        let shown = show(&[
            live(1, 0, &json!({"type": "text", "text": "Running "})),
            live(1, 0, &json!({"type": "text", "text": "the tests."})),
            live(1, 1, &call),
            json!({"type": "message", "step": 1, "message": {"id": 2, "role": "assistant", "content": [text, call]}}),
            json!({"type": "message", "step": 1, "message": {"id": 3, "role": "tool", "content": [
                {"type": "tool-result", "tool_call_id": "c1", "tool_name": "execute",
                 "result": {"running": false, "exit_code": 1, "output": "1\n2\n3\n4\n5\n6\nnot ok 7\n"}}]}}),
            json!({"type": "message", "step": 2, "message": {"id": 4, "role": "assistant", "content": [
                {"type": "text", "text": "One test fails."}]}}),
        ]);
        insta::assert_snapshot!(shown, @r"
        Running the tests.
        ● execute sh test.sh
          … 1 lines above
          2
          3
          4
          5
          6
          not ok 7
          ✗ exit 1
        One test fails.
        ");
    }

    #[test]
    fn text_of_a_dropped_attempt_is_followed_by_the_next_one() {
        let shown = show(&[
            live(1, 0, &json!({"type": "text", "text": "Half"})),
            json!({"type": "retry", "step": 1, "retry": {"attempt": 1, "delay_ms": 1500,
                "error": "Acme is overloaded. The request is sent again in 2 s.", "kind": "overloaded"}}),
            live(1, 0, &json!({"type": "text", "text": "Whole."})),
            json!({"type": "message", "step": 1, "message": {"id": 2, "role": "assistant", "content": [{"type": "text", "text": "Whole."}]}}),
        ]);
        assert_eq!(shown, "Half\n(Acme is overloaded. The request is sent again in 2 s)\nWhole.\n");
    }

    #[test]
    fn a_note_on_queued_messages_does_not_break_the_line_that_is_being_written() {
        let queued = |count: usize| json!({"type": "queue_update", "queued_messages": vec![json!({}); count]});
        let events = [
            queued(1),
            live(1, 0, &json!({"type": "text", "text": "One li"})),
            queued(2),
            live(1, 0, &json!({"type": "text", "text": "ne.\n"})),
            live(1, 0, &json!({"type": "text", "text": "Another."})),
        ];
        let wanted = Wanted { after: 0, live_text: true, own_messages: false, reasoning: false, notes_wait: true };
        let shown = show_wanted(wanted, &events);
        assert_eq!(shown, "(1 queued for after this turn)\nOne line.\n(2 queued for after this turn)\nAnother.");
        // a conversation shows the note above the line at once
        let mut renderer = Renderer::new(Wanted { notes_wait: false, ..wanted });
        let shown: Vec<Shown> = events[1..3].iter().flat_map(|event| renderer.event(event)).collect();
        let note = "(2 queued for after this turn)".to_owned();
        assert_eq!(shown, [Shown::Text("One li".to_owned()), Shown::Note(note)]);
    }

    #[test]
    fn text_that_is_not_shown_live_is_shown_once_it_is_stored() {
        let wanted = Wanted { after: 0, live_text: false, own_messages: false, reasoning: false, notes_wait: true };
        let shown = show_wanted(
            wanted,
            &[
                live(1, 0, &json!({"type": "text", "text": "Half"})),
                json!({"type": "retry", "step": 1, "retry": {"attempt": 1, "delay_ms": 0, "error": "The turn was taken over and goes on.", "kind": "takeover"}}),
                live(1, 0, &json!({"type": "text", "text": "Whole."})),
                json!({"type": "message", "step": 1, "message": {"id": 2, "role": "assistant", "content": [{"type": "text", "text": "Whole."}]}}),
            ],
        );
        assert_eq!(shown, "(the server was restarted; the turn goes on from its last finished step)\nWhole.\n");
    }

    #[test]
    fn own_messages_are_shown_and_an_answer_that_is_cut_refused_or_stopped_says_so() {
        let answer = |id: i64, reason: &str| {
            json!({"type": "message", "step": id, "message": {"id": id, "role": "assistant",
            "finish_reason": reason, "content": [{"type": "text", "text": "So"}]}})
        };
        let shown = show(&[
            json!({"type": "message", "message": {"id": 1, "role": "user", "content": [
                {"type": "text", "text": "look"}, {"type": "file", "media_type": "image/png", "name": "a.png"}]}}),
            answer(2, "length"),
            answer(3, "refused"),
            answer(4, "interrupted"),
            answer(5, "stop"),
            json!({"type": "error", "error": {"message": "The model is gone.", "detail": "404"}}),
        ]);
        insta::assert_snapshot!(shown, @r#"
        > look ["a.png"]
        So
        (the answer is cut: it has reached the most that the model may write)
        So
        (the model refused to go on)
        So
        (interrupted)
        So
        failed: The model is gone.
          404
        "#);
    }
}
