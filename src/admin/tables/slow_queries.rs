//! `tidegate.slow_queries`: the slowest moments, one by one.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::{Row, Value};
use crate::analytics::{Analytics, SlowQuery};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "slow_queries",
    description: "One row per recent execution that took longer than analytics.slow_query_ms; the last analytics.events_max are kept.",
    columns: &[
        column("ended_at", Type::Datetime, "When it ended (UTC)."),
        column(
            "digest",
            Type::Name(32),
            "Digest of the statement; joins queries.digest.",
        ),
        column(
            "digest_text",
            Type::Text,
            "The statement with its literals as ?.",
        ),
        column(
            "sample",
            Type::Text,
            "The statement as written, when analytics.sample_literals is on; else NULL.",
        ),
        column("user", Type::Name(96), "User that ran it."),
        column("app", Type::Name(96), "Application that ran it."),
        column(
            "schema_name",
            Type::Name(64),
            "Default schema that it ran in.",
        ),
        column(
            "served_by",
            Type::Varchar(16),
            "Who answered: backend, view, cache, local or admin.",
        ),
        column("reason", Type::Varchar(64), "Why that one; see decisions."),
        column("total_us", Type::BigInt, "Time that the client saw."),
        column(
            "queue_us",
            Type::BigInt,
            "Of that, waiting for a backend connection.",
        ),
        column(
            "backend_us",
            Type::BigInt,
            "Of that, in the backend, until its last byte.",
        ),
        column(
            "drain_us",
            Type::BigInt,
            "Of that, waiting for the client to take its answer.",
        ),
        column("rows_sent", Type::BigInt, "Rows of the answer."),
        column("sent_bytes", Type::BigInt, "Bytes of the answer."),
        column(
            "error_number",
            Type::BigInt,
            "MySQL error number; NULL when it succeeded.",
        ),
    ],
    rows: |sources| Arc::new((sources.slow_queries)()),
};

/// The rows of what was observed.
pub fn source(analytics: Arc<Analytics>) -> RowsFn {
    Arc::new(move || analytics.slow_queries().iter().map(row).collect())
}

fn row(slow: &SlowQuery) -> Row {
    vec![
        Value::unix_millis(slow.at_ms),
        Value::digest(slow.digest),
        (&slow.text).into(),
        slow.sample.clone().into(),
        slow.identity.user.text().into(),
        slow.identity.app.text().into(),
        slow.identity.schema.text().into(),
        slow.served_by.into(),
        Value::text_or_null(slow.reason),
        slow.total_us.into(),
        slow.queue_us.into(),
        slow.backend_us.into(),
        slow.drain_us.into(),
        slow.rows.into(),
        slow.bytes_out.into(),
        slow.error.into(),
    ]
}
