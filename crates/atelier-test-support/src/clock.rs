//! A clock that stands still until a test moves it.

use std::pin::Pin;
use std::time::Duration;

use atelier_domain::{Clock, Timestamp};
use tokio::sync::watch;

/// Both wall time and monotonic time move only by [`PausedClock::advance`].
pub struct PausedClock {
    start: Timestamp,
    elapsed: watch::Sender<Duration>,
}

impl PausedClock {
    /// Stands at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self { start, elapsed: watch::Sender::new(Duration::ZERO) }
    }

    /// Moves time on; whoever sleeps until then wakes.
    pub fn advance(&self, by: Duration) {
        self.elapsed.send_modify(|elapsed| *elapsed += by);
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        let elapsed = jiff::SignedDuration::try_from(self.monotonic_now()).expect("tests do not last for centuries");
        self.start + elapsed
    }

    fn monotonic_now(&self) -> Duration {
        *self.elapsed.borrow()
    }

    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut elapsed = self.elapsed.subscribe();
        Box::pin(async move {
            // an error means that the clock is gone: then nobody can move it any more
            if elapsed.wait_for(|elapsed| *elapsed >= deadline).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_its_time_has_come() {
        let clock = PausedClock::new(Timestamp::UNIX_EPOCH);
        let mut sleep = clock.sleep(Duration::from_secs(10));
        clock.advance(Duration::from_secs(9));
        assert!(futures::poll!(&mut sleep).is_pending());
        clock.advance(Duration::from_secs(1));
        sleep.await;
        assert_eq!(clock.now(), Timestamp::from_second(10).unwrap());
    }
}
