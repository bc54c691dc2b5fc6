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
