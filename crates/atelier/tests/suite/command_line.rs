//! `atelier chat` and its siblings, as a shell sees them.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use atelier_domain::text::is_steering;
use atelier_test_support::{Actor, Chat, FaultProxy, Link, TestServer, eventually};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
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
  - when: {user_contains: "long"}
    steps:
      - text: "Cut here"
      - finish: length
  - when: {user_contains: "look"}
    steps:
      - text: "I look first."
      - tool_call: {name: list_templates, args: {}}
  - when: {tool_result: {name: list_templates, contains: "templates"}}
    steps:
      - text: "I have looked."
  - when: {user_contains: "half"}
    steps:
      - text: "I begin."
      - tool_call: {name: half, args: {}}
  - when: {tool_result: {name: half, contains: ""}}
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

async fn newest_chat(admin: &Actor) -> Chat {
    let chats = admin.get("/api/experimental/chats/").await.body(200);
    admin.chat(chats[0]["id"].as_str().expect("there is a chat"))
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
    for arguments in [
        &["chat", "-p", "hello", "--model", "no such model"][..],
        &["chat", "-p", "hello", "--resume", "nonsense"],
        &["chat", "-p", "hello", "--resume", "019ae9c0-0000-7000-8000-000000000000"],
        &["chat", "-p", "look at @no/such/file"],
        &["chat", "-p", ""],
        &["chat", "-p", "-"],
        &["--url", "nowhere", "chats"],
        &["chat", "-p", "hello", "--workspace", "xyz"],
        &["chat", "-p", "hello", "--workspace", "019ae9c0-0000-7000-8000-000000000000"],
        &["chat", "--resume", "-p", "hello", "--workspace", "019ae9c0-0000-7000-8000-000000000000"],
        &["--token", "no\u{7f}token", "chats"],
    ] {
        let usage = command(&server, Some(admin.token())).await.args(arguments).output().await.unwrap();
        assert_eq!(usage.status.code(), Some(2), "{arguments:?}: {}", text(&usage.stderr));
        let named = arguments.iter().find(|argument| ["--workspace", "--token"].contains(argument));
        let said = text(&usage.stderr);
        assert!(named.is_none_or(|named| said.contains(named)), "{arguments:?}: {said}");
    }
    let help = command(&server, None).await.args(["chat", "--help"]).output().await.unwrap();
    assert!(text(&help.stdout).contains("130"), "{}", text(&help.stdout));
    assert!(text(&stranger.stderr).contains("atelier login"), "{}", text(&stranger.stderr));
}

/// Ctrl-C interrupts the turn on the server, keeps what the model has said, and leaves with 130.
#[tokio::test]
async fn control_c_interrupts_the_turn() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    let mut chat = command(&server, Some(admin.token())).await;
    let mut child = chat.args(["chat", "--json", "-p", "hang"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap()).lines();
    // it waits for signals since before it prints
    while !events.next_line().await.unwrap().expect("the turn goes on").contains("I think about it") {}
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    while events.next_line().await.unwrap().is_some() {}
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
    let chat = newest_chat(&admin).await;
    chat.wait_for_status("waiting").await;
    let messages = chat.messages().await;
    assert_eq!(atelier_test_support::text_of(messages.last().unwrap()), "I think about it");
}

/// Also one that is pressed while the answer is being printed, here to a reader that does not read.
#[tokio::test]
async fn control_c_is_not_lost_while_the_answer_is_printed() {
    const SLOW_READER: &str = r#"
rules:
  - when: {tool_result: {name: list_templates, contains: ""}}
    steps:
      - hang: true
  - steps:
      - {text: "ANSWER", chunk: 65536}
      - tool_call: {name: list_templates, args: {}}
"#;
    let answer = "x".repeat(200_000);
    let server = server().script("much", &SLOW_READER.replace("ANSWER", &answer)).start().await;
    let admin = server.admin().await;
    let (reader, writer) = std::io::pipe().unwrap();
    let mut chat = command(&server, Some(admin.token())).await;
    let mut child = chat.args(["chat", "-p", "hello"]).stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    // the command holds its end of the pipe as well
    drop(chat);
    let capacity = rustix::pipe::fcntl_getpipe_size(&reader).unwrap() as u64;
    eventually("a full pipe", || async { (rustix::io::ioctl_fionread(&reader).unwrap() == capacity).then_some(()) })
        .await;
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let printed = tokio::task::spawn_blocking(move || std::io::read_to_string(reader).unwrap());
    let ended = tokio::time::timeout(atelier_test_support::DEADLINE, child.wait()).await.expect("it is interrupted");
    assert_eq!(ended.unwrap().code(), Some(130));
    assert_eq!(printed.await.unwrap().trim_end(), answer);
}

