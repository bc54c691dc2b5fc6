#![allow(clippy::unwrap_used, reason = "tests")]

/// Runs tests, which take an [`host::Engine`], on each database.
macro_rules! on_both_databases {
    ($($test:ident,)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::host::Engine::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::host::Engine::Postgres).await;
            })*
        }
    };
}

mod agent;
mod fake_agent;
mod hardening;
mod host;
mod links;
mod network;
mod state;
mod templates;
mod tools;
