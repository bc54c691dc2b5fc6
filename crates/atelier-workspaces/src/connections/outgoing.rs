//! What workspaces reach through the server (`workspaces.md` 5.4, `allowlist`).
//!
//! The agent opens a stream and asks `CONNECT host:port` on it. A host that the template lists is dialled
//! from here, by checked addresses only; then the stream carries its bytes. There is no other route.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atelier_domain::{AgentId, BuildId, Chain};
use atelier_egress::{DialError, Dialer, EgressPolicy};
use atelier_store::{Store, StoreError};
use hyper::body::Incoming;
use hyper::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio_yamux::StreamHandle;

use super::budget::Budget;
use crate::templates::{NetworkPolicy, TemplateSpec, lists_host};

/// Streams an agent may have open to here.
const STREAMS: usize = 32;
/// For the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(10);
const HEAD_BYTES: usize = 16 * 1024;
/// A connection over which nothing went for so long is closed.
const IDLE: Duration = Duration::from_secs(600);
/// Lines that a link may write at once about hosts that are refused; then one a second.
const REFUSED_LINES: u32 = 100;
const BUFFER_BYTES: usize = 32 * 1024;

/// How workspaces get out: what the server dials for them.
#[derive(Clone)]
pub struct OutgoingSettings {
    pub dialer: Dialer,
    pub ports: Vec<u16>,
}

impl Default for OutgoingSettings {
    /// Public addresses, at the ports of HTTP and HTTPS.
    fn default() -> Self {
        Self { dialer: Dialer::new(EgressPolicy::default()), ports: vec![80, 443] }
    }
}

impl std::fmt::Debug for OutgoingSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutgoingSettings").field("ports", &self.ports).finish_non_exhaustive()
    }
}

/// The streams that one agent opens.
pub(super) struct Outgoing {
    store: Store,
    settings: OutgoingSettings,
    agent: AgentId,
    build: BuildId,
    slots: Arc<Semaphore>,
    /// Whether it was said already that the agent opens too many streams.
    warned: AtomicBool,
    /// Refused hosts that are still worth a line in the log.
    refused_lines: Mutex<Budget>,
    /// The list of the agent's build, read when it is first asked for.
    hosts: OnceCell<Vec<String>>,
}

/// Why there is no connection for a workspace.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    fn response(self) -> Response<String> {
        let body = serde_json::json!({ "code": self.code, "message": self.message });
        let mut response = Response::new(body.to_string());
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

impl Outgoing {
    pub(super) fn new(store: Store, settings: OutgoingSettings, agent: AgentId, build: BuildId) -> Arc<Self> {
        Arc::new(Self {
            store,
            settings,
            agent,
            build,
            slots: Arc::new(Semaphore::new(STREAMS)),
            warned: AtomicBool::new(false),
            refused_lines: Mutex::new(Budget::new(REFUSED_LINES, 1)),
            hosts: OnceCell::new(),
        })
    }

    /// The place of one more stream. An agent that has all of its streams in use loses the new one.
    pub(super) fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let slot = self.slots.clone().try_acquire_owned().ok();
        if slot.is_none() && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(agent.id = %self.agent, "a workspace agent opens too many streams");
        }
        slot
    }

    /// Serves one stream to its end.
    ///
    /// # Cancel safety
    /// Dropping the future closes the stream and what was dialled for it.
    pub(super) async fn serve(self: Arc<Self>, stream: StreamHandle, _slot: OwnedSemaphorePermit) {
        let (dialled, mut connection) = tokio::sync::mpsc::channel(1);
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            let (outgoing, dialled) = (self.clone(), dialled.clone());
            async move {
                let response = match outgoing.connect(&request).await {
                    Ok(target) => {
                        let _ = dialled.try_send((hyper::upgrade::on(request), target));
                        Response::new(String::new())
                    }
                    Err(refusal) => refusal.response(),
                };
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
        if let Err(error) = served {
            tracing::debug!(agent.id = %self.agent, error = %Chain(&error), "a stream of a workspace agent broke off");
        }
        if let Ok((upgrade, target)) = connection.try_recv()
            && let Ok(upgraded) = upgrade.await
        {
            relay(TokioIo::new(upgraded), target).await;
        }
    }

    async fn connect(&self, request: &Request<Incoming>) -> Result<tokio::net::TcpStream, Refusal> {
        let target = request.uri().authority().filter(|_| request.method() == Method::CONNECT);
        let Some((target, port)) = target.and_then(|target| Some((target, target.port_u16()?))) else {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "route_not_found", "there is no such route here"));
        };
        let host = target.host().trim_end_matches('.').to_ascii_lowercase();
        let hosts = self.hosts.get_or_try_init(|| self.listed_hosts()).await?;
        if !lists_host(hosts, &host) || !self.settings.ports.contains(&port) {
            if self.refused_lines.lock().unwrap_or_else(PoisonError::into_inner).take() {
                tracing::info!(agent.id = %self.agent, host, port, "a workspace may not reach a host");
            }
            let message = format!("{host}:{port} is not among the hosts and ports that this workspace may reach");
            return Err(Refusal::new(StatusCode::FORBIDDEN, "host_not_allowed", message));
        }
        match self.settings.dialer.dial(&host, port).await {
            Ok(stream) => {
                tracing::debug!(agent.id = %self.agent, host, port, "a workspace reaches a host");
                Ok(stream)
            }
            Err(error @ DialError::Denied(_)) => {
                Err(Refusal::new(StatusCode::FORBIDDEN, "host_not_allowed", error.to_string()))
            }
            Err(DialError::Connect { host, source }) => {
                let message = format!("cannot connect to {host}:{port}: {source}");
                Err(Refusal::new(StatusCode::BAD_GATEWAY, "host_unreachable", message))
            }
        }
    }

    /// The hosts that the template's version lists; none unless its policy is `allowlist`.
    async fn listed_hosts(&self) -> Result<Vec<String>, Refusal> {
        let version = async {
            let Some(build) = self.store.build_get(self.build).await? else { return Ok(None) };
            self.store.template_version_get(build.template_version_id).await
        };
        let version = version.await.map_err(|error: StoreError| {
            tracing::warn!(agent.id = %self.agent, error = %Chain(&error), "the hosts of a workspace cannot be read");
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "try again")
        })?;
        let spec = version.and_then(|version| TemplateSpec::stored(&version.spec));
        let spec = spec.filter(|spec| spec.network_policy == NetworkPolicy::Allowlist);
        Ok(spec.map_or_else(Vec::new, |spec| spec.allow_hosts))
    }
}

/// Carries bytes both ways until both sides have ended, one breaks, or nothing comes for [`IDLE`].
async fn relay(inner: impl AsyncRead + AsyncWrite + Unpin, outer: impl AsyncRead + AsyncWrite + Unpin) {
    let (inner_read, inner_write) = tokio::io::split(inner);
    let (outer_read, outer_write) = tokio::io::split(outer);
    let moved = AtomicU64::new(0);
    let both =
        async { tokio::try_join!(carry(inner_read, outer_write, &moved), carry(outer_read, inner_write, &moved)) };
    let idle = async {
        let mut seen = None;
        while seen != Some(moved.load(Ordering::Relaxed)) {
            seen = Some(moved.load(Ordering::Relaxed));
            tokio::time::sleep(IDLE).await;
        }
    };
    // Both arms may be dropped: the connection ends with either.
    tokio::select! {
        _ = both => {}
        () = idle => {}
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &AtomicU64,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
        moved.fetch_add(count as u64, Ordering::Relaxed);
    }
}
