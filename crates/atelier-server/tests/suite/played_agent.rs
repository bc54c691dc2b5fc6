//! Workspaces of a test whose agents are played by the test.

use std::sync::Arc;
use std::time::Duration;

use atelier_daemon::tool_error::ToolError;
use atelier_daemon::workspace::{
    TemplatePage, ToolCaller, WorkspaceConnection, WorkspaceCreateArgs, WorkspaceReport, Workspaces,
};
use atelier_domain::{UserId, WorkspaceId};
use atelier_test_support::Actor;
use atelier_workspaces::WorkspaceService;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};

/// The workspaces of the server; each of them is connected to `agent`.
pub(crate) struct PlayedAgent {
    pub(crate) service: WorkspaceService,
    pub(crate) agent: Arc<dyn WorkspaceConnection>,
}

impl Workspaces for PlayedAgent {
    fn connect(
        &self,
        _: WorkspaceId,
        _: UserId,
        _: Duration,
    ) -> BoxFuture<'_, Result<Arc<dyn WorkspaceConnection>, ToolError>> {
        std::future::ready(Ok(Arc::clone(&self.agent))).boxed()
    }

    fn template_list(
        &self,
        owner: UserId,
        query: Option<String>,
        page: u32,
    ) -> BoxFuture<'_, Result<TemplatePage, ToolError>> {
        self.service.template_list(owner, query, page)
    }

    fn template_read(&self, owner: UserId, template: String) -> BoxFuture<'_, Result<Value, ToolError>> {
        self.service.template_read(owner, template)
    }

    fn workspace_create(
        &self,
        caller: ToolCaller,
        args: WorkspaceCreateArgs,
    ) -> BoxFuture<'_, Result<WorkspaceReport, ToolError>> {
        Workspaces::workspace_create(&self.service, caller, args)
    }

    fn workspace_start(&self, caller: ToolCaller) -> BoxFuture<'_, Result<WorkspaceReport, ToolError>> {
        self.service.workspace_start(caller)
    }

    fn touch(&self, workspace_id: WorkspaceId) -> BoxFuture<'_, ()> {
        self.service.touch(workspace_id)
    }
}

/// The id of a new workspace of `owner`.
pub(crate) async fn workspace_create(admin: &Actor, owner: &Actor) -> Value {
    let template = json!({"name": "base", "driver": "local", "spec": {}});
    let template = admin.post("/api/v2/organizations/default/templates", template).await.body(201);
    let create = json!({"template_id": template["id"], "name": "box"});
    owner.post("/api/v2/users/me/workspaces", create).await.body(201)["id"].clone()
}
