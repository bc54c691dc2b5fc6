//! Which call tokens were used, for what, and what came of it (`workspaces.md` 2.5).
//!
//! A token is begun at most once. For a command the record is its own folder, which outlives the agent;
//! for a file operation it is a file here with the stored answer. The ledger has an id that is made with
//! it: a server that knows the id of the ledger it asked before knows whether "none" can be believed.

use atelier_domain::Chain;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atelier_workspace_protocol::{TokenAnswer, TokenState, code};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

use crate::api::ApiError;
use crate::storage::{self, Durability};

/// Token and digest of a keyed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallKey {
    pub(crate) token: String,
    pub(crate) digest: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    pub(crate) token: String,
    pub(crate) digest: String,
    pub(crate) at_ms: i64,
    pub(crate) process_id: Option<String>,
    pub(crate) result: Option<Value>,
}

enum Slot {
    /// Being carried out; woken when it is over.
    Pending {
        digest: String,
        over: Arc<Notify>,
    },
    Known(TokenRecord),
}

pub(crate) struct Ledger {
    folder: PathBuf,
    id: String,
    slots: Mutex<HashMap<String, Slot>>,
}

/// What became of asking for a token.
pub(crate) enum Begin {
    /// It was used before, with the same digest.
    Known(TokenRecord),
    /// It is the caller's now.
    New(Claim),
}

/// The right to carry a call out. Dropped without an end, the token is free again.
pub(crate) struct Claim {
    ledger: Arc<Ledger>,
    key: CallKey,
    over: Arc<Notify>,
    finished: bool,
}

impl Ledger {
    /// Reads the ledger, or makes it.
    pub(crate) fn open(folder: &Path) -> io::Result<Arc<Self>> {
        storage::make_folder(&folder.join("tokens"))?;
        let id_file = folder.join("ledger.json");
        let id = match storage::read_json::<String>(&id_file)? {
            Some(id) => id,
            None => {
                let id = uuid::Uuid::new_v4().to_string();
                storage::write_json(&id_file, &id, Durability::Synced)?;
                id
            }
        };
        let mut slots = HashMap::new();
        for entry in std::fs::read_dir(folder.join("tokens"))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match storage::read_json::<TokenRecord>(&path) {
                Ok(Some(record)) => {
                    slots.insert(record.token.clone(), Slot::Known(record));
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(error = %Chain(&error), "a token record cannot be read"),
            }
        }
        Ok(Arc::new(Self { folder: folder.to_owned(), id, slots: Mutex::new(slots) }))
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Notes the token of a command that was found on disk.
    pub(crate) fn adopt(&self, record: TokenRecord) {
        self.lock().insert(record.token.clone(), Slot::Known(record));
    }

    /// Asks for a token; waits while another request carries the same call out.
    ///
    /// # Errors
    /// `token_conflict`: it was used with other arguments.
    pub(crate) async fn begin(self: &Arc<Self>, key: &CallKey) -> Result<Begin, ApiError> {
        loop {
            let over = {
                let mut slots = self.lock();
                match slots.get(&key.token) {
                    Some(Slot::Known(record)) if record.digest == key.digest => {
                        return Ok(Begin::Known(record.clone()));
                    }
                    Some(Slot::Pending { digest, over }) if *digest == key.digest => Arc::clone(over),
                    Some(_) => return Err(conflict()),
                    None => {
                        let over = Arc::new(Notify::new());
                        let pending = Slot::Pending { digest: key.digest.clone(), over: Arc::clone(&over) };
                        slots.insert(key.token.clone(), pending);
                        return Ok(Begin::New(Claim {
                            ledger: Arc::clone(self),
                            key: key.clone(),
                            over,
                            finished: false,
                        }));
                    }
                }
            };
            let waiting = over.notified();
            tokio::pin!(waiting);
            waiting.as_mut().enable();
            let still_pending =
                matches!(self.lock().get(&key.token), Some(Slot::Pending { over: now, .. }) if Arc::ptr_eq(now, &over));
            if still_pending {
                waiting.await;
            }
        }
    }

    /// Carries `work` out once for a key and stores its answer; a repeated call gets the stored one.
    /// Without a key it is simply carried out. It goes on to its end even if the caller leaves. A failure
    /// is not stored: it changed nothing, so it may be tried again.
    pub(crate) async fn once<F>(self: &Arc<Self>, key: Option<CallKey>, work: F) -> Result<Value, ApiError>
    where
        F: Future<Output = Result<Value, ApiError>> + Send + 'static,
    {
        let claim = match key {
            None => None,
            Some(key) => match self.begin(&key).await? {
                Begin::Known(record) => {
                    return record.result.ok_or_else(conflict);
                }
                Begin::New(claim) => Some(claim),
            },
        };
        let task = tokio::spawn(async move {
            let result = work.await?;
            if let Some(claim) = claim {
                claim.finish_with_result(result.clone()).await?;
            }
            Ok(result)
        });
        task.await.map_err(|error| ApiError::internal(&error))?
    }

    /// `GET /v1/tokens/{token}`
    pub(crate) fn answer(&self, token: &str) -> TokenAnswer {
        let mut answer = TokenAnswer {
            state: TokenState::None,
            ledger_id: self.id.clone(),
            digest: None,
            process_id: None,
            result: None,
        };
        match self.lock().get(token) {
            None => {}
            Some(Slot::Pending { digest, .. }) => {
                answer.state = TokenState::Pending;
                answer.digest = Some(digest.clone());
            }
            Some(Slot::Known(record)) => {
                answer.state = TokenState::Known;
                answer.digest = Some(record.digest.clone());
                answer.process_id.clone_from(&record.process_id);
                answer.result.clone_from(&record.result);
            }
        }
        answer
    }

    /// Keeps the token of a command whose folder is about to go.
    pub(crate) fn keep(&self, record: &TokenRecord) -> io::Result<()> {
        storage::write_json(&self.file(&record.token), record, Durability::Synced)
    }

    /// Forgets records older than `before_ms`, those of commands that still have a folder apart.
    pub(crate) fn prune(&self, before_ms: i64, has_folder: impl Fn(&str) -> bool) {
        let old: Vec<String> = self
            .lock()
            .iter()
            .filter_map(|(token, slot)| match slot {
                Slot::Known(record)
                    if record.at_ms < before_ms && !record.process_id.as_deref().is_some_and(&has_folder) =>
                {
                    Some(token.clone())
                }
                Slot::Known(_) | Slot::Pending { .. } => None,
            })
            .collect();
        for token in old {
            match std::fs::remove_file(self.file(&token)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(error = %Chain(&error), "an old token record cannot be removed");
                }
                Ok(()) | Err(_) => {
                    self.lock().remove(&token);
                }
            }
        }
    }

