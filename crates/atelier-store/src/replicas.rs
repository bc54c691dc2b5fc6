//! Replicas and their leases: which processes live, by the database's clock. PostgreSQL only has several.

use std::time::Duration;

use atelier_domain::Incarnation;

use crate::database::Store;
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::args;

statements! {
    REPLICA_INSERT = {
        sqlite: "INSERT INTO replicas (incarnation, url, build, started_at, lease_until, draining, dead)
            VALUES ($1, $2, $3, unixepoch() * 1000000, unixepoch() * 1000000 + $4 * 1000, false, false)",
        postgres: "INSERT INTO replicas (incarnation, url, build, started_at, lease_until, draining, dead)
            VALUES ($1, $2, $3, now(), now() + $4 * interval '1 millisecond', false, false)"
    };
    REPLICA_RENEW = {
        sqlite: "UPDATE replicas SET lease_until = unixepoch() * 1000000 + $2 * 1000 WHERE incarnation = $1 AND NOT dead",
        postgres: "UPDATE replicas SET lease_until = now() + $2 * interval '1 millisecond' WHERE incarnation = $1 AND NOT dead"
    };
    REPLICAS_MARK_DEAD = {
        sqlite: "UPDATE replicas SET dead = true WHERE NOT dead AND lease_until < unixepoch() * 1000000",
        postgres: "UPDATE replicas SET dead = true WHERE NOT dead AND lease_until < now()"
    };
    REPLICAS_FORGET = "DELETE FROM replicas WHERE dead
        AND NOT EXISTS (SELECT 1 FROM chats c WHERE c.owner_incarnation = replicas.incarnation)";
    REPLICA_DELETE = "DELETE FROM replicas WHERE incarnation = $1";
}

impl Store {
    /// Registers this life of a replica.
    pub async fn replica_register(
        &self,
        incarnation: Incarnation,
        url: String,
        build: String,
        lease: Duration,
    ) -> Result<(), StoreError> {
        let millis = millis(lease);
        self.write("replica_register", move |tx| {
            Box::pin(async move {
                tx.run(REPLICA_INSERT, args![incarnation, url, build, millis])
                    .await
                    .map(|_| ())
            })
        })
        .await
    }

    /// Renews the lease. False: this life was declared dead.
    pub async fn replica_renew(
        &self,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let millis = millis(lease);
        self.write("replica_renew", move |tx| {
            Box::pin(
                async move { Ok(tx.run(REPLICA_RENEW, args![incarnation, millis]).await? > 0) },
            )
        })
        .await
    }

    /// Marks replicas whose lease is over as dead, and forgets those that own nothing any more.
    pub async fn replicas_sweep_for_system(&self) -> Result<(), StoreError> {
        self.write("replicas_sweep", move |tx| {
            Box::pin(async move {
                tx.run(REPLICAS_MARK_DEAD, Vec::new()).await?;
                tx.run(REPLICAS_FORGET, Vec::new()).await.map(|_| ())
            })
        })
        .await
    }

    /// Frees the lease at a regular end.
    pub async fn replica_delete(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        self.write("replica_delete", move |tx| {
            Box::pin(async move { tx.run(REPLICA_DELETE, args![incarnation]).await.map(|_| ()) })
        })
        .await
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
