//! Leases and the runs of those who have lost theirs.

use std::time::Duration;

use atelier_domain::chat::Activity;
use atelier_domain::{ChatId, Incarnation};
use atelier_store::{Engine, Renewal, Replica, Store};

use crate::fixture::{Fixture, at, on_both_engines};

const LEASE: Duration = Duration::from_secs(60);
/// A lease that is over as soon as it is given.
const NONE: Duration = Duration::ZERO;

async fn join(store: &Store, lease: Duration) -> Incarnation {
    let incarnation = Incarnation::new();
    let replica = Replica { incarnation, url: "http://127.0.0.1:1".to_owned(), build: "test".to_owned() };
    store.coordination().join(replica, lease).await.unwrap();
    incarnation
}

async fn run(fixture: &Fixture, owner: Incarnation) -> ChatId {
    let chat = fixture.chat().await;
    fixture
        .change(chat, move |state| {
            state.activity = Activity::Running { owner, started_at: at(2), parked: false };
            state.epoch = 1;
        })
        .await
        .unwrap();
    chat
}

on_both_engines! {
    async fn the_runs_of_another_life_are_found(fixture: &Fixture) {
        let coordination = fixture.store.coordination();
        let (old, new) = (join(&fixture.store, NONE).await, join(&fixture.store, LEASE).await);
        let (lost, kept) = (run(fixture, old).await, run(fixture, new).await);
        assert_eq!(coordination.lost_runs(new, 500).await.unwrap(), [(lost, old)]);
        match coordination.renew(new, LEASE).await.unwrap() {
            Renewal::Lives { running } => {
                assert_eq!(running.iter().map(|run| run.chat_id).collect::<Vec<_>>(), [kept]);
            }
            Renewal::DeclaredDead => panic!("it lives"),
        }
    }

    async fn a_regular_end_leaves_nothing_behind(fixture: &Fixture) {
        let coordination = fixture.store.coordination();
        let (left, other) = (join(&fixture.store, LEASE).await, join(&fixture.store, LEASE).await);
        coordination.leave(left).await.unwrap();
        assert!(coordination.lost_runs(other, 500).await.unwrap().is_empty());
        // what it had not handed over is found at once
        let chat = run(fixture, left).await;
        assert_eq!(coordination.lost_runs(other, 500).await.unwrap(), [(chat, left)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_life_that_lost_its_lease_stays_dead() {
    let fixture = Fixture::new(Engine::Postgres).await;
    let coordination = fixture.store.coordination();
    assert!(coordination.has_leases());
    let (lived, other) = (join(&fixture.store, NONE).await, join(&fixture.store, LEASE).await);
    run(&fixture, lived).await;
    // late, but nobody has looked yet
    assert!(matches!(coordination.renew(lived, NONE).await.unwrap(), Renewal::Lives { .. }));
    assert_eq!(coordination.lost_runs(other, 500).await.unwrap().len(), 1);
    assert!(matches!(coordination.renew(lived, LEASE).await.unwrap(), Renewal::DeclaredDead));
    assert!(matches!(coordination.renew(other, LEASE).await.unwrap(), Renewal::Lives { .. }));
    fixture.end().await;
}

/// Leases are renewed on connections of their own: a pool that requests have used up does not delay them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_busy_pool_does_not_hold_up_leases() {
    let fixture = Fixture::new(Engine::Postgres).await;
    let own = join(&fixture.store, LEASE).await;
    let (end, _) = tokio::sync::broadcast::channel::<()>(1);
    let (begun, mut has_begun) = tokio::sync::mpsc::channel(20);
    let held: Vec<_> = (0..20)
        .map(|_| {
            let (store, mut end, begun) = (fixture.store.clone(), end.subscribe(), begun.clone());
            tokio::spawn(async move {
                store
                    .write::<(), atelier_store::StoreError>("hold", move |tx| {
                        Box::pin(async move {
                            tx.now().await?;
                            begun.send(()).await.unwrap();
                            let _ = end.recv().await;
                            Ok(())
                        })
                    })
                    .await
            })
        })
        .collect();
    for _ in 0..20 {
        has_begun.recv().await.unwrap();
    }
    let coordination = fixture.store.coordination();
    // a pool without a free connection refuses after a while
    assert!(matches!(coordination.renew(own, LEASE).await.unwrap(), Renewal::Lives { .. }));
    end.send(()).unwrap();
    for task in held {
        task.await.unwrap().unwrap();
    }
    fixture.end().await;
}
