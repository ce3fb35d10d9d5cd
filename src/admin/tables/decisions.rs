//! `tidegate.decisions`: why statements went where they went.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::Value;
use crate::analytics::Analytics;

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "decisions",
    description: "One row per reason: why statements were answered from a view or the cache, why not, and how often.",
    columns: &[
        column(
            "target",
            Type::Varchar(32),
            "What was decided about: backend, view, cache, local or admin for where an execution went, or the part of the proxy that decided.",
        ),
        column(
            "reason",
            Type::Varchar(64),
            "The reason's stable name, the same as in metrics and in EXPLAIN ROUTE.",
        ),
        column("count", Type::BigInt, "How often since start."),
        column(
            "last_digest",
            Type::Name(32),
            "Digest of a recent example; joins queries.digest. NULL when none was kept.",
        ),
        column(
            "last_digest_text",
            Type::Text,
            "Digest text of that example.",
        ),
        column(
            "last_seen",
            Type::Datetime,
            "When it was last decided so (UTC).",
        ),
    ],
    rows: |sources| Arc::new((sources.decisions)()),
};

/// The rows of what was observed.
pub fn source(analytics: Arc<Analytics>) -> RowsFn {
    Arc::new(move || {
        analytics
            .decisions()
            .into_iter()
            .map(|decision| {
                vec![
                    decision.about.into(),
                    decision.reason.into(),
                    decision.count.into(),
                    Value::digest(decision.example_digest.unwrap_or(0)),
                    decision.example_text.into(),
                    Value::unix_millis(decision.last_ms),
                ]
            })
            .collect()
    })
}
