//! Users, their sessions and their API tokens.

use atelier_domain::{ApiTokenId, OrganizationId, SessionId, Timestamp, UserId};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::organizations::{
    member_insert_in_tx, organization_default_in_tx, organization_insert_in_tx,
};
use crate::statement::statements;
use crate::value::{DbRow, args};

/// A session that was used this recently is not written again.
const SESSION_TOUCH: jiff::SignedDuration = jiff::SignedDuration::from_mins(1);

statements! {
    USER_COUNT = "SELECT COUNT(*) AS n FROM users";
    USERS_LOCK = { sqlite: "SELECT 1 AS one", postgres: "SELECT 1 AS one FROM pg_advisory_xact_lock(4711001)" };
    USER_INSERT = "INSERT INTO users (id, email, username, name, avatar_url, status, roles, password_hash, preferences,
        user_prompt, deleted, created_at, updated_at) VALUES ($1, $2, $3, $4, '', 'active', $5, $6, '{}', '', false, $7, $7)";
    USER_GET = "SELECT * FROM users WHERE id = $1 AND NOT deleted";
    USER_BY_EMAIL = "SELECT * FROM users WHERE lower(email) = lower($1) AND NOT deleted";
    USER_BY_USERNAME = "SELECT * FROM users WHERE lower(username) = lower($1) AND NOT deleted";
    USERS_LIST = "SELECT * FROM users WHERE NOT deleted AND ($1 = '' OR status = $1)
        AND ($2 = '' OR roles LIKE '%\"' || $2 || '\"%')
        AND ($3 = '' OR lower(email) LIKE $3 ESCAPE '\\' OR lower(username) LIKE $3 ESCAPE '\\' OR lower(name) LIKE $3 ESCAPE '\\')
        ORDER BY lower(username), id LIMIT $4 OFFSET $5";
    USERS_COUNT = "SELECT COUNT(*) AS n FROM users WHERE NOT deleted AND ($1 = '' OR status = $1)
        AND ($2 = '' OR roles LIKE '%\"' || $2 || '\"%')
        AND ($3 = '' OR lower(email) LIKE $3 ESCAPE '\\' OR lower(username) LIKE $3 ESCAPE '\\' OR lower(name) LIKE $3 ESCAPE '\\')";
    OWNERS_COUNT = "SELECT COUNT(*) AS n FROM users WHERE NOT deleted AND status = 'active' AND roles LIKE '%\"owner\"%' AND id <> $1";
    USER_PROFILE = "UPDATE users SET username = $2, name = $3, updated_at = $4 WHERE id = $1 AND NOT deleted";
    USER_PASSWORD = "UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1 AND NOT deleted";
    USER_ROLES = "UPDATE users SET roles = $2, updated_at = $3 WHERE id = $1 AND NOT deleted";
    USER_STATUS = "UPDATE users SET status = $2, updated_at = $3 WHERE id = $1 AND NOT deleted";
    USER_DELETE = "UPDATE users SET deleted = true, updated_at = $2 WHERE id = $1 AND NOT deleted";
    USER_PREFERENCES = "UPDATE users SET preferences = $2 WHERE id = $1 AND NOT deleted";
    USER_PROMPT = "UPDATE users SET user_prompt = $2 WHERE id = $1 AND NOT deleted";
    USER_SEEN = "UPDATE users SET last_seen_at = $2 WHERE id = $1";

    SESSION_INSERT = "INSERT INTO user_sessions (id, user_id, token_hash, created_at, last_used_at, expires_at)
        VALUES ($1, $2, $3, $4, $4, $5)";
    SESSION_BY_HASH = "SELECT s.id AS session_id, s.last_used_at AS session_used_at, u.* FROM user_sessions s
        JOIN users u ON u.id = s.user_id AND NOT u.deleted WHERE s.token_hash = $1 AND s.expires_at > $2";
    SESSION_TOUCHED = "UPDATE user_sessions SET last_used_at = $2, expires_at = $3 WHERE id = $1";
    SESSION_DELETE = "DELETE FROM user_sessions WHERE id = $1";
    SESSIONS_DELETE = "DELETE FROM user_sessions WHERE user_id = $1";
    SESSIONS_EXPIRED = "DELETE FROM user_sessions WHERE expires_at <= $1";

    TOKEN_INSERT = "INSERT INTO api_tokens (id, user_id, token_name, token_hash, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6)";
    TOKEN_BY_HASH = "SELECT t.id AS token_id, t.last_used_at AS token_used_at, u.* FROM api_tokens t
        JOIN users u ON u.id = t.user_id AND NOT u.deleted WHERE t.token_hash = $1 AND t.expires_at > $2";
    TOKEN_TOUCHED = "UPDATE api_tokens SET last_used_at = $2 WHERE id = $1";
    TOKENS_LIST = "SELECT * FROM api_tokens WHERE user_id = $1 ORDER BY created_at DESC, id DESC";
    TOKEN_DELETE = "DELETE FROM api_tokens WHERE user_id = $1 AND id = $2";
    TOKENS_DELETE = "DELETE FROM api_tokens WHERE user_id = $1";
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserStatus {
    Active,
    Suspended,
}

