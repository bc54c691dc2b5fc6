//! Changes by people that are more than one event on one row: what is edited is looked up under the lock, a
//! tree is archived as one, and pins keep their order.

use atelier_domain::chat::{Activity, ChatEffect, ChatEvent, EditTarget, WatchKind, pins_arranged};
use atelier_domain::message::{Role, Visibility};
use atelier_domain::{ChatId, MessageId, ModelConfigId, Timestamp, UserId};
use atelier_store::{ChatRow, MessageRow, TitleSource, Tx};

use super::carry_out::{Applied, Locked, carry_out};
use super::contents::{Payload, UserMessage};
use super::{AlsoInTx, CommitError, Commits, lock};
use crate::chats::{ChatUpdate, ChatUpdateError};

impl Commits {
    /// T4: replaces a message of a user and all behind it. `also` sees the new row.
    pub(crate) async fn edit(
        &self,
        chat_id: ChatId,
        message_id: MessageId,
        mut message: UserMessage,
        also: Option<AlsoInTx<MessageRow>>,
    ) -> Result<MessageRow, CommitError> {
        let now = self.now();
        let (applied, row) = self
            .store()
            .write("message_edit", move |tx| {
                Box::pin(async move {
                    let locked = lock(tx, chat_id).await?;
                    let edited = atelier_store::message_get_in_tx(tx, chat_id, message_id).await?;
                    let target = match &edited {
                        Some(row) if row.deleted || row.visibility == Visibility::Model => EditTarget::NotFound,
                        Some(row) if row.role == Role::User => EditTarget::UserMessage(row.id),
                        Some(_) => EditTarget::OtherRole,
                        None => EditTarget::NotFound,
                    };
                    message.model_config_id = message.model_config_id.or(edited.and_then(|row| row.model_config_id));
                    let event = ChatEvent::Edit { at: now, target };
                    let payload = Payload { message: Some(message), ..Payload::default() };
                    let applied = carry_out(tx, locked, event, payload, now).await??;
                    let row = applied.messages.last().cloned().expect("an edit stores the new message");
                    if let Some(also) = also {
                        also(tx, &row).await?;
                    }
                    Ok::<_, CommitError>((applied, row))
                })
            })
            .await?;
        self.published(*applied);
        Ok(row)
    }

    /// T29: the failed turn goes on, with `model` if one is named.
    pub(crate) async fn retry(&self, chat_id: ChatId, model: Option<ModelConfigId>) -> Result<ChatRow, CommitError> {
        let now = self.now();
        let applied = self
            .store()
            .write("chat_retry", move |tx| {
                Box::pin(async move {
                    let mut locked = lock(tx, chat_id).await?;
                    let failed =
                        matches!(locked.chat.state.activity, Activity::Error(_)) && !locked.chat.state.archived;
                    if let Some(model) = model.filter(|_| failed) {
                        atelier_store::chat_model_set_in_tx(tx, chat_id, model).await?;
                        locked.chat.last_model_config_id = model;
                    }
                    Ok::<_, CommitError>(
                        carry_out(tx, locked, ChatEvent::Retry { at: now }, Payload::default(), now).await??,
                    )
                })
            })
            .await?;
        let chat = applied.chat.clone();
        self.published(*applied);
        Ok(chat)
    }

    /// Archives a chat and all below it, or brings them back. What is so already stays as it is.
    pub(crate) async fn archive(&self, chat_id: ChatId, archived: bool) -> Result<(), CommitError> {
        let now = self.now();
        let changes = self
            .store()
            .write("chat_archive", move |tx| {
                Box::pin(async move {
                    pins_lock(tx, chat_id).await?;
                    let locked = lock(tx, chat_id).await?;
                    archive_in_tx(tx, locked, archived, now).await
                })
            })
            .await?;
        self.published_all(changes);
        Ok(())
    }

    /// Changes what people set about a chat: all of it or nothing.
    pub(crate) async fn update(&self, chat_id: ChatId, update: ChatUpdate) -> Result<(), ChatUpdateError> {
        let now = self.now();
        let also_updated = update.title.is_some() && update.has_marks();
        let changes =
            self.store().write("chat_update", move |tx| Box::pin(update_in_tx(tx, chat_id, update, now))).await?;
        let owner = changes.first().map(|applied| applied.chat.owner_id);
        self.published_all(changes);
        if let (Some(owner), true) = (owner, also_updated) {
            self.hubs().publish_watch(owner, chat_id, WatchKind::Updated);
        }
        Ok(())
    }

    fn published_all(&self, changes: Vec<Applied>) {
        for applied in changes {
            self.published(applied);
        }
    }
}

