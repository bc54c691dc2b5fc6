//! A cache bounded by bytes: what was used longest ago goes first. Losing an entry costs one read.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) struct Kept<K, V> {
    max_bytes: usize,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Keys by their last use, oldest first.
    uses_of: BTreeMap<u64, K>,
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
        Self {
            max_bytes,
            state: Mutex::new(State { entries: HashMap::new(), uses_of: BTreeMap::new(), bytes: 0, uses: 0 }),
        }
    }

    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut state = self.lock();
        let state = &mut *state;
        let entry = state.entries.get_mut(key)?;
        state.uses += 1;
        if let Some(key) = state.uses_of.remove(&entry.last_use) {
            state.uses_of.insert(state.uses, key);
        }
        entry.last_use = state.uses;
        Some(entry.value.clone())
    }

    /// Keeps the value in place of the one before, unless it alone would take more than a quarter. `bytes` are
    /// those behind the value; its place here is counted too.
    pub(super) fn put(&self, key: K, value: V, bytes: usize) {
        let mut state = self.lock();
        state.remove(&key);
        let bytes = bytes + Self::PLACE_BYTES;
        if bytes > self.max_bytes / 4 {
            return;
        }
        state.uses += 1;
        state.bytes += bytes;
        let entry = Entry { value, bytes, last_use: state.uses };
        let now = state.uses;
        state.uses_of.insert(now, key.clone());
        state.entries.insert(key, entry);
        while state.bytes > self.max_bytes {
            let Some((_, oldest)) = state.uses_of.pop_first() else { break };
            state.remove(&oldest);
        }
    }

    /// What an entry takes in the two maps, which are half empty at times.
    const PLACE_BYTES: usize = 2 * (size_of::<(K, Entry<V>)>() + size_of::<(u64, K)>());

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> State<K, V> {
    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.uses_of.remove(&entry.last_use);
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of four values of 25 with their places.
    const FOUR: usize = 4 * (25 + Kept::<&str, &str>::PLACE_BYTES);

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let kept = Kept::new(FOUR);
        for key in ["a", "b", "c", "d", "e"] {
            kept.put(key, key, 25);
            kept.get("a");
        }
        assert_eq!(["a", "b", "c", "d", "e"].map(|key| kept.get(key).is_some()), [true, false, true, true, true]);
    }

    #[test]
    fn a_new_value_takes_the_place_of_the_one_before_and_a_huge_one_is_not_kept() {
        let place = Kept::<&str, i32>::PLACE_BYTES;
        let kept = Kept::new(4 * (25 + place));
        kept.put("other", 0, 25);
        for value in 1..10 {
            kept.put("a", value, 20);
        }
        assert_eq!((kept.get("a"), kept.get("other")), (Some(9), Some(0)));
        kept.put("a", 10, 26);
        assert_eq!((kept.get("a"), kept.get("other")), (None, Some(0)));
        let state = kept.lock();
        assert_eq!((state.bytes, state.uses_of.len()), (25 + place, 1));
    }
}
