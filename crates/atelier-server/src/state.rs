//! What handlers share, and serving it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use atelier_daemon::Daemon;
use atelier_domain::{SharedClock, Timestamp, UserId};
use atelier_egress::Egress;
use atelier_llm::ProviderRegistry;
use atelier_store::{ProviderPresets, Store};
use atelier_stream::Hubs;
use atelier_workspaces::WorkspaceService;
use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Layer as _;
use tower_http::normalize_path::NormalizePathLayer;

use crate::auth::Logins;
use crate::connections::{self, ConnectionLimits};
use crate::layers::RateLimits;
use crate::places::Places;
use crate::proxies::TrustedProxies;
use crate::setup::SetupCode;
use crate::site::Site;

/// What a server is made of.
pub struct ServerParts {
    pub store: Store,
    pub daemon: Arc<Daemon>,
    pub hubs: Hubs,
    pub workspaces: WorkspaceService,
    pub registry: ProviderRegistry,
    pub presets: Arc<ProviderPresets>,
    pub egress: Egress,
    pub clock: SharedClock,
    pub config: ServerConfig,
}

#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// URL under which people reach the server, without a trailing slash.
    pub access_url: String,
    pub version: String,
    pub deployment_id: String,
    pub rates: Rates,
    pub connections: ConnectionLimits,
    /// Proxies that are believed when they name the address of a client.
    pub trusted_proxies: TrustedProxies,
    /// Of a server that has no user when it starts.
    pub setup: Option<SetupCode>,
}

/// Per minute; 0 = no limit.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub requests: u32,
    /// Of an address and email.
    pub logins: u32,
    /// Of an address, with whatever emails.
    pub logins_per_address: u32,
    pub files: u32,
}

/// Shared by all handlers.
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) daemon: Arc<Daemon>,
    pub(crate) hubs: Hubs,
    pub(crate) workspaces: WorkspaceService,
    pub(crate) registry: ProviderRegistry,
    pub(crate) presets: Arc<ProviderPresets>,
    pub(crate) egress: Egress,
    pub(crate) clock: SharedClock,
    pub(crate) config: ServerConfig,
    pub(crate) logins: Logins,
    pub(crate) limits: RateLimits,
    /// Connections that are open, by the address of the client.
    pub(crate) connections: Places<IpAddr>,
    /// Streams that are open, by their reader.
    pub(crate) streams: Places<UserId>,
    pub(crate) site: Site,
    pub(crate) ready: AtomicBool,
    /// Streams and what they leave to do; ended before the store.
    pub(crate) tasks: TaskTracker,
    /// No more connections are accepted.
    pub(crate) stopping: CancellationToken,
}

pub(crate) type Shared = Arc<App>;

impl App {
    /// Now, as exact as it is stored.
    pub(crate) fn now(&self) -> Timestamp {
        atelier_domain::clock::to_micros(self.clock.now())
    }
}

/// The HTTP server of one replica. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    app: Shared,
}

impl Server {
    #[must_use]
    pub fn new(parts: ServerParts) -> Self {
        let ServerParts { store, daemon, hubs, workspaces, registry, presets, egress, clock, config } = parts;
        let logins = Logins::new(&config.access_url);
        let limits = RateLimits::new(config.rates);
        let connections = Places::new(config.connections.per_address);
        let streams = Places::new(config.connections.streams_per_user);
        let ready = AtomicBool::new(true);
        Self {
            app: Arc::new(App {
                store,
                daemon,
                hubs,
                workspaces,
                registry,
                presets,
                egress,
                clock,
                config,
                logins,
                limits,
                connections,
                streams,
                site: Site::embedded(),
                ready,
                tasks: TaskTracker::new(),
                stopping: CancellationToken::new(),
            }),
        }
    }

    /// Every route.
    pub fn router(&self) -> Router {
        crate::router::router(Arc::clone(&self.app))
    }

    /// `/healthz` says no from here on, so that balancers send nobody any more.
    pub fn not_ready(&self) {
        self.app.ready.store(false, Ordering::Release);
    }

    /// Serves until `stop`, then lets open requests and streams end. Streams end when their hubs shut down.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) {
        let routes = NormalizePathLayer::trim_trailing_slash().layer(self.router());
        let stopping = self.app.stopping.clone();
        let stopped = async move {
            stop.cancelled().await;
            stopping.cancel();
        };
        tokio::join!(connections::serve(listener, routes, &self.app), stopped);
        self.app.tasks.close();
        self.app.tasks.wait().await;
    }
}
