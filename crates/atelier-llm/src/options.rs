//! Options of a model (governance.md 2): strict when they are saved, lenient when they are used.
//!
//! The fields of each block are written down once, in `tables`; checking, reading and the later form
//! schema all come from there. Adapters take what their wire has and send nothing else.

mod prices;
mod rule;
mod tables;

use serde_json::{Map, Value};

use self::rule::{Field, Rule};
use crate::kind::ProviderKind;
use crate::request::default_max_output_tokens;

pub(crate) use prices::takes_default_prices;
pub use prices::{model_config_normalize, price_sheet};

/// One thing that is wrong with a model config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// Dot path below `model_config`, for instance `provider_options.openai.reasoning_effort`.
    pub path: String,
    pub detail: String,
}

/// The options of one model, as far as they make sense for its provider.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelOptions {
    pub max_output_tokens: Option<u32>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<u32>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    /// The provider's own block, with sound values only.
    pub(crate) block: Map<String, Value>,
}

impl ModelOptions {
    /// Reads a stored `model_config`. What is unknown or out of range is left out and logged.
    #[must_use]
    pub fn from_model_config(kind: ProviderKind, model_config: &Value) -> Self {
        let Value::Object(config) = model_config else {
            return Self::default();
        };
        let general = kept(&tables::general(kind), config, "");
        let number = |name: &str| general.get(name).and_then(Value::as_f64);
        let count = |name: &str| general.get(name).and_then(Value::as_u64).and_then(|value| u32::try_from(value).ok());
        let block = kind
            .options_block()
            .and_then(|name| Some((name, config.get("provider_options")?.get(name)?.as_object()?)))
            .map(|(name, block)| kept(tables::block(name), block, name))
            .unwrap_or_default();
        Self {
            max_output_tokens: count("max_output_tokens"),
            temperature: number("temperature"),
            top_p: number("top_p"),
            top_k: count("top_k"),
            presence_penalty: number("presence_penalty"),
            frequency_penalty: number("frequency_penalty"),
            block,
        }
    }

    /// Output tokens to ask for: the provider's own option, the general one, or the default.
    #[must_use]
    pub fn output_tokens(&self, context_limit: i64) -> u32 {
        self.block
            .get("max_completion_tokens")
            .and_then(Value::as_u64)
            .and_then(|value| u32::try_from(value).ok())
            .or(self.max_output_tokens)
            .unwrap_or_else(|| default_max_output_tokens(context_limit))
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.block.get(name)?.as_bool()
    }

    pub(crate) fn word(&self, name: &str) -> Option<&str> {
        self.block.get(name)?.as_str()
    }
}

/// The fields of `block` that have sound values; objects inside are looked through alike.
fn kept(fields: &[Field], block: &Map<String, Value>, path: &str) -> Map<String, Value> {
    let mut sound = Map::new();
    for (name, value) in block {
        let field = fields.iter().find(|field| field.name == name.as_str());
        match field.map(|field| &field.rule) {
            _ if value.is_null() => {}
            Some(Rule::Object(inner)) if value.is_object() => {
                let inner = kept(inner, value.as_object().expect("just looked at"), name);
                sound.insert(name.clone(), Value::Object(inner));
            }
            Some(rule) if rule.check(value).is_ok() => {
                let field = field.expect("a rule belongs to a field");
                let is_second_choice = field.not_with.is_some_and(|other| sound.contains_key(other));
                if !is_second_choice {
                    sound.insert(name.clone(), value.clone());
                }
            }
            Some(_) | None if path.is_empty() && tables::GENERAL_SIBLINGS.contains(&name.as_str()) => {}
            Some(_) | None => {
                tracing::warn!("stored model option {path}.{name} is not usable and was skipped");
            }
        }
    }
    sound
}

