//! Fresh databases for integration tests of this crate and of those above it.

use std::path::Path;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use crate::database::{Database, Store, StoreConfig};
use crate::secrets::SecretsConfig;

/// A store on SQLite in `folder`.
///
/// # Panics
/// When it cannot be opened.
pub async fn sqlite_store(folder: &Path) -> Store {
    let config = StoreConfig {
        database: Database::Sqlite {
            file: folder.join("atelier.db"),
        },
        secrets: SecretsConfig::File(folder.join("secret.keys")),
    };
    Store::open(config)
        .await
        .expect("a fresh SQLite database opens")
}

/// A fresh PostgreSQL database; dropped by [`PostgresTest::end`].
pub struct PostgresTest {
    pub store: Store,
    server: String,
    name: String,
}

/// A store on a new database of the server that `ATELIER_TEST_POSTGRES` names.
///
/// # Panics
/// When the variable is not set or the server refuses.
pub async fn postgres_store(folder: &Path) -> PostgresTest {
    let server = std::env::var("ATELIER_TEST_POSTGRES")
        .expect("ATELIER_TEST_POSTGRES is not set: run ./dev test, which starts PostgreSQL");
    let name = format!("atelier_{}", uuid::Uuid::now_v7().simple());
    run(&server, format!("CREATE DATABASE {name}")).await;
    let (base, _) = server
        .rsplit_once('/')
        .expect("ATELIER_TEST_POSTGRES names a database");
    let config = StoreConfig {
        database: Database::Postgres {
            url: format!("{base}/{name}"),
        },
        secrets: SecretsConfig::File(folder.join("secret.keys")),
    };
    let store = Store::open(config)
        .await
        .expect("a fresh PostgreSQL database opens");
    PostgresTest {
        store,
        server,
        name,
    }
}

impl PostgresTest {
    /// Closes the store and drops its database.
    pub async fn end(self) {
        self.store.close().await;
        run(
            &self.server,
            format!("DROP DATABASE {} WITH (FORCE)", self.name),
        )
        .await;
    }
}

async fn run(server: &str, sql: String) {
    let mut connection = sqlx::PgConnection::connect(server)
        .await
        .expect("the PostgreSQL server answers");
    connection
        .execute(AssertSqlSafe(sql))
        .await
        .expect("databases may be made here");
    connection.close().await.expect("the connection closes");
}
