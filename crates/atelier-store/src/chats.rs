//! Chats: the row with its running state. Decisions about that state are `atelier-domain`'s.

use std::collections::BTreeMap;

use atelier_domain::chat::{Activity, ChatState, ChatStatus, OpenCall, QueueEntry, RetryInfo, StopKind};
use atelier_domain::error::TurnError;
use atelier_domain::message::{MessagePart, Role};
use atelier_domain::search::fold;
use atelier_domain::{
    ChatId, Incarnation, McpServerId, MessageId, ModelConfigId, OrganizationId, Timestamp, UserId, WorkspaceId,
};

use crate::database::{Engine, Store, Tx};
use crate::error::StoreError;
use crate::messages::content_parts;
use crate::search::title_words;
use crate::statement::statements;
use crate::value::{Arg, DbRow, args, ids};

/// What [`ChatRow::read`] reads. Named one by one, so that a column added by a newer server disturbs no
/// statement that is prepared already.
macro_rules! columns {
    () => {
        "id, owner_id, organization_id, workspace_id, parent_chat_id, root_chat_id, title, title_source, mode, archived,
        pin_order, labels, last_model_config_id, mcp_server_ids, workspace_context, closed_at, last_read_message_id, created_at,
        updated_at, changed_at, status, stop_kind, epoch, owner_incarnation, parked, pending_since, started_at, takeovers,
        version, queue_version, rewind, turn_no, step_no, committed_step, step_begun_at, attempt, retry_info, last_error,
        context_tokens, last_message_id, last_answer_id"
    };
}
pub(crate) use columns as chat_columns;

macro_rules! lock_text {
    ($suffix:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            ", (SELECT r.archived FROM chats r WHERE r.id = chats.root_chat_id) AS root_archived
            FROM chats WHERE id = $1",
            $suffix
        )
    };
}

macro_rules! lock_pending_text {
    ($suffix:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            ", archived AS root_archived FROM chats
            WHERE id = $1 AND status = 'pending' AND NOT archived",
            $suffix
        )
    };
}

