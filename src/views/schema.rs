//! Plain description of a base table as the server reports it, and what its column types allow. Never does IO.

use super::refusal::Refusal;

/// Reads the table itself; parameters: schema, name. Columns as [`TableSchema::from_rows`] takes them.
pub const TABLE_SQL: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES \
WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";

/// Reads its columns in order; parameters: schema, name. Columns as [`TableSchema::from_rows`] takes them.
pub const COLUMNS_SQL: &str = "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, COLLATION_NAME, EXTRA, \
COLUMN_KEY FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION";

/// A column type, as far as exactness depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// TINYINT to BIGINT.
    Int {
        /// Storage size in bytes.
        bytes: u8,
        /// UNSIGNED.
        unsigned: bool,
    },
    /// DECIMAL(precision, scale).
    Decimal {
        /// All digits.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
        /// UNSIGNED.
        unsigned: bool,
    },
    /// FLOAT or DOUBLE: sums depend on the order of rows.
    Approximate,
    /// DATE.
    Date,
    /// DATETIME with this many digits of a second.
    Datetime {
        /// Digits behind the second, 0 to 6.
        fraction: u8,
    },
    /// TIMESTAMP: what it prints depends on `time_zone`.
    Timestamp,
    /// TIME.
    Time,
    /// YEAR.
    Year,
    /// CHAR or VARCHAR with a character set.
    Text,
    /// BINARY or VARBINARY.
    Binary,
    /// ENUM.
    Enum,
    /// SET.
    Set,
    /// TEXT, BLOB, JSON, BIT, GEOMETRY, VECTOR, ZEROFILL numbers and all that is not known here.
    Other,
}

impl ColumnType {
    /// Reads `information_schema.COLUMNS.COLUMN_TYPE`, e.g. `decimal(15,2) unsigned`.
    pub fn parse(column_type: &str) -> Self {
        let lower = column_type.to_ascii_lowercase();
        let name_end = lower
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(lower.len());
        let (name, rest) = lower.split_at(name_end);
        let arguments = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'))
            .map_or("", |(inner, _)| inner);
        let unsigned = rest.contains("unsigned");
        let int = |bytes| Self::Int { bytes, unsigned };
        if rest.contains("zerofill") && !matches!(name, "enum" | "set") {
            return Self::Other;
        }
        match name {
            "tinyint" => int(1),
            "smallint" => int(2),
            "mediumint" => int(3),
            "int" | "integer" => int(4),
            "bigint" => int(8),
            "decimal" | "numeric" => Self::parse_decimal(arguments, unsigned),
            "float" | "double" | "real" => Self::Approximate,
            "date" => Self::Date,
            "datetime" => Self::Datetime {
                fraction: arguments.parse().unwrap_or(0),
            },
            "timestamp" => Self::Timestamp,
            "time" => Self::Time,
            "year" => Self::Year,
            "char" | "varchar" => Self::Text,
            "binary" | "varbinary" => Self::Binary,
            "enum" => Self::Enum,
            "set" => Self::Set,
            _ => Self::Other,
        }
    }

    fn parse_decimal(arguments: &str, unsigned: bool) -> Self {
        let mut parts = arguments.split(',').map(|part| part.trim().parse::<u8>());
        let precision = match parts.next() {
            Some(Ok(precision)) => precision,
            // The server always prints the precision; anything else is not understood.
            _ => return Self::Other,
        };
        match parts.next() {
            Some(Ok(scale)) => Self::Decimal {
                precision,
                scale,
                unsigned,
            },
            None => Self::Decimal {
                precision,
                scale: 0,
                unsigned,
            },
            Some(Err(_)) => Self::Other,
        }
    }

    /// Whether SUM and AVG of the type are exact.
    pub fn is_exact_number(self) -> bool {
        matches!(self, Self::Int { .. } | Self::Decimal { .. })
    }

    /// Whether a value of the type can be a stored group key.
    ///
    /// # Errors
    /// The rule that speaks against it.
    pub fn allows_key(self) -> Result<(), Refusal> {
        match self {
            Self::Approximate | Self::Other => Err(Refusal::KeyType),
            Self::Timestamp => Err(Refusal::TimestampColumn),
            _ => Ok(()),
        }
    }

    /// Whether MIN and MAX of the type are exact and keep their type when rolled up.
    ///
    /// # Errors
    /// The rule that speaks against it.
    pub fn allows_min_max(self) -> Result<(), Refusal> {
        match self {
            Self::Int { .. } | Self::Decimal { .. } | Self::Date | Self::Datetime { .. } => Ok(()),
            Self::Approximate => Err(Refusal::FloatAggregate),
            Self::Text | Self::Binary | Self::Enum | Self::Set => Err(Refusal::StringMinMax),
            _ => Err(Refusal::AggregateArgument),
        }
    }
}

/// One column of a base table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, as the server spells it.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether it can be NULL.
    pub nullable: bool,
    /// Its collation, for text.
    pub collation: Option<String>,
    /// A VIRTUAL generated column: reading it evaluates an expression that may warn.
    pub generated_virtual: bool,
}

