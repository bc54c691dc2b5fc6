//! The processes of workspaces, from outside.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::path::Path;

/// The first user of workspaces of a server under test that is root (`ATELIER_LOCAL_UID`), with place for 100. A
/// server ends all that runs as a workspace's user, so servers at the same time must not share users.
#[must_use]
pub fn workspace_users() -> u32 {
    let random = std::hash::RandomState::new().hash_one(());
    let range = u32::try_from(random % 20_000_000).unwrap_or_default();
    1_000_000 + range * 100
}

/// Kills the processes whose command line names `folder`, the sandboxes of workspaces, and all that
/// descends from them.
pub fn kill_processes_of(folder: &Path) {
    let pids = processes_of(&folder.display().to_string());
    if !pids.is_empty() {
        let _ = std::process::Command::new("kill").arg("-KILL").args(pids.iter().map(u32::to_string)).status();
    }
}

fn processes_of(folder: &str) -> Vec<u32> {
    let mut found = Vec::new();
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(folder) {
            found.push(pid);
        }
    }
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend(below);
        at += 1;
    }
    found
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows the last one is fields.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}
