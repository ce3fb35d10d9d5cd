//! The result cache: raw response packets under keys that hold everything that can change a byte, served only after the strict
//! gate has proven that their tables are as they were. Never serves a guess: every doubt is a reason, and the backend answers.
//!
//! How a session uses it, for a read outside any transaction:
//! ```text
//! consider(request)      sync, cheap: no, with a reason; or Wanted
//! lookup(wanted).await   Hit: send its packets
//!                        Fill: run the query, push every byte, complete
//!                        Bypass: run the query
//! observe(digest, us)    after every read that the backend answered
//! ```
//!
//! Invariants:
//! - An entry is served only after [`Gate::unchanged_since`] was asked behind the request's arrival and said yes.
//! - A result is kept only if it was asked for between [`Gate::fill_start`] and [`Gate::fill_end`] on the very same tables.
//! - One client at a time fetches a key. The others wait for it, and are served through the gate like anybody else.
//! - Nobody waits longer than the configured milliseconds, and every fault ends in the backend's own answer.
//!
//! Without a binary log that can prove something, nothing is kept: [`Skip::Unavailable`] names what is missing.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::binlog::{Binlog, GateError, TableKey};
use crate::config;
use crate::sql::{DigestId, Statement};

pub mod eligibility;
mod entries;
pub mod fill;
pub mod gate;
pub mod invalidation;
pub mod key;
pub mod snapshot;
pub mod worth;

pub use eligibility::Skip;
pub use fill::{Fill, FillRefusal};
pub use gate::{Filed, Gate};
pub use key::{BoundParameters, Request};
pub use snapshot::{CacheRow, CacheTotals};

use eligibility::Rules;
use entries::{Counters, Entries, Entry, count};
use fill::{Boarding, Flights};
use key::Key;
use worth::Worth;

/// What the operator may set (section `[cache]`).
#[derive(Debug, Clone)]
pub struct Settings {
    /// Off: every request is [`Skip::Disabled`].
    pub enabled: bool,
    /// All results together.
    pub bytes_max: u64,
    /// One result.
    pub entry_bytes_max: usize,
    /// Results kept.
    pub entries_max: usize,
    /// Choose what is dear and comes back.
    pub auto: bool,
    /// Mean backend time from which a digest is dear.
    pub auto_mean: Duration,
    /// Appearances of one question, with the same literals, from which it counts as coming back.
    pub auto_repeat_min: u32,
    /// Digests always taken.
    pub digests: Vec<DigestId>,
    /// Statements that read only these tables are always taken.
    pub tables: Vec<TableKey>,
    /// Longest wait for another client that fetches the same.
    pub fill_wait: Duration,
    /// Longest wait for the gate.
    pub gate_wait: Duration,
    /// Users who are never served from here.
    pub users_exclude: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self::from(&config::Cache::default())
    }
}

impl From<&config::Cache> for Settings {
    /// Digests and tables that cannot be read were refused by the configuration's own check; here they match nothing.
    fn from(config: &config::Cache) -> Self {
        let digest = |text: &String| u128::from_str_radix(text, 16).ok().map(DigestId);
        let table = |text: &String| {
            text.split_once('.')
                .map(|(schema, table)| TableKey::new(schema, table))
        };
        Self {
            enabled: config.enabled,
            bytes_max: config.bytes_max,
            entry_bytes_max: config.entry_bytes_max,
            entries_max: config.entries_max,
            auto: config.auto,
            auto_mean: Duration::from_millis(config.auto_mean_ms_min),
            auto_repeat_min: config.auto_repeat_min,
            digests: config.digests.iter().filter_map(digest).collect(),
            tables: config.tables.iter().filter_map(table).collect(),
            fill_wait: Duration::from_millis(config.fill_wait_ms_max),
            gate_wait: Duration::from_millis(config.gate_wait_ms_max),
            users_exclude: config.users_exclude.clone(),
        }
    }
}

