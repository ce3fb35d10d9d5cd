//! `tidegate.views`: aggregate views and what they are worth.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::{Row, Value};
use crate::views::Views;
use crate::views::snapshot::ViewRow;

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "views",
    description: "One row per view that exists or is being built.",
    columns: &[
        column("id", Type::BigInt, "Number of the view."),
        column(
            "name",
            Type::Name(160),
            "Its storage table in use, as schema.table; of the last build while none is in use; NULL before the first.",
        ),
        column("base_schema", Type::Name(64), "Schema of the base table."),
        column("base_table", Type::Name(64), "Base table."),
        column(
            "state",
            Type::Varchar(16),
            "planned, building, ready or stale.",
        ),
        column(
            "reason",
            Type::Varchar(255),
            "Why it is in that state; NULL when there is nothing to add.",
        ),
        column("definition", Type::Text, "The SELECT that it stores."),
        column(
            "target",
            Type::Name(96),
            "Where it is stored: innodb, or innodb+ and the secondary engine's name.",
        ),
        column(
            "engine_reason",
            Type::Varchar(255),
            "Why no secondary engine answers although one was wanted; NULL otherwise.",
        ),
        column(
            "rows_count",
            Type::BigInt,
            "Groups that it holds; NULL before it was built.",
        ),
        column(
            "base_rows_count",
            Type::BigInt,
            "Rows of the base table behind them; NULL before it was built.",
        ),
        column(
            "size_bytes",
            Type::BigInt,
            "Bytes of storage by the server's statistics; NULL when not known.",
        ),
        column("hits", Type::BigInt, "Statements answered from it."),
        column(
            "saved_us",
            Type::BigInt,
            "Time that these would have taken on the base table, less what they took.",
        ),
        column(
            "view_mean_us",
            Type::BigInt,
            "Mean time of these on the view; NULL before the first.",
        ),
        column(
            "gate_closed",
            Type::BigInt,
            "Statements that it could have answered but for freshness that was not proven in time.",
        ),
        column(
            "valid_position",
            Type::Name(64),
            "Position in the binary log from which on it equals the base table; NULL while it is not in use.",
        ),
        column("builds", Type::BigInt, "Builds that were put into use."),
        column(
            "builds_void",
            Type::BigInt,
            "Builds that were begun and not put into use.",
        ),
        column(
            "build_us",
            Type::BigInt,
            "Time of the last build that was put into use; NULL before the first.",
        ),
        column(
            "samples",
            Type::BigInt,
            "Samples that were compared with the base table in that build and found equal.",
        ),
        column(
            "progress_percent",
            Type::BigInt,
            "How far the running build is, by the server's statistics; NULL when none runs.",
        ),
        column(
            "last_error",
            Type::Text,
            "Last error of a build; NULL when there was none.",
        ),
        column(
            "created_at",
            Type::Datetime,
            "When it was decided upon (UTC).",
        ),
        column(
            "refreshed_at",
            Type::Datetime,
            "When it was last put into use (UTC); NULL before the first build.",
        ),
        column(
            "last_used_at",
            Type::Datetime,
            "When it last answered a statement (UTC); NULL when it never did.",
        ),
    ],
    rows: |sources| Arc::new((sources.views)()),
};

/// The rows of what the views room shows.
pub fn source(views: Arc<Views>) -> RowsFn {
    Arc::new(move || views.snapshot().views.iter().map(row).collect())
}

fn row(view: &ViewRow) -> Row {
    vec![
        view.id.into(),
        Value::text_or_null(view.name.as_str()),
        view.base_schema.as_str().into(),
        view.base_table.as_str().into(),
        view.state.into(),
        Value::text_or_null(view.reason.as_str()).cut(255),
        view.definition.as_str().into(),
        view.target.as_str().into(),
        Value::from(view.engine_reason.clone()).cut(255),
        view.rows.into(),
        view.base_rows.into(),
        view.bytes.into(),
        view.hits.into(),
        view.saved_us.into(),
        view.view_us.into(),
        view.gate_closed.into(),
        view.position.clone().into(),
        view.builds.into(),
        view.builds_void.into(),
        view.build_us.into(),
        view.samples.into(),
        view.progress_percent.into(),
        view.last_error.clone().into(),
        Value::moment_or_null(view.created_at),
        Value::moment_or_null(view.refreshed_at),
        Value::moment_or_null(view.last_used_at),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_wide_as_the_columns() {
        assert_eq!(row(&ViewRow::default()).len(), TABLE.columns.len());
    }
}
