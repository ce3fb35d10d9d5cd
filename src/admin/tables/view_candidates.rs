//! `tidegate.view_candidates`: aggregates that keep coming back.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::{Row, Value};
use crate::views::Views;
use crate::views::snapshot::CandidateRow;

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "view_candidates",
    description: "One row per aggregate that came back, and per statement that no view can answer; the most expensive first.",
    columns: &[
        column(
            "pattern",
            Type::Name(32),
            "Identifier of the view's definition, or of the statement when there is none.",
        ),
        column(
            "base_schema",
            Type::Name(64),
            "Schema of the base table; NULL when it is not known.",
        ),
        column(
            "base_table",
            Type::Name(64),
            "Base table; NULL when it is not known.",
        ),
        column(
            "definition",
            Type::Text,
            "The view that would answer it; NULL when none can.",
        ),
        column(
            "state",
            Type::Varchar(16),
            "counting, waiting, building, built or refused.",
        ),
        column(
            "reason",
            Type::Varchar(255),
            "Why it is in that state; NULL when there is nothing to add.",
        ),
        column(
            "last_digest",
            Type::Name(32),
            "Digest of the last statement with this pattern; joins queries.digest.",
        ),
        column(
            "executions",
            Type::BigInt,
            "Executions on base tables in the window views.repeat_window_ms.",
        ),
        column("mean_us", Type::Double, "Mean time of these."),
        column(
            "benefit_us",
            Type::BigInt,
            "Time of these in all: what a view could save at most.",
        ),
        column(
            "rows_estimated",
            Type::BigInt,
            "Groups that the view would have, when estimated; NULL otherwise.",
        ),
        column("last_seen", Type::Datetime, "When it was last asked (UTC)."),
    ],
    rows: |sources| Arc::new((sources.view_candidates)()),
};

/// The rows of what the views room shows.
pub fn source(views: Arc<Views>) -> RowsFn {
    Arc::new(move || views.snapshot().candidates.iter().map(row).collect())
}

fn row(candidate: &CandidateRow) -> Row {
    vec![
        candidate.pattern.as_str().into(),
        Value::text_or_null(candidate.base_schema.as_str()),
        Value::text_or_null(candidate.base_table.as_str()),
        Value::text_or_null(candidate.definition.as_str()),
        candidate.state.into(),
        Value::text_or_null(candidate.reason.as_str()).cut(255),
        Value::text_or_null(candidate.last_digest.as_str()),
        candidate.executions.into(),
        candidate.mean_us.into(),
        candidate.benefit_us.into(),
        candidate.rows_estimated.into(),
        Value::moment_or_null(candidate.last_seen),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_wide_as_the_columns() {
        assert_eq!(row(&CandidateRow::default()).len(), TABLE.columns.len());
    }
}
