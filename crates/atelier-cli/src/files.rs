//! Files that a message names: `@notes.md`, `@"a picture.png"`. They are read here and uploaded with the message.
//!
//! A word is a file when it begins with `@`, and has a slash or a dot in it or names something that exists.
//! `\@` stands for the sign itself. Text that was pasted or came by a pipe names no files: it may be anybody's.

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
    for piece in pieces(text, exists) {
        match piece {
            Piece::Text(text) => sent.push_str(text),
            Piece::Escaped => sent.push('@'),
            Piece::File { source, path } => {
                sent.push_str(source);
                if !paths.iter().any(|known| known == path) {
                    paths.push(path.to_owned());
                }
            }
        }
    }
    (sent, paths)
}

/// A text in which nothing names a file, for what was pasted.
pub(crate) fn escaped(text: &str) -> String {
    escape(text, |path| expanded(path).exists())
}

fn escape(text: &str, exists: impl Fn(&str) -> bool + Copy) -> String {
    let escaped = |piece| match piece {
        Piece::Text(text) => text.to_owned(),
        Piece::Escaped => r"\@".to_owned(),
        // without its own sign a path may still hold another one
        Piece::File { source, .. } => format!(r"\@{}", escape(&source[1..], exists)),
    };
    pieces(text, exists).into_iter().map(escaped).collect()
}

enum Piece<'a> {
    Text(&'a str),
    /// `\@`
    Escaped,
    File {
        source: &'a str,
        path: &'a str,
    },
}

fn pieces(text: &str, exists: impl Fn(&str) -> bool) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut from, mut at) = (0, 0);
    while let Some(found) = text[at..].find('@') {
        let sign = at + found;
        at = sign + 1;
        let before = &text[..sign];
        if before.ends_with('\\') && begins_word(&before[..before.len() - 1]) {
            pieces.extend([Piece::Text(&text[from..sign - 1]), Piece::Escaped]);
            from = at;
        } else if begins_word(before)
            && let Some((length, path)) = path(&text[at..], &exists)
        {
            pieces.extend([Piece::Text(&text[from..sign]), Piece::File { source: &text[sign..at + length], path }]);
            at += length;
            from = at;
        }
    }
    pieces.push(Piece::Text(&text[from..]));
    pieces
}

fn begins_word(before: &str) -> bool {
    before.chars().next_back().is_none_or(|c| c.is_whitespace() || matches!(c, '(' | '[' | '{' | '"' | '\''))
}

/// The path after a sign, and how many bytes of the text it takes.
fn path<'a>(rest: &'a str, exists: &impl Fn(&str) -> bool) -> Option<(usize, &'a str)> {
    if let Some(quoted) = rest.strip_prefix('"') {
        let end = quoted.find(['"', '\n']).filter(|end| quoted[*end..].starts_with('"') && *end > 0)?;
        return Some((end + 2, &quoted[..end]));
    }
    let word = &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())];
    if word.is_empty() || word.starts_with('@') {
        return None;
    }
    if exists(word) {
        return Some((word.len(), word));
    }
    // the end of a sentence is no part of the name
    let word = word.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}', '"', '\'']);
    let is_path = !word.is_empty() && (word.contains(['/', '.']) || exists(word));
    is_path.then_some((word.len(), word))
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

fn media_type(name: &str, bytes: &[u8]) -> Option<&'static str> {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'%', b'P', b'D', b'F', b'-', ..] => Some("application/pdf"),
        _ if bytes.contains(&0) || std::str::from_utf8(bytes).is_err() => None,
        _ => Some(match extension.as_deref() {
            Some("json") => "application/json",
            Some("csv") => "text/csv",
            Some("md") => "text/markdown",
            _ => "text/plain",
        }),
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
        named(text, |path| matches!(path, "Makefile" | "what?.txt"))
    }

    #[test]
    fn words_that_name_files() {
        for (text, expected) in [
            ("look at @src/main.rs, please", &["src/main.rs"][..]),
            ("(@a.png) and @\"my picture.png\".", &["a.png", "my picture.png"]),
            ("@Makefile @Makefile! @what?.txt", &["Makefile", "what?.txt"]),
            ("mail a@b.c, ask @alice, @Override, @ alone, @@x.y", &[]),
        ] {
            assert_eq!(
                paths(text),
                (text.to_owned(), expected.iter().map(|path| (*path).to_owned()).collect()),
                "{text}"
            );
        }
        assert_eq!(paths(r"npm i \@types/node"), ("npm i @types/node".to_owned(), Vec::new()));
    }

    #[test]
    fn types_are_told_by_content() {
        assert_eq!(media_type("a.txt", b"\x89PNG\r\n"), Some("image/png"));
        assert_eq!(media_type("a.md", "# größe".as_bytes()), Some("text/markdown"));
        assert_eq!(media_type("main.rs", b"fn main() {}"), Some("text/plain"));
        assert_eq!(media_type("a.txt", b"a\0b"), None);
        assert_eq!(media_type("a.txt", b"\xff\xfe"), None);
    }

    proptest! {
        #[test]
        fn pasted_text_names_no_file_and_is_sent_as_it_was(text in "([a-z@/.\"\\\\ (]|\n){0,60}") {
            let exists = |path: &str| path.len() == 1;
            let (sent, paths) = named(&escape(&text, exists), exists);
            prop_assert!(paths.is_empty(), "{paths:?}");
            prop_assert_eq!(sent.replace('\\', ""), text.replace('\\', ""));
        }
    }
}
