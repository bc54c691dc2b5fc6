//! Templates, workspaces, builds, the local driver and the links to workspace agents.
//!
//! A template is checked whole when it is saved ([`templates`]). A workspace is made from it by builds,
//! jobs that survive a restart of the server; the local driver ([`drivers::local`]) makes a shut-in tree of
//! processes whose first one starts the workspace agent. The agent dials back, and its link carries the
//! requests of tools ([`Connections`]). [`WorkspaceService`] puts these together and implements
//! `atelier_daemon::workspace::Workspaces`.
//!
//! Absent on purpose: no SQL, no HTTP route but the one agents connect to, no decision about roles.

mod builds;
mod connections;
pub mod demo;
pub mod drivers;
mod service;
pub mod templates;

pub use connections::{Connections, LinkSettings, OutgoingSettings};
pub use service::{
    BuildCreate, OpenError, OperationError, TemplateCreate, TemplateUpdate, Waits, WorkspaceCreate, WorkspaceService,
    WorkspaceView, WorkspacesConfig, build_status,
};

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
