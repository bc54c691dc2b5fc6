//! The database itself: opening, transactions, reads.
//!
//! All writes are jobs: closures that get an open transaction and wait for nothing but it. On PostgreSQL each
//! job is a transaction on a connection of the pool, rolled back when its caller goes away. On SQLite the one
//! writer (`writer.rs`) runs them in turn, several to a commit.

mod tx;
mod writer;

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, Postgres, SqlitePool, Transaction};

use crate::blobs::{Blobs, BlobsConfig};
use crate::error::StoreError;
use crate::secrets::{Secrets, SecretsConfig};
use crate::statement::{ABSENT, Statement};
use crate::value::{Arg, DbRow, bind_postgres, bind_sqlite};
use tx::NOW;
pub use tx::Tx;
use writer::Writer;

/// Connections that read SQLite.
const SQLITE_READERS: u32 = 4;
/// Connections of the PostgreSQL pool.
const POSTGRES_CONNECTIONS: u32 = 20;
/// Connections beside it for leases and the sweeper, which must not wait behind requests.
const POSTGRES_UPKEEP_CONNECTIONS: u32 = 2;
/// What takes longer is worth a line in the log.
const SLOW: Duration = Duration::from_secs(1);
/// A connection that was idle for longer is asked whether it still lives before it is used.
const IDLE_BEFORE_PING: Duration = Duration::from_secs(30);
/// Pages of SQLite's log (4 KiB each) at which a commit copies the rest of it into the database itself.
const MAX_LOG_PAGES: &str = "4000";

static SQLITE_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Where the data lie.
#[derive(Clone, Debug)]
pub enum Database {
    /// A file; a lock file beside it proves that there is one process.
    Sqlite {
        file: PathBuf,
    },
    Postgres {
        url: String,
    },
}

#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub database: Database,
    pub secrets: SecretsConfig,
    pub blobs: BlobsConfig,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Backend,
    secrets: Secrets,
    blobs: Blobs,
}

enum Backend {
    Sqlite { writer: Writer, readers: SqlitePool },
    Postgres { pool: PgPool, upkeep: PgPool },
}

impl Store {
    /// Opens the database, locks it (SQLite), brings its schema up to date and opens the sealed secrets.
    pub async fn open(config: StoreConfig) -> Result<Self, StoreError> {
        let blobs = Blobs::open(&config.blobs)?;
        let backend = match &config.database {
            Database::Sqlite { file } => open_sqlite(file).await?,
            Database::Postgres { url } => open_postgres(url).await?,
        };
        let mut store = Self { inner: Arc::new(Inner { backend, secrets: Secrets::none(), blobs }) };
        let secrets = match store.secrets_open(&config.secrets).await {
            Ok(secrets) => secrets,
            Err(error) => {
                // frees the lock, so that the next try does not meet it
                store.close().await;
                return Err(error);
            }
        };
        Arc::get_mut(&mut store.inner).expect("nobody else has this store yet").secrets = secrets;
        Ok(store)
    }

    #[must_use]
    pub fn engine(&self) -> Engine {
        match self.inner.backend {
            Backend::Sqlite { .. } => Engine::Sqlite,
            Backend::Postgres { .. } => Engine::Postgres,
        }
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// What seals secrets, for functions that take it beside an open transaction.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.inner.secrets
    }

    /// Runs `job` in a write transaction. An error of the job rolls it back.
    ///
    /// # Errors
    /// The job's own, or why it could not be committed.
    ///
    /// # Cancel safety
    /// Dropping the future before it is done leaves open whether the job is carried out.
    pub async fn write<T, E>(
        &self,
        name: &'static str,
        job: impl for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match &self.inner.backend {
            Backend::Sqlite { writer, .. } => writer.write(name, job).await,
            Backend::Postgres { pool, .. } => write_postgres(pool, name, job).await,
        }
    }

    /// One statement on connections that requests and runs do not use up: for leases. A transaction by itself.
    pub(crate) async fn upkeep(&self, statement: Statement, args: Vec<Arg>) -> Result<Vec<DbRow>, StoreError> {
        match &self.inner.backend {
            Backend::Sqlite { .. } => Err(StoreError::Setup(format!("{} is for several replicas", statement.name))),
            Backend::Postgres { upkeep, .. } => {
                let query = bind_postgres(sqlx::query(statement.postgres), args);
                Ok(query.fetch_all(upkeep).await?.into_iter().map(DbRow::Postgres).collect())
            }
        }
    }

