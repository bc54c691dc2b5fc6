//! The database itself: opening, transactions, the one writer of SQLite.
//!
//! All writes are jobs: closures that get an open transaction. On PostgreSQL each job is a transaction on a
//! connection of the pool. On SQLite one writer task runs them in turn; jobs that wait already share one
//! commit (and so one `fsync`), each behind a savepoint of its own, so that one that fails takes nobody
//! with it. A job's result is given back after the commit it is part of.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use atelier_domain::Timestamp;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use crate::error::StoreError;
use crate::secrets::{Secrets, SecretsConfig};
use crate::statement::Statement;
use crate::value::{Arg, DbRow, bind_postgres, bind_sqlite};

/// Jobs that share one commit on SQLite.
const MAX_GROUP: usize = 64;
/// Jobs that wait for SQLite's writer; beyond it callers wait to hand theirs in.
const MAX_WAITING_JOBS: usize = 1024;
/// Connections that read SQLite.
const SQLITE_READERS: u32 = 4;
/// Connections of the PostgreSQL pool.
const POSTGRES_CONNECTIONS: u32 = 20;

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
    Sqlite { file: PathBuf },
    Postgres { url: String },
}

#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub database: Database,
    pub secrets: SecretsConfig,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Backend,
    secrets: Secrets,
}

enum Backend {
    Sqlite {
        jobs: mpsc::Sender<Box<dyn Job>>,
        readers: SqlitePool,
        writer: std::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
        // held as long as the store lives
        _lock: std::fs::File,
    },
    Postgres(PgPool),
}

/// An open transaction, or a connection that only reads.
pub struct Tx<'c> {
    connection: Connection<'c>,
}

enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl Tx<'_> {
    #[must_use]
    pub const fn engine(&self) -> Engine {
        match self.connection {
            Connection::Sqlite(_) => Engine::Sqlite,
            Connection::Postgres(_) => Engine::Postgres,
        }
    }

    pub(crate) async fn all(&mut self, statement: Statement, args: Vec<Arg>) -> Result<Vec<DbRow>, StoreError> {
        match &mut self.connection {
            Connection::Sqlite(connection) => {
                let query = bind_sqlite(sqlx::query(statement.sqlite), args);
                Ok(query.fetch_all(&mut **connection).await?.into_iter().map(DbRow::Sqlite).collect())
            }
            Connection::Postgres(connection) => {
                let query = bind_postgres(sqlx::query(statement.postgres), args);
                Ok(query.fetch_all(&mut **connection).await?.into_iter().map(DbRow::Postgres).collect())
            }
        }
    }

    pub(crate) async fn first(&mut self, statement: Statement, args: Vec<Arg>) -> Result<Option<DbRow>, StoreError> {
        match &mut self.connection {
            Connection::Sqlite(connection) => {
                let query = bind_sqlite(sqlx::query(statement.sqlite), args);
                Ok(query.fetch_optional(&mut **connection).await?.map(DbRow::Sqlite))
            }
            Connection::Postgres(connection) => {
                let query = bind_postgres(sqlx::query(statement.postgres), args);
                Ok(query.fetch_optional(&mut **connection).await?.map(DbRow::Postgres))
            }
        }
    }

    /// The one row that a statement cannot fail to give, for instance a count.
    pub(crate) async fn one(&mut self, statement: Statement, args: Vec<Arg>) -> Result<DbRow, StoreError> {
        self.first(statement, args).await?.ok_or_else(|| StoreError::Database(sqlx::Error::RowNotFound))
    }

    /// Carries a statement out; the number of rows it changed.
    pub(crate) async fn run(&mut self, statement: Statement, args: Vec<Arg>) -> Result<u64, StoreError> {
        match &mut self.connection {
            Connection::Sqlite(connection) => {
                Ok(bind_sqlite(sqlx::query(statement.sqlite), args).execute(&mut **connection).await?.rows_affected())
            }
            Connection::Postgres(connection) => {
                Ok(bind_postgres(sqlx::query(statement.postgres), args).execute(&mut **connection).await?.rows_affected())
            }
        }
    }

    /// The database's clock. Within a transaction it stands still on PostgreSQL.
    pub async fn now(&mut self) -> Result<Timestamp, StoreError> {
        match self.engine() {
            Engine::Sqlite => Ok(atelier_domain::clock::to_micros(Timestamp::now())),
            Engine::Postgres => self.one(NOW, Vec::new()).await?.time("now"),
        }
    }
}

const NOW: Statement = Statement { name: "NOW", sqlite: "SELECT 0 AS now", postgres: "SELECT now() AS now" };

