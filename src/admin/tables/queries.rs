//! `tidegate.queries`: what was run, how often, how long it took and who answered.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "queries",
    description: "One row per digest, user, app and schema: how often a statement ran, where its time went and who answered it. Times are client-visible: from the whole command read to the last byte handed to the client's socket.",
    columns: &[
        column(
            "digest",
            Type::Name(32),
            "Identifier of the digest text: 32 hex digits. The same statement with other literals has the same digest; it is not the server's digest.",
        ),
        column(
            "digest_text",
            Type::Text,
            "The statement with literals replaced by ?, cut at statements.digest_text_bytes_max.",
        ),
        column(
            "kind",
            Type::Varchar(32),
            "What kind of statement it is: select, insert, begin, opaque ...",
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
            "Default schema it ran in; empty when none was chosen.",
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
        column(
            "received_bytes",
            Type::BigInt,
            "Bytes of the commands received from clients.",
        ),
        column(
            "sent_bytes",
            Type::BigInt,
            "Bytes of the responses sent to clients.",
        ),
        column("total_us", Type::BigInt, "Sum of client-visible times."),
        column("mean_us", Type::Double, "total_us / executions."),
        column(
            "p50_us",
            Type::BigInt,
            "Median client-visible time; upper edge of its histogram bucket, at most 6.25 % too high.",
        ),
        column(
            "p95_us",
            Type::BigInt,
            "95th percentile of the client-visible time, same precision as p50_us.",
        ),
        column(
            "p99_us",
            Type::BigInt,
            "99th percentile of the client-visible time, same precision as p50_us.",
        ),
        column("max_us", Type::BigInt, "Longest client-visible time."),
        column(
            "queue_us",
            Type::BigInt,
            "Sum of times spent waiting for a backend connection.",
        ),
        column(
            "backend_us",
            Type::BigInt,
            "Sum of times from the command sent to the backend until its last byte.",
        ),
        column(
            "first_byte_us",
            Type::BigInt,
            "Sum of times from the command sent to the backend until its first byte.",
        ),
        column(
            "drain_us",
            Type::BigInt,
            "Sum of times spent waiting for slow clients to take their results.",
        ),
        column(
            "time_share",
            Type::Double,
            "This row's share of total_us over all rows, 0 to 1.",
        ),
        column(
            "no_index_used",
            Type::BigInt,
            "Executions whose result carried the server's NO_INDEX_USED flag; NULL flags count as not carried.",
        ),
        column(
            "slow",
            Type::BigInt,
            "Executions slower than analytics.slow_query_ms, or that the server flagged as slow.",
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
            "last_reason",
            Type::Varchar(64),
            "Why the last execution went where it went; see the table decisions.",
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
