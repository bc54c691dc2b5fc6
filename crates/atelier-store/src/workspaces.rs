//! Workspaces. A live one has a name that is unique among its owner's.

use atelier_domain::{
    BuildId, CallToken, ChatId, OrganizationId, TemplateId, TemplateVersionId, Timestamp, UserId, WorkspaceId,
};

use crate::builds::{
    BuildNew, BuildRow, build_deadline_set_in_tx, build_first_in_tx, build_insert_in_tx, check_running,
};
use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::templates::template_use_in_tx;
use crate::value::{DbRow, args};

/// Workspaces of one user, and how many of them may run.
pub const MAX_WORKSPACES_A_USER: i64 = 20;
pub const MAX_RUNNING_A_USER: i64 = 10;

statements! {
    WORKSPACE_INSERT = "INSERT INTO workspaces (id, owner_id, organization_id, template_id, name, parameters, ttl_ms, ttl_source,
        last_used_at, host_id, created_by_chat, created_by_call, deleted, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, false, $9, $9)";
    WORKSPACE_GET = "SELECT w.*, u.username AS owner_name, u.avatar_url AS owner_avatar_url, o.name AS organization_name,
        t.name AS template_name, t.display_name AS template_display_name, t.icon AS template_icon, t.active_version_id
        FROM workspaces w JOIN users u ON u.id = w.owner_id JOIN organizations o ON o.id = w.organization_id
        JOIN templates t ON t.id = w.template_id WHERE w.id = $1";
    WORKSPACE_BY_NAME = "SELECT w.*, u.username AS owner_name, u.avatar_url AS owner_avatar_url, o.name AS organization_name,
        t.name AS template_name, t.display_name AS template_display_name, t.icon AS template_icon, t.active_version_id
        FROM workspaces w JOIN users u ON u.id = w.owner_id JOIN organizations o ON o.id = w.organization_id
        JOIN templates t ON t.id = w.template_id WHERE w.owner_id = $1 AND w.name = $2 AND NOT w.deleted";
    WORKSPACE_BY_CALL = "SELECT id FROM workspaces WHERE created_by_call = $1";
    WORKSPACES_OF = "SELECT w.*, u.username AS owner_name, u.avatar_url AS owner_avatar_url, o.name AS organization_name,
        t.name AS template_name, t.display_name AS template_display_name, t.icon AS template_icon, t.active_version_id
        FROM workspaces w JOIN users u ON u.id = w.owner_id JOIN organizations o ON o.id = w.organization_id
        JOIN templates t ON t.id = w.template_id WHERE NOT w.deleted AND w.owner_id = $1 ORDER BY w.name, w.id";
    WORKSPACES_ALL = "SELECT w.*, u.username AS owner_name, u.avatar_url AS owner_avatar_url, o.name AS organization_name,
        t.name AS template_name, t.display_name AS template_display_name, t.icon AS template_icon, t.active_version_id
        FROM workspaces w JOIN users u ON u.id = w.owner_id JOIN organizations o ON o.id = w.organization_id
        JOIN templates t ON t.id = w.template_id WHERE NOT w.deleted ORDER BY w.name, w.id";
    WORKSPACES_OF_HOST = "SELECT id FROM workspaces WHERE host_id = $1 AND NOT deleted ORDER BY id";
    WORKSPACES_COUNT = "SELECT COUNT(*) AS n FROM workspaces WHERE owner_id = $1 AND NOT deleted";
    // rows that name the user or workspace may come meanwhile: NO KEY
    USER_LOCK = { sqlite: "SELECT id FROM users WHERE id = $1", postgres: "SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE" };
    WORKSPACE_LOCK = { sqlite: "SELECT id FROM workspaces WHERE id = $1 AND NOT deleted",
        postgres: "SELECT id FROM workspaces WHERE id = $1 AND NOT deleted FOR NO KEY UPDATE" };
    WORKSPACE_TTL = "UPDATE workspaces SET ttl_ms = $2, updated_at = $3 WHERE id = $1";
    WORKSPACE_USED = "UPDATE workspaces SET last_used_at = $2 WHERE id = $1";
    WORKSPACE_DELETE = "UPDATE workspaces SET deleted = true, updated_at = $2 WHERE id = $1";
}

