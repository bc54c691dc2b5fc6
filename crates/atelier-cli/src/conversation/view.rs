//! What a conversation looks like: finished lines, and the rows that still change.

use std::time::{Duration, Instant};

use crossterm::style::{Attribute, Color, ContentStyle};
use serde_json::Value;

use crate::editor::Editor;
use crate::markdown::Markdown;
use crate::output::{Live, json_line};
use crate::render::{Renderer, Shown, Wanted};
use crate::styled::{Line, Row, Span, bold, coloured, dim, plain, with};
use crate::tools::one_line;
use crate::turn::Progress;

/// An unfinished line is shown as finished when it is longer: drawing it must stay cheap.
const LONGEST_LIVE_LINE: usize = 2048;
/// Running calls that are shown, and rows of unfinished reasoning.
const LIVE_CALLS: usize = 4;
const LIVE_REASONING: usize = 3;

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const PROMPT: &str = "› ";
/// What one Ctrl-C says about the next.
pub(super) const LEAVES: &str = "Ctrl-C again leaves";

pub(super) struct View {
    renderer: Renderer,
    progress: Progress,
    /// None: text is shown as it is written.
    markdown: Option<Markdown>,
    json: bool,
    is_live: bool,
    finished: Vec<Line>,
    /// What has no line end so far.
    text: String,
    reasoning: String,
    is_away: bool,
    begun: Instant,
}

impl View {
    pub(super) fn new(json: bool, reasoning: bool, is_live: bool, is_styled: bool) -> Self {
        let wanted = Wanted { after: 0, live_text: true, own_messages: true, reasoning, notes_wait: false };
        Self {
            renderer: Renderer::new(wanted),
            progress: Progress::default(),
            markdown: is_styled.then(Markdown::default),
            json,
            is_live,
            finished: Vec::new(),
            text: String::new(),
            reasoning: String::new(),
            is_away: false,
            begun: Instant::now(),
        }
    }

    pub(super) fn event(&mut self, event: &Value) {
        self.progress.event(event, Instant::now());
        let shown = self.renderer.event(event);
        if self.json {
            self.finished.push(Line::verbatim(json_line(event)));
            return;
        }
        for shown in shown {
            self.show(shown);
        }
    }

