//! How often something may happen: a number at once, and so many a second after that.

use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Budget {
    burst: f64,
    per_second: f64,
    left: f64,
    filled_at: Instant,
}

impl Budget {
    pub(super) fn new(burst: u32, per_second: u32) -> Self {
        let burst = f64::from(burst);
        Self { burst, per_second: f64::from(per_second), left: burst, filled_at: Instant::now() }
    }

    /// Takes one; false when nothing is left.
    pub(super) fn take(&mut self) -> bool {
        if self.left < 1.0 {
            let now = Instant::now();
            let gained = now.duration_since(self.filled_at).as_secs_f64() * self.per_second;
            self.left = (self.left + gained).min(self.burst);
            self.filled_at = now;
        }
        let granted = self.left >= 1.0;
        if granted {
            self.left -= 1.0;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_granted_and_then_as_much_as_time_gives_back() {
        let mut budget = Budget::new(10, 2);
        let mut granted = || (0..100).filter(|_| budget.take()).count();
        assert_eq!(granted(), 10);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(granted(), 6);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(granted(), 10, "no more than the burst is saved up");
    }
}
