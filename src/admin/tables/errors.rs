//! `tidegate.errors`: errors that clients were told.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::Value;
use crate::analytics::Analytics;

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "errors",
    description: "One row per user, app, schema and error number: how often clients were told so, by the server or by the proxy.",
    columns: &[
        column(
            "error_number",
            Type::BigInt,
            "MySQL error number; 0 for what found no row of its own.",
        ),
        column("user", Type::Name(96), "User that was told."),
        column("app", Type::Name(96), "Application that was told."),
        column(
            "schema_name",
            Type::Name(64),
            "Default schema; empty for none.",
        ),
        column("count", Type::BigInt, "How often since start."),
        column(
            "last_message",
            Type::Text,
            "A recent message, literals taken out.",
        ),
        column(
            "first_seen",
            Type::Datetime,
            "When it was first told (UTC).",
        ),
        column("last_seen", Type::Datetime, "When it was last told (UTC)."),
    ],
    rows: |sources| Arc::new((sources.errors)()),
};

/// The rows of what was observed.
pub fn source(analytics: Arc<Analytics>) -> RowsFn {
    Arc::new(move || {
        analytics
            .errors()
            .into_iter()
            .map(|error| {
                vec![
                    error.code.into(),
                    error.user.into(),
                    error.app.into(),
                    error.schema.into(),
                    error.count.into(),
                    error.message.into(),
                    Value::unix_millis(error.first_ms),
                    Value::unix_millis(error.last_ms),
                ]
            })
            .collect()
    })
}
