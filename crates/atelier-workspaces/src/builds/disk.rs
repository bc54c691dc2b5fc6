//! Keeping the disk from filling up: who is ended, and what is not started.

use std::sync::PoisonError;
use std::time::Duration;

use atelier_domain::WorkspaceId;

use super::reserve::Room;
use super::{Builds, Failure, Shared};

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
            match builds.shared.driver.disk_bytes(workspace).await {
                Ok(bytes) => builds.shared.reserve.count(workspace, bytes),
                Err(error) => tracing::warn!(workspace.id = %workspace, %error, "its disk usage is not known"),
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
                tracing::warn!(%error, "cannot tell how full the disk of the data folder is");
                return;
            }
        };
        if !was_short {
            tracing::warn!(left_bytes = left, "the disk of the data folder is nearly full; no workspace is started");
        }
        self.end_the_one_that_grew_most().await;
        // Only now: what becomes free must not go to the one that filled the disk.
        if let Err(error) = self.with_reserve(|shared| shared.reserve.release()).await {
            tracing::warn!(%error, "the space that is set aside cannot be released");
        }
        self.shared.look.notify_one();
    }

    async fn end_the_one_that_grew_most(&self) {
        let Shared { driver, reserve, ended_for_disk, .. } = &*self.shared;
        let mut taken = Vec::new();
        for workspace in driver.workspaces().await.unwrap_or_default() {
            if matches!(driver.running(workspace), Ok(Some(_)))
                && let Ok(bytes) = driver.disk_bytes(workspace).await
            {
                taken.push((workspace, bytes));
            }
        }
        let Some((workspace, grown)) = reserve.grown_most(&taken) else { return };
        let words = format!(
            "stopped because the server's disk was nearly full and this workspace grew most, by {} MB",
            grown / MEGABYTE
        );
        tracing::warn!(workspace.id = %workspace, grown_bytes = grown, "the workspace is ended: it fills the disk");
        // The rows follow when the tree is seen to be gone: the database may be on the full disk.
        ended_for_disk.lock().unwrap_or_else(PoisonError::into_inner).insert(workspace, words);
        if let Err(error) = driver.kill(workspace).await {
            tracing::warn!(workspace.id = %workspace, %error, "the workspace that fills the disk cannot be ended");
            self.forget_ended_for_disk(workspace);
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
