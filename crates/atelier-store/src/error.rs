//! What can go wrong between the daemon and the database.

/// No room: `SQLITE_FULL`, `SQLITE_IOERR_SHMSIZE` (the index of the write-ahead log cannot grow), and PostgreSQL's
/// `disk_full`.
const DISK_FULL: [&str; 3] = ["13", "4874", "53100"];
/// `SQLITE_CORRUPT` with its extensions, and `SQLITE_NOTADB`.
const DAMAGED: [&str; 5] = ["11", "267", "523", "779", "26"];

/// A failure of the store. Its text is for logs, never for callers of the API.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A unique index refused the row; the name of the constraint or the columns.
    #[error("a row like this exists already ({constraint})")]
    Conflict { constraint: String },
    /// Something the row names does not exist, or is still named by another row.
    #[error("a reference is broken ({constraint})")]
    Reference { constraint: String },
    #[error("the disk is full")]
    StorageFull,
    /// Connections are lost, time is over, a lock is not given: may work again soon.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The connection was lost in the commit: whether it happened has to be read.
    #[error("whether the transaction was committed is not known")]
    CommitUnknown(#[source] sqlx::Error),
    /// A job went on after one of its statements had failed: nothing of it is kept.
    #[error("the transaction {name} went on after a failed statement")]
    Aborted { name: &'static str },
    /// Another replica took the request over, because this one was taken for dead.
    #[error("another replica carries the request out by now")]
    Overtaken,
    /// A job held SQLite's writer for too long.
    #[error("the transaction took too long")]
    TimedOut,
    #[error("column {column} holds a value that cannot be read")]
    Unreadable { column: String },
    /// A newer program has been at work on this database.
    #[error(
        "the database was upgraded by a newer version of Atelier (it holds migration {version}, which this \
             version does not know); start the newer version, or restore a backup that this version has made"
    )]
    NewerSchema { version: i64 },
    /// The record of what was done to the schema does not fit what it says.
    #[error(
        "migration {version} of the database was made by another build of Atelier or stopped halfway; restore \
             the backup from before the upgrade"
    )]
    DamagedSchema { version: i64 },
    /// SQLite finds that the file is none of its own, or not as it left it.
    #[error(
        "the file of the database is damaged, or no database of SQLite; stop the server, keep a copy of the file, and \
             restore a backup"
    )]
    DamagedFile(#[source] sqlx::Error),
    #[error("the schema could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error("{0}")]
    Setup(String),
    #[error("the statement failed")]
    Database(#[source] sqlx::Error),
    #[error("bytes of files cannot be stored or read: {0}")]
    Files(#[from] object_store::Error),
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same call may succeed a moment later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::CommitUnknown(_) | Self::TimedOut | Self::Overtaken | Self::StorageFull => {
                true
            }
            // tries are used up, or the connection failed
            Self::Files(object_store::Error::Generic { .. }) => true,
            Self::Conflict { .. }
            | Self::Reference { .. }
            | Self::Aborted { .. }
            | Self::Unreadable { .. }
            | Self::NewerSchema { .. }
            | Self::DamagedSchema { .. }
            | Self::DamagedFile(_)
            | Self::Migrate(_)
            | Self::Setup(_)
            | Self::Database(_)
            | Self::Files(_)
            | Self::Closed => false,
        }
    }

    /// Whether a unique index whose name or columns contain `part` refused a row.
    #[must_use]
    pub fn is_conflict_on(&self, part: &str) -> bool {
        matches!(self, Self::Conflict { constraint } if constraint.contains(part))
    }

    /// Why a commit failed. What the server refused has not happened; without its word nobody knows.
    pub(crate) fn of_commit(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(_) => Self::from(error),
            _ => Self::CommitUnknown(error),
        }
    }

    /// Why the schema is not what this program needs.
    pub(crate) fn of_migration(error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError;
        match error {
            MigrateError::VersionMissing(version) => Self::NewerSchema { version },
            MigrateError::VersionMismatch(version) | MigrateError::Dirty(version) => Self::DamagedSchema { version },
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) if is_disk_full(&error) => {
                Self::StorageFull
            }
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) if is_damaged(&error) => {
                Self::DamagedFile(error)
            }
            other => Self::Migrate(other),
        }
    }

    /// The failure of a transaction, for one of the writes that shared it.
    pub(crate) fn of_group(error: &sqlx::Error) -> Self {
        match is_disk_full(error) {
            true => Self::StorageFull,
            false => Self::Unavailable(sqlx::Error::Protocol(error.to_string())),
        }
    }

    pub(crate) fn unreadable(column: &str) -> Self {
        Self::Unreadable { column: column.to_owned() }
    }

    pub(crate) fn read(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::ColumnDecode { index, .. } => Self::Unreadable { column: index },
            other => Self::from(other),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::error::ErrorKind;
        match &error {
            sqlx::Error::Database(database) => {
                // SQLite names the columns in its message, PostgreSQL the constraint
                let constraint = || database.constraint().unwrap_or_else(|| database.message()).to_owned();
                match database.kind() {
                    ErrorKind::UniqueViolation => {
                        return Self::Conflict { constraint: constraint() };
                    }
                    ErrorKind::ForeignKeyViolation => {
                        return Self::Reference { constraint: constraint() };
                    }
                    _ => {}
                }
                match database.code().as_deref() {
                    Some(code) if DISK_FULL.contains(&code) => Self::StorageFull,
                    Some(code) if DAMAGED.contains(&code) => Self::DamagedFile(error),
                    // SQLITE_BUSY and its extensions; lock_not_available, query_canceled, serialization, deadlock,
                    // admin_shutdown, crash_shutdown, cannot_connect_now, too_many_connections
                    Some(
                        "5" | "261" | "517" | "55P03" | "57014" | "40001" | "40P01" | "57P01" | "57P02" | "57P03"
                        | "53300",
                    ) => Self::Unavailable(error),
                    _ => Self::Database(error),
                }
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            // a server that goes down, or something on the way to it, says things that are no protocol
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            _ => Self::Database(error),
        }
    }
}

fn is_disk_full(error: &sqlx::Error) -> bool {
    has_code(error, &DISK_FULL)
}

fn is_damaged(error: &sqlx::Error) -> bool {
    has_code(error, &DAMAGED)
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| codes.contains(&code.as_ref()))
}