#[tokio::test]
async fn json_prints_the_events_of_the_stream() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    let mut command = command(&server, Some(admin.token())).await;
    let mut child = command.args(["chat", "--json", "-p", "hang"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut parts, mut answers) = (0, Vec::new());
    while let Some(line) = lines.next_line().await.unwrap() {
        let event: Value = serde_json::from_str(&line).expect(&line);
        if event["type"] == "message_part" {
            parts += 1;
            if parts == 1 {
                newest_chat(&admin).await.interrupt().await.expect(200);
            }
        }
        if event["message"]["role"] == "assistant" {
            answers.push(atelier_test_support::text_of(&event["message"]));
        }
    }
    assert!(child.wait().await.unwrap().success());
    assert!(parts > 0);
    assert_eq!(answers, ["I think about it"]);
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
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("-p"), "{}", text(&output.stderr));
}

async fn with_input(mut command: Command, input: &[u8]) -> std::process::Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // a program that refuses its input may have ended already
    let _ = stdin.write_all(input).await;
    drop(stdin);
    child.wait_with_output().await.unwrap()
}

#[tokio::test]
async fn what_is_piped_in_is_sent_with_the_message_or_is_the_message() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    let log = "error @Cargo.toml\n\tat line 1\n";
    for (prompt, texts) in [
        (&["-p", "what is this"][..], &["what is this", "error @Cargo.toml\n\tat line 1"][..]),
        (&["-p", "-"], &["error @Cargo.toml\n\tat line 1"]),
        (&["-p"], &["error @Cargo.toml\n\tat line 1"]),
    ] {
        let mut chat = command(&server, Some(admin.token())).await;
        chat.arg("chat").args(prompt);
        let output = with_input(chat, log.as_bytes()).await;
        assert!(output.status.success(), "{prompt:?}: {}", text(&output.stderr));
        let chats = admin.get("/api/experimental/chats/").await.body(200);
        let messages = admin.chat(chats[0]["id"].as_str().unwrap()).messages().await;
        let sent: Vec<&str> =
            messages[0]["content"].as_array().unwrap().iter().filter_map(|part| part["text"].as_str()).collect();
        assert_eq!(sent, texts, "{prompt:?}");
    }
    let mut chat = command(&server, Some(admin.token())).await;
    chat.args(["chat", "-p", "-"]);
    let output = with_input(chat, b"\xff\xfe").await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("UTF-8"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn quiet_prints_the_final_answer_alone() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    let mut whole = command(&server, Some(admin.token())).await;
    let whole = whole.args(["chat", "-p", "look around"]).output().await.unwrap();
    assert_eq!(text(&whole.stdout), "I look first.\nI have looked.\n");
    assert!(text(&whole.stderr).starts_with("chat "), "{}", text(&whole.stderr));
    assert!(text(&whole.stderr).contains("list_templates"), "{}", text(&whole.stderr));
    let mut quiet = command(&server, Some(admin.token())).await;
    let quiet = quiet.args(["chat", "-q", "-p", "look around"]).output().await.unwrap();
    assert!(quiet.status.success());
    assert_eq!((text(&quiet.stdout), text(&quiet.stderr)), ("I have looked.\n".to_owned(), String::new()));
}

