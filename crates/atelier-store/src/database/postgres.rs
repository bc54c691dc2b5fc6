//! PostgreSQL: its pools of connections, and everything that runs on them.
//!
//! Whatever uses a connection runs in a task of its own. A caller that goes away interrupts nothing that has
//! begun: the task goes on to its end. What has not begun is left undone.
//!
//! Nothing waits for the database longer than a deadline on this side of the link allows: the limits that the
//! server keeps say nothing while the link swallows bytes. sqlx gives no access to its sockets, so these
//! deadlines also stand for the keepalive and user timeout of TCP.
//!
//! Invariant: a connection goes back to its pool only after it has answered everything it was asked, and
//! outside of a transaction. Otherwise it is closed, by which the server ends what it was doing for it.

use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, Postgres};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::tx::{NOW, Tx};
use crate::error::StoreError;
use crate::statement::Statement;
use crate::value::{Arg, DbRow, bind_postgres};

/// Connections for requests and runs.
const CONNECTIONS: u32 = 20;
/// Connections beside them for leases and the sweeper, which must not wait behind requests.
const UPKEEP_CONNECTIONS: u32 = 2;
/// A connection that was idle for longer is asked whether it still lives before it is used.
const IDLE_BEFORE_PING: Duration = Duration::from_secs(30);
/// How long one answer may take. The server itself gives a statement up after 5 s.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How long leases and the sweeper wait, for a connection and its answer together.
const UPKEEP_DEADLINE: Duration = Duration::from_secs(2);
/// How long a job may hold a connection, whatever it does.
const JOB_DEADLINE: Duration = Duration::from_secs(60);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

/// The pools of one database. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pools {
    requests: Pool,
    upkeep: Pool,
}

#[derive(Clone)]
struct Pool {
    connections: PgPool,
    last_loss: LastLoss,
}

/// When a connection of the pool was lost for the last time. Those that rested at that moment are most likely
/// lost too, and are closed rather than tried one after another.
#[derive(Clone, Default)]
struct LastLoss(Arc<Mutex<Option<Instant>>>);

impl LastLoss {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_after(&self, moment: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|loss| loss >= moment)
    }
}

impl Pools {
    /// Brings the schema up to date, then opens the pools.
    pub(super) async fn open(url: &str) -> Result<Self, StoreError> {
        let options = options(url)?;
        // a migration may take its time
        let patient = options.clone().options([("statement_timeout", "0")]);
        let mut connection = in_time(PgConnection::connect_with(&patient)).await?;
        MIGRATIONS.run(&mut connection).await.map_err(StoreError::of_migration)?;
        in_time(connection.close()).await?;
        Ok(Self { requests: Pool::new(&options, CONNECTIONS), upkeep: Pool::new(&options, UPKEEP_CONNECTIONS) })
    }

    pub(super) async fn write<T, E>(
        &self,
        name: &'static str,
        job: impl for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let pool = self.requests.clone();
        in_task(|caller_left| async move {
            let mut taken = begin(&pool, &caller_left, "BEGIN").await?;
            let mut tx = Tx::postgres(&mut taken.connection);
            let result = in_job_time(job(&mut tx)).await;
            let (has_failed, is_lost) = (tx.has_failed(), tx.is_lost());
            match result {
                // the server would answer the commit with a rollback, without calling it an error
                Ok(_) if has_failed => {
                    taken.roll_back(is_lost).await;
                    Err(StoreError::Aborted { name }.into())
                }
                Ok(value) => taken.commit(name).await.map(|()| value).map_err(E::from),
                Err(error) => {
                    taken.roll_back(is_lost).await;
                    Err(error)
                }
            }
        })
        .await
    }

    /// Runs `job` on a consistent snapshot.
    pub(super) async fn read<T, E>(
        &self,
        job: impl for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let pool = self.requests.clone();
        in_task(|caller_left| async move {
            let mut taken = begin(&pool, &caller_left, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
            let mut tx = Tx::postgres(&mut taken.connection);
            let result = in_job_time(job(&mut tx)).await;
            let is_lost = tx.is_lost();
            taken.roll_back(is_lost).await;
            result
        })
        .await
    }

    /// One statement that only reads.
    pub(super) async fn fetch_all(&self, statement: Statement, args: Vec<Arg>) -> Result<Vec<DbRow>, StoreError> {
        fetch(&self.requests, ANSWER_DEADLINE, statement, args).await
    }

    /// One statement, a transaction by itself, on connections that requests and runs do not use up.
    pub(super) async fn upkeep(&self, statement: Statement, args: Vec<Arg>) -> Result<Vec<DbRow>, StoreError> {
        fetch(&self.upkeep, UPKEEP_DEADLINE, statement, args).await
    }

    /// Whether the database answers in time.
    pub(super) async fn ping(&self, deadline: Duration) -> Result<(), StoreError> {
        fetch(&self.requests, deadline, NOW, Vec::new()).await.map(|_| ())
    }

    pub(super) async fn prepare(&self, statement: Statement) -> Result<(), sqlx::Error> {
        use sqlx::Executor as _;
        self.requests.connections.prepare(sqlx::SqlSafeStr::into_sql_str(statement.postgres)).await.map(|_| ())
    }

    pub(super) async fn close(&self) {
        self.requests.connections.close().await;
        self.upkeep.connections.close().await;
    }
}

fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Setup("ATELIER_DATABASE_URL is not the address of a PostgreSQL database".to_owned()))?
        .options([
            ("statement_timeout", "5s"),
            ("lock_timeout", "2s"),
            // a frozen process must not hold its chats' rows after its lease is over
            ("idle_in_transaction_session_timeout", "5s"),
            // nor one that can no longer be reached: the server's end of the link
            ("tcp_keepalives_idle", "15"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_user_timeout", "20000"),
        ])
        .application_name("atelier")
        .statement_cache_capacity(512)
        .disable_statement_logging();
    Ok(options)
}

