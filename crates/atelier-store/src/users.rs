//! Users. Names and addresses are unique in any case of letters; the site keeps an active owner.

use atelier_domain::{OrganizationId, SessionId, Timestamp, UserId};

use crate::credentials::credentials_delete_in_tx;
use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::organizations::{
    member_insert_in_tx, organization_default_in_tx, organization_exists_in_tx, organization_insert_in_tx,
};
use crate::settings::{Setting, setting_delete_in_tx};
use crate::statement::statements;
use crate::value::{DbRow, args};

macro_rules! list_text {
    ($head:literal, $tail:literal) => {
        concat!(
            $head,
            " FROM users WHERE NOT deleted AND ($1 = '' OR status = $1)
            AND ($2 = '' OR roles LIKE '%\"' || $2 || '\"%' ESCAPE '\\')
            AND ($3 = '' OR search_text LIKE $3 ESCAPE '\\')",
            $tail
        )
    };
}

statements! {
    USER_COUNT = "SELECT COUNT(*) AS n FROM users";
    USERS_LOCK = { sqlite: "SELECT 1 AS one", postgres: "SELECT 1 AS one FROM pg_advisory_xact_lock(4711001)" };
    USER_INSERT = "INSERT INTO users (id, email, username, name, avatar_url, status, roles, password_hash, preferences,
        user_prompt, deleted, created_at, updated_at, email_key, search_text)
        VALUES ($1, $2, $3, $4, '', 'active', $5, $6, '{}', '', false, $7, $7, $8, $9)";
    USER_GET = "SELECT * FROM users WHERE id = $1 AND NOT deleted";
    USER_BY_EMAIL = "SELECT * FROM users WHERE email_key = $1 AND NOT deleted";
    USER_BY_USERNAME = "SELECT * FROM users WHERE lower(username) = lower($1) AND NOT deleted";
    USERS_LIST = (list_text!("SELECT *", " ORDER BY lower(username), id LIMIT $4 OFFSET $5"));
    USERS_COUNT = (list_text!("SELECT COUNT(*) AS n", ""));
    OWNERS_COUNT = "SELECT COUNT(*) AS n FROM users WHERE NOT deleted AND status = 'active' AND roles LIKE '%\"owner\"%' AND id <> $1";
    USER_PROFILE = "UPDATE users SET username = $2, name = $3, updated_at = $4, search_text = $5 WHERE id = $1";
    USER_PASSWORD = "UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1 AND NOT deleted";
    USER_ROLES = "UPDATE users SET roles = $2, updated_at = $3 WHERE id = $1 AND NOT deleted";
    USER_STATUS = "UPDATE users SET status = $2, updated_at = $3 WHERE id = $1 AND NOT deleted AND status <> $2";
    USER_DELETE = "UPDATE users SET deleted = true, updated_at = $2 WHERE id = $1 AND NOT deleted";
    USER_LEAVES_GROUPS = "DELETE FROM user_group_members WHERE user_id = $1";
    USER_LEAVES = "DELETE FROM organization_members WHERE user_id = $1";
    USER_KEYS_DELETE = "DELETE FROM user_provider_keys WHERE user_id = $1";
    USER_PREFERENCES = "UPDATE users SET preferences = $2 WHERE id = $1 AND NOT deleted";
    USER_PROMPT = "UPDATE users SET user_prompt = $2 WHERE id = $1 AND NOT deleted";
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
        [Self::Active, Self::Suspended].into_iter().find(|status| status.as_str() == name)
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
    pub(crate) fn read(row: &DbRow) -> Result<Self, StoreError> {
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
    /// Part of email, username or name, any case. Several words must all be there, one after the other.
    pub text: String,
}

impl UserFilter {
    fn args(&self) -> (String, String, String) {
        let text =
            if self.text.is_empty() { String::new() } else { format!("%{}%", like_escaped(&self.text.to_lowercase())) };
        (
            self.status.map_or("", UserStatus::as_str).to_owned(),
            like_escaped(self.role.as_deref().unwrap_or_default()),
            text,
        )
    }
}

