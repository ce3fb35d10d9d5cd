//! Reads rows of the file over a connection of its own that cannot write. Bounded in rows and bytes; takes the file for
//! what it is: bytes that somebody may have written.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::file::{self, StoreError};
use super::{Row, Sums, Wanted};

/// Steps of SQLite between two looks at the clock: some ten microseconds.
const STEPS_A_LOOK: i32 = 1_000;
/// Names and texts of one reading, each counted once.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// Hands over the newest rows of the minutes wanted, newest minute first.
pub(super) fn read(
    path: &Path,
    wanted: Wanted,
    mut take: impl FnMut(u64, &Row),
) -> Result<(), StoreError> {
    let deadline = Instant::now() + wanted.wait_max;
    let mut db = file::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.pragma_update(None, "query_only", true)?;
    // Within a row, too: somebody may have put a view without end in the place of our table.
    db.progress_handler(STEPS_A_LOOK, Some(move || Instant::now() >= deadline))?;
    // One transaction: rows and texts of one moment.
    let db = db.transaction()?;
    let mut reading = Reading {
        db: &db,
        words: HashMap::new(),
        texts: HashMap::new(),
        text_bytes: 0,
    };
    let names = Sums::NAMES.join(", ");
    let mut statement = db.prepare(&format!(
        "SELECT minute, digest, user, app, schema_name, {names}, latency FROM query \
         WHERE minute BETWEEN ?1 AND ?2 ORDER BY minute DESC LIMIT ?3"
    ))?;
    let limit = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut found = statement.query((
        limit(wanted.from),
        limit(wanted.to),
        limit(wanted.rows_max as u64),
    ))?;
    while let Some(row) = found.next()? {
        if Instant::now() >= deadline {
            return Err(StoreError::Slow);
        }
        let minute = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
        let row = reading.row(row)?;
        if reading.text_bytes > TEXT_BYTES_MAX {
            return Err(StoreError::Large);
        }
        take(minute, &row);
    }
    Ok(())
}

/// Words of rows read so far, so that each is in memory once.
struct Reading<'db> {
    db: &'db Connection,
    words: HashMap<Box<str>, Arc<str>>,
    texts: HashMap<u128, (Arc<str>, Arc<str>)>,
    text_bytes: usize,
}

impl Reading<'_> {
    fn row(&mut self, row: &rusqlite::Row<'_>) -> Result<Row, StoreError> {
        let digest = row.get_ref(1)?.as_blob().unwrap_or_default();
        let digest = <[u8; 16]>::try_from(digest).map_or(0, u128::from_be_bytes);
        let (kind, text) = self.text(digest)?;
        let mut sums = [0; Sums::NAMES.len()];
        for (place, sum) in sums.iter_mut().enumerate() {
            *sum = u64::try_from(row.get::<_, i64>(5 + place)?).unwrap_or(0);
        }
        Ok(Row {
            digest,
            text,
            kind,
            user: self.word(row.get_ref(2)?.as_str().unwrap_or_default()),
            app: self.word(row.get_ref(3)?.as_str().unwrap_or_default()),
            schema: self.word(row.get_ref(4)?.as_str().unwrap_or_default()),
            sums: Sums::from_values(sums),
            latency: row
                .get_ref(5 + Sums::NAMES.len())?
                .as_blob()
                .unwrap_or_default()
                .to_vec(),
        })
    }

    fn word(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.words.get(word) {
            return known.clone();
        }
        let shared: Arc<str> = word.into();
        self.text_bytes += word.len();
        self.words.insert(word.into(), shared.clone());
        shared
    }

    /// Kind and text of a digest.
    fn text(&mut self, digest: u128) -> Result<(Arc<str>, Arc<str>), StoreError> {
        if let Some(known) = self.texts.get(&digest) {
            return Ok(known.clone());
        }
        let found: Option<(String, String)> = self
            .db
            .prepare_cached("SELECT kind, text FROM digest WHERE digest = ?1")?
            .query_row([&digest.to_be_bytes()[..]], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let (kind, text) = found.unwrap_or_default();
        self.text_bytes += text.len();
        let known = (self.word(&kind), Arc::from(text));
        self.texts.insert(digest, known.clone());
        Ok(known)
    }
}
