//! Time as a value that is handed in, so that tests can move it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// Where a component takes its time from. The binary's clock is the system's; tests use a paused one.
pub trait Clock: Send + Sync + 'static {
    /// Wall time, for what is stored and shown. May jump.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment of this process, for what is measured. Never falls.
    fn monotonic_now(&self) -> Duration;

    /// Ends once `monotonic_now` has reached `deadline`. A boxed std future, so domain needs no tokio.
    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Ends after `duration`.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.sleep_until(self.monotonic_now() + duration)
    }
}

pub type SharedClock = Arc<dyn Clock>;

/// `timestamp` cut to whole microseconds: what both databases keep and the wire shows.
#[must_use]
pub fn to_micros(timestamp: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(timestamp.as_microsecond()).unwrap_or(timestamp)
}
