//! Rules on statements and on the schema itself.

use std::collections::BTreeSet;

use atelier_store::testing::blobs;
use atelier_store::{Database, Engine, SecretsConfig, Store, StoreConfig};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use crate::fixture::{Fixture, on_both_engines};

impl Fixture {
    /// Runs a statement beside the store.
    pub(crate) async fn execute(&self, text: &str) {
        self.strings(text).await;
    }

    /// The one number a statement gives.
    pub(crate) async fn one(&self, text: &str) -> i64 {
        self.strings(text).await[0][0].parse().unwrap()
    }

    /// Rows of a statement, each column as text.
    pub(crate) async fn strings(&self, text: &str) -> Vec<Vec<String>> {
        let text = AssertSqlSafe(text.to_owned());
        if let Some(url) = self.url() {
            let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
            let rows = sqlx::raw_sql(text).fetch_all(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            return rows
                .iter()
                .map(|row| (0..row.len()).map(|at| row.try_get_unchecked(at).unwrap_or_default()).collect())
                .collect();
        }
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(self.folder.path().join("atelier.db"))
            .foreign_keys(true)
            .busy_timeout(std::time::Duration::from_secs(5));
        let mut connection = options.connect().await.unwrap();
        let rows = sqlx::raw_sql(text).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows.iter()
            .map(|row| (0..row.len()).map(|at| row.try_get_unchecked(at).unwrap_or_default()).collect())
            .collect()
    }

    async fn tables(&self) -> Vec<String> {
        let text = match self.store.engine() {
            Engine::Sqlite => {
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE '_sqlx%'"
            }
            Engine::Postgres => {
                "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' AND table_name NOT LIKE '_sqlx%'"
            }
        };
        self.strings(text).await.into_iter().map(|mut row| row.remove(0)).collect()
    }

    async fn columns(&self, table: &str) -> BTreeSet<String> {
        let text = match self.store.engine() {
            Engine::Sqlite => format!("SELECT name FROM pragma_table_info('{table}')"),
            Engine::Postgres => {
                format!("SELECT column_name::text FROM information_schema.columns WHERE table_name = '{table}'")
            }
        };
        self.strings(&text).await.into_iter().map(|mut row| row.remove(0)).collect()
    }

    /// The first column of each index of a table.
    async fn indexed_first(&self, table: &str) -> BTreeSet<String> {
        let text = match self.store.engine() {
            Engine::Sqlite => format!(
                "SELECT i.name FROM pragma_index_list('{table}') l, pragma_index_info(l.name) i WHERE i.seqno = 0 AND i.name IS NOT NULL"
            ),
            Engine::Postgres => format!(
                "SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                WHERE i.indrelid = '{table}'::regclass"
            ),
        };
        self.strings(&text).await.into_iter().map(|mut row| row.remove(0)).collect()
    }

    /// What deleting a chat does to rows of `table` that name it in `column`.
    async fn on_delete(&self, table: &str, column: &str) -> Option<String> {
        let text = match self.store.engine() {
            Engine::Sqlite => format!(
                "SELECT on_delete FROM pragma_foreign_key_list('{table}') WHERE \"from\" = '{column}' AND \"table\" = 'chats'"
            ),
            Engine::Postgres => format!(
                "SELECT CASE c.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' ELSE 'NO ACTION' END
                FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
                WHERE c.contype = 'f' AND c.conrelid = '{table}'::regclass AND c.confrelid = 'chats'::regclass
                AND a.attname = '{column}'"
            ),
        };
        self.strings(&text).await.into_iter().next().map(|mut row| row.remove(0))
    }
}

on_both_engines! {
    async fn a_schema_that_does_not_fit_is_told_in_plain_words(fixture: &Fixture) {
        fixture.store.close().await;
        let open = async || {
            let database = match fixture.url() {
                Some(url) => Database::Postgres { url },
                None => Database::Sqlite { file: fixture.folder.path().join("atelier.db") },
            };
            let secrets = SecretsConfig::File(fixture.folder.path().join("secret.keys"));
            Store::open(StoreConfig { database, secrets, blobs: blobs(fixture.folder.path()) }).await
        };
        let checksum = if fixture.url().is_some() { "'\\x00'" } else { "x'00'" };
        fixture
            .execute(&format!(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                VALUES (99991231000000, 'later', true, {checksum}, 0)"
            ))
            .await;
        let error = open().await.err().unwrap().to_string();
        assert!(error.contains("99991231000000") && error.contains("start the newer version"), "{error}");
        fixture.execute("DELETE FROM _sqlx_migrations WHERE version = 99991231000000").await;
        open().await.unwrap().close().await;
        fixture.execute(&format!("UPDATE _sqlx_migrations SET checksum = {checksum} WHERE version = 20261125000002")).await;
        let error = open().await.err().unwrap().to_string();
        assert!(error.contains("20261125000002") && error.contains("restore the backup"), "{error}");
    }

    async fn every_statement_is_understood(fixture: &Fixture) {
        let prepared = fixture.store.prepare_all().await.unwrap();
        assert!(prepared > 60, "{prepared}");
    }

    async fn every_chat_id_has_an_index_and_goes_with_its_chat(fixture: &Fixture) {
        let mut found = 0;
        for table in fixture.tables().await {
            for column in fixture.columns(&table).await.iter().filter(|column| column.ends_with("chat_id")) {
                if matches!((table.as_str(), column.as_str()), ("audit_log" | "audit_logs", "via_chat_id")) {
                    continue;
                }
                found += 1;
                assert!(fixture.indexed_first(&table).await.contains(column), "{table}.{column} has no index");
                let wanted = if table == "model_calls" { None } else { Some("CASCADE".to_owned()) };
                assert_eq!(fixture.on_delete(&table, column).await, wanted, "{table}.{column}");
            }
        }
        assert!(found >= 9, "{found}");
    }
}

/// The two folders of migrations say the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_engines_have_the_same_tables_and_columns() {
    let (sqlite, postgres) = (Fixture::new(Engine::Sqlite).await, Fixture::new(Engine::Postgres).await);
    let sorted = |mut tables: Vec<String>| {
        // each has its own form of full-text index
        tables.retain(|table| !table.starts_with("chat_search"));
        tables.sort();
        tables
    };
    let tables = sorted(sqlite.tables().await);
    assert_eq!(tables, sorted(postgres.tables().await));
    for table in tables {
        assert_eq!(sqlite.columns(&table).await, postgres.columns(&table).await, "{table}");
        let strict = format!("SELECT strict FROM pragma_table_list('{table}')");
        assert_eq!(sqlite.one(&strict).await, 1, "{table} is not STRICT");
    }
    sqlite.end().await;
    postgres.end().await;
}

#[tokio::test]
async fn sqlite_keeps_what_it_has_said_is_kept() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    assert_eq!(fixture.strings("PRAGMA journal_mode").await[0][0], "wal");
    fixture.end().await;
}
