//! What adapters share in turning stored parts into a provider's messages.

use std::borrow::Cow;

use atelier_domain::message::{FilePart, MessagePart, Native, Origin, SourcePart, ToolCallPart, ToolResultPart};
use atelier_domain::text::head;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::request::LeftOut;

/// A provider-run result told to another provider is cut to this.
const MAX_TOLD_BYTES: usize = 4 * 1024;

/// The block to replay to `origin`: `None` if it came from elsewhere, or is no JSON. It goes back as it came, but
/// for U+0000 in words that no signature vouches for.
pub(crate) fn replayable<'a>(native: Option<&'a Native>, origin: &Origin) -> Option<Cow<'a, RawValue>> {
    let native = native.filter(|native| native.origin == *origin)?;
    let block: &RawValue = serde_json::from_str(&native.block).ok()?;
    if !block.get().contains("\\u0000") {
        return Some(Cow::Borrowed(block));
    }
    let value: Value = serde_json::from_str(block.get()).ok()?;
    to_raw_value(&without_nul(&value, is_signed)).ok().map(Cow::Owned)
}

/// Text of a tool result for the model.
pub(crate) fn result_text(result: &ToolResultPart) -> Cow<'_, str> {
    match &result.result {
        Value::String(text) => sent_text(text),
        other => Cow::Owned(sent_value(other).to_string()),
    }
}

/// U+0000 is stored, and sent as U+FFFD: providers refuse it.
pub(crate) fn sent_text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// The same for all texts inside of `value`.
fn sent_value(value: &Value) -> Cow<'_, Value> {
    if holds_nul(value) { Cow::Owned(without_nul(value, |_| false)) } else { Cow::Borrowed(value) }
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// `value` with U+0000 replaced, but for the objects that `is_spared`.
fn without_nul(value: &Value, is_spared: fn(&Map<String, Value>) -> bool) -> Value {
    match value {
        Value::String(text) => Value::String(sent_text(text).into_owned()),
        Value::Array(items) => items.iter().map(|item| without_nul(item, is_spared)).collect(),
        Value::Object(fields) if is_spared(fields) => value.clone(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (sent_text(name).into_owned(), without_nul(value, is_spared))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Whether the provider would notice a change to the object.
fn is_signed(fields: &Map<String, Value>) -> bool {
    fields.iter().any(|(name, value)| is_private(name) && !value.is_null())
}

/// Characters of a tool's name at most.
const MAX_NAME: usize = 64;

/// The name of a called tool as every provider takes it, `[A-Za-z0-9_-]{1,64}`: a model can make up others,
/// and a provider refuses each later request that holds one.
pub(crate) fn sent_name(name: &str) -> Cow<'_, str> {
    let is_sendable = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() {
        return Cow::Borrowed("unknown");
    }
    if name.len() <= MAX_NAME && name.chars().all(is_sendable) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.chars().take(MAX_NAME).map(|c| if is_sendable(c) { c } else { '_' }).collect())
}

/// The ids of calls that a provider takes. Stored ones are `[A-Za-z0-9_-]{1,64}`, whoever made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallIds {
    UpTo(usize),
    /// Exactly so many letters and digits.
    Letters(usize),
}

impl CallIds {
    /// The id that stands for `id`, the same in every request.
    pub(crate) fn sent(self, id: &str) -> Cow<'_, str> {
        /// Digits of the hash in a shortened id.
        const DIGITS: usize = 12;
        match self {
            Self::UpTo(max) if id.len() > max => {
                let digits = hash(id, DIGITS);
                Cow::Owned(format!("{}_{digits}", head(id, max - DIGITS - 1)))
            }
            Self::Letters(count) if id.len() != count || !id.chars().all(|c| c.is_ascii_alphanumeric()) => {
                Cow::Owned(hash(id, count))
            }
            Self::UpTo(_) | Self::Letters(_) => Cow::Borrowed(id),
        }
    }
}

/// The first hexadecimal digits of a text's SHA-256.
fn hash(text: &str, digits: usize) -> String {
    let bytes = Sha256::digest(text.as_bytes());
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .take(digits)
        .collect()
}

/// The arguments of a call as the object every provider wants.
pub(crate) fn call_args(call: &ToolCallPart) -> Cow<'_, Value> {
    if call.args.is_object() { sent_value(&call.args) } else { Cow::Owned(Value::Object(serde_json::Map::new())) }
}

/// Whether a call can be sent with the name and the arguments its provider gave it.
pub(crate) fn is_sent_as_stored(call: &ToolCallPart) -> bool {
    sent_name(&call.tool_name) == call.tool_name && !holds_nul(&call.args)
}

/// What a call that another provider ran was, in words.
pub(crate) fn told_call(call: &ToolCallPart) -> String {
    format!("[{} was called with {}]", sent_text(&call.tool_name), call_args(call))
}

/// What came of it, in words.
pub(crate) fn told_result(result: &ToolResultPart) -> String {
    let text = result_text(result);
    let shown = head(&text, MAX_TOLD_BYTES);
    let more = if shown.len() < text.len() { " ..." } else { "" };
    format!("[result of {}: {shown}{more}]", sent_text(&result.tool_name))
}

/// Whether the provider that named `source` gets its answer back: it knows its sources then.
pub(crate) fn is_own_source(source: &SourcePart, origin: &Origin) -> bool {
    source.native.as_ref().is_some_and(|native| native.origin == *origin)
}