statements! {
    CHAT_GET = (concat!("SELECT ", columns!(), " FROM chats WHERE id = $1"));
    CHAT_LOCK = { sqlite: lock_text!(""), postgres: lock_text!(" FOR UPDATE") };
    CHAT_LOCK_PENDING = { sqlite: lock_pending_text!(""), postgres: lock_pending_text!(" FOR UPDATE SKIP LOCKED") };
    CHAT_INSERT = "INSERT INTO chats (id, owner_id, organization_id, workspace_id, parent_chat_id, root_chat_id, spawn_key,
        title, title_source, mode, archived, pin_order, labels, last_model_config_id, mcp_server_ids, last_read_message_id,
        created_at, updated_at, changed_at, status, epoch, parked, pending_since, takeovers, version, queue_version, rewind,
        turn_no, step_no, committed_step, attempt, last_message_id, last_answer_id, title_folded, title_words)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, false, 0, $11, $12, $13, 0,
        $14, $14, $14, $15, 0, false, $14, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, $16, $17)";
    CHAT_STATE_SAVE = "UPDATE chats SET archived = $2, pin_order = $3, closed_at = $4, updated_at = $5, changed_at = $6,
        status = $7, stop_kind = $8, epoch = $9, owner_incarnation = $10, parked = $11, pending_since = $12, started_at = $13,
        takeovers = $14, version = $15, queue_version = $16, rewind = $17, turn_no = $18, step_no = $19, committed_step = $20,
        step_begun_at = $21, attempt = $22, retry_at = $23, retry_info = $24, last_error = $25 WHERE id = $1";
    // the two before and behind in one: an update costs a round trip and a copy of the row
    CHAT_SAVE = "UPDATE chats SET archived = $2, pin_order = $3, closed_at = $4, updated_at = $5, changed_at = $6,
        status = $7, stop_kind = $8, epoch = $9, owner_incarnation = $10, parked = $11, pending_since = $12, started_at = $13,
        takeovers = $14, version = $15, queue_version = $16, rewind = $17, turn_no = $18, step_no = $19, committed_step = $20,
        step_begun_at = $21, attempt = $22, retry_at = $23, retry_info = $24, last_error = $25,
        last_message_id = $26, last_answer_id = $27, last_model_config_id = COALESCE($28, last_model_config_id),
        mcp_server_ids = COALESCE($29, mcp_server_ids), context_tokens = COALESCE($30, context_tokens) WHERE id = $1";
    CHAT_MESSAGES_SAW = "UPDATE chats SET last_message_id = $2, last_answer_id = $3,
        last_model_config_id = COALESCE($4, last_model_config_id), mcp_server_ids = COALESCE($5, mcp_server_ids),
        context_tokens = COALESCE($6, context_tokens) WHERE id = $1";
    CHATS_PENDING = "SELECT id, owner_id, pending_since FROM chats WHERE status = 'pending' AND NOT archived
        ORDER BY pending_since, id LIMIT $1";
    CHATS_RUNNING = "SELECT id, owner_incarnation FROM chats WHERE status = 'running' ORDER BY id LIMIT $1";
    CHATS_RUNNING_OF = "SELECT id, epoch, stop_kind FROM chats WHERE status = 'running' AND owner_incarnation = $1";
    WORKSPACES_IN_USE = "SELECT workspace_id FROM chats WHERE status = 'running' AND owner_incarnation = $1
        AND workspace_id IS NOT NULL
        UNION SELECT workspace_id FROM chats WHERE status = 'pending' AND NOT archived AND workspace_id IS NOT NULL";
    CHATS_UNFINISHED = "SELECT id FROM chats WHERE root_chat_id = $1 AND id <> $1 AND status IN ('pending', 'running')
        ORDER BY id";
    CHATS_RUNNING_UNPARKED = "SELECT COUNT(*) AS runs FROM chats WHERE owner_id = $1 AND status = 'running' AND NOT parked";
    CHATS_CHANGED = (concat!("SELECT ", columns!(), " FROM chats WHERE owner_id = $1 AND changed_at >= $2
        ORDER BY changed_at, id LIMIT $3"));
    CHATS_VERSIONS = {
        sqlite: "SELECT id, version FROM chats WHERE id IN (SELECT value FROM json_each($1))",
        postgres: "SELECT id, version FROM chats WHERE id = ANY($1)"
    };
    CHAT_WORKSPACE_SET = "UPDATE chats SET workspace_id = $2, version = version + 1, changed_at = $3 WHERE id = $1";
    CHAT_CONTEXT_SET = "UPDATE chats SET workspace_context = $2 WHERE id = $1";
    CHAT_MARKS_SET = "UPDATE chats SET title = $2, title_source = $3, labels = $4, workspace_id = $5,
        title_folded = $6, title_words = $7 WHERE id = $1";
    CHATS_PINNED_LOCK = {
        sqlite: "SELECT id, pin_order FROM chats WHERE owner_id = $1 AND pin_order > 0 AND NOT archived ORDER BY id",
        postgres: "SELECT id, pin_order FROM chats WHERE owner_id = $1 AND pin_order > 0 AND NOT archived ORDER BY id
            FOR UPDATE"
    };
    // a key share, which rows that name the user take, is not held up by it
    PINS_LOCK = { postgres: "SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE" };
    CHATS_BELOW_ROOT = "SELECT id FROM chats WHERE root_chat_id = $1 AND id <> $1 ORDER BY id";
    CHAT_READ = "UPDATE chats SET last_read_message_id = $2, changed_at = $3 WHERE id = $1 AND owner_id = $4";
    CHAT_READ_UP_TO = "UPDATE chats SET last_read_message_id = $2, changed_at = $3
        WHERE id = $1 AND owner_id = $4 AND last_read_message_id < $2";
    CHATS_BY_WORKSPACE = "SELECT id FROM chats WHERE workspace_id = $1 AND owner_id = $2 AND NOT archived
        ORDER BY updated_at DESC, id DESC LIMIT 1";
    PROMPT_SOURCES = "SELECT u.user_prompt, w.name AS workspace_name,
        system.content AS system_content, system.content_version AS system_version,
        (SELECT s.value FROM site_settings s WHERE s.name = 'system_prompt') AS system_setting,
        COALESCE((SELECT m.turn_no FROM chat_messages m WHERE m.chat_id = c.id AND m.id = c.last_answer_id) = c.turn_no,
            false) AS has_answered,
        EXISTS (SELECT 1 FROM chat_media_refusals r WHERE r.chat_id = c.id AND r.model_config_id = $3)
            AS model_refuses_media
        FROM chats c JOIN users u ON u.id = c.owner_id LEFT JOIN workspaces w ON w.id = c.workspace_id AND NOT w.deleted
        LEFT JOIN chat_messages system ON system.id = (SELECT m.id FROM chat_messages m
            WHERE m.chat_id = c.id AND m.role = 'system' AND NOT m.deleted ORDER BY m.id DESC LIMIT 1)
        WHERE c.id = $1 AND c.owner_id = $2";
    MEDIA_REFUSAL_ADD = "INSERT INTO chat_media_refusals (chat_id, model_config_id) VALUES ($1, $2)
        ON CONFLICT DO NOTHING";
    CHAT_MODEL_SET = "UPDATE chats SET last_model_config_id = $2 WHERE id = $1";
    CHAT_OWNER_ACTIVE = "SELECT u.status FROM users u WHERE u.id = $1";
}

/// Where a chat's title comes from. A user's is never overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TitleSource {
    Given,
    Fallback,
    Model,
    User,
}

