//! `tidegate.phases`: where the time of the last minute went.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::analytics::Analytics;

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "phases",
    description: "One row per phase of a query: how long it took over the last minute.",
    columns: &[
        column("phase", Type::Varchar(32), "Which part of a query."),
        column("count", Type::BigInt, "Executions that had it."),
        column("mean_us", Type::Double, "Mean time of these executions."),
        column(
            "p50_us",
            Type::BigInt,
            "Half took at most this; to two digits.",
        ),
        column(
            "p95_us",
            Type::BigInt,
            "95 % took at most this; to two digits.",
        ),
        column(
            "p99_us",
            Type::BigInt,
            "99 % took at most this; to two digits.",
        ),
        column(
            "p999_us",
            Type::BigInt,
            "99.9 % took at most this; to two digits.",
        ),
        column("max_us", Type::BigInt, "The longest execution."),
    ],
    rows: |sources| Arc::new((sources.phases)()),
};

/// The rows of what was observed.
pub fn source(analytics: Arc<Analytics>) -> RowsFn {
    Arc::new(move || {
        analytics
            .recent()
            .into_iter()
            .map(|phase| {
                vec![
                    phase.phase.into(),
                    phase.count.into(),
                    phase.mean_us.into(),
                    phase.p50_us.into(),
                    phase.p95_us.into(),
                    phase.p99_us.into(),
                    phase.p999_us.into(),
                    phase.max_us.into(),
                ]
            })
            .collect()
    })
}
