//! Reading the arguments of a tool call.
//!
//! A model gets one error that names every bad field, never only the first. Unknown fields are no
//! error: they are ignored and named in `warnings`. An array or object that came as a JSON string is
//! decoded once, since models do that.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::tool_error::{ToolError, ToolErrorCode};

/// Arguments as one JSON text may be at most this long.
pub(crate) const MAX_ARGUMENT_BYTES: usize = 1024 * 1024;

/// Takes fields out of an arguments object and collects what is wrong with them.
pub(crate) struct Arguments {
    fields: Map<String, Value>,
    faults: Vec<(String, String)>,
}

/// What a tool takes along from reading its arguments: names of fields it does not know.
pub(crate) type Warnings = Vec<String>;

impl Arguments {
    pub(crate) fn new(args: &Value) -> Self {
        let mut faults = Vec::new();
        let fields = match args {
            Value::Object(fields) => fields.clone(),
            _ => {
                faults.push((String::new(), "must be a JSON object".to_owned()));
                Map::new()
            }
        };
        if args.to_string().len() > MAX_ARGUMENT_BYTES {
            faults.push((String::new(), "the arguments are longer than 1 MiB; send less at once".to_owned()));
        }
        Self { fields, faults }
    }

    pub(crate) fn fault(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.faults.push((field.into(), detail.into()));
    }

    /// The value of `field`; null counts as absent.
    pub(crate) fn take(&mut self, field: &str) -> Option<Value> {
        self.fields.shift_remove(field).filter(|value| !value.is_null())
    }

    fn required<T: Default>(&mut self, field: &str, value: Option<T>, faults_before: usize) -> T {
        if value.is_none() && self.faults.len() == faults_before {
            self.fault(field, "is required");
        }
        value.unwrap_or_default()
    }

    pub(crate) fn string(&mut self, field: &str, bytes: RangeInclusive<usize>) -> String {
        let before = self.faults.len();
        let value = self.optional_string(field, bytes);
        self.required(field, value, before)
    }

    pub(crate) fn optional_string(&mut self, field: &str, bytes: RangeInclusive<usize>) -> Option<String> {
        match self.take(field)? {
            Value::String(text) if bytes.contains(&text.len()) => Some(text),
            Value::String(text) => {
                self.fault(field, format!("must have {} to {} bytes, has {}", bytes.start(), bytes.end(), text.len()));
                None
            }
            other => {
                self.fault(field, format!("must be a string, is {}", kind_of(&other)));
                None
            }
        }
    }

    pub(crate) fn optional_bool(&mut self, field: &str) -> Option<bool> {
        match self.take(field)? {
            Value::Bool(value) => Some(value),
            Value::String(text) if text == "true" => Some(true),
            Value::String(text) if text == "false" => Some(false),
            other => {
                self.fault(field, format!("must be true or false, is {}", kind_of(&other)));
                None
            }
        }
    }

