//! SQLite's one writer: a thread that owns the only connection that writes.
//!
//! A statement is carried out by the connection's own thread, so each costs two thread switches. Here they
//! are between two threads that do nothing else: as a task of the server's runtime every statement would
//! also wake its driver and another worker, which took most of a short transaction's time.
//!
//! It takes the jobs that wait already (at most [`MAX_GROUP`], it waits for none) into one
//! `BEGIN IMMEDIATE .. COMMIT` and so one `fsync`. Each job but the first has a savepoint of its own, so that
//! one that fails is rolled back alone. Results are given back after the commit: nobody is told of a write
//! that could still be lost. A job whose caller is gone before its turn is not begun.
//!
//! Copying the write-ahead log into the database (a checkpoint) is mostly done beside the writer, on a
//! connection of its own: its `fsync`s then delay no commit. SQLite's own checkpoint in the commit remains as
//! the upper bound of the log's length.

use std::any::Any;
use std::fs::File;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Tx;
use crate::error::StoreError;

/// Jobs that share one commit.
const MAX_GROUP: usize = 64;
/// Jobs that wait for the writer; beyond it callers wait to hand theirs in.
const MAX_WAITING_JOBS: usize = 1024;
/// How long one job may hold the writer: what `statement_timeout` is on PostgreSQL.
const JOB_TIME: Duration = Duration::from_secs(5);
/// Commits after which the log is copied into the database.
const COMMITS_A_CHECKPOINT: u32 = 128;

/// A write that waits for its transaction.
trait Job: Send {
    /// Nobody waits for the result any more.
    fn is_abandoned(&self) -> bool;
    /// Runs it; false = roll back.
    fn run<'t>(&'t mut self, tx: &'t mut Tx<'_>) -> BoxFuture<'t, bool>;
    /// Gives the result back, once the commit has succeeded or failed.
    fn deliver(self: Box<Self>, committed: Result<(), StoreError>);
}

/// What came of a job. A panic goes on in the task of its caller, as it does on PostgreSQL.
enum Ended<T, E> {
    Result(Result<T, E>),
    Panic(Box<dyn Any + Send>),
}

struct TypedJob<F, T, E> {
    name: &'static str,
    job: Option<F>,
    ended: Option<Ended<T, E>>,
    reply: oneshot::Sender<Ended<T, E>>,
}

impl<F, T, E> Job for TypedJob<F, T, E>
where
    F: for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run<'t>(&'t mut self, tx: &'t mut Tx<'_>) -> BoxFuture<'t, bool> {
        let job = self.job.take().expect("a job is run once");
        let (name, ended) = (self.name, &mut self.ended);
        Box::pin(async move {
            let running = std::panic::AssertUnwindSafe(async {
                match job(&mut *tx).await {
                    Ok(_) if tx.has_failed() => Err(StoreError::Aborted { name }.into()),
                    result => result,
                }
            });
            *ended = Some(match tokio::time::timeout(JOB_TIME, running.catch_unwind()).await {
                Ok(Ok(result)) => Ended::Result(result),
                Ok(Err(panic)) => Ended::Panic(panic),
                Err(_) => {
                    tracing::error!("the transaction {name} took too long and is rolled back");
                    Ended::Result(Err(StoreError::TimedOut.into()))
                }
            });
            matches!(ended, Some(Ended::Result(Ok(_))))
        })
    }

    fn deliver(self: Box<Self>, committed: Result<(), StoreError>) {
        let ended = match (self.ended, committed) {
            (Some(Ended::Result(Ok(_))) | None, Err(error)) => Ended::Result(Err(error.into())),
            (Some(ended), _) => ended,
            (None, Ok(())) => return,
        };
        // nobody waits any more: the write has happened all the same
        let _ = self.reply.send(ended);
    }
}

/// The way to the writer. Dropping it ends the writer after the jobs it has.
pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    closing: CancellationToken,
    /// Told by the thread when everything is closed.
    ended: std::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

impl Writer {
    /// Starts the writer on `connection`. `lock` is held until the last connection of the writer is closed.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(
        connection: SqliteConnection,
        options: SqliteConnectOptions,
        lock: File,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING_JOBS);
        let (has_ended, ended) = oneshot::channel();
        let closing = CancellationToken::new();
        let checkpoints = Checkpoints::start(options);
        let work = run(connection, checkpoints, lock, waiting, closing.clone());
        // of time only: without sockets a thread that waits is woken directly
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("sqlite-writer".to_owned()).spawn(move || {
            runtime.block_on(work);
            // nobody waits when the store is dropped without being closed
            let _ = has_ended.send(());
        })?;
        Ok(Self { jobs, closing, ended: std::sync::Mutex::new(Some(ended)) })
    }

    pub(super) async fn write<T, E, F>(&self, name: &'static str, job: F) -> Result<T, E>
    where
        F: for<'t> FnOnce(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, ended) = oneshot::channel();
        let job = Box::new(TypedJob { name, job: Some(job), ended: None, reply });
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        match ended.await {
            Ok(Ended::Result(result)) => result,
            Ok(Ended::Panic(panic)) => std::panic::resume_unwind(panic),
            Err(_) => Err(StoreError::Closed.into()),
        }
    }

    /// Takes no more jobs, carries out those that wait, closes the connections and frees the lock.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        let ended = self.ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(ended) = ended {
            let _ = ended.await;
        }
    }
}

