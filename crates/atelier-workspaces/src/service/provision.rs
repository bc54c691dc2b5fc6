//! Making and starting the workspace of a chat, and waiting for it (`workspaces.md` 1.5).

use atelier_daemon::tool_error::{ToolError, ToolErrorCode};
use atelier_daemon::workspace::{ToolCaller, WorkspaceCreateArgs, WorkspaceReport};
use atelier_domain::{AgentId, BuildId, ChatId, UserId, WorkspaceId};
use atelier_store::{
    AgentLifecycle, AgentStatus, BuildNew, BuildRow, BuildState, ChatRow, LogRow, StoreError, TemplateRow, Transition,
    WorkspaceError, WorkspaceNew, WorkspaceRow, build_by_call_in_tx, build_create_in_tx, build_latest_in_tx,
    chat_get_in_tx, chat_lock_in_tx, chat_workspace_set_in_tx, workspace_by_call_in_tx, workspace_create_in_tx,
    workspace_get_in_tx,
};
use atelier_stream::{ChatChange, WatchKind};
use serde_json::json;
use tokio::time::Instant;

use super::errors::{
    deleted, error, in_progress, internal, invalid_parameters, last, operation_error, sentence, workspace_error,
};
use super::operations::ttl;
use super::report::{self, Waited};
use super::{WorkspaceService, WorkspaceView, names};
use crate::builds::{fresh_token, parameters};
use crate::connections::Startup;
use crate::templates::TemplateSpec;

/// Names tried when derived ones are taken.
const NAME_TRIES: usize = 8;

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
    pub(super) async fn create_for_chat(
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
                let fields = report::fields(&view, &Startup::default(), "", Waited::Stopped, None);
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

    pub(super) async fn start_for_chat(&self, caller: ToolCaller) -> Result<WorkspaceReport, ToolError> {
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
        let mut startup = Startup::default();
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
