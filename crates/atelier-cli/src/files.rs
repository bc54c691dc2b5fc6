//! Files that a message names: `@notes.md`, `@"a picture.png"`, `@a\ picture.png`. They are read here and uploaded
//! with the message.
//!
//! A word is a file when it begins with `@`, and has a slash or a dot in it or names something that exists.
//! `\@` stands for the sign itself; of several backslashes the last one belongs to the sign, the others are text.
//! Text that was pasted or came by a pipe names no files: it may be anybody's.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use crate::client::{Body, Client, Request, Usage};

const MAX_FILES: usize = 20;
const MAX_BYTES: u64 = 10 * 1024 * 1024;
/// What RFC 5987 leaves unencoded in a name is a part of this.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'\'')
    .add(b'(')
    .add(b')')
    .add(b'*')
    .add(b',')
    .add(b'/')
    .add(b';')
    .add(b':')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'{')
    .add(b'}');

/// A file that was read.
#[derive(Clone)]
pub(crate) struct Attachment {
    name: String,
    media_type: &'static str,
    bytes: Vec<u8>,
}

/// A message with its files.
#[derive(Clone, Default)]
pub(crate) struct Message {
    /// Texts as they follow one another; none is blank.
    pub(crate) texts: Vec<String>,
    pub(crate) files: Vec<Attachment>,
}

/// Reads the files that a text names.
pub(crate) fn read(text: &str) -> anyhow::Result<Message> {
    let (text, paths) = named(text, |path| expanded(path).exists());
    if paths.len() > MAX_FILES {
        return Err(Usage(format!("a message takes {MAX_FILES} files at most; this one names {}", paths.len())).into());
    }
    let files = paths.iter().map(|path| attachment(path)).collect::<anyhow::Result<_>>()?;
    Ok(Message { texts: vec![text], files })
}

/// The text as it is sent, and the paths it names.
fn named(text: &str, exists: impl Fn(&str) -> bool) -> (String, Vec<String>) {
    let (mut sent, mut paths) = (String::new(), Vec::new());
    let (mut from, mut at) = (0, 0);
    while let Some(found) = text[at..].find('@') {
        let sign = at + found;
        at = sign + 1;
        match meaning(&text[..sign], &text[at..], &exists) {
            Meaning::Text => {}
            Meaning::Escaped => {
                sent.push_str(&text[from..sign - 1]);
                from = sign;
            }
            Meaning::File { length, path } => {
                at += length;
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
    }
    sent.push_str(&text[from..]);
    (sent, paths)
}

/// A text that is pasted between two others, so that it names no file there and is sent as it is.
pub(crate) fn escaped(before: &str, pasted: &str, after: &str) -> String {
    escape(before, pasted, after, |path| expanded(path).exists())
}

fn escape(before: &str, pasted: &str, after: &str, exists: impl Fn(&str) -> bool) -> String {
    let mut whole = format!("{before}{pasted}{after}");
    // from the end on, so that what follows a sign is looked at as it will stand there
    for (sign, _) in pasted.rmatch_indices('@') {
        let sign = before.len() + sign;
        if !matches!(meaning(&whole[..sign], &whole[sign + 1..], &exists), Meaning::Text) {
            whole.insert(sign, '\\');
        }
    }
    whole[before.len()..whole.len() - after.len()].to_owned()
}

/// What a sign stands for.
enum Meaning {
    /// Itself.
    Text,
    /// Itself, without the backslash before it.
    Escaped,
    /// A file, whose name takes this many bytes after the sign.
    File { length: usize, path: String },
}

fn meaning(before: &str, rest: &str, exists: &impl Fn(&str) -> bool) -> Meaning {
    let word_before = before.trim_end_matches('\\');
    let last = word_before.chars().next_back();
    let begins_word = last.is_none_or(|c| c.is_whitespace() || matches!(c, '(' | '[' | '{' | '"' | '\''));
    if !begins_word {
        return Meaning::Text;
    }
    if word_before.len() < before.len() {
        return Meaning::Escaped;
    }
    // a quote that closes right after the sign, as in '@', begins no name
    let is_quoted_sign = last.is_some_and(|last| matches!(last, '"' | '\'') && rest.starts_with(last));
    match path(rest, exists) {
        Some((length, path)) if !is_quoted_sign => Meaning::File { length, path },
        _ => Meaning::Text,
    }
}

/// The path after a sign, and how many bytes of the text it takes.
fn path(rest: &str, exists: &impl Fn(&str) -> bool) -> Option<(usize, String)> {
    if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let quoted = &rest[1..];
        let end = quoted.find([quote, '\n']).filter(|end| quoted[*end..].starts_with(quote) && *end > 0)?;
        return Some((end + 2, quoted[..end].to_owned()));
    }
    let word = word(rest);
    if word.is_empty() || word.starts_with('@') {
        return None;
    }
    // a name may hold a backslash, and may end as a sentence does
    let literal = rest.split(char::is_whitespace).next().unwrap_or_default();
    let trimmed = word.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}', '"', '\'']);
    let candidates = [(literal, literal.to_owned()), (word, unescaped(word)), (trimmed, unescaped(trimmed))];
    if let Some((source, path)) = candidates.into_iter().find(|(_, path)| !path.is_empty() && exists(path)) {
        return Some((source.len(), path));
    }
    trimmed.contains(['/', '.']).then(|| (trimmed.len(), unescaped(trimmed)))
}

