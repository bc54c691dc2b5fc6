//! Files of chats: their rows, which chats use them, and their bytes.
//!
//! Bytes are kept once by content, in the database or in a folder. The row of a file says where its bytes
//! lie: a changed setting holds for new files and moves nothing.

use std::path::{Path, PathBuf};

use atelier_domain::message::MessagePart;
use atelier_domain::{ChatId, FileId, OrganizationId, Timestamp, UserId, named_enum};
use sha2::{Digest as _, Sha256};

use crate::database::{Engine, Store, Tx};
use crate::error::StoreError;
use crate::secrets::hex;
use crate::statement::statements;
use crate::value::{DbRow, args, ids};

macro_rules! columns {
    () => {
        "id, hash, owner_id, organization_id, name, media_type, size, place, created_at"
    };
}

/// Files that no message has used since $1.
macro_rules! unused {
    () => {
        "created_at < $1 AND NOT EXISTS (SELECT 1 FROM chat_file_links l WHERE l.file_id = chat_files.id)"
    };
}

statements! {
    // the update waits for a removal of the same bytes that is under way
    BLOB_PUT = "INSERT INTO blobs (hash, data) VALUES ($1, $2) ON CONFLICT (hash) DO UPDATE SET hash = excluded.hash";
    BLOB_GET = "SELECT data FROM blobs WHERE hash = $1";
    BLOB_DELETE = "DELETE FROM blobs WHERE hash = $1
        AND NOT EXISTS (SELECT 1 FROM chat_files f WHERE f.hash = $1 AND f.place = 'database')";
    FILE_INSERT = (concat!("INSERT INTO chat_files (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"));
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
        " ORDER BY id LIMIT $2) RETURNING hash, place"));
    FILES_WITH_HASH = "SELECT COUNT(*) AS files FROM chat_files WHERE hash = $1 AND place = 'directory'";
    // nobody stores or uses a file while unused ones are removed
    FILES_LOCK = { postgres: "LOCK TABLE chat_files IN SHARE ROW EXCLUSIVE MODE" };
}

named_enum! {
    /// Where the bytes of a file lie.
    BlobPlace {
        Database = "database",
        Directory = "directory",
    }
}

/// Where bytes of new files go, and the folder that old ones may lie in.
#[derive(Clone, Debug)]
pub struct BlobsConfig {
    pub place: BlobPlace,
    pub folder: PathBuf,
}

/// Bytes outside of the database.
pub(crate) struct Blobs {
    config: BlobsConfig,
    /// Held while bytes are put or removed: what is being stored is not swept.
    guard: tokio::sync::Mutex<()>,
}

impl Blobs {
    pub(crate) fn new(config: BlobsConfig) -> Self {
        Self { config, guard: tokio::sync::Mutex::new(()) }
    }

    /// Two levels, so that no folder holds too many.
    fn path(&self, hash: &str) -> PathBuf {
        self.config.folder.join(&hash[..2]).join(hash)
    }
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
    pub place: BlobPlace,
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
            place: row.name("place", BlobPlace::from_name)?,
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
    /// The database's, or the folder's.
    pub async fn file_create(&self, file: FileNew, data: Vec<u8>, now: Timestamp) -> Result<FileRow, StoreError> {
        let blobs = self.blobs();
        let row = FileRow {
            id: FileId::new(),
            hash: hex(&Sha256::digest(&data)),
            owner_id: file.owner_id,
            organization_id: file.organization_id,
            name: file.name,
            media_type: file.media_type,
            size: i64::try_from(data.len()).unwrap_or(i64::MAX),
            place: blobs.config.place,
            created_at: now,
        };
        let _guard = blobs.guard.lock().await;
        let data = match row.place {
            BlobPlace::Database => Some(data),
            BlobPlace::Directory => {
                write(blobs.path(&row.hash), data).await?;
                None
            }
        };
        let stored = row.clone();
        self.write("file_create", move |tx| {
            Box::pin(async move {
                if let Some(data) = data {
                    tx.run(BLOB_PUT, args![stored.hash.clone(), data]).await?;
                }
                let args = args![
                    stored.id,
                    stored.hash,
                    stored.owner_id,
                    stored.organization_id,
                    stored.name,
                    stored.media_type,
                    stored.size,
                    stored.place.as_str(),
                    stored.created_at,
                ];
                tx.run(FILE_INSERT, args).await
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
    pub async fn file_bytes_for_system(&self, file: &FileRow) -> Result<Option<Vec<u8>>, StoreError> {
        match file.place {
            BlobPlace::Database => {
                self.fetch_first(BLOB_GET, args![file.hash.clone()]).await?.map(|row| row.bytes("data")).transpose()
            }
            BlobPlace::Directory => match tokio::fs::read(self.blobs().path(&file.hash)).await {
                Ok(data) => Ok(Some(data)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(StoreError::Files(error)),
            },
        }
    }

    /// Removes files that nobody has used since `before`, at most `limit`; how many.
    pub async fn files_remove_unused(&self, before: Timestamp, limit: i64) -> Result<usize, StoreError> {
        let blobs = self.blobs();
        let _guard = blobs.guard.lock().await;
        let removed = self
            .write("files_remove_unused", move |tx| {
                Box::pin(async move {
                    if tx.engine() == Engine::Postgres {
                        tx.run(FILES_LOCK, Vec::new()).await?;
                    }
                    let mut removed = Vec::new();
                    for row in tx.all(FILES_UNUSED, args![before, limit]).await? {
                        let (hash, place) = (row.text("hash")?, row.name("place", BlobPlace::from_name)?);
                        if place == BlobPlace::Database {
                            tx.run(BLOB_DELETE, args![hash.clone()]).await?;
                        }
                        removed.push((hash, place));
                    }
                    Ok::<_, StoreError>(removed)
                })
            })
            .await?;
        for (hash, _) in removed.iter().filter(|(_, place)| *place == BlobPlace::Directory) {
            let left = self.fetch_first(FILES_WITH_HASH, args![hash.clone()]).await?;
            if left.map(|row| row.int("files")).transpose()?.unwrap_or(0) == 0 {
                match tokio::fs::remove_file(blobs.path(hash)).await {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(StoreError::Files(error)),
                    _ => {}
                }
            }
        }
        Ok(removed.len())
    }
}

/// Writes the bytes so that the file is there whole or not at all, also after a power cut.
async fn write(path: PathBuf, data: Vec<u8>) -> Result<(), StoreError> {
    let written = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut file, &data)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        std::fs::File::open(folder)?.sync_all()
    })
    .await;
    match written {
        Ok(written) => written.map_err(StoreError::Files),
        Err(error) => Err(StoreError::Files(std::io::Error::other(error))),
    }
}
