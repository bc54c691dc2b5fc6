//! A host with one user: SQLite, the local driver, and the service under test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use atelier_daemon::workspace::{
    Access, AgentRequest, AgentResponse, CallContext, Method, ToolCaller, WorkspaceConnection, Workspaces,
};
use atelier_domain::{CallToken, ChatId, Clock, ModelConfigId, OrganizationId, Timestamp, UserId, WorkspaceId};
use atelier_store::{
    ChatNew, ModelConfigFields, Store, StoreError, TemplateRow, TitleSource, Transition, UserNew, chat_insert_in_tx,
    testing::{self, PostgresTest},
};
use atelier_stream::{Hubs, StreamConfig};
use atelier_workspaces::drivers::local::{LocalSettings, SandboxChoice};
use atelier_workspaces::templates::HostNetwork;
use atelier_workspaces::{
    BuildCreate, OutgoingSettings, TemplateCreate, Waits, WorkspaceCreate, WorkspaceService, WorkspaceView,
    WorkspacesConfig,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Names another program than the one beside this test.
pub(crate) const AGENT_VARIABLE: &str = "ATELIER_TEST_AGENT";

/// How long a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits to be ended, and as long as `hold` lies in its home not even that.
const WAITS: &str = concat!(
    include_str!("../first-process.sh"),
    "trap 'while [ -e hold ]; do sleep 0.02; done; exit 0' TERM\nwhile :; do sleep 60 & wait $!; done\n"
);

pub(crate) struct SystemClock(std::time::Instant);

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic_now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep_until((self.0 + deadline).into()))
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

pub(crate) struct Host {
    pub(crate) data: TempDir,
    pub(crate) store: Store,
    pub(crate) service: WorkspaceService,
    pub(crate) ada: UserId,
    pub(crate) organization: OrganizationId,
    pub(crate) model: ModelConfigId,
    program: PathBuf,
    /// How long tools wait for the agent.
    agent_wait: Duration,
    sandbox: SandboxChoice,
    /// The first user of workspaces.
    pub(crate) first_user: u32,
    outgoing: OutgoingSettings,
    /// Dropped with the host.
    _postgres: Option<PostgresTest>,
}

impl Host {
    /// `program` is what workspaces run as `atelier`.
    async fn with_program(engine: Engine, program: &Path, agent_wait: Duration, sandbox: SandboxChoice) -> Self {
        let data = tempfile::tempdir().unwrap();
        std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let (store, postgres) = match engine {
            Engine::Sqlite => (testing::sqlite_store(data.path()).await, None),
            Engine::Postgres => {
                let test = testing::postgres_store(data.path()).await;
                (test.store.clone(), Some(test))
            }
        };
        let now = Timestamp::now();
        let ada = UserNew {
            id: UserId::new(),
            email: "ada@example.com".into(),
            username: "ada".into(),
            name: "Ada".into(),
            roles: Vec::new(),
            password_hash: String::new(),
            organization_ids: Vec::new(),
        };
        let (ada, organization) = store.user_create_first(ada, now).await.unwrap();
        let fields = ModelConfigFields {
            model: "demo".into(),
            display_name: "Demo".into(),
            enabled: true,
            is_default: Some(true),
            context_limit: 100_000,
            compression_threshold: 80,
            model_config: None,
        };
        let provider = (None, "scripted".to_owned(), "scripted".to_owned());
        let model = store.model_create(provider, fields, now).await.unwrap().id;
        let outgoing = OutgoingSettings::default();
        let first_user = atelier_test_support::workspace_users();
        let service = open(&store, data.path(), program, agent_wait, (sandbox, first_user), outgoing.clone()).await;
        Self {
            data,
            store,
            service,
            ada: ada.id,
            organization,
            model,
            program: program.to_owned(),
            agent_wait,
            sandbox,
            first_user,
            outgoing,
            _postgres: postgres,
        }
    }

