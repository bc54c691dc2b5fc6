//! Named points at which a test may kill the process.
//!
//! With the feature `fault-injection` and a configured point `NAME` or `NAME:N`, the N-th time the
//! process reaches that point it ends with SIGKILL, as hard as a power cut. Without the feature the
//! type is empty and every call disappears.

/// Where a test kills the process. Taken from `ATELIER_FAULT` by the binary.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    #[cfg(feature = "fault-injection")]
    plan: Option<std::sync::Arc<Plan>>,
}

#[cfg(feature = "fault-injection")]
#[derive(Debug)]
struct Plan {
    point: String,
    hits_left: std::sync::atomic::AtomicU32,
}

impl Faults {
    /// No faults.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads `NAME` or `NAME:N`; N counts from 1.
    #[cfg(feature = "fault-injection")]
    #[must_use]
    pub fn parse(plan: &str) -> Self {
        let (point, hit) = plan.rsplit_once(':').map_or((plan, 1), |(point, n)| (point, n.parse().unwrap_or(1)));
        Self {
            plan: Some(std::sync::Arc::new(Plan {
                point: point.to_owned(),
                hits_left: std::sync::atomic::AtomicU32::new(hit),
            })),
        }
    }

    /// Ends the process if this is the configured point.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn hit(&self, point: &str) {
        use std::sync::atomic::Ordering;
        let Some(plan) = &self.plan else { return };
        if plan.point == point && plan.hits_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }

    #[cfg(not(feature = "fault-injection"))]
    #[inline]
    #[allow(clippy::unused_self, reason = "the same call as with the feature")]
    pub(crate) const fn hit(&self, _point: &str) {}
}
