//! The `cost` block: prices as they are sent and saved (governance.md 3).

use atelier_domain::money::{ClassPrices, LongContext, Price, PriceSheet};
use serde_json::{Map, Value};

use super::Faults;
use crate::kind::ProviderKind;

pub(super) const PRICE_FIELDS: [&str; 4] = [
    "input_price_per_million_tokens",
    "output_price_per_million_tokens",
    "cache_read_price_per_million_tokens",
    "cache_write_price_per_million_tokens",
];

pub(super) fn check(cost: &Value, path: &str, faults: &mut Faults) {
    let cost = match cost {
        Value::Null => return,
        Value::Object(cost) => cost,
        _ => return faults.add(path, "must be an object"),
    };
    for (name, value) in cost {
        let field = format!("{path}.{name}");
        match name.as_str() {
            price if PRICE_FIELDS.contains(&price) => check_price(value, &field, faults),
            "use_defaults" if value.is_boolean() || value.is_null() => {}
            "use_defaults" => faults.add(&field, "must be true or false"),
            "long_context" => check_long_context(value, &field, faults),
            _ => faults.add(&field, "is not a known option"),
        }
    }
}

fn check_long_context(value: &Value, path: &str, faults: &mut Faults) {
    let fields = match value {
        Value::Null => return,
        Value::Object(fields) => fields,
        _ => return faults.add(path, "must be an object"),
    };
    for (name, value) in fields {
        let field = format!("{path}.{name}");
        match name.as_str() {
            price if PRICE_FIELDS.contains(&price) => check_price(value, &field, faults),
            "above_prompt_tokens" if value.as_i64().is_some_and(|tokens| tokens >= 1) => {}
            "above_prompt_tokens" => faults.add(&field, "must be a whole number of at least 1"),
            _ => faults.add(&field, "is not a known option"),
        }
    }
    if !fields.contains_key("above_prompt_tokens") {
        faults.add(&format!("{path}.above_prompt_tokens"), "is required");
    }
}

pub(super) fn check_price(value: &Value, path: &str, faults: &mut Faults) {
    match price_text(value) {
        None => faults.add(path, "must be a decimal number, as text or number"),
        Some(text) if text.is_empty() => {}
        Some(text) => {
            if let Err(error) = text.parse::<Price>() {
                faults.add(path, &error.to_string());
            }
        }
    }
}

/// A price as text: trimmed, empty if blank. `None`: neither text nor a number.
fn price_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => {
            let text = number.to_string();
            // a whole number that was read as a float ends in `.0`
            Some(text.strip_suffix(".0").map(str::to_owned).unwrap_or(text))
        }
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A checked `model_config` in the form it is stored and shown: nulls and blanks left out, prices as
/// canonical text inside `cost`, where those at the top level are folded in (the nested one wins).
#[must_use]
pub fn model_config_normalize(model_config: &Value) -> Value {
    let Value::Object(config) = model_config else {
        return Value::Object(Map::new());
    };
    let mut cost = match config.get("cost") {
        Some(Value::Object(cost)) => normalized(cost),
        _ => Map::new(),
    };
    if let Some(Value::Object(long_context)) = cost.get("long_context") {
        let long_context = normalized(long_context);
        cost.insert("long_context".to_owned(), Value::Object(long_context));
    }
    for name in PRICE_FIELDS {
        if !cost.contains_key(name)
            && let Some(price) = config.get(name).and_then(canonical_price)
        {
            cost.insert(name.to_owned(), price);
        }
    }
    let mut normal: Map<String, Value> = config
        .iter()
        .filter(|(name, value)| *name != "cost" && !PRICE_FIELDS.contains(&name.as_str()) && !value.is_null())
        .map(|(name, value)| (name.clone(), without_nulls(value)))
        .collect();
    if !cost.is_empty() {
        normal.insert("cost".to_owned(), Value::Object(cost));
    }
    Value::Object(normal)
}

/// The prices that a stored `model_config` names; what is blank or unreadable is absent. Scripted models
/// are free.
#[must_use]
pub fn price_sheet(kind: ProviderKind, model_config: &Value) -> PriceSheet {
    if kind == ProviderKind::Scripted {
        return PriceSheet::FREE;
    }
    let config = model_config_normalize(model_config);
    let cost = config.get("cost");
    let long_context = cost.and_then(|cost| cost.get("long_context")).and_then(|long| {
        let above_prompt_tokens = long.get("above_prompt_tokens")?.as_i64()?;
        Some(LongContext { above_prompt_tokens, prices: class_prices(Some(long)) })
    });
    PriceSheet { base: class_prices(cost), long_context }
}

