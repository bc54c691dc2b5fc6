//! A server in this process, on a port of its own and a fresh database.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use atelier_daemon::workspace::WorkspaceConnection;
use atelier_daemon::{Daemon, DaemonConfig, DaemonParts, Faults};
use atelier_domain::{Clock, OrganizationId, SharedClock, Timestamp, UserId};
use atelier_egress::Egress;
use atelier_llm::{ProviderRegistry, RegistryParts, Script, Scripts};
use atelier_server::{ConnectionLimits, Rates, Server, ServerConfig, ServerParts, SetupCode, TrustedProxies};
use atelier_store::testing::{PostgresTest, postgres_store, sqlite_store};
use atelier_store::{ModelConfigFields, ProviderPresets, SecretString, Store, UserNew};
use atelier_stream::{Hubs, StreamConfig};
use atelier_test_support::{Actor, Engine};
use atelier_workspaces::drivers::local::{LocalSettings, SandboxChoice};
use atelier_workspaces::templates::HostNetwork;
use atelier_workspaces::{WorkspaceService, WorkspacesConfig};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::played_agent::PlayedAgent;

pub(crate) const CHATS: &str = "/api/experimental/chats";
pub(crate) const PLATFORM: &str = "/api/v2";

/// What the first user is created with.
pub(crate) const SETUP_CODE: &str = "abcde-fghij-kmnpq-rstuv";

/// An id that nothing has.
pub(crate) const UNKNOWN: &str = "01890000-0000-7000-8000-000000000000";

/// Content of one text.
pub(crate) fn text(text: &str) -> Value {
    json!([{"type": "text", "text": text}])
}

/// The script of the default model. Messages choose what it does.
const SCRIPT: &str = r#"
rules:
  - when: {user_contains: "hang"}
    steps:
      - text: "Looking"
      - hang: true
  - when: {user_contains: "count"}
    steps:
      - {text: "0123456789", chunk: 1, repeat: 20, delay_ms: 1}
  - when: {user_contains: "tally"}
    steps:
      - {text: "0123456789", chunk: 1, repeat: 20, delay_ms: 1}
      - hang: true
  - when: {user_contains: "flood"}
    steps:
      - {reasoning: "KILOBYTE", repeat: 700}
      - {text: "KILOBYTE", repeat: 700}
      - hang: true
  - when: {user_contains: "print", tool_result: {name: execute}}
    steps:
      - text: "Printed."
  - when: {user_contains: "print"}
    steps:
      - tool_call: {name: execute, args: {command: "yes"}}
  - when: {user_contains: "fail"}
    steps:
      - error: {kind: auth, message: "the key is wrong"}
  - steps:
      - text: "Hello there."
      - usage: {input_tokens: 10, output_tokens: 3}
"#;

/// The machine's clock, whose wall time can be set back.
pub(crate) struct SystemClock {
    begun: Instant,
    back_by_seconds: AtomicI64,
}

impl SystemClock {
    pub(crate) fn set_back(&self, hours: i64) {
        self.back_by_seconds.fetch_add(hours * 3600, Ordering::SeqCst);
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { begun: Instant::now(), back_by_seconds: AtomicI64::new(0) }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now() - jiff::SignedDuration::from_secs(self.back_by_seconds.load(Ordering::SeqCst))
    }

    fn monotonic_now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep_until((self.begun + deadline).into()))
    }
}

/// What a test wants to be different.
pub(crate) struct Builder {
    engine: Engine,
    rates: Rates,
    connections: ConnectionLimits,
    trusted_proxies: TrustedProxies,
    access_url: String,
    clock: Option<SharedClock>,
    model: bool,
    workspace_program: Option<PathBuf>,
    agent: Option<Arc<dyn WorkspaceConnection>>,
}

impl Builder {
    pub(crate) fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    pub(crate) fn rates(mut self, requests: u32, logins: u32) -> Self {
        self.rates = Rates { requests, logins, ..self.rates };
        self
    }

    pub(crate) fn login_rate_of_address(mut self, logins: u32) -> Self {
        self.rates.logins_per_address = logins;
        self
    }

    pub(crate) fn connections(mut self, limits: ConnectionLimits) -> Self {
        self.connections = limits;
        self
    }

