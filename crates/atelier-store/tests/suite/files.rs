//! Files: their bytes in both places, and the removal of those that nobody uses.

use atelier_domain::message::{FilePart, MessagePart, Role};
use atelier_store::{BlobPlace, BlobsConfig, FileNew, FileRow, MessageNew, SecretsConfig, Store, StoreConfig};

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

    async fn bytes(&self, file: &FileRow) -> Option<Vec<u8>> {
        self.store.file_bytes_for_system(file).await.unwrap()
    }
}

/// The same database, with new files in a folder.
async fn with_folder(fixture: &Fixture) -> Store {
    let blobs = BlobsConfig { place: BlobPlace::Directory, folder: fixture.folder.path().join("files") };
    let secrets = SecretsConfig::File(fixture.folder.path().join("secret.keys"));
    fixture.store.close().await;
    Store::open(StoreConfig { database: fixture.database(), secrets, blobs }).await.unwrap()
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
        assert_eq!(fixture.store.files_remove_unused(at(5), 100).await.unwrap(), 2);
        let left = fixture.store.files_get_for_system(&[used.id, unused.id, alone.id, young.id]).await.unwrap();
        assert_eq!(left.len(), 2);
        assert_eq!(fixture.bytes(&used).await, Some(data));
        assert_eq!(fixture.bytes(&young).await.as_deref(), Some(&b"new"[..]));
        assert_eq!(fixture.bytes(&alone).await, None);
    }

    async fn a_changed_place_holds_for_new_files_only(fixture: &Fixture) {
        let old = fixture.store.file_create(fixture.file("old"), b"old".to_vec(), at(1)).await.unwrap();
        let store = with_folder(fixture).await;
        let new = store.file_create(fixture.file("new"), b"new".to_vec(), at(1)).await.unwrap();
        let twin = store.file_create(fixture.file("twin"), b"new".to_vec(), at(9)).await.unwrap();
        assert_eq!((old.place, new.place), (BlobPlace::Database, BlobPlace::Directory));
        for (file, data) in [(&old, b"old"), (&new, b"new"), (&twin, b"new")] {
            assert_eq!(store.file_bytes_for_system(file).await.unwrap().as_deref(), Some(&data[..]));
        }
        let path = fixture.folder.path().join("files").join(&new.hash[..2]).join(&new.hash);
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(store.files_remove_unused(at(5), 100).await.unwrap(), 2);
        assert!(path.exists(), "its twin is young");
        assert_eq!(store.files_remove_unused(at(10), 100).await.unwrap(), 1);
        assert!(!path.exists());
        assert_eq!(store.file_bytes_for_system(&new).await.unwrap(), None);
        store.close().await;
    }
}
