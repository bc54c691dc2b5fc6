//! Messages of chats. They are inserted in batches of one statement and deleted softly.

use atelier_domain::message::{
    CONTENT_VERSION, ContentError, FinishReason, MessagePart, Role, Usage, Visibility, content_decode, content_encode,
};
use atelier_domain::{ChatId, MessageId, ModelConfigId, QueueEntryId, Timestamp, UserId};
use uuid::Uuid;

use crate::database::{Engine, Store, Tx};
use crate::error::StoreError;
use crate::files::files_link_in_tx;
use crate::search::{search_delete_from_in_tx, search_insert_in_tx};
use crate::statement::{ValuesInsert, statements};
use crate::value::{Arg, DbRow, args};

/// What [`MessageRow::read`] reads. Named one by one, so that a column added by a newer server disturbs no
/// statement that is prepared already.
macro_rules! columns {
    () => {
        "id, chat_id, role, content, content_version, visibility, created_by, model_config_id, turn_no, step_no,
        tool_call_id, finish_reason, input_tokens, output_tokens, reasoning_tokens, cache_read_tokens,
        cache_creation_tokens, total_tokens, context_limit, total_cost_micros, estimated, runtime_ms, compressed, deleted,
        created_at"
    };
}

macro_rules! insert_columns {
    () => {
        "chat_id, role, content, content_version, visibility, created_by, model_config_id, turn_no, step_no, tool_call_id,
        finish_reason, input_tokens, output_tokens, reasoning_tokens, cache_read_tokens, cache_creation_tokens, total_tokens,
        context_limit, total_cost_micros, estimated, runtime_ms, compressed, deleted, provider_response_id, request_key,
        created_at"
    };
}

macro_rules! insert_row {
    () => {
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, false, ?, ?, ?)"
    };
}

/// Rows that people see.
macro_rules! visible {
    () => {
        "NOT deleted AND visibility <> 'model' AND role <> 'system'"
    };
}

