//! Organizations, their members and groups.

use atelier_domain::{GroupId, OrganizationId, UserId};
use atelier_store::{GroupError, GroupRow, GroupUpdate, OrganizationRow, StoreError};

use crate::fixture::{Fixture, at, on_both_engines, user};

fn organization(name: &str) -> OrganizationRow {
    OrganizationRow {
        id: OrganizationId::new(),
        name: name.to_owned(),
        display_name: name.to_uppercase(),
        description: "Things".to_owned(),
        icon: "/i.svg".to_owned(),
        is_default: false,
        created_at: at(0),
        updated_at: at(0),
    }
}

fn group(organization_id: OrganizationId, name: &str) -> GroupRow {
    GroupRow {
        id: GroupId::new(),
        organization_id,
        name: name.to_owned(),
        display_name: String::new(),
        avatar_url: String::new(),
        created_at: at(1),
    }
}

on_both_engines! {
    async fn an_organization_from_first_to_last(fixture: &Fixture) {
        let store = &fixture.store;
        let made = store.organization_create(organization("lab"), fixture.owner, at(2)).await.unwrap();
        assert_eq!((made.description.as_str(), made.icon.as_str(), made.is_default), ("Things", "/i.svg", false));
        let again = store.organization_create(organization("LAB"), fixture.owner, at(2)).await;
        assert!(matches!(again, Err(StoreError::Conflict { .. })));
        assert_eq!(store.organization_by_name("Lab").await.unwrap().unwrap().id, made.id);
        assert_eq!(store.organization_default().await.unwrap().unwrap().id, fixture.organization);
        let memberships = store.memberships(fixture.owner).await.unwrap();
        assert_eq!(memberships.len(), 2);
        assert_eq!(memberships[0].organization_id, fixture.organization, "oldest first");
        let bob = store.user_create(user("bob"), at(2)).await.unwrap().id;
        assert!(store.member_get(made.id, bob).await.unwrap().is_none());
        store.member_add(made.id, bob, at(3)).await.unwrap();
        store.member_add(made.id, bob, at(4)).await.unwrap();
        let roles = vec!["organization-admin".to_owned()];
        let member = store.member_roles_set(made.id, bob, roles.clone()).await.unwrap().unwrap();
        assert_eq!((member.roles, member.created_at), (roles, at(3)));
        assert!(store.member_roles_set(made.id, UserId::new(), Vec::new()).await.unwrap().is_none());
        let nobody = store.member_add(made.id, UserId::new(), at(4)).await;
        assert!(matches!(nobody, Err(StoreError::Reference { .. })), "{nobody:?}");
        store.user_delete(bob, at(5)).await.unwrap();
        let gone = store.member_add(made.id, bob, at(5)).await;
        assert!(matches!(gone, Err(StoreError::Reference { .. })), "{gone:?}");
        assert_eq!(store.members(made.id).await.unwrap().len(), 1);
        assert!(!store.organization_delete(fixture.organization).await.unwrap(), "the default one");
        assert!(store.organization_delete(made.id).await.unwrap());
        assert!(store.organization_get(made.id).await.unwrap().is_none());
    }

    async fn groups_hold_members_of_their_organization(fixture: &Fixture) {
        let store = &fixture.store;
        let bob = store.user_create(user("bob"), at(2)).await.unwrap().id;
        let made = store.group_create(group(fixture.organization, "writers")).await.unwrap();
        for taken in ["Writers", "everyone"] {
            let again = store.group_create(group(fixture.organization, taken)).await;
            assert!(matches!(again, Err(GroupError::NameTaken)), "{taken}: {again:?}");
        }
        let update = GroupUpdate { add_users: vec![bob, fixture.owner, bob], ..GroupUpdate::default() };
        store.group_update(made.id, update).await.unwrap();
        let outsider = store.organization_create(organization("lab"), bob, at(3)).await.unwrap();
        let other = store.group_create(group(outsider.id, "writers")).await.unwrap();
        let update = GroupUpdate { name: Some("x".to_owned()), add_users: vec![bob, fixture.owner], ..GroupUpdate::default() };
        let refused = store.group_update(other.id, update).await;
        assert!(matches!(refused, Err(GroupError::Outsider(id)) if id == fixture.owner));
        assert_eq!(store.group_get(other.id).await.unwrap().unwrap().name, "writers", "all or nothing");
        assert!(store.group_members(other.id).await.unwrap().is_empty());
        let names: Vec<_> =
            store.group_members(made.id).await.unwrap().into_iter().map(|member| member.username).collect();
        assert_eq!(names, ["ada", "bob"]);
        // who leaves the organization leaves its groups
        assert!(store.member_remove(fixture.organization, bob).await.unwrap());
        assert!(!store.member_remove(fixture.organization, bob).await.unwrap());
        assert_eq!(store.group_members(made.id).await.unwrap().len(), 1);
        let update = GroupUpdate { remove_users: vec![fixture.owner], name: Some("old".to_owned()), ..GroupUpdate::default() };
        assert_eq!(store.group_update(made.id, update).await.unwrap().name, "old");
        assert!(store.group_members(made.id).await.unwrap().is_empty());
        store.group_delete(made.id).await.unwrap();
        assert!(matches!(store.group_delete(made.id).await, Err(GroupError::NotFound)));
    }

    async fn everyone_is_a_group_that_nobody_changes(fixture: &Fixture) {
        let store = &fixture.store;
        let everyone = GroupId(fixture.organization.uuid());
        store.group_create(group(fixture.organization, "apes")).await.unwrap();
        store.group_create(group(fixture.organization, "Zebras")).await.unwrap();
        let names: Vec<_> =
            store.groups(fixture.organization).await.unwrap().into_iter().map(|group| group.name).collect();
        assert_eq!(names, ["apes", "Everyone", "Zebras"]);
        let row = store.group_get(everyone).await.unwrap().unwrap();
        assert!(row.is_everyone() && row.organization_id == fixture.organization);
        assert_eq!(store.group_members(everyone).await.unwrap().len(), 1);
        store.user_create(user("bob"), at(2)).await.unwrap();
        assert_eq!(store.group_members(everyone).await.unwrap().len(), 2);
        assert!(matches!(store.group_update(everyone, GroupUpdate::default()).await, Err(GroupError::Everyone)));
        assert!(matches!(store.group_delete(everyone).await, Err(GroupError::Everyone)));
    }
}
