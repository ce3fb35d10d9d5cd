//! Calls of procedures, functions and triggers that leave something in the session.

use super::{queries, query};
use crate::generated_sessions::dice::Dice;
use crate::generated_sessions::program::Step;
use crate::generated_sessions::variables::Variable;

/// A CALL and a look at what it left.
pub(super) fn calls(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let texts: &[&str] = match dice.below(20) {
        0 => &["CALL p_variable(5)", "SELECT @p, @q"],
        1 => &[
            "CALL p_setting()",
            "SELECT @@sql_mode, @@time_zone",
            "SELECT FROM_UNIXTIME(0)",
        ],
        2 => &[
            "CALL p_names()",
            "SELECT 'ü', DATE_FORMAT('2024-03-05', '%M')",
        ],
        3 => &[
            "CALL p_temporary()",
            "SELECT * FROM tp",
            "DROP TEMPORARY TABLE tp",
        ],
        4 => &[
            "CALL p_lock()",
            "SELECT IS_FREE_LOCK(CONCAT(DATABASE(), '_p'))",
            "SELECT RELEASE_ALL_LOCKS()",
        ],
        5 => &["SET @p = 3", "CALL p_prepare()", "EXECUTE inside USING @p"],
        6 => &["CALL p_results()", "SELECT FOUND_ROWS(), ROW_COUNT()"],
        7 => &["SET @c = 'in'", "CALL p_out(4, @b, @c)", "SELECT @b, @c"],
        8 => &["CALL p_error()", "SHOW WARNINGS", "SELECT COUNT(*) FROM l"],
        9 => &["CALL p_half()", "SHOW ERRORS"],
        10 => &["CALL p_handled()", "SHOW WARNINGS", "SELECT @handled"],
        11 => &["CALL p_warn()", "SHOW WARNINGS"],
        12 => &[
            "CALL p_begin()",
            "SELECT COUNT(*) FROM l",
            "ROLLBACK",
            "SELECT COUNT(*) FROM l",
        ],
        13 => &[
            "BEGIN",
            "INSERT INTO l VALUES (1, 'x')",
            "CALL p_commit()",
            "ROLLBACK",
            "SELECT COUNT(*) FROM l",
        ],
        14 => &[
            "CALL p_autocommit()",
            "SELECT @@autocommit",
            "ROLLBACK",
            "SELECT COUNT(*) FROM l",
        ],
        15 => &[
            "CALL p_insert()",
            "SELECT LAST_INSERT_ID()",
            "SELECT * FROM l",
        ],
        16 => &["CALL p_dynamic('SET @z = 5')", "SELECT @z"],
        17 => &["CALL p_dynamic('SELECT COUNT(*) FROM t')", "SELECT @text"],
        18 => &[
            "CALL p_dynamic('CREATE TEMPORARY TABLE td (a INT)')",
            "SELECT * FROM td",
        ],
        _ => &[
            "CALL p_ddl()",
            "INSERT INTO n3 VALUES (1)",
            "SELECT * FROM n3",
        ],
    };
    let mut steps = queries(texts);
    steps.insert(1, Step::Pause);
    steps
}

/// Functions with side effects, wherever an expression may stand.
pub(super) fn functions(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let call = dice.pick(&[
        "f_variable(3)",
        "f_lock()",
        "f_insert(4)",
        "f_increment(1500)",
        "f_last(21)",
        "f_setting()",
        "f_temporary()",
        "f_pure(2)",
        "f_signal(1)",
    ]);
    let around = match dice.below(6) {
        0 => format!("DO {call}"),
        1 => format!("SET @a = {call}"),
        2 => format!("SELECT id FROM t WHERE id = 2 AND {call} > 0"),
        3 => format!("INSERT INTO l VALUES ({call}, 'from')"),
        4 => format!("SELECT {call} INTO @b"),
        _ => format!("SELECT {call}"),
    };
    let after = match call {
        "f_variable(3)" => "SELECT @f",
        "f_lock()" => "SELECT IS_FREE_LOCK(CONCAT(DATABASE(), '_f'))",
        "f_setting()" => "SELECT 1/7",
        "f_temporary()" => "SELECT COUNT(*) FROM tf",
        _ => "SELECT LAST_INSERT_ID(), @a, @b",
    };
    vec![query(around), Step::Pause, query(after)]
}

/// Triggers set a user variable, or write.
pub(super) fn triggers(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let text = dice.pick(&[
        "INSERT INTO t (id) VALUES (20), (21)",
        "INSERT INTO t (id) VALUES (20), (1)",
        "INSERT IGNORE INTO t (id) VALUES (1)",
        "UPDATE t SET v = 8 WHERE id < 3",
        "UPDATE g SET s = 'z'",
        "INSERT INTO g VALUES (3, 'new')",
        "REPLACE INTO t (id, v) VALUES (1, 2)",
    ]);
    let mut steps = queries(&[
        text,
        "SELECT @trig, @changed",
        "SELECT * FROM l ORDER BY n",
        "SELECT LAST_INSERT_ID(), ROW_COUNT()",
    ]);
    steps.insert(1, Step::Pause);
    steps
}
