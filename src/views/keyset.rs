//! Walks a table in primary key order in ranges: the SQL that finds the end of the next range, and the condition that
//! selects it. Pure text, never runs anything.
//!
//! A bound travels as SQL literals that the server reads back as the same value: numbers as digits, dates and times as
//! quoted text (in UTC), text and bytes as hexadecimal with their character set. Types where that does not hold, or whose
//! order differs from that of their literals, are refused.

use std::fmt::Write as _;

use super::storage::quoted;

/// How a primary key column's values are written as SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Number,
    Temporal,
    Text { character_set: String },
    Bytes,
}

/// A primary key that cannot be walked, with the column's type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysetError {
    /// The table has no primary key.
    #[error("the table has no primary key")]
    NoPrimaryKey,
    /// A column's type has no exact and ordered literal form.
    #[error("primary key column {column} of type {data_type} cannot be walked in ranges")]
    Type {
        /// The column.
        column: String,
        /// Its data type.
        data_type: String,
    },
}

/// A primary key column as `information_schema` names it.
#[derive(Debug, Clone, Copy)]
pub struct KeyPart<'a> {
    /// Column name.
    pub column: &'a str,
    /// `data_type`, e.g. `bigint`, `varchar`.
    pub data_type: &'a str,
    /// `character_set_name` of a text column.
    pub character_set: Option<&'a str>,
}

/// The columns of a primary key in key order, ready to be walked.
#[derive(Debug, Clone)]
pub struct Keyset {
    columns: Vec<(String, Kind)>,
}

/// The last key of a range, as literals in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound(Vec<String>);

impl Keyset {
    /// Takes the primary key's columns in key order.
    ///
    /// # Errors
    /// When there is none, or a column's type cannot be walked.
    pub fn new(parts: &[KeyPart<'_>]) -> Result<Self, KeysetError> {
        if parts.is_empty() {
            return Err(KeysetError::NoPrimaryKey);
        }
        let mut columns = Vec::with_capacity(parts.len());
        for part in parts {
            let kind = match part.data_type.to_ascii_lowercase().as_str() {
                "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "year"
                | "decimal" | "numeric" => Some(Kind::Number),
                "date" | "datetime" | "timestamp" | "time" => Some(Kind::Temporal),
                "char" | "varchar" => {
                    part.character_set
                        .filter(|set| plain_word(set))
                        .map(|set| Kind::Text {
                            character_set: set.to_owned(),
                        })
                }
                "binary" | "varbinary" => Some(Kind::Bytes),
                _ => None,
            };
            let Some(kind) = kind else {
                return Err(KeysetError::Type {
                    column: part.column.to_owned(),
                    data_type: part.data_type.to_owned(),
                });
            };
            columns.push((part.column.to_owned(), kind));
        }
        Ok(Self { columns })
    }

    /// SQL that yields one row: the key that ends a range of `rows` rows after `after`; no row when fewer are left.
    pub fn bound_sql(&self, table: &str, after: Option<&Bound>, rows: u64) -> String {
        let fields: Vec<String> = self
            .columns
            .iter()
            .map(|(name, kind)| match kind {
                Kind::Number | Kind::Temporal => format!("CAST({} AS CHAR)", quoted(name)),
                Kind::Text { .. } | Kind::Bytes => format!("HEX({})", quoted(name)),
            })
            .collect();
        let order: Vec<String> = self.columns.iter().map(|(name, _)| quoted(name)).collect();
        let mut sql = format!(
            "SELECT {} FROM {table} FORCE INDEX (PRIMARY)",
            fields.join(", ")
        );
        let range = self.range_sql(after, None);
        if !range.is_empty() {
            let _ = write!(sql, " WHERE {range}");
        }
        let _ = write!(
            sql,
            " ORDER BY {} LIMIT 1 OFFSET {}",
            order.join(", "),
            rows.max(1) - 1
        );
        sql
    }

    /// Reads the row of [`Keyset::bound_sql`]. `None` when it has not the expected form.
    pub fn bound(&self, row: &[String]) -> Option<Bound> {
        if row.len() != self.columns.len() {
            return None;
        }
        let literals = self.columns.iter().zip(row).map(|((_, kind), value)| {
            let hexadecimal = value.len() % 2 == 0 && value.bytes().all(|b| b.is_ascii_hexdigit());
            match kind {
                Kind::Number => {
                    let number = !value.is_empty()
                        && value
                            .bytes()
                            .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.'));
                    number.then(|| value.clone())
                }
                Kind::Temporal => {
                    let temporal = !value.is_empty()
                        && value
                            .bytes()
                            .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b':' | b' ' | b'.'));
                    temporal.then(|| format!("'{value}'"))
                }
                Kind::Text { character_set } => {
                    hexadecimal.then(|| format!("_{character_set} X'{value}'"))
                }
                Kind::Bytes => hexadecimal.then(|| format!("X'{value}'")),
            }
        });
        literals.collect::<Option<Vec<_>>>().map(Bound)
    }

    /// The rows after `after` up to and with `upto`, as a condition; empty text when both are open.
    pub fn range_sql(&self, after: Option<&Bound>, upto: Option<&Bound>) -> String {
        let mut parts = Vec::new();
        if let Some(bound) = after {
            parts.push(self.half(bound, ">", ">"));
        }
        if let Some(bound) = upto {
            parts.push(self.half(bound, "<", "<="));
        }
        parts.join(" AND ")
    }

    /// One side of a range. The first column is repeated on its own since the server finds its index range from that.
    fn half(&self, bound: &Bound, strict: &str, last: &str) -> String {
        let end = self.columns.len().min(bound.0.len());
        let mut choices = Vec::with_capacity(end);
        for at in 0..end {
            let mut terms = Vec::with_capacity(at + 1);
            for (position, ((name, _), value)) in
                self.columns.iter().zip(&bound.0).take(at + 1).enumerate()
            {
                let operator = match position {
                    p if p < at => "=",
                    p if p + 1 == end => last,
                    _ => strict,
                };
                terms.push(format!("{} {operator} {value}", quoted(name)));
            }
            choices.push(terms.join(" AND "));
        }
        match (choices.as_slice(), self.columns.first(), bound.0.first()) {
            ([one], ..) => one.clone(),
            (many, Some((name, _)), Some(value)) => format!(
                "{} {strict}= {value} AND ({})",
                quoted(name),
                many.join(" OR ")
            ),
            _ => String::new(),
        }
    }
}