#[derive(Clone, Debug)]
pub struct WorkspaceRow {
    pub id: WorkspaceId,
    pub owner_id: UserId,
    pub owner_name: String,
    pub owner_avatar_url: String,
    pub organization_id: OrganizationId,
    pub organization_name: String,
    pub template_id: TemplateId,
    pub template_name: String,
    pub template_display_name: String,
    pub template_icon: String,
    /// The template's newest version, for `outdated`.
    pub template_active_version_id: TemplateVersionId,
    pub name: String,
    /// JSON object of parameter values.
    pub parameters: String,
    pub ttl_ms: Option<i64>,
    pub ttl_source: String,
    pub last_used_at: Timestamp,
    pub host_id: String,
    pub created_by_chat: Option<ChatId>,
    pub deleted: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl WorkspaceRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            owner_id: row.id("owner_id")?,
            owner_name: row.text("owner_name")?,
            owner_avatar_url: row.text("owner_avatar_url")?,
            organization_id: row.id("organization_id")?,
            organization_name: row.text("organization_name")?,
            template_id: row.id("template_id")?,
            template_name: row.text("template_name")?,
            template_display_name: row.text("template_display_name")?,
            template_icon: row.text("template_icon")?,
            template_active_version_id: row.id("active_version_id")?,
            name: row.text("name")?,
            parameters: row.text("parameters")?,
            ttl_ms: row.int_opt("ttl_ms")?,
            ttl_source: row.text("ttl_source")?,
            last_used_at: row.time("last_used_at")?,
            host_id: row.text("host_id")?,
            created_by_chat: row.id_opt("created_by_chat")?,
            deleted: row.boolean("deleted")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
        })
    }
}

/// A workspace to be created, with its first build.
#[derive(Clone, Debug)]
pub struct WorkspaceNew {
    pub id: WorkspaceId,
    pub owner_id: UserId,
    pub organization_id: OrganizationId,
    pub template_id: TemplateId,
    pub name: String,
    pub parameters: String,
    pub ttl_ms: Option<i64>,
    pub ttl_source: String,
    pub host_id: String,
    pub created_by_chat: Option<ChatId>,
    pub created_by_call: Option<CallToken>,
    pub build: BuildNew,
}

/// Why a workspace or build is not made.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("the workspace does not exist")]
    NotFound,
    #[error("there are too many workspaces")]
    TooMany,
    #[error("too many workspaces run")]
    TooManyRunning,
    #[error("build {0} is under way")]
    BuildInProgress(BuildId),
    #[error("the name is taken")]
    NameTaken,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Creates a workspace with its first build, within the owner's quota; a call that has made one before gets the
/// first build of that. The caller may bind a chat to it in the same transaction.
///
/// # Errors
/// A template that is gone is [`StoreError::Reference`].
pub async fn workspace_create_in_tx(
    tx: &mut Tx<'_>,
    new: &WorkspaceNew,
    now: Timestamp,
) -> Result<BuildRow, WorkspaceError> {
    user_lock_in_tx(tx, new.owner_id).await?;
    if let Some(call) = new.created_by_call
        && let Some(made) = workspace_by_call_in_tx(tx, call).await?
    {
        return Ok(build_first_in_tx(tx, made).await?);
    }
    if !template_use_in_tx(tx, new.template_id).await? {
        return Err(WorkspaceError::Store(StoreError::Reference { constraint: "workspaces.template_id".to_owned() }));
    }
    if tx.one(WORKSPACES_COUNT, args![new.owner_id]).await?.int("n")? >= MAX_WORKSPACES_A_USER {
        return Err(WorkspaceError::TooMany);
    }
    check_running(tx, new.owner_id).await?;
    let args = args![
        new.id,
        new.owner_id,
        new.organization_id,
        new.template_id,
        new.name.clone(),
        new.parameters.clone(),
        new.ttl_ms,
        new.ttl_source.clone(),
        now,
        new.host_id.clone(),
        new.created_by_chat,
        new.created_by_call,
    ];
    tx.run(WORKSPACE_INSERT, args).await.map_err(|error| {
        // SQLite names the columns, PostgreSQL the index
        if error.is_conflict_on("workspaces_name") || error.is_conflict_on("workspaces.name") {
            WorkspaceError::NameTaken
        } else {
            error.into()
        }
    })?;
    build_insert_in_tx(tx, new.id, &new.build, now).await
}

/// Keeps other starts of a user's workspaces out until the transaction ends, for the quota.
pub(crate) async fn user_lock_in_tx(tx: &mut Tx<'_>, owner: UserId) -> Result<(), StoreError> {
    tx.first(USER_LOCK, args![owner]).await.map(|_| ())
}

pub(crate) async fn workspace_delete_in_tx(
    tx: &mut Tx<'_>,
    workspace: WorkspaceId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.run(WORKSPACE_DELETE, args![workspace, now]).await.map(|_| ())
}

/// Notes that a workspace was used, and moves the deadline of its newest build.
pub async fn workspace_used_in_tx(
    tx: &mut Tx<'_>,
    id: WorkspaceId,
    deadline: Option<(BuildId, Timestamp)>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let Some((build, deadline)) = deadline {
        build_deadline_set_in_tx(tx, build, Some(deadline)).await?;
    }
    tx.run(WORKSPACE_USED, args![id, now]).await.map(|_| ())
}