/// A write that waits for its transaction.
trait Job: Send {
    /// Runs it; false = roll back.
    fn run<'t>(&'t mut self, tx: &'t mut Tx<'_>) -> BoxFuture<'t, bool>;
    /// Gives the result back, once the commit has succeeded or failed.
    fn deliver(self: Box<Self>, committed: Result<(), StoreError>);
}

struct TypedJob<F, T, E> {
    job: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Job for TypedJob<F, T, E>
where
    F: for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run<'t>(&'t mut self, tx: &'t mut Tx<'_>) -> BoxFuture<'t, bool> {
        let job = self.job.take().expect("a job is run once");
        let running = job(tx);
        let result = &mut self.result;
        Box::pin(async move {
            let ended = running.await;
            let keep = ended.is_ok();
            *result = Some(ended);
            keep
        })
    }

    fn deliver(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (self.result, committed) {
            (Some(Ok(_)) | None, Err(error)) => Err(error.into()),
            (Some(result), _) => result,
            // it panicked: dropping the sender says so
            (None, Ok(())) => return,
        };
        // nobody waits any more: the write has happened all the same
        let _ = self.reply.send(answer);
    }
}

impl Store {
    /// Opens the database, locks it (SQLite), brings its schema up to date and opens the sealed secrets.
    pub async fn open(config: StoreConfig) -> Result<Self, StoreError> {
        let backend = match &config.database {
            Database::Sqlite { file } => open_sqlite(file).await?,
            Database::Postgres { url } => open_postgres(url).await?,
        };
        let store = Self { inner: Arc::new(Inner { backend, secrets: Secrets::new(&config.secrets)? }) };
        store.secret_keys_check(&config.secrets).await?;
        Ok(store)
    }

    #[must_use]
    pub fn engine(&self) -> Engine {
        match self.inner.backend {
            Backend::Sqlite { .. } => Engine::Sqlite,
            Backend::Postgres(_) => Engine::Postgres,
        }
    }

    pub(crate) fn secrets(&self) -> &Secrets {
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
            Backend::Sqlite { jobs, .. } => {
                let (reply, result) = oneshot::channel();
                let job = Box::new(TypedJob { job: Some(job), result: None, reply });
                jobs.send(job).await.map_err(|_| StoreError::Closed)?;
                result.await.unwrap_or_else(|_| {
                    Err(StoreError::Setup(format!("the transaction {name} ended inside the server")).into())
                })
            }
            Backend::Postgres(pool) => {
                let mut transaction = pool.begin().await.map_err(StoreError::from)?;
                let result = job(&mut Tx { connection: Connection::Postgres(&mut transaction) }).await;
                match result {
                    Ok(value) => {
                        transaction.commit().await.map_err(StoreError::from)?;
                        Ok(value)
                    }
                    Err(error) => {
                        // a rollback that fails ends with the connection
                        let _ = transaction.rollback().await;
                        Err(error)
                    }
                }
            }
        }
    }

    /// Runs `job` on a consistent snapshot.
    ///
    /// # Errors
    /// The job's own, or why there was no connection.
    pub async fn read<T, E>(
        &self,
        job: impl for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send,
    ) -> Result<T, E>
    where
        T: Send,
        E: From<StoreError> + Send,
    {
        match &self.inner.backend {
            Backend::Sqlite { readers, .. } => {
                let mut transaction = readers.begin().await.map_err(StoreError::from)?;
                let result = job(&mut Tx { connection: Connection::Sqlite(&mut transaction) }).await;
                let _ = transaction.rollback().await;
                result
            }
            Backend::Postgres(pool) => {
                let mut transaction = pool
                    .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                    .await
                    .map_err(StoreError::from)?;
                let result = job(&mut Tx { connection: Connection::Postgres(&mut transaction) }).await;
                let _ = transaction.rollback().await;
                result
            }
        }
    }

    /// One statement that only reads.
    pub(crate) async fn fetch_all(&self, statement: Statement, args: Vec<Arg>) -> Result<Vec<DbRow>, StoreError> {
        match &self.inner.backend {
            Backend::Sqlite { readers, .. } => {
                let query = bind_sqlite(sqlx::query(statement.sqlite), args);
                Ok(query.fetch_all(readers).await?.into_iter().map(DbRow::Sqlite).collect())
            }
            Backend::Postgres(pool) => {
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

    /// Ends the writer after the jobs it has, and closes all connections.
    pub async fn close(&self) {
        match &self.inner.backend {
            Backend::Sqlite { jobs, readers, writer, .. } => {
                let (reply, ended) = oneshot::channel::<Result<(), StoreError>>();
                let last = TypedJob { job: Some(close_job), result: None, reply };
                if jobs.send(Box::new(last)).await.is_ok() {
                    let _ = ended.await;
                }
                let writer = writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
                if let Some(writer) = writer {
                    writer.abort();
                    let _ = writer.await;
                }
                readers.close().await;
            }
            Backend::Postgres(pool) => pool.close().await,
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
            let prepared = match &self.inner.backend {
                Backend::Sqlite { readers, .. } => readers.prepare(sqlx::SqlSafeStr::into_sql_str(statement.sqlite)).await.map(|_| ()),
                Backend::Postgres(pool) => pool.prepare(sqlx::SqlSafeStr::into_sql_str(statement.postgres)).await.map(|_| ()),
            };
            prepared.map_err(|error| format!("{}: {error}", statement.name))?;
        }
        Ok(statements.len())
    }
}

fn close_job<'t>(_tx: &'t mut Tx<'_>) -> BoxFuture<'t, Result<(), StoreError>> {
    Box::pin(async { Ok(()) })
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
        .disable_statement_logging();
    let mut writer = options.connect().await?;
    SQLITE_MIGRATIONS.run(&mut writer).await.map_err(StoreError::Migrate)?;
    let readers = SqlitePoolOptions::new()
        .max_connections(SQLITE_READERS)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options.read_only(true).create_if_missing(false))
        .await?;
    let (jobs, waiting) = mpsc::channel(MAX_WAITING_JOBS);
    let task = tokio::spawn(write_jobs(writer, waiting));
    Ok(Backend::Sqlite { jobs, readers, writer: std::sync::Mutex::new(Some(task)), _lock: lock })
}

async fn open_postgres(url: &str) -> Result<Backend, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Setup("ATELIER_DATABASE_URL is no address of a PostgreSQL database".to_owned()))?
        .options([("statement_timeout", "5s"), ("lock_timeout", "2s")])
        .application_name("atelier")
        .statement_cache_capacity(512)
        .disable_statement_logging();
    let mut connection = PgConnection::connect_with(&options.clone().options([("statement_timeout", "0")])).await?;
    POSTGRES_MIGRATIONS.run(&mut connection).await.map_err(StoreError::Migrate)?;
    connection.close().await?;
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options)
        .await?;
    Ok(Backend::Postgres(pool))
}

