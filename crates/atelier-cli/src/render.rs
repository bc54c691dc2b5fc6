//! From stream events to what a terminal shows. Pure: events in, lines out, as they were written: `output` cleans them.
//!
//! Text streams as it comes. A tool call is one row with what it does; its result is a second, indented
//! row. A part is shown once, whether it came live or with its stored message.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// Something to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A piece of the answer, without a line end of its own.
    Text(String),
    /// A whole line beside the answer: tool rows, notices.
    Note(String),
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TurnEnd {
    Done,
    Failed,
}

/// Longest row for a tool call.
const ROW_CHARS: usize = 100;
/// Lines of a result shown under its call.
const RESULT_LINES: usize = 6;

#[derive(Default)]
pub(crate) struct Renderer {
    /// Live text of the running step by block, as shown so far.
    live: HashMap<(i64, i64), String>,
    calls_shown: HashSet<String>,
    results_shown: HashSet<String>,
    in_text: bool,
    queued: usize,
    /// Messages up to here were there before.
    shown_up_to: i64,
}

impl Renderer {
    /// Shows nothing of messages up to this id: they were there before.
    pub(crate) fn after(shown_up_to: i64) -> Self {
        Self { shown_up_to, ..Self::default() }
    }

    /// What `event` adds to the screen.
    pub(crate) fn event(&mut self, event: &Value) -> Vec<Shown> {
        let mut out = Vec::new();
        match event["type"].as_str() {
            Some("message_part") => self.part(&event["message_part"], &mut out),
            Some("message") => self.message(&event["message"], event["step"].as_i64(), &mut out),
            Some("retry") => self.retry(event, &mut out),
            Some("queue_update") => {
                let queued = event["queued_messages"].as_array().map_or(0, Vec::len);
                if queued > self.queued {
                    self.note(&format!("(queued: {queued} waiting)"), &mut out);
                }
                self.queued = queued;
            }
            _ => {}
        }
        out
    }

    fn part(&mut self, part: &Value, out: &mut Vec<Shown>) {
        let (step, index) = (part["step"].as_i64().unwrap_or(0), part["index"].as_i64().unwrap_or(0));
        let content = &part["part"];
        match content["type"].as_str() {
            Some("text") => {
                let text = content["text"].as_str().unwrap_or_default();
                self.live.entry((step, index)).or_default().push_str(text);
                self.text(text, out);
            }
            Some("tool-call") if !content["args"].is_null() => self.call(content, out),
            _ => {}
        }
    }

    fn message(&mut self, message: &Value, step: Option<i64>, out: &mut Vec<Shown>) {
        let id = message["id"].as_i64().unwrap_or(0);
        let is_old = id <= self.shown_up_to;
        let parts = message["content"].as_array().cloned().unwrap_or_default();
        match message["role"].as_str() {
            Some("assistant") if !is_old => {
                let mut streamed: String = {
                    let mut blocks: Vec<_> = self
                        .live
                        .iter()
                        .filter(|((of, _), _)| Some(*of) == step)
                        .map(|(key, text)| (*key, text.clone()))
                        .collect();
                    blocks.sort_by_key(|(key, _)| *key);
                    blocks.into_iter().map(|(_, text)| text).collect()
                };
                for part in &parts {
                    match part["type"].as_str() {
                        Some("text") => {
                            let text = part["text"].as_str().unwrap_or_default();
                            // what was not seen live
                            match streamed.strip_prefix(text) {
                                Some(rest) => streamed = rest.to_owned(),
                                None => {
                                    let rest = text.strip_prefix(streamed.as_str()).unwrap_or(text).to_owned();
                                    streamed.clear();
                                    self.text(&rest, out);
                                }
                            }
                        }
                        Some("tool-call") => self.call(part, out),
                        _ => {}
                    }
                }
                self.end_text(out);
                self.live.retain(|(of, _), _| Some(*of) != step);
            }
            Some("tool") if !is_old => {
                for part in parts.iter().filter(|part| part["type"] == "tool-result") {
                    self.result(part, out);
                }
            }
            _ => {}
        }
        self.shown_up_to = self.shown_up_to.max(id);
    }

    fn retry(&mut self, event: &Value, out: &mut Vec<Shown>) {
        let step = event["step"].as_i64();
        self.live.retain(|(of, _), _| Some(*of) != step);
        let retry = &event["retry"];
        let seconds = retry["delay_ms"].as_f64().unwrap_or(0.0) / 1000.0;
        let what = retry["error"].as_str().unwrap_or("the model did not answer");
        let again =
            if retry["kind"] == "takeover" { "going on".to_owned() } else { format!("again in {seconds:.1} s") };
        self.note(&format!("({what}; {again})"), out);
    }

    fn call(&mut self, part: &Value, out: &mut Vec<Shown>) {
        let id = part["tool_call_id"].as_str().unwrap_or_default().to_owned();
        if self.calls_shown.insert(id) {
            let name = part["tool_name"].as_str().unwrap_or("tool");
            let row = one_line(&format!("● {name} {}", summary(name, &part["args"])), ROW_CHARS);
            self.note(&row, out);
        }
    }

