//! Which tables can be followed in the log, and which ancestors by foreign keys must be watched with them.
//! Asks the server once per table and definition; bounded; never trusts an answer older than the table's last definition.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use parking_lot::RwLock;

use super::changes::{ChangeLog, Watched};
use super::position::{Position, TableKey};

/// Most tables above one by foreign keys; more is refused.
pub(super) const FAMILY_MAX: usize = 64;
/// Schemas whose contents change without rows in the log.
const SYSTEM_SCHEMAS: [&str; 5] = [
    "mysql",
    "information_schema",
    "performance_schema",
    "sys",
    "ndbinfo",
];

/// The tables to watch for one table: itself first, then its ancestors.
pub(super) type Family = Arc<[Watched]>;

struct Entry {
    family: Family,
    /// Every definition up to here was visible when the server was asked.
    at: Position,
    epoch: u64,
}

/// What is known of tables.
pub(super) struct Catalog {
    entries: RwLock<HashMap<TableKey, Entry>>,
    tables_max: usize,
}

/// What the server says of one table.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Described {
    /// An InnoDB table and the tables that its rows follow by foreign keys.
    Tracked(BTreeSet<TableKey>),
    /// It cannot be followed: why, as a stable word.
    Untracked(&'static str),
}

impl Catalog {
    pub(super) fn new(tables_max: usize) -> Self {
        Self {
            entries: RwLock::new(HashMap::new()),
            tables_max: tables_max.max(16),
        }
    }

    /// The family of a table, if it is known and no definition in it changed since.
    pub(super) fn family(&self, log: &ChangeLog, key: &TableKey) -> Option<Family> {
        let entries = self.entries.read();
        let entry = entries.get(key)?;
        let current = entry.epoch == log.epoch()
            && entry
                .family
                .iter()
                .all(|member| log.last_definition(&member.key) <= entry.at);
        current.then(|| entry.family.clone())
    }

    pub(super) fn insert(&self, key: TableKey, family: Family, at: Position, epoch: u64) {
        let mut entries = self.entries.write();
        if entries.len() >= self.tables_max && !entries.contains_key(&key) {
            entries.clear();
        }
        entries.insert(key, Entry { family, at, epoch });
    }
}

/// Why the key alone rules a table out, if it does.
pub(super) fn refused_by_name(key: &TableKey) -> Option<&'static str> {
    let (schema, table) = (key.schema(), key.table());
    if schema.is_empty()
        || table.is_empty()
        || table.contains('.')
        || key.as_str().contains('\u{FFFD}')
    {
        return Some("name");
    }
    SYSTEM_SCHEMAS.contains(&schema).then_some("system_schema")
}

/// Asks the server for one table on one connection. `exact` (`lower_case_table_names` not 0): names are stored or compared in lower case.
pub(super) async fn describe(
    conn: &mut Conn,
    key: &TableKey,
    exact: bool,
) -> mysql_async::Result<Described> {
    // Names that differ only in case share a key: all of them must be fit.
    let sql = if exact {
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, CREATE_OPTIONS FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
    } else {
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, CREATE_OPTIONS FROM information_schema.TABLES \
         WHERE LOWER(TABLE_SCHEMA) = ? AND LOWER(TABLE_NAME) = ?"
    };
    type Found = (String, String, String, Option<String>, Option<String>);
    let found: Vec<Found> = conn.exec(sql, (key.schema(), key.table())).await?;
    if found.is_empty() {
        return Ok(Described::Untracked("missing"));
    }
    let mut parents = BTreeSet::new();
    for (schema, table, kind, engine, options) in found {
        if TableKey::new(&schema, &table) != *key {
            return Ok(Described::Untracked("name"));
        }
        if kind != "BASE TABLE" {
            return Ok(Described::Untracked("view"));
        }
        if !engine.is_some_and(|engine| engine.eq_ignore_ascii_case("InnoDB")) {
            return Ok(Described::Untracked("engine"));
        }
        if options.is_some_and(|o| o.to_ascii_uppercase().contains("SECONDARY_LOAD=\"1\"")) {
            // Read from there it may be older than what is visible here.
            return Ok(Described::Untracked("secondary_engine"));
        }
        let sql = "SELECT COUNT(*) FROM information_schema.COLUMNS \
                   WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND DATA_TYPE = 'time'";
        let times: Vec<u64> = conn.exec(sql, (&schema, &table)).await?;
        if times.first() != Some(&0) {
            // A TIME becomes a DATETIME by way of today's date, so an answer can change with no change of the table.
            return Ok(Described::Untracked("time_column"));
        }
        let sql = "SELECT UNIQUE_CONSTRAINT_SCHEMA, REFERENCED_TABLE_NAME, UPDATE_RULE, DELETE_RULE \
                   FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = ? AND TABLE_NAME = ?";
        let keys: Vec<(String, String, String, String)> = conn.exec(sql, (&schema, &table)).await?;
        for (schema, table, update, delete) in keys {
            if moves_rows(&update) || moves_rows(&delete) {
                parents.insert(TableKey::new(&schema, &table));
            }
        }
    }
    parents.remove(key);
    Ok(Described::Tracked(parents))
}

fn moves_rows(rule: &str) -> bool {
    !matches!(rule, "NO ACTION" | "RESTRICT")
}

#[cfg(test)]
mod tests {
    use super::super::changes::Touch;
    use super::*;

    fn watched(name: &str, ancestor: bool) -> Watched {
        Watched {
            key: TableKey::new("d", name),
            ancestor,
        }
    }

    #[test]
    fn an_entry_holds_until_a_definition_in_its_family_changes() {
        let catalog = Catalog::new(100);
        let mut log = ChangeLog::new(100);
        log.begin(Position::new(1, 100));
        let child = TableKey::new("d", "c");
        assert!(catalog.family(&log, &child).is_none());
        let family: Family = [watched("c", false), watched("p", true)].into();
        catalog.insert(child.clone(), family.clone(), log.processed(), log.epoch());
        let rows = Touch {
            rows: vec![child.clone(), TableKey::new("d", "p")],
            ..Touch::default()
        };
        log.apply(Position::new(1, 200), None, &rows);
        assert_eq!(catalog.family(&log, &child), Some(family.clone()));
        let defined = Touch {
            definitions: vec![TableKey::new("d", "p")],
            ..Touch::default()
        };
        log.apply(Position::new(1, 300), None, &defined);
        assert!(catalog.family(&log, &child).is_none());
        catalog.insert(child.clone(), family, log.processed(), log.epoch());
        assert!(catalog.family(&log, &child).is_some());
        log.begin(Position::new(1, 300));
        assert!(catalog.family(&log, &child).is_none());
    }

    #[test]
    fn names_that_the_log_cannot_be_searched_for_are_refused() {
        for (schema, table, why) in [
            ("mysql", "user", Some("system_schema")),
            ("performance_schema", "threads", Some("system_schema")),
            ("a.b", "c", Some("name")),
            ("a", "b.c", Some("name")),
            ("", "t", Some("name")),
            ("d", "\u{FFFD}", Some("name")),
            ("d", "t", None),
        ] {
            assert_eq!(
                refused_by_name(&TableKey::new(schema, table)),
                why,
                "{schema}.{table}"
            );
        }
    }
}
