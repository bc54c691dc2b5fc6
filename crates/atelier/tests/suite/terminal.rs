//! `atelier chat` in a terminal: `script` gives it one, and this test answers as a terminal does.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atelier_test_support::{TestServer, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};

use crate::{PROGRAM, server};

const SCRIPT: &str = r#"
rules:
  - when: {user_contains: "hang"}
    steps:
      - text: "I think about it.\n"
      - hang: true
  - when: {user_contains: "look"}
    steps:
      - tool_call: {name: list_templates, args: {}}
  - when: {tool_result: {name: list_templates, contains: "templates"}}
    steps:
      - text: "I have looked.\n"
  - steps:
      - text: "Hello there.\n"
"#;

/// A program asks where the cursor is; a terminal answers.
const WHERE: &str = "\u{1b}[6n";

struct Terminal {
    child: Child,
    keys: Arc<tokio::sync::Mutex<ChildStdin>>,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(server: &TestServer, token: &str, arguments: &str) -> Self {
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &format!("{PROGRAM} chat {arguments}"), "/dev/null"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", server.folder())
            .env("TERM", "xterm")
            .env("ATELIER_URL", server.url())
            .env("ATELIER_TOKEN", token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("`script` comes with util-linux");
        let keys = Arc::new(tokio::sync::Mutex::new(child.stdin.take().unwrap()));
        let mut output = child.stdout.take().unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        tokio::spawn({
            let (keys, screen) = (Arc::clone(&keys), Arc::clone(&screen));
            async move {
                let mut bytes = [0; 4096];
                let mut unanswered = String::new();
                while let Ok(count @ 1..) = output.read(&mut bytes).await {
                    let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                    screen.lock().unwrap().push_str(&text);
                    unanswered.push_str(&text);
                    while let Some(at) = unanswered.find(WHERE) {
                        unanswered.drain(..at + WHERE.len());
                        let _ = keys.lock().await.write_all(b"\x1b[1;1R").await;
                    }
                }
            }
        });
        Self { child, keys, screen }
    }

    /// Presses keys.
    async fn press(&self, keys: &str) {
        let mut stdin = self.keys.lock().await;
        stdin.write_all(keys.as_bytes()).await.unwrap();
        stdin.flush().await.unwrap();
    }

    /// Waits until the terminal has shown a text, and forgets what came up to it.
    async fn shows(&self, text: &str) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            {
                let mut screen = self.screen.lock().unwrap();
                if let Some(at) = screen.find(text) {
                    screen.drain(..at + text.len());
                    return;
                }
                assert!(tokio::time::Instant::now() < deadline, "{text:?} is not shown: {screen:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn code(mut self) -> Option<i32> {
        tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await.expect("to leave").unwrap().code()
    }
}

#[tokio::test]
async fn a_conversation_shows_tools_queues_while_busy_interrupts_and_leaves() {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    let terminal = Terminal::start(&server, admin.token(), "");
    terminal.shows("Ctrl-C interrupts").await;
    terminal.press("hello\r").await;
    terminal.shows("Hello there.").await;
    let chats = admin.get("/api/experimental/chats/").await.body(200);
    let chat = admin.chat(chats[0]["id"].as_str().unwrap());
    chat.wait_for_status("waiting").await;

    terminal.press("look around\r").await;
    terminal.shows("list_templates").await;
    terminal.shows("I have looked.").await;
    chat.wait_for_status("waiting").await;

    // what is typed while the agent works waits for its turn; Ctrl-C ends the one that runs
    terminal.press("please hang\r").await;
    terminal.shows("I think about it.").await;
    terminal.press("hello again\r").await;
    eventually("the message to wait", || async {
        let page = admin.get(&chat.path("/messages")).await.body(200);
        (page["queued_messages"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    terminal.press("\u{3}").await;
    terminal.shows("Hello there.").await;
    chat.wait_for_status("waiting").await;
    assert_eq!(chat.messages().await.len(), 2 + 4 + 2 + 2);

    terminal.press("\u{4}").await;
    terminal.shows(&format!("--resume {}", chat.id)).await;
    assert_eq!(terminal.code().await, Some(0));

    let resumed = Terminal::start(&server, admin.token(), "--resume");
    resumed.shows("Hello there.").await;
    // with nothing running Ctrl-C leaves
    resumed.press("\u{3}").await;
    assert_eq!(resumed.code().await, Some(130));
}
