//! Links to workspace agents: who may connect, which link is the live one, and what agents report.
//!
//! Owns the sockets of local workspaces and all links of this replica. The invariants: one live link an
//! agent; a newer one closes the older with 4001; what an older one still wants to write is fenced by the
//! generation on the agent's row. A link never decides anything about builds; it only notes on the
//! agent's row what it sees and wakes whoever waits for the workspace.

mod budget;
mod byte_stream;
mod changes;
mod events;
mod frames;
mod link;
mod masks;
mod outgoing;

use std::collections::HashMap;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use atelier_domain::{AgentId, BuildId, Chain, SharedClock, WorkspaceId};
use atelier_store::{AgentConnected, Store};
use atelier_workspace_protocol as protocol;
use hyper::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use changes::Changes;
pub(crate) use events::Startup;
pub(crate) use link::Link;
pub use outgoing::OutgoingSettings;

use budget::Budget;
use byte_stream::{ByteStream, Pace, web_socket_config};
use link::LinkFacts;
use outgoing::Outgoing;

/// Connections to one socket that have no link yet.
const PENDING_CONNECTIONS: usize = 8;
/// Connections to one socket at once, and each second after that. An agent needs one.
const CONNECTIONS: u32 = 60;
const CONNECTIONS_PER_SECOND: u32 = 1;
/// Time a client has to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// The longest silence of a link and how often it is pinged.
#[derive(Clone, Copy, Debug)]
pub struct LinkSettings {
    pub ping: Duration,
    pub dead: Duration,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self { ping: Duration::from_secs(15), dead: Duration::from_secs(45) }
    }
}

/// All links of this replica. Cheap to clone.
#[derive(Clone)]
pub struct Connections {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    outgoing: OutgoingSettings,
    pace: Pace,
    changes: Changes,
    links: Mutex<HashMap<AgentId, Arc<Link>>>,
    sockets: Mutex<HashMap<WorkspaceId, CancellationToken>>,
    agents: Mutex<HashMap<AgentId, events::Known>>,
    clock: SharedClock,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Why a request for a link is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NotFound,
    NotAWebSocket,
    UnknownToken,
    Retired,
    NoCommonProtocol,
    Unavailable,
}

