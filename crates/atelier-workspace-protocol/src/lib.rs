//! Requests and answers between the server and the workspace agent (`workspaces.md` 2).
//!
//! One struct a request and one an answer of the agent's API, the names of headers, the error body and
//! the numbers both sides agree on. Only data: no IO, no decision. New fields are optional on both sides,
//! so protocols N and N-1 understand each other; what is new is announced in [`Hello::capabilities`].

pub mod context;
pub mod error;
pub mod events;
pub mod files;
pub mod limits;
pub mod manifest;
pub mod processes;

pub use context::{ContextAnswer, ContextFile, ContextSkill};
pub use error::{ErrorBody, code};
pub use events::{Event, EventKind, LifecycleState, LogLevel, LogStage};
pub use limits::AgentLimits;
pub use manifest::{Manifest, ManifestRepository, ManifestWorkspace};
pub use processes::{
    Gap, LeftRunning, ProcessList, ProcessOutput, ProcessSignal, ProcessStart, ProcessStarted, ProcessState,
    ProcessSummary, SignalAnswer, SignalRequest, TokenAnswer, TokenState, Truncated,
};
use serde::{Deserialize, Serialize};

/// WebSocket subprotocol of the link.
pub const SUBPROTOCOL: &str = "atelier-agent.v1";

/// The protocol this code speaks, and the range it serves.
pub const PROTOCOL: u32 = 1;
pub const PROTOCOL_MIN: u32 = 1;
pub const PROTOCOL_MAX: u32 = 1;

/// Where the agent connects to.
pub const CONNECT_PATH: &str = "/api/v2/workspaceagents/me/connect";

/// Largest binary frame that is sent, and that is accepted.
pub const FRAME_SENT_BYTES: usize = 64 * 1024;
pub const FRAME_ACCEPTED_BYTES: usize = 1024 * 1024;
/// Streams on one link, and the window of each.
pub const STREAMS: usize = 256;
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Close codes of the link.
pub mod close {
    /// A text frame came.
    pub const UNSUPPORTED: u16 = 1003;
    /// A broken multiplexer frame came.
    pub const PROTOCOL: u16 = 1002;
    /// Too many frames that carry nothing, or answers that nobody reads.
    pub const POLICY: u16 = 1008;
    /// A newer link took this one's place.
    pub const SUPERSEDED: u16 = 4001;
}

/// Names of HTTP headers. The first three come with the link's request, the others with each request of
/// the server and only from it.
pub mod header {
    pub const AGENT_VERSION: &str = "atelier-agent-version";
    pub const BOOT_ID: &str = "atelier-boot-id";
    pub const LEDGER_ID: &str = "atelier-ledger-id";

    /// The chat a request is made for.
    pub const CHAT_ID: &str = "atelier-chat-id";
    /// Its ancestors, nearest first, separated by commas.
    pub const CHAT_ANCESTORS: &str = "atelier-chat-ancestors";
    /// `full` (default) or `read_only`.
    pub const ACCESS: &str = "atelier-access";
    pub const CALL_TOKEN: &str = "atelier-call-token";
    /// SHA-256 of the call's canonical arguments, hex.
    pub const CALL_DIGEST: &str = "atelier-call-digest";
}

/// Values of [`header::ACCESS`].
pub mod access {
    pub const FULL: &str = "full";
    pub const READ_ONLY: &str = "read_only";
}

/// Names of files in the run folder (`/.atelier/run`), which the driver writes.
pub mod run_file {
    pub const TOKEN: &str = "token";
    pub const SOCKET: &str = "agent.sock";
    pub const MANIFEST: &str = "manifest.json";
}

/// `GET /v1/hello`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub version: String,
    /// Made anew by each start of the agent; event numbers count within it.
    pub boot_id: String,
    pub ledger_id: String,
    pub os: String,
    pub arch: String,
    pub kernel: String,
    pub user: String,
    pub home: String,
    /// Where commands start.
    pub directory: String,
    pub shell: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_version: Option<String>,
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// What shuts the workspace in, as its manifest says.
    #[serde(default)]
    pub sandbox: String,
    /// `namespaces`, `landlock` or `none`.
    #[serde(default)]
    pub read_only_level: String,
}

/// `POST /v1/shutdown`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownRequest {
    /// Time for the shutdown script and for processes to end, together.
    pub deadline_ms: u64,
}

/// The answer to `POST /v1/shutdown`: it has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownAnswer {
    pub ok: bool,
}