/// The word that a text begins with; a space behind a backslash is a part of it, as in a shell.
fn word(text: &str) -> &str {
    let mut follows_backslash = false;
    let end = text.find(|c: char| {
        let ends = c.is_whitespace() && (!follows_backslash || c == '\n');
        follows_backslash = c == '\\' && !follows_backslash;
        ends
    });
    &text[..end.unwrap_or(text.len())]
}

/// A name as terminals write one that is dropped on them, without its backslashes. Before letters and digits they
/// write none.
fn unescaped(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = chars.next_if(|next| c == '\\' && !next.is_alphanumeric());
        path.push(escaped.unwrap_or(c));
    }
    path
}

fn expanded(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

fn attachment(path: &str) -> anyhow::Result<Attachment> {
    let fault = |what: &str| Usage(format!("@{path}: {what}"));
    let place = expanded(path);
    let metadata = match place.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(fault("there is no such file; write \\@ for the sign itself").into());
        }
        Err(error) => return Err(error).with_context(|| fault("cannot be read")),
    };
    if metadata.is_dir() {
        return Err(fault("is a folder; name its files").into());
    }
    if !metadata.is_file() {
        return Err(fault("is not a regular file").into());
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&place).with_context(|| fault("cannot be read"))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).with_context(|| fault("cannot be read"))?;
    if bytes.is_empty() {
        return Err(fault("is empty").into());
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(fault("is larger than 10 MiB").into());
    }
    let name = place.file_name().map_or_else(|| "file".to_owned(), |name| name.to_string_lossy().into_owned());
    let Some(media_type) = media_type(&name, &bytes) else {
        return Err(fault("is neither text nor a picture (PNG, JPEG, GIF, WebP) nor a PDF").into());
    };
    Ok(Attachment { name, media_type, bytes })
}

/// As the server tells them: a text may well begin as a picture or a PDF does.
fn media_type(name: &str, bytes: &[u8]) -> Option<&'static str> {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let is_text = !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok();
    match (bytes, extension.as_deref()) {
        // one without pictures and fonts of its own is text as well
        ([b'%', b'P', b'D', b'F', b'-', ..], Some("pdf")) => Some("application/pdf"),
        (_, Some("json")) if is_text => Some("application/json"),
        (_, Some("csv")) if is_text => Some("text/csv"),
        (_, Some("md")) if is_text => Some("text/markdown"),
        _ if is_text => Some("text/plain"),
        ([0x89, b'P', b'N', b'G', ..], _) => Some("image/png"),
        ([0xff, 0xd8, 0xff, ..], _) => Some("image/jpeg"),
        ([b'G', b'I', b'F', b'8', ..], _) => Some("image/gif"),
        ([b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..], _) => Some("image/webp"),
        ([b'%', b'P', b'D', b'F', b'-', ..], _) => Some("application/pdf"),
        _ => None,
    }
}