pub(crate) fn told_source(source: &SourcePart) -> String {
    let url = sent_text(&source.url);
    match &source.title {
        Some(title) => format!("[source: {}, {url}]", sent_text(title)),
        None => format!("[source: {url}]"),
    }
}

/// A file as models take it.
pub(crate) enum ModelFile<'a> {
    Image { media_type: &'a str, data: &'a str },
    Pdf { name: &'a str, data: &'a str },
    Text(String),
}

/// What of `file` a model can read: pictures, PDF and text; else the words that stand for it.
pub(crate) fn model_file(file: &FilePart, left_out: LeftOut) -> ModelFile<'_> {
    let name = file.name.as_deref().unwrap_or("unnamed");
    let missing = || ModelFile::Text(format!("[file not available: {name}]"));
    let Some(data) = file.data.as_deref() else {
        return missing();
    };
    let media_type = file.media_type.split(';').next().unwrap_or_default().trim();
    if left_out.media && is_media(media_type) {
        return ModelFile::Text(format!("[file left out, because this model does not take it: {name}]"));
    }
    match media_type {
        _ if PICTURES.contains(&media_type) => ModelFile::Image { media_type, data },
        PDF => ModelFile::Pdf { name, data },
        _ if is_text(media_type) => match STANDARD.decode(data) {
            Ok(bytes) => ModelFile::Text(format!("File {name}:\n{}", sent_text(&String::from_utf8_lossy(&bytes)))),
            Err(_) => missing(),
        },
        _ => missing(),
    }
}

/// The kinds of files that are sent as they are.
const PICTURES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const PDF: &str = "application/pdf";

fn is_media(media_type: &str) -> bool {
    media_type == PDF || PICTURES.contains(&media_type)
}

/// Whether a model that takes no files besides text could refuse `part`.
pub(crate) fn is_media_part(part: &MessagePart) -> bool {
    matches!(part, MessagePart::File(file) if file.data.is_some() && is_media(&file.media_type))
}

fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/")
        || media_type.ends_with("+json")
        || media_type.ends_with("+xml")
        || matches!(media_type, "application/json" | "application/xml" | "application/yaml" | "application/toml")
}

/// `value` without what only the provider itself needs: it is shown to people.
pub(crate) fn without_private(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !is_private(name))
            .map(|(name, value)| (name.clone(), without_private(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_private).collect(),
        other => other.clone(),
    }
}

/// Names of fields that a provider has sealed.
fn is_private(name: &str) -> bool {
    name.starts_with("encrypted_") || name == "signature"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nul_goes_back_only_where_a_signature_vouches_for_the_words() {
        let origin = Origin { provider: "p".into(), host: "h".into(), model: "m".into() };
        let table = [
            (json!({"reasoning_content": "a\0b"}), json!({"reasoning_content": "a\u{fffd}b"})),
            (json!({"thinking": "a\0b", "signature": "s"}), json!({"thinking": "a\0b", "signature": "s"})),
            (json!({"thinking": "a\0b", "signature": null}), json!({"thinking": "a\u{fffd}b", "signature": null})),
            (
                json!({"reasoning": "\0", "reasoning_details": [{"text": "\0", "signature": "s"}, {"text": "\0"}]}),
                json!({"reasoning": "\u{fffd}", "reasoning_details": [{"text": "\0", "signature": "s"}, {"text": "\u{fffd}"}]}),
            ),
            (json!({"text": "\\u0000"}), json!({"text": "\\u0000"})),
        ];
        for (block, expected) in table {
            let native = Native { origin: origin.clone(), block: block.to_string() };
            assert_eq!(replayable(Some(&native), &origin).unwrap().get(), expected.to_string());
        }
        let source = SourcePart { url: "u\0".into(), title: Some("t\0".into()), source_id: None, native: None };
        assert_eq!(told_source(&source), "[source: t\u{fffd}, u\u{fffd}]");
    }

    #[test]
    fn names_are_sent_as_providers_take_them() {
        assert_eq!(sent_name("read_file"), "read_file");
        assert_eq!(sent_name("functions.read file"), "functions_read_file");
        assert_eq!(sent_name("ä"), "_");
        assert_eq!(sent_name(""), "unknown");
        assert_eq!(sent_name(&"x".repeat(100)), "x".repeat(64));
    }

    #[test]
    fn ids_are_mapped_only_where_they_have_to_be_and_stay_apart() {
        let long = |last: &str| format!("chatcmpl-tool-{}{last}", "0".repeat(31));
        let ids = CallIds::UpTo(40);
        assert_eq!(ids.sent("call_1"), "call_1");
        assert_eq!(ids.sent(&long("a")).len(), 40);
        assert_ne!(ids.sent(&long("a")), ids.sent(&long("b")));
        assert_eq!(ids.sent(&long("a")), ids.sent(&long("a")));
        let nine = CallIds::Letters(9);
        assert_eq!(nine.sent("D681PevKs"), "D681PevKs");
        for id in ["call_1", "D681Pev_s", &long("a")] {
            let sent = nine.sent(id);
            assert!(sent.len() == 9 && sent.chars().all(|c| c.is_ascii_alphanumeric()), "{sent}");
        }
    }
}
