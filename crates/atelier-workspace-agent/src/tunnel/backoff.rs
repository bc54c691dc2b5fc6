//! How long to wait before the next try: a random time below a bound that doubles (full jitter).

use std::time::Duration;

pub(super) const CAP: Duration = Duration::from_secs(30);
/// Over the socket of the own host nobody is overrun by many agents.
pub(super) const LOCAL_CAP: Duration = Duration::from_millis(500);
const FIRST: Duration = Duration::from_millis(250);

pub(super) struct Backoff {
    cap: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) const fn new(cap: Duration) -> Self {
        Self { cap, failures: 0 }
    }

    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }

    pub(super) fn next(&mut self) -> Duration {
        let bound = bound(self.failures, self.cap);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(rand::random::<f64>())
    }
}

fn bound(failures: u32, cap: Duration) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_up_to_the_cap() {
        let bounds: Vec<u128> = (0..9).map(|failures| bound(failures, CAP).as_millis()).collect();
        assert_eq!(bounds, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(bound(40, LOCAL_CAP), LOCAL_CAP);
        let mut backoff = Backoff::new(LOCAL_CAP);
        assert!((0..100).all(|_| backoff.next() <= LOCAL_CAP));
    }
}
