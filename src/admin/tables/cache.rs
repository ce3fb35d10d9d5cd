//! `tidegate.cache`: cached results.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::{Row, Value};
use crate::cache::{Cache, CacheRow};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "cache",
    description: "One row per cached result.",
    columns: &[
        column(
            "entry",
            Type::Name(32),
            "Identifier of the entry: a hash of everything that its result depends on.",
        ),
        column(
            "digest",
            Type::Name(32),
            "Digest of the statement; joins queries.digest.",
        ),
        column(
            "user",
            Type::Name(96),
            "User that the result belongs to: nobody else is answered from it.",
        ),
        column(
            "schema_name",
            Type::Name(64),
            "Default schema that it was made in; empty for none.",
        ),
        column("protocol", Type::Varchar(8), "text or binary."),
        column(
            "tables",
            Type::Text,
            "Tables that it was read from, as schema.table, separated by commas.",
        ),
        column("size_bytes", Type::BigInt, "Memory that it takes."),
        column("rows_count", Type::BigInt, "Rows in the result."),
        column("hits", Type::BigInt, "Statements answered from it."),
        column("fill_us", Type::BigInt, "What the backend took to make it."),
        column(
            "saved_us",
            Type::BigInt,
            "hits * fill_us: backend time that was not spent.",
        ),
        column(
            "valid_position",
            Type::Name(64),
            "Position in the binary log at which it was last proven right.",
        ),
        column(
            "epoch",
            Type::BigInt,
            "Epoch of that position; see binlog.epoch.",
        ),
        column("filled_at", Type::Datetime, "When it was made (UTC)."),
        column(
            "last_used_at",
            Type::Datetime,
            "When it last answered a statement (UTC); NULL when it never did.",
        ),
    ],
    rows: |sources| Arc::new((sources.cache)()),
};

/// The rows of a cache, at most `rows_max`.
pub fn source(cache: Arc<Cache>, rows_max: usize) -> RowsFn {
    Arc::new(move || cache.snapshot(rows_max).iter().map(row).collect())
}

fn row(entry: &CacheRow) -> Row {
    vec![
        entry.entry.as_str().into(),
        Value::digest(entry.digest.0),
        entry.user.as_str().into(),
        entry.schema.as_str().into(),
        if entry.is_binary { "binary" } else { "text" }.into(),
        entry.tables.join(",").into(),
        entry.size_bytes.into(),
        entry.rows.into(),
        entry.hits.into(),
        entry.fill_us.into(),
        entry.hits.saturating_mul(entry.fill_us).into(),
        entry.filed.position.to_string().into(),
        entry.filed.epoch.into(),
        Value::moment(entry.filled_at),
        Value::moment_or_null(entry.last_used_at),
    ]
}
