//! The text that is being typed: keys in, a message out; and the messages of earlier, for the arrow keys.

use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

use anyhow::Context as _;
use atelier_domain::text::plain;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use reedline::{FileBackedHistory, History, HistoryItem, LineBuffer, SearchDirection, SearchQuery};
use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use crate::files;

/// Messages that are remembered.
const REMEMBERED: usize = 1000;
/// Longer ones are not: a file of them is to stay small.
const LONGEST_REMEMBERED: usize = 8 * 1024;

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pressed {
    /// The text or the cursor may have changed.
    Edited,
    Submit(String),
    /// Ctrl-C; whether it took a text away.
    Interrupt {
        cleared: bool,
    },
    Escape,
    Leave,
    Suspend,
    ClearScreen,
}

pub(crate) struct Editor {
    buffer: LineBuffer,
    /// What was cut last.
    cut: String,
    history: FileBackedHistory,
    /// The place in the history that is shown, counted from the newest, and what was typed before.
    browsing: Option<(usize, String)>,
}

impl Editor {
    /// An empty prompt. Without a history file nothing is remembered.
    pub(crate) fn new(history: Option<PathBuf>) -> anyhow::Result<Self> {
        let history = match history {
            Some(path) => FileBackedHistory::with_file(REMEMBERED, path),
            None => FileBackedHistory::new(REMEMBERED),
        };
        Ok(Self { buffer: LineBuffer::new(), cut: String::new(), history: history?, browsing: None })
    }

    pub(crate) fn text(&self) -> &str {
        self.buffer.get_buffer()
    }

    pub(crate) fn set_text(&mut self, text: &str) {
        self.buffer.set_buffer(text.to_owned());
        self.buffer.move_to_end();
    }

    /// Inserts text as it was pasted, with its lines. It may be anybody's words, which name no files of this machine.
    pub(crate) fn paste(&mut self, text: &str) {
        let text = plain(&text.replace("\r\n", "\n").replace('\r', "\n"));
        let (before, after) = self.text().split_at(self.buffer.insertion_point());
        let text = files::escaped(before, &text, after);
        self.buffer.insert_str(&text);
    }

    /// Keeps a text for the arrow keys.
    pub(crate) fn remember(&mut self, text: &str) {
        if text.len() <= LONGEST_REMEMBERED {
            // what cannot be kept in the file is kept until the end of the program
            let _ = self.history.save(HistoryItem::from_command_line(text));
            let _ = self.history.sync();
        }
    }

    pub(crate) fn key(&mut self, key: KeyEvent) -> Pressed {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        match key.code {
            KeyCode::Enter if alt => self.buffer.insert_newline(),
            KeyCode::Enter => return self.enter(),
            KeyCode::Esc => return Pressed::Escape,
            KeyCode::Char(c) if control => return self.control(c),
            KeyCode::Char(c) if alt => self.alt(c),
            KeyCode::Char(c) => self.buffer.insert_char(c),
            KeyCode::Tab => self.buffer.insert_str("    "),
            KeyCode::Backspace if alt => self.buffer.delete_word_left(),
            KeyCode::Backspace => self.buffer.delete_left_grapheme(),
            KeyCode::Delete => self.buffer.delete_right_grapheme(),
            KeyCode::Left if control || alt => self.word_left(),
            KeyCode::Right if control || alt => self.word_right(),
            KeyCode::Left => self.buffer.move_left(),
            KeyCode::Right => self.buffer.move_right(),
            KeyCode::Home => self.buffer.move_to_line_start(),
            KeyCode::End => self.buffer.move_to_line_end(),
            KeyCode::Up if self.buffer.is_cursor_at_first_line() => self.browse(1),
            KeyCode::Down if self.buffer.is_cursor_at_last_line() => self.browse(-1),
            KeyCode::Up => self.buffer.move_line_up(),
            KeyCode::Down => self.buffer.move_line_down(),
            _ => {}
        }
        Pressed::Edited
    }

