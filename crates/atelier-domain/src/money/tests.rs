//! The worked examples of costs, and a comparison with decimal arithmetic done by hand.

use proptest::prelude::*;

use super::*;

const M: i64 = i64::MAX;

fn price(text: &str) -> Option<Price> {
    match text {
        "-" => None,
        text => Some(text.parse().unwrap()),
    }
}

fn prices(texts: [&str; 4]) -> ClassPrices {
    let [input, output, cache_read, cache_write] = texts.map(price);
    ClassPrices { input, output, cache_read, cache_write }
}

fn sheet(texts: [&str; 4]) -> PriceSheet {
    PriceSheet { base: prices(texts), long_context: None }
}

fn usage(counts: [Option<i64>; 4]) -> Usage {
    let [input_tokens, output_tokens, cache_read_tokens, cache_creation_tokens] = counts;
    Usage { input_tokens, output_tokens, cache_read_tokens, cache_creation_tokens, ..Usage::default() }
}

#[derive(Debug, PartialEq)]
enum Expected {
    Null(Unpriced),
    Exact(i64),
    Partial(i64),
    Saturated(i64),
}
use Expected::{Exact, Null, Partial, Saturated};

fn outcome(cost: &Cost) -> Expected {
    match (cost.micros, cost.unpriced, cost.partial, cost.saturated) {
        (None, Some(reason), false, false) => Null(reason),
        (Some(micros), None, false, false) => Exact(micros),
        (Some(micros), None, true, false) => Partial(micros),
        (Some(micros), None, false, true) => Saturated(micros),
        other => panic!("impossible cost {other:?}"),
    }
}

/// Name, counts and prices (input, output, cache read, cache write), and the result.
type Example = (&'static str, [Option<i64>; 4], [&'static str; 4], Expected);

#[test]
fn worked_examples() {
    let n = None;
    let s = Some;
    // name, counts and prices as input, output, cache read, cache write
    let rows: Vec<Example> = vec![
        ("C1", [s(1000), n, n, n], ["-", "-", "-", "-"], Null(Unpriced::NoPrice)),
        ("C2", [s(42), n, n, n], ["-", "-", "-", "-"], Null(Unpriced::NoPrice)),
        ("C3", [n, n, n, n], ["3", "-", "-", "-"], Null(Unpriced::NoUsage)),
        ("C4", [s(1000), n, n, n], ["-", "15", "-", "-"], Null(Unpriced::NoMatchingClass)),
        ("C5", [n, n, n, n], ["-", "15", "-", "-"], Null(Unpriced::NoUsage)),
        ("C6", [s(1), n, n, n], ["0.01", "-", "-", "-"], Exact(1)),
        ("C7", [s(1000), n, n, n], ["3", "-", "-", "-"], Exact(3000)),
        ("C8", [n, s(500), n, n], ["-", "15", "-", "-"], Exact(7500)),
        ("C9", [s(101), s(201), s(1005), s(33)], ["1.23", "4.56", "0.7", "7.89"], Exact(2005)),
        ("C10", [s(1), s(1), s(1), s(1)], ["0.4", "0.4", "0.4", "0.4"], Exact(2)),
        ("C11", [s(1234), s(999), s(500), s(250)], ["2.5", "-", "-", "-"], Partial(3085)),
        ("C12", [s(0), n, n, n], ["3", "-", "-", "-"], Exact(0)),
        ("C13", [s(1000), s(500), n, n], ["0", "-", "-", "-"], Partial(0)),
        ("C14", [n, n, s(10_000), n], ["-", "-", "0.3", "-"], Exact(3000)),
        ("C15", [n, n, n, s(5000)], ["-", "-", "-", "3.75"], Exact(18_750)),
        ("C16", [s(12_345), s(6789), s(98_765), s(4321)], ["2.5", "10", "0.25", "3.125"], Exact(136_947)),
        ("C17", [s(4), n, n, n], ["0.25", "-", "-", "-"], Exact(1)),
        ("C18", [s(3), n, n, n], ["0.333333333333", "-", "-", "-"], Exact(1)),
        ("C19", [s(1), n, n, n], ["0.000000000001", "-", "-", "-"], Exact(1)),
        ("C20", [s(2_000_000), n, n, n], ["0.0000005", "-", "-", "-"], Exact(1)),
        ("C21", [s(1_500_000_000), n, n, n], ["75.00", "-", "-", "-"], Exact(112_500_000_000)),
        ("C22", [s(M), n, n, n], ["1", "-", "-", "-"], Exact(M)),
        ("C23", [s(M), s(1), n, n], ["1", "0.000001", "-", "-"], Saturated(M)),
        ("C24", [s(M), n, n, n], ["2", "-", "-", "-"], Saturated(M)),
        ("C25", [s(-5), n, n, n], ["3", "-", "-", "-"], Null(Unpriced::NoUsage)),
        ("C25, with output", [s(-5), s(10), n, n], ["3", "15", "-", "-"], Exact(150)),
        ("C26, one of three", [s(1), n, n, n], ["0.4", "-", "-", "-"], Exact(1)),
    ];
    for (name, counts, texts, expected) in rows {
        assert_eq!(outcome(&cost(&usage(counts), &sheet(texts))), expected, "{name}");
    }
    assert!(cost(&usage([s(-5), n, n, n]), &sheet(["3", "-", "-", "-"])).negative_count);
}

