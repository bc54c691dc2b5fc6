//! A fresh server belongs to who runs it: its first user is created with a code that the server prints.

use std::os::unix::fs::PermissionsExt as _;

use atelier_test_support::{Engine, TestServer};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{PROGRAM, server};

fn user(code: &str) -> Value {
    json!({"email": "ada@example.com", "username": "ada", "password": "a long password", "setup_code": code})
}

/// The code in the link that is printed.
fn printed_code(server: &TestServer) -> Option<String> {
    let printed = server.printed();
    let link = printed.split_whitespace().find(|word| word.starts_with(&server.url()) && word.contains("/setup#"))?;
    Some(link.split_once("#code=").unwrap().1.to_owned())
}

#[tokio::test]
async fn the_set_up_code_is_printed_until_there_is_a_user() {
    for engine in Engine::ALL {
        let mut server = server().engine(engine).start_empty().await;
        let code = printed_code(&server).unwrap();
        let file = server.data_dir().join("private/setup_code");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), code);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        for wrong in ["", "abcde-fghij-kmnpq-rstuv"] {
            let refused = server.anonymous().post("/api/v2/users/first", user(wrong)).await;
            refused.expect_error(403, "setup_code_required");
        }
        server.restart().await;
        assert_eq!(printed_code(&server).as_ref(), Some(&code), "a link that was printed before works on");
        server.anonymous().post("/api/v2/users/first", user(&code)).await.expect(201);
        assert!(!file.exists());
        server.anonymous().post("/api/v2/users/first", user(&code)).await.expect_error(409, "first_user_exists");
        server.restart().await;
        assert_eq!(printed_code(&server), None);
        assert!(!file.exists());
    }
}

#[tokio::test]
async fn replicas_have_one_set_up_code() {
    let one = server().engine(Engine::Postgres).start_empty().await;
    let url = one.database().unwrap().url();
    // as an operator does it: the same keys on each
    let keys = std::fs::read_to_string(one.data_dir().join("private/secret.keys")).unwrap();
    let other = server().env("ATELIER_DATABASE_URL", &url).env("ATELIER_SECRET_KEYS", keys.trim()).start_empty().await;
    assert_eq!(printed_code(&one), printed_code(&other));
    let code = printed_code(&one).unwrap();
    other.anonymous().post("/api/v2/users/first", user(&code)).await.expect(201);
    one.anonymous().post("/api/v2/users/first", user(&code)).await.expect_error(409, "first_user_exists");
}

#[tokio::test]
async fn an_operator_may_choose_the_set_up_code() {
    let chosen = "chosen-by-the-operator";
    let server = server().env("ATELIER_SETUP_CODE", chosen).start_empty().await;
    assert_eq!(printed_code(&server).as_deref(), Some(chosen));
    server.anonymous().post("/api/v2/users/first", user(chosen)).await.expect(201);

    let folder = tempfile::tempdir().unwrap();
    for bad in ["short", "with blanks and more"] {
        let output = Command::new(PROGRAM)
            .arg("server")
            .env_clear()
            .env("ATELIER_HTTP_ADDRESS", "127.0.0.1:0")
            .env("ATELIER_DATA_DIR", folder.path().join("data"))
            .env("ATELIER_SETUP_CODE", bad)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(atelier_test_support::DEADLINE, output).await.unwrap().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && printed.contains("ATELIER_SETUP_CODE must be 16"), "{printed}");
    }
}
