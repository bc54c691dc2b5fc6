//! What adapters share in turning stored parts into a provider's messages.

use std::borrow::Cow;

use atelier_domain::message::{FilePart, Native, Origin, SourcePart, ToolCallPart, ToolResultPart};
use atelier_domain::text::head;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::value::RawValue;

/// A provider-run result told to another provider is cut to this.
const MAX_TOLD_BYTES: usize = 4 * 1024;

/// The block to replay to `origin`: `None` if it came from elsewhere, or is no JSON.
pub(crate) fn replayable<'a>(native: Option<&'a Native>, origin: &Origin) -> Option<&'a RawValue> {
    let native = native.filter(|native| native.origin == *origin)?;
    serde_json::from_str(&native.block).ok()
}

/// Text of a tool result for the model.
pub(crate) fn result_text(result: &ToolResultPart) -> Cow<'_, str> {
    match &result.result {
        Value::String(text) => sent_text(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// U+0000 is stored, and sent as U+FFFD: providers refuse it.
pub(crate) fn sent_text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// The arguments of a call as the object every provider wants.
pub(crate) fn call_args(call: &ToolCallPart) -> Cow<'_, Value> {
    if call.args.is_object() { Cow::Borrowed(&call.args) } else { Cow::Owned(Value::Object(serde_json::Map::new())) }
}

/// What a call that another provider ran was, in words.
pub(crate) fn told_call(call: &ToolCallPart) -> String {
    format!("[{} was called with {}]", call.tool_name, call_args(call))
}

/// What came of it, in words.
pub(crate) fn told_result(result: &ToolResultPart) -> String {
    let text = result_text(result);
    let shown = head(&text, MAX_TOLD_BYTES);
    let more = if shown.len() < text.len() { " ..." } else { "" };
    format!("[result of {}: {shown}{more}]", result.tool_name)
}

/// Whether the provider that named `source` gets its answer back: it knows its sources then.
pub(crate) fn is_own_source(source: &SourcePart, origin: &Origin) -> bool {
    source.native.as_ref().is_some_and(|native| native.origin == *origin)
}

pub(crate) fn told_source(source: &SourcePart) -> String {
    source
        .title
        .as_ref()
        .map_or_else(|| format!("[source: {}]", source.url), |title| format!("[source: {title}, {}]", source.url))
}

/// A file as models take it.
pub(crate) enum ModelFile<'a> {
    Image { media_type: &'a str, data: &'a str },
    Pdf { name: &'a str, data: &'a str },
    Text(String),
}

/// What of `file` a model can read: pictures, PDF and text; else the words that stand for it.
pub(crate) fn model_file(file: &FilePart) -> ModelFile<'_> {
    let name = file.name.as_deref().unwrap_or("unnamed");
    let missing = || ModelFile::Text(format!("[file not available: {name}]"));
    let Some(data) = file.data.as_deref() else {
        return missing();
    };
    let media_type = file.media_type.split(';').next().unwrap_or_default().trim();
    match media_type {
        "image/png" | "image/jpeg" | "image/gif" | "image/webp" => ModelFile::Image { media_type, data },
        "application/pdf" => ModelFile::Pdf { name, data },
        _ if is_text(media_type) => match STANDARD.decode(data) {
            Ok(bytes) => ModelFile::Text(format!("File {name}:\n{}", sent_text(&String::from_utf8_lossy(&bytes)))),
            Err(_) => missing(),
        },
        _ => missing(),
    }
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
            .filter(|(name, _)| !name.starts_with("encrypted_") && *name != "signature")
            .map(|(name, value)| (name.clone(), without_private(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_private).collect(),
        other => other.clone(),
    }
}
