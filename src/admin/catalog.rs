//! What the virtual schema holds: TABLES lists every table with its description, its typed and described columns and the
//! function that reads its rows. The engine, SHOW, information_schema, HTTP and the documentation all read this one list.
//! Knows no SQL engine and no wire format.

use std::sync::Arc;

use super::bounds::Bounds;
use super::information_schema;
use super::sources::Sources;
use super::tables;
use super::value::Rows;

/// The schema of our own tables.
pub const SCHEMA: &str = "tidegate";
/// The standard schema that describes it.
pub const INFORMATION_SCHEMA: &str = "information_schema";

/// The type of a column, as a MySQL client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// BIGINT: counts, bytes, microseconds.
    BigInt,
    /// DOUBLE: ratios.
    Double,
    /// TINYINT(1): 0 or 1.
    Bool,
    /// VARCHAR of at most so many characters, compared without regard to case: states, kinds, reasons.
    Varchar(u16),
    /// VARCHAR of at most so many characters, compared exactly: names and identifiers.
    Name(u16),
    /// TEXT, compared exactly.
    Text,
    /// DATETIME(6), always UTC.
    Datetime,
}

impl Type {
    /// How the type is declared to SQLite. The words also choose SQLite's affinity: INT -> INTEGER, CHAR or TEXT -> TEXT,
    /// DOUB -> REAL.
    pub fn declaration(self) -> String {
        match self {
            Self::BigInt => "BIGINT".to_owned(),
            Self::Double => "DOUBLE".to_owned(),
            Self::Bool => "TINYINT".to_owned(),
            Self::Varchar(length) => format!("VARCHAR({length}) COLLATE NOCASE"),
            Self::Name(length) => format!("NAME_VARCHAR({length})"),
            Self::Text => "TEXT".to_owned(),
            Self::Datetime => "TEXT_DATETIME".to_owned(),
        }
    }

    /// The type that a declaration of ours stands for; SQLite hands declarations back without the collation.
    pub fn from_declaration(declaration: &str) -> Option<Self> {
        let (word, length) = match declaration.split_once('(') {
            Some((word, rest)) => (word, rest.trim_end_matches(')').trim().parse().ok()?),
            None => (declaration, 0),
        };
        Some(match word.trim().to_ascii_uppercase().as_str() {
            "BIGINT" | "INT" | "INTEGER" => Self::BigInt,
            "DOUBLE" | "REAL" => Self::Double,
            "TINYINT" => Self::Bool,
            "VARCHAR" => Self::Varchar(length),
            "NAME_VARCHAR" => Self::Name(length),
            "TEXT" => Self::Text,
            "TEXT_DATETIME" => Self::Datetime,
            _ => return None,
        })
    }

    /// COLUMN_TYPE as MySQL writes it.
    pub fn mysql(self) -> String {
        match self {
            Self::BigInt => "bigint".to_owned(),
            Self::Double => "double".to_owned(),
            Self::Bool => "tinyint(1)".to_owned(),
            Self::Varchar(length) | Self::Name(length) => format!("varchar({length})"),
            Self::Text => "text".to_owned(),
            Self::Datetime => "datetime(6)".to_owned(),
        }
    }

    /// DATA_TYPE as MySQL writes it: the type without length.
    pub fn mysql_data_type(self) -> &'static str {
        match self {
            Self::BigInt => "bigint",
            Self::Double => "double",
            Self::Bool => "tinyint",
            Self::Varchar(_) | Self::Name(_) => "varchar",
            Self::Text => "text",
            Self::Datetime => "datetime",
        }
    }

    /// The collation that MySQL would give it, None for what is not text.
    pub fn collation(self) -> Option<&'static str> {
        match self {
            Self::Varchar(_) => Some("utf8mb4_general_ci"),
            Self::Name(_) | Self::Text => Some("utf8mb4_bin"),
            _ => None,
        }
    }

    /// Most characters that a text column holds; longer values are cut by whoever makes the rows.
    pub fn characters_max(self) -> Option<u32> {
        match self {
            Self::Varchar(length) | Self::Name(length) => Some(u32::from(length)),
            Self::Text => Some(65_535),
            _ => None,
        }
    }
}

/// One column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name; the unit comes last (`_us`, `_ms`, `_bytes`).
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
    /// What it says, how it is computed, and when it is NULL.
    pub description: &'static str,
}

/// A column of TABLES, written short.
pub const fn column(name: &'static str, kind: Type, description: &'static str) -> Column {
    Column {
        name,
        kind,
        description,
    }
}

