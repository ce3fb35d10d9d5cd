//! What the server says of base tables: columns, primary key, size; and how many groups a definition would have.
//! Reads `information_schema` and samples of rows; remembers descriptions until the table's definition may have changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::connection::{Link, SHORT, ViewsError};
use super::definition::Definition;
use super::keyset::{KeyPart, Keyset, KeysetError};
use super::schema::{COLUMNS_SQL, ColumnType, TABLE_SQL, TableSchema};
use super::storage::{base_sql, literal, quoted};
use crate::binlog::{Position, TableKey};

/// Rows read from each end of a table for an estimate.
const SAMPLE_ROWS: u64 = 10_000;
/// Longest time of an estimate.
const ESTIMATE_MAX: Duration = Duration::from_secs(5);

/// A base table as views need it.
#[derive(Debug, Clone)]
pub struct TableInfo {
    /// Columns and kind.
    pub schema: Arc<TableSchema>,
    /// Its name for the binary log.
    pub key: TableKey,
    /// How to walk it.
    pub keyset: Result<Keyset, KeysetError>,
    /// Primary key columns in key order.
    pub primary: Vec<String>,
    /// Rows by the server's statistics.
    pub rows_estimated: u64,
}

/// A place in the log up to which every change of a table was visible when it was described, and the epoch of that place: the
/// description holds while the definition has not changed since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asof {
    /// The log's epoch.
    pub epoch: u64,
    /// Everything up to here had been read.
    pub position: Position,
}

/// A description, or that there was no such table, and from when that is.
type Remembered = (Asof, Option<Arc<TableInfo>>);

/// Descriptions read so far.
#[derive(Debug, Default)]
pub struct Catalog {
    tables: HashMap<(String, String), Remembered>,
    tables_max: usize,
}

impl Catalog {
    /// Remembers at most `tables_max` tables.
    pub fn new(tables_max: usize) -> Self {
        Self {
            tables: HashMap::new(),
            tables_max: tables_max.max(1),
        }
    }

    /// What is remembered of a table, if it still holds: a description, or that there is no such table. `holds` says whether one
    /// made at that point still does.
    pub fn known(
        &self,
        name: (&str, &str),
        holds: &dyn Fn(Asof, &TableKey) -> bool,
    ) -> Option<Option<Arc<TableInfo>>> {
        let (asof, info) = self.tables.get(&(name.0.to_owned(), name.1.to_owned()))?;
        holds(*asof, &TableKey::new(name.0, name.1)).then(|| info.clone())
    }

    /// Remembers what the server said of a table at that point.
    pub fn remember(&mut self, name: (&str, &str), asof: Asof, info: Option<Arc<TableInfo>>) {
        let id = (name.0.to_owned(), name.1.to_owned());
        if self.tables.len() >= self.tables_max && !self.tables.contains_key(&id) {
            self.tables.clear();
        }
        self.tables.insert(id, (asof, info));
    }
}

/// Asks the server for a table. `None` when there is none, or it cannot be understood.
///
/// # Errors
/// As the server said.
pub async fn describe(
    link: &mut Link,
    schema: &str,
    name: &str,
) -> Result<Option<TableInfo>, ViewsError> {
    let bind = |sql: &str| {
        sql.replacen('?', &literal(schema), 1)
            .replacen('?', &literal(name), 1)
    };
    // Statistics otherwise come from a cache that is a day old.
    link.run("SET SESSION information_schema_stats_expiry=0", SHORT)
        .await?;
    let tables = link.texts(&bind(TABLE_SQL), SHORT).await?;
    let Some(table) = tables.first() else {
        return Ok(None);
    };
    let columns = link.texts(&bind(COLUMNS_SQL), SHORT).await?;
    let Some(described) = TableSchema::from_rows(table, &columns) else {
        return Ok(None);
    };
    let primary = link.texts(&bind(PRIMARY_SQL), SHORT).await?;
    let rows = link.texts(&bind(ROWS_SQL), SHORT).await?;
    let rows_estimated = rows
        .into_iter()
        .flatten()
        .flatten()
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    Ok(Some(TableInfo {
        key: TableKey::new(&described.schema, &described.name),
        schema: Arc::new(described),
        keyset: keyset(&primary),
        primary: primary
            .iter()
            .filter_map(|row| row.first().cloned().flatten())
            .collect(),
        rows_estimated,
    }))
}

