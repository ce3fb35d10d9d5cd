//! `tidegate.tables` and `tidegate.columns`: the catalog described by itself.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, TABLES, Table, Type, column};

/// `tidegate.tables`.
pub static TABLES_TABLE: Table = Table {
    schema: SCHEMA,
    name: "tables",
    description: "One row per table of this schema.",
    columns: &[
        column("table_name", Type::Varchar(64), "Name of the table."),
        column("description", Type::Text, "What one row of the table is."),
        column("columns_count", Type::BigInt, "How many columns it has."),
    ],
    rows: |_| {
        Arc::new(
            TABLES
                .iter()
                .map(|table| {
                    vec![
                        table.name.into(),
                        table.description.into(),
                        table.columns.len().into(),
                    ]
                })
                .collect(),
        )
    },
};

/// `tidegate.columns`.
pub static COLUMNS_TABLE: Table = Table {
    schema: SCHEMA,
    name: "columns",
    description: "One row per column of the tables of this schema, with what it says.",
    columns: &[
        column("table_name", Type::Varchar(64), "Name of the table."),
        column(
            "column_name",
            Type::Varchar(64),
            "Name of the column; units come last (_us, _ms, _bytes).",
        ),
        column(
            "ordinal_position",
            Type::BigInt,
            "Place of the column in its table, from 1.",
        ),
        column(
            "column_type",
            Type::Varchar(64),
            "MySQL type of the column.",
        ),
        column(
            "description",
            Type::Text,
            "What the column says, how it is computed, when it is NULL.",
        ),
    ],
    rows: |_| {
        let mut rows = Vec::new();
        for table in TABLES {
            for (at, column) in table.columns.iter().enumerate() {
                rows.push(vec![
                    table.name.into(),
                    column.name.into(),
                    (at + 1).into(),
                    column.kind.mysql().into(),
                    column.description.into(),
                ]);
            }
        }
        Arc::new(rows)
    },
};
