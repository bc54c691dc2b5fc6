//! A terminal with finished lines above and a few live rows at its end: what is being written, what runs, the prompt.
//!
//! Finished lines are printed once and belong to the terminal from then on. The live rows are drawn again when they
//! change. The terminal gets its state back when a [`RawMode`] is dropped, and on a panic.

use std::io::{self, IsTerminal as _, Write as _};

use atelier_domain::text::plain_line;
use crossterm::cursor::{Hide, MoveRight, MoveTo, MoveUp, Show};
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};
use crossterm::{queue, terminal};

use crate::styled::{Line, Row, Span, columns};

/// Whether looks are wanted and understood (<https://no-color.org>).
fn is_styled() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && is_screen()
}

/// Whether there is a terminal at both ends that can move its cursor.
fn is_screen() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    !is_dumb && io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Keys come one by one and are not echoed, as long as this lives.
pub(crate) struct RawMode(());

impl RawMode {
    pub(crate) fn enter() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let entered = Self(());
        let mut bytes = Vec::new();
        queue!(bytes, EnableBracketedPaste)?;
        steer(&bytes)?;
        Ok(entered)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let mut bytes = Vec::new();
    // there is nobody to tell when the terminal is gone
    let _ = queue!(bytes, DisableBracketedPaste, Show);
    let _ = steer(&bytes);
    let _ = terminal::disable_raw_mode();
}

/// Steers the terminal that keys come from; the outputs of the program may lead elsewhere.
fn steer(bytes: &[u8]) -> io::Result<()> {
    match std::fs::File::options().write(true).open("/dev/tty") {
        Ok(mut terminal) => terminal.write_all(bytes),
        // a terminal that is not the one of this session
        Err(_) if io::stderr().is_terminal() => io::stderr().write_all(bytes),
        Err(_) => Ok(()),
    }
}

/// Rows at the end of the terminal, and where the cursor stands in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) rows: Vec<Row>,
    /// Row and column; none hides the cursor.
    pub(crate) cursor: Option<(usize, usize)>,
}

/// Where a conversation is shown.
pub(crate) struct Screen {
    /// None: an output that only goes forward.
    raw: Option<RawMode>,
    is_styled: bool,
    width: usize,
    height: usize,
    drawn: Live,
}

impl Screen {
    /// Takes the terminal, when it is one.
    pub(crate) fn open() -> io::Result<Self> {
        let raw = if is_screen() { Some(RawMode::enter()?) } else { None };
        if raw.is_some() {
            // the words of a panic are to be readable, and the terminal usable after it
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                before(panic);
            }));
        }
        let mut screen = Self { raw, is_styled: is_styled(), width: 80, height: 24, drawn: Live::default() };
        screen.measure();
        Ok(screen)
    }

    /// Whether keys come one by one, and live rows are shown.
    pub(crate) const fn is_live(&self) -> bool {
        self.raw.is_some()
    }

    pub(crate) const fn is_styled(&self) -> bool {
        self.is_styled
    }

    /// Columns that a row may have: one less than there are, so that no cursor stands beyond the last one.
    pub(crate) const fn width(&self) -> usize {
        self.width - 1
    }

    pub(crate) const fn height(&self) -> usize {
        self.height
    }

    /// Looks how large the terminal is now. A row that is drawn for another width would be broken by it.
    pub(crate) fn measure(&mut self) {
        let (width, height) = terminal::size().unwrap_or_default();
        // some terminals say 0 when they do not know
        self.width = if width == 0 { 80 } else { usize::from(width).max(4) };
        self.height = if height == 0 { 24 } else { usize::from(height).max(4) };
    }

    /// Prints finished lines and draws the live rows below them.
    pub(crate) fn paint(&mut self, finished: &[Line], live: Live) -> io::Result<()> {
        if self.raw.is_none() {
            return self.print(finished);
        }
        if finished.is_empty() && live == self.drawn {
            return Ok(());
        }
        let mut bytes = Vec::new();
        queue!(bytes, BeginSynchronizedUpdate, Hide)?;
        self.erase(&mut bytes)?;
        for line in finished {
            for row in self.rows_of(line) {
                self.write_row(&mut bytes, &row)?;
                bytes.extend(b"\r\n");
            }
        }
        for (n, row) in live.rows.iter().enumerate() {
            if n > 0 {
                bytes.extend(b"\r\n");
            }
            self.write_row(&mut bytes, row)?;
        }
        if let Some((row, column)) = live.cursor {
            let up = live.rows.len().saturating_sub(1).saturating_sub(row);
            bytes.extend(b"\r");
            if up > 0 {
                queue!(bytes, MoveUp(short(up)))?;
            }
            if column > 0 {
                queue!(bytes, MoveRight(short(column)))?;
            }
            queue!(bytes, Show)?;
        }
        queue!(bytes, EndSynchronizedUpdate)?;
        self.drawn = live;
        let mut out = io::stdout().lock();
        out.write_all(&bytes)?;
        out.flush()
    }

    /// Takes the live rows away and gives the terminal back, for a while or for good.
    pub(crate) fn release(&mut self) {
        if let Some(raw) = self.raw.take() {
            let mut bytes = Vec::new();
            // written to memory, which takes everything
            let _ = self.erase(&mut bytes);
            let mut out = io::stdout().lock();
            let _ = out.write_all(&bytes).and_then(|()| out.flush());
            drop(raw);
        }
    }

    /// Takes the terminal again after a [`Screen::release`].
    pub(crate) fn resume(&mut self) -> io::Result<()> {
        self.drawn = Live::default();
        self.raw = Some(RawMode::enter()?);
        Ok(())
    }

    /// Clears all that is seen; what was printed stays above it.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.drawn = Live::default();
        queue!(io::stdout(), Clear(ClearType::All), MoveTo(0, 0))
    }

    /// Moves to the first live row and clears from there on.
    fn erase(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        // a terminal that became narrower has broken the rows in more of them
        let heights = self.drawn.rows.iter().map(|row| columns(row).max(1).div_ceil(self.width));
        let last = self.drawn.rows.len().saturating_sub(1);
        let (row, column) = self.drawn.cursor.unwrap_or((last, 0));
        let up = heights.take(row).sum::<usize>() + column / self.width;
        bytes.extend(b"\r");
        if up > 0 {
            queue!(bytes, MoveUp(short(up)))?;
        }
        queue!(bytes, Clear(ClearType::FromCursorDown))
    }

    fn rows_of(&self, line: &Line) -> Vec<Row> {
        if line.is_verbatim { vec![line.spans.clone()] } else { line.rows(self.width()) }
    }

    fn print(&self, finished: &[Line]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for line in finished {
            self.write_row(&mut bytes, &line.spans)?;
            bytes.push(b'\n');
        }
        let mut out = io::stdout().lock();
        out.write_all(&bytes)?;
        out.flush()
    }

    fn write_row(&self, bytes: &mut Vec<u8>, row: &[Span]) -> io::Result<()> {
        for Span { text, style } in row {
            let text = plain_line(text);
            if self.is_styled { write!(bytes, "{}", style.apply(text))? } else { bytes.extend(text.as_bytes()) }
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.release();
    }
}

fn short(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