const PRIMARY_SQL: &str = "SELECT S.COLUMN_NAME, C.DATA_TYPE, C.CHARACTER_SET_NAME, S.SUB_PART \
FROM information_schema.STATISTICS S JOIN information_schema.COLUMNS C USING (TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME) \
WHERE S.TABLE_SCHEMA = ? AND S.TABLE_NAME = ? AND S.INDEX_NAME = 'PRIMARY' ORDER BY S.SEQ_IN_INDEX";

const ROWS_SQL: &str =
    "SELECT TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";

/// From rows of column, data type, character set, prefix length.
fn keyset(rows: &[Vec<Option<String>>]) -> Result<Keyset, KeysetError> {
    let mut parts = Vec::with_capacity(rows.len());
    for row in rows {
        let text = |at: usize| row.get(at).and_then(|cell| cell.as_deref());
        let (column, data_type) = (text(0).unwrap_or_default(), text(1).unwrap_or_default());
        if text(3).is_some() {
            return Err(KeysetError::Type {
                column: column.to_owned(),
                data_type: format!("prefix of {data_type}"),
            });
        }
        parts.push(KeyPart {
            column,
            data_type,
            character_set: text(2),
        });
    }
    Keyset::new(&parts)
}

/// Estimates the groups of a definition from both ends of its table: dates by their range, all other keys together by
/// their distinct combinations. Too low for keys that are rare in the middle of the table; a build that grows beyond its
/// limits stops.
///
/// # Errors
/// As the server said.
pub async fn estimate(
    link: &mut Link,
    info: &TableInfo,
    definition: &Definition,
) -> Result<u64, ViewsError> {
    let (dates, others): (Vec<&str>, Vec<&str>) = definition
        .keys
        .iter()
        .map(|key| key.expression.as_str())
        .partition(|expression| is_date(expression, &info.schema));
    let sql = estimate_sql(definition, &info.primary, &dates, &others);
    let rows = link.texts(&sql, ESTIMATE_MAX).await?;
    let numbers: Vec<f64> = rows
        .into_iter()
        .flatten()
        .map(|cell| cell.and_then(|text| text.parse().ok()).unwrap_or(0.0))
        .collect();
    let at = |index: usize| numbers.get(index).copied().unwrap_or(0.0);
    let (groups, sampled) = (at(0), at(1));
    let days = (0..dates.len()).map(|index| at(2 + index) + 1.0).product();
    Ok(extrapolate(
        groups,
        sampled,
        days,
        info.rows_estimated as f64,
    ))
}

fn is_date(expression: &str, schema: &TableSchema) -> bool {
    if expression.starts_with("DATE(") {
        return true;
    }
    schema
        .columns
        .iter()
        .any(|column| column.column_type == ColumnType::Date && quoted(&column.name) == expression)
}

fn estimate_sql(
    definition: &Definition,
    primary: &[String],
    dates: &[&str],
    others: &[&str],
) -> String {
    let mut fields = vec!["1".to_owned()];
    fields.extend(
        dates
            .iter()
            .enumerate()
            .map(|(at, e)| format!("{e} AS d{at}")),
    );
    fields.extend(
        others
            .iter()
            .enumerate()
            .map(|(at, e)| format!("{e} AS g{at}")),
    );
    let base = base_sql(&definition.base);
    let end = |direction: &str| {
        let order: Vec<String> = primary
            .iter()
            .map(|column| format!("{}{direction}", quoted(column)))
            .collect();
        format!(
            "(SELECT {} FROM {base} ORDER BY {} LIMIT {SAMPLE_ROWS})",
            fields.join(", "),
            order.join(", ")
        )
    };
    let mut inner = vec!["COUNT(*) AS n".to_owned()];
    let mut outer = vec!["COUNT(*)".to_owned(), "IFNULL(SUM(n), 0)".to_owned()];
    for at in 0..dates.len() {
        inner.push(format!("MIN(d{at}) AS a{at}, MAX(d{at}) AS z{at}"));
        outer.push(format!("IFNULL(DATEDIFF(MAX(z{at}), MIN(a{at})), 0)"));
    }
    let groups: Vec<String> = (0..others.len()).map(|at| format!("g{at}")).collect();
    let group_by = if groups.is_empty() {
        String::new()
    } else {
        format!(" GROUP BY {}", groups.join(", "))
    };
    format!(
        "SELECT /*+ MAX_EXECUTION_TIME({}) */ {} FROM (SELECT {} FROM ({} UNION ALL {}) AS s{group_by}) AS g",
        ESTIMATE_MAX.as_millis(),
        outer.join(", "),
        inner.join(", "),
        end(""),
        end(" DESC"),
    )
}

