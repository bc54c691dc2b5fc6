//! Messages that wait for a chat to become idle.

use atelier_domain::chat::{EntryRef, QueueEntry};
use atelier_domain::message::{CONTENT_VERSION, ContentError, MessagePart, Role, content_decode, content_encode};
use atelier_domain::{ChatId, McpServerId, ModelConfigId, QueueEntryId, Timestamp, UserId};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::files::files_link_in_tx;
use crate::statement::statements;
use crate::value::{DbRow, args};

statements! {
    QUEUE_LIST = "SELECT id, chat_id, content, content_version, created_by, model_config_id, mcp_server_ids, urgent_no,
        request_key, created_at FROM chat_queue WHERE chat_id = $1 ORDER BY id";
    QUEUE_OF_REQUEST = "SELECT id FROM chat_queue WHERE chat_id = $1 AND request_key = $2";
    QUEUE_INSERT = "INSERT INTO chat_queue (chat_id, content, content_version, created_by, model_config_id, mcp_server_ids,
        urgent_no, request_key, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id";
    QUEUE_DELETE = "DELETE FROM chat_queue WHERE chat_id = $1 AND id = $2";
    QUEUE_CLEAR = "DELETE FROM chat_queue WHERE chat_id = $1";
    QUEUE_URGENT = "UPDATE chat_queue SET urgent_no = $3 WHERE chat_id = $1 AND id = $2";
}

/// One queued message.
#[derive(Clone, Debug)]
pub struct QueueRow {
    pub id: QueueEntryId,
    pub chat_id: ChatId,
    pub content: String,
    pub content_version: i32,
    pub created_by: Option<UserId>,
    pub model_config_id: Option<ModelConfigId>,
    /// Absent keeps the chat's selection.
    pub mcp_server_ids: Option<Vec<McpServerId>>,
    pub urgent_no: Option<i64>,
    pub request_key: Option<String>,
    pub created_at: Timestamp,
}

impl QueueRow {
    pub fn decode(&self) -> Result<Vec<MessagePart>, ContentError> {
        let version = i16::try_from(self.content_version).map_err(|_| ContentError::UnknownVersion(i16::MAX))?;
        content_decode(version, Role::User, &self.content)
    }

    /// The entry as a decision sees it.
    #[must_use]
    pub const fn as_entry(&self) -> QueueEntry {
        QueueEntry { entry: EntryRef::Stored(self.id), urgent_no: self.urgent_no }
    }

    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: QueueEntryId(row.int("id")?),
            chat_id: row.id("chat_id")?,
            content: row.text("content")?,
            content_version: row.int32("content_version")?,
            created_by: row.id_opt("created_by")?,
            model_config_id: row.id_opt("model_config_id")?,
            mcp_server_ids: row.json_opt("mcp_server_ids")?,
            urgent_no: row.int_opt("urgent_no")?,
            request_key: row.text_opt("request_key")?,
            created_at: row.time("created_at")?,
        })
    }
}

/// A message to be queued.
#[derive(Clone, Debug)]
pub struct QueueNew {
    pub parts: Vec<MessagePart>,
    pub created_by: UserId,
    pub model_config_id: Option<ModelConfigId>,
    pub mcp_server_ids: Option<Vec<McpServerId>>,
    pub urgent_no: Option<i64>,
    pub request_key: Option<String>,
}

/// The chat's queue, oldest first.
pub async fn queue_list_in_tx(tx: &mut Tx<'_>, chat: ChatId) -> Result<Vec<QueueRow>, StoreError> {
    tx.all(QUEUE_LIST, args![chat]).await?.iter().map(QueueRow::read).collect()
}

pub async fn queue_insert_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    entry: QueueNew,
    now: Timestamp,
) -> Result<QueueRow, StoreError> {
    files_link_in_tx(tx, chat, entry.parts.iter()).await?;
    let content = content_encode(&entry.parts);
    let servers =
        entry.mcp_server_ids.as_ref().map(|ids| serde_json::to_string(ids).expect("a list of ids always serializes"));
    let args = args![
        chat,
        content.clone(),
        i32::from(CONTENT_VERSION),
        entry.created_by,
        entry.model_config_id,
        servers,
        entry.urgent_no,
        entry.request_key.clone(),
        now,
    ];
    let id = tx.one(QUEUE_INSERT, args).await?.int("id")?;
    Ok(QueueRow {
        id: QueueEntryId(id),
        chat_id: chat,
        content,
        content_version: i32::from(CONTENT_VERSION),
        created_by: Some(entry.created_by),
        model_config_id: entry.model_config_id,
        mcp_server_ids: entry.mcp_server_ids,
        urgent_no: entry.urgent_no,
        request_key: entry.request_key,
        created_at: now,
    })
}

pub async fn queue_delete_in_tx(tx: &mut Tx<'_>, chat: ChatId, entry: QueueEntryId) -> Result<(), StoreError> {
    tx.run(QUEUE_DELETE, args![chat, entry]).await.map(|_| ())
}

pub async fn queue_clear_in_tx(tx: &mut Tx<'_>, chat: ChatId) -> Result<(), StoreError> {
    tx.run(QUEUE_CLEAR, args![chat]).await.map(|_| ())
}

pub async fn queue_make_urgent_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    entry: QueueEntryId,
    urgent_no: i64,
) -> Result<(), StoreError> {
    tx.run(QUEUE_URGENT, args![chat, entry, urgent_no]).await.map(|_| ())
}

/// The entry that a request with this key has stored, while it waits.
pub async fn queue_of_request_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    request_key: &str,
) -> Result<Option<QueueEntryId>, StoreError> {
    tx.first(QUEUE_OF_REQUEST, args![chat, request_key]).await?.map(|row| Ok(QueueEntryId(row.int("id")?))).transpose()
}

impl Store {
    /// The chat's queue, oldest first.
    pub async fn queue_list(&self, chat: ChatId) -> Result<Vec<QueueRow>, StoreError> {
        self.fetch_all(QUEUE_LIST, args![chat]).await?.iter().map(QueueRow::read).collect()
    }
}
