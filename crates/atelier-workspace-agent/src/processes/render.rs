//! Raw output as text for models and people: pure functions (`workspaces.md` 1.1 and 1.3).
//!
//! NUL and invalid UTF-8 become U+FFFD, terminal escapes and other control characters go, of a line with
//! carriage returns the last piece stays. Offsets always count raw bytes.

/// Distance from a cut in which a line end is looked for.
const LINE_END_BYTES: usize = 1024;
/// An escape sequence that is longer is none.
const MAX_ESCAPE_BYTES: usize = 128;

/// Bounds of a text, in bytes as it is and as JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) text_bytes: usize,
    pub(crate) json_bytes: usize,
}

impl Bounds {
    fn hold(self, text: &str) -> bool {
        text.len() <= self.text_bytes && json_len(text) <= self.json_bytes
    }
}

/// Text of raw output, with nothing half a character or escape long left out.
pub(crate) fn clean(raw: &[u8]) -> String {
    let lossy = String::from_utf8_lossy(raw);
    let mut text = String::with_capacity(lossy.len());
    let mut line_start = 0;
    let mut rest = lossy.chars().peekable();
    // Carriage returns that were seen and are not yet known to be the line's end.
    let mut returned = false;
    while let Some(c) = rest.next() {
        match c {
            '\n' => {
                returned = false;
                text.push('\n');
                line_start = text.len();
            }
            '\r' => returned = true,
            '\u{1b}' => skip_escape(&mut rest),
            '\u{9b}' => skip_control_sequence(&mut rest),
            '\u{8}' if text.len() > line_start => {
                text.pop();
            }
            '\t' | '\0' | ' '..='~' | '\u{a0}'.. => {
                if returned {
                    text.truncate(line_start);
                    returned = false;
                }
                text.push(if c == '\0' { '\u{fffd}' } else { c });
            }
            _ => {}
        }
    }
    text
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn skip_escape(rest: &mut Characters<'_>) {
    match rest.peek() {
        Some('[') => {
            rest.next();
            skip_control_sequence(rest);
        }
        // Strings (titles, links): up to BEL or ESC \.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            rest.next();
            for _ in 0..4096 {
                match rest.peek() {
                    // Not closed on its line: the line is more likely text.
                    None | Some('\n') => break,
                    Some('\u{7}') => {
                        rest.next();
                        break;
                    }
                    Some('\u{1b}') => {
                        rest.next();
                        if rest.peek() == Some(&'\\') {
                            rest.next();
                        }
                        break;
                    }
                    Some(_) => {
                        rest.next();
                    }
                }
            }
        }
        // Two characters and one of a set.
        Some(' '..='/') => {
            rest.next();
            if matches!(rest.peek(), Some('0'..='~')) {
                rest.next();
            }
        }
        Some('0'..='~') => {
            rest.next();
        }
        _ => {}
    }
}

fn skip_control_sequence(rest: &mut Characters<'_>) {
    while matches!(rest.peek(), Some(' '..='?')) {
        rest.next();
    }
    if matches!(rest.peek(), Some('@'..='~')) {
        rest.next();
    }
}

/// Bytes of `text` between the quotes of a JSON string.
pub(crate) fn json_len(text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            c => c.len_utf8(),
        })
        .sum()
}

/// How much of `raw` is whole: what may still become a character or an escape sequence is left out.
pub(crate) fn whole_len(raw: &[u8]) -> usize {
    let mut len = raw.len() - incomplete_character(raw);
    let from = len.saturating_sub(MAX_ESCAPE_BYTES);
    if let Some(escape) = raw[from..len].iter().rposition(|byte| *byte == 0x1b)
        && !is_complete_escape(&raw[from + escape..len])
    {
        len = from + escape;
    }
    len
}

/// Bytes at the end that begin a character and lack the rest of it.
fn incomplete_character(raw: &[u8]) -> usize {
    for back in 1..=raw.len().min(3) {
        let byte = raw[raw.len() - back];
        let needs = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if needs > back { back } else { 0 };
    }
    0
}

fn is_complete_escape(sequence: &[u8]) -> bool {
    match sequence.get(1) {
        None => false,
        Some(b'[') => sequence[2..].iter().any(|byte| !(0x20..=0x3f).contains(byte)),
        Some(b']' | b'P' | b'X' | b'^' | b'_') => sequence[2..].iter().any(|byte| matches!(byte, 0x07 | b'\n')),
        Some(0x20..=0x2f) => sequence.len() > 2,
        Some(_) => true,
    }
}

/// A page of output that begins at `raw[0]`: its text and how many raw bytes it took. `is_end`: nothing
/// follows `raw`, ever.
pub(crate) fn page(raw: &[u8], is_end: bool, bounds: Bounds) -> (String, usize) {
    let mut len = if is_end { raw.len() } else { whole_len(raw) };
    // A page that has no whole thing in it, though it is long: what is there, as it is.
    if len == 0 && raw.len() >= MAX_ESCAPE_BYTES {
        len = raw.len();
    }
    loop {
        let text = clean(&raw[..len]);
        if bounds.hold(&text) {
            return (text, len);
        }
        let shorter = whole_len(&raw[..len * 3 / 4]);
        len = if shorter == 0 { (len * 3 / 4).max(1) } else { shorter };
        if len <= 4 {
            return (clean(&raw[..len]), len);
        }
    }
}

