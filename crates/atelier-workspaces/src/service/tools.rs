//! What the tools of a turn need of workspaces, with the rights of the chat's owner.

use std::sync::Arc;
use std::time::Duration;

use atelier_daemon::tool_error::{ToolError, ToolErrorCode};
use atelier_daemon::workspace::{
    TemplatePage, ToolCaller, WorkspaceConnection, WorkspaceCreateArgs, WorkspaceReport, Workspaces,
};
use atelier_domain::{AgentId, BuildId, ChatId, TemplateId, UserId, WorkspaceId};
use atelier_store::{
    AgentLifecycle, AgentStatus, BuildNew, BuildRow, BuildState, ChatRow, LogRow, StoreError, TemplateRow, Transition,
    WorkspaceError, WorkspaceNew, WorkspaceRow, build_by_call_in_tx, build_create_in_tx, build_latest_in_tx,
    chat_get_in_tx, chat_lock_in_tx, chat_workspace_set_in_tx, workspace_by_call_in_tx, workspace_create_in_tx,
    workspace_get_in_tx,
};
use atelier_stream::{ChatChange, WatchKind};
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::operations::{OperationError, ttl};
use super::report::{self, Waited};
use super::{WorkspaceService, WorkspaceView, names};
use crate::builds::{fresh_token, parameters};
use crate::templates::{Fault, TemplateSpec};

/// Templates on one page of `list_templates`.
const PAGE: usize = 10;
const DESCRIPTION_CHARS: usize = 200;
const README_BYTES: usize = 8 * 1024;
/// Last part of a failed build's log.
const FAILED_LOG_BYTES: usize = 2 * 1024;
/// Names tried when derived ones are taken.
const NAME_TRIES: usize = 8;

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
                tracing::warn!(workspace.id = %workspace_id, %error, "the use of a workspace cannot be noted");
            }
        })
    }
}

