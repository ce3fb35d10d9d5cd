//! What the rooms tell Prometheus: each function reads one room's snapshot at a scrape. The rooms know nothing of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use std::time::Instant;

use crate::analytics::PoolSample;
use crate::backend::nodes::{self, Nodes, Role, Writer};
use crate::backend::pool::Pool;
use crate::backend::probe::Health;
use crate::binlog::BinlogSnapshot;
use crate::cache::CacheTotals;
use crate::metrics::{Samples, series};
use crate::router::limits::BucketRow;
use crate::router::rules::Rules;
use crate::session::listener::DoorCounters;
use crate::store::Store;
use crate::views::snapshot::Snapshot;

/// The states of `views.state`.
const VIEW_STATES: [&str; 4] = ["planned", "building", "ready", "stale"];

/// The pools of all nodes at this moment: once a second for `analytics.pool()`.
pub fn pools_sample(nodes: &Nodes, at_ms: u64) -> PoolSample {
    let mut sum = PoolSample {
        at_ms,
        ..PoolSample::default()
    };
    for node in nodes.all() {
        let one = pool_sample(&node.pool, at_ms);
        sum.active += one.active;
        sum.idle += one.idle;
        sum.waiting += one.waiting;
        sum.connections_max += one.connections_max;
        sum.waits += one.waits;
        sum.wait_us += one.wait_us;
        sum.failures += one.failures;
    }
    sum
}

/// A pool at this moment, over all users.
pub fn pool_sample(pool: &Pool, at_ms: u64) -> PoolSample {
    let mut sum = PoolSample {
        at_ms,
        ..PoolSample::default()
    };
    for row in pool.snapshot() {
        sum.active += row.active as u64;
        sum.idle += row.idle as u64;
        sum.waiting += row.waiting as u64;
        sum.connections_max = row.connections_max as u64;
        sum.waits += row.waits_total;
        sum.wait_us += row.wait_us_sum;
        sum.failures += row.refused_total;
    }
    sum
}

/// Brings the pools of all nodes, added up.
pub fn pools(nodes: &Nodes, samples: &mut Samples) {
    let sum = pools_sample(nodes, 0);
    samples.count(&series::POOL_CONNECTIONS, &["active"], sum.active);
    samples.count(&series::POOL_CONNECTIONS, &["idle"], sum.idle);
    samples.count(&series::POOL_CONNECTIONS_LIMIT, &[], sum.connections_max);
    samples.count(&series::POOL_WAITING, &[], sum.waiting);
    samples.count(&series::POOL_WAITS, &[], sum.waits);
    samples.time(&series::POOL_WAIT_TIME, &[], sum.wait_us);
    samples.count(&series::POOL_REFUSED, &[], sum.failures);
    let (mut opened, mut reused) = (0, 0);
    for row in nodes.all().iter().flat_map(|node| node.pool.snapshot()) {
        opened += row.opened_total;
        reused += row.reused_total;
    }
    samples.count(&series::POOL_OPENED, &[], opened);
    samples.count(&series::POOL_REUSED, &[], reused);
}

/// Brings the query rules.
pub fn rules(rules: &Rules, samples: &mut Samples) {
    let now = Instant::now();
    for rule in &rules.all {
        let (name, counters) = ([rule.name], &rule.counters);
        samples.count(&series::RULE_HITS, &name, counters.hits.load(Relaxed));
        samples.count(&series::RULE_REFUSED, &name, counters.refused.load(Relaxed));
        samples.count(
            &series::RULE_TIMEOUTS,
            &name,
            counters.timeouts.load(Relaxed),
        );
        let Some(gate) = &rule.gate else { continue };
        let limits = gate.rows();
        let sum = |of: fn(&BucketRow) -> u64| limits.iter().map(of).sum();
        samples.count(&series::RULE_RUNNING, &name, sum(|row| row.running));
        samples.count(&series::RULE_WAITING, &name, sum(|row| row.waiting));
        let breakers = gate.breaker_rows(now);
        let open = breakers.iter().filter(|row| row.state != "closed").count();
        samples.count(&series::RULE_BREAKERS_OPEN, &name, open as u64);
    }
}

/// Brings the listeners.
pub fn door(door: &Arc<DoorCounters>, samples: &mut Samples) {
    samples.count(&series::CLIENTS, &[], door.clients.load(Relaxed) as u64);
    samples.count(
        &series::CLIENTS_ACCEPTED,
        &[],
        door.accepted_total.load(Relaxed),
    );
    samples.count(
        &series::CLIENTS_REFUSED,
        &[],
        door.refused_total.load(Relaxed),
    );
    samples.count(
        &series::CLIENT_ACCEPT_ERRORS,
        &[],
        door.accept_errors_total.load(Relaxed),
    );
}

/// Brings the health of the backend.
pub fn backend(health: &Health, samples: &mut Samples) {
    samples.count(&series::BACKEND_UP, &[], health.up.into());
    samples.count(&series::BACKEND_PROBES, &[], health.probes);
    samples.count(&series::BACKEND_PROBE_FAILURES, &[], health.failures);
    if let Some(us) = health.latency_us {
        samples.time(&series::BACKEND_LATENCY, &[], us);
    }
}

