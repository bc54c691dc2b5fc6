//! Errors with their causes, for logs.

use std::error::Error;
use std::fmt;

/// Shows an error and all its causes in one line. An error's own text speaks of its own level only, so that
/// a log line needs this to say what really happened. Some libraries repeat the cause in the text of the error
/// itself; it is shown once.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.to_string();
        formatter.write_str(&shown)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !shown.ends_with(&text) {
                write!(formatter, ": {text}")?;
            }
            shown = text;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the turn failed")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn every_cause_is_shown() {
        let error = Outer(std::io::Error::other("the disk is gone"));
        assert_eq!(Chain(&error).to_string(), "the turn failed: the disk is gone");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect: {0}")]
    struct Repeating(#[source] std::io::Error);

    #[test]
    fn a_cause_that_an_error_repeats_is_shown_once() {
        let error = Repeating(std::io::Error::other("refused"));
        assert_eq!(Chain(&error).to_string(), "cannot connect: refused");
    }
}