/// Uploads files, and gives the parts of a message that name them.
pub(crate) async fn upload(client: &Client, files: Vec<Attachment>) -> anyhow::Result<Vec<Value>> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let me = client.get("/api/v2/users/me").await?;
    let organization = me["organization_ids"][0].as_str().context("you are in no organization, which files need")?;
    let mut parts = Vec::new();
    for Attachment { name, media_type, bytes } in files {
        let disposition = format!("attachment; filename*=UTF-8''{}", utf8_percent_encode(&name, ENCODED));
        let path = format!("{}/files?organization={organization}", crate::client::CHATS);
        let file = client.call(Request::post(path, Body::File { bytes, media_type, disposition })).await;
        let file = file.with_context(|| format!("cannot upload {name}"))?;
        parts.push(json!({ "type": "file", "file_id": file["id"] }));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths(text: &str) -> (String, Vec<String>) {
        named(text, |path| matches!(path, "Makefile" | "what?.txt" | r"odd\" | "my pic.png" | "it's (1)"))
    }

    #[test]
    fn words_that_name_files() {
        for (text, expected) in [
            ("look at @src/main.rs, please", &["src/main.rs"][..]),
            ("(@a.png) and @\"my picture.png\".", &["a.png", "my picture.png"]),
            ("@Makefile @Makefile! @what?.txt", &["Makefile", "what?.txt"]),
            ("mail a@b.c, ask @alice, @Override, @ alone, @@x.y", &[]),
            // as terminals write a file that is dropped on them
            (r"see @my\ pic.png, and @'my pic.png'.", &["my pic.png"]),
            (r"see @it\'s\ \(1\)", &["it's (1)"]),
            (r"see @no\ such.png", &["no such.png"]),
            (r"see @src\main.rs and @odd\ one", &[r"src\main.rs", r"odd\"]),
            // one that is only spoken of
            (r#"the '@' sign and 'a.b', the "@" and "a.b""#, &[]),
        ] {
            assert_eq!(
                paths(text),
                (text.to_owned(), expected.iter().map(|path| (*path).to_owned()).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn the_last_of_several_backslashes_belongs_to_the_sign() {
        for (text, sent) in [
            (r"npm i \@types/node", "npm i @types/node"),
            (r"sum(\\@nums)", r"sum(\@nums)"),
            (r"\\\@a.b", r"\\@a.b"),
            (r"C:\@a.b", r"C:\@a.b"),
        ] {
            assert_eq!(paths(text), (sent.to_owned(), Vec::new()), "{text}");
        }
    }

    #[test]
    fn a_paste_is_escaped_by_what_stands_before_it() {
        for (before, pasted, shown) in [
            ("explain ", r"sum(\@nums)", r"sum(\\@nums)"),
            ("mail bob", "@example.com", "@example.com"),
            ("mail ", "@example.com", r"\@example.com"),
            (r"mail \", "@example.com", r"\@example.com"),
            // the sign that was typed names what follows it
            ("see @", "src/main.rs", "src/main.rs"),
        ] {
            assert_eq!(escape(before, pasted, "", |_| false), shown, "{before}{pasted}");
        }
    }

    #[test]
    fn types_are_told_by_content() {
        assert_eq!(media_type("a.txt", b"\x89PNG\r\n"), Some("image/png"));
        assert_eq!(media_type("a.txt", b"GIF89a\x01\x00"), Some("image/gif"));
        assert_eq!(media_type("a.md", "# größe".as_bytes()), Some("text/markdown"));
        assert_eq!(media_type("main.rs", b"fn main() {}"), Some("text/plain"));
        assert_eq!(media_type("a.txt", b"a\0b"), None);
        assert_eq!(media_type("a.txt", b"\xff\xfe"), None);
    }

    #[test]
    fn a_text_may_begin_as_a_picture_or_a_pdf_does() {
        assert_eq!(media_type("a.md", b"GIF89a is how a GIF begins"), Some("text/markdown"));
        assert_eq!(media_type("a.txt", b"RIFF0000WEBP"), Some("text/plain"));
        assert_eq!(media_type("a.txt", b"%PDF-1.7 is how a PDF begins"), Some("text/plain"));
        assert_eq!(media_type("a.PDF", b"%PDF-1.7\n1 0 obj"), Some("application/pdf"));
        assert_eq!(media_type("a", b"%PDF-1.7\n\xe2\xe3"), Some("application/pdf"));
    }

    proptest! {
        #[test]
        fn pasted_text_names_no_file_and_is_sent_as_it_was(
            before in "([a-z/.\"'\\\\ (]|\n){0,10}",
            pasted in "([a-z@/.\"'\\\\ (]|\n){0,60}",
            after in "([a-z/.\"'\\\\ (]|\n){0,10}",
        ) {
            let exists = |path: &str| path.len() == 1;
            let (sent, paths) = named(&format!("{before}{}{after}", escape(&before, &pasted, &after, exists)), exists);
            prop_assert!(paths.is_empty(), "{paths:?}");
            prop_assert_eq!(sent, before + &pasted + &after);
        }
    }
}