/// Brings the nodes of a cluster; nothing for one alone.
pub fn nodes(all: &Nodes, samples: &mut Samples) {
    if !all.is_cluster() {
        return;
    }
    let writers = match all.writer() {
        Writer::One(_) => 1,
        Writer::None(_) => 0,
        Writer::Several(names) => names.len() as u64,
    };
    samples.count(&series::WRITERS, &[], writers);
    for node in all.all() {
        let (state, counters, name) = (node.state.load(), &node.counters, &*node.name);
        let is_reader = state.role == Role::Reader && state.no_reads.is_none();
        let is_writer = state.role == Role::Writer;
        samples.count(
            &series::NODE_UP,
            &[name],
            (state.health == nodes::Health::Up).into(),
        );
        samples.count(&series::NODE_WRITER, &[name], is_writer.into());
        samples.count(&series::NODE_READS, &[name], is_reader.into());
        if let Some(ms) = state.lag_ms {
            samples.set(&series::NODE_LAG, &[name], ms as f64 / 1e3);
        }
        let sum = pool_sample(&node.pool, 0);
        samples.count(&series::NODE_CONNECTIONS, &[name, "active"], sum.active);
        samples.count(&series::NODE_CONNECTIONS, &[name, "idle"], sum.idle);
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        samples.count(&series::NODE_LOOKS, &[name], count(&counters.looks));
        samples.count(&series::NODE_FAILURES, &[name], count(&counters.failures));
        samples.count(&series::NODE_CHANGES, &[name], count(&counters.changes));
    }
}

/// Brings the binary log.
pub fn binlog(log: &BinlogSnapshot, samples: &mut Samples) {
    samples.count(
        &series::BINLOG_RUNNING,
        &[],
        (log.state == "running").into(),
    );
    samples.count(&series::BINLOG_EVENTS, &[], log.events);
    samples.count(&series::BINLOG_TRANSACTIONS, &[], log.transactions);
    samples.count(&series::BINLOG_BYTES, &[], log.bytes);
    samples.count(&series::BINLOG_RECONNECTS, &[], log.reconnects);
    samples.count(&series::BINLOG_BARRIERS, &[], log.barriers);
    samples.count(&series::BINLOG_BARRIER_WAITERS, &[], log.barrier_waiters);
    samples.count(&series::BINLOG_TABLES, &[], log.tables as u64);
    if let Some(ms) = log.lag_ms {
        samples.set(&series::BINLOG_LAG, &[], ms / 1e3);
    }
}

/// Brings what history could not keep.
pub fn history(store: Option<&Store>, samples: &mut Samples) {
    let lost = store.map_or(0, |store| store.status().lost);
    samples.count(&series::LOST, &["history_minutes"], lost);
}

/// Brings the result cache.
pub fn cache(totals: &CacheTotals, samples: &mut Samples) {
    samples.count(&series::CACHE_ENTRIES, &[], totals.entries);
    samples.count(&series::CACHE_BYTES, &[], totals.bytes);
    samples.count(&series::CACHE_LOOKUPS, &["hit"], totals.hits);
    samples.count(&series::CACHE_LOOKUPS, &["miss"], totals.misses);
    samples.count(&series::CACHE_LOOKUPS, &["bypass"], totals.bypasses);
    samples.count(
        &series::CACHE_EVICTIONS,
        &["invalidated"],
        totals.invalidations,
    );
    samples.count(&series::CACHE_EVICTIONS, &["evicted"], totals.evictions);
}

/// Brings the views.
pub fn views(shown: &Snapshot, samples: &mut Samples) {
    for state in VIEW_STATES {
        let in_state = shown
            .views
            .iter()
            .filter(|view| view.state == state)
            .count();
        samples.count(&series::VIEWS, &[state], in_state as u64);
    }
    let rows = shown.views.iter().filter_map(|view| view.rows).sum();
    samples.count(&series::VIEW_ROWS, &[], rows);
    let counters = &shown.counters;
    samples.count(&series::VIEW_BUILDS, &["published"], counters.published);
    samples.count(&series::VIEW_BUILDS, &["changed"], counters.changed);
    samples.count(&series::VIEW_BUILDS, &["failed"], counters.failed);
    samples.count(&series::VIEW_BUILDS, &["mismatch"], counters.mismatches);
    samples.count(&series::VIEW_CANDIDATES, &[], shown.candidates.len() as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{Binlog, Unavailable};
    use crate::config::Config;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn the_rooms_are_on_the_page() {
        let metrics = Metrics::new().unwrap();
        let own = Nodes::new(&Config::default()).unwrap();
        let log = Binlog::unavailable(Unavailable::Starting);
        let counters = Arc::new(DoorCounters::default());
        counters.accepted_total.store(3, Relaxed);
        metrics.add_source(move |samples| {
            pools(&own, samples);
            door(&counters, samples);
            binlog(&log.snapshot(), samples);
        });
        let page = metrics.text().unwrap();
        for line in [
            "tidegate_pool_connections{state=\"active\"} 0",
            "tidegate_clients_accepted_total 3",
            "tidegate_binlog_running 0",
        ] {
            assert!(
                page.lines().any(|found| found == line),
                "no line {line} in\n{page}"
            );
        }
    }
}
