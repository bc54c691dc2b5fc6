//! Starting, watching and ending the measured server.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::client::{Client, SETUP_CODE};
use crate::fake_model::FakeModel;

/// What differs from a fresh server: the caps would measure themselves, loopback is where the model is.
pub(crate) const SETTINGS: [(&str, &str); 9] = [
    ("ATELIER_HTTP_ADDRESS", "127.0.0.1:0"),
    ("ATELIER_EGRESS_ALLOW", "loopback"),
    ("ATELIER_RATE_REQUESTS", "0"),
    ("ATELIER_RATE_LOGINS", "0"),
    ("ATELIER_RATE_LOGINS_ADDRESS", "0"),
    ("ATELIER_CONNECTIONS_PER_ADDRESS", "0"),
    ("ATELIER_STREAMS_PER_USER", "0"),
    ("ATELIER_DAEMON_SLOTS_PER_USER", "256"),
    ("ATELIER_LOG", "warn"),
];

/// What every row measures with.
pub(crate) struct Setup {
    pub(crate) binary: PathBuf,
    pub(crate) postgres: Option<String>,
    pub(crate) model: FakeModel,
    pub(crate) quick: bool,
    pub(crate) data: PathBuf,
}

impl Setup {
    pub(crate) async fn version(&self) -> anyhow::Result<String> {
        let output = Command::new(&self.binary).arg("--version").output().await?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().trim_start_matches("atelier ").to_owned())
    }

    pub(crate) const fn database(&self) -> &'static str {
        if self.postgres.is_some() { "PostgreSQL" } else { "SQLite, synchronous=FULL" }
    }

    /// How often to repeat: `full`, or a fraction of it for a first look.
    pub(crate) const fn times(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(5) } else { full }
    }

    /// A fresh server on a fresh data folder, with a user and a model.
    pub(crate) async fn server(&self) -> anyhow::Result<Server> {
        let data = tempfile::Builder::new().prefix("atelier-bench-").tempdir()?;
        // workspaces run as another user, who must be able to walk here
        std::fs::set_permissions(data.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let mut server = Server::start(self, data.path()).await?;
        server.data = Some(data);
        server.client = Some(Client::first(server.port, self.model.port).await?);
        Ok(server)
    }
}

/// One running server. Ended when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    /// From the start of the process to the first good answer of `/healthz`.
    pub(crate) healthy_after: Duration,
    client: Option<Client>,
    data: Option<tempfile::TempDir>,
}

impl Server {
    pub(crate) async fn start(setup: &Setup, data: &Path) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut command = Command::new(&setup.binary);
        command.arg("server").env_clear().envs(SETTINGS).env("ATELIER_DATA_DIR", data);
        command.env("ATELIER_SETUP_CODE", SETUP_CODE);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if let Some(url) = &setup.postgres {
            command.env("ATELIER_DATABASE_URL", url);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut child = command.spawn().context("the program does not start")?;
        let stdout = child.stdout.take().context("the program has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let port = loop {
            let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await??;
            let Some(line) = line else { bail!("the server ended before it said where it listens") };
            if let Some(port) = port_in(&line) {
                break port;
            }
        };
        // what it prints later must not block it
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let health = format!("http://127.0.0.1:{port}/healthz");
        let http = reqwest::Client::builder().no_proxy().build()?;
        while !http.get(&health).send().await.is_ok_and(|answer| answer.status().is_success()) {
            if begun.elapsed() > Duration::from_secs(60) {
                bail!("not healthy within 60 s");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Self { child, port, healthy_after: begun.elapsed(), client: None, data: None })
    }

    pub(crate) fn client(&self) -> &Client {
        self.client.as_ref().expect("a server made by Setup::server has a client")
    }

    /// Ends the server the way a service manager does and gives its data folder back.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Option<tempfile::TempDir>> {
        if let Some(pid) =
            self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw)
        {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        if tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(self.data.take())
    }

    fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// Resident memory of the server process, MiB.
    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).context("no number in VmRSS")?.parse()?;
        Ok(kib / 1024.0)
    }

    /// CPU time of the server process so far, seconds.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        let fields: Vec<&str> = stat[stat.rfind(')').context("no ) in stat")? + 2..].split(' ').collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(ticks / 100.0)
    }
}

/// The port in a line such as `Listening on http://127.0.0.1:41234`.
fn port_in(line: &str) -> Option<u16> {
    let rest = &line[line.find("http://127.0.0.1:")? + "http://127.0.0.1:".len()..];
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}
