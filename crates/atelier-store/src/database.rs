//! The database itself: opening, transactions, reads.
//!
//! All writes are jobs: closures that get an open transaction and wait for nothing but it. On PostgreSQL
//! (`postgres.rs`) each job is a transaction on a connection of the pool. On SQLite the one writer (`writer.rs`)
//! runs them in turn, several to a commit. On both, a job that has begun is carried out even when its caller
//! goes away.

mod postgres;
mod tx;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqlitePool};

use crate::blobs::{Blobs, BlobsConfig};
use crate::error::StoreError;
use crate::secrets::{Secrets, SecretsConfig};
use crate::statement::{ABSENT, Statement};
use crate::value::{Arg, DbRow, bind_sqlite};
use postgres::Pools;
use tx::NOW;
pub use tx::Tx;
use writer::Writer;

/// Connections that read SQLite.
const SQLITE_READERS: u32 = 4;
/// What takes longer is worth a line in the log.
const SLOW: Duration = Duration::from_secs(1);
/// How long the database may take to show that it lives.
const PING_DEADLINE: Duration = Duration::from_secs(2);
/// Pages of SQLite's log (4 KiB each) at which a commit copies the rest of it into the database itself.
const MAX_LOG_PAGES: &str = "4000";

static SQLITE_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

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
    Postgres(Pools),
}

impl Store {
    /// Opens the database, locks it (SQLite), brings its schema up to date and opens the sealed secrets.
    pub async fn open(config: StoreConfig) -> Result<Self, StoreError> {
        let blobs = Blobs::open(&config.blobs)?;
        let backend = match &config.database {
            Database::Sqlite { file } => open_sqlite(file).await?,
            Database::Postgres { url } => Backend::Postgres(Pools::open(url).await?),
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
            Backend::Postgres(_) => Engine::Postgres,
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
            Backend::Postgres(pools) => pools.write(name, job).await,
        }
    }

    /// One statement on connections that requests and runs do not use up: for leases. A transaction by itself.
    pub(crate) async fn upkeep(&self, statement: Statement, args: Vec<Arg>) -> Result<Vec<DbRow>, StoreError> {
        match &self.inner.backend {
            Backend::Sqlite { .. } => Err(StoreError::Setup(format!("{} is for several replicas", statement.name))),
            Backend::Postgres(pools) => pools.upkeep(statement, args).await,
        }
    }

    /// Runs `job` on a consistent snapshot.
    ///
    /// # Errors
    /// The job's own, or why there was no connection.
    pub async fn read<T, E>(
        &self,
        name: &'static str,
        job: impl for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let started = Instant::now();
        let result = match &self.inner.backend {
            Backend::Sqlite { readers, .. } => {
                let mut transaction = readers.begin().await.map_err(StoreError::from)?;
                let result = job(&mut Tx::sqlite(&mut transaction)).await;
                let _ = transaction.rollback().await;
                result
            }
            Backend::Postgres(pools) => pools.read(job).await,
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
            Backend::Postgres(pools) => pools.fetch_all(statement, args).await,
        }
    }

    pub(crate) async fn fetch_first(&self, statement: Statement, args: Vec<Arg>) -> Result<Option<DbRow>, StoreError> {
        Ok(self.fetch_all(statement, args).await?.into_iter().next())
    }

    /// Whether the database answers, within two seconds.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        match &self.inner.backend {
            Backend::Sqlite { .. } => {
                let asked = self.fetch_first(NOW, Vec::new());
                tokio::time::timeout(PING_DEADLINE, asked).await.map_err(|_| StoreError::TimedOut)?.map(|_| ())
            }
            Backend::Postgres(pools) => pools.ping(PING_DEADLINE).await,
        }
    }

    /// Ends the writer after the jobs it has, closes all connections and frees the lock. Later calls fail.
    pub async fn close(&self) {
        match &self.inner.backend {
            Backend::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Backend::Postgres(pools) => pools.close().await,
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
                Backend::Postgres(pools) => pools.prepare(*statement).await,
            };
            prepared.map_err(|error| format!("{}: {error}", statement.name))?;
        }
        Ok(statements.len())
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
    make_private(file).map_err(|error| setup(&format!("cannot set the mode of {}", file.display()), &error))?;
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
    SQLITE_MIGRATIONS.run(&mut connection).await.map_err(StoreError::of_migration)?;
    let readers = SqlitePoolOptions::new()
        .max_connections(SQLITE_READERS)
        // All are opened at the start and stay: each has a thread, and a host may have none left to give later.
        .min_connections(SQLITE_READERS)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(Duration::from_secs(5))
        .test_before_acquire(false)
        .connect_with(options.clone().read_only(true).create_if_missing(false))
        .await?;
    let writer = Writer::start(connection, options, lock).map_err(|error| setup("cannot start the writer", &error))?;
    Ok(Backend::Sqlite { writer, readers })
}

/// Lets nobody else read the database. SQLite gives files that it makes beside it the mode of the database.
fn make_private(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    std::fs::File::options().create(true).append(true).mode(0o600).open(file)?;
    for end in ["", "-wal", "-shm"] {
        let mut path = file.as_os_str().to_owned();
        path.push(end);
        match std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