impl Settings {
    /// Bytes that all fills under way may hold beside the kept results.
    fn fill_bytes_max(&self) -> u64 {
        (self.bytes_max / 4).max(self.entry_bytes_max as u64)
    }
}

/// Where a result comes from, for the admin table.
#[derive(Debug, Clone)]
struct Origin {
    digest: DigestId,
    user: Arc<str>,
    schema: Arc<str>,
    is_binary: bool,
    /// A rule of the operator chose it: uselessness does not hold it back.
    is_chosen: bool,
}

/// A request that the cache takes.
#[derive(Debug)]
pub struct Wanted {
    key: Key,
    tables: Arc<[TableKey]>,
    origin: Origin,
}

/// A kept answer, proven.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The response to send, packet headers included, numbered from 1.
    pub packets: Bytes,
    /// Rows in it.
    pub rows: u64,
    /// Columns in it.
    pub columns: u32,
    /// Status bits at its end (it has no warnings).
    pub status: u16,
    /// What the backend took to make it.
    pub fill_us: u64,
    /// Where it is proven: the answer is the state of its tables here.
    pub filed: Filed,
}

/// What a lookup found.
#[derive(Debug)]
pub enum Lookup<G: Gate = Binlog> {
    /// Send this.
    Hit(Hit),
    /// Run the query and fill.
    Fill(Box<Fill<G>>),
    /// Run the query.
    Bypass(Skip),
}

/// The cache of one cluster. Share it as `Arc<Cache>`; every method may be called from any runtime.
#[derive(Debug)]
pub struct Cache<G: Gate = Binlog> {
    settings: Settings,
    is_enabled: AtomicBool,
    rules: Rules,
    gate: Arc<G>,
    entries: Entries,
    flights: Arc<Flights>,
    worth: Worth,
    counters: Arc<Counters>,
    fill_bytes: Arc<AtomicU64>,
    has_secondary_engine: AtomicBool,
    /// Where fills end: the control runtime, so that no query waits for it.
    runtime: tokio::runtime::Handle,
    started: Instant,
}

impl<G: Gate> Cache<G> {
    /// A cache in front of what `gate` speaks of. `runtime` is where fills end.
    pub fn new(settings: Settings, gate: Arc<G>, runtime: tokio::runtime::Handle) -> Arc<Self> {
        let counters = Arc::new(Counters::default());
        Arc::new(Self {
            is_enabled: AtomicBool::new(settings.enabled),
            rules: Rules::new(&settings),
            entries: Entries::new(settings.bytes_max, settings.entries_max, counters.clone()),
            settings,
            gate,
            flights: Arc::new(Flights::default()),
            worth: Worth::default(),
            counters,
            fill_bytes: Arc::new(AtomicU64::new(0)),
            has_secondary_engine: AtomicBool::new(false),
            runtime,
            started: Instant::now(),
        })
    }

    /// Tells whether the backend has a secondary engine that may answer reads. Its answers are not known to stand at one
    /// position of the log, so only sessions with `use_secondary_engine=OFF` are served while it has.
    pub fn set_secondary_engine(&self, present: bool) {
        self.has_secondary_engine.store(present, Relaxed);
    }

    /// Switches it on or off. What is kept stays, and counts again under the proof when it is on.
    pub fn set_enabled(&self, enabled: bool) {
        self.is_enabled.store(enabled, Relaxed);
    }

    /// Notes what the backend took for a read of this digest, to the last byte.
    pub fn observe(&self, digest: DigestId, backend_us: u64) {
        self.worth.observe(digest, backend_us);
    }

    /// Whether the cache might take a statement, judged without the session: the cheap first question. `chosen`: by a query rule.
    ///
    /// # Errors
    /// The reason why it never would now.
    pub fn may_take(&self, statement: &Statement, chosen: bool) -> Result<(), Skip> {
        match self.is_enabled.load(Relaxed) {
            true => self.rules.may_take(statement, chosen, &self.worth),
            false => Err(Skip::Disabled),
        }
    }

