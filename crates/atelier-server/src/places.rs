//! A bounded number of places for each key: connections of an address, streams of a user.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Hands out places. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Places<K> {
    /// For each key; 0 = no limit.
    limit: usize,
    taken: Taken<K>,
}

type Taken<K> = Arc<Mutex<HashMap<K, usize>>>;

/// A place that is taken, until it is dropped.
pub(crate) struct Place<K: Eq + Hash> {
    key: K,
    taken: Taken<K>,
}

impl<K: Clone + Eq + Hash> Places<K> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, taken: Taken::default() }
    }

    /// A place, if there is one left for the key.
    pub(crate) fn take(&self, key: K) -> Option<Place<K>> {
        let mut taken = lock(&self.taken);
        let count = taken.entry(key.clone()).or_default();
        if self.limit > 0 && *count >= self.limit {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place { key, taken: Arc::clone(&self.taken) })
    }
}

impl<K: Eq + Hash> Place<K> {
    pub(crate) const fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

fn lock<K>(taken: &Mutex<HashMap<K, usize>>) -> MutexGuard<'_, HashMap<K, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_for_each_key_and_given_back() {
        let places = Places::new(2);
        let (first, _second) = (places.take("a").unwrap(), places.take("a").unwrap());
        assert!(places.take("a").is_none());
        assert!(places.take("b").is_some());
        drop(first);
        assert!(places.take("a").is_some());
        assert_eq!(places.taken.lock().unwrap().len(), 1);
        let unlimited = Places::new(0);
        let many: Vec<_> = (0..3).map(|_| unlimited.take("a").unwrap()).collect();
        assert_eq!(many.len(), 3);
    }
}
