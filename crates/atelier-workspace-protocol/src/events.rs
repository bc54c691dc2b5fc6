//! `GET /v1/events?after=`: one JSON object a line, without end.

use serde::{Deserialize, Serialize};

/// One event. `seq` counts from 1 within a boot id; `after=0` starts at the oldest one kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub seq: u64,
    /// RFC 3339, the workspace's clock. For people only.
    pub at: String,
    #[serde(flatten)]
    pub kind: EventKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// The start-up got somewhere. The newest one is always kept for a new reader.
    Lifecycle {
        state: LifecycleState,
        /// Of the clone or script that failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Last output of what failed, at most 4 KiB.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log_tail: Option<String>,
        /// Whether a start-up script is part of this start.
        #[serde(default)]
        has_script: bool,
    },
    /// A line of the build's log, at most 8 KiB.
    Log { stage: LogStage, level: LogLevel, output: String },
    ProcessExit {
        process_id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        chat_id: Option<String>,
        exit_code: Option<i32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        state: crate::ProcessState,
    },
    /// Whether the agent can do its work. It tells this only when it changes.
    Health {
        /// Why it cannot, in words for people; absent when it can again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        broken: Option<String>,
    },
    /// These numbers are lost. Its own `seq` is `to`.
    Gap { from: u64, to: u64 },
    /// A newer agent's event. Skip it.
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleState {
    Starting,
    Ready,
    StartError,
    StartTimeout,
    ShuttingDown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStage {
    Connect,
    Clone,
    Script,
}

impl LogStage {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Clone => "clone",
            Self::Script => "script",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Info,
    Warn,
    Error,
}

impl LogLevel {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_flat_object_and_unknown_ones_are_read() {
        let event = Event {
            seq: 3,
            at: "2026-01-01T00:00:00Z".into(),
            kind: EventKind::Log { stage: LogStage::Script, level: LogLevel::Info, output: "hi".into() },
        };
        let value = serde_json::to_value(&event).unwrap();
        assert_eq!(
            value,
            json!({"seq": 3, "at": "2026-01-01T00:00:00Z", "type": "log", "stage": "script", "level": "info", "output": "hi"})
        );
        assert_eq!(serde_json::from_value::<Event>(value).unwrap(), event);
        let newer = json!({"seq": 4, "at": "", "type": "stats", "cpu": 1});
        assert_eq!(serde_json::from_value::<Event>(newer).unwrap().kind, EventKind::Unknown);
    }
}
