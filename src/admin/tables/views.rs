//! `tidegate.views`: aggregate views and what they are worth.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "views",
    description: "One row per view that exists or is being built.",
    columns: &[
        column("id", Type::BigInt, "Number of the view."),
        column("name", Type::Name(128), "Its storage table."),
        column("base_schema", Type::Name(64), "Schema of the base table."),
        column("base_table", Type::Name(64), "Base table."),
        column(
            "state",
            Type::Varchar(16),
            "building, ready, stale, failed or retired.",
        ),
        column(
            "reason",
            Type::Varchar(64),
            "Why it is in that state; NULL when there is nothing to add.",
        ),
        column("definition", Type::Text, "The SELECT that it stores."),
        column(
            "target",
            Type::Varchar(32),
            "Where it is stored: innodb, or innodb and the secondary engine's name.",
        ),
        column(
            "rows_count",
            Type::BigInt,
            "Rows it holds; NULL before it was built.",
        ),
        column(
            "base_rows_count",
            Type::BigInt,
            "Rows of the base table when it was built.",
        ),
        column("hits", Type::BigInt, "Statements answered from it."),
        column(
            "saved_us",
            Type::BigInt,
            "Base time that these would have taken, from the mean before the view, less what they took.",
        ),
        column(
            "valid_position",
            Type::Name(128),
            "Position in the binary log from which on it equals the base table.",
        ),
        column("builds", Type::BigInt, "How often it was built."),
        column("build_us", Type::BigInt, "How long the last build took."),
        column(
            "last_error",
            Type::Text,
            "Last error of a build or refresh; NULL when there was none.",
        ),
        column(
            "created_at",
            Type::Datetime,
            "When it was first defined (UTC).",
        ),
        column(
            "refreshed_at",
            Type::Datetime,
            "When it was last built (UTC).",
        ),
        column(
            "last_used_at",
            Type::Datetime,
            "When it last answered a statement (UTC).",
        ),
    ],
    rows: |sources| Arc::new((sources.views)()),
};
