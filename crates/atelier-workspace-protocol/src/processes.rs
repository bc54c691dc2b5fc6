//! `/v1/processes` and `/v1/tokens` (`workspaces.md` 1.3, 2.4, 2.5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `POST /v1/processes` → 201 begun, 200 the token was known, 409 it was used for something else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStart {
    /// Run as `bash -c`, else `sh -c`.
    pub command: String,
    /// Absolute, `~/...` or relative to the workspace directory, which it is if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub background: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStarted {
    pub process_id: String,
    /// The token was known: this is the process begun with it.
    pub attached: bool,
    /// Also true for a command that ended in a lone `&`: do not wait for it.
    #[serde(default)]
    pub background: bool,
}

/// `GET /v1/processes/{id}/output`, in the fields of `execute` and `process_output`.
///
/// Without `offset`: waits for the end (`wait_ms`), `output` is head and tail. With `offset` (negative:
/// from the end) or `limit`: waits for output past `offset`, `output` is that page and `offset`, `eof`
/// and, where bytes are lost, `gap` are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessOutput {
    /// Null while running.
    pub success: Option<bool>,
    /// Read before the bytes: false means that `output_bytes` is final.
    pub running: bool,
    pub process_id: String,
    /// Null while running, when killed by a signal, and when lost.
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Only when it is not plainly running or exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ProcessState>,
    pub output: String,
    /// All bytes written so far, also those that are lost.
    pub output_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<Truncated>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The end of the page, or of the head when `output` is head and tail.
    pub next_offset: u64,
    /// Ended, and nothing left after this page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eof: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// Left to the server, who knows how long was waited.
    #[serde(default)]
    pub timed_out: bool,
    pub wall_duration_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What the ended command started and what runs on, at most 20. Signals to the command reach it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_running: Vec<LeftRunning>,
}

/// A process that outlives the command it descends from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftRunning {
    /// As the workspace counts.
    pub pid: i32,
    /// At most 200 bytes.
    pub command: String,
}

/// Numbers of raw bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truncated {
    pub original_bytes: u64,
    pub retained_bytes: u64,
    pub omitted_bytes: u64,
    /// `head_tail`
    pub strategy: String,
}

/// Bytes that were written and are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub from: u64,
    pub to: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    Starting,
    Running,
    Exited,
    /// Its keeper is gone without leaving an end: nobody knows the exit code.
    Lost,
}

/// `GET /v1/processes`: running first, then those that left something running, newest first, at most 20.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessList {
    pub processes: Vec<ProcessSummary>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSummary {
    pub process_id: String,
    /// At most 200 bytes.
    pub command: String,
    pub workdir: String,
    pub background: bool,
    pub running: bool,
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    pub state: ProcessState,
    pub output_bytes: u64,
    pub started_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<String>,
    /// As in [`ProcessOutput`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_running: Vec<LeftRunning>,
}

/// `POST /v1/processes/{id}/signal`; 409 `process_ended` if it has ended and left nothing running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalRequest {
    pub signal: ProcessSignal,
    /// Kill what is left after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_after_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessSignal {
    Interrupt,
    Terminate,
    Kill,
}

impl ProcessSignal {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupt",
            Self::Terminate => "terminate",
            Self::Kill => "kill",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalAnswer {
    pub success: bool,
    pub message: String,
}

/// `GET /v1/tokens/{token}`, always 200.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenAnswer {
    pub state: TokenState,
    pub ledger_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_id: Option<String>,
    /// The stored answer of a file operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    None,
    Pending,
    Known,
}
