//! Prepared statements: in the binary protocol and in SQL.

use super::{probes, queries, query};
use crate::generated_sessions::dice::Dice;
use crate::generated_sessions::program::{Execution, Step, Value};
use crate::generated_sessions::variables::Variable;

const TEXTS: &[&str] = &[
    "SELECT ?",
    "SELECT ? + 1, ?",
    "SELECT ?, CHARSET(?), COLLATION(?)",
    "SELECT id, s, d FROM t WHERE id = ?",
    "SELECT * FROM t WHERE id > ? ORDER BY id LIMIT ?",
    "SELECT s FROM t WHERE s = ?",
    "SELECT @a, ?, @@sql_mode",
    "INSERT INTO a (k, s) VALUES (?, ?)",
    "INSERT INTO t (id, v) VALUES (?, ?)",
    "UPDATE t SET v = ?, s = ? WHERE id = 2",
    "DELETE FROM t WHERE id = ?",
    "SET @a = ?",
    "SET time_zone = '+04:00'",
    "CALL p_out(?, @b, @c)",
    "CALL p_out(?, ?, ?)",
    "CALL p_results()",
    "CALL p_variable(?)",
    "DO GET_LOCK('{s}_a', ?)",
    "SELECT GET_LOCK(CONCAT('{s}_', ?), 0)",
    "CREATE TEMPORARY TABLE tt (id INT)",
    "INSERT INTO w VALUES (?, 'c', ?, ?, ?, '{}', ?)",
    "SELECT * FROM w WHERE id = ?",
    "SELECT ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID(), ?",
    "SELECT LAST_INSERT_ID(?)",
    "SHOW VARIABLES LIKE ?",
    "SHOW WARNINGS",
    "SHOW TABLES",
    "SELECT 1/?",
    "SELECT CAST(? AS SIGNED)",
    "SELECT nonsense FROM t WHERE id = ?",
    "SELEKT ?",
    "BEGIN",
    "COMMIT",
    "SELECT \"a\", 'b' || ?",
    "SELECT f_variable(?), f_signal(?)",
    "SELECT FROM_UNIXTIME(0), 'ü', ?",
    "SELECT 1; SELECT 2",
    "",
    "SELECT CONNECTION_ID() = ?",
    "SELECT SQL_CALC_FOUND_ROWS id FROM t LIMIT ?",
    "SELECT v.id, ? FROM v WHERE tripled > 0 ORDER BY 1",
    "REPLACE INTO t (id, v) VALUES (?, 1)",
    "LOCK TABLES t READ",
    "USE {s}b",
    "PREPARE x FROM 'SELECT 1'",
];

/// Values that fit any place where a number or a text is wanted.
const VALUES: &[(&str, &str)] = &[
    ("tiny", "1"),
    ("tiny", "-1"),
    ("short", "300"),
    ("int", "2"),
    ("int", "100000"),
    ("long", "3"),
    ("long", "-9223372036854775808"),
    ("unsigned", "18446744073709551615"),
    ("float", "1.5"),
    ("double", "2.25"),
    ("decimal", "12.340"),
    ("text", "two"),
    ("text", "3"),
    ("text", "fünf"),
    ("text", ""),
    ("blob", "bytes"),
    ("date", "2024-02-29"),
    ("datetime", "2024-02-29 10:20:30"),
    ("time", "10:11:12"),
    ("null", ""),
];

fn value(dice: &mut Dice) -> Value {
    let (kind, text) = dice.one(VALUES);
    Value {
        kind,
        text: text.to_owned(),
    }
}

fn execute(dice: &mut Dice, slot: usize) -> Step {
    Step::Execute(
        slot,
        Execution {
            bare: dice.percent(30),
            cursor: dice.percent(15),
            values: (0..dice.between(1, 5)).map(|_| value(dice)).collect(),
        },
    )
}

fn prepare(slot: usize, text: &str) -> Step {
    Step::Prepare(slot, text.to_owned())
}

/// Prepared, executed some times, reset and closed, and used after that.
pub(super) fn binary(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let slot = dice.below(3);
    let mut steps = vec![prepare(slot, dice.pick(TEXTS))];
    for _ in 0..dice.between(1, 3) {
        if dice.percent(30) {
            steps.push(Step::Pause);
        }
        steps.push(execute(dice, slot));
        if dice.percent(25) {
            steps.push(query(probes::any(dice)));
        }
    }
    match dice.below(6) {
        0 => steps.push(Step::Close(slot)),
        1 => steps.extend([Step::Close(slot), execute(dice, slot)]),
        2 => steps.extend([Step::ResetStatement(slot), execute(dice, slot)]),
        3 => steps.extend([Step::ResetConnection, execute(dice, slot)]),
        4 => steps.push(Step::ResetStatement(7)),
        _ => {}
    }
    steps
}

/// The same text twice: two statements, each with types, long data and cursor of its own.
pub(super) fn two_of_one_text(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let text = dice.pick(&[
        "SELECT ?",
        "SELECT id FROM t WHERE id >= ? ORDER BY id",
        "INSERT INTO a (k) VALUES (?)",
        "SET @a = ?",
    ]);
    let mut steps = vec![
        prepare(3, text),
        execute(dice, 3),
        Step::Pause,
        prepare(4, text),
    ];
    for _ in 0..dice.between(2, 4) {
        let slot = dice.between(3, 4);
        steps.push(match dice.below(6) {
            0 => Step::Close(slot),
            1 => Step::ResetStatement(slot),
            2 => Step::Pause,
            _ => execute(dice, slot),
        });
    }
    steps.push(execute(dice, 3));
    steps
}

