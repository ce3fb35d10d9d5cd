//! `information_schema` for the virtual schema: schemata, tables and columns from the catalog, a few constant lists, and
//! empty tables with the right columns for what tools ask for at start. Never shows anything of the backend.

use std::sync::Arc;

use super::catalog::{self, Column, INFORMATION_SCHEMA, SCHEMA, Table, Type, all, column, no_rows};
use super::sources::Sources;
use super::value::{Row, Rows, Value};

const fn name(name: &'static str) -> Column {
    column(name, Type::Varchar(64), "")
}

const fn text(name: &'static str) -> Column {
    column(name, Type::Text, "")
}

const fn number(name: &'static str) -> Column {
    column(name, Type::BigInt, "")
}

const fn moment(name: &'static str) -> Column {
    column(name, Type::Datetime, "")
}

const fn table(
    name: &'static str,
    description: &'static str,
    columns: &'static [Column],
    rows: fn(&Sources) -> Rows,
) -> Table {
    Table {
        schema: INFORMATION_SCHEMA,
        name,
        description,
        columns,
        rows,
    }
}

/// The tables of `information_schema`, as MySQL 8 and 9 name them and their columns.
pub static TABLES: &[&Table] = &[
    &SCHEMATA,
    &TABLES_TABLE,
    &COLUMNS,
    &ENGINES,
    &CHARACTER_SETS,
    &COLLATIONS,
    &STATISTICS,
    &KEY_COLUMN_USAGE,
    &TABLE_CONSTRAINTS,
    &REFERENTIAL_CONSTRAINTS,
    &VIEWS,
    &ROUTINES,
    &PARAMETERS,
    &TRIGGERS,
    &EVENTS,
    &PARTITIONS,
    &PLUGINS,
    &KEYWORDS,
    &CHECK_CONSTRAINTS,
    &USER_PRIVILEGES,
    &SCHEMA_PRIVILEGES,
    &TABLE_PRIVILEGES,
    &COLUMN_PRIVILEGES,
];

static SCHEMATA: Table = table(
    "SCHEMATA",
    "One row per schema.",
    &[
        name("CATALOG_NAME"),
        name("SCHEMA_NAME"),
        name("DEFAULT_CHARACTER_SET_NAME"),
        name("DEFAULT_COLLATION_NAME"),
        text("SQL_PATH"),
        name("DEFAULT_ENCRYPTION"),
    ],
    |_| {
        let row = |schema: &str| -> Row {
            vec![
                "def".into(),
                schema.into(),
                "utf8mb4".into(),
                "utf8mb4_general_ci".into(),
                Value::Null,
                "NO".into(),
            ]
        };
        Arc::new(vec![row(INFORMATION_SCHEMA), row(SCHEMA)])
    },
);

static TABLES_TABLE: Table = table(
    "TABLES",
    "One row per table of either schema.",
    &[
        name("TABLE_CATALOG"),
        name("TABLE_SCHEMA"),
        name("TABLE_NAME"),
        name("TABLE_TYPE"),
        name("ENGINE"),
        number("VERSION"),
        name("ROW_FORMAT"),
        number("TABLE_ROWS"),
        number("AVG_ROW_LENGTH"),
        number("DATA_LENGTH"),
        number("MAX_DATA_LENGTH"),
        number("INDEX_LENGTH"),
        number("DATA_FREE"),
        number("AUTO_INCREMENT"),
        moment("CREATE_TIME"),
        moment("UPDATE_TIME"),
        moment("CHECK_TIME"),
        name("TABLE_COLLATION"),
        number("CHECKSUM"),
        text("CREATE_OPTIONS"),
        text("TABLE_COMMENT"),
    ],
    |_| Arc::new(all().map(table_row).collect()),
);

fn table_row(table: &'static Table) -> Row {
    let kind = if table.schema == SCHEMA {
        "BASE TABLE"
    } else {
        "SYSTEM VIEW"
    };
    let mut row: Row = vec![
        "def".into(),
        table.schema.into(),
        table.name.into(),
        kind.into(),
        "TIDEGATE".into(),
    ];
    row.resize(17, Value::Null);
    row.push("utf8mb4_general_ci".into());
    row.push(Value::Null);
    row.push("".into());
    row.push(table.description.into());
    row
}