/// `text` with the wildcards of LIKE taken literally.
pub(crate) fn like_escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
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
    #[error("the email is taken")]
    EmailTaken,
    #[error("the username is taken")]
    UsernameTaken,
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn roles_json(roles: &[String]) -> String {
    serde_json::to_string(roles).expect("a list of strings always serializes")
}

/// What equal addresses have in common. Folded here, since the engines fold letters differently.
fn email_key(email: &str) -> String {
    email.to_lowercase()
}

fn search_text(email: &str, username: &str, name: &str) -> String {
    format!("{email}\n{username}\n{name}").to_lowercase()
}

/// SQLite names the columns, PostgreSQL the index.
fn taken(error: StoreError) -> UserError {
    if error.is_conflict_on("email") {
        UserError::EmailTaken
    } else if error.is_conflict_on("username") {
        UserError::UsernameTaken
    } else {
        error.into()
    }
}

async fn user_insert_in_tx(
    tx: &mut Tx<'_>,
    user: &UserNew,
    roles: &[String],
    now: Timestamp,
) -> Result<UserRow, UserError> {
    let args = args![
        user.id,
        user.email.clone(),
        user.username.clone(),
        user.name.clone(),
        roles_json(roles),
        user.password_hash.clone(),
        now,
        email_key(&user.email),
        search_text(&user.email, &user.username, &user.name),
    ];
    tx.run(USER_INSERT, args).await.map_err(taken)?;
    user_existing_in_tx(tx, user.id).await
}

pub async fn user_get_in_tx(tx: &mut Tx<'_>, user: UserId) -> Result<Option<UserRow>, StoreError> {
    tx.first(USER_GET, args![user]).await?.as_ref().map(UserRow::read).transpose()
}

async fn user_existing_in_tx(tx: &mut Tx<'_>, user: UserId) -> Result<UserRow, UserError> {
    user_get_in_tx(tx, user).await?.ok_or(UserError::NotFound)
}

/// Keeps other changes of who exists and who owns the site out until the transaction ends. Changes take it
/// by themselves; who first reads roles and then decides takes it before reading.
pub async fn users_lock_in_tx(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.one(USERS_LOCK, Vec::new()).await.map(|_| ())
}

/// Refuses what would leave the site without an active owner. Locks out a change beside this one.
async fn keep_an_owner(tx: &mut Tx<'_>, user: UserId) -> Result<(), UserError> {
    users_lock_in_tx(tx).await?;
    let row = user_existing_in_tx(tx, user).await?;
    if row.status == UserStatus::Suspended || !row.roles.iter().any(|role| role == "owner") {
        return Ok(());
    }
    let others = tx.one(OWNERS_COUNT, args![user]).await?.int("n")?;
    if others == 0 { Err(UserError::LastOwner) } else { Ok(()) }
}

/// Creates the first user, who owns the site, with the default organization. The group of everybody in it
/// is implied.
pub async fn user_create_first_in_tx(
    tx: &mut Tx<'_>,
    user: &UserNew,
    now: Timestamp,
) -> Result<(UserRow, OrganizationId), UserError> {
    users_lock_in_tx(tx).await?;
    if tx.one(USER_COUNT, Vec::new()).await?.int("n")? > 0 {
        return Err(UserError::FirstUserExists);
    }
    let row = user_insert_in_tx(tx, user, &["owner".to_owned()], now).await?;
    let organization = organization_insert_in_tx(tx, "default", "Default", true, now).await?;
    member_insert_in_tx(tx, organization, user.id, now).await?;
    setting_delete_in_tx(tx, Setting::SetupCode).await?;
    Ok((row, organization))
}

