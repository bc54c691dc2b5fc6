//! Files: their bytes in each place, and the removal of those that nobody uses.

use atelier_domain::message::{FilePart, MessagePart, Role};
use atelier_store::{
    BlobPlace, BlobsConfig, BucketConfig, FileNew, FileRow, MessageNew, SecretString, SecretsConfig, Store,
    StoreConfig, StoreError,
};
use atelier_test_support::{Bucket, files_below};

use crate::fixture::{Fixture, at, on_both_engines};

impl Fixture {
    fn file(&self, name: &str) -> FileNew {
        FileNew {
            owner_id: self.owner,
            organization_id: self.organization,
            name: name.to_owned(),
            media_type: "text/plain".to_owned(),
        }
    }

    async fn store_file(&self, store: &Store, name: &str, data: &[u8], second: i64) -> FileRow {
        store.file_create(self.file(name), data.to_vec(), at(second)).await.unwrap()
    }

    async fn bytes(&self, file: &FileRow) -> Option<Vec<u8>> {
        self.store.file_bytes_for_system(file).await.unwrap()
    }
}

/// A part of a bucket, with the keys that open it.
fn config(bucket: &Bucket) -> BucketConfig {
    BucketConfig {
        name: bucket.name().to_owned(),
        prefix: "of/people".to_owned(),
        endpoint: Some(bucket.endpoint()),
        variables: bucket.environment().map(|(name, value)| (name.to_owned(), SecretString::new(value))).to_vec(),
    }
}

/// The same database, with new bytes in this place.
async fn reopened(fixture: &Fixture, place: BlobPlace, bucket: Option<BucketConfig>) -> Store {
    let blobs = BlobsConfig { place, folder: fixture.folder.path().join("files"), bucket };
    let secrets = SecretsConfig::File(fixture.folder.path().join("secret.keys"));
    fixture.store.close().await;
    Store::open(StoreConfig { database: fixture.database(), secrets, blobs }).await.unwrap()
}

/// Stores contents twice and once, and removes them; `count` counts what lies in the place outside.
async fn kept_once_and_removed(fixture: &Fixture, store: &Store, count: impl Fn() -> usize) {
    let bytes = async |file: &FileRow| store.file_bytes_for_system(file).await.unwrap();
    let old = fixture.store_file(store, "old", b"twice", 1).await;
    let twin = fixture.store_file(store, "twin", b"twice", 9).await;
    let alone = fixture.store_file(store, "alone", b"\0once\xff", 1).await;
    assert_eq!(bytes(&old).await.as_deref(), Some(&b"twice"[..]));
    assert_eq!(bytes(&alone).await.as_deref(), Some(&b"\0once\xff"[..]));
    assert_eq!(count(), 3, "the second copy is there until it is due");
    assert_eq!(store.files_remove_unused(at(5), at(5), 100).await.unwrap(), 2);
    assert_eq!(count(), 2);
    assert_eq!(bytes(&alone).await, None);
    assert_eq!(bytes(&twin).await.as_deref(), Some(&b"twice"[..]), "its twin is young");
    assert_eq!(store.files_remove_unused(at(2 * 3600), at(5), 100).await.unwrap(), 0);
    assert_eq!(count(), 1, "the second copy was due");
    assert_eq!(bytes(&twin).await.as_deref(), Some(&b"twice"[..]));
    assert_eq!(store.files_remove_unused(at(2 * 3600), at(10), 100).await.unwrap(), 1);
    assert_eq!(count(), 0);
    let again = fixture.store_file(store, "again", b"twice", 11).await;
    assert_eq!(bytes(&again).await.as_deref(), Some(&b"twice"[..]));
}

