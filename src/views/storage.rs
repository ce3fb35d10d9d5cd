//! The SQL of a view's storage: type probe, CREATE TABLE, chunk upsert, variant check. Pure text, never runs anything.
//!
//! Every aggregate is computed by the server itself; this file only decides how partial groups are added up, so that a
//! table filled chunk by chunk holds what one GROUP BY over the whole base table would.

use std::fmt::Write as _;

use super::definition::{
    BaseTable, COUNT_STAR_COLUMN, Definition, GROUP_KEY_COLUMN, Measure, MeasureFunction,
    StoredColumn,
};

/// Secondary indexes a storage table gets at most.
const DATE_INDEXES_MAX: usize = 2;

/// A name in backticks.
pub fn quoted(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    out.push('`');
    for c in name.chars() {
        if c == '`' {
            out.push('`');
        }
        out.push(c);
    }
    out.push('`');
    out
}

/// A string literal for SQL under the default sql_mode.
pub fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// `` `schema`.`name` `` of a base table.
pub fn base_sql(base: &BaseTable) -> String {
    format!("{}.{}", quoted(&base.schema), quoted(&base.name))
}

/// The storage table of one build of a view, quoted: `` `tidegate`.`v1_3` ``.
pub fn storage_sql(schema: &str, id: u64, generation: u64) -> String {
    format!(
        "{}.{}",
        quoted(schema),
        quoted(&storage_name(id, generation))
    )
}

/// The bare name of a storage table.
pub fn storage_name(id: u64, generation: u64) -> String {
    format!("v{id}_{generation}")
}

/// Reads `v<id>_<generation>` back. `None` for any other name.
pub fn parse_storage_name(name: &str) -> Option<(u64, u64)> {
    let (id, generation) = name.strip_prefix('v')?.split_once('_')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(id) || !digits(generation) {
        return None;
    }
    Some((id.parse().ok()?, generation.parse().ok()?))
}

/// Whether a stored column holds text whose collation may call different bytes equal.
pub fn is_text(column: &StoredColumn) -> bool {
    column.character_set.is_some() && !is_enumerated(column)
}

/// Whether two values of the column can be equal for the server and yet differ in their bytes.
pub fn can_have_variants(column: &StoredColumn) -> bool {
    is_text(column) && column.collation.as_deref() != Some("utf8mb4_0900_bin")
}

fn is_enumerated(column: &StoredColumn) -> bool {
    let kind = column.column_type.to_ascii_lowercase();
    kind.starts_with("enum(") || kind.starts_with("set(")
}

/// The aggregate of one measure over base columns.
fn aggregate_sql(measure: &Measure) -> String {
    let argument = measure.argument.as_deref().unwrap_or("*");
    let call = format!("{}({argument})", measure.function.sql());
    match measure.function {
        MeasureFunction::Sum => format!("IFNULL({call}, 0)"),
        _ => call,
    }
}

/// A temporary table whose column types are the server's own derivation for keys and measures. It never holds a row.
pub fn probe_sql(definition: &Definition, probe_table: &str) -> String {
    // The key is there for servers that insist on a primary key.
    let gk = quoted(GROUP_KEY_COLUMN);
    let mut sql = format!(
        "CREATE TEMPORARY TABLE {probe_table} ({gk} BINARY(16) NOT NULL DEFAULT '', PRIMARY KEY ({gk})) AS SELECT "
    );
    for key in &definition.keys {
        let _ = write!(sql, "{} AS {}, ", key.expression, quoted(&key.column));
    }
    let measures: Vec<String> = definition
        .measures
        .iter()
        .map(|m| {
            let argument = m.argument.as_deref().unwrap_or("*");
            format!("{}({argument}) AS {}", m.function.sql(), quoted(&m.column))
        })
        .collect();
    let _ = write!(
        sql,
        "{} FROM {} WHERE FALSE",
        measures.join(", "),
        base_sql(&definition.base)
    );
    let groups: Vec<&str> = definition
        .keys
        .iter()
        .map(|key| key.expression.as_str())
        .collect();
    if !groups.is_empty() {
        let _ = write!(sql, " GROUP BY {}", groups.join(", "));
    }
    sql
}