    pub(crate) fn trusted_proxies(mut self, list: &str) -> Self {
        self.trusted_proxies = list.parse().unwrap();
        self
    }

    pub(crate) fn file_rate(mut self, files: u32) -> Self {
        self.rates.files = files;
        self
    }

    pub(crate) fn access_url(mut self, url: &str) -> Self {
        url.clone_into(&mut self.access_url);
        self
    }

    /// Time of the server's own waits; requests and databases keep the machine's.
    pub(crate) fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// What workspaces run in the place of the workspace agent, shut in so that they stay.
    pub(crate) fn workspace_program(mut self, program: PathBuf) -> Self {
        self.workspace_program = Some(program);
        self
    }

    /// The workspace agent that the tools of turns reach, whatever the workspace.
    pub(crate) fn agent(mut self, agent: Arc<dyn WorkspaceConnection>) -> Self {
        self.agent = Some(agent);
        self
    }

    pub(crate) fn without_model(mut self) -> Self {
        self.model = false;
        self
    }

    pub(crate) async fn start(self) -> Host {
        let data = tempfile::tempdir().unwrap();
        // workspaces run as another user when the tests run as root
        std::fs::set_permissions(data.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let (store, database) = match self.engine {
            Engine::Sqlite => (sqlite_store(data.path()).await, None),
            Engine::Postgres => {
                let database = postgres_store(data.path()).await;
                (database.store.clone(), Some(database))
            }
        };
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::default()));
        let hubs = Hubs::new(store.clone(), Arc::clone(&clock), StreamConfig::default());
        let egress = Egress::new("loopback".parse().unwrap()).unwrap();
        let scripts = Scripts::new(None)
            .with("test", Script::parse("test", &SCRIPT.replace("KILOBYTE", &"x".repeat(1024))).unwrap());
        let registry = ProviderRegistry::new(RegistryParts {
            egress: egress.clone(),
            clock: Arc::clone(&clock),
            scripts: Some(scripts),
        });
        let keyless = ["scripted", "openai-compat"].map(str::to_owned).into();
        let presets = Arc::new(ProviderPresets { presets: Vec::new(), keyless });
        let workspaces = WorkspaceService::open(
            store.clone(),
            hubs.clone(),
            Arc::clone(&clock),
            WorkspacesConfig::new(local(data.path(), self.workspace_program)),
        )
        .await
        .unwrap();
        let daemon = Daemon::start(DaemonParts {
            store: store.clone(),
            hubs: hubs.clone(),
            registry: registry.clone(),
            presets: Arc::clone(&presets),
            workspaces: match self.agent {
                Some(agent) => Arc::new(PlayedAgent { service: workspaces.clone(), agent }),
                None => Arc::new(workspaces.clone()),
            },
            clock: Arc::clone(&clock),
            faults: Faults::none(),
            config: DaemonConfig::default(),
        })
        .await
        .unwrap();
        let daemon = Arc::new(daemon);
        let server = Server::new(ServerParts {
            store: store.clone(),
            daemon: Arc::clone(&daemon),
            hubs: hubs.clone(),
            workspaces: workspaces.clone(),
            registry,
            presets,
            egress,
            clock,
            config: ServerConfig {
                access_url: self.access_url,
                version: "0.0.0-test".into(),
                deployment_id: "deployment".into(),
                rates: self.rates,
                connections: self.connections,
                trusted_proxies: self.trusted_proxies,
                setup: Some(SetupCode { code: SecretString::new(SETUP_CODE), file: data.path().join("setup_code") }),
            },
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let (server, stop) = (server.clone(), stop.clone());
            async move { server.serve(listener, stop).await }
        });
        let host =
            Host { port, store, hubs, server, daemon, workspaces, stop, serving: Some(serving), database, _data: data };
        if self.model {
            host.add_model().await;
        }
        host
    }
}

fn local(data: &Path, program: Option<PathBuf>) -> LocalSettings {
    LocalSettings {
        data_dir: data.to_owned(),
        sandbox: if program.is_some() { SandboxChoice::Bubblewrap } else { SandboxChoice::Off },
        // what runs in workspaces is not looked at by most tests
        agent_program: program.unwrap_or_else(|| "/bin/true".into()),
        host_network: HostNetwork::default(),
        uid: atelier_test_support::workspace_users(),
        extra_paths: Vec::new(),
        stop_grace: Duration::from_secs(1),
    }
}