impl Refusal {
    fn response(self) -> Response<String> {
        let (status, code, message) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "route_not_found", "there is no such route here"),
            Self::NotAWebSocket => {
                (StatusCode::UPGRADE_REQUIRED, "upgrade_required", "this route is for WebSockets only")
            }
            Self::UnknownToken => (StatusCode::UNAUTHORIZED, "unauthenticated", "the agent token is not known"),
            Self::Retired => (StatusCode::GONE, "agent_retired", "a newer build took this agent's place"),
            Self::NoCommonProtocol => (
                StatusCode::UPGRADE_REQUIRED,
                "agent_version_unsupported",
                "the server and this workspace agent have no protocol in common; start the workspace anew",
            ),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "try again"),
        };
        let mut body = serde_json::json!({ "message": message, "code": code });
        if self == Self::NoCommonProtocol {
            body["min"] = protocol::PROTOCOL_MIN.into();
            body["max"] = protocol::PROTOCOL_MAX.into();
        }
        let mut response = Response::new(body.to_string());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        if self == Self::Unavailable {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

impl Connections {
    pub(crate) fn new(store: Store, clock: SharedClock, settings: LinkSettings, outgoing: OutgoingSettings) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                outgoing,
                pace: Pace { ping: settings.ping, dead: settings.dead },
                changes: Changes::default(),
                links: Mutex::default(),
                sockets: Mutex::default(),
                agents: Mutex::default(),
                clock,
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        }
    }

    pub(crate) fn changes(&self) -> &Changes {
        &self.shared.changes
    }

    /// The live link of an agent.
    pub(crate) fn link(&self, agent: AgentId) -> Option<Arc<Link>> {
        self.links().get(&agent).filter(|link| !link.is_ended()).cloned()
    }

    /// Serves the connect route on a workspace's socket, in place of an older listener of it.
    pub(crate) fn serve_socket(&self, workspace: WorkspaceId, listener: StdUnixListener) -> std::io::Result<()> {
        let listener = UnixListener::from_std(listener)?;
        let stop = self.shared.stop.child_token();
        if let Some(older) = lock(&self.shared.sockets).insert(workspace, stop.clone()) {
            older.cancel();
        }
        let connections = self.clone();
        self.shared.tasks.spawn(async move {
            let pending = Arc::new(Semaphore::new(PENDING_CONNECTIONS));
            let mut budget = Budget::new(CONNECTIONS, CONNECTIONS_PER_SECOND);
            loop {
                // Links that come and go cost rows and lines of the log. Those that are too fast queue here.
                while !budget.take() {
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_secs(1)) => {}
                        () = stop.cancelled() => return,
                    }
                }
                // `accept` and the semaphore are cancel safe, the token too.
                let stream = tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => stream,
                        Err(error) => {
                            tracing::warn!(workspace.id = %workspace, error = %Chain(&error), "a workspace's socket fails");
                            tokio::time::sleep(Duration::from_millis(100)).await;
                            continue;
                        }
                    },
                    () = stop.cancelled() => break,
                };
                let Ok(permit) = pending.clone().try_acquire_owned() else { continue };
                let connections = connections.clone();
                let stop = stop.clone();
                connections.shared.tasks.clone().spawn(async move {
                    let service = hyper::service::service_fn(|request| {
                        let connections = connections.clone();
                        async move {
                            let mut response = connections.handle(request, Some(workspace)).await;
                            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                                // the next request needs a connection of its own, which the budget counts
                                response
                                    .headers_mut()
                                    .insert(header::CONNECTION, header::HeaderValue::from_static("close"));
                            }
                            Ok::<_, std::convert::Infallible>(response)
                        }
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .max_buf_size(16 * 1024)
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades();
                    tokio::select! {
                        _ = tokio::time::timeout(REQUEST_TIME, connection) => {}
                        () = stop.cancelled() => {}
                    }
                    drop(permit);
                });
            }
        });
        Ok(())
    }

    /// Ends a workspace's listener; its links stay.
    pub(crate) fn close_socket(&self, workspace: WorkspaceId) {
        if let Some(stop) = lock(&self.shared.sockets).remove(&workspace) {
            stop.cancel();
        }
    }

    /// Closes the links of a workspace's agents, because it has stopped, and forgets what they said.
    pub(crate) fn close_links(&self, workspace: WorkspaceId) {
        lock(&self.shared.agents).retain(|_, known| known.workspace_id != workspace);
        self.links().retain(|_, link| {
            let keep = link.facts().workspace_id != workspace;
            if !keep {
                link.close();
            }
            keep
        });
    }

    /// The live link to any agent of a workspace.
    pub(crate) fn link_of(&self, workspace: WorkspaceId) -> Option<Arc<Link>> {
        self.links().values().find(|link| link.facts().workspace_id == workspace && !link.is_ended()).cloned()
    }

    /// Whether a workspace's socket is served.
    pub(crate) fn serves(&self, workspace: WorkspaceId) -> bool {
        lock(&self.shared.sockets).contains_key(&workspace)
    }

    /// Answers `GET /api/v2/workspaceagents/me/connect`: checks token and protocol and, if both are good,
    /// takes the connection over. `only` is the workspace whose socket it came through.
    ///
    /// The HTTP server that calls this must serve upgrades.
    pub async fn handle<B>(&self, mut request: Request<B>, only: Option<WorkspaceId>) -> Response<String> {
        match self.admit(&request, only).await {
            Ok(admitted) => {
                let upgrade = hyper::upgrade::on(&mut request);
                let connections = self.clone();
                let accept = derive_accept_key(&admitted.key);
                self.shared.tasks.spawn(async move {
                    match upgrade.await {
                        Ok(stream) => connections.run_link(TokioIo::new(stream), admitted).await,
                        Err(error) => {
                            tracing::debug!(error = %Chain(&error), "a workspace agent left before its link was made");
                        }
                    }
                });
                switching_protocols(&accept)
            }
            Err(refusal) => {
                tracing::info!(workspace.id = ?only, ?refusal, "a workspace agent may not connect");
                refusal.response()
            }
        }
    }

    async fn admit<B>(&self, request: &Request<B>, only: Option<WorkspaceId>) -> Result<Admitted, Refusal> {
        let headers = request.headers();
        if request.method() != Method::GET || request.uri().path() != protocol::CONNECT_PATH {
            return Err(Refusal::NotFound);
        }
        let token = bearer(headers).ok_or(Refusal::UnknownToken)?;
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let agent = self
            .shared
            .store
            .agent_by_token_for_system(hash)
            .await
            .map_err(|error| {
                tracing::warn!(error = %Chain(&error), "an agent token cannot be looked up");
                Refusal::Unavailable
            })?
            .filter(|agent| only.is_none_or(|workspace| workspace == agent.workspace_id))
            .ok_or(Refusal::UnknownToken)?;
        if !agent.current {
            return Err(Refusal::Retired);
        }
        let upgrades = header_has(headers, header::UPGRADE, "websocket")
            && header_has(headers, header::CONNECTION, "upgrade")
            && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| upgrades).ok_or(Refusal::NotAWebSocket)?;
        if !header_has(headers, header::SEC_WEBSOCKET_PROTOCOL, protocol::SUBPROTOCOL) {
            if let Err(error) = self.shared.store.build_agent_unsupported(agent.build_id).await {
                tracing::warn!(error = %Chain(&error), "an unsupported agent cannot be noted on its build");
            }
            self.shared.changes.wake(agent.workspace_id);
            return Err(Refusal::NoCommonProtocol);
        }
        let text = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            atelier_domain::text::head(value, 128).to_owned()
        };
        Ok(Admitted {
            agent_id: agent.agent_id,
            workspace_id: agent.workspace_id,
            build_id: agent.build_id,
            key: key.as_bytes().to_vec(),
            version: text(protocol::header::AGENT_VERSION),
            boot_id: text(protocol::header::BOOT_ID),
            ledger_id: text(protocol::header::LEDGER_ID),
        })
    }

    /// Lives as long as the link.
    async fn run_link<S>(&self, stream: S, admitted: Admitted)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Admitted { agent_id, workspace_id, build_id, version, boot_id, ledger_id, .. } = admitted;
        let connected = AgentConnected { version, boot_id: boot_id.clone(), ledger_id: ledger_id.clone() };
        let generation = match self.shared.store.agent_connected(agent_id, connected).await {
            Ok(generation) => generation,
            Err(error) => {
                tracing::warn!(agent.id = %agent_id, error = %Chain(&error), "a link cannot be noted; the agent comes again");
                return;
            }
        };
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(web_socket_config())).await;
        let superseded = CancellationToken::new();
        let stream = ByteStream::new(socket, self.shared.pace, superseded.clone());
        let facts = LinkFacts { agent_id, workspace_id, generation, ledger_id };
        let outgoing = Outgoing::new(self.shared.store.clone(), self.shared.outgoing.clone(), agent_id, build_id);
        let (link, drive) = Link::start(stream, facts, superseded, outgoing);
        if let Some(older) = self.put(link.clone()) {
            tracing::warn!(agent.id = %agent_id, "a newer link takes the place of an older one");
            older.supersede();
        }
        tracing::info!(workspace.id = %workspace_id, agent.id = %agent_id, "workspace agent connected");
        let events = self.shared.tasks.spawn(events::follow(self.clone(), Arc::downgrade(&link), boot_id));
        self.shared.changes.wake(workspace_id);
        drop(link);
        // Dropping the driving future closes the connection.
        tokio::select! {
            () = drive => {}
            () = self.shared.stop.cancelled() => {}
        }
        events.abort();
        self.remove(agent_id, generation);
        if !self.shared.stop.is_cancelled()
            && let Err(error) = self.shared.store.agent_disconnected(agent_id, generation).await
        {
            tracing::warn!(agent.id = %agent_id, error = %Chain(&error), "a lost link cannot be noted");
        }
        tracing::info!(workspace.id = %workspace_id, agent.id = %agent_id, "workspace agent disconnected");
        self.shared.changes.wake(workspace_id);
    }

    /// Puts a link in its place unless a newer one is there, and returns the one to close.
    fn put(&self, link: Arc<Link>) -> Option<Arc<Link>> {
        let mut links = self.links();
        match links.get(&link.facts().agent_id) {
            Some(there) if there.facts().generation > link.facts().generation => Some(link),
            _ => links.insert(link.facts().agent_id, link),
        }
    }

    fn remove(&self, agent: AgentId, generation: i64) {
        let mut links = self.links();
        if links.get(&agent).is_some_and(|link| link.facts().generation == generation) {
            links.remove(&agent);
        }
    }

    fn links(&self) -> MutexGuard<'_, HashMap<AgentId, Arc<Link>>> {
        lock(&self.shared.links)
    }

    fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Closes every link and socket. Agents come again by themselves.
    pub(crate) async fn shut_down(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.links().clear();
    }
}

struct Admitted {
    agent_id: AgentId,
    workspace_id: WorkspaceId,
    build_id: BuildId,
    key: Vec<u8>,
    version: String,
    boot_id: String,
    ledger_id: String,
}

fn switching_protocols(accept: &str) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, header::HeaderValue::from_static(protocol::SUBPROTOCOL));
    if let Ok(accept) = header::HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn header_has(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(word))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these is held; a poisoned map is as good as any.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
