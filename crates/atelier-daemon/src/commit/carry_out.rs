//! Carrying the effects of a transition out, in the transaction that holds the chat's lock.
//!
//! Rows are written in batches: one for what belongs to the turn so far (answer and results), one for the
//! user messages that begin the next. What has to be published after the commit is put together here, while
//! the rows are at hand.

use atelier_domain::chat::{self, Activity, CallState, ChatEffect, ChatEvent, ChatState, Needs};
use atelier_domain::chat::{StopScope, TransitionError};
use atelier_domain::message::{MessagePart, Role};
use atelier_domain::{CallToken, ChatId, McpServerId, MessageId, ModelConfigId, QueueEntryId, Timestamp, UserId};
use atelier_store::{
    CallOutcome, ChatRow, MessageNew, MessageRow, MessagesSaw, QueueNew, QueueRow, StoreError, ToolCallNew,
    ToolCallRow, Tx,
};

use super::contents::{Payload, UserMessage, entered_row, interrupted};
use super::types::{CommitError, NewToolCall};

/// A chat whose lock this transaction holds, with the lists that a decision needs.
pub(super) struct Locked {
    pub(super) chat: ChatRow,
    pub(super) queue: Vec<QueueRow>,
    pub(super) open_calls: Vec<ToolCallRow>,
}

/// What a transaction did, for what follows the commit.
#[derive(Debug)]
pub(super) struct Applied {
    /// The row as it is now; its state's lists as far as they were looked at.
    pub(super) chat: ChatRow,
    /// Something a viewer can see has changed.
    pub(super) is_visible: bool,
    pub(super) messages: Vec<MessageRow>,
    /// The entry the event brought.
    pub(super) entry: Option<QueueRow>,
    /// The whole queue, if it changed.
    pub(super) queue: Option<Vec<QueueRow>>,
    /// Calls of the stored answer.
    pub(super) calls: Vec<ToolCallRow>,
    /// Calls that were open before, if they were looked at.
    pub(super) open_calls: Vec<ToolCallRow>,
    /// After an edit: the last message that survived, 0 = none.
    pub(super) history_reset_after: Option<MessageId>,
    /// Descendants that were stopped with it.
    pub(super) descendants: Vec<Applied>,
    /// What is published, in order.
    pub(super) publish: Vec<ChatEffect>,
}

impl Applied {
    pub(super) fn settled(&self) -> bool {
        self.chat.state.activity.owner().is_none()
    }

    pub(super) fn pending_again(&self) -> bool {
        matches!(self.chat.state.activity, Activity::Pending { .. })
    }
}

/// A refusal is no error of the transaction: a lost run's bill is still written.
pub(super) type Outcome = Result<Box<Applied>, TransitionError>;

impl Locked {
    pub(super) fn new(chat: ChatRow) -> Self {
        Self { chat, queue: Vec::new(), open_calls: Vec::new() }
    }

    async fn load(&mut self, tx: &mut Tx<'_>, needs: Needs) -> Result<(), StoreError> {
        if needs.queue {
            self.queue = atelier_store::queue_list_in_tx(tx, self.chat.id).await?;
        }
        if needs.open_calls {
            self.open_calls = atelier_store::tool_calls_open_in_tx(tx, self.chat.id).await?;
        }
        let queue = self.queue.iter().map(QueueRow::as_entry).collect();
        let open_calls = self.open_calls.iter().map(ToolCallRow::as_open_call).collect();
        self.chat.set_lists(queue, open_calls);
        Ok(())
    }
}

