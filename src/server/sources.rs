//! Where the admin tables' rows come from: each table's own function over the handle of the room that it shows.

use crate::admin::runtime::Runtime;
use crate::admin::{Sources, tables};
use crate::analytics::Analytics;
use crate::backend::nodes::Nodes;
use crate::backend::probe::Probe;
use crate::binlog::Binlog;
use crate::cache::Cache;
use crate::config::Config;
use crate::router::rules::Active;
use crate::store::Store;
use crate::views::Views;
use std::sync::Arc;
use std::time::Duration;

/// The rooms that have tables.
pub struct Parts {
    /// `settings`, and the backend's name.
    pub config: Arc<Config>,
    /// What was observed.
    pub analytics: Arc<Analytics>,
    /// `backends`, `pools`.
    pub nodes: Arc<Nodes>,
    /// What is known of the writer.
    pub probe: Arc<Probe>,
    /// `binlog`.
    pub binlog: Arc<Binlog>,
    /// `cache`, `cache_totals`.
    pub cache: Arc<Cache>,
    /// `history`, `query_history`; none when the operator wants none.
    pub store: Option<Arc<Store>>,
    /// `views`, `view_candidates`, `view_totals`.
    pub views: Arc<Views>,
    /// `rules`, `limits`, `breakers`.
    pub rules: Arc<Active>,
    /// `settings`, `users`, `changes`, and what changes them.
    pub runtime: Arc<Runtime>,
}

/// One function per table.
pub fn sources(parts: &Parts) -> Sources {
    let backend = parts.config.backend.url.address();
    let analytics = || parts.analytics.clone();
    Sources {
        totals: tables::totals::source(analytics()),
        served: tables::served::source(analytics()),
        queries: tables::queries::source(analytics()),
        query_history: tables::query_history::source(
            parts.store.clone(),
            parts.config.admin.rows_max,
            Duration::from_millis(parts.config.admin.query_ms_max),
        ),
        slow_queries: tables::slow_queries::source(analytics()),
        phases: tables::phases::source(analytics()),
        decisions: tables::decisions::source(analytics()),
        sessions: tables::sessions::source(analytics()),
        transactions: tables::transactions::source(analytics()),
        pools: tables::pools::source(parts.nodes.clone()),
        pool_usage: tables::pool_usage::source(analytics()),
        backends: tables::backends::source(parts.nodes.clone(), parts.probe.clone()),
        backend_changes: tables::backend_changes::source(parts.nodes.clone()),
        cache: tables::cache::source(parts.cache.clone(), parts.config.admin.rows_max),
        cache_totals: tables::cache_totals::source(parts.cache.clone()),
        binlog: tables::binlog::source(backend, parts.binlog.clone()),
        errors: tables::errors::source(analytics()),
        lost: tables::lost::source(analytics(), parts.store.clone()),
        history: tables::history::source(parts.store.clone()),
        rules: tables::rules::source(parts.rules.clone()),
        limits: tables::rules::limits(parts.rules.clone()),
        breakers: tables::rules::breakers(parts.rules.clone()),
        settings: tables::settings::live(parts.runtime.clone()),
        users: tables::users::source(parts.runtime.clone()),
        changes: tables::users::changes(parts.runtime.clone()),
        runtime: Some(parts.runtime.clone()),
        views: tables::views::source(parts.views.clone()),
        view_candidates: tables::view_candidates::source(parts.views.clone()),
        view_totals: tables::view_totals::source(parts.views.clone()),
    }
}
