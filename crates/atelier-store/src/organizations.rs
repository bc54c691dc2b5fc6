//! Organizations, their members and groups.

use atelier_domain::{GroupId, OrganizationId, Timestamp, UserId};

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
    ORGANIZATIONS_ALL = "SELECT * FROM organizations ORDER BY lower(name)";
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
    GROUP_INSERT = "INSERT INTO user_groups (id, organization_id, name, display_name, avatar_url, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
    GROUP_GET = "SELECT * FROM user_groups WHERE id = $1";
    GROUPS = "SELECT * FROM user_groups WHERE organization_id = $1 ORDER BY lower(name)";
    GROUP_UPDATE = "UPDATE user_groups SET name = $2, display_name = $3, avatar_url = $4 WHERE id = $1";
    GROUP_DELETE = "DELETE FROM user_groups WHERE id = $1";
    GROUP_MEMBERS = "SELECT g.group_id, u.id, u.username, u.name, u.avatar_url FROM user_group_members g
        JOIN users u ON u.id = g.user_id AND NOT u.deleted WHERE g.group_id = $1 ORDER BY lower(u.username)";
    GROUP_MEMBER_INSERT = "INSERT INTO user_group_members (group_id, user_id)
        SELECT $1, m.user_id FROM organization_members m JOIN user_groups g ON g.organization_id = m.organization_id
        WHERE g.id = $1 AND m.user_id = $2 ON CONFLICT (group_id, user_id) DO NOTHING";
    GROUP_MEMBER_DELETE = "DELETE FROM user_group_members WHERE group_id = $1 AND user_id = $2";
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

#[derive(Clone, Debug)]
pub struct GroupRow {
    pub id: GroupId,
    pub organization_id: OrganizationId,
    pub name: String,
    pub display_name: String,
    pub avatar_url: String,
    pub created_at: Timestamp,
}

impl GroupRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            organization_id: row.id("organization_id")?,
            name: row.text("name")?,
            display_name: row.text("display_name")?,
            avatar_url: row.text("avatar_url")?,
            created_at: row.time("created_at")?,
        })
    }
}

#[derive(Clone, Debug)]
pub struct GroupMemberRow {
    pub id: UserId,
    pub username: String,
    pub name: String,
    pub avatar_url: String,
}

/// A change of a group; absent keeps.
#[derive(Clone, Debug, Default)]
pub struct GroupUpdate {
    pub name: Option<String>,
    pub display_name: Option<String>,
    pub avatar_url: Option<String>,
    pub add_users: Vec<UserId>,
    pub remove_users: Vec<UserId>,
}

