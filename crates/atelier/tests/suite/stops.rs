//! A stop ends a turn whatever its tools do.

use std::collections::HashMap;
use std::path::Path;

use atelier_test_support::eventually;

use crate::server;

const READS: &str = r#"
rules:
  - when: {user_contains: "make", step: 0}
    steps:
      - tool_call: {name: create_workspace, args: {template_id: demo}}
  - when: {user_contains: "read", step: 0}
    steps:
      - tool_call: {name: read_file, args: {path: calc.sh}}
  - steps:
      - text: "Done."
"#;

/// Processes whose command line names the folder, and all below them.
fn processes_of(folder: &Path) -> Vec<u32> {
    let mut parents: HashMap<u32, u32> = HashMap::new();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parents.insert(pid, parent.unwrap_or(0));
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains("bwrap") && line.contains(folder.to_str().unwrap()) {
            found.push(pid);
        }
    }
    let mut at = 0;
    while let Some(above) = found.get(at).copied() {
        let below = parents.iter().filter(|(_, parent)| **parent == above).map(|(pid, _)| *pid);
        found.extend(below.collect::<Vec<u32>>());
        at += 1;
    }
    found
}

fn signal(name: &str, processes: &[u32]) {
    let pids = processes.iter().map(u32::to_string);
    std::process::Command::new("kill").arg(name).args(pids).status().expect("kill exists");
}

#[tokio::test]
async fn a_call_whose_workspace_hangs_is_left_behind() {
    let server = server().demo().script("reads", READS).start().await;
    let admin = server.admin().await;
    let chat = admin.chat_create("make a workspace").await;
    chat.wait_for_status("waiting").await;
    let processes = processes_of(&server.data_dir());
    assert!(!processes.is_empty(), "no sandbox was found");
    signal("-STOP", &processes);
    chat.send("read it").await;
    eventually("the call", || async {
        chat.messages().await.iter().any(|message| message.to_string().contains("read_file")).then_some(())
    })
    .await;
    chat.interrupt().await.expect(200);
    // the turn settles while its workspace hangs
    chat.wait_for_status("waiting").await;
    signal("-CONT", &processes);
    let messages = chat.messages().await;
    let last = messages.last().unwrap();
    assert_eq!((&last["role"], &last["content"][0]["is_error"]), (&"tool".into(), &true.into()));
    assert!(last.to_string().contains("interrupted"), "{last}");
}