    /// Runs `job` on a consistent snapshot.
    ///
    /// # Errors
    /// The job's own, or why there was no connection.
    pub async fn read<T, E>(
        &self,
        name: &'static str,
        job: impl for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send,
    ) -> Result<T, E>
    where
        T: Send,
        E: From<StoreError> + Send,
    {
        let started = Instant::now();
        let result = match &self.inner.backend {
            Backend::Sqlite { readers, .. } => {
                let mut transaction = readers.begin().await.map_err(StoreError::from)?;
                let result = job(&mut Tx::sqlite(&mut transaction)).await;
                let _ = transaction.rollback().await;
                result
            }
            Backend::Postgres { pool, .. } => {
                let mut transaction = begin(pool, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
                let result = job(&mut Tx::postgres(&mut transaction)).await;
                let _ = transaction.rollback().await;
                result
            }
        };
        let took = started.elapsed();
        if took > SLOW {
            tracing::warn!(duration_ms = took.as_millis(), "the read {name} was slow");
        }
        result
    }

    /// One statement that only reads.
    pub(crate) async fn fetch_all(&self, statement: Statement, args: Vec<Arg>) -> Result<Vec<DbRow>, StoreError> {
        match &self.inner.backend {
            Backend::Sqlite { readers, .. } => {
                let query = bind_sqlite(sqlx::query(statement.sqlite), args);
                Ok(query.fetch_all(readers).await?.into_iter().map(DbRow::Sqlite).collect())
            }
            Backend::Postgres { pool, .. } => {
                let query = bind_postgres(sqlx::query(statement.postgres), args);
                Ok(query.fetch_all(pool).await?.into_iter().map(DbRow::Postgres).collect())
            }
        }
    }

    pub(crate) async fn fetch_first(&self, statement: Statement, args: Vec<Arg>) -> Result<Option<DbRow>, StoreError> {
        Ok(self.fetch_all(statement, args).await?.into_iter().next())
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.fetch_first(NOW, Vec::new()).await.map(|_| ())
    }

    /// Ends the writer after the jobs it has, closes all connections and frees the lock. Later calls fail.
    pub async fn close(&self) {
        match &self.inner.backend {
            Backend::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Backend::Postgres { pool, upkeep } => {
                pool.close().await;
                upkeep.close().await;
            }
        }
    }

    /// Prepares each statement of the store, for the test that runs this on both engines.
    ///
    /// # Errors
    /// The name of the first statement that the engine refuses, and why.
    pub async fn prepare_all(&self) -> Result<usize, String> {
        use sqlx::Executor as _;
        let statements = crate::all_statements();
        for statement in &statements {
            if statement.sqlite == ABSENT && self.engine() == Engine::Sqlite {
                continue;
            }
            let prepared = match &self.inner.backend {
                Backend::Sqlite { readers, .. } => {
                    readers.prepare(sqlx::SqlSafeStr::into_sql_str(statement.sqlite)).await.map(|_| ())
                }
                Backend::Postgres { pool, .. } => {
                    pool.prepare(sqlx::SqlSafeStr::into_sql_str(statement.postgres)).await.map(|_| ())
                }
            };
            prepared.map_err(|error| format!("{}: {error}", statement.name))?;
        }
        Ok(statements.len())
    }
}

/// Begins a transaction. A connection that turns out to be dead is exchanged: nothing has happened on it yet.
async fn begin(pool: &PgPool, statement: &'static str) -> Result<Transaction<'static, Postgres>, StoreError> {
    let mut dead = 0;
    loop {
        match pool.begin_with(statement).await {
            Ok(transaction) => return Ok(transaction),
            Err(sqlx::Error::Io(_)) if dead < POSTGRES_CONNECTIONS => dead += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn write_postgres<T, E, F>(pool: &PgPool, name: &'static str, job: F) -> Result<T, E>
where
    F: for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send,
    E: From<StoreError>,
{
    let mut transaction = begin(pool, "BEGIN").await?;
    let mut tx = Tx::postgres(&mut transaction);
    let result = job(&mut tx).await;
    let failed = tx.has_failed();
    match result {
        // the server would answer the commit with a rollback, without calling it an error
        Ok(_) if failed => {
            let _ = transaction.rollback().await;
            Err(StoreError::Aborted { name }.into())
        }
        Ok(value) => match transaction.commit().await {
            Ok(()) => Ok(value),
            Err(error) => {
                tracing::warn!("the transaction {name} was not confirmed: {error}");
                Err(StoreError::of_commit(error).into())
            }
        },
        Err(error) => {
            // a rollback that fails ends with the connection
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}

async fn open_sqlite(file: &Path) -> Result<Backend, StoreError> {
    let setup = |what: &str, error: &dyn std::fmt::Display| StoreError::Setup(format!("{what}: {error}"));
    let lock_path = file.with_extension("lock");
    let lock = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|error| setup(&format!("cannot open {}", lock_path.display()), &error))?;
    lock.try_lock().map_err(|_| {
        StoreError::Setup(format!(
            "another server uses {}; SQLite serves one process, several need PostgreSQL (ATELIER_DATABASE_URL)",
            file.display()
        ))
    })?;
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .statement_cache_capacity(512)
        .pragma("cache_size", "-8000")
        .pragma("wal_autocheckpoint", MAX_LOG_PAGES)
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    SQLITE_MIGRATIONS.run(&mut connection).await.map_err(StoreError::Migrate)?;
    let readers = SqlitePoolOptions::new()
        .max_connections(SQLITE_READERS)
        .acquire_timeout(Duration::from_secs(5))
        .test_before_acquire(false)
        .connect_with(options.clone().read_only(true).create_if_missing(false))
        .await?;
    let writer = Writer::start(connection, options, lock).map_err(|error| setup("cannot start the writer", &error))?;
    Ok(Backend::Sqlite { writer, readers })
}

async fn open_postgres(url: &str) -> Result<Backend, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Setup("ATELIER_DATABASE_URL is no address of a PostgreSQL database".to_owned()))?
        .options([
            ("statement_timeout", "5s"),
            ("lock_timeout", "2s"),
            // a frozen process must not hold its chats' rows after its lease is over
            ("idle_in_transaction_session_timeout", "5s"),
        ])
        .application_name("atelier")
        .statement_cache_capacity(512)
        .disable_statement_logging();
    let mut connection = PgConnection::connect_with(&options.clone().options([("statement_timeout", "0")])).await?;
    POSTGRES_MIGRATIONS.run(&mut connection).await.map_err(StoreError::Migrate)?;
    connection.close().await?;
    let pool = |connections| {
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(5))
            .test_before_acquire(false)
            .before_acquire(|connection, idle| {
                Box::pin(async move {
                    if idle.idle_for > IDLE_BEFORE_PING {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options.clone())
    };
    Ok(Backend::Postgres { pool: pool(POSTGRES_CONNECTIONS), upkeep: pool(POSTGRES_UPKEEP_CONNECTIONS) })
}
