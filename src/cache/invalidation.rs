//! Which kept results read which tables: the way from a changed table to what it makes worthless. Pure: no IO, no clock.
//! It only frees memory early. Whether an entry may be served is proven at every lookup, whatever stands here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::key::Key;
use crate::binlog::TableKey;

/// Tables and the results read from them.
#[derive(Debug, Default)]
pub struct TableIndex {
    tables: HashMap<TableKey, HashSet<Key>>,
    /// The entry that each key stands for now, and its tables: a late goodbye to a replaced entry must not unlist its successor.
    entries: HashMap<Key, (u64, Arc<[TableKey]>)>,
}

impl TableIndex {
    /// Lists entry `id`; replaces what the key stood for.
    pub fn insert(&mut self, key: &Key, id: u64, tables: Arc<[TableKey]>) {
        if let Some((old, _)) = self.entries.get(key) {
            let old = *old;
            self.remove(key, old);
        }
        for table in tables.iter() {
            self.tables
                .entry(table.clone())
                .or_default()
                .insert(key.clone());
        }
        self.entries.insert(key.clone(), (id, tables));
    }

    /// Unlists entry `id`, unless the key stands for another one by now.
    pub fn remove(&mut self, key: &Key, id: u64) {
        if self
            .entries
            .get(key)
            .is_none_or(|(current, _)| *current != id)
        {
            return;
        }
        let Some((_, tables)) = self.entries.remove(key) else {
            return;
        };
        for table in tables.iter() {
            if let Some(keys) = self.tables.get_mut(table) {
                keys.remove(key);
                if keys.is_empty() {
                    self.tables.remove(table);
                }
            }
        }
    }

    /// Every table that some result was read from.
    pub fn tables(&self) -> Vec<TableKey> {
        self.tables.keys().cloned().collect()
    }

    /// The results read from a table.
    pub fn keys_of(&self, table: &TableKey) -> Vec<Key> {
        self.tables
            .get(table)
            .map(|keys| keys.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Number of results listed.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if none is listed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
