//! Replicas and their leases: which processes live, by the database's clock. PostgreSQL only, where there are
//! several, and used through `coordination.rs`. Each look is one statement: an idle replica makes few of them.

use std::time::Duration;

use atelier_domain::{ChatId, Incarnation};

use crate::chats::RunningRow;
use crate::coordination::Replica;
use crate::database::Store;
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::args;

statements! {
    REPLICA_INSERT = { postgres: "WITH forgotten AS (DELETE FROM replicas WHERE dead
            AND NOT EXISTS (SELECT 1 FROM chats c WHERE c.owner_incarnation = replicas.incarnation))
        INSERT INTO replicas (incarnation, url, build, started_at, lease_until, draining, dead)
        VALUES ($1, $2, $3, now(), now() + $4 * interval '1 millisecond', false, false)" };
    // no row: declared dead; one row without a chat: nothing runs here
    REPLICA_RENEW = { postgres: "WITH renewed AS (UPDATE replicas SET lease_until = now() + $2 * interval '1 millisecond'
            WHERE incarnation = $1 AND NOT dead RETURNING incarnation)
        SELECT c.id, c.epoch, c.stop_kind FROM renewed r
        LEFT JOIN chats c ON c.status = 'running' AND c.owner_incarnation = r.incarnation" };
    // a replica registers before its first claim: one without a row is gone; nobody declares itself dead. The outer query does not see
    // what the inner one has written
    RUNS_LOST = { postgres: "WITH marked AS (UPDATE replicas SET dead = true WHERE NOT dead AND lease_until < now()
            AND incarnation <> $2 RETURNING incarnation)
        SELECT c.id, c.owner_incarnation FROM chats c LEFT JOIN replicas r ON r.incarnation = c.owner_incarnation
        WHERE c.status = 'running' AND (r.incarnation IS NULL OR r.dead
            OR c.owner_incarnation IN (SELECT m.incarnation FROM marked m))
        ORDER BY c.id LIMIT $1" };
    REPLICA_DELETE = { postgres: "DELETE FROM replicas WHERE incarnation = $1" };
}

impl Store {
    /// Registers this life of a replica, and forgets lives that are dead and own nothing any more.
    pub(crate) async fn replica_register(&self, replica: Replica, lease: Duration) -> Result<(), StoreError> {
        let args = args![replica.incarnation, replica.url, replica.build, millis(lease)];
        self.upkeep(REPLICA_INSERT, args).await.map(|_| ())
    }

    /// Renews the lease and gives the chats this life owns. None: it was declared dead.
    pub(crate) async fn replica_renew(
        &self,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<Option<Vec<RunningRow>>, StoreError> {
        let rows = self.upkeep(REPLICA_RENEW, args![incarnation, millis(lease)]).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let mut running = Vec::new();
        for row in &rows {
            if row.uuid_opt("id")?.is_some() {
                running.push(RunningRow::read(row)?);
            }
        }
        Ok(Some(running))
    }

    /// Marks other lives whose lease is over as dead, and gives chats whose run belongs to a dead one.
    pub(crate) async fn replica_runs_lost(
        &self,
        own: Incarnation,
        limit: i64,
    ) -> Result<Vec<(ChatId, Incarnation)>, StoreError> {
        let rows = self.upkeep(RUNS_LOST, args![limit, own]).await?;
        rows.iter().map(|row| Ok((row.id("id")?, row.id("owner_incarnation")?))).collect()
    }

    /// Frees the lease at a regular end.
    pub(crate) async fn replica_delete(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        self.upkeep(REPLICA_DELETE, args![incarnation]).await.map(|_| ())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