#[test]
fn totals_reasoning_and_context_take_no_part() {
    // C3, C5: only a total, only reasoning
    let usage = Usage { total_tokens: Some(1234), reasoning_tokens: Some(200), ..Usage::default() };
    assert_eq!(outcome(&cost(&usage, &sheet(["3", "15", "-", "-"]))), Null(Unpriced::NoUsage));
    // C8: reasoning lies inside the output
    let usage = Usage { output_tokens: Some(500), reasoning_tokens: Some(200), ..Usage::default() };
    assert_eq!(outcome(&cost(&usage, &sheet(["-", "15", "-", "-"]))), Exact(7500));
}

#[test]
fn sums_do_not_round_again_and_stop_at_the_top() {
    // C26, C30
    assert_eq!([1, 1, 1].into_iter().fold(0, micros_add), 3);
    assert_eq!(micros_add(M, M), M);
}

#[test]
fn long_prompts_take_the_second_price() {
    let long = PriceSheet {
        base: prices(["2.5", "15", "0.25", "-"]),
        long_context: Some(LongContext { above_prompt_tokens: 200_000, prices: prices(["5", "22.5", "0.5", "-"]) }),
    };
    // C27, C28
    let above = usage([Some(150_000), Some(1000), Some(100_000), None]);
    assert_eq!(outcome(&cost(&above, &long)), Exact(822_500));
    assert_eq!(outcome(&cost(&usage([Some(200_000), None, None, None]), &long)), Exact(500_000));
    // a blank keeps the base price
    let keeps = PriceSheet {
        long_context: Some(LongContext { above_prompt_tokens: 10, prices: prices(["5", "-", "-", "-"]) }),
        ..long
    };
    assert_eq!(outcome(&cost(&usage([Some(20), Some(10), None, None]), &keeps)), Exact(250));
}

#[test]
fn blanks_take_the_default() {
    // C29
    let defaults = PriceSheet {
        base: prices(["3", "15", "0.3", "3.75"]),
        long_context: Some(LongContext { above_prompt_tokens: 1, prices: prices(["9", "9", "9", "9"]) }),
    };
    let effective = sheet(["2", "-", "-", "-"]).with_defaults(&defaults);
    assert_eq!(outcome(&cost(&usage([Some(1000), None, Some(1000), None]), &effective)), Exact(2300));
    assert_eq!(effective.long_context, None);
    assert_eq!(PriceSheet::default().with_defaults(&defaults), defaults);
}

#[test]
fn price_texts() {
    for (text, canonical) in [
        ("1.5", "1.5"),
        ("1.50", "1.5"),
        ("0", "0"),
        ("0.000", "0"),
        ("00012", "12"),
        ("1000000", "1000000"),
        ("0.000000000001", "0.000000000001"),
        ("999999.999999999999", "999999.999999999999"),
    ] {
        assert_eq!(text.parse::<Price>().unwrap().to_string(), canonical);
    }
    for (text, error) in [
        ("", PriceError::Form),
        ("1e3", PriceError::Form),
        ("-1", PriceError::Form),
        ("+1", PriceError::Form),
        (".5", PriceError::Form),
        ("5.", PriceError::Form),
        (".", PriceError::Form),
        ("1_0", PriceError::Form),
        ("1.2.3", PriceError::Form),
        (" 1", PriceError::Form),
        ("٣", PriceError::Form),
        ("0.1234567890123", PriceError::TooPrecise),
        ("0.3333333333333333333333333333", PriceError::TooPrecise),
        ("1000001", PriceError::TooLarge),
        ("1000000.000000000001", PriceError::TooLarge),
        ("99999999999999999999999999999999999999999999", PriceError::TooLarge),
    ] {
        assert_eq!(text.parse::<Price>(), Err(error), "{text:?}");
    }
}

/// Non-negative decimal arithmetic on digits, least significant first: slow, and unlike the code it checks.
mod decimal {
    pub(super) fn digits(text: &str) -> Vec<u8> {
        text.bytes().rev().map(|byte| byte - b'0').collect()
    }

    pub(super) fn add(left: &[u8], right: &[u8]) -> Vec<u8> {
        let mut sum = Vec::new();
        let mut carry = 0;
        for place in 0..left.len().max(right.len()) {
            let digit = left.get(place).unwrap_or(&0) + right.get(place).unwrap_or(&0) + carry;
            sum.push(digit % 10);
            carry = digit / 10;
        }
        sum.push(carry);
        sum
    }

