//! The full-text index over messages. What a word is, is decided by `atelier_domain::search`.

use atelier_domain::message::Visibility;
use atelier_domain::search::{Phrase, index_rows, searched_text, words};
use atelier_domain::{ChatId, MessageId};

use crate::database::{Engine, Store, Tx};
use crate::error::StoreError;
use crate::messages::{MessageNew, content_parts, role_from_name};
use crate::statement::{ValuesInsert, statements};
use crate::value::{Arg, args, ids};

/// Row ids of SQLite's index: a message's id times this, plus the number of the piece.
const PIECES: i64 = 65_536;

statements! {
    SEARCH_INSERT = {
        sqlite: "INSERT INTO chat_search (rowid, words) VALUES (?, ?)",
        postgres: "INSERT INTO chat_search (chat_id, message_id, piece, words)
            SELECT $1, b.message_id, b.piece, b.words::tsvector
            FROM unnest($2::bigint[], $3::bigint[], $4::text[]) AS b (message_id, piece, words)"
    };
    SEARCH_DELETE_FROM = {
        sqlite: "DELETE FROM chat_search WHERE rowid IN (SELECT s.rowid FROM chat_messages m
            JOIN chat_search s ON s.rowid BETWEEN m.id * 65536 AND m.id * 65536 + 65535
            WHERE m.chat_id = $1 AND m.id >= $2 AND m.role IN ('user', 'assistant') AND NOT m.deleted)",
        postgres: "DELETE FROM chat_search WHERE chat_id = $1 AND message_id >= $2"
    };
    SEARCH_HITS = {
        sqlite: "SELECT chat_id, message_id, role, content, content_version FROM (
            SELECT m.chat_id, m.id AS message_id, m.role, m.content, m.content_version, ROW_NUMBER() OVER
                (PARTITION BY m.chat_id ORDER BY COUNT(DISTINCT term.key) DESC, m.id DESC) AS place
            FROM json_each($1) term JOIN chat_search s ON s.words MATCH term.value
            JOIN chat_messages m ON m.id = s.rowid / 65536
            WHERE m.chat_id IN (SELECT value FROM json_each($2)) GROUP BY m.id) best WHERE place = 1",
        postgres: "SELECT m.chat_id, m.id AS message_id, m.role, m.content, m.content_version FROM (
            SELECT s.chat_id, s.message_id, ROW_NUMBER() OVER
                (PARTITION BY s.chat_id ORDER BY COUNT(DISTINCT term.at) DESC, s.message_id DESC) AS place
            FROM unnest($1::text[]) WITH ORDINALITY AS term (query, at) JOIN chat_search s ON s.words @@ term.query::tsquery
            WHERE s.chat_id = ANY($2) GROUP BY s.chat_id, s.message_id) best
            JOIN chat_messages m ON m.id = best.message_id WHERE best.place = 1"
    };
}

const INSERT_VALUES: ValuesInsert =
    ValuesInsert { head: "INSERT INTO chat_search (rowid, words) VALUES ", row: "(?, ?)", tail: "" };

/// A message in which something was found.
#[derive(Clone, Debug)]
pub struct SearchHit {
    pub chat_id: ChatId,
    pub message_id: MessageId,
    /// Its texts, joined by line ends.
    pub text: String,
}

/// A title's words with a space before each.
pub(crate) fn title_words(title: &str) -> String {
    words(title).iter().flat_map(|word| [" ", word.text.as_str()]).collect()
}

/// Phrases in the database's own query language. Folded words need no escaping: letters and digits only.
pub(crate) fn queries(engine: Engine, phrases: &[Phrase]) -> Arg {
    let query = |phrase: &Phrase| match engine {
        Engine::Sqlite => format!("\"{}\" *", phrase.words().join(" ")),
        Engine::Postgres => format!("'{}':*", phrase.words().join("' <-> '")),
    };
    Arg::Texts(phrases.iter().map(|phrase| Some(query(phrase))).collect())
}

/// Phrases as patterns over the words of a title.
pub(crate) fn title_patterns(phrases: &[Phrase]) -> Arg {
    Arg::Texts(phrases.iter().map(|phrase| Some(format!("% {}%", phrase.words().join(" ")))).collect())
}

/// Makes messages findable; one statement, none for messages without text.
pub(crate) async fn search_insert_in_tx(
    tx: &mut Tx<'_>,
    chat: ChatId,
    messages: impl Iterator<Item = (i64, &MessageNew)>,
) -> Result<(), StoreError> {
    let mut pieces = Vec::new();
    for (id, message) in messages {
        let rows = index_rows(&searched_text(message.role, message.visibility, &message.parts));
        pieces.extend((0..PIECES).zip(rows).map(|(piece, words)| (id, piece, words)));
    }
    if pieces.is_empty() {
        return Ok(());
    }
    match tx.engine() {
        Engine::Sqlite => {
            let rows =
                pieces.into_iter().map(|(id, piece, words)| args![id * PIECES + piece, words.join(" ")]).collect();
            tx.insert_values(&INSERT_VALUES, rows).await.map(|_| ())
        }
        Engine::Postgres => {
            let places = |words: Vec<String>| {
                let place = |(at, word)| format!("'{word}':{at}");
                (1..).zip(words).map(place).collect::<Vec<String>>().join(" ")
            };
            let mut args = args![chat];
            args.push(Arg::Ints(pieces.iter().map(|(id, ..)| Some(*id)).collect()));
            args.push(Arg::Ints(pieces.iter().map(|(_, piece, _)| Some(*piece)).collect()));
            args.push(Arg::Texts(pieces.into_iter().map(|(.., words)| Some(places(words))).collect()));
            tx.run(SEARCH_INSERT, args).await.map(|_| ())
        }
    }
}

/// Takes a chat's messages from `from` on out of the index. To be called before they are deleted.
pub(crate) async fn search_delete_from_in_tx(tx: &mut Tx<'_>, chat: ChatId, from: MessageId) -> Result<(), StoreError> {
    tx.run(SEARCH_DELETE_FROM, args![chat, from]).await.map(|_| ())
}

impl Store {
    /// For each of these chats the message that holds most of the phrases, the newest of them; chats without one
    /// are absent.
    pub async fn search_hits_for_system(
        &self,
        chats: &[ChatId],
        phrases: &[Phrase],
    ) -> Result<Vec<SearchHit>, StoreError> {
        let rows = self.fetch_all(SEARCH_HITS, vec![queries(self.engine(), phrases), ids(chats)]).await?;
        rows.iter()
            .map(|row| {
                let role = row.name("role", role_from_name)?;
                let parts = content_parts(role, row.int32("content_version")?, &row.text("content")?)?;
                Ok(SearchHit {
                    chat_id: row.id("chat_id")?,
                    message_id: MessageId(row.int("message_id")?),
                    text: searched_text(role, Visibility::Both, &parts),
                })
            })
            .collect()
    }
}