/// Decides about `event` and carries the outcome out.
pub(super) async fn carry_out(
    tx: &mut Tx<'_>,
    mut locked: Locked,
    event: ChatEvent,
    mut payload: Payload,
    now: Timestamp,
) -> Result<Outcome, CommitError> {
    locked.load(tx, event.needs(&locked.chat.state)).await?;
    let (next, effects) = match chat::apply(&locked.chat.state, event) {
        Ok(decided) => decided,
        Err(refusal) => {
            if let Some(call) = payload.metering.as_mut().filter(|_| refusal == TransitionError::Lost) {
                call.outcome = CallOutcome::Fenced;
                atelier_store::model_call_insert_in_tx(tx, call, None, now).await?;
            }
            return Ok(Err(refusal));
        }
    };
    if effects.is_empty() && next == locked.chat.state && payload.metering.is_none() {
        return Ok(Ok(Box::new(Applied::unchanged(locked.chat))));
    }
    let mut writer = Writer::new(locked, next, payload, now);
    for effect in effects {
        Box::pin(writer.write(tx, effect)).await?;
    }
    writer.finish(tx).await.map(|applied| Ok(Box::new(applied)))
}

/// The first rows of a chat that was just inserted.
pub(super) async fn first_messages(
    tx: &mut Tx<'_>,
    chat: ChatRow,
    system: String,
    message: UserMessage,
    now: Timestamp,
) -> Result<Applied, CommitError> {
    let (state, effects) = chat::create(now, chat.state.is_root);
    let mut writer =
        Writer::new(Locked::new(chat), state, Payload { message: Some(message), ..Payload::default() }, now);
    writer.user_rows.push(MessageNew::system(system));
    for effect in effects {
        Box::pin(writer.write(tx, effect)).await?;
    }
    writer.is_new = true;
    writer.finish(tx).await
}

struct Writer {
    before: Locked,
    next: ChatState,
    payload: Payload,
    now: Timestamp,
    /// Rows of the turn so far, and rows that begin the next one.
    turn_rows: Vec<MessageNew>,
    user_rows: Vec<MessageNew>,
    /// Calls that have a result row now: its position in `turn_rows`, and the call's end.
    results: Vec<(CallToken, usize, CallState)>,
    /// Calls of the answer, entered if an effect says so.
    calls: Vec<NewToolCall>,
    inserts_calls: bool,
    /// Of the answer.
    context_tokens: Option<i64>,
    /// Position of the answer in `turn_rows`.
    answer: Option<usize>,
    model_config_id: Option<ModelConfigId>,
    mcp_server_ids: Option<Vec<McpServerId>>,
    entry: Option<QueueRow>,
    queue_changed: bool,
    descendants: Vec<Applied>,
    publish: Vec<ChatEffect>,
    /// The chat's row was inserted in this transaction.
    is_new: bool,
}

impl Writer {
    fn new(before: Locked, next: ChatState, payload: Payload, now: Timestamp) -> Self {
        Self {
            before,
            next,
            payload,
            now,
            turn_rows: Vec::new(),
            user_rows: Vec::new(),
            results: Vec::new(),
            calls: Vec::new(),
            inserts_calls: false,
            context_tokens: None,
            answer: None,
            model_config_id: None,
            mcp_server_ids: None,
            entry: None,
            queue_changed: false,
            descendants: Vec::new(),
            publish: Vec::new(),
            is_new: false,
        }
    }

    fn chat_id(&self) -> ChatId {
        self.before.chat.id
    }

