//! The HTTP API: handlers extract, authorize, call one operation and map its result.
//!
//! Operations know nothing of HTTP and live below (`atelier_daemon::chats`, `atelier_workspaces`,
//! `atelier_store`). Here are the routes, the login, the one mapping of errors, and the sockets of streams.

mod auth;
mod chats;
mod connections;
mod error;
mod extract;
mod files;
mod layers;
mod listener;
mod logins;
mod logs;
mod model_prices;
mod models;
mod openapi;
mod organizations;
mod origin;
mod places;
mod providers;
mod proxies;
mod repeats;
mod router;
mod settings;
mod setup;
mod site;
mod socket;
mod state;
mod streams;
mod templates;
mod users;
mod workspaces;

pub use auth::{HashError, hash_password, new_code, new_token};
pub use connections::ConnectionLimits;
pub use openapi::document as openapi_document;
pub use proxies::{TrustedProxies, TrustedProxiesError};
pub use setup::SetupCode;
pub use state::{Rates, Server, ServerConfig, ServerParts};
