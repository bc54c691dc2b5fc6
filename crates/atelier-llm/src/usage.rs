//! Counts of tokens as providers report them (governance.md 4).

use atelier_domain::message::Usage;
use serde_json::Value;

/// No request takes or makes as many: a larger count is a fault of the server that reports it.
const MAX_TOKENS: f64 = 1e9;

/// The count at `path` of a report. One that cannot be true is absent.
pub(crate) fn count(report: &Value, path: &str) -> Option<i64> {
    let number = report.pointer(path)?.as_f64()?;
    if !(0.0..=MAX_TOKENS).contains(&number) {
        tracing::warn!("a provider reported {path} = {number}, which no request can have; the count is left out");
        return None;
    }
    Some(number as i64)
}

/// The counts of one request after another report: they never fall, so the larger of each holds.
pub(crate) fn grown(before: Usage, now: Usage) -> Usage {
    Usage {
        input_tokens: before.input_tokens.max(now.input_tokens),
        output_tokens: before.output_tokens.max(now.output_tokens),
        reasoning_tokens: before.reasoning_tokens.max(now.reasoning_tokens),
        cache_read_tokens: before.cache_read_tokens.max(now.cache_read_tokens),
        cache_creation_tokens: before.cache_creation_tokens.max(now.cache_creation_tokens),
        total_tokens: before.total_tokens.max(now.total_tokens),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_that_cannot_be_true_are_absent() {
        let counts = [
            (json!(0), Some(0)),
            (json!(12), Some(12)),
            (json!(12.0), Some(12)),
            (json!(1_000_000_000), Some(1_000_000_000)),
            (json!(1_000_000_001), None),
            (json!(u64::MAX), None),
            (json!(1e300), None),
            (json!(-1), None),
            (json!("12"), None),
            (json!(null), None),
        ];
        for (reported, expected) in counts {
            assert_eq!(count(&json!({"n": reported}), "/n"), expected, "{reported}");
        }
    }

    #[test]
    fn counts_of_one_request_never_fall() {
        let usage = |input, output| Usage { input_tokens: input, output_tokens: output, ..Usage::default() };
        assert_eq!(grown(usage(Some(50), None), usage(Some(0), Some(7))), usage(Some(50), Some(7)));
        assert_eq!(grown(usage(Some(50), Some(7)), usage(None, Some(9))), usage(Some(50), Some(9)));
    }
}
