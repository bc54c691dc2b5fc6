//! The local driver: a workspace is a folder and a shut-in tree of processes on the server's own host.
//!
//! Owns `<data>/workspaces` and `<data>/bin`. Every step can be repeated: starting what runs, stopping
//! what is stopped and deleting what is gone succeed. A tree outlives the server; whether it lives is read
//! from its lock file, never from memory. This module knows no database and no connection.

mod cgroup;
mod folders;
mod life;
mod network;
mod program;
mod sandbox;
#[cfg(test)]
mod tests;
mod tree;
mod usage;
mod users;

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atelier_domain::{Chain, WorkspaceId};
use atelier_workspace_protocol::run_file;
use tokio::sync::OnceCell;
use tokio::time::Instant;

pub use sandbox::{Sandbox, SandboxChoice};

use crate::templates::{HostNetwork, NetworkPolicy, ResolvedSpec, Resources};
use cgroup::Delegation;
use folders::Folders;
use life::{Life, Tree};
use network::{Network, Pasta};
pub(crate) use usage::DiskUse;
use users::Users;

/// How long the first process may take to appear.
const APPEAR: Duration = Duration::from_secs(20);

/// Processes and threads of a workspace whose template names no number.
const DEFAULT_PROCESSES: i64 = 4096;

/// The file that says which build a running tree belongs to.
const BUILD_FILE: &str = "build";
/// The file that says how a running tree is shaped.
const TREE_FILE: &str = "sandbox";

#[derive(Clone, Debug)]
pub struct LocalSettings {
    /// Reachable for every user (mode 0711) when the server is root.
    pub data_dir: PathBuf,
    /// The program that is `atelier` inside workspaces (`atelier agent ...`).
    pub agent_program: PathBuf,
    pub sandbox: SandboxChoice,
    pub host_network: HostNetwork,
    /// The first of 10,000 users of workspaces when the server is root, one for each workspace.
    pub uid: u32,
    /// Host folders that templates may show.
    pub extra_paths: Vec<PathBuf>,
    /// Time between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Nothing shuts workspaces in on this host.
    #[error("no sandbox works on this host: {0}")]
    SandboxUnavailable(String),
    #[error("{0}")]
    Refused(String),
    #[error("cannot {action}")]
    Io {
        action: &'static str,
        #[source]
        source: io::Error,
    },
}

fn not_ended() -> DriverError {
    DriverError::Refused("the workspace's processes cannot be ended".into())
}

fn io_error(action: &'static str) -> impl FnOnce(io::Error) -> DriverError {
    move |source| DriverError::Io { action, source }
}

/// One start. `files` are put into the run folder, among them the token and the manifest.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) workspace_id: WorkspaceId,
    /// Names this start: a tree that runs under the same key is the one wanted.
    pub(crate) key: &'a str,
    pub(crate) hostname: &'a str,
    pub(crate) spec: &'a ResolvedSpec,
    pub(crate) files: Vec<(&'static str, Vec<u8>)>,
}

/// What a start found or did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Started {
    /// Lines for the build's log.
    pub(crate) notes: Vec<String>,
}

/// Where a workspace sees what the driver gives it.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) run: PathBuf,
}

#[derive(Clone)]
pub struct LocalDriver {
    shared: Arc<Shared>,
}

struct Shared {
    settings: LocalSettings,
    /// When the server is root.
    users: Option<Users>,
    sandbox: Result<Sandbox, String>,
    /// What makes networks without the host, or why nothing does.
    pasta: Result<Pasta, String>,
    delegation: Option<Delegation>,
    program: OnceCell<PathBuf>,
}

