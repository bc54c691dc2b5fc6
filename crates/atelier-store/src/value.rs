//! How values go into statements and come out of rows, on both engines.
//!
//! | kind | PostgreSQL | SQLite |
//! |---|---|---|
//! | id | `uuid` | TEXT |
//! | instant | `timestamptz` | INTEGER, microseconds |
//! | role, status, visibility | an enum type | TEXT with a CHECK |
//! | everything else | `bigint`, `integer`, `boolean`, `text`, `bytea` | INTEGER, TEXT, BLOB |

use std::str::FromStr;

use atelier_domain::Timestamp;
use sqlx::postgres::{PgArguments, PgRow, PgTypeInfo};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Postgres, Row as _, Sqlite};
use uuid::Uuid;

use crate::error::StoreError;

/// One value for a statement.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Uuid(Option<Uuid>),
    Time(Option<Timestamp>),
    Int(Option<i64>),
    Int32(Option<i32>),
    Bool(Option<bool>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    /// A value of a PostgreSQL enum type with this name.
    Enum(&'static str, Option<&'static str>),
    // lists: an array on PostgreSQL (for `ANY` and `unnest`), a JSON text on SQLite (for `json_each`)
    Uuids(Vec<Option<Uuid>>),
    Ints(Vec<Option<i64>>),
    Bools(Vec<bool>),
    Texts(Vec<Option<String>>),
}

/// A list of ids as one argument.
pub(crate) fn ids<T: Copy + Into<Uuid>>(ids: &[T]) -> Arg {
    Arg::Uuids(ids.iter().map(|id| Some((*id).into())).collect())
}

fn json_list<T: serde::Serialize>(items: &[T]) -> String {
    serde_json::to_string(items).expect("lists of plain values always serialize")
}

macro_rules! arg_from {
    ($($type:ty => $variant:ident),* $(,)?) => {$(
        impl From<$type> for Arg {
            fn from(value: $type) -> Self { Self::$variant(Some(value.into())) }
        }
        impl From<Option<$type>> for Arg {
            fn from(value: Option<$type>) -> Self { Self::$variant(value.map(Into::into)) }
        }
    )*};
}

arg_from! {
    Uuid => Uuid,
    Timestamp => Time,
    i64 => Int,
    i32 => Int32,
    bool => Bool,
    String => Text,
    &str => Text,
    Vec<u8> => Bytes,
    atelier_domain::UserId => Uuid,
    atelier_domain::OrganizationId => Uuid,
    atelier_domain::GroupId => Uuid,
    atelier_domain::SessionId => Uuid,
    atelier_domain::ApiTokenId => Uuid,
    atelier_domain::ChatId => Uuid,
    atelier_domain::FileId => Uuid,
    atelier_domain::WorkspaceId => Uuid,
    atelier_domain::BuildId => Uuid,
    atelier_domain::AgentId => Uuid,
    atelier_domain::TemplateId => Uuid,
    atelier_domain::TemplateVersionId => Uuid,
    atelier_domain::ProviderId => Uuid,
    atelier_domain::ModelConfigId => Uuid,
    atelier_domain::McpServerId => Uuid,
    atelier_domain::ModelCallId => Uuid,
    atelier_domain::CallToken => Uuid,
    atelier_domain::Incarnation => Uuid,
}

macro_rules! arg_from_sequence {
    ($($type:ty),*) => {$(
        impl From<$type> for Arg {
            fn from(value: $type) -> Self { Self::Int(Some(value.get())) }
        }
        impl From<Option<$type>> for Arg {
            fn from(value: Option<$type>) -> Self { Self::Int(value.map(|value| value.get())) }
        }
    )*};
}

arg_from_sequence!(atelier_domain::MessageId, atelier_domain::QueueEntryId);

macro_rules! arg_from_enum {
    ($($type:ty => $name:literal),* $(,)?) => {$(
        impl From<$type> for Arg {
            fn from(value: $type) -> Self { Self::Enum($name, Some(value.as_str())) }
        }
    )*};
}