#[tokio::test]
async fn quiet_prints_nothing_of_an_earlier_turn_or_of_a_failed_one() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    for (arguments, code, printed, said) in [
        (&["chat", "-q", "-p", "hello"][..], 0, "Hello there.\n", ""),
        (&["chat", "-q", "--resume", "-p", "please fail"], 1, "", "the key is wrong"),
        (&["chat", "-q", "--resume", "-p", "half of it"], 1, "", "the key is wrong"),
        // what is cut is printed, and said to be
        (&["chat", "-q", "--resume", "-p", "long"], 0, "Cut here\n", "the answer is cut"),
    ] {
        let output = command(&server, Some(admin.token())).await.args(arguments).output().await.unwrap();
        let notes = text(&output.stderr);
        assert_eq!(
            (output.status.code(), text(&output.stdout).as_str()),
            (Some(code), printed),
            "{arguments:?}: {notes}"
        );
        assert!(notes.contains(said), "{arguments:?}: {notes}");
    }
}

#[tokio::test]
async fn a_message_may_begin_with_a_dash() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    for arguments in [&["-p", "- fix the list", "--json"][..], &["-qp", "--force is what I mean"]] {
        let mut chat = command(&server, Some(admin.token())).await;
        let output = chat.arg("chat").args(arguments).output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        let messages = newest_chat(&admin).await.messages().await;
        assert_eq!(atelier_test_support::text_of(&messages[0]), arguments[1]);
    }
}

/// In a service or a container there is no home folder, and what is not set may be there and empty.
#[tokio::test]
async fn the_environment_is_enough_to_reach_a_server() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    let mut homeless = command(&server, Some(admin.token())).await;
    let output = homeless.env_remove("HOME").args(["chat", "-p", "hello"]).output().await.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut of_a_file = command(&server, Some(&format!("{}\r\n", admin.token()))).await;
    let output = of_a_file.args(["chat", "-p", "hello"]).output().await.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));

    let folder = server.folder().join(".config/atelier");
    std::fs::create_dir_all(&folder).unwrap();
    let login = serde_json::json!({ "url": server.url(), "token": admin.token() }).to_string();
    for (login, url, token, code) in [
        ("{", &*server.url(), admin.token(), 0),
        ("{", "", admin.token(), 1),
        (&*login, "", "", 0),
        (&*login, &*server.url(), "", 0),
    ] {
        std::fs::write(folder.join("login.json"), login).unwrap();
        let mut chats = command(&server, Some(token)).await;
        let output = chats.env("ATELIER_URL", url).arg("chats").output().await.unwrap();
        assert_eq!(output.status.code(), Some(code), "{login} {url} {token}: {}", text(&output.stderr));
    }
}

#[tokio::test]
async fn text_of_a_dropped_attempt_is_not_in_a_file() {
    const TWICE: &str = r#"
rules:
  - when: {attempt: 1}
    steps:
      - {text: "Half of it. ", repeat: 20, delay_ms: 50}
      - cut: true
  - steps:
      - text: "The whole of it."
"#;
    let server = server().script("twice", TWICE).start().await;
    let admin = server.admin().await;
    let output = command(&server, Some(admin.token())).await.args(["chat", "-p", "hello"]).output().await.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "The whole of it.\n");
}

