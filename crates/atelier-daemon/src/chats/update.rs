//! What people set about a chat: title, labels, pin, workspace, archive.

use std::collections::BTreeMap;

use atelier_domain::{ChatId, WorkspaceId};
use atelier_store::StoreError;

use super::Chats;
use crate::commit::CommitError;

/// What to set, checked; absent fields stay.
#[derive(Clone, Debug, Default)]
pub struct ChatUpdate {
    pub title: Option<String>,
    /// Replaces all labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// From 1; 0 unpins.
    pub pin_order: Option<u32>,
    /// `Some(None)`: no workspace any more.
    pub workspace_id: Option<Option<WorkspaceId>>,
    pub archived: Option<bool>,
}

impl ChatUpdate {
    pub(crate) const fn has_marks(&self) -> bool {
        self.labels.is_some() || self.pin_order.is_some() || self.workspace_id.is_some()
    }
}

/// Why nothing was set.
#[derive(Debug, thiserror::Error)]
pub enum ChatUpdateError {
    #[error("the chat is archived already")]
    AlreadyArchived,
    #[error("the chat is not archived")]
    NotArchived,
    #[error("an archived chat cannot be pinned")]
    PinOnArchived,
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<StoreError> for ChatUpdateError {
    fn from(error: StoreError) -> Self {
        Self::Commit(error.into())
    }
}

impl Chats {
    /// Sets all fields or none.
    ///
    /// # Errors
    /// [`ChatUpdateError`]; nothing has changed.
    pub async fn chat_update(&self, chat_id: ChatId, update: ChatUpdate) -> Result<(), ChatUpdateError> {
        self.commits.update(chat_id, update).await
    }

    /// Archives the chat with all below it: turns stop, answers so far stay, queues wait. Repeating it
    /// changes nothing.
    ///
    /// # Errors
    /// [`CommitError::NotFound`] and the store's.
    pub async fn chat_archive(&self, chat_id: ChatId) -> Result<(), CommitError> {
        self.commits.archive(chat_id, true).await
    }

    /// Brings the tree back as it is stored; nothing starts.
    ///
    /// # Errors
    /// [`CommitError::NotFound`], [`CommitError::ParentArchived`] and the store's.
    pub async fn chat_unarchive(&self, chat_id: ChatId) -> Result<(), CommitError> {
        self.commits.archive(chat_id, false).await
    }
}
