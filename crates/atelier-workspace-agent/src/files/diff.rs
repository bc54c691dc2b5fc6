//! Unified diffs for results, cut at a line.

use std::time::Duration;

use similar::{ChangeTag, TextDiff};

use crate::processes::render::json_len;

/// After this the rest of a diff is told roughly.
const TIMEOUT: Duration = Duration::from_millis(500);
const CUT: &str = "... the rest of the diff is left out\n";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Diff {
    pub(crate) text: String,
    pub(crate) is_cut: bool,
    pub(crate) additions: u64,
    pub(crate) deletions: u64,
}

/// From `old` to `new`, with three lines of context, in at most `max_bytes`, as it is and inside JSON.
pub(crate) fn diff(path: &str, old: &str, new: &str, max_bytes: usize) -> Diff {
    let lines = TextDiff::configure().timeout(TIMEOUT).diff_lines(old, new);
    let mut diff = Diff::default();
    for change in lines.iter_all_changes() {
        match change.tag() {
            ChangeTag::Insert => diff.additions += 1,
            ChangeTag::Delete => diff.deletions += 1,
            ChangeTag::Equal => {}
        }
    }
    let mut unified = lines.unified_diff();
    unified.context_radius(3).header(path, path);
    let mut hunks = unified.iter_hunks().peekable();
    if hunks.peek().is_none() {
        return diff;
    }
    let mut writer = Bounded { text: String::new(), left: max_bytes.saturating_sub(CUT.len() + 1), is_cut: false };
    writer.add(&format!("--- {path}\n+++ {path}\n"));
    for hunk in hunks {
        if writer.is_cut {
            break;
        }
        for line in hunk.to_string().split_inclusive('\n') {
            writer.add(line);
        }
    }
    if writer.is_cut && max_bytes > CUT.len() {
        writer.text.push_str(CUT);
    }
    Diff { text: writer.text, is_cut: writer.is_cut, ..diff }
}

struct Bounded {
    text: String,
    left: usize,
    is_cut: bool,
}

impl Bounded {
    fn add(&mut self, line: &str) {
        let cost = json_len(line);
        if self.is_cut || cost > self.left {
            self.is_cut = true;
            return;
        }
        self.left -= cost;
        self.text.push_str(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_is_unified_counted_and_bounded() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let made = diff("/a", old, &old.replace("5\n", "five\nV\n"), 4096);
        assert_eq!(made.text, "--- /a\n+++ /a\n@@ -2,7 +2,8 @@\n 2\n 3\n 4\n-5\n+five\n+V\n 6\n 7\n 8\n");
        assert_eq!((made.additions, made.deletions, made.is_cut), (2, 1, false));
        assert_eq!(diff("/a", old, old, 4096), Diff::default());

        let long: String = (0..10_000).map(|line| format!("line \"{line}\"\n")).collect();
        let made = diff("/a", "", &long, 1024);
        assert!(made.is_cut && json_len(&made.text) <= 1024 + 1, "{}", json_len(&made.text));
        assert_eq!(made.additions, 10_000);
    }
}
