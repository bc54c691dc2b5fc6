//! Templates, workspaces, builds, workspace agents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Time;
use crate::models::present;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Template {
    pub id: Uuid,
    pub organization_id: Uuid,
    pub organization_name: String,
    pub name: String,
    pub display_name: String,
    pub description: String,
    pub icon: String,
    pub driver: String,
    /// Without `env` values and scripts for those who may not write it.
    pub spec: Value,
    pub active_version_id: Uuid,
    pub require_active_version: bool,
    pub readme: String,
    pub parameters: Vec<Value>,
    pub default_ttl_ms: i64,
    pub user_autostop_enabled: bool,
    pub desktop_enabled: bool,
    pub network_policy: String,
    pub deprecated: bool,
    pub deprecation_message: String,
    pub created_by_id: Uuid,
    pub created_by_name: String,
    pub created_at: Time,
    pub updated_at: Time,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TemplateFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readme: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Object, or TOML text with `spec_format` `toml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_active_version: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TemplateVersion {
    pub id: Uuid,
    pub number: i32,
    pub created_at: Time,
    pub created_by: Uuid,
    pub spec: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Workspace {
    pub id: Uuid,
    pub created_at: Time,
    pub updated_at: Time,
    pub owner_id: Uuid,
    pub owner_name: String,
    pub owner_avatar_url: String,
    pub organization_id: Uuid,
    pub organization_name: String,
    pub template_id: Uuid,
    pub template_name: String,
    pub template_display_name: String,
    pub template_icon: String,
    pub name: String,
    pub outdated: bool,
    /// Null = never stops by itself.
    pub ttl_ms: Option<i64>,
    pub last_used_at: Time,
    pub latest_build: Build,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkspacePage {
    pub workspaces: Vec<Workspace>,
    pub count: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Build {
    pub id: Uuid,
    pub build_number: i32,
    pub workspace_id: Uuid,
    pub template_version_id: Uuid,
    /// `start`, `stop` or `delete`.
    pub transition: String,
    /// `pending` `starting` `running` `stopping` `stopped` `failed` `canceling` `canceled` `deleting` `deleted`
    pub status: String,
    pub reason: String,
    pub initiator_id: Uuid,
    pub initiator_name: String,
    pub created_at: Time,
    pub updated_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    pub agents: Vec<Agent>,
    pub resources: Vec<Resource>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resource {
    pub id: Uuid,
    pub name: String,
    pub r#type: String,
    pub agents: Vec<Agent>,
}

/// A workspace agent: the program in a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    pub id: Uuid,
    pub name: String,
    /// `connecting`, `connected`, `disconnected` or `timeout`.
    pub status: String,
    /// `created` `starting` `ready` `start_error` `start_timeout` `off`
    pub lifecycle_state: String,
    pub operating_system: String,
    pub architecture: String,
    pub directory: String,
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_connected_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_connected_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disconnected_at: Option<Time>,
    /// Why it cannot do its work though it may be connected; absent while it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct WorkspaceCreate {
    pub template_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_version_id: Option<Uuid>,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub ttl_ms: Option<Option<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rich_parameter_values: Option<Vec<ParameterValue>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParameterValue {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct BuildCreate {
    pub transition: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_version_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BTreeMap<String, String>>,
}

/// One line of a build's or an agent's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    pub id: i64,
    pub created_at: Time,
    pub log_source: String,
    pub log_level: String,
    pub stage: String,
    pub output: String,
}
