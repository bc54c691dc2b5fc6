//! Public list prices of models, and how much they read at once (governance.md 3), shipped as data.
//!
//! A model that the table does not know has no default price: a wrong price is worse than none.

use std::sync::LazyLock;

use atelier_domain::Timestamp;
use atelier_domain::money::{ClassPrices, LongContext, Price, PriceSheet};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

use crate::kind::ProviderKind;
use crate::options::{price_sheet, takes_default_prices};

static SHIPPED: LazyLock<Catalogue> = LazyLock::new(|| {
    serde_json::from_str(include_str!("catalogue/prices.json")).expect("a test reads the shipped prices")
});

/// The table of prices.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    as_of: Date,
    /// Of each vendor the newest models first.
    rows: Vec<ListPrice>,
}

/// What a vendor asks for a model, from some day on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListPrice {
    /// The vendor: a type of provider, or one that is reached through gateways only.
    pub provider: String,
    pub model: String,
    /// Other ids of the same model; the first is the one that gateways use.
    aliases: Vec<String>,
    pub display_name: String,
    pub context_limit: i64,
    #[serde(deserialize_with = "class_prices")]
    prices: ClassPrices,
    #[serde(default, deserialize_with = "long_context")]
    long_context: Option<LongContext>,
    /// Absent: since ever.
    effective_from: Option<Date>,
    pub source_url: String,
    /// The day on which the source said so.
    pub read_on: Date,
    /// 1: also known from elsewhere; 2: from the source alone.
    pub grade: u8,
}

impl ListPrice {
    #[must_use]
    pub fn sheet(&self) -> PriceSheet {
        PriceSheet { base: self.prices, long_context: self.long_context }
    }

    fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.model.as_str()).chain(self.aliases.iter().map(String::as_str))
    }

    /// What a provider of `kind` calls the model; `None` if it has no such model, or the name cannot be told.
    #[must_use]
    pub fn id_at(&self, kind: ProviderKind) -> Option<String> {
        let vendor = VENDORS.iter().find(|vendor| vendor.name == self.provider)?;
        let at_gateways = self.aliases.first().unwrap_or(&self.model);
        match kind {
            ProviderKind::OpenRouter => Some(format!("{}/{at_gateways}", vendor.at_openrouter)),
            ProviderKind::Vercel => Some(format!("{}/{at_gateways}", vendor.name)),
            ProviderKind::Azure => (vendor.name == "openai").then(|| self.model.clone()),
            ProviderKind::Anthropic | ProviderKind::Google | ProviderKind::OpenAi => {
                (vendor.name == kind.as_str()).then(|| self.model.clone())
            }
            ProviderKind::Bedrock | ProviderKind::OpenAiCompat | ProviderKind::Scripted => None,
        }
    }
}

/// Who makes models, under the names of this table and of Vercel, and those of OpenRouter.
struct Vendor {
    name: &'static str,
    at_openrouter: &'static str,
}

static VENDORS: [Vendor; 5] = [
    Vendor { name: "anthropic", at_openrouter: "anthropic" },
    Vendor { name: "google", at_openrouter: "google" },
    Vendor { name: "openai", at_openrouter: "openai" },
    Vendor { name: "mistral", at_openrouter: "mistralai" },
    Vendor { name: "xai", at_openrouter: "x-ai" },
];

impl Catalogue {
    #[must_use]
    pub fn shipped() -> &'static Self {
        &SHIPPED
    }

    /// The version of the table: the day it was last read over.
    #[must_use]
    pub fn as_of(&self) -> String {
        self.as_of.to_string()
    }

    /// The rows in force, in the order they are offered in.
    pub fn rows(&self, now: Timestamp) -> impl Iterator<Item = &ListPrice> {
        let today = day(now);
        self.rows.iter().filter(move |row| self.is_in_force(row, today))
    }

    /// Whether its day has come, and that of no later row of the model.
    fn is_in_force(&self, row: &ListPrice, today: Date) -> bool {
        let has_begun = |row: &ListPrice| row.effective_from.is_none_or(|from| from <= today);
        let is_later = |other: &ListPrice| {
            (&other.provider, &other.model) == (&row.provider, &row.model) && other.effective_from > row.effective_from
        };
        has_begun(row) && !self.rows.iter().any(|other| is_later(other) && has_begun(other))
    }

    /// The row of a model as a provider of `kind` calls it.
    #[must_use]
    pub fn find(&self, kind: ProviderKind, model: &str, now: Timestamp) -> Option<&ListPrice> {
        let (vendor, name) = vendor_and_name(kind, model)?;
        let today = day(now);
        let first = |is_it: &dyn Fn(&str) -> bool| {
            let mut rows = self.rows.iter().filter(|row| row.provider == vendor && row.ids().any(is_it));
            rows.find(|row| self.is_in_force(row, today))
        };
        first(&|id| id == name).or_else(|| first(&|id| name.strip_prefix(id).is_some_and(is_version_suffix)))
    }
}

