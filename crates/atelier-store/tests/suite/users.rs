//! Users: who exists, who owns the site, and what lets somebody in.

use atelier_domain::{Timestamp, UserId};
use atelier_store::{CredentialKind, Setting, StoreError, UserError, UserFilter, UserRow, UserStatus};

use crate::fixture::{Fixture, at, on_both_engines, user};

const WEEK: i64 = 7 * 86_400;

fn hash(of: u8) -> [u8; 32] {
    [of; 32]
}

fn owner_role() -> Vec<String> {
    vec!["owner".to_owned()]
}

impl Fixture {
    async fn user(&self, name: &str) -> UserRow {
        self.store.user_create(user(name), at(1)).await.unwrap()
    }

    async fn is_known(&self, token: u8, now: Timestamp) -> bool {
        self.store.credential_by_hash(hash(token), now).await.unwrap().is_some()
    }

    async fn names(&self, filter: UserFilter) -> Vec<String> {
        let (rows, count) = self.store.user_list(&filter, 100, 0).await.unwrap();
        assert_eq!(usize::try_from(count).unwrap(), rows.len());
        rows.into_iter().map(|row| row.username).collect()
    }

    async fn session(&self, user: UserId, token: u8, begun: i64) {
        self.store.session_create(user, hash(token), at(begun), at(begun + WEEK)).await.unwrap();
    }

    async fn token(&self, user: UserId, name: &str, token: u8) {
        self.store.api_token_create(user, name.to_owned(), hash(token), at(1), at(WEEK)).await.unwrap();
    }
}

