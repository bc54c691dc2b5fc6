//! What the daemon needs of workspaces, as traits.
//!
//! The daemon defines them, `atelier-workspaces` implements them, so the edge between the two crates
//! points down only. A connection is thin on purpose: one HTTP request of `workspaces.md` 2.4 and its
//! answer. The tunnel of this process implements it today, a link through another replica will too.

use std::sync::Arc;
use std::time::Duration;

use atelier_domain::{BuildId, CallToken, ChatId, OrganizationId, UserId, WorkspaceId};
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::tool_error::ToolError;

/// What a request to a workspace agent is made for. Becomes the `Atelier-*` headers, which only the
/// server sets.
#[derive(Clone, Debug)]
pub struct CallContext {
    pub chat_id: ChatId,
    /// The chat's ancestors, nearest first; they may see its processes.
    pub ancestors: Vec<ChatId>,
    pub access: Access,
    /// Token and SHA-256 (hex) of the canonical arguments of a keyed call.
    pub call: Option<(CallToken, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Full,
    ReadOnly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
}

/// One request to a workspace agent.
#[derive(Clone, Debug)]
pub struct AgentRequest {
    pub method: Method,
    /// Path and query, percent-encoded, for instance `/v1/processes?limit=20`.
    pub path: String,
    pub context: CallContext,
    /// JSON text.
    pub body: Option<Bytes>,
    /// A larger answer is a [`ConnectionError::Protocol`].
    pub max_response_bytes: usize,
}

#[derive(Clone, Debug)]
pub struct AgentResponse {
    pub status: u16,
    pub body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The link ended before the answer was complete. The request may have been carried out.
    #[error("the link to the workspace agent was lost")]
    Lost,
    #[error("the workspace agent answered something unexpected: {0}")]
    Protocol(String),
}

/// A link to the workspace agent of one workspace.
pub trait WorkspaceConnection: Send + Sync {
    /// Sends one request and reads its whole answer.
    ///
    /// # Cancel safety
    /// Dropping the future closes the request's stream; the agent may have carried it out.
    fn request(&self, request: AgentRequest) -> BoxFuture<'_, Result<AgentResponse, ConnectionError>>;

    /// The id of the ledger of processes behind this link (`workspaces.md` 2.5).
    fn ledger_id(&self) -> String;
}

/// A template as the tools show it (`workspaces.md` 1.5): JSON objects made for the model.
#[derive(Clone, Debug)]
pub struct TemplatePage {
    pub templates: Vec<serde_json::Value>,
    pub page: u32,
    pub total_pages: u32,
    pub total_count: u64,
}

/// Who asks, and for which chat and call. Builds and workspaces made by a call are unique on its token.
#[derive(Clone, Copy, Debug)]
pub struct ToolCaller {
    pub owner_id: UserId,
    pub organization_id: OrganizationId,
    pub chat_id: ChatId,
    pub call: CallToken,
}

#[derive(Clone, Debug)]
pub struct WorkspaceCreateArgs {
    /// Id or name.
    pub template: String,
    pub name: Option<String>,
    pub parameters: Vec<(String, String)>,
    /// The deployment's `workspace_ttl_ms`; 0 = the template decides.
    pub ttl_ms: i64,
}

/// What `create_workspace` and `start_workspace` report (`workspaces.md` 1.5).
#[derive(Clone, Debug)]
pub struct WorkspaceReport {
    pub workspace_id: WorkspaceId,
    pub build_id: BuildId,
    /// The result object for the model, without `created` / `started`.
    pub fields: serde_json::Map<String, serde_json::Value>,
    /// Whether this call made (or started) it.
    pub changed: bool,
}

/// The operations on workspaces and templates that a turn needs, with the rights of the chat's owner.
pub trait Workspaces: Send + Sync + 'static {
    /// The live link to the agent of the workspace's newest build. Checks first that the workspace
    /// exists and that `owner` holds `ssh` on it. Waits up to `wait` for an agent that is away.
    ///
    /// Errors carry the codes of `workspaces.md` 6: `workspace_stopped`, `workspace_starting`,
    /// `workspace_failed`, `workspace_deleted`, `agent_not_connected`, `workspace_access_revoked`.
    fn connect(
        &self,
        workspace_id: WorkspaceId,
        owner: UserId,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Arc<dyn WorkspaceConnection>, ToolError>>;

    fn template_list(
        &self,
        owner: UserId,
        query: Option<String>,
        page: u32,
    ) -> BoxFuture<'_, Result<TemplatePage, ToolError>>;

    /// The result object of `read_template`.
    fn template_read(&self, owner: UserId, template: String) -> BoxFuture<'_, Result<serde_json::Value, ToolError>>;

    /// Creates a workspace (or finds the chat's own, or the one this call made before), binds the chat
    /// to it in the same transaction, and waits for build, agent and start-up script within their
    /// limits. Repeating it with the same call token never makes a second one.
    fn workspace_create(
        &self,
        caller: ToolCaller,
        args: WorkspaceCreateArgs,
    ) -> BoxFuture<'_, Result<WorkspaceReport, ToolError>>;

    /// Starts the chat's workspace and waits like [`Workspaces::workspace_create`].
    fn workspace_start(&self, caller: ToolCaller) -> BoxFuture<'_, Result<WorkspaceReport, ToolError>>;

    /// Moves the workspace's deadline: a running turn is activity.
    fn touch(&self, workspace_id: WorkspaceId) -> BoxFuture<'_, ()>;
}