static COLUMNS: Table = table(
    "COLUMNS",
    "One row per column of either schema.",
    &[
        name("TABLE_CATALOG"),
        name("TABLE_SCHEMA"),
        name("TABLE_NAME"),
        name("COLUMN_NAME"),
        number("ORDINAL_POSITION"),
        text("COLUMN_DEFAULT"),
        column("IS_NULLABLE", Type::Varchar(3), ""),
        name("DATA_TYPE"),
        number("CHARACTER_MAXIMUM_LENGTH"),
        number("CHARACTER_OCTET_LENGTH"),
        number("NUMERIC_PRECISION"),
        number("NUMERIC_SCALE"),
        number("DATETIME_PRECISION"),
        name("CHARACTER_SET_NAME"),
        name("COLLATION_NAME"),
        name("COLUMN_TYPE"),
        column("COLUMN_KEY", Type::Varchar(3), ""),
        name("EXTRA"),
        name("PRIVILEGES"),
        text("COLUMN_COMMENT"),
        text("GENERATION_EXPRESSION"),
        number("SRS_ID"),
    ],
    |_| {
        let mut rows = Vec::new();
        for table in all() {
            for (at, column) in table.columns.iter().enumerate() {
                rows.push(column_row(table, at, column));
            }
        }
        Arc::new(rows)
    },
);

fn column_row(table: &'static Table, at: usize, column: &'static Column) -> Row {
    let characters = column.kind.characters_max();
    let precision = match column.kind {
        Type::BigInt => Some(19u32),
        Type::Double => Some(22),
        Type::Bool => Some(3),
        _ => None,
    };
    let scale = matches!(column.kind, Type::BigInt | Type::Bool).then_some(0u32);
    let fraction = (column.kind == Type::Datetime).then_some(6u32);
    vec![
        "def".into(),
        table.schema.into(),
        table.name.into(),
        column.name.into(),
        (at + 1).into(),
        Value::Null,
        "YES".into(),
        column.kind.mysql_data_type().into(),
        characters.into(),
        characters.map(|c| c.saturating_mul(4)).into(),
        precision.into(),
        scale.into(),
        fraction.into(),
        column.kind.collation().map(|_| "utf8mb4").into(),
        column.kind.collation().into(),
        column.kind.mysql().into(),
        "".into(),
        "".into(),
        "select".into(),
        column.description.into(),
        "".into(),
        Value::Null,
    ]
}

static ENGINES: Table = table(
    "ENGINES",
    "The one engine behind these tables.",
    &[
        name("ENGINE"),
        name("SUPPORT"),
        text("COMMENT"),
        name("TRANSACTIONS"),
        name("XA"),
        name("SAVEPOINTS"),
    ],
    |_| {
        Arc::new(vec![vec![
            "TIDEGATE".into(),
            "DEFAULT".into(),
            "Read-only tables over the proxy's own state".into(),
            "NO".into(),
            "NO".into(),
            "NO".into(),
        ]])
    },
);

static CHARACTER_SETS: Table = table(
    "CHARACTER_SETS",
    "The character set that results are in.",
    &[
        name("CHARACTER_SET_NAME"),
        name("DEFAULT_COLLATE_NAME"),
        text("DESCRIPTION"),
        number("MAXLEN"),
    ],
    |_| {
        Arc::new(vec![vec![
            "utf8mb4".into(),
            "utf8mb4_general_ci".into(),
            "UTF-8 Unicode".into(),
            4u32.into(),
        ]])
    },
);

static COLLATIONS: Table = table(
    "COLLATIONS",
    "The collations that columns have.",
    &[
        name("COLLATION_NAME"),
        name("CHARACTER_SET_NAME"),
        number("ID"),
        name("IS_DEFAULT"),
        name("IS_COMPILED"),
        number("SORTLEN"),
        name("PAD_ATTRIBUTE"),
    ],
    |_| {
        let row = |name: &str, id: u32, default: &str| -> Row {
            vec![
                name.into(),
                "utf8mb4".into(),
                id.into(),
                default.into(),
                "Yes".into(),
                1u32.into(),
                "PAD SPACE".into(),
            ]
        };
        Arc::new(vec![
            row("utf8mb4_general_ci", 45, "Yes"),
            row("utf8mb4_bin", 46, ""),
        ])
    },
);

static STATISTICS: Table = table(
    "STATISTICS",
    "Empty: virtual tables have no indexes.",
    &[
        name("TABLE_CATALOG"),
        name("TABLE_SCHEMA"),
        name("TABLE_NAME"),
        number("NON_UNIQUE"),
        name("INDEX_SCHEMA"),
        name("INDEX_NAME"),
        number("SEQ_IN_INDEX"),
        name("COLUMN_NAME"),
        name("COLLATION"),
        number("CARDINALITY"),
        number("SUB_PART"),
        name("PACKED"),
        name("NULLABLE"),
        name("INDEX_TYPE"),
        text("COMMENT"),
        text("INDEX_COMMENT"),
        name("IS_VISIBLE"),
        text("EXPRESSION"),
    ],
    no_rows,
);

