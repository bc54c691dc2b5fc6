//! Following what an agent reports: how far its start is, the lines of clone and scripts, and its health.

use std::sync::{Arc, Weak};
use std::time::Duration;

use atelier_daemon::workspace::ConnectionError;
use atelier_domain::{AgentId, Chain, WorkspaceId};
use atelier_store::{AgentLifecycle, LogNew, StoreError};
use atelier_workspace_protocol::{Event, EventKind, Hello, LifecycleState};
use bytes::BytesMut;

use super::link::LinkFacts;
use super::masks::Masks;
use super::{Connections, Link};
use crate::builds::parameters;

/// The longest line that is read; a log line has 8 KiB, escaped at most six times as much.
const LINE_BYTES: usize = 128 * 1024;
/// Lines stored in one go.
const BATCH: usize = 256;
/// Time between two attempts while the link lives.
const AGAIN: Duration = Duration::from_millis(500);

/// How an agent's start ended or how far it is, with what only the agent knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Startup {
    pub(crate) has_script: bool,
    pub(crate) exit_code: Option<i32>,
    pub(crate) log_tail: Option<String>,
}

/// Where reading goes on after a link was cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    boot_id: String,
    after: u64,
    /// Log lines that this server stored before it was restarted: they come again and are left out.
    known_lines: usize,
}

/// Follows until the link ends.
pub(crate) async fn follow(connections: Connections, link: Weak<Link>, boot_id: String) {
    let mut asked = false;
    while let Some(link) = link.upgrade() {
        if !asked {
            asked = note_facts(&connections, &link).await;
        }
        let ended = read(&connections, &link, &boot_id).await;
        if link.is_ended() {
            return;
        }
        if let Err(error) = ended {
            tracing::debug!(agent.id = %link.facts().agent_id, error = %Chain(&error), "the events of a workspace agent broke off");
        }
        drop(link);
        tokio::time::sleep(AGAIN).await;
    }
}

/// Notes what the agent says of itself. Returns whether it did.
async fn note_facts(connections: &Connections, link: &Arc<Link>) -> bool {
    let hello = match link.get("/v1/hello").await {
        Ok(answer) => answer.whole(LINE_BYTES).await,
        Err(error) => Err(error),
    };
    let hello = hello.and_then(|body| {
        serde_json::from_slice::<Hello>(&body).map_err(|error| ConnectionError::Protocol(error.to_string()))
    });
    match hello {
        Ok(hello) => {
            let noted = connections
                .store()
                .agent_facts_set(link.facts().agent_id, short(&hello.os), short(&hello.arch), short(&hello.directory))
                .await;
            noted.is_ok()
        }
        Err(error) => {
            tracing::debug!(agent.id = %link.facts().agent_id, error = %Chain(&error), "a workspace agent does not say hello");
            false
        }
    }
}

fn short(text: &str) -> String {
    atelier_domain::text::head(text, 4096).replace('\0', "")
}

async fn read(connections: &Connections, link: &Arc<Link>, boot_id: &str) -> Result<(), ConnectionError> {
    let agent = link.facts().agent_id;
    let mut position = match connections.position(agent) {
        Some(position) if position.boot_id == boot_id => position,
        Some(_) => Position { boot_id: boot_id.to_owned(), ..Position::default() },
        None => Position {
            boot_id: boot_id.to_owned(),
            after: 0,
            known_lines: connections
                .store()
                .logs_of_agent(agent, 0, 1_000_000)
                .await
                .map_err(|error| stored(&error))?
                .len(),
        },
    };
    let path = format!("/v1/events?after={}", position.after);
    let mut answer = link.get(&path).await?;
    let mut unread = BytesMut::new();
    while let Some(piece) = answer.piece().await? {
        unread.extend_from_slice(&piece);
        let mut events = Vec::new();
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line = unread.split_to(end + 1);
            let event: Event = serde_json::from_slice(&line)
                .map_err(|error| ConnectionError::Protocol(format!("an event that cannot be read: {error}")))?;
            events.push(event);
        }
        if unread.len() > LINE_BYTES {
            return Err(ConnectionError::Protocol("an event without end".into()));
        }
        for batch in events.chunks(BATCH) {
            take(connections, link, &mut position, batch).await.map_err(|error| stored(&error))?;
        }
    }
    Ok(())
}

fn stored(error: &StoreError) -> ConnectionError {
    tracing::warn!(error = %Chain(error), "the report of a workspace agent cannot be stored; it is read again");
    ConnectionError::Lost
}

