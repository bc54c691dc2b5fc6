//! Writing whole files.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use serde_json::{Value, json};

use crate::files::{fault, ok};
use crate::support::{Client, Workspace};

fn write(path: &str, content: &str) -> Value {
    json!({"path": path, "content": content})
}

#[tokio::test]
async fn w23_a_write_keeps_mode_and_owner_and_goes_through_a_link() {
    let workspace = Workspace::new();
    let file = workspace.path("script");
    std::fs::write(&file, "old\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o750)).unwrap();
    symlink("script", workspace.path("link")).unwrap();
    let client = workspace.client();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(1234), Some(4321)).unwrap();
    }
    let before = std::fs::metadata(&file).unwrap();

    let answer = ok(&client, "write", write("link", "new\n")).await;
    let real = file.canonicalize().unwrap().display().to_string();
    assert_eq!((&answer["ok"], &answer["path"], &answer["created"]), (&json!(true), &json!(real), &json!(false)));
    assert_eq!((&answer["bytes_written"], &answer["replaced_unread"]), (&json!(4), &json!(true)));
    assert!(answer["diff"].as_str().unwrap().ends_with("@@ -1 +1 @@\n-old\n+new\n"), "{answer}");
    assert!(workspace.path("link").is_symlink());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "new\n");
    let after = std::fs::metadata(&file).unwrap();
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert_ne!(after.ino(), before.ino(), "renamed, not written over");
}

#[tokio::test]
async fn a_new_file_gets_its_folders() {
    let workspace = Workspace::new();
    let client = workspace.client();
    symlink("made/by/link", workspace.path("link")).unwrap();
    let answer = ok(&client, "write", write("link", "x")).await;
    assert_eq!((&answer["created"], answer.get("diff"), answer.get("replaced_unread")), (&json!(true), None, None));
    let mode = |name: &str| std::fs::metadata(workspace.path(name)).unwrap().mode() & 0o777;
    assert_eq!((mode("made/by"), mode("made/by/link")), (0o755, 0o644));
    assert_eq!(answer["sha256"], "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881");
    let left_over = std::fs::read_dir(workspace.path("made/by")).unwrap().count();
    assert_eq!(left_over, 1);

    let (status, code, _) = fault(&client, "write", write("made/by/link/below", "x")).await;
    assert_eq!((status, code.as_str()), (404, "file_not_found"));
    let (status, code, _) = fault(&client, "write", write("big", &"x".repeat(1024 * 1024 + 1))).await;
    assert_eq!((status, code.as_str()), (413, "too_large"));
}

#[tokio::test]
async fn w24_what_another_chat_changed_is_not_overwritten() {
    let workspace = Workspace::new();
    std::fs::write(workspace.path("a"), "1").unwrap();
    let mut client = workspace.client();
    let mut other = client.chat("chat-2", "");
    ok(&client, "read", json!({"path": "a"})).await;
    ok(&other, "read", json!({"path": "a"})).await;
    assert!(ok(&other, "write", write("a", "2")).await.get("replaced_unread").is_none());
    let (status, code, _) = fault(&client, "write", write("a", "3")).await;
    assert_eq!((status, code.as_str()), (409, "file_changed"));
    assert_eq!(std::fs::read_to_string(workspace.path("a")).unwrap(), "2");

    // Also by the next agent.
    drop(client);
    client = workspace.client();
    other = client.chat("chat-2", "");
    assert_eq!(fault(&client, "write", write("./a", "3")).await.1, "file_changed");
    ok(&client, "read", json!({"path": "a"})).await;
    ok(&client, "write", write("a", "3")).await;
    ok(&client, "write", write("a", "4")).await;
    // One that edits does not thereby know the rest.
    let edit = json!({"edits": [{"path": "a", "old_text": "4", "new_text": "5"}]});
    ok(&other, "edit", edit).await;
    assert_eq!(fault(&other, "write", write("a", "6")).await.1, "file_changed");
    // Touched, not changed.
    ok(&other, "read", json!({"path": "a"})).await;
    std::fs::write(workspace.path("a"), "5").unwrap();
    ok(&other, "write", write("a", "6")).await;
}

#[tokio::test]
async fn a_call_token_is_used_once() {
    let workspace = Workspace::new();
    let client = Client::of(&workspace.agent()).keyed("call-1", "digest-1");
    let first = ok(&client, "write", write("a", "1")).await;
    std::fs::write(workspace.path("a"), "by hand").unwrap();
    assert_eq!(ok(&client, "write", write("a", "1")).await, first);
    // After a restart too.
    let client = workspace.client().keyed("call-1", "digest-1");
    assert_eq!(ok(&client, "write", write("a", "1")).await, first);
    assert_eq!(std::fs::read_to_string(workspace.path("a")).unwrap(), "by hand");
    let token = client.get("/v1/tokens/call-1").await;
    assert_eq!((&token["state"], &token["digest"], &token["result"]), (&json!("known"), &json!("digest-1"), &first));
    let (status, code, _) = fault(&client.keyed("call-1", "digest-2"), "write", write("a", "2")).await;
    assert_eq!((status, code.as_str()), (409, "token_conflict"));
}
