//! What was observed: recorders per worker, merged at read. Never influences a query.
//!
//! A worker owns a [`Recorder`]; everything else here reads. Rooms below are read through samples that somebody takes of
//! their snapshots; this room knows neither cache nor views nor router, only the labels that events bring.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use ahash::AHashMap;
use crossbeam_utils::CachePadded;

pub mod counter;
pub mod decisions;
pub mod errors;
pub mod event;
mod export;
pub mod histogram;
pub mod history;
pub mod isolation;
pub mod names;
pub mod parts;
pub mod peer;
pub mod pool;
pub mod queries;
pub mod recent;
pub mod recorder;
pub mod sessions;
pub mod totals;
pub mod transactions;

pub use counter::Clock;
pub use decisions::DecisionRow;
pub use errors::ErrorRow;
pub use event::{Digest, Identity, QueryEvent, ServedBy, app_name};
pub use history::MinuteLog;
pub use names::{Name, OTHER};
pub use pool::{PoolHistory, PoolSample, PoolWindow};
pub use queries::{QueryRow, Reading};
pub use recent::PhaseRow;
pub use recorder::{Recorder, SlowQuery};
pub use sessions::{Kill, KillUnderWay, SessionGuard, SessionInfo, SessionState, Sessions};
pub use totals::TotalsRow;
pub use transactions::{Boundary, Outcome, StatementEnd, TransactionRecord, TransactionTracker};

use crate::config;
use decisions::{Decisions, LocalDecisions};
use errors::{Errors, LocalErrors};
use names::Names;
use parts::Ring;
use queries::{LocalQueries, Queries};
use recent::{LocalRecent, Recent};
use recorder::{Inside, Outlets};
use totals::Totals;

/// A row is given up for a new one only after it was quiet for this long.
const QUIET_MS: u64 = 10_000;

/// What one worker shares with readers.
#[derive(Debug)]
struct Worker {
    taken: AtomicBool,
    totals: Arc<CachePadded<Totals>>,
    transactions: Arc<Ring<TransactionRecord>>,
    slow: Arc<Ring<SlowQuery>>,
}

/// How much could not be kept, by name: `_meta.lost`. Nothing is dropped without a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// What was lost.
    pub what: &'static str,
    /// How often.
    pub count: u64,
}

/// Everything observed, for readers on any thread.
#[derive(Debug)]
pub struct Analytics {
    config: config::Analytics,
    slow_us: Arc<AtomicU64>,
    clock: Clock,
    users: Arc<Names>,
    apps: Arc<Names>,
    schemas: Arc<Names>,
    queries: Arc<Queries>,
    decisions: Arc<Decisions>,
    errors: Errors,
    recent: Arc<Recent>,
    workers: Vec<Worker>,
    sessions: Arc<Sessions>,
    pool: PoolHistory,
}

impl Analytics {
    /// From now on a statement that takes so long is slow.
    pub fn set_slow_query_ms(&self, ms: u64) {
        self.slow_us
            .store(ms.saturating_mul(1_000), Ordering::Relaxed);
    }

    /// Nothing observed yet, by `workers` threads.
    pub fn new(config: &config::Analytics, workers: usize) -> Arc<Self> {
        let per_worker = config.events_max.div_ceil(workers.max(1));
        Arc::new(Self {
            config: config.clone(),
            slow_us: Arc::new(AtomicU64::new(config.slow_query_ms.saturating_mul(1_000))),
            clock: Clock::start(),
            users: Arc::new(Names::new(config.users_max)),
            apps: Arc::new(Names::new(config.apps_max)),
            schemas: Arc::new(Names::new(config.schemas_max)),
            queries: Arc::new(Queries::new(config.digests_max, workers)),
            decisions: Arc::default(),
            errors: Errors::new(config.events_max, config.sample_literals),
            recent: Arc::default(),
            workers: (0..workers)
                .map(|_| Worker {
                    taken: AtomicBool::new(false),
                    totals: Arc::default(),
                    transactions: Arc::new(Ring::new(per_worker)),
                    slow: Arc::new(Ring::new(per_worker)),
                })
                .collect(),
            sessions: Arc::default(),
            pool: PoolHistory::default(),
        })
    }

