//! `tidegate.pool_usage`: how full the pool was, and what that says about its size.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::analytics::Analytics;

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "pool_usage",
    description: "One row per window of the last 15 minutes: how full the pool of backend connections was, from one sample a second.",
    columns: &[
        column("window_ms", Type::BigInt, "Length that the samples cover."),
        column(
            "active_mean",
            Type::Double,
            "Connections lent, averaged over time.",
        ),
        column(
            "active_max",
            Type::BigInt,
            "Most connections lent at a sample.",
        ),
        column(
            "idle_mean",
            Type::Double,
            "Connections kept idle, averaged over time.",
        ),
        column(
            "waiting_mean",
            Type::Double,
            "Sessions waiting, averaged over time.",
        ),
        column(
            "waiting_max",
            Type::BigInt,
            "Most sessions waiting at a sample.",
        ),
        column(
            "utilization",
            Type::Double,
            "Share of the allowed connections that was lent, averaged over time.",
        ),
        column("waits", Type::BigInt, "Logins that had to wait."),
        column(
            "wait_mean_us",
            Type::Double,
            "Mean of these waits; NULL when nobody waited.",
        ),
        column(
            "failures",
            Type::BigInt,
            "Waits given up and connects that failed.",
        ),
        column(
            "verdict",
            Type::Varchar(32),
            "What the numbers say of the pool's size.",
        ),
    ],
    rows: |sources| Arc::new((sources.pool_usage)()),
};

/// Windows shown, in milliseconds.
const WINDOWS_MS: [u64; 3] = [60_000, 300_000, 900_000];

/// The rows of the samples taken.
pub fn source(analytics: Arc<Analytics>) -> RowsFn {
    Arc::new(move || {
        WINDOWS_MS
            .iter()
            .filter_map(|window_ms| analytics.pool().window(*window_ms))
            .map(|window| {
                vec![
                    window.window_ms.into(),
                    window.active_mean.into(),
                    window.active_max.into(),
                    window.idle_mean.into(),
                    window.waiting_mean.into(),
                    window.waiting_max.into(),
                    window.utilization.into(),
                    window.waits.into(),
                    window.wait_us_mean.into(),
                    window.failures.into(),
                    window.verdict.into(),
                ]
            })
            .collect()
    })
}