/// Why a change of a group is refused.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    #[error("the group does not exist")]
    NotFound,
    #[error("user {0} is not a member of the group's organization")]
    Outsider(UserId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(crate) async fn organization_insert_in_tx(
    tx: &mut Tx<'_>,
    name: &str,
    display_name: &str,
    is_default: bool,
    now: Timestamp,
) -> Result<OrganizationId, StoreError> {
    let id = OrganizationId::new();
    tx.run(
        ORGANIZATION_INSERT,
        args![id, name, display_name, is_default, now],
    )
    .await
    .map(|_| id)
}

pub(crate) async fn organization_default_in_tx(
    tx: &mut Tx<'_>,
) -> Result<OrganizationId, StoreError> {
    tx.one(ORGANIZATION_DEFAULT, Vec::new()).await?.id("id")
}

pub(crate) async fn member_insert_in_tx(
    tx: &mut Tx<'_>,
    organization: OrganizationId,
    user: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.run(MEMBER_INSERT, args![organization, user, now])
        .await
        .map(|_| ())
}

impl Store {
    pub async fn organization_get(
        &self,
        id: OrganizationId,
    ) -> Result<Option<OrganizationRow>, StoreError> {
        self.fetch_first(ORGANIZATION_GET, args![id])
            .await?
            .as_ref()
            .map(OrganizationRow::read)
            .transpose()
    }

    pub async fn organization_by_name(
        &self,
        name: &str,
    ) -> Result<Option<OrganizationRow>, StoreError> {
        self.fetch_first(ORGANIZATION_BY_NAME, args![name])
            .await?
            .as_ref()
            .map(OrganizationRow::read)
            .transpose()
    }

    pub async fn organization_default(&self) -> Result<Option<OrganizationRow>, StoreError> {
        self.fetch_first(ORGANIZATION_DEFAULT, Vec::new())
            .await?
            .as_ref()
            .map(OrganizationRow::read)
            .transpose()
    }

    /// Every organization, by name.
    pub async fn organizations_for_system(&self) -> Result<Vec<OrganizationRow>, StoreError> {
        self.fetch_all(ORGANIZATIONS_ALL, Vec::new())
            .await?
            .iter()
            .map(OrganizationRow::read)
            .collect()
    }

    /// A user's organizations, oldest membership first.
    pub async fn organizations_of(&self, user: UserId) -> Result<Vec<OrganizationRow>, StoreError> {
        self.fetch_all(ORGANIZATIONS_OF, args![user])
            .await?
            .iter()
            .map(OrganizationRow::read)
            .collect()
    }

    /// A user's memberships with their roles, oldest first.
    pub async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError> {
        let rows = self.fetch_all(MEMBERSHIPS, args![user]).await?;
        rows.iter()
            .map(|row| {
                Ok(Membership {
                    organization_id: row.id("organization_id")?,
                    roles: row.json("roles")?,
                })
            })
            .collect()
    }

    /// Creates an organization whose first member is `creator`.
    pub async fn organization_create(
        &self,
        new: OrganizationRow,
        creator: UserId,
        now: Timestamp,
    ) -> Result<OrganizationRow, StoreError> {
        self.write("organization_create", move |tx| {
            Box::pin(async move {
                let id =
                    organization_insert_in_tx(tx, &new.name, &new.display_name, false, now).await?;
                let args = args![
                    id,
                    new.name,
                    new.display_name,
                    new.description,
                    new.icon,
                    now
                ];
                tx.run(ORGANIZATION_UPDATE, args).await?;
                member_insert_in_tx(tx, id, creator, now).await?;
                OrganizationRow::read(&tx.one(ORGANIZATION_GET, args![id]).await?)
            })
        })
        .await
    }

    pub async fn organization_update(
        &self,
        row: OrganizationRow,
        now: Timestamp,
    ) -> Result<OrganizationRow, StoreError> {
        self.write("organization_update", move |tx| {
            Box::pin(async move {
                let id = row.id;
                let args = args![
                    id,
                    row.name,
                    row.display_name,
                    row.description,
                    row.icon,
                    now
                ];
                tx.run(ORGANIZATION_UPDATE, args).await?;
                OrganizationRow::read(&tx.one(ORGANIZATION_GET, args![id]).await?)
            })
        })
        .await
    }

    /// False: it is the default one or not empty.
    pub async fn organization_delete(&self, id: OrganizationId) -> Result<bool, StoreError> {
        self.write("organization_delete", move |tx| {
            Box::pin(async move { Ok(tx.run(ORGANIZATION_DELETE, args![id]).await? > 0) })
        })
        .await
    }

    pub async fn members(
        &self,
        organization: OrganizationId,
    ) -> Result<Vec<MemberRow>, StoreError> {
        self.fetch_all(MEMBERS, args![organization])
            .await?
            .iter()
            .map(MemberRow::read)
            .collect()
    }

    pub async fn member_get(
        &self,
        organization: OrganizationId,
        user: UserId,
    ) -> Result<Option<MemberRow>, StoreError> {
        self.fetch_first(MEMBER, args![organization, user])
            .await?
            .as_ref()
            .map(MemberRow::read)
            .transpose()
    }

    pub async fn member_add(
        &self,
        organization: OrganizationId,
        user: UserId,
        now: Timestamp,
    ) -> Result<MemberRow, StoreError> {
        self.write("member_add", move |tx| {
            Box::pin(async move {
                member_insert_in_tx(tx, organization, user, now).await?;
                MemberRow::read(&tx.one(MEMBER, args![organization, user]).await?)
            })
        })
        .await
    }

    /// Takes a user out of an organization and its groups. False: was no member.
    pub async fn member_remove(
        &self,
        organization: OrganizationId,
        user: UserId,
    ) -> Result<bool, StoreError> {
        self.write("member_remove", move |tx| {
            Box::pin(async move {
                tx.run(GROUPS_LEAVE, args![organization, user]).await?;
                Ok(tx.run(MEMBER_DELETE, args![organization, user]).await? > 0)
            })
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
            Box::pin(async move {
                let roles =
                    serde_json::to_string(&roles).expect("a list of strings always serializes");
                tx.run(MEMBER_ROLES, args![organization, user, roles])
                    .await?;
                tx.first(MEMBER, args![organization, user])
                    .await?
                    .as_ref()
                    .map(MemberRow::read)
                    .transpose()
            })
        })
        .await
    }

    pub async fn groups(&self, organization: OrganizationId) -> Result<Vec<GroupRow>, StoreError> {
        self.fetch_all(GROUPS, args![organization])
            .await?
            .iter()
            .map(GroupRow::read)
            .collect()
    }

    pub async fn group_get(&self, group: GroupId) -> Result<Option<GroupRow>, StoreError> {
        self.fetch_first(GROUP_GET, args![group])
            .await?
            .as_ref()
            .map(GroupRow::read)
            .transpose()
    }

    pub async fn group_members(&self, group: GroupId) -> Result<Vec<GroupMemberRow>, StoreError> {
        let rows = self.fetch_all(GROUP_MEMBERS, args![group]).await?;
        rows.iter()
            .map(|row| {
                Ok(GroupMemberRow {
                    id: row.id("id")?,
                    username: row.text("username")?,
                    name: row.text("name")?,
                    avatar_url: row.text("avatar_url")?,
                })
            })
            .collect()
    }

    pub async fn group_create(&self, group: GroupRow) -> Result<GroupRow, StoreError> {
        self.write("group_create", move |tx| {
            Box::pin(async move {
                let row = group.clone();
                let args = args![
                    row.id,
                    row.organization_id,
                    row.name,
                    row.display_name,
                    row.avatar_url,
                    row.created_at
                ];
                tx.run(GROUP_INSERT, args).await.map(|_| group)
            })
        })
        .await
    }

    pub async fn group_update(
        &self,
        group: GroupId,
        update: GroupUpdate,
    ) -> Result<GroupRow, GroupError> {
        self.write("group_update", move |tx| {
            Box::pin(async move {
                let row = tx
                    .first(GROUP_GET, args![group])
                    .await?
                    .ok_or(GroupError::NotFound)?;
                let row = GroupRow::read(&row)?;
                let name = update.name.unwrap_or(row.name);
                let display_name = update.display_name.unwrap_or(row.display_name);
                let avatar_url = update.avatar_url.unwrap_or(row.avatar_url);
                tx.run(GROUP_UPDATE, args![group, name, display_name, avatar_url])
                    .await?;
                for user in update.remove_users {
                    tx.run(GROUP_MEMBER_DELETE, args![group, user]).await?;
                }
                for user in update.add_users {
                    let member = tx.first(MEMBER, args![row.organization_id, user]).await?;
                    if member.is_none() {
                        return Err(GroupError::Outsider(user));
                    }
                    tx.run(GROUP_MEMBER_INSERT, args![group, user]).await?;
                }
                let row = tx.one(GROUP_GET, args![group]).await?;
                Ok(GroupRow::read(&row)?)
            })
        })
        .await
    }

    pub async fn group_delete(&self, group: GroupId) -> Result<bool, StoreError> {
        self.write("group_delete", move |tx| {
            Box::pin(async move { Ok(tx.run(GROUP_DELETE, args![group]).await? > 0) })
        })
        .await
    }
}
