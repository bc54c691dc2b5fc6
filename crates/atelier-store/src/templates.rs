//! Templates and their immutable versions.

use atelier_domain::{OrganizationId, TemplateId, TemplateVersionId, Timestamp, UserId};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::{DbRow, args};

statements! {
    TEMPLATE_INSERT = "INSERT INTO templates (id, organization_id, name, display_name, description, icon, readme, driver,
        active_version_id, require_active_version, deprecated, deprecation_message, created_by, deleted, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, false, '', $11, false, $12, $12)";
    VERSION_INSERT = "INSERT INTO template_versions (id, template_id, number, spec, created_by, created_at)
        SELECT $1, $2, COALESCE(MAX(number), 0) + 1, $3, $4, $5 FROM template_versions WHERE template_id = $2";
    TEMPLATE_SELECT = "SELECT t.*, v.spec, o.name AS organization_name, u.username AS created_by_name,
        (SELECT COUNT(*) FROM workspaces w WHERE w.template_id = t.id AND NOT w.deleted) AS workspaces
        FROM templates t JOIN template_versions v ON v.id = t.active_version_id JOIN organizations o ON o.id = t.organization_id
        JOIN users u ON u.id = t.created_by WHERE t.id = $1 AND NOT t.deleted";
    TEMPLATES_OF = "SELECT t.*, v.spec, o.name AS organization_name, u.username AS created_by_name,
        (SELECT COUNT(*) FROM workspaces w WHERE w.template_id = t.id AND NOT w.deleted) AS workspaces
        FROM templates t JOIN template_versions v ON v.id = t.active_version_id JOIN organizations o ON o.id = t.organization_id
        JOIN users u ON u.id = t.created_by
        WHERE NOT t.deleted AND t.organization_id IN (SELECT organization_id FROM organization_members WHERE user_id = $1)
        ORDER BY t.name, t.id";
    TEMPLATES_OF_ORGANIZATION = "SELECT t.*, v.spec, o.name AS organization_name, u.username AS created_by_name,
        (SELECT COUNT(*) FROM workspaces w WHERE w.template_id = t.id AND NOT w.deleted) AS workspaces
        FROM templates t JOIN template_versions v ON v.id = t.active_version_id JOIN organizations o ON o.id = t.organization_id
        JOIN users u ON u.id = t.created_by WHERE NOT t.deleted AND t.organization_id = $1 ORDER BY t.name, t.id";
    TEMPLATES_ALL = "SELECT t.*, v.spec, o.name AS organization_name, u.username AS created_by_name,
        (SELECT COUNT(*) FROM workspaces w WHERE w.template_id = t.id AND NOT w.deleted) AS workspaces
        FROM templates t JOIN template_versions v ON v.id = t.active_version_id JOIN organizations o ON o.id = t.organization_id
        JOIN users u ON u.id = t.created_by WHERE NOT t.deleted ORDER BY t.name, t.id";
    TEMPLATE_LOCK = { sqlite: "SELECT id FROM templates WHERE id = $1 AND NOT deleted",
        postgres: "SELECT id FROM templates WHERE id = $1 AND NOT deleted FOR NO KEY UPDATE" };
    TEMPLATE_USE = { sqlite: "SELECT id FROM templates WHERE id = $1 AND NOT deleted",
        postgres: "SELECT id FROM templates WHERE id = $1 AND NOT deleted FOR SHARE" };
    TEMPLATE_UPDATE = "UPDATE templates SET name = $2, display_name = $3, description = $4, icon = $5, readme = $6,
        active_version_id = $7, require_active_version = $8, updated_at = $9 WHERE id = $1 AND NOT deleted";
    TEMPLATE_DELETE = "UPDATE templates SET deleted = true, updated_at = $2 WHERE id = $1 AND NOT deleted
        AND NOT EXISTS (SELECT 1 FROM workspaces w WHERE w.template_id = templates.id AND NOT w.deleted)";
    VERSIONS = "SELECT * FROM template_versions WHERE template_id = $1 ORDER BY number DESC";
    VERSION_GET = "SELECT * FROM template_versions WHERE id = $1";
}

