//! What the tools of a turn need of workspaces, with the rights of the chat's owner.

use std::sync::Arc;
use std::time::Duration;

use atelier_daemon::tool_error::{ToolError, ToolErrorCode};
use atelier_daemon::workspace::{
    TemplatePage, ToolCaller, WorkspaceConnection, WorkspaceCreateArgs, WorkspaceReport, Workspaces,
};
use atelier_domain::{Chain, TemplateId, UserId, WorkspaceId};
use atelier_store::{BuildRow, BuildState, StoreError, TemplateRow, Transition};
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::templates::TemplateSpec;

use super::errors::{agent_away, deleted, error, internal, last, sentence};
use super::{WorkspaceService, WorkspaceView};

/// Templates on one page of `list_templates`.
const PAGE: usize = 10;
const DESCRIPTION_CHARS: usize = 200;
const README_BYTES: usize = 8 * 1024;
/// Last part of a failed build's log.
const FAILED_LOG_BYTES: usize = 2 * 1024;

impl Workspaces for WorkspaceService {
    fn connect(
        &self,
        workspace_id: WorkspaceId,
        owner: UserId,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Arc<dyn WorkspaceConnection>, ToolError>> {
        Box::pin(self.connect_to(workspace_id, owner, wait))
    }

    fn template_list(
        &self,
        owner: UserId,
        query: Option<String>,
        page: u32,
    ) -> BoxFuture<'_, Result<TemplatePage, ToolError>> {
        Box::pin(async move { self.list_templates(owner, query.as_deref(), page).await })
    }

    fn template_read(&self, owner: UserId, template: String) -> BoxFuture<'_, Result<Value, ToolError>> {
        Box::pin(async move { self.read_template(owner, &template).await })
    }

    fn workspace_create(
        &self,
        caller: ToolCaller,
        args: WorkspaceCreateArgs,
    ) -> BoxFuture<'_, Result<WorkspaceReport, ToolError>> {
        Box::pin(self.create_for_chat(caller, args))
    }

    fn workspace_start(&self, caller: ToolCaller) -> BoxFuture<'_, Result<WorkspaceReport, ToolError>> {
        Box::pin(self.start_for_chat(caller))
    }

    fn touch(&self, workspace_id: WorkspaceId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.used(workspace_id).await {
                tracing::warn!(workspace.id = %workspace_id, error = %Chain(&error), "the use of a workspace cannot be noted");
            }
        })
    }
}

impl WorkspaceService {
    async fn connect_to(
        &self,
        workspace_id: WorkspaceId,
        owner: UserId,
        wait: Duration,
    ) -> Result<Arc<dyn WorkspaceConnection>, ToolError> {
        let begun = Instant::now();
        // Counts from the moment the build is known to be done, so that building does not use it up.
        let mut agent_since = begun;
        let mut waiter = self.shared.connections.changes().waiter(workspace_id);
        loop {
            let view = self.usable(workspace_id, owner).await?;
            let left = match (view.build.transition, view.build.state) {
                (Transition::Start, BuildState::Succeeded) => {
                    if let Some(link) = view.agent.as_ref().and_then(|agent| self.link(agent.id)) {
                        return Ok(link);
                    }
                    let left = wait.checked_sub(agent_since.elapsed());
                    left.filter(|left| !left.is_zero()).ok_or_else(|| agent_away(&view))?
                }
                (Transition::Start, BuildState::Pending | BuildState::Running) => {
                    let left = self.shared.waits.starting.checked_sub(begun.elapsed());
                    agent_since = Instant::now();
                    left.filter(|left| !left.is_zero()).ok_or_else(|| {
                        error(
                            ToolErrorCode::WorkspaceStarting,
                            "The workspace is still starting. Call start_workspace to wait for it, or try again.",
                        )
                    })?
                }
                _ => return Err(self.not_running(&view).await),
            };
            // Woken by a change, or at the end of the time that is left.
            let _ = tokio::time::timeout(left, waiter.changed()).await;
        }
    }