static KEY_COLUMN_USAGE: Table = table(
    "KEY_COLUMN_USAGE",
    "Empty: virtual tables have no keys.",
    &[
        name("CONSTRAINT_CATALOG"),
        name("CONSTRAINT_SCHEMA"),
        name("CONSTRAINT_NAME"),
        name("TABLE_CATALOG"),
        name("TABLE_SCHEMA"),
        name("TABLE_NAME"),
        name("COLUMN_NAME"),
        number("ORDINAL_POSITION"),
        number("POSITION_IN_UNIQUE_CONSTRAINT"),
        name("REFERENCED_TABLE_SCHEMA"),
        name("REFERENCED_TABLE_NAME"),
        name("REFERENCED_COLUMN_NAME"),
    ],
    no_rows,
);

static TABLE_CONSTRAINTS: Table = table(
    "TABLE_CONSTRAINTS",
    "Empty: virtual tables have no constraints.",
    &[
        name("CONSTRAINT_CATALOG"),
        name("CONSTRAINT_SCHEMA"),
        name("CONSTRAINT_NAME"),
        name("TABLE_SCHEMA"),
        name("TABLE_NAME"),
        name("CONSTRAINT_TYPE"),
        name("ENFORCED"),
    ],
    no_rows,
);

static REFERENTIAL_CONSTRAINTS: Table = table(
    "REFERENTIAL_CONSTRAINTS",
    "Empty: virtual tables have no foreign keys.",
    &[
        name("CONSTRAINT_CATALOG"),
        name("CONSTRAINT_SCHEMA"),
        name("CONSTRAINT_NAME"),
        name("UNIQUE_CONSTRAINT_CATALOG"),
        name("UNIQUE_CONSTRAINT_SCHEMA"),
        name("UNIQUE_CONSTRAINT_NAME"),
        name("MATCH_OPTION"),
        name("UPDATE_RULE"),
        name("DELETE_RULE"),
        name("TABLE_NAME"),
        name("REFERENCED_TABLE_NAME"),
    ],
    no_rows,
);

static VIEWS: Table = table(
    "VIEWS",
    "Empty: the schema has tables only.",
    &[
        name("TABLE_CATALOG"),
        name("TABLE_SCHEMA"),
        name("TABLE_NAME"),
        text("VIEW_DEFINITION"),
        name("CHECK_OPTION"),
        name("IS_UPDATABLE"),
        name("DEFINER"),
        name("SECURITY_TYPE"),
        name("CHARACTER_SET_CLIENT"),
        name("COLLATION_CONNECTION"),
    ],
    no_rows,
);

static ROUTINES: Table = table(
    "ROUTINES",
    "Empty: the schema has no stored routines.",
    &[
        name("SPECIFIC_NAME"),
        name("ROUTINE_CATALOG"),
        name("ROUTINE_SCHEMA"),
        name("ROUTINE_NAME"),
        name("ROUTINE_TYPE"),
        name("DATA_TYPE"),
        name("DTD_IDENTIFIER"),
        name("ROUTINE_BODY"),
        text("ROUTINE_DEFINITION"),
        name("IS_DETERMINISTIC"),
        name("SQL_DATA_ACCESS"),
        name("SECURITY_TYPE"),
        moment("CREATED"),
        moment("LAST_ALTERED"),
        text("ROUTINE_COMMENT"),
        name("DEFINER"),
    ],
    no_rows,
);

static PARAMETERS: Table = table(
    "PARAMETERS",
    "Empty: the schema has no stored routines.",
    &[
        name("SPECIFIC_CATALOG"),
        name("SPECIFIC_SCHEMA"),
        name("SPECIFIC_NAME"),
        number("ORDINAL_POSITION"),
        name("PARAMETER_MODE"),
        name("PARAMETER_NAME"),
        name("DATA_TYPE"),
        name("DTD_IDENTIFIER"),
        name("ROUTINE_TYPE"),
    ],
    no_rows,
);

static TRIGGERS: Table = table(
    "TRIGGERS",
    "Empty: virtual tables have no triggers.",
    &[
        name("TRIGGER_CATALOG"),
        name("TRIGGER_SCHEMA"),
        name("TRIGGER_NAME"),
        name("EVENT_MANIPULATION"),
        name("EVENT_OBJECT_SCHEMA"),
        name("EVENT_OBJECT_TABLE"),
        text("ACTION_STATEMENT"),
        name("ACTION_TIMING"),
        moment("CREATED"),
        name("SQL_MODE"),
        name("DEFINER"),
    ],
    no_rows,
);

static EVENTS: Table = table(
    "EVENTS",
    "Empty: the schema has no events.",
    &[
        name("EVENT_CATALOG"),
        name("EVENT_SCHEMA"),
        name("EVENT_NAME"),
        name("DEFINER"),
        name("STATUS"),
        moment("CREATED"),
    ],
    no_rows,
);

