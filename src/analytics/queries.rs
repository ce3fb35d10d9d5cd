//! Statistics per digest, user, app and schema: each worker counts its part, readers merge. Never influences a query.
//!
//! # Bounded, with exact totals
//! At most `digests_max` rows. When room runs short, [`Queries::make_room`] gives up the rows that matter least; each
//! worker then adds its own part of such a row to its part of `_other` and forgets it. Only the writer of a part ever
//! moves it, so no count is lost; readers and moving workers exclude each other by `moving`, which a worker only tries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ahash::AHashMap;
use parking_lot::Mutex;

use super::counter::Counter;
use super::event::{Digest, Identity, QueryEvent, ServedBy};
use super::histogram::{Histogram, Recording};
use super::names::OTHER;

/// What a row is a row of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryKey {
    digest: u128,
    user: u32,
    app: u32,
    schema: u32,
}

impl QueryKey {
    fn of(digest: &Digest<'_>, identity: &Identity) -> Self {
        Self {
            digest: digest.id,
            user: identity.user.id(),
            app: identity.app.id(),
            schema: identity.schema.id(),
        }
    }
}

impl QueryKey {
    /// The key of `_other`.
    pub(super) const OTHER: Self = Self {
        digest: OTHER_DIGEST,
        user: 0,
        app: 0,
        schema: 0,
    };
}

/// The digest in the key of `_other`, which no statement has.
const OTHER_DIGEST: u128 = u128::MAX;

/// Parts that a worker moves at once: some ten microseconds, which no query notices.
const MOVED_AT_ONCE: usize = 64;

/// The words of a row, shared by its parts.
#[derive(Debug)]
struct Meta {
    text: Arc<str>,
    kind: &'static str,
    user: Arc<str>,
    app: Arc<str>,
    schema: Arc<str>,
}

/// One worker's part of one row.
#[derive(Debug)]
pub(super) struct Part {
    key: QueryKey,
    worker: usize,
    meta: Arc<Meta>,
    first_ms: Counter,
    last_ms: Counter,
    count: Counter,
    errors: Counter,
    warnings: Counter,
    slow: Counter,
    no_index: Counter,
    rows: Counter,
    affected_rows: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    queue_us: Counter,
    backend_us: Counter,
    first_byte_us: Counter,
    drain_us: Counter,
    max_us: Counter,
    served: [Counter; ServedBy::ALL.len()],
    served_us: [Counter; ServedBy::ALL.len()],
    reason: Counter,
    latency: Recording,
}

impl Part {
    fn new(key: QueryKey, worker: usize, meta: Arc<Meta>) -> Self {
        Self {
            key,
            worker,
            meta,
            first_ms: Counter::default(),
            last_ms: Counter::default(),
            count: Counter::default(),
            errors: Counter::default(),
            warnings: Counter::default(),
            slow: Counter::default(),
            no_index: Counter::default(),
            rows: Counter::default(),
            affected_rows: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            queue_us: Counter::default(),
            backend_us: Counter::default(),
            first_byte_us: Counter::default(),
            drain_us: Counter::default(),
            max_us: Counter::default(),
            served: Default::default(),
            served_us: Default::default(),
            reason: Counter::default(),
            latency: Recording::default(),
        }
    }

    /// Counts one execution; `reason` is the decision's number.
    pub(super) fn record(&self, event: &QueryEvent<'_>, at_ms: u64, slow: bool, reason: u64) {
        self.first_ms.lower(at_ms);
        self.last_ms.raise(at_ms);
        self.count.add(1);
        self.errors.add(u64::from(event.error.is_some()));
        self.warnings.add(u64::from(event.warnings));
        self.slow.add(u64::from(slow));
        self.no_index.add(u64::from(event.no_index_used()));
        self.rows.add(event.rows);
        self.affected_rows.add(event.affected_rows);
        self.bytes_in.add(event.bytes_in);
        self.bytes_out.add(event.bytes_out);
        self.queue_us.add(event.queue_us);
        self.backend_us.add(event.backend_us);
        self.first_byte_us.add(event.first_byte_us);
        self.drain_us.add(event.drain_us);
        self.max_us.raise(event.total_us);
        let served = event.served_by.index();
        self.served[served].add(1);
        self.served_us[served].add(event.total_us);
        self.reason.set(reason);
        self.latency.record(event.total_us);
    }