    /// Whether the cache takes a request. Cheap; for most statements a look at two fields and one table slot.
    ///
    /// # Errors
    /// The reason why not: the backend answers.
    pub fn consider(&self, request: &Request<'_>) -> Result<Wanted, Skip> {
        let tables = self.judge(request, true)?;
        let digest = request.statement.id;
        Ok(Wanted {
            key: request.key(),
            origin: Origin {
                digest,
                user: request.env.user.as_str().into(),
                schema: request.env.schema.as_deref().unwrap_or_default().into(),
                is_binary: request.parameters.is_some(),
                is_chosen: request.is_chosen || self.rules.is_chosen(digest, &tables),
            },
            tables: tables.into(),
        })
    }

    /// What [`consider`](Self::consider) would say, and the kept answer if there is one, without counting anything.
    /// For EXPLAIN ROUTE.
    ///
    /// # Errors
    /// The reason why the request would not be taken.
    pub fn explain(&self, request: &Request<'_>) -> Result<Option<CacheRow>, Skip> {
        self.judge(request, false)?;
        let key = request.key();
        Ok(self
            .entries
            .get(&key)
            .map(|entry| snapshot::row(&key, &entry)))
    }

    fn judge(&self, request: &Request<'_>, counts: bool) -> Result<Vec<TableKey>, Skip> {
        if !self.is_enabled.load(Relaxed) {
            return Err(Skip::Disabled);
        }
        let minute = (self.started.elapsed().as_secs() / 60) as u16;
        let tables = self.rules.judge(request, &self.worth, minute, counts)?;
        let off = request.env.variable("use_secondary_engine") == Some("OFF");
        if self.has_secondary_engine.load(Relaxed) && !off {
            return Err(Skip::SecondaryEngine);
        }
        self.gate.available().map_err(Skip::Unavailable)?;
        Ok(tables)
    }

    /// Finds and proves a kept answer, or gives the right to fetch it. Waits at most for the gate and for one other client.
    pub async fn lookup(self: &Arc<Self>, wanted: Wanted) -> Lookup<G> {
        let mut may_wait = true;
        loop {
            match self.kept(&wanted).await {
                Ok(Some(hit)) => return Lookup::Hit(hit),
                Ok(None) => (),
                Err(skip) => return self.bypass(skip),
            }
            match self.flights.board(&wanted.key) {
                Boarding::First(flight) => return self.begin_fill(wanted, flight).await,
                Boarding::Full => return self.bypass(Skip::FillsFull),
                Boarding::Wait(_) if !may_wait => return self.bypass(Skip::FillWait),
                Boarding::Wait(mut done) => {
                    // The signal is the end of the channel, which arrives as an error.
                    let ended = done.changed();
                    if tokio::time::timeout(self.settings.fill_wait, ended)
                        .await
                        .is_err()
                    {
                        return self.bypass(Skip::FillWait);
                    }
                    count(&self.counters.fill_waits);
                    may_wait = false;
                }
            }
        }
    }

    fn bypass(&self, skip: Skip) -> Lookup<G> {
        count(&self.counters.bypasses);
        Lookup::Bypass(skip)
    }

    /// A kept answer that is proven now. `Ok(None)`: there is none (any more).
    async fn kept(&self, wanted: &Wanted) -> Result<Option<Hit>, Skip> {
        let Some(entry) = self.entries.get(&wanted.key) else {
            return Ok(None);
        };
        let filed = entry.filed();
        let tables = &entry.tables;
        let wait = self.settings.gate_wait;
        let proof = self
            .gate
            .unchanged_since(tables, filed.position, filed.epoch, wait);
        match proof.await {
            // Privileges are compared after the proof: they were moved before the log was.
            Ok(position) if self.gate.grant_epoch() == filed.grant_epoch => {
                entry.proven(position);
                entry.note_hit();
                self.count_hit(&entry);
                let filed = Filed { position, ..filed };
                Ok(Some(hit(&entry, filed)))
            }
            Ok(_) | Err(GateError::Changed { .. } | GateError::Epoch | GateError::Grants) => {
                self.discard(&wanted.key, &entry);
                Ok(None)
            }
            Err(error) => Err(Skip::Gate(error.label())),
        }
    }

