//! `GET /v1/context`: instruction files and skills (`workspaces.md` 2.6).

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextAnswer {
    pub os: String,
    /// Where commands start.
    pub directory: String,
    /// `AGENTS.md` of `~/.atelier`, then of the directory.
    #[serde(default)]
    pub files: Vec<ContextFile>,
    #[serde(default)]
    pub skills: Vec<ContextSkill>,
    /// SHA-256 over everything above, hex.
    pub hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextFile {
    pub path: String,
    /// Cleaned, at most 64 KiB.
    pub content: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextSkill {
    pub name: String,
    pub description: String,
    /// Of its `SKILL.md`, absolute.
    pub path: String,
}