impl TitleSource {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Fallback => "fallback",
            Self::Model => "model",
            Self::User => "user",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Given, Self::Fallback, Self::Model, Self::User].into_iter().find(|source| source.as_str() == name)
    }
}

/// One chat as it is stored.
#[derive(Clone, Debug)]
pub struct ChatRow {
    pub id: ChatId,
    pub owner_id: UserId,
    pub organization_id: OrganizationId,
    pub workspace_id: Option<WorkspaceId>,
    pub parent_chat_id: Option<ChatId>,
    pub root_chat_id: ChatId,
    pub title: String,
    pub title_source: TitleSource,
    pub mode: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub last_model_config_id: ModelConfigId,
    pub mcp_server_ids: Vec<McpServerId>,
    pub workspace_context: Option<String>,
    pub last_read_message_id: MessageId,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    pub context_tokens: Option<i64>,
    pub last_message_id: MessageId,
    pub last_answer_id: MessageId,
    /// The running state. Its lists are empty until they are loaded.
    pub state: ChatState,
}

impl ChatRow {
    #[must_use]
    pub fn status(&self) -> ChatStatus {
        self.state.activity.status()
    }

    /// A visible answer lies above the owner's read mark.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.last_answer_id > self.last_read_message_id
    }

    pub(crate) fn read(row: &DbRow) -> Result<Self, StoreError> {
        let id: ChatId = row.id("id")?;
        let root_chat_id: ChatId = row.id("root_chat_id")?;
        Ok(Self {
            id,
            owner_id: row.id("owner_id")?,
            organization_id: row.id("organization_id")?,
            workspace_id: row.id_opt("workspace_id")?,
            parent_chat_id: row.id_opt("parent_chat_id")?,
            root_chat_id,
            title: row.text("title")?,
            title_source: row.name("title_source", TitleSource::from_name)?,
            mode: row.text_opt("mode")?,
            labels: row.json("labels")?,
            last_model_config_id: row.id("last_model_config_id")?,
            mcp_server_ids: row.json("mcp_server_ids")?,
            workspace_context: row.text_opt("workspace_context")?,
            last_read_message_id: MessageId(row.int("last_read_message_id")?),
            created_at: row.time("created_at")?,
            changed_at: row.time("changed_at")?,
            context_tokens: row.int_opt("context_tokens")?,
            last_message_id: MessageId(row.int("last_message_id")?),
            last_answer_id: MessageId(row.int("last_answer_id")?),
            state: ChatState {
                activity: activity(row)?,
                archived: row.boolean("archived")?,
                is_root: id == root_chat_id,
                root_archived: false,
                epoch: row.int("epoch")?,
                version: row.int("version")?,
                queue_version: row.int("queue_version")?,
                rewind: row.int("rewind")?,
                turn_no: row.int("turn_no")?,
                step_no: row.int("step_no")?,
                committed_step: row.int("committed_step")?,
                attempt: row.int32("attempt")?,
                takeovers: row.int32("takeovers")?,
                step_begun_at: row.time_opt("step_begun_at")?,
                retry: row.json_opt::<RetryInfo>("retry_info")?,
                closed_at: row.time_opt("closed_at")?,
                pin_order: row.int32("pin_order")?,
                updated_at: row.time("updated_at")?,
                queue: Vec::new(),
                open_calls: Vec::new(),
            },
        })
    }
}

