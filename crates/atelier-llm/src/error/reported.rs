//! Errors in the many shapes in which servers say them: in the place of an answer, in the middle of it, with an
//! error status and with status 200.

use serde_json::{Map, Value};

use crate::json;

/// What servers without an error object call its words.
const WORDS: [&str; 3] = ["message", "detail", "msg"];

/// What a provider says of an error, in whatever form it says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) status: Option<u16>,
    pub(crate) error_type: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    /// A gateway says that its moderation stopped the request.
    pub(crate) is_moderated: bool,
    /// A web page came in the place of an answer: no API said this.
    pub(crate) is_page: bool,
    /// A JSON object says it: an API did.
    pub(crate) is_object: bool,
}

impl Reported {
    /// Reads the body of an answer with an error status. A body that is neither an object nor a list with one is
    /// kept as words.
    pub(crate) fn from_body(status: Option<u16>, body: &str) -> Self {
        let mut reported = json::object(body.as_bytes())
            .map(|object| Self::in_object(&object, false).unwrap_or_else(|| Self::from_fields(&object)))
            .unwrap_or_default();
        reported.status = status.or(reported.status);
        reported.is_page = body.trim_start().starts_with('<');
        if reported.message.is_none() && !reported.is_page {
            reported.message = Some(body.to_owned());
        }
        reported
    }

    /// The error that `object` says. Words alone count as an error only if the object is not part of an answer.
    pub(crate) fn in_object(object: &Map<String, Value>, is_answer: bool) -> Option<Self> {
        // gateways put an error of the provider behind them beside the piece of the answer
        let choice = object.get("choices").and_then(|choices| choices.get(0)).and_then(Value::as_object);
        [Some(object), choice]
            .into_iter()
            .flatten()
            .find_map(Self::named)
            .or_else(|| Self::in_base_resp(object))
            .or_else(|| if is_answer { None } else { Self::in_words(object) })
    }