pub async fn workspace_ttl_set_in_tx(
    tx: &mut Tx<'_>,
    id: WorkspaceId,
    ttl_ms: Option<i64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.run(WORKSPACE_TTL, args![id, ttl_ms, now]).await.map(|_| ())
}

/// The workspace that a tool call has made before.
pub async fn workspace_by_call_in_tx(tx: &mut Tx<'_>, call: CallToken) -> Result<Option<WorkspaceId>, StoreError> {
    tx.first(WORKSPACE_BY_CALL, args![call]).await?.map(|row| row.id("id")).transpose()
}

/// Locks a live workspace until the transaction ends. False: there is none.
pub async fn workspace_lock_in_tx(tx: &mut Tx<'_>, workspace: WorkspaceId) -> Result<bool, StoreError> {
    Ok(tx.first(WORKSPACE_LOCK, args![workspace]).await?.is_some())
}

pub async fn workspace_get_in_tx(tx: &mut Tx<'_>, workspace: WorkspaceId) -> Result<Option<WorkspaceRow>, StoreError> {
    tx.first(WORKSPACE_GET, args![workspace]).await?.as_ref().map(WorkspaceRow::read).transpose()
}

impl Store {
    /// Seals the value of a sensitive parameter, for the JSON text of a workspace's parameters.
    #[must_use]
    pub fn parameter_seal(&self, workspace: WorkspaceId, name: &str, value: &str) -> String {
        use base64::Engine as _;
        let sealed = self.secrets().seal(&format!("workspaces|parameters|{workspace}|{name}"), value);
        base64::engine::general_purpose::STANDARD.encode(sealed)
    }

    /// Opens what [`Self::parameter_seal`] sealed.
    ///
    /// # Errors
    /// The value is damaged, belongs elsewhere, or its key is gone.
    pub fn parameter_open(
        &self,
        workspace: WorkspaceId,
        name: &str,
        sealed: &str,
    ) -> Result<crate::secrets::SecretString, crate::secrets::SecretError> {
        use base64::Engine as _;
        let sealed = base64::engine::general_purpose::STANDARD.decode(sealed).unwrap_or_default();
        self.secrets().open(&format!("workspaces|parameters|{workspace}|{name}"), &sealed)
    }

    pub async fn workspace_create(&self, new: WorkspaceNew, now: Timestamp) -> Result<BuildRow, WorkspaceError> {
        self.write("workspace_create", move |tx| Box::pin(async move { workspace_create_in_tx(tx, &new, now).await }))
            .await
    }

    /// A workspace, also a deleted one, whoever asks. Callers check the right to see it.
    pub async fn workspace_get_for_system(&self, id: WorkspaceId) -> Result<Option<WorkspaceRow>, StoreError> {
        self.fetch_first(WORKSPACE_GET, args![id]).await?.as_ref().map(WorkspaceRow::read).transpose()
    }

    pub async fn workspace_by_name(&self, owner: UserId, name: &str) -> Result<Option<WorkspaceRow>, StoreError> {
        self.fetch_first(WORKSPACE_BY_NAME, args![owner, name]).await?.as_ref().map(WorkspaceRow::read).transpose()
    }

    /// A user's live workspaces, by name.
    pub async fn workspaces_of(&self, owner: UserId) -> Result<Vec<WorkspaceRow>, StoreError> {
        self.fetch_all(WORKSPACES_OF, args![owner]).await?.iter().map(WorkspaceRow::read).collect()
    }

    /// Every live workspace, by name.
    pub async fn workspaces_for_system(&self) -> Result<Vec<WorkspaceRow>, StoreError> {
        self.fetch_all(WORKSPACES_ALL, Vec::new()).await?.iter().map(WorkspaceRow::read).collect()
    }

    /// Live workspaces whose objects lie on a host.
    pub async fn workspaces_of_host_for_system(&self, host: &str) -> Result<Vec<WorkspaceId>, StoreError> {
        self.fetch_all(WORKSPACES_OF_HOST, args![host]).await?.iter().map(|row| row.id("id")).collect()
    }

    pub async fn workspace_ttl_set(
        &self,
        id: WorkspaceId,
        ttl_ms: Option<i64>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("workspace_ttl_set", move |tx| {
            Box::pin(async move { workspace_ttl_set_in_tx(tx, id, ttl_ms, now).await })
        })
        .await
    }

    /// Notes that a workspace was used, and moves the deadline of its newest build.
    pub async fn workspace_used(
        &self,
        id: WorkspaceId,
        deadline: Option<(BuildId, Timestamp)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("workspace_used", move |tx| {
            Box::pin(async move { workspace_used_in_tx(tx, id, deadline, now).await })
        })
        .await
    }
}
