//! Finding chats: a user's list with its filters.

use atelier_domain::search::{Phrase, fold};
use atelier_domain::{ChatId, ModelConfigId, UserId, WorkspaceId};

use crate::chats::{ChatRow, chat_columns};
use crate::database::{Engine, Store};
use crate::error::StoreError;
use crate::search::{queries, title_patterns};
use crate::statement::{Statement, statements};
use crate::value::{Arg, args, ids};

/// Where a chat stands in its list: pinned chats by their place, all others behind them. Highest first, as the
/// times and ids that follow: so a page begins with one look into the index `chats_place`.
macro_rules! place {
    () => {
        "(CASE WHEN pin_order > 0 THEN -pin_order ELSE -2147483647 END)"
    };
}

/// Whether a chat is looked for: $2 and $5 to $14. The casts name the types for PostgreSQL.
macro_rules! fits {
    ($labels:literal, $hits:literal) => {
        concat!(
            "archived = $2
            AND (CAST($5 AS text) IS NULL OR title_folded LIKE $5 ESCAPE '\\')
            AND (CAST($6 AS boolean) IS NULL OR (last_answer_id > last_read_message_id) = $6)
            AND (CAST($7 AS text) IS NULL OR ",
            $labels,
            ")
            AND (CAST($8 AS text) IS NULL OR last_model_config_id IN (SELECT m.id FROM model_configs m
                WHERE m.id = $9 OR lower(m.model) LIKE $8 ESCAPE '\\'))
            AND (CAST($11 AS text) IS NULL OR workspace_id IN (SELECT w.id FROM workspaces w WHERE w.id = $10 OR w.name = $11))
            AND ($14 = 0 OR id IN (",
            $hits,
            "))"
        )
    };
}

/// Chats of $1 that fit, in list order; with `from_after`, only those behind the chat $15.
macro_rules! find {
    ($from:expr, $fits:expr) => {
        concat!(
            "SELECT ",
            chat_columns!(),
            " FROM ",
            $from,
            " WHERE owner_id = $1 AND ",
            $fits,
            " ORDER BY ",
            place!(),
            " DESC, updated_at DESC, id DESC LIMIT $3 OFFSET $4"
        )
    };
}

macro_rules! from_after {
    () => {
        concat!(
            "(SELECT ",
            place!(),
            " AS after_place, updated_at AS after_updated_at, id AS after_id FROM chats WHERE id = $15 AND owner_id = $1)
            after_chat JOIN chats ON (",
            place!(),
            ", updated_at, id) < (after_place, after_updated_at, after_id)"
        )
    };
}

/// Roots that fit or have a child that does.
macro_rules! is_root_of_fitting {
    ($fits:expr) => {
        concat!("id = root_chat_id AND id IN (SELECT root_chat_id FROM chats WHERE owner_id = $1 AND ", $fits, ")")
    };
}

macro_rules! fits_sqlite {
    () => {
        fits!(
            "NOT EXISTS (SELECT 1 FROM json_each($7) want WHERE NOT EXISTS (SELECT 1 FROM json_each(labels) label
                WHERE label.key = want.value ->> 0 AND (want.value ->> 1 IS NULL OR label.value = want.value ->> 1)))",
            "SELECT hit.chat_id FROM (
                SELECT term.key AS term, m.chat_id FROM json_each($12) term JOIN chat_search s ON s.words MATCH term.value
                    JOIN chat_messages m ON m.id = s.rowid / 65536
                UNION
                SELECT term.key, c.id FROM json_each($13) term
                    JOIN chats c ON c.owner_id = $1 AND c.title_words LIKE term.value
                ) hit GROUP BY hit.chat_id HAVING COUNT(*) = $14"
        )
    };
}

macro_rules! fits_postgres {
    () => {
        fits!(
            "NOT EXISTS (SELECT 1 FROM json_array_elements($7::json) want WHERE NOT EXISTS (
                SELECT 1 FROM json_each_text(labels::json) label
                WHERE label.key = want ->> 0 AND (want ->> 1 IS NULL OR label.value = want ->> 1)))",
            "SELECT hit.chat_id FROM (
                SELECT term.at, s.chat_id FROM unnest($12::text[]) WITH ORDINALITY AS term (query, at)
                    JOIN chat_search s ON s.words @@ term.query::tsquery
                UNION
                SELECT term.at, c.id FROM unnest($13::text[]) WITH ORDINALITY AS term (pattern, at)
                    JOIN chats c ON c.owner_id = $1 AND c.title_words LIKE term.pattern
                ) hit GROUP BY hit.chat_id HAVING COUNT(*) = $14"
        )
    };
}

