//! `tidegate.decisions`: why statements went where they went.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "decisions",
    description: "One row per reason: why statements were answered from a view or the cache, why not, and how often.",
    columns: &[
        column(
            "reason",
            Type::Varchar(64),
            "The reason's stable name, the same as in metrics and in EXPLAIN ROUTE.",
        ),
        column(
            "target",
            Type::Varchar(16),
            "Where statements with this reason went: backend, view, cache, local or admin; NULL when it decides no target.",
        ),
        column("count", Type::BigInt, "How many statements since start."),
        column(
            "last_digest",
            Type::Name(32),
            "Digest of the last statement decided so; joins queries.digest.",
        ),
        column("last_seen", Type::Datetime, "When that was (UTC)."),
    ],
    rows: |sources| Arc::new((sources.decisions)()),
};
