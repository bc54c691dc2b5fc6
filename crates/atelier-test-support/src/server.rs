//! A real server process that can be killed and started again on its data.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::actor::Actor;
use crate::database::{Engine, PostgresDatabase};

/// Password of every user that the kit makes.
pub(crate) const PASSWORD: &str = "a password for tests";

/// The script of [`Actor::hold_turns`].
pub(crate) const HELD: &str = "held";

/// What a server is started with.
pub struct Builder {
    program: PathBuf,
    engine: Engine,
    scripts: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    demo: bool,
}

impl Builder {
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// A script of the scripted model. The first one becomes the default model.
    #[must_use]
    pub fn script(mut self, name: &str, yaml: &str) -> Self {
        self.scripts.push((name.to_owned(), yaml.to_owned()));
        self
    }

    /// Each user has place for one turn, and [`Actor::hold_turns`] takes it.
    #[must_use]
    pub fn one_turn_at_a_time(self) -> Self {
        self.script(HELD, "rules: [{steps: [{hang: true}]}]").env("ATELIER_DAEMON_SLOTS_PER_USER", "1")
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Kills the process the n-th time it reaches `point`. Needs the feature `fault-injection`.
    #[must_use]
    pub fn fault(self, point: &str) -> Self {
        self.env("ATELIER_FAULT", point)
    }

    /// Starts with `--demo`.
    #[must_use]
    pub const fn demo(mut self) -> Self {
        self.demo = true;
        self
    }

    /// Starts the server, makes the first user (`admin`) unless a demo has one, and a model for each script.
    pub async fn start(self) -> TestServer {
        let server = self.start_empty().await;
        let admin = if server.demo { server.admin().await } else { server.setup_first_user().await };
        if !server.scripts.is_empty() && !server.demo {
            admin.post("/api/experimental/chats/providers", json!({"provider": "scripted"})).await.expect(201);
        }
        for (n, script) in server.scripts.iter().enumerate() {
            let is_default = n == 0 && script != HELD;
            let model =
                json!({"provider": "scripted", "model": script, "context_limit": 200_000, "is_default": is_default});
            admin.post("/api/experimental/chats/model-configs", model).await.expect(201);
        }
        server
    }

    /// Starts the server and leaves it without any user.
    pub async fn start_empty(self) -> TestServer {
        let folder = tempfile::Builder::new().prefix("atelier-test-").tempdir().expect("a temporary folder");
        // workspaces run as another user when the tests run as root
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("the folder is ours");
        let scripts = folder.path().join("scripts");
        std::fs::create_dir(&scripts).expect("the folder is empty");
        for (name, yaml) in &self.scripts {
            std::fs::write(scripts.join(format!("{name}.yaml")), yaml).expect("the folder is ours");
        }
        let mut environment = vec![
            ("ATELIER_HTTP_ADDRESS".to_owned(), "127.0.0.1:0".to_owned()),
            ("ATELIER_DATA_DIR".to_owned(), folder.path().join("data").display().to_string()),
            ("ATELIER_SCRIPTS_DIR".to_owned(), scripts.display().to_string()),
            ("ATELIER_EGRESS_ALLOW".to_owned(), "loopback".to_owned()),
            ("ATELIER_RATE_REQUESTS".to_owned(), "0".to_owned()),
            ("ATELIER_RATE_LOGINS".to_owned(), "0".to_owned()),
            ("ATELIER_RATE_LOGINS_ADDRESS".to_owned(), "0".to_owned()),
            // set aside for each of many servers, it would fill the disk that they share
            ("ATELIER_DISK_RESERVE_MB".to_owned(), "0".to_owned()),
            ("ATELIER_LOCAL_UID".to_owned(), crate::workspace_users().to_string()),
            ("ATELIER_LOG".to_owned(), "info,sqlx=warn".to_owned()),
        ];
        let database = match self.engine {
            Engine::Sqlite => None,
            Engine::Postgres => {
                let database = PostgresDatabase::create();
                environment.push(("ATELIER_DATABASE_URL".to_owned(), database.url()));
                Some(database)
            }
        };
        environment.extend(self.environment);
        let mut server = TestServer {
            program: self.program,
            environment,
            demo: self.demo,
            scripts: self.scripts.into_iter().map(|(name, _)| name).collect(),
            process: None,
            port: 0,
            printed: Vec::new(),
            folder: Arc::new(folder),
            database,
        };
        server.launch().await;
        server
    }
}

/// One server and its data.
pub struct TestServer {
    program: PathBuf,
    environment: Vec<(String, String)>,
    demo: bool,
    scripts: Vec<String>,
    process: Option<Child>,
    port: u16,
    printed: Vec<String>,
    folder: Arc<TempDir>,
    // dropped after the process, which holds connections
    database: Option<PostgresDatabase>,
}

impl TestServer {
    /// A server of `program`, on the database of the environment unless the test names one.
    #[must_use]
    pub fn builder(program: impl Into<PathBuf>) -> Builder {
        Builder {
            program: program.into(),
            engine: Engine::of_environment(),
            scripts: Vec::new(),
            environment: Vec::new(),
            demo: false,
        }
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What the server has printed on standard output before it was ready.
    #[must_use]
    pub fn printed(&self) -> String {
        self.printed.join("\n")
    }

    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A folder that lives as long as the server.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    #[must_use]
    pub const fn database(&self) -> Option<&PostgresDatabase> {
        self.database.as_ref()
    }

    async fn launch(&mut self) {
        let mut command = Command::new(&self.program);
        command.arg("server").env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder.path());
        if self.demo {
            command.arg("--demo");
        }
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("server.log"))
            .expect("the folder is ours");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut process = command.spawn().expect("the server's program starts");
        let mut lines = BufReader::new(process.stdout.take().expect("standard output is piped")).lines();
        self.printed.clear();
        self.port = loop {
            let line = tokio::time::timeout(crate::DEADLINE, lines.next_line())
                .await
                .unwrap_or_else(|_| panic!("the server says nothing; its log:\n{}", self.log()))
                .expect("standard output is text")
                .unwrap_or_else(|| panic!("the server ended at its start; its log:\n{}", self.log()));
            // the last line of what it prints at its start
            let port = line.strip_prefix("Listening on http://127.0.0.1:").and_then(|port| port.parse().ok());
            self.printed.push(line);
            if let Some(port) = port {
                break port;
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.process = Some(process);
        let health = format!("{}/healthz", self.url());
        let http = reqwest::Client::builder().no_proxy().build().expect("a client without options");
        crate::eventually("a healthy server", || async {
            http.get(&health).send().await.ok().filter(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Ends the process with SIGKILL, if it has not ended by itself.
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill().await;
        }
    }

    /// Waits until the process has ended by itself, for instance at a kill point.
    ///
    /// # Panics
    /// When it goes on for [`crate::DEADLINE`].
    pub async fn wait_until_dead(&mut self) {
        if let Some(mut process) = self.process.take() {
            tokio::time::timeout(crate::DEADLINE, process.wait())
                .await
                .unwrap_or_else(|_| panic!("the server goes on; its log:\n{}", self.log()))
                .expect("the process can be waited for");
        }
    }

    /// The id of the process.
    ///
    /// # Panics
    /// When it has been ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().and_then(Child::id).expect("the server runs")
    }

    /// Sends a signal to the process.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, name: &str) {
        let mut kill = std::process::Command::new("kill");
        let sent = kill.args(["-s", name, &self.pid().to_string()]).status().expect("kill exists");
        assert!(sent.success(), "the server is gone already; its log:\n{}", self.log());
    }

    /// Asks the process to stop (SIGTERM) and waits for its end.
    ///
    /// # Panics
    /// When it has not ended within [`crate::DEADLINE`].
    pub async fn stop(&mut self) {
        if self.process.is_some() {
            self.signal("TERM");
        }
        if let Some(mut process) = self.process.take() {
            tokio::time::timeout(crate::DEADLINE, process.wait())
                .await
                .unwrap_or_else(|_| panic!("the server does not stop; its log:\n{}", self.log()))
                .expect("the process can be waited for");
        }
    }

    /// Starts it again on the same data, without kill points.
    pub async fn restart(&mut self) {
        self.kill().await;
        self.environment.retain(|(name, _)| name != "ATELIER_FAULT");
        self.launch().await;
    }

    /// Stops it and starts it again with a kill point, counted from this start on.
    pub async fn restart_with_fault(&mut self, point: &str) {
        self.stop().await;
        self.environment.push(("ATELIER_FAULT".to_owned(), point.to_owned()));
        self.launch().await;
    }

    /// The server's log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    async fn setup_first_user(&self) -> Actor {
        let first = json!({
            "email": "admin@example.com", "username": "admin", "password": PASSWORD, "setup_code": self.setup_code(),
        });
        Actor::anonymous(self.port).post("/api/v2/users/first", first).await.expect(201);
        self.admin().await
    }

