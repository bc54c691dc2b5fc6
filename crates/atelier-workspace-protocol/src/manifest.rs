//! `manifest.json` in the run folder: the facts of one start, written by the driver before the agent
//! starts. The agent only reads it, once at its start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::AgentLimits;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Names this start, for instance the build's id. Clone and start-up script run once for each value,
    /// however often the agent is restarted.
    pub start_id: String,
    pub workspace: ManifestWorkspace,
    /// Where commands start: absolute or `~/...`. Absent: the clone, else home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<ManifestRepository>,
    /// Run with bash (else sh) at each start; never interpolated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_script: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_script: Option<String>,
    /// For clone and start-up script together; 10 minutes if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_timeout_ms: Option<u64>,
    /// The template's environment. Names that begin with `ATELIER` are left out.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Each becomes `ATELIER_PARAM_<NAME>`, in capitals, other characters than letters and digits as `_`.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// What shuts the workspace in: `bubblewrap`, `landlock` or `off`. Only reported.
    #[serde(default)]
    pub sandbox: String,
    /// Where on loopback the agent serves its proxy. Absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_port: Option<u16>,
    /// Author and committer of commits made by commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_identity: Option<GitIdentity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<AgentLimits>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestWorkspace {
    pub id: String,
    pub name: String,
    /// The owner's username.
    pub owner: String,
}

/// Cloned at a start that finds `path` missing or empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRepository {
    /// What `git clone` takes. A bundle that lies in the run folder is named by its absolute path as the
    /// workspace sees it.
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Absolute or `~/...`. Absent: home and the last part of the address without `.git` or `.bundle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Shown as origin in place of `url`; an empty text removes the remote, for a bundle that nobody can
    /// push to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitIdentity {
    pub name: String,
    pub email: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_manifest_is_read() {
        let text = r#"{"start_id": "b", "workspace": {"id": "w", "name": "box", "owner": "ada"}}"#;
        let manifest: Manifest = serde_json::from_str(text).unwrap();
        assert_eq!(manifest.workspace.owner, "ada");
        assert_eq!(manifest.repository, None);
        let again: Manifest = serde_json::from_str(&serde_json::to_string(&manifest).unwrap()).unwrap();
        assert_eq!(again, manifest);
    }
}
