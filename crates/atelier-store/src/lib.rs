//! The only crate that holds SQL.
//!
//! One file a resource: its statements, its rows, its functions. Functions named `*_in_tx` take an open
//! transaction, so that an operation that writes twice takes one; finders take an owner or are named
//! `*_for_system`. One SQL text serves both engines wherever it can; where it cannot, both stand side by
//! side. Every statement is declared with `statements!` and prepared on both engines by a test.
//!
//! Absent on purpose: decisions. What may happen to a chat is decided by `atelier-domain`.

mod agents;
mod audit;
mod blobs;
mod builds;
mod chat_list;
mod chats;
mod coordination;
mod credentials;
mod database;
mod error;
mod files;
mod groups;
mod idempotency;
mod messages;
mod model_calls;
mod model_resolve;
mod models;
mod organizations;
mod providers;
mod queue;
mod replicas;
mod search;
mod secrets;
mod settings;
mod statement;
mod templates;
pub mod testing;
mod tool_calls;
mod users;
mod value;
mod workspaces;

pub use agents::*;
pub use audit::*;
pub use blobs::{BlobPlace, BlobsConfig, BucketConfig};
pub use builds::*;
pub use chat_list::*;
pub use chats::*;
pub use coordination::{Coordination, Renewal, Replica};
pub use credentials::*;
pub use database::{Database, Engine, Store, StoreConfig, Tx};
pub use error::StoreError;
pub use files::{FileNew, FileRow};
pub use groups::*;
pub use idempotency::*;
pub use messages::*;
pub use model_calls::*;
pub use model_resolve::*;
pub use models::*;
pub use organizations::*;
pub use providers::*;
pub use queue::*;
pub use search::SearchHit;
pub use secrets::{SecretError, SecretString, Secrets, SecretsConfig};
pub use settings::*;
pub use templates::*;
pub use tool_calls::*;
pub use users::*;
pub use workspaces::*;

/// Every statement of the crate.
fn all_statements() -> Vec<statement::Statement> {
    [
        agents::STATEMENTS,
        audit::STATEMENTS,
        blobs::STATEMENTS,
        builds::STATEMENTS,
        files::STATEMENTS,
        groups::STATEMENTS,
        idempotency::STATEMENTS,
        credentials::STATEMENTS,
        models::STATEMENTS,
        organizations::STATEMENTS,
        providers::STATEMENTS,
        settings::STATEMENTS,
        templates::STATEMENTS,
        users::STATEMENTS,
        workspaces::STATEMENTS,
        chat_list::STATEMENTS,
        chats::STATEMENTS,
        messages::STATEMENTS,
        model_calls::STATEMENTS,
        queue::STATEMENTS,
        replicas::STATEMENTS,
        search::STATEMENTS,
        secrets::STATEMENTS,
        tool_calls::STATEMENTS,
    ]
    .concat()
}
