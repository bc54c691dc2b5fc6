//! The options of each block (governance.md 2).

use super::rule::{Field, Rule, THRESHOLDS};
use crate::kind::ProviderKind;

/// Effort of reasoning.
const EFFORT: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh"];
const LEVEL: &[&str] = &["low", "medium", "high"];

const fn flag(name: &'static str) -> Field {
    Field::new(name, Rule::Boolean)
}

const fn integer(name: &'static str, min: i64, max: i64) -> Field {
    Field::new(name, Rule::Integer { min, max })
}

const fn number(name: &'static str, min: f64, max: f64) -> Field {
    Field::new(name, Rule::Number { min, max })
}

const fn word(name: &'static str, words: &'static [&'static str]) -> Field {
    Field::new(name, Rule::OneOf(words))
}

const fn text(name: &'static str, max_bytes: usize) -> Field {
    Field::new(name, Rule::Text { max_bytes })
}

const fn list(name: &'static str, max_items: usize) -> Field {
    Field::new(name, Rule::TextList { max_items })
}

/// Keys of a model config that are no options of the request.
pub(super) const GENERAL_SIBLINGS: [&str; 6] = [
    "cost",
    "provider_options",
    "input_price_per_million_tokens",
    "output_price_per_million_tokens",
    "cache_read_price_per_million_tokens",
    "cache_write_price_per_million_tokens",
];

/// Options that all providers share by name.
pub(super) const fn general(kind: ProviderKind) -> [Field; 6] {
    let hottest = match kind {
        ProviderKind::Anthropic | ProviderKind::Bedrock => 1.0,
        _ => 2.0,
    };
    [
        integer("max_output_tokens", 1, 1_000_000),
        number("temperature", 0.0, hottest),
        number("top_p", 0.0, 1.0),
        integer("top_k", 1, 1000),
        number("presence_penalty", -2.0, 2.0),
        number("frequency_penalty", -2.0, 2.0),
    ]
}

/// General options that the wire of `kind` has no field for.
pub(super) const fn general_lacking(kind: ProviderKind) -> &'static [&'static str] {
    match kind {
        ProviderKind::Anthropic | ProviderKind::Bedrock => &["presence_penalty", "frequency_penalty"],
        ProviderKind::OpenAi | ProviderKind::Azure | ProviderKind::OpenAiCompat | ProviderKind::Vercel => &["top_k"],
        ProviderKind::OpenRouter | ProviderKind::Google => &[],
        ProviderKind::Scripted => &["temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty"],
    }
}

/// Options of the own block that the wire in use has no field for: `openai` speaks Chat Completions now.
pub(super) const fn block_lacking(kind: ProviderKind) -> &'static [&'static str] {
    match kind {
        ProviderKind::OpenAi | ProviderKind::Azure => &[
            "reasoning_summary",
            "max_tool_calls",
            "web_search_enabled",
            "include",
            "instructions",
            "structured_outputs",
            "strict_json_schema",
        ],
        ProviderKind::Anthropic
        | ProviderKind::Bedrock
        | ProviderKind::Google
        | ProviderKind::OpenAiCompat
        | ProviderKind::OpenRouter
        | ProviderKind::Vercel
        | ProviderKind::Scripted => &[],
    }
}

/// The fields of the block of that name.
pub(super) fn block(name: &str) -> &'static [Field] {
    match name {
        "openai" => OPENAI,
        "anthropic" => ANTHROPIC,
        "google" => GOOGLE,
        "openaicompat" => OPENAI_COMPAT,
        "openrouter" => OPENROUTER,
        "vercel" => VERCEL,
        _ => &[],
    }
}

static OPENAI: &[Field] = &[
    word("reasoning_effort", EFFORT),
    word("reasoning_summary", &["auto", "concise", "detailed"]),
    word("text_verbosity", LEVEL),
    integer("max_tool_calls", 1, 1000),
    flag("parallel_tool_calls"),
    integer("max_completion_tokens", 1, 1_000_000),
    flag("store"),
    text("prompt_cache_key", 128),
    word("service_tier", &["auto", "default", "flex", "scale", "priority"]),
    flag("web_search_enabled"),
    word("search_context_size", LEVEL).with("web_search_enabled"),
    list("allowed_domains", 100).with("web_search_enabled"),
    list("include", 32),
    text("instructions", 32 * 1024),
    Field::new("logit_bias", Rule::LogitBias),
    flag("log_probs"),
    integer("top_log_probs", 0, 20),
    text("user", 256),
    Field::new("prediction", Rule::AnyObject),
    Field::new("metadata", Rule::Metadata),
    text("safety_identifier", 64),
    flag("structured_outputs"),
    flag("strict_json_schema"),
];

static ANTHROPIC: &[Field] = &[
    flag("send_reasoning"),
    Field::new("thinking", Rule::Object(&[integer("budget_tokens", 1024, 1_000_000)])),
    word("thinking_display", &["summarized", "omitted"]),
    word("effort", &["low", "medium", "high", "xhigh", "max"]),
    flag("disable_parallel_tool_use"),
    flag("web_search_enabled"),
    list("allowed_domains", 100).with("web_search_enabled").not_with("blocked_domains"),
    list("blocked_domains", 100).with("web_search_enabled").not_with("allowed_domains"),
];

static GOOGLE: &[Field] = &[
    Field::new(
        "thinking_config",
        Rule::Object(&[
            integer("thinking_budget", -1, 65536).not_with("thinking_level"),
            word("thinking_level", &["minimal", "low", "medium", "high"]).not_with("thinking_budget"),
            flag("include_thoughts"),
        ]),
    ),
    text("cached_content", 256),
    Field::new("safety_settings", Rule::SafetySettings),
    word("threshold", THRESHOLDS),
    flag("web_search_enabled"),
];

static OPENAI_COMPAT: &[Field] = &[word("reasoning_effort", EFFORT), text("user", 256)];

const REASONING: Field = Field::new(
    "reasoning",
    Rule::Object(&[
        flag("enabled"),
        flag("exclude"),
        integer("max_tokens", 1, 1_000_000).not_with("effort"),
        word("effort", EFFORT).not_with("max_tokens"),
    ]),
);

static OPENROUTER: &[Field] = &[
    REASONING,
    flag("parallel_tool_calls"),
    Field::new("extra_body", Rule::ExtraBody),
    flag("include_usage"),
    Field::new("logit_bias", Rule::LogitBias),
    flag("log_probs"),
    text("user", 256),
    Field::new(
        "provider",
        Rule::Object(&[
            list("order", 100),
            flag("allow_fallbacks"),
            flag("require_parameters"),
            word("data_collection", &["allow", "deny"]),
            list("only", 100),
            list("ignore", 100),
            list("quantizations", 100),
            word("sort", &["price", "throughput", "latency"]),
        ]),
    ),
];

static VERCEL: &[Field] = &[
    REASONING,
    Field::new("providerOptions", Rule::Object(&[list("order", 100), list("models", 100)])),
    flag("parallel_tool_calls"),
    text("user", 256),
    Field::new("logit_bias", Rule::LogitBias),
    flag("logprobs"),
    integer("top_logprobs", 0, 20),
    Field::new("extra_body", Rule::ExtraBody),
];
