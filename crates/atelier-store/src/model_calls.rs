//! The ledger of money: one row for each request a provider may bill, and the sum of each day.

use atelier_domain::message::Usage;
use atelier_domain::{ChatId, Incarnation, MessageId, ModelCallId, ModelConfigId, OrganizationId, Timestamp, UserId};

use crate::database::{Engine, Store, Tx};
use crate::error::StoreError;
use crate::statement::statements;
use crate::value::args;

macro_rules! insert_text {
    ($suffix:literal) => {
        concat!(
            "INSERT INTO model_calls (id, chat_id, root_chat_id, owner_id, organization_id, purpose, step_no, attempt,
            message_id, model_config_id, provider, model, paid_by, input_tokens, output_tokens, reasoning_tokens,
            cache_read_tokens, cache_creation_tokens, total_tokens, cost_micros, cost_partial, estimated, saturated,
            price_source, price_version, runtime_ms, outcome, started_at, finished_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
            $23, $24, $25, $26, $27, $28, $29) ON CONFLICT (id) DO NOTHING",
            $suffix
        )
    };
}

/// Raises the day's sum; at the end of its range it stays there instead of overflowing.
macro_rules! raise_text {
    () => {
        "ON CONFLICT (owner_id, organization_id, day) DO UPDATE SET spent_micros =
        CASE WHEN spend_days.spent_micros > 9223372036854775807 - excluded.spent_micros THEN 9223372036854775807
        ELSE spend_days.spent_micros + excluded.spent_micros END"
    };
}

statements! {
    // on PostgreSQL the row and the day's sum in one statement, one round trip
    MODEL_CALL_INSERT = {
        sqlite: insert_text!(""),
        postgres: concat!("WITH booked AS (", insert_text!(" RETURNING owner_id, organization_id, cost_micros, paid_by"), ")
            INSERT INTO spend_days (owner_id, organization_id, day, spent_micros)
            SELECT owner_id, organization_id, $30, cost_micros FROM booked WHERE cost_micros > 0 AND paid_by = 'deployment' ",
            raise_text!())
    };
    SPEND_ADD = (concat!("INSERT INTO spend_days (owner_id, organization_id, day, spent_micros) VALUES ($1, $2, $3, $4) ",
        raise_text!()));
    RESERVATION_INSERT = "INSERT INTO spend_reservations (model_call_id, owner_id, chat_id, step_no, attempt, incarnation, micros)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    RESERVATION_DELETE = "DELETE FROM spend_reservations WHERE model_call_id = $1";
    RESERVED_OF = "SELECT CAST(COALESCE(SUM(micros), 0) AS BIGINT) AS micros FROM spend_reservations WHERE owner_id = $1";
    MODEL_CALLS_OF_CHAT = "SELECT COUNT(*) AS calls, CAST(COALESCE(SUM(cost_micros), 0) AS BIGINT) AS micros FROM model_calls
        WHERE chat_id = $1";
    SPEND_OF = "SELECT CAST(COALESCE(SUM(spent_micros), 0) AS BIGINT) AS micros FROM spend_days WHERE owner_id = $1";
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPurpose {
    Step,
    Compaction,
    Title,
}

impl CallPurpose {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Compaction => "compaction",
            Self::Title => "title",
        }
    }
}

/// Whose key was used. Only what the deployment pays counts against limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaidBy {
    Deployment,
    User,
}

impl PaidBy {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::User => "user",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    Finished,
    Interrupted,
    Failed,
    /// The run had lost its chat by then.
    Fenced,
    /// The replica died with it.
    Lost,
}

impl CallOutcome {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
            Self::Fenced => "fenced",
            Self::Lost => "lost",
        }
    }
}

