//! Groups of users. Each organization has the group `Everyone` with its own id: it has no row, cannot be
//! changed, and holds all members.

use atelier_domain::{GroupId, OrganizationId, Timestamp, UserId};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::organizations::member_get_in_tx;
use crate::statement::statements;
use crate::value::{DbRow, args};

statements! {
    GROUP_INSERT = "INSERT INTO user_groups (id, organization_id, name, display_name, avatar_url, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
    GROUP_GET = "SELECT id, organization_id, name, display_name, avatar_url, created_at FROM user_groups WHERE id = $1
        UNION ALL SELECT id, id, 'Everyone', 'Everyone', '', created_at FROM organizations WHERE id = $1";
    GROUPS = "SELECT * FROM (
        SELECT id, organization_id, name, display_name, avatar_url, created_at FROM user_groups WHERE organization_id = $1
        UNION ALL SELECT id, id, 'Everyone', 'Everyone', '', created_at FROM organizations WHERE id = $1) g ORDER BY lower(name), id";
    GROUP_UPDATE = "UPDATE user_groups SET name = $2, display_name = $3, avatar_url = $4 WHERE id = $1";
    GROUP_DELETE = "DELETE FROM user_groups WHERE id = $1";
    GROUP_MEMBERS = "SELECT u.id, u.username, u.name, u.avatar_url FROM users u
        WHERE NOT u.deleted AND (u.id IN (SELECT g.user_id FROM user_group_members g WHERE g.group_id = $1)
            OR u.id IN (SELECT m.user_id FROM organization_members m WHERE m.organization_id = $1))
        ORDER BY lower(u.username)";
    GROUP_MEMBER_INSERT = "INSERT INTO user_group_members (group_id, user_id)
        SELECT $1, m.user_id FROM organization_members m JOIN user_groups g ON g.organization_id = m.organization_id
        WHERE g.id = $1 AND m.user_id = $2 ON CONFLICT (group_id, user_id) DO NOTHING";
    GROUP_MEMBER_DELETE = "DELETE FROM user_group_members WHERE group_id = $1 AND user_id = $2";
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

impl GroupRow {
    /// The implied group of all members.
    #[must_use]
    pub fn is_everyone(&self) -> bool {
        self.id.uuid() == self.organization_id.uuid()
    }
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
    #[error("the group of all members cannot be changed")]
    Everyone,
    #[error("the name is taken")]
    NameTaken,
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub async fn group_get_in_tx(tx: &mut Tx<'_>, group: GroupId) -> Result<Option<GroupRow>, StoreError> {
    tx.first(GROUP_GET, args![group]).await?.as_ref().map(GroupRow::read).transpose()
}

fn group_taken(error: StoreError) -> GroupError {
    if matches!(error, StoreError::Conflict { .. }) { GroupError::NameTaken } else { error.into() }
}

fn refuse_everyone(name: &str) -> Result<(), GroupError> {
    if name.eq_ignore_ascii_case("everyone") { Err(GroupError::NameTaken) } else { Ok(()) }
}

pub async fn group_create_in_tx(tx: &mut Tx<'_>, group: &GroupRow) -> Result<(), GroupError> {
    refuse_everyone(&group.name)?;
    let args = args![
        group.id,
        group.organization_id,
        group.name.clone(),
        group.display_name.clone(),
        group.avatar_url.clone(),
        group.created_at
    ];
    tx.run(GROUP_INSERT, args).await.map_err(group_taken)?;
    Ok(())
}

/// Changes a group and who is in it. Members must be in the organization.
pub async fn group_update_in_tx(tx: &mut Tx<'_>, group: GroupId, update: GroupUpdate) -> Result<GroupRow, GroupError> {
    let row = group_get_in_tx(tx, group).await?.ok_or(GroupError::NotFound)?;
    if row.is_everyone() {
        return Err(GroupError::Everyone);
    }
    let name = update.name.unwrap_or(row.name);
    refuse_everyone(&name)?;
    let display_name = update.display_name.unwrap_or(row.display_name);
    let avatar_url = update.avatar_url.unwrap_or(row.avatar_url);
    tx.run(GROUP_UPDATE, args![group, name, display_name, avatar_url]).await.map_err(group_taken)?;
    for user in update.remove_users {
        tx.run(GROUP_MEMBER_DELETE, args![group, user]).await?;
    }
    for user in update.add_users {
        if member_get_in_tx(tx, row.organization_id, user).await?.is_none() {
            return Err(GroupError::Outsider(user));
        }
        tx.run(GROUP_MEMBER_INSERT, args![group, user]).await?;
    }
    group_get_in_tx(tx, group).await?.ok_or(GroupError::NotFound)
}

pub async fn group_delete_in_tx(tx: &mut Tx<'_>, group: GroupId) -> Result<(), GroupError> {
    let row = group_get_in_tx(tx, group).await?.ok_or(GroupError::NotFound)?;
    if row.is_everyone() {
        return Err(GroupError::Everyone);
    }
    tx.run(GROUP_DELETE, args![group]).await?;
    Ok(())
}

impl Store {
    /// The groups of an organization by name, `Everyone` among them.
    pub async fn groups(&self, organization: OrganizationId) -> Result<Vec<GroupRow>, StoreError> {
        self.fetch_all(GROUPS, args![organization]).await?.iter().map(GroupRow::read).collect()
    }

    pub async fn group_get(&self, group: GroupId) -> Result<Option<GroupRow>, StoreError> {
        self.fetch_first(GROUP_GET, args![group]).await?.as_ref().map(GroupRow::read).transpose()
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

    pub async fn group_create(&self, group: GroupRow) -> Result<GroupRow, GroupError> {
        self.write("group_create", move |tx| {
            Box::pin(async move { group_create_in_tx(tx, &group).await.map(|()| group) })
        })
        .await
    }

    /// As [`group_update_in_tx`].
    pub async fn group_update(&self, group: GroupId, update: GroupUpdate) -> Result<GroupRow, GroupError> {
        self.write("group_update", move |tx| Box::pin(async move { group_update_in_tx(tx, group, update).await })).await
    }

    pub async fn group_delete(&self, group: GroupId) -> Result<(), GroupError> {
        self.write("group_delete", move |tx| Box::pin(async move { group_delete_in_tx(tx, group).await })).await
    }
}