    /// Lines to print once.
    pub(super) fn take_finished(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.finished)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.progress.words().is_some()
    }

    /// Whether something is to be drawn again without any event.
    pub(super) fn is_moving(&self) -> bool {
        self.is_live && (self.is_busy() || self.is_away)
    }

    pub(super) fn set_away(&mut self, is_away: bool) {
        if is_away != self.is_away {
            self.is_away = is_away;
            self.note(if is_away { "(the server does not answer; trying again)" } else { "(connected again)" });
        }
    }

    pub(super) const fn is_away(&self) -> bool {
        self.is_away
    }

    pub(super) fn knows_failure(&self) -> bool {
        self.renderer.failure().is_some()
    }

    pub(super) fn note(&mut self, text: &str) {
        self.lines(text, dim());
    }

    /// A note for where no live row says it.
    pub(super) fn hint(&mut self, text: &str) {
        if !self.is_live {
            self.note(text);
        }
    }

    pub(super) fn failure(&mut self, text: &str) {
        self.lines(&format!("✗ {text}"), coloured(Color::DarkRed));
    }

    fn lines(&mut self, text: &str, style: ContentStyle) {
        // what is being written keeps its place below
        self.finished.extend(text.lines().map(|line| Line { indent: 2, ..Line::new(line, style) }));
    }

    fn show(&mut self, shown: Shown) {
        match shown {
            Shown::Text(piece) => {
                self.text.push_str(&spaced(&piece));
                while let Some(line) = first_line(&mut self.text) {
                    let line = self.text_line(&line);
                    self.finished.push(line);
                }
            }
            Shown::Reasoning(piece) => {
                self.reasoning.push_str(&piece);
                while let Some(line) = first_line(&mut self.reasoning) {
                    self.finished.push(Line::new(line, reasoning_style()));
                }
            }
            Shown::Own { text, files } => self.own(&text, &files),
            Shown::Call(row) if !self.is_live => self.finished.push(Line::new(format!("● {row}"), plain())),
            // it is a live row until its result comes
            Shown::Call(_) => {}
            Shown::Result { call, rows } => {
                if self.is_live {
                    self.finished.push(Line { indent: 2, ..Line::new(format!("● {call}"), bold()) });
                }
                for row in rows {
                    let style = match row.trim_start().chars().next() {
                        Some('✓') => coloured(Color::DarkGreen),
                        Some('✗') => coloured(Color::DarkRed),
                        _ => dim(),
                    };
                    self.finished.push(Line { indent: 4, ..Line::new(format!("  {row}"), style) });
                }
            }
            Shown::Note(line) => self.note(&line),
            Shown::Failure(text) => self.failure(&text),
        }
    }

    fn text_line(&mut self, source: &str) -> Line {
        match &mut self.markdown {
            Some(markdown) => markdown.line(source),
            None => Line::new(source, plain()),
        }
    }

    fn own(&mut self, text: &str, files: &[String]) {
        self.finished.push(Line::default());
        for (n, line) in spaced(text).lines().enumerate() {
            let sign = if n == 0 { PROMPT } else { "  " };
            self.finished.push(Line { indent: 2, ..Line::new(format!("{sign}{line}"), bold()) });
        }
        self.finished.extend(files.iter().map(|file| Line::new(format!("  + {file}"), dim())));
    }

    /// The rows that still change, with the prompt at their end.
    pub(super) fn live(&self, width: usize, height: usize, editor: &Editor, unsent: &[&str], is_leaving: bool) -> Live {
        let (prompt, cursor) = prompt(editor, width, height / 2);
        // what is above the prompt gets what is left of the screen, its newest rows first
        let room = height.saturating_sub(prompt.len() + 1);
        let mut rows = Vec::new();
        if !self.reasoning.is_empty() {
            rows.extend(newest(Line::new(&*self.reasoning, reasoning_style()).rows(width), LIVE_REASONING));
        }
        if !self.text.is_empty() {
            let line = match &self.markdown {
                Some(markdown) => markdown.clone().line(&self.text),
                None => Line::new(&*self.text, plain()),
            };
            rows.extend(line.rows(width));
        }
        rows.extend(self.running(width));
        rows.extend(unsent.iter().map(|text| row(&format!("{PROMPT}{} (sending)", one_line(text)), dim(), width)));
        rows.extend(self.status(is_leaving).map(|status| row(&status, dim(), width)));
        let mut rows = newest(rows, room);
        let above = rows.len();
        rows.extend(prompt);
        Live { rows, cursor: Some((above + cursor.0, cursor.1)) }
    }

    fn running(&self, width: usize) -> Vec<Row> {
        let calls = &self.progress.calls;
        let mut rows = Vec::new();
        for call in calls.iter().take(LIVE_CALLS) {
            let text = format!("{} {} · {}", self.spinner(), call.row, elapsed(call.since));
            rows.push(row(&text, plain(), width));
            let last_line = call.last_line();
            if !last_line.is_empty() {
                rows.push(row(&format!("    {last_line}"), dim(), width));
            }
        }
        if calls.len() > LIVE_CALLS {
            rows.push(row(&format!("  and {} more", calls.len() - LIVE_CALLS), dim(), width));
        }
        rows
    }

    fn status(&self, is_leaving: bool) -> Option<String> {
        if is_leaving {
            return Some(LEAVES.to_owned());
        }
        if self.is_away {
            return Some(format!("{} not connected to the server", self.spinner()));
        }
        let (words, since) = self.progress.words()?;
        Some(format!("{} {words} · {} · Esc stops", self.spinner(), elapsed(since)))
    }

    fn spinner(&self) -> &'static str {
        let frame = self.begun.elapsed().as_millis() / super::FRAME.as_millis();
        SPINNER[usize::try_from(frame).unwrap_or(0) % SPINNER.len()]
    }
}

/// A text without tabs: how wide one is, only the terminal would know.
fn spaced(text: &str) -> String {
    text.replace('\t', "    ")
}

/// Takes the first line off a text, or a piece of one that is too long.
fn first_line(text: &mut String) -> Option<String> {
    if let Some(end) = text.find('\n') {
        let line = text.drain(..=end).collect::<String>();
        return Some(line.trim_end_matches(['\n', '\r']).to_owned());
    }
    if text.len() <= LONGEST_LIVE_LINE {
        return None;
    }
    let head = atelier_domain::text::head(text, LONGEST_LIVE_LINE);
    let end = head.rfind(' ').map_or(head.len(), |space| space + 1);
    Some(text.drain(..end).collect())
}

fn reasoning_style() -> ContentStyle {
    let mut style = dim();
    style.attributes.set(Attribute::Italic);
    style
}

fn elapsed(since: Instant) -> String {
    let seconds = since.elapsed().max(Duration::ZERO).as_secs();
    if seconds < 60 { format!("{seconds} s") } else { format!("{} min {} s", seconds / 60, seconds % 60) }
}

/// A text as one row, cut where the terminal ends.
fn row(text: &str, style: ContentStyle, width: usize) -> Row {
    Line::new(text, style).rows(width).swap_remove(0)
}

fn newest(mut rows: Vec<Row>, count: usize) -> Vec<Row> {
    rows.split_off(rows.len().saturating_sub(count))
}

/// The rows of the prompt, those around the cursor when there are too many, and where the cursor stands.
fn prompt(editor: &Editor, width: usize, room: usize) -> (Vec<Row>, (usize, usize)) {
    let (rows, (at, column)) = editor.rows(width.saturating_sub(PROMPT.len()).max(1));
    let room = room.max(1);
    let first = (at + 1).saturating_sub(room);
    let rows = rows.into_iter().enumerate().skip(first).take(room).map(|(n, text)| {
        let sign =
            Span { text: if n == 0 { PROMPT.to_owned() } else { "  ".to_owned() }, style: with(Attribute::Bold) };
        vec![sign, Span { text, style: plain() }]
    });
    (rows.collect(), (at - first, column + 2))
}
