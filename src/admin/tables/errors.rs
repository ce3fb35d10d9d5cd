//! `tidegate.errors`: errors that clients were told.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "errors",
    description: "One row per user, schema and error number: how often clients were told so, by the server or by the proxy.",
    columns: &[
        column(
            "user",
            Type::Name(96),
            "User that was told; empty before login.",
        ),
        column(
            "schema_name",
            Type::Name(64),
            "Default schema; empty when none.",
        ),
        column("error_number", Type::BigInt, "MySQL error number."),
        column(
            "sqlstate",
            Type::Name(5),
            "SQLSTATE of that number; NULL when it is not known.",
        ),
        column(
            "source",
            Type::Varchar(16),
            "Whose error it was: client, proxy or backend; NULL when it is not known.",
        ),
        column("count", Type::BigInt, "How often since start."),
        column(
            "last_message",
            Type::Text,
            "The last message, literals redacted.",
        ),
        column(
            "last_digest",
            Type::Name(32),
            "Digest of the last statement that met it; NULL when none did.",
        ),
        column("last_seen", Type::Datetime, "When it was last told (UTC)."),
    ],
    rows: |sources| Arc::new((sources.errors)()),
};
