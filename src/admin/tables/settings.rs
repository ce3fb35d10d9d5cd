//! `tidegate.settings`: the configuration in use.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "settings",
    description: "One row per configuration key with the value in use; secrets show as ***.",
    columns: &[
        column(
            "name",
            Type::Varchar(64),
            "Section and key, as in the configuration file.",
        ),
        column("value", Type::Text, "The value in use."),
        column(
            "default_value",
            Type::Text,
            "The value when the key is not written.",
        ),
        column(
            "unit",
            Type::Varchar(16),
            "Unit of the value; NULL when it has none.",
        ),
        column(
            "reloadable",
            Type::Bool,
            "1 when a change takes effect without a restart.",
        ),
        column(
            "description",
            Type::Text,
            "What the key does and what is allowed.",
        ),
    ],
    rows: |sources| Arc::new((sources.settings)()),
};
