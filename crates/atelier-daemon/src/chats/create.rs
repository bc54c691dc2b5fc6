//! Creating a chat with its first message.

use std::collections::BTreeMap;

use atelier_domain::chat::title_from_parts;
use atelier_domain::message::MessagePart;
use atelier_domain::{ChatId, McpServerId, ModelConfigId, OrganizationId, UserId, WorkspaceId};
use atelier_store::{ChatNew, ChatRow, TitleSource};

use super::Chats;
use crate::commit::{AlsoInTx, CommitError, UserMessage};

/// A root chat and its first message, checked.
#[derive(Clone, Debug)]
pub struct ChatCreate {
    pub owner_id: UserId,
    pub organization_id: OrganizationId,
    pub workspace_id: Option<WorkspaceId>,
    pub parts: Vec<MessagePart>,
    pub model_config_id: ModelConfigId,
    pub mcp_server_ids: Vec<McpServerId>,
    pub labels: BTreeMap<String, String>,
}

impl Chats {
    /// Stores the chat and its message; a turn starts without delay. `also` is written in the same
    /// transaction.
    ///
    /// # Errors
    /// The store's; nothing remains then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the chat was created.
    pub async fn chat_create(
        &self,
        create: ChatCreate,
        also: Option<AlsoInTx<ChatRow>>,
    ) -> Result<ChatRow, CommitError> {
        let id = ChatId::new();
        let chat = ChatNew {
            id,
            owner_id: create.owner_id,
            organization_id: create.organization_id,
            workspace_id: create.workspace_id,
            parent_chat_id: None,
            root_chat_id: id,
            spawn_key: None,
            title: title_from_parts(&create.parts),
            title_source: TitleSource::Fallback,
            labels: create.labels,
            model_config_id: create.model_config_id,
            mcp_server_ids: create.mcp_server_ids,
            created_at: self.commits.now(),
        };
        let message = UserMessage {
            parts: create.parts,
            author: create.owner_id,
            model_config_id: Some(create.model_config_id),
            mcp_server_ids: None,
        };
        self.commits.create(chat, message, also).await
    }
}