/// Whether blank prices of a stored `model_config` take those of the shipped table. Prices of other tiers than the
/// usual one are not in it.
pub(crate) fn takes_default_prices(model_config: &Value) -> bool {
    let is_off = model_config.pointer("/cost/use_defaults") == Some(&Value::Bool(false));
    let tier = model_config.pointer("/provider_options/openai/service_tier").and_then(Value::as_str);
    !is_off && !matches!(tier, Some("flex" | "scale" | "priority"))
}

fn class_prices(fields: Option<&Value>) -> ClassPrices {
    let price = |name: &str| fields?.get(name)?.as_str()?.parse().ok();
    let [input, output, cache_read, cache_write] = PRICE_FIELDS.map(price);
    ClassPrices { input, output, cache_read, cache_write }
}

fn normalized(prices: &Map<String, Value>) -> Map<String, Value> {
    prices
        .iter()
        .filter_map(|(name, value)| {
            let value = if PRICE_FIELDS.contains(&name.as_str()) { canonical_price(value)? } else { value.clone() };
            (!value.is_null()).then(|| (name.clone(), value))
        })
        .collect()
}

fn canonical_price(value: &Value) -> Option<Value> {
    let price: Price = price_text(value)?.parse().ok()?;
    Some(Value::String(price.to_string()))
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::validate_model_config;
    use serde_json::json;

    fn faults(config: &Value) -> Vec<String> {
        let faults = validate_model_config(ProviderKind::OpenAi, None, config);
        faults.into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn prices_are_read_from_text_and_numbers() {
        for good in
            [json!(1.5), json!("1.50"), json!("0"), json!(0), json!(1_000_000), json!(""), json!(null), json!(75.0)]
        {
            assert_eq!(
                faults(&json!({"cost": {"input_price_per_million_tokens": good}})),
                Vec::<String>::new(),
                "{good}"
            );
        }
        for bad in [
            json!("1e3"),
            json!("-1"),
            json!(".5"),
            json!("1_0"),
            json!("1000001"),
            json!(-1),
            json!(1e-27),
            json!("0.1234567890123"),
            json!(true),
            json!([]),
        ] {
            let path = ["cost.input_price_per_million_tokens"];
            assert_eq!(faults(&json!({"cost": {"input_price_per_million_tokens": bad}})), path, "{bad}");
            assert_eq!(faults(&json!({"input_price_per_million_tokens": bad})), path, "{bad}");
        }
    }

    #[test]
    fn the_rest_of_the_block_is_checked_too() {
        assert_eq!(
            faults(&json!({"cost": {"use_defaults": 1, "tax": 2, "long_context": {"x": 1}}})),
            ["cost.use_defaults", "cost.tax", "cost.long_context.x", "cost.long_context.above_prompt_tokens",]
        );
        assert_eq!(faults(&json!({"cost": 5})), ["cost"]);
    }

    #[test]
    fn prices_are_folded_and_written_canonically() {
        let config = json!({
            "temperature": 1, "top_p": null, "input_price_per_million_tokens": "9", "output_price_per_million_tokens": 15.0,
            "cost": {
                "input_price_per_million_tokens": "1.50", "cache_read_price_per_million_tokens": " ", "use_defaults": false,
                "long_context": {"above_prompt_tokens": 5, "output_price_per_million_tokens": "00.10"},
            },
            "provider_options": {"openai": {"user": null, "store": true}},
        });
        assert_eq!(
            model_config_normalize(&config),
            json!({
                "temperature": 1,
                "provider_options": {"openai": {"store": true}},
                "cost": {
                    "input_price_per_million_tokens": "1.5",
                    "use_defaults": false,
                    "long_context": {"above_prompt_tokens": 5, "output_price_per_million_tokens": "0.1"},
                    "output_price_per_million_tokens": "15",
                },
            })
        );
        assert_eq!(model_config_normalize(&json!(null)), json!({}));
        let sheet = price_sheet(ProviderKind::OpenAi, &config);
        let price = |text: &str| Some(text.parse::<Price>().unwrap());
        assert_eq!((sheet.base.input, sheet.base.output, sheet.base.cache_read), (price("1.5"), price("15"), None));
        assert_eq!(sheet.long_context.unwrap().prices.output, price("0.1"));
        assert_eq!(price_sheet(ProviderKind::Scripted, &json!(null)).base.input, price("0"));
    }
}