fn activity(row: &DbRow) -> Result<Activity, StoreError> {
    let owner = || row.id::<Incarnation>("owner_incarnation");
    Ok(match row.name("status", ChatStatus::from_name)? {
        ChatStatus::Waiting => Activity::Waiting,
        ChatStatus::Pending => Activity::Pending { since: row.time("pending_since")? },
        ChatStatus::Running => {
            let (started_at, parked) = (row.time("started_at")?, row.boolean("parked")?);
            match row.name_opt("stop_kind", StopKind::from_name)? {
                None => Activity::Running { owner: owner()?, started_at, parked },
                Some(kind) => Activity::Stopping { owner: owner()?, started_at, parked, kind },
            }
        }
        ChatStatus::Error => Activity::Error(row.json::<TurnError>("last_error")?),
        ChatStatus::RequiresAction => Activity::RequiresAction,
    })
}

/// A chat to be inserted: pending, version 1.
#[derive(Clone, Debug)]
pub struct ChatNew {
    pub id: ChatId,
    pub owner_id: UserId,
    pub organization_id: OrganizationId,
    pub workspace_id: Option<WorkspaceId>,
    pub parent_chat_id: Option<ChatId>,
    pub root_chat_id: ChatId,
    pub spawn_key: Option<atelier_domain::CallToken>,
    pub title: String,
    pub title_source: TitleSource,
    pub labels: BTreeMap<String, String>,
    pub model_config_id: ModelConfigId,
    pub mcp_server_ids: Vec<McpServerId>,
    pub created_at: Timestamp,
}

/// The fixed part of a prompt, as stored.
#[derive(Clone, Debug, Default)]
pub struct PromptSourcesRow {
    /// Of the chat's system row.
    pub deployment: Option<String>,
    /// What the setting says now.
    pub deployment_setting: Option<String>,
    /// The turn has an answer already: its prompt stays as it is.
    pub has_answered: bool,
    pub workspace_name: Option<String>,
    pub user: Option<String>,
    /// The model has refused the pictures and PDFs of this chat.
    pub model_refuses_media: bool,
}

/// What a run's row says, for the renewal of a lease.
#[derive(Clone, Copy, Debug)]
pub struct RunningRow {
    pub chat_id: ChatId,
    pub epoch: i64,
    pub is_stopping: bool,
}

impl RunningRow {
    pub(crate) fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self { chat_id: row.id("id")?, epoch: row.int("epoch")?, is_stopping: row.text_opt("stop_kind")?.is_some() })
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("lists and maps of strings always serialize")
}

pub async fn chat_insert_in_tx(tx: &mut Tx<'_>, chat: &ChatNew) -> Result<(), StoreError> {
    let args = args![
        chat.id,
        chat.owner_id,
        chat.organization_id,
        chat.workspace_id,
        chat.parent_chat_id,
        chat.root_chat_id,
        chat.spawn_key,
        chat.title.clone(),
        chat.title_source.as_str(),
        None::<String>,
        json(&chat.labels),
        chat.model_config_id,
        json(&chat.mcp_server_ids),
        chat.created_at,
        ChatStatus::Pending,
        fold(&chat.title),
        title_words(&chat.title),
    ];
    tx.run(CHAT_INSERT, args).await.map(|_| ())
}

/// Locks the chat's row until the transaction ends.
pub async fn chat_lock_in_tx(tx: &mut Tx<'_>, chat: ChatId) -> Result<Option<ChatRow>, StoreError> {
    locked(tx.first(CHAT_LOCK, args![chat]).await?)
}

/// Locks the chat's row if it is pending and nobody else holds it.
pub async fn chat_lock_pending_in_tx(tx: &mut Tx<'_>, chat: ChatId) -> Result<Option<ChatRow>, StoreError> {
    locked(tx.first(CHAT_LOCK_PENDING, args![chat]).await?)
}

fn locked(row: Option<DbRow>) -> Result<Option<ChatRow>, StoreError> {
    let Some(row) = row else { return Ok(None) };
    let mut chat = ChatRow::read(&row)?;
    chat.state.root_archived = !chat.state.is_root && row.boolean("root_archived")?;
    Ok(Some(chat))
}