    /// Adds another part of the same worker, which is written no more.
    fn absorb(&self, other: &Part) {
        if other.count.get() == 0 {
            return;
        }
        self.first_ms.lower(other.first_ms.get());
        self.last_ms.raise(other.last_ms.get());
        self.max_us.raise(other.max_us.get());
        for (mine, theirs) in self.sums().into_iter().zip(other.sums()) {
            mine.add(theirs.get());
        }
        for (mine, theirs) in self.served.iter().zip(&other.served) {
            mine.add(theirs.get());
        }
        for (mine, theirs) in self.served_us.iter().zip(&other.served_us) {
            mine.add(theirs.get());
        }
        self.latency.absorb(&other.latency);
    }

    /// The counters that merge by addition, in the order of [`QueryRow::sums`].
    fn sums(&self) -> [&Counter; 13] {
        [
            &self.count,
            &self.errors,
            &self.warnings,
            &self.slow,
            &self.no_index,
            &self.rows,
            &self.affected_rows,
            &self.bytes_in,
            &self.bytes_out,
            &self.queue_us,
            &self.backend_us,
            &self.first_byte_us,
            &self.drain_us,
        ]
    }
}

/// One row as read: sums since the row began. Times in microseconds, moments in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryRow {
    /// Digest id; 0 for `_other` and for statements that were not digested.
    pub digest: u128,
    /// Digest text.
    pub text: Arc<str>,
    /// Kind of statement.
    pub kind: &'static str,
    /// User, empty in a row over all users.
    pub user: Arc<str>,
    /// App, empty in a row over all apps.
    pub app: Arc<str>,
    /// Schema, empty in a row over all schemas.
    pub schema: Arc<str>,
    /// Executions.
    pub count: u64,
    /// Of them, answered with an error.
    pub errors: u64,
    /// Warnings.
    pub warnings: u64,
    /// Executions over `analytics.slow_query_ms`.
    pub slow: u64,
    /// Executions whose result said that no index was used.
    pub no_index: u64,
    /// Rows sent.
    pub rows: u64,
    /// Rows changed.
    pub affected_rows: u64,
    /// Bytes of requests.
    pub bytes_in: u64,
    /// Bytes of answers.
    pub bytes_out: u64,
    /// Time in the queue for a connection.
    pub queue_us: u64,
    /// Time in the backend.
    pub backend_us: u64,
    /// Time to the backend's first byte.
    pub first_byte_us: u64,
    /// Time waiting for the client.
    pub drain_us: u64,
    /// Time in all.
    pub total_us: u64,
    /// The longest execution.
    pub max_us: u64,
    /// Half of the executions took at most this; exact to 3.1 %.
    pub p50_us: u64,
    /// 95 % did.
    pub p95_us: u64,
    /// 99 % did.
    pub p99_us: u64,
    /// Executions by who answered, in the order of [`ServedBy::ALL`].
    pub served: [u64; ServedBy::ALL.len()],
    /// Time in all by who answered, in the same order.
    pub served_us: [u64; ServedBy::ALL.len()],
    /// Number of the last decision's reason, see [`super::decisions::Decisions::label`].
    pub reason: u64,
    /// First execution.
    pub first_ms: u64,
    /// Last execution.
    pub last_ms: u64,
}