/// The first part of an output that is too long: text and raw bytes taken. Ends at a line end if one is near.
pub(crate) fn head(raw: &[u8], bounds: Bounds) -> (String, usize) {
    let (_, fitting) = page(raw, false, bounds);
    let from = fitting.saturating_sub(LINE_END_BYTES);
    let len = raw[from..fitting].iter().rposition(|byte| *byte == b'\n').map_or(fitting, |end| from + end + 1);
    (clean(&raw[..len]), len)
}

/// The last part of an output that is too long: text and raw bytes taken. Begins at a line start if one is
/// near. `is_end` as for [`page`].
pub(crate) fn tail(raw: &[u8], is_end: bool, bounds: Bounds) -> (String, usize) {
    let end = if is_end { raw.len() } else { whole_len(raw) };
    let mut start = first_character(&raw[..end], 0);
    loop {
        let near = &raw[start..end.min(start + LINE_END_BYTES)];
        let at = near.iter().position(|byte| *byte == b'\n').map_or(start, |line_end| start + line_end + 1);
        let at = if at == end { start } else { at };
        let text = clean(&raw[at..end]);
        if bounds.hold(&text) || at >= end {
            return (text, end - at);
        }
        start = first_character(&raw[..end], start + ((end - start) / 4).max(1));
    }
}

/// The first place from `from` on that is not in the middle of a character.
pub(crate) fn first_character(raw: &[u8], from: usize) -> usize {
    let from = from.min(raw.len());
    let inside = raw[from..].iter().take(3).take_while(|byte| (0x80..=0xbf).contains(*byte)).count();
    from + inside
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WIDE: Bounds = Bounds { text_bytes: 1 << 20, json_bytes: 1 << 20 };

    #[test]
    fn escapes_and_controls_go_and_text_stays() {
        for (raw, text) in [
            (&b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\x1b]8;;http://a\x1b\\link"[..], "red xlink"),
            (b"10%\r50%\r100%\ndone\r\n", "100%\ndone\n"),
            (b"50%\r", "50%"),
            (b"a\r\r\nb", "a\nb"),
            (b"nul\0 bad\xff bell\x07", "nul\u{fffd} bad\u{fffd} bell"),
            (b"N\x08Na\x08am", "Nam"),
            (b"\x1b(Bplain\x1b=\x1b", "plain"),
            ("é日😀\tx\u{9b}1mA".as_bytes(), "é日😀\txA"),
        ] {
            assert_eq!(clean(raw), text, "{raw:?}");
        }
    }

    #[test]
    fn what_is_not_whole_waits() {
        assert_eq!(whole_len("ab日".as_bytes()), 5);
        assert_eq!(whole_len(&"ab日".as_bytes()[..4]), 2);
        assert_eq!(whole_len(b"ab\x1b[3"), 2);
        assert_eq!(whole_len(b"ab\x1b[31m"), 7);
        assert_eq!(whole_len(b"ab\xff"), 3);
        assert_eq!(page(&"日".as_bytes()[..2], false, WIDE), (String::new(), 0));
        assert_eq!(page(&"日".as_bytes()[..2], true, WIDE), ("\u{fffd}".into(), 2));
    }

    #[test]
    fn head_and_tail_cut_at_lines() {
        let lines: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        let bounds = Bounds { text_bytes: 100, json_bytes: 1000 };
        let (text, len) = head(&lines.as_bytes()[..1000], bounds);
        assert!(text.ends_with('\n') && text.len() == len && len <= 100);
        let (text, len) = tail(lines.as_bytes(), true, bounds);
        assert!(text.starts_with("line ") && text.ends_with("line 999\n") && text.len() == len && len <= 100);
        let one_line = "x".repeat(5000);
        assert_eq!(tail(one_line.as_bytes(), true, bounds).0.trim_start_matches('x'), "");
    }

    proptest! {
        #[test]
        fn pages_take_everything_and_keep_their_bounds(raw in proptest::collection::vec(any::<u8>(), 0..2000), size in 8_usize..300) {
            let bounds = Bounds { text_bytes: size, json_bytes: size * 2 };
            let mut at = 0;
            while at < raw.len() {
                let (text, len) = page(&raw[at..], true, bounds);
                prop_assert!(len > 0);
                prop_assert!(text.len() <= size.max(12) && json_len(&text) <= (size * 2).max(24), "{text:?}");
                at += len;
            }
            prop_assert_eq!(at, raw.len());
        }

        #[test]
        fn pages_of_plain_text_join_to_it(text in "[a-zé日😀 \n]{0,600}", size in 8_usize..100) {
            let mut joined = String::new();
            let mut at = 0;
            while at < text.len() {
                let (piece, len) = page(&text.as_bytes()[at..], true, Bounds { text_bytes: size, json_bytes: size * 2 });
                joined.push_str(&piece);
                at += len;
            }
            prop_assert_eq!(joined, text);
        }

        #[test]
        fn json_length_is_that_of_the_serializer(text in any::<String>()) {
            prop_assert_eq!(json_len(&text) + 2, serde_json::to_string(&text).unwrap().len());
        }

        #[test]
        fn heads_and_tails_keep_their_bounds(raw in proptest::collection::vec(any::<u8>(), 0..3000), size in 16_usize..400) {
            let bounds = Bounds { text_bytes: size, json_bytes: size * 2 };
            for (text, len) in [head(&raw, bounds), tail(&raw, true, bounds)] {
                prop_assert!(text.len() <= size && json_len(&text) <= size * 2);
                prop_assert!(len <= raw.len());
            }
        }
    }
}
