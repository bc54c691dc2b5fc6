//! Long frames, kept once for all who were given the same one.
//!
//! Viewers that come late to a long chat all begin with the same frames, and one that reads slowly holds on to
//! its frame. Shared, it costs the first of them its length and the others nothing.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

/// Frames from this length on are looked for.
const SHARED_FROM_BYTES: usize = 64 * 1024;

/// The long frames of a chat that some viewer still holds.
#[derive(Default)]
pub(crate) struct LongFrames(Mutex<Vec<Weak<Vec<u8>>>>);

impl LongFrames {
    /// These bytes: those that are there already, if they are.
    pub(crate) fn share(&self, data: Vec<u8>) -> Bytes {
        if data.len() < SHARED_FROM_BYTES {
            return data.into();
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|frame| frame.strong_count() > 0);
        if let Some(same) = known.iter().filter_map(Weak::upgrade).find(|frame| **frame == data) {
            return held(same);
        }
        let frame = Arc::new(data);
        known.push(Arc::downgrade(&frame));
        held(frame)
    }
}

/// Bytes that keep the frame alive for as long as any slice of them is.
fn held(frame: Arc<Vec<u8>>) -> Bytes {
    struct Held(Arc<Vec<u8>>);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Held(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_long_frames_lie_in_memory_once_and_not_for_longer_than_somebody_holds_them() {
        let frames = LongFrames::default();
        let long = |byte| frames.share(vec![byte; SHARED_FROM_BYTES]);
        let (first, second, other) = (long(b'a'), long(b'a').slice(1..), long(b'b'));
        assert_eq!(first[1..].as_ptr(), second.as_ptr());
        assert_ne!(first, other);
        drop((first, other));
        assert_eq!(long(b'a')[1..].as_ptr(), second.as_ptr());
        drop(second);
        long(b'c');
        assert_eq!(frames.0.lock().unwrap().iter().filter(|frame| frame.strong_count() > 0).count(), 0);
        // short ones are not looked for
        let short = || frames.share(b"short".to_vec());
        assert_ne!(short().as_ptr(), std::ptr::null());
        assert_eq!(frames.0.lock().unwrap().len(), 1);
    }
}
