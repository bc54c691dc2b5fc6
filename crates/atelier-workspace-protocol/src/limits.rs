//! The numbers of the agent that tests and settings may change. All have the values of `workspaces.md`.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentLimits {
    /// Running commands of one chat, and of the whole workspace.
    pub processes_per_chat: usize,
    pub processes: usize,
    /// Text of `output`, its marker included, and what of it is the head.
    pub output_bytes: usize,
    pub output_head_bytes: usize,
    /// `output` as JSON text: escapes count. Keeps a result below 48 KiB.
    pub output_json_bytes: usize,
    /// First part of the output, then two rotating segments.
    pub spill_head_bytes: u64,
    pub spill_tail_bytes: u64,
    /// Output of all ended commands together.
    pub spill_total_bytes: u64,
    pub ended_kept: usize,
    pub ended_kept_ms: u64,
    pub tokens_kept_ms: u64,
    /// Output is read this long after a kill while somebody holds the pipe open.
    pub pipe_after_kill_ms: u64,
    /// The same after a command ended by itself and left others behind.
    pub pipe_after_exit_ms: u64,
    /// The ring of events.
    pub events: usize,
    pub event_bytes: usize,
    pub ping_ms: u64,
    /// Silence after which a link is dead.
    pub dead_ms: u64,
    /// Time between SIGTERM and SIGKILL at the workspace's end.
    pub stop_grace_ms: u64,
    /// Text and lines of one `read_file`.
    pub read_bytes: usize,
    pub read_lines: usize,
    /// A longer line is cut.
    pub line_bytes: usize,
    /// Bytes looked through for line starts in one call.
    pub scan_bytes: u64,
    /// Content of `write_file`, and a file that `edit_files` takes.
    pub write_bytes: usize,
    pub edit_file_bytes: u64,
    /// Diff of one file, and of all files of one call.
    pub diff_bytes: usize,
    pub diffs_bytes: usize,
}

impl Default for AgentLimits {
    fn default() -> Self {
        const KIB: usize = 1024;
        const MIB: u64 = 1024 * 1024;
        const HOUR_MS: u64 = 3_600_000;
        Self {
            processes_per_chat: 32,
            processes: 128,
            output_bytes: 32 * KIB,
            output_head_bytes: 16 * KIB,
            output_json_bytes: 44 * KIB,
            spill_head_bytes: 48 * MIB,
            spill_tail_bytes: 8 * MIB,
            spill_total_bytes: 1024 * MIB,
            ended_kept: 200,
            ended_kept_ms: 24 * HOUR_MS,
            tokens_kept_ms: 7 * 24 * HOUR_MS,
            pipe_after_kill_ms: 5000,
            pipe_after_exit_ms: 250,
            events: 10_000,
            event_bytes: 4 * 1024 * KIB,
            ping_ms: 15_000,
            dead_ms: 45_000,
            stop_grace_ms: 10_000,
            read_bytes: 32 * KIB,
            read_lines: 2000,
            line_bytes: 1024,
            scan_bytes: 1024 * MIB,
            write_bytes: 1024 * KIB,
            edit_file_bytes: 10 * MIB,
            diff_bytes: 16 * KIB,
            diffs_bytes: 32 * KIB,
        }
    }
}
