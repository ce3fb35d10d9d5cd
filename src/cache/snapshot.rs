//! What the cache shows of itself: a row per kept result and the sums. Plain values for those who come to read.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use super::Settings;
use super::entries::{Counters, Entries, Entry};
use super::gate::Filed;
use super::key::Key;
use crate::sql::DigestId;

/// One kept result.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheRow {
    /// 32 hex digits: a hash of the key.
    pub entry: String,
    /// Digest of the statement.
    pub digest: DigestId,
    /// Account that it belongs to.
    pub user: String,
    /// Default schema; empty for none.
    pub schema: String,
    /// Made and served in the binary protocol.
    pub is_binary: bool,
    /// Tables that it was read from (`schema.table`).
    pub tables: Vec<String>,
    /// Memory that it takes.
    pub size_bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// How often it answered.
    pub hits: u64,
    /// What the backend took to make it.
    pub fill_us: u64,
    /// Where it is filed.
    pub filed: Filed,
    /// When it was made.
    pub filled_at: SystemTime,
    /// When it last answered.
    pub last_used_at: Option<SystemTime>,
}

pub(super) fn row(key: &Key, entry: &Entry) -> CacheRow {
    let used_after_ms = entry.used_after_ms.load(Relaxed);
    CacheRow {
        entry: key.name(),
        digest: entry.digest,
        user: entry.user.to_string(),
        schema: entry.schema.to_string(),
        is_binary: entry.is_binary,
        tables: entry.tables.iter().map(ToString::to_string).collect(),
        size_bytes: Entries::entry_bytes(key, entry),
        rows: entry.rows,
        hits: entry.hits.load(Relaxed),
        fill_us: entry.fill_us,
        filed: entry.filed(),
        filled_at: entry.filled_at,
        last_used_at: (used_after_ms > 0)
            .then(|| entry.filled_at + Duration::from_millis(used_after_ms)),
    }
}

/// The sums since the start, and the size now. Hit rate: `hits / (hits + misses + bypasses)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheTotals {
    /// Requests answered.
    pub hits: u64,
    /// Requests taken for which nothing was kept: the right to fetch it was given.
    pub misses: u64,
    /// Requests taken and given to the backend without filling (gate, waiting, back-off).
    pub bypasses: u64,
    /// Results kept.
    pub fills: u64,
    /// Results fetched and not kept.
    pub fills_refused: u64,
    /// Results thrown away because their tables changed.
    pub invalidations: u64,
    /// Results thrown away for room.
    pub evictions: u64,
    /// Requests that waited for another client's fill.
    pub fill_waits: u64,
    /// Bytes answered.
    pub hit_bytes: u64,
    /// Backend time that the hits would have taken, by what their fills took.
    pub saved_us: u64,
    /// Results kept now.
    pub entries: u64,
    /// Memory that they take.
    pub bytes: u64,
    /// The limit on that.
    pub bytes_max: u64,
    /// The limit on their number.
    pub entries_max: u64,
    /// Fills under way now.
    pub fills_under_way: u64,
    /// Memory that those take.
    pub fill_bytes: u64,
}

pub(super) fn totals(
    counters: &Counters,
    settings: &Settings,
    entries: u64,
    bytes: u64,
    fills_under_way: u64,
    fill_bytes: u64,
) -> CacheTotals {
    CacheTotals {
        hits: counters.hits.load(Relaxed),
        misses: counters.misses.load(Relaxed),
        bypasses: counters.bypasses.load(Relaxed),
        fills: counters.fills.load(Relaxed),
        fills_refused: counters.fills_refused.load(Relaxed),
        invalidations: counters.invalidations.load(Relaxed),
        evictions: counters.evictions.load(Relaxed),
        fill_waits: counters.fill_waits.load(Relaxed),
        hit_bytes: counters.hit_bytes.load(Relaxed),
        saved_us: counters.saved_us.load(Relaxed),
        entries,
        bytes,
        bytes_max: settings.bytes_max,
        entries_max: settings.entries_max as u64,
        fills_under_way,
        fill_bytes,
    }
}