    async fn write(&mut self, tx: &mut Tx<'_>, effect: ChatEffect) -> Result<(), CommitError> {
        let chat = self.chat_id();
        match effect {
            ChatEffect::UserMessageInsert => {
                let message = self.payload.message.take().expect("an event that inserts a message brings it");
                let UserMessage { parts, author, model_config_id, mcp_server_ids } = message;
                self.user_row(parts, Some(author), model_config_id, mcp_server_ids, None);
            }
            ChatEffect::EntryInsert { urgent_no } => self.entry_insert(tx, urgent_no).await?,
            ChatEffect::EntriesPop(ids) => self.entries_pop(tx, &ids).await?,
            ChatEffect::EntryDelete(id) => {
                self.queue_changed = true;
                atelier_store::queue_delete_in_tx(tx, chat, id).await?;
            }
            ChatEffect::EntriesDelete => {
                self.queue_changed = true;
                atelier_store::queue_clear_in_tx(tx, chat).await?;
            }
            ChatEffect::EntryMakeUrgent { entry, urgent_no } => {
                self.queue_changed = true;
                atelier_store::queue_make_urgent_in_tx(tx, chat, entry, urgent_no).await?;
            }
            ChatEffect::MessagesDelete { from, rewind } => {
                atelier_store::messages_delete_from_in_tx(tx, chat, from, rewind).await?;
            }
            ChatEffect::AnswerInsert { step_no } => self.answer_row(step_no),
            // entered behind their answer, when its rows are
            ChatEffect::CallsInsert(_) => self.inserts_calls = true,
            ChatEffect::CallsStart(tokens) => {
                for token in tokens {
                    atelier_store::tool_call_start_in_tx(tx, chat, token, self.next.epoch, self.now).await?;
                }
            }
            ChatEffect::CallsDetach(tokens) => {
                for token in tokens {
                    atelier_store::tool_call_detach_in_tx(tx, chat, token).await?;
                }
            }
            ChatEffect::CallsForget(tokens) => {
                for token in tokens {
                    let state = CallState::Unknown;
                    atelier_store::tool_call_end_in_tx(tx, chat, token, state, None, self.now).await?;
                }
            }
            ChatEffect::ResultInsert { token, unknown } => self.result_row(token, unknown),
            ChatEffect::CallsClose(tokens) => {
                for token in tokens {
                    self.result_row(token, false);
                }
            }
            // its rows come with compaction; no event brings them yet
            ChatEffect::SummaryInsert { .. } => {}
            ChatEffect::DescendantsStop(scope) => self.descendants_stop(tx, scope).await?,
            ChatEffect::PublishHistoryReset
            | ChatEffect::PublishQueue
            | ChatEffect::PublishRetry
            | ChatEffect::PublishError
            | ChatEffect::PublishStatus
            | ChatEffect::Watch(_)
            | ChatEffect::Wake { .. }
            | ChatEffect::StopRun { .. } => self.publish.push(effect),
        }
        Ok(())
    }

    /// A row that begins a turn, with what it selects for the chat and the queue entry it was.
    fn user_row(
        &mut self,
        parts: Vec<MessagePart>,
        author: Option<UserId>,
        model: Option<ModelConfigId>,
        servers: Option<Vec<McpServerId>>,
        entry: Option<QueueEntryId>,
    ) {
        let mut row = MessageNew::new(Role::User, parts);
        row.created_by = author;
        row.model_config_id = model.or(self.model_config_id).or(Some(self.before.chat.last_model_config_id));
        row.request_key = entry.map(atelier_store::queue_entry_key);
        self.model_config_id = row.model_config_id;
        self.mcp_server_ids = servers.or(self.mcp_server_ids.take());
        self.user_rows.push(row);
    }

    async fn entry_insert(&mut self, tx: &mut Tx<'_>, urgent_no: Option<i64>) -> Result<(), CommitError> {
        let message = self.payload.message.take().expect("an event that queues a message brings it");
        let entry = QueueNew {
            parts: message.parts,
            created_by: message.author,
            model_config_id: message.model_config_id,
            mcp_server_ids: message.mcp_server_ids,
            urgent_no,
            request_key: None,
        };
        let row = atelier_store::queue_insert_in_tx(tx, self.chat_id(), entry, self.now).await?;
        self.next.entry_stored(row.id);
        self.before.queue.push(row.clone());
        self.entry = Some(row);
        self.queue_changed = true;
        Ok(())
    }