/// Rows by and by, with other work between.
pub(super) fn cursor(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let text = dice.pick(&[
        "SELECT id, s, d FROM t ORDER BY id",
        "SELECT id FROM t WHERE id > ? ORDER BY id",
        "SELECT COUNT(*) FROM t",
        "CALL p_results()",
        "SHOW TABLES",
        "UPDATE t SET v = 3 WHERE id = 3",
    ]);
    let open = Execution {
        cursor: true,
        values: vec![Value {
            kind: "int",
            text: "1".to_owned(),
        }],
        ..Execution::default()
    };
    let mut steps = vec![prepare(5, text), Step::Execute(5, open)];
    for _ in 0..dice.between(1, 5) {
        steps.push(match dice.below(8) {
            0 => query("SELECT COUNT(*) FROM a"),
            1 => query("DELETE FROM t WHERE id = 3"),
            2 => Step::ResetStatement(5),
            3 => Step::Pause,
            _ => Step::Fetch(5, dice.one(&[1, 2, 3, 10])),
        });
    }
    if dice.percent(30) {
        steps.extend([Step::Close(5), Step::Fetch(5, 1)]);
    }
    steps
}

/// COM_STMT_SEND_LONG_DATA in parts, with and without an execution after it.
pub(super) fn long_data(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let text = dice.pick(&[
        "SELECT ?, LENGTH(?)",
        "INSERT INTO l VALUES (1, ?)",
        "SELECT HEX(?)",
    ]);
    let mut steps = vec![prepare(6, text)];
    for _ in 0..dice.between(1, 3) {
        let parameter = dice.one(&[0, 0, 0, 1, 9]);
        steps.push(Step::LongData(
            6,
            parameter,
            dice.pick(&["part ", "", "ünd", "more of it "]).to_owned(),
        ));
        if dice.percent(30) {
            steps.push(dice.one(&[Step::Pause, Step::Ping, query("SELECT 1")]));
        }
    }
    if dice.percent(25) {
        steps.push(Step::ResetStatement(6));
    }
    steps.push(execute(dice, 6));
    steps.push(execute(dice, 6));
    steps
}

/// What a statement was prepared under is not what it runs under.
pub(super) fn prepared_before_change(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let text = dice.pick(&[
        "SELECT id, s FROM t WHERE id = ?",
        "SELECT \"s\", 'a\\'b' FROM t WHERE id = ?",
        "SELECT 1 || ?",
        "SELECT 'ü', CHARSET('x'), COLLATION(?)",
        "INSERT INTO w VALUES (?, 'abcdef', 1, 1, NULL, NULL, NULL)",
        "SELECT FROM_UNIXTIME(0), ?",
        "SELECT DATABASE(), ?",
        "SELECT * FROM t WHERE id = ?",
        "SELECT s FROM t WHERE s = ?",
        "SELECT ?/7",
    ]);
    let change = dice.one(&[
        Step::Use("{s}b".to_owned()),
        query("USE {s}b"),
        query("SET sql_mode = 'ANSI_QUOTES'"),
        query("SET sql_mode = 'PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'"),
        query("SET sql_mode = ''"),
        query("SET NAMES latin1"),
        query("SET collation_connection = utf8mb4_bin"),
        query("SET character_set_results = ucs2"),
        query("SET time_zone = '+06:00'"),
        query("SET div_precision_increment = 9"),
        query("SET lc_time_names = 'fr_FR', sql_select_limit = 1"),
        query("ALTER TABLE t ADD COLUMN later INT DEFAULT 8"),
        query("ALTER TABLE t MODIFY s VARCHAR(90) CHARACTER SET latin1"),
        query("DROP TABLE t"),
        query("CREATE TEMPORARY TABLE t (id INT, s INT)"),
        query("TRUNCATE t"),
    ]);
    let mut steps = vec![prepare(0, text)];
    if dice.percent(50) {
        steps.push(execute(dice, 0));
    }
    steps.extend([change, Step::Pause, execute(dice, 0), execute(dice, 0)]);
    if dice.percent(40) {
        steps.extend([prepare(1, text), execute(dice, 1)]);
    }
    steps
}

/// PREPARE, EXECUTE and DEALLOCATE as statements.
pub(super) fn in_sql(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let text = dice.pick(&[
        "PREPARE x FROM 'SELECT id, s FROM t WHERE id = ?'",
        "PREPARE x FROM 'SELECT ? + @a'",
        "PREPARE x FROM 'SET time_zone = ''+07:00'''",
        "PREPARE x FROM @text",
        "PREPARE x FROM 'SELEKT'",
        "PREPARE x FROM 'INSERT INTO a (k) VALUES (?)'",
        "PREPARE x FROM 'CALL p_variable(?)'",
        "PREPARE x FROM 'SET @b = ?'",
        "PREPARE x FROM 'CREATE TEMPORARY TABLE tt (a INT DEFAULT 1)'",
    ]);
    let mut steps = queries(&["SET @a = 2, @text = 'SELECT COUNT(*), ? FROM t'", text]);
    for _ in 0..dice.between(1, 4) {
        if dice.percent(30) {
            steps.push(Step::Pause);
        }
        steps.push(query(dice.pick(&[
            "EXECUTE x USING @a",
            "EXECUTE x USING @a",
            "EXECUTE x",
            "EXECUTE x USING @a, @b",
            "EXECUTE IMMEDIATE 'SELECT 1'",
            "SELECT @a, @b",
            "PREPARE x FROM 'SELECT ''again'', ?'",
            "EXECUTE inside USING @a",
            "CALL p_prepare()",
        ])));
    }
    if dice.percent(60) {
        steps.extend(queries(&["DEALLOCATE PREPARE x", "EXECUTE x USING @a"]));
    }
    if dice.percent(20) {
        steps.push(query("DROP PREPARE x"));
    }
    steps
}
