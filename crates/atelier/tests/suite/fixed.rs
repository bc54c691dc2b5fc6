//! Values that are the same in every run, for what is recorded.

use std::collections::HashMap;

use serde_json::{Value, json};

/// Replaces what differs from run to run by numbers in the order of appearance.
#[derive(Default)]
pub(crate) struct Fixed {
    ids: HashMap<String, usize>,
    times: HashMap<String, usize>,
    calls: HashMap<String, usize>,
}

/// Durations and such: every run measures others.
const MEASURED: &[&str] = &["runtime_ms", "wall_duration_ms", "duration_ms", "wait_ms", "delay_ms"];

impl Fixed {
    pub(crate) fn fix(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                if fields.keys().any(|key| uuid::Uuid::try_parse(key).is_ok()) {
                    *fields = std::mem::take(fields).into_iter().map(|(key, value)| (self.text(&key), value)).collect();
                }
                for (name, value) in fields.iter_mut() {
                    if MEASURED.contains(&name.as_str()) && value.is_number() {
                        *value = json!(1500);
                    } else {
                        self.fix(value);
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.fix(value)),
            Value::String(text) => *text = self.text(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Ids may stand between the slashes of a path.
    fn text(&mut self, text: &str) -> String {
        let number = |known: &mut HashMap<String, usize>, text: &str| {
            let next = known.len();
            *known.entry(text.to_owned()).or_insert(next)
        };
        if text.len() > 19 && text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok() {
            let at = number(&mut self.times, text);
            return format!("2026-01-02T03:{:02}:{:02}Z", at / 60 % 60, at % 60);
        }
        if text.starts_with("call_") && text.len() < 64 {
            return format!("call_{}", number(&mut self.calls, text));
        }
        let pieces = text.split('/').map(|piece| match uuid::Uuid::try_parse(piece) {
            Ok(_) => format!("00000000-0000-4000-8000-{:012}", number(&mut self.ids, piece)),
            Err(_) => piece.to_owned(),
        });
        pieces.collect::<Vec<_>>().join("/")
    }
}