    fn control(&mut self, c: char) -> Pressed {
        match c.to_ascii_lowercase() {
            'a' => self.buffer.move_to_line_start(),
            'b' => self.buffer.move_left(),
            'c' => {
                let text = self.take();
                self.remember(&text);
                return Pressed::Interrupt { cleared: !text.is_empty() };
            }
            'd' if self.buffer.is_empty() => return Pressed::Leave,
            'd' => self.buffer.delete_right_grapheme(),
            'e' => self.buffer.move_to_line_end(),
            'f' => self.buffer.move_right(),
            'h' => self.buffer.delete_left_grapheme(),
            // what Enter sends in some terminals together with a modifier
            'j' => self.buffer.insert_newline(),
            'k' => self.cut(self.buffer.insertion_point()..self.buffer.find_current_line_end()),
            'l' => return Pressed::ClearScreen,
            'n' => self.browse(-1),
            'p' => self.browse(1),
            'u' => self.cut(self.buffer.line_start_index()..self.buffer.insertion_point()),
            'w' => self.cut(self.word_start()..self.buffer.insertion_point()),
            'y' => self.buffer.insert_str(&self.cut),
            'z' => return Pressed::Suspend,
            _ => {}
        }
        Pressed::Edited
    }

    fn alt(&mut self, c: char) {
        match c.to_ascii_lowercase() {
            'b' => self.word_left(),
            'd' => self.buffer.delete_word_right(),
            'f' => self.word_right(),
            _ => {}
        }
    }

    fn enter(&mut self) -> Pressed {
        let point = self.buffer.insertion_point();
        if self.text()[..point].ends_with('\\') {
            self.buffer.clear_range_safe(point - 1..point);
            self.buffer.insert_newline();
            return Pressed::Edited;
        }
        if self.text().trim().is_empty() {
            return Pressed::Edited;
        }
        let text = self.take();
        self.remember(&text);
        Pressed::Submit(text)
    }

    fn take(&mut self) -> String {
        let text = self.text().to_owned();
        self.set_text("");
        self.browsing = None;
        text
    }

    fn cut(&mut self, range: std::ops::Range<usize>) {
        self.cut = self.text()[range.clone()].to_owned();
        self.buffer.clear_range_safe(range);
    }

    fn word_start(&self) -> usize {
        let before = &self.text()[..self.buffer.insertion_point()];
        before.unicode_word_indices().next_back().map_or(0, |(at, _)| at)
    }

    fn word_left(&mut self) {
        self.buffer.set_insertion_point(self.word_start());
    }

    fn word_right(&mut self) {
        let point = self.buffer.insertion_point();
        let next = self.text()[point..].unicode_word_indices().next();
        let end = next.map_or(self.text().len(), |(at, word)| point + at + word.len());
        self.buffer.set_insertion_point(end);
    }

    /// Shows an older message (1) or a newer one (-1).
    fn browse(&mut self, step: isize) {
        let query = SearchQuery::everything(SearchDirection::Backward, None);
        let Ok(entries) = self.history.search(query) else { return };
        let (at, draft) = match self.browsing.take() {
            Some((at, draft)) => (Some(at), draft),
            None => (None, self.text().to_owned()),
        };
        let next = match at {
            None if step > 0 => Some(0),
            None => None,
            Some(at) => at.checked_add_signed(step),
        };
        match next {
            Some(next) if next < entries.len() => {
                self.set_text(&entries[next].command_line);
                self.browsing = Some((next, draft));
            }
            Some(_) => self.browsing = at.map(|at| (at, draft)),
            None => self.set_text(&draft),
        }
    }

    /// The text in rows of at most `width` columns, and where the cursor stands.
    pub(crate) fn rows(&self, width: usize) -> (Vec<String>, (usize, usize)) {
        let point = self.buffer.insertion_point();
        let mut rows = vec![String::new()];
        let (mut columns, mut cursor) = (0, None);
        for (at, grapheme) in self.text().grapheme_indices(true) {
            let is_end = grapheme == "\n";
            let shown = if grapheme == "\t" { "    " } else { grapheme };
            if !is_end && columns + shown.width() > width {
                rows.push(String::new());
                columns = 0;
            }
            if at >= point {
                cursor.get_or_insert((rows.len() - 1, columns));
            }
            if is_end {
                rows.push(String::new());
                columns = 0;
            } else if let Some(row) = rows.last_mut() {
                row.push_str(shown);
                columns += shown.width();
            }
        }
        let end = (rows.len() - 1, columns);
        (rows, cursor.unwrap_or(end))
    }
}

