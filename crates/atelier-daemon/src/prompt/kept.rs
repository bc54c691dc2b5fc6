//! A cache bounded by bytes: what was used longest ago goes first. Losing an entry costs one read.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) struct Kept<K, V> {
    max_bytes: usize,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    entries: HashMap<K, Entry<V>>,
    bytes: usize,
    uses: u64,
}

struct Entry<V> {
    value: V,
    bytes: usize,
    last_use: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Kept<K, V> {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, state: Mutex::new(State { entries: HashMap::new(), bytes: 0, uses: 0 }) }
    }

    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut state = self.lock();
        state.uses += 1;
        let now = state.uses;
        let entry = state.entries.get_mut(key)?;
        entry.last_use = now;
        Some(entry.value.clone())
    }

    /// Keeps the value in place of the one before, unless it alone would take more than a quarter.
    pub(super) fn put(&self, key: K, value: V, bytes: usize) {
        let mut state = self.lock();
        state.uses += 1;
        if let Some(before) = state.entries.remove(&key) {
            state.bytes -= before.bytes;
        }
        if bytes > self.max_bytes / 4 {
            return;
        }
        state.bytes += bytes;
        let entry = Entry { value, bytes, last_use: state.uses };
        state.entries.insert(key, entry);
        while state.bytes > self.max_bytes {
            let oldest = state.entries.iter().min_by_key(|(_, entry)| entry.last_use).map(|(key, _)| key.clone());
            let Some(gone) = oldest.and_then(|key| state.entries.remove(&key)) else { break };
            state.bytes -= gone.bytes;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let kept = Kept::new(100);
        for key in ["a", "b", "c", "d", "e"] {
            kept.put(key, key, 25);
            kept.get("a");
        }
        assert_eq!(["a", "b", "c", "d", "e"].map(|key| kept.get(key).is_some()), [true, false, true, true, true]);
    }

    #[test]
    fn a_new_value_takes_the_place_of_the_one_before_and_a_huge_one_is_not_kept() {
        let kept = Kept::new(100);
        kept.put("other", 0, 25);
        for value in 1..10 {
            kept.put("a", value, 20);
        }
        assert_eq!((kept.get("a"), kept.get("other")), (Some(9), Some(0)));
        kept.put("a", 10, 26);
        assert_eq!((kept.get("a"), kept.get("other")), (None, Some(0)));
        assert_eq!(kept.lock().bytes, 25);
    }
}