#[derive(Clone, Debug)]
pub struct TemplateRow {
    pub id: TemplateId,
    pub organization_id: OrganizationId,
    pub organization_name: String,
    pub name: String,
    pub display_name: String,
    pub description: String,
    pub icon: String,
    pub readme: String,
    pub driver: String,
    pub active_version_id: TemplateVersionId,
    pub require_active_version: bool,
    pub deprecated: bool,
    pub deprecation_message: String,
    pub created_by_id: UserId,
    pub created_by_name: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The active version's spec, JSON text.
    pub spec: String,
    /// Live workspaces made from it.
    pub workspaces: i64,
}

impl TemplateRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            organization_id: row.id("organization_id")?,
            organization_name: row.text("organization_name")?,
            name: row.text("name")?,
            display_name: row.text("display_name")?,
            description: row.text("description")?,
            icon: row.text("icon")?,
            readme: row.text("readme")?,
            driver: row.text("driver")?,
            active_version_id: row.id("active_version_id")?,
            require_active_version: row.boolean("require_active_version")?,
            deprecated: row.boolean("deprecated")?,
            deprecation_message: row.text("deprecation_message")?,
            created_by_id: row.id("created_by")?,
            created_by_name: row.text("created_by_name")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            spec: row.text("spec")?,
            workspaces: row.int("workspaces")?,
        })
    }
}

#[derive(Clone, Debug)]
pub struct TemplateVersionRow {
    pub id: TemplateVersionId,
    pub template_id: TemplateId,
    pub number: i32,
    pub spec: String,
    pub created_by: UserId,
    pub created_at: Timestamp,
}

impl TemplateVersionRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            template_id: row.id("template_id")?,
            number: row.int32("number")?,
            spec: row.text("spec")?,
            created_by: row.id("created_by")?,
            created_at: row.time("created_at")?,
        })
    }
}

/// All that can be set of a template. A new `spec` makes a new version.
#[derive(Clone, Debug)]
pub struct TemplateFields {
    pub name: String,
    pub display_name: String,
    pub description: String,
    pub icon: String,
    pub readme: String,
    pub require_active_version: bool,
    /// JSON text of the checked spec; absent keeps the active version.
    pub spec: Option<String>,
}

async fn template_in_tx(tx: &mut Tx<'_>, id: TemplateId) -> Result<Option<TemplateRow>, StoreError> {
    tx.first(TEMPLATE_SELECT, args![id]).await?.as_ref().map(TemplateRow::read).transpose()
}

/// Keeps a template from being deleted until the transaction ends. False: there is none.
pub(crate) async fn template_use_in_tx(tx: &mut Tx<'_>, id: TemplateId) -> Result<bool, StoreError> {
    Ok(tx.first(TEMPLATE_USE, args![id]).await?.is_some())
}

/// Creates a template with its first version.
///
/// # Errors
/// A name that is taken is [`StoreError::Conflict`].
pub async fn template_create_in_tx(
    tx: &mut Tx<'_>,
    organization: OrganizationId,
    driver: String,
    fields: TemplateFields,
    creator: UserId,
    now: Timestamp,
) -> Result<TemplateRow, StoreError> {
    let (id, version) = (TemplateId::new(), TemplateVersionId::new());
    let args = args![
        id,
        organization,
        fields.name,
        fields.display_name,
        fields.description,
        fields.icon,
        fields.readme,
        driver,
        version,
        fields.require_active_version,
        creator,
        now,
    ];
    tx.run(TEMPLATE_INSERT, args).await?;
    let spec = fields.spec.unwrap_or_else(|| "{}".to_owned());
    tx.run(VERSION_INSERT, args![version, id, spec, creator, now]).await?;
    template_in_tx(tx, id).await?.ok_or(StoreError::Database(sqlx::Error::RowNotFound))
}

