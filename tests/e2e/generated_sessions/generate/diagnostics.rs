//! Errors, warnings, counts and ids: what a statement leaves behind for the next one.

use super::{probes, queries, query};
use crate::generated_sessions::dice::Dice;
use crate::generated_sessions::program::Step;
use crate::generated_sessions::variables::Variable;

const FAILING: &[&str] = &[
    "INSERT INTO t (id) VALUES (1)",
    "INSERT INTO a (k) VALUES (900), (100)",
    "SELECT * FROM nonsense",
    "SELECT nonsense FROM t",
    "SELEKT 1",
    "SELECT 'unfinished",
    "INSERT INTO w VALUES (1, 'abcdef', 1, 1, NULL, NULL, NULL)",
    "INSERT INTO w VALUES (2, 'a', 1000, 1, '2024-02-31', '{', 'x')",
    "INSERT INTO w (id, n) SELECT 5, 1/0",
    "UPDATE t SET id = 1",
    "CALL p_error()",
    "CALL p_half()",
    "CALL nonsense()",
    "SELECT f_signal(9)",
    "SELECT id, f_signal(id) FROM t ORDER BY id",
    "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'own', MYSQL_ERRNO = 7000",
    "SELECT (SELECT id FROM t)",
    "SELECT * FROM mysql.user",
    "DROP DATABASE mysql",
    "CREATE USER x",
    "KILL 4000000000",
    "SELECT 18446744073709551615 + 1",
    "SELECT JSON_EXTRACT('{', '$')",
    "DROP TABLE nonsense",
    "USE nonsense",
    "LOAD DATA INFILE '/nonsense' INTO TABLE l",
    "SELECT 1 UNION SELECT 1, 2",
    "SELECT COUNT(*), id FROM t",
    "SET GLOBAL read_only = 1",
    "FLUSH TABLES nonsense",
    "SELECT 1 INTO OUTFILE '/nonsense/x'",
];
const WARNING: &[&str] = &[
    "SELECT CAST('12x' AS SIGNED)",
    "SELECT 1/0",
    "INSERT IGNORE INTO t (id) VALUES (1), (2)",
    "INSERT IGNORE INTO w VALUES (1, 'abcdef', 999, 'x', '2024-02-31', '{}', 'b')",
    "DROP TABLE IF EXISTS nonsense, nonsense2",
    "CREATE TEMPORARY TABLE IF NOT EXISTS t2 (a INT)",
    "SELECT '1x' + 1, '2y' + 1",
    "CALL p_warn()",
    "SIGNAL SQLSTATE '01000' SET MESSAGE_TEXT = 'careful'",
    "SELECT STR_TO_DATE('x', '%Y')",
    "UPDATE t SET v = '5x' WHERE id = 99",
    "EXPLAIN SELECT id FROM t WHERE id = 1",
    "SELECT @a := 1",
    "SELECT SQL_CALC_FOUND_ROWS 1",
    "SET NAMES utf8mb3",
    "SELECT * FROM t WHERE id = '1x'",
];
const ASKING: &[&str] = &[
    "SHOW WARNINGS",
    "SHOW ERRORS",
    "SHOW WARNINGS LIMIT 1",
    "SHOW COUNT(*) WARNINGS",
    "SHOW COUNT(*) ERRORS",
    "SELECT @@warning_count, @@error_count",
    "SELECT @@error_count",
    // Not ROW_COUNT: of rows changed on another connection Tidegate says that it cannot tell (README).
    "GET DIAGNOSTICS @a = NUMBER",
    "GET DIAGNOSTICS CONDITION 1 @a = RETURNED_SQLSTATE, @b = MESSAGE_TEXT, @c = MYSQL_ERRNO",
    "GET DIAGNOSTICS CONDITION 9 @a = MESSAGE_TEXT",
    "SELECT ROW_COUNT()",
    "SELECT @a, @b, @c",
    "SHOW VARIABLES LIKE 'error_count'",
];

