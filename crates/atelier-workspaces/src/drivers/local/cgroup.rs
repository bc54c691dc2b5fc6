//! Limits by a control group (version 2), where the host lets the server make one.

use std::io;
use std::path::{Path, PathBuf};

use atelier_domain::WorkspaceId;

use crate::templates::Resources;

const CPU_PERIOD_US: f64 = 100_000.0;

/// A group of the server's below which groups for workspaces can be made.
#[derive(Clone, Debug)]
pub(crate) struct Delegation {
    folder: PathBuf,
}

impl Delegation {
    /// The server's own group if it hands the controllers on, else the one above it, else none.
    pub(crate) fn find() -> Option<Self> {
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let own = Path::new("/sys/fs/cgroup").join(own.trim_start_matches('/'));
        [Some(own.as_path()), own.parent()].into_iter().flatten().find_map(Self::at)
    }

    fn at(folder: &Path) -> Option<Self> {
        let handed_on = std::fs::read_to_string(folder.join("cgroup.subtree_control")).ok()?;
        let complete = ["cpu", "memory", "pids"]
            .iter()
            .all(|controller| handed_on.split_ascii_whitespace().any(|name| name == *controller));
        let writable = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok();
        (complete && writable).then(|| Self { folder: folder.to_owned() })
    }

    fn group(&self, id: WorkspaceId) -> PathBuf {
        self.folder.join(format!("atelier-{id}"))
    }

    /// Makes the group of a workspace and sets its limits. Repeatable.
    pub(crate) fn create(&self, id: WorkspaceId, resources: Resources) -> io::Result<PathBuf> {
        let group = self.group(id);
        match std::fs::create_dir(&group) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let limit = |value: Option<String>| value.unwrap_or_else(|| "max".to_owned());
        #[expect(clippy::cast_possible_truncation, reason = "at most 1024 processors")]
        let quota = resources.cpu.map(|cpu| format!("{} {CPU_PERIOD_US}", (cpu * CPU_PERIOD_US) as i64));
        std::fs::write(group.join("cpu.max"), limit(quota))?;
        std::fs::write(
            group.join("memory.max"),
            limit(resources.memory_mb.map(|megabytes| (megabytes * 1024 * 1024).to_string())),
        )?;
        std::fs::write(group.join("pids.max"), limit(resources.pids.map(|count| count.to_string())))?;
        Ok(group)
    }

    /// Ends what is left in a workspace's group and removes it. Repeatable.
    pub(crate) fn remove(&self, id: WorkspaceId) {
        let group = self.group(id);
        if group.exists() {
            let _ = std::fs::write(group.join("cgroup.kill"), "1");
            let _ = std::fs::remove_dir(&group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_and_absent_ones_lifted() {
        let root = tempfile::tempdir().unwrap();
        assert!(Delegation::at(root.path()).is_none());
        std::fs::write(root.path().join("cgroup.subtree_control"), "cpu pids\n").unwrap();
        assert!(Delegation::at(root.path()).is_none());
        std::fs::write(root.path().join("cgroup.subtree_control"), "cpuset cpu memory pids\n").unwrap();
        let delegation = Delegation::at(root.path()).unwrap();
        let id = WorkspaceId::new();
        let read = |name: &str| std::fs::read_to_string(delegation.group(id).join(name)).unwrap();
        let resources = Resources { cpu: Some(1.5), memory_mb: Some(64), pids: Some(100) };
        delegation.create(id, resources).unwrap();
        assert_eq!(
            (read("cpu.max"), read("memory.max"), read("pids.max")),
            ("150000 100000".into(), "67108864".into(), "100".into())
        );
        delegation.create(id, Resources::default()).unwrap();
        assert_eq!((read("cpu.max"), read("memory.max"), read("pids.max")), ("max".into(), "max".into(), "max".into()));
    }
}