/// What `create_workspace` finds before it makes anything.
enum Found {
    /// This call made it before, or makes it now.
    Made {
        workspace: WorkspaceId,
        builds: Vec<BuildId>,
        chat: Option<Box<ChatRow>>,
    },
    /// The chat's own, running or being built.
    There(WorkspaceId),
    Stopped(WorkspaceId),
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
    async fn usable(&self, workspace_id: WorkspaceId, owner: UserId) -> Result<WorkspaceView, ToolError> {
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
    async fn not_running(&self, view: &WorkspaceView) -> ToolError {
        match (view.build.transition, view.build.state) {
            (Transition::Delete, BuildState::Pending | BuildState::Running | BuildState::Succeeded) => deleted(),
            (Transition::Stop, BuildState::Pending | BuildState::Running | BuildState::Succeeded) => {
                let reason = match view.build.reason.as_str() {
                    "autostop" => " It stopped by itself after its time to live.",
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

    async fn failed_log(&self, build: &BuildRow) -> String {
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
        match self.spec(&template.spec) {
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

    async fn template_for(&self, owner: UserId, wanted: &str) -> Result<TemplateRow, ToolError> {
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

    async fn create_for_chat(
        &self,
        caller: ToolCaller,
        args: WorkspaceCreateArgs,
    ) -> Result<WorkspaceReport, ToolError> {
        // What the chat has already decides before the arguments are looked at closely.
        let found = match self.find_for_chat(caller).await? {
            Some(found) => found,
            None => self.make_for_chat(caller, &args).await?,
        };
        match found {
            Found::Made { workspace, builds, chat } => {
                builds.into_iter().for_each(|build| self.shared.builds.drive(build));
                if let Some(chat) = chat {
                    self.publish(&chat);
                }
                let note = self.ttl_note(workspace, args.ttl_ms).await?;
                self.wait_and_report(workspace, caller.owner_id, true, note).await
            }
            Found::There(workspace) => self.wait_and_report(workspace, caller.owner_id, false, None).await,
            Found::Stopped(workspace) => {
                let view = self.usable(workspace, caller.owner_id).await?;
                let fields = report::fields(&view, &crate::connections::Startup::default(), "", Waited::Stopped, None);
                Ok(WorkspaceReport { workspace_id: workspace, build_id: view.build.id, fields, changed: false })
            }
        }
    }

    /// What is there for this chat or call, without a write.
    async fn find_for_chat(&self, caller: ToolCaller) -> Result<Option<Found>, ToolError> {
        self.shared
            .store
            .read("workspace_for_chat", move |tx| {
                Box::pin(async move {
                    if let Some(workspace) = workspace_by_call_in_tx(tx, caller.call).await? {
                        return Ok(Some(Found::Made { workspace, builds: Vec::new(), chat: None }));
                    }
                    let Some(chat) = chat_get_in_tx(tx, caller.chat_id).await? else { return Ok(None) };
                    let Some(workspace) = chat.workspace_id else { return Ok(None) };
                    let row = workspace_get_in_tx(tx, workspace).await?;
                    let latest = build_latest_in_tx(tx, workspace).await?;
                    Ok(own_workspace(row.as_ref(), latest.as_ref(), caller.owner_id))
                })
            })
            .await
            .map_err(|error: StoreError| internal(error))
    }

    async fn make_for_chat(&self, caller: ToolCaller, args: &WorkspaceCreateArgs) -> Result<Found, ToolError> {
        let template = self.template_for(caller.owner_id, &args.template).await?;
        let (spec, values) = self
            .prepare_parameters(&template.spec, &args.parameters, None)
            .map_err(|faults| invalid_parameters(&faults))?;
        let mut name = names::workspace_name(args.name.as_deref(), &template.name, rand::random());
        for _ in 0..NAME_TRIES {
            match self.insert_for_chat(caller, &template, &spec, &values, name.clone(), args.ttl_ms).await {
                Err(WorkspaceError::NameTaken) => {
                    name = names::derived(args.name.as_deref().unwrap_or(&template.name), rand::random());
                }
                Ok(found) => return Ok(found),
                // The same call inserted by another run of it, a moment ago.
                Err(WorkspaceError::Store(error)) if error.is_conflict_on("call") => {
                    if let Some(found) = self.find_for_chat(caller).await? {
                        return Ok(found);
                    }
                    return Err(internal(error));
                }
                Err(other) => return Err(workspace_error(other)),
            }
        }
        Err(error(ToolErrorCode::Internal, "No free name was found. Call again with another name."))
    }

    /// One transaction: workspace, first build, and the chat bound to it.
    async fn insert_for_chat(
        &self,
        caller: ToolCaller,
        template: &TemplateRow,
        spec: &TemplateSpec,
        values: &std::collections::BTreeMap<String, String>,
        name: String,
        ttl_ms: i64,
    ) -> Result<Found, WorkspaceError> {
        let store = &self.shared.store;
        let now = self.shared.clock.now();
        let id = WorkspaceId::new();
        let (ttl_ms, ttl_source) = ttl(spec, Some(ttl_ms), "chat_setting");
        let sealed = parameters::seal(store, id, &spec.parameters, values);
        let new = WorkspaceNew {
            id,
            owner_id: caller.owner_id,
            organization_id: template.organization_id,
            template_id: template.id,
            name,
            parameters: sealed.clone(),
            ttl_ms,
            ttl_source: ttl_source.into(),
            host_id: self.shared.builds.host_id().to_owned(),
            created_by_chat: Some(caller.chat_id),
            created_by_call: Some(caller.call),
            build: BuildNew {
                id: BuildId::new(),
                template_version_id: template.active_version_id,
                transition: Transition::Start,
                reason: "chat".into(),
                initiator_id: caller.owner_id,
                parameters: sealed,
                call: None,
                agent: Some((AgentId::new(), fresh_token().1)),
            },
        };
        store
            .write("workspace_create_for_chat", move |tx| {
                Box::pin(async move {
                    if let Some(workspace) = workspace_by_call_in_tx(tx, caller.call).await? {
                        return Ok(Found::Made { workspace, builds: Vec::new(), chat: None });
                    }
                    let chat = chat_lock_in_tx(tx, caller.chat_id).await?.ok_or(WorkspaceError::NotFound)?;
                    let mut builds = Vec::new();
                    if let Some(workspace) = chat.workspace_id {
                        let row = workspace_get_in_tx(tx, workspace).await?;
                        let latest = build_latest_in_tx(tx, workspace).await?;
                        // Looked at again behind the lock: two calls of one step make one workspace.
                        if let Some(found) = own_workspace(row.as_ref(), latest.as_ref(), caller.owner_id) {
                            return Ok(found);
                        }
                        if let Some((row, latest)) = row.zip(latest)
                            && is_failed_own(&row, &latest, caller.chat_id)
                        {
                            let delete = build_of(&latest, Transition::Delete, caller.owner_id);
                            builds.push(build_create_in_tx(tx, workspace, &delete, now).await?.id);
                        }
                    }
                    builds.push(workspace_create_in_tx(tx, &new, now).await?.id);
                    chat_workspace_set_in_tx(tx, caller.chat_id, Some(id), now).await?;
                    let chat = chat_get_in_tx(tx, caller.chat_id).await?;
                    Ok(Found::Made { workspace: id, builds, chat: chat.map(Box::new) })
                })
            })
            .await
    }

    async fn start_for_chat(&self, caller: ToolCaller) -> Result<WorkspaceReport, ToolError> {
        let store = &self.shared.store;
        let chat = store
            .chat_get_for_system(caller.chat_id)
            .await
            .map_err(internal)?
            .ok_or_else(|| error(ToolErrorCode::Internal, "The chat is gone."))?;
        let workspace = chat.workspace_id.ok_or_else(|| {
            error(ToolErrorCode::NoWorkspace, "This chat has no workspace. Call create_workspace to make one.")
        })?;
        let begun = Instant::now();
        let mut waiter = self.shared.connections.changes().waiter(workspace);
        loop {
            let view = self.usable(workspace, caller.owner_id).await?;
            let made = store
                .read("build_by_call", move |tx| Box::pin(async move { build_by_call_in_tx(tx, caller.call).await }))
                .await
                .map_err(internal)?;
            if made.is_some() {
                return self.wait_and_report(workspace, caller.owner_id, true, None).await;
            }
            match (view.build.transition, view.build.state) {
                (Transition::Start, BuildState::Pending | BuildState::Running | BuildState::Succeeded) => {
                    return self.wait_and_report(workspace, caller.owner_id, false, None).await;
                }
                (Transition::Delete, BuildState::Pending | BuildState::Running | BuildState::Succeeded) => {
                    return Err(deleted());
                }
                // Something else is under way: wait for its end first.
                (_, state) if !state.is_finished() => {
                    if begun.elapsed() >= self.shared.waits.starting {
                        return Err(in_progress(view.build.id));
                    }
                    waiter.changed().await;
                }
                _ => {
                    let mut build = self
                        .build_new(&view, Transition::Start, None, &[], caller.owner_id)
                        .await
                        .map_err(operation_error)?;
                    build.reason = "chat".into();
                    build.call = Some(caller.call);
                    match store.build_create(workspace, build, self.shared.clock.now()).await {
                        Ok(build) => {
                            self.shared.builds.drive(build.id);
                            return self.wait_and_report(workspace, caller.owner_id, true, None).await;
                        }
                        // Somebody else was faster: look again.
                        Err(WorkspaceError::BuildInProgress(_)) if begun.elapsed() < self.shared.waits.starting => {}
                        Err(other) => return Err(workspace_error(other)),
                    }
                }
            }
        }
    }

    /// Waits for build, agent and start-up script, each within its limit.
    async fn wait_and_report(
        &self,
        workspace: WorkspaceId,
        owner: UserId,
        changed: bool,
        note: Option<String>,
    ) -> Result<WorkspaceReport, ToolError> {
        let waits = self.shared.waits;
        let mut waiter = self.shared.connections.changes().waiter(workspace);
        let (mut phase, mut since) = (Waited::BuildTakesLong, Instant::now());
        let (view, waited) = loop {
            let view = self.usable(workspace, owner).await?;
            let (now_in, limit) = match (view.build.transition, view.build.state) {
                (Transition::Start, BuildState::Pending | BuildState::Running) => (Waited::BuildTakesLong, waits.build),
                (Transition::Start, BuildState::Succeeded) => match &view.agent {
                    Some(agent) if is_started(agent.lifecycle) && self.link(agent.id).is_some() => {
                        break (view, Waited::Done);
                    }
                    Some(agent) if agent.status == AgentStatus::Connected => (Waited::ScriptTakesLong, waits.script),
                    Some(_) | None => (Waited::AgentNotReady, waits.agent),
                },
                (Transition::Start, _) => return Err(self.build_failed(&view).await),
                _ => return Err(self.not_running(&view).await),
            };
            if now_in != phase {
                (phase, since) = (now_in, Instant::now());
            }
            match limit.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
                Some(left) => {
                    // Woken by a change, or at the end of the time that is left.
                    let _ = tokio::time::timeout(left, waiter.changed()).await;
                }
                None => break (view, phase),
            }
        };
        let mut startup = crate::connections::Startup::default();
        let mut log = String::new();
        if let Some(agent) = &view.agent {
            startup = self.shared.connections.startup(agent.id);
            if startup.has_script {
                let lines = self.shared.store.logs_of_agent(agent.id, 0, 100_000).await.map_err(internal)?;
                let lines: Vec<LogRow> = lines.into_iter().filter(|line| line.stage == "script").collect();
                log = last(&lines, 4 * 1024);
            }
        }
        let fields = report::fields(&view, &startup, &log, waited, note);
        Ok(WorkspaceReport { workspace_id: workspace, build_id: view.build.id, fields, changed })
    }

    async fn build_failed(&self, view: &WorkspaceView) -> ToolError {
        let log = self.failed_log(&view.build).await;
        error(
            ToolErrorCode::BuildFailed,
            format!(
                "The workspace could not be started: {} Say so, or call start_workspace to try again.",
                sentence(view.build.error.as_deref().unwrap_or("no reason is known"))
            ),
        )
        .with("build_id", json!(view.build.id))
        .with("error_code", json!(view.build.error_code))
        .with("log", json!(log))
    }

    /// What to say when the template decides against the wanted time to live.
    async fn ttl_note(&self, workspace: WorkspaceId, asked: i64) -> Result<Option<String>, ToolError> {
        let row = self.shared.store.workspace_get_for_system(workspace).await.map_err(internal)?;
        let refused = asked > 0 && row.is_some_and(|row| row.ttl_source == "template");
        Ok(refused.then(|| "The template fixes the time to live; the deployment's setting was not used.".to_owned()))
    }

    fn publish(&self, chat: &ChatRow) {
        self.shared.hubs.publish(ChatChange {
            chat_id: chat.id,
            owner_id: chat.owner_id,
            version: chat.state.version,
            queue_version: chat.state.queue_version,
            rewind: chat.state.rewind,
            events: Vec::new(),
            watch: Some(WatchKind::Updated),
        });
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
            && let Some(spec) = self.spec(&version.spec)
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

/// What a chat's workspace means for `create_workspace`; None = make a new one.
fn own_workspace(row: Option<&WorkspaceRow>, latest: Option<&BuildRow>, owner: UserId) -> Option<Found> {
    let (row, latest) = (row?, latest?);
    if row.deleted || row.owner_id != owner {
        return None;
    }
    match (latest.transition, latest.state) {
        (Transition::Start, BuildState::Pending | BuildState::Running | BuildState::Succeeded) => {
            Some(Found::There(row.id))
        }
        (Transition::Stop, BuildState::Pending | BuildState::Running | BuildState::Succeeded) => {
            Some(Found::Stopped(row.id))
        }
        (Transition::Start | Transition::Stop, BuildState::Failed | BuildState::Canceling | BuildState::Canceled)
        | (Transition::Delete, _) => None,
    }
}

/// A workspace that this chat made and that failed: it is deleted when the chat makes another one.
fn is_failed_own(row: &WorkspaceRow, latest: &BuildRow, chat: ChatId) -> bool {
    !row.deleted
        && row.created_by_chat == Some(chat)
        && latest.transition == Transition::Start
        && latest.state == BuildState::Failed
}

fn build_of(latest: &BuildRow, transition: Transition, initiator: UserId) -> BuildNew {
    BuildNew {
        id: BuildId::new(),
        template_version_id: latest.template_version_id,
        transition,
        reason: "chat".into(),
        initiator_id: initiator,
        parameters: latest.parameters.clone(),
        call: None,
        agent: None,
    }
}

const fn is_started(lifecycle: AgentLifecycle) -> bool {
    match lifecycle {
        AgentLifecycle::Ready | AgentLifecycle::StartError | AgentLifecycle::StartTimeout => true,
        AgentLifecycle::Created | AgentLifecycle::Starting | AgentLifecycle::Off => false,
    }
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

/// The last lines that fit.
fn last(lines: &[LogRow], bytes: usize) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut size = 0;
    for line in lines.iter().rev() {
        size += line.output.len() + 1;
        if size > bytes && !kept.is_empty() {
            break;
        }
        kept.push(&line.output);
    }
    kept.reverse();
    atelier_domain::text::tail(&kept.join("\n"), bytes).to_owned()
}

fn sentence(text: &str) -> String {
    let text = atelier_domain::text::head(text.trim(), 2048);
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

fn error(code: ToolErrorCode, message: impl Into<String>) -> ToolError {
    ToolError::new(code, message)
}

#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
fn internal(error: StoreError) -> ToolError {
    tracing::error!(%error, "a workspace tool cannot reach the database");
    ToolError::new(ToolErrorCode::Internal, "The server could not look the workspace up. Try again in a moment.")
}

fn deleted() -> ToolError {
    error(ToolErrorCode::WorkspaceDeleted, "The workspace was deleted. Call create_workspace to make a new one.")
}

fn agent_away(view: &WorkspaceView) -> ToolError {
    let since = view.agent.as_ref().and_then(|agent| agent.disconnected_at);
    let since = since.map(|at| format!(" since {at}")).unwrap_or_default();
    error(
        ToolErrorCode::AgentNotConnected,
        format!(
            "The workspace runs, but its agent is not connected{since}. It reconnects by itself; try again in a moment."
        ),
    )
}

fn in_progress(build: BuildId) -> ToolError {
    error(ToolErrorCode::BuildInProgress, "Another build of the workspace is under way. Try again in a moment.")
        .with("build_id", json!(build))
}

fn invalid_parameters(faults: &[Fault]) -> ToolError {
    let validations: Vec<Value> =
        faults.iter().map(|fault| json!({ "field": fault.field, "detail": fault.detail })).collect();
    error(
        ToolErrorCode::InvalidParameters,
        "The parameters do not fit the template. Call read_template for what it takes.",
    )
    .with("validations", Value::Array(validations))
}

fn workspace_error(failed: WorkspaceError) -> ToolError {
    match failed {
        WorkspaceError::NotFound => deleted(),
        WorkspaceError::TooMany => error(
            ToolErrorCode::QuotaExceeded,
            "The user has as many workspaces as allowed. One must be deleted before another can be created.",
        ),
        WorkspaceError::TooManyRunning => error(
            ToolErrorCode::QuotaExceeded,
            "The user has as many running workspaces as allowed. One must be stopped first.",
        ),
        WorkspaceError::BuildInProgress(build) => in_progress(build),
        WorkspaceError::NameTaken => error(ToolErrorCode::InvalidArguments, "The name is taken. Choose another one."),
        WorkspaceError::Store(error) => internal(error),
    }
}

fn operation_error(failed: OperationError) -> ToolError {
    match failed {
        OperationError::NotFound => deleted(),
        OperationError::Invalid(faults) => invalid_parameters(&faults),
        OperationError::BuildInProgress(build) => in_progress(build),
        OperationError::QuotaExceeded(words) => error(ToolErrorCode::QuotaExceeded, words),
        OperationError::NameTaken | OperationError::InUse => {
            error(ToolErrorCode::Internal, "The workspace could not be started.")
        }
        OperationError::Store(error) => internal(error),
    }
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