async fn update_in_tx(
    tx: &mut Tx<'_>,
    chat_id: ChatId,
    update: ChatUpdate,
    now: Timestamp,
) -> Result<Vec<Applied>, ChatUpdateError> {
    let mut pinned = Vec::new();
    if update.pin_order.is_some() || update.archived.is_some() {
        let owner = pins_lock(tx, chat_id).await?;
        if update.pin_order.is_some() {
            pinned = atelier_store::chats_pinned_lock_in_tx(tx, owner).await?;
        }
    }
    let mut locked = lock(tx, chat_id).await?;
    let is_archived = locked.chat.state.archived;
    match update.archived {
        Some(true) if is_archived => return Err(ChatUpdateError::AlreadyArchived),
        Some(false) if !is_archived => return Err(ChatUpdateError::NotArchived),
        Some(_) | None => {}
    }
    if update.archived.unwrap_or(is_archived) && update.pin_order.is_some_and(|place| place > 0) {
        return Err(ChatUpdateError::PinOnArchived);
    }
    let mut changes = Vec::new();
    if let Some(place) = update.pin_order {
        let arranged = pins_arranged(&pinned, chat_id, place);
        changes.extend(pins_save(tx, &pinned, &arranged, Some(&mut locked), now).await?);
    }
    let kind = update.title.as_ref().map_or(WatchKind::Updated, |_| WatchKind::TitleChange);
    if update.title.is_some() || update.has_marks() {
        let chat = &mut locked.chat;
        if let Some(title) = update.title {
            (chat.title, chat.title_source) = (title, TitleSource::User);
        }
        if let Some(labels) = update.labels {
            chat.labels = labels;
        }
        if let Some(workspace) = update.workspace_id {
            chat.workspace_id = workspace;
        }
        atelier_store::chat_marks_set_in_tx(tx, chat).await?;
        let mut applied = mark(tx, locked, now).await?;
        for effect in &mut applied.publish {
            if let ChatEffect::Watch(published) = effect {
                *published = kind;
            }
        }
        changes.insert(0, applied);
    }
    if let Some(archived) = update.archived {
        let locked = lock(tx, chat_id).await?;
        changes.extend(archive_in_tx(tx, locked, archived, now).await?);
    }
    Ok(changes)
}

/// Takes the right to arrange the pins of the chat's owner, who is given back.
async fn pins_lock(tx: &mut Tx<'_>, chat: ChatId) -> Result<UserId, CommitError> {
    let owner = atelier_store::chat_get_in_tx(tx, chat).await?.ok_or(CommitError::NotFound)?.owner_id;
    atelier_store::pins_lock_in_tx(tx, owner).await?;
    Ok(owner)
}

/// Saves a new order of pins. The chat at hand gets its place in `own`, which its caller saves; the others
/// are locked already and saved here.
async fn pins_save(
    tx: &mut Tx<'_>,
    before: &[ChatId],
    after: &[ChatId],
    mut own: Option<&mut Locked>,
    now: Timestamp,
) -> Result<Vec<Applied>, CommitError> {
    let place = |order: &[ChatId], chat| order.iter().position(|id| *id == chat).map_or(0, |at| at + 1);
    let mut changes = Vec::new();
    let mut all: Vec<ChatId> = before.iter().chain(after).copied().collect();
    all.sort_unstable();
    all.dedup();
    for chat in all {
        let to = i32::try_from(place(after, chat)).unwrap_or(i32::MAX);
        if let Some(own) = own.as_deref_mut().filter(|own| own.chat.id == chat) {
            own.chat.state.pin_order = to;
        } else if place(before, chat) != place(after, chat) {
            let mut locked = lock(tx, chat).await?;
            locked.chat.state.pin_order = to;
            changes.push(mark(tx, locked, now).await?);
        }
    }
    Ok(changes)
}

/// Saves a row in which something was set that changes no status.
async fn mark(tx: &mut Tx<'_>, locked: Locked, now: Timestamp) -> Result<Applied, CommitError> {
    let event = ChatEvent::SetMeta { visible: true };
    Ok(*carry_out(tx, locked, event, Payload::default(), now).await??)
}

/// The chat and, if it is a root, its whole tree; then the pins of its owner without a gap.
async fn archive_in_tx(
    tx: &mut Tx<'_>,
    mut locked: Locked,
    archived: bool,
    now: Timestamp,
) -> Result<Vec<Applied>, CommitError> {
    let ChatRow { id, root_chat_id, owner_id, .. } = locked.chat;
    let was_pinned = locked.chat.state.pin_order > 0;
    let is_root = locked.chat.state.is_root;
    if !is_root {
        let root = atelier_store::chat_get_in_tx(tx, root_chat_id).await?;
        locked.chat.state.root_archived = root.is_some_and(|root| root.state.archived);
    }
    let event = |at| if archived { ChatEvent::Archive { at } } else { ChatEvent::Unarchive { at } };
    let mut changes = vec![*carry_out(tx, locked, event(now), Payload::default(), now).await??];
    if is_root {
        for child in atelier_store::chats_below_root_in_tx(tx, id).await? {
            let locked = lock(tx, child).await?;
            changes.push(*carry_out(tx, locked, event(now), Payload::default(), now).await??);
        }
    }
    if archived && was_pinned {
        changes.extend(pins_close(tx, owner_id, now).await?);
    }
    Ok(changes)
}

/// Numbers the pins that are left anew.
async fn pins_close(tx: &mut Tx<'_>, owner: UserId, now: Timestamp) -> Result<Vec<Applied>, CommitError> {
    let mut changes = Vec::new();
    for (chat, to) in atelier_store::chats_pinned_lock_in_tx(tx, owner).await?.into_iter().zip(1..) {
        let mut locked = lock(tx, chat).await?;
        if locked.chat.state.pin_order != to {
            locked.chat.state.pin_order = to;
            changes.push(mark(tx, locked, now).await?);
        }
    }
    Ok(changes)
}