    /// With a program that only waits to be ended, and as long as `hold` lies in its home not even that: the
    /// test plays the agent itself.
    pub(crate) async fn without_agent(engine: Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, WAITS).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut host =
            Self::with_program(engine, &program, Duration::from_millis(300), SandboxChoice::Bubblewrap).await;
        host.program = host.data.path().join("program");
        std::fs::copy(&program, &host.program).unwrap();
        // The program is copied at the first start; open again with the one that stays.
        host.restart().await;
        host
    }

    /// With the real workspace agent.
    pub(crate) async fn with_agent(engine: Engine, sandbox: SandboxChoice) -> Self {
        Self::with_program(engine, &agent_program(), PATIENCE, sandbox).await
    }

    /// With other ways out than public addresses at two ports.
    pub(crate) async fn with_outgoing(outgoing: OutgoingSettings) -> Self {
        let mut host = Self::with_agent(Engine::Sqlite, SandboxChoice::Bubblewrap).await;
        host.outgoing = outgoing;
        host.restart().await;
        host
    }

    /// The server ends and starts again on the same data; workspaces run on.
    pub(crate) async fn restart(&mut self) {
        self.service.shut_down().await;
        let (agent_wait, outgoing) = (self.agent_wait, self.outgoing.clone());
        let shut_in = (self.sandbox, self.first_user);
        self.service = open(&self.store, self.data.path(), &self.program, agent_wait, shut_in, outgoing).await;
    }

    /// Builds a workspace and waits for what that ends in.
    pub(crate) async fn build(&self, id: WorkspaceId, transition: Transition) {
        let build = BuildCreate {
            workspace_id: id,
            initiator_id: self.ada,
            transition,
            template_version_id: None,
            parameters: Vec::new(),
        };
        self.service.build_create(build).await.unwrap();
        match transition {
            Transition::Start => drop(self.wait_for_status(id, "running").await),
            Transition::Stop => drop(self.wait_for_status(id, "stopped").await),
            Transition::Delete => {
                let deadline = tokio::time::Instant::now() + PATIENCE;
                while self.folder(id).exists() || self.service.workspace_view(id).await.unwrap().is_some() {
                    assert!(tokio::time::Instant::now() < deadline, "not deleted in time");
                    tokio::time::timeout(Duration::from_millis(50), self.service.changed(id)).await.ok();
                }
            }
        }
    }

    pub(crate) async fn template(&self, name: &str, spec: Value) -> TemplateRow {
        let create = TemplateCreate { name: name.into(), driver: "local".into(), spec, ..TemplateCreate::default() };
        self.service.template_create(self.organization, self.ada, create).await.unwrap()
    }

    /// A workspace of a fresh template, started.
    pub(crate) async fn workspace(&self, name: &str, spec: Value) -> WorkspaceId {
        let template = self.template(name, spec).await;
        let create = WorkspaceCreate {
            owner_id: self.ada,
            organization_id: None,
            template_id: template.id,
            template_version_id: None,
            name: name.into(),
            ttl_ms: None,
            parameters: Vec::new(),
        };
        let (workspace, _) = self.service.workspace_create(create).await.unwrap();
        self.wait_for_status(workspace, "running").await;
        workspace
    }

    pub(crate) async fn view(&self, workspace: WorkspaceId) -> WorkspaceView {
        self.service.workspace_view(workspace).await.unwrap().unwrap()
    }

    pub(crate) async fn wait_for_status(&self, workspace: WorkspaceId, status: &str) -> WorkspaceView {
        self.wait_for(workspace, status, |view| {
            assert!(view.status() != "failed" || status == "failed", "{:?}", view.build);
            view.status() == status
        })
        .await
    }

    pub(crate) async fn wait_for(
        &self,
        workspace: WorkspaceId,
        what: &str,
        is_there: impl Fn(&WorkspaceView) -> bool,
    ) -> WorkspaceView {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let changed = self.service.changed(workspace);
            let view = self.view(workspace).await;
            if is_there(&view) {
                return view;
            }
            assert!(tokio::time::Instant::now() < deadline, "not {what} in time: {view:?}");
            // A change may fall between; the wait itself looks again.
            let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
        }
    }

    /// What a turn sees of the service.
    pub(crate) fn tools(&self) -> &dyn Workspaces {
        &self.service
    }

    /// The outer folder of a workspace.
    pub(crate) fn folder(&self, workspace: WorkspaceId) -> PathBuf {
        self.data.path().join("workspaces").join(workspace.to_string())
    }

    pub(crate) async fn connect(&self, workspace: WorkspaceId) -> Arc<dyn WorkspaceConnection> {
        self.tools().connect(workspace, self.ada, PATIENCE).await.unwrap()
    }

    pub(crate) async fn chat(&self) -> ChatId {
        let id = ChatId::new();
        let chat = ChatNew {
            id,
            owner_id: self.ada,
            organization_id: self.organization,
            workspace_id: None,
            parent_chat_id: None,
            root_chat_id: id,
            spawn_key: None,
            title: "a chat".into(),
            title_source: TitleSource::Fallback,
            labels: std::collections::BTreeMap::new(),
            model_config_id: self.model,
            mcp_server_ids: Vec::new(),
            created_at: Timestamp::now(),
        };
        let inserted: Result<(), StoreError> =
            self.store.write("test_chat", move |tx| Box::pin(async move { chat_insert_in_tx(tx, &chat).await })).await;
        inserted.unwrap();
        id
    }

    pub(crate) fn caller(&self, chat_id: ChatId) -> ToolCaller {
        ToolCaller { owner_id: self.ada, organization_id: self.organization, chat_id, call: CallToken::new() }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What a failed test leaves behind: trees outlive the server on purpose.
        atelier_test_support::kill_processes_of(&self.data.path().join("workspaces"));
    }
}

