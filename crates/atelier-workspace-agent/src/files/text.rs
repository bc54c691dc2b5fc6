//! Bytes of files as text: what is text at all, and cutting it between characters.

/// NUL, or more than a tenth that is no UTF-8, among the first bytes.
pub(crate) fn is_binary(sample: &[u8]) -> bool {
    if sample.contains(&0) {
        return true;
    }
    let chunks: Vec<_> = sample.utf8_chunks().collect();
    let last = chunks.len().saturating_sub(1);
    let invalid: usize = chunks
        .iter()
        .enumerate()
        // A character that the end of the sample cuts is not held against it.
        .filter(|(index, chunk)| *index != last || !is_cut_character(chunk.invalid()))
        .map(|(_, chunk)| chunk.invalid().len())
        .sum();
    invalid * 10 > sample.len()
}

/// UTF-8 without NUL: whatever format the first bytes name, it is text that begins like it.
pub(crate) fn is_sound(sample: &[u8]) -> bool {
    // the end of the sample may cut a character
    !sample.contains(&0) && std::str::from_utf8(sample).map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// The beginning of a character of several bytes.
fn is_cut_character(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

/// The text at the start of `bytes` that fits in both bounds, as it is and inside JSON, and how many bytes
/// it was made of. No character is split; NUL and what is no UTF-8 become U+FFFD. `is_end`: nothing comes
/// after `bytes`; else a character that is cut there is left for the next piece.
pub(crate) fn take(bytes: &[u8], max_bytes: usize, max_json_bytes: usize, is_end: bool) -> (String, usize) {
    let (mut text, mut used, mut json) = (String::new(), 0, 0);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let shown = if c == '\0' { char::REPLACEMENT_CHARACTER } else { c };
            let cost = json_cost(shown);
            if text.len() + shown.len_utf8() > max_bytes || json + cost > max_json_bytes {
                return (text, used);
            }
            text.push(shown);
            json += cost;
            used += c.len_utf8();
        }
        let invalid = chunk.invalid();
        let is_last = used + invalid.len() == bytes.len();
        if invalid.is_empty() || (is_last && !is_end && is_cut_character(invalid)) {
            continue;
        }
        if text.len() + 3 > max_bytes || json + 3 > max_json_bytes {
            return (text, used);
        }
        text.push(char::REPLACEMENT_CHARACTER);
        json += 3;
        used += invalid.len();
    }
    (text, used)
}

fn json_cost(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

/// Media types of a few formats that have no text.
pub(crate) fn binary_media_type(sample: &[u8]) -> &'static str {
    const MAGIC: [(&[u8], &str); 13] = [
        (b"%PDF-", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
        (b"\x1f\x8b", "application/gzip"),
        (b"\x28\xb5\x2f\xfd", "application/zstd"),
        (b"\xfd7zXZ\x00", "application/x-xz"),
        (b"BZh", "application/x-bzip2"),
        (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
        (b"\x7fELF", "application/x-executable"),
        (b"SQLite format 3\x00", "application/vnd.sqlite3"),
        (b"\x00asm", "application/wasm"),
        (b"OggS", "application/ogg"),
        (b"ID3", "audio/mpeg"),
        (b"fLaC", "audio/flac"),
    ];
    MAGIC
        .iter()
        .find(|(magic, _)| sample.starts_with(magic))
        .map_or("application/octet-stream", |(_, media_type)| media_type)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn w22_text_and_binary() {
        assert!(!is_binary(b""));
        assert!(!is_binary("größer".as_bytes()));
        assert!(!is_binary(b"<svg xmlns='http://www.w3.org/2000/svg'/>"));
        assert!(!is_binary(&"é".as_bytes()[..1]), "a cut character");
        assert!(is_binary(b"a\0b"));
        assert!(is_binary(&[b"text text text ".as_slice(), &[0xff; 2]].concat()));
        assert!(!is_binary(&[b"text text text text ".as_slice(), &[0xff; 2]].concat()));
        assert!(is_sound("GIF89a größer".as_bytes()) && is_sound(&"GIF89aé".as_bytes()[..7]));
        assert!(!is_sound(b"GIF89a\0") && !is_sound(b"\xff\xd8\xff"));
        assert_eq!(binary_media_type(b"%PDF-1.7"), "application/pdf");
        assert_eq!(binary_media_type(b"\0"), "application/octet-stream");
    }

    #[test]
    fn pieces_end_between_characters() {
        assert_eq!(take("aé".as_bytes(), 2, 99, true), ("a".into(), 1));
        assert_eq!(take(&"aé".as_bytes()[..2], 99, 99, false), ("a".into(), 1));
        assert_eq!(take(&"aé".as_bytes()[..2], 99, 99, true), ("a\u{fffd}".into(), 2));
        assert_eq!(take(b"\0\xffb", 99, 99, false), ("\u{fffd}\u{fffd}b".into(), 3));
        assert_eq!(take(b"\"\"\"", 99, 5, true), ("\"\"".into(), 2));
    }

    proptest! {
        #[test]
        fn pieces_joined_are_the_text(text in "\\PC{0,60}", max in 4_usize..20) {
            let bytes = text.as_bytes();
            let (mut joined, mut at) = (String::new(), 0);
            while at < bytes.len() {
                let end = (at + max).min(bytes.len());
                let (piece, used) = take(&bytes[at..end], max, usize::MAX, end == bytes.len());
                prop_assert!(used > 0);
                joined.push_str(&piece);
                at += used;
            }
            prop_assert_eq!(joined, text);
        }
    }
}
