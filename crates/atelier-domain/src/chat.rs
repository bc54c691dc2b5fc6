//! The chat's state machine: what may happen to a chat, and what must then be written.
//!
//! This module owns every decision about a chat's life: whether a message starts a turn or queues, what a
//! stop does, when a run has lost its right to write. It leaves reading and writing to the daemon, which
//! locks the chat row, builds a [`ChatState`], calls [`apply`] and carries out the returned effects in
//! their order in the same transaction.
//!
//! ```text
//!            create, send, edit, promote
//!      ┌───────────────────────────────────────┐
//!      │                                       ▼
//!  ┌───┴─────┐                            ┌─────────┐   claim (epoch+1)   ┌─────────┐
//!  │ Waiting │◀───── interrupt ───────────│ Pending │────────────────────▶│ Running │
//!  └───▲─────┘                            └─────────┘◀──── hand-over, ────└──┬───┬──┘
//!      │                                     ▲    ▲        lease ended       │   │ interrupt, send now,
//!      │   settled, queue empty              │    │  settled, entry popped   │   │ promote, archive, ...
//!      ├─────────────────────────────────────┼────┼──────────────────────────┤   ▼
//!      │                                     │    │                          │ ┌──────────┐
//!      │                                     │    └──────────────────────────┼─│ Stopping │
//!      ├─────────────────────────────────────┼───────────────────────────────┼─└──────────┘
//!      │ interrupt                           │ send, edit, promote           │ failed
//!      │                                  ┌──┴────┐                          │
//!      └──────────────────────────────────│ Error │◀─────────────────────────┘
//!                                         └───────┘
//! ```
//!
//! `archived` lies beside it: an archived chat is `Waiting`, `Error`, or `Stopping` until its run has
//! settled; it is never `Pending` and never `Running`.
//!
//! Invariants (each has a property test):
//! - the epoch never falls and is odd exactly while a run owns the chat (`Running`, `Stopping`);
//! - a run whose epoch differs is [`TransitionError::Lost`] and changes nothing;
//! - the queue holds at most [`QUEUE_MAX`] entries, and each becomes one message or is deleted;
//! - a settle that ends in `Waiting` leaves no entry, unless the stop was `close`, `tree` or `archive`;
//! - calls are open only in `Pending`, `Running` and `Stopping`, and have results before a user message.

mod effect;
mod event;
mod pins;
mod rules;
mod state;
mod title;
mod transition;

#[cfg(test)]
mod properties;

pub use effect::{ChatEffect, StopScope, WatchKind};
pub use event::{Admission, BusyBehavior, CallOutcome, ChatEvent, EditTarget, Needs, StepAnswer};
pub use pins::pins_arranged;
pub use state::{
    Activity, CallClass, CallState, ChatState, ChatStatus, EntryRef, OpenCall, QueueEntry, RetryInfo, StopKind,
};
pub use title::title_from_parts;
pub use transition::{TransitionError, apply, create};

/// Entries a chat's queue holds at most.
pub const QUEUE_MAX: usize = 20;

/// Takeovers of one step after which the chat fails instead of being taken over again.
pub const TAKEOVERS_MAX: i32 = 4;
