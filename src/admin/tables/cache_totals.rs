//! `tidegate.cache_totals`: how well the result cache does.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::Value;
use crate::cache::Cache;

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "cache_totals",
    description: "One row: the result cache since start, and its size now.",
    columns: &[
        column("hits", Type::BigInt, "Statements answered from it."),
        column(
            "misses",
            Type::BigInt,
            "Statements that could be cached and were not there: they went to the backend and filled it.",
        ),
        column(
            "bypasses",
            Type::BigInt,
            "Statements that could be cached and went to the backend without filling: not provably fresh in time, or waited too long.",
        ),
        column(
            "hit_rate",
            Type::Double,
            "hits / (hits + misses + bypasses); NULL before the first.",
        ),
        column("fills", Type::BigInt, "Results that were kept."),
        column(
            "fills_refused",
            Type::BigInt,
            "Results that were fetched and not kept: too large, or a write came between.",
        ),
        column(
            "invalidations",
            Type::BigInt,
            "Results thrown away because their tables changed.",
        ),
        column("evictions", Type::BigInt, "Results thrown away for room."),
        column(
            "fill_waits",
            Type::BigInt,
            "Statements that waited for another client's fill of the same result.",
        ),
        column("hit_bytes", Type::BigInt, "Bytes answered from it."),
        column(
            "saved_us",
            Type::BigInt,
            "Backend time that the hits would have taken, by what their fills took.",
        ),
        column("entries", Type::BigInt, "Results in it now."),
        column(
            "entries_max",
            Type::BigInt,
            "Limit on that (cache.entries_max).",
        ),
        column("size_bytes", Type::BigInt, "Memory that they take."),
        column(
            "size_bytes_max",
            Type::BigInt,
            "Limit on that (cache.bytes_max).",
        ),
        column("fills_under_way", Type::BigInt, "Fills under way now."),
        column("fill_bytes", Type::BigInt, "Memory that these take."),
    ],
    rows: |sources| Arc::new((sources.cache_totals)()),
};

/// The row of a cache.
pub fn source(cache: Arc<Cache>) -> RowsFn {
    Arc::new(move || {
        let totals = cache.totals();
        let asked = totals.hits + totals.misses + totals.bypasses;
        vec![vec![
            totals.hits.into(),
            totals.misses.into(),
            totals.bypasses.into(),
            Value::from(totals.hits as f64 / asked as f64),
            totals.fills.into(),
            totals.fills_refused.into(),
            totals.invalidations.into(),
            totals.evictions.into(),
            totals.fill_waits.into(),
            totals.hit_bytes.into(),
            totals.saved_us.into(),
            totals.entries.into(),
            totals.entries_max.into(),
            totals.bytes.into(),
            totals.bytes_max.into(),
            totals.fills_under_way.into(),
            totals.fill_bytes.into(),
        ]]
    })
}
