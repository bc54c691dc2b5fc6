//! One id type per kind of thing, so that two kinds cannot be swapped by mistake.
//!
//! Things with identity of their own are UUIDv7 (plain, lower case on the wire). Messages and queue
//! entries are `i64` sequences: their order is the order of commits within a chat.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh id (UUIDv7, so ids sort by the time they were made).
            #[must_use]
            #[allow(clippy::new_without_default, reason = "an id is made on purpose, never by default")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The nil id, which names nothing.
            #[must_use]
            pub const fn nil() -> Self {
                Self(Uuid::nil())
            }

            #[must_use]
            pub const fn is_nil(&self) -> bool {
                self.0.is_nil()
            }

            #[must_use]
            pub const fn uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(s).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )*};
}

macro_rules! sequence_id {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl $name {
            #[must_use]
            pub const fn get(&self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )*};
}

uuid_id! {
    UserId,
    OrganizationId,
    GroupId,
    SessionId,
    ApiTokenId,
    ChatId,
    FileId,
    WorkspaceId,
    BuildId,
    AgentId,
    TemplateId,
    TemplateVersionId,
    ProviderId,
    ModelConfigId,
    McpServerId,
    /// One paid request to a model; made before the request, so a row cannot come twice.
    ModelCallId,
    /// The uid of a tool call. The workspace agent begins a token at most once.
    CallToken,
    /// One life of one replica. Leases and ownership of runs name it.
    Incarnation,
}

sequence_id! {
    MessageId,
    QueueEntryId,
}