/// One request to a model, to be booked.
#[derive(Clone, Debug)]
pub struct ModelCallNew {
    pub id: ModelCallId,
    pub chat_id: ChatId,
    pub root_chat_id: ChatId,
    pub owner_id: UserId,
    pub organization_id: OrganizationId,
    pub purpose: CallPurpose,
    pub step_no: i64,
    pub attempt: i32,
    pub model_config_id: ModelConfigId,
    pub provider: String,
    pub model: String,
    pub paid_by: PaidBy,
    pub usage: Usage,
    /// Absent = unpriced, 0 = free.
    pub cost_micros: Option<i64>,
    pub cost_partial: bool,
    pub estimated: bool,
    pub saturated: bool,
    pub price_source: String,
    pub price_version: Option<String>,
    pub runtime_ms: i64,
    pub outcome: CallOutcome,
    pub started_at: Timestamp,
}

/// Books a request and raises the day's sum. The id makes it idempotent: a second booking changes nothing.
pub async fn model_call_insert_in_tx(
    tx: &mut Tx<'_>,
    call: &ModelCallNew,
    message: Option<MessageId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let usage = &call.usage;
    let day = i32::try_from(now.as_second().div_euclid(86_400)).unwrap_or(i32::MAX);
    let mut args = args![
        call.id,
        call.chat_id,
        call.root_chat_id,
        call.owner_id,
        call.organization_id,
        call.purpose.as_str(),
        call.step_no,
        call.attempt,
        message,
        call.model_config_id,
        call.provider.clone(),
        call.model.clone(),
        call.paid_by.as_str(),
        usage.input_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.cache_read_tokens,
        usage.cache_creation_tokens,
        usage.total_tokens,
        call.cost_micros,
        call.cost_partial,
        call.estimated,
        call.saturated,
        call.price_source.clone(),
        call.price_version.clone(),
        call.runtime_ms,
        call.outcome.as_str(),
        call.started_at,
        now,
    ];
    if tx.engine() == Engine::Postgres {
        args.push(day.into());
        return tx.run(MODEL_CALL_INSERT, args).await.map(|_| ());
    }
    let inserted = tx.run(MODEL_CALL_INSERT, args).await?;
    let micros = call.cost_micros.unwrap_or(0);
    if inserted == 0 || micros <= 0 || call.paid_by != PaidBy::Deployment {
        return Ok(());
    }
    tx.run(SPEND_ADD, args![call.owner_id, call.organization_id, day, micros]).await.map(|_| ())
}

/// What a step may cost, held back from the owner's budget until its request is booked.
#[derive(Clone, Copy, Debug)]
pub struct ReservationNew {
    pub model_call_id: ModelCallId,
    pub owner_id: UserId,
    pub chat_id: ChatId,
    pub step_no: i64,
    pub attempt: i32,
    pub incarnation: Incarnation,
    pub micros: i64,
}

pub async fn spend_reservation_insert_in_tx(tx: &mut Tx<'_>, reserved: &ReservationNew) -> Result<(), StoreError> {
    let args = args![
        reserved.model_call_id,
        reserved.owner_id,
        reserved.chat_id,
        reserved.step_no,
        reserved.attempt,
        reserved.incarnation,
        reserved.micros,
    ];
    tx.run(RESERVATION_INSERT, args).await.map(|_| ())
}

pub async fn spend_reservation_delete_in_tx(tx: &mut Tx<'_>, call: ModelCallId) -> Result<(), StoreError> {
    tx.run(RESERVATION_DELETE, args![call]).await.map(|_| ())
}

/// All that is held back from a user's budget, micro-dollars.
pub async fn spend_reserved_in_tx(tx: &mut Tx<'_>, owner: UserId) -> Result<i64, StoreError> {
    tx.one(RESERVED_OF, args![owner]).await?.int("micros")
}

impl Store {
    /// How many requests a chat has paid for, and what they cost together, micro-dollars.
    pub async fn model_calls_of_chat(&self, chat: ChatId) -> Result<(i64, i64), StoreError> {
        match self.fetch_first(MODEL_CALLS_OF_CHAT, args![chat]).await? {
            Some(row) => Ok((row.int("calls")?, row.int("micros")?)),
            None => Ok((0, 0)),
        }
    }

    /// The sum of all days of a user, micro-dollars.
    pub async fn spend_of(&self, owner: UserId) -> Result<i64, StoreError> {
        match self.fetch_first(SPEND_OF, args![owner]).await? {
            Some(row) => row.int("micros"),
            None => Ok(0),
        }
    }
}
