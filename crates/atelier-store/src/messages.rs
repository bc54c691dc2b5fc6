//! Messages of chats. They are inserted in batches of one statement and deleted softly.

use atelier_domain::message::{
    CONTENT_VERSION, ContentError, FinishReason, MessagePart, Role, Usage, Visibility, content_decode, content_encode,
};
use atelier_domain::{ChatId, MessageId, ModelConfigId, Timestamp, UserId};
use serde_json::{Value, json};

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::{DbRow, args};

statements! {
    MESSAGES_INSERT = {
        sqlite: "INSERT INTO chat_messages (chat_id, role, content, content_version, visibility, created_by, model_config_id,
            turn_no, step_no, tool_call_id, finish_reason, input_tokens, output_tokens, reasoning_tokens, cache_read_tokens,
            cache_creation_tokens, total_tokens, context_limit, total_cost_micros, estimated, runtime_ms, compressed, deleted,
            provider_response_id, request_key, created_at)
            SELECT $1, b.value ->> 'role', b.value ->> 'content', $4, b.value ->> 'visibility', b.value ->> 'created_by',
            b.value ->> 'model_config_id', $3, b.value ->> 'step_no', b.value ->> 'tool_call_id', b.value ->> 'finish_reason',
            b.value ->> 'input_tokens', b.value ->> 'output_tokens', b.value ->> 'reasoning_tokens',
            b.value ->> 'cache_read_tokens', b.value ->> 'cache_creation_tokens', b.value ->> 'total_tokens',
            b.value ->> 'context_limit', b.value ->> 'total_cost_micros', b.value ->> 'estimated', b.value ->> 'runtime_ms',
            b.value ->> 'compressed', false, b.value ->> 'provider_response_id', b.value ->> 'request_key', $5
            FROM json_each($2) b ORDER BY b.key RETURNING id",
        postgres: "INSERT INTO chat_messages (chat_id, role, content, content_version, visibility, created_by, model_config_id,
            turn_no, step_no, tool_call_id, finish_reason, input_tokens, output_tokens, reasoning_tokens, cache_read_tokens,
            cache_creation_tokens, total_tokens, context_limit, total_cost_micros, estimated, runtime_ms, compressed, deleted,
            provider_response_id, request_key, created_at)
            SELECT $1, (b.item ->> 'role')::message_role, b.item ->> 'content', $4, (b.item ->> 'visibility')::message_visibility,
            (b.item ->> 'created_by')::uuid, (b.item ->> 'model_config_id')::uuid, $3, (b.item ->> 'step_no')::bigint,
            b.item ->> 'tool_call_id', b.item ->> 'finish_reason', (b.item ->> 'input_tokens')::bigint,
            (b.item ->> 'output_tokens')::bigint, (b.item ->> 'reasoning_tokens')::bigint,
            (b.item ->> 'cache_read_tokens')::bigint, (b.item ->> 'cache_creation_tokens')::bigint,
            (b.item ->> 'total_tokens')::bigint, (b.item ->> 'context_limit')::bigint, (b.item ->> 'total_cost_micros')::bigint,
            (b.item ->> 'estimated')::boolean, (b.item ->> 'runtime_ms')::bigint, (b.item ->> 'compressed')::boolean, false,
            b.item ->> 'provider_response_id', b.item ->> 'request_key', $5
            FROM unnest(ARRAY(SELECT json_array_elements($2::json))) WITH ORDINALITY AS b (item, at) ORDER BY b.at RETURNING id"
    };
    MESSAGES_NEWEST = "SELECT * FROM chat_messages WHERE chat_id = $1 AND id < $2 AND NOT deleted AND visibility <> 'model'
        AND role <> 'system' ORDER BY id DESC LIMIT $3";
    MESSAGES_ASCENDING = "SELECT * FROM chat_messages WHERE chat_id = $1 AND id > $2 AND id < $3 AND NOT deleted
        AND visibility <> 'model' AND role <> 'system' ORDER BY id LIMIT $4";
    MESSAGES_PROMPT = "SELECT * FROM chat_messages WHERE chat_id = $1 AND id > $2 AND NOT deleted AND visibility <> 'user'
        AND role <> 'system' ORDER BY id";
    MESSAGE_GET = "SELECT * FROM chat_messages WHERE chat_id = $1 AND id = $2";
    MESSAGE_OF_STEP = "SELECT * FROM chat_messages WHERE chat_id = $1 AND step_no = $2 AND role = 'assistant' AND NOT deleted
        AND NOT compressed";
    MESSAGES_DELETE_FROM = "UPDATE chat_messages SET deleted = true, deleted_rewind = $3
        WHERE chat_id = $1 AND id >= $2 AND NOT deleted AND role <> 'system'";
    MESSAGE_LAST_BEFORE_REWIND = "SELECT COALESCE(MAX(id), 0) AS id FROM chat_messages WHERE chat_id = $1 AND NOT deleted
        AND visibility <> 'model' AND role <> 'system'
        AND id < COALESCE((SELECT MIN(id) FROM chat_messages WHERE chat_id = $1 AND deleted_rewind > $2), 9223372036854775807)";
}

