//! The prepared statements of one backend connection, for whichever session holds it: found by what they are, bounded, the least
//! recently used closed first. Sends nothing itself: it says what is to be closed.

use ahash::AHashMap;
use std::sync::Arc;

/// What makes two prepared statements the same: the text and everything that a PREPARE depends on.
pub type StatementKey = u128;

/// One statement that the server has prepared on this connection.
#[derive(Debug)]
struct Entry {
    key: StatementKey,
    /// Parameter types that the server was sent last; it goes by them until it gets others.
    types: Option<Arc<[u8]>>,
    used: u64,
    is_kept: bool,
}

/// All of one connection.
#[derive(Debug, Default)]
pub struct Statements {
    by_id: AHashMap<u32, Entry>,
    by_key: AHashMap<StatementKey, u32>,
    turn: u64,
}

impl Statements {
    /// Whether the server still has statement `id`. Marks it used.
    pub fn has(&mut self, id: u32) -> bool {
        self.turn += 1;
        let turn = self.turn;
        self.by_id
            .get_mut(&id)
            .map(|entry| entry.used = turn)
            .is_some()
    }

    /// The same, and nothing is marked.
    pub fn holds(&self, id: u32) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Any statement that is none of these.
    pub fn any_but(&self, these: &[u32]) -> Option<u32> {
        self.by_id.keys().find(|id| !these.contains(id)).copied()
    }

    /// A statement that is the same as one with this key. Marks it used.
    pub fn find(&mut self, key: StatementKey) -> Option<u32> {
        let id = *self.by_key.get(&key)?;
        self.has(id).then_some(id)
    }

    /// The server has prepared `id`. Answers one that is to be closed, so that no more than `most` (at least 1) are open.
    pub fn prepared(&mut self, id: u32, key: StatementKey, most: usize) -> Option<u32> {
        self.turn += 1;
        let entry = Entry {
            key,
            types: None,
            used: self.turn,
            is_kept: false,
        };
        self.by_id.insert(id, entry);
        self.by_key.insert(key, id);
        if self.by_id.len() <= most.max(1) {
            return None;
        }
        let closable = self.by_id.iter().filter(|(_, entry)| !entry.is_kept);
        let oldest = closable.min_by_key(|(_, entry)| entry.used);
        let oldest = oldest.map(|(id, _)| *id)?;
        self.closed(oldest);
        Some(oldest)
    }

    /// Statement `id` is closed.
    pub fn closed(&mut self, id: u32) {
        if let Some(gone) = self.by_id.remove(&id)
            && self.by_key.get(&gone.key) == Some(&id)
        {
            self.by_key.remove(&gone.key);
        }
    }

    /// Whether the server goes by these types for `id`.
    pub fn has_types(&self, id: u32, types: &[u8]) -> bool {
        let sent = self.by_id.get(&id).and_then(|entry| entry.types.as_deref());
        sent == Some(types)
    }

    /// Statement `id` is never closed to make room.
    pub fn keep(&mut self, id: u32) {
        if let Some(entry) = self.by_id.get_mut(&id) {
            entry.is_kept = true;
        }
    }

    /// Statement `id` is found by this key from now on.
    pub fn rename(&mut self, id: u32, key: StatementKey) {
        let Some(entry) = self.by_id.get_mut(&id) else {
            return;
        };
        let old = std::mem::replace(&mut entry.key, key);
        if old == key {
            return;
        }
        if self.by_key.get(&old) == Some(&id) {
            self.by_key.remove(&old);
        }
        self.by_key.insert(key, id);
    }

    /// The server was sent these types for `id`.
    pub fn sent_types(&mut self, id: u32, types: &Arc<[u8]>) {
        if let Some(entry) = self.by_id.get_mut(&id) {
            entry.types = Some(types.clone());
        }
    }

    /// Statements open.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The connection was reset: the server has forgotten them all.
    pub fn clear(&mut self) {
        self.by_id.clear();
        self.by_key.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_is_closed_first() {
        let mut statements = Statements::default();
        assert_eq!(statements.prepared(1, 10, 2), None);
        assert_eq!(statements.prepared(2, 20, 2), None);
        assert!(statements.has(1));
        assert_eq!(statements.prepared(3, 30, 2), Some(2));
        assert_eq!((statements.find(20), statements.find(10)), (None, Some(1)));
        assert_eq!(statements.len(), 2);
    }

    #[test]
    fn the_last_of_equal_statements_is_found() {
        let mut statements = Statements::default();
        statements.prepared(1, 10, 9);
        statements.prepared(2, 10, 9);
        assert_eq!(statements.find(10), Some(2));
        statements.closed(1);
        assert_eq!(statements.find(10), Some(2));
        statements.closed(2);
        assert_eq!(statements.find(10), None);
    }

    #[test]
    fn types_are_those_that_were_sent() {
        let mut statements = Statements::default();
        statements.prepared(1, 10, 9);
        let types: Arc<[u8]> = Arc::from(&b"\x03\x00"[..]);
        assert!(!statements.has_types(1, b""));
        statements.sent_types(1, &types);
        assert!(statements.has_types(1, b"\x03\x00") && !statements.has_types(1, b"\x08\x00"));
        statements.clear();
        assert!(statements.is_empty() && !statements.has_types(1, &types));
    }
}