    /// The error that is called one. A text may have its type and code beside it.
    fn named(object: &Map<String, Value>) -> Option<Self> {
        match object.get("error")? {
            Value::String(words) if !words.is_empty() => {
                let beside = Self::from_fields(object);
                Some(match beside.message {
                    // the text is a code where other words come with it
                    Some(_) => Self { code: beside.code.or_else(|| Some(words.clone())), ..beside },
                    None => Self { message: Some(words.clone()), ..beside },
                })
            }
            error @ Value::Object(fields) => {
                let mut reported = Self::from_fields(fields);
                reported.message.get_or_insert_with(|| error.to_string());
                Some(reported)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        }
    }

    /// MiniMax says its errors beside an answer that is not there; its zero means that all is well.
    fn in_base_resp(object: &Map<String, Value>) -> Option<Self> {
        let fields = object.get("base_resp")?.as_object()?;
        let number = fields.get("status_code")?.as_i64().filter(|number| *number != 0)?;
        let name = MINIMAX.iter().find(|(code, _)| *code == number).map(|(_, name)| (*name).to_owned());
        let message = fields.get("status_msg").and_then(words);
        Some(Self { error_type: name, code: Some(number.to_string()), message, is_object: true, ..Self::default() })
    }

    fn in_words(object: &Map<String, Value>) -> Option<Self> {
        let words = WORDS.iter().find_map(|name| words(object.get(*name)?))?;
        Some(Self { message: Some(words), ..Self::from_fields(object) })
    }

    /// Reads an object that is known to be an error.
    fn from_fields(fields: &Map<String, Value>) -> Self {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let status = ["code", "status", "status_code"].iter().find_map(|name| http_status(fields.get(*name)?));
        let code = match fields.get("code") {
            // gateways put the HTTP status into it
            Some(code) if http_status(code).is_some() => None,
            Some(Value::String(code)) => Some(code.clone()),
            Some(Value::Number(code)) => Some(code.to_string()),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => None,
        };
        Self {
            status,
            // `type` may say no more than that it is an error
            error_type: ["type", "error_type", "status"]
                .iter()
                .find_map(|name| text(name).filter(|name| name != "error")),
            code,
            message: text("message"),
            is_moderated: fields.get("metadata").is_some_and(|metadata| metadata.get("flagged_input").is_some()),
            is_page: false,
            is_object: true,
        }
    }
}

/// What MiniMax's numbers mean: platform.minimax.io/docs/api-reference/errorcode, read 2026-12-01. They are no part
/// of the table of names, because other providers give the same numbers to other errors.
const MINIMAX: [(i64, &str); 4] =
    [(1001, "timeout"), (1002, "rate_limit_error"), (1004, "authentication_error"), (1008, "insufficient_quota")];

/// The HTTP status that a number, or a text with one, says.
fn http_status(value: &Value) -> Option<u16> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    number.and_then(|number| u16::try_from(number).ok()).filter(|status| matches!(status, 400..=599))
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
        let reported = Reported::in_object(object.as_object().unwrap(), is_answer)?;
        Some((reported.message, reported.status))
    }

    #[test]
    fn errors_are_known_in_many_shapes() {
        let table = [
            (json!({"error": {"message": "m", "code": 503}}), "m", Some(503)),
            (json!({"error": {"message": "m", "code": "503"}}), "m", Some(503)),
            (json!({"error": "m"}), "m", None),
            (json!({"error": {"why": "m"}}), "{\"why\":\"m\"}", None),
            (json!({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}), "m", Some(400)),
            (json!({"detail": "m"}), "m", None),
            (json!({"detail": [{"msg": "m"}]}), "[{\"msg\":\"m\"}]", None),
            (json!({"error": true, "message": "m"}), "m", None),
            (json!({"code": 500, "msg": "m"}), "m", Some(500)),
            (json!({"status": 500, "error": "Internal", "message": "m"}), "m", Some(500)),
            // no status of an error
            (json!({"error": {"code": 1, "message": "m"}}), "m", None),
            (json!({"error": {"code": 200, "message": "m"}}), "m", None),
        ];
        for (object, words, status) in table {
            assert_eq!(found(&object, false), Some((Some(words.to_owned()), status)), "{object}");
        }
    }

    #[test]
    fn types_and_codes_are_found_beside_the_words() {
        let table = [
            (json!({"error": "m", "code": "insufficient_quota"}), None, Some("insufficient_quota")),
            (json!({"error": "m", "error_type": "overloaded"}), Some("overloaded"), None),
            (json!({"error": "m", "type": "error"}), None, None),
            (json!({"error": "insufficient_quota", "message": "m"}), None, Some("insufficient_quota")),
            (json!({"error": {"message": "m", "type": "t", "code": 1113}}), Some("t"), Some("1113")),
            (json!({"error": {"message": "m", "code": -1}}), None, Some("-1")),
            (json!({"choices": [{"delta": {}, "error": {"message": "m", "code": "c"}}]}), None, Some("c")),
            (
                json!({"choices": null, "base_resp": {"status_code": 1008, "status_msg": "m"}}),
                Some("insufficient_quota"),
                Some("1008"),
            ),
            (json!({"base_resp": {"status_code": 2013, "status_msg": "m"}}), None, Some("2013")),
        ];
        for (object, error_type, code) in table {
            let reported = Reported::in_object(object.as_object().unwrap(), false).unwrap();
            assert_eq!(
                (reported.message.as_deref(), reported.error_type.as_deref(), reported.code.as_deref()),
                (Some("m"), error_type, code),
                "{object}"
            );
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
            json!({"choices": [{"delta": {"content": "x"}, "error": null}]}),
            json!({"choices": [], "base_resp": {"status_code": 0, "status_msg": "success"}}),
        ] {
            assert_eq!(found(&object, false), None, "{object}");
        }
        assert!(found(&json!({"error": "m"}), true).is_some(), "an error object is one anywhere");
    }
}
