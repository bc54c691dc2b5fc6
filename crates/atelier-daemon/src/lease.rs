//! This replica's life: its lease, what its rows say of its runs, and a new life after it was taken for dead.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use atelier_domain::{Chain, ChatId, Incarnation, SharedClock};
use atelier_store::{Coordination, Renewal, Replica, RunningRow, StoreError};
use tokio_util::sync::CancellationToken;

use crate::commit::{Commits, RunSignals as _};
use crate::executor::Places;
use crate::pulse::Pulse;

/// A lease lasts this long and is renewed this often (both by the database's clock).
const LEASE: Duration = Duration::from_secs(6);
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// Where no lease has to be kept, rows are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Keeps the lease of one replica over its lives.
pub(crate) struct Lease {
    coordination: Coordination,
    commits: Commits,
    places: Arc<Places>,
    clock: SharedClock,
    /// Its life is replaced by each new one.
    replica: Replica,
    /// Rows that ran without a run here at the last look.
    suspects: HashSet<(ChatId, i64)>,
    every: Duration,
    pulse: Arc<Pulse>,
}

impl Lease {
    /// Makes the replica known. Before its first claim.
    pub(crate) async fn join(
        commits: &Commits,
        places: &Arc<Places>,
        clock: &SharedClock,
        replica: Replica,
    ) -> Result<Self, StoreError> {
        let coordination = commits.store().coordination();
        coordination.join(replica.clone(), LEASE).await?;
        let every = if coordination.has_leases() { RENEW_EVERY } else { LOOK_EVERY };
        Ok(Self {
            coordination,
            commits: commits.clone(),
            places: Arc::clone(places),
            clock: Arc::clone(clock),
            replica,
            suspects: HashSet::new(),
            every,
            pulse: Arc::new(Pulse::new(Arc::clone(clock), every)),
        })
    }

    /// Shows whether the lease is still renewed.
    pub(crate) fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Renews the lease until `stop`, and tells runs what their rows say.
    pub(crate) async fn keep(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                // a renewal that is under way ends before the token is looked at
                () = stop.cancelled() => return,
                () = self.clock.sleep(self.every.mul_f64(rand::random_range(0.9..1.1))) => {}
            }
            self.renew().await;
        }
    }

    async fn renew(&mut self) {
        let incarnation = self.replica.incarnation;
        let before: HashSet<ChatId> = self.places.running().into_iter().collect();
        match self.coordination.renew(incarnation, LEASE).await {
            Ok(Renewal::Lives { running }) => {
                self.pulse.beat();
                self.compare(&before, &running).await;
            }
            Ok(Renewal::DeclaredDead) => {
                tracing::error!(replica.id = %incarnation, "this replica was taken for dead; its turns run elsewhere");
                // each looks at its row, finds that it lost the chat, and ends without writing
                before.into_iter().for_each(|chat| self.places.stop(chat, i64::MAX));
                self.live_again().await;
            }
            Err(error) => tracing::warn!(replica.id = %incarnation, "the lease was not renewed: {}", Chain(&error)),
        }
    }

    /// Stops what was asked to stop, and hands on what nobody here runs: a claim whose commit was not
    /// confirmed, or a run that could not write its end.
    async fn compare(&mut self, before: &HashSet<ChatId>, running: &[RunningRow]) {
        for row in running.iter().filter(|row| row.is_stopping) {
            self.places.stop(row.chat_id, row.epoch);
        }
        let here: HashSet<ChatId> = self.places.running().into_iter().collect();
        let without_run: HashSet<(ChatId, i64)> = running
            .iter()
            .filter(|row| !before.contains(&row.chat_id) && !here.contains(&row.chat_id))
            .map(|row| (row.chat_id, row.epoch))
            .collect();
        // at the second look in a row: a run that was just ending has ended by then
        for (chat, _) in without_run.intersection(&self.suspects) {
            tracing::warn!(chat.id = %chat, "chat {chat} is running without a run; its turn starts again");
            if let Err(error) = self.commits.lease_ended(*chat, self.replica.incarnation).await {
                tracing::warn!(chat.id = %chat, "chat {chat} could not be taken back: {}", Chain(&error));
                // the lease is due again before the rest has waited for the database in vain
                break;
            }
        }
        self.suspects = without_run;
    }

    /// Goes on as a new life; the next renewal tries again if that fails.
    async fn live_again(&mut self) {
        let replica = Replica { incarnation: Incarnation::new(), ..self.replica.clone() };
        match self.coordination.join(replica.clone(), LEASE).await {
            Ok(()) => {
                self.suspects.clear();
                self.commits.live_as(replica.incarnation);
                self.replica = replica;
            }
            Err(error) => tracing::warn!("no new life could be registered: {}", Chain(&error)),
        }
    }
}
