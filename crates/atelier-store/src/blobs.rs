//! Bytes of files by their content: in the database, in a folder, or in an S3-compatible bucket.
//!
//! A row of `blobs` says where the bytes of one content lie. A changed setting holds for new content and
//! moves nothing.
//!
//! Outside of the database every upload gets a key of its own, and the key is noted for removal before
//! anything is stored under it. The transaction that stores the file takes the note back if the content is
//! new; otherwise the note stands, and the second copy goes. So a server that dies in between leaves nothing
//! behind, and one replica can store a content while another removes it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atelier_domain::{Timestamp, named_enum};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _, RetryConfig};
use uuid::Uuid;

use crate::database::{Store, Tx};
use crate::error::StoreError;
use crate::secrets::SecretString;
use crate::statement::statements;
use crate::value::args;

/// Longer than any upload takes from its note to its row.
const UPLOAD_MAX: Duration = Duration::from_hours(1);
/// After a removal that failed.
const REMOVE_AGAIN: Duration = Duration::from_hours(24);
/// One request to the bucket, and all tries of one operation.
const REQUEST_MAX: Duration = Duration::from_secs(30);
const TRIES_MAX: Duration = Duration::from_secs(20);

statements! {
    BLOB_PUT = "INSERT INTO blobs (hash, place, object_key, data) VALUES ($1, $2, $3, $4) ON CONFLICT (hash) DO NOTHING";
    BLOB_GET = "SELECT place, object_key, data FROM blobs WHERE hash = $1";
    BLOB_DELETE = "DELETE FROM blobs WHERE hash = $1 AND NOT EXISTS (SELECT 1 FROM chat_files f WHERE f.hash = $1)
        RETURNING place, object_key";
    REMOVAL_PUT = "INSERT INTO blob_removals (place, object_key, due_at) VALUES ($1, $2, $3)
        ON CONFLICT (place, object_key) DO UPDATE SET due_at = excluded.due_at";
    REMOVAL_DELETE = "DELETE FROM blob_removals WHERE place = $1 AND object_key = $2";
    REMOVALS_DUE = "SELECT place, object_key FROM blob_removals WHERE due_at <= $1 ORDER BY due_at LIMIT $2";
}

named_enum! {
    /// Where the bytes of a content lie.
    BlobPlace {
        Database = "database",
        Directory = "directory",
        S3 = "s3",
    }
}

/// Where new bytes go, and the places that old ones may lie in.
#[derive(Clone, Debug)]
pub struct BlobsConfig {
    pub place: BlobPlace,
    pub folder: PathBuf,
    pub bucket: Option<BucketConfig>,
}

/// An S3-compatible bucket.
#[derive(Clone, Debug)]
pub struct BucketConfig {
    pub name: String,
    /// Before every key, without a slash at its ends; may be empty.
    pub prefix: String,
    /// Address of a server that is not AWS.
    pub endpoint: Option<String>,
    /// The `AWS_*` variables with region and credentials; without credentials the role of the machine is asked.
    pub variables: Vec<(String, SecretString)>,
}

/// The places of bytes.
pub(crate) struct Blobs {
    place: BlobPlace,
    folder: Arc<dyn ObjectStore>,
    bucket: Option<Arc<dyn ObjectStore>>,
}

impl Blobs {
    pub(crate) fn open(config: &BlobsConfig) -> Result<Self, StoreError> {
        let folder = std::path::absolute(&config.folder).map_err(|error| StoreError::Setup(error.to_string()))?;
        if config.place == BlobPlace::Directory {
            // what people attach is nobody else's
            std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
                .create(&folder)
                .map_err(|error| StoreError::Setup(format!("{}: {error}", folder.display())))?;
        }
        let prefix = Path::from_absolute_path(&folder).map_err(|error| StoreError::Setup(error.to_string()))?;
        let folder = Arc::new(PrefixStore::new(LocalFileSystem::new().with_fsync(true), prefix));
        let bucket = config.bucket.as_ref().map(open_bucket).transpose()?;
        Ok(Self { place: config.place, folder, bucket })
    }

    /// A place outside of the database.
    fn outside(&self, place: BlobPlace) -> Result<&dyn ObjectStore, StoreError> {
        match place {
            BlobPlace::S3 => self
                .bucket
                .as_deref()
                .ok_or_else(|| StoreError::Setup("files lie in a bucket, and which one is not set".to_owned())),
            BlobPlace::Database | BlobPlace::Directory => Ok(&*self.folder),
        }
    }
}

fn open_bucket(config: &BucketConfig) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let client = ClientOptions::new().with_connect_timeout(Duration::from_secs(5)).with_timeout(REQUEST_MAX);
    let retry = RetryConfig { max_retries: 3, retry_timeout: TRIES_MAX, ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::new();
    for (name, value) in &config.variables {
        // others are of other programs
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value.expose());
        }
    }
    builder = builder.with_bucket_name(&config.name).with_client_options(client).with_retry(retry);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    let bucket = builder.build().map_err(|error| StoreError::Setup(error.to_string()))?;
    Ok(Arc::new(PrefixStore::new(bucket, Path::from(config.prefix.as_str()))))
}