/// Creates a user in the organizations given, or in the default one.
pub async fn user_create_in_tx(tx: &mut Tx<'_>, user: &UserNew, now: Timestamp) -> Result<UserRow, UserError> {
    let row = user_insert_in_tx(tx, user, &user.roles, now).await?;
    let mut organizations = user.organization_ids.clone();
    if organizations.is_empty() {
        organizations.push(organization_default_in_tx(tx).await?);
    }
    for organization in organizations {
        if !organization_exists_in_tx(tx, organization).await? {
            return Err(UserError::UnknownOrganization);
        }
        member_insert_in_tx(tx, organization, user.id, now).await?;
    }
    Ok(row)
}

pub async fn user_profile_set_in_tx(
    tx: &mut Tx<'_>,
    user: UserId,
    username: &str,
    name: &str,
    now: Timestamp,
) -> Result<UserRow, UserError> {
    let row = user_existing_in_tx(tx, user).await?;
    let search = search_text(&row.email, username, name);
    let args = args![user, username, name, now, search];
    tx.run(USER_PROFILE, args).await.map_err(taken)?;
    user_existing_in_tx(tx, user).await
}

/// Sets the password and ends every session and token of the user, but the session `kept`, in which the user
/// changes it.
pub async fn user_password_set_in_tx(
    tx: &mut Tx<'_>,
    user: UserId,
    password_hash: &str,
    kept: Option<SessionId>,
    now: Timestamp,
) -> Result<(), UserError> {
    if tx.run(USER_PASSWORD, args![user, password_hash, now]).await? == 0 {
        return Err(UserError::NotFound);
    }
    Ok(credentials_delete_in_tx(tx, user, kept).await?)
}

/// Sets exactly these site roles. The last owner stays one.
pub async fn user_roles_set_in_tx(
    tx: &mut Tx<'_>,
    user: UserId,
    roles: &[String],
    now: Timestamp,
) -> Result<UserRow, UserError> {
    if !roles.iter().any(|role| role == "owner") {
        keep_an_owner(tx, user).await?;
    }
    tx.run(USER_ROLES, args![user, roles_json(roles), now]).await?;
    user_existing_in_tx(tx, user).await
}

/// Suspends or activates. A suspended user's sessions and tokens end, and stay ended.
pub async fn user_status_set_in_tx(
    tx: &mut Tx<'_>,
    user: UserId,
    status: UserStatus,
    now: Timestamp,
) -> Result<UserRow, UserError> {
    if status == UserStatus::Suspended {
        keep_an_owner(tx, user).await?;
        credentials_delete_in_tx(tx, user, None).await?;
    }
    tx.run(USER_STATUS, args![user, status.as_str(), now]).await?;
    user_existing_in_tx(tx, user).await
}

/// Deletes softly: what the user made stays, what lets the user in or belongs to the user alone goes.
pub async fn user_delete_in_tx(tx: &mut Tx<'_>, user: UserId, now: Timestamp) -> Result<(), UserError> {
    keep_an_owner(tx, user).await?;
    tx.run(USER_DELETE, args![user, now]).await?;
    credentials_delete_in_tx(tx, user, None).await?;
    tx.run(USER_KEYS_DELETE, args![user]).await?;
    tx.run(USER_LEAVES_GROUPS, args![user]).await?;
    tx.run(USER_LEAVES, args![user]).await?;
    Ok(())
}

impl Store {
    /// As [`user_create_first_in_tx`].
    pub async fn user_create_first(
        &self,
        user: UserNew,
        now: Timestamp,
    ) -> Result<(UserRow, OrganizationId), UserError> {
        self.write("user_create_first", move |tx| {
            Box::pin(async move { user_create_first_in_tx(tx, &user, now).await })
        })
        .await
    }

    /// Whether there ever was a user.
    pub async fn user_exists(&self) -> Result<bool, StoreError> {
        Ok(self.fetch_first(USER_COUNT, Vec::new()).await?.map_or(Ok(0), |row| row.int("n"))? > 0)
    }

    /// As [`user_create_in_tx`].
    pub async fn user_create(&self, user: UserNew, now: Timestamp) -> Result<UserRow, UserError> {
        self.write("user_create", move |tx| Box::pin(async move { user_create_in_tx(tx, &user, now).await })).await
    }

