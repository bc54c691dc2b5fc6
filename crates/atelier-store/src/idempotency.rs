//! Repeats of requests: what an `Idempotency-Key` has led to, for 24 hours.
//!
//! A key is taken before its request is carried out and gets the answer afterwards. A request that never
//! answered has died with its server. Its key is free again when the lease of that life of the replica is over
//! (at once on SQLite, at the next start), and after [`ABANDONED_AFTER`] in any case. A request whose key was
//! taken over meanwhile cannot finish: what it does in the transaction of its answer is rolled back.

use atelier_domain::{Incarnation, Timestamp};
use jiff::SignedDuration;

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::args;

/// How long an answer is kept.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);
/// How long a request may run before a repeat takes its place. No request runs for a minute.
const ABANDONED_AFTER: SignedDuration = SignedDuration::from_mins(2);

macro_rules! take_text {
    ($abandoned:literal) => {
        concat!(
            "INSERT INTO idempotency_keys (scope, body_hash, created_at, owner_incarnation) VALUES ($1, $2, $3, $6)
            ON CONFLICT (scope) DO UPDATE SET body_hash = excluded.body_hash, status = NULL, body = NULL,
                created_at = excluded.created_at, owner_incarnation = excluded.owner_incarnation
            WHERE idempotency_keys.created_at < $4 OR (idempotency_keys.status IS NULL
                AND idempotency_keys.body_hash = excluded.body_hash AND (idempotency_keys.created_at < $5",
            $abandoned,
            "))"
        )
    };
}

statements! {
    // bounded, and on PostgreSQL without waiting for another request that does the same
    EXPIRE = {
        sqlite: "DELETE FROM idempotency_keys WHERE scope IN
            (SELECT scope FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT 100)",
        postgres: "DELETE FROM idempotency_keys WHERE scope IN
            (SELECT scope FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT 100 FOR UPDATE SKIP LOCKED)"
    };
    TAKE = { sqlite: take_text!(""), postgres: take_text!(" OR (idempotency_keys.owner_incarnation IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM replicas r WHERE r.incarnation = idempotency_keys.owner_incarnation
                AND NOT r.dead AND r.lease_until > now()))") };
    GET = "SELECT body_hash, status, body FROM idempotency_keys WHERE scope = $1";
    FINISH = "UPDATE idempotency_keys SET status = $2, body = $3 WHERE scope = $1 AND owner_incarnation = $4";
    FORGET = "DELETE FROM idempotency_keys WHERE scope = $1 AND owner_incarnation = $2 AND status IS NULL";
    FORGET_OPEN = "DELETE FROM idempotency_keys WHERE status IS NULL";
}

/// What a key stands for, and who carries the request out.
#[derive(Clone, Copy, Debug)]
pub struct IdempotencyKey {
    /// SHA-256 of user, method, path and key.
    pub scope: [u8; 32],
    /// The life of the replica that the request came to.
    pub owner: Incarnation,
}

/// What an idempotency key has led to so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// The caller is the first: carry the request out, then finish or forget.
    Begin,
    /// The same request was answered like this.
    Replay {
        status: u16,
        body: String,
    },
    InProgress,
    /// The key was used with another body.
    OtherBody,
}

/// Keeps a good answer, in the transaction of the request's effect if it can be.
///
/// # Errors
/// [`StoreError::Overtaken`] when the key was taken over, and the store's.
pub async fn idempotency_finish_in_tx(
    tx: &mut Tx<'_>,
    key: IdempotencyKey,
    status: u16,
    body: String,
) -> Result<(), StoreError> {
    match tx.run(FINISH, args![key.scope.to_vec(), i32::from(status), body, key.owner]).await? {
        0 => Err(StoreError::Overtaken),
        _ => Ok(()),
    }
}

impl Store {
    /// Looks a request up by its key, or takes the key for it.
    pub async fn idempotency_begin(
        &self,
        key: IdempotencyKey,
        body_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Idempotency, StoreError> {
        self.write("idempotency_begin", move |tx| {
            Box::pin(async move {
                let before = |span| now.checked_sub(span).unwrap_or(now);
                let (kept_since, abandoned) = (before(KEPT_FOR), before(ABANDONED_AFTER));
                tx.run(EXPIRE, args![kept_since]).await?;
                let scope = key.scope.to_vec();
                let args = args![scope.clone(), body_hash.to_vec(), now, kept_since, abandoned, key.owner];
                if tx.run(TAKE, args).await? > 0 {
                    return Ok(Idempotency::Begin);
                }
                let row = tx.one(GET, args![scope]).await?;
                if row.bytes("body_hash")? != body_hash {
                    return Ok(Idempotency::OtherBody);
                }
                Ok(match row.int32_opt("status")? {
                    None => Idempotency::InProgress,
                    Some(status) => Idempotency::Replay {
                        status: u16::try_from(status).map_err(|_| StoreError::unreadable("status"))?,
                        body: row.text_opt("body")?.unwrap_or_default(),
                    },
                })
            })
        })
        .await
    }

    /// As [`idempotency_finish_in_tx`].
    pub async fn idempotency_finish(&self, key: IdempotencyKey, status: u16, body: String) -> Result<(), StoreError> {
        self.write("idempotency_finish", move |tx| {
            Box::pin(async move { idempotency_finish_in_tx(tx, key, status, body).await })
        })
        .await
    }

    /// Frees the key of a request that was refused: it may be tried again.
    pub async fn idempotency_forget(&self, key: IdempotencyKey) -> Result<(), StoreError> {
        self.write("idempotency_forget", move |tx| {
            Box::pin(async move { tx.run(FORGET, args![key.scope.to_vec(), key.owner]).await.map(|_| ()) })
        })
        .await
    }

    /// Frees the keys of requests that died with their process. For the start of a single process.
    pub async fn idempotency_forget_open_for_system(&self) -> Result<(), StoreError> {
        self.write("idempotency_forget_open", move |tx| {
            Box::pin(async move { tx.run(FORGET_OPEN, Vec::new()).await.map(|_| ()) })
        })
        .await
    }
}
