//! `atelier chat` and its siblings, as a shell sees them.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use atelier_domain::text::is_steering;
use atelier_test_support::{TestServer, eventually};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::{PROGRAM, server};

const SCRIPT: &str = r#"
rules:
  - when: {user_contains: "hang"}
    steps:
      - text: "I think about it"
      - hang: true
  - when: {user_contains: "steer"}
    steps:
      - error: {status: 400, message: "HOSTILE"}
  - when: {user_contains: "colour"}
    steps:
      - text: "HOSTILE"
      - tool_call: {name: "HOSTILE", args: {path: "HOSTILE"}}
  - when: {tool_result: {name: "HOSTILE", contains: ""}}
    steps:
      - text: "Done HOSTILE"
  - when: {user_contains: "fail"}
    steps:
      - error: {kind: auth, message: "the key is wrong"}
  - steps:
      - text: "Hello there."
"#;

async fn command(server: &TestServer, token: Option<&str>) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", server.folder())
        .env("ATELIER_URL", server.url())
        .kill_on_drop(true)
        .stdin(Stdio::null());
    if let Some(token) = token {
        command.env("ATELIER_TOKEN", token);
    }
    command
}

/// Sets the title and the clipboard, clears the screen, in seven and eight bits, and turns the direction round;
/// with letters and signs that are to stay. As YAML and JSON write it.
const HOSTILE: &str =
    r"visible\u001b]0;owned\u0007\u001b]52;c;b3duZWQ=\u0007\u001b[2J\u009b2J\u0008\u202egpj\u2066日本";

fn hostile_script() -> String {
    SCRIPT.replace("HOSTILE", HOSTILE)
}

/// Asserts that an output is shown and steers nothing.
fn assert_harmless(output: &str) {
    assert!(output.contains("日本"), "{output:?}");
    let steering = output.find(|c| is_steering(c) && c != '\n');
    assert!(steering.is_none(), "at {steering:?} of {output:?}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn exit_codes_say_how_it_went() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    for (message, code) in [("hello", 0), ("please fail", 1)] {
        let output = command(&server, Some(admin.token())).await.args(["chat", "-p", message]).output().await.unwrap();
        assert_eq!(output.status.code(), Some(code), "{message}: {}", text(&output.stderr));
        if code == 0 {
            assert_eq!(text(&output.stdout).trim(), "Hello there.");
        } else {
            assert!(text(&output.stderr).contains("the key is wrong"), "{}", text(&output.stderr));
        }
    }
    let usage = command(&server, Some(admin.token())).await.args(["chat", "--nonsense"]).output().await.unwrap();
    assert_eq!(usage.status.code(), Some(2));
    let mut nowhere = command(&server, Some(admin.token())).await;
    let nowhere =
        nowhere.env("ATELIER_URL", "http://127.0.0.1:1").args(["chat", "-p", "hello"]).output().await.unwrap();
    assert_eq!(nowhere.status.code(), Some(3), "{}", text(&nowhere.stderr));
    let stranger = command(&server, Some("no such token")).await.args(["chat", "-p", "hello"]).output().await.unwrap();
    assert_eq!(stranger.status.code(), Some(1));
    assert!(text(&stranger.stderr).contains("atelier login"), "{}", text(&stranger.stderr));
}

/// Ctrl-C interrupts the turn on the server, keeps what the model has said, and leaves with 130.
#[tokio::test]
async fn control_c_interrupts_the_turn() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    let child = command(&server, Some(admin.token()))
        .await
        .args(["chat", "-p", "hang"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let chat = eventually("the chat", || async {
        let chats = admin.get("/api/experimental/chats/").await.body(200);
        Some(admin.chat(chats[0]["id"].as_str()?))
    })
    .await;
    chat.wait_for_status("running").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    chat.wait_for_status("waiting").await;
    let messages = chat.messages().await;
    assert_eq!(atelier_test_support::text_of(messages.last().unwrap()), "I think about it");
}

#[tokio::test]
async fn json_prints_the_events_of_the_stream() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    let mut command = command(&server, Some(admin.token())).await;
    let output = command.args(["chat", "--json", "-p", "hello"]).output().await.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let events: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(events.iter().any(|event| event["type"] == "message_part"), "{printed}");
    let answer = events.iter().find(|event| event["type"] == "message" && event["message"]["role"] == "assistant");
    assert_eq!(atelier_test_support::text_of(&answer.unwrap()["message"]), "Hello there.");
}

#[tokio::test]
async fn resume_goes_on_with_the_newest_chat() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    for arguments in [vec!["chat", "-p", "hello"], vec!["chat", "--resume", "-p", "again"]] {
        let output = command(&server, Some(admin.token())).await.args(arguments).output().await.unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let chats = admin.get("/api/experimental/chats/").await.body(200);
    assert_eq!(chats.as_array().unwrap().len(), 1, "{chats}");
    assert_eq!(admin.chat(chats[0]["id"].as_str().unwrap()).messages().await.len(), 4);
}

