//! Wire types of the HTTP API, for the server and for clients in Rust.
//!
//! The shapes are the contract's. An optional field is absent, never null, unless the contract says "or
//! null"; lists are never null. Nothing here knows how a value is stored.

mod accounts;
mod chats;
mod error;
mod models;
mod settings;
mod time;
mod workspaces;

pub use accounts::*;
pub use chats::*;
pub use error::*;
pub use models::*;
pub use settings::*;
pub use time::Time;
pub use workspaces::*;
