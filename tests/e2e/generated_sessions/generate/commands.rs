//! Commands other than statements, several statements in one, and KILL.

use super::{queries, query};
use crate::generated_sessions::dice::Dice;
use crate::generated_sessions::program::{Identity, Step};
use crate::generated_sessions::stage::USERS;
use crate::generated_sessions::variables::Variable;

/// USE and COM_INIT_DB, also to schemas that are not there.
pub(super) fn use_schema(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..dice.between(1, 2) {
        let name = dice.pick(&[
            "{s}b",
            "{s}",
            "{s}b",
            "information_schema",
            "nonsense",
            "mysql",
            "S9999",
        ]);
        steps.push(match dice.percent(50) {
            true => Step::Use(name.to_owned()),
            false => query(format!("USE `{name}`")),
        });
        steps.push(Step::Pause);
        steps.push(query(dice.pick(&[
            "SELECT DATABASE()",
            "SELECT s FROM t WHERE id = 1",
            "INSERT INTO l VALUES (1, 'here')",
            "SELECT COUNT(*) FROM {s}.l",
            "CALL p_variable(1)",
        ])));
    }
    steps
}

/// COM_RESET_CONNECTION takes everything away.
pub(super) fn reset_connection(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let before = dice.pick(&[
        "SET @a = 1",
        "CREATE TEMPORARY TABLE tr (a INT)",
        "BEGIN",
        "SET NAMES latin1",
        "LOCK TABLES t WRITE",
        "SELECT GET_LOCK('{s}_a', 0)",
        "USE {s}b",
        "SET autocommit = 0",
        "INSERT INTO a (k) VALUES (1800)",
        "PREPARE x FROM 'SELECT 1'",
        "SET SESSION TRANSACTION READ ONLY",
    ]);
    let after = dice.pick(&[
        "SELECT @a, LAST_INSERT_ID(), @@autocommit",
        "SELECT * FROM tr",
        "SELECT @@character_set_client, @@collation_connection, DATABASE()",
        "SELECT IS_FREE_LOCK('{s}_a')",
        "EXECUTE x",
        "SHOW WARNINGS",
        "SELECT ROW_COUNT(), FOUND_ROWS()",
    ]);
    vec![
        query(before),
        Step::ResetConnection,
        Step::Pause,
        query(after),
    ]
}

/// COM_CHANGE_USER, sometimes to nobody or nowhere.
pub(super) fn change_user(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let mut user = dice.pick(USERS).to_owned();
    let mut schema = dice.pick(&["{s}", "{s}b", "", "{s}"]).to_owned();
    match dice.below(12) {
        0 => user = "nobody".to_owned(),
        1 => schema = "nonsense".to_owned(),
        _ => {}
    }
    let to = Identity {
        user,
        collation: dice.one(&[45, 8, 255, 33]),
        schema,
    };
    let before = dice.pick(&[
        "SET @a = 1, time_zone = '+01:00'",
        "BEGIN",
        "CREATE TEMPORARY TABLE tr (a INT)",
        "SELECT 1",
        "SELECT GET_LOCK('{s}_a', 0)",
    ]);
    let after = dice.pick(&[
        "SELECT CURRENT_USER(), DATABASE(), @a",
        "SELECT @@time_zone, @@character_set_client, @@collation_connection",
        "SELECT * FROM tr",
        "SELECT COUNT(*) FROM t",
    ]);
    vec![
        query(before),
        Step::ChangeUser(to),
        Step::Pause,
        query(after),
        query("SELECT CURRENT_USER(), IS_FREE_LOCK('{s}_a')"),
    ]
}

/// Commands with small answers.
pub(super) fn small(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let mut steps = queries(&[dice.pick(&[
        "SELECT 1/0",
        "INSERT INTO a (k) VALUES (1900)",
        "SELECT id FROM t LIMIT 2",
        "SELEKT",
    ])]);
    for _ in 0..dice.between(1, 3) {
        steps.push(match dice.below(8) {
            0 | 1 => Step::Ping,
            2 => Step::Statistics,
            3 => Step::FieldList("t".to_owned()),
            4 => Step::SetOption(0),
            5 => Step::SetOption(1),
            6 => Step::SetOption(7),
            _ => Step::ResetStatement(7),
        });
    }
    steps.push(query(dice.pick(&[
        "SHOW WARNINGS",
        "SELECT ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID()",
        "SELECT 1; SELECT 2",
    ])));
    steps
}

