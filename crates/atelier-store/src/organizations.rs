//! Organizations and their members.

use atelier_domain::{OrganizationId, Timestamp, UserId};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::{DbRow, args};

statements! {
    ORGANIZATION_INSERT = "INSERT INTO organizations (id, name, display_name, description, icon, is_default, created_at, updated_at)
        VALUES ($1, $2, $3, '', '', $4, $5, $5)";
    ORGANIZATION_GET = "SELECT * FROM organizations WHERE id = $1";
    ORGANIZATION_BY_NAME = "SELECT * FROM organizations WHERE lower(name) = lower($1)";
    ORGANIZATION_DEFAULT = "SELECT * FROM organizations WHERE is_default";
    ORGANIZATIONS_ALL = "SELECT * FROM organizations ORDER BY lower(name), id";
    ORGANIZATIONS_OF = "SELECT o.* FROM organizations o JOIN organization_members m ON m.organization_id = o.id
        WHERE m.user_id = $1 ORDER BY m.created_at, o.id";
    ORGANIZATION_UPDATE = "UPDATE organizations SET name = $2, display_name = $3, description = $4, icon = $5, updated_at = $6 WHERE id = $1";
    ORGANIZATION_DELETE = "DELETE FROM organizations WHERE id = $1 AND NOT is_default
        AND NOT EXISTS (SELECT 1 FROM templates t WHERE t.organization_id = organizations.id AND NOT t.deleted)
        AND NOT EXISTS (SELECT 1 FROM workspaces w WHERE w.organization_id = organizations.id)
        AND NOT EXISTS (SELECT 1 FROM chats c WHERE c.organization_id = organizations.id)";
    MEMBER_INSERT = "INSERT INTO organization_members (organization_id, user_id, roles, created_at) VALUES ($1, $2, '[]', $3)
        ON CONFLICT (organization_id, user_id) DO NOTHING";
    MEMBER_DELETE = "DELETE FROM organization_members WHERE organization_id = $1 AND user_id = $2";
    MEMBER_ROLES = "UPDATE organization_members SET roles = $3 WHERE organization_id = $1 AND user_id = $2";
    MEMBERS = "SELECT m.*, u.username, u.name, u.email, u.avatar_url FROM organization_members m
        JOIN users u ON u.id = m.user_id AND NOT u.deleted WHERE m.organization_id = $1 ORDER BY lower(u.username)";
    MEMBER = "SELECT m.*, u.username, u.name, u.email, u.avatar_url FROM organization_members m
        JOIN users u ON u.id = m.user_id AND NOT u.deleted WHERE m.organization_id = $1 AND m.user_id = $2";
    MEMBERSHIPS = "SELECT organization_id, roles, created_at FROM organization_members WHERE user_id = $1 ORDER BY created_at, organization_id";
    GROUPS_LEAVE = "DELETE FROM user_group_members WHERE user_id = $2
        AND group_id IN (SELECT id FROM user_groups WHERE organization_id = $1)";
}

#[derive(Clone, Debug)]
pub struct OrganizationRow {
    pub id: OrganizationId,
    pub name: String,
    pub display_name: String,
    pub description: String,
    pub icon: String,
    pub is_default: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl OrganizationRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            name: row.text("name")?,
            display_name: row.text("display_name")?,
            description: row.text("description")?,
            icon: row.text("icon")?,
            is_default: row.boolean("is_default")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
        })
    }
}

/// A user in an organization.
#[derive(Clone, Debug)]
pub struct MemberRow {
    pub organization_id: OrganizationId,
    pub user_id: UserId,
    pub username: String,
    pub name: String,
    pub email: String,
    pub avatar_url: String,
    pub roles: Vec<String>,
    pub created_at: Timestamp,
}

impl MemberRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            organization_id: row.id("organization_id")?,
            user_id: row.id("user_id")?,
            username: row.text("username")?,
            name: row.text("name")?,
            email: row.text("email")?,
            avatar_url: row.text("avatar_url")?,
            roles: row.json("roles")?,
            created_at: row.time("created_at")?,
        })
    }
}

/// One membership of a user.
#[derive(Clone, Debug)]
pub struct Membership {
    pub organization_id: OrganizationId,
    pub roles: Vec<String>,
}