statements! {
    CHATS_FIND = { sqlite: find!("chats", fits_sqlite!()), postgres: find!("chats", fits_postgres!()) };
    CHATS_FIND_AFTER = {
        sqlite: find!(from_after!(), fits_sqlite!()),
        postgres: find!(from_after!(), fits_postgres!())
    };
    CHATS_FIND_ROOTS = {
        sqlite: find!("chats", is_root_of_fitting!(fits_sqlite!())),
        postgres: find!("chats", is_root_of_fitting!(fits_postgres!()))
    };
    CHATS_FIND_ROOTS_AFTER = {
        sqlite: find!(from_after!(), is_root_of_fitting!(fits_sqlite!())),
        postgres: find!(from_after!(), is_root_of_fitting!(fits_postgres!()))
    };
    CHATS_CHILDREN = {
        sqlite: concat!("SELECT ", chat_columns!(), " FROM chats WHERE root_chat_id IN (SELECT value FROM json_each($1))
            AND id <> root_chat_id AND archived = $2 ORDER BY updated_at DESC, id DESC"),
        postgres: concat!("SELECT ", chat_columns!(), " FROM chats WHERE root_chat_id = ANY($1)
            AND id <> root_chat_id AND archived = $2 ORDER BY updated_at DESC, id DESC")
    };
}

/// Which part of a list of chats.
#[derive(Clone, Copy, Debug)]
pub struct ChatPage {
    /// Only chats behind this one, in list order. Behind an unknown one there is nothing.
    pub after: Option<ChatId>,
    pub limit: i64,
    pub offset: i64,
}

/// Which chats. What is not set does not matter; all that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct ChatFilter {
    pub archived: bool,
    /// Text contained in the title, without regard to case and marks.
    pub title: Option<String>,
    pub has_unread: Option<bool>,
    /// Keys, and the values they must have.
    pub labels: Vec<(String, Option<String>)>,
    /// A model config's id, or a part of its model's name.
    pub model: Option<String>,
    /// A workspace's id or name.
    pub workspace: Option<String>,
    /// Each stands in the title or in a message.
    pub phrases: Vec<Phrase>,
}

impl ChatFilter {
    /// In order of `fits!`: $5 to $14.
    fn args(&self, engine: Engine) -> Vec<Arg> {
        let labels = (!self.labels.is_empty())
            .then(|| serde_json::to_string(&self.labels).expect("lists of strings always serialize"));
        let model_id = self.model.as_deref().and_then(|model| model.parse::<ModelConfigId>().ok());
        let workspace_id = self.workspace.as_deref().and_then(|workspace| workspace.parse::<WorkspaceId>().ok());
        let mut args = args![
            self.title.as_deref().map(|title| contains(&fold(title))),
            self.has_unread,
            labels,
            self.model.as_deref().map(|model| contains(&model.to_lowercase())),
            model_id,
            workspace_id,
            self.workspace.clone(),
        ];
        args.push(queries(engine, &self.phrases));
        args.push(title_patterns(&self.phrases));
        args.push(Arg::from(i64::try_from(self.phrases.len()).unwrap_or(i64::MAX)));
        args
    }
}

/// A pattern of LIKE for a text that contains this one.
fn contains(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

impl Store {
    /// A user's own chats that fit: pinned first, then by the last update.
    pub async fn chat_list(
        &self,
        owner: UserId,
        filter: &ChatFilter,
        page: ChatPage,
    ) -> Result<Vec<ChatRow>, StoreError> {
        self.chats_find(CHATS_FIND, CHATS_FIND_AFTER, owner, filter, page).await
    }

    /// A user's own root chats that fit, or of which a child does, in the same order.
    pub async fn chat_list_roots(
        &self,
        owner: UserId,
        filter: &ChatFilter,
        page: ChatPage,
    ) -> Result<Vec<ChatRow>, StoreError> {
        self.chats_find(CHATS_FIND_ROOTS, CHATS_FIND_ROOTS_AFTER, owner, filter, page).await
    }

    async fn chats_find(
        &self,
        first: Statement,
        behind: Statement,
        owner: UserId,
        filter: &ChatFilter,
        page: ChatPage,
    ) -> Result<Vec<ChatRow>, StoreError> {
        let mut args = args![owner, filter.archived, page.limit, page.offset];
        args.extend(filter.args(self.engine()));
        args.extend(page.after.map(Arg::from));
        self.fetch_all(if page.after.is_none() { first } else { behind }, args)
            .await?
            .iter()
            .map(ChatRow::read)
            .collect()
    }

    /// The chats below these roots, newest first.
    pub async fn chat_children_for_system(&self, roots: &[ChatId], archived: bool) -> Result<Vec<ChatRow>, StoreError> {
        let rows = self.fetch_all(CHATS_CHILDREN, vec![ids(roots), Arg::from(archived)]).await?;
        rows.iter().map(ChatRow::read).collect()
    }
}