impl Pool {
    fn new(options: &PgConnectOptions, size: u32) -> Self {
        let last_loss = LastLoss::default();
        let connections = PgPoolOptions::new()
            .max_connections(size)
            .acquire_timeout(Duration::from_secs(5))
            .test_before_acquire(false)
            .before_acquire({
                let last_loss = last_loss.clone();
                move |connection, rest| {
                    let resting_since = Instant::now().checked_sub(rest.idle_for);
                    let may_be_lost = resting_since.is_none_or(|since| last_loss.is_after(since));
                    Box::pin(async move {
                        if !may_be_lost && rest.idle_for > IDLE_BEFORE_PING {
                            connection.ping().await?;
                        }
                        Ok(!may_be_lost)
                    })
                }
            })
            .connect_lazy_with(options.clone());
        Self { connections, last_loss }
    }
}

/// The answer to what was asked, unless it takes too long.
pub(super) async fn in_time<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    within(ANSWER_DEADLINE, asked).await
}

async fn within<T>(deadline: Duration, asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(deadline, asked).await.unwrap_or_else(|_| Err(no_answer(deadline)))
}

async fn in_job_time<T, E: From<StoreError>>(job: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    tokio::time::timeout(JOB_DEADLINE, job).await.unwrap_or_else(|_| Err(StoreError::TimedOut.into()))
}

/// The failure of a database that was silent for so long.
fn no_answer(deadline: Duration) -> sqlx::Error {
    let text = format!("the database did not answer within {} s", deadline.as_secs());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}

/// Whether nothing more can be asked on the connection that failed like this.
pub(super) fn is_link_lost(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_))
}

/// Whether the connection had ended before it was asked: the server was restarted or sent it away.
fn was_dead(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() != std::io::ErrorKind::TimedOut,
        // admin_shutdown, crash_shutdown
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P01" | "57P02")),
        _ => false,
    }
}

/// Runs `work` in a task that its caller may leave. The token tells it that the caller has left.
async fn in_task<T, E, F>(work: impl FnOnce(CancellationToken) -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let caller_left = CancellationToken::new();
    let _here = caller_left.clone().drop_guard();
    match tokio::spawn(work(caller_left).in_current_span()).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // the runtime ends
            Err(_) => Err(StoreError::Closed.into()),
        },
    }
}

async fn fetch(
    pool: &Pool,
    deadline: Duration,
    statement: Statement,
    args: Vec<Arg>,
) -> Result<Vec<DbRow>, StoreError> {
    let pool = pool.clone();
    in_task(|caller_left| async move {
        let asked = async {
            let mut taken = Taken::of(&pool, &caller_left).await?;
            let query = bind_postgres(sqlx::query(statement.postgres), args);
            let rows = query.fetch_all(&mut *taken.connection).await;
            if !rows.as_ref().is_err_and(is_link_lost) {
                taken.give_back();
            }
            rows
        };
        Ok(within(deadline, asked).await?.into_iter().map(DbRow::Postgres).collect())
    })
    .await
}

/// A connection with a new transaction. One that turns out to be dead is exchanged: nothing has happened on it.
async fn begin(pool: &Pool, caller_left: &CancellationToken, statement: &'static str) -> Result<Taken, StoreError> {
    let mut dead = 0;
    loop {
        let mut taken = Taken::of(pool, caller_left).await?;
        match taken.ask(statement).await {
            Ok(()) => return Ok(taken),
            Err(error) if was_dead(&error) && dead < CONNECTIONS => dead += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// A connection taken from its pool: closed when dropped, unless it is given back.
struct Taken {
    connection: PoolConnection<Postgres>,
    may_return: bool,
    last_loss: LastLoss,
}

impl Taken {
    async fn of(pool: &Pool, caller_left: &CancellationToken) -> Result<Self, sqlx::Error> {
        tokio::select! {
            // nothing has begun, and nobody reads this
            () = caller_left.cancelled() => Err(sqlx::Error::PoolTimedOut),
            connection = pool.connections.acquire() => {
                Ok(Self { connection: connection?, may_return: false, last_loss: pool.last_loss.clone() })
            }
        }
    }

    /// Asks for something that has no result.
    async fn ask(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        in_time(sqlx::raw_sql(statement).execute(&mut *self.connection)).await.map(|_| ())
    }

    async fn commit(mut self, name: &'static str) -> Result<(), StoreError> {
        let Err(error) = self.ask("COMMIT").await else {
            self.give_back();
            return Ok(());
        };
        tracing::warn!("the transaction {name} was not confirmed: {error}");
        if !is_link_lost(&error) {
            self.give_back();
        }
        Err(StoreError::of_commit(error))
    }

    async fn roll_back(mut self, is_lost: bool) {
        if !is_lost && self.ask("ROLLBACK").await.is_ok() {
            self.give_back();
        }
    }

    fn give_back(mut self) {
        self.may_return = true;
        // by itself sqlx asks the connection once more without any deadline, and keeps its place until then
        let returned = self.connection.return_to_pool();
        tokio::spawn(tokio::time::timeout(ANSWER_DEADLINE, returned));
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.may_return {
            self.last_loss.note();
            self.connection.close_on_drop();
        }
    }
}