async fn take(
    connections: &Connections,
    link: &Arc<Link>,
    position: &mut Position,
    events: &[Event],
) -> Result<(), StoreError> {
    let agent = link.facts().agent_id;
    let masks = connections.masks(agent).await?;
    let mut next = position.clone();
    let mut lines = Vec::new();
    let mut lifecycle = None;
    let mut health = None;
    for event in events.iter().filter(|event| event.seq > position.after) {
        next.after = event.seq;
        match &event.kind {
            EventKind::Log { .. } if next.known_lines > 0 => next.known_lines -= 1,
            EventKind::Log { stage, level, output } => lines.push(LogNew {
                log_source: "workspace".into(),
                log_level: level.as_str().into(),
                stage: stage.as_str().into(),
                output: atelier_domain::text::head(&masks.hide(output), 8 * 1024).replace('\0', "\u{fffd}"),
            }),
            EventKind::Lifecycle { state, exit_code, log_tail, has_script } => {
                let startup = Startup {
                    has_script: *has_script,
                    exit_code: *exit_code,
                    log_tail: log_tail.as_deref().map(|log| masks.hide(log)),
                };
                lifecycle = Some((lifecycle_of(*state), startup));
            }
            EventKind::Health { broken } => health = Some(broken.as_deref().map(|reason| short(&masks.hide(reason)))),
            EventKind::ProcessExit { .. } | EventKind::Gap { .. } | EventKind::Unknown => {}
        }
    }
    if !lines.is_empty() {
        connections.log(agent, lines).await?;
    }
    if let Some((state, startup)) = lifecycle {
        // Before the row, so that who is woken by the row finds it.
        connections.know(link.facts(), |known| known.startup = startup);
        connections.store().agent_lifecycle_set(agent, state).await?;
        connections.changes().wake(link.facts().workspace_id);
    }
    if let Some(broken) = health {
        if let Some(reason) = &broken {
            tracing::warn!(agent.id = %agent, workspace.id = %link.facts().workspace_id, %reason, "a workspace agent is broken");
        }
        connections.store().agent_broken_set(agent, broken).await?;
        connections.changes().wake(link.facts().workspace_id);
    }
    connections.know(link.facts(), |known| known.position = Some(next.clone()));
    *position = next;
    Ok(())
}

const fn lifecycle_of(state: LifecycleState) -> AgentLifecycle {
    match state {
        LifecycleState::Starting => AgentLifecycle::Starting,
        LifecycleState::Ready => AgentLifecycle::Ready,
        LifecycleState::StartError => AgentLifecycle::StartError,
        LifecycleState::StartTimeout => AgentLifecycle::StartTimeout,
        LifecycleState::ShuttingDown => AgentLifecycle::Off,
    }
}

impl Connections {
    fn position(&self, agent: AgentId) -> Option<Position> {
        super::lock(&self.shared.agents).get(&agent).and_then(|known| known.position.clone())
    }

    fn know(&self, facts: &LinkFacts, note: impl FnOnce(&mut Known)) {
        let mut agents = super::lock(&self.shared.agents);
        let fresh = || Known { workspace_id: facts.workspace_id, position: None, startup: Startup::default() };
        note(agents.entry(facts.agent_id).or_insert_with(fresh));
    }

    /// What the agent said of its start.
    pub(crate) fn startup(&self, agent: AgentId) -> Startup {
        super::lock(&self.shared.agents).get(&agent).map(|known| known.startup.clone()).unwrap_or_default()
    }

    /// What the logs of this agent's workspace must not show.
    async fn masks(&self, agent: AgentId) -> Result<Masks, StoreError> {
        let Some(row) = self.store().agent_get(agent).await? else { return Ok(Masks::default()) };
        let Some(build) = self.store().build_get(row.build_id).await? else { return Ok(Masks::default()) };
        Ok(Masks::of(parameters::sensitive(self.store(), build.workspace_id, &build.parameters)))
    }

    async fn log(&self, agent: AgentId, lines: Vec<LogNew>) -> Result<(), StoreError> {
        let Some(row) = self.store().agent_get(agent).await? else { return Ok(()) };
        self.store().log_append(row.build_id, Some(agent), lines, self.shared.clock.now()).await
    }
}

/// What this process remembers of an agent over its links.
#[derive(Debug)]
pub(crate) struct Known {
    pub(super) workspace_id: WorkspaceId,
    position: Option<Position>,
    startup: Startup,
}
