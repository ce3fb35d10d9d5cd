//! `tidegate.cache`: cached results.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "cache",
    description: "One row per cached result.",
    columns: &[
        column(
            "entry",
            Type::Name(32),
            "Identifier of the entry: hash of its key.",
        ),
        column(
            "digest",
            Type::Name(32),
            "Digest of the statement; joins queries.digest.",
        ),
        column("user", Type::Name(96), "User that the result belongs to."),
        column(
            "schema_name",
            Type::Name(64),
            "Default schema that it was made in.",
        ),
        column("protocol", Type::Varchar(8), "text or binary."),
        column(
            "tables",
            Type::Text,
            "Tables that the result was read from.",
        ),
        column("size_bytes", Type::BigInt, "Memory that it takes."),
        column("rows_count", Type::BigInt, "Rows in the result."),
        column("hits", Type::BigInt, "Statements answered from it."),
        column("fill_us", Type::BigInt, "What the backend took to make it."),
        column(
            "valid_position",
            Type::Name(128),
            "Position in the binary log up to which it is known to be right.",
        ),
        column("filled_at", Type::Datetime, "When it was made (UTC)."),
        column(
            "last_used_at",
            Type::Datetime,
            "When it last answered a statement (UTC).",
        ),
    ],
    rows: |sources| Arc::new((sources.cache)()),
};
