//! `tidegate.view_totals`: how the room of views does.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::{Row, Value};
use crate::views::Views;
use crate::views::snapshot::Snapshot;

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "view_totals",
    description: "One row: building of views since start.",
    columns: &[
        column(
            "leads",
            Type::Bool,
            "1 when this proxy builds views; another one of the fleet does otherwise.",
        ),
        column(
            "unavailable",
            Type::Varchar(255),
            "Why nothing can be built or used now; NULL when it can.",
        ),
        column("builds", Type::BigInt, "Builds begun."),
        column("published", Type::BigInt, "Builds put into use."),
        column(
            "changed",
            Type::BigInt,
            "Builds that came to nothing because the base table changed.",
        ),
        column("failed", Type::BigInt, "Builds that failed otherwise."),
        column(
            "mismatches",
            Type::BigInt,
            "Views that answered differently from their base table and so were never used; must stay 0.",
        ),
        column("dropped", Type::BigInt, "Views dropped."),
        column(
            "overflow",
            Type::BigInt,
            "Statements not counted because too many were known.",
        ),
        column(
            "failures",
            Type::BigInt,
            "Rewritten statements that failed at the backend and ran as the client wrote them.",
        ),
    ],
    rows: |sources| Arc::new((sources.view_totals)()),
};

/// The row of what the views room shows.
pub fn source(views: Arc<Views>) -> RowsFn {
    Arc::new(move || vec![row(&views.snapshot())])
}

fn row(shown: &Snapshot) -> Row {
    let counters = &shown.counters;
    vec![
        shown.leads.into(),
        Value::text_or_null(shown.unavailable.as_str()).cut(255),
        counters.builds.into(),
        counters.published.into(),
        counters.changed.into(),
        counters.failed.into(),
        counters.mismatches.into(),
        counters.dropped.into(),
        counters.overflow.into(),
        counters.failures.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_wide_as_the_columns() {
        assert_eq!(row(&Snapshot::default()).len(), TABLE.columns.len());
    }
}
