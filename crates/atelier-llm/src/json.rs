//! Reading JSON that came over a wire, and is sometimes not quite JSON.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Reads `bytes`, with invalid UTF-8 and lone surrogates as U+FFFD.
///
/// Sound input, the usual case, is read once and never copied.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let error = match serde_json::from_slice(bytes) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    match repaired(&String::from_utf8_lossy(bytes), std::str::from_utf8(bytes).is_err()) {
        Some(text) => serde_json::from_str(&text),
        None => Err(error),
    }
}

/// The object that a JSON text says. Some servers put their error into a list.
pub(crate) fn object(text: &[u8]) -> Option<Map<String, Value>> {
    let value = from_slice(text).ok()?;
    let value = if let Value::Array(list) = value { list.into_iter().next()? } else { value };
    if let Value::Object(object) = value { Some(object) } else { None }
}

/// Takes a text out of `fields`. A field of another shape is absent.
pub(crate) fn take_text(fields: &mut Map<String, Value>, name: &str) -> Option<String> {
    match fields.shift_remove(name) {
        Some(Value::String(text)) => Some(text),
        Some(_) | None => None,
    }
}

/// Takes an object out of `fields`. A field of another shape is absent.
pub(crate) fn take_object(fields: &mut Map<String, Value>, name: &str) -> Option<Map<String, Value>> {
    match fields.shift_remove(name) {
        Some(Value::Object(object)) => Some(object),
        Some(_) | None => None,
    }
}

/// Takes a list out of `fields`. A field of another shape is absent.
pub(crate) fn take_list(fields: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match fields.shift_remove(name) {
        Some(Value::Array(list)) => list,
        Some(_) | None => Vec::new(),
    }
}

/// Takes the arguments of a call, or a piece of them, out of `fields`: JSON in a text, or what it would say.
pub(crate) fn take_arguments(fields: &mut Map<String, Value>, name: &str) -> String {
    match fields.shift_remove(name) {
        Some(Value::String(text)) => text,
        Some(Value::Null) | None => String::new(),
        Some(value) => value.to_string(),
    }
}

/// The object that `text` says, and whether it says none. No text at all is no argument.
pub(crate) fn arguments(text: &str) -> (Value, bool) {
    if text.trim().is_empty() {
        return (Value::Object(Map::new()), false);
    }
    match from_slice::<Value>(text.as_bytes()) {
        Ok(args @ Value::Object(_)) => (args, false),
        Ok(_) | Err(_) => (Value::Object(Map::new()), true),
    }
}

/// `text` with escapes of lone surrogates replaced; `None` if nothing was wrong with it.
fn repaired(text: &str, is_changed: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let mut fixed: Cow<'_, str> = Cow::Borrowed(text);
    let mut at = 0;
    while at + 1 < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        match surrogate(bytes, at) {
            None => at += 2,
            Some(Surrogate::High) if matches!(surrogate(bytes, at + 6), Some(Surrogate::Low)) => {
                at += 12;
            }
            Some(Surrogate::High | Surrogate::Low) => {
                // the same number of bytes, so positions stay
                fixed.to_mut().replace_range(at..at + 6, "\\ufffd");
                at += 6;
            }
        }
    }
    match fixed {
        Cow::Owned(text) => Some(text),
        Cow::Borrowed(text) => is_changed.then(|| text.to_owned()),
    }
}

enum Surrogate {
    High,
    Low,
}

fn surrogate(bytes: &[u8], at: usize) -> Option<Surrogate> {
    let [b'\\', b'u', b'd' | b'D', kind, third, fourth] = bytes.get(at..at + 6)? else {
        return None;
    };
    if !third.is_ascii_hexdigit() || !fourth.is_ascii_hexdigit() {
        return None;
    }
    match kind {
        b'8' | b'9' | b'a' | b'b' | b'A' | b'B' => Some(Surrogate::High),
        b'c'..=b'f' | b'C'..=b'F' => Some(Surrogate::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Option<String> {
        from_slice::<String>(bytes).ok()
    }

    #[test]
    fn broken_characters_become_replacements() {
        assert_eq!(read(br#""a\ud83d\ude00b""#).unwrap(), "a\u{1f600}b");
        assert_eq!(read(br#""a\ud83db""#).unwrap(), "a\u{fffd}b");
        assert_eq!(read(br#""\ude00\ud83d\ud83d\ude00""#).unwrap(), "\u{fffd}\u{fffd}\u{1f600}");
        assert_eq!(read(b"\"a\xffb\"").unwrap(), "a\u{fffd}b");
        assert_eq!(read(b"\"\xff\\ud800\"").unwrap(), "\u{fffd}\u{fffd}");
        assert_eq!(read(br#""\\ud800""#).unwrap(), "\\ud800");
        assert_eq!(read(br#""nul \u0000""#).unwrap(), "nul \0");
        assert_eq!(read(br#""open"#), None);
    }

    #[test]
    fn arguments_are_an_object_or_invalid() {
        let read = |text| {
            let (args, invalid) = arguments(text);
            (args.to_string(), invalid)
        };
        assert_eq!(read(""), ("{}".into(), false));
        assert_eq!(read(" {\"a\": 1} "), ("{\"a\":1}".into(), false));
        assert_eq!(read(r#"{"a":"\ud800"}"#), ("{\"a\":\"\u{fffd}\"}".into(), false));
        for bad in ["{\"a\":", "[1]", "\"x\"", "null", "{} {}"] {
            assert_eq!(read(bad), ("{}".into(), true), "{bad}");
        }
        assert!(read(&format!("{{\"a\":{}", "[".repeat(100_000))).1);
    }

    proptest! {
        #[test]
        fn sound_json_is_unchanged(text in "\\PC{0,20}") {
            prop_assert_eq!(read(serde_json::to_string(&text).unwrap().as_bytes()), Some(text));
        }

        #[test]
        fn any_string_of_bytes_is_read(bytes in prop::collection::vec(any::<u8>(), 0..40), escapes in prop::collection::vec(0_u16.., 0..6)) {
            let mut json = vec![b'"'];
            json.extend(bytes.into_iter().filter(|byte| !matches!(byte, 0..=31 | b'"' | b'\\')));
            for escape in escapes {
                json.extend(format!("\\u{escape:04x}").bytes());
            }
            json.push(b'"');
            prop_assert!(read(&json).is_some());
        }
    }
}