impl QueryRow {
    fn empty(meta: &Meta, key: &QueryKey) -> Self {
        Self {
            digest: if key.digest == OTHER_DIGEST {
                0
            } else {
                key.digest
            },
            text: Arc::clone(&meta.text),
            kind: meta.kind,
            user: Arc::clone(&meta.user),
            app: Arc::clone(&meta.app),
            schema: Arc::clone(&meta.schema),
            count: 0,
            errors: 0,
            warnings: 0,
            slow: 0,
            no_index: 0,
            rows: 0,
            affected_rows: 0,
            bytes_in: 0,
            bytes_out: 0,
            queue_us: 0,
            backend_us: 0,
            first_byte_us: 0,
            drain_us: 0,
            total_us: 0,
            max_us: 0,
            p50_us: 0,
            p95_us: 0,
            p99_us: 0,
            served: [0; ServedBy::ALL.len()],
            served_us: [0; ServedBy::ALL.len()],
            reason: 0,
            first_ms: 0,
            last_ms: 0,
        }
    }

    fn sums(&mut self) -> [&mut u64; 13] {
        [
            &mut self.count,
            &mut self.errors,
            &mut self.warnings,
            &mut self.slow,
            &mut self.no_index,
            &mut self.rows,
            &mut self.affected_rows,
            &mut self.bytes_in,
            &mut self.bytes_out,
            &mut self.queue_us,
            &mut self.backend_us,
            &mut self.first_byte_us,
            &mut self.drain_us,
        ]
    }

    fn merge(&mut self, part: &Part, latency: &mut Histogram) {
        for (mine, theirs) in self.sums().into_iter().zip(part.sums()) {
            *mine += theirs.get();
        }
        for (mine, theirs) in self.served.iter_mut().zip(&part.served) {
            *mine += theirs.get();
        }
        for (mine, theirs) in self.served_us.iter_mut().zip(&part.served_us) {
            *mine += theirs.get();
            self.total_us += theirs.get();
        }
        let first_ms = part.first_ms.get();
        if first_ms > 0 && (self.first_ms == 0 || first_ms < self.first_ms) {
            self.first_ms = first_ms;
        }
        if part.last_ms.get() >= self.last_ms {
            self.last_ms = part.last_ms.get();
            self.reason = part.reason.get();
        }
        self.max_us = self.max_us.max(part.max_us.get());
        part.latency.merge_into(latency);
    }

    fn finish(&mut self, latency: &Histogram) {
        let at = |quantile| latency.quantile(quantile).unwrap_or(0).min(self.max_us);
        (self.p50_us, self.p95_us, self.p99_us) = (at(0.5), at(0.95), at(0.99));
    }
}

/// A row with its key and its latencies. The row's own percentiles are not worked out.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub(super) key: QueryKey,
    /// Sums since the row began.
    pub row: QueryRow,
    /// Latencies since the row began, as a sketch.
    pub latency: Box<[u8]>,
}

/// All rows.
#[derive(Debug)]
pub struct Queries {
    rows: Mutex<AHashMap<QueryKey, Vec<Arc<Part>>>>,
    /// By worker: its parts of rows that were given up. Still read, no longer found; the worker moves them to `_other`.
    leaving: Vec<Mutex<Vec<Arc<Part>>>>,
    /// By worker: its part of `_other`.
    others: Vec<Arc<Part>>,
    /// Held while parts are read and while they are moved, so that none is read twice or not at all. Taken before any
    /// other lock of this room.
    moving: Mutex<()>,
    max: usize,
    lost: AtomicU64,
    retired: AtomicU64,
}

impl Queries {
    /// At most `max` rows beside `_other`, written by `workers` threads.
    pub fn new(max: usize, workers: usize) -> Self {
        let name: Arc<str> = OTHER.into();
        let meta = Arc::new(Meta {
            text: Arc::clone(&name),
            kind: OTHER,
            user: Arc::clone(&name),
            app: Arc::clone(&name),
            schema: name,
        });
        let key = QueryKey::OTHER;
        Self {
            rows: Mutex::default(),
            leaving: (0..workers).map(|_| Mutex::default()).collect(),
            others: (0..workers)
                .map(|worker| Arc::new(Part::new(key, worker, Arc::clone(&meta))))
                .collect(),
            moving: Mutex::default(),
            max,
            lost: AtomicU64::new(0),
            retired: AtomicU64::new(0),
        }
    }

