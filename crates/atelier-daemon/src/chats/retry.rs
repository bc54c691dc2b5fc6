//! Going on with a turn that failed.

use atelier_domain::{ChatId, ModelConfigId};
use atelier_store::ChatRow;

use super::Chats;
use crate::commit::CommitError;

impl Chats {
    /// The failed turn goes on from its last stored step, without a new message, with the model that is named or
    /// the chat's last one. A busy chat stays as it is.
    ///
    /// # Errors
    /// [`CommitError::NotFound`], [`CommitError::Archived`], [`CommitError::NothingToRetry`].
    pub async fn chat_retry(
        &self,
        chat_id: ChatId,
        model_config_id: Option<ModelConfigId>,
    ) -> Result<ChatRow, CommitError> {
        self.commits.retry(chat_id, model_config_id).await
    }
}
