//! When a failed model request is sent again: which kinds, how often, after how long.
//!
//! Pure: the random number and the times are handed in. The window of a step counts every request of it,
//! those of former owners included; a kind's own limit counts the failures of that kind.

use std::time::Duration;

use crate::error::ErrorKind;

/// Requests a step makes at most.
pub const STEP_REQUESTS_MAX: u32 = 25;

/// How long after its begin a step still makes requests.
pub const STEP_WINDOW: Duration = Duration::from_secs(30 * 60);

/// Longest delay made up here; a provider may ask for more.
const DELAY_MAX: Duration = Duration::from_secs(60);
const DELAY_BASE: Duration = Duration::from_secs(1);
const DELAY_MIN: Duration = Duration::from_millis(100);

/// Whether a kind is tried again, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryRule {
    /// The same request would fail the same way. Some kinds are answered with another request instead: after
    /// a compaction, or without reasoning; the caller that can do that does it before it asks for a plan.
    Never,
    /// As long as the step's window lasts, but only so many failures of this kind.
    Backoff { failures_max: Option<u32> },
}

/// The rule of a kind.
#[must_use]
pub const fn rule(kind: ErrorKind, is_server_error: bool) -> RetryRule {
    match kind {
        ErrorKind::Overloaded | ErrorKind::RateLimit | ErrorKind::Network | ErrorKind::Timeout => {
            RetryRule::Backoff { failures_max: None }
        }
        ErrorKind::StartupTimeout => RetryRule::Backoff { failures_max: Some(5) },
        ErrorKind::Malformed => RetryRule::Backoff { failures_max: Some(3) },
        ErrorKind::Generic => {
            if is_server_error {
                RetryRule::Backoff { failures_max: None }
            } else {
                RetryRule::Never
            }
        }
        ErrorKind::BadReplay
        | ErrorKind::ContextTooLong
        | ErrorKind::Quota
        | ErrorKind::Auth
        | ErrorKind::Config
        | ErrorKind::Refused
        | ErrorKind::UsageLimit
        | ErrorKind::StepLimit
        | ErrorKind::CrashLoop
        | ErrorKind::OwnerSuspended
        | ErrorKind::Internal
        | ErrorKind::Takeover => RetryRule::Never,
    }
}

/// Whether a step that made `requests` requests in `since_step_begun` may make no further one.
#[must_use]
pub fn window_over(requests: u32, since_step_begun: Duration) -> bool {
    requests >= STEP_REQUESTS_MAX || since_step_begun >= STEP_WINDOW
}

/// A failed request within its step.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    pub kind: ErrorKind,
    /// The provider answered with a status of 500 or above.
    pub is_server_error: bool,
    /// Failures of this kind in the step, this one included.
    pub failures_of_kind: u32,
    /// Requests of the step, this one included.
    pub requests: u32,
    pub since_step_begun: Duration,
    /// The provider's Retry-After or reset header.
    pub retry_after: Option<Duration>,
    /// Uniform in 0..1.
    pub unit_random: f64,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    After(Duration),
    GiveUp,
}

/// Whether and after how long the request is sent again.
#[must_use]
pub fn plan(failure: &Failure) -> Plan {
    let RetryRule::Backoff { failures_max } = rule(failure.kind, failure.is_server_error) else {
        return Plan::GiveUp;
    };
    if failures_max.is_some_and(|max| failure.failures_of_kind >= max)
        || window_over(failure.requests, failure.since_step_begun)
    {
        return Plan::GiveUp;
    }
    let delay = backoff(failure.requests, failure.unit_random).max(failure.retry_after.unwrap_or(Duration::ZERO));
    // a wait that ends past the window is not begun
    if failure.since_step_begun.saturating_add(delay) < STEP_WINDOW { Plan::After(delay) } else { Plan::GiveUp }
}

/// Full jitter: uniform between 0 and min(60 s, 1 s · 2^(attempt − 1)), at least 100 ms.
#[must_use]
pub fn backoff(attempt: u32, unit_random: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(6);
    let ceiling = DELAY_MAX.min(DELAY_BASE * 2_u32.pow(doublings));
    ceiling.mul_f64(unit_random.clamp(0.0, 1.0)).max(DELAY_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failure(kind: ErrorKind) -> Failure {
        Failure {
            kind,
            is_server_error: false,
            failures_of_kind: 1,
            requests: 1,
            since_step_begun: Duration::ZERO,
            retry_after: None,
            unit_random: 0.5,
        }
    }

    #[test]
    fn kinds_that_never_change_their_mind_are_not_retried() {
        for kind in [
            ErrorKind::Quota,
            ErrorKind::Auth,
            ErrorKind::Config,
            ErrorKind::Refused,
            ErrorKind::ContextTooLong,
            ErrorKind::BadReplay,
            ErrorKind::Internal,
            ErrorKind::Generic,
        ] {
            assert_eq!(plan(&failure(kind)), Plan::GiveUp, "{kind:?}");
        }
        let server_side = Failure { is_server_error: true, ..failure(ErrorKind::Generic) };
        assert_eq!(plan(&server_side), Plan::After(Duration::from_millis(500)));
    }

    #[test]
    fn limits_of_a_kind_count_its_failures() {
        let nth = |kind, n| plan(&Failure { failures_of_kind: n, ..failure(kind) }) != Plan::GiveUp;
        assert!(nth(ErrorKind::StartupTimeout, 4) && !nth(ErrorKind::StartupTimeout, 5));
        assert!(nth(ErrorKind::Malformed, 2) && !nth(ErrorKind::Malformed, 3));
        assert!(nth(ErrorKind::Network, 24));
    }

    #[test]
    fn the_window_ends_a_step() {
        let late = |seconds, requests| {
            let since_step_begun = Duration::from_secs(seconds);
            plan(&Failure { since_step_begun, requests, unit_random: 0.0, ..failure(ErrorKind::Overloaded) })
        };
        assert_eq!(late(0, 24), Plan::After(DELAY_MIN));
        assert_eq!(late(0, 25), Plan::GiveUp);
        assert_eq!(late(1_799, 3), Plan::After(DELAY_MIN));
        assert_eq!(late(1_800, 3), Plan::GiveUp);
    }

    #[test]
    fn a_provider_may_ask_for_a_longer_wait() {
        let asked = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            plan(&Failure { retry_after, ..failure(ErrorKind::RateLimit) })
        };
        assert_eq!(asked(20), Plan::After(Duration::from_secs(20)));
        assert_eq!(asked(0), Plan::After(Duration::from_millis(500)));
        assert_eq!(asked(7_200), Plan::GiveUp);
    }

    #[test]
    fn the_ceiling_doubles_up_to_a_minute() {
        let ceilings: Vec<u64> = (1..=9).map(|attempt| backoff(attempt, 1.0).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(u32::MAX, 1.0), DELAY_MAX);
    }

    proptest! {
        #[test]
        fn a_delay_lies_between_its_bounds(attempt in 1_u32..25, unit in 0.0_f64..1.0) {
            let delay = backoff(attempt, unit);
            prop_assert!(delay >= DELAY_MIN && delay <= DELAY_MAX);
        }
    }
}
