//! When a provider wants to be asked again.

use std::time::Duration;

use atelier_domain::Timestamp;
use reqwest::header::HeaderMap;

/// A longer wait is not believed (and outlasts every window anyway).
const MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Limits whose reset counts once nothing remains of them: Anthropic's (RFC 3339) and OpenAI's (`1m30s`).
const LIMITS: [(&str, &str); 6] = [
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
];

/// Whether a wait is one that people should be told.
pub(super) fn is_believable(wait: Duration) -> bool {
    !wait.is_zero() && wait < MAX
}

/// From `retry-after-ms`, `Retry-After` (seconds or a date), or the reset of a limit that is used up.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let wait = text("retry-after-ms")
        .and_then(|ms| ms.parse::<f64>().ok())
        .and_then(|ms| seconds(ms / 1000.0))
        .or_else(|| {
            let value = text("retry-after")?;
            value.parse::<f64>().ok().map_or_else(|| until(http_date(value)?, now), seconds)
        })
        .or_else(|| {
            let used_up = LIMITS.iter().filter(|(remaining, _)| text(remaining) == Some("0"));
            used_up.filter_map(|(_, reset)| reset_in(text(reset)?, now)).max()
        })?;
    Some(wait.min(MAX))
}

fn seconds(seconds: f64) -> Option<Duration> {
    if seconds.is_nan() || seconds < 0.0 { None } else { Some(Duration::try_from_secs_f64(seconds).unwrap_or(MAX)) }
}

fn until(then: Timestamp, now: Timestamp) -> Option<Duration> {
    // a moment that has passed: at once
    Some(Duration::try_from(then.duration_since(now)).unwrap_or_default())
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn reset_in(text: &str, now: Timestamp) -> Option<Duration> {
    text.parse().map_or_else(|_| short_duration(text), |then| until(then, now))
}

/// `1m30s`, `6.5s`, `120ms`.
fn short_duration(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += amount
            * match &rest[..unit] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    if text.is_empty() { None } else { seconds(total) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    fn wait(headers: &[(&'static str, &'static str)]) -> Option<f64> {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        retry_after(&map, now).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn all_forms_are_read() {
        assert_eq!(wait(&[("retry-after", "20")]), Some(20.0));
        assert_eq!(wait(&[("retry-after", "0")]), Some(0.0));
        assert_eq!(wait(&[("retry-after", "1.5")]), Some(1.5));
        assert_eq!(wait(&[("retry-after", "Sun, 22 Nov 2026 10:02:00 GMT")]), Some(120.0));
        assert_eq!(wait(&[("retry-after", "Sun, 22 Nov 2026 09:00:00 GMT")]), Some(0.0));
        assert_eq!(wait(&[("retry-after", "20"), ("retry-after-ms", "1250")]), Some(1.25));
        assert_eq!(wait(&[("retry-after", "1e300")]), Some(MAX.as_secs_f64()));
        for nonsense in ["soon", "-1", "NaN", ""] {
            assert_eq!(wait(&[("retry-after", nonsense)]), None);
        }
    }

    #[test]
    fn limits_count_once_they_are_used_up() {
        assert_eq!(
            wait(&[
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2026-11-22T10:00:30Z"),
                ("anthropic-ratelimit-tokens-remaining", "5"),
                ("anthropic-ratelimit-tokens-reset", "2026-11-22T11:00:00Z"),
            ]),
            Some(30.0)
        );
        assert_eq!(wait(&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1m30.5s")]), Some(90.5));
        assert_eq!(wait(&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "?")]), None);
        assert_eq!(short_duration("120ms"), Some(Duration::from_millis(120)));
        assert_eq!(short_duration("1x"), None);
    }
}