    /// Executions that were counted in `_other` because every row was taken.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Rows that were moved to `_other` to make room.
    pub fn retired(&self) -> u64 {
        self.retired.load(Relaxed)
    }

    /// Rows now, without `_other`.
    pub fn len(&self) -> usize {
        self.rows.lock().len()
    }

    /// Whether nothing was counted yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives rows up when more than 15/16 of the room is taken: of those quiet for `quiet_ms`, first the ones that took
    /// the least time, an eighth of the room at most. Called about once a second by the control plane; what a flood of
    /// new digests brings meanwhile is counted in `_other`.
    pub fn make_room(&self, now_ms: u64, quiet_ms: u64) {
        let _moving = self.moving.lock();
        let leaving: usize = self.leaving.iter().map(|parts| parts.lock().len()).sum();
        // A worker that does not move what it was given must not make the memory grow.
        if self.len() <= self.max - self.max / 16 || leaving > self.max / 4 {
            return;
        }
        let mut quiet = self.quiet(now_ms, quiet_ms);
        // Sorted without the lock, which a worker may be waiting for.
        quiet.sort_unstable();
        let mut rows = self.rows.lock();
        for (_, _, key) in quiet.into_iter().take((self.max / 8).max(1)) {
            for part in rows.remove(&key).into_iter().flatten() {
                if let Some(leaving) = self.leaving.get(part.worker) {
                    leaving.lock().push(part);
                }
            }
            self.retired.fetch_add(1, Relaxed);
        }
    }

    /// The rows that nobody ran for `quiet_ms`, as time in all, last execution, key.
    fn quiet(&self, now_ms: u64, quiet_ms: u64) -> Vec<(u64, u64, QueryKey)> {
        let rows = self.rows.lock();
        let known = rows.iter().map(|(key, parts)| {
            let last_ms = parts
                .iter()
                .map(|part| part.last_ms.get())
                .max()
                .unwrap_or(0);
            let total_us = parts
                .iter()
                .flat_map(|part| &part.served_us)
                .map(Counter::get)
                .sum();
            (total_us, last_ms, *key)
        });
        known
            .filter(|(_, last_ms, _)| last_ms.saturating_add(quiet_ms) <= now_ms)
            .collect()
    }

    /// A row for each digest, user, app and schema, in no order.
    pub fn rows(&self) -> Vec<QueryRow> {
        self.grouped(|key| *key, |_| ())
    }

    /// A row for each digest, over all users, apps and schemas, in no order. `_other` stays a row of its own.
    pub fn digests(&self) -> Vec<QueryRow> {
        let none: Arc<str> = "".into();
        self.grouped(
            |key| key.digest,
            |row| {
                (row.user, row.app, row.schema) =
                    (Arc::clone(&none), Arc::clone(&none), Arc::clone(&none))
            },
        )
    }

    /// A reading of each row, in no order: what [`super::history`] takes differences of.
    pub fn readings(&self) -> Vec<Reading> {
        self.merged(
            |key| *key,
            |key, row, latency| {
                let mut sketch = Vec::new();
                latency.encode(&mut sketch);
                Reading {
                    key: *key,
                    row,
                    latency: sketch.into(),
                }
            },
        )
    }

    fn grouped<G: Ord>(
        &self,
        group: impl Fn(&QueryKey) -> G,
        rename: impl Fn(&mut QueryRow),
    ) -> Vec<QueryRow> {
        self.merged(group, |_, mut row, latency| {
            rename(&mut row);
            row.finish(latency);
            row
        })
    }