    pub(super) fn multiply(left: &[u8], right: &[u8]) -> Vec<u8> {
        let mut product = vec![0];
        for (place, digit) in left.iter().enumerate() {
            for _ in 0..*digit {
                let mut shifted = vec![0; place];
                shifted.extend_from_slice(right);
                product = add(&product, &shifted);
            }
        }
        product
    }

    /// The number without its 12 lowest digits, rounded up; `None` when it is larger than `i64::MAX`.
    pub(super) fn ceil_micros(number: &[u8]) -> Option<i64> {
        let mut digits = number.to_vec();
        digits.resize(digits.len().max(12), 0);
        let whole = digits.split_off(12);
        let whole = if digits.iter().any(|digit| *digit > 0) { add(&whole, &[1]) } else { whole };
        let text: String = whole.iter().rev().map(|digit| char::from(digit + b'0')).collect();
        text.trim_start_matches('0')
            .parse()
            .or(if text.bytes().all(|byte| byte == b'0') { Ok(0) } else { Err(()) })
            .ok()
    }
}

fn any_count() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![
        2 => Just(None),
        6 => (0_i64..2_000_000).prop_map(Some),
        1 => (0..=i64::MAX).prop_map(Some),
        1 => Just(Some(i64::MAX)),
    ]
}

fn any_price() -> impl Strategy<Value = Option<Price>> {
    prop_oneof![
        1 => Just(None),
        3 => (0_i128..=100 * SCALE).prop_map(|scaled| Some(Price(scaled))),
        1 => (0_i128..=PRICE_MAX * SCALE).prop_map(|scaled| Some(Price(scaled))),
    ]
}

fn any_prices() -> impl Strategy<Value = ClassPrices> {
    [any_price(), any_price(), any_price(), any_price()]
        .prop_map(|[input, output, cache_read, cache_write]| ClassPrices { input, output, cache_read, cache_write })
}

fn any_counts() -> impl Strategy<Value = [Option<i64>; 4]> {
    [any_count(), any_count(), any_count(), any_count()]
}

proptest! {
    #[test]
    fn a_cost_equals_decimal_arithmetic(counts in any_counts(), base in any_prices()) {
        let cost = cost(&usage(counts), &PriceSheet { base, long_context: None });
        let mut total = vec![0];
        let mut matched = false;
        for (count, price) in counts.into_iter().zip(base.as_array()) {
            if let (Some(count), Some(price)) = (count, price) {
                matched = true;
                let product = decimal::multiply(
                    &decimal::digits(&count.to_string()),
                    &decimal::digits(&price.scaled().to_string()),
                );
                total = decimal::add(&total, &product);
            }
        }
        if matched {
            let exact = decimal::ceil_micros(&total);
            prop_assert_eq!(cost.micros, Some(exact.unwrap_or(i64::MAX)));
            prop_assert_eq!(cost.saturated, exact.is_none());
        } else {
            prop_assert_eq!(cost.micros, None);
            prop_assert!(cost.unpriced.is_some());
        }
    }

    #[test]
    fn a_cost_grows_with_each_count(counts in any_counts(), base in any_prices(), class in 0_usize..4, more in 1_i64..1_000) {
        let sheet = PriceSheet { base, long_context: None };
        let before = cost(&usage(counts), &sheet);
        let mut larger = counts;
        larger[class] = Some(counts[class].unwrap_or(0).saturating_add(more));
        let after = cost(&usage(larger), &sheet);
        prop_assert!(before.micros.unwrap_or(0) <= after.micros.unwrap_or(0));
        prop_assert!(before.micros.is_none_or(|micros| micros >= 0));
    }

    #[test]
    fn rounding_once_is_at_most_three_below_rounding_each(counts in any_counts(), base in any_prices()) {
        let whole = cost(&usage(counts), &PriceSheet { base, long_context: None });
        let Some(micros) = whole.micros else { return Ok(()) };
        let mut each = 0_i128;
        for class in 0..4 {
            let mut single = [None; 4];
            single[class] = counts[class];
            let sheet = PriceSheet { base, long_context: None };
            each += i128::from(cost(&usage(single), &sheet).micros.unwrap_or(0));
        }
        if !whole.saturated {
            prop_assert!(i128::from(micros) <= each && each <= i128::from(micros) + 3);
        }
    }

    #[test]
    fn sums_never_fall_and_never_wrap(amounts in prop::collection::vec(0..=i64::MAX, 0..6)) {
        let mut sum = 0;
        for amount in amounts {
            let next = micros_add(sum, amount);
            prop_assert!(next >= sum && next >= amount);
            sum = next;
        }
    }

    #[test]
    fn a_price_reads_back_what_it_prints(scaled in 0_i128..=PRICE_MAX * SCALE) {
        prop_assert_eq!(Price(scaled).to_string().parse(), Ok(Price(scaled)));
    }

    #[test]
    fn no_text_breaks_the_parser(text in "[0-9.eE+_ -]{0,20}|\\PC{0,20}") {
        if let Ok(price) = text.parse::<Price>() {
            prop_assert!(price >= Price::ZERO);
        }
    }
}
