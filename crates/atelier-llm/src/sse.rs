//! Server-sent events: bytes in, events out, whatever the borders of the reads.

/// An event or line that is longer is no stream of a model.
const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// Takes a stream apart. Holds at most one unfinished event.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    /// What came and is not used up, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// Up to here no line end was found.
    scanned: usize,
    event: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// `event` and `data` are those of the event returned last.
    handed_out: bool,
    /// The last byte was a carriage return: a line feed right behind it belongs to the same line end.
    after_return: bool,
    begun: bool,
    /// Lines that are no part of a stream of events, from the first that may begin a JSON text.
    outside: Vec<u8>,
}

/// What a stream consists of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SseItem<'a> {
    Event {
        name: &'a [u8],
        data: &'a [u8],
    },
    /// A comment: a sign of life.
    Comment,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl SseParser {
    /// Adds the bytes of one read. Call [`SseParser::next`] until it returns nothing.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            (self.start, self.scanned) = (0, 0);
        } else if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event.
    pub(crate) fn next(&mut self) -> Result<Option<SseItem<'_>>, TooLong> {
        if self.handed_out {
            self.handed_out = false;
            self.has_data = false;
            self.event.clear();
        }
        loop {
            let Some(line) = self.line() else {
                let waiting = self.buffer.len() - self.start + self.data.len();
                return if waiting > MAX_EVENT_BYTES { Err(TooLong) } else { Ok(None) };
            };
            let line = &self.buffer[line.0..line.1];
            if line.is_empty() {
                if !self.has_data {
                    self.event.clear();
                    continue;
                }
                self.handed_out = true;
                return Ok(Some(SseItem::Event { name: &self.event, data: &self.data }));
            }
            let (field, value) = match line.iter().position(|byte| *byte == b':') {
                Some(0) => return Ok(Some(SseItem::Comment)),
                Some(at) => {
                    let value = &line[at + 1..];
                    (&line[..at], value.strip_prefix(b" ").unwrap_or(value))
                }
                None => (line, &b""[..]),
            };
            match field {
                b"data" => {
                    if self.has_data {
                        self.data.push(b'\n');
                    } else {
                        self.data.clear();
                        self.has_data = true;
                    }
                    self.data.extend_from_slice(value);
                    if self.data.len() > MAX_EVENT_BYTES {
                        return Err(TooLong);
                    }
                }
                b"event" => {
                    self.event.clear();
                    self.event.extend_from_slice(value);
                }
                // these are for clients that reconnect
                b"id" | b"retry" => {}
                _ => {
                    if !self.outside.is_empty() || matches!(line.trim_ascii_start().first(), Some(b'{' | b'[')) {
                        self.outside.extend_from_slice(line);
                        self.outside.push(b'\n');
                    }
                    if self.outside.len() > MAX_EVENT_BYTES {
                        return Err(TooLong);
                    }
                }
            }
        }
    }

    /// A JSON text that came instead of events, or behind them.
    pub(crate) fn outside(&self) -> &[u8] {
        &self.outside
    }

    /// Takes a whole line off the buffer: its borders without the line end.
    fn line(&mut self) -> Option<(usize, usize)> {
        if !self.begun && self.buffer.len() - self.start >= 3 {
            self.begun = true;
            if self.buffer[self.start..].starts_with(b"\xef\xbb\xbf") {
                self.start += 3;
                self.scanned = self.start;
            }
        }
        if self.after_return && self.start < self.buffer.len() {
            self.after_return = false;
            if self.buffer[self.start] == b'\n' {
                self.start += 1;
                self.scanned = self.scanned.max(self.start);
            }
        }
        let end = self.scanned
            + self.buffer[self.scanned..].iter().position(|byte| matches!(byte, b'\n' | b'\r')).or_else(|| {
                self.scanned = self.buffer.len();
                None
            })?;
        let line = (self.start, end);
        self.after_return = self.buffer[end] == b'\r';
        self.begun = true;
        self.start = end + 1;
        self.scanned = self.start;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn items(reads: &[&[u8]]) -> Vec<String> {
        let mut parser = SseParser::default();
        let mut found = Vec::new();
        for read in reads {
            parser.push(read);
            while let Some(item) = parser.next().unwrap() {
                found.push(match item {
                    SseItem::Comment => ":".to_owned(),
                    SseItem::Event { name, data } => {
                        format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(data))
                    }
                });
            }
        }
        found
    }

    #[test]
    fn events_lines_and_comments() {
        let stream = b"\xef\xbb\xbfdata: one\n\n: hello\nevent: e\ndata:two\ndata\ndata:  three\nid: 7\n\n\nevent: lost\n\ndata: cut";
        assert_eq!(items(&[stream]), ["=one", ":", "e=two\n\n three"]);
    }

    #[test]
    fn the_name_of_an_event_ends_with_it() {
        assert_eq!(items(&[b"event: a\ndata: 1\n\ndata: 2\n\n"]), ["a=1", "=2"]);
    }

    #[test]
    fn all_line_ends_are_known() {
        assert_eq!(items(&[b"data: a\r\n\r\ndata: b\r\rdata: c\n\n"]), ["=a", "=b", "=c"]);
        assert_eq!(items(&[b"data: a\r", b"\n\r", b"\ndata: b\r", b"\r"]), ["=a", "=b"]);
    }

    #[test]
    fn a_json_text_outside_of_events_is_kept() {
        let mut parser = SseParser::default();
        parser.push(b"noise\ndata: 1\n\n{\"error\":\n  {\"a\": 1}}\n: comment\nid: 3\n\n");
        while parser.next().unwrap().is_some() {}
        assert_eq!(parser.outside(), b"{\"error\":\n  {\"a\": 1}}\n");
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = SseParser::default();
        let read = vec![b'x'; 1024 * 1024];
        let refused = (0..20).any(|_| {
            parser.push(&read);
            parser.next() == Err(TooLong)
        });
        assert!(refused);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            lines in prop::collection::vec(prop_oneof![
                Just("data: x".to_owned()), Just(String::new()), Just("event: n".to_owned()),
                Just(": c".to_owned()), "data: \\PC{0,5}", "[a-z:]{0,6}",
            ], 0..20),
            ends in prop::collection::vec(prop_oneof![Just("\n"), Just("\r\n"), Just("\r")], 20),
            cuts in prop::collection::vec(0_usize..200, 0..8),
        ) {
            let stream: String = lines.iter().zip(&ends).map(|(line, end)| format!("{line}{end}")).collect();
            // a last line feed decides whether a carriage return at the very end was a line end of its own
            let stream = format!("{stream}\n");
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let reads: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(items(&reads), items(&[bytes]));
        }
    }
}
