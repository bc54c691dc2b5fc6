//! Repeats of requests: what an `Idempotency-Key` has led to, for 24 hours.
//!
//! A key is taken before its request is carried out and gets the answer afterwards. A request that never
//! answered has died with its server; its key is free again after [`ABANDONED_AFTER`].

use atelier_domain::Timestamp;
use jiff::SignedDuration;

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::args;

/// How long an answer is kept.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);
/// How long a request may run before a repeat takes its place. No request runs for a minute.
const ABANDONED_AFTER: SignedDuration = SignedDuration::from_mins(2);

statements! {
    // bounded, and on PostgreSQL without waiting for another request that does the same
    EXPIRE = {
        sqlite: "DELETE FROM idempotency_keys WHERE scope IN
            (SELECT scope FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT 100)",
        postgres: "DELETE FROM idempotency_keys WHERE scope IN
            (SELECT scope FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT 100 FOR UPDATE SKIP LOCKED)"
    };
    TAKE = "INSERT INTO idempotency_keys (scope, body_hash, created_at) VALUES ($1, $2, $3)
        ON CONFLICT (scope) DO UPDATE SET body_hash = excluded.body_hash, status = NULL, body = NULL, created_at = excluded.created_at
        WHERE idempotency_keys.created_at < $4
            OR (idempotency_keys.status IS NULL AND idempotency_keys.created_at < $5 AND idempotency_keys.body_hash = excluded.body_hash)";
    GET = "SELECT body_hash, status, body FROM idempotency_keys WHERE scope = $1";
    FINISH = "UPDATE idempotency_keys SET status = $2, body = $3 WHERE scope = $1";
    FORGET = "DELETE FROM idempotency_keys WHERE scope = $1 AND status IS NULL";
    FORGET_OPEN = "DELETE FROM idempotency_keys WHERE status IS NULL";
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
pub async fn idempotency_finish_in_tx(
    tx: &mut Tx<'_>,
    scope: [u8; 32],
    status: u16,
    body: String,
) -> Result<(), StoreError> {
    tx.run(FINISH, args![scope.to_vec(), i32::from(status), body]).await.map(|_| ())
}

impl Store {
    /// Looks a request up by its key, or takes the key for it. `scope`: SHA-256 of user, method, path and key.
    pub async fn idempotency_begin(
        &self,
        scope: [u8; 32],
        body_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Idempotency, StoreError> {
        self.write("idempotency_begin", move |tx| {
            Box::pin(async move {
                let before = |span| now.checked_sub(span).unwrap_or(now);
                let (kept_since, abandoned) = (before(KEPT_FOR), before(ABANDONED_AFTER));
                tx.run(EXPIRE, args![kept_since]).await?;
                let args = args![scope.to_vec(), body_hash.to_vec(), now, kept_since, abandoned];
                if tx.run(TAKE, args).await? > 0 {
                    return Ok(Idempotency::Begin);
                }
                let row = tx.one(GET, args![scope.to_vec()]).await?;
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
    pub async fn idempotency_finish(&self, scope: [u8; 32], status: u16, body: String) -> Result<(), StoreError> {
        self.write("idempotency_finish", move |tx| {
            Box::pin(async move { idempotency_finish_in_tx(tx, scope, status, body).await })
        })
        .await
    }

    /// Frees the key of a request that was refused: it may be tried again.
    pub async fn idempotency_forget(&self, scope: [u8; 32]) -> Result<(), StoreError> {
        self.write("idempotency_forget", move |tx| {
            Box::pin(async move { tx.run(FORGET, args![scope.to_vec()]).await.map(|_| ()) })
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
