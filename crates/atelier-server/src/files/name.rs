//! Names of files in `Content-Disposition`, in both directions (RFC 6266 with RFC 5987).

use std::borrow::Cow;

use atelier_domain::text::{head, plain_line};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Longer names are cut.
const MAX_BYTES: usize = 255;

/// What RFC 5987 lets stand beside letters and digits.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The name that the header gives, without folders and characters that steer (control characters, changes of direction); none if nothing is left.
pub(super) fn file_name(header: &[u8]) -> Option<String> {
    let header = String::from_utf8_lossy(header);
    let parameters = parameters(&header);
    let value = |name: &str| parameters.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
    let name = value("filename*").and_then(extended).or_else(|| value("filename").map(str::to_owned))?;
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = plain_line(name);
    let name = head(name.trim(), MAX_BYTES);
    (!matches!(name, "" | "." | "..")).then(|| name.to_owned())
}

/// The header that gives a file this name: in full for those who read RFC 5987, a plain word for others.
pub(super) fn disposition(name: &str) -> String {
    format!("inline; filename=\"file\"; filename*=UTF-8''{}", utf8_percent_encode(&plain_line(name), ENCODED))
}

/// Parameters with their names in lower case; quotes are taken off.
fn parameters(header: &str) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    let mut rest = header.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim().trim_start_matches(';').trim().to_ascii_lowercase();
        let after = after.trim_start();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted),
            None => {
                let (value, left) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), left)
            }
        };
        parameters.push((name, value));
        rest = left;
    }
    parameters
}

/// A value up to its closing quote, and what follows.
fn quoted_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// `UTF-8'language'percent-encoded`, also in Latin-1.
fn extended(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_, encoded) = rest.split_once('\'')?;
    let decoded: Cow<'_, [u8]> = percent_decode_str(encoded).into();
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" => Some(String::from_utf8_lossy(&decoded).into_owned()),
        "iso-8859-1" => Some(decoded.iter().map(|byte| char::from(*byte)).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(header: &str) -> Option<String> {
        file_name(header.as_bytes())
    }

    #[test]
    fn names_are_read_in_every_form() {
        for (header, wanted) in [
            ("attachment; filename=plain.txt", "plain.txt"),
            (r#"attachment; filename="a \"b\"; c.txt"; size=3"#, "a \"b\"; c.txt"),
            ("inline; filename=\"file\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.png", "日本.png"),
            ("inline; FileName*=utf-8'en'%f0%9f%98%80.gif;filename=x", "😀.gif"),
            ("inline; filename*=ISO-8859-1''caf%E9.txt", "café.txt"),
            ("inline; filename*=KOI8-R''x; filename=y", "y"),
            ("inline; filename=\"C:\\\\folder\\\\name.txt\"", "name.txt"),
            ("inline; filename=\"../../etc/passwd\"", "passwd"),
            ("inline; filename*=UTF-8''a%0D%0Ab", "a b"),
            ("inline; filename*=UTF-8''exe%E2%80%AEtxt.%E2%81%A6gpj", "exetxt.gpj"),
            ("inline; filename=\"日本.txt\"", "日本.txt"),
        ] {
            assert_eq!(name(header).as_deref(), Some(wanted), "{header}");
        }
        // names stored before this rule
        assert!(disposition("a\u{202e}b.txt").ends_with("''ab.txt"));
        for header in ["", "inline", "inline; filename=", "inline; filename=\"..\"", "inline; filename=\"a/\""] {
            assert_eq!(name(header), None, "{header}");
        }
        let long = format!("inline; filename=\"{}\"", "é".repeat(300));
        assert_eq!(name(&long), Some("é".repeat(127)));
    }

    proptest! {
        #[test]
        fn what_is_sent_is_read_back(text in "[^/\\\\]{1,60}".prop_map(|text| plain_line(&text))) {
            let shown = disposition(&text);
            prop_assert!(shown.is_ascii());
            let kept = head(text.trim(), MAX_BYTES);
            if !matches!(kept, "" | "." | "..") {
                prop_assert_eq!(name(&shown), Some(kept.to_owned()));
            }
        }

        #[test]
        fn any_header_is_read(header in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(name) = file_name(&header) {
                prop_assert!(!name.is_empty() && name.len() <= MAX_BYTES && !name.contains(['/', '\\']));
            }
        }
    }
}