fn asked(dice: &mut Dice, texts: &[&'static str]) -> Vec<Step> {
    let mut steps = vec![query(dice.pick(texts))];
    for _ in 0..dice.between(1, 3) {
        if dice.percent(35) {
            steps.push(Step::Pause);
        }
        steps.push(match dice.below(8) {
            0 => Step::Ping,
            1 => query(probes::any(dice)),
            _ => query(dice.pick(ASKING)),
        });
    }
    steps
}

/// A statement that fails, and what can be asked about it.
pub(super) fn errors(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    asked(dice, FAILING)
}

/// A statement that warns.
pub(super) fn warnings(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    asked(dice, WARNING)
}

/// ROW_COUNT() after all kinds of statements.
pub(super) fn row_counts(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let text = dice.pick(&[
        "UPDATE t SET v = 7",
        "UPDATE t SET v = v",
        "DELETE FROM t WHERE id > 3",
        "INSERT INTO l VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        "REPLACE INTO t (id, v) VALUES (1, 1), (50, 1)",
        "INSERT INTO t (id, v) VALUES (1, 1) ON DUPLICATE KEY UPDATE v = v + 1",
        "INSERT INTO t (id, v) VALUES (1, 1) ON DUPLICATE KEY UPDATE v = v",
        "SELECT 1",
        "SET @a = 1",
        "CALL p_results()",
        "CALL p_insert()",
        "INSERT INTO l SELECT id, s FROM t",
        "CREATE TEMPORARY TABLE tc SELECT id FROM t",
        "BEGIN",
        "INSERT INTO t (id) VALUES (70), (1)",
        "SHOW TABLES",
        "DO 1",
    ]);
    let mut steps = queries(&[text, "SELECT ROW_COUNT()", "SELECT ROW_COUNT()"]);
    if dice.percent(60) {
        steps.insert(1, Step::Pause);
    }
    steps
}

/// FOUND_ROWS() after LIMIT, SQL_CALC_FOUND_ROWS, errors and others.
pub(super) fn found_rows(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let text = dice.pick(&[
        "SELECT id FROM t LIMIT 2",
        "SELECT SQL_CALC_FOUND_ROWS id FROM t LIMIT 2",
        "SELECT SQL_CALC_FOUND_ROWS id FROM t WHERE id > 2 LIMIT 1, 1",
        "SELECT id FROM t WHERE id < 4",
        "SELECT id FROM t WHERE 0",
        "(SELECT id FROM t) UNION ALL (SELECT id FROM a) LIMIT 3",
        "SELECT COUNT(*) FROM t",
        "SHOW TABLES",
        "SELECT nonsense",
        "UPDATE t SET v = 1",
        "CALL p_results()",
        "SELECT id FROM t LIMIT 0",
        "SELECT id INTO @a FROM t LIMIT 1",
        "SHOW VARIABLES LIKE 'sql_mode'",
    ]);
    let mut steps = queries(&[text, "SELECT FOUND_ROWS()", "SELECT FOUND_ROWS()"]);
    match dice.below(4) {
        0 => steps.insert(1, Step::Ping),
        1 => steps.insert(1, query("SET @a = 1")),
        2 => steps.insert(1, Step::Pause),
        _ => {}
    }
    steps
}

/// Ids that the server makes, and how long they are remembered.
pub(super) fn insert_ids(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..dice.between(1, 3) {
        steps.push(query(dice.pick(&[
            "INSERT INTO a (k) VALUES (1000)",
            "INSERT INTO a (k, s) VALUES (1001, 'x'), (1002, 'y')",
            "INSERT INTO a VALUES (60, 1003, 'explicit')",
            "INSERT INTO a VALUES (NULL, 1004, 'n'), (80, 1005, 'e'), (0, 1006, 'z')",
            "INSERT INTO a (k) VALUES (100) ON DUPLICATE KEY UPDATE s = 'again'",
            "INSERT INTO a (k) VALUES (100) ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id), s = 'b'",
            "INSERT IGNORE INTO a (k) VALUES (100)",
            "INSERT INTO a (k) VALUES (100)",
            "REPLACE INTO a (k) VALUES (200)",
            "SELECT LAST_INSERT_ID(5)",
            "UPDATE t SET v = LAST_INSERT_ID(v + 1) WHERE id = 2",
            "SELECT f_last(9)",
            "SELECT f_increment(1010)",
            "CALL p_insert()",
            "INSERT INTO a (k) SELECT v + 5000 FROM t WHERE v IS NOT NULL",
            "INSERT INTO l VALUES (LAST_INSERT_ID(), 'id')",
            "SET insert_id = 300",
            "INSERT INTO a (k) VALUES (LAST_INSERT_ID() + 2000)",
        ])));
        if dice.percent(35) {
            steps.push(Step::Pause);
        }
        steps.push(query(dice.pick(&[
            "SELECT LAST_INSERT_ID()",
            "SELECT LAST_INSERT_ID(), ROW_COUNT()",
            "SELECT @@last_insert_id, @@identity",
            "SELECT MAX(id), LAST_INSERT_ID() FROM a",
        ])));
    }
    steps
}