pub(crate) async fn organization_insert_in_tx(
    tx: &mut Tx<'_>,
    name: &str,
    display_name: &str,
    is_default: bool,
    now: Timestamp,
) -> Result<OrganizationId, StoreError> {
    let id = OrganizationId::new();
    tx.run(ORGANIZATION_INSERT, args![id, name, display_name, is_default, now]).await.map(|_| id)
}

pub(crate) async fn organization_default_in_tx(tx: &mut Tx<'_>) -> Result<OrganizationId, StoreError> {
    tx.one(ORGANIZATION_DEFAULT, Vec::new()).await?.id("id")
}

pub(crate) async fn organization_exists_in_tx(tx: &mut Tx<'_>, id: OrganizationId) -> Result<bool, StoreError> {
    Ok(tx.first(ORGANIZATION_GET, args![id]).await?.is_some())
}

pub(crate) async fn member_insert_in_tx(
    tx: &mut Tx<'_>,
    organization: OrganizationId,
    user: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.run(MEMBER_INSERT, args![organization, user, now]).await.map(|_| ())
}

/// Creates an organization whose first member is `creator`.
///
/// # Errors
/// A name that is taken is [`StoreError::Conflict`].
pub async fn organization_create_in_tx(
    tx: &mut Tx<'_>,
    new: &OrganizationRow,
    creator: UserId,
    now: Timestamp,
) -> Result<OrganizationRow, StoreError> {
    let id = organization_insert_in_tx(tx, &new.name, &new.display_name, false, now).await?;
    member_insert_in_tx(tx, id, creator, now).await?;
    let row = OrganizationRow { id, ..new.clone() };
    organization_update_in_tx(tx, &row, now).await
}

/// Sets name, display name, description and icon.
///
/// # Errors
/// A name that is taken is [`StoreError::Conflict`].
pub async fn organization_update_in_tx(
    tx: &mut Tx<'_>,
    row: &OrganizationRow,
    now: Timestamp,
) -> Result<OrganizationRow, StoreError> {
    let args =
        args![row.id, row.name.clone(), row.display_name.clone(), row.description.clone(), row.icon.clone(), now];
    tx.run(ORGANIZATION_UPDATE, args).await?;
    OrganizationRow::read(&tx.one(ORGANIZATION_GET, args![row.id]).await?)
}

/// False: it is the default one or not empty.
pub async fn organization_delete_in_tx(tx: &mut Tx<'_>, id: OrganizationId) -> Result<bool, StoreError> {
    Ok(tx.run(ORGANIZATION_DELETE, args![id]).await? > 0)
}

pub async fn member_get_in_tx(
    tx: &mut Tx<'_>,
    organization: OrganizationId,
    user: UserId,
) -> Result<Option<MemberRow>, StoreError> {
    tx.first(MEMBER, args![organization, user]).await?.as_ref().map(MemberRow::read).transpose()
}

/// Makes a user a member; one that is stays one.
///
/// # Errors
/// A user or organization that does not exist is [`StoreError::Reference`].
pub async fn member_add_in_tx(
    tx: &mut Tx<'_>,
    organization: OrganizationId,
    user: UserId,
    now: Timestamp,
) -> Result<MemberRow, StoreError> {
    member_insert_in_tx(tx, organization, user, now).await?;
    member_get_in_tx(tx, organization, user)
        .await?
        // a user that is deleted
        .ok_or_else(|| StoreError::Reference { constraint: "organization_members.user_id".to_owned() })
}

/// Takes a user out of an organization and its groups. False: was no member.
pub async fn member_remove_in_tx(
    tx: &mut Tx<'_>,
    organization: OrganizationId,
    user: UserId,
) -> Result<bool, StoreError> {
    tx.run(GROUPS_LEAVE, args![organization, user]).await?;
    Ok(tx.run(MEMBER_DELETE, args![organization, user]).await? > 0)
}

/// None: no member.
pub async fn member_roles_set_in_tx(
    tx: &mut Tx<'_>,
    organization: OrganizationId,
    user: UserId,
    roles: &[String],
) -> Result<Option<MemberRow>, StoreError> {
    let roles = serde_json::to_string(roles).expect("a list of strings always serializes");
    tx.run(MEMBER_ROLES, args![organization, user, roles]).await?;
    member_get_in_tx(tx, organization, user).await
}

