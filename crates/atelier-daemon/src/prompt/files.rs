//! Bytes of files, put into a request when it is made: messages hold only ids.

use std::collections::HashMap;
use std::sync::Arc;

use atelier_domain::FileId;
use atelier_domain::message::{FilePart, MessagePart};
use atelier_llm::HistoryMessage;
use atelier_store::{Store, StoreError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::kept::Kept;

/// Bytes kept by one replica, in base64.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Older pictures are named only.
const MAX_IMAGES: usize = 100;

/// Encoded bytes by their hash.
pub(crate) struct Files {
    kept: Kept<String, Arc<str>>,
}

impl Default for Files {
    fn default() -> Self {
        Self { kept: Kept::new(MAX_BYTES) }
    }
}

impl Files {
    /// Puts their bytes into the files of these messages. What is lost, or is an old picture, stays without.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn fill(&self, store: &Store, messages: &mut [HistoryMessage]) -> Result<(), StoreError> {
        let mut parts = wanted(messages);
        let ids: Vec<FileId> = parts.iter().filter_map(|part| part.file_id).collect();
        let rows: HashMap<FileId, _> =
            store.files_get_for_system(&ids).await?.into_iter().map(|row| (row.id, row)).collect();
        for part in &mut parts {
            let Some(row) = part.file_id.and_then(|id| rows.get(&id)) else { continue };
            let data = match self.kept.get(row.hash.as_str()) {
                Some(data) => data,
                None => {
                    let Some(bytes) = store.file_bytes_for_system(row).await? else { continue };
                    let data: Arc<str> = STANDARD.encode(bytes).into();
                    self.kept.put(row.hash.clone(), Arc::clone(&data), data.len());
                    data
                }
            };
            part.data = Some(data.to_string());
        }
        Ok(())
    }
}

/// The files whose bytes are sent: all but pictures beyond the newest.
fn wanted(messages: &mut [HistoryMessage]) -> Vec<&mut FilePart> {
    let mut images = 0;
    let files =
        messages.iter_mut().rev().flat_map(|message| message.parts.iter_mut().rev()).filter_map(|part| match part {
            MessagePart::File(file) if file.file_id.is_some() => Some(file),
            _ => None,
        });
    files
        .filter(|file| {
            let is_image = file.media_type.starts_with("image/");
            images += usize::from(is_image);
            !is_image || images <= MAX_IMAGES
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use atelier_llm::HistoryRole;

    use super::*;

    fn file(media_type: &str) -> MessagePart {
        MessagePart::File(FilePart {
            media_type: media_type.to_owned(),
            file_id: Some(FileId::new()),
            name: None,
            data: None,
            native: None,
        })
    }

    #[test]
    fn old_pictures_are_left_out_and_other_files_are_not() {
        let parts = (0..150).map(|_| file("image/png")).chain([file("text/plain")]);
        let mut messages: Vec<HistoryMessage> = std::iter::once(file("application/pdf"))
            .chain(parts)
            .map(|part| HistoryMessage { role: HistoryRole::User, parts: vec![part], cache_mark: false })
            .collect();
        let newest_out = match &messages[50].parts[0] {
            MessagePart::File(file) => file.file_id,
            _ => None,
        };
        let wanted = wanted(&mut messages);
        assert_eq!(wanted.len(), 102);
        assert!(wanted.iter().all(|file| file.file_id != newest_out));
        assert_eq!(wanted.last().unwrap().media_type, "application/pdf");
    }
}
