//! How users prove who they are: sessions and API tokens. Only SHA-256 hashes of tokens are stored.

use atelier_domain::{ApiTokenId, SessionId, Timestamp, UserId};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::users::UserRow;
use crate::value::{DbRow, args};

/// A credential that was used this recently is not written again.
const TOUCH_EVERY: jiff::SignedDuration = jiff::SignedDuration::from_mins(1);

statements! {
    SESSION_INSERT = "INSERT INTO user_sessions (id, user_id, token_hash, created_at, last_used_at, expires_at)
        VALUES ($1, $2, $3, $4, $4, $5)";
    SESSION_BY_HASH = "SELECT s.id AS session_id, s.last_used_at AS session_used_at, u.* FROM user_sessions s
        JOIN users u ON u.id = s.user_id AND NOT u.deleted WHERE s.token_hash = $1 AND s.expires_at > $2";
    // a use that was noted late does not turn the clock back
    SESSION_TOUCHED = "UPDATE user_sessions SET last_used_at = $2, expires_at = $3 WHERE id = $1 AND last_used_at < $2";
    SESSION_DELETE = "DELETE FROM user_sessions WHERE id = $1";
    SESSIONS_DELETE = "DELETE FROM user_sessions WHERE user_id = $1";
    SESSIONS_DELETE_OTHERS = "DELETE FROM user_sessions WHERE user_id = $1 AND id <> $2";
    SESSIONS_EXPIRED = "DELETE FROM user_sessions WHERE user_id = $1 AND expires_at <= $2";

    TOKEN_INSERT = "INSERT INTO api_tokens (id, user_id, token_name, token_hash, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6)";
    TOKEN_BY_HASH = "SELECT t.id AS token_id, t.last_used_at AS token_used_at, u.* FROM api_tokens t
        JOIN users u ON u.id = t.user_id AND NOT u.deleted WHERE t.token_hash = $1 AND t.expires_at > $2";
    TOKEN_TOUCHED = "UPDATE api_tokens SET last_used_at = $2 WHERE id = $1 AND COALESCE(last_used_at, created_at) <= $2";
    TOKENS_LIST = "SELECT * FROM api_tokens WHERE user_id = $1 ORDER BY created_at DESC, id DESC";
    TOKEN_DELETE = "DELETE FROM api_tokens WHERE user_id = $1 AND id = $2";
    TOKENS_DELETE = "DELETE FROM api_tokens WHERE user_id = $1";
    USER_SEEN = "UPDATE users SET last_seen_at = $2 WHERE id = $1 AND (last_seen_at IS NULL OR last_seen_at < $2)";
}

/// A credential as the server looks it up.
#[derive(Clone, Debug)]
pub struct Credential {
    pub kind: CredentialKind,
    pub user: UserRow,
    pub last_used_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    Session(SessionId),
    Token(ApiTokenId),
}

#[derive(Clone, Debug)]
pub struct ApiTokenRow {
    pub id: ApiTokenId,
    pub user_id: UserId,
    pub token_name: String,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
    pub expires_at: Timestamp,
}

impl ApiTokenRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            user_id: row.id("user_id")?,
            token_name: row.text("token_name")?,
            created_at: row.time("created_at")?,
            last_used_at: row.time_opt("last_used_at")?,
            expires_at: row.time("expires_at")?,
        })
    }
}