/// One virtual table.
#[derive(Clone, Copy)]
pub struct Table {
    /// `tidegate` or `information_schema`.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What one row is.
    pub description: &'static str,
    /// Its columns, in order.
    pub columns: &'static [Column],
    /// Reads its rows at this moment; every row has as many values as there are columns.
    pub rows: fn(&Sources) -> Rows,
}

/// Our own tables, in the order in which they are listed.
pub static TABLES: &[&Table] = &[
    &tables::totals::TABLE,
    &tables::served::TABLE,
    &tables::queries::TABLE,
    &tables::query_history::TABLE,
    &tables::slow_queries::TABLE,
    &tables::phases::TABLE,
    &tables::decisions::TABLE,
    &tables::sessions::TABLE,
    &tables::transactions::TABLE,
    &tables::pools::TABLE,
    &tables::pool_usage::TABLE,
    &tables::backends::TABLE,
    &tables::backend_changes::TABLE,
    &tables::views::TABLE,
    &tables::view_candidates::TABLE,
    &tables::view_totals::TABLE,
    &tables::cache::TABLE,
    &tables::cache_totals::TABLE,
    &tables::binlog::TABLE,
    &tables::errors::TABLE,
    &tables::lost::TABLE,
    &tables::history::TABLE,
    &tables::rules::TABLE,
    &tables::rules::LIMITS,
    &tables::rules::BREAKERS,
    &tables::settings::TABLE,
    &tables::users::TABLE,
    &tables::users::CHANGES,
    &tables::schema::TABLES_TABLE,
    &tables::schema::COLUMNS_TABLE,
];

/// A table that is too long to be read whole.
pub struct Bounded {
    /// The table.
    pub table: &'static Table,
    /// Place of the column that bounds it: a moment.
    pub column: usize,
    /// Reads the rows within bounds: all of them, or the newest as far as admin.rows_max reaches. The error says why not.
    pub rows: fn(&Sources, Bounds) -> Result<Rows, String>,
}

/// Tables of which only what a WHERE asks for is read.
pub static BOUNDED: &[Bounded] = &[tables::query_history::BOUNDED];

/// Every table of both schemas.
pub fn all() -> impl Iterator<Item = &'static Table> {
    TABLES
        .iter()
        .chain(information_schema::TABLES.iter())
        .copied()
}

/// The table of that name (any case) in that schema (any case).
pub fn find(schema: &str, name: &str) -> Option<&'static Table> {
    all().find(|table| {
        table.schema.eq_ignore_ascii_case(schema) && table.name.eq_ignore_ascii_case(name)
    })
}

/// A schema's name as we spell it, if it is one of ours.
pub fn schema(name: &str) -> Option<&'static str> {
    [SCHEMA, INFORMATION_SCHEMA]
        .into_iter()
        .find(|schema| schema.eq_ignore_ascii_case(name))
}

/// No rows: for tables that exist so that tools may ask for them.
pub fn no_rows(_: &Sources) -> Rows {
    Arc::new(Vec::new())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_everything_is_described() {
        let mut tables = HashSet::new();
        for table in all() {
            assert!(tables.insert((table.schema, table.name)), "{}", table.name);
            assert!(!table.description.is_empty(), "{}", table.name);
            assert!(!table.columns.is_empty(), "{}", table.name);
            let mut columns = HashSet::new();
            for column in table.columns {
                let name = column.name;
                assert!(
                    columns.insert(name.to_ascii_lowercase()),
                    "{}.{name}",
                    table.name
                );
                if table.schema == SCHEMA {
                    assert_eq!(name, name.to_ascii_lowercase());
                    assert!(column.description.len() > 10, "{}.{name}", table.name);
                }
            }
        }
    }

    #[test]
    fn every_type_survives_its_declaration() {
        for kind in [
            Type::BigInt,
            Type::Double,
            Type::Bool,
            Type::Varchar(7),
            Type::Name(64),
            Type::Text,
            Type::Datetime,
        ] {
            let declaration = kind.declaration();
            let bare = declaration.split(" COLLATE").next().unwrap();
            assert_eq!(Type::from_declaration(bare), Some(kind));
        }
        assert_eq!(Type::from_declaration("geometry"), None);
    }

    #[test]
    fn every_table_gives_rows_of_its_own_width() {
        let sources = Sources::default();
        for table in all() {
            for row in (table.rows)(&sources).iter() {
                assert_eq!(row.len(), table.columns.len(), "{}", table.name);
            }
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(find("TideGate", "QUERIES").map(|t| t.name), Some("queries"));
        assert!(find("mysql", "user").is_none());
        assert_eq!(schema("INFORMATION_SCHEMA"), Some(INFORMATION_SCHEMA));
    }
}
