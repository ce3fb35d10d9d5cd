//! `tidegate.queries`: what was run, how often, how long it took and who answered.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::{Row, Value};
use crate::analytics::{Analytics, QueryRow, ServedBy};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "queries",
    description: "One row per digest, user, app and schema: how often a statement ran, where its time went and who answered it. Times are what the client saw: from its whole request to the last byte handed to its socket.",
    columns: &[
        column(
            "digest",
            Type::Name(32),
            "Identifier of the digest text, 32 hex digits: the same statement with other literals has the same one. Not the server's own digest. NULL for what found no row of its own.",
        ),
        column(
            "digest_text",
            Type::Text,
            "The statement with its literals as ?, cut at statements.digest_text_bytes_max.",
        ),
        column(
            "kind",
            Type::Varchar(32),
            "What kind of statement it is: select, insert, begin ...",
        ),
        column(
            "user",
            Type::Name(96),
            "User that ran it; _other when analytics.users_max was reached.",
        ),
        column(
            "app",
            Type::Name(96),
            "Application: connection attribute program_name, then query attribute, then sqlcommenter comment; _other when analytics.apps_max was reached.",
        ),
        column(
            "schema_name",
            Type::Name(64),
            "Default schema that it ran in; empty for none.",
        ),
        column(
            "executions",
            Type::BigInt,
            "How often it ran, errors included.",
        ),
        column(
            "errors",
            Type::BigInt,
            "How many executions ended with an error.",
        ),
        column(
            "warnings",
            Type::BigInt,
            "Sum of the warning counts of the results.",
        ),
        column("rows_sent", Type::BigInt, "Rows sent to clients."),
        column(
            "rows_affected",
            Type::BigInt,
            "Rows changed, as the server reported them.",
        ),
        column("received_bytes", Type::BigInt, "Bytes of the requests."),
        column("sent_bytes", Type::BigInt, "Bytes of the answers."),
        column("total_us", Type::BigInt, "Sum of all times."),
        column("mean_us", Type::Double, "total_us / executions."),
        column(
            "p50_us",
            Type::BigInt,
            "Half of the executions took at most this; exact to 3.1 %.",
        ),
        column(
            "p95_us",
            Type::BigInt,
            "95 % of the executions took at most this; exact to 3.1 %.",
        ),
        column(
            "p99_us",
            Type::BigInt,
            "99 % of the executions took at most this; exact to 3.1 %.",
        ),
        column("max_us", Type::BigInt, "The longest execution."),
        column(
            "queue_us",
            Type::BigInt,
            "Sum of times waiting for a backend connection.",
        ),
        column(
            "backend_us",
            Type::BigInt,
            "Sum of times from the request sent to the backend until the last byte of its answer.",
        ),
        column(
            "first_byte_us",
            Type::BigInt,
            "Sum of times from the request sent to the backend until the first byte of its answer.",
        ),
        column(
            "drain_us",
            Type::BigInt,
            "Sum of times waiting for clients to take their answers.",
        ),
        column(
            "time_share",
            Type::Double,
            "This row's share of total_us over all rows, 0 to 1; NULL when nothing took time yet.",
        ),
        column(
            "no_index_used",
            Type::BigInt,
            "Executions whose result carried the server's flag that no index was used.",
        ),
        column(
            "slow",
            Type::BigInt,
            "Executions that took longer than analytics.slow_query_ms.",
        ),
        column(
            "by_backend",
            Type::BigInt,
            "Executions answered by the backend as the client wrote them.",
        ),
        column("by_view", Type::BigInt, "Executions answered from a view."),
        column(
            "by_cache",
            Type::BigInt,
            "Executions answered from the result cache.",
        ),
        column(
            "by_local",
            Type::BigInt,
            "Executions answered by the proxy itself.",
        ),
        column(
            "by_admin",
            Type::BigInt,
            "Executions answered by the virtual schema.",
        ),
        column(
            "by_backend_us",
            Type::BigInt,
            "Sum of times of those that the backend answered.",
        ),
        column(
            "by_view_us",
            Type::BigInt,
            "Sum of times of those answered from a view.",
        ),
        column(
            "by_cache_us",
            Type::BigInt,
            "Sum of times of those answered from the result cache.",
        ),
        column(
            "last_reason",
            Type::Varchar(64),
            "Why the last execution went where it went; see decisions.",
        ),
        column(
            "first_seen",
            Type::Datetime,
            "When it was first seen (UTC).",
        ),
        column("last_seen", Type::Datetime, "When it was last seen (UTC)."),
    ],
    rows: |sources| Arc::new((sources.queries)()),
};

/// The rows of what was observed.
pub fn source(analytics: Arc<Analytics>) -> RowsFn {
    Arc::new(move || {
        let queries = analytics.queries();
        let all_us: u64 = queries.iter().map(|query| query.total_us).sum();
        queries
            .iter()
            .map(|query| row(query, all_us, analytics.reason(query.reason)))
            .collect()
    })
}

fn row(query: &QueryRow, all_us: u64, reason: &'static str) -> Row {
    let of = |counts: &[u64], by: ServedBy| Value::from(counts.get(by.index()).copied());
    let share = |part: f64, whole: u64| Value::from(part / whole as f64);
    vec![
        Value::digest(query.digest),
        (&query.text).into(),
        query.kind.into(),
        (&query.user).into(),
        (&query.app).into(),
        (&query.schema).into(),
        query.count.into(),
        query.errors.into(),
        query.warnings.into(),
        query.rows.into(),
        query.affected_rows.into(),
        query.bytes_in.into(),
        query.bytes_out.into(),
        query.total_us.into(),
        share(query.total_us as f64, query.count),
        query.p50_us.into(),
        query.p95_us.into(),
        query.p99_us.into(),
        query.max_us.into(),
        query.queue_us.into(),
        query.backend_us.into(),
        query.first_byte_us.into(),
        query.drain_us.into(),
        share(query.total_us as f64, all_us),
        query.no_index.into(),
        query.slow.into(),
        of(&query.served, ServedBy::Backend),
        of(&query.served, ServedBy::View),
        of(&query.served, ServedBy::Cache),
        of(&query.served, ServedBy::Local),
        of(&query.served, ServedBy::Admin),
        of(&query.served_us, ServedBy::Backend),
        of(&query.served_us, ServedBy::View),
        of(&query.served_us, ServedBy::Cache),
        Value::text_or_null(reason),
        Value::unix_millis(query.first_ms),
        Value::unix_millis(query.last_ms),
    ]
}