/// The conversation is for terminals; a pipe is told what to use instead of being read silently.
#[tokio::test]
async fn without_a_terminal_the_interactive_client_says_what_to_do() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    let output = command(&server, Some(admin.token())).await.arg("chat").output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("-p"), "{}", text(&output.stderr));
}

/// First user, login with a kept session, another user, a token that works.
#[tokio::test]
async fn a_fresh_server_is_set_up_from_the_shell() {
    let server = server().start_empty().await;
    let run = async |arguments: &[&str], password: &str| {
        let mut command = command(&server, None).await;
        let output = command.env("ATELIER_PASSWORD", password).args(arguments).output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    // a user who cannot read the server's data folder has to know the code
    let create = ["user", "create", "--email", "ada@example.com", "--username", "ada"];
    let mut elsewhere = command(&server, None).await;
    let refused = elsewhere.env("ATELIER_PASSWORD", "a long password").args(create).output().await.unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("--setup-code"), "{}", text(&refused.stderr));
    let mut here = command(&server, None).await;
    here.env("ATELIER_DATA_DIR", server.data_dir()).env("ATELIER_PASSWORD", "a long password").args(create);
    let created = here.output().await.unwrap();
    assert!(created.status.success(), "{}", text(&created.stderr));
    run(&["login", "--email", "ada@example.com"], "a long password").await;
    let kept = server.folder().join(".config/atelier/login.json").metadata().unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);
    let user = run(&["user", "create", "--email", "bob@example.com", "--username", "bob"], "another password").await;
    assert!(uuid::Uuid::parse_str(&user).is_ok(), "{user}");
    let token = run(&["token", "create", "--name", "ci", "--lifetime", "1h"], "").await;
    let ada = server.anonymous().with_token(&token).get("/api/v2/users/me").await.body(200);
    assert_eq!(ada["username"], "ada");
}

#[tokio::test]
async fn doctor_says_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .arg("doctor")
        .env("ATELIER_DATA_DIR", folder.path())
        .env_remove("ATELIER_DATABASE_URL")
        .output()
        .await
        .unwrap();
    let printed = text(&output.stdout) + &text(&output.stderr);
    for check in ["database", "files", "sandbox", "git"] {
        assert!(printed.contains(check), "{printed}");
    }
    assert!(output.status.success(), "{printed}");
}

#[tokio::test]
async fn doctor_says_what_landlock_leaves_open() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .arg("doctor")
        .env("ATELIER_DATA_DIR", folder.path())
        .env("ATELIER_LOCAL_SANDBOX", "landlock")
        .env_remove("ATELIER_DATABASE_URL")
        .output()
        .await
        .unwrap();
    let printed = text(&output.stdout) + &text(&output.stderr);
    // Where the kernel has no Landlock, the check fails with that.
    assert!(printed.contains("command lines") || printed.contains("Landlock does not work here"), "{printed}");
}

#[tokio::test]
async fn nothing_that_a_model_or_a_provider_writes_steers_the_terminal() {
    let server = server().script("words", &hostile_script()).start().await;
    let admin = server.admin().await;
    for (message, code) in [("steer", 1), ("colour", 0)] {
        for json in [false, true] {
            let mut command = command(&server, Some(admin.token())).await;
            command.args(["chat", "-p", message]).args(json.then_some("--json"));
            let output = command.output().await.unwrap();
            assert_eq!(output.status.code(), Some(code), "{message}: {}", text(&output.stderr));
            assert_harmless(&(text(&output.stdout) + &text(&output.stderr)));
        }
    }
    // what is stored of the provider's words is clean as well
    let chats = admin.get("/api/experimental/chats/").await.body(200);
    let failed = chats.as_array().unwrap().iter().find(|chat| chat["status"] == "error").unwrap();
    let failed = admin.get(&format!("/api/experimental/chats/{}", failed["id"].as_str().unwrap())).await.body(200);
    let detail = failed["last_error_info"]["detail"].as_str().unwrap();
    assert!(detail.contains("visible") && !detail.contains(is_steering), "{detail:?}");
}

#[tokio::test]
async fn no_refusal_of_a_server_steers_the_terminal() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = format!(
        r#"{{"message":"{HOSTILE}","code":"{HOSTILE}","validations":[{{"field":"{HOSTILE}","detail":"{HOSTILE}"}}]}}"#
    );
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let head =
                "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length";
            let _ = stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
        }
    });
    for arguments in [&["token", "create"][..], &["chat", "-p", "hello"], &["chat", "--resume", "-p", "hello"]] {
        let mut command = Command::new(PROGRAM);
        command.env_clear().env("HOME", "/nonexistent").env("ATELIER_URL", &url).env("ATELIER_TOKEN", "token");
        let output = command.args(arguments).stdin(Stdio::null()).output().await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stderr));
        assert_harmless(&text(&output.stderr));
    }
    serving.abort();
}
