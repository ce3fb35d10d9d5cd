//! `tidegate.view_candidates`: aggregates that keep coming back.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "view_candidates",
    description: "One row per aggregate pattern seen that could be answered from a view, and why there is none yet.",
    columns: &[
        column("pattern", Type::Name(32), "Identifier of the pattern."),
        column("base_schema", Type::Name(64), "Schema of the base table."),
        column("base_table", Type::Name(64), "Base table."),
        column("definition", Type::Text, "The view that would answer it."),
        column(
            "state",
            Type::Varchar(16),
            "counting, waiting, building, built or refused.",
        ),
        column("reason", Type::Varchar(64), "Why it is in that state."),
        column(
            "last_digest",
            Type::Name(32),
            "Digest of the last statement with this pattern; joins queries.digest.",
        ),
        column(
            "executions",
            Type::BigInt,
            "Executions in the window views.repeat_window_ms.",
        ),
        column(
            "mean_us",
            Type::Double,
            "Mean time of those at the backend.",
        ),
        column(
            "benefit_us",
            Type::BigInt,
            "Base time in the window that a view would have saved, at most.",
        ),
        column(
            "first_seen",
            Type::Datetime,
            "When it was first seen (UTC).",
        ),
        column("last_seen", Type::Datetime, "When it was last seen (UTC)."),
    ],
    rows: |sources| Arc::new((sources.view_candidates)()),
};