impl UserStatus {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Suspended]
            .into_iter()
            .find(|status| status.as_str() == name)
    }
}

#[derive(Clone, Debug)]
pub struct UserRow {
    pub id: UserId,
    pub email: String,
    pub username: String,
    pub name: String,
    pub avatar_url: String,
    pub status: UserStatus,
    /// Site roles beside the implied `member`.
    pub roles: Vec<String>,
    pub password_hash: String,
    /// JSON object.
    pub preferences: String,
    pub user_prompt: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub last_seen_at: Option<Timestamp>,
}

impl UserRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            email: row.text("email")?,
            username: row.text("username")?,
            name: row.text("name")?,
            avatar_url: row.text("avatar_url")?,
            status: row.name("status", UserStatus::from_name)?,
            roles: row.json("roles")?,
            password_hash: row.text("password_hash")?,
            preferences: row.text("preferences")?,
            user_prompt: row.text("user_prompt")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            last_seen_at: row.time_opt("last_seen_at")?,
        })
    }
}

/// A user to be created.
#[derive(Clone, Debug)]
pub struct UserNew {
    pub id: UserId,
    pub email: String,
    pub username: String,
    pub name: String,
    pub roles: Vec<String>,
    pub password_hash: String,
    /// None: the default organization.
    pub organization_ids: Vec<OrganizationId>,
}

/// Filters of a list of users; empty = all.
#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    pub status: Option<UserStatus>,
    pub role: Option<String>,
    /// Part of email, username or name, any case.
    pub text: String,
}

impl UserFilter {
    fn args(&self) -> (String, String, String) {
        let text = if self.text.is_empty() {
            String::new()
        } else {
            format!("%{}%", like_escaped(&self.text.to_lowercase()))
        };
        (
            self.status.map_or("", UserStatus::as_str).to_owned(),
            self.role.clone().unwrap_or_default(),
            text,
        )
    }
}

/// `text` with the wildcards of LIKE taken literally.
pub(crate) fn like_escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
}