on_both_engines! {
    async fn bytes_are_kept_once_and_go_with_their_last_file(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let data = b"\0bytes\xff".to_vec();
        let used = fixture.store.file_create(fixture.file("used"), data.clone(), at(1)).await.unwrap();
        let unused = fixture.store.file_create(fixture.file("unused"), data.clone(), at(1)).await.unwrap();
        let alone = fixture.store.file_create(fixture.file("alone"), b"other".to_vec(), at(1)).await.unwrap();
        let young = fixture.store.file_create(fixture.file("young"), b"new".to_vec(), at(9)).await.unwrap();
        let part = MessagePart::File(FilePart {
            media_type: "text/plain".to_owned(),
            file_id: Some(used.id),
            name: None,
            data: None,
            native: None,
        });
        fixture.add(chat, vec![MessageNew::new(Role::User, vec![part.clone(), part])]).await.unwrap();
        assert_eq!(fixture.store.file_chat_owners(used.id).await.unwrap(), [fixture.owner]);
        assert!(fixture.store.file_chat_owners(unused.id).await.unwrap().is_empty());
        assert_eq!(used.hash, unused.hash);
        assert_eq!(fixture.store.files_remove_unused(at(5), at(5), 100).await.unwrap(), 2);
        let left = fixture.store.files_get_for_system(&[used.id, unused.id, alone.id, young.id]).await.unwrap();
        assert_eq!(left.len(), 2);
        assert_eq!(fixture.bytes(&used).await, Some(data));
        assert_eq!(fixture.bytes(&young).await.as_deref(), Some(&b"new"[..]));
        assert_eq!(fixture.bytes(&alone).await, None);
    }

    async fn a_folder_holds_each_content_once(fixture: &Fixture) {
        let store = reopened(fixture, BlobPlace::Directory, None).await;
        assert_eq!(store.blobs_check().await.unwrap(), BlobPlace::Directory);
        let folder = fixture.folder.path().join("files");
        kept_once_and_removed(fixture, &store, || files_below(&folder).len()).await;
        store.close().await;
    }

    async fn a_bucket_holds_each_content_once(fixture: &Fixture) {
        let bucket = Bucket::start().await;
        let store = reopened(fixture, BlobPlace::S3, Some(config(&bucket))).await;
        assert_eq!(store.blobs_check().await.unwrap(), BlobPlace::S3);
        kept_once_and_removed(fixture, &store, || bucket.objects().len()).await;
        let objects = bucket.objects();
        assert!(objects.iter().all(|key| key.starts_with("of/people/")), "{objects:?}");
        store.close().await;
    }

    async fn a_changed_place_holds_for_new_content_only(fixture: &Fixture) {
        let bucket = Bucket::start().await;
        let in_database = fixture.store_file(&fixture.store, "one", b"one", 1).await;
        let store = reopened(fixture, BlobPlace::Directory, Some(config(&bucket))).await;
        let in_folder = fixture.store_file(&store, "two", b"two", 1).await;
        store.close().await;
        let store = reopened(fixture, BlobPlace::S3, Some(config(&bucket))).await;
        let in_bucket = fixture.store_file(&store, "three", b"three", 1).await;
        store.close().await;
        let store = reopened(fixture, BlobPlace::Database, Some(config(&bucket))).await;
        for (file, data) in [(&in_database, &b"one"[..]), (&in_folder, b"two"), (&in_bucket, b"three")] {
            assert_eq!(store.file_bytes_for_system(file).await.unwrap().as_deref(), Some(data));
        }
        assert_eq!(bucket.objects().len(), 1);
        assert_eq!(store.files_remove_unused(at(5), at(5), 100).await.unwrap(), 3);
        assert!(bucket.objects().is_empty());
        assert!(files_below(&fixture.folder.path().join("files")).is_empty());
        store.close().await;
    }

    async fn a_bucket_that_is_away_keeps_what_is_to_be_removed(fixture: &Fixture) {
        let bucket = Bucket::start().await;
        let store = reopened(fixture, BlobPlace::S3, Some(config(&bucket))).await;
        let file = fixture.store_file(&store, "one", b"one", 1).await;
        store.close().await;
        // the setting with the bucket is gone
        let store = reopened(fixture, BlobPlace::Database, None).await;
        let error = store.file_bytes_for_system(&file).await.unwrap_err();
        assert!(error.to_string().contains("which one is not set"), "{error}");
        store.files_remove_unused(at(5), at(5), 100).await.unwrap_err();
        assert_eq!(store.files_remove_unused(at(6), at(6), 100).await.unwrap(), 0, "it has its turn a day later");
        store.close().await;
        let store = reopened(fixture, BlobPlace::Database, Some(config(&bucket))).await;
        assert_eq!(bucket.objects().len(), 1);
        store.files_remove_unused(at(25 * 3600), at(6), 100).await.unwrap();
        assert!(bucket.objects().is_empty());
        store.close().await;
    }

    async fn a_refused_upload_leaves_no_file(fixture: &Fixture) {
        let bucket = Bucket::start().await;
        let mut config = config(&bucket);
        config.variables[1].1 = SecretString::new("wrong");
        let store = reopened(fixture, BlobPlace::S3, Some(config)).await;
        assert!(matches!(store.blobs_check().await.unwrap_err(), StoreError::Files(_)));
        let error = store.file_create(fixture.file("lost"), b"lost".to_vec(), at(1)).await.unwrap_err();
        assert!(matches!(error, StoreError::Files(_)), "{error}");
        assert_eq!(store.files_remove_unused(at(1), at(5), 100).await.unwrap(), 0);
        store.close().await;
    }

    async fn a_content_that_is_removed_and_stored_at_once_is_there(fixture: &Fixture) {
        let store = reopened(fixture, BlobPlace::Directory, None).await;
        let (uploads, removals) = (store.clone(), store.clone());
        let file = fixture.file("same");
        let uploading = tokio::spawn(async move {
            for n in 0..60 {
                let row = uploads.file_create(file.clone(), b"same".to_vec(), at(n)).await.unwrap();
                let bytes = uploads.file_bytes_for_system(&row).await.unwrap();
                let is_there = !uploads.files_get_for_system(&[row.id]).await.unwrap().is_empty();
                assert!(bytes.is_some() || !is_there, "a file without its bytes");
            }
        });
        while !uploading.is_finished() {
            removals.files_remove_unused(at(60), at(60), 100).await.unwrap();
        }
        uploading.await.unwrap();
        removals.files_remove_unused(at(10_000), at(10_000), 100).await.unwrap();
        assert!(files_below(&fixture.folder.path().join("files")).is_empty());
        store.close().await;
    }
}
