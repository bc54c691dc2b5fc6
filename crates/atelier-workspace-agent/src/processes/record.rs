//! The files of a command's folder, which agent and shim share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) const META_FILE: &str = "meta.json";
/// Written by the shim before it starts the command, and again with the command's pid.
pub(crate) const BEGUN_FILE: &str = "begun.json";
pub(crate) const EXIT_FILE: &str = "exit.json";
/// Locked from before the shim starts until it has ended.
pub(crate) const LOCK_FILE: &str = "lock";

/// What was asked for. On disk before the command starts, never changed after.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) process_id: String,
    pub(crate) token: Option<String>,
    pub(crate) digest: Option<String>,
    /// The chat it belongs to, and that chat's ancestors: who may see it.
    pub(crate) chat_id: Option<String>,
    pub(crate) ancestors: Vec<String>,
    pub(crate) command: String,
    pub(crate) workdir: String,
    pub(crate) background: bool,
    pub(crate) notes: Vec<String>,
    pub(crate) shell: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) created_at_ms: i64,
    /// Id of the kernel's start: files that were not synced are only to be trusted within it.
    pub(crate) kernel_boot_id: String,
    pub(crate) spill_head_bytes: u64,
    pub(crate) spill_tail_bytes: u64,
    pub(crate) pipe_after_kill_ms: u64,
    pub(crate) pipe_after_exit_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Begun {
    pub(crate) shim_pid: u32,
    /// The command, leader of its group.
    pub(crate) pid: Option<i32>,
    /// Its start time, which tells it from a later process with its number.
    pub(crate) started: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// Null when a signal ended it.
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<String>,
    pub(crate) output_bytes: u64,
    /// Output that the disk refused.
    pub(crate) lost_bytes: u64,
    pub(crate) ended_at_ms: i64,
    pub(crate) duration_ms: u64,
}

/// The kernel's id of its start, empty if it does not tell.
pub(crate) fn kernel_boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
