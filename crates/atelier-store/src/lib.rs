//! The only crate that holds SQL.
//!
//! One file a resource: its statements, its rows, its functions. Functions named `*_in_tx` take an open
//! transaction, so that an operation that writes twice takes one; finders take an owner or are named
//! `*_for_system`. One SQL text serves both engines wherever it can; where it cannot, both stand side by
//! side. Every statement is declared with `statements!` and prepared on both engines by a test.
//!
//! Absent on purpose: decisions. What may happen to a chat is decided by `atelier-domain`.

mod chats;
mod database;
mod error;
mod messages;
mod model_calls;
mod queue;
mod replicas;
mod secrets;
mod statement;
pub mod testing;
mod tool_calls;
mod value;

pub use chats::*;
pub use database::{Database, Engine, Store, StoreConfig, Tx};
pub use error::StoreError;
pub use messages::*;
pub use model_calls::*;
pub use queue::*;
pub use secrets::{SecretError, SecretString, SecretsConfig};
pub use tool_calls::*;

/// Every statement of the crate.
fn all_statements() -> Vec<statement::Statement> {
    [
        chats::STATEMENTS,
        messages::STATEMENTS,
        model_calls::STATEMENTS,
        queue::STATEMENTS,
        replicas::STATEMENTS,
        secrets::STATEMENTS,
        tool_calls::STATEMENTS,
    ]
    .concat()
}
