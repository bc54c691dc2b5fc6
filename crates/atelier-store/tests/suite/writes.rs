//! Transactions: what is kept, what is rolled back, what shares a commit.

use std::pin::Pin;

use atelier_domain::ChatId;
use atelier_store::testing::{blobs, sqlite_store};
use atelier_store::{Database, Engine, SecretsConfig, Store, StoreConfig, StoreError};
use tokio::sync::oneshot;

use crate::fixture::{Fixture, on_both_engines};

#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error("on purpose")]
    OnPurpose,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Holds SQLite's writer, so that whatever is written meanwhile has to wait.
async fn hold_writer(store: &Store) -> (oneshot::Sender<()>, tokio::task::JoinHandle<Result<(), StoreError>>) {
    let (go_on, wait) = oneshot::channel::<()>();
    let (begun, has_begun) = oneshot::channel::<()>();
    let store = store.clone();
    let held = tokio::spawn(async move {
        store
            .write("hold", move |_| {
                Box::pin(async move {
                    begun.send(()).unwrap();
                    wait.await.unwrap();
                    Ok(())
                })
            })
            .await
    });
    has_begun.await.unwrap();
    (go_on, held)
}

/// Hands a write in, which begins only when the writer is free.
async fn hand_in<T>(write: Pin<&mut impl Future<Output = T>>) {
    assert!(futures::poll!(write).is_pending());
}

fn insert(fixture: &Fixture, fail: bool) -> (ChatId, impl Future<Output = Result<(), JobError>> + Send + use<>) {
    let chat = fixture.chat_new();
    let (id, store) = (chat.id, fixture.store.clone());
    let write = async move {
        store
            .write("insert", move |tx| {
                Box::pin(async move {
                    atelier_store::chat_insert_in_tx(tx, &chat).await?;
                    if fail { Err(JobError::OnPurpose) } else { Ok(()) }
                })
            })
            .await
    };
    (id, write)
}

async fn exists(store: &Store, chat: ChatId) -> bool {
    store.chat_get_for_system(chat).await.unwrap().is_some()
}

on_both_engines! {
    async fn sixty_four_writers_at_once_and_those_that_fail_are_rolled_back_alone(fixture: &Fixture) {
        let (ids, writes): (Vec<_>, Vec<_>) = (0..64).map(|n| insert(fixture, n % 7 == 0)).unzip();
        let results = futures::future::join_all(writes.into_iter().map(tokio::spawn)).await;
        for (n, (id, result)) in ids.into_iter().zip(results).enumerate() {
            let failed = n % 7 == 0;
            match result.unwrap() {
                Ok(()) => assert!(!failed, "{n}"),
                Err(error) => assert!(failed && matches!(error, JobError::OnPurpose), "{n}: {error}"),
            }
            assert_eq!(exists(&fixture.store, id).await, !failed, "{n}");
        }
    }

    async fn a_write_that_violates_the_schema_is_refused_and_leaves_nothing(fixture: &Fixture) {
        let chat = fixture.chat_new();
        let (id, twice) = (chat.id, chat.clone());
        let refused = fixture
            .store
            .write("twice", move |tx| {
                Box::pin(async move {
                    atelier_store::chat_insert_in_tx(tx, &chat).await?;
                    atelier_store::chat_insert_in_tx(tx, &twice).await
                })
            })
            .await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
        assert!(!exists(&fixture.store, id).await);
        let mut foreign = fixture.chat_new();
        foreign.owner_id = atelier_domain::UserId::new();
        let refused = fixture
            .store
            .write("foreign", move |tx| Box::pin(async move { atelier_store::chat_insert_in_tx(tx, &foreign).await }))
            .await;
        assert!(matches!(refused, Err(StoreError::Reference { .. })), "{refused:?}");
    }

    /// PostgreSQL ends a transaction with its first failed statement; SQLite must not be kinder.
    async fn a_write_that_goes_on_after_a_failure_is_not_kept(fixture: &Fixture) {
        let chat = fixture.chat_new();
        let (id, twice) = (chat.id, chat.clone());
        let (neighbour, write) = insert(fixture, false);
        let (aborted, written) = tokio::join!(
            fixture.store.write("careless", move |tx| {
                Box::pin(async move {
                    atelier_store::chat_insert_in_tx(tx, &chat).await?;
                    assert!(atelier_store::chat_insert_in_tx(tx, &twice).await.is_err());
                    Ok::<_, StoreError>(())
                })
            }),
            write
        );
        assert!(matches!(aborted, Err(StoreError::Aborted { name: "careless" })), "{aborted:?}");
        written.unwrap();
        assert!(!exists(&fixture.store, id).await && exists(&fixture.store, neighbour).await);
    }

    async fn a_panic_goes_on_in_its_caller_and_the_store_lives(fixture: &Fixture) {
        let chat = fixture.chat_new();
        let (id, store) = (chat.id, fixture.store.clone());
        let panicked = tokio::spawn(async move {
            store
                .write::<(), StoreError>("panic", move |tx| {
                    Box::pin(async move {
                        atelier_store::chat_insert_in_tx(tx, &chat).await?;
                        panic!("on purpose");
                    })
                })
                .await
        })
        .await;
        assert!(panicked.unwrap_err().is_panic());
        let (other, write) = insert(fixture, false);
        write.await.unwrap();
        assert!(!exists(&fixture.store, id).await && exists(&fixture.store, other).await);
    }

    async fn a_caller_that_goes_away_before_its_write_began_leaves_nothing(fixture: &Fixture) {
        let held = match fixture.store.engine() {
            Engine::Sqlite => Some(hold_writer(&fixture.store).await),
            Engine::Postgres => None,
        };
        let (id, write) = insert(fixture, false);
        match held {
            Some((go_on, held)) => {
                let mut write = Box::pin(write);
                hand_in(write.as_mut()).await;
                drop(write);
                go_on.send(()).unwrap();
                held.await.unwrap().unwrap();
            }
            None => drop(write),
        }
        // behind everything that was handed in before
        let (other, write) = insert(fixture, false);
        write.await.unwrap();
        assert!(exists(&fixture.store, other).await && !exists(&fixture.store, id).await);
    }

    async fn a_read_sees_one_moment(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let (read_once, has_read) = oneshot::channel();
        let (go_on, wait) = oneshot::channel::<()>();
        let store = fixture.store.clone();
        let reader = tokio::spawn(async move {
            store
                .read("snapshot", move |tx| {
                    Box::pin(async move {
                        let first = atelier_store::chat_get_in_tx(tx, chat).await?.unwrap().title;
                        read_once.send(()).unwrap();
                        wait.await.unwrap();
                        let second = atelier_store::chat_get_in_tx(tx, chat).await?.unwrap().title;
                        Ok::<_, StoreError>((first, second))
                    })
                })
                .await
        });
        has_read.await.unwrap();
        fixture
            .store
            .write("rename", move |tx| {
                Box::pin(async move {
                    let mut row = atelier_store::chat_lock_in_tx(tx, chat).await?.unwrap();
                    row.title = "Renamed".to_owned();
                    atelier_store::chat_marks_set_in_tx(tx, &row).await
                })
            })
            .await
            .unwrap();
        go_on.send(()).unwrap();
        assert_eq!(reader.await.unwrap().unwrap(), ("A chat".to_owned(), "A chat".to_owned()));
        assert_eq!(fixture.row(chat).await.title, "Renamed");
    }
}