/// The inner rows up to the first one that passes so many bytes of content, but at least one.
macro_rules! up_to_bytes {
    ($inner:expr, $order:literal, $bytes:literal) => {
        concat!(
            "SELECT * FROM (SELECT page.*, CAST(SUM(octet_length(content)) OVER (ORDER BY id ",
            $order,
            ") AS BIGINT)
            - octet_length(content) AS bytes_before FROM (",
            $inner,
            ") page) bounded WHERE bytes_before < ",
            $bytes,
            " ORDER BY id ",
            $order
        )
    };
}

statements! {
    MESSAGES_INSERT = {
        sqlite: concat!("INSERT INTO chat_messages (", insert_columns!(), ") VALUES ", insert_row!(), " RETURNING id"),
        postgres: concat!("INSERT INTO chat_messages (", insert_columns!(), ")
            SELECT $1, b.role::message_role, b.content, $2, b.visibility::message_visibility, b.created_by, b.model_config_id, $3,
            b.step_no, b.tool_call_id, b.finish_reason, b.input_tokens, b.output_tokens, b.reasoning_tokens,
            b.cache_read_tokens, b.cache_creation_tokens, b.total_tokens, b.context_limit, b.total_cost_micros, b.estimated,
            b.runtime_ms, b.compressed, false, b.provider_response_id, b.request_key, $4
            FROM unnest($5::text[], $6::text[], $7::text[], $8::uuid[], $9::uuid[], $10::bigint[], $11::text[], $12::text[],
            $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[],
            $20::bigint[], $21::boolean[], $22::bigint[], $23::boolean[], $24::text[], $25::text[]) WITH ORDINALITY
            AS b (role, content, visibility, created_by, model_config_id, step_no, tool_call_id, finish_reason, input_tokens,
            output_tokens, reasoning_tokens, cache_read_tokens, cache_creation_tokens, total_tokens, context_limit,
            total_cost_micros, estimated, runtime_ms, compressed, provider_response_id, request_key, at)
            ORDER BY b.at RETURNING id")
    };
    MESSAGES_NEWEST = (concat!("SELECT ", columns!(), " FROM chat_messages WHERE chat_id = $1 AND id < $2 AND ", visible!(),
        " ORDER BY id DESC LIMIT $3"));
    MESSAGES_NEWEST_UP_TO = (up_to_bytes!(concat!("SELECT ", columns!(), " FROM chat_messages WHERE chat_id = $1 AND id < $2
        AND id > $3 AND ", visible!(), " ORDER BY id DESC LIMIT $4"), "DESC", "$5"));
    MESSAGES_ASCENDING_UP_TO = (up_to_bytes!(concat!("SELECT ", columns!(), " FROM chat_messages WHERE chat_id = $1 AND id < $2
        AND id > $3 AND ", visible!(), " ORDER BY id LIMIT $4"), "ASC", "$5"));
    MESSAGES_PROMPT = (concat!("SELECT ", columns!(), " FROM chat_messages WHERE chat_id = $1 AND id > $2 AND NOT deleted
        AND visibility <> 'user' AND role <> 'system' ORDER BY id"));
    MESSAGE_GET = (concat!("SELECT ", columns!(), " FROM chat_messages WHERE chat_id = $1 AND id = $2"));
    MESSAGE_OF_STEP = (concat!("SELECT ", columns!(), " FROM chat_messages WHERE chat_id = $1 AND step_no = $2
        AND role = 'assistant' AND NOT deleted AND NOT compressed"));
    MESSAGE_OF_KEY = (concat!("SELECT ", columns!(), " FROM chat_messages WHERE chat_id = $1 AND request_key = $2"));
    MESSAGES_DELETE_FROM = "UPDATE chat_messages SET deleted = true, deleted_rewind = $3
        WHERE chat_id = $1 AND id >= $2 AND NOT deleted AND role <> 'system'";
    SYSTEM_DELETE = "UPDATE chat_messages SET deleted = true WHERE chat_id = $1 AND role = 'system' AND NOT deleted";
    MESSAGE_LAST_BEFORE_REWIND = (concat!("SELECT COALESCE(MAX(id), 0) AS id FROM chat_messages WHERE chat_id = $1 AND ", visible!(),
        " AND id < COALESCE((SELECT MIN(id) FROM chat_messages WHERE chat_id = $1 AND deleted_rewind > $2), 9223372036854775807)"));
    MESSAGES_LAST = (concat!("SELECT COALESCE(MAX(id), 0) AS last_message,
        COALESCE(MAX(CASE WHEN role = 'assistant' THEN id END), 0) AS last_answer FROM chat_messages WHERE chat_id = $1 AND ",
        visible!()));
}

const INSERT_VALUES: ValuesInsert = ValuesInsert {
    head: concat!("INSERT INTO chat_messages (", insert_columns!(), ") VALUES "),
    row: insert_row!(),
    tail: " RETURNING id",
};

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
        content_decode(version, self.role, &self.content)
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

pub(crate) fn role_from_name(name: &str) -> Option<Role> {
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
    /// Unique in the chat: where the message comes from, see [`queue_entry_key`].
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
}

impl MessageNew {
    /// The prompt of the deployment, which only the model sees.
    #[must_use]
    pub fn system(prompt: String) -> Self {
        Self { visibility: Visibility::Model, ..Self::new(Role::System, vec![MessagePart::text(prompt)]) }
    }
}

/// The parts of a stored content.
pub(crate) fn content_parts(role: Role, version: i32, content: &str) -> Result<Vec<MessagePart>, StoreError> {
    let version = i16::try_from(version).unwrap_or(i16::MAX);
    content_decode(version, role, content).map_err(|_| StoreError::unreadable("content"))
}

/// Nil names nobody and is stored as NULL.
fn not_nil<T: Copy + Into<Uuid>>(id: Option<T>) -> Option<Uuid> {
    id.map(Into::into).filter(|id: &Uuid| !id.is_nil())
}

/// A row of the batch, in order of the insert's columns.
fn sqlite_row(chat: ChatId, turn_no: i64, message: &MessageNew, content: String, now: Timestamp) -> Vec<Arg> {
    let usage = &message.usage;
    args![
        chat,
        message.role.as_str(),
        content,
        i32::from(CONTENT_VERSION),
        message.visibility.as_str(),
        not_nil(message.created_by),
        not_nil(message.model_config_id),
        turn_no,
        message.step_no,
        message.tool_call_id.clone(),
        message.finish_reason.map(FinishReason::as_str),
        usage.input_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.cache_read_tokens,
        usage.cache_creation_tokens,
        usage.total_tokens,
        message.context_limit,
        message.cost_micros,
        message.estimated,
        message.runtime_ms,
        message.compressed,
        message.provider_response_id.clone(),
        message.request_key.clone(),
        now,
    ]
}

/// The batch as one array a column.
fn postgres_columns(
    chat: ChatId,
    turn_no: i64,
    messages: &[MessageNew],
    contents: &[String],
    now: Timestamp,
) -> Vec<Arg> {
    let texts = |of: fn(&MessageNew) -> Option<String>| Arg::Texts(messages.iter().map(of).collect());
    let ints = |of: fn(&MessageNew) -> Option<i64>| Arg::Ints(messages.iter().map(of).collect());
    let uuids = |of: fn(&MessageNew) -> Option<Uuid>| Arg::Uuids(messages.iter().map(of).collect());
    let bools = |of: fn(&MessageNew) -> bool| Arg::Bools(messages.iter().map(of).collect());
    vec![
        Arg::from(chat),
        Arg::from(i32::from(CONTENT_VERSION)),
        Arg::from(turn_no),
        Arg::from(now),
        texts(|message| Some(message.role.as_str().to_owned())),
        Arg::Texts(contents.iter().map(|content| Some(content.clone())).collect()),
        texts(|message| Some(message.visibility.as_str().to_owned())),
        uuids(|message| not_nil(message.created_by)),
        uuids(|message| not_nil(message.model_config_id)),
        ints(|message| message.step_no),
        texts(|message| message.tool_call_id.clone()),
        texts(|message| message.finish_reason.map(|finish| finish.as_str().to_owned())),
        ints(|message| message.usage.input_tokens),
        ints(|message| message.usage.output_tokens),
        ints(|message| message.usage.reasoning_tokens),
        ints(|message| message.usage.cache_read_tokens),
        ints(|message| message.usage.cache_creation_tokens),
        ints(|message| message.usage.total_tokens),
        ints(|message| message.context_limit),
        ints(|message| message.cost_micros),
        bools(|message| message.estimated),
        ints(|message| message.runtime_ms),
        bools(|message| message.compressed),
        texts(|message| message.provider_response_id.clone()),
        texts(|message| message.request_key.clone()),
    ]
}

/// Inserts messages in one statement, with what can be found of them in one more, and gives the rows back, in
/// order of the batch.
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
    let rows = match tx.engine() {
        Engine::Sqlite => {
            let rows = messages
                .iter()
                .zip(&contents)
                .map(|(message, content)| sqlite_row(chat, turn_no, message, content.clone(), now))
                .collect();
            tx.insert_values(&INSERT_VALUES, rows).await?
        }
        Engine::Postgres => tx.all(MESSAGES_INSERT, postgres_columns(chat, turn_no, &messages, &contents, now)).await?,
    };
    let ids = rows.iter().map(|row| row.int("id")).collect::<Result<Vec<_>, _>>()?;
    if ids.len() != messages.len() || !ids.is_sorted_by(|a, b| a < b) {
        return Err(StoreError::Setup("a batch of messages did not keep its order".to_owned()));
    }
    files_link_in_tx(tx, chat, messages.iter().flat_map(|message| &message.parts)).await?;
    search_insert_in_tx(tx, chat, ids.iter().copied().zip(&messages)).await?;
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

/// Soft-deletes all rows from `from` on, system rows excepted. They are found no more.
pub async fn messages_delete_from_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    from: MessageId,
    rewind: i64,
) -> Result<u64, StoreError> {
    search_delete_from_in_tx(tx, chat, from).await?;
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

/// A page of messages, bounded in number and in bytes.
#[derive(Clone, Debug)]
pub struct MessagePage {
    pub messages: Vec<MessageRow>,
    /// There are more in this direction.
    pub has_more: bool,
}

/// Which page: `after < id < before`.
#[derive(Clone, Copy, Debug)]
pub struct MessageRange {
    pub after: MessageId,
    pub before: MessageId,
    pub limit: i64,
    /// The first message that passes this many bytes of content is the last one of the page.
    pub max_bytes: i64,
}

impl MessageRange {
    /// One row more than asked for tells whether there are more.
    fn args(&self, chat: ChatId) -> Vec<Arg> {
        args![chat, self.before, self.after, self.limit.saturating_add(1), self.max_bytes]
    }

    /// `rows` are those of a statement that was asked for one row more.
    fn page(&self, rows: &[DbRow]) -> Result<MessagePage, StoreError> {
        let limit = usize::try_from(self.limit).unwrap_or(0);
        let mut messages = rows.iter().take(limit).map(MessageRow::read).collect::<Result<Vec<_>, _>>()?;
        let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        let is_cut = i64::try_from(bytes).unwrap_or(i64::MAX) >= self.max_bytes;
        messages.truncate(limit);
        Ok(MessagePage { has_more: rows.len() > limit || is_cut, messages })
    }
}

/// Visible messages of a range, oldest first. `has_more` may be true for a page that its bytes have ended.
pub async fn messages_page_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    range: MessageRange,
) -> Result<MessagePage, StoreError> {
    range.page(&tx.all(MESSAGES_ASCENDING_UP_TO, range.args(chat)).await?)
}

/// The key that a message has which waited in the queue as this entry. Ids of entries are never used again.
#[must_use]
pub fn queue_entry_key(entry: QueueEntryId) -> String {
    format!("queue-entry-{}", entry.get())
}

/// The newest visible message and the newest visible answer, 0 for none. For after a deletion.
pub async fn messages_last_in_tx(tx: &mut Tx<'_>, chat: ChatId) -> Result<(MessageId, MessageId), StoreError> {
    let row = tx.one(MESSAGES_LAST, args![chat]).await?;
    Ok((MessageId(row.int("last_message")?), MessageId(row.int("last_answer")?)))
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
    /// Puts another prompt of the deployment in the place of the chat's.
    pub async fn system_message_replace(
        &self,
        chat: ChatId,
        turn_no: i64,
        prompt: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("system_message_replace", move |tx| {
            Box::pin(async move {
                tx.run(SYSTEM_DELETE, args![chat]).await?;
                messages_insert_in_tx(tx, chat, turn_no, vec![MessageNew::system(prompt)], now).await.map(|_| ())
            })
        })
        .await
    }

    /// The message that a queue entry has become, also one that is deleted by now.
    pub async fn message_of_queue_entry(
        &self,
        chat: ChatId,
        entry: QueueEntryId,
    ) -> Result<Option<MessageRow>, StoreError> {
        let row = self.fetch_first(MESSAGE_OF_KEY, args![chat, queue_entry_key(entry)]).await?;
        row.as_ref().map(MessageRow::read).transpose()
    }

    /// Visible messages with `id < before`, newest first.
    pub async fn messages_newest(
        &self,
        chat: ChatId,
        before: MessageId,
        limit: i64,
    ) -> Result<Vec<MessageRow>, StoreError> {
        self.fetch_all(MESSAGES_NEWEST, args![chat, before, limit]).await?.iter().map(MessageRow::read).collect()
    }

    /// Visible messages of a range, newest first. `has_more` may be true for a page that its bytes have ended.
    pub async fn messages_page_newest(&self, chat: ChatId, range: MessageRange) -> Result<MessagePage, StoreError> {
        range.page(&self.fetch_all(MESSAGES_NEWEST_UP_TO, range.args(chat)).await?)
    }

    /// Visible messages of a range, oldest first. `has_more` may be true for a page that its bytes have ended.
    pub async fn messages_page_ascending(&self, chat: ChatId, range: MessageRange) -> Result<MessagePage, StoreError> {
        range.page(&self.fetch_all(MESSAGES_ASCENDING_UP_TO, range.args(chat)).await?)
    }

    /// Live rows that a model may see, after `after`, oldest first.
    pub async fn messages_for_prompt(&self, chat: ChatId, after: MessageId) -> Result<Vec<MessageRow>, StoreError> {
        self.fetch_all(MESSAGES_PROMPT, args![chat, after]).await?.iter().map(MessageRow::read).collect()
    }
}