/// Begins a session of a user who has just logged in.
pub async fn session_create_in_tx(
    tx: &mut Tx<'_>,
    user: UserId,
    token_hash: [u8; 32],
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<SessionId, StoreError> {
    let id = SessionId::new();
    tx.run(SESSIONS_EXPIRED, args![user, now]).await?;
    tx.run(USER_SEEN, args![user, now]).await?;
    let args = args![id, user, token_hash.to_vec(), now, expires_at];
    tx.run(SESSION_INSERT, args).await?;
    Ok(id)
}

/// # Errors
/// A name that this user has given already is [`StoreError::Conflict`].
pub async fn api_token_create_in_tx(
    tx: &mut Tx<'_>,
    user: UserId,
    name: String,
    token_hash: [u8; 32],
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<ApiTokenId, StoreError> {
    let id = ApiTokenId::new();
    let args = args![id, user, name, token_hash.to_vec(), now, expires_at];
    tx.run(TOKEN_INSERT, args).await.map(|_| id)
}

/// False: the user has no such token.
pub async fn api_token_delete_in_tx(tx: &mut Tx<'_>, user: UserId, token: ApiTokenId) -> Result<bool, StoreError> {
    Ok(tx.run(TOKEN_DELETE, args![user, token]).await? > 0)
}

/// Ends every session and token of a user, but the session `kept`.
pub(crate) async fn credentials_delete_in_tx(
    tx: &mut Tx<'_>,
    user: UserId,
    kept: Option<SessionId>,
) -> Result<(), StoreError> {
    match kept {
        Some(session) => tx.run(SESSIONS_DELETE_OTHERS, args![user, session]).await?,
        None => tx.run(SESSIONS_DELETE, args![user]).await?,
    };
    tx.run(TOKENS_DELETE, args![user]).await.map(|_| ())
}

impl Store {
    pub async fn session_create(
        &self,
        user: UserId,
        token_hash: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<SessionId, StoreError> {
        self.write("session_create", move |tx| {
            Box::pin(async move { session_create_in_tx(tx, user, token_hash, now, expires_at).await })
        })
        .await
    }

    /// Looks a token up, as a session and as an API token. The user may be suspended: callers look at it.
    pub async fn credential_by_hash(
        &self,
        token_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<Credential>, StoreError> {
        if let Some(row) = self.fetch_first(SESSION_BY_HASH, args![token_hash.to_vec(), now]).await? {
            return Ok(Some(Credential {
                kind: CredentialKind::Session(row.id("session_id")?),
                last_used_at: row.time_opt("session_used_at")?,
                user: UserRow::read(&row)?,
            }));
        }
        let Some(row) = self.fetch_first(TOKEN_BY_HASH, args![token_hash.to_vec(), now]).await? else {
            return Ok(None);
        };
        Ok(Some(Credential {
            kind: CredentialKind::Token(row.id("token_id")?),
            last_used_at: row.time_opt("token_used_at")?,
            user: UserRow::read(&row)?,
        }))
    }

    /// Notes that a credential was used; at most once a minute. A session then lasts until `expires_at`.
    pub async fn credential_touch(
        &self,
        credential: &Credential,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        if credential.last_used_at.is_some_and(|used| now.duration_since(used) < TOUCH_EVERY) {
            return Ok(());
        }
        let (kind, user) = (credential.kind, credential.user.id);
        self.write("credential_touch", move |tx| {
            Box::pin(async move {
                match kind {
                    CredentialKind::Session(id) => tx.run(SESSION_TOUCHED, args![id, now, expires_at]).await?,
                    CredentialKind::Token(id) => tx.run(TOKEN_TOUCHED, args![id, now]).await?,
                };
                tx.run(USER_SEEN, args![user, now]).await.map(|_| ())
            })
        })
        .await
    }

    pub async fn session_delete(&self, session: SessionId) -> Result<(), StoreError> {
        self.write("session_delete", move |tx| {
            Box::pin(async move { tx.run(SESSION_DELETE, args![session]).await.map(|_| ()) })
        })
        .await
    }

    /// # Errors
    /// A name that this user has given already is [`StoreError::Conflict`].
    pub async fn api_token_create(
        &self,
        user: UserId,
        name: String,
        token_hash: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<ApiTokenId, StoreError> {
        self.write("api_token_create", move |tx| {
            Box::pin(async move { api_token_create_in_tx(tx, user, name, token_hash, now, expires_at).await })
        })
        .await
    }

    /// Newest first, expired ones too.
    pub async fn api_token_list(&self, user: UserId) -> Result<Vec<ApiTokenRow>, StoreError> {
        self.fetch_all(TOKENS_LIST, args![user]).await?.iter().map(ApiTokenRow::read).collect()
    }

    /// False: the user has no such token.
    pub async fn api_token_delete(&self, user: UserId, token: ApiTokenId) -> Result<bool, StoreError> {
        self.write("api_token_delete", move |tx| Box::pin(async move { api_token_delete_in_tx(tx, user, token).await }))
            .await
    }
}