fn day(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

/// Vendor and model that a provider of `kind` means by `model`.
fn vendor_and_name(kind: ProviderKind, model: &str) -> Option<(&'static str, &str)> {
    match kind {
        ProviderKind::Anthropic => Some(("anthropic", model)),
        ProviderKind::Google => Some(("google", model)),
        ProviderKind::OpenAi | ProviderKind::Azure => Some(("openai", model)),
        ProviderKind::Bedrock => {
            let name = model.strip_prefix("global.").unwrap_or(model).strip_prefix("anthropic.")?;
            Some(("anthropic", without_bedrock_version(name)))
        }
        ProviderKind::OpenRouter | ProviderKind::Vercel => {
            let (prefix, name) = model.split_once('/')?;
            // `:free`, `:batch` and the like have prices of their own
            if name.contains(':') {
                return None;
            }
            let is_it = |vendor: &&Vendor| match kind {
                ProviderKind::OpenRouter => vendor.at_openrouter == prefix,
                _ => vendor.name == prefix,
            };
            VENDORS.iter().find(is_it).map(|vendor| (vendor.name, name))
        }
        ProviderKind::OpenAiCompat | ProviderKind::Scripted => None,
    }
}

/// Drops `-v1:0`.
fn without_bedrock_version(name: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match name.rsplit_once("-v") {
        Some((rest, version)) if version.split_once(':').is_some_and(|(a, b)| is_number(a) && is_number(b)) => rest,
        Some(_) | None => name,
    }
}

/// What may follow the id of a model without making it another one: a date, or `latest`.
fn is_version_suffix(suffix: &str) -> bool {
    let shape: String = suffix.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
    suffix == "-latest" || ["-00000000", "-0000-00-00", "@00000000"].contains(&shape.as_str())
}

/// Where the prices in use are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceSource {
    /// Set at the model, or nowhere.
    Config,
    Default,
    /// Some are set at the model, others are defaults.
    Mixed,
    /// Scripted models are free.
    Scripted,
}

impl PriceSource {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Default => "default",
            Self::Mixed => "mixed",
            Self::Scripted => "scripted",
        }
    }

    #[must_use]
    pub const fn uses_table(self) -> bool {
        matches!(self, Self::Default | Self::Mixed)
    }
}

/// What a model costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelPrices {
    pub effective: PriceSheet,
    pub source: PriceSource,
    /// Those of the table, if it knows the model.
    pub default: Option<PriceSheet>,
}

impl ModelPrices {
    /// Blanks of the stored `model_config` take the price of the table, unless it says otherwise.
    #[must_use]
    pub fn of(kind: ProviderKind, model: &str, model_config: &Value, now: Timestamp) -> Self {
        let own = price_sheet(kind, model_config);
        if kind == ProviderKind::Scripted {
            return Self { effective: own, source: PriceSource::Scripted, default: None };
        }
        let default = Catalogue::shipped().find(kind, model, now).map(ListPrice::sheet);
        let effective = match &default {
            Some(default) if takes_default_prices(model_config) => own.with_defaults(default),
            Some(_) | None => own,
        };
        let source = if effective == own {
            PriceSource::Config
        } else if own == PriceSheet::default() {
            PriceSource::Default
        } else {
            PriceSource::Mixed
        };
        Self { effective, source, default }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceTexts {
    input: Option<String>,
    output: Option<String>,
    cache_read: Option<String>,
    cache_write: Option<String>,
}

impl PriceTexts {
    fn parsed<E: serde::de::Error>(&self) -> Result<ClassPrices, E> {
        let price = |text: &Option<String>| {
            text.as_deref()
                .map(|text| text.parse::<Price>().map_err(|error| E::custom(format!("{text}: {error}"))))
                .transpose()
        };
        Ok(ClassPrices {
            input: price(&self.input)?,
            output: price(&self.output)?,
            cache_read: price(&self.cache_read)?,
            cache_write: price(&self.cache_write)?,
        })
    }
}

fn class_prices<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClassPrices, D::Error> {
    PriceTexts::deserialize(deserializer)?.parsed()
}

fn long_context<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LongContext>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Texts {
        above_prompt_tokens: i64,
        prices: PriceTexts,
    }
    let texts = Texts::deserialize(deserializer)?;
    if texts.above_prompt_tokens < 1 {
        return Err(D::Error::custom("above_prompt_tokens is at least 1"));
    }
    Ok(Some(LongContext { above_prompt_tokens: texts.above_prompt_tokens, prices: texts.prices.parsed()? }))
}

#[cfg(test)]
mod tests;