async fn run(
    mut connection: SqliteConnection,
    checkpoints: Checkpoints,
    lock: File,
    mut waiting: mpsc::Receiver<Box<dyn Job>>,
    closing: CancellationToken,
) {
    let mut since_checkpoint = 0;
    loop {
        let first = tokio::select! {
            biased;
            job = waiting.recv() => job,
            () = closing.cancelled(), if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
        };
        let Some(first) = first else { break };
        let mut group = vec![first];
        while group.len() < MAX_GROUP
            && let Ok(job) = waiting.try_recv()
        {
            group.push(job);
        }
        write_group(&mut connection, group).await;
        since_checkpoint += 1;
        if since_checkpoint >= COMMITS_A_CHECKPOINT {
            since_checkpoint = 0;
            checkpoints.due.notify_one();
        }
    }
    checkpoints.end().await;
    if let Err(error) = connection.close().await {
        tracing::warn!("the database was not closed cleanly: {error}");
    }
    drop(lock);
}

/// Carries out and commits a group; what a lost transaction leaves over is taken up again in another.
async fn write_group(connection: &mut SqliteConnection, group: Vec<Box<dyn Job>>) {
    let mut waiting = group.into_iter();
    while waiting.len() > 0 {
        let mut done = Vec::with_capacity(waiting.len());
        let committed = match transaction(connection, &mut waiting, &mut done).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::error!("a transaction of {} writes was lost: {error}", done.len());
                // most likely it is rolled back already
                let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
                Err(error)
            }
        };
        for job in done {
            job.deliver(committed.as_ref().copied().map_err(StoreError::of_group));
        }
    }
}

/// One transaction with as many jobs as go into it; each job it began ends up in `done`.
async fn transaction(
    connection: &mut SqliteConnection,
    waiting: &mut std::vec::IntoIter<Box<dyn Job>>,
    done: &mut Vec<Box<dyn Job>>,
) -> Result<(), sqlx::Error> {
    let mut is_open = false;
    // a job before this one is part of the transaction
    let mut holds_something = false;
    for mut job in waiting.by_ref() {
        if job.is_abandoned() {
            continue;
        }
        if !is_open {
            if let Err(error) = sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await {
                done.push(job);
                return Err(error);
            }
            is_open = true;
        }
        let ended = run_job(connection, job.as_mut(), holds_something).await;
        done.push(job);
        match ended? {
            Kept::Yes => holds_something = true,
            Kept::No => {}
            Kept::TransactionEnded => is_open = false,
        }
    }
    if is_open {
        sqlx::query("COMMIT").execute(&mut *connection).await?;
    }
    Ok(())
}

enum Kept {
    Yes,
    No,
    /// Nothing else was in the transaction, so all of it was rolled back.
    TransactionEnded,
}

async fn run_job(
    connection: &mut SqliteConnection,
    job: &mut dyn Job,
    behind_savepoint: bool,
) -> Result<Kept, sqlx::Error> {
    if behind_savepoint {
        sqlx::query("SAVEPOINT job").execute(&mut *connection).await?;
    }
    let keep = job.run(&mut Tx::sqlite(&mut *connection)).await;
    match (behind_savepoint, keep) {
        (false, true) => Ok(Kept::Yes),
        (false, false) => {
            sqlx::query("ROLLBACK").execute(&mut *connection).await?;
            Ok(Kept::TransactionEnded)
        }
        (true, keep) => {
            if !keep {
                sqlx::query("ROLLBACK TO job").execute(&mut *connection).await?;
            }
            sqlx::query("RELEASE job").execute(&mut *connection).await?;
            Ok(if keep { Kept::Yes } else { Kept::No })
        }
    }
}

/// The task that copies the write-ahead log into the database, without holding up writer or readers.
struct Checkpoints {
    due: std::sync::Arc<Notify>,
    ending: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Checkpoints {
    fn start(options: SqliteConnectOptions) -> Self {
        let (due, ending) = (std::sync::Arc::new(Notify::new()), CancellationToken::new());
        let task = tokio::spawn(checkpoint(options, std::sync::Arc::clone(&due), ending.clone()));
        Self { due, ending, task }
    }

    async fn end(self) {
        self.ending.cancel();
        let _ = self.task.await;
    }
}

async fn checkpoint(options: SqliteConnectOptions, due: std::sync::Arc<Notify>, ending: CancellationToken) {
    let mut connection = None;
    loop {
        tokio::select! {
            () = ending.cancelled() => break,
            () = due.notified() => {}
        }
        if connection.is_none() {
            connection = options.connect().await.inspect_err(|error| tracing::warn!("no checkpoint: {error}")).ok();
        }
        if let Some(open) = &mut connection
            && let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(open).await
        {
            tracing::warn!("no checkpoint: {error}");
            connection = None;
        }
    }
    if let Some(open) = connection {
        let _ = open.close().await;
    }
}