    /// The workspace with the right of `owner` checked from current rows.
    pub(super) async fn usable(&self, workspace_id: WorkspaceId, owner: UserId) -> Result<WorkspaceView, ToolError> {
        let revoked = || {
            error(
                ToolErrorCode::WorkspaceAccessRevoked,
                "The chat's owner has no access to this workspace any more. Say so and go on without it.",
            )
        };
        let view = self.view(workspace_id).await.map_err(internal)?.ok_or_else(revoked)?;
        if !self.may_use(owner, &view.workspace).await.map_err(internal)? {
            return Err(revoked());
        }
        if view.workspace.deleted {
            return Err(deleted());
        }
        Ok(view)
    }

    /// Why nothing can be run in a workspace whose newest build is no start that goes well.
    pub(super) async fn not_running(&self, view: &WorkspaceView) -> ToolError {
        match (view.build.transition, view.build.state) {
            (Transition::Delete, BuildState::Pending | BuildState::Running | BuildState::Succeeded) => deleted(),
            (Transition::Stop, BuildState::Pending | BuildState::Running | BuildState::Succeeded) => {
                let reason = match view.build.reason.as_str() {
                    "autostop" => " It stopped by itself after its time to live.",
                    "disk_full" => {
                        " It was ended because the server's disk was nearly full and it had grown most. Say so: space has to be made before it can start."
                    }
                    "lost" => " Its processes ended unexpectedly.",
                    _ => "",
                };
                error(
                    ToolErrorCode::WorkspaceStopped,
                    format!(
                        "The workspace is stopped.{reason} Call start_workspace to start it; files in its home folder are kept."
                    ),
                )
            }
            _ => {
                let log = self.failed_log(&view.build).await;
                error(
                    ToolErrorCode::WorkspaceFailed,
                    format!(
                        "The workspace's last build ({}) failed: {} Call start_workspace to try again.",
                        view.build.transition.as_str(),
                        sentence(view.build.error.as_deref().unwrap_or("no reason is known"))
                    ),
                )
                .with("build_id", json!(view.build.id))
                .with("log", json!(log))
            }
        }
    }

    pub(super) async fn failed_log(&self, build: &BuildRow) -> String {
        // The log of a build is bounded, and a failed one says why at its end.
        let lines = self.shared.store.logs_of_build(build.id, 0, 100_000).await.unwrap_or_default();
        last(&lines, FAILED_LOG_BYTES)
    }

    async fn list_templates(&self, owner: UserId, query: Option<&str>, page: u32) -> Result<TemplatePage, ToolError> {
        let mut templates = self.shared.store.templates_of(owner).await.map_err(internal)?;
        templates.retain(|template| !template.deprecated);
        if let Some(query) = query {
            let query = query.to_lowercase();
            templates.retain(|template| {
                [&template.name, &template.display_name, &template.description]
                    .iter()
                    .any(|text| text.to_lowercase().contains(&query))
            });
        }
        // Most used first; they come by name.
        templates.sort_by_key(|template| std::cmp::Reverse(template.workspaces));
        let total = templates.len();
        let page = page.max(1);
        let skip = usize::try_from(page - 1).unwrap_or(usize::MAX).saturating_mul(PAGE);
        Ok(TemplatePage {
            templates: templates.iter().skip(skip).take(PAGE).map(|template| template_json(template).into()).collect(),
            page,
            total_pages: u32::try_from(total.div_ceil(PAGE)).unwrap_or(u32::MAX),
            total_count: total as u64,
        })
    }

    async fn read_template(&self, owner: UserId, wanted: &str) -> Result<Value, ToolError> {
        let template = self.template_for(owner, wanted).await?;
        let mut result = Map::new();
        result.insert("template".into(), template_json(&template).into());
        match TemplateSpec::stored(&template.spec) {
            Some(spec) => {
                result.insert("parameters".into(), json!(spec.parameters_json()));
                result.extend(spec.summary());
            }
            None => {
                result.insert("parameters".into(), json!([]));
            }
        }
        if !template.readme.is_empty() {
            result.insert("readme".into(), json!(atelier_domain::text::head(&template.readme, README_BYTES)));
        }
        Ok(Value::Object(result))
    }