/// The model of the chat's next turns.
pub async fn chat_model_set_in_tx(tx: &mut Tx<'_>, chat: ChatId, model: ModelConfigId) -> Result<(), StoreError> {
    tx.run(CHAT_MODEL_SET, args![chat, model]).await.map(|_| ())
}

/// Writes the running state. `changed_at` is the moment of the last change that people see.
pub async fn chat_state_save_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    state: &ChatState,
    changed_at: Timestamp,
) -> Result<(), StoreError> {
    tx.run(CHAT_STATE_SAVE, state_args(chat, state, changed_at)).await.map(|_| ())
}

/// Writes the running state and what inserted messages change, in one update.
pub async fn chat_save_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    state: &ChatState,
    changed_at: Timestamp,
    saw: &MessagesSaw,
) -> Result<(), StoreError> {
    let mut args = state_args(chat, state, changed_at);
    args.extend(saw.args());
    tx.run(CHAT_SAVE, args).await.map(|_| ())
}

fn state_args(chat: ChatId, state: &ChatState, changed_at: Timestamp) -> Vec<Arg> {
    let (pending_since, running, error) = match &state.activity {
        Activity::Waiting | Activity::RequiresAction => (None, None, None),
        Activity::Pending { since } => (Some(*since), None, None),
        Activity::Running { owner, started_at, parked } => (None, Some((*owner, *started_at, *parked)), None),
        Activity::Stopping { owner, started_at, parked, .. } => (None, Some((*owner, *started_at, *parked)), None),
        Activity::Error(error) => (None, None, Some(json(error))),
    };
    args![
        chat,
        state.archived,
        state.pin_order,
        state.closed_at,
        state.updated_at,
        changed_at,
        state.activity.status(),
        state.activity.stop_kind().map(StopKind::as_str),
        state.epoch,
        running.map(|(owner, _, _)| owner),
        running.is_some_and(|(_, _, parked)| parked),
        pending_since,
        running.map(|(_, started_at, _)| started_at),
        state.takeovers,
        state.version,
        state.queue_version,
        state.rewind,
        state.turn_no,
        state.step_no,
        state.committed_step,
        state.step_begun_at,
        state.attempt,
        state.retry.as_ref().map(|retry| retry.retrying_at),
        state.retry.as_ref().map(json),
        error,
    ]
}

/// What inserted messages change in their chat's row.
#[derive(Clone, Debug)]
pub struct MessagesSaw {
    pub last_message_id: MessageId,
    pub last_answer_id: MessageId,
    pub model_config_id: Option<ModelConfigId>,
    pub mcp_server_ids: Option<Vec<McpServerId>>,
    pub context_tokens: Option<i64>,
}

pub async fn chat_messages_saw_in_tx(tx: &mut Tx<'_>, chat: ChatId, saw: &MessagesSaw) -> Result<(), StoreError> {
    let mut args = args![chat];
    args.extend(saw.args());
    tx.run(CHAT_MESSAGES_SAW, args).await.map(|_| ())
}

impl MessagesSaw {
    fn args(&self) -> Vec<Arg> {
        args![
            self.last_message_id,
            self.last_answer_id,
            self.model_config_id,
            self.mcp_server_ids.as_ref().map(json),
            self.context_tokens,
        ]
    }
}

pub async fn chat_get_in_tx(tx: &mut Tx<'_>, chat: ChatId) -> Result<Option<ChatRow>, StoreError> {
    tx.first(CHAT_GET, args![chat]).await?.as_ref().map(ChatRow::read).transpose()
}

/// Binds (or unbinds) a workspace; a change that viewers see. The caller holds the chat's lock.
pub async fn chat_workspace_set_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    workspace: Option<WorkspaceId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.run(CHAT_WORKSPACE_SET, args![chat, workspace, now]).await.map(|_| ())
}

/// Writes what people set about a chat. It moves no version: the caller, who holds the lock, saves the state.
pub async fn chat_marks_set_in_tx(tx: &mut Tx<'_>, chat: &ChatRow) -> Result<(), StoreError> {
    let args = args![
        chat.id,
        chat.title.as_str(),
        chat.title_source.as_str(),
        json(&chat.labels),
        chat.workspace_id,
        fold(&chat.title),
        title_words(&chat.title),
    ];
    tx.run(CHAT_MARKS_SET, args).await.map(|_| ())
}

