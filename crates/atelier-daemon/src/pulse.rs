//! Whether the loops of a replica still do their work, for those who ask after its health.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use atelier_domain::SharedClock;

/// A loop that has done nothing for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// When one loop last did its work.
pub(crate) struct Pulse {
    clock: SharedClock,
    /// Milliseconds of the monotonic clock.
    last: AtomicU64,
    allowed: Duration,
}

impl Pulse {
    /// Of a loop that does its work about once in `every`.
    pub(crate) fn new(clock: SharedClock, every: Duration) -> Self {
        let pulse = Self { clock, last: AtomicU64::new(0), allowed: STUCK_AFTER.max(every * 5 / 2) };
        pulse.beat();
        pulse
    }

    /// The work was done.
    pub(crate) fn beat(&self) {
        self.last.store(self.now_ms(), Ordering::Release);
    }

    pub(crate) fn is_stuck(&self) -> bool {
        let since = self.now_ms().saturating_sub(self.last.load(Ordering::Acquire));
        Duration::from_millis(since) > self.allowed
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.monotonic_now().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use atelier_domain::Timestamp;
    use atelier_test_support::PausedClock;

    use super::*;

    #[test]
    fn a_loop_is_stuck_when_it_has_done_nothing_for_ten_seconds_or_two_and_a_half_rounds() {
        for (every, allowed) in [(2, 10), (10, 25)] {
            let clock = Arc::new(PausedClock::new(Timestamp::UNIX_EPOCH));
            let pulse = Pulse::new(clock.clone(), Duration::from_secs(every));
            clock.advance(Duration::from_secs(allowed));
            assert!(!pulse.is_stuck());
            clock.advance(Duration::from_secs(1));
            assert!(pulse.is_stuck());
            pulse.beat();
            assert!(!pulse.is_stuck());
        }
    }
}