/// One message as it is stored.
#[derive(Clone, Debug)]
pub struct MessageRow {
    pub id: MessageId,
    pub chat_id: ChatId,
    pub role: Role,
    pub content: String,
    pub content_version: i32,
    pub visibility: Visibility,
    pub created_by: Option<UserId>,
    pub model_config_id: Option<ModelConfigId>,
    pub turn_no: i64,
    pub step_no: Option<i64>,
    pub tool_call_id: Option<String>,
    pub finish_reason: Option<FinishReason>,
    pub usage: Usage,
    pub estimated: bool,
    pub context_limit: Option<i64>,
    pub cost_micros: Option<i64>,
    pub runtime_ms: Option<i64>,
    pub compressed: bool,
    pub deleted: bool,
    pub created_at: Timestamp,
}

impl MessageRow {
    /// The parts of the message.
    pub fn decode(&self) -> Result<Vec<MessagePart>, ContentError> {
        let version = i16::try_from(self.content_version).map_err(|_| ContentError::UnknownVersion(i16::MAX))?;
        content_decode(version, &self.content)
    }

    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: MessageId(row.int("id")?),
            chat_id: row.id("chat_id")?,
            role: row.name("role", role_from_name)?,
            content: row.text("content")?,
            content_version: row.int32("content_version")?,
            visibility: row.name("visibility", visibility_from_name)?,
            created_by: row.id_opt("created_by")?,
            model_config_id: row.id_opt("model_config_id")?,
            turn_no: row.int("turn_no")?,
            step_no: row.int_opt("step_no")?,
            tool_call_id: row.text_opt("tool_call_id")?,
            finish_reason: row.name_opt("finish_reason", finish_from_name)?,
            usage: Usage {
                input_tokens: row.int_opt("input_tokens")?,
                output_tokens: row.int_opt("output_tokens")?,
                reasoning_tokens: row.int_opt("reasoning_tokens")?,
                cache_read_tokens: row.int_opt("cache_read_tokens")?,
                cache_creation_tokens: row.int_opt("cache_creation_tokens")?,
                total_tokens: row.int_opt("total_tokens")?,
            },
            estimated: row.boolean("estimated")?,
            context_limit: row.int_opt("context_limit")?,
            cost_micros: row.int_opt("total_cost_micros")?,
            runtime_ms: row.int_opt("runtime_ms")?,
            compressed: row.boolean("compressed")?,
            deleted: row.boolean("deleted")?,
            created_at: row.time("created_at")?,
        })
    }
}

fn role_from_name(name: &str) -> Option<Role> {
    [Role::System, Role::User, Role::Assistant, Role::Tool].into_iter().find(|role| role.as_str() == name)
}

fn visibility_from_name(name: &str) -> Option<Visibility> {
    [Visibility::User, Visibility::Model, Visibility::Both].into_iter().find(|visibility| visibility.as_str() == name)
}

fn finish_from_name(name: &str) -> Option<FinishReason> {
    [
        FinishReason::Stop,
        FinishReason::ToolCalls,
        FinishReason::Length,
        FinishReason::Refused,
        FinishReason::Pause,
        FinishReason::Interrupted,
    ]
    .into_iter()
    .find(|finish| finish.as_str() == name)
}

/// A message to be inserted.
#[derive(Clone, Debug)]
pub struct MessageNew {
    pub role: Role,
    pub parts: Vec<MessagePart>,
    pub visibility: Visibility,
    pub created_by: Option<UserId>,
    pub model_config_id: Option<ModelConfigId>,
    pub step_no: Option<i64>,
    pub tool_call_id: Option<String>,
    pub finish_reason: Option<FinishReason>,
    pub usage: Usage,
    pub estimated: bool,
    pub context_limit: Option<i64>,
    pub cost_micros: Option<i64>,
    pub runtime_ms: Option<i64>,
    pub compressed: bool,
    pub provider_response_id: Option<String>,
    pub request_key: Option<String>,
}

impl MessageNew {
    /// A message of this role that people and models see, with nothing else said.
    #[must_use]
    pub fn new(role: Role, parts: Vec<MessagePart>) -> Self {
        Self {
            role,
            parts,
            visibility: Visibility::Both,
            created_by: None,
            model_config_id: None,
            step_no: None,
            tool_call_id: None,
            finish_reason: None,
            usage: Usage::default(),
            estimated: false,
            context_limit: None,
            cost_micros: None,
            runtime_ms: None,
            compressed: false,
            provider_response_id: None,
            request_key: None,
        }
    }