/// A base table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    /// Its schema, as the server spells it.
    pub schema: String,
    /// Its name, as the server spells it.
    pub name: String,
    /// `information_schema.TABLES.TABLE_TYPE`: `BASE TABLE`, `VIEW`, `SYSTEM VIEW`.
    pub table_type: String,
    /// Storage engine, empty for views.
    pub engine: String,
    /// Whether it has a primary key.
    pub has_primary_key: bool,
    /// Its columns in order.
    pub columns: Vec<Column>,
}

impl TableSchema {
    /// Makes the description from the row of [`TABLE_SQL`] and the rows of [`COLUMNS_SQL`]; `None` when a name or type that
    /// must be there is NULL.
    pub fn from_rows(table: &[Option<String>], columns: &[Vec<Option<String>>]) -> Option<Self> {
        let text = |row: &[Option<String>], at: usize| row.get(at).cloned().flatten();
        let mut described = Vec::with_capacity(columns.len());
        let mut has_primary_key = false;
        for row in columns {
            let extra = text(row, 5).unwrap_or_default();
            has_primary_key |= text(row, 6).as_deref() == Some("PRI");
            described.push(Column {
                name: text(row, 0)?,
                column_type: ColumnType::parse(&text(row, 1)?),
                nullable: text(row, 2)? != "NO",
                collation: text(row, 4),
                generated_virtual: extra.to_ascii_uppercase().contains("VIRTUAL GENERATED"),
            });
        }
        Some(Self {
            schema: text(table, 0)?,
            name: text(table, 1)?,
            table_type: text(table, 2)?,
            engine: text(table, 3).unwrap_or_default(),
            has_primary_key,
            columns: described,
        })
    }

    /// The place of a column, by MySQL's rule that column names have no case.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|column| names_equal(&column.name, name))
    }

    /// Whether patterns over the table can be answered from views at all.
    ///
    /// # Errors
    /// The first rule that is not met.
    pub fn is_eligible(&self) -> Result<(), Refusal> {
        const SYSTEM: [&str; 4] = ["mysql", "sys", "information_schema", "performance_schema"];
        if SYSTEM.iter().any(|name| names_equal(name, &self.schema)) {
            return Err(Refusal::SystemTable);
        }
        if self.table_type != "BASE TABLE" {
            return Err(Refusal::NotBaseTable);
        }
        if !self.engine.eq_ignore_ascii_case("InnoDB") {
            return Err(Refusal::NotInnoDb);
        }
        if !self.has_primary_key {
            return Err(Refusal::NoPrimaryKey);
        }
        Ok(())
    }
}

/// Whether two column names or aliases are the same to MySQL. Names outside ASCII compare by rules that are not repeated
/// here: they count as equal only when their bytes are, and [`may_be_equal`] errs on the other side.
pub fn names_equal(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Whether two names could be the same to MySQL: true in all doubt.
pub fn may_be_equal(one: &str, other: &str) -> bool {
    names_equal(one, other) || !one.is_ascii() && !other.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_the_server_prints_them() {
        let decimal = |precision, scale, unsigned| ColumnType::Decimal {
            precision,
            scale,
            unsigned,
        };
        for (text, wanted) in [
            (
                "int",
                ColumnType::Int {
                    bytes: 4,
                    unsigned: false,
                },
            ),
            (
                "int unsigned",
                ColumnType::Int {
                    bytes: 4,
                    unsigned: true,
                },
            ),
            (
                "tinyint(1)",
                ColumnType::Int {
                    bytes: 1,
                    unsigned: false,
                },
            ),
            ("int(10) unsigned zerofill", ColumnType::Other),
            ("decimal(15,2)", decimal(15, 2, false)),
            ("decimal(15,2) unsigned", decimal(15, 2, true)),
            ("decimal(10)", decimal(10, 0, false)),
            ("datetime(3)", ColumnType::Datetime { fraction: 3 }),
            ("datetime", ColumnType::Datetime { fraction: 0 }),
            ("enum('zerofill','A')", ColumnType::Enum),
            ("varchar(20)", ColumnType::Text),
            ("mediumtext", ColumnType::Other),
            ("double", ColumnType::Approximate),
            ("bit(8)", ColumnType::Other),
            ("json", ColumnType::Other),
        ] {
            assert_eq!(ColumnType::parse(text), wanted, "{text}");
        }
    }

    #[test]
    fn rows_make_a_table() {
        let some = |text: &str| Some(text.to_owned());
        let table = [
            some("shop"),
            some("sales"),
            some("BASE TABLE"),
            some("InnoDB"),
        ];
        let columns = vec![
            vec![
                some("id"),
                some("bigint"),
                some("NO"),
                None,
                None,
                some("auto_increment"),
                some("PRI"),
            ],
            vec![
                some("v"),
                some("int"),
                some("YES"),
                None,
                None,
                some("VIRTUAL GENERATED"),
                some(""),
            ],
        ];
        let schema = TableSchema::from_rows(&table, &columns).unwrap();
        assert_eq!(schema.is_eligible(), Ok(()));
        assert_eq!(schema.position("ID"), Some(0));
        assert!(schema.columns[1].generated_virtual && schema.columns[1].nullable);
        assert_eq!(TableSchema::from_rows(&[None], &[]), None);
    }
}
