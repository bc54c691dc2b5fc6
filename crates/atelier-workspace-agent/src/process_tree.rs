//! Who descends from whom, from `/proc`, and signals that reach only who was looked at.

use std::collections::{HashMap, HashSet};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process as `/proc` shows it. The start time tells it from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    /// In clock ticks since the kernel started.
    pub(crate) started: u64,
    pub(crate) zombie: bool,
}

pub(crate) fn look(pid: i32) -> Option<Seen> {
    parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(pid: i32, stat: &str) -> Option<Seen> {
    // The name in parentheses may hold anything; what follows the last one is fields from number 3 on.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
    Some(Seen {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
        // The first thread may have ended alone.
        zombie: matches!(*fields.first()?, "Z" | "X" | "x") && fields.get(17)?.parse::<u32>().ok()? < 2,
    })
}

/// Every living process that descends from `root`, without `root`.
pub(crate) fn descendants(root: i32) -> Vec<Seen> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut children: HashMap<i32, Vec<Seen>> = HashMap::new();
    for pid in entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok()) {
        if let Some(seen) = look(pid) {
            children.entry(seen.parent).or_default().push(seen);
        }
    }
    let mut found = Vec::new();
    let mut visited = HashSet::from([root]);
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if visited.insert(child.pid) {
                if !child.zombie {
                    found.push(*child);
                }
                open.push(child.pid);
            }
        }
    }
    found
}

/// Sends a signal to the very process that was seen, or to nobody.
pub(crate) fn send(seen: &Seen, signal: Signal) {
    let Some(pid) = Pid::from_raw(seen.pid) else {
        return;
    };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if look(seen.pid).is_some_and(|now| now.started == seen.started) {
        let _ = pidfd_send_signal(handle, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_no_field() {
        let stat = "7 (a) R 1) S 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        let expected = Seen { pid: 7, parent: 3, group: 4, started: 777, zombie: false };
        assert_eq!(parse(7, stat), Some(expected));
        for (threads, zombie) in [("1", true), ("2", false)] {
            let stat = format!("7 (a) Z 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 777 0 0");
            assert_eq!(parse(7, &stat).unwrap().zombie, zombie);
        }
        assert_eq!(parse(7, "garbage"), None);
    }

    #[test]
    fn this_process_is_seen() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(look(own).unwrap().pid, own);
        assert!(!descendants(1).is_empty() || own == 1);
    }
}