/// Where earlier messages are kept, in a file only its owner may read.
pub(crate) fn history_file() -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os("XDG_STATE_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".local/state"),
    };
    let folder = base.join("atelier");
    let in_folder = || format!("cannot keep messages in {}", folder.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).with_context(in_folder)?;
    let path = folder.join("history");
    let file = std::fs::File::options().create(true).append(true).mode(0o600).open(&path).with_context(in_folder)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).with_context(in_folder)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn editor() -> Editor {
        Editor::new(None).unwrap()
    }

    fn press(editor: &mut Editor, code: KeyCode, modifiers: KeyModifiers) -> Pressed {
        editor.key(KeyEvent::new(code, modifiers))
    }

    fn write(editor: &mut Editor, text: &str) {
        for c in text.chars() {
            press(editor, KeyCode::Char(c), KeyModifiers::NONE);
        }
    }

    #[test]
    fn a_paste_is_one_text_and_enter_sends_it() {
        let mut editor = editor();
        editor.paste("error at\r\n\tmain.rs:1\r\u{1b}[2Jend");
        assert_eq!(editor.text(), "error at\n\tmain.rs:1\n[2Jend");
        let sent = press(&mut editor, KeyCode::Enter, KeyModifiers::NONE);
        assert_eq!(sent, Pressed::Submit("error at\n\tmain.rs:1\n[2Jend".to_owned()));
        assert_eq!(editor.text(), "");
    }

    /// What is left out of a paste must not make the rest name a file, nor what stands before it.
    #[test]
    fn a_paste_names_no_file_wherever_it_is_put() {
        let mut editor = editor();
        editor.paste("see \u{1b}@a.b");
        assert_eq!(editor.text(), "see \\@a.b");
        editor.set_text("mail bob");
        editor.paste("@example.com");
        assert_eq!(editor.text(), "mail bob@example.com");
        press(&mut editor, KeyCode::Home, KeyModifiers::NONE);
        editor.paste("@c.d ");
        assert_eq!(editor.text(), "\\@c.d mail bob@example.com");
    }

    #[test]
    fn alt_enter_and_a_backslash_begin_a_new_line() {
        let mut editor = editor();
        write(&mut editor, "one");
        press(&mut editor, KeyCode::Enter, KeyModifiers::ALT);
        write(&mut editor, "two\\");
        press(&mut editor, KeyCode::Enter, KeyModifiers::NONE);
        write(&mut editor, "three");
        assert_eq!(editor.text(), "one\ntwo\nthree");
    }

    #[test]
    fn arrows_bring_earlier_messages_and_the_draft_back() {
        let mut editor = editor();
        for text in ["first", "second"] {
            write(&mut editor, text);
            press(&mut editor, KeyCode::Enter, KeyModifiers::NONE);
        }
        write(&mut editor, "draft");
        let mut seen = Vec::new();
        for code in [KeyCode::Up, KeyCode::Up, KeyCode::Up, KeyCode::Down, KeyCode::Down, KeyCode::Down] {
            press(&mut editor, code, KeyModifiers::NONE);
            seen.push(editor.text().to_owned());
        }
        assert_eq!(seen, ["second", "first", "first", "second", "draft", "draft"]);
    }

    #[test]
    fn words_are_cut_and_put_back() {
        let mut editor = editor();
        write(&mut editor, "make the tests pass");
        press(&mut editor, KeyCode::Char('w'), KeyModifiers::CONTROL);
        press(&mut editor, KeyCode::Left, KeyModifiers::CONTROL);
        assert_eq!(editor.text(), "make the tests ");
        press(&mut editor, KeyCode::Char('k'), KeyModifiers::CONTROL);
        assert_eq!(editor.text(), "make the ");
        press(&mut editor, KeyCode::Char('y'), KeyModifiers::CONTROL);
        assert_eq!(editor.text(), "make the tests ");
        press(&mut editor, KeyCode::Char('u'), KeyModifiers::CONTROL);
        assert_eq!(editor.text(), "");
    }

    #[test]
    fn the_cursor_stands_where_the_next_letter_comes() {
        let mut editor = editor();
        editor.paste("日本語x\ty");
        assert_eq!(editor.rows(6), (vec!["日本語".to_owned(), "x    y".to_owned()], (1, 6)));
        press(&mut editor, KeyCode::Home, KeyModifiers::NONE);
        assert_eq!(editor.rows(6).1, (0, 0));
        editor.set_text("👩‍👩‍👧");
        press(&mut editor, KeyCode::Backspace, KeyModifiers::NONE);
        assert_eq!(editor.text(), "");
    }
}