    async fn entries_pop(&mut self, tx: &mut Tx<'_>, ids: &[QueueEntryId]) -> Result<(), CommitError> {
        for id in ids {
            let position = self
                .before
                .queue
                .iter()
                .position(|entry| entry.id == *id)
                .expect("an entry that is popped was looked at");
            let entry = self.before.queue.remove(position);
            let parts = entry.decode().map_err(CommitError::Content)?;
            self.user_row(parts, entry.created_by, entry.model_config_id, entry.mcp_server_ids, Some(*id));
            atelier_store::queue_delete_in_tx(tx, self.chat_id(), *id).await?;
        }
        self.queue_changed = true;
        Ok(())
    }

    fn answer_row(&mut self, step_no: i64) {
        let mut answer = self.payload.answer.take().expect("an event that stores an answer brings it");
        answer.message.step_no = Some(step_no);
        self.answer = Some(self.turn_rows.len());
        self.turn_rows.push(answer.message);
        self.calls = answer.calls;
        self.context_tokens = Some(answer.context_tokens);
    }

    /// The result row of a call: what the event brings for it, else that it was interrupted.
    fn result_row(&mut self, token: CallToken, unknown: bool) {
        let named = self
            .before
            .open_calls
            .iter()
            .find(|call| call.uid == token)
            .map(|call| (&call.tool_call_id, &call.tool_name, call.step_no))
            .or_else(|| {
                let step_no = self.next.step_no;
                let call = self.calls.iter().find(|call| call.uid == token)?;
                Some((&call.tool_call_id, &call.tool_name, step_no))
            });
        let (id, name, step_no) = named.expect("a call that is closed was looked at or is new");
        let (id, name) = (id.clone(), name.clone());
        let parts = self.payload.results.remove(&token).unwrap_or_else(|| vec![interrupted(&id, &name, self.now)]);
        let mut row = MessageNew::new(Role::Tool, parts);
        row.tool_call_id = Some(id);
        row.step_no = Some(step_no);
        let state = if unknown { CallState::Unknown } else { CallState::Finished };
        self.results.push((token, self.turn_rows.len(), state));
        self.turn_rows.push(row);
    }

    async fn descendants_stop(&mut self, tx: &mut Tx<'_>, scope: StopScope) -> Result<(), CommitError> {
        let StopScope::All = scope else {
            // which child a step spawned is known from the spawn keys, which come with sub-agents
            return Ok(());
        };
        for child in atelier_store::chats_unfinished_of_root_in_tx(tx, self.chat_id()).await? {
            let Some(chat) = atelier_store::chat_lock_in_tx(tx, child).await? else { continue };
            let event = ChatEvent::TreeStop { at: self.now };
            let stopped = Box::pin(carry_out(tx, Locked::new(chat), event, Payload::default(), self.now)).await?;
            if let Ok(applied) = stopped {
                self.descendants.push(*applied);
            }
        }
        Ok(())
    }

