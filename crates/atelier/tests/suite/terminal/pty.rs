//! `atelier` in a terminal of its own, whose screen a test can read.

use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};

use atelier_test_support::{TestServer, eventually};
use pty_process::{OwnedWritePty, Size};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::PROGRAM;

const ROWS: u16 = 30;
const COLUMNS: u16 = 100;
/// Lines above the screen that are kept.
const KEPT: usize = 50_000;

pub(super) struct Terminal {
    child: Child,
    keys: OwnedWritePty,
    parser: Arc<Mutex<vt100::Parser>>,
    /// All bytes that came, as they were.
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Nothing is read meanwhile.
    is_paused: watch::Sender<bool>,
    /// Ends when nobody holds the terminal any more and all that came is on the screen.
    reader: JoinHandle<()>,
}

fn size(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

impl Terminal {
    /// A conversation whose prompt is there. What is typed before is not a message's yet.
    pub(super) async fn chat(server: &TestServer, token: &str, arguments: &str, environment: &[(&str, &str)]) -> Self {
        let terminal = Self::start(server, token, &format!("chat {arguments}"), environment);
        terminal.shows("Ctrl-D leaves").await;
        terminal
    }

    /// Runs `atelier` with these arguments in a shell, which says afterwards how it ended and how the terminal is set.
    pub(super) fn start(server: &TestServer, token: &str, arguments: &str, environment: &[(&str, &str)]) -> Self {
        let line = format!("{PROGRAM} {arguments}; echo ended with $?; stty -a");
        Self::shell(server, token, &line, environment)
    }

    /// Runs a line of the shell.
    pub(super) fn shell(server: &TestServer, token: &str, line: &str, environment: &[(&str, &str)]) -> Self {
        let (pty, pts) = pty_process::open().unwrap();
        pty.resize(Size::new(ROWS, COLUMNS)).unwrap();
        let child = pty_process::Command::new("sh")
            .args(["-c", line])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", server.folder())
            .env("TERM", "xterm-256color")
            .env("ATELIER_URL", server.url())
            .env("ATELIER_TOKEN", token)
            .envs(environment.iter().copied())
            .kill_on_drop(true)
            .spawn(pts)
            .unwrap();
        let (mut output, keys) = pty.into_split();
        let parser = Arc::new(Mutex::new(vt100::Parser::new(size(ROWS), size(COLUMNS), KEPT)));
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (is_paused, mut paused) = watch::channel(false);
        let reader = tokio::spawn({
            let (parser, bytes) = (Arc::clone(&parser), Arc::clone(&bytes));
            async move {
                let mut buffer = vec![0; 64 * 1024];
                loop {
                    // this fails at the end of the test only, when nobody looks any more
                    let _ = paused.wait_for(|is_paused| !is_paused).await;
                    let read = tokio::select! {
                        // what is not read now is read later
                        read = output.read(&mut buffer) => read,
                        Ok(()) = paused.changed() => continue,
                    };
                    let Ok(count @ 1..) = read else { return };
                    bytes.lock().unwrap().extend(&buffer[..count]);
                    parser.lock().unwrap().process(&buffer[..count]);
                }
            }
        });
        Self { child, keys, parser, bytes, is_paused, reader }
    }

    /// Presses keys.
    pub(super) async fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.unwrap();
        self.keys.flush().await.unwrap();
    }

    /// Pastes a text. Only a program that has asked for it is told that it is a paste; for others it is keys.
    pub(super) async fn paste(&mut self, text: &str) {
        let keys = text.replace('\n', "\r");
        let is_marked = self.parser.lock().unwrap().screen().bracketed_paste();
        self.press(&if is_marked { format!("\u{1b}[200~{keys}\u{1b}[201~") } else { keys }).await;
    }

    /// Takes nothing from the program until it is told to go on.
    pub(super) fn pause(&self, is_paused: bool) {
        self.is_paused.send_replace(is_paused);
    }

    pub(super) fn resize(&self, columns: u16) {
        self.parser.lock().unwrap().screen_mut().set_size(size(ROWS), size(columns));
        self.keys.resize(Size::new(ROWS, columns)).unwrap();
    }

    /// What is to be seen, row by row.
    pub(super) fn screen(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// All rows, with those that have left the screen.
    pub(super) fn everything(&self) -> Vec<String> {
        let mut parser = self.parser.lock().unwrap();
        let screen = parser.screen_mut();
        let mut above = screen.scrollback_len();
        let mut rows = Vec::new();
        while above > 0 {
            screen.set_scrollback(above);
            let page = above.min(usize::from(ROWS));
            rows.extend(screen.rows(0, COLUMNS).take(page));
            above -= page;
        }
        screen.set_scrollback(0);
        rows.extend(screen.rows(0, COLUMNS));
        rows
    }

    /// All that was written to the terminal.
    pub(super) fn bytes(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// Waits until a text is to be seen.
    pub(super) async fn shows(&self, text: &str) {
        self.until(&format!("{text:?} to be shown"), |screen| screen.contains(text)).await;
    }

    pub(super) async fn until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let last = Arc::new(Mutex::new(String::new()));
        let wait = eventually(what, || async {
            let screen = self.screen();
            let holds = holds(&screen);
            *last.lock().unwrap() = screen;
            holds.then_some(())
        });
        let deadline = atelier_test_support::DEADLINE - std::time::Duration::from_secs(1);
        let waited = tokio::time::timeout(deadline, wait).await;
        assert!(waited.is_ok(), "waited in vain for {what}; the screen:\n{}", last.lock().unwrap());
    }

    /// The process of the program itself.
    pub(super) fn program(&self) -> String {
        let shell = self.child.id().unwrap();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        children.split_whitespace().next().expect("the program runs").to_owned()
    }

    /// Waits for the end; asserts the exit code, and that the terminal is as a shell wants it.
    pub(super) async fn ends_with(mut self, code: u8) -> String {
        let ended = tokio::time::timeout(atelier_test_support::DEADLINE, self.child.wait()).await;
        assert!(ended.is_ok(), "the program goes on; the screen:\n{}", self.screen());
        let read = tokio::time::timeout(atelier_test_support::DEADLINE, &mut self.reader).await;
        assert!(read.is_ok(), "something still holds the terminal; the screen:\n{}", self.screen());
        let screen = self.everything().join("\n");
        assert!(screen.contains(&format!("ended with {code}\n")), "{screen}");
        for flag in ["icanon", "isig", "echo", "opost"] {
            assert!(
                screen.contains(&format!(" {flag} ")) || screen.contains(&format!("\n{flag} ")),
                "{flag}: {screen}"
            );
        }
        assert!(!self.parser.lock().unwrap().screen().bracketed_paste(), "pastes are still marked");
        assert!(!self.parser.lock().unwrap().screen().hide_cursor(), "the cursor is hidden");
        screen
    }
}