    fn count_hit(&self, entry: &Entry) {
        let counters = &self.counters;
        count(&counters.hits);
        counters
            .hit_bytes
            .fetch_add(entry.packets.len() as u64, Relaxed);
        counters.saved_us.fetch_add(entry.fill_us, Relaxed);
        self.worth.was_useful(entry.digest);
    }

    fn discard(&self, key: &Key, entry: &Arc<Entry>) {
        self.entries.invalidate(key, entry);
        self.note_discarded(entry);
    }

    fn note_discarded(&self, entry: &Entry) {
        if entry.hits.load(Relaxed) == 0 {
            self.worth.was_useless(entry.digest);
        }
    }

    async fn begin_fill(self: &Arc<Self>, wanted: Wanted, flight: fill::Flight) -> Lookup<G> {
        if !wanted.origin.is_chosen && self.worth.passes(wanted.origin.digest) {
            return self.bypass(Skip::BackOff);
        }
        // The client waits for this, so it has the gate's patience and no more.
        let start = self.gate.fill_start(&wanted.tables);
        let token = match tokio::time::timeout(self.settings.gate_wait, start).await {
            Ok(Ok(token)) => token,
            Ok(Err(error)) => return self.bypass(Skip::Gate(error.label())),
            Err(_) => return self.bypass(Skip::Gate("gate_fill_late")),
        };
        count(&self.counters.misses);
        let Wanted { tables, origin, .. } = wanted;
        Lookup::Fill(Box::new(Fill::new(
            self.clone(),
            flight,
            token,
            tables,
            origin,
        )))
    }

    fn fill_refused(&self, origin: &Origin, refusal: FillRefusal) {
        count(&self.counters.fills_refused);
        match refusal {
            FillRefusal::TooLarge | FillRefusal::Shape | FillRefusal::Warnings => {
                self.worth.is_hopeless(origin.digest);
            }
            FillRefusal::Gate(_) | FillRefusal::Session => self.worth.was_useless(origin.digest),
            FillRefusal::Error | FillRefusal::MemoryFull => (),
        }
    }

    /// Throws away what is known to be worthless, to free its memory: call it about once a second from the control runtime.
    /// Answers how many entries went.
    pub fn sweep(&self) -> usize {
        let (epoch, grant_epoch) = (self.gate.epoch(), self.gate.grant_epoch());
        let thrown = self.entries.sweep(
            |table| self.gate.last_change(table),
            |filed, change| {
                filed.epoch != epoch
                    || filed.grant_epoch != grant_epoch
                    || change.is_some_and(|change| change > filed.position)
            },
        );
        thrown.iter().for_each(|entry| self.note_discarded(entry));
        thrown.len()
    }

    /// Throws everything away.
    pub fn clear(&self) {
        self.entries.clear();
    }

    /// One row per kept result, for the admin table `cache`. Costs time in their number; at most `rows_max`.
    pub fn snapshot(&self, rows_max: usize) -> Vec<CacheRow> {
        let entries = self.entries.all();
        let rows = entries.iter().take(rows_max);
        rows.map(|(key, entry)| snapshot::row(key, entry)).collect()
    }

    /// Sums since the start, and the size now.
    pub fn totals(&self) -> CacheTotals {
        let (entries, bytes) = self.entries.size();
        snapshot::totals(
            &self.counters,
            &self.settings,
            entries,
            bytes,
            self.flights.under_way() as u64,
            self.fill_bytes.load(Relaxed),
        )
    }
}

fn hit(entry: &Entry, filed: Filed) -> Hit {
    Hit {
        packets: entry.packets.clone(),
        rows: entry.rows,
        columns: entry.columns,
        status: entry.status,
        fill_us: entry.fill_us,
        filed,
    }
}

#[cfg(test)]
mod tests;