/// Groups of the whole table, from those of a sample: few distinct ones have all been seen; when most rows are their own
/// group the whole table is like that; in between by the square root of what was not seen.
fn extrapolate(groups: f64, sampled: f64, days: f64, rows: f64) -> u64 {
    if sampled < 1.0 {
        return 0;
    }
    let rows = rows.max(sampled);
    let seen = groups / sampled;
    let whole = if seen < 0.1 {
        groups
    } else if seen < 0.5 {
        groups * (rows / sampled).sqrt()
    } else {
        groups * (rows / sampled)
    };
    (whole.max(1.0) * days.max(1.0)).min(rows) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::definition::{BaseTable, MeasureFunction, ViewEnv};

    #[test]
    fn estimates_ask_both_ends() {
        let definition = Definition::new(
            BaseTable {
                schema: "shop".into(),
                name: "orders".into(),
            },
            ["DATE(`at`)".to_owned(), "`kind`".to_owned()],
            [(MeasureFunction::Sum, Some("`x`".to_owned()))],
            ViewEnv::default(),
        );
        let sql = estimate_sql(
            &definition,
            &["id".to_owned()],
            &["DATE(`at`)"],
            &["`kind`"],
        );
        insta::assert_snapshot!(sql, @r"SELECT /*+ MAX_EXECUTION_TIME(5000) */ COUNT(*), IFNULL(SUM(n), 0), IFNULL(DATEDIFF(MAX(z0), MIN(a0)), 0) FROM (SELECT COUNT(*) AS n, MIN(d0) AS a0, MAX(d0) AS z0 FROM ((SELECT 1, DATE(`at`) AS d0, `kind` AS g0 FROM `shop`.`orders` ORDER BY `id` LIMIT 10000) UNION ALL (SELECT 1, DATE(`at`) AS d0, `kind` AS g0 FROM `shop`.`orders` ORDER BY `id` DESC LIMIT 10000)) AS s GROUP BY g0) AS g");
    }

    #[test]
    fn samples_are_extrapolated() {
        assert_eq!(extrapolate(0.0, 0.0, 1.0, 0.0), 0);
        assert_eq!(extrapolate(16.0, 20_000.0, 1.0, 2e6), 16);
        assert_eq!(extrapolate(16.0, 20_000.0, 1_095.0, 2e6), 17_520);
        assert_eq!(extrapolate(20_000.0, 20_000.0, 1.0, 2e6), 2_000_000);
        assert_eq!(extrapolate(5_000.0, 20_000.0, 1.0, 2e6), 50_000);
        assert_eq!(extrapolate(5_000.0, 20_000.0, 1_000.0, 2e6), 2_000_000);
    }

    #[test]
    fn prefix_keys_are_refused() {
        let row = |prefix: Option<&str>| {
            vec![
                Some("a".to_owned()),
                Some("varchar".to_owned()),
                Some("utf8mb4".to_owned()),
                prefix.map(str::to_owned),
            ]
        };
        assert!(keyset(&[row(None)]).is_ok());
        assert!(keyset(&[row(Some("10"))]).is_err());
        assert_eq!(keyset(&[]).unwrap_err(), KeysetError::NoPrimaryKey);
    }
}
