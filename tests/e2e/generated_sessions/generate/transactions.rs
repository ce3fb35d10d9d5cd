//! Transactions with every way in and out.

use super::{queries, query};
use crate::generated_sessions::dice::Dice;
use crate::generated_sessions::program::Step;
use crate::generated_sessions::variables::Variable;

const BEGINS: &[&str] = &[
    "BEGIN",
    "BEGIN WORK",
    "START TRANSACTION",
    "START TRANSACTION READ ONLY",
    "START TRANSACTION READ WRITE",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    "/* begins */ begin",
];
const INSIDE: &[&str] = &[
    "INSERT INTO l VALUES (1, 'in')",
    "INSERT INTO a (k) VALUES (800)",
    "SELECT COUNT(*) FROM l",
    "UPDATE t SET v = v + 1",
    "SELECT * FROM t WHERE id = 2 FOR UPDATE",
    "SELECT * FROM t WHERE id = 2 FOR SHARE",
    "INSERT INTO t (id) VALUES (1)",
    "SELEKT",
    "DELETE FROM t WHERE id = 6",
    "SELECT f_insert(5)",
    "SET @a = 4",
    "SET time_zone = '+08:00'",
    "SAVEPOINT s1",
    "ROLLBACK TO s1",
    "BEGIN",
    "SELECT 1",
];
const ENDS: &[&str] = &[
    "COMMIT",
    "ROLLBACK",
    "COMMIT",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    "COMMIT WORK AND NO CHAIN",
    "CREATE TABLE IF NOT EXISTS n1 (a INT)",
    "ALTER TABLE a AUTO_INCREMENT = 90",
    "SET autocommit = 1",
    "CALL p_commit()",
    "BEGIN",
    "ANALYZE TABLE l",
];

/// BEGIN, some work, and one of the ends; what stays is read.
pub(super) fn plain(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let mut steps = vec![query(dice.pick(BEGINS))];
    for _ in 0..dice.between(0, 3) {
        steps.push(query(dice.pick(INSIDE)));
        if dice.percent(20) {
            steps.push(Step::Pause);
        }
    }
    if dice.percent(90) {
        steps.push(query(dice.pick(ENDS)));
        if dice.percent(50) {
            steps.push(Step::Pause);
        }
        steps.push(query("SELECT COUNT(*) FROM l"));
    }
    steps
}

/// Without autocommit the next statement opens a transaction, and some do not.
pub(super) fn autocommit_off(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let mut steps = vec![query(dice.pick(&[
        "SET autocommit = 0",
        "SET @@autocommit = OFF",
        "CALL p_autocommit()",
    ]))];
    for _ in 0..dice.between(1, 4) {
        let text = match dice.below(3) {
            0 => dice.pick(ENDS),
            _ => dice.pick(INSIDE),
        };
        steps.push(query(text));
        if dice.percent(40) {
            steps.push(Step::Pause);
        }
    }
    steps.push(query(dice.pick(&[
        "COMMIT",
        "ROLLBACK",
        "SET autocommit = 1",
        "SELECT @@autocommit",
    ])));
    steps.push(query("SELECT COUNT(*), @@autocommit FROM l"));
    steps
}

/// SET TRANSACTION for the session and for the next one.
pub(super) fn characteristics(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let set = dice.pick(&[
        "SET TRANSACTION READ ONLY",
        "SET TRANSACTION READ WRITE",
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
        "SET SESSION TRANSACTION READ ONLY",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
        "SET @@transaction_isolation = 'SERIALIZABLE'",
        "SET transaction_read_only = 1",
        "SET @@transaction_read_only = ON",
        "SET @@session.transaction_read_only = ON",
        "CALL p_isolation()",
        "SET completion_type = 1",
    ]);
    let next = dice.pick(&[
        "INSERT INTO l VALUES (1, 'x')",
        "BEGIN",
        "SELECT COUNT(*) FROM l",
        "SET @a = 1",
        "SELECT @@transaction_isolation, @@transaction_read_only",
        "COMMIT",
        "SELECT @a",
        "SHOW WARNINGS",
        "USE {s}",
        "DO 1",
    ]);
    let mut steps = queries(&[set, next]);
    if dice.percent(60) {
        steps.insert(1, Step::Pause);
    }
    steps.extend(queries(&[
        "INSERT INTO l VALUES (2, 'y')",
        "SET TRANSACTION READ ONLY",
    ]));
    if dice.percent(50) {
        steps.extend(queries(&[
            "COMMIT",
            "INSERT INTO l VALUES (3, 'z')",
            "COMMIT",
        ]));
    }
    steps.push(query(
        "SELECT @@transaction_isolation, @@transaction_read_only",
    ));
    steps
}

/// Savepoints, known and unknown.
pub(super) fn savepoints(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let mut steps = vec![query(dice.pick(BEGINS))];
    for _ in 0..dice.between(3, 6) {
        steps.push(query(dice.pick(&[
            "SAVEPOINT s1",
            "SAVEPOINT s2",
            "ROLLBACK TO SAVEPOINT s1",
            "ROLLBACK WORK TO s2",
            "RELEASE SAVEPOINT s1",
            "INSERT INTO l VALUES (1, 'sp')",
            "SELECT COUNT(*) FROM l",
        ])));
    }
    steps.push(query(dice.pick(&["COMMIT", "ROLLBACK"])));
    steps.push(query("SELECT COUNT(*) FROM l"));
    steps
}

/// XA, up to a prepared transaction that is left behind.
pub(super) fn xa(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let mut steps = queries(&["XA START '{s}x'"]);
    for _ in 0..dice.between(1, 5) {
        steps.push(query(dice.pick(&[
            "INSERT INTO l VALUES (1, 'xa')",
            "SELECT COUNT(*) FROM l",
            "XA END '{s}x'",
            "XA END '{s}x'",
            "COMMIT",
            "XA START '{s}y'",
            "BEGIN",
        ])));
    }
    steps.extend(queries(match dice.below(4) {
        0 => &["XA END '{s}x'", "XA PREPARE '{s}x'", "XA COMMIT '{s}x'"],
        1 => &["XA END '{s}x'", "XA COMMIT '{s}x' ONE PHASE"],
        2 => &["XA END '{s}x'", "XA PREPARE '{s}x'", "XA ROLLBACK '{s}x'"],
        _ => &["XA END '{s}x'", "XA ROLLBACK '{s}x'"],
    }));
    steps.push(query("SELECT COUNT(*) FROM l"));
    steps
}
