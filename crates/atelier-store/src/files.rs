//! Files of chats: their rows, and which chats use them. Their bytes are kept once by content (`blobs`).

use atelier_domain::message::MessagePart;
use atelier_domain::{ChatId, FileId, OrganizationId, Timestamp, UserId};
use sha2::{Digest as _, Sha256};

use crate::blobs::{blob_delete_in_tx, blob_put_in_tx};
use crate::database::{Engine, Store, Tx};
use crate::error::StoreError;
use crate::secrets::hex;
use crate::statement::statements;
use crate::value::{DbRow, args, ids};

macro_rules! columns {
    () => {
        "id, hash, owner_id, organization_id, name, media_type, size, created_at"
    };
}

/// Files that no message has used since $1.
macro_rules! unused {
    () => {
        "created_at < $1 AND NOT EXISTS (SELECT 1 FROM chat_file_links l WHERE l.file_id = chat_files.id)"
    };
}

statements! {
    FILE_INSERT = (concat!("INSERT INTO chat_files (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"));
    FILES_GET = {
        sqlite: concat!("SELECT ", columns!(), " FROM chat_files WHERE id IN (SELECT value FROM json_each($1))"),
        postgres: concat!("SELECT ", columns!(), " FROM chat_files WHERE id = ANY($1)")
    };
    FILE_CHAT_OWNERS = "SELECT DISTINCT c.owner_id FROM chat_file_links l JOIN chats c ON c.id = l.chat_id
        WHERE l.file_id = $1 LIMIT 1000";
    FILES_LINK = {
        sqlite: "INSERT INTO chat_file_links (chat_id, file_id) SELECT $1, f.id FROM chat_files f
            WHERE f.id IN (SELECT value FROM json_each($2)) ON CONFLICT DO NOTHING",
        postgres: "INSERT INTO chat_file_links (chat_id, file_id) SELECT $1, f.id FROM chat_files f
            WHERE f.id = ANY($2) ON CONFLICT DO NOTHING"
    };
    FILES_UNUSED = (concat!("DELETE FROM chat_files WHERE id IN (SELECT id FROM chat_files WHERE ", unused!(),
        " ORDER BY id LIMIT $2) RETURNING hash"));
    // nobody stores or uses a file while unused ones are removed
    FILES_LOCK = { postgres: "LOCK TABLE chat_files, chat_file_links IN SHARE ROW EXCLUSIVE MODE" };
}

/// A stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow {
    pub id: FileId,
    /// SHA-256 of the bytes in hexadecimal.
    pub hash: String,
    pub owner_id: UserId,
    pub organization_id: OrganizationId,
    pub name: String,
    pub media_type: String,
    /// Bytes.
    pub size: i64,
    pub created_at: Timestamp,
}

impl FileRow {
    fn read(row: &DbRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id("id")?,
            hash: row.text("hash")?,
            owner_id: row.id("owner_id")?,
            organization_id: row.id("organization_id")?,
            name: row.text("name")?,
            media_type: row.text("media_type")?,
            size: row.int("size")?,
            created_at: row.time("created_at")?,
        })
    }
}

/// A file to be stored.
#[derive(Clone, Debug)]
pub struct FileNew {
    pub owner_id: UserId,
    pub organization_id: OrganizationId,
    pub name: String,
    pub media_type: String,
}

/// Notes that a chat uses the files of these parts: its readers may read them, and they stay.
pub(crate) async fn files_link_in_tx<'a>(
    tx: &mut Tx<'_>,
    chat: ChatId,
    parts: impl Iterator<Item = &'a MessagePart>,
) -> Result<(), StoreError> {
    let files: Vec<FileId> = parts
        .filter_map(|part| match part {
            MessagePart::File(file) => file.file_id,
            _ => None,
        })
        .collect();
    if files.is_empty() {
        return Ok(());
    }
    let mut args = args![chat];
    args.push(ids(&files));
    tx.run(FILES_LINK, args).await.map(|_| ())
}

impl Store {
    /// Stores a file's bytes and its row.
    ///
    /// # Errors
    /// The database's, or those of the place that the bytes go to.
    pub async fn file_create(&self, file: FileNew, data: Vec<u8>, now: Timestamp) -> Result<FileRow, StoreError> {
        let row = FileRow {
            id: FileId::new(),
            hash: hex(&Sha256::digest(&data)),
            owner_id: file.owner_id,
            organization_id: file.organization_id,
            name: file.name,
            media_type: file.media_type,
            size: i64::try_from(data.len()).unwrap_or(i64::MAX),
            created_at: now,
        };
        let blob = self.blob_upload(&row.hash, data, now).await?;
        let stored = row.clone();
        self.write("file_create", move |tx| {
            Box::pin(async move {
                let args = args![
                    stored.id,
                    stored.hash.clone(),
                    stored.owner_id,
                    stored.organization_id,
                    stored.name,
                    stored.media_type,
                    stored.size,
                    stored.created_at,
                ];
                tx.run(FILE_INSERT, args).await?;
                blob_put_in_tx(tx, &stored.hash, blob).await
            })
        })
        .await?;
        Ok(row)
    }

    /// The rows of these files, in no order; unknown ones are absent.
    pub async fn files_get_for_system(&self, files: &[FileId]) -> Result<Vec<FileRow>, StoreError> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        self.fetch_all(FILES_GET, vec![ids(files)]).await?.iter().map(FileRow::read).collect()
    }

    /// Owners of the chats that use a file.
    pub async fn file_chat_owners(&self, file: FileId) -> Result<Vec<UserId>, StoreError> {
        self.fetch_all(FILE_CHAT_OWNERS, args![file]).await?.iter().map(|row| row.id("owner_id")).collect()
    }

    /// A file's bytes; none if they are lost.
    ///
    /// # Errors
    /// The database's, or those of the place that the bytes lie in.
    pub async fn file_bytes_for_system(&self, file: &FileRow) -> Result<Option<Vec<u8>>, StoreError> {
        self.blob_get(&file.hash).await
    }

    /// Removes files that nobody has used since `before`, at most `limit`, and bytes that nothing names; how
    /// many files.
    ///
    /// # Errors
    /// The database's, or the last one of the places that bytes lie in: those bytes are tried again.
    pub async fn files_remove_unused(
        &self,
        now: Timestamp,
        before: Timestamp,
        limit: i64,
    ) -> Result<usize, StoreError> {
        let removed = self
            .write("files_remove_unused", move |tx| {
                Box::pin(async move {
                    if tx.engine() == Engine::Postgres {
                        tx.run(FILES_LOCK, Vec::new()).await?;
                    }
                    let removed = tx.all(FILES_UNUSED, args![before, limit]).await?;
                    for row in &removed {
                        blob_delete_in_tx(tx, row.text("hash")?, now).await?;
                    }
                    Ok::<_, StoreError>(removed.len())
                })
            })
            .await?;
        self.blobs_remove_due(now, limit).await?;
        Ok(removed)
    }
}