    fn file(&self, token: &str) -> PathBuf {
        self.folder.join("tokens").join(format!("{}.json", token.replace([':', '/', '.'], "_")))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// The call is a command now, whose folder is on disk.
    pub(crate) fn finish_with_process(mut self, process_id: &str, at_ms: i64) {
        self.finish(TokenRecord {
            token: self.key.token.clone(),
            digest: self.key.digest.clone(),
            at_ms,
            process_id: Some(process_id.to_owned()),
            result: None,
        });
    }

    /// The call is over; its answer is on disk when this returns.
    async fn finish_with_result(mut self, result: Value) -> Result<(), ApiError> {
        let record = TokenRecord {
            token: self.key.token.clone(),
            digest: self.key.digest.clone(),
            at_ms: storage::now_ms(),
            process_id: None,
            result: Some(result),
        };
        let (ledger, kept) = (Arc::clone(&self.ledger), record.clone());
        tokio::task::spawn_blocking(move || ledger.keep(&kept))
            .await
            .map_err(|error| ApiError::internal(&error))?
            .map_err(|error| ApiError::internal(&error))?;
        self.finish(record);
        Ok(())
    }

    fn finish(&mut self, record: TokenRecord) {
        self.finished = true;
        self.ledger.lock().insert(self.key.token.clone(), Slot::Known(record));
        self.over.notify_waiters();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.finished {
            self.ledger.lock().remove(&self.key.token);
            self.over.notify_waiters();
        }
    }
}

pub(crate) fn conflict() -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        code::TOKEN_CONFLICT,
        "This call token was used with other arguments. Use a new one.",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(digest: &str) -> CallKey {
        CallKey { token: "t".into(), digest: digest.into() }
    }

    #[tokio::test]
    async fn w15_the_same_call_is_carried_out_once_also_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let id = ledger.id().to_owned();
        let first = ledger.once(Some(key("a")), async { Ok(json!(1)) }).await.unwrap();
        assert_eq!(first, 1);
        let again = ledger.once(Some(key("a")), async { panic!("carried out twice") }).await.unwrap();
        assert_eq!(again, 1);
        let other = ledger.once(Some(key("b")), async { panic!("carried out") }).await.unwrap_err();
        assert_eq!(other.body.code, code::TOKEN_CONFLICT);

        let ledger = Ledger::open(folder.path()).unwrap();
        assert_eq!(ledger.id(), id);
        assert_eq!(ledger.answer("t").result, Some(json!(1)));
        assert_eq!(ledger.once(Some(key("a")), async { panic!("carried out twice") }).await.unwrap(), 1);
        ledger.prune(storage::now_ms() + 1, |_| false);
        assert_eq!(ledger.answer("t").state, TokenState::None);
        assert_eq!(Ledger::open(folder.path()).unwrap().answer("t").state, TokenState::None);
    }

    #[tokio::test]
    async fn one_who_comes_in_between_waits_and_a_failure_frees_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let Begin::New(claim) = ledger.begin(&key("a")).await.unwrap() else { panic!("not new") };
        assert_eq!(ledger.answer("t").state, TokenState::Pending);
        let waiting = {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { ledger.once(Some(key("a")), async { Ok(json!(2)) }).await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(claim);
        assert_eq!(waiting.await.unwrap().unwrap(), 2);
    }
}