on_both_engines! {
    async fn there_is_one_first_user(fixture: &Fixture) {
        fixture
            .execute(
                "DELETE FROM model_configs; DELETE FROM providers; DELETE FROM organization_members;
                DELETE FROM organizations; DELETE FROM users",
            )
            .await;
        assert!(!fixture.store.user_exists().await.unwrap());
        fixture.store.setup_code("a code".to_owned(), at(1)).await.unwrap();
        let racers = (0..8).map(|at_once| {
            let store = fixture.store.clone();
            tokio::spawn(async move { store.user_create_first(user(&format!("first{at_once}")), at(1)).await })
        });
        let ended: Vec<_> =
            futures::future::join_all(racers).await.into_iter().map(|racer| racer.unwrap()).collect();
        let won: Vec<_> = ended.iter().filter_map(|result| result.as_ref().ok()).collect();
        assert_eq!(won.len(), 1);
        assert!(ended.iter().all(|result| matches!(result, Ok(_) | Err(UserError::FirstUserExists))), "{ended:?}");
        assert_eq!(fixture.store.setting(Setting::SetupCode).await.unwrap(), None, "its code opens nothing any more");
        let (row, organization) = won[0];
        assert_eq!(row.roles, ["owner"]);
        assert_eq!(fixture.store.user_list(&UserFilter::default(), 10, 0).await.unwrap().1, 1);
        let organizations = fixture.store.organizations_of(row.id).await.unwrap();
        assert_eq!(organizations.len(), 1);
        assert!(organizations[0].is_default && organizations[0].id == *organization);
    }

    async fn names_and_addresses_are_unique_in_any_case(fixture: &Fixture) {
        let store = &fixture.store;
        let mut accented = user("eve");
        accented.email = "Éve@Example.com".to_owned();
        let eve = store.user_create(accented, at(1)).await.unwrap();
        let mut other = user("bob");
        other.email = "éVE@example.com".to_owned();
        assert!(matches!(store.user_create(other, at(2)).await, Err(UserError::EmailTaken)));
        let mut other = user("EVE");
        other.email = "bob@example.com".to_owned();
        assert!(matches!(store.user_create(other, at(2)).await, Err(UserError::UsernameTaken)));
        let found = store.user_by_email("ÉVE@EXAMPLE.COM").await.unwrap().unwrap();
        assert_eq!((found.id, found.email.as_str()), (eve.id, "Éve@Example.com"));
        assert_eq!(store.user_by_username("eVe").await.unwrap().unwrap().id, eve.id);
        let renamed = store.user_profile_set(eve.id, "ADA".to_owned(), "Eve".to_owned(), at(3)).await;
        assert!(matches!(renamed, Err(UserError::UsernameTaken)));
        let renamed = store.user_profile_set(eve.id, "Eve".to_owned(), "Eva Êvora".to_owned(), at(3)).await.unwrap();
        assert_eq!((renamed.username.as_str(), renamed.updated_at), ("Eve", at(3)));
        // a deleted user's are free again
        store.user_delete(eve.id, at(4)).await.unwrap();
        assert!(store.user_by_email("Éve@Example.com").await.unwrap().is_none());
        assert!(store.user_create(user("eve"), at(5)).await.is_ok());
        let mut lost = user("zoe");
        lost.organization_ids = vec![atelier_domain::OrganizationId::new()];
        assert!(matches!(store.user_create(lost, at(5)).await, Err(UserError::UnknownOrganization)));
        assert!(store.user_by_username("zoe").await.unwrap().is_none(), "a refused user leaves no row");
    }

    async fn lists_filter_and_count(fixture: &Fixture) {
        let store = &fixture.store;
        for name in ["bob", "Carl", "dan-x"] {
            fixture.user(name).await;
        }
        let mut odd = user("odd");
        odd.name = "100% Ö_dd".to_owned();
        odd.roles = vec!["auditor".to_owned()];
        let odd = store.user_create(odd, at(2)).await.unwrap();
        store.user_status_set(odd.id, UserStatus::Suspended, at(3)).await.unwrap();
        let text = |text: &str| UserFilter { text: text.to_owned(), ..UserFilter::default() };
        assert_eq!(fixture.names(UserFilter::default()).await, ["ada", "bob", "Carl", "dan-x", "odd"]);
        assert_eq!(fixture.names(text("CARL@")).await, ["Carl"]);
        assert_eq!(fixture.names(text("ö_D")).await, ["odd"]);
        assert_eq!(fixture.names(text("0%")).await, ["odd"]);
        // wildcards match themselves
        assert!(fixture.names(text("a_a")).await.is_empty());
        assert!(fixture.names(text("%")).await == ["odd"]);
        assert!(fixture.names(text("\\")).await.is_empty());
        let role = |role: &str| UserFilter { role: Some(role.to_owned()), ..UserFilter::default() };
        assert_eq!(fixture.names(role("auditor")).await, ["odd"]);
        assert_eq!(fixture.names(role("owner")).await, ["ada"]);
        assert!(fixture.names(role("%")).await.is_empty());
        let status = |status| UserFilter { status: Some(status), ..UserFilter::default() };
        assert_eq!(fixture.names(status(UserStatus::Suspended)).await, ["odd"]);
        assert_eq!(fixture.names(status(UserStatus::Active)).await.len(), 4);
        let (page, count) = store.user_list(&UserFilter::default(), 2, 1).await.unwrap();
        assert_eq!((page[0].username.as_str(), page[1].username.as_str(), count), ("bob", "Carl", 5));
        let (past, count) = store.user_list(&UserFilter::default(), 2, 50).await.unwrap();
        assert_eq!((past.len(), count), (0, 5));
    }

    /// G73
    async fn the_last_owner_stays(fixture: &Fixture) {
        let store = &fixture.store;
        let ada = fixture.owner;
        let is_refused = |result: Result<(), UserError>| matches!(result, Err(UserError::LastOwner));
        let bob = fixture.user("bob").await.id;
        assert!(is_refused(store.user_roles_set(ada, vec!["auditor".to_owned()], at(2)).await.map(|_| ())));
        assert!(is_refused(store.user_status_set(ada, UserStatus::Suspended, at(2)).await.map(|_| ())));
        assert!(is_refused(store.user_delete(ada, at(2)).await));
        let kept = store.user_get(ada).await.unwrap().unwrap();
        assert_eq!((kept.status, kept.roles), (UserStatus::Active, owner_role()));
        // an owner who is suspended does not count
        store.user_roles_set(bob, owner_role(), at(3)).await.unwrap();
        store.user_status_set(bob, UserStatus::Suspended, at(3)).await.unwrap();
        assert!(is_refused(store.user_delete(ada, at(4)).await));
        store.user_roles_set(bob, Vec::new(), at(4)).await.unwrap();
        store.user_roles_set(bob, owner_role(), at(4)).await.unwrap();
        store.user_status_set(bob, UserStatus::Active, at(5)).await.unwrap();
        // two owners who demote each other at the same time
        let (left, right) = tokio::join!(
            store.user_roles_set(ada, Vec::new(), at(6)),
            store.user_status_set(bob, UserStatus::Suspended, at(6))
        );
        assert_eq!([left.is_ok(), right.is_ok()].iter().filter(|won| **won).count(), 1, "{left:?} {right:?}");
        let missing = store.user_delete(UserId::new(), at(7)).await;
        assert!(matches!(missing, Err(UserError::NotFound)));
    }

    async fn a_session_lives_on_by_its_use(fixture: &Fixture) {
        let store = &fixture.store;
        let bob = fixture.user("bob").await.id;
        fixture.session(bob, 1, 10).await;
        assert!(!fixture.is_known(2, at(10)).await);
        let credential = store.credential_by_hash(hash(1), at(10 + WEEK - 1)).await.unwrap().unwrap();
        assert!(matches!(credential.kind, CredentialKind::Session(_)));
        assert_eq!((credential.user.id, credential.user.last_seen_at), (bob, Some(at(10))));
        assert!(!fixture.is_known(1, at(10 + WEEK)).await);
        // within the minute nothing is written
        store.credential_touch(&credential, at(69), at(69 + WEEK)).await.unwrap();
        assert!(!fixture.is_known(1, at(10 + WEEK)).await);
        store.credential_touch(&credential, at(70), at(70 + WEEK)).await.unwrap();
        let credential = store.credential_by_hash(hash(1), at(69 + WEEK)).await.unwrap().unwrap();
        assert_eq!((credential.last_used_at, credential.user.last_seen_at), (Some(at(70)), Some(at(70))));
        let CredentialKind::Session(session) = credential.kind else { panic!("{credential:?}") };
        store.session_delete(session).await.unwrap();
        assert!(!fixture.is_known(1, at(71)).await);
        // a new login clears away what has expired
        fixture.session(bob, 3, 100).await;
        fixture.session(bob, 4, 100 + WEEK).await;
        assert_eq!(fixture.one("SELECT CAST(COUNT(*) AS TEXT) FROM user_sessions").await, 1);
    }

    async fn tokens_have_names_and_an_end(fixture: &Fixture) {
        let store = &fixture.store;
        let (ada, bob) = (fixture.owner, fixture.user("bob").await.id);
        fixture.token(ada, "ci", 1).await;
        fixture.token(bob, "ci", 2).await;
        let again = store.api_token_create(ada, "ci".to_owned(), hash(3), at(2), at(9)).await;
        assert!(matches!(again, Err(StoreError::Conflict { .. })));
        let credential = store.credential_by_hash(hash(1), at(2)).await.unwrap().unwrap();
        assert_eq!((credential.user.id, credential.last_used_at), (ada, None));
        store.credential_touch(&credential, at(3), at(0)).await.unwrap();
        let listed = store.api_token_list(ada).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].last_used_at, listed[0].expires_at), (Some(at(3)), at(WEEK)));
        assert!(!fixture.is_known(1, at(WEEK)).await);
        assert!(!store.api_token_delete(bob, listed[0].id).await.unwrap(), "another user's");
        assert!(store.api_token_delete(ada, listed[0].id).await.unwrap());
        assert!(!fixture.is_known(1, at(4)).await && fixture.is_known(2, at(4)).await);
    }

    /// G70, the part of the store
    async fn credentials_end_with_what_they_prove(fixture: &Fixture) {
        let store = &fixture.store;
        for (name, token) in [("suspended", 10), ("deleted", 20), ("changed", 30)] {
            let id = fixture.user(name).await.id;
            fixture.session(id, token, 2).await;
            fixture.token(id, "t", token + 1).await;
            assert!(fixture.is_known(token, at(3)).await && fixture.is_known(token + 1, at(3)).await);
            match name {
                "suspended" => {
                    store.user_status_set(id, UserStatus::Suspended, at(3)).await.unwrap();
                    store.user_status_set(id, UserStatus::Active, at(3)).await.unwrap();
                }
                "deleted" => store.user_delete(id, at(3)).await.unwrap(),
                _ => store.user_password_set(id, "new".to_owned(), None, at(3)).await.unwrap(),
            }
            assert!(!fixture.is_known(token, at(4)).await && !fixture.is_known(token + 1, at(4)).await, "{name}");
        }
    }

    async fn preferences_and_prompt_are_kept(fixture: &Fixture) {
        let store = &fixture.store;
        store.user_preferences_set(fixture.owner, "{\"theme\":\"dark\"}".to_owned()).await.unwrap();
        store.user_prompt_set(fixture.owner, "Be brief.".to_owned()).await.unwrap();
        let row = store.user_get(fixture.owner).await.unwrap().unwrap();
        assert_eq!((row.preferences.as_str(), row.user_prompt.as_str()), ("{\"theme\":\"dark\"}", "Be brief."));
    }
}
