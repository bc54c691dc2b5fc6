//! Settings of the deployment and of a user.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The deployment's prompt. Empty: the default is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SystemPrompt {
    pub system_prompt: String,
    pub default_system_prompt: String,
}

/// At most 32,768 bytes after trimming.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SystemPromptUpdate {
    pub system_prompt: String,
}

/// What a user adds to the prompt of every chat; at most 32,768 bytes after trimming.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserPrompt {
    pub custom_prompt: String,
}

/// How long workspaces made by chats live, in milliseconds; 0: as their template says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceTtl {
    pub workspace_ttl_ms: i64,
}

/// Whether agents may use a desktop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DesktopEnabled {
    pub enable_desktop: bool,
}

/// A user's own compaction thresholds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CompactionThresholds {
    pub thresholds: Vec<CompactionThreshold>,
}

/// At what share of a model's context chats are compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CompactionThreshold {
    pub model_config_id: Uuid,
    /// 0 to 100; 100 = never.
    pub threshold_percent: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CompactionThresholdUpdate {
    /// 0 to 100; 100 = never.
    pub threshold_percent: i32,
}
