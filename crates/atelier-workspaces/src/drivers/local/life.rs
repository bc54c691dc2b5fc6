//! Whether a workspace's processes live, and ending them.
//!
//! The first process holds a lock on the workspace's lock file, and the kernel says who holds it. That
//! survives a restart of the server, and no number in a file can be mistaken for a later process.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::{
    Flock, FlockType, Pid, PidfdFlags, Signal, fcntl_getlk, kill_process, pidfd_open, pidfd_send_signal,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long children get to vanish before they are looked for again.
const LOOK: Duration = Duration::from_millis(20);
/// Rounds of killing what forks while it is killed.
const KILL_ROUNDS: usize = 50;

/// How the processes of a workspace hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// Init is process 1 of a namespace: nothing outlives it.
    Namespace,
    /// Process 1 is a reaper of bubblewrap's, which holds the lock and passes no signal on; init is its
    /// child. Servers before 0.2 started such trees.
    ReaperNamespace,
    /// Init adopts orphans, and they outlive it.
    Descendants,
}

impl Tree {
    /// The name that is kept with a running tree.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::ReaperNamespace => "bubblewrap",
            Self::Descendants => "descendants",
        }
    }

    pub(crate) fn from_name(name: &str) -> Self {
        match name {
            "namespace" => Self::Namespace,
            "bubblewrap" => Self::ReaperNamespace,
            _ => Self::Descendants,
        }
    }
}

/// The living first process of a workspace.
#[derive(Debug)]
pub(crate) struct Life {
    pid: Pid,
    handle: AsyncFd<OwnedFd>,
}

/// The holder of the lock, if somebody holds it. Needs a tokio runtime.
pub(crate) fn look(lock: &Path) -> io::Result<Option<Life>> {
    // Twice, so that the handle is known to be the holder's and not of a process with the same number.
    for _ in 0..10 {
        let Some(pid) = holder(lock)? else { return Ok(None) };
        let Ok(life) = Life::of(pid) else { continue };
        if holder(lock)? == Some(pid) {
            return Ok(Some(life));
        }
    }
    Err(io::Error::other("the holder of the lock changes all the time"))
}

pub(super) fn holder(lock: &Path) -> io::Result<Option<Pid>> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?.and_then(|found| found.pid))
}

impl Life {
    fn of(pid: Pid) -> io::Result<Self> {
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        #[expect(
            deprecated,
            reason = "the successor is unsafe; an OwnedFd stays the same descriptor as long as it is registered"
        )]
        let handle = AsyncFd::with_interest(handle, Interest::READABLE)?;
        Ok(Self { pid, handle })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Asks the workspace's init to end and waits for that. Returns whether init ended in time; something
    /// of the tree may be left, so [`Self::kill`] follows in any case.
    pub(crate) async fn terminate(&self, tree: Tree, grace: Duration) -> bool {
        if tree != Tree::ReaperNamespace {
            let _ = pidfd_send_signal(self.handle.get_ref(), Signal::TERM);
            return self.wait(grace).await;
        }
        let children: Vec<Self> = processes()
            .into_iter()
            .filter(|(_, parent)| *parent == self.pid())
            .filter_map(|(pid, _)| Self::of(Pid::from_raw(pid)?).ok())
            // Looked at again now that the handle is held, for numbers are given out anew.
            .filter(|child| life_and_parent(child.pid()).is_some_and(|(_, parent)| parent == self.pid()))
            .collect();
        for child in &children {
            let _ = pidfd_send_signal(child.handle.get_ref(), Signal::TERM);
        }
        tokio::time::timeout(grace, async {
            for child in &children {
                child.ended().await;
            }
        })
        .await
        .is_ok()
    }

    /// Ends the whole tree. In a process namespace the kernel ends all with the first one.
    /// Elsewhere the first process adopts orphans, so its descendants are killed before it.
    pub(crate) async fn kill(&self, tree: Tree) -> bool {
        if tree == Tree::Descendants {
            for _ in 0..KILL_ROUNDS {
                let descendants = descendants(self.pid());
                if descendants.is_empty() {
                    break;
                }
                for pid in descendants.into_iter().filter_map(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::KILL);
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        let _ = pidfd_send_signal(self.handle.get_ref(), Signal::KILL);
        self.wait(Duration::from_secs(10)).await
    }

    /// Ends when the first process has ended. A handle becomes readable then.
    pub(crate) async fn ended(&self) {
        let _ = self.handle.readable().await;
    }

    async fn wait(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.ended()).await.is_ok()
    }
}