/// Sets all fields but the driver; a changed spec makes a new version. None: no such template.
pub async fn template_update_in_tx(
    tx: &mut Tx<'_>,
    id: TemplateId,
    fields: TemplateFields,
    editor: UserId,
    now: Timestamp,
) -> Result<Option<TemplateRow>, StoreError> {
    tx.first(TEMPLATE_LOCK, args![id]).await?;
    let Some(before) = template_in_tx(tx, id).await? else {
        return Ok(None);
    };
    let mut version = before.active_version_id;
    if let Some(spec) = fields.spec.filter(|spec| *spec != before.spec) {
        version = TemplateVersionId::new();
        tx.run(VERSION_INSERT, args![version, id, spec, editor, now]).await?;
    }
    let args = args![
        id,
        fields.name,
        fields.display_name,
        fields.description,
        fields.icon,
        fields.readme,
        version,
        fields.require_active_version,
        now,
    ];
    tx.run(TEMPLATE_UPDATE, args).await?;
    template_in_tx(tx, id).await
}

/// False: it has workspaces, or is gone.
pub async fn template_delete_in_tx(tx: &mut Tx<'_>, id: TemplateId, now: Timestamp) -> Result<bool, StoreError> {
    // first, so that a workspace that is being made is seen by the statement behind
    tx.first(TEMPLATE_LOCK, args![id]).await?;
    Ok(tx.run(TEMPLATE_DELETE, args![id, now]).await? > 0)
}

impl Store {
    /// As [`template_create_in_tx`].
    pub async fn template_create(
        &self,
        organization: OrganizationId,
        driver: String,
        fields: TemplateFields,
        creator: UserId,
        now: Timestamp,
    ) -> Result<TemplateRow, StoreError> {
        self.write("template_create", move |tx| {
            Box::pin(async move { template_create_in_tx(tx, organization, driver, fields, creator, now).await })
        })
        .await
    }

    /// As [`template_update_in_tx`].
    pub async fn template_update(
        &self,
        id: TemplateId,
        fields: TemplateFields,
        editor: UserId,
        now: Timestamp,
    ) -> Result<Option<TemplateRow>, StoreError> {
        self.write("template_update", move |tx| {
            Box::pin(async move { template_update_in_tx(tx, id, fields, editor, now).await })
        })
        .await
    }

    /// False: it has workspaces, or is gone.
    pub async fn template_delete(&self, id: TemplateId, now: Timestamp) -> Result<bool, StoreError> {
        self.write("template_delete", move |tx| Box::pin(async move { template_delete_in_tx(tx, id, now).await })).await
    }

    /// A template, whoever asks. Callers check the right to see it.
    pub async fn template_get_for_system(&self, id: TemplateId) -> Result<Option<TemplateRow>, StoreError> {
        self.fetch_first(TEMPLATE_SELECT, args![id]).await?.as_ref().map(TemplateRow::read).transpose()
    }

    /// Templates of the organizations a user is in, by name.
    pub async fn templates_of(&self, user: UserId) -> Result<Vec<TemplateRow>, StoreError> {
        self.fetch_all(TEMPLATES_OF, args![user]).await?.iter().map(TemplateRow::read).collect()
    }

    pub async fn templates_of_organization(
        &self,
        organization: OrganizationId,
    ) -> Result<Vec<TemplateRow>, StoreError> {
        self.fetch_all(TEMPLATES_OF_ORGANIZATION, args![organization]).await?.iter().map(TemplateRow::read).collect()
    }

    pub async fn templates_for_system(&self) -> Result<Vec<TemplateRow>, StoreError> {
        self.fetch_all(TEMPLATES_ALL, Vec::new()).await?.iter().map(TemplateRow::read).collect()
    }

    /// Newest first.
    pub async fn template_versions(&self, template: TemplateId) -> Result<Vec<TemplateVersionRow>, StoreError> {
        self.fetch_all(VERSIONS, args![template]).await?.iter().map(TemplateVersionRow::read).collect()
    }

    pub async fn template_version_get(&self, id: TemplateVersionId) -> Result<Option<TemplateVersionRow>, StoreError> {
        self.fetch_first(VERSION_GET, args![id]).await?.as_ref().map(TemplateVersionRow::read).transpose()
    }
}
