//! What one process and several have to agree on: who lives, and whose runs nobody carries on.
//!
//! On SQLite there is one process, proven by the lock file: it needs no lease, and every run of another
//! life is over. On PostgreSQL each life of a replica holds one lease, renewed by the database's clock on
//! connections of its own; a life whose lease is over is marked dead and stays dead. Claiming a chat is the
//! same on both: its row is locked, and its epoch fences every later write.

use std::time::Duration;

use atelier_domain::{ChatId, Incarnation};

use crate::chats::RunningRow;
use crate::database::{Engine, Store};
use crate::error::StoreError;

/// How the processes on one database know of each other.
#[derive(Clone)]
pub enum Coordination {
    /// One process.
    InProcess(Store),
    /// Any number of replicas, each with a lease.
    Leases(Store),
}

/// One life of a replica.
#[derive(Clone, Debug)]
pub struct Replica {
    pub incarnation: Incarnation,
    /// Where other replicas reach it.
    pub url: String,
    pub build: String,
}

/// What a renewal found.
#[derive(Clone, Debug)]
pub enum Renewal {
    /// The chats this life owns, by their rows: one it believes to run that is missing here is lost, one
    /// that is stopping must be stopped. So no stop depends on a hint.
    Lives { running: Vec<RunningRow> },
    /// Others have taken this life for dead: every run of it is lost, and a new life has to be registered.
    DeclaredDead,
}

impl Coordination {
    /// Whether a lease has to be renewed and others' leases watched.
    #[must_use]
    pub const fn has_leases(&self) -> bool {
        match self {
            Self::InProcess(_) => false,
            Self::Leases(_) => true,
        }
    }

    /// Makes this life known. Before its first claim.
    ///
    /// # Errors
    /// The store's.
    pub async fn join(&self, replica: Replica, lease: Duration) -> Result<(), StoreError> {
        match self {
            Self::InProcess(_) => Ok(()),
            Self::Leases(store) => store.replica_register(replica, lease).await,
        }
    }

    /// Extends the lease to `lease` from now on, and looks at what this life owns.
    ///
    /// # Errors
    /// The store's.
    pub async fn renew(&self, incarnation: Incarnation, lease: Duration) -> Result<Renewal, StoreError> {
        Ok(match self {
            Self::InProcess(store) => Renewal::Lives { running: store.chats_running_of(incarnation).await? },
            Self::Leases(store) => match store.replica_renew(incarnation, lease).await? {
                Some(running) => Renewal::Lives { running },
                None => Renewal::DeclaredDead,
            },
        })
    }

    /// Marks lives whose lease is over as dead, then finds chats whose run nobody carries on, with the life
    /// that owned them. The caller ends each of these leases in the chat's own transaction.
    ///
    /// # Errors
    /// The store's.
    pub async fn lost_runs(&self, own: Incarnation, limit: i64) -> Result<Vec<(ChatId, Incarnation)>, StoreError> {
        let mut found = match self {
            Self::InProcess(store) => store.chats_running_for_system(limit).await?,
            Self::Leases(store) => store.replica_runs_lost(own, limit).await?,
        };
        found.retain(|(_, owner)| *owner != own);
        Ok(found)
    }

    /// Gives the lease back at a regular end. What this life still owned is lost at once.
    ///
    /// # Errors
    /// The store's.
    pub async fn leave(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        match self {
            Self::InProcess(_) => Ok(()),
            Self::Leases(store) => store.replica_delete(incarnation).await,
        }
    }
}

impl Store {
    #[must_use]
    pub fn coordination(&self) -> Coordination {
        match self.engine() {
            Engine::Sqlite => Coordination::InProcess(self.clone()),
            Engine::Postgres => Coordination::Leases(self.clone()),
        }
    }
}