static PARTITIONS: Table = table(
    "PARTITIONS",
    "Empty: virtual tables are not partitioned.",
    &[
        name("TABLE_CATALOG"),
        name("TABLE_SCHEMA"),
        name("TABLE_NAME"),
        name("PARTITION_NAME"),
        name("PARTITION_METHOD"),
        text("PARTITION_EXPRESSION"),
        number("TABLE_ROWS"),
    ],
    no_rows,
);

static PLUGINS: Table = table(
    "PLUGINS",
    "Empty: there are no server plugins here.",
    &[
        name("PLUGIN_NAME"),
        name("PLUGIN_VERSION"),
        name("PLUGIN_STATUS"),
        name("PLUGIN_TYPE"),
        name("PLUGIN_LIBRARY"),
        name("PLUGIN_LICENSE"),
    ],
    no_rows,
);

static KEYWORDS: Table = table(
    "KEYWORDS",
    "Empty: the server's own list is asked for on the app port.",
    &[name("WORD"), number("RESERVED")],
    no_rows,
);

static CHECK_CONSTRAINTS: Table = table(
    "CHECK_CONSTRAINTS",
    "Empty: virtual tables have no constraints.",
    &[
        name("CONSTRAINT_CATALOG"),
        name("CONSTRAINT_SCHEMA"),
        name("CONSTRAINT_NAME"),
        text("CHECK_CLAUSE"),
    ],
    no_rows,
);

static USER_PRIVILEGES: Table = table(
    "USER_PRIVILEGES",
    "Empty: whoever is let in may read everything here.",
    &[
        name("GRANTEE"),
        name("TABLE_CATALOG"),
        name("PRIVILEGE_TYPE"),
        name("IS_GRANTABLE"),
    ],
    no_rows,
);

static SCHEMA_PRIVILEGES: Table = table(
    "SCHEMA_PRIVILEGES",
    "Empty: whoever is let in may read everything here.",
    &[
        name("GRANTEE"),
        name("TABLE_CATALOG"),
        name("TABLE_SCHEMA"),
        name("PRIVILEGE_TYPE"),
        name("IS_GRANTABLE"),
    ],
    no_rows,
);

static TABLE_PRIVILEGES: Table = table(
    "TABLE_PRIVILEGES",
    "Empty: whoever is let in may read everything here.",
    &[
        name("GRANTEE"),
        name("TABLE_CATALOG"),
        name("TABLE_SCHEMA"),
        name("TABLE_NAME"),
        name("PRIVILEGE_TYPE"),
        name("IS_GRANTABLE"),
    ],
    no_rows,
);

static COLUMN_PRIVILEGES: Table = table(
    "COLUMN_PRIVILEGES",
    "Empty: whoever is let in may read everything here.",
    &[
        name("GRANTEE"),
        name("TABLE_CATALOG"),
        name("TABLE_SCHEMA"),
        name("TABLE_NAME"),
        name("COLUMN_NAME"),
        name("PRIVILEGE_TYPE"),
        name("IS_GRANTABLE"),
    ],
    no_rows,
);

/// `SHOW CREATE TABLE` of a table: what it would be if it were an ordinary one.
pub fn create_table(table: &catalog::Table) -> String {
    let quote = |text: &str| text.replace('\\', "\\\\").replace('\'', "''");
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let mut line = format!("  `{}` {}", column.name, column.kind.mysql());
            if let Some(collation) = column.kind.collation() {
                line.push_str(" COLLATE ");
                line.push_str(collation);
            }
            line.push_str(" DEFAULT NULL");
            if !column.description.is_empty() {
                line.push_str(&format!(" COMMENT '{}'", quote(column.description)));
            }
            line
        })
        .collect();
    format!(
        "CREATE TABLE `{}` (\n{}\n) ENGINE=TIDEGATE DEFAULT CHARSET=utf8mb4 COMMENT='{}'",
        table.name,
        columns.join(",\n"),
        quote(table.description)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_table_quotes_what_it_must() {
        let text = create_table(catalog::find(SCHEMA, "errors").unwrap());
        assert!(
            text.starts_with("CREATE TABLE `errors` (\n  `error_number` bigint DEFAULT NULL"),
            "{text}"
        );
        assert!(
            text.contains("`last_seen` datetime(6) DEFAULT NULL COMMENT"),
            "{text}"
        );
    }

    #[test]
    fn tables_and_columns_list_the_catalog() {
        let sources = Sources::default();
        assert_eq!((TABLES_TABLE.rows)(&sources).len(), all().count());
        let columns: usize = all().map(|table| table.columns.len()).sum();
        assert_eq!((COLUMNS.rows)(&sources).len(), columns);
    }
}