/// Ends everything that runs as a user, also what left its tree. Returns whether nothing is left.
pub(super) async fn kill_user(user: u32) -> io::Result<bool> {
    for _ in 0..KILL_ROUNDS {
        // Who is stopped cannot fork, and until it ends it takes a place in the user's limit of processes.
        if send_to_user(user, Signal::STOP)? == 0 {
            return Ok(true);
        }
        send_to_user(user, Signal::KILL)?;
        tokio::time::sleep(LOOK).await;
    }
    Ok(send_to_user(user, Signal::KILL)? == 0)
}

/// Returns how many processes the user has.
fn send_to_user(user: u32, signal: Signal) -> io::Result<usize> {
    let found: Vec<i32> = numbers()?.filter(|pid| users(*pid).is_some_and(|users| users.contains(&user))).collect();
    for pid in found.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        // Looked at again now that the handle is held, for the number may belong to another process by now.
        if users(pid.as_raw_nonzero().get()).is_some_and(|users| users.contains(&user)) {
            let _ = pidfd_send_signal(handle, signal);
        }
    }
    Ok(found.len())
}

/// The users that something runs as.
pub(super) fn users_with_processes() -> io::Result<HashSet<u32>> {
    Ok(numbers()?.filter_map(users).flatten().collect())
}

/// The users of a living process: the real one, the effective one, the saved one and that of files.
fn users(pid: i32) -> Option<[u32; 4]> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    // The first thread may have ended alone.
    let has_other_threads = field("Threads:")?.trim().parse::<u32>().is_ok_and(|count| count > 1);
    if field("State:")?.trim_start().starts_with(['Z', 'X']) && !has_other_threads {
        return None;
    }
    let users: Option<Vec<u32>> = field("Uid:")?.split_ascii_whitespace().map(|user| user.parse().ok()).collect();
    users?.try_into().ok()
}

/// Every process that descends from `root`, without `root`.
pub(super) fn descendants(root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (pid, parent) in processes() {
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut seen = HashSet::from([root]);
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if seen.insert(*child) {
                found.push(*child);
                open.push(*child);
            }
        }
    }
    found
}

/// Pid and parent of every living process.
fn processes() -> Vec<(i32, i32)> {
    let Ok(numbers) = numbers() else { return Vec::new() };
    numbers
        .filter_map(|pid| {
            let (is_alive, parent) = life_and_parent(pid)?;
            is_alive.then_some((pid, parent))
        })
        .collect()
}

fn numbers() -> io::Result<impl Iterator<Item = i32>> {
    Ok(std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// Whether a process lives, and its parent.
fn life_and_parent(pid: i32) -> Option<(bool, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows the last one is fields.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let (state, parent, threads) = (fields.first()?, fields.get(1)?, fields.get(17)?);
    // The first thread may have ended alone.
    let is_alive = !matches!(*state, "Z" | "X") || threads.parse::<u32>().ok()? > 1;
    Some((is_alive, parent.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_holds_a_fresh_or_missing_lock() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("lock");
        assert!(look(&lock).unwrap().is_none());
        File::create(&lock).unwrap();
        assert!(look(&lock).unwrap().is_none());
    }

    #[test]
    fn descendants_are_found_over_generations() {
        let mut shell =
            std::process::Command::new("/bin/sh").args(["-c", "sh -c 'sleep 60; :' & wait"]).spawn().unwrap();
        let root = i32::try_from(shell.id()).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while descendants(root).len() < 2 {
            assert!(std::time::Instant::now() < deadline, "{:?}", descendants(root));
            std::thread::yield_now();
        }
        for pid in descendants(root) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        shell.kill().unwrap();
        shell.wait().unwrap();
    }
}