/// SQLite's one writer: takes what waits, commits it together, gives the results back.
async fn write_jobs(mut connection: SqliteConnection, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
    while let Some(first) = waiting.recv().await {
        let mut group = Vec::new();
        let committed = write_group(&mut connection, first, &mut waiting, &mut group).await;
        match committed {
            Ok(()) => group.into_iter().for_each(|job| job.deliver(Ok(()))),
            Err(error) => {
                tracing::error!("a commit failed: {error}");
                // nothing of the group is kept; each caller learns why
                let _ = sqlx::query("ROLLBACK").execute(&mut connection).await;
                let is_full = matches!(StoreError::from(error), StoreError::StorageFull);
                for job in group {
                    let error = if is_full {
                        StoreError::StorageFull
                    } else {
                        StoreError::Unavailable(sqlx::Error::WorkerCrashed)
                    };
                    job.deliver(Err(error));
                }
            }
        }
    }
}

async fn write_group(
    connection: &mut SqliteConnection,
    first: Box<dyn Job>,
    waiting: &mut mpsc::Receiver<Box<dyn Job>>,
    group: &mut Vec<Box<dyn Job>>,
) -> Result<(), sqlx::Error> {
    let mut next = Some(first);
    let begun = sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await;
    while let Some(mut job) = next {
        if let Err(error) = &begun {
            tracing::error!("a transaction did not begin: {error}");
            group.push(job);
            break;
        }
        let result = run_behind_savepoint(connection, job.as_mut()).await;
        group.push(job);
        result?;
        next = if group.len() < MAX_GROUP { waiting.try_recv().ok() } else { None };
    }
    begun?;
    sqlx::query("COMMIT").execute(&mut *connection).await.map(|_| ())
}

async fn run_behind_savepoint(connection: &mut SqliteConnection, job: &mut dyn Job) -> Result<(), sqlx::Error> {
    sqlx::query("SAVEPOINT job").execute(&mut *connection).await?;
    let mut tx = Tx { connection: Connection::Sqlite(&mut *connection) };
    let keep = std::panic::AssertUnwindSafe(job.run(&mut tx)).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a transaction panicked and is rolled back");
        false
    });
    if !keep {
        sqlx::query("ROLLBACK TO job").execute(&mut *connection).await?;
    }
    sqlx::query("RELEASE job").execute(&mut *connection).await.map(|_| ())
}