    pub(crate) fn optional_integer(&mut self, field: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.take(field)?;
        let number = match &value {
            Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64())),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if range.contains(&number) => Some(number),
            Some(number) => {
                self.fault(field, format!("must be {} to {}, is {number}", range.start(), range.end()));
                None
            }
            None => {
                self.fault(field, format!("must be a whole number, is {}", kind_of(&value)));
                None
            }
        }
    }

    /// `30s`, `5m`, `1h30m`, or a number of seconds.
    pub(crate) fn optional_duration(&mut self, field: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let value = self.take(field)?;
        let duration = match &value {
            Value::String(text) => parse_duration(text),
            Value::Number(number) => {
                number.as_f64().filter(|seconds| *seconds >= 0.0 && *seconds < 1e9).map(Duration::from_secs_f64)
            }
            _ => None,
        };
        match duration {
            Some(duration) if range.contains(&duration) => Some(duration),
            Some(_) => {
                self.fault(
                    field,
                    format!("must be {} to {}", show_duration(*range.start()), show_duration(*range.end())),
                );
                None
            }
            None => {
                self.fault(field, "must be a duration such as \"30s\", \"5m\", \"1h30m\", or a number of seconds");
                None
            }
        }
    }

    /// A map of strings, for instance an environment.
    pub(crate) fn optional_string_map(&mut self, field: &str, max_entries: usize) -> Option<Vec<(String, String)>> {
        let value = self.take(field)?;
        let Value::Object(entries) = decoded_once(value) else {
            self.fault(field, "must be an object of strings");
            return None;
        };
        if entries.len() > max_entries {
            self.fault(field, format!("must have at most {max_entries} entries, has {}", entries.len()));
            return None;
        }
        let mut result = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            match value {
                Value::String(text) => result.push((name, text)),
                Value::Number(_) | Value::Bool(_) => result.push((name, value.to_string())),
                other => self.fault(format!("{field}.{name}"), format!("must be a string, is {}", kind_of(&other))),
            }
        }
        Some(result)
    }

    /// A list, possibly sent as a JSON string.
    pub(crate) fn optional_list(&mut self, field: &str) -> Option<Vec<Value>> {
        match decoded_once(self.take(field)?) {
            Value::Array(items) => Some(items),
            other => {
                self.fault(field, format!("must be a list, is {}", kind_of(&other)));
                None
            }
        }
    }

    /// Takes over the faults of an inner object, under `prefix`; its unknown fields are let go.
    pub(crate) fn take_faults(&mut self, prefix: &str, inner: Self) {
        self.faults.extend(inner.faults.into_iter().map(|(field, detail)| {
            (if field.is_empty() { prefix.to_owned() } else { format!("{prefix}.{field}") }, detail)
        }));
    }

    /// Ends the reading: the names of unknown fields, or one error that names every fault.
    pub(crate) fn finish(self) -> Result<Warnings, ToolError> {
        if self.faults.is_empty() {
            return Ok(self.fields.keys().map(|name| format!("unknown field ignored: {name}")).collect());
        }
        let validations: Vec<Value> =
            self.faults.iter().map(|(field, detail)| json!({ "field": field, "detail": detail })).collect();
        let list = self
            .faults
            .iter()
            .map(|(field, detail)| if field.is_empty() { detail.clone() } else { format!("{field} {detail}") })
            .collect::<Vec<_>>()
            .join("; ");
        Err(ToolError::new(ToolErrorCode::InvalidArguments, format!("Correct the arguments and call again: {list}."))
            .with("validations", Value::Array(validations)))
    }
}

fn whole(number: Option<f64>) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    number.filter(|number| number.fract() == 0.0 && number.abs() < 9e15).map(|number| number as i64)
}

fn decoded_once(value: Value) -> Value {
    match &value {
        Value::String(text) => match serde_json::from_str(text) {
            Ok(decoded @ (Value::Array(_) | Value::Object(_))) => decoded,
            _ => value,
        },
        _ => value,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return (0.0..1e9).contains(&seconds).then(|| Duration::from_secs_f64(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, length) = if rest.starts_with("ms") {
            (Duration::from_millis(1), 2)
        } else {
            match rest.as_bytes().first()? {
                b's' => (Duration::from_secs(1), 1),
                b'm' => (Duration::from_secs(60), 1),
                b'h' => (Duration::from_secs(3600), 1),
                _ => return None,
            }
        };
        total = total.checked_add(unit.checked_mul(u32::try_from(number).ok()?)?)?;
        rest = &rest[length..];
    }
    (!text.is_empty()).then_some(total)
}

fn show_duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds >= 3600 && seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_fault_is_named_at_once() {
        let mut arguments = Arguments::new(&json!({"timeout": "soon", "run_in_background": 3}));
        arguments.string("command", 1..=10);
        arguments.optional_duration("timeout", Duration::from_secs(1)..=Duration::from_secs(60));
        arguments.optional_bool("run_in_background");
        let error = arguments.finish().unwrap_err();
        let fields: Vec<_> =
            error.details["validations"].as_array().unwrap().iter().map(|v| v["field"].as_str().unwrap()).collect();
        assert_eq!(fields, ["command", "timeout", "run_in_background"]);
        assert_eq!(error.code, ToolErrorCode::InvalidArguments);
    }

    #[test]
    fn unknown_fields_are_warnings() {
        let mut arguments = Arguments::new(&json!({"path": "a", "colour": "red"}));
        assert_eq!(arguments.string("path", 1..=10), "a");
        assert_eq!(arguments.finish().unwrap(), ["unknown field ignored: colour"]);
    }

    #[test]
    fn a_list_sent_as_a_string_is_decoded_once() {
        let mut arguments = Arguments::new(&json!({"edits": "[{\"path\":\"a\"}]"}));
        assert_eq!(arguments.optional_list("edits").unwrap(), [json!({"path": "a"})]);
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h30m", 5400), ("45", 45), ("0s", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "5x", "-1s", "1h-3m", "99999999999999999999s", "5 m"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC{0,40}") {
            let _ = parse_duration(&text);
            let mut arguments = Arguments::new(&json!({"a": text, "b": [text]}));
            arguments.optional_duration("a", Duration::ZERO..=Duration::from_secs(1));
            arguments.optional_integer("b", 0..=1);
            let _ = arguments.finish();
        }
    }
}
