//! What a session holds on tables and names: temporary tables, LOCK TABLES, HANDLER, user locks; and DDL.

use super::{queries, query};
use crate::generated_sessions::dice::Dice;
use crate::generated_sessions::program::Step;
use crate::generated_sessions::variables::Variable;

/// Temporary tables, some with the name of a table.
pub(super) fn temporary(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let name = dice.pick(&["tt", "t", "tt", "{s}b.tt"]);
    let mut steps = vec![query(match dice.below(5) {
        0 => format!("CREATE TEMPORARY TABLE {name} AS SELECT id, s FROM a"),
        1 => format!("CREATE TEMPORARY TABLE IF NOT EXISTS {name} LIKE a"),
        2 => format!(
            "CREATE TEMPORARY TABLE {name} (id INT AUTO_INCREMENT PRIMARY KEY, s VARCHAR(9)) ENGINE=MEMORY"
        ),
        3 => format!("CREATE /* hidden */ TEMPORARY TABLE {name} (id INT, s INT)"),
        _ => format!("CREATE TEMPORARY TABLE {name} (id INT PRIMARY KEY, s VARCHAR(20))"),
    })];
    let more = [
        format!("INSERT INTO {name} (id) VALUES (7), (8)"),
        format!("SELECT * FROM {name} ORDER BY id"),
        format!("SELECT COUNT(*) FROM {name}"),
        format!("SHOW CREATE TABLE {name}"),
        format!("ALTER TABLE {name} ADD COLUMN extra INT"),
        format!("DROP TEMPORARY TABLE IF EXISTS {name}"),
        format!("DROP TEMPORARY TABLE {name}"),
        format!("UPDATE {name} SET s = '1' WHERE id = 7"),
        "CREATE TEMPORARY TABLE tt SELECT nonsense".to_owned(),
        "SELECT COUNT(*) FROM tt".to_owned(),
        format!("DELETE FROM {name}"),
    ];
    for _ in 0..dice.between(1, 5) {
        if dice.percent(30) {
            steps.push(Step::Pause);
        }
        steps.push(query(dice.one(&more)));
    }
    if dice.percent(50) {
        steps.push(query(format!("DROP TEMPORARY TABLE {name}")));
        steps.push(query(format!("SELECT * FROM {name} ORDER BY id")));
    }
    steps
}

/// LOCK TABLES and what it forbids.
pub(super) fn locked(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let lock = dice.pick(&[
        "LOCK TABLES t WRITE, l WRITE",
        "LOCK TABLES t READ",
        "LOCK TABLE t AS x READ, a WRITE",
        "LOCK TABLES v READ",
        "LOCK TABLES nonsense READ",
        "LOCK TABLES t READ LOCAL",
    ]);
    let inside = dice.pick(&[
        "SELECT COUNT(*) FROM t",
        "INSERT INTO t (id) VALUES (40)",
        "SELECT COUNT(*) FROM a",
        "SELECT COUNT(*) FROM t AS x",
        "START TRANSACTION",
        "UPDATE t SET v = 1 WHERE id = 1",
        "LOCK TABLES a READ",
    ]);
    let end = dice.pick(&[
        "UNLOCK TABLES",
        "UNLOCK TABLES",
        "START TRANSACTION",
        "COMMIT",
        "LOCK TABLES l READ",
    ]);
    let mut steps = queries(&[lock, inside, end, "SELECT COUNT(*) FROM a", "UNLOCK TABLES"]);
    steps.insert(1, Step::Pause);
    steps.insert(4, Step::Pause);
    steps
}

