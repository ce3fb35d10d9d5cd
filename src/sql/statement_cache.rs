//! Digest to statement, bounded: one cache for the process, and one small map per worker in front of it. Never parses the same
//! digest twice while it is held; compares texts, never hashes alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use moka::sync::Cache;

use super::classify;
use super::digest::DigestScratch;
use super::statement::Statement;

/// Statements by (reading, digest text), for all workers.
#[derive(Debug, Clone)]
pub struct StatementCache {
    statements: Cache<Key, Arc<Statement>, ahash::RandomState>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    reading: u16,
    text: Box<[u8]>,
}

impl StatementCache {
    /// `entries_max`: config `statements.cache_entries_max`.
    pub fn new(entries_max: u64) -> StatementCache {
        let builder = Cache::builder().max_capacity(entries_max.max(1));
        StatementCache {
            statements: builder.build_with_hasher(ahash::RandomState::default()),
        }
    }

    /// The statement of what `scratch` has just digested; `sample` is that text, parsed if the digest is new.
    pub fn get_or_parse(&self, scratch: &DigestScratch, sample: &[u8]) -> Arc<Statement> {
        let key = Key {
            reading: scratch.reading(),
            text: scratch.text().into(),
        };
        if let Some(statement) = self.statements.get(&key) {
            return statement;
        }
        // Two workers may parse the same digest at once; waiting for each other would cost more.
        let statement = Arc::new(classify::statement(scratch, sample));
        self.statements.insert(key, Arc::clone(&statement));
        statement
    }

    /// How many are held, about.
    pub fn len(&self) -> u64 {
        self.statements.entry_count()
    }

    /// Whether none is held, about.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Settles what moka has put off, so that `len` is exact. For tests and snapshots.
    pub fn settle(&self) {
        self.statements.run_pending_tasks();
    }
}

/// The key is a hash already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// One worker's statements, in front of the shared cache: no lock, no allocation when the digest is known.
#[derive(Debug)]
pub struct LocalStatements {
    shared: StatementCache,
    entries_max: usize,
    statements: HashMap<u64, Local, BuildHasherDefault<AsIs>>,
}

#[derive(Debug)]
struct Local {
    reading: u16,
    text: Box<[u8]>,
    statement: Arc<Statement>,
}

impl Local {
    fn is(&self, scratch: &DigestScratch) -> bool {
        self.reading == scratch.reading() && *self.text == *scratch.text()
    }

    fn make(shared: &StatementCache, scratch: &DigestScratch, sample: &[u8]) -> Local {
        let statement = shared.get_or_parse(scratch, sample);
        Local {
            reading: scratch.reading(),
            text: scratch.text().into(),
            statement,
        }
    }
}

impl LocalStatements {
    /// `entries_max`: the map is emptied when it is full, which costs each live digest one look-up in the shared cache.
    pub fn new(shared: StatementCache, entries_max: usize) -> LocalStatements {
        LocalStatements {
            shared,
            entries_max: entries_max.max(1),
            statements: HashMap::default(),
        }
    }

    /// The statement of what `scratch` has just digested from `sample`.
    #[inline]
    pub fn get(&mut self, scratch: &DigestScratch, sample: &[u8]) -> &Arc<Statement> {
        if self.statements.len() >= self.entries_max
            && !self.statements.contains_key(&scratch.hash())
        {
            self.statements.clear();
        }
        match self.statements.entry(scratch.hash()) {
            Entry::Occupied(entry) => {
                let local = entry.into_mut();
                if !local.is(scratch) {
                    *local = Local::make(&self.shared, scratch, sample);
                }
                &local.statement
            }
            Entry::Vacant(entry) => {
                &entry
                    .insert(Local::make(&self.shared, scratch, sample))
                    .statement
            }
        }
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }
}
