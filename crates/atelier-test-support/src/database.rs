//! Databases for tests.

use std::process::Command;

/// The databases every test of behaviour runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// The database of tests that name none: SQLite, or PostgreSQL with `ATELIER_TEST_ENGINE=postgres`,
    /// so that each black-box suite runs on both.
    ///
    /// # Panics
    /// When `ATELIER_TEST_ENGINE` has another value.
    #[must_use]
    pub fn of_environment() -> Self {
        match std::env::var("ATELIER_TEST_ENGINE").as_deref() {
            Err(_) | Ok("sqlite") => Self::Sqlite,
            Ok("postgres") => Self::Postgres,
            Ok(other) => panic!("ATELIER_TEST_ENGINE is {other:?}; use \"sqlite\" or \"postgres\""),
        }
    }
}

/// One empty database in the PostgreSQL server that `./dev test` starts. Dropped at the end.
#[derive(Debug)]
pub struct PostgresDatabase {
    server: String,
    name: String,
}

impl PostgresDatabase {
    /// # Panics
    /// When `ATELIER_TEST_POSTGRES` is not set or the server refuses.
    #[must_use]
    pub fn create() -> Self {
        let server = std::env::var("ATELIER_TEST_POSTGRES")
            .expect("ATELIER_TEST_POSTGRES is not set: run ./dev test, which starts PostgreSQL");
        let database = Self { server, name: format!("atelier_{}", uuid::Uuid::now_v7().simple()) };
        database.run(&format!("CREATE DATABASE {}", database.name));
        database
    }

    /// Where the server under test connects to.
    #[must_use]
    pub fn url(&self) -> String {
        let (base, _) = self.server.rsplit_once('/').expect("ATELIER_TEST_POSTGRES names a database");
        format!("{base}/{}", self.name)
    }

    /// Runs a statement in this database and gives its rows back, fields separated by `|`.
    ///
    /// # Panics
    /// When the statement fails.
    #[must_use]
    pub fn query(&self, sql: &str) -> String {
        psql(&self.url(), sql)
    }

    fn run(&self, sql: &str) {
        psql(&self.server, sql);
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        // a failed test may leave connections behind
        self.run(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

fn psql(url: &str, sql: &str) -> String {
    let output = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--dbname", url, "--command", sql])
        .output()
        .expect("psql is installed by ./dev test");
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
