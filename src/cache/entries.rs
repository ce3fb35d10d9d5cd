//! The kept results: one bounded store weighed in bytes, the index from tables, and what is counted. Keeps no clock of its own
//! for validity: an entry is served only after the gate has said so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use bytes::Bytes;
use moka::notification::RemovalCause;
use parking_lot::Mutex;

use super::gate::Filed;
use super::invalidation::TableIndex;
use super::key::Key;
use crate::binlog::{Position, TableKey};
use crate::sql::DigestId;

/// What an entry costs beside its packets and its key: itself, its places in the store and in the index (an estimate).
const OVERHEAD_BYTES: usize = 512;

/// A kept result.
#[derive(Debug)]
pub struct Entry {
    pub(super) id: u64,
    /// The response, packet headers included, numbered from 1.
    pub(super) packets: Bytes,
    /// Rows in it.
    pub(super) rows: u64,
    /// Columns in it.
    pub(super) columns: u32,
    /// Status bits of its end.
    pub(super) status: u16,
    /// Everything that it was read from.
    pub(super) tables: Arc<[TableKey]>,
    /// Where it was filed; the position moves on with every proof.
    pub(super) filed: Mutex<Filed>,
    /// What the backend took to make it.
    pub(super) fill_us: u64,
    pub(super) digest: DigestId,
    pub(super) user: Arc<str>,
    pub(super) schema: Arc<str>,
    pub(super) is_binary: bool,
    pub(super) filled_at: SystemTime,
    pub(super) hits: AtomicU64,
    /// Milliseconds after `filled_at`; 0: not used yet.
    pub(super) used_after_ms: AtomicU64,
}

impl Entry {
    /// The state under which it is filed.
    pub(super) fn filed(&self) -> Filed {
        *self.filed.lock()
    }

    /// A gate has proven it up to `position`.
    pub(super) fn proven(&self, position: Position) {
        let mut filed = self.filed.lock();
        filed.position = filed.position.max(position);
    }

    pub(super) fn note_hit(&self) {
        self.hits.fetch_add(1, Relaxed);
        let after = self.filled_at.elapsed().unwrap_or_default();
        self.used_after_ms
            .store((after.as_millis() as u64).max(1), Relaxed);
    }
}

/// What happened, counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) bypasses: AtomicU64,
    pub(super) fills: AtomicU64,
    pub(super) fills_refused: AtomicU64,
    pub(super) invalidations: AtomicU64,
    pub(super) evictions: AtomicU64,
    pub(super) fill_waits: AtomicU64,
    pub(super) hit_bytes: AtomicU64,
    pub(super) saved_us: AtomicU64,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// The store.
#[derive(Debug)]
pub(super) struct Entries {
    store: moka::sync::Cache<Key, Arc<Entry>>,
    index: Arc<Mutex<TableIndex>>,
    counters: Arc<Counters>,
    bytes: Arc<AtomicU64>,
    next_id: AtomicU64,
}

fn entry_bytes(key: &Key, entry: &Entry) -> usize {
    let tables: usize = entry.tables.iter().map(|table| table.as_str().len()).sum();
    entry.packets.len() + key.bytes() + tables + OVERHEAD_BYTES
}

impl Entries {
    pub(super) fn new(bytes_max: u64, entries_max: usize, counters: Arc<Counters>) -> Self {
        // One bound does for both: no entry weighs less than its share, so there cannot be more than `entries_max`.
        let share = (bytes_max / entries_max.max(1) as u64).min(u64::from(u32::MAX)) as u32;
        let index = Arc::new(Mutex::new(TableIndex::default()));
        let bytes = Arc::new(AtomicU64::new(0));
        let (index_of_listener, bytes_of_listener, counters_of_listener) =
            (index.clone(), bytes.clone(), counters.clone());
        let store = moka::sync::Cache::builder()
            .max_capacity(bytes_max)
            .weigher(move |key: &Key, entry: &Arc<Entry>| {
                u32::try_from(entry_bytes(key, entry))
                    .unwrap_or(u32::MAX)
                    .max(share)
            })
            .eviction_listener(move |key: Arc<Key>, entry: Arc<Entry>, cause| {
                index_of_listener.lock().remove(&key, entry.id);
                bytes_of_listener.fetch_sub(entry_bytes(&key, &entry) as u64, Relaxed);
                if cause == RemovalCause::Size {
                    count(&counters_of_listener.evictions);
                }
            })
            .build();
        Self {
            store,
            index,
            counters,
            bytes,
            next_id: AtomicU64::new(1),
        }
    }

    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed)
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.store.get(key)
    }

    pub(super) fn insert(&self, key: Key, entry: Arc<Entry>) {
        // Counted and listed first: the store may refuse or evict it at once, and then the listener takes both back.
        self.bytes
            .fetch_add(entry_bytes(&key, &entry) as u64, Relaxed);
        self.index
            .lock()
            .insert(&key, entry.id, entry.tables.clone());
        self.store.insert(key, entry);
    }

    /// Throws one entry away because it is no longer true. Another entry that took its place meanwhile stays.
    pub(super) fn invalidate(&self, key: &Key, entry: &Arc<Entry>) {
        if self
            .store
            .get(key)
            .is_some_and(|current| Arc::ptr_eq(&current, entry))
        {
            self.store.invalidate(key);
            count(&self.counters.invalidations);
        }
    }

    /// Throws away everything that `is_stale` says of the last change of a table. Answers what was thrown away.
    pub(super) fn sweep(
        &self,
        last_change: impl Fn(&TableKey) -> Option<Position>,
        is_stale: impl Fn(&Filed, Option<Position>) -> bool,
    ) -> Vec<Arc<Entry>> {
        let tables = self.index.lock().tables();
        let mut thrown = Vec::new();
        for table in tables {
            let change = last_change(&table);
            let keys = self.index.lock().keys_of(&table);
            for key in keys {
                if let Some(entry) = self.store.get(&key)
                    && is_stale(&entry.filed(), change)
                {
                    self.invalidate(&key, &entry);
                    thrown.push(entry);
                }
            }
        }
        self.store.run_pending_tasks();
        thrown
    }

    pub(super) fn clear(&self) {
        self.store.invalidate_all();
        self.store.run_pending_tasks();
    }

    /// All entries now; costs time in their number.
    pub(super) fn all(&self) -> Vec<(Arc<Key>, Arc<Entry>)> {
        self.store.iter().collect()
    }

    /// Entries and bytes now.
    pub(super) fn size(&self) -> (u64, u64) {
        let entries = self.index.lock().len() as u64;
        (entries, self.bytes.load(Relaxed))
    }

    pub(super) fn entry_bytes(key: &Key, entry: &Entry) -> u64 {
        entry_bytes(key, entry) as u64
    }
}