    pub(super) async fn template_for(&self, owner: UserId, wanted: &str) -> Result<TemplateRow, ToolError> {
        let templates = self.shared.store.templates_of(owner).await.map_err(internal)?;
        let id = wanted.parse::<TemplateId>().ok();
        templates.into_iter().find(|template| id == Some(template.id) || template.name == wanted).ok_or_else(|| {
            let shown = atelier_domain::text::head_chars(wanted, 100);
            error(
                ToolErrorCode::TemplateNotFound,
                format!(
                    "There is no template {shown:?} that this user may use. Call list_templates for the ones there are."
                ),
            )
        })
    }

    /// A turn runs in the workspace: moves its deadline.
    async fn used(&self, workspace: WorkspaceId) -> Result<(), StoreError> {
        let store = &self.shared.store;
        let Some(view) = self.workspace_view(workspace).await? else { return Ok(()) };
        if view.build.transition != Transition::Start || view.build.state != BuildState::Succeeded {
            return Ok(());
        }
        let now = self.shared.clock.now();
        let mut deadline = None;
        if let Some(before) = view.build.deadline
            && let Some(version) = store.template_version_get(view.build.template_version_id).await?
            && let Some(spec) = TemplateSpec::stored(&version.spec)
        {
            let autostop = spec.autostop;
            let ttl = view.workspace.ttl_ms.unwrap_or(0);
            deadline =
                moved(before, now, view.build.updated_at, ttl, autostop.activity_bump_ms, autostop.max_lifetime_ms)
                    .map(|deadline| (view.build.id, deadline));
        }
        let stale = now.duration_since(view.workspace.last_used_at) >= jiff::SignedDuration::from_mins(1);
        if deadline.is_some() || stale {
            store.workspace_used(workspace, deadline, now).await?;
        }
        Ok(())
    }
}

/// The deadline after a use (`workspaces.md` 6), if it moves by at least 5 % of the span.
fn moved(
    before: jiff::Timestamp,
    now: jiff::Timestamp,
    built_at: jiff::Timestamp,
    ttl_ms: i64,
    bump_ms: i64,
    max_lifetime_ms: i64,
) -> Option<jiff::Timestamp> {
    if ttl_ms == 0 {
        return None;
    }
    let span = jiff::SignedDuration::from_millis(bump_ms.min(ttl_ms));
    let mut deadline = before.max(now.checked_add(span).ok()?);
    if max_lifetime_ms > 0 {
        deadline = deadline.min(built_at.checked_add(jiff::SignedDuration::from_millis(max_lifetime_ms)).ok()?);
    }
    let step = deadline.duration_since(before);
    (step.is_positive() && step.as_millis() * 20 >= span.as_millis()).then_some(deadline)
}

fn template_json(template: &TemplateRow) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("id".into(), json!(template.id));
    object.insert("name".into(), json!(template.name));
    if !template.display_name.is_empty() {
        object.insert("display_name".into(), json!(template.display_name));
    }
    if !template.description.is_empty() {
        let description = atelier_domain::text::head_chars(&template.description, DESCRIPTION_CHARS);
        object.insert("description".into(), json!(description));
    }
    object.insert("driver".into(), json!(template.driver));
    object.insert("organization_id".into(), json!(template.organization_id));
    object.insert("workspaces".into(), json!(template.workspaces));
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minutes)
    }

    #[test]
    fn a_use_moves_the_deadline_within_its_bounds() {
        const HOUR: i64 = 3_600_000;
        let built = at(0);
        // an hour more from now, when the rest is shorter
        assert_eq!(moved(at(480), at(450), built, 8 * HOUR, HOUR, 0), Some(at(510)));
        // enough is left
        assert_eq!(moved(at(480), at(10), built, 8 * HOUR, HOUR, 0), None);
        // less than 5 % of the span
        assert_eq!(moved(at(480), at(422), built, 8 * HOUR, HOUR, 0), None);
        // never behind the longest life
        assert_eq!(moved(at(480), at(470), built, 8 * HOUR, HOUR, 8 * HOUR), None);
        assert_eq!(moved(at(480), at(470), built, 8 * HOUR, HOUR, 500 * 60_000), Some(at(500)));
        // a workspace that never stops
        assert_eq!(moved(at(480), at(470), built, 0, HOUR, 0), None);
    }
}
