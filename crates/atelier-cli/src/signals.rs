//! Signals that ask the program to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::INTERRUPTED;

/// They are caught, so that the terminal is given back first.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    quit: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// As Ctrl-C does where it is a signal.
    Interrupt,
    /// To end, with this exit code.
    End(u8),
}

impl Asked {
    /// The exit code of a program that leaves at once.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => INTERRUPTED,
            Self::End(code) => code,
        }
    }
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// The next one. An end has the exit code that shells give to a program ended by that signal.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.terminate.recv() => Asked::End(128 + 15),
            _ = self.hang_up.recv() => Asked::End(128 + 1),
            _ = self.quit.recv() => Asked::End(128 + 3),
        }
    }
}