    /// The parts of each group as a row and its latencies, made into something.
    fn merged<G: Ord, T>(
        &self,
        group: impl Fn(&QueryKey) -> G,
        make: impl Fn(&QueryKey, QueryRow, &Histogram) -> T,
    ) -> Vec<T> {
        let _moving = self.moving.lock();
        let mut parts: Vec<Arc<Part>> = self.rows.lock().values().flatten().cloned().collect();
        parts.extend(self.leaving.iter().flat_map(|parts| parts.lock().clone()));
        parts.extend(self.others.iter().cloned());
        parts.retain(|part| part.count.get() > 0);
        parts.sort_by_key(|part| group(&part.key));
        let mut latency = Histogram::default();
        parts
            .chunk_by(|left, right| group(&left.key) == group(&right.key))
            .filter_map(|parts| {
                let first = parts.first()?;
                let mut row = QueryRow::empty(&first.meta, &first.key);
                latency.clear();
                for part in parts {
                    row.merge(part, &mut latency);
                }
                Some(make(&first.key, row, &latency))
            })
            .collect()
    }

    fn join(
        &self,
        key: QueryKey,
        worker: usize,
        digest: &Digest<'_>,
        identity: &Identity,
    ) -> Option<Arc<Part>> {
        let mut rows = self.rows.lock();
        let meta = match rows.get(&key).and_then(|parts| parts.first()) {
            Some(part) => Arc::clone(&part.meta),
            None if rows.len() >= self.max => return None,
            None => Arc::new(Meta {
                text: Arc::clone(digest.text),
                kind: digest.kind,
                user: Arc::clone(identity.user.text()),
                app: Arc::clone(identity.app.text()),
                schema: Arc::clone(identity.schema.text()),
            }),
        };
        let part = Arc::new(Part::new(key, worker, meta));
        rows.entry(key).or_default().push(Arc::clone(&part));
        Some(part)
    }
}

/// One worker's side: finds its part of a row without a lock.
#[derive(Debug)]
pub(super) struct LocalQueries {
    shared: Arc<Queries>,
    worker: usize,
    parts: AHashMap<QueryKey, Arc<Part>>,
    other: Arc<Part>,
}

impl LocalQueries {
    /// The side of worker number `worker`; none when there is no such worker.
    pub(super) fn new(shared: Arc<Queries>, worker: usize) -> Option<Self> {
        let other = Arc::clone(shared.others.get(worker)?);
        Some(Self {
            shared,
            worker,
            parts: AHashMap::new(),
            other,
        })
    }

    /// Gives this worker's part of the row to `record`; that of `_other` when every row is taken.
    pub(super) fn with(
        &mut self,
        digest: &Digest<'_>,
        identity: &Identity,
        record: impl FnOnce(&Part),
    ) {
        let key = QueryKey::of(digest, identity);
        if let Some(part) = self.parts.get(&key) {
            return record(part);
        }
        match self.shared.join(key, self.worker, digest, identity) {
            Some(part) => {
                record(&part);
                self.parts.insert(key, part);
            }
            None => {
                self.shared.lost.fetch_add(1, Relaxed);
                record(&self.other);
            }
        }
    }

    /// Moves some of this worker's parts of rows that were given up to `_other`; true when there are more. Does nothing
    /// while somebody reads.
    pub(super) fn move_leaving(&mut self) -> bool {
        let Some(leaving) = self.shared.leaving.get(self.worker) else {
            return false;
        };
        let Some(_moving) = self.shared.moving.try_lock() else {
            return false;
        };
        let mut leaving = leaving.lock();
        let keep = leaving.len().saturating_sub(MOVED_AT_ONCE);
        for part in leaving.drain(keep..) {
            self.other.absorb(&part);
            self.parts.remove(&part.key);
        }
        keep > 0
    }
}

#[cfg(test)]
mod tests;