async fn open(
    store: &Store,
    data: &Path,
    program: &Path,
    agent_wait: Duration,
    (sandbox, first_user): (SandboxChoice, u32),
    outgoing: OutgoingSettings,
) -> WorkspaceService {
    let clock = Arc::new(SystemClock(std::time::Instant::now()));
    let hubs = Hubs::new(store.clone(), clock.clone(), StreamConfig::default());
    let mut config = WorkspacesConfig::new(LocalSettings {
        data_dir: data.to_owned(),
        agent_program: program.to_owned(),
        sandbox,
        host_network: HostNetwork::default(),
        uid: first_user,
        extra_paths: Vec::new(),
        stop_grace: Duration::from_secs(15),
    });
    config.demo = true;
    config.outgoing = outgoing;
    config.waits = Waits { agent: agent_wait, ..Waits::default() };
    WorkspaceService::open(store.clone(), hubs, clock, config).await.unwrap()
}

/// The binary of the workspace agent, beside this test's own.
pub(crate) fn agent_program() -> PathBuf {
    if let Some(program) = std::env::var_os(AGENT_VARIABLE) {
        return program.into();
    }
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("atelier-workspace-agent");
    assert!(
        program.is_file(),
        "{} is missing: run `cargo build -p atelier-workspace-agent` first, or set ATELIER_TEST_AGENT",
        program.display()
    );
    program
}

pub(crate) fn request(method: Method, path: &str, body: Option<Value>) -> AgentRequest {
    AgentRequest {
        method,
        path: path.into(),
        context: CallContext { chat_id: ChatId::nil(), ancestors: Vec::new(), access: Access::Full, call: None },
        body: body.map(|body| body.to_string().into()),
        max_response_bytes: 1024 * 1024,
    }
}

/// Runs a command to its end and returns its output.
pub(crate) async fn run(connection: &dyn WorkspaceConnection, command: &str) -> String {
    let mut start = request(Method::Post, "/v1/processes", Some(json!({ "command": command })));
    start.context.call = Some((CallToken::new(), "0".repeat(64)));
    let started = connection.request(start).await.unwrap();
    let id = json_of(&started)["process_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/processes/{id}/output?wait_ms=60000");
    let answer = connection.request(request(Method::Get, &path, None)).await.unwrap();
    let answer = json_of(&answer);
    assert_eq!(answer["running"], false, "{answer}");
    answer["output"].as_str().unwrap().to_owned()
}

pub(crate) fn json_of(answer: &AgentResponse) -> Value {
    let text = String::from_utf8_lossy(&answer.body);
    assert!(answer.status < 300, "{}: {text}", answer.status);
    serde_json::from_str(&text).unwrap()
}
