//! The one way to the terminal. What a server, a model or a command wrote is shown and steers nothing.
//!
//! Every function here cleans what it is given, and nothing else in this crate prints: the lints in `lib.rs`
//! and `clippy.toml` refuse it.
#![expect(clippy::disallowed_methods, reason = "the one place that prints")]

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

mod screen;

use atelier_domain::text::{is_steering, plain};
use serde_json::Value;

pub(crate) use screen::{Live, RawMode, Screen};

/// A line beside the result, on standard error.
pub(crate) fn note(line: &str) {
    // there is nobody to tell when standard error is closed
    let _ = writeln!(io::stderr(), "{}", plain(line));
}

/// A piece of text beside the result, on standard error, without a line end of its own.
pub(crate) fn aside(text: &str) {
    let _ = write!(io::stderr(), "{}", plain(text));
}

/// A question on standard error, without a line end.
pub(crate) fn question(text: &str) -> io::Result<()> {
    let mut out = io::stderr();
    write!(out, "{}", plain(text))?;
    out.flush()
}

/// A line of the result, on standard output.
pub(crate) fn result(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{}", plain(line))
}

/// A piece of the answer, on standard output; shown at the next [`flush`].
pub(crate) fn piece(text: &str) -> io::Result<()> {
    write!(io::stdout(), "{}", plain(text))
}

/// An event as one line of JSON, on standard output; shown at the next [`flush`].
pub(crate) fn event(event: &Value) -> io::Result<()> {
    writeln!(io::stdout(), "{}", json_line(event))
}

/// Whether a person reads standard output.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

pub(crate) fn flush() -> io::Result<()> {
    io::stdout().flush()
}

/// JSON that says the same and holds no steering character: they are written as escapes.
///
/// `serde_json` escapes the first 32 control characters itself; outside of strings JSON has none of the others.
pub(crate) fn json_line(event: &Value) -> String {
    let text = event.to_string();
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if is_steering(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_meaning_and_steers_nothing() {
        let event = serde_json::json!({"text": "a\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{e0041}\n日本"});
        let line = json_line(&event);
        assert!(!line.contains(is_steering), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), event);
    }
}
