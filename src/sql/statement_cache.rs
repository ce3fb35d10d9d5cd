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
    /// `entries_max`: config `statements.cache_entries_max`. Statements with a big tree count for several.
    pub fn new(entries_max: u64) -> StatementCache {
        let builder = Cache::builder()
            .max_capacity(entries_max.max(1))
            .weigher(|_key, statement: &Arc<Statement>| statement.weight());
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
    /// Sum of the statements' weights; what a replaced entry weighed stays in it until the map is emptied.
    weight: usize,
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
    /// `entries_max`: in weight, as the shared cache. The map is emptied when it is full, which costs each live digest one
    /// look-up in the shared cache.
    pub fn new(shared: StatementCache, entries_max: usize) -> LocalStatements {
        LocalStatements {
            shared,
            entries_max: entries_max.max(1),
            weight: 0,
            statements: HashMap::default(),
        }
    }

    /// The statement of what `scratch` has just digested from `sample`.
    #[inline]
    pub fn get(&mut self, scratch: &DigestScratch, sample: &[u8]) -> &Arc<Statement> {
        if self.weight >= self.entries_max && !self.statements.contains_key(&scratch.hash()) {
            self.statements.clear();
            self.weight = 0;
        }
        let weigh = |local: &Local| local.statement.weight() as usize;
        match self.statements.entry(scratch.hash()) {
            Entry::Occupied(entry) => {
                let local = entry.into_mut();
                if !local.is(scratch) {
                    *local = Local::make(&self.shared, scratch, sample);
                    self.weight += weigh(local);
                }
                &local.statement
            }
            Entry::Vacant(entry) => {
                let local = entry.insert(Local::make(&self.shared, scratch, sample));
                self.weight += weigh(local);
                &local.statement
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::LexMode;

    fn get<'l>(
        local: &'l mut LocalStatements,
        scratch: &mut DigestScratch,
        text: &str,
    ) -> &'l Arc<Statement> {
        scratch.run(text.as_bytes(), LexMode::default());
        local.get(scratch, text.as_bytes())
    }

    #[test]
    fn a_digest_is_parsed_once() {
        let shared = StatementCache::new(100);
        let (mut one, mut two) = (
            LocalStatements::new(shared.clone(), 100),
            LocalStatements::new(shared, 100),
        );
        let mut scratch = DigestScratch::new(2048);
        let first = Arc::clone(get(&mut one, &mut scratch, "SELECT a FROM t WHERE b = 1"));
        assert!(Arc::ptr_eq(
            &first,
            get(&mut one, &mut scratch, "select a  from t where b = 'x'")
        ));
        assert!(Arc::ptr_eq(
            &first,
            get(&mut two, &mut scratch, "SELECT a FROM t WHERE b = NULL")
        ));
        assert!(!Arc::ptr_eq(
            &first,
            get(&mut one, &mut scratch, "SELECT a FROM t WHERE c = 1")
        ));
    }

    #[test]
    fn one_text_read_in_two_ways_is_two_statements() {
        let mut local = LocalStatements::new(StatementCache::new(100), 100);
        let mut scratch = DigestScratch::new(2048);
        let text = b"SELECT a FROM t WHERE b || c";
        let plain = LexMode::default();
        for mode in [
            plain,
            LexMode {
                pipes_as_concat: true,
                ..plain
            },
            LexMode {
                mariadb: true,
                ..plain
            },
        ] {
            scratch.run(text, mode);
            local.get(&scratch, text);
        }
        assert_eq!(local.len(), 3);
        let version = b"SELECT a FROM t WHERE b /*!99999 , c */ || c";
        scratch.run(version, plain);
        assert!(local.get(&scratch, version).opaque.is_some());
        scratch.run(text, plain);
        assert!(local.get(&scratch, text).opaque.is_none());
    }

    /// Whatever comes, the two maps stay within their limits, and a known statement is still found afterwards.
    #[test]
    fn a_flood_of_digests_stays_bounded() {
        let shared = StatementCache::new(500);
        let mut local = LocalStatements::new(shared.clone(), 300);
        let mut scratch = DigestScratch::new(2048);
        let forms = [
            "SET @@x{n} = 1",
            "SELECT a{n} FROM t",
            "SELECT SUM(a{n}) FROM t GROUP BY b{n}",
            "FOO{n}",
            "SELECT 'x{n}",
            "INSERT INTO t{n} VALUES (1), (2)",
        ];
        for number in 0..6_000 {
            let text = forms[number % forms.len()].replace("{n}", &number.to_string());
            get(&mut local, &mut scratch, &text);
            assert!(local.len() <= 301);
            if number % 500 == 0 {
                shared.settle();
                assert!(shared.len() <= 500, "{}", shared.len());
            }
        }
        assert_eq!(
            get(&mut local, &mut scratch, "SELECT a FROM t").kind,
            crate::sql::Kind::Select
        );
    }

    #[test]
    fn big_trees_count_for_several() {
        let mut local = LocalStatements::new(StatementCache::new(100), 100);
        let mut scratch = DigestScratch::new(1 << 16);
        let columns: String = (0..200)
            .map(|column| format!("SUM(column_{column}), "))
            .collect();
        for number in 0..50 {
            let text = format!("SELECT {columns} a FROM t{number} GROUP BY a");
            let statement = get(&mut local, &mut scratch, &text);
            assert!(
                statement.aggregate && statement.weight() > 50,
                "{}",
                statement.weight()
            );
        }
        assert!(local.len() <= 2);
    }
}