/// Several statements in one text: also where the client may not, and where one of them fails.
pub(super) fn multi_statements(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let mut parts = Vec::new();
    for _ in 0..dice.between(2, 4) {
        parts.push(dice.pick(&[
            "SELECT 1",
            "SET @a = 9",
            "SELECT id FROM t LIMIT 1",
            "INSERT INTO l VALUES (1, 'm')",
            "SELECT * FROM nonsense",
            "BEGIN",
            "COMMIT",
            "SELECT 1/0",
            "SET time_zone = '+02:00'",
            "CALL p_results()",
            "CREATE TEMPORARY TABLE tm (a INT)",
            "USE {s}b",
            "SELECT @a, ROW_COUNT()",
            "INSERT INTO a (k) VALUES (2100)",
            "SELEKT",
            "DO GET_LOCK('{s}_a', 0)",
            "PREPARE x FROM 'SELECT 5'",
            "UPDATE t SET v = 4 WHERE id = 2",
        ]));
    }
    let after = dice.pick(&[
        "SHOW WARNINGS",
        "SELECT @a, DATABASE(), LAST_INSERT_ID()",
        "SELECT COUNT(*) FROM l",
        "SELECT ROW_COUNT(), FOUND_ROWS()",
        "SELECT @@time_zone",
    ]);
    let end = dice.pick(&["", ";", "; ", ";;"]);
    vec![
        query(format!("{}{end}", parts.join("; ")).trim_end()),
        Step::Pause,
        query(after),
    ]
}

/// Query attributes, and a statement that reads them.
pub(super) fn attributes(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let pairs = [("trace", "abc"), ("n", "5"), ("empty", "")];
    let pairs = pairs.iter().take(dice.between(1, 3));
    let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let text = dice.pick(&[
        "SELECT mysql_query_attribute_string('trace'), mysql_query_attribute_string('n')",
        "SELECT 1",
        "SET @a = mysql_query_attribute_string('trace')",
        "SELECT COUNT(*) FROM t",
    ]);
    vec![
        Step::Attributed(pairs.collect(), text.to_owned()),
        query("SELECT mysql_query_attribute_string('trace'), @a"),
    ]
}

/// LOAD DATA LOCAL, which asks the client for a file where it may.
pub(super) fn infile(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let text = dice.pick(&[
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE l FIELDS TERMINATED BY ','",
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE t FIELDS TERMINATED BY ',' (id, s)",
        "LOAD DATA LOCAL INFILE 'x' REPLACE INTO TABLE t FIELDS TERMINATED BY ',' (id, s)",
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE nonsense",
    ]);
    queries(&[
        text,
        "SHOW WARNINGS",
        "SELECT COUNT(*) FROM t",
        "SELECT * FROM l ORDER BY n, s",
    ])
}

/// KILL of this session's statement, or of this session, by a second one.
pub(super) fn kill(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let before = dice.pick(&[
        "SET @a = 5",
        "BEGIN",
        "CREATE TEMPORARY TABLE tk (a INT)",
        "SELECT GET_LOCK('{s}_a', 0)",
        "SELECT 1",
    ]);
    let after = dice.pick(&[
        "SELECT @a",
        "SELECT COUNT(*) FROM l",
        "SELECT * FROM tk",
        "SELECT IS_USED_LOCK('{s}_a') = CONNECTION_ID()",
    ]);
    let sleeping = dice.pick(&[
        "SELECT SLEEP(50)",
        "DO SLEEP(50)",
        "SELECT id, SLEEP(20) FROM t",
        "INSERT INTO l VALUES (SLEEP(50), 's')",
    ]);
    let step = match dice.percent(60) {
        true => Step::KillQuery(sleeping.to_owned()),
        false => Step::Kill,
    };
    vec![query(before), step, query(after), query("SELECT 1")]
}
