//! Fresh databases for integration tests of this crate and of those above it.

use std::path::Path;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::blobs::{BlobPlace, BlobsConfig};
use crate::database::{Database, Store, StoreConfig};
use crate::secrets::SecretsConfig;

/// Files in the database; a folder for those that lie outside.
#[must_use]
pub fn blobs(folder: &Path) -> BlobsConfig {
    BlobsConfig { place: BlobPlace::Database, folder: folder.join("files"), bucket: None }
}

/// A store on SQLite in `folder`.
///
/// # Panics
/// When it cannot be opened.
pub async fn sqlite_store(folder: &Path) -> Store {
    let config = StoreConfig {
        database: Database::Sqlite { file: folder.join("atelier.db") },
        secrets: SecretsConfig::File(folder.join("secret.keys")),
        blobs: blobs(folder),
    };
    Store::open(config).await.expect("a fresh SQLite database opens")
}

/// A fresh PostgreSQL database, dropped with this value at the latest.
pub struct PostgresTest {
    pub store: Store,
    server: String,
    name: String,
    is_dropped: bool,
}

/// A store on a new database of the server that `ATELIER_TEST_POSTGRES` names.
///
/// # Panics
/// When the variable is not set or the server refuses.
pub async fn postgres_store(folder: &Path) -> PostgresTest {
    let server = std::env::var("ATELIER_TEST_POSTGRES")
        .expect("ATELIER_TEST_POSTGRES is not set: run ./dev test, which starts PostgreSQL");
    let name = format!("atelier_{}", uuid::Uuid::now_v7().simple());
    run(&server, format!("CREATE DATABASE {name}")).await.expect("databases may be made here");
    let config = StoreConfig {
        database: Database::Postgres { url: url_of(&server, &name) },
        secrets: SecretsConfig::File(folder.join("secret.keys")),
        blobs: blobs(folder),
    };
    let store = Store::open(config).await.expect("a fresh PostgreSQL database opens");
    PostgresTest { store, server, name, is_dropped: false }
}

impl PostgresTest {
    /// The address of the database.
    #[must_use]
    pub fn url(&self) -> String {
        url_of(&self.server, &self.name)
    }

    /// Closes the store and drops its database.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn end(mut self) {
        self.store.close().await;
        self.is_dropped = true;
        run(&self.server, drop_text(&self.name)).await.expect("the database is dropped");
    }
}

impl Drop for PostgresTest {
    fn drop(&mut self) {
        if self.is_dropped {
            return;
        }
        // a failed test: there is a runtime already, which a blocking wait must not use
        let (server, text) = (self.server.clone(), drop_text(&self.name));
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                let _ = runtime.block_on(run(&server, text));
            }
        })
        .join();
    }
}

fn drop_text(name: &str) -> String {
    format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")
}

fn url_of(server: &str, name: &str) -> String {
    let (base, _) = server.rsplit_once('/').expect("ATELIER_TEST_POSTGRES names a database");
    format!("{base}/{name}")
}

async fn run(server: &str, text: String) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(server).await?;
    connection.execute(AssertSqlSafe(text)).await?;
    connection.close().await
}