/// What waits while the writer is busy becomes one transaction: its writes see each other before anybody
/// else does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_writes_that_wait_share_a_commit() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    let (go_on, held) = hold_writer(&fixture.store).await;
    let (first, write) = insert(&fixture, false);
    let mut first_write = Box::pin(write);
    hand_in(first_write.as_mut()).await;
    let (failing, write) = insert(&fixture, true);
    let mut failing_write = Box::pin(write);
    hand_in(failing_write.as_mut()).await;
    let (saw, has_seen) = oneshot::channel();
    let (end, ending) = oneshot::channel::<()>();
    let store = fixture.store.clone();
    let mut last_write = Box::pin(async move {
        store
            .write("look", move |tx| {
                Box::pin(async move {
                    let inside = atelier_store::chat_get_in_tx(tx, first).await?.is_some();
                    let failed = atelier_store::chat_get_in_tx(tx, failing).await?.is_some();
                    saw.send((inside, failed)).unwrap();
                    ending.await.unwrap();
                    Ok::<_, StoreError>(())
                })
            })
            .await
    });
    hand_in(last_write.as_mut()).await;
    go_on.send(()).unwrap();
    assert_eq!(has_seen.await.unwrap(), (true, false));
    assert!(!exists(&fixture.store, first).await, "not committed, so nobody else sees it");
    assert!(futures::poll!(first_write.as_mut()).is_pending(), "and nobody is told");
    end.send(()).unwrap();
    held.await.unwrap().unwrap();
    first_write.await.unwrap();
    last_write.await.unwrap();
    assert!(matches!(failing_write.await, Err(JobError::OnPurpose)));
    assert!(exists(&fixture.store, first).await && !exists(&fixture.store, failing).await);
    fixture.end().await;
}

#[tokio::test]
async fn one_process_owns_a_sqlite_database() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite_store(folder.path()).await;
    let again = || {
        Store::open(StoreConfig {
            database: Database::Sqlite { file: folder.path().join("atelier.db") },
            secrets: SecretsConfig::File(folder.path().join("secret.keys")),
            blobs: blobs(folder.path()),
        })
    };
    assert!(matches!(again().await, Err(StoreError::Setup(_))));
    let clone = store.clone();
    store.close().await;
    let reopened = again().await.unwrap();
    assert!(matches!(clone.ping().await, Err(StoreError::Unavailable(_) | StoreError::Closed)));
    let refused = clone.write("late", |_| Box::pin(async { Ok::<_, StoreError>(()) })).await;
    assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
    reopened.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_is_there_after_a_restart() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    let (id, write) = insert(&fixture, false);
    write.await.unwrap();
    fixture.store.close().await;
    let store = sqlite_store(fixture.folder.path()).await;
    assert!(exists(&store, id).await);
    store.close().await;
}

/// More writes than one group holds, more commits than one checkpoint covers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_many_writes_pass_checkpoints() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        let (some, writes): (Vec<_>, Vec<_>) = (0..100).map(|_| insert(&fixture, false)).unzip();
        for result in futures::future::join_all(writes).await {
            result.unwrap();
        }
        ids.extend(some);
        for _ in 0..40 {
            let (id, write) = insert(&fixture, false);
            write.await.unwrap();
            ids.push(id);
        }
    }
    fixture.store.close().await;
    let log = fixture.folder.path().join("atelier.db-wal");
    assert!(!log.exists() || log.metadata().unwrap().len() == 0, "the log is copied at a regular end");
    let store = sqlite_store(fixture.folder.path()).await;
    for id in ids {
        assert!(exists(&store, id).await);
    }
    store.close().await;
}
