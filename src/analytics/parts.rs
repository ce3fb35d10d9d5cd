//! Rows that each worker writes a part of, merged at read; and bounded rings of what happened last.
//!
//! A worker finds its part of a known row in a map of its own; only a row it has not seen takes the shared lock.
//! Bounded: when all rows are taken, what is new is counted in the `_other` row, so that totals stay exact.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ahash::AHashMap;
use parking_lot::Mutex;

/// All rows of one kind with the parts the workers have of them.
#[derive(Debug)]
pub struct Shared<K, V> {
    rows: Mutex<AHashMap<K, Vec<Arc<V>>>>,
    max: usize,
    lost: AtomicU64,
}

impl<K: Eq + Hash + Copy, V> Shared<K, V> {
    /// At most `max` rows beside `_other`.
    pub fn new(max: usize) -> Self {
        Self {
            rows: Mutex::default(),
            max,
            lost: AtomicU64::new(0),
        }
    }

    /// A new part of the row `key`; none when the row would be one too many.
    fn join(&self, key: K, make: impl FnOnce() -> V) -> Option<Arc<V>> {
        let mut rows = self.rows.lock();
        let full = rows.len() >= self.max;
        match rows.entry(key) {
            std::collections::hash_map::Entry::Vacant(_) if full => {
                self.lost.fetch_add(1, Relaxed);
                None
            }
            entry => {
                let part = Arc::new(make());
                entry.or_default().push(Arc::clone(&part));
                Some(part)
            }
        }
    }

    /// Every row with its parts.
    pub fn rows(&self) -> Vec<(K, Vec<Arc<V>>)> {
        self.rows
            .lock()
            .iter()
            .map(|(key, parts)| (*key, parts.clone()))
            .collect()
    }

    /// How often something found no row and was counted in `_other`.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

/// One worker's parts.
#[derive(Debug)]
pub struct Local<K, V> {
    shared: Arc<Shared<K, V>>,
    parts: AHashMap<K, Arc<V>>,
    other_key: K,
    other: Option<Arc<V>>,
}

impl<K: Eq + Hash + Copy, V> Local<K, V> {
    /// No parts yet. `other_key` is the row for what finds no place.
    pub fn new(shared: Arc<Shared<K, V>>, other_key: K) -> Self {
        Self {
            shared,
            parts: AHashMap::new(),
            other_key,
            other: None,
        }
    }

    /// Gives this worker's part of the row to `record`; that of `_other` when the rows are all taken. `make` makes a new
    /// part and gets whether it is for `_other`.
    pub fn with(&mut self, key: K, make: impl Fn(bool) -> V, record: impl FnOnce(&V)) {
        if let Some(part) = self.parts.get(&key) {
            return record(part);
        }
        match self.shared.join(key, || make(false)) {
            Some(part) => {
                record(&part);
                self.parts.insert(key, part);
            }
            None => record(self.other(make)),
        }
    }

    fn other(&mut self, make: impl Fn(bool) -> V) -> &V {
        let (shared, key) = (&self.shared, self.other_key);
        self.other.get_or_insert_with(|| {
            let part = Arc::new(make(true));
            shared
                .rows
                .lock()
                .entry(key)
                .or_default()
                .push(Arc::clone(&part));
            part
        })
    }
}

/// The last events of a kind, oldest out first. A writer never waits: while somebody reads, what it has is counted as
/// lost instead.
#[derive(Debug)]
pub struct Ring<T> {
    kept: Mutex<VecDeque<T>>,
    max: usize,
    lost: AtomicU64,
}

impl<T: Clone> Ring<T> {
    /// Room for `max` events, taken at once so that pushing does not allocate.
    pub fn new(max: usize) -> Self {
        Self {
            kept: Mutex::new(VecDeque::with_capacity(max)),
            max,
            lost: AtomicU64::new(0),
        }
    }

    /// Keeps one event.
    pub fn push(&self, event: T) {
        let Some(mut kept) = self.kept.try_lock().filter(|_| self.max > 0) else {
            self.lost.fetch_add(1, Relaxed);
            return;
        };
        if kept.len() >= self.max {
            kept.pop_front();
        }
        kept.push_back(event);
    }

    /// The events kept, oldest first.
    pub fn read(&self) -> Vec<T> {
        self.kept.lock().iter().cloned().collect()
    }

    /// Events that could not be kept because somebody was reading.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::counter::Counter;

    #[test]
    fn what_has_no_row_is_counted_in_other() {
        let shared = Arc::new(Shared::new(2));
        let mut first = Local::new(Arc::clone(&shared), 0);
        let mut second = Local::new(Arc::clone(&shared), 0);
        for key in [1, 2, 3, 1, 4] {
            first.with(key, |_| Counter::default(), |part| part.add(1));
            second.with(key, |_| Counter::default(), |part| part.add(10));
        }
        let mut rows: Vec<_> = shared
            .rows()
            .into_iter()
            .map(|(key, parts)| (key, parts.iter().map(|part| part.get()).sum::<u64>()))
            .collect();
        rows.sort_unstable();
        assert_eq!(rows, [(0, 22), (1, 22), (2, 11)]);
        assert_eq!(shared.lost(), 4);
    }

    #[test]
    fn a_ring_keeps_the_last() {
        let ring = Ring::new(2);
        (1..=3).for_each(|event| ring.push(event));
        assert_eq!(ring.read(), [2, 3]);
        let none = Ring::new(0);
        none.push(1);
        assert_eq!((none.read().len(), none.lost()), (0, 1));
    }
}
