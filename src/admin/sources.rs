//! Where the rows of the admin tables come from: one function per table, given by whoever builds the rooms.
//! A table whose function was not given is empty. Never keeps a snapshot.

use std::sync::Arc;

use crate::analytics::Analytics;

use super::bounds::Bounds;
use super::runtime::Runtime;
use super::tables;
use super::value::Row;

/// Reads the rows of one table at this moment. Called on the engine's own thread; may lock briefly, must not wait.
pub type RowsFn = Arc<dyn Fn() -> Vec<Row> + Send + Sync>;

/// The same for rows within bounds, from a file: it may wait for the disk, and says why when it cannot read.
pub type BoundedRowsFn = Arc<dyn Fn(Bounds) -> Result<Vec<Row>, String> + Send + Sync>;

/// One rows function per table of our own that shows another room's state.
/// `admin::tables::<table>` has the function that makes one from the owning room's handle.
#[derive(Clone)]
pub struct Sources {
    /// Rows of `totals`.
    pub totals: RowsFn,
    /// Rows of `served`.
    pub served: RowsFn,
    /// Rows of `queries`.
    pub queries: RowsFn,
    /// Rows of `query_history`.
    pub query_history: BoundedRowsFn,
    /// Rows of `slow_queries`.
    pub slow_queries: RowsFn,
    /// Rows of `phases`.
    pub phases: RowsFn,
    /// Rows of `decisions`.
    pub decisions: RowsFn,
    /// Rows of `sessions`.
    pub sessions: RowsFn,
    /// Rows of `transactions`.
    pub transactions: RowsFn,
    /// Rows of `pools`.
    pub pools: RowsFn,
    /// Rows of `pool_usage`.
    pub pool_usage: RowsFn,
    /// Rows of `backends`.
    pub backends: RowsFn,
    /// Rows of `backend_changes`.
    pub backend_changes: RowsFn,
    /// Rows of `views`.
    pub views: RowsFn,
    /// Rows of `view_candidates`.
    pub view_candidates: RowsFn,
    /// Rows of `view_totals`.
    pub view_totals: RowsFn,
    /// Rows of `cache`.
    pub cache: RowsFn,
    /// Rows of `cache_totals`.
    pub cache_totals: RowsFn,
    /// Rows of `binlog`.
    pub binlog: RowsFn,
    /// Rows of `errors`.
    pub errors: RowsFn,
    /// Rows of `lost`.
    pub lost: RowsFn,
    /// Rows of `history`.
    pub history: RowsFn,
    /// Rows of `rules`.
    pub rules: RowsFn,
    /// Rows of `limits`.
    pub limits: RowsFn,
    /// Rows of `breakers`.
    pub breakers: RowsFn,
    /// Rows of `settings`.
    pub settings: RowsFn,
    /// Rows of `users`.
    pub users: RowsFn,
    /// Rows of `changes`.
    pub changes: RowsFn,
    /// What INSERT, UPDATE and DELETE change; none: the schema is read-only.
    pub runtime: Option<Arc<Runtime>>,
}

impl Default for Sources {
    fn default() -> Self {
        let none: RowsFn = Arc::new(Vec::new);
        Self {
            totals: none.clone(),
            served: none.clone(),
            queries: none.clone(),
            query_history: Arc::new(|_| Ok(Vec::new())),
            slow_queries: none.clone(),
            phases: none.clone(),
            decisions: none.clone(),
            sessions: none.clone(),
            transactions: none.clone(),
            pools: none.clone(),
            pool_usage: none.clone(),
            backends: none.clone(),
            backend_changes: none.clone(),
            views: none.clone(),
            view_candidates: none.clone(),
            view_totals: none.clone(),
            cache: none.clone(),
            cache_totals: none.clone(),
            binlog: none.clone(),
            errors: none.clone(),
            lost: none.clone(),
            history: none.clone(),
            rules: none.clone(),
            limits: none.clone(),
            breakers: none.clone(),
            settings: none.clone(),
            users: none.clone(),
            changes: none,
            runtime: None,
        }
    }
}

impl Sources {
    /// All tables that show what was observed; the others empty.
    pub fn of_analytics(analytics: &Arc<Analytics>) -> Self {
        Self {
            totals: tables::totals::source(analytics.clone()),
            served: tables::served::source(analytics.clone()),
            queries: tables::queries::source(analytics.clone()),
            slow_queries: tables::slow_queries::source(analytics.clone()),
            phases: tables::phases::source(analytics.clone()),
            decisions: tables::decisions::source(analytics.clone()),
            sessions: tables::sessions::source(analytics.clone()),
            transactions: tables::transactions::source(analytics.clone()),
            pool_usage: tables::pool_usage::source(analytics.clone()),
            errors: tables::errors::source(analytics.clone()),
            lost: tables::lost::source(analytics.clone(), None),
            ..Self::default()
        }
    }
}
