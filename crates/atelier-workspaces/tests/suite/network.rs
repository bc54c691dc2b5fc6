//! What workspaces reach (W64).

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use atelier_egress::{Dialer, HostResolver};
use atelier_test_support::eventually;
use atelier_workspaces::OutgoingSettings;
use atelier_workspaces::drivers::local::SandboxChoice;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::host::{Engine, Host, run};

/// `*.mirror.test` is at loopback, `rebound.test` at loopback beside a public address, `inside.test` private.
struct Names;

impl HostResolver for Names {
    fn addresses(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let addresses: &[&str] = match host.as_str() {
            "inside.test" => &["10.0.0.1"],
            "rebound.test" => &["192.0.2.1", "10.0.0.1"],
            name if name.ends_with("mirror.test") => &["127.0.0.1"],
            _ => &[],
        };
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Box::pin(async move { Ok(addresses) })
    }
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A repository with one branch, by the oldest protocol of git: files over HTTP.
async fn git_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    match socket.read_u8().await {
                        Ok(byte) => request.push(byte),
                        Err(_) => return,
                    }
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                // An origin is asked for a path, by its own name, and hears nothing of the proxy.
                let is_plain = request.starts_with("GET /app.git/")
                    && request.to_lowercase().contains("\r\nhost: git.mirror.test")
                    && !request.to_lowercase().contains("proxy");
                let body = match is_plain {
                    true if request.contains("/info/refs") => format!("{COMMIT}\trefs/heads/main\n"),
                    true => "ref: refs/heads/main\n".to_owned(),
                    false => format!("not expected: {request}"),
                };
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            });
        }
    });
    port
}

/// A command that prints what the proxy answers to CONNECT, and what comes behind it. It reads what it is told the
/// length of: the end of a connection that goes through the proxy is not told before both sides have ended.
fn connect(target: &str) -> String {
    let command = r#"
        answer() {
            length=0
            while read -r line <&3 && line=${line%$'\r'} && [ -n "$line" ]; do
                echo "$line"
                case ${line,,} in content-length:*) length=${line#*: } ;; esac
            done
            head -c "$length" <&3
        }
        exec 3<>/dev/tcp/127.0.0.1/${HTTP_PROXY##*:} || exit
        printf 'CONNECT TARGET HTTP/1.1\r\nHost: TARGET\r\n\r\n' >&3
        touch ~/asked
        answer > ~/answer
        cat ~/answer
        if grep -q '^HTTP/1.1 200' ~/answer; then
            printf 'GET /app.git/HEAD HTTP/1.1\r\nHost: git.mirror.test\r\n\r\n' >&3
            answer
        fi"#;
    command.replace("TARGET", target)
}

#[tokio::test]
async fn w64_a_workspace_reaches_the_hosts_that_its_template_lists_and_nothing_else() {
    let port = git_server().await;
    let outgoing = OutgoingSettings {
        dialer: Dialer::with_resolver("loopback,192.0.2.0/24".parse().unwrap(), Arc::new(Names)),
        ports: vec![port],
    };
    let mut host = Host::with_outgoing(outgoing).await;
    let hosts = ["*.mirror.test", "inside.test", "rebound.test", "gone.test"];
    let spec = json!({ "network": { "policy": "allowlist", "allow_hosts": hosts } });
    let id = host.workspace("box", spec).await;
    let connection = host.connect(id).await;

    // Programs find the proxy by themselves, and it passes plain requests on.
    let command = format!("git ls-remote http://git.mirror.test:{port}/app.git 2>&1");
    let output = run(&*connection, &command).await;
    assert!(output.contains(&format!("{COMMIT}\trefs/heads/main")), "{output}");

    let output = run(&*connection, &connect(&format!("git.mirror.test:{port}"))).await;
    assert!(output.starts_with("HTTP/1.1 200 OK"), "{output}");
    assert!(output.contains("ref: refs/heads/main"), "{output}");

    for (target, status, words) in [
        (format!("mirror.test:{port}"), "403", "is not among the hosts"),
        (format!("other.test:{port}"), "403", "is not among the hosts"),
        (format!("127.0.0.1:{port}"), "403", "is not among the hosts"),
        ("git.mirror.test:1".to_owned(), "403", "is not among the hosts"),
        (format!("inside.test:{port}"), "403", "may not be reached"),
        (format!("rebound.test:{port}"), "403", "may not be reached"),
        (format!("gone.test:{port}"), "502", "cannot connect to gone.test"),
        ("git.mirror.test".to_owned(), "400", ""),
    ] {
        let output = run(&*connection, &connect(&target)).await;
        assert!(output.starts_with(&format!("HTTP/1.1 {status}")) && output.contains(words), "{target}: {output}");
    }

    // There is no other way.
    let direct = format!("(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>&1; (exec 3<>/dev/tcp/192.0.2.1/{port}) 2>&1; true");
    let output = run(&*connection, &direct).await;
    assert!(output.contains("refused") && output.contains("unreachable"), "{output}");

    // A restarted server serves the same list.
    drop(connection);
    host.restart().await;
    let connection = host.connect(id).await;
    let output = run(&*connection, &connect(&format!("git.mirror.test:{port}"))).await;
    assert!(output.contains("ref: refs/heads/main"), "{output}");

    // While the server is away a request waits for it.
    let home = host.folder(id).join("home");
    std::fs::remove_file(home.join("asked")).unwrap();
    let command = format!("while [ ! -e ~/go ]; do sleep 0.01; done; {}", connect(&format!("git.mirror.test:{port}")));
    let mut start = crate::host::request(
        atelier_daemon::workspace::Method::Post,
        "/v1/processes",
        Some(json!({ "command": command, "background": true })),
    );
    start.context.call = Some((atelier_domain::CallToken::new(), "1".repeat(64)));
    let process = crate::host::json_of(&connection.request(start).await.unwrap())["process_id"].clone();
    drop(connection);
    host.service.shut_down().await;
    std::fs::write(home.join("go"), "").unwrap();
    eventually("the request", || async { home.join("asked").exists().then_some(()) }).await;
    host.restart().await;
    let connection = host.connect(id).await;
    let path = format!("/v1/processes/{}/output?wait_ms=60000", process.as_str().unwrap());
    let answer = connection.request(crate::host::request(atelier_daemon::workspace::Method::Get, &path, None)).await;
    let answer = crate::host::json_of(&answer.unwrap());
    assert!(answer["output"].as_str().unwrap().contains("ref: refs/heads/main"), "{answer}");
}

#[tokio::test]
async fn w64_without_a_network_nothing_is_reached_and_the_agent_still_connects() {
    let port = git_server().await;
    let host = Host::with_agent(Engine::Sqlite, SandboxChoice::Bubblewrap).await;
    let id = host.workspace("box", json!({ "network": { "policy": "none" } })).await;
    let connection = host.connect(id).await;
    let command = format!(
        "env | grep -i proxy; (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>&1; (exec 3<>/dev/tcp/192.0.2.1/80) 2>&1; true"
    );
    let output = run(&*connection, &command).await;
    assert!(output.contains("refused") && output.contains("unreachable") && !output.contains("PROXY"), "{output}");
}
