//! Settings, repeated requests, the audit log.

use std::time::Duration;

use atelier_domain::Incarnation;
use atelier_store::{
    AuditNew, AuditOutcome, Engine, Idempotency, IdempotencyKey, Replica, Setting, Store, StoreError,
    audit_insert_in_tx, setting_set_in_tx,
};
use jiff::ToSpan as _;

use crate::fixture::{Fixture, at, on_both_engines};

fn entry(action: &str) -> AuditNew {
    AuditNew {
        user_id: None,
        username: "ada".to_owned(),
        actor_kind: "user".to_owned(),
        action: action.to_owned(),
        resource_type: "site_setting".to_owned(),
        resource_id: "system_prompt".to_owned(),
        resource_target: "system prompt".to_owned(),
        organization_id: None,
        via_chat_id: None,
        outcome: AuditOutcome::Success,
        diff: "{\"value\":{\"old\":\"\",\"new\":\"x\"}}".to_owned(),
        ip: "127.0.0.1".to_owned(),
        user_agent: "test".to_owned(),
        request_id: "r1".to_owned(),
        status_code: 204,
    }
}

const fn key(scope: u8, owner: Incarnation) -> IdempotencyKey {
    IdempotencyKey { scope: [scope; 32], owner }
}

/// A life of a replica whose lease lasts this long.
async fn join(store: &Store, lease: Duration) -> Incarnation {
    let incarnation = Incarnation::new();
    let replica = Replica { incarnation, url: "http://127.0.0.1:1".to_owned(), build: "test".to_owned() };
    store.coordination().join(replica, lease).await.unwrap();
    incarnation
}