    pub async fn user_get(&self, user: UserId) -> Result<Option<UserRow>, StoreError> {
        self.fetch_first(USER_GET, args![user]).await?.as_ref().map(UserRow::read).transpose()
    }

    pub async fn user_by_email(&self, email: &str) -> Result<Option<UserRow>, StoreError> {
        self.fetch_first(USER_BY_EMAIL, args![email_key(email)]).await?.as_ref().map(UserRow::read).transpose()
    }

    pub async fn user_by_username(&self, username: &str) -> Result<Option<UserRow>, StoreError> {
        self.fetch_first(USER_BY_USERNAME, args![username]).await?.as_ref().map(UserRow::read).transpose()
    }

    /// A page of users by username, and how many match in all.
    pub async fn user_list(
        &self,
        filter: &UserFilter,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<UserRow>, i64), StoreError> {
        let (status, role, text) = filter.args();
        let rows = self.fetch_all(USERS_LIST, args![status.clone(), role.clone(), text.clone(), limit, offset]).await?;
        let count =
            self.fetch_first(USERS_COUNT, args![status, role, text]).await?.map_or(Ok(0), |row| row.int("n"))?;
        Ok((rows.iter().map(UserRow::read).collect::<Result<_, _>>()?, count))
    }

    /// As [`user_profile_set_in_tx`].
    pub async fn user_profile_set(
        &self,
        user: UserId,
        username: String,
        name: String,
        now: Timestamp,
    ) -> Result<UserRow, UserError> {
        self.write("user_profile_set", move |tx| {
            Box::pin(async move { user_profile_set_in_tx(tx, user, &username, &name, now).await })
        })
        .await
    }

    /// Replaces the password and leaves sessions and tokens as they are: for the demo, whose password is new at each
    /// start.
    pub async fn user_password_replace(
        &self,
        user: UserId,
        password_hash: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("user_password_replace", move |tx| {
            Box::pin(async move { tx.run(USER_PASSWORD, args![user, password_hash, now]).await.map(|_| ()) })
        })
        .await
    }

    /// As [`user_password_set_in_tx`].
    pub async fn user_password_set(
        &self,
        user: UserId,
        password_hash: String,
        kept: Option<SessionId>,
        now: Timestamp,
    ) -> Result<(), UserError> {
        self.write("user_password_set", move |tx| {
            Box::pin(async move { user_password_set_in_tx(tx, user, &password_hash, kept, now).await })
        })
        .await
    }

    /// As [`user_roles_set_in_tx`].
    pub async fn user_roles_set(&self, user: UserId, roles: Vec<String>, now: Timestamp) -> Result<UserRow, UserError> {
        self.write("user_roles_set", move |tx| {
            Box::pin(async move { user_roles_set_in_tx(tx, user, &roles, now).await })
        })
        .await
    }

    /// As [`user_status_set_in_tx`].
    pub async fn user_status_set(
        &self,
        user: UserId,
        status: UserStatus,
        now: Timestamp,
    ) -> Result<UserRow, UserError> {
        self.write("user_status_set", move |tx| {
            Box::pin(async move { user_status_set_in_tx(tx, user, status, now).await })
        })
        .await
    }

    /// As [`user_delete_in_tx`].
    pub async fn user_delete(&self, user: UserId, now: Timestamp) -> Result<(), UserError> {
        self.write("user_delete", move |tx| Box::pin(async move { user_delete_in_tx(tx, user, now).await })).await
    }

    pub async fn user_preferences_set(&self, user: UserId, preferences: String) -> Result<(), StoreError> {
        self.write("user_preferences_set", move |tx| {
            Box::pin(async move { tx.run(USER_PREFERENCES, args![user, preferences]).await.map(|_| ()) })
        })
        .await
    }

    pub async fn user_prompt_set(&self, user: UserId, prompt: String) -> Result<(), StoreError> {
        self.write("user_prompt_set", move |tx| {
            Box::pin(async move { tx.run(USER_PROMPT, args![user, prompt]).await.map(|_| ()) })
        })
        .await
    }
}