    /// The recorder of worker number `worker`. Counters have one writer, so each is given out once: None for a second
    /// time, and for a worker that was not announced.
    pub fn recorder(&self, worker: usize) -> Option<Recorder> {
        let shares = self.workers.get(worker)?;
        let queries = LocalQueries::new(Arc::clone(&self.queries), worker)?;
        if shares.taken.swap(true, Ordering::AcqRel) {
            return None;
        }
        let outlets = Outlets {
            totals: Arc::clone(&shares.totals),
            transactions: Arc::clone(&shares.transactions),
            slow: Arc::clone(&shares.slow),
            recent: Arc::clone(&self.recent),
            apps: Arc::clone(&self.apps),
            clock: self.clock,
            slow_us: self.slow_us.clone(),
            sample_literals: self.config.sample_literals,
        };
        let inside = Inside {
            queries,
            decisions: LocalDecisions::new(Arc::clone(&self.decisions)),
            errors: LocalErrors::new(&self.errors),
            recent: LocalRecent::new(),
            apps: AHashMap::new(),
            next_tick_ms: 0,
        };
        Some(Recorder::new(outlets, inside))
    }

    /// The clock that all stamps come from.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.clock.unix_ms(Instant::now())
    }

    /// Who somebody is, for events. Takes locks: once per login, schema change or app change.
    pub fn identity(&self, user: &str, app: &str, schema: &str) -> Identity {
        Identity {
            user: self.users.intern(user),
            app: self.apps.intern(app),
            schema: self.schemas.intern(schema),
        }
    }

    /// A schema's name, for an identity whose session changed it.
    pub fn schema(&self, schema: &str) -> Name {
        self.schemas.intern(schema)
    }

    /// To be called about once a second by the control plane: makes room for new digests.
    pub fn maintain(&self) {
        self.queries.make_room(self.now_ms(), QUIET_MS);
    }

    /// Who is connected.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// How full the pool was.
    pub fn pool(&self) -> &PoolHistory {
        &self.pool
    }

    /// Statistics for each digest, user, app and schema.
    pub fn queries(&self) -> Vec<QueryRow> {
        self.queries.rows()
    }

    /// Statistics for each digest, over all users, apps and schemas.
    pub fn digests(&self) -> Vec<QueryRow> {
        self.queries.digests()
    }

    /// The same with keys and latencies, for [`MinuteLog`].
    pub fn readings(&self) -> Vec<Reading> {
        self.queries.readings()
    }

    /// The reason that [`QueryRow::reason`] stands for.
    pub fn reason(&self, number: u64) -> &'static str {
        self.decisions.label(number)
    }

    /// Reasons, most frequent first.
    pub fn decisions(&self) -> Vec<DecisionRow> {
        self.decisions.rows()
    }

    /// Errors, latest first.
    pub fn errors(&self) -> Vec<ErrorRow> {
        self.errors.rows()
    }

    /// Transactions that ended last, oldest first. The open ones are in [`SessionInfo::transaction`].
    pub fn transactions(&self) -> Vec<TransactionRecord> {
        let mut ended: Vec<_> = self
            .workers
            .iter()
            .flat_map(|worker| worker.transactions.read())
            .collect();
        ended.sort_by_key(|record| record.started_ms + record.duration_us / 1_000);
        ended
    }

    /// Slow executions, oldest first.
    pub fn slow_queries(&self) -> Vec<SlowQuery> {
        let mut slow: Vec<_> = self
            .workers
            .iter()
            .flat_map(|worker| worker.slow.read())
            .collect();
        slow.sort_by_key(|query| query.at_ms);
        slow
    }

    /// How long the phases of a query took in the last minute.
    pub fn recent(&self) -> Vec<PhaseRow> {
        self.recent.rows(self.now_ms())
    }

    /// Sums since start.
    pub fn totals(&self) -> TotalsRow {
        let mut sum = TotalsRow::default();
        for worker in &self.workers {
            worker.totals.merge_into(&mut sum);
        }
        sum
    }

    /// What could not be kept.
    pub fn lost(&self) -> Vec<Lost> {
        let rings = |of: fn(&Worker) -> u64| self.workers.iter().map(of).sum();
        [
            ("executions_without_row", self.queries.lost()),
            ("query_rows_given_up", self.queries.retired()),
            ("errors_without_row", self.errors.lost()),
            ("user_names", self.users.lost()),
            ("app_names", self.apps.lost()),
            ("schema_names", self.schemas.lost()),
            (
                "transactions_not_listed",
                rings(|worker| worker.transactions.lost()),
            ),
            (
                "slow_queries_not_listed",
                rings(|worker| worker.slow.lost()),
            ),
        ]
        .map(|(what, count)| Lost { what, count })
        .into()
    }
}

#[cfg(test)]
mod tests;
