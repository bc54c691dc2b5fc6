//! `shim` as a process of its own, without an agent.

use std::fs::File;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::PROGRAM;

#[test]
fn w50_a_command_runs_to_its_end_when_the_agent_is_gone_before_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let meta = json!({
        "process_id": "p", "ancestors": [], "command": "echo ran; echo second; exit 4", "workdir": "/",
        "background": false, "notes": [], "shell": "/bin/sh", "env": {}, "created_at_ms": 0, "kernel_boot_id": "",
        "spill_head_bytes": 1024, "spill_tail_bytes": 1024, "pipe_after_kill_ms": 1000, "pipe_after_exit_ms": 1000,
    });
    std::fs::write(folder.path().join("meta.json"), meta.to_string()).unwrap();
    let (agents_end, shims_end) = std::io::pipe().unwrap();
    drop(agents_end);
    let status = Command::new(PROGRAM)
        .args(["agent", "shim", "--folder"])
        .arg(folder.path())
        .stdin(File::create(folder.path().join("lock")).unwrap())
        .stdout(shims_end)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    let exit = std::fs::read(folder.path().join("exit.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&exit).unwrap()["exit_code"], 4);
    assert_eq!(std::fs::read_to_string(folder.path().join("out.head")).unwrap(), "ran\nsecond\n");
}
