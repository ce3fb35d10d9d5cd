//! What the room shows of itself: rows for `views` and `view_candidates`, and counters. Plain data.

use std::sync::Arc;
use std::time::SystemTime;

/// One view.
#[derive(Debug, Clone, Default)]
pub struct ViewRow {
    /// Its number.
    pub id: u64,
    /// Its present storage table, `schema.table`; of the last build while none is in use.
    pub name: String,
    /// Schema of the base table.
    pub base_schema: String,
    /// The base table.
    pub base_table: String,
    /// `planned`, `building`, `ready`, `stale`.
    pub state: &'static str,
    /// Why it is in that state; empty when there is nothing to add.
    pub reason: String,
    /// The SELECT that it stores.
    pub definition: String,
    /// `innodb`, or `innodb+` and the engine's name.
    pub target: String,
    /// Why no secondary engine answers, when one was wanted.
    pub engine_reason: Option<String>,
    /// Groups it holds; `None` before it was built.
    pub rows: Option<u64>,
    /// Base rows behind them.
    pub base_rows: Option<u64>,
    /// Bytes of storage by the server's statistics.
    pub bytes: Option<u64>,
    /// Statements answered from it.
    pub hits: u64,
    /// Base time that these would have taken less what they took, in microseconds.
    pub saved_us: u64,
    /// Mean time of those statements on the view, in microseconds.
    pub view_us: Option<u64>,
    /// Times the gate did not open.
    pub gate_closed: u64,
    /// Position from which on it equals the base table, while it is in use.
    pub position: Option<String>,
    /// Builds published.
    pub builds: u64,
    /// Builds begun that were not published.
    pub builds_void: u64,
    /// Time of the last published build, in microseconds.
    pub build_us: Option<u64>,
    /// Samples compared equal in that build.
    pub samples: usize,
    /// How far the running build is, in percent by the server's statistics.
    pub progress_percent: Option<u8>,
    /// Last error of a build.
    pub last_error: Option<String>,
    /// When it was decided upon.
    pub created_at: Option<SystemTime>,
    /// When it was last published.
    pub refreshed_at: Option<SystemTime>,
    /// When it last answered a statement.
    pub last_used_at: Option<SystemTime>,
}

/// One aggregate that came back, or a statement that no view can answer.
#[derive(Debug, Clone, Default)]
pub struct CandidateRow {
    /// 32 hex digits: of the definition, or of the statement when there is none.
    pub pattern: String,
    /// Schema of the base table; empty when it is not known.
    pub base_schema: String,
    /// The base table; empty when it is not known.
    pub base_table: String,
    /// The view that would answer it.
    pub definition: String,
    /// `counting`, `waiting`, `building`, `built` or `refused`.
    pub state: &'static str,
    /// Why, as a stable label or in words.
    pub reason: String,
    /// Digest of the last statement with this pattern.
    pub last_digest: String,
    /// Executions on base tables in the window.
    pub executions: u64,
    /// Their mean time, in microseconds.
    pub mean_us: f64,
    /// Their time in all, in microseconds: what a view could save at most.
    pub benefit_us: u64,
    /// Groups it would have, when estimated.
    pub rows_estimated: Option<u64>,
    /// When it was last asked.
    pub last_seen: Option<SystemTime>,
}

/// Everything the room shows.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Whether this proxy builds.
    pub leads: bool,
    /// Why nothing can be built or used now; empty when it can.
    pub unavailable: String,
    /// Views.
    pub views: Vec<ViewRow>,
    /// Candidates, the most expensive first.
    pub candidates: Vec<CandidateRow>,
    /// Counters since the start.
    pub counters: Counters,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Builds begun.
    pub builds: u64,
    /// Builds published.
    pub published: u64,
    /// Builds that came to nothing because the base table changed.
    pub changed: u64,
    /// Builds that failed otherwise.
    pub failed: u64,
    /// Views that answered differently from their base table, and so were never used. Must stay 0.
    pub mismatches: u64,
    /// Views dropped.
    pub dropped: u64,
    /// Statements not counted because too many were known.
    pub overflow: u64,
    /// Rewritten statements that failed on the backend and ran as the client wrote them.
    pub failures: u64,
}

/// Shared; replaced as a whole.
pub type SharedSnapshot = Arc<arc_swap::ArcSwap<Snapshot>>;
