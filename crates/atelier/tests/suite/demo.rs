//! What a stranger does first.

use atelier_test_support::{Engine, TestServer};
use serde_json::json;

use crate::server;

/// Runs the line that the server prints, from another folder.
#[tokio::test]
async fn the_printed_line_makes_the_tests_pass() {
    for engine in Engine::ALL {
        let server = server().engine(engine).demo().start().await;
        let printed = server.printed();
        let line = printed.lines().find(|line| line.contains(" chat -p ")).expect("the line is printed");
        let output = tokio::process::Command::new("sh")
            .args(["-c", line.trim()])
            .current_dir("/")
            .env("HOME", server.folder())
            .output()
            .await
            .unwrap();
        let (answer, rows) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{engine:?}: {answer}{rows}");
        assert!(answer.contains("The tests pass now: 3 passed, 0 failed."), "{answer}");
        for tool in ["create_workspace", "execute", "read_file", "edit_files"] {
            assert!(rows.contains(&format!("● {tool}")), "{tool} is missing in {rows}");
        }
        // not only said: the file has changed, and its tests pass outside of the server too
        let repository = find(&server.data_dir().join("workspaces"), "calc.sh");
        let tests = std::process::Command::new("sh").arg("test.sh").current_dir(&repository).output().unwrap();
        assert!(tests.status.success(), "{}", String::from_utf8_lossy(&tests.stdout));
        let diff = std::process::Command::new("git")
            .args(["-c", "safe.directory=*", "diff", "--stat"])
            .current_dir(&repository)
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&diff.stdout).contains("calc.sh"), "the change is not to be seen in git");
    }
}

/// Only who reads the terminal can sign in: the password is new at each start, and no route tells it.
#[tokio::test]
async fn the_demo_has_a_new_password_at_each_start() {
    for engine in Engine::ALL {
        let mut server = server().engine(engine).demo().start().await;
        let link = |server: &TestServer| {
            let printed = server.printed();
            let link = printed.split_whitespace().find(|word| word.contains("/login#")).unwrap().to_owned();
            link.strip_prefix(&format!("{}/login#email=demo@example.com&password=", server.url())).unwrap().to_owned()
        };
        let login = |password: &str| json!({"email": "demo@example.com", "password": password});
        let mut passwords = vec!["atelier-demo".to_owned()];
        let session = server.admin().await;
        let printed_token = |server: &TestServer| {
            let printed = server.printed();
            printed.split_whitespace().find_map(|word| word.strip_prefix("ATELIER_TOKEN=")).unwrap().to_owned()
        };
        let first_token = printed_token(&server);
        for _ in 0..2 {
            let nobody = server.anonymous();
            for before in &passwords {
                nobody.post("/api/v2/users/login", login(before)).await.expect_error(401, "invalid_credentials");
            }
            let password = link(&server);
            nobody.post("/api/v2/users/login", login(&password)).await.expect(201);
            for open in ["authmethods", "first"] {
                let answer = nobody.get(&format!("/api/v2/users/{open}")).await;
                assert!(!answer.text.contains("demo"), "{}", answer.text);
            }
            passwords.push(password);
            server.restart().await;
        }
        // a page that is open goes on
        let session = server.anonymous().with_token(session.token());
        assert_eq!(session.get("/api/v2/users/me").await.body(200)["username"], "demo");
        // the line that was printed before does not
        session.with_token(&first_token).get("/api/v2/users/me").await.expect(401);
        session.with_token(&printed_token(&server)).get("/api/v2/users/me").await.expect(200);
    }
}

#[tokio::test]
async fn a_start_without_the_demo_on_its_data_says_so_and_ends_the_printed_token() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data").display().to_string();
    let mut demo = server().engine(Engine::Sqlite).env("ATELIER_DATA_DIR", &data_dir).demo().start().await;
    let printed = demo.printed();
    let token = printed.split_whitespace().find_map(|word| word.strip_prefix("ATELIER_TOKEN=")).unwrap();
    demo.stop().await;
    let real = server().engine(Engine::Sqlite).env("ATELIER_DATA_DIR", &data_dir).start_empty().await;
    assert!(real.printed().contains("These are the data of a demo"), "{}", real.printed());
    real.anonymous().with_token(token).get("/api/v2/users/me").await.expect(401);
}

#[tokio::test]
async fn a_demo_does_not_start_on_the_data_of_a_server_with_users() {
    let mut real = server().engine(Engine::Sqlite).start().await;
    real.stop().await;
    let output = tokio::process::Command::new(crate::PROGRAM)
        .args(["server", "--demo", "--http-address", "127.0.0.1:0"])
        .env("ATELIER_DATA_DIR", real.folder().join("data"))
        .env("ATELIER_DISK_RESERVE_MB", "0")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("has users already"), "{said}");
    real.restart().await;
    real.admin().await.get("/api/v2/users/demo").await.expect(404);
}

/// Where nothing keeps a workspace from the network, the demo works all the same, and says so.
#[tokio::test]
async fn the_demo_works_without_bubblewrap() {
    let server = server().env("ATELIER_LOCAL_SANDBOX", "off").demo().start().await;
    let chat = server.admin().await.chat_create("make the tests pass").await;
    chat.wait_for_status("waiting").await;
    let answer = atelier_test_support::text_of(chat.messages().await.last().unwrap());
    assert!(answer.contains("The tests pass now"), "{answer}");
}

#[tokio::test]
async fn other_messages_are_told_that_the_model_is_a_demo() {
    let server = server().demo().start().await;
    let admin = server.admin().await;
    let chat = admin.chat_create("write me a web shop").await;
    chat.wait_for_status("waiting").await;
    let answer = atelier_test_support::text_of(chat.messages().await.last().unwrap());
    assert!(answer.contains("demo"), "{answer}");
    assert!(answer.to_lowercase().contains("model"), "{answer}");
}

/// A second message after the first turn finds the workspace and its history again.
#[tokio::test]
async fn a_restarted_server_has_everything_and_goes_on() {
    let mut server = server().demo().start().await;
    let chat = server.admin().await.chat_create("make the tests pass").await;
    let before = chat.wait_for_status("waiting").await;
    let messages = chat.messages().await;
    server.stop().await;
    server.restart().await;
    let chat = chat.seen_by(&server.admin().await);
    assert_eq!(chat.messages().await, messages);
    assert_eq!(chat.get().await["workspace_id"], before["workspace_id"]);
    let sent = chat.send_with(json!({"content": [{"type": "text", "text": "make the tests pass"}]})).await.body(200);
    assert_eq!(sent["queued"], false);
    chat.wait_for_status("waiting").await;
    assert!(chat.messages().await.len() > messages.len() + 1);
}

/// The folder below `root` that holds a file of this name.
fn find(root: &std::path::Path, name: &str) -> std::path::PathBuf {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder.join(name).is_file() {
            return folder;
        }
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        folders.extend(
            entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()),
        );
    }
    panic!("{name} lies nowhere below {}", root.display());
}
