//! Cutting and cleaning text without ever splitting a character.

/// The longest prefix of `text` that has at most `max_bytes` bytes and ends at a character border.
#[must_use]
pub fn head(text: &str, max_bytes: usize) -> &str {
    if text.len() <= max_bytes {
        return text;
    }
    let mut end = max_bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The longest suffix of `text` that has at most `max_bytes` bytes and starts at a character border.
#[must_use]
pub fn tail(text: &str, max_bytes: usize) -> &str {
    if text.len() <= max_bytes {
        return text;
    }
    let mut start = text.len() - max_bytes;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// The first `max_chars` characters of `text`.
#[must_use]
pub fn head_chars(text: &str, max_chars: usize) -> &str {
    text.char_indices().nth(max_chars).map_or(text, |(end, _)| &text[..end])
}

/// Whether a character steers whatever shows it, instead of being shown: control characters (C0, DEL, C1),
/// controls of the writing direction, and the invisible tag characters.
///
/// U+200E, U+200F and U+061C are marks of direction, U+202A to U+202E and U+2066 to U+2069 embeddings,
/// overrides and isolates (Unicode Standard Annex 9); U+E0000 to U+E007F can carry text that nobody sees.
#[must_use]
pub fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{e0000}'..='\u{e007f}')
}

/// `text` without steering characters other than line ends and tabs.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| !is_steering(*c) || matches!(c, '\n' | '\t')).collect()
}

/// `text` without steering characters, in one line: line ends and tabs become spaces.
#[must_use]
pub fn plain_line(text: &str) -> String {
    let spaced = text.chars().map(|c| if matches!(c, '\n' | '\t') { ' ' } else { c });
    spaced.filter(|c| !is_steering(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_or_the_direction_of_writing_is_dropped() {
        let steering = "\u{0}\u{7}\u{8}\r\u{1b}\u{7f}\u{85}\u{9b}\u{9d}\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}\u{e0001}\u{e0041}\u{e007f}";
        assert_eq!(plain(&format!("a{steering}\n\tb")), "a\n\tb");
        assert_eq!(plain_line(&format!("a{steering}\n\tb")), "a  b");
        let words = "Grüße 日本 עברית 👩‍👩‍👧 \u{a0}\u{ad}";
        assert_eq!(plain(words), words);
    }
}
