//! User variables of every type and every origin, read back with their types.

use super::{queries, query};
use crate::generated_sessions::dice::Dice;
use crate::generated_sessions::program::Step;
use crate::generated_sessions::variables::Variable;

const VALUES: &[&str] = &[
    "5",
    "-7",
    "18446744073709551615",
    "1.50",
    "-0.000001",
    "1e10",
    "1.5e-3",
    "'text'",
    "''",
    "'ünïcode'",
    "NULL",
    "X'4D7953'",
    "0x41",
    "b'1010'",
    "_latin1'caf\\xe9' COLLATE latin1_german1_ci",
    "_utf8mb4 X'F09F9880'",
    "'a' COLLATE utf8mb4_bin",
    "N'national'",
    "TRUE",
    "DATE '2024-02-29'",
    "TIME '10:11:12.5'",
    "TIMESTAMP '2024-01-01 00:00:00'",
    "CAST(3 AS UNSIGNED)",
    "CAST(1 AS DECIMAL(20,5))",
    "CAST('2024-01-01' AS DATE)",
    "JSON_OBJECT('a', 1)",
    "CAST('x' AS BINARY)",
    "(SELECT MAX(v) FROM t)",
    "(SELECT s FROM t WHERE id = 5)",
    "1/3",
    "REPEAT('x', 300)",
    "@b",
    "@@sql_mode",
    "CONCAT(@a, '+')",
    "LAST_INSERT_ID()",
    "ST_GeomFromText('POINT(1 2)')",
    "UNHEX('00FF')",
    "CONNECTION_ID() = CONNECTION_ID()",
    "_binary 'x'",
    "'it''s'",
    "1 = 1",
    "-9223372036854775808",
    "12345678901234567890123",
];

/// Assignments, and what comes back.
pub(super) fn user_variables(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..dice.between(1, 2) {
        let name = dice.pick(&["a", "b", "c", "`odd name`", "'q'", "A"]);
        let value = dice.pick(VALUES);
        steps.push(query(match dice.below(5) {
            0 => format!("SET @{name} := {value}"),
            1 => format!("SELECT @{name} := {value}"),
            2 => format!("SELECT {value} INTO @{name}"),
            3 => format!("SET @{name} = {value}, @{name} = @{name}"),
            _ => format!("SET @{name} = {value}"),
        }));
        if dice.percent(50) {
            steps.push(Step::Pause);
        }
        steps.push(query(match dice.below(6) {
            0 => format!(
                "SELECT @{name}, CHARSET(@{name}), COLLATION(@{name}), COERCIBILITY(@{name})"
            ),
            1 => format!("SELECT @{name} + 1, HEX(@{name}), LENGTH(@{name})"),
            2 => format!("SELECT * FROM t WHERE id = @{name} OR s = @{name}"),
            _ => format!("SELECT @{name}"),
        }));
    }
    steps
}

/// Variables filled by SELECT, by rows, and by other variables.
pub(super) fn into_variables(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let steps: &[&str] = match dice.below(9) {
        0 => &[
            "SELECT id, s, d INTO @a, @b, @c FROM t WHERE id = 2",
            "SELECT @a, @b, @c",
        ],
        1 => &[
            "SELECT id INTO @a FROM t WHERE id = 99",
            "SHOW WARNINGS",
            "SELECT @a",
        ],
        2 => &["SELECT id INTO @a FROM t", "SELECT @a, @@error_count"],
        3 => &[
            "SET @n = 0",
            "SELECT @n := @n + 1, id FROM t ORDER BY id",
            "SELECT @n",
        ],
        4 => &[
            "SELECT @a := v FROM t WHERE id = 3",
            "UPDATE t SET v = @a := v + 1 WHERE id = 3",
            "SELECT @a",
        ],
        5 => &[
            "SET @a = 3",
            "SELECT s FROM t LIMIT 1",
            "SELECT COUNT(*) FROM t WHERE id < @a",
            "SELECT @A, @`a`",
        ],
        6 => &[
            "SELECT @never_set",
            "SET @never_set = @never_set + 1",
            "SELECT @never_set IS NULL",
        ],
        7 => &[
            "SELECT MAX(id), MIN(s) FROM t INTO @a, @b",
            "SELECT @a, @b, CHARSET(@b)",
        ],
        _ => &[
            "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.user_variables_by_thread WHERE THREAD_ID = PS_CURRENT_THREAD_ID() ORDER BY 1",
        ],
    };
    let mut steps = queries(steps);
    steps.insert(1, Step::Pause);
    steps
}
