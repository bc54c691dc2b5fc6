//! What a single option may be.

use serde_json::Value;

/// One option of a block.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) rule: Rule,
    /// Makes sense only while this switch beside it is on.
    pub(super) with: Option<&'static str>,
    /// Cannot stand beside this one.
    pub(super) not_with: Option<&'static str>,
}

impl Field {
    pub(super) const fn new(name: &'static str, rule: Rule) -> Self {
        Self { name, rule, with: None, not_with: None }
    }

    pub(super) const fn with(mut self, switch: &'static str) -> Self {
        self.with = Some(switch);
        self
    }

    pub(super) const fn not_with(mut self, other: &'static str) -> Self {
        self.not_with = Some(other);
        self
    }
}

pub(super) enum Rule {
    Boolean,
    Integer {
        min: i64,
        max: i64,
    },
    Number {
        min: f64,
        max: f64,
    },
    OneOf(&'static [&'static str]),
    Text {
        max_bytes: usize,
    },
    TextList {
        max_items: usize,
    },
    Object(&'static [Field]),
    AnyObject,
    /// Merged into the request; may not replace what we send.
    ExtraBody,
    /// Token to a number from -100 to 100, at most 300.
    LogitBias,
    /// At most 16 pairs of text, 64 and 512 characters.
    Metadata,
    /// Pairs of category and threshold.
    SafetySettings,
}

const MAX_LIST_TEXT_BYTES: usize = 512;
const MAX_EXTRA_BODY_BYTES: usize = 16 * 1024;
const RESERVED: [&str; 7] = ["model", "messages", "input", "tools", "stream", "stream_options", "usage"];

/// How strictly Gemini blocks.
pub(super) const THRESHOLDS: &[&str] =
    &["BLOCK_NONE", "BLOCK_ONLY_HIGH", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_LOW_AND_ABOVE", "OFF"];

impl Rule {
    /// # Errors
    /// What `value` must be, for people.
    pub(super) fn check(&self, value: &Value) -> Result<(), String> {
        let sound = match self {
            Self::Boolean => value.is_boolean(),
            Self::Integer { min, max } => value.as_i64().is_some_and(|number| (*min..=*max).contains(&number)),
            Self::Number { min, max } => value.as_f64().is_some_and(|number| (*min..=*max).contains(&number)),
            Self::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::Text { max_bytes } => value.as_str().is_some_and(|text| text.len() <= *max_bytes),
            Self::TextList { max_items } => value.as_array().is_some_and(|items| {
                items.len() <= *max_items
                    && items.iter().all(|item| item.as_str().is_some_and(|text| text.len() <= MAX_LIST_TEXT_BYTES))
            }),
            // its fields are looked at one by one
            Self::Object(_) | Self::AnyObject => value.is_object(),
            Self::ExtraBody => value.as_object().is_some_and(|body| {
                body.keys().all(|key| !RESERVED.contains(&key.as_str()))
                    && value.to_string().len() <= MAX_EXTRA_BODY_BYTES
            }),
            Self::LogitBias => value.as_object().is_some_and(|biases| {
                biases.len() <= 300
                    && biases.values().all(|bias| bias.as_f64().is_some_and(|bias| (-100.0..=100.0).contains(&bias)))
            }),
            Self::Metadata => value.as_object().is_some_and(|pairs| {
                pairs.len() <= 16
                    && pairs.iter().all(|(key, value)| {
                        key.chars().count() <= 64 && value.as_str().is_some_and(|text| text.chars().count() <= 512)
                    })
            }),
            Self::SafetySettings => value.as_array().is_some_and(|settings| {
                settings.iter().all(|setting| {
                    setting.as_object().is_some_and(|fields| fields.len() == 2)
                        && setting.get("category").is_some_and(Value::is_string)
                        && setting
                            .get("threshold")
                            .and_then(Value::as_str)
                            .is_some_and(|word| THRESHOLDS.contains(&word))
                })
            }),
        };
        if sound { Ok(()) } else { Err(self.demand()) }
    }

    fn demand(&self) -> String {
        match self {
            Self::Boolean => "must be true or false".to_owned(),
            Self::Integer { min, max } => format!("must be a whole number from {min} to {max}"),
            Self::Number { min, max } => format!("must be a number from {min} to {max}"),
            Self::OneOf(words) => format!("must be one of {}", words.join(", ")),
            Self::Text { max_bytes } => format!("must be text of at most {max_bytes} bytes"),
            Self::TextList { max_items } => format!("must be a list of at most {max_items} texts"),
            Self::Object(_) | Self::AnyObject => "must be an object".to_owned(),
            Self::ExtraBody => {
                format!("must be an object of at most {MAX_EXTRA_BODY_BYTES} bytes without {}", RESERVED.join(", "))
            }
            Self::LogitBias => "must map at most 300 tokens to numbers from -100 to 100".to_owned(),
            Self::Metadata => "must be at most 16 pairs of text, 64 and 512 characters long".to_owned(),
            Self::SafetySettings => {
                format!("must be a list of {{category, threshold}} with a threshold of {}", THRESHOLDS.join(", "))
            }
        }
    }
}
