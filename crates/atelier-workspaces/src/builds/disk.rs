//! Keeping the disk from filling up: who is ended, and what is not started.

use std::sync::PoisonError;
use std::time::Duration;

use atelier_domain::{Chain, WorkspaceId};

use super::reserve::{Blame, Room};
use super::{Builds, Failure, Shared};
use crate::drivers::local::DiskUse;

/// Time between two looks at the disk.
const EVERY: Duration = Duration::from_secs(5);
const MEGABYTE: u64 = 1024 * 1024;

impl Builds {
    /// Looks at the disk in the background until the server stops.
    pub(super) fn keep_reserve(&self) {
        let builds = self.clone();
        self.shared.tasks.spawn(async move {
            loop {
                builds.look_at_disk().await;
                if !builds.shared.reserve.is_on() {
                    break;
                }
                // Both may be dropped.
                tokio::select! {
                    () = builds.shared.clock.sleep(EVERY) => {}
                    () = builds.shared.stop.cancelled() => break,
                }
            }
        });
    }

    /// Refuses a start while the disk is nearly full.
    pub(super) fn check_room(&self) -> Result<(), Failure> {
        let reserve = &self.shared.reserve;
        if !reserve.is_short() {
            return Ok(());
        }
        Err(Failure {
            code: "storage_full",
            message: format!(
                "the server's disk is nearly full, and the last {} MB are the server's; delete files or workspaces, \
                 then start again",
                reserve.bytes() / MEGABYTE
            ),
        })
    }

    /// Notes in the background what a workspace takes now, so that its growth can be told.
    pub(super) fn count(&self, workspace: WorkspaceId) {
        if !self.shared.reserve.is_on() {
            return;
        }
        let builds = self.clone();
        self.shared.tasks.spawn(async move {
            match builds.shared.driver.disk_use(workspace).await {
                Ok(taken) => builds.shared.reserve.count(workspace, taken),
                Err(error) => {
                    tracing::warn!(workspace.id = %workspace, error = %Chain(&error), "its disk usage is not known");
                }
            }
        });
    }

    /// Why a workspace was ended, if that was for the disk.
    pub(super) fn ended_for_disk(&self, workspace: WorkspaceId) -> Option<String> {
        let ended = self.shared.ended_for_disk.lock().unwrap_or_else(PoisonError::into_inner);
        ended.get(&workspace).cloned()
    }

    pub(super) fn forget_ended_for_disk(&self, workspace: WorkspaceId) {
        self.shared.ended_for_disk.lock().unwrap_or_else(PoisonError::into_inner).remove(&workspace);
    }

    async fn look_at_disk(&self) {
        let was_short = self.shared.reserve.is_short();
        let left = match self.with_reserve(|shared| shared.reserve.look()).await {
            Ok(Room::Enough) => {
                if was_short {
                    tracing::info!("the disk has room again");
                }
                return;
            }
            Ok(Room::Short { left }) => left,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "cannot tell how full the disk of the data folder is");
                return;
            }
        };
        if !was_short {
            tracing::warn!(left_bytes = left, "the disk of the data folder is nearly full; no workspace is started");
        }
        self.end_those_to_blame().await;
        // Only now: what becomes free must not go to those that filled the disk.
        if let Err(error) = self.with_reserve(|shared| shared.reserve.release()).await {
            tracing::warn!(error = %Chain(&error), "the space that is set aside cannot be released");
        }
        self.shared.look.notify_one();
    }

    async fn end_those_to_blame(&self) {
        let Shared { driver, reserve, ended_for_disk, .. } = &*self.shared;
        let mut taken = Vec::new();
        for workspace in driver.workspaces().await.unwrap_or_default() {
            if matches!(driver.running(workspace), Ok(Some(_))) {
                let unknown = DiskUse { bytes: 0, is_part: true };
                taken.push((workspace, driver.disk_use(workspace).await.unwrap_or(unknown)));
            }
        }
        for (workspace, blame) in reserve.to_blame(&taken) {
            tracing::warn!(workspace.id = %workspace, ?blame, "the workspace is ended: the disk is nearly full");
            // The rows follow when the tree is seen to be gone: the database may be on the full disk.
            ended_for_disk.lock().unwrap_or_else(PoisonError::into_inner).insert(workspace, words(blame));
            if let Err(error) = driver.kill(workspace).await {
                tracing::warn!(workspace.id = %workspace, error = %Chain(&error), "the workspace to blame for the full disk cannot be ended");
                self.forget_ended_for_disk(workspace);
            }
        }
    }

    async fn with_reserve<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> std::io::Result<T> + Send + 'static,
    ) -> std::io::Result<T> {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(result) => result,
            Err(error) => Err(std::io::Error::other(error)),
        }
    }
}

fn words(blame: Blame) -> String {
    let reason = match blame {
        Blame::GrewMost { bytes } => format!("this workspace grew most, by {} MB", bytes / MEGABYTE),
        Blame::Uncounted => "not all files of this workspace can be counted".to_owned(),
        Blame::Unexplained { lost } => format!(
            "{} MB are gone that no running workspace is seen to have taken, so all of them were stopped",
            lost / MEGABYTE
        ),
    };
    format!("stopped because the server's disk was nearly full and {reason}")
}
