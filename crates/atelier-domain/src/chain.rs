//! Errors with their causes, for logs.

use std::error::Error;
use std::fmt;

/// Shows an error and all its causes in one line. An error's own text speaks of its own level only, so that
/// a log line needs this to say what really happened.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
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
}
