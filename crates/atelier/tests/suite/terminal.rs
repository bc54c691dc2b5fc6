//! `atelier chat` in a terminal.

mod pty;

use std::os::unix::fs::PermissionsExt as _;

use atelier_test_support::{Actor, Chat, FaultProxy, Link, TestServer, eventually, text_of};

use crate::{PROGRAM, server};
use pty::Terminal;

const SCRIPT: &str = r#"
rules:
  - when: {user_contains: "hang"}
    steps:
      - text: "I think **about** it"
      - hang: true
  - when: {user_contains: "ponder"}
    steps:
      - reasoning: "Let me see"
      - hang: true
  - when: {user_contains: "look"}
    steps:
      - tool_call: {name: list_templates, args: {}}
  - when: {tool_result: {name: list_templates, contains: "templates"}}
    steps:
      - text: "I have looked.\n"
  - when: {user_contains: "fail"}
    steps:
      - error: {kind: auth, message: "the key is wrong"}
  - steps:
      - text: "Hello there.\n"
"#;

const ESCAPE: &str = "\u{1b}";
const CONTROL_C: &str = "\u{3}";
const CONTROL_D: &str = "\u{4}";
const CONTROL_Z: &str = "\u{1a}";

async fn words() -> (TestServer, Actor) {
    let server = server().script("words", SCRIPT).start().await;
    let admin = server.admin().await;
    (server, admin)
}

async fn only_chat(admin: &Actor) -> Chat {
    eventually("the chat", || async {
        let chats = admin.get("/api/experimental/chats/").await.body(200);
        Some(admin.chat(chats[0]["id"].as_str()?))
    })
    .await
}

async fn own_messages(chat: &Chat) -> Vec<String> {
    let messages = chat.messages().await;
    messages.iter().filter(|message| message["role"] == "user").map(text_of).collect()
}