/// Bytes that are to be named by a row.
pub(crate) enum NewBlob {
    Inside(Vec<u8>),
    Outside { place: BlobPlace, key: String },
}

/// Makes the content with this hash exist. After the row of its file, in the same transaction: a removal of
/// unused files holds that table.
pub(crate) async fn blob_put_in_tx(tx: &mut Tx<'_>, hash: &str, blob: NewBlob) -> Result<(), StoreError> {
    match blob {
        NewBlob::Inside(data) => {
            tx.run(BLOB_PUT, args![hash.to_owned(), BlobPlace::Database.as_str(), None::<String>, data]).await?;
        }
        NewBlob::Outside { place, key } => {
            let put = args![hash.to_owned(), place.as_str(), key.clone(), None::<Vec<u8>>];
            if tx.run(BLOB_PUT, put).await? == 1 {
                tx.run(REMOVAL_DELETE, args![place.as_str(), key]).await?;
            }
        }
    }
    Ok(())
}

/// Removes the content with this hash if no file has it; what lies outside of the database is due at `due`.
pub(crate) async fn blob_delete_in_tx(tx: &mut Tx<'_>, hash: String, due: Timestamp) -> Result<(), StoreError> {
    for row in tx.all(BLOB_DELETE, args![hash]).await? {
        if let Some(key) = row.text_opt("object_key")? {
            tx.run(REMOVAL_PUT, args![row.text("place")?, key, due]).await?;
        }
    }
    Ok(())
}

impl Store {
    /// Stores bytes where the setting says, or hands them back for the transaction of their row.
    pub(crate) async fn blob_upload(&self, hash: &str, data: Vec<u8>, now: Timestamp) -> Result<NewBlob, StoreError> {
        let place = self.blobs().place;
        if place == BlobPlace::Database {
            return Ok(NewBlob::Inside(data));
        }
        // two levels, so that no folder holds too many
        let key = format!("{}/{hash}-{}", &hash[..2], Uuid::now_v7().simple());
        let note = args![place.as_str(), key.clone(), now + UPLOAD_MAX];
        self.write("blob_upload", move |tx| Box::pin(async move { tx.run(REMOVAL_PUT, note).await })).await?;
        self.blobs().outside(place)?.put(&Path::from(key.as_str()), data.into()).await?;
        Ok(NewBlob::Outside { place, key })
    }

    /// The bytes of a content; none if they are lost.
    pub(crate) async fn blob_get(&self, hash: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(row) = self.fetch_first(BLOB_GET, args![hash.to_owned()]).await? else { return Ok(None) };
        let Some(key) = row.text_opt("object_key")? else { return row.bytes_opt("data") };
        let place = row.name("place", BlobPlace::from_name)?;
        match self.blobs().outside(place)?.get(&Path::from(key)).await {
            Ok(found) => Ok(Some(found.bytes().await?.into())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes bytes outside of the database that are due, at most `limit`. One that fails has its turn again
    /// a day later.
    pub(crate) async fn blobs_remove_due(&self, now: Timestamp, limit: i64) -> Result<(), StoreError> {
        let mut result = Ok(());
        for row in self.fetch_all(REMOVALS_DUE, args![now, limit]).await? {
            let (place, key) = (row.name("place", BlobPlace::from_name)?, row.text("object_key")?);
            let removed = match self.blobs().outside(place) {
                Ok(store) => match store.delete(&Path::from(key.as_str())).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                    Err(error) => Err(error.into()),
                },
                Err(error) => Err(error),
            };
            let (statement, args) = match &removed {
                Ok(()) => (REMOVAL_DELETE, args![place.as_str(), key]),
                Err(_) => (REMOVAL_PUT, args![place.as_str(), key, now + REMOVE_AGAIN]),
            };
            self.write("blobs_remove_due", move |tx| Box::pin(async move { tx.run(statement, args).await })).await?;
            result = result.and(removed);
        }
        result
    }

    /// Whether new bytes can be stored: stores, reads and removes some.
    ///
    /// # Errors
    /// Why not, in the words of the place.
    pub async fn blobs_check(&self) -> Result<BlobPlace, StoreError> {
        let place = self.blobs().place;
        if place != BlobPlace::Database {
            let (store, key) = (self.blobs().outside(place)?, Path::from(format!("check-{}", Uuid::now_v7().simple())));
            store.put(&key, "a check".into()).await?;
            store.get(&key).await?.bytes().await?;
            store.delete(&key).await?;
        }
        Ok(place)
    }
}
