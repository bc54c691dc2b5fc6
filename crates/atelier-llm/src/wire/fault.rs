//! Errors that come in the place of an answer, or in the middle of it, with status 200.

use serde_json::{Map, Value};

use crate::error::Reported;

/// What servers without an error object call its words.
const WORDS: [&str; 3] = ["message", "detail", "msg"];

/// The error that `object` says. Words alone are one only if the object is no part of an answer.
pub(crate) fn reported(object: &Map<String, Value>, is_answer: bool) -> Option<Reported> {
    match object.get("error") {
        Some(Value::String(words)) if words.is_empty() => {}
        Some(error @ (Value::String(_) | Value::Object(_))) => {
            let mut reported = Reported::from_value(error);
            reported.message = reported.message.or_else(|| Some(error.to_string()));
            return Some(reported);
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | None => {}
    }
    if is_answer {
        return None;
    }
    let words = WORDS.iter().find_map(|name| words(object.get(*name)?))?;
    let mut reported = Reported::from_value(&Value::Object(object.clone()));
    reported.message = Some(words);
    // `type` may say no more than that it is one
    reported.error_type = reported.error_type.filter(|name| name != "error");
    Some(reported)
}

/// A text, or a list of faults as web frameworks give it.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => (!text.trim().is_empty()).then(|| text.clone()),
        Value::Array(list) => (!list.is_empty()).then(|| value.to_string()),
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(object: &Value, is_answer: bool) -> Option<(Option<String>, Option<u16>)> {
        let reported = reported(object.as_object().unwrap(), is_answer)?;
        Some((reported.message, reported.status))
    }

    #[test]
    fn errors_are_known_in_many_shapes() {
        let table = [
            (json!({"error": {"message": "m", "code": 503}}), "m", Some(503)),
            (json!({"error": "m"}), "m", None),
            (json!({"error": {"why": "m"}}), "{\"why\":\"m\"}", None),
            (json!({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}), "m", Some(400)),
            (json!({"detail": "m"}), "m", None),
            (json!({"detail": [{"msg": "m"}]}), "[{\"msg\":\"m\"}]", None),
            (json!({"error": true, "message": "m"}), "m", None),
            (json!({"code": 500, "msg": "m"}), "m", Some(500)),
        ];
        for (object, words, status) in table {
            assert_eq!(found(&object, false), Some((Some(words.to_owned()), status)), "{object}");
        }
    }

    #[test]
    fn an_answer_is_no_error() {
        assert_eq!(found(&json!({"message": "m"}), true), None);
        for object in [
            json!({}),
            json!({"error": null}),
            json!({"error": ""}),
            json!({"error": false, "usage": {}}),
            json!({"message": {"role": "assistant"}}),
            json!({"detail": ""}),
        ] {
            assert_eq!(found(&object, false), None, "{object}");
        }
        assert!(found(&json!({"error": "m"}), true).is_some(), "an error object is one anywhere");
    }
}