/// Everything that is wrong with `model_config` for a provider of `kind`; empty if it can be saved.
///
/// `context_limit` is that of the model, if it is known to be sound.
#[must_use]
pub fn validate_model_config(kind: ProviderKind, context_limit: Option<i64>, model_config: &Value) -> Vec<FieldFault> {
    let mut faults = Faults::default();
    let config = match model_config {
        Value::Null => return Vec::new(),
        Value::Object(config) => config,
        _ => {
            faults.add("", "must be an object");
            return faults.list;
        }
    };
    let general = tables::general(kind);
    for (name, value) in config {
        match name.as_str() {
            "cost" => prices::check(value, "cost", &mut faults),
            "provider_options" => check_blocks(kind, value, &mut faults),
            price if prices::PRICE_FIELDS.contains(&price) => {
                prices::check_price(value, &format!("cost.{price}"), &mut faults);
            }
            _ => check_field(&general, name, value, "", &mut faults),
        }
    }
    let own_limit = config.get("max_output_tokens").and_then(Value::as_i64);
    if let (Some(limit), Some(context)) = (own_limit, context_limit)
        && limit > context
    {
        faults.add("max_output_tokens", "must not exceed context_limit");
    }
    let budget = config.get("provider_options").and_then(|blocks| blocks.pointer("/anthropic/thinking/budget_tokens"));
    let limit = own_limit.or_else(|| context_limit.map(|context| i64::from(default_max_output_tokens(context))));
    if let (Some(budget), Some(limit)) = (budget.and_then(Value::as_i64), limit)
        && budget >= limit
    {
        faults.add("provider_options.anthropic.thinking.budget_tokens", "must be below max_output_tokens");
    }
    faults.list
}

fn check_blocks(kind: ProviderKind, blocks: &Value, faults: &mut Faults) {
    let blocks = match blocks {
        Value::Null => return,
        Value::Object(blocks) => blocks,
        _ => return faults.add("provider_options", "must be an object"),
    };
    for (name, block) in blocks {
        let path = format!("provider_options.{name}");
        if Some(name.as_str()) != kind.options_block() {
            match kind.options_block() {
                Some(own) => faults.add(&path, &format!("provider {kind} takes the block {own}")),
                None => faults.add(&path, &format!("provider {kind} takes no options")),
            }
        } else if !block.is_null() {
            check_object(tables::block(name), block, &path, faults);
        }
    }
}

fn check_object(fields: &[Field], value: &Value, path: &str, faults: &mut Faults) {
    let Value::Object(object) = value else {
        return faults.add(path, "must be an object");
    };
    for (name, value) in object {
        check_field(fields, name, value, path, faults);
    }
    let is_set = |name: &str| object.get(name).is_some_and(|value| !value.is_null());
    for field in fields.iter().filter(|field| is_set(field.name)) {
        if let Some(other) = field.not_with.filter(|other| is_set(other)) {
            faults.add(&joined(path, field.name), &format!("cannot be set together with {other}"));
        }
        if let Some(switch) = field.with
            && object.get(switch) != Some(&Value::Bool(true))
        {
            faults.add(&joined(path, field.name), &format!("needs {switch}"));
        }
    }
}