    fn result(&mut self, part: &Value, out: &mut Vec<Shown>) {
        let id = part["tool_call_id"].as_str().unwrap_or_default().to_owned();
        if !self.results_shown.insert(id) {
            return;
        }
        for line in result_lines(part) {
            self.note(&format!("  {}", one_line(&line, ROW_CHARS)), out);
        }
    }

    fn text(&mut self, text: &str, out: &mut Vec<Shown>) {
        if !text.is_empty() {
            self.in_text = !text.ends_with('\n');
            out.push(Shown::Text(text.to_owned()));
        }
    }

    fn end_text(&mut self, out: &mut Vec<Shown>) {
        if self.in_text {
            self.in_text = false;
            out.push(Shown::Text("\n".to_owned()));
        }
    }

    fn note(&mut self, line: &str, out: &mut Vec<Shown>) {
        self.end_text(out);
        out.push(Shown::Note(line.to_owned()));
    }
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

    pub(crate) const fn is_busy(&self) -> bool {
        self.busy
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

/// What a call does, in a few words.
fn summary(name: &str, args: &Value) -> String {
    let text = |field: &str| args[field].as_str().unwrap_or_default();
    match name {
        "execute" => text("command").to_owned(),
        "read_file" | "write_file" | "attach_file" => text("path").to_owned(),
        "edit_files" => {
            let mut paths: Vec<&str> =
                args["edits"].as_array().into_iter().flatten().filter_map(|edit| edit["path"].as_str()).collect();
            paths.dedup();
            paths.join(", ")
        }
        "process_output" | "process_signal" => text("process_id").to_owned(),
        "create_workspace" | "read_template" => text("template_id").to_owned(),
        _ if args.as_object().is_some_and(serde_json::Map::is_empty) => String::new(),
        _ => args.to_string(),
    }
}

/// What came out of a call.
fn result_lines(part: &Value) -> Vec<String> {
    let result = &part["result"];
    if part["is_error"] == true {
        let message = result["error"]["message"].as_str().map_or_else(|| result.to_string(), str::to_owned);
        return vec![format!("✗ {message}")];
    }
    match part["tool_name"].as_str() {
        Some("execute" | "process_output") => {
            let mut lines: Vec<String> = Vec::new();
            let output: Vec<&str> = result["output"].as_str().unwrap_or_default().trim_end().lines().collect();
            let left_out = output.len().saturating_sub(RESULT_LINES);
            if left_out > 0 {
                lines.push(format!("… {left_out} lines above"));
            }
            lines.extend(output[left_out..].iter().map(|line| (*line).to_owned()));
            lines.push(match (&result["running"], &result["exit_code"]) {
                (Value::Bool(true), _) => {
                    format!("… still running as {}", result["process_id"].as_str().unwrap_or("?"))
                }
                (_, Value::Number(code)) if code.as_i64() == Some(0) => "✓ exit 0".to_owned(),
                (_, Value::Number(code)) => format!("✗ exit {code}"),
                _ => "✗ ended by a signal".to_owned(),
            });
            lines
        }
        Some("read_file") => vec![match &result["lines_read"] {
            Value::Number(lines) => format!("✓ {lines} lines"),
            _ => format!("✓ {}", result["kind"].as_str().unwrap_or("read")),
        }],
        Some("write_file") => vec![format!("✓ {} bytes", result["bytes_written"])],
        Some("edit_files") => result["files"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|file| {
                format!("✓ {} +{} −{}", file["path"].as_str().unwrap_or("?"), file["additions"], file["deletions"])
            })
            .collect(),
        Some("create_workspace" | "start_workspace") => {
            vec![format!("✓ workspace {}", result["workspace_name"].as_str().unwrap_or("ready"))]
        }
        _ => vec!["✓ done".to_owned()],
    }
}

fn one_line(text: &str, max_chars: usize) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.starts_with(' ') {
        line.insert(0, ' ');
    }
    if line.chars().count() > max_chars {
        line = line.chars().take(max_chars - 1).chain(['…']).collect();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn show(events: &[Value]) -> String {
        let mut renderer = Renderer::default();
        let mut text = String::new();
        for event in events {
            for shown in renderer.event(event) {
                match shown {
                    Shown::Text(piece) => text.push_str(&piece),
                    Shown::Note(line) => {
                        text.push_str(&line);
                        text.push('\n');
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
            json!({"type": "retry", "step": 1, "retry": {"attempt": 1, "delay_ms": 1500, "error": "overloaded", "kind": "overloaded"}}),
            live(1, 0, &json!({"type": "text", "text": "Whole."})),
            json!({"type": "message", "step": 1, "message": {"id": 2, "role": "assistant", "content": [{"type": "text", "text": "Whole."}]}}),
        ]);
        assert_eq!(shown, "Half\n(overloaded; again in 1.5 s)\nWhole.\n");
    }

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
}
