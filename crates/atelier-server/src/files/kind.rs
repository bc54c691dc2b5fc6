//! What kind of file an upload is: what it says, and what its bytes show.

use std::borrow::Cow;

/// So many bytes show what a file is.
const SHOWN: usize = 512;

/// What may be stored.
pub(crate) const MEDIA_TYPES: &[&str] = &[
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "application/pdf",
    "application/json",
    "text/csv",
    "text/markdown",
    "text/plain",
];

/// The kind to store a file under.
///
/// # Errors
/// Why the file is refused, for people.
pub(super) fn media_type(declared: &str, data: &[u8]) -> Result<&'static str, &'static str> {
    if data.is_empty() {
        return Err("The file is empty.");
    }
    let declared = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let found = shown(&data[..data.len().min(SHOWN)]);
    // A text may well begin as a picture or a PDF does.
    let is_text = std::str::from_utf8(data).is_ok_and(|text| !text.contains('\0'));
    match declared.as_str() {
        "image/png" | "image/jpeg" | "image/gif" | "image/webp" => {
            found.filter(|found| found.starts_with("image/")).ok_or("The file says it is a picture, and is none.")
        }
        "application/pdf" => {
            found.filter(|found| *found == "application/pdf").ok_or("The file says it is a PDF, and is none.")
        }
        declared => match MEDIA_TYPES.iter().find(|kind| **kind == declared) {
            // what is left of them is text
            Some(kind) if is_text => Ok(kind),
            Some(_) => Err("The file says it is text, and is not text in UTF-8."),
            // source code has a type for each language, and systems disagree on them
            None => match found {
                Some(found) => Ok(found),
                None if is_text => Ok("text/plain"),
                None => Err("The file is neither a picture (PNG, JPEG, GIF, WebP), a PDF nor text in UTF-8."),
            },
        },
    }
}

/// The kind as a browser needs it: without a charset it takes text for what its country's computers once wrote.
pub(super) fn content_type(media_type: &str) -> Cow<'_, str> {
    match media_type.starts_with("text/") {
        true => format!("{media_type}; charset=utf-8").into(),
        false => media_type.into(),
    }
}

/// Pictures and PDF by how they begin.
fn shown(begin: &[u8]) -> Option<&'static str> {
    let is_webp = begin.starts_with(b"RIFF") && begin.get(8..12) == Some(b"WEBP");
    [
        ("image/png", begin.starts_with(b"\x89PNG\r\n\x1a\n")),
        ("image/jpeg", begin.starts_with(b"\xff\xd8\xff")),
        ("image/gif", begin.starts_with(b"GIF87a") || begin.starts_with(b"GIF89a")),
        ("image/webp", is_webp),
        ("application/pdf", begin.starts_with(b"%PDF-")),
    ]
    .into_iter()
    .find_map(|(kind, is_it)| is_it.then_some(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

    #[test]
    fn bytes_decide_within_a_family() {
        assert_eq!(media_type("image/jpeg", PNG), Ok("image/png"));
        assert_eq!(media_type("IMAGE/PNG; x=y", PNG), Ok("image/png"));
        assert_eq!(media_type("", b"RIFF0000WEBPVP8 "), Ok("image/webp"));
        assert_eq!(media_type("application/octet-stream", b"%PDF-1.7"), Ok("application/pdf"));
        assert_eq!(media_type("", "h\u{e9}".as_bytes()), Ok("text/plain"));
        assert_eq!(media_type("text/csv; charset=utf-8", b"a,b"), Ok("text/csv"));
        assert_eq!(media_type("text/markdown", b"GIF89a is how a GIF begins"), Ok("text/markdown"));
        assert_eq!(media_type("text/plain", b"%PDF-1.7 is how a PDF begins"), Ok("text/plain"));
        for declared in ["text/x-python", "application/x-yaml", "video/mp2t", "text/html", "image/svg+xml"] {
            assert_eq!(media_type(declared, b"<p>"), Ok("text/plain"), "{declared}");
        }
        assert_eq!(media_type("video/mp2t", PNG), Ok("image/png"));
        for (declared, data) in [
            ("image/png", &b"text"[..]),
            ("text/plain", PNG),
            ("text/plain", b"a\0b"),
            ("text/plain", b"\xff\xfe"),
            ("application/pdf", PNG),
            ("video/mp2t", b"\x47\0\x11"),
            ("", b"\0\x01"),
            ("text/plain", b""),
        ] {
            assert!(media_type(declared, data).is_err(), "{declared}");
        }
    }
}