fn column_sql(definition: &Definition, column: &StoredColumn) -> String {
    let mut sql = format!("{} {}", quoted(&column.name), column.column_type);
    if let Some(set) = &column.character_set {
        let _ = write!(sql, " CHARACTER SET {set}");
    }
    if let Some(collation) = &column.collation {
        let _ = write!(sql, " COLLATE {collation}");
    }
    let counted = definition.measures.iter().any(|m| {
        m.column == column.name
            && matches!(
                m.function,
                MeasureFunction::CountStar | MeasureFunction::Count | MeasureFunction::Sum
            )
    });
    sql.push_str(if counted || !column.nullable {
        " NOT NULL"
    } else {
        " NULL"
    });
    sql
}

/// CREATE TABLE of the storage table. `columns` are the probed ones, in storage order, without `gk`.
pub fn create_sql(definition: &Definition, columns: &[StoredColumn], table: &str) -> String {
    let mut parts = parts_sql(definition, columns);
    let dates = columns.iter().filter(|column| {
        definition.keys.iter().any(|key| key.column == column.name)
            && matches!(column.column_type.as_str(), "date" | "datetime")
    });
    for column in dates.take(DATE_INDEXES_MAX) {
        let name = quoted(&column.name);
        parts.push(format!("KEY {name} ({name})"));
    }
    format!(
        "CREATE TABLE {table} (\n  {}\n) ENGINE=InnoDB COMMENT='{}'",
        parts.join(",\n  "),
        TABLE_COMMENT
    )
}

/// The same table without indexes, temporary: its rows are not logged.
pub fn create_stage_sql(definition: &Definition, columns: &[StoredColumn], stage: &str) -> String {
    format!(
        "CREATE TEMPORARY TABLE {stage} (\n  {}\n) ENGINE=InnoDB",
        parts_sql(definition, columns).join(",\n  ")
    )
}

fn parts_sql(definition: &Definition, columns: &[StoredColumn]) -> Vec<String> {
    let gk = quoted(GROUP_KEY_COLUMN);
    let mut parts = vec![format!("{gk} BINARY(16) NOT NULL")];
    parts.extend(columns.iter().map(|column| column_sql(definition, column)));
    parts.push(format!("PRIMARY KEY ({gk})"));
    parts
}

/// Conditions that part all hashes into about as many equal ranges; hashes are evenly spread.
pub fn group_key_ranges(parts: u64) -> Vec<String> {
    let parts = parts.clamp(1, 65_536);
    let gk = quoted(GROUP_KEY_COLUMN);
    // The hash is compared by its first two bytes: a bound of two bytes stands before all hashes that begin with them.
    let bound = |part: u64| part * 65_536 / parts;
    (0..parts)
        .map(|part| {
            let mut sides = Vec::new();
            if part > 0 {
                sides.push(format!("{gk} >= X'{:04X}'", bound(part)));
            }
            if part + 1 < parts {
                sides.push(format!("{gk} < X'{:04X}'", bound(part + 1)));
            }
            match sides.is_empty() {
                true => "TRUE".to_owned(),
                false => sides.join(" AND "),
            }
        })
        .collect()
}

/// Copies one range of the staging table.
pub fn copy_sql(stage: &str, table: &str, range: &str) -> String {
    format!("INSERT INTO {table} SELECT * FROM {stage} WHERE {range}")
}

/// The comment that marks a table as ours; nothing without it is ever dropped.
pub const TABLE_COMMENT: &str = "Tidegate view storage, made and dropped by the proxy";

/// The hash over the exact bytes of all keys: each key is a NULL mark, or its length and bytes. ENUM and SET go by
/// their number, since two members may print alike.
fn group_key_sql(definition: &Definition, columns: &[StoredColumn]) -> String {
    let parts: Vec<String> = definition
        .keys
        .iter()
        .map(|key| {
            let name = format!("d.{}", quoted(&key.column));
            let enumerated = columns
                .iter()
                .any(|column| column.name == key.column && is_enumerated(column));
            let bytes = if enumerated {
                // Not `+ 0`: a SET in arithmetic is a DOUBLE, which has 53 bits for 64 members.
                format!("CAST(CAST({name} AS UNSIGNED) AS BINARY)")
            } else {
                format!("CAST({name} AS BINARY)")
            };
            format!("IFNULL(CONCAT('v', LENGTH({bytes}), ':', {bytes}), 'n')")
        })
        .collect();
    let all = match parts.as_slice() {
        [] => "''".to_owned(),
        [one] => one.clone(),
        many => format!("CONCAT({})", many.join(", ")),
    };
    format!("UNHEX(LEFT(SHA2({all}, 256), 32))")
}