on_both_engines! {
    async fn settings_are_kept(fixture: &Fixture) {
        let store = &fixture.store;
        assert_eq!(store.setting(Setting::SystemPrompt).await.unwrap(), None);
        store.setting_set(Setting::SystemPrompt, "a".to_owned(), at(1)).await.unwrap();
        store.setting_set(Setting::SystemPrompt, "b".to_owned(), at(2)).await.unwrap();
        assert_eq!(store.setting(Setting::SystemPrompt).await.unwrap().as_deref(), Some("b"));
        assert_eq!(store.setting(Setting::DesktopEnabled).await.unwrap(), None);
        assert_eq!(store.setting_workspace_ttl_ms().await.unwrap(), 0);
        store.setting_set(Setting::WorkspaceTtlMs, "60000".to_owned(), at(2)).await.unwrap();
        assert_eq!(store.setting_workspace_ttl_ms().await.unwrap(), 60_000);
        store.setting_set(Setting::WorkspaceTtlMs, "soon".to_owned(), at(2)).await.unwrap();
        assert!(matches!(store.setting_workspace_ttl_ms().await, Err(StoreError::Unreadable { .. })));
        let ids = futures::future::join_all((0..4).map(|_| store.deployment_id(at(3)))).await;
        let first = ids[0].as_ref().unwrap();
        assert!(ids.iter().all(|id| id.as_ref().unwrap() == first));
    }

    async fn replicas_that_start_together_have_one_setup_code(fixture: &Fixture) {
        let starts = (0..8).map(|n| fixture.store.setup_code(format!("code {n}"), at(1)));
        let codes = futures::future::join_all(starts).await;
        let kept = fixture.store.setting(Setting::SetupCode).await.unwrap().unwrap();
        assert!(codes.into_iter().all(|code| code.unwrap() == kept));
    }

    async fn a_key_is_carried_out_once(fixture: &Fixture) {
        let store = &fixture.store;
        let owner = join(store, Duration::from_secs(600)).await;
        let (first, other, body) = (key(1, owner), key(4, owner), [2; 32]);
        let racers = (0..8).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.idempotency_begin(first, body, at(10)).await.unwrap() })
        });
        let ended: Vec<_> = futures::future::join_all(racers).await.into_iter().map(|racer| racer.unwrap()).collect();
        assert_eq!(ended.iter().filter(|found| **found == Idempotency::Begin).count(), 1, "{ended:?}");
        assert_eq!(ended.iter().filter(|found| **found == Idempotency::InProgress).count(), 7, "{ended:?}");
        let begin = async |key, body, now| store.idempotency_begin(key, body, now).await.unwrap();
        assert_eq!(begin(first, [3; 32], at(11)).await, Idempotency::OtherBody);
        assert_eq!(begin(other, body, at(11)).await, Idempotency::Begin);
        store.idempotency_finish(first, 201, "{\"id\":1}".to_owned()).await.unwrap();
        let replay = Idempotency::Replay { status: 201, body: "{\"id\":1}".to_owned() };
        assert_eq!(begin(first, body, at(12)).await, replay);
        assert_eq!(begin(first, [3; 32], at(12)).await, Idempotency::OtherBody);
        store.idempotency_forget(first).await.unwrap();
        assert_eq!(begin(first, body, at(13)).await, replay, "an answer is not forgotten");
        // refused requests may be tried again, with another body too
        store.idempotency_forget(other).await.unwrap();
        assert_eq!(begin(other, [5; 32], at(14)).await, Idempotency::Begin);
        // after a day the key is new
        let day = at(10).checked_add(24.hours()).unwrap();
        assert_eq!(begin(first, body, day).await, replay);
        assert_eq!(begin(first, [3; 32], day.checked_add(5.seconds()).unwrap()).await, Idempotency::Begin);
        assert_eq!(fixture.one("SELECT CAST(COUNT(*) AS TEXT) FROM idempotency_keys").await, 1, "old ones are cleared away");
    }

    async fn a_request_that_died_with_its_server_can_be_repeated(fixture: &Fixture) {
        let store = &fixture.store;
        let body = [2; 32];
        let key = key(1, join(store, Duration::from_secs(600)).await);
        let begin = async |body, now| store.idempotency_begin(key, body, now).await.unwrap();
        assert_eq!(begin(body, at(0)).await, Idempotency::Begin);
        assert_eq!(begin(body, at(120)).await, Idempotency::InProgress);
        assert_eq!(begin([9; 32], at(121)).await, Idempotency::OtherBody);
        assert_eq!(begin(body, at(121)).await, Idempotency::Begin);
        assert_eq!(begin(body, at(122)).await, Idempotency::InProgress);
        store.idempotency_forget_open_for_system().await.unwrap();
        assert_eq!(begin(body, at(123)).await, Idempotency::Begin);
    }

    /// G80: an entry stands and falls with its change
    async fn audit_entries_go_with_their_change(fixture: &Fixture) {
        let write = async |action: &'static str, ends_well: bool| {
            fixture
                .store
                .write("test", move |tx| {
                    Box::pin(async move {
                        setting_set_in_tx(tx, Setting::SystemPrompt, action, at(1)).await?;
                        audit_insert_in_tx(tx, entry(action), at(1)).await?;
                        if ends_well { Ok(()) } else { Err(StoreError::TimedOut) }
                    })
                })
                .await
                .is_ok()
        };
        assert!(write("first", true).await);
        assert!(!write("lost", false).await);
        assert!(write("second", true).await);
        let rows = fixture.store.audit_list_for_system(10, 0).await.unwrap();
        let actions: Vec<_> = rows.iter().map(|row| row.entry.action.as_str()).collect();
        assert_eq!(actions, ["second", "first"]);
        assert_eq!((rows[0].entry.outcome, rows[0].entry.status_code, rows[0].created_at), (AuditOutcome::Success, 204, at(1)));
        assert_eq!(fixture.store.setting(Setting::SystemPrompt).await.unwrap().as_deref(), Some("second"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_key_is_free_again_when_the_lease_of_its_request_is_over() {
    let fixture = Fixture::new(Engine::Postgres).await;
    let store = &fixture.store;
    let body = [2; 32];
    let (dead, living) = (join(store, Duration::ZERO).await, join(store, Duration::from_secs(600)).await);
    let begin = async |key| store.idempotency_begin(key, body, at(10)).await.unwrap();
    assert_eq!(begin(key(1, dead)).await, Idempotency::Begin);
    assert_eq!(begin(key(1, living)).await, Idempotency::Begin, "its request died with its replica");
    assert_eq!(begin(key(1, living)).await, Idempotency::InProgress);
    // a life that is not registered any more
    assert_eq!(begin(key(2, Incarnation::new())).await, Idempotency::Begin);
    assert_eq!(begin(key(2, living)).await, Idempotency::Begin);
    // who was taken for dead and lives all the same neither answers nor frees the key
    let late = store.idempotency_finish(key(1, dead), 201, "{}".to_owned()).await;
    assert!(matches!(late, Err(StoreError::Overtaken)), "{late:?}");
    store.idempotency_forget(key(1, dead)).await.unwrap();
    assert_eq!(begin(key(1, dead)).await, Idempotency::InProgress);
    store.idempotency_finish(key(1, living), 201, "{}".to_owned()).await.unwrap();
    let replay = Idempotency::Replay { status: 201, body: "{}".to_owned() };
    assert_eq!(begin(key(1, dead)).await, replay);
    fixture.end().await;
}