#[tokio::test]
async fn a_conversation_shows_tools_queues_while_busy_interrupts_and_leaves() {
    let (server, admin) = words().await;
    let mut terminal = Terminal::chat(&server, admin.token(), "", &[]).await;
    terminal.press("hello\r").await;
    terminal.shows("Hello there.").await;
    let chat = only_chat(&admin).await;
    chat.wait_for_status("waiting").await;

    terminal.press("look around\r").await;
    terminal.shows("● list_templates").await;
    terminal.shows("I have looked.").await;
    chat.wait_for_status("waiting").await;

    // what is typed while the agent works waits for its turn; Ctrl-C ends the one that runs
    terminal.press("please hang\r").await;
    terminal.shows("I think about it").await;
    terminal.press("hello again\r").await;
    eventually("the message to wait", || async {
        let page = admin.get(&chat.path("/messages")).await.body(200);
        (page["queued_messages"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    terminal.shows("queued").await;
    terminal.press(CONTROL_C).await;
    terminal.shows("(interrupted)").await;
    terminal.until("the second answer", |screen| screen.matches("Hello there.").count() == 2).await;
    chat.wait_for_status("waiting").await;
    assert_eq!(chat.messages().await.len(), 2 + 4 + 2 + 2);

    terminal.press(CONTROL_D).await;
    let screen = terminal.ends_with(0).await;
    assert!(screen.contains(&format!("--resume {}", chat.id)), "{screen}");
}

#[tokio::test]
async fn the_first_control_c_clears_and_the_second_at_an_empty_prompt_leaves() {
    let (server, admin) = words().await;
    let mut terminal = Terminal::chat(&server, admin.token(), "", &[]).await;
    terminal.press("half a thought").await;
    terminal.shows("› half a thought").await;
    terminal.press(CONTROL_C).await;
    terminal.until("an empty prompt", |screen| !screen.contains("half a thought")).await;
    terminal.press(CONTROL_C).await;
    terminal.shows("Ctrl-C again leaves").await;
    // typing takes the question back
    terminal.press("x").await;
    terminal.until("the question to go", |screen| screen.contains("› x") && !screen.contains("again leaves")).await;
    terminal.press(&format!("\u{7f}{CONTROL_C}")).await;
    terminal.shows("Ctrl-C again leaves").await;
    terminal.press(CONTROL_C).await;
    terminal.ends_with(130).await;
}

/// Neither a server that is away nor one that never answers holds anybody up.
#[tokio::test]
async fn a_turn_that_cannot_be_stopped_can_be_left() {
    let (server, admin) = words().await;
    let proxy = FaultProxy::start(&server.url()).await;
    let url = proxy.url();
    for (link, sign, presses) in [(Link::Cut, "not connected", 1), (Link::Swallowing, "· Esc stops", 2)] {
        proxy.set(Link::Delayed(std::time::Duration::ZERO));
        let mut terminal = Terminal::chat(&server, admin.token(), "", &[("ATELIER_URL", &url)]).await;
        terminal.press("please hang\r").await;
        terminal.shows("I think about it").await;
        proxy.set(link);
        terminal.shows(sign).await;
        terminal.press(&CONTROL_C.repeat(presses)).await;
        terminal.shows("Ctrl-C again leaves").await;
        terminal.press(CONTROL_C).await;
        terminal.ends_with(130).await;
    }
}

/// Where Ctrl-C is a signal, nothing is drawn again, and the first one still says what the second does.
#[tokio::test]
async fn a_terminal_that_only_goes_forward_is_left_by_the_second_control_c() {
    let (server, admin) = words().await;
    // the shell is in the same group and is to outlive it
    let line = format!("trap : INT; {PROGRAM} chat; echo ended with $?; stty -a");
    let mut terminal = Terminal::shell(&server, admin.token(), &line, &[("TERM", "dumb")]);
    terminal.shows("Ctrl-D leaves").await;
    terminal.press(CONTROL_C).await;
    terminal.shows("Ctrl-C again leaves").await;
    terminal.press(CONTROL_C).await;
    terminal.ends_with(130).await;
}

#[tokio::test]
async fn signals_and_refusals_give_the_terminal_back() {
    let (server, admin) = words().await;
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("QUIT", 131)] {
        let terminal = Terminal::chat(&server, admin.token(), "", &[]).await;
        let sent = std::process::Command::new("kill").args(["-s", signal, &terminal.program()]).status().unwrap();
        assert!(sent.success());
        terminal.ends_with(code).await;
    }
    // the stream is refused while the prompt waits
    let user = server.user("bob").await;
    let mut terminal = Terminal::chat(&server, user.token(), "", &[]).await;
    terminal.press("hello\r").await;
    terminal.shows("Hello there.").await;
    let users = admin.get("/api/v2/users?q=bob").await.body(200);
    let bob = users["users"][0]["id"].as_str().unwrap();
    admin.put(&format!("/api/v2/users/{bob}/status/suspend"), serde_json::json!({})).await.expect(200);
    terminal.ends_with(1).await;
}

#[tokio::test]
async fn a_suspended_program_gives_the_terminal_back_until_it_goes_on() {
    let (server, admin) = words().await;
    let line = format!("set -m; {PROGRAM} chat; echo stopped with $?; stty -a; fg; echo ended with $?; stty -a");
    let mut terminal = Terminal::shell(&server, admin.token(), &line, &[]);
    terminal.shows("Ctrl-D leaves").await;
    terminal.press("hello\r").await;
    terminal.shows("Hello there.").await;
    only_chat(&admin).await.wait_for_status("waiting").await;
    terminal.press(CONTROL_Z).await;
    terminal.shows("stopped with 148").await;
    terminal.shows(" icanon ").await;
    terminal.until("the prompt", |screen| screen.trim_end().lines().last().is_some_and(|row| row == "›")).await;
    terminal.press("again\r").await;
    terminal.until("another answer", |screen| screen.matches("Hello there.").count() == 2).await;
    terminal.press(CONTROL_D).await;
    terminal.ends_with(0).await;
}

/// A script around the program stops with it; else the terminal would belong to nobody.
#[tokio::test]
async fn a_script_is_suspended_together_with_the_program() {
    let (server, admin) = words().await;
    let script = format!("sh -c '{PROGRAM} chat; echo the script goes on'");
    let line = format!("set -m; {script}; echo stopped with $?; stty -a; fg; echo ended with $?; stty -a");
    let mut terminal = Terminal::shell(&server, admin.token(), &line, &[]);
    terminal.shows("Ctrl-D leaves").await;
    terminal.press(CONTROL_Z).await;
    terminal.shows("stopped with 148").await;
    terminal.until("the prompt", |screen| screen.trim_end().lines().last().is_some_and(|row| row == "›")).await;
    terminal.press(CONTROL_D).await;
    let screen = terminal.ends_with(0).await;
    assert!(screen.contains("the script goes on"), "{screen}");
}

#[tokio::test]
async fn nothing_waits_for_a_program_that_nobody_could_continue() {
    let (server, admin) = words().await;
    // without job control there is nobody to give the terminal to
    let mut terminal = Terminal::chat(&server, admin.token(), "", &[]).await;
    terminal.press(CONTROL_Z).await;
    let taken = "\u{1b}[?2004h";
    terminal.until("the terminal to be taken again", |_| terminal.bytes().matches(taken).count() == 2).await;
    terminal.press("hello\r").await;
    terminal.shows("Hello there.").await;
}

#[tokio::test]
async fn a_pasted_text_of_several_lines_is_one_message() {
    let (server, admin) = words().await;
    let mut terminal = Terminal::chat(&server, admin.token(), "", &[]).await;
    let trace = "error: it broke\n\tat main.rs:1\n\tat @types/lib.rs:2";
    terminal.paste(trace).await;
    terminal.shows("lib.rs:2").await;
    terminal.press("\r").await;
    terminal.shows("Hello there.").await;
    terminal.shows("      at main.rs:1").await;
    let chat = only_chat(&admin).await;
    chat.wait_for_status("waiting").await;
    assert_eq!(own_messages(&chat).await, [trace]);
    // Alt-Enter and a backslash before Enter begin a line
    terminal.press("one\u{1b}\rtwo\\\rthree\r").await;
    terminal.until("another answer", |screen| screen.matches("Hello there.").count() == 2).await;
    assert_eq!(own_messages(&chat).await, [trace, "one\ntwo\nthree"]);
}

#[tokio::test]
async fn a_pasted_text_is_sent_as_it_is_whatever_stands_before_it() {
    let (server, admin) = words().await;
    let mut terminal = Terminal::chat(&server, admin.token(), "", &[]).await;
    terminal.press("mail bob").await;
    terminal.paste(r"@example.com about sum(\@nums) of @no/such").await;
    terminal.shows("no/such").await;
    terminal.press("\r").await;
    terminal.shows("Hello there.").await;
    let chat = only_chat(&admin).await;
    chat.wait_for_status("waiting").await;
    assert_eq!(own_messages(&chat).await, [r"mail bob@example.com about sum(\@nums) of @no/such"]);
}

#[tokio::test]
async fn text_is_shown_while_its_line_is_written_and_escape_stops_the_turn() {
    let (server, admin) = words().await;
    let mut terminal = Terminal::chat(&server, admin.token(), "", &[]).await;
    terminal.press("please hang\r").await;
    // Markdown has become looks; the line has no end so far
    terminal.shows("I think about it").await;
    terminal.shows("· Esc stops").await;
    terminal.press(ESCAPE).await;
    terminal.shows("(interrupted)").await;
    let chat = only_chat(&admin).await;
    chat.wait_for_status("waiting").await;
    terminal.until("no sign of work", |screen| !screen.contains("· Esc stops")).await;
    assert_eq!(terminal.screen().matches("I think about it").count(), 1, "{}", terminal.screen());
}

#[tokio::test]
async fn reasoning_has_a_sign_and_is_shown_on_demand() {
    let (server, admin) = words().await;
    let mut terminal = Terminal::chat(&server, admin.token(), "", &[]).await;
    terminal.press("ponder\r").await;
    terminal.shows("thinking").await;
    assert!(!terminal.screen().contains("Let me see"));
    let mut terminal = Terminal::chat(&server, admin.token(), "--reasoning", &[]).await;
    terminal.press("ponder\r").await;
    terminal.shows("Let me see").await;
}

/// The terminal slows the reading instead of losing lines.
#[tokio::test]
async fn no_line_of_a_long_answer_is_lost_live_or_resumed() {
    const LINES: usize = 20_000;
    const MORE: usize = 10;
    let lines: Vec<String> = (1..=LINES).map(|n| format!("{n} of many")).collect();
    let script = format!(
        "rules:\n  - when: {{user_contains: more}}\n    steps:\n      - text: Once more.\n  \
         - when: {{user_contains: end}}\n    steps:\n      - text: That is all.\n  \
         - steps:\n      - text: {:?}\n        chunk: 4096\n",
        lines.join("\n")
    );
    let server = server().script("long", &script).start().await;
    let admin = server.admin().await;
    let mut terminal = Terminal::chat(&server, admin.token(), "", &[]).await;
    terminal.pause(true);
    terminal.press("count\r").await;
    let chat = only_chat(&admin).await;
    chat.wait_for_status("waiting").await;
    // more than waits for a slow terminal
    for text in std::iter::repeat_n("more", MORE).chain(["end"]) {
        chat.send(text).await;
        chat.wait_for_status("waiting").await;
    }
    terminal.pause(false);
    terminal.shows("That is all.").await;
    let resumed = Terminal::start(&server, admin.token(), "chat --resume", &[]);
    resumed.shows("That is all.").await;
    for terminal in [terminal, resumed] {
        let rows = terminal.everything();
        let of = |end: &str| rows.iter().map(|row| row.trim_end()).filter(|row| row.ends_with(end)).collect::<Vec<_>>();
        assert_eq!(of("of many").len(), LINES);
        assert_eq!(of("of many"), lines);
        assert_eq!(of("Once more.").len(), MORE);
    }
}

#[tokio::test]
async fn a_resumed_chat_shows_own_messages_and_why_it_failed() {
    let (server, admin) = words().await;
    let chat = admin.chat_create("please fail").await;
    chat.wait_for_status("error").await;
    let mut terminal = Terminal::chat(&server, admin.token(), &format!("--resume {}", chat.id), &[]).await;
    terminal.shows("› please fail").await;
    terminal.shows("the key is wrong").await;
    // live as well, and once
    terminal.press("fail again\r").await;
    terminal.until("both failures", |screen| screen.matches("the key is wrong").count() == 2).await;
    chat.wait_for_status("error").await;
}

#[tokio::test]
async fn a_message_that_is_sent_while_the_server_is_away_arrives_once() {
    let (server, admin) = words().await;
    let proxy = FaultProxy::start(&server.url()).await;
    let url = proxy.url();
    for away in [Link::Cut, Link::BadGateway] {
        let environment = [("ATELIER_URL", url.as_str())];
        let mut terminal = Terminal::chat(&server, admin.token(), "", &environment).await;
        terminal.press("hello\r").await;
        terminal.shows("Hello there.").await;
        let chat = admin.get("/api/experimental/chats/").await.body(200)[0]["id"].as_str().unwrap().to_owned();
        let chat = admin.chat(&chat);
        chat.wait_for_status("waiting").await;
        proxy.set(away);
        terminal.press("look around\r").await;
        terminal.shows("the server does not answer").await;
        terminal.shows("› look around (sending)").await;
        proxy.set(Link::Delayed(std::time::Duration::ZERO));
        terminal.shows("(connected again)").await;
        terminal.shows("I have looked.").await;
        assert_eq!(own_messages(&chat).await, ["hello", "look around"]);
        terminal.press(CONTROL_D).await;
        terminal.ends_with(0).await;
    }
}

#[tokio::test]
async fn a_refused_message_comes_back_to_the_prompt() {
    let (server, admin) = words().await;
    let mut terminal = Terminal::chat(&server, admin.token(), "", &[]).await;
    terminal.press("look at @nothing/there.png\r").await;
    terminal.shows("there is no such file").await;
    terminal.shows("› look at @nothing/there.png").await;
    let chats = admin.get("/api/experimental/chats/").await.body(200);
    assert_eq!(chats.as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn messages_are_remembered_for_the_next_time_by_their_owner_alone() {
    let (server, admin) = words().await;
    let mut terminal = Terminal::chat(&server, admin.token(), "", &[]).await;
    terminal.press("hello\r").await;
    terminal.shows("Hello there.").await;
    terminal.press(CONTROL_D).await;
    terminal.ends_with(0).await;
    let kept = server.folder().join(".local/state/atelier/history");
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut terminal = Terminal::chat(&server, admin.token(), "", &[]).await;
    terminal.press("\u{1b}[A").await;
    terminal.shows("› hello").await;
}

#[tokio::test]
async fn colours_obey_the_user_and_no_text_is_white_or_black() {
    let (server, admin) = words().await;
    for (environment, is_styled) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
        let mut terminal = Terminal::chat(&server, admin.token(), "", environment).await;
        terminal.press("hang on\r").await;
        let text = if is_styled { "I think about it" } else { "I think **about** it" };
        terminal.shows(text).await;
        let bytes = terminal.bytes();
        let looks: Vec<&str> =
            bytes.split("\u{1b}[").skip(1).filter_map(|rest| Some(rest.split_once('m')?.0)).collect();
        let looks: Vec<&&str> =
            looks.iter().filter(|look| look.chars().all(|c| c.is_ascii_digit() || c == ';')).collect();
        assert_eq!(!looks.is_empty(), is_styled, "{looks:?}");
        let forced = ["30", "37", "97", "40", "47", "38;5;0", "38;5;7", "38;5;15"];
        assert!(!looks.iter().any(|look| forced.contains(look)), "{looks:?}");
    }
}

#[tokio::test]
async fn a_terminal_that_only_goes_forward_gets_plain_lines() {
    let (server, admin) = words().await;
    let mut terminal = Terminal::chat(&server, admin.token(), "", &[("TERM", "dumb")]).await;
    terminal.press("look around\r").await;
    terminal.shows("● list_templates").await;
    terminal.shows("I have looked.").await;
    terminal.press(CONTROL_D).await;
    let bytes = terminal.bytes();
    assert!(!bytes.contains('\u{1b}'), "{bytes:?}");
    terminal.ends_with(0).await;
}

#[tokio::test]
async fn a_narrower_terminal_still_shows_everything_once() {
    let (server, admin) = words().await;
    let mut terminal = Terminal::chat(&server, admin.token(), "", &[]).await;
    terminal.press("please hang\r").await;
    terminal.shows("I think about it").await;
    terminal.press("a draft that is typed meanwhile").await;
    terminal.shows("typed meanwhile").await;
    terminal.resize(40);
    terminal.press(" and goes on").await;
    terminal.shows("goes on").await;
    let screen = terminal.screen();
    assert_eq!(screen.matches("I think about it").count(), 1, "{screen}");
    terminal.press(CONTROL_C).await;
    terminal.shows("(interrupted)").await;
    terminal.until("an empty prompt", |screen| !screen.contains("draft")).await;
}

#[tokio::test]
async fn a_password_that_is_not_given_after_all_leaves_the_terminal_as_it_was() {
    let (server, admin) = words().await;
    let mut terminal = Terminal::start(&server, admin.token(), "login --email admin@example.com", &[]);
    terminal.shows("Password:").await;
    terminal.press(&format!("sec{CONTROL_C}")).await;
    let screen = terminal.ends_with(130).await;
    assert!(!screen.contains("sec"), "{screen}");
}

/// Only the result goes to a file; what steers the terminal goes there.
#[tokio::test]
async fn a_typed_password_leaves_nothing_in_redirected_outputs() {
    let (server, admin) = words().await;
    let create = format!("{PROGRAM} user create --email bob@example.com --username bob");
    let line = format!("cd \"$HOME\"; {create} > out 2> notes; echo ended with $?; stty -a");
    let mut terminal = Terminal::shell(&server, admin.token(), &line, &[]);
    terminal.until("the terminal to be taken", |_| terminal.bytes().contains("\u{1b}[?2004h")).await;
    terminal.press("a long password\r").await;
    let screen = terminal.ends_with(0).await;
    assert!(!screen.contains("password"), "{screen}");
    let kept = |name: &str| std::fs::read_to_string(server.folder().join(name)).unwrap();
    let users = admin.get("/api/v2/users?q=bob").await.body(200);
    assert_eq!(kept("out").trim_end(), users["users"][0]["id"].as_str().unwrap());
    assert_eq!(kept("notes"), "Password: \nCreated bob.\n");
}
