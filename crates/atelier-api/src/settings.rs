//! Settings of the deployment and of a user.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