/// The server under test and what lies below it.
pub(crate) struct Host {
    pub(crate) port: u16,
    pub(crate) store: Store,
    pub(crate) hubs: Hubs,
    pub(crate) server: Server,
    daemon: Arc<Daemon>,
    workspaces: WorkspaceService,
    stop: CancellationToken,
    serving: Option<tokio::task::JoinHandle<()>>,
    database: Option<PostgresTest>,
    _data: TempDir,
}

impl Host {
    pub(crate) fn builder() -> Builder {
        Builder {
            engine: Engine::of_environment(),
            rates: Rates { requests: 0, logins: 0, logins_per_address: 0, files: 0 },
            connections: ConnectionLimits::default(),
            trusted_proxies: TrustedProxies::default(),
            access_url: "http://atelier.example".into(),
            clock: None,
            model: true,
            workspace_program: None,
            agent: None,
        }
    }

    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    /// Somebody without a credential.
    pub(crate) fn anonymous(&self) -> Actor {
        Actor::anonymous(self.port)
    }

    /// The site's owner; made at the first call.
    pub(crate) async fn admin(&self) -> Actor {
        let row = match self.store.user_by_username("admin").await.unwrap() {
            Some(row) => row.id,
            None => {
                let user = user_new("admin", &["owner"], Vec::new());
                self.store.user_create_first(user, Timestamp::now()).await.unwrap().0.id
            }
        };
        self.actor(row).await
    }

    /// A new user in the default organization, with these site roles.
    pub(crate) async fn user(&self, name: &str, roles: &[&str]) -> Actor {
        self.admin().await;
        let row = self.store.user_create(user_new(name, roles, Vec::new()), Timestamp::now()).await.unwrap();
        self.actor(row.id).await
    }

    pub(crate) async fn user_id(&self, name: &str) -> UserId {
        self.store.user_by_username(name).await.unwrap().unwrap().id
    }

    /// Sessions without passwords: hashing one takes a tenth of a second.
    async fn actor(&self, user: UserId) -> Actor {
        let token = uuid::Uuid::now_v7().to_string();
        let now = Timestamp::now();
        let expires_at = now + jiff::SignedDuration::from_hours(1);
        let hash = Sha256::digest(token.as_bytes()).into();
        self.store.session_create(user, hash, now, expires_at).await.unwrap();
        self.anonymous().with_token(&token)
    }

    async fn add_model(&self) {
        let fields = ModelConfigFields {
            model: "test".into(),
            display_name: "Test".into(),
            enabled: true,
            is_default: Some(true),
            context_limit: 100_000,
            compression_threshold: 70,
            model_config: None,
        };
        let provider = atelier_store::ProviderFields {
            provider: "scripted".into(),
            name: "scripted".into(),
            display_name: String::new(),
            enabled: true,
            api_key: atelier_store::ApiKeyChange::Keep,
            base_url: None,
            central_api_key_enabled: true,
            allow_user_api_key: false,
            allow_central_api_key_fallback: false,
        };
        let now = Timestamp::now();
        let row = self.store.provider_create(provider, now).await.unwrap();
        self.store.model_create((Some(row.id), "scripted".into(), "scripted".into()), fields, now).await.unwrap();
    }

    /// Streams of this chat that are open.
    pub(crate) fn viewers(&self, chat: &str) -> usize {
        self.hubs.viewer_count(chat.parse().unwrap())
    }

    /// Ends everything in the order the binary does.
    pub(crate) async fn stop(mut self) {
        self.server.not_ready();
        self.stop.cancel();
        self.hubs.shut_down();
        self.daemon.shut_down(Duration::from_millis(100)).await;
        if let Some(serving) = self.serving.take() {
            serving.await.unwrap();
        }
        self.workspaces.shut_down().await;
        match self.database.take() {
            Some(database) => database.end().await,
            None => self.store.close().await,
        }
    }
}

fn user_new(name: &str, roles: &[&str], organization_ids: Vec<OrganizationId>) -> UserNew {
    UserNew {
        id: UserId::new(),
        email: format!("{name}@example.com"),
        username: name.to_owned(),
        name: name.to_owned(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        password_hash: "none".into(),
        organization_ids,
    }
}