impl Store {
    pub async fn organization_get(&self, id: OrganizationId) -> Result<Option<OrganizationRow>, StoreError> {
        self.fetch_first(ORGANIZATION_GET, args![id]).await?.as_ref().map(OrganizationRow::read).transpose()
    }

    pub async fn organization_by_name(&self, name: &str) -> Result<Option<OrganizationRow>, StoreError> {
        self.fetch_first(ORGANIZATION_BY_NAME, args![name]).await?.as_ref().map(OrganizationRow::read).transpose()
    }

    pub async fn organization_default(&self) -> Result<Option<OrganizationRow>, StoreError> {
        self.fetch_first(ORGANIZATION_DEFAULT, Vec::new()).await?.as_ref().map(OrganizationRow::read).transpose()
    }

    /// Every organization, by name.
    pub async fn organizations_for_system(&self) -> Result<Vec<OrganizationRow>, StoreError> {
        self.fetch_all(ORGANIZATIONS_ALL, Vec::new()).await?.iter().map(OrganizationRow::read).collect()
    }

    /// A user's organizations, oldest membership first.
    pub async fn organizations_of(&self, user: UserId) -> Result<Vec<OrganizationRow>, StoreError> {
        self.fetch_all(ORGANIZATIONS_OF, args![user]).await?.iter().map(OrganizationRow::read).collect()
    }

    /// A user's memberships with their roles, oldest first.
    pub async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError> {
        let rows = self.fetch_all(MEMBERSHIPS, args![user]).await?;
        rows.iter()
            .map(|row| Ok(Membership { organization_id: row.id("organization_id")?, roles: row.json("roles")? }))
            .collect()
    }

    /// As [`organization_create_in_tx`].
    pub async fn organization_create(
        &self,
        new: OrganizationRow,
        creator: UserId,
        now: Timestamp,
    ) -> Result<OrganizationRow, StoreError> {
        self.write("organization_create", move |tx| {
            Box::pin(async move { organization_create_in_tx(tx, &new, creator, now).await })
        })
        .await
    }

    /// As [`organization_update_in_tx`].
    pub async fn organization_update(
        &self,
        row: OrganizationRow,
        now: Timestamp,
    ) -> Result<OrganizationRow, StoreError> {
        self.write("organization_update", move |tx| {
            Box::pin(async move { organization_update_in_tx(tx, &row, now).await })
        })
        .await
    }

    /// False: it is the default one or not empty.
    pub async fn organization_delete(&self, id: OrganizationId) -> Result<bool, StoreError> {
        self.write("organization_delete", move |tx| Box::pin(async move { organization_delete_in_tx(tx, id).await }))
            .await
    }

    pub async fn members(&self, organization: OrganizationId) -> Result<Vec<MemberRow>, StoreError> {
        self.fetch_all(MEMBERS, args![organization]).await?.iter().map(MemberRow::read).collect()
    }

    pub async fn member_get(
        &self,
        organization: OrganizationId,
        user: UserId,
    ) -> Result<Option<MemberRow>, StoreError> {
        self.fetch_first(MEMBER, args![organization, user]).await?.as_ref().map(MemberRow::read).transpose()
    }

    /// As [`member_add_in_tx`].
    pub async fn member_add(
        &self,
        organization: OrganizationId,
        user: UserId,
        now: Timestamp,
    ) -> Result<MemberRow, StoreError> {
        self.write("member_add", move |tx| Box::pin(async move { member_add_in_tx(tx, organization, user, now).await }))
            .await
    }

    /// Takes a user out of an organization and its groups. False: was no member.
    pub async fn member_remove(&self, organization: OrganizationId, user: UserId) -> Result<bool, StoreError> {
        self.write("member_remove", move |tx| {
            Box::pin(async move { member_remove_in_tx(tx, organization, user).await })
        })
        .await
    }

    /// None: no member.
    pub async fn member_roles_set(
        &self,
        organization: OrganizationId,
        user: UserId,
        roles: Vec<String>,
    ) -> Result<Option<MemberRow>, StoreError> {
        self.write("member_roles_set", move |tx| {
            Box::pin(async move { member_roles_set_in_tx(tx, organization, user, &roles).await })
        })
        .await
    }
}
