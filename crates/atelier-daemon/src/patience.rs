//! How long work that has begun waits for a database that is away.

use std::time::Duration;

use atelier_domain::SharedClock;

/// How long the same thing is tried.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The tries of one thing, with growing pauses between them.
pub(crate) struct Patience {
    clock: SharedClock,
    until: Duration,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new(clock: &SharedClock) -> Self {
        Self { clock: SharedClock::clone(clock), until: clock.monotonic_now() + PATIENCE, pause: FIRST_PAUSE }
    }

    pub(crate) fn is_left(&self) -> bool {
        self.clock.monotonic_now() < self.until
    }

    pub(crate) async fn pause(&mut self) {
        self.clock.sleep(self.pause.mul_f64(rand::random_range(0.5..1.0))).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
