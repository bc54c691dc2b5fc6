//! The ledger of tool calls: stored with their answer, before any of them begins.

use atelier_domain::chat::{CallClass, CallState, OpenCall};
use atelier_domain::{CallToken, ChatId, MessageId, Timestamp};
use serde_json::{Value, json};

use crate::database::Tx;
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::{DbRow, args};

statements! {
    CALLS_INSERT = {
        sqlite: "INSERT INTO chat_tool_calls (uid, chat_id, step_no, call_index, tool_call_id, tool_name, input_sha256, class, state,
            epoch, ledger_id, started_at, created_at)
            SELECT b.value ->> 'uid', $1, $3, b.value ->> 'call_index', b.value ->> 'tool_call_id', b.value ->> 'tool_name',
            b.value ->> 'input_sha256', b.value ->> 'class', b.value ->> 'state', $4, b.value ->> 'ledger_id',
            CASE WHEN b.value ->> 'state' = 'started' THEN $5 END, $5 FROM json_each($2) b ORDER BY b.key",
        postgres: "INSERT INTO chat_tool_calls (uid, chat_id, step_no, call_index, tool_call_id, tool_name, input_sha256, class, state,
            epoch, ledger_id, started_at, created_at)
            SELECT (b.item ->> 'uid')::uuid, $1, $3, (b.item ->> 'call_index')::integer, b.item ->> 'tool_call_id',
            b.item ->> 'tool_name', b.item ->> 'input_sha256', b.item ->> 'class', b.item ->> 'state', $4,
            b.item ->> 'ledger_id', CASE WHEN b.item ->> 'state' = 'started' THEN $5::timestamptz END, $5
            FROM unnest(ARRAY(SELECT json_array_elements($2::json))) WITH ORDINALITY AS b (item, at) ORDER BY b.at"
    };
    CALLS_OPEN = "SELECT uid, chat_id, step_no, call_index, tool_call_id, tool_name, input_sha256, class, state, ledger_id,
        started_at, created_at FROM chat_tool_calls WHERE chat_id = $1 AND state IN ('ready', 'started', 'detached')
        ORDER BY step_no, call_index";
    CALL_START = "UPDATE chat_tool_calls SET state = 'started', epoch = $3, started_at = COALESCE(started_at, $4)
        WHERE uid = $1 AND chat_id = $2";
    CALL_DETACH = "UPDATE chat_tool_calls SET state = 'detached' WHERE uid = $1 AND chat_id = $2";
    CALL_LEDGER = "UPDATE chat_tool_calls SET ledger_id = $3 WHERE uid = $1 AND chat_id = $2";
    CALL_RESULT = "SELECT result_message_id FROM chat_tool_calls WHERE uid = $1 AND chat_id = $2";
    CALL_END = "UPDATE chat_tool_calls SET state = $3, result_message_id = $4, finished_at = $5 WHERE uid = $1 AND chat_id = $2";
}

/// One call in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCallRow {
    pub uid: CallToken,
    pub chat_id: ChatId,
    pub step_no: i64,
    pub call_index: i32,
    pub tool_call_id: String,
    pub tool_name: String,
    pub input_sha256: String,
    pub class: CallClass,
    pub state: CallState,
    pub ledger_id: Option<String>,
    pub started_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl ToolCallRow {
    /// The call as a decision sees it.
    #[must_use]
    pub const fn as_open_call(&self) -> OpenCall {
        OpenCall {
            token: self.uid,
            step_no: self.step_no,
            call_index: self.call_index,
            class: self.class,
            state: self.state,
        }
    }

    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            uid: row.id("uid")?,
            chat_id: row.id("chat_id")?,
            step_no: row.int("step_no")?,
            call_index: row.int32("call_index")?,
            tool_call_id: row.text("tool_call_id")?,
            tool_name: row.text("tool_name")?,
            input_sha256: row.text("input_sha256")?,
            class: row.name("class", CallClass::from_name)?,
            state: row.name("state", CallState::from_name)?,
            ledger_id: row.text_opt("ledger_id")?,
            started_at: row.time_opt("started_at")?,
            created_at: row.time("created_at")?,
        })
    }
}

/// A call to be entered.
#[derive(Clone, Debug)]
pub struct ToolCallNew {
    pub uid: CallToken,
    pub call_index: i32,
    pub tool_call_id: String,
    pub tool_name: String,
    pub input_sha256: String,
    pub class: CallClass,
    pub state: CallState,
    pub ledger_id: Option<String>,
}

/// Enters the calls of an answer in one statement.
pub async fn tool_calls_insert_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    step_no: i64,
    epoch: i64,
    calls: &[ToolCallNew],
    now: Timestamp,
) -> Result<(), StoreError> {
    let batch: Vec<Value> = calls
        .iter()
        .map(|call| {
            json!({
                "uid": call.uid.to_string(),
                "call_index": call.call_index,
                "tool_call_id": call.tool_call_id,
                "tool_name": call.tool_name,
                "input_sha256": call.input_sha256,
                "class": call.class.as_str(),
                "state": call.state.as_str(),
                "ledger_id": call.ledger_id,
            })
        })
        .collect();
    tx.run(CALLS_INSERT, args![chat, Value::Array(batch).to_string(), step_no, epoch, now]).await.map(|_| ())
}

/// Calls without a result, in order of steps and calls.
pub async fn tool_calls_open_in_tx(tx: &mut Tx<'_>, chat: ChatId) -> Result<Vec<ToolCallRow>, StoreError> {
    tx.all(CALLS_OPEN, args![chat]).await?.iter().map(ToolCallRow::read).collect()
}

pub async fn tool_call_start_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    call: CallToken,
    epoch: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.run(CALL_START, args![call, chat, epoch, now]).await.map(|_| ())
}

pub async fn tool_call_detach_in_tx(tx: &mut Tx<'_>, chat: ChatId, call: CallToken) -> Result<(), StoreError> {
    tx.run(CALL_DETACH, args![call, chat]).await.map(|_| ())
}

/// Records the ledger of processes the call is about to be sent to.
pub async fn tool_call_ledger_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    call: CallToken,
    ledger_id: &str,
) -> Result<(), StoreError> {
    tx.run(CALL_LEDGER, args![call, chat, ledger_id]).await.map(|_| ())
}

/// Ends a call: `finished` or `unknown`, with its result row if it has one.
pub async fn tool_call_end_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    call: CallToken,
    state: CallState,
    result: Option<MessageId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.run(CALL_END, args![call, chat, state.as_str(), result, now]).await.map(|_| ())
}

/// The result row of a call that has ended.
pub async fn tool_call_result_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    call: CallToken,
) -> Result<Option<MessageId>, StoreError> {
    match tx.first(CALL_RESULT, args![call, chat]).await? {
        Some(row) => Ok(row.int_opt("result_message_id")?.map(MessageId)),
        None => Ok(None),
    }
}
