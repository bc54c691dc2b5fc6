//! Prices and the cost of a model call.
//!
//! Money is whole millionths of a dollar (`cost_micros`, `i64`) outside and exact integers inside: a price
//! is dollars per million tokens scaled by 10^12, and since "per million" and "micro" cancel, tokens times
//! price is micro-dollars scaled by 10^12. The sum over the classes is rounded up once per call. There is
//! no float anywhere.
//!
//! Invariants: a cost is never negative; costs and sums stop at `i64::MAX` instead of wrapping; an absent
//! count or price is never treated as a zero that somebody reported.

use std::fmt;
use std::str::FromStr;

use crate::message::Usage;

/// Fractional digits a price may have.
const FRACTION_DIGITS: usize = 12;
const SCALE: i128 = 1_000_000_000_000;
/// Dollars per million tokens, the largest price taken.
const PRICE_MAX: i128 = 1_000_000;

/// Dollars per million tokens, exact to 12 fractional digits, never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(i128);

impl Price {
    pub const ZERO: Self = Self(0);

    /// The price times 10^12.
    #[must_use]
    pub const fn scaled(self) -> i128 {
        self.0
    }
}

/// Why a text is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    #[error("a price is written as digits with an optional fraction, such as 1.25")]
    Form,
    #[error("a price has at most 12 fractional digits")]
    TooPrecise,
    #[error("a price is at most 1000000 dollars per million tokens")]
    TooLarge,
}

impl FromStr for Price {
    type Err = PriceError;

    /// Reads `digits[.digits]`; the text of a JSON number is one too, unless it has a sign or an exponent.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return Err(PriceError::Form),
            Some(parts) => parts,
            None => (text, ""),
        };
        let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits_only(whole) || !digits_only(fraction) {
            return Err(PriceError::Form);
        }
        if fraction.len() > FRACTION_DIGITS {
            return Err(PriceError::TooPrecise);
        }
        let whole = whole.trim_start_matches('0');
        // seven digits are the largest price; longer ones would overflow below
        if whole.len() > 7 {
            return Err(PriceError::TooLarge);
        }
        let number = |part: &str| part.bytes().fold(0_i128, |sum, byte| sum * 10 + i128::from(byte - b'0'));
        let missing = u32::try_from(FRACTION_DIGITS - fraction.len()).expect("at most twelve digits");
        let scaled = number(whole) * SCALE + number(fraction) * 10_i128.pow(missing);
        if scaled > PRICE_MAX * SCALE {
            return Err(PriceError::TooLarge);
        }
        Ok(Self(scaled))
    }
}

impl fmt::Display for Price {
    /// The canonical text: no trailing zeros, `0` for zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / SCALE, self.0 % SCALE);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{fraction:012}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// The prices of a model's four token classes; an absent one is unpriced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassPrices {
    pub input: Option<Price>,
    pub output: Option<Price>,
    pub cache_read: Option<Price>,
    pub cache_write: Option<Price>,
}

impl ClassPrices {
    /// Every class free of charge, which is not the same as unpriced.
    pub const FREE: Self = Self {
        input: Some(Price::ZERO),
        output: Some(Price::ZERO),
        cache_read: Some(Price::ZERO),
        cache_write: Some(Price::ZERO),
    };

    const fn as_array(&self) -> [Option<Price>; 4] {
        [self.input, self.output, self.cache_read, self.cache_write]
    }

    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.as_array().iter().all(Option::is_none)
    }

    /// These prices, with blanks taken from `other`.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            input: self.input.or(other.input),
            output: self.output.or(other.output),
            cache_read: self.cache_read.or(other.cache_read),
            cache_write: self.cache_write.or(other.cache_write),
        }
    }
}

/// Prices for calls whose prompt is longer than a limit. A blank keeps the base price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongContext {
    pub above_prompt_tokens: i64,
    pub prices: ClassPrices,
}

/// What a model costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PriceSheet {
    pub base: ClassPrices,
    pub long_context: Option<LongContext>,
}

impl PriceSheet {
    pub const FREE: Self = Self { base: ClassPrices::FREE, long_context: None };

    /// The prices in use: blanks of the configured sheet take the default. The default's long-context
    /// prices apply only while all four fields are defaults.
    #[must_use]
    pub fn with_defaults(&self, defaults: &Self) -> Self {
        let long_context = self.long_context.or(if self.base.is_blank() { defaults.long_context } else { None });
        Self { base: self.base.or(&defaults.base), long_context }
    }

    fn prices_for(&self, prompt_tokens: i128) -> ClassPrices {
        match &self.long_context {
            Some(long) if prompt_tokens > i128::from(long.above_prompt_tokens) => long.prices.or(&self.base),
            Some(_) | None => self.base,
        }
    }
}

/// Why a call has no cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpriced {
    /// No class has a price.
    NoPrice,
    /// No class has a count.
    NoUsage,
    /// No class has both.
    NoMatchingClass,
}

/// What a call cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Absent = unpriced, 0 = free.
    pub micros: Option<i64>,
    /// Why `micros` is absent.
    pub unpriced: Option<Unpriced>,
    /// Some class was used and has no price.
    pub partial: bool,
    /// The exact cost was larger than `i64::MAX` micro-dollars.
    pub saturated: bool,
    /// Some count was negative and was treated as absent; worth a warning.
    pub negative_count: bool,
}

/// The cost of a call: the exact sum over the classes, rounded up once.
#[must_use]
pub fn cost(usage: &Usage, sheet: &PriceSheet) -> Cost {
    let reported = [usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_creation_tokens];
    let negative_count = reported.iter().flatten().any(|count| *count < 0);
    let counts = reported.map(|count| count.filter(|count| *count >= 0).map(i128::from));
    let [input, _, cache_read, cache_write] = counts;
    let prompt_tokens = [input, cache_read, cache_write].into_iter().flatten().sum();
    let prices = sheet.prices_for(prompt_tokens).as_array();

    let unpriced =
        |reason| Cost { micros: None, unpriced: Some(reason), partial: false, saturated: false, negative_count };
    if prices.iter().all(Option::is_none) {
        return unpriced(Unpriced::NoPrice);
    }
    if counts.iter().all(Option::is_none) {
        return unpriced(Unpriced::NoUsage);
    }
    let classes = counts.into_iter().zip(prices);
    if !classes.clone().any(|(count, price)| count.is_some() && price.is_some()) {
        return unpriced(Unpriced::NoMatchingClass);
    }
    // four times i64::MAX times 10^18 fits an i128
    let scaled: i128 = classes.clone().filter_map(|(count, price)| Some(count? * price?.scaled())).sum();
    let partial = classes.into_iter().any(|(count, price)| count.is_some_and(|count| count > 0) && price.is_none());
    let exact = scaled / SCALE + i128::from(scaled % SCALE != 0);
    let micros = i64::try_from(exact).unwrap_or(i64::MAX);
    Cost { micros: Some(micros), unpriced: None, partial, saturated: exact > i128::from(i64::MAX), negative_count }
}

/// The sum of two amounts, which stops at `i64::MAX`.
#[must_use]
pub const fn micros_add(left: i64, right: i64) -> i64 {
    left.saturating_add(right)
}

#[cfg(test)]
mod tests;