impl LocalDriver {
    /// Looks what shuts workspaces in here. A host where nothing does still has a driver: stopping and
    /// deleting work, starting fails with `sandbox_unavailable`.
    ///
    /// # Errors
    /// The data folder cannot be set up.
    pub async fn open(settings: LocalSettings) -> Result<Self, DriverError> {
        let users = rustix::process::geteuid().is_root().then(|| Users::new(&settings.data_dir, settings.uid));
        let first = users.as_ref().map(Users::first);
        let sandbox = Sandbox::find(settings.sandbox, first, &settings.agent_program).await;
        match &sandbox {
            Ok(Sandbox::Off) => tracing::warn!("local workspaces are not shut in (ATELIER_LOCAL_SANDBOX=off)"),
            Ok(sandbox) => tracing::debug!(sandbox = sandbox.name(), "local workspaces are shut in"),
            Err(reason) => tracing::warn!(%reason, "no sandbox works here: local workspaces cannot start"),
        }
        let pasta = match &sandbox {
            Ok(Sandbox::Bubblewrap { program, .. }) => Pasta::find(program, first).await,
            Ok(Sandbox::Landlock | Sandbox::Off) | Err(_) => Err("it needs bubblewrap".into()),
        };
        match (&pasta, settings.host_network) {
            (Ok(_), _) => tracing::debug!("workspaces of the network policy open do not reach the host"),
            (Err(reason), HostNetwork::Refuse) => {
                tracing::warn!(%reason, "workspaces of the network policy open cannot start");
            }
            (Err(reason), HostNetwork::Fallback | HostNetwork::Allow) => {
                tracing::warn!(%reason, "workspaces of the network policy open use the host's network");
            }
        }
        folders::folder(&settings.data_dir.join("workspaces"), 0o711)
            .map_err(io_error("make the folder of workspaces"))?;
        let delegation = Delegation::find();
        Ok(Self { shared: Arc::new(Shared { settings, users, sandbox, pasta, delegation, program: OnceCell::new() }) })
    }

    /// What shuts workspaces in, or why nothing does.
    ///
    /// # Errors
    /// The reason, in words for people.
    pub fn sandbox(&self) -> Result<&Sandbox, &str> {
        self.shared.sandbox.as_ref().map_err(String::as_str)
    }

    /// Whether the driver can take the network away.
    #[must_use]
    pub fn isolates_network(&self) -> bool {
        self.sandbox().is_ok_and(Sandbox::has_namespaces)
    }

    /// Whether workspaces of the policy `open` get a network without the host.
    ///
    /// # Errors
    /// Why they do not, in words for people.
    pub fn private_network(&self) -> Result<(), &str> {
        self.shared.pasta.as_ref().map(|_| ()).map_err(String::as_str)
    }

    #[must_use]
    pub fn host_network(&self) -> HostNetwork {
        self.shared.settings.host_network
    }

    #[must_use]
    pub fn extra_path_roots(&self) -> &[PathBuf] {
        &self.shared.settings.extra_paths
    }

    fn folders(&self, id: WorkspaceId) -> Folders {
        let data_dir = &self.shared.settings.data_dir;
        let outer = Folders::outer(data_dir, id);
        Folders::of(data_dir, id, self.shared.users.as_ref().map(|users| users.owner(&outer)))
    }

    /// The shape of a running tree. The server and its setting may have changed since it was started.
    fn tree(&self, id: WorkspaceId) -> Tree {
        let name = std::fs::read_to_string(self.folders(id).outer.join(TREE_FILE)).unwrap_or_default();
        Tree::from_name(&name)
    }

    pub(crate) fn stop_grace(&self) -> Duration {
        self.shared.settings.stop_grace
    }

    async fn program(&self) -> Result<&Path, DriverError> {
        self.shared
            .program
            .get_or_try_init(|| async {
                let settings = self.shared.settings.clone();
                blocking(move || program::install(&settings.data_dir, &settings.agent_program))
                    .await
                    .map_err(io_error("copy the program for workspaces"))
            })
            .await
            .map(PathBuf::as_path)
    }

    /// Where a started workspace will see its folders.
    pub(crate) fn places(&self, id: WorkspaceId) -> Result<Places, DriverError> {
        let sandbox = self.sandbox().map_err(|reason| DriverError::SandboxUnavailable(reason.to_owned()))?;
        let view = sandbox.view(&self.folders(id), Path::new("atelier"));
        Ok(Places { run: view.run })
    }

    /// Makes the folders of a workspace. Repeatable.
    pub(crate) async fn prepare(&self, id: WorkspaceId) -> Result<(), DriverError> {
        self.check_reach()?;
        let (driver, folders) = (self.clone(), self.folders(id));
        blocking(move || {
            folders.create_outer()?;
            if let Some(users) = &driver.shared.users {
                users.take_number(&folders.outer)?;
            }
            // With the number that it has now.
            driver.folders(id).create()
        })
        .await
        .map_err(io_error("make the workspace's folders"))
    }

    /// Listens on the workspace's socket, made anew.
    pub(crate) async fn listen(&self, id: WorkspaceId) -> Result<UnixListener, DriverError> {
        let folders = self.folders(id);
        blocking(move || folders.listen(run_file::SOCKET)).await.map_err(io_error("listen on the workspace's socket"))
    }