fn merge_sql(measure: &Measure, table: &str) -> String {
    let name = quoted(&measure.column);
    let old = format!("{table}.{name}");
    let new = format!("d.{name}");
    match measure.function {
        MeasureFunction::CountStar | MeasureFunction::Count | MeasureFunction::Sum => {
            format!("{name} = {old} + {new}")
        }
        MeasureFunction::Min | MeasureFunction::Max => {
            let better = if measure.function == MeasureFunction::Min {
                "<"
            } else {
                ">"
            };
            format!(
                "{name} = CASE WHEN {old} IS NULL OR {new} {better} {old} THEN {new} ELSE {old} END"
            )
        }
    }
}

/// Adds the groups of one range of the base table to the storage table. `range` is a condition over base columns, or
/// empty for all rows. Groups are separated by exact bytes of text keys, not only by their collation.
pub fn chunk_sql(
    definition: &Definition,
    columns: &[StoredColumn],
    table: &str,
    range: &str,
) -> String {
    let names: Vec<String> = definition
        .keys
        .iter()
        .map(|key| quoted(&key.column))
        .chain(definition.measures.iter().map(|m| quoted(&m.column)))
        .collect();
    let mut select: Vec<String> = Vec::new();
    let mut groups: Vec<String> = Vec::new();
    for key in &definition.keys {
        select.push(format!("{} AS {}", key.expression, quoted(&key.column)));
        groups.push(key.expression.clone());
        if columns
            .iter()
            .any(|column| column.name == key.column && is_text(column))
        {
            groups.push(format!("CAST({} AS BINARY)", key.expression));
        }
    }
    for measure in &definition.measures {
        select.push(format!(
            "{} AS {}",
            aggregate_sql(measure),
            quoted(&measure.column)
        ));
    }
    let mut inner = format!(
        "SELECT {} FROM {} FORCE INDEX (PRIMARY)",
        select.join(", "),
        base_sql(&definition.base)
    );
    if !range.is_empty() {
        let _ = write!(inner, " WHERE {range}");
    }
    if groups.is_empty() {
        // Without keys a range that holds no row must add nothing rather than one empty group.
        inner.push_str(" HAVING COUNT(*) > 0");
    } else {
        let _ = write!(inner, " GROUP BY {}", groups.join(", "));
    }
    let updates: Vec<String> = definition
        .measures
        .iter()
        .map(|m| merge_sql(m, table))
        .collect();
    let outer: Vec<String> = names.iter().map(|name| format!("d.{name}")).collect();
    format!(
        "INSERT INTO {table} ({}, {})\nSELECT {}, {}\nFROM ({inner}) AS d\nON DUPLICATE KEY UPDATE {}",
        quoted(GROUP_KEY_COLUMN),
        names.join(", "),
        group_key_sql(definition, columns),
        outer.join(", "),
        updates.join(", ")
    )
}

/// Counts the values of a text key that the collation calls equal to another one of other bytes. Must be 0 for the key
/// to be printed or grouped by.
pub fn variants_sql(table: &str, column: &str) -> String {
    let name = quoted(column);
    format!(
        "SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE {name} IS NOT NULL GROUP BY {name} \
         HAVING COUNT(DISTINCT CAST({name} AS BINARY)) > 1) AS d"
    )
}

/// The stored rows counted and added up: groups, and base rows they stand for.
pub fn totals_sql(table: &str) -> String {
    let n = quoted(COUNT_STAR_COLUMN);
    format!("SELECT COUNT(*), IFNULL(CAST(SUM({n}) AS SIGNED), 0) FROM {table}")
}

#[cfg(test)]
#[path = "storage/tests.rs"]
mod tests;
