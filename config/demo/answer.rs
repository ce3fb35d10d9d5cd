//! One answer of a query, to be compared cell by cell: column names in order, and every cell's bytes as they came.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value};

/// Names and cells of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    columns: Vec<String>,
    rows: Vec<Vec<Option<Vec<u8>>>>,
}

impl Answer {
    /// Runs a text query and takes everything it gives.
    pub async fn of(conn: &mut Conn, sql: &str) -> mysql_async::Result<Answer> {
        let mut result = conn.query_iter(sql).await?;
        let columns = result
            .columns_ref()
            .iter()
            .map(|column| column.name_str().into_owned())
            .collect();
        let rows: Vec<mysql_async::Row> = result.collect().await?;
        let cell = |value| match value {
            Value::NULL => None,
            Value::Bytes(bytes) => Some(bytes),
            other => Some(other.as_sql(true).into_bytes()),
        };
        let rows = rows
            .into_iter()
            .map(|row| row.unwrap().into_iter().map(cell).collect())
            .collect();
        Ok(Answer { columns, rows })
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many cells, for the line that says what was compared.
    pub fn cells(&self) -> u64 {
        (self.rows.len() * self.columns.len()) as u64
    }

    /// The first difference in words, or None when the two are equal.
    pub fn difference(&self, base: &Answer) -> Option<String> {
        if self.columns != base.columns {
            return Some(format!(
                "columns {:?}, the base tables give {:?}",
                self.columns, base.columns
            ));
        }
        if self.rows.len() != base.rows.len() {
            return Some(format!(
                "{} rows, the base tables give {}",
                self.rows.len(),
                base.rows.len()
            ));
        }
        for (number, (own, other)) in self.rows.iter().zip(&base.rows).enumerate() {
            for ((cell, expected), column) in own.iter().zip(other).zip(&self.columns) {
                if cell != expected {
                    let (cell, expected) = (text(cell), text(expected));
                    return Some(format!(
                        "row {} column {column}: {cell}, the base tables give {expected}",
                        number + 1
                    ));
                }
            }
        }
        None
    }

    /// Each row as texts, NULL written out: for reports.
    pub fn texts(&self) -> Vec<Vec<String>> {
        self.rows
            .iter()
            .map(|row| row.iter().map(text).collect())
            .collect()
    }
}

fn text(cell: &Option<Vec<u8>>) -> String {
    cell.as_ref().map_or_else(
        || "NULL".to_owned(),
        |bytes| String::from_utf8_lossy(bytes).into_owned(),
    )
}