/// Takes the right to arrange a user's pins, before any chat is locked: locks of the pinned chats alone would let
/// two first pins pass each other.
pub async fn pins_lock_in_tx(tx: &mut Tx<'_>, owner: UserId) -> Result<(), StoreError> {
    match tx.engine() {
        // its transactions write one after another
        Engine::Sqlite => Ok(()),
        Engine::Postgres => tx.run(PINS_LOCK, args![owner]).await.map(|_| ()),
    }
}

/// The user's pinned chats in their order, locked in the order of their ids. Behind [`pins_lock_in_tx`].
pub async fn chats_pinned_lock_in_tx(tx: &mut Tx<'_>, owner: UserId) -> Result<Vec<ChatId>, StoreError> {
    let rows = tx.all(CHATS_PINNED_LOCK, args![owner]).await?;
    let mut pinned: Vec<(i32, ChatId)> =
        rows.iter().map(|row| Ok((row.int32("pin_order")?, row.id("id")?))).collect::<Result<_, StoreError>>()?;
    pinned.sort_unstable();
    Ok(pinned.into_iter().map(|(_, chat)| chat).collect())
}

/// All chats below a root, in the order in which they are locked.
pub async fn chats_below_root_in_tx(tx: &mut Tx<'_>, root: ChatId) -> Result<Vec<ChatId>, StoreError> {
    tx.all(CHATS_BELOW_ROOT, args![root]).await?.iter().map(|row| row.id("id")).collect()
}

/// The user's runs that hold a place, over all replicas.
pub async fn chats_running_unparked_in_tx(tx: &mut Tx<'_>, owner: UserId) -> Result<i64, StoreError> {
    tx.one(CHATS_RUNNING_UNPARKED, args![owner]).await?.int("runs")
}

/// Whether the user exists and is not suspended.
pub async fn owner_is_active_in_tx(tx: &mut Tx<'_>, owner: UserId) -> Result<bool, StoreError> {
    match tx.first(CHAT_OWNER_ACTIVE, args![owner]).await? {
        Some(row) => Ok(row.text("status")? == "active"),
        None => Ok(false),
    }
}

/// Descendants of a root that are pending or running, in the order in which they are locked.
pub async fn chats_unfinished_of_root_in_tx(tx: &mut Tx<'_>, root: ChatId) -> Result<Vec<ChatId>, StoreError> {
    tx.all(CHATS_UNFINISHED, args![root]).await?.iter().map(|row| row.id("id")).collect()
}

impl Store {
    /// A chat, whoever asks. Handlers check the right to see it.
    pub async fn chat_get_for_system(&self, chat: ChatId) -> Result<Option<ChatRow>, StoreError> {
        self.fetch_first(CHAT_GET, args![chat]).await?.as_ref().map(ChatRow::read).transpose()
    }

    /// A user's chats that changed at or after a moment, oldest change first.
    pub async fn chats_changed(&self, owner: UserId, since: Timestamp, limit: i64) -> Result<Vec<ChatRow>, StoreError> {
        self.fetch_all(CHATS_CHANGED, args![owner, since, limit]).await?.iter().map(ChatRow::read).collect()
    }

    /// The versions of these chats, in no order; deleted chats are absent.
    pub async fn chats_versions_for_system(&self, chats: &[ChatId]) -> Result<Vec<(ChatId, i64)>, StoreError> {
        let rows = self.fetch_all(CHATS_VERSIONS, vec![ids(chats)]).await?;
        rows.iter().map(|row| Ok((row.id("id")?, row.int("version")?))).collect()
    }

    /// The `limit` chats that have been pending for longest, oldest first.
    pub async fn chats_pending_for_system(&self, limit: i64) -> Result<Vec<(ChatId, UserId, Timestamp)>, StoreError> {
        let rows = self.fetch_all(CHATS_PENDING, args![limit]).await?;
        rows.iter().map(|row| Ok((row.id("id")?, row.id("owner_id")?, row.time("pending_since")?))).collect()
    }