arg_from_enum! {
    atelier_domain::chat::ChatStatus => "chat_status",
    atelier_domain::message::Role => "message_role",
    atelier_domain::message::Visibility => "message_visibility",
}

/// Arguments of a statement, in order of `$1`, `$2`, ...
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::value::Arg::from($value)),*] };
}
pub(crate) use args;

/// Microseconds of an instant; what both databases keep.
fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

pub(crate) type SqliteQuery<'q> = Query<'q, Sqlite, SqliteArguments>;
pub(crate) type PostgresQuery<'q> = Query<'q, Postgres, PgArguments>;

pub(crate) fn bind_sqlite(mut query: SqliteQuery<'_>, args: Vec<Arg>) -> SqliteQuery<'_> {
    for arg in args {
        query = match arg {
            Arg::Uuid(value) => query.bind(value.map(|value| value.to_string())),
            Arg::Time(value) => query.bind(value.map(micros)),
            Arg::Int(value) => query.bind(value),
            Arg::Int32(value) => query.bind(value),
            Arg::Bool(value) => query.bind(value),
            Arg::Text(value) => query.bind(value),
            Arg::Bytes(value) => query.bind(value),
            Arg::Enum(_, value) => query.bind(value),
            Arg::Uuids(items) => query.bind(json_list(&items)),
            Arg::Ints(items) => query.bind(json_list(&items)),
            Arg::Bools(items) => query.bind(json_list(&items)),
            Arg::Texts(items) => query.bind(json_list(&items)),
        };
    }
    query
}

pub(crate) fn bind_postgres(mut query: PostgresQuery<'_>, args: Vec<Arg>) -> PostgresQuery<'_> {
    for arg in args {
        query = match arg {
            Arg::Uuid(value) => query.bind(value),
            Arg::Time(value) => query.bind(value.map(PgTime)),
            Arg::Int(value) => query.bind(value),
            Arg::Int32(value) => query.bind(value),
            Arg::Bool(value) => query.bind(value),
            Arg::Text(value) => query.bind(value),
            Arg::Bytes(value) => query.bind(value),
            Arg::Enum(name, value) => query.bind(PgEnum(name, value)),
            Arg::Uuids(items) => query.bind(items),
            Arg::Ints(items) => query.bind(items),
            Arg::Bools(items) => query.bind(items),
            Arg::Texts(items) => query.bind(items),
        };
    }
    query
}

/// A `timestamptz`: microseconds since 2000-01-01 on the wire.
struct PgTime(Timestamp);

/// Microseconds from 1970-01-01 to 2000-01-01.
const PG_EPOCH_MICROS: i64 = 946_684_800_000_000;

impl sqlx::Type<Postgres> for PgTime {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }
}

impl sqlx::Encode<'_, Postgres> for PgTime {
    fn encode_by_ref(
        &self,
        buffer: &mut sqlx::postgres::PgArgumentBuffer,
    ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
        buffer.extend_from_slice(&(micros(self.0) - PG_EPOCH_MICROS).to_be_bytes());
        Ok(sqlx::encode::IsNull::No)
    }
}

impl<'r> sqlx::Decode<'r, Postgres> for PgTime {
    fn decode(value: sqlx::postgres::PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
        let bytes: [u8; 8] = value.as_bytes()?.try_into()?;
        let micros = i64::from_be_bytes(bytes) + PG_EPOCH_MICROS;
        Ok(Self(Timestamp::from_microsecond(micros)?))
    }
}

/// A value of an enum type: its label on the wire.
struct PgEnum(&'static str, Option<&'static str>);

impl sqlx::Type<Postgres> for PgEnum {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("text")
    }
}

impl sqlx::Encode<'_, Postgres> for PgEnum {
    fn encode_by_ref(
        &self,
        buffer: &mut sqlx::postgres::PgArgumentBuffer,
    ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
        match self.1 {
            None => Ok(sqlx::encode::IsNull::Yes),
            Some(label) => {
                buffer.extend_from_slice(label.as_bytes());
                Ok(sqlx::encode::IsNull::No)
            }
        }
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_name(self.0))
    }
}

