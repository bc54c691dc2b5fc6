//! A workspace in a temporary folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atelier_workspace_agent::{Agent, AgentConfig};
use atelier_workspace_protocol::{AgentLimits, Event, Manifest, header};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_atelier-workspace-agent");
/// Longer than an agent waits for output at the most.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

pub(crate) struct Workspace {
    folder: tempfile::TempDir,
    pub(crate) manifest: Manifest,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifest = json!({"start_id": "start-1", "workspace": {"id": "w", "name": "box", "owner": "ada"}});
        Self { folder, manifest: serde_json::from_value(manifest).unwrap() }
    }

    pub(crate) fn with_limits(change: impl FnOnce(&mut AgentLimits)) -> Self {
        let mut workspace = Self::new();
        let mut limits = AgentLimits::default();
        change(&mut limits);
        workspace.manifest.limits = Some(limits);
        workspace
    }

    pub(crate) fn home(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An agent on this workspace. Make another one after dropping it, as after a restart.
    pub(crate) fn agent(&self) -> Agent {
        Agent::open(AgentConfig {
            home: self.home().to_owned(),
            state: self.path("state"),
            program: PROGRAM.into(),
            manifest: self.manifest.clone(),
            environment: vec![("PATH".into(), std::env::var("PATH").unwrap()), ("SECRET".into(), "s".into())],
        })
        .unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client { router: self.agent().router(), headers: vec![(header::CHAT_ID, "chat-1".into())] }
    }

    /// Pids of a command's shim and of the command.
    pub(crate) fn pids(&self, process: &str) -> (i32, i32) {
        let text = std::fs::read(self.path("state/processes").join(process).join("begun.json")).unwrap();
        let begun: Value = serde_json::from_slice(&text).unwrap();
        let pid = |name: &str| i32::try_from(begun[name].as_i64().unwrap()).unwrap();
        (pid("shim_pid"), pid("pid"))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What a test left running: shims that hold the lock of their folder, and their children.
        for entry in std::fs::read_dir(self.path("state/processes")).into_iter().flatten().flatten() {
            let ends = std::fs::File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock_shared().is_ok());
            let begun = std::fs::read(entry.path().join("begun.json")).unwrap_or_default();
            let begun: Value = serde_json::from_slice(&begun).unwrap_or_default();
            let pid = |name: &str| begun[name].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
            let Some(shim) = pid("shim_pid").filter(|_| !ends) else { continue };
            let shim_number = shim.as_raw_nonzero();
            let children = std::fs::read_to_string(format!("/proc/{shim_number}/task/{shim_number}/children"));
            for child in children.unwrap_or_default().split_ascii_whitespace() {
                if let Some(child) = child.parse().ok().and_then(Pid::from_raw) {
                    let _ = rustix::process::kill_process_group(child, Signal::KILL);
                }
            }
            let _ = rustix::process::kill_process(shim, Signal::KILL);
        }
    }
}

/// The server's side.
#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
    headers: Vec<(&'static str, String)>,
}

impl Client {
    pub(crate) fn of(agent: &Agent) -> Self {
        Self { router: agent.router(), headers: vec![(header::CHAT_ID, "chat-1".into())] }
    }

    pub(crate) fn with(&self, name: &'static str, value: &str) -> Self {
        let mut other = self.clone();
        other.headers.retain(|(known, _)| *known != name);
        other.headers.push((name, value.to_owned()));
        other
    }

    pub(crate) fn chat(&self, chat: &str, ancestors: &str) -> Self {
        self.with(header::CHAT_ID, chat).with(header::CHAT_ANCESTORS, ancestors)
    }

    pub(crate) fn keyed(&self, token: &str, digest: &str) -> Self {
        self.with(header::CALL_TOKEN, token).with(header::CALL_DIGEST, digest)
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, None).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    pub(crate) async fn start(&self, command: &str) -> String {
        let (status, body) = self.send("POST", "/v1/processes", Some(json!({"command": command}))).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        body["process_id"].as_str().unwrap().to_owned()
    }

    /// The result when the command has ended.
    pub(crate) async fn result(&self, process: &str) -> Value {
        let result = self.get(&format!("/v1/processes/{process}/output?wait_ms=60000")).await;
        assert_eq!(result["running"], false, "{result}");
        result
    }

    pub(crate) async fn execute(&self, command: &str) -> Value {
        let process = self.start(command).await;
        self.result(&process).await
    }

    /// All output from `offset` on, page by page, and the gaps.
    pub(crate) async fn pages(&self, process: &str, mut offset: u64, limit: usize) -> (String, Vec<Value>) {
        let (mut text, mut gaps) = (String::new(), Vec::new());
        loop {
            let page =
                self.get(&format!("/v1/processes/{process}/output?offset={offset}&limit={limit}&wait_ms=60000")).await;
            text.push_str(page["output"].as_str().unwrap());
            offset = page["next_offset"].as_u64().unwrap();
            gaps.extend(page.get("gap").cloned());
            if page["eof"] == true {
                return (text, gaps);
            }
        }
    }

    pub(crate) async fn signal(&self, process: &str, body: Value) -> (StatusCode, Value) {
        self.send("POST", &format!("/v1/processes/{process}/signal"), Some(body)).await
    }

    /// Events after `after` up to the one that is wanted.
    pub(crate) async fn events_until(&self, after: u64, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let request = Request::get(format!("/v1/events?after={after}")).body(Body::empty()).unwrap();
        let mut body = self.router.clone().oneshot(request).await.unwrap().into_body();
        let mut events = Vec::new();
        let read = async {
            loop {
                let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
                for line in piece.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let event: Event = serde_json::from_slice(line).unwrap();
                    let is_last = wanted(&event);
                    events.push(event);
                    if is_last {
                        return;
                    }
                }
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, read).await.is_ok();
        assert!(in_time, "{events:?}");
        events
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat[stat.rfind(')').unwrap()..].starts_with(") Z"))
}

pub(crate) fn kill(pid: i32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}