    async fn finish(mut self, tx: &mut Tx<'_>) -> Result<Applied, CommitError> {
        let chat_id = self.chat_id();
        let turn_rows = std::mem::take(&mut self.turn_rows);
        let turn_no = self.before.chat.state.turn_no;
        let mut messages = atelier_store::messages_insert_in_tx(tx, chat_id, turn_no, turn_rows, self.now).await?;
        let answer_id = self.answer.map(|position| messages[position].id);
        let calls = self.enter_calls(tx, &messages).await?;
        let user_rows = std::mem::take(&mut self.user_rows);
        let turn_no = self.next.turn_no;
        messages.extend(atelier_store::messages_insert_in_tx(tx, chat_id, turn_no, user_rows, self.now).await?);
        if let Some(call) = &self.payload.metering {
            let booked_at = tx.now().await?;
            atelier_store::model_call_insert_in_tx(tx, call, answer_id, booked_at).await?;
        }
        let mut chat = self.before.chat;
        let changed = self.next.version != chat.state.version;
        if changed {
            chat.changed_at = self.now;
        }
        if self.next.rewind != chat.state.rewind {
            // the answers that were newest may have been deleted: those that survived count
            (_, chat.last_answer_id) = atelier_store::messages_last_in_tx(tx, chat_id).await?;
        }
        let saw = messages.last().map(|last| {
            let added: usize =
                messages.iter().filter(|row| row.role != Role::Assistant).map(|row| row.content.len()).sum();
            let added = i64::try_from(added / 4).unwrap_or(i64::MAX);
            MessagesSaw {
                last_message_id: last.id,
                last_answer_id: answer_id.unwrap_or(chat.last_answer_id),
                model_config_id: self.model_config_id,
                mcp_server_ids: self.mcp_server_ids.take(),
                context_tokens: Some(self.context_tokens.or(chat.context_tokens).unwrap_or(0).saturating_add(added)),
            }
        });
        match (&saw, self.is_new) {
            // the row was inserted in the state it has
            (Some(saw), true) => atelier_store::chat_messages_saw_in_tx(tx, chat_id, saw).await?,
            (Some(saw), false) => {
                atelier_store::chat_save_in_tx(tx, chat_id, &self.next, chat.changed_at, saw).await?;
            }
            (None, true) => {}
            (None, false) => {
                atelier_store::chat_state_save_in_tx(tx, chat_id, &self.next, chat.changed_at).await?;
            }
        }
        if let Some(saw) = saw {
            chat.last_message_id = saw.last_message_id;
            chat.last_answer_id = saw.last_answer_id;
            chat.context_tokens = saw.context_tokens;
            chat.last_model_config_id = saw.model_config_id.unwrap_or(chat.last_model_config_id);
            chat.mcp_server_ids = saw.mcp_server_ids.unwrap_or(chat.mcp_server_ids);
        }
        let queue = if !self.queue_changed {
            None
        } else if self.next.queue.is_empty() {
            Some(Vec::new())
        } else {
            Some(atelier_store::queue_list_in_tx(tx, chat_id).await?)
        };
        let history_reset_after = if self.next.rewind == chat.state.rewind {
            None
        } else {
            Some(atelier_store::last_message_before_rewind_in_tx(tx, chat_id, chat.state.rewind).await?)
        };
        let is_visible = self.next.version != chat.state.version || self.is_new;
        chat.state = self.next;
        Ok(Applied {
            is_visible,
            chat,
            messages,
            entry: self.entry,
            queue,
            calls,
            open_calls: self.before.open_calls,
            history_reset_after,
            descendants: self.descendants,
            publish: self.publish,
        })
    }

    /// Ledger rows of the answer's calls, and the ends of calls that have a result now.
    async fn enter_calls(&mut self, tx: &mut Tx<'_>, rows: &[MessageRow]) -> Result<Vec<ToolCallRow>, StoreError> {
        let (chat, step_no, epoch) = (self.chat_id(), self.next.step_no, self.next.epoch);
        let mut entered = Vec::new();
        let calls = std::mem::take(&mut self.calls);
        if self.inserts_calls {
            let new: Vec<ToolCallNew> = calls.into_iter().map(ToolCallNew::from).collect();
            atelier_store::tool_calls_insert_in_tx(tx, chat, step_no, epoch, &new, self.now).await?;
            entered = new.into_iter().map(|call| entered_row(call, chat, step_no, self.now)).collect();
        }
        for (token, position, state) in std::mem::take(&mut self.results) {
            let result = Some(rows[position].id);
            atelier_store::tool_call_end_in_tx(tx, chat, token, state, result, self.now).await?;
        }
        Ok(entered)
    }
}

impl Applied {
    /// Nothing was written.
    fn unchanged(chat: ChatRow) -> Self {
        Self {
            chat,
            is_visible: false,
            messages: Vec::new(),
            entry: None,
            queue: None,
            calls: Vec::new(),
            open_calls: Vec::new(),
            history_reset_after: None,
            descendants: Vec::new(),
            publish: Vec::new(),
        }
    }
}