    /// What the first user is created with.
    ///
    /// # Panics
    /// When there is a first user.
    #[must_use]
    pub fn setup_code(&self) -> String {
        let given = self.environment.iter().find(|(name, _)| name == "ATELIER_SETUP_CODE");
        let read = || {
            std::fs::read_to_string(self.data_dir().join("private/setup_code"))
                .expect("a server without users has a code")
        };
        given.map_or_else(read, |(_, code)| code.clone())
    }

    /// The first user, freshly logged in.
    ///
    /// # Panics
    /// When the demo has not printed its password.
    pub async fn admin(&self) -> Actor {
        if self.demo {
            let password = self.printed.iter().find_map(|line| line.trim().strip_prefix("password "));
            let password = password.expect("the demo prints its password").trim();
            return Actor::login(self.port, "demo@example.com", password).await;
        }
        Actor::login(self.port, "admin@example.com", PASSWORD).await
    }

    /// A new user without roles, logged in.
    pub async fn user(&self, name: &str) -> Actor {
        let email = format!("{name}@example.com");
        let user = json!({"email": email, "username": name, "password": PASSWORD});
        self.admin().await.post("/api/v2/users", user).await.expect(201);
        Actor::login(self.port, &email, PASSWORD).await
    }

    /// Somebody without a credential.
    #[must_use]
    pub fn anonymous(&self) -> Actor {
        Actor::anonymous(self.port)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- log of the server ----\n{}", self.log());
        }
        if let Some(process) = &mut self.process {
            let _ = process.start_kill();
        }
        // workspaces outlive a server on purpose; those of a test end with it
        // (the folder itself may lie on a disk that only the server saw)
        crate::kill_processes_of(&self.data_dir().join("workspaces"));
    }
}