fn check_field(fields: &[Field], name: &str, value: &Value, path: &str, faults: &mut Faults) {
    let path = joined(path, name);
    match fields.iter().find(|field| field.name == name) {
        None => faults.add(&path, "is not a known option"),
        // null is absent
        Some(_) if value.is_null() => {}
        Some(Field { rule: Rule::Object(inner), .. }) => check_object(inner, value, &path, faults),
        Some(field) => {
            if let Err(detail) = field.rule.check(value) {
                faults.add(&path, &detail);
            }
        }
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Names of options in `model_config` that the provider lacks: saved, but never sent.
#[must_use]
pub fn options_ignored(kind: ProviderKind, model_config: &Value) -> Vec<String> {
    let Value::Object(config) = model_config else {
        return Vec::new();
    };
    let is_set = |object: &Map<String, Value>, name: &str| object.get(name).is_some_and(|value| !value.is_null());
    let mut ignored: Vec<String> = tables::general_lacking(kind)
        .iter()
        .filter(|name| is_set(config, name))
        .map(|name| (*name).to_owned())
        .collect();
    if let Some(block) = kind.options_block()
        && let Some(Value::Object(options)) = config.get("provider_options").and_then(|blocks| blocks.get(block))
    {
        ignored.extend(
            tables::block_lacking(kind).iter().filter(|name| is_set(options, name)).map(|name| (*name).to_owned()),
        );
    }
    ignored
}

#[derive(Default)]
struct Faults {
    list: Vec<FieldFault>,
}

impl Faults {
    fn add(&mut self, path: &str, detail: &str) {
        self.list.push(FieldFault { path: path.to_owned(), detail: detail.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(kind: ProviderKind, config: &Value) -> Vec<String> {
        validate_model_config(kind, Some(200_000), config).into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn sound_configs_have_no_faults() {
        for (kind, config) in [
            (ProviderKind::Scripted, json!(null)),
            (ProviderKind::OpenAi, json!({})),
            (
                ProviderKind::OpenAi,
                json!({
                    "max_output_tokens": 200_000, "temperature": 2, "top_p": 0.5, "top_k": 1000, "presence_penalty": -2,
                    "cost": {"input_price_per_million_tokens": "1.50"},
                    "provider_options": {"openai": {
                        "reasoning_effort": "xhigh", "reasoning_summary": "auto", "text_verbosity": "low",
                        "max_tool_calls": 1000, "parallel_tool_calls": false, "max_completion_tokens": 1, "store": true,
                        "prompt_cache_key": "k", "service_tier": "flex", "web_search_enabled": true,
                        "search_context_size": "low", "allowed_domains": ["a.com"], "include": ["x"],
                        "instructions": "i", "logit_bias": {"50256": -100}, "log_probs": true, "top_log_probs": 20,
                        "user": "u", "prediction": {"type": "content"}, "metadata": {"a": "b"},
                        "safety_identifier": "s", "structured_outputs": true, "strict_json_schema": null,
                    }},
                }),
            ),
            (
                ProviderKind::Anthropic,
                json!({"temperature": 1, "provider_options": {"anthropic": {
                    "send_reasoning": false, "thinking": {"budget_tokens": 1024}, "thinking_display": "omitted",
                    "effort": "max", "disable_parallel_tool_use": true, "web_search_enabled": true,
                    "blocked_domains": ["b.com"],
                }}}),
            ),
            (
                ProviderKind::Google,
                json!({"provider_options": {"google": {
                    "thinking_config": {"thinking_budget": -1, "include_thoughts": true}, "threshold": "OFF",
                    "safety_settings": [{"category": "c", "threshold": "BLOCK_NONE"}],
                }}}),
            ),
            (ProviderKind::OpenAiCompat, json!({"provider_options": {"openaicompat": {"user": "u"}}})),
            (
                ProviderKind::OpenRouter,
                json!({"provider_options": {"openrouter": {
                    "reasoning": {"enabled": true, "effort": "none"}, "extra_body": {"x": 1}, "include_usage": true,
                    "provider": {"order": ["a"], "sort": "price", "data_collection": "deny"},
                }}}),
            ),
            (
                ProviderKind::Vercel,
                json!({"provider_options": {"vercel": {
                    "providerOptions": {"order": ["a"], "models": ["b"]}, "top_logprobs": 3,
                }}}),
            ),
        ] {
            assert_eq!(validate_model_config(kind, Some(200_000), &config), [], "{kind} {config}");
        }
    }

    #[test]
    fn every_fault_is_named_with_its_path() {
        let config = json!({
            "temperature": 1.5, "top_p": "x", "colour": 1, "max_output_tokens": 0,
            "provider_options": {
                "anthropic": {
                    "thinking": {"budget_tokens": 40_000, "mood": 1}, "effort": "extreme",
                    "allowed_domains": ["a"], "blocked_domains": ["b"], "sing": true,
                },
                "openai": {},
            },
        });
        let mut found = faults(ProviderKind::Anthropic, &config);
        found.sort();
        assert_eq!(
            found,
            [
                "colour",
                "max_output_tokens",
                "provider_options.anthropic.allowed_domains",
                "provider_options.anthropic.allowed_domains",
                "provider_options.anthropic.blocked_domains",
                "provider_options.anthropic.blocked_domains",
                "provider_options.anthropic.effort",
                "provider_options.anthropic.sing",
                "provider_options.anthropic.thinking.budget_tokens",
                "provider_options.anthropic.thinking.mood",
                "provider_options.openai",
                "temperature",
                "top_p",
            ]
        );
    }

    #[test]
    fn limits_of_single_values() {
        let openai = |block| faults(ProviderKind::OpenAi, &json!({"provider_options": {"openai": block}}));
        for bad in [
            json!({"max_tool_calls": 0}),
            json!({"max_tool_calls": 1001}),
            json!({"max_tool_calls": 1.5}),
            json!({"user": "u".repeat(257)}),
            json!({"prediction": 1}),
            json!({"store": "yes"}),
            json!({"metadata": {"k": 1}}),
            json!({"metadata": {"k".repeat(65): "v"}}),
            json!({"logit_bias": {"1": 101}}),
            json!({"top_log_probs": 21}),
            json!({"include": [1]}),
            json!({"allowed_domains": ["a"]}),
            json!({"instructions": "i".repeat(32 * 1024 + 1)}),
            json!({"service_tier": "first"}),
        ] {
            assert_eq!(openai(bad.clone()).len(), 1, "{bad}");
        }
        let router = |block| faults(ProviderKind::OpenRouter, &json!({"provider_options": {"openrouter": block}}));
        assert_eq!(router(json!({"extra_body": {"messages": []}})), ["provider_options.openrouter.extra_body"]);
        assert_eq!(
            router(json!({"extra_body": {"x": "y".repeat(16 * 1024)}})),
            ["provider_options.openrouter.extra_body"]
        );
        assert_eq!(router(json!({"reasoning": {"max_tokens": 5, "effort": "low"}})).len(), 2);
        assert_eq!(faults(ProviderKind::OpenAi, &json!({"max_output_tokens": 200_001})), ["max_output_tokens"]);
        assert_eq!(faults(ProviderKind::OpenAi, &json!([])), [""]);
        assert_eq!(
            faults(ProviderKind::Scripted, &json!({"provider_options": {"openai": {}}})),
            ["provider_options.openai"]
        );
    }

    #[test]
    fn stored_options_are_read_leniently() {
        let config = json!({
            "temperature": 9, "top_k": 40, "future": {"x": 1}, "cost": "?", "max_output_tokens": 77,
            "provider_options": {
                "openrouter": {
                    "reasoning": {"max_tokens": 5, "effort": "low", "new": 1}, "user": 7, "parallel_tool_calls": true,
                    "unknown": 1,
                },
                "openai": {"user": "not ours"},
            },
        });
        let options = ModelOptions::from_model_config(ProviderKind::OpenRouter, &config);
        assert_eq!((options.temperature, options.top_k, options.max_output_tokens), (None, Some(40), Some(77)));
        assert_eq!(
            Value::Object(options.block.clone()),
            json!({"reasoning": {"max_tokens": 5}, "parallel_tool_calls": true})
        );
        assert_eq!(options.output_tokens(1000), 77);
        assert_eq!(ModelOptions::from_model_config(ProviderKind::OpenAi, &json!("x")), ModelOptions::default());
    }

    #[test]
    fn options_the_provider_lacks_are_told() {
        let config = json!({"top_k": 5, "presence_penalty": 1, "temperature": 1, "provider_options": {
            "openai": {"include": ["x"], "store": true, "web_search_enabled": true}}});
        assert_eq!(options_ignored(ProviderKind::OpenAi, &config), ["top_k", "web_search_enabled", "include"]);
        assert_eq!(options_ignored(ProviderKind::Anthropic, &config), ["presence_penalty"]);
        assert_eq!(options_ignored(ProviderKind::OpenRouter, &config), Vec::<String>::new());
    }
}
