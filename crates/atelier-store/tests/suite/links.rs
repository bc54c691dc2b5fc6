//! PostgreSQL at the other end of a bad link: callers that leave, a database that is silent or gone.

use std::time::Duration;

use atelier_store::testing::blobs;
use atelier_store::{Database, Engine, SecretsConfig, Store, StoreConfig, StoreError};
use atelier_test_support::{DEADLINE, FaultProxy, Link, eventually};

use crate::fixture::Fixture;

/// A store on the fixture's database, by way of a proxy.
async fn behind_proxy(fixture: &Fixture) -> (Store, FaultProxy) {
    let proxy = FaultProxy::start(&fixture.url().unwrap()).await;
    let store = Store::open(StoreConfig {
        database: Database::Postgres { url: proxy.url() },
        secrets: SecretsConfig::File(fixture.folder.path().join("secret.keys")),
        blobs: blobs(fixture.folder.path()),
    })
    .await
    .unwrap();
    (store, proxy)
}

async fn read(store: &Store) -> Result<(), StoreError> {
    store.read("now", |tx| Box::pin(async move { tx.now().await.map(|_| ()) })).await
}

/// Each round leaves at another moment: while a connection is made, at the begin, in a statement, at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_leaves_no_open_transaction_to_others() {
    let fixture = Fixture::new(Engine::Postgres).await;
    let (store, proxy) = behind_proxy(&fixture).await;
    proxy.set(Link::Delayed(Duration::from_millis(2)));
    for round in 0..150 {
        let patience = Duration::from_micros(200 * (round % 75));
        let _ = tokio::time::timeout(patience, read(&store)).await;
        let _ = tokio::time::timeout(patience, store.user_get(fixture.owner)).await;
        let written = store.user_preferences_set(fixture.owner, format!("round {round}")).await;
        written.unwrap_or_else(|error| panic!("round {round}: {error}: {:?}", std::error::Error::source(&error)));
    }
    store.close().await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_has_begun_is_carried_out_when_its_caller_leaves() {
    let fixture = Fixture::new(Engine::Postgres).await;
    let chat = fixture.chat_new();
    let (id, store) = (chat.id, fixture.store.clone());
    let (inserted, has_inserted) = tokio::sync::oneshot::channel();
    let (go_on, wait) = tokio::sync::oneshot::channel::<()>();
    let write = tokio::spawn(async move {
        store
            .write::<(), StoreError>("left", move |tx| {
                Box::pin(async move {
                    atelier_store::chat_insert_in_tx(tx, &chat).await?;
                    inserted.send(()).unwrap();
                    wait.await.unwrap();
                    Ok(())
                })
            })
            .await
    });
    has_inserted.await.unwrap();
    write.abort();
    assert!(write.await.unwrap_err().is_cancelled());
    go_on.send(()).unwrap();
    eventually("the write", || async { fixture.store.chat_get_for_system(id).await.unwrap().map(|_| ()) }).await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_database_does_not_answer_a_ping_and_is_found_again() {
    let fixture = Fixture::new(Engine::Postgres).await;
    let (store, proxy) = behind_proxy(&fixture).await;
    store.ping().await.unwrap();
    proxy.set(Link::Swallowing);
    let ping = tokio::time::timeout(DEADLINE, store.ping()).await.expect("a ping ends by itself");
    assert!(matches!(ping, Err(StoreError::Unavailable(_))), "{ping:?}");
    proxy.set(Link::Delayed(Duration::ZERO));
    eventually("an answer after the silence", || async { store.ping().await.ok() }).await;
    store.close().await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_down_is_away_whatever_it_says() {
    let fixture = Fixture::new(Engine::Postgres).await;
    let (store, proxy) = behind_proxy(&fixture).await;
    for fault in [Link::Cut, Link::Garbled] {
        read(&store).await.unwrap();
        proxy.set(fault);
        let error = read(&store).await.unwrap_err();
        assert!(error.is_transient(), "{fault:?}: {error:?}");
        proxy.set(Link::Delayed(Duration::ZERO));
        eventually("an answer", || async { read(&store).await.ok() }).await;
    }
    store.close().await;
    fixture.end().await;
}

mod faults {
    use super::*;

    /// Without deadlines of the client these answers never come.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_silent_database_is_given_up_and_found_again() {
        for fault in [Link::Swallowing, Link::HalfOpen] {
            let fixture = Fixture::new(Engine::Postgres).await;
            let (store, proxy) = behind_proxy(&fixture).await;
            // connections in use and at rest are lost alike
            let reads = futures::future::join_all((0..8).map(|_| read(&store))).await;
            assert!(reads.iter().all(Result::is_ok));
            proxy.set(fault);
            let (preferences, user) = ("lost".to_owned(), fixture.owner);
            let both = async {
                tokio::join!(store.user_preferences_set(user, preferences), store.user_get(user), read(&store))
            };
            let (written, got, seen) = tokio::time::timeout(DEADLINE, both).await.expect("all end by themselves");
            for error in [written.unwrap_err(), got.unwrap_err(), seen.unwrap_err()] {
                assert!(error.is_transient(), "{error:?}");
            }
            proxy.set(Link::Delayed(Duration::ZERO));
            eventually("a write after the silence", || async {
                store.user_preferences_set(user, "found".to_owned()).await.ok()
            })
            .await;
            store.close().await;
            fixture.end().await;
        }
    }
}
