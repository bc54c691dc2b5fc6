//! Operations on chats, for handlers and for tools alike.
//!
//! Arguments are parsed and checked (rights, models, sizes) before they come here; what may happen to the
//! chat is decided in the transaction. Nothing here knows HTTP. Usage limits are not looked at yet: their
//! check belongs into the transaction that admits a message, in front of the event.

mod create;
mod edit;
mod interrupt;
mod queue;
mod retry;
mod send;
mod update;

use crate::commit::Commits;

pub use self::create::ChatCreate;
pub use self::edit::MessageEdit;
pub use self::queue::Promoted;
pub use self::send::{MessageSend, Sent};
pub use self::update::{ChatUpdate, ChatUpdateError};

/// The operations. Cheap to clone.
#[derive(Clone)]
pub struct Chats {
    commits: Commits,
}

impl Chats {
    #[must_use]
    pub const fn new(commits: Commits) -> Self {
        Self { commits }
    }
}