/// A row of either engine.
pub(crate) enum DbRow {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl DbRow {
    pub(crate) fn uuid_opt(&self, column: &str) -> Result<Option<Uuid>, StoreError> {
        match self {
            Self::Sqlite(row) => match row.try_get::<Option<String>, _>(column).map_err(StoreError::read)? {
                None => Ok(None),
                Some(text) => Uuid::from_str(&text).map(Some).map_err(|_| StoreError::unreadable(column)),
            },
            Self::Postgres(row) => row.try_get(column).map_err(StoreError::read),
        }
    }

    pub(crate) fn id<T: From<Uuid>>(&self, column: &str) -> Result<T, StoreError> {
        self.id_opt(column)?.ok_or_else(|| StoreError::unreadable(column))
    }

    pub(crate) fn id_opt<T: From<Uuid>>(&self, column: &str) -> Result<Option<T>, StoreError> {
        Ok(self.uuid_opt(column)?.map(T::from))
    }

    pub(crate) fn time_opt(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        match self {
            Self::Sqlite(row) => match row.try_get::<Option<i64>, _>(column).map_err(StoreError::read)? {
                None => Ok(None),
                Some(micros) => {
                    Timestamp::from_microsecond(micros).map(Some).map_err(|_| StoreError::unreadable(column))
                }
            },
            Self::Postgres(row) => {
                Ok(row.try_get::<Option<PgTime>, _>(column).map_err(StoreError::read)?.map(|time| time.0))
            }
        }
    }

    pub(crate) fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        self.time_opt(column)?.ok_or_else(|| StoreError::unreadable(column))
    }

    /// A `text` or an enum label.
    pub(crate) fn text_opt(&self, column: &str) -> Result<Option<String>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(column).map_err(StoreError::read),
            Self::Postgres(row) => row.try_get_unchecked(column).map_err(StoreError::read),
        }
    }

    pub(crate) fn text(&self, column: &str) -> Result<String, StoreError> {
        self.text_opt(column)?.ok_or_else(|| StoreError::unreadable(column))
    }

    /// A text that stands for one of some values; an unknown one is an error, never a default.
    pub(crate) fn name<T>(&self, column: &str, from_name: fn(&str) -> Option<T>) -> Result<T, StoreError> {
        from_name(&self.text(column)?).ok_or_else(|| StoreError::unreadable(column))
    }

    pub(crate) fn name_opt<T>(&self, column: &str, from_name: fn(&str) -> Option<T>) -> Result<Option<T>, StoreError> {
        match self.text_opt(column)? {
            None => Ok(None),
            Some(name) => from_name(&name).map(Some).ok_or_else(|| StoreError::unreadable(column)),
        }
    }

    /// A column of JSON text.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        serde_json::from_str(&self.text(column)?).map_err(|_| StoreError::unreadable(column))
    }

    pub(crate) fn json_opt<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        match self.text_opt(column)? {
            None => Ok(None),
            Some(text) => serde_json::from_str(&text).map(Some).map_err(|_| StoreError::unreadable(column)),
        }
    }
}

macro_rules! plain_columns {
    ($($get:ident, $get_opt:ident: $type:ty);* $(;)?) => {
        impl DbRow {
            $(
                pub(crate) fn $get_opt(&self, column: &str) -> Result<Option<$type>, StoreError> {
                    match self {
                        Self::Sqlite(row) => row.try_get(column).map_err(StoreError::read),
                        Self::Postgres(row) => row.try_get(column).map_err(StoreError::read),
                    }
                }

                pub(crate) fn $get(&self, column: &str) -> Result<$type, StoreError> {
                    self.$get_opt(column)?.ok_or_else(|| StoreError::unreadable(column))
                }
            )*
        }
    };
}

plain_columns! {
    int, int_opt: i64;
    int32, int32_opt: i32;
    boolean, boolean_opt: bool;
    bytes, bytes_opt: Vec<u8>;
}
