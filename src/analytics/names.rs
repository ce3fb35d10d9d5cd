//! Names of users, apps and schemas, each kept once under a small number. Bounded: what comes after is `_other`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ahash::AHashMap;
use parking_lot::Mutex;

/// The word under which everything is counted that found no place of its own.
pub const OTHER: &str = "_other";

/// A name with its number; cloning copies a pointer.
#[derive(Debug, Clone, Eq)]
pub struct Name {
    id: u32,
    text: Arc<str>,
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.text == other.text
    }
}

impl Name {
    /// Its number within its kind; 0 is `_other`.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The name.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }
}

/// All names of one kind.
#[derive(Debug)]
pub struct Names {
    known: Mutex<AHashMap<Arc<str>, u32>>,
    other: Name,
    max: usize,
    lost: AtomicU64,
}

impl Names {
    /// At most `max` names told apart.
    pub fn new(max: usize) -> Self {
        Self {
            known: Mutex::default(),
            other: Name {
                id: 0,
                text: OTHER.into(),
            },
            max: max.min(u32::MAX as usize - 1),
            lost: AtomicU64::new(0),
        }
    }

    /// The name with its number, or `_other` when there is no room for a new one. Takes a lock: for logins and
    /// changes, not for every query.
    pub fn intern(&self, text: &str) -> Name {
        let mut known = self.known.lock();
        if let Some((text, id)) = known.get_key_value(text) {
            return Name {
                id: *id,
                text: Arc::clone(text),
            };
        }
        if known.len() >= self.max {
            self.lost.fetch_add(1, Relaxed);
            return self.other.clone();
        }
        // At most `max`, which fits.
        let id = known.len() as u32 + 1;
        let text: Arc<str> = text.into();
        known.insert(Arc::clone(&text), id);
        Name { id, text }
    }

    /// `_other`.
    pub fn other(&self) -> Name {
        self.other.clone()
    }

    /// How often a name found no room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Names told apart now.
    pub fn len(&self) -> usize {
        self.known.lock().len()
    }

    /// Whether no name was seen yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_a_name_until_full() {
        let names = Names::new(2);
        let (a, b) = (names.intern("a"), names.intern("b"));
        assert_eq!((a.id(), b.id(), names.intern("a") == a), (1, 2, true));
        let c = names.intern("c");
        assert_eq!(
            (c.id(), &**c.text(), names.lost(), names.len()),
            (0, OTHER, 1, 2)
        );
        assert_eq!(names.intern("b"), b);
    }
}
