//! The manifest of a start: what the workspace agent needs to know (`run/manifest.json`).

use atelier_store::{BuildRow, UserRow, WorkspaceRow};
use atelier_workspace_protocol::manifest::GitIdentity;
use atelier_workspace_protocol::{AgentLimits, Manifest, ManifestRepository, ManifestWorkspace};

use crate::demo;
use crate::drivers::local::Places;
use crate::templates::{BUILTIN_DEMO, NetworkPolicy, Repository, ResolvedSpec};

/// Of the agent's proxy. The workspace has a network of its own, so nothing else is there.
const PROXY_PORT: u16 = 3128;

pub(crate) struct ManifestParts<'a> {
    pub(crate) build: &'a BuildRow,
    pub(crate) workspace: &'a WorkspaceRow,
    pub(crate) owner: Option<&'a UserRow>,
    pub(crate) spec: &'a ResolvedSpec,
    pub(crate) places: &'a Places,
    pub(crate) sandbox: &'a str,
    pub(crate) limits: Option<&'a AgentLimits>,
}

pub(crate) fn manifest(parts: &ManifestParts<'_>) -> Manifest {
    let ManifestParts { build, workspace, owner, spec, places, sandbox, limits } = parts;
    Manifest {
        start_id: build.id.to_string(),
        workspace: ManifestWorkspace {
            id: workspace.id.to_string(),
            name: workspace.name.clone(),
            owner: workspace.owner_name.clone(),
        },
        directory: spec.directory.clone(),
        repository: spec.repository.as_ref().map(|repository| clone_of(repository, places)),
        startup_script: spec.startup_script.clone(),
        shutdown_script: spec.shutdown_script.clone(),
        startup_timeout_ms: u64::try_from(spec.startup_timeout_ms).ok(),
        env: spec.env.iter().cloned().collect(),
        parameters: spec.parameters.clone(),
        sandbox: (*sandbox).to_owned(),
        proxy_port: (spec.network_policy == NetworkPolicy::Allowlist).then_some(PROXY_PORT),
        git_identity: owner.map(|owner| GitIdentity {
            name: if owner.name.is_empty() { owner.username.clone() } else { owner.name.clone() },
            email: owner.email.clone(),
        }),
        limits: limits.map(|limits| (*limits).clone()),
    }
}

fn clone_of(repository: &Repository, places: &Places) -> ManifestRepository {
    let is_demo = repository.url == BUILTIN_DEMO;
    ManifestRepository {
        url: if is_demo { places.run.join(demo::BUNDLE).display().to_string() } else { repository.url.clone() },
        branch: repository.branch.clone(),
        path: repository.path.clone().or_else(|| is_demo.then(|| demo::DIRECTORY.to_owned())),
        // Nobody can push to a bundle.
        origin: is_demo.then(String::new),
    }
}
