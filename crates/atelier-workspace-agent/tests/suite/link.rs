//! `init` and `serve` as processes, with this test as their server.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use atelier_workspace_protocol::{CONNECT_PATH, Hello, SUBPROTOCOL, header};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request as Handshake, Response as Accepted};
use tokio_yamux::{Config, Control, Session};

use crate::support::{DEADLINE, PROGRAM, is_alive, kill, until};

pub(crate) struct Host {
    folder: tempfile::TempDir,
    listener: UnixListener,
    pub(crate) init: Child,
}

impl Host {
    pub(crate) fn start() -> Self {
        Self::start_by(|_| Command::new(PROGRAM))
    }

    /// `launcher` makes the command that runs the program, from the host's folder.
    fn start_by(launcher: impl FnOnce(&Path) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let (home, state) = (folder.path().join("home"), folder.path().join("state"));
        for made in [&run, &home, &state] {
            std::fs::create_dir(made).unwrap();
        }
        std::fs::write(run.join("token"), "atag_secret\n").unwrap();
        let manifest =
            json!({"start_id": "b", "workspace": {"id": "w", "name": "box", "owner": "ada"}, "sandbox": "off"});
        std::fs::write(run.join("manifest.json"), manifest.to_string()).unwrap();
        std::fs::write(folder.path().join("lock"), "").unwrap();
        let listener = UnixListener::bind(run.join("agent.sock")).unwrap();
        let init = launcher(folder.path())
            .args(["agent", "init", "--run"])
            .arg(&run)
            .arg("--state")
            .arg(&state)
            .arg("--lock")
            .arg(folder.path().join("lock"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", &home)
            .env("ATELIER_AGENT_URLS", format!("unix:{}", run.join("agent.sock").display()))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { folder, listener, init }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    async fn accept(&self) -> UnixStream {
        let accepted = tokio::time::timeout(DEADLINE, self.listener.accept()).await;
        accepted.unwrap_or_else(|_| panic!("nobody comes: {}", self.log())).unwrap().0
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Takes the next link.
    pub(crate) async fn link(&self) -> Link {
        let mut handshake = None;
        #[expect(clippy::result_large_err, reason = "the type is the library's")]
        let check = |request: &Handshake, mut response: Accepted| -> Result<Accepted, ErrorResponse> {
            handshake = Some(request.clone());
            response.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(self.accept().await, check).await.unwrap();
        let (near, far) = tokio::io::duplex(256 * 1024);
        let (mut frames_out, mut frames_in) = socket.split();
        let (mut read, mut write) = tokio::io::split(far);
        let pumps = [
            tokio::spawn(async move {
                while let Some(Ok(message)) = frames_in.next().await {
                    if let Message::Binary(bytes) = message {
                        assert!(bytes.len() <= 64 * 1024);
                        write.write_all(&bytes).await.unwrap();
                    }
                }
            }),
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(count @ 1..) = read.read(&mut buffer).await {
                    let frame = Message::Binary(Bytes::copy_from_slice(&buffer[..count]));
                    if frames_out.send(frame).await.is_err() {
                        break;
                    }
                }
            }),
        ];
        let mut session = Session::new_client(near, Config { enable_keepalive: false, ..Config::default() });
        let control = session.control();
        let drive = tokio::spawn(async move { while let Some(Ok(_)) = session.next().await {} });
        let [first, second] = pumps;
        Link { control, handshake: handshake.unwrap(), tasks: vec![first, second, drive] }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let pid = i32::try_from(self.init.id()).unwrap();
        if is_alive(pid) {
            kill(pid, Signal::TERM);
        }
        let _ = self.init.wait();
    }
}

pub(crate) struct Link {
    control: Control,
    handshake: Handshake,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Link {
    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let exchange = async {
            let stream = self.control.clone().open_stream().await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            let driving = tokio::spawn(connection);
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", "workspace")
                .header(header::CHAT_ID, "chat-1")
                .body(Full::new(Bytes::from(body.map(|body| body.to_string()).unwrap_or_default())))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            driving.abort();
            serde_json::from_slice(&bytes).unwrap()
        };
        tokio::time::timeout(DEADLINE, exchange).await.unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.handshake.headers().get(name).unwrap().to_str().unwrap()
    }
}

/// The children of a process.
fn children(pid: u32) -> Vec<i32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

pub(crate) fn agent_of(init: u32) -> i32 {
    children(init)
        .into_iter()
        .find(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().windows(5).any(|word| word == b"serve")
        })
        .unwrap()
}

async fn answer_with(stream: UnixStream, status: u16) {
    let mut stream = stream;
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await.unwrap();
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

async fn exit_code(init: &mut Child) -> Option<i32> {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        if let Some(status) = init.try_wait().unwrap() {
            return status.code();
        }
        assert!(std::time::Instant::now() < deadline, "init does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_agent_comes_home_serves_and_comes_again_with_its_commands() {
    let host = Host::start();
    let link = host.link().await;
    assert_eq!(link.handshake.uri().path(), CONNECT_PATH);
    assert_eq!(link.header("authorization"), "Bearer atag_secret");
    assert!(!host.folder.path().join("run/token").exists());
    let hello: Hello = serde_json::from_value(link.send("GET", "/v1/hello", None).await).unwrap();
    assert_eq!(hello.ledger_id, link.header(header::LEDGER_ID));
    assert_eq!(hello.boot_id, link.header(header::BOOT_ID));
    assert_eq!(hello.sandbox, "off");

    let command = "env; while [ ! -e go ]; do sleep 0.01; done; echo after; exit 6";
    let started = link.send("POST", "/v1/processes", Some(json!({"command": command}))).await;
    let process = started["process_id"].as_str().unwrap();
    let output = format!("/v1/processes/{process}/output");
    let page = link.send("GET", &format!("{output}?offset=0&wait_ms=60000"), None).await;
    let environment = page["output"].as_str().unwrap();
    assert!(environment.contains("ATELIER_CHAT_ID=chat-1"));
    for secret in ["atag_secret", "ATELIER_AGENT_URLS"] {
        assert!(!environment.contains(secret), "{environment}");
    }

    // W45: the link is cut, another one comes.
    drop(link);
    let link = host.link().await;
    assert_eq!(link.header(header::BOOT_ID), hello.boot_id);
    assert_eq!(link.send("GET", &output, None).await["running"], true);

    // W50: the agent is killed, init starts another one.
    let agent = agent_of(host.init.id());
    assert!(std::fs::read(format!("/proc/{agent}/environ")).is_err() || rustix::process::geteuid().is_root());
    kill(agent, Signal::KILL);
    drop(link);
    let link = host.link().await;
    assert_ne!(link.header(header::BOOT_ID), hello.boot_id);
    assert_eq!(link.header("authorization"), "Bearer atag_secret");
    assert_eq!(link.header(header::LEDGER_ID), hello.ledger_id);
    assert_eq!(link.send("GET", &output, None).await["running"], true);
    std::fs::write(host.home().join("go"), "").unwrap();
    let result = link.send("GET", &format!("{output}?wait_ms=60000"), None).await;
    assert_eq!(result["exit_code"], 6);
    assert!(result["output"].as_str().unwrap().ends_with("after\n"));
}

#[tokio::test]
async fn init_ends_everything_on_sigterm_and_holds_its_lock_until_then() {
    let mut host = Host::start();
    let link = host.link().await;
    let lock = std::fs::File::options().write(true).read(true).open(host.folder.path().join("lock")).unwrap();
    let holder = || {
        let wanted = rustix::process::Flock::from(rustix::process::FlockType::WriteLock);
        rustix::process::fcntl_getlk(&lock, &wanted).unwrap().and_then(|lock| lock.pid)
    };
    assert_eq!(holder().unwrap().as_raw_nonzero().get(), i32::try_from(host.init.id()).unwrap());
    let command =
        "trap 'echo ending > ended; exit 0' TERM; setsid sleep 300 & echo ready; while :; do sleep 0.05; done";
    let started = link.send("POST", "/v1/processes", Some(json!({"command": command}))).await;
    let process = started["process_id"].as_str().unwrap().to_owned();
    link.send("GET", &format!("/v1/processes/{process}/output?offset=0&wait_ms=60000"), None).await;
    let folder = host.state().join("processes").join(&process);
    let begun: Value = serde_json::from_slice(&std::fs::read(folder.join("begun.json")).unwrap()).unwrap();
    kill(i32::try_from(host.init.id()).unwrap(), Signal::TERM);
    assert_eq!(exit_code(&mut host.init).await, Some(0));
    assert_eq!(holder(), None);
    assert_eq!(std::fs::read_to_string(host.home().join("ended")).unwrap(), "ending\n");
    let exit: Value = serde_json::from_slice(&std::fs::read(folder.join("exit.json")).unwrap()).unwrap();
    assert_eq!(exit["exit_code"], 0);
    assert!(!is_alive(i32::try_from(begun["pid"].as_i64().unwrap()).unwrap()));
    assert!(!is_alive(i32::try_from(begun["shim_pid"].as_i64().unwrap()).unwrap()));
    drop(link);
}

#[tokio::test]
async fn w47_a_retired_agent_ends_its_workspace() {
    let mut host = Host::start();
    answer_with(host.accept().await, 503).await;
    answer_with(host.accept().await, 410).await;
    assert_eq!(exit_code(&mut host.init).await, Some(3));
}

#[tokio::test]
async fn a_shutdown_runs_the_script_and_ends_the_workspace() {
    let mut host = Host::start();
    let manifest = json!({
        "start_id": "b", "workspace": {"id": "w", "name": "box", "owner": "ada"}, "shutdown_script": "echo bye > ~/bye",
    });
    // An agent with a link does not come again before it is killed.
    let old = host.link().await;
    std::fs::write(host.folder.path().join("run/manifest.json"), manifest.to_string()).unwrap();
    kill(agent_of(host.init.id()), Signal::KILL);
    let link = host.link().await;
    drop(old);
    assert_eq!(link.send("GET", "/v1/hello", None).await["sandbox"], "");
    assert_eq!(link.send("POST", "/v1/shutdown", Some(json!({"deadline_ms": 60_000}))).await["ok"], true);
    assert_eq!(exit_code(&mut host.init).await, Some(3));
    assert_eq!(std::fs::read_to_string(host.home().join("bye")).unwrap(), "bye\n");
}

#[tokio::test]
async fn an_agent_that_cannot_start_is_tried_again_and_says_why() {
    let host = Host::start();
    host.link().await;
    std::fs::remove_file(host.folder.path().join("run/manifest.json")).unwrap();
    kill(agent_of(host.init.id()), Signal::KILL);
    until("it says why", || host.log().matches("manifest.json").count() >= 2).await;
    assert!(Path::new(&format!("/proc/{}", host.init.id())).exists());
}

#[tokio::test]
async fn a_workspace_works_when_landlock_shuts_it_in() {
    if !Command::new(PROGRAM).args(["agent", "sandbox-exec", "--check"]).output().unwrap().status.success() {
        return;
    }
    let mut host = Host::start_by(|folder| {
        let mut command = Command::new(PROGRAM);
        command.args(["agent", "sandbox-exec"]);
        for path in ["/usr", "/bin", "/lib", "/lib64", "/proc", "/etc/ld.so.cache", PROGRAM] {
            command.args(["--read-only", path]);
        }
        command.arg("--read-only").arg(folder.join("lock"));
        for name in ["home", "run", "state"] {
            command.arg("--writable").arg(folder.join(name));
        }
        command.args(["--", PROGRAM]);
        command
    });
    let link = host.link().await;
    let command = "cd && echo hi > file && cat file; cat /etc/shadow; ls ..; setsid sleep 300 & sleep 300";
    let started = link.send("POST", "/v1/processes", Some(json!({"command": command}))).await;
    let process = started["process_id"].as_str().unwrap();
    let mut text = String::new();
    while text.matches("ermission denied").count() < 2 {
        let path = format!("/v1/processes/{process}/output?offset={}&wait_ms=60000", text.len());
        text.push_str(link.send("GET", &path, None).await["output"].as_str().unwrap());
    }
    assert!(text.starts_with("hi\n"), "{text}");
    let killed = link.send("POST", &format!("/v1/processes/{process}/signal"), Some(json!({"signal": "kill"}))).await;
    assert_eq!(killed["success"], true);
    let result = link.send("GET", &format!("/v1/processes/{process}/output?wait_ms=60000"), None).await;
    assert_eq!(result["signal"], "SIGKILL");
    kill(i32::try_from(host.init.id()).unwrap(), Signal::TERM);
    assert_eq!(exit_code(&mut host.init).await, Some(0));
}