#[tokio::test]
async fn a_cut_answer_says_so() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    let output = command(&server, Some(admin.token())).await.args(["chat", "-p", "long"]).output().await.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "Cut here\n");
    assert!(text(&output.stderr).contains("the answer is cut"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn models_and_chats_are_listed_and_a_model_is_taken_by_its_name() {
    let server = server().script("words", SCRIPT).script("other", SCRIPT).start().await;
    let admin = server.admin().await;
    let run = async |arguments: &[&str]| {
        let output = command(&server, Some(admin.token())).await.args(arguments).output().await.unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (_, models, _) = run(&["models", "--json"]).await;
    let models: Value = serde_json::from_str(&models).unwrap();
    let other = models.as_array().unwrap().iter().find(|model| model["model"] == "other").unwrap();
    let id = other["id"].as_str().unwrap();
    let (code, table, _) = run(&["models"]).await;
    assert_eq!(code, Some(0));
    assert!(table.contains(id) && table.contains("scripted:other") && table.contains("default"), "{table}");

    for name in ["other", "OTHER", "scripted:other", id] {
        let (code, _, notes) = run(&["chat", "-p", "hello", "--model", name]).await;
        assert_eq!(code, Some(0), "{name}: {notes}");
        let chats = admin.get("/api/experimental/chats/").await.body(200);
        assert_eq!(chats[0]["last_model_config_id"], id, "{name}");
    }
    let (code, _, notes) = run(&["chat", "-p", "hello", "--model", "nothing"]).await;
    assert_eq!(code, Some(2));
    assert!(notes.contains("scripted:words") && notes.contains(id), "{notes}");

    let (code, chats, _) = run(&["chats"]).await;
    assert_eq!((code, chats.lines().count()), (Some(0), 1 + 4), "{chats}");
    let (_, chats, _) = run(&["chats", "--json", "--limit", "1"]).await;
    let chats: Value = serde_json::from_str(&chats).unwrap();
    let chat = chats[0]["id"].as_str().unwrap();
    let (code, _, notes) = run(&["chat", "--resume", chat, "-p", "again"]).await;
    assert_eq!(code, Some(0), "{notes}");
}

#[tokio::test]
async fn files_that_a_message_names_are_sent_along() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("größe.rs"), "fn main() {}").unwrap();
    // the smallest picture: one transparent pixel
    let picture = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";
    std::fs::write(folder.path().join("a picture.gif"), picture).unwrap();
    let mut chat = command(&server, Some(admin.token())).await;
    std::fs::write(folder.path().join("about.md"), "GIF89a is how a GIF begins").unwrap();
    chat.current_dir(folder.path()).args(["chat", "-p", "see @größe.rs and @\"a picture.gif\", a@b.c"]);
    let output = chat.output().await.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let messages = newest_chat(&admin).await.messages().await;
    let content = &messages[0]["content"];
    assert_eq!(content[0]["text"], "see @größe.rs and @\"a picture.gif\", a@b.c");
    assert_eq!(
        (&content[1]["name"], &content[1]["media_type"]),
        (&"größe.rs".into(), &"text/plain".into()),
        "{content}"
    );
    assert_eq!((&content[2]["name"], &content[2]["media_type"]), (&"a picture.gif".into(), &"image/gif".into()));

    let mut chat = command(&server, Some(admin.token())).await;
    chat.current_dir(folder.path()).args(["chat", "-p", r"see @a\ picture.gif, @about.md"]);
    let output = chat.output().await.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let messages = newest_chat(&admin).await.messages().await;
    let content = &messages[0]["content"];
    assert_eq!((&content[1]["name"], &content[1]["media_type"]), (&"a picture.gif".into(), &"image/gif".into()));
    assert_eq!((&content[2]["name"], &content[2]["media_type"]), (&"about.md".into(), &"text/markdown".into()));
}

/// The stream is opened again through a proxy whose server is away for a moment.
#[tokio::test]
async fn a_turn_is_followed_through_a_proxy_that_answers_502_for_a_while() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    let proxy = FaultProxy::start(&server.url()).await;
    let mut chat = command(&server, Some(admin.token())).await;
    chat.env("ATELIER_URL", proxy.url()).args(["chat", "--json", "-p", "hang"]);
    let mut child = chat.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = events.next_line().await.unwrap() {
        if line.contains("message_part") {
            break;
        }
    }
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
    proxy.set(Link::BadGateway);
    assert_eq!(
        notes.next_line().await.unwrap().as_deref(),
        Some("(the server does not answer; trying again for up to a minute)")
    );
    newest_chat(&admin).await.interrupt().await.expect(200);
    proxy.set(Link::Delayed(Duration::ZERO));
    let mut answers = 0;
    while let Some(line) = events.next_line().await.unwrap() {
        let event: Value = serde_json::from_str(&line).unwrap();
        answers += usize::from(event["message"]["role"] == "assistant");
    }
    assert_eq!(answers, 1);
    let ended = tokio::time::timeout(atelier_test_support::DEADLINE, child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn a_closed_pipe_ends_quietly() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    for arguments in [&["chat", "--json", "-p", "hello"][..], &["models"], &["completions", "bash"]] {
        let mut closed = command(&server, Some(admin.token())).await;
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = closed.args(arguments).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(141), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

#[tokio::test]
async fn shells_get_completions() {
    let server = server().start_empty().await;
    for shell in ["bash", "zsh", "fish"] {
        let output = command(&server, None).await.args(["completions", shell]).output().await.unwrap();
        assert!(output.status.success());
        assert!(text(&output.stdout).contains("resume"), "{shell}");
    }
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
