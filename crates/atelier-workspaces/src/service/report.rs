//! What `create_workspace` and `start_workspace` tell the model (`workspaces.md` 1.5).

use atelier_domain::text::tail;
use atelier_store::{AgentLifecycle, AgentStatus};
use serde_json::{Map, Value, json};

use super::WorkspaceView;
use crate::connections::Startup;

const LOG_TAIL_BYTES: usize = 4 * 1024;

/// What a wait came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    Done,
    BuildTakesLong,
    AgentNotReady,
    ScriptTakesLong,
    /// The workspace is stopped and was left so.
    Stopped,
}

pub(super) fn fields(
    view: &WorkspaceView,
    startup: &Startup,
    script_log: &str,
    waited: Waited,
    note: Option<String>,
) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("workspace_id".into(), json!(view.workspace.id));
    fields.insert("workspace_name".into(), json!(view.workspace.name));
    fields.insert("build_id".into(), json!(view.build.id));
    fields.insert("status".into(), json!(view.status()));
    if let Some(agent) = &view.agent {
        let status = match (waited, agent.status) {
            (Waited::AgentNotReady, AgentStatus::Connecting | AgentStatus::Disconnected | AgentStatus::Timeout) => {
                "not_ready"
            }
            (_, status) => status.as_str(),
        };
        fields.insert("agent_status".into(), json!(status));
        fields.insert("lifecycle_state".into(), json!(agent.lifecycle.as_str()));
        if startup.has_script {
            fields.insert("startup_script".into(), script(agent.lifecycle, startup, script_log));
        }
    }
    let broken = view.agent.as_ref().and_then(|agent| agent.broken.as_ref());
    if let Some(error) = broken.or(view.build.error.as_ref()) {
        fields.insert("agent_error".into(), json!(error));
    }
    fields.insert("ttl_ms".into(), json!(view.workspace.ttl_ms.unwrap_or(0)));
    fields.insert("ttl_source".into(), json!(view.workspace.ttl_source));
    let message = match waited {
        Waited::Done => failed_start(view, startup),
        Waited::BuildTakesLong => {
            Some("The build takes long and goes on. Call start_workspace to wait for it.".to_owned())
        }
        Waited::AgentNotReady => Some(
            "The workspace runs, but its agent has not connected yet. Call start_workspace to wait for it.".to_owned(),
        ),
        Waited::ScriptTakesLong => Some(
            "The start-up script goes on. The workspace can be used meanwhile; call start_workspace to wait for it."
                .to_owned(),
        ),
        Waited::Stopped => {
            Some("This chat has a workspace already and it is stopped. Call start_workspace to start it.".to_owned())
        }
    };
    let message: Vec<String> = message.into_iter().chain(note).collect();
    if !message.is_empty() {
        fields.insert("message".into(), json!(message.join(" ")));
    }
    fields
}

fn failed_start(view: &WorkspaceView, startup: &Startup) -> Option<String> {
    let lifecycle = view.agent.as_ref()?.lifecycle;
    match lifecycle {
        AgentLifecycle::StartError if startup.has_script => Some(
            "Cloning the repository or the start-up script failed; see the log. The workspace can be used.".to_owned(),
        ),
        AgentLifecycle::StartError => Some(format!(
            "Cloning the repository failed. The workspace can be used.{}",
            startup.log_tail.as_ref().map(|log| format!(" Log: {}", tail(log, 2048))).unwrap_or_default()
        )),
        AgentLifecycle::StartTimeout => {
            Some("The start-up script took too long and was ended. The workspace can be used.".to_owned())
        }
        AgentLifecycle::Created | AgentLifecycle::Starting | AgentLifecycle::Ready | AgentLifecycle::Off => None,
    }
}

fn script(lifecycle: AgentLifecycle, startup: &Startup, log: &str) -> Value {
    let state = match lifecycle {
        AgentLifecycle::Created | AgentLifecycle::Starting => "running",
        AgentLifecycle::Ready => "succeeded",
        AgentLifecycle::StartError => "failed",
        AgentLifecycle::StartTimeout => "timeout",
        AgentLifecycle::Off => "off",
    };
    let mut script = Map::new();
    script.insert("state".into(), json!(state));
    if let Some(code) = startup.exit_code {
        script.insert("exit_code".into(), json!(code));
    }
    let log = startup.log_tail.as_deref().unwrap_or(log);
    script.insert("log_tail".into(), json!(tail(log, LOG_TAIL_BYTES)));
    Value::Object(script)
}
