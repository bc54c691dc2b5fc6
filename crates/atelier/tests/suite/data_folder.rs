//! What the server finds in its data folder, and what it refuses to begin with.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use atelier_test_support::{DEADLINE, Engine};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::{PROGRAM, server};

fn program(role: &str, data_dir: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg(role)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", data_dir)
        .env("ATELIER_HTTP_ADDRESS", "127.0.0.1:0")
        .env("ATELIER_DATA_DIR", data_dir)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn a_lost_database_is_not_replaced_unless_that_is_meant() {
    let mut server = server().engine(Engine::Sqlite).start().await;
    server.stop().await;
    let data_dir = server.data_dir();
    let database = data_dir.join("private/atelier.db");
    let whole = std::fs::read(&database).unwrap();
    for left in ["private/secret.keys", "host_id"] {
        for is_empty in [true, false] {
            match is_empty {
                true => std::fs::write(&database, "").unwrap(),
                false => std::fs::remove_file(&database).unwrap(),
            }
            for role in ["server", "doctor"] {
                let output = tokio::time::timeout(DEADLINE, program(role, &data_dir).output()).await;
                let output = output.expect("it ends by itself").unwrap();
                let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
                assert_eq!(output.status.code(), Some(1), "{said}");
                assert!(said.contains("atelier.db is missing or empty"), "{said}");
                assert!(said.contains(left) && said.contains("--new-database"), "{said}");
                assert_eq!(std::fs::metadata(&database).map_or(0, |found| found.len()), 0, "nothing was made");
            }
        }
        // what a restored database needs, and what a server with keys of its environment has
        std::fs::write(&database, &whole).unwrap();
        if left == "private/secret.keys" {
            std::fs::rename(data_dir.join(left), data_dir.join("private/elsewhere")).unwrap();
        }
    }
    std::fs::rename(data_dir.join("private/elsewhere"), data_dir.join("private/secret.keys")).unwrap();
    server.restart().await;
    server.admin().await.get("/api/v2/users/me").await.expect(200);
    server.stop().await;
    std::fs::remove_file(&database).unwrap();
    let mut fresh = program("server", &data_dir).arg("--new-database").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(fresh.stdout.take().unwrap()).lines();
    loop {
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("it starts").unwrap();
        // It has no users, so it prints the set-up code before.
        if line.expect("it does not end").starts_with("Listening on") {
            break;
        }
    }
    fresh.kill().await.unwrap();
}

#[tokio::test]
async fn nobody_else_can_read_the_database() {
    let mut server = server().engine(Engine::Sqlite).start().await;
    let private = server.data_dir().join("private");
    let mode = |name: &str| std::fs::metadata(private.join(name)).unwrap().permissions().mode() & 0o777;
    let files = ["atelier.db", "atelier.db-wal", "atelier.db-shm"];
    assert_eq!(files.map(mode), [0o600; 3]);
    // one that an older version has made
    server.stop().await;
    std::fs::set_permissions(private.join("atelier.db"), std::fs::Permissions::from_mode(0o644)).unwrap();
    server.restart().await;
    assert_eq!(files.map(mode), [0o600; 3]);
}

/// What a program says that ends by itself with a failure.
async fn refusal(command: &mut Command) -> String {
    let output = tokio::time::timeout(DEADLINE, command.output()).await.expect("it ends by itself").unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success(), "{said}");
    said
}

#[tokio::test]
async fn a_damaged_database_and_one_of_a_newer_version_are_named_with_advice() {
    let mut server = server().engine(Engine::Sqlite).start().await;
    server.stop().await;
    let data_dir = server.data_dir();
    let database = data_dir.join("private/atelier.db");
    let whole = std::fs::read(&database).unwrap();
    let mut halved = whole.clone();
    halved[4096..].fill(0xa5);
    for damaged in [b"this is no database".repeat(1000), halved] {
        std::fs::write(&database, damaged).unwrap();
        let said = refusal(&mut program("server", &data_dir)).await;
        assert!(said.contains(&database.display().to_string()), "{said}");
        assert!(said.contains("damaged") && said.contains("backup"), "{said}");
    }
    std::fs::write(&database, whole).unwrap();
    let statement = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (99990101000000, 'of tomorrow', 1, x'00', 1)";
    let script = format!("import sqlite3; c = sqlite3.connect({database:?}); c.execute({statement:?}); c.commit()");
    assert!(std::process::Command::new("python3").args(["-c", &script]).status().unwrap().success());
    let said = refusal(&mut program("server", &data_dir)).await;
    assert!(said.contains(&database.display().to_string()) && said.contains("newer version"), "{said}");
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_with_what_to_write_instead() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, words) in [
        ("ATELIER_ACCESS_URL", "atelier.example", "https://"),
        ("ATELIER_ACCESS_URL", "https://x.example/atelier", "must not have a path"),
        ("ATELIER_DATA_DIR", "~/atelier", "whole path"),
        ("ATELIER_FILE_DIR", "~/files", "whole path"),
        ("ATELIER_HTTP_ADDRESS", ":3000", "0.0.0.0:3000"),
        ("ATELIER_HTTP_ADDRESS", "nowhere.invalid:3000", "ATELIER_HTTP_ADDRESS"),
    ] {
        let said = refusal(program("server", folder.path()).env(name, value)).await;
        assert!(said.contains(words), "{name}={value}: {said}");
    }
    // from the file too
    let file = folder.path().join("atelier.toml");
    std::fs::write(&file, "access_url = \"https://x.example/atelier\"\n").unwrap();
    let said = refusal(program("server", folder.path()).arg("--config").arg(&file)).await;
    assert!(said.contains("must not have a path"), "{said}");
}

#[tokio::test]
async fn the_address_may_be_a_name_and_the_access_url_is_written_as_browsers_write_it() {
    let server = server()
        .engine(Engine::Sqlite)
        .env("ATELIER_HTTP_ADDRESS", "localhost:0")
        .env("ATELIER_ACCESS_URL", "HTTPS://Atelier.Example:443/")
        .start()
        .await;
    let build = server.anonymous().get("/api/v2/buildinfo").await.body(200);
    assert_eq!(build["external_url"], "https://atelier.example");
    let login = |origin: &'static str| {
        let body = serde_json::json!({"email": "nobody@example.com", "password": "wrong"});
        let anonymous = server.anonymous();
        let request = anonymous.request(reqwest::Method::POST, "/api/v2/users/login").header("Origin", origin);
        async move { anonymous.send(request.json(&body)).await }
    };
    assert_eq!(login("https://atelier.example").await.status, 401);
    for _ in 0..3 {
        login("https://other.example").await.expect_error(403, "origin_mismatch");
    }
    let log = server.log();
    assert_eq!(log.matches("origin_mismatch").count(), 1, "{log}");
    assert!(log.contains("ATELIER_ACCESS_URL") && log.contains("https://other.example"), "{log}");
}
