//! `tidegate.served`: who answered, how often and how fast.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::Value;
use crate::analytics::{Analytics, ServedBy};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "served",
    description: "One row per who answered: the backend, a view, the cache, the proxy itself, the virtual schema. Sums since start.",
    columns: &[
        column(
            "served_by",
            Type::Varchar(16),
            "backend, view, cache, local or admin.",
        ),
        column(
            "executions",
            Type::BigInt,
            "Statements answered, errors included.",
        ),
        column("errors", Type::BigInt, "Of them, answered with an error."),
        column(
            "total_us",
            Type::BigInt,
            "Sum of the times that clients saw.",
        ),
        column(
            "mean_us",
            Type::Double,
            "total_us / executions; NULL before the first.",
        ),
        column(
            "p50_us",
            Type::BigInt,
            "Half took at most this; exact to 3.1 %. NULL before the first.",
        ),
        column(
            "p95_us",
            Type::BigInt,
            "95 % took at most this; exact to 3.1 %.",
        ),
        column(
            "p99_us",
            Type::BigInt,
            "99 % took at most this; exact to 3.1 %.",
        ),
    ],
    rows: |sources| Arc::new((sources.served)()),
};

/// The rows of what was observed.
pub fn source(analytics: Arc<Analytics>) -> RowsFn {
    Arc::new(move || {
        let totals = analytics.totals();
        let kinds = ServedBy::ALL
            .iter()
            .zip(&totals.duration)
            .zip(&totals.errors);
        kinds
            .map(|((by, timing), errors)| {
                let count = timing.histogram.count();
                vec![
                    by.label().into(),
                    count.into(),
                    (*errors).into(),
                    timing.sum_us.into(),
                    Value::from(timing.sum_us as f64 / count as f64),
                    timing.histogram.quantile(0.5).into(),
                    timing.histogram.quantile(0.95).into(),
                    timing.histogram.quantile(0.99).into(),
                ]
            })
            .collect()
    })
}