/// Why a change of users is refused.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error("there is a first user already")]
    FirstUserExists,
    #[error("the last owner must stay")]
    LastOwner,
    #[error("the user does not exist")]
    NotFound,
    #[error("the organization does not exist")]
    UnknownOrganization,
    #[error(transparent)]
    Store(#[from] StoreError),
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

fn roles_json(roles: &[String]) -> String {
    serde_json::to_string(roles).expect("a list of strings always serializes")
}

async fn user_insert_in_tx(
    tx: &mut Tx<'_>,
    user: &UserNew,
    now: Timestamp,
) -> Result<UserRow, UserError> {
    let args = args![
        user.id,
        user.email.clone(),
        user.username.clone(),
        user.name.clone(),
        roles_json(&user.roles),
        user.password_hash.clone(),
        now,
    ];
    tx.run(USER_INSERT, args).await?;
    user_get_in_tx(tx, user.id)
        .await?
        .ok_or(UserError::NotFound)
}

pub async fn user_get_in_tx(tx: &mut Tx<'_>, user: UserId) -> Result<Option<UserRow>, StoreError> {
    tx.first(USER_GET, args![user])
        .await?
        .as_ref()
        .map(UserRow::read)
        .transpose()
}

/// Refuses what would leave the site without an active owner. Locks out a change beside this one.
async fn keep_an_owner(tx: &mut Tx<'_>, user: UserId) -> Result<(), UserError> {
    tx.one(USERS_LOCK, Vec::new()).await?;
    let row = user_get_in_tx(tx, user).await?.ok_or(UserError::NotFound)?;
    if !row.roles.iter().any(|role| role == "owner") {
        return Ok(());
    }
    let others = tx.one(OWNERS_COUNT, args![user]).await?.int("n")?;
    if others == 0 {
        Err(UserError::LastOwner)
    } else {
        Ok(())
    }
}

impl Store {
    /// Creates the first user, who owns the site, with the default organization.
    pub async fn user_create_first(
        &self,
        user: UserNew,
        now: Timestamp,
    ) -> Result<(UserRow, OrganizationId), UserError> {
        self.write("user_create_first", move |tx| {
            Box::pin(async move {
                tx.one(USERS_LOCK, Vec::new()).await?;
                if tx.one(USER_COUNT, Vec::new()).await?.int("n")? > 0 {
                    return Err(UserError::FirstUserExists);
                }
                let row = user_insert_in_tx(tx, &user, now).await?;
                let organization =
                    organization_insert_in_tx(tx, "default", "Default", true, now).await?;
                member_insert_in_tx(tx, organization, user.id, now).await?;
                Ok((row, organization))
            })
        })
        .await
    }

    pub async fn user_exists(&self) -> Result<bool, StoreError> {
        Ok(self
            .fetch_first(USER_COUNT, Vec::new())
            .await?
            .map_or(Ok(0), |row| row.int("n"))?
            > 0)
    }

    /// Creates a user in the organizations given, or in the default one.
    pub async fn user_create(&self, user: UserNew, now: Timestamp) -> Result<UserRow, UserError> {
        self.write("user_create", move |tx| {
            Box::pin(async move {
                let row = user_insert_in_tx(tx, &user, now).await?;
                let mut organizations = user.organization_ids.clone();
                if organizations.is_empty() {
                    organizations.push(organization_default_in_tx(tx).await?);
                }
                for organization in organizations {
                    member_insert_in_tx(tx, organization, user.id, now)
                        .await
                        .map_err(|error| match error {
                            StoreError::Reference { .. } => UserError::UnknownOrganization,
                            other => other.into(),
                        })?;
                }
                Ok(row)
            })
        })
        .await
    }

    pub async fn user_get(&self, user: UserId) -> Result<Option<UserRow>, StoreError> {
        self.fetch_first(USER_GET, args![user])
            .await?
            .as_ref()
            .map(UserRow::read)
            .transpose()
    }

    pub async fn user_by_email(&self, email: &str) -> Result<Option<UserRow>, StoreError> {
        self.fetch_first(USER_BY_EMAIL, args![email])
            .await?
            .as_ref()
            .map(UserRow::read)
            .transpose()
    }

    pub async fn user_by_username(&self, username: &str) -> Result<Option<UserRow>, StoreError> {
        self.fetch_first(USER_BY_USERNAME, args![username])
            .await?
            .as_ref()
            .map(UserRow::read)
            .transpose()
    }

    /// A page of users by username, and how many match in all.
    pub async fn user_list(
        &self,
        filter: &UserFilter,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<UserRow>, i64), StoreError> {
        let (status, role, text) = filter.args();
        let rows = self
            .fetch_all(
                USERS_LIST,
                args![status.clone(), role.clone(), text.clone(), limit, offset],
            )
            .await?;
        let count = self
            .fetch_first(USERS_COUNT, args![status, role, text])
            .await?
            .map_or(Ok(0), |row| row.int("n"))?;
        Ok((
            rows.iter().map(UserRow::read).collect::<Result<_, _>>()?,
            count,
        ))
    }

    pub async fn user_profile_set(
        &self,
        user: UserId,
        username: String,
        name: String,
        now: Timestamp,
    ) -> Result<UserRow, UserError> {
        self.write("user_profile_set", move |tx| {
            Box::pin(async move {
                tx.run(USER_PROFILE, args![user, username, name, now])
                    .await?;
                user_get_in_tx(tx, user).await?.ok_or(UserError::NotFound)
            })
        })
        .await
    }

    /// Sets the password and ends every session and token of the user.
    pub async fn user_password_set(
        &self,
        user: UserId,
        password_hash: String,
        now: Timestamp,
    ) -> Result<(), UserError> {
        self.write("user_password_set", move |tx| {
            Box::pin(async move {
                tx.run(USER_PASSWORD, args![user, password_hash, now])
                    .await?;
                tx.run(SESSIONS_DELETE, args![user]).await?;
                tx.run(TOKENS_DELETE, args![user]).await?;
                Ok(())
            })
        })
        .await
    }

    /// Sets exactly these site roles. The last owner stays one.
    pub async fn user_roles_set(
        &self,
        user: UserId,
        roles: Vec<String>,
        now: Timestamp,
    ) -> Result<UserRow, UserError> {
        self.write("user_roles_set", move |tx| {
            Box::pin(async move {
                if !roles.iter().any(|role| role == "owner") {
                    keep_an_owner(tx, user).await?;
                }
                tx.run(USER_ROLES, args![user, roles_json(&roles), now])
                    .await?;
                user_get_in_tx(tx, user).await?.ok_or(UserError::NotFound)
            })
        })
        .await
    }

    /// Suspends or activates. A suspended user's sessions end.
    pub async fn user_status_set(
        &self,
        user: UserId,
        status: UserStatus,
        now: Timestamp,
    ) -> Result<UserRow, UserError> {
        self.write("user_status_set", move |tx| {
            Box::pin(async move {
                if status == UserStatus::Suspended {
                    keep_an_owner(tx, user).await?;
                    tx.run(SESSIONS_DELETE, args![user]).await?;
                }
                tx.run(USER_STATUS, args![user, status.as_str(), now])
                    .await?;
                user_get_in_tx(tx, user).await?.ok_or(UserError::NotFound)
            })
        })
        .await
    }

    /// Deletes softly: what the user made stays.
    pub async fn user_delete(&self, user: UserId, now: Timestamp) -> Result<(), UserError> {
        self.write("user_delete", move |tx| {
            Box::pin(async move {
                keep_an_owner(tx, user).await?;
                tx.run(USER_DELETE, args![user, now]).await?;
                tx.run(SESSIONS_DELETE, args![user]).await?;
                tx.run(TOKENS_DELETE, args![user]).await?;
                Ok(())
            })
        })
        .await
    }

    pub async fn user_preferences_set(
        &self,
        user: UserId,
        preferences: String,
    ) -> Result<(), StoreError> {
        self.write("user_preferences_set", move |tx| {
            Box::pin(async move {
                tx.run(USER_PREFERENCES, args![user, preferences])
                    .await
                    .map(|_| ())
            })
        })
        .await
    }

    pub async fn user_prompt_set(&self, user: UserId, prompt: String) -> Result<(), StoreError> {
        self.write("user_prompt_set", move |tx| {
            Box::pin(async move { tx.run(USER_PROMPT, args![user, prompt]).await.map(|_| ()) })
        })
        .await
    }

    pub async fn session_create(
        &self,
        user: UserId,
        token_hash: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<SessionId, StoreError> {
        let id = SessionId::new();
        self.write("session_create", move |tx| {
            Box::pin(async move {
                tx.run(SESSIONS_EXPIRED, args![now]).await?;
                tx.run(USER_SEEN, args![user, now]).await?;
                tx.run(
                    SESSION_INSERT,
                    args![id, user, token_hash.to_vec(), now, expires_at],
                )
                .await?;
                Ok(id)
            })
        })
        .await
    }

    /// Looks a token up, as a session and as an API token.
    pub async fn credential_by_hash(
        &self,
        token_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<Credential>, StoreError> {
        if let Some(row) = self
            .fetch_first(SESSION_BY_HASH, args![token_hash.to_vec(), now])
            .await?
        {
            return Ok(Some(Credential {
                kind: CredentialKind::Session(row.id("session_id")?),
                last_used_at: row.time_opt("session_used_at")?,
                user: UserRow::read(&row)?,
            }));
        }
        let Some(row) = self
            .fetch_first(TOKEN_BY_HASH, args![token_hash.to_vec(), now])
            .await?
        else {
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
        if credential
            .last_used_at
            .is_some_and(|used| now.duration_since(used) < SESSION_TOUCH)
        {
            return Ok(());
        }
        let (kind, user) = (credential.kind, credential.user.id);
        self.write("credential_touch", move |tx| {
            Box::pin(async move {
                match kind {
                    CredentialKind::Session(id) => {
                        tx.run(SESSION_TOUCHED, args![id, now, expires_at]).await?
                    }
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

    pub async fn api_token_create(
        &self,
        user: UserId,
        name: String,
        token_hash: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<ApiTokenId, StoreError> {
        let id = ApiTokenId::new();
        self.write("api_token_create", move |tx| {
            Box::pin(async move {
                tx.run(
                    TOKEN_INSERT,
                    args![id, user, name, token_hash.to_vec(), now, expires_at],
                )
                .await
                .map(|_| id)
            })
        })
        .await
    }

    pub async fn api_token_list(&self, user: UserId) -> Result<Vec<ApiTokenRow>, StoreError> {
        self.fetch_all(TOKENS_LIST, args![user])
            .await?
            .iter()
            .map(ApiTokenRow::read)
            .collect()
    }

    /// False: the user has no such token.
    pub async fn api_token_delete(
        &self,
        user: UserId,
        token: ApiTokenId,
    ) -> Result<bool, StoreError> {
        self.write("api_token_delete", move |tx| {
            Box::pin(async move { Ok(tx.run(TOKEN_DELETE, args![user, token]).await? > 0) })
        })
        .await
    }
}