    fn to_json(&self, content: &str) -> Value {
        json!({
            "role": self.role.as_str(),
            "content": content,
            "visibility": self.visibility.as_str(),
            "created_by": self.created_by.filter(|id| !id.is_nil()).map(|id| id.to_string()),
            "model_config_id": self.model_config_id.filter(|id| !id.is_nil()).map(|id| id.to_string()),
            "step_no": self.step_no,
            "tool_call_id": self.tool_call_id,
            "finish_reason": self.finish_reason.map(FinishReason::as_str),
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "reasoning_tokens": self.usage.reasoning_tokens,
            "cache_read_tokens": self.usage.cache_read_tokens,
            "cache_creation_tokens": self.usage.cache_creation_tokens,
            "total_tokens": self.usage.total_tokens,
            "context_limit": self.context_limit,
            "total_cost_micros": self.cost_micros,
            "estimated": self.estimated,
            "runtime_ms": self.runtime_ms,
            "compressed": self.compressed,
            "provider_response_id": self.provider_response_id,
            "request_key": self.request_key,
        })
    }
}

/// Inserts messages in one statement and gives the rows back, in order of the batch.
///
/// # Errors
/// A batch whose ids do not rise: the caller rolls back.
pub async fn messages_insert_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    turn_no: i64,
    messages: Vec<MessageNew>,
    now: Timestamp,
) -> Result<Vec<MessageRow>, StoreError> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let contents: Vec<String> = messages.iter().map(|message| content_encode(&message.parts)).collect();
    let batch: Vec<Value> =
        messages.iter().zip(&contents).map(|(message, content)| message.to_json(content)).collect();
    let rows = tx
        .all(
            MESSAGES_INSERT,
            args![chat, Value::Array(batch).to_string(), turn_no, i32::from(CONTENT_VERSION), now],
        )
        .await?;
    let ids = rows.iter().map(|row| row.int("id")).collect::<Result<Vec<_>, _>>()?;
    if ids.len() != messages.len() || !ids.is_sorted_by(|a, b| a < b) {
        return Err(StoreError::Setup("a batch of messages did not keep its order".to_owned()));
    }
    Ok(messages
        .into_iter()
        .zip(contents)
        .zip(ids)
        .map(|((message, content), id)| MessageRow {
            id: MessageId(id),
            chat_id: chat,
            role: message.role,
            content,
            content_version: i32::from(CONTENT_VERSION),
            visibility: message.visibility,
            created_by: message.created_by.filter(|id| !id.is_nil()),
            model_config_id: message.model_config_id.filter(|id| !id.is_nil()),
            turn_no,
            step_no: message.step_no,
            tool_call_id: message.tool_call_id,
            finish_reason: message.finish_reason,
            usage: message.usage,
            estimated: message.estimated,
            context_limit: message.context_limit,
            cost_micros: message.cost_micros,
            runtime_ms: message.runtime_ms,
            compressed: message.compressed,
            deleted: false,
            created_at: now,
        })
        .collect())
}

/// Soft-deletes all rows from `from` on, system rows excepted.
pub async fn messages_delete_from_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    from: MessageId,
    rewind: i64,
) -> Result<u64, StoreError> {
    tx.run(MESSAGES_DELETE_FROM, args![chat, from, rewind]).await
}

pub async fn message_get_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    message: MessageId,
) -> Result<Option<MessageRow>, StoreError> {
    tx.first(MESSAGE_GET, args![chat, message]).await?.as_ref().map(MessageRow::read).transpose()
}

/// The live answer of a step.
pub async fn message_of_step_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    step_no: i64,
) -> Result<Option<MessageRow>, StoreError> {
    tx.first(MESSAGE_OF_STEP, args![chat, step_no]).await?.as_ref().map(MessageRow::read).transpose()
}

/// Visible messages with `after < id`, oldest first.
pub async fn messages_after_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    after: MessageId,
    limit: i64,
) -> Result<Vec<MessageRow>, StoreError> {
    tx.all(MESSAGES_ASCENDING, args![chat, after, i64::MAX, limit]).await?.iter().map(MessageRow::read).collect()
}

/// The last visible message before the lowest row that was deleted by a rewind after `rewind`.
pub async fn last_message_before_rewind_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    rewind: i64,
) -> Result<MessageId, StoreError> {
    Ok(MessageId(tx.one(MESSAGE_LAST_BEFORE_REWIND, args![chat, rewind]).await?.int("id")?))
}

impl Store {
    /// Visible messages with `id < before`, newest first.
    pub async fn messages_newest(
        &self,
        chat: ChatId,
        before: MessageId,
        limit: i64,
    ) -> Result<Vec<MessageRow>, StoreError> {
        self.fetch_all(MESSAGES_NEWEST, args![chat, before, limit]).await?.iter().map(MessageRow::read).collect()
    }

    /// Visible messages with `after < id < before`, oldest first.
    pub async fn messages_ascending(
        &self,
        chat: ChatId,
        after: MessageId,
        before: MessageId,
        limit: i64,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let args = args![chat, after, before, limit];
        self.fetch_all(MESSAGES_ASCENDING, args).await?.iter().map(MessageRow::read).collect()
    }

    /// Live rows that a model may see, after `after`, oldest first.
    pub async fn messages_for_prompt(&self, chat: ChatId, after: MessageId) -> Result<Vec<MessageRow>, StoreError> {
        self.fetch_all(MESSAGES_PROMPT, args![chat, after]).await?.iter().map(MessageRow::read).collect()
    }
}