/// HANDLER keeps its place between statements.
pub(super) fn handler(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let mut steps = vec![query(dice.pick(&[
        "HANDLER t OPEN",
        "HANDLER t OPEN AS h",
        "HANDLER {s}.t OPEN",
        "HANDLER nonsense OPEN",
    ]))];
    for _ in 0..dice.between(1, 4) {
        steps.push(query(dice.pick(&[
            "HANDLER t READ FIRST",
            "HANDLER t READ NEXT",
            "HANDLER t READ NEXT LIMIT 2",
            "HANDLER h READ `PRIMARY` = (2)",
            "HANDLER t READ v FIRST",
            "HANDLER h READ v NEXT",
            "UPDATE t SET v = 1 WHERE id = 2",
            "COMMIT",
        ])));
        steps.push(Step::Pause);
    }
    if dice.percent(70) {
        steps.push(query("HANDLER t CLOSE"));
        steps.push(query("HANDLER h CLOSE"));
    }
    steps
}

/// Changes of tables, and what prepared statements and views make of them.
pub(super) fn ddl(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let texts: &[&str] = match dice.below(9) {
        0 => &[
            "CREATE TABLE n1 (a INT PRIMARY KEY, b TEXT)",
            "INSERT INTO n1 VALUES (1, 'x')",
            "SELECT * FROM n1",
            "DROP TABLE n1",
            "SELECT * FROM n1",
        ],
        1 => &[
            "ALTER TABLE t ADD COLUMN extra INT DEFAULT 4",
            "SELECT * FROM t WHERE id = 1",
            "ALTER TABLE t DROP COLUMN extra",
        ],
        2 => &[
            "CREATE TABLE n2 SELECT id, s FROM t",
            "SELECT COUNT(*) FROM n2",
            "TRUNCATE n2",
            "SELECT COUNT(*) FROM n2",
        ],
        3 => &[
            "TRUNCATE TABLE a",
            "INSERT INTO a (k) VALUES (1)",
            "SELECT LAST_INSERT_ID()",
        ],
        4 => &[
            "RENAME TABLE l TO n3",
            "SELECT COUNT(*) FROM l",
            "RENAME TABLE n3 TO l",
            "SELECT COUNT(*) FROM l",
        ],
        5 => &[
            "CREATE VIEW nv AS SELECT id FROM t WHERE id < 3",
            "SELECT * FROM nv",
            "DROP VIEW nv",
        ],
        6 => &[
            "BEGIN",
            "INSERT INTO l VALUES (1, 'x')",
            "CREATE TABLE n1 (a INT)",
            "ROLLBACK",
            "SELECT COUNT(*) FROM l",
        ],
        7 => &[
            "CREATE INDEX s ON t (s)",
            "SELECT id FROM t WHERE s = 'two'",
            "DROP INDEX s ON t",
        ],
        _ => &[
            "DROP TABLE IF EXISTS nonsense",
            "SHOW WARNINGS",
            "CREATE TABLE t (a INT)",
            "CREATE TABLE IF NOT EXISTS t (a INT)",
            "SHOW WARNINGS",
        ],
    };
    queries(texts)
}

/// GET_LOCK and its kind; the names are the client's own.
pub(super) fn user_locks(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..dice.between(2, 5) {
        steps.push(query(dice.pick(&[
            "SELECT GET_LOCK('{s}_a', 0)",
            "SELECT GET_LOCK('{s}_a', 1)",
            "DO GET_LOCK('{s}_b', 0)",
            "SELECT GET_LOCK('{s}_b', 0), GET_LOCK('{s}_a', 0)",
            "SELECT RELEASE_LOCK('{s}_a')",
            "SELECT RELEASE_LOCK('{s}_b')",
            "SELECT IS_FREE_LOCK('{s}_a'), IS_FREE_LOCK('{s}_b')",
            "SELECT IS_USED_LOCK('{s}_a') = CONNECTION_ID()",
            "SELECT RELEASE_ALL_LOCKS()",
            "SELECT id FROM t WHERE GET_LOCK(CONCAT('{s}_', id), 0) AND id < 3",
            "SELECT GET_LOCK('', 0)",
            "SELECT GET_LOCK(NULL, 0)",
        ])));
        if dice.percent(40) {
            steps.push(Step::Pause);
        }
    }
    steps
}