    /// Chats with a run, whoever owns it, with the owner. For the start of a single process.
    pub async fn chats_running_for_system(&self, limit: i64) -> Result<Vec<(ChatId, Incarnation)>, StoreError> {
        let rows = self.fetch_all(CHATS_RUNNING, args![limit]).await?;
        rows.iter().map(|row| Ok((row.id("id")?, row.id("owner_incarnation")?))).collect()
    }

    /// The running chats of one replica.
    pub async fn chats_running_of(&self, owner: Incarnation) -> Result<Vec<RunningRow>, StoreError> {
        let rows = self.fetch_all(CHATS_RUNNING_OF, args![owner]).await?;
        rows.iter().map(RunningRow::read).collect()
    }

    /// Workspaces of the chats that this replica runs, and of those that wait to be run by any.
    pub async fn workspaces_in_use_for_system(&self, owner: Incarnation) -> Result<Vec<WorkspaceId>, StoreError> {
        self.fetch_all(WORKSPACES_IN_USE, args![owner]).await?.iter().map(|row| row.id("workspace_id")).collect()
    }

    /// The fixed part of the prompt of a chat's turns with this model.
    pub async fn prompt_sources(
        &self,
        chat: ChatId,
        owner: UserId,
        model: ModelConfigId,
    ) -> Result<PromptSourcesRow, StoreError> {
        let Some(row) = self.fetch_first(PROMPT_SOURCES, args![chat, owner, model]).await? else {
            return Ok(PromptSourcesRow::default());
        };
        let deployment = match row.text_opt("system_content")? {
            None => None,
            Some(content) => {
                let parts = content_parts(Role::System, row.int32("system_version")?, &content)?;
                parts.into_iter().find_map(|part| match part {
                    MessagePart::Text(text) => Some(text.text),
                    _ => None,
                })
            }
        };
        Ok(PromptSourcesRow {
            deployment,
            deployment_setting: row.text_opt("system_setting")?,
            has_answered: row.boolean("has_answered")?,
            workspace_name: row.text_opt("workspace_name")?,
            user: row.text_opt("user_prompt")?.filter(|prompt| !prompt.is_empty()),
            model_refuses_media: row.boolean("model_refuses_media")?,
        })
    }

    /// Remembers that the model refuses the pictures and PDFs of the chat. Nobody sees it: no version moves.
    pub async fn media_refusal_add(&self, chat: ChatId, model: ModelConfigId) -> Result<(), StoreError> {
        self.write("media_refusal_add", move |tx| {
            Box::pin(async move { tx.run(MEDIA_REFUSAL_ADD, args![chat, model]).await.map(|_| ()) })
        })
        .await
    }

    /// Keeps the last good copy of a workspace's context. Nobody sees it: no version moves.
    pub async fn chat_workspace_context_set(&self, chat: ChatId, context: String) -> Result<(), StoreError> {
        self.write("chat_workspace_context_set", move |tx| {
            Box::pin(async move { tx.run(CHAT_CONTEXT_SET, args![chat, context]).await.map(|_| ()) })
        })
        .await
    }

    /// Moves the owner's read mark, also back.
    pub async fn chat_read_set(
        &self,
        chat: ChatId,
        owner: UserId,
        message: MessageId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write("chat_read_set", move |tx| {
            Box::pin(async move { Ok(tx.run(CHAT_READ, args![chat, message, now, owner]).await? > 0) })
        })
        .await
    }

    /// Moves the owner's read mark forward. False: it was there already.
    pub async fn chat_read_up_to(
        &self,
        chat: ChatId,
        owner: UserId,
        message: MessageId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write("chat_read_up_to", move |tx| {
            Box::pin(async move { Ok(tx.run(CHAT_READ_UP_TO, args![chat, message, now, owner]).await? > 0) })
        })
        .await
    }

    /// The user's most recently updated chat of a workspace.
    pub async fn chat_by_workspace(&self, owner: UserId, workspace: WorkspaceId) -> Result<Option<ChatId>, StoreError> {
        self.fetch_first(CHATS_BY_WORKSPACE, args![workspace, owner]).await?.map(|row| row.id("id")).transpose()
    }
}

impl ChatRow {
    /// Gives the state the lists that a decision looks at.
    pub fn set_lists(&mut self, queue: Vec<QueueEntry>, open_calls: Vec<OpenCall>) {
        self.state.queue = queue;
        self.state.open_calls = open_calls;
    }
}
