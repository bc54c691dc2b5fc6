//! Waking those who wait for something to change about a workspace: a build ended, an agent came.
//!
//! A hint only. Whoever is woken reads the rows again; who waits long also looks on a timer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atelier_domain::WorkspaceId;
use tokio::sync::watch;

/// How long a wait goes on without a wake-up before it looks by itself.
const LOOK: Duration = Duration::from_secs(5);

#[derive(Clone, Default)]
pub(crate) struct Changes {
    senders: Arc<Mutex<HashMap<WorkspaceId, watch::Sender<u64>>>>,
}

pub(crate) struct Waiter {
    receiver: watch::Receiver<u64>,
}

impl Changes {
    /// Register before reading the rows, so that nothing between is missed.
    pub(crate) fn waiter(&self, workspace: WorkspaceId) -> Waiter {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = senders.entry(workspace).or_insert_with(|| watch::Sender::new(0)).subscribe();
        Waiter { receiver }
    }

    pub(crate) fn wake(&self, workspace: WorkspaceId) {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = senders.get(&workspace) {
            if sender.receiver_count() == 0 {
                senders.remove(&workspace);
            } else {
                sender.send_modify(|count| *count += 1);
            }
        }
    }
}

impl Waiter {
    /// Ends after a change, or after some seconds to look all the same.
    ///
    /// # Cancel safety
    /// A change that came is not lost.
    pub(crate) async fn changed(&mut self) {
        let _ = tokio::time::timeout(LOOK, self.receiver.changed()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_between_registering_and_waiting_is_seen() {
        let changes = Changes::default();
        let workspace = WorkspaceId::new();
        let mut waiter = changes.waiter(workspace);
        changes.wake(workspace);
        let before = tokio::time::Instant::now();
        waiter.changed().await;
        assert_eq!(before.elapsed(), Duration::ZERO);
        waiter.changed().await;
        assert_eq!(before.elapsed(), LOOK);
        drop(waiter);
        changes.wake(workspace);
        assert!(changes.senders.lock().unwrap().is_empty());
    }
}