fn plain_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part<'a>(column: &'a str, data_type: &'a str, set: Option<&'a str>) -> KeyPart<'a> {
        KeyPart {
            column,
            data_type,
            character_set: set,
        }
    }

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|v| (*v).to_owned()).collect()
    }

    #[test]
    fn one_number() {
        let keys = Keyset::new(&[part("id", "bigint", None)]).unwrap();
        assert_eq!(
            keys.bound_sql("`s`.`t`", None, 100),
            "SELECT CAST(`id` AS CHAR) FROM `s`.`t` FORCE INDEX (PRIMARY) ORDER BY `id` LIMIT 1 OFFSET 99"
        );
        let five = keys.bound(&strings(&["-5"])).unwrap();
        let nine = keys.bound(&strings(&["9"])).unwrap();
        assert_eq!(
            keys.range_sql(Some(&five), Some(&nine)),
            "`id` > -5 AND `id` <= 9"
        );
        assert_eq!(keys.range_sql(Some(&five), None), "`id` > -5");
        assert_eq!(keys.range_sql(None, None), "");
    }

    #[test]
    fn several_columns() {
        let keys = Keyset::new(&[
            part("a", "date", None),
            part("b", "varchar", Some("latin1")),
            part("c", "varbinary", None),
        ])
        .unwrap();
        let bound = keys.bound(&strings(&["2026-01-02", "4F27", ""])).unwrap();
        assert_eq!(
            keys.range_sql(Some(&bound), None),
            "`a` >= '2026-01-02' AND (`a` > '2026-01-02' OR `a` = '2026-01-02' AND `b` > _latin1 X'4F27' \
             OR `a` = '2026-01-02' AND `b` = _latin1 X'4F27' AND `c` > X'')"
        );
        assert_eq!(
            keys.range_sql(None, Some(&bound)),
            "`a` <= '2026-01-02' AND (`a` < '2026-01-02' OR `a` = '2026-01-02' AND `b` < _latin1 X'4F27' \
             OR `a` = '2026-01-02' AND `b` = _latin1 X'4F27' AND `c` <= X'')"
        );
    }

    #[test]
    fn what_has_no_exact_literal_is_refused() {
        assert_eq!(Keyset::new(&[]).unwrap_err(), KeysetError::NoPrimaryKey);
        for kind in [
            "enum", "set", "double", "float", "bit", "blob", "text", "json",
        ] {
            assert!(Keyset::new(&[part("k", kind, None)]).is_err(), "{kind}");
        }
        assert!(Keyset::new(&[part("k", "varchar", None)]).is_err());
    }

    #[test]
    fn a_value_that_is_not_of_its_kind_is_no_bound() {
        let keys = Keyset::new(&[
            part("a", "int", None),
            part("b", "varchar", Some("utf8mb4")),
            part("c", "datetime", None),
        ])
        .unwrap();
        let ok = ["1", "41", "2026-01-01 00:00:00.5"];
        assert!(keys.bound(&strings(&ok)).is_some());
        for (at, bad) in [(0, "1 OR 1"), (0, ""), (1, "4"), (1, "x'"), (2, "' OR '")] {
            let mut row = strings(&ok);
            row[at] = bad.to_owned();
            assert!(keys.bound(&row).is_none(), "{bad}");
        }
        assert!(keys.bound(&strings(&["1"])).is_none());
    }
}
