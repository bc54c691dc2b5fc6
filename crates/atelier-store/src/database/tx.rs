//! An open transaction: what a job works with.

use atelier_domain::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection, SqliteConnection};

use super::Engine;
use super::postgres::{in_time, is_link_lost};
use crate::error::StoreError;
use crate::statement::{Statement, ValuesInsert};
use crate::value::{Arg, DbRow, bind_postgres, bind_sqlite};

/// Rows up to which the statement of a batch stays prepared on SQLite.
const MAX_KEPT_ROWS: usize = 8;

pub(super) const NOW: Statement = Statement { name: "NOW", sqlite: "SELECT 0 AS now", postgres: "SELECT now() AS now" };

/// An open transaction. A statement that fails ends it: PostgreSQL refuses what follows, and so that both
/// engines behave the same, a job that goes on all the same is not committed on either.
pub struct Tx<'c> {
    connection: Connection<'c>,
    failed: bool,
    /// The link to the database broke: nothing more is asked on it.
    lost: bool,
}

enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl<'c> Tx<'c> {
    pub(super) const fn sqlite(connection: &'c mut SqliteConnection) -> Self {
        Self { connection: Connection::Sqlite(connection), failed: false, lost: false }
    }

    pub(super) const fn postgres(connection: &'c mut PgConnection) -> Self {
        Self { connection: Connection::Postgres(connection), failed: false, lost: false }
    }
}

impl Tx<'_> {
    #[must_use]
    pub const fn engine(&self) -> Engine {
        match self.connection {
            Connection::Sqlite(_) => Engine::Sqlite,
            Connection::Postgres(_) => Engine::Postgres,
        }
    }

    /// Whether a statement of this transaction has failed.
    pub(super) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether the link to the database broke in this transaction: it has ended, and so has the connection.
    pub(super) const fn is_lost(&self) -> bool {
        self.lost
    }

    fn noted<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.failed = true;
            self.lost |= is_link_lost(error);
        }
        Ok(result?)
    }

    /// A job that goes on after the link broke would wait for each of its statements in vain.
    fn check_link(&self) -> Result<(), StoreError> {
        match self.lost {
            true => Err(StoreError::Unavailable(sqlx::Error::Io(std::io::ErrorKind::NotConnected.into()))),
            false => Ok(()),
        }
    }

    pub(crate) async fn all(&mut self, statement: Statement, args: Vec<Arg>) -> Result<Vec<DbRow>, StoreError> {
        self.check_link()?;
        let rows = match &mut self.connection {
            Connection::Sqlite(connection) => bind_sqlite(sqlx::query(statement.sqlite), args)
                .fetch_all(&mut **connection)
                .await
                .map(|rows| rows.into_iter().map(DbRow::Sqlite).collect()),
            Connection::Postgres(connection) => {
                in_time(bind_postgres(sqlx::query(statement.postgres), args).fetch_all(&mut **connection))
                    .await
                    .map(|rows| rows.into_iter().map(DbRow::Postgres).collect())
            }
        };
        self.noted(rows)
    }

    pub(crate) async fn first(&mut self, statement: Statement, args: Vec<Arg>) -> Result<Option<DbRow>, StoreError> {
        self.check_link()?;
        let row = match &mut self.connection {
            Connection::Sqlite(connection) => bind_sqlite(sqlx::query(statement.sqlite), args)
                .fetch_optional(&mut **connection)
                .await
                .map(|row| row.map(DbRow::Sqlite)),
            Connection::Postgres(connection) => {
                in_time(bind_postgres(sqlx::query(statement.postgres), args).fetch_optional(&mut **connection))
                    .await
                    .map(|row| row.map(DbRow::Postgres))
            }
        };
        self.noted(row)
    }

    /// The one row that a statement cannot fail to give, for instance a count.
    pub(crate) async fn one(&mut self, statement: Statement, args: Vec<Arg>) -> Result<DbRow, StoreError> {
        self.first(statement, args).await?.ok_or_else(|| StoreError::Database(sqlx::Error::RowNotFound))
    }

    /// Carries a statement out; the number of rows it changed.
    pub(crate) async fn run(&mut self, statement: Statement, args: Vec<Arg>) -> Result<u64, StoreError> {
        self.check_link()?;
        let changed = match &mut self.connection {
            Connection::Sqlite(connection) => bind_sqlite(sqlx::query(statement.sqlite), args)
                .execute(&mut **connection)
                .await
                .map(|done| done.rows_affected()),
            Connection::Postgres(connection) => {
                in_time(bind_postgres(sqlx::query(statement.postgres), args).execute(&mut **connection))
                    .await
                    .map(|done| done.rows_affected())
            }
        };
        self.noted(changed)
    }

    /// Inserts `rows` in one statement that gives a row back for each, in their order. SQLite only: it has no
    /// arrays, and taking values out of a JSON text reads all of that text once a value.
    pub(crate) async fn insert_values(
        &mut self,
        insert: &ValuesInsert,
        rows: Vec<Vec<Arg>>,
    ) -> Result<Vec<DbRow>, StoreError> {
        let Connection::Sqlite(connection) = &mut self.connection else {
            return Err(StoreError::Setup("lists of VALUES are for SQLite".to_owned()));
        };
        let row = insert.row;
        let more = format!(", {row}").repeat(rows.len().saturating_sub(1));
        let text = format!("{}{row}{more}{}", insert.head, insert.tail);
        // long batches are rare and each length is a statement of its own
        let query = sqlx::query(AssertSqlSafe(text)).persistent(rows.len() <= MAX_KEPT_ROWS);
        let inserted = bind_sqlite(query, rows.into_iter().flatten().collect()).fetch_all(&mut **connection).await;
        self.noted(inserted.map(|rows| rows.into_iter().map(DbRow::Sqlite).collect()))
    }

    /// The database's clock. Within a transaction it stands still on PostgreSQL.
    ///
    /// # Errors
    /// The database's.
    pub async fn now(&mut self) -> Result<Timestamp, StoreError> {
        match self.engine() {
            Engine::Sqlite => Ok(atelier_domain::clock::to_micros(Timestamp::now())),
            Engine::Postgres => self.one(NOW, Vec::new()).await?.time("now"),
        }
    }
}
