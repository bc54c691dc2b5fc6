//! The way out: resolve, check, dial (governance.md 1).
//!
//! Every call the server makes to an address that a person or a provider chose goes through [`Egress`],
//! and every connection it makes for a workspace through [`Dialer`].
//! A name is resolved once for a connection; when any of its addresses is denied the call is refused,
//! else one of the checked addresses is dialled. Addresses written in the URL are checked likewise.
//! Proxy variables are ignored and redirects are not followed: a model call has none, and whoever needs
//! them later follows them itself, checking each.
//!
//! What may be reached is a pure decision ([`EgressPolicy`]); this crate never reads the environment.

mod client;
mod dial;
mod network;
mod policy;
mod resolve;

pub use client::{Egress, EgressError, TlsFault};
pub use dial::{DialError, Dialer};
pub use policy::{EgressDenied, EgressPolicy, PolicyError};
pub use reqwest::{Request, Response, Url};
pub use resolve::{HostResolver, SystemResolver};