    /// Starts the tree, after [`Self::prepare`]. A running one with the same key is left alone, any other
    /// one is ended first.
    pub(crate) async fn start(&self, start: Start<'_>) -> Result<Started, DriverError> {
        let sandbox = self.sandbox().map_err(|reason| DriverError::SandboxUnavailable(reason.to_owned()))?;
        let folders = self.folders(start.workspace_id);
        let running = self.running(start.workspace_id)?;
        if running.as_deref() == Some(start.key) {
            return Ok(Started { notes: Vec::new() });
        }
        // A stop takes the file away, so what lives without it is not of this workspace.
        if running.is_some() || folders.outer.join(BUILD_FILE).exists() {
            // Only processes: the socket of this start is there already.
            self.end_tree(start.workspace_id).await?;
        }
        self.check_user(start.workspace_id)?;
        let extra_paths = self.real_extra_paths(start.spec)?;
        let program = self.program().await?.to_owned();
        let accounts = self.accounts(&folders).await?;
        let mut notes = Vec::new();
        let network = self.network(start.spec.network_policy, &accounts, &mut notes).await?;
        let cgroup = self.cgroup(&start)?;

        let spec = ResolvedSpec { extra_paths, ..start.spec.clone() };
        let files = start.files;
        let key = start.key.to_owned();
        let tree = sandbox.tree();
        let folders = {
            let folders = folders.clone();
            blocking(move || {
                folders.empty_tmp()?;
                folders.settle()?;
                folders.move_former_state()?;
                for (name, content) in &files {
                    folders.put(name, content)?;
                }
                std::fs::write(folders.outer.join(TREE_FILE), tree.name())?;
                std::fs::write(folders.outer.join(BUILD_FILE), key)?;
                Ok(folders)
            })
            .await
            .map_err(io_error("write the workspace's files"))?
        };
        let log = folders.open_log().map_err(io_error("open the log of the first process"))?;
        let errors = log.try_clone().map_err(io_error("open the log of the first process"))?;
        let mut child = sandbox
            .command(&sandbox::Launch {
                folders: &folders,
                program: &program,
                accounts: &accounts,
                spec: &spec,
                network: &network,
                hostname: start.hostname,
                cgroup: cgroup.as_deref(),
                processes: spec.resources.pids.unwrap_or(DEFAULT_PROCESSES),
            })
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(io_error("start the first process"))?;

        let deadline = Instant::now() + APPEAR;
        let ended = loop {
            if self.life(start.workspace_id)?.is_some() {
                break None;
            }
            if let Some(status) = child.try_wait().map_err(io_error("watch the first process"))? {
                break Some(format!("the first process ended with {status}"));
            }
            if Instant::now() >= deadline {
                let _ = child.start_kill();
                break Some(format!("the first process did not appear within {} s", APPEAR.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        // Only fetches the exit; the tree does not depend on it.
        tokio::spawn(async move {
            let _ = child.wait().await;
        });
        match ended {
            None => Ok(Started { notes }),
            Some(reason) => {
                let words = folders.log_tail();
                let separator = if words.is_empty() { "" } else { ": " };
                Err(DriverError::Refused(format!("{reason}{separator}{words}")))
            }
        }
    }

    /// Ends the tree at once, without a word to it. What was made for this start stays.
    pub(crate) async fn kill(&self, id: WorkspaceId) -> Result<(), DriverError> {
        if let Some(life) = self.life(id)?
            && !life.kill(self.tree(id)).await
        {
            return Err(not_ended());
        }
        self.kill_strays(id).await
    }

    /// Refuses to start among processes that the workspace did not start: a stop would end them.
    fn check_user(&self, id: WorkspaceId) -> Result<(), DriverError> {
        let Some(user) = self.own_user(id) else { return Ok(()) };
        let living = life::users_with_processes().map_err(io_error("look for the workspace's processes"))?;
        if !living.contains(&user) {
            return Ok(());
        }
        Err(DriverError::Refused(format!(
            "processes that are not of this workspace run as its user {user}; end them, and give each server of this \
             host users of its own (ATELIER_LOCAL_UID)"
        )))
    }

    fn own_user(&self, id: WorkspaceId) -> Option<u32> {
        self.shared.users.as_ref()?.own_user(&self.folders(id).outer)
    }

    /// Ends what left its tree, where the workspace's user tells it from that of others.
    async fn kill_strays(&self, id: WorkspaceId) -> Result<(), DriverError> {
        let Some(user) = self.own_user(id) else { return Ok(()) };
        let all_ended = life::kill_user(user).await.map_err(io_error("look for the workspace's processes"))?;
        if all_ended { Ok(()) } else { Err(not_ended()) }
    }

    /// The workspaces that have a folder here.
    pub(crate) async fn workspaces(&self) -> Result<Vec<WorkspaceId>, DriverError> {
        let folder = self.shared.settings.data_dir.join("workspaces");
        let list = move || {
            let entries = std::fs::read_dir(folder)?.flatten();
            Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
        };
        blocking(list).await.map_err(io_error("list the workspaces"))
    }

    /// What a workspace takes on disk. Walks all of its files.
    pub(crate) async fn disk_use(&self, id: WorkspaceId) -> Result<DiskUse, DriverError> {
        let life = self.life(id)?.map(|life| life.pid());
        let folder = self.folders(id).outer;
        let count = move || {
            let processes = life.map_or_else(Vec::new, life::descendants);
            let DiskUse { bytes, is_part } = usage::of_folder(&folder);
            Ok(DiskUse { bytes: bytes + usage::of_removed_files(&folder, &processes), is_part })
        };
        blocking(count).await.map_err(io_error("count what the workspace takes"))
    }

    async fn end_tree(&self, id: WorkspaceId) -> Result<(), DriverError> {
        if let Some(life) = self.life(id)? {
            let tree = self.tree(id);
            if !life.terminate(tree, self.shared.settings.stop_grace).await {
                tracing::warn!(workspace.id = %id, "the workspace does not end by itself, killing it");
            }
            if !life.kill(tree).await {
                return Err(not_ended());
            }
        }
        self.kill_strays(id).await?;
        if let Some(delegation) = &self.shared.delegation {
            delegation.remove(id);
        }
        Ok(())
    }

    /// Ends the tree, SIGTERM to the first process and then the whole tree is killed, and removes what was
    /// made for this start. Repeatable.
    pub(crate) async fn stop(&self, id: WorkspaceId) -> Result<(), DriverError> {
        self.end_tree(id).await?;
        let folders = self.folders(id);
        blocking(move || {
            for name in [run_file::TOKEN, run_file::MANIFEST, run_file::SOCKET, crate::demo::BUNDLE] {
                folders.take_out(name)?;
            }
            // A stop that cannot free this space is still a stop; the next start must empty the folder.
            if let Err(error) = folders.empty_tmp() {
                tracing::warn!(workspace.id = %id, error = %Chain(&error), "the workspace's folder for temporary files is not empty");
            }
            match std::fs::remove_file(folders.outer.join(BUILD_FILE)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            }
        })
        .await
        .map_err(io_error("take the token out"))
    }

    /// Ends the tree and removes all that is left of the workspace. Repeatable.
    pub(crate) async fn delete(&self, id: WorkspaceId) -> Result<(), DriverError> {
        self.stop(id).await?;
        let folders = self.folders(id);
        blocking(move || folders.remove()).await.map_err(io_error("remove the workspace's folder"))
    }

    /// The key of the tree that runs, if one does.
    pub(crate) fn running(&self, id: WorkspaceId) -> Result<Option<String>, DriverError> {
        if self.life(id)?.is_none() {
            return Ok(None);
        }
        Ok(Some(std::fs::read_to_string(self.folders(id).outer.join(BUILD_FILE)).unwrap_or_default()))
    }

    /// Ends when the tree has ended; at once if none runs.
    pub(crate) async fn ended(&self, id: WorkspaceId) {
        if let Ok(Some(life)) = self.life(id) {
            life.ended().await;
        }
    }

    fn life(&self, id: WorkspaceId) -> Result<Option<Life>, DriverError> {
        life::look(&self.folders(id).lock).map_err(io_error("look after the workspace's lock"))
    }

    fn check_reach(&self) -> Result<(), DriverError> {
        if self.shared.users.is_none() {
            return Ok(());
        }
        let workspaces = self.shared.settings.data_dir.join("workspaces");
        match folders::closed_ancestor(&workspaces).map_err(io_error("look at the data folder"))? {
            None => Ok(()),
            Some(folder) => Err(DriverError::Refused(format!(
                "workspaces run as users {} and following and cannot walk through {}; choose a data folder (ATELIER_DATA_DIR) that \
                 every user can walk through, for instance /var/lib/atelier",
                self.shared.settings.uid,
                folder.display()
            ))),
        }
    }

    /// The extra paths with links followed, checked once more where they really lie.
    fn real_extra_paths(&self, spec: &ResolvedSpec) -> Result<Vec<PathBuf>, DriverError> {
        let roots: Vec<PathBuf> =
            self.extra_path_roots().iter().filter_map(|root| std::fs::canonicalize(root).ok()).collect();
        for path in &spec.extra_paths {
            let real = std::fs::canonicalize(path)
                .map_err(|error| DriverError::Refused(format!("extra path {}: {error}", path.display())))?;
            if !roots.iter().any(|root| real.starts_with(root)) {
                return Err(DriverError::Refused(format!(
                    "extra path {} leads out of the server's extra paths",
                    path.display()
                )));
            }
        }
        Ok(spec.extra_paths.clone())
    }

    /// The made-up lists of users and groups of a workspace.
    async fn accounts(&self, folders: &Folders) -> Result<PathBuf, DriverError> {
        let folder = folders.outer.join("etc");
        let (uid, gid) = sandbox::own_ids(folders.owner());
        let made = folder.clone();
        blocking(move || {
            let folder = made;
            folders::folder(&folder, 0o755)?;
            let user = sandbox::USER;
            let home = sandbox::INNER_HOME;
            let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
            for (name, text) in [
                (
                    "passwd",
                    format!("{user}:x:{uid}:{gid}:{user}:{home}:{shell}\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
                ),
                ("group", format!("{user}:x:{gid}:\nnogroup:x:65534:\n")),
            ] {
                folders::replace(&folder.join(name), text.as_bytes(), 0o644)?;
            }
            Ok(())
        })
        .await
        .map_err(io_error("write the workspace's list of users"))?;
        Ok(folder)
    }

    /// The network of a start. `folder` is for files that the workspace sees.
    async fn network(
        &self,
        policy: NetworkPolicy,
        folder: &Path,
        notes: &mut Vec<String>,
    ) -> Result<Network, DriverError> {
        let host_network = self.shared.settings.host_network;
        match policy {
            NetworkPolicy::None | NetworkPolicy::Allowlist if self.isolates_network() => Ok(Network::Loopback),
            NetworkPolicy::None | NetworkPolicy::Allowlist => Err(DriverError::Refused(format!(
                "the network policy {} needs bubblewrap, which does not work on this host",
                policy.as_str()
            ))),
            NetworkPolicy::Host if host_network == HostNetwork::Allow => Ok(Network::Host),
            NetworkPolicy::Host => Err(DriverError::Refused(
                "the network policy host is not allowed here (ATELIER_LOCAL_HOST_NETWORK)".into(),
            )),
            NetworkPolicy::Open => match (&self.shared.pasta, host_network) {
                (Ok(pasta), _) => pasta.network(folder).await.map_err(io_error("prepare the workspace's network")),
                (Err(reason), HostNetwork::Refuse) => {
                    Err(DriverError::Refused(format!("the network policy open cannot be kept on this host: {reason}")))
                }
                (Err(reason), HostNetwork::Fallback | HostNetwork::Allow) => {
                    notes.push(format!(
                        "warning: the workspace uses the host's network and reaches all that listens there: {reason}"
                    ));
                    Ok(Network::Host)
                }
            },
        }
    }

    /// The control group of a start.
    ///
    /// # Errors
    /// The template asks for limits that nothing on this host keeps.
    fn cgroup(&self, start: &Start<'_>) -> Result<Option<PathBuf>, DriverError> {
        let asked = start.spec.resources;
        let limits = Resources { pids: Some(asked.pids.unwrap_or(DEFAULT_PROCESSES)), ..asked };
        let made = self.shared.delegation.as_ref().map(|delegation| delegation.create(start.workspace_id, limits));
        let reason = match made {
            Some(Ok(group)) => return Ok(Some(group)),
            Some(Err(error)) => format!("the server cannot use its control group: {error}"),
            None => "no control group (version 2) is delegated to the server".to_owned(),
        };
        // Init limits the number of processes itself.
        let kept_by_group =
            [("resources.cpu", asked.cpu.is_some()), ("resources.memory_mb", asked.memory_mb.is_some())];
        let names: Vec<&str> = kept_by_group.into_iter().filter_map(|(name, asked)| asked.then_some(name)).collect();
        if names.is_empty() {
            return Ok(None);
        }
        Err(DriverError::Refused(format!(
            "the template's limits {} cannot be kept on this host: {reason}; run the server with Delegate=yes in its \
             systemd unit, or take them out of the template",
            names.join(" and ")
        )))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error)),
    }
}
