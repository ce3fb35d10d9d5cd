//! Session variables: set in every way, read back, and seen by what they change.

use super::{queries, query};
use crate::generated_sessions::dice::Dice;
use crate::generated_sessions::program::Step;
use crate::generated_sessions::variables::Variable;

/// Set, then read in some of the ways there are.
pub(super) fn any_variable(dice: &mut Dice, variables: &[Variable]) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..dice.between(1, 3) {
        let variable = &variables[dice.below(variables.len())];
        let (name, value) = (&variable.name, dice.one(&variable.values));
        steps.push(query(match dice.below(8) {
            0 => format!("SET @@{name} = {value}"),
            1 => format!("set @@session.{name}={value}"),
            2 => format!("SET LOCAL {name} = {value}"),
            3 => format!("SET {name} := {value}"),
            4 => format!("SET @x = 1, SESSION {name} = {value}, @y = @x + 1"),
            _ => format!("SET SESSION {name} = {value}"),
        }));
        if dice.percent(30) {
            steps.push(Step::Pause);
        }
        // The clock shows where nothing was set.
        if name != "timestamp" || value != "DEFAULT" {
            steps.push(query(match dice.below(4) {
                0 => format!("SHOW SESSION VARIABLES LIKE '{name}'"),
                1 => format!("SELECT VARIABLE_VALUE FROM performance_schema.session_variables WHERE VARIABLE_NAME = '{name}'"),
                _ => format!("SELECT @@{name}"),
            }));
        }
    }
    steps
}

/// Character sets and collations together.
pub(super) fn names(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let set = dice.pick(&[
        "SET NAMES utf8mb4",
        "SET NAMES latin1",
        "SET NAMES 'utf8mb3'",
        "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
        "SET NAMES latin1 COLLATE latin1_german2_ci",
        "SET NAMES gbk",
        "SET NAMES cp1251",
        "SET NAMES binary",
        "SET NAMES DEFAULT",
        "SET NAMES ucs2",
        "SET NAMES utf8mb4 COLLATE latin1_bin",
        "SET NAMES nonsense",
        "SET CHARACTER SET latin1",
        "SET CHARSET utf8mb4",
        "SET CHARACTER SET DEFAULT",
        "SET character_set_results = NULL",
        "/*!40101 SET NAMES utf8mb4 */",
    ]);
    let after = dice.pick(&[
        "SELECT 'ü', HEX('ü'), LENGTH('ü'), s FROM t WHERE id = 5",
        "SELECT 'ä' = 'a', 'ß' = 'ss', 'A' = 'a'",
        "SELECT @@character_set_client, @@collation_connection, COLLATION(CONCAT('a', 1))",
        "SELECT 'é' AS `ü`, _utf8mb4 X'C3BC' AS x, _latin1 X'FC' AS y",
        "SELECT s FROM t WHERE s = 'fünf'",
        "INSERT INTO l VALUES (1, 'wörter')",
        "SELECT '中\\\\文' AS a, n'x' AS b",
        "SHOW VARIABLES LIKE 'character_set_%'",
    ]);
    let mut steps = queries(&[set, after]);
    if dice.percent(40) {
        steps.insert(1, Step::Pause);
    }
    if after.starts_with("INSERT") {
        steps.push(query("SELECT s, HEX(s) FROM l"));
    }
    steps
}

/// Settings, each with statements that show it.
const EFFECTS: &[&[&str]] = &[
    &[
        "SET sql_mode = 'ANSI_QUOTES'",
        "SELECT \"id\" FROM t WHERE id = 1",
        "INSERT INTO \"l\" VALUES (1, \"s\")",
    ],
    &[
        "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
        "SELECT 'a\\', 'b'",
        "SELECT '\\\\'",
    ],
    &[
        "SET sql_mode = ''",
        "INSERT INTO w VALUES (1, 'abcdef', 999, 'x', '2024-02-31', '{}', 'b')",
        "SHOW WARNINGS",
        "SELECT * FROM w",
    ],
    &[
        "SET sql_mode = 'PIPES_AS_CONCAT'",
        "SELECT 'a' || 'b'",
        "SELECT 1 || 0",
    ],
    &[
        "SET time_zone = '+05:00'",
        "SELECT FROM_UNIXTIME(0)",
        "SET timestamp = 1700000000",
        "SELECT NOW(), UTC_TIMESTAMP(), SYSDATE() > NOW()",
    ],
    &[
        "SET sql_select_limit = 2",
        "SELECT id FROM t",
        "SELECT FOUND_ROWS()",
        "SET sql_select_limit = DEFAULT",
        "SELECT id FROM t",
    ],
    &[
        "SET lc_time_names = 'de_DE'",
        "SELECT DATE_FORMAT('2024-03-05', '%M %W %b')",
    ],
    &[
        "SET div_precision_increment = 8",
        "SELECT 1/7, AVG(v) FROM t",
    ],
    &[
        "SET group_concat_max_len = 5",
        "SELECT GROUP_CONCAT(s ORDER BY id) FROM t",
        "SHOW WARNINGS",
    ],
    &[
        "SET rand_seed1 = 5, rand_seed2 = 9",
        "SELECT RAND()",
        "SELECT RAND()",
    ],
    &[
        "SET insert_id = 500",
        "INSERT INTO a (k) VALUES (5000)",
        "INSERT INTO a (k) VALUES (5001)",
        "SELECT LAST_INSERT_ID(), MAX(id) FROM a",
    ],
    &[
        "SET sql_auto_is_null = 1",
        "INSERT INTO a (k) VALUES (6000)",
        "SELECT id FROM a WHERE id IS NULL",
        "SELECT id FROM a WHERE id IS NULL",
    ],
    &[
        "SET sql_safe_updates = 1",
        "UPDATE t SET v = 1",
        "DELETE FROM t WHERE s = 'one'",
    ],
    &[
        "SET last_insert_id = 77",
        "SELECT LAST_INSERT_ID()",
        "SELECT @@identity, @@last_insert_id",
    ],
    &[
        "SET timestamp = 1000000000",
        "SELECT UNIX_TIMESTAMP()",
        "SELECT CURDATE(), CURTIME(3)",
    ],
    &[
        "SET sql_big_result = 1",
        "SET foreign_key_checks = 0",
        "SELECT @@foreign_key_checks",
    ],
    &[
        "SET completion_type = CHAIN",
        "COMMIT",
        "INSERT INTO l VALUES (1, 'chained')",
        "ROLLBACK",
        "SELECT COUNT(*) FROM l",
    ],
    &[
        "SET max_join_size = 1",
        "SELECT COUNT(*) FROM t JOIN a",
        "SET sql_big_selects = 1",
        "SELECT COUNT(*) FROM t JOIN a",
    ],
    &[
        "SET lc_messages = 'de_DE'",
        "SELECT * FROM nonsense",
        "SELECT 1/0",
        "SHOW WARNINGS",
    ],
    &[
        "SET session_track_state_change = ON",
        "SET @a = 1",
        "SELECT GET_LOCK('{s}_a', 0)",
        "USE {s}b",
        "CREATE TEMPORARY TABLE ts (a INT)",
    ],
    &[
        "SET session_track_transaction_info = 'CHARACTERISTICS'",
        "START TRANSACTION READ ONLY",
        "SELECT COUNT(*) FROM t",
        "COMMIT",
        "SET TRANSACTION READ ONLY",
        "SELECT 1",
    ],
    &[
        "SET session_track_gtids = OWN_GTID",
        "INSERT INTO l VALUES (1, 'g')",
        "SELECT 1",
    ],
    &[
        "SET session_track_system_variables = '*'",
        "SET div_precision_increment = 7",
        "SET NAMES latin1",
        "SET @@session_track_system_variables = ''",
        "SET time_zone = '+01:00'",
    ],
    &["SET default_week_format = 3", "SELECT WEEK('2024-12-30')"],
    &[
        "SET block_encryption_mode = 'aes-256-ecb'",
        "SELECT HEX(AES_ENCRYPT('text', 'key'))",
    ],
    &[
        "SET default_tmp_storage_engine = MEMORY",
        "CREATE TEMPORARY TABLE te (a INT)",
        "SHOW CREATE TABLE te",
    ],
    &[
        "SET explicit_defaults_for_timestamp = 0",
        "SET max_sp_recursion_depth = 5",
        "SELECT @@max_sp_recursion_depth",
    ],
    &[
        "SET autocommit = 0",
        "INSERT INTO l VALUES (1, 'a')",
        "SET autocommit = 1",
        "ROLLBACK",
        "SELECT COUNT(*) FROM l",
    ],
    &[
        "SET character_set_results = NULL",
        "SELECT s FROM t WHERE id = 5",
        "SELECT _latin1 X'FC' AS a",
    ],
    &[
        "SET collation_connection = latin1_german2_ci",
        "SELECT 'ß' = 'ss', COLLATION('x')",
    ],
];

/// Settings that other statements show.
pub(super) fn with_effect(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let mut steps = queries(EFFECTS[dice.below(EFFECTS.len())]);
    steps.insert(1, Step::Pause);
    steps
}

/// Several in one statement, from expressions, wrong ones among them.
pub(super) fn several(dice: &mut Dice, _: &[Variable]) -> Vec<Step> {
    let set = dice.pick(&[
        "SET sql_mode = '', time_zone = '+01:00', autocommit = 1",
        "SET time_zone = '+02:00', no_such_variable = 1",
        "SET time_zone = '+02:00', sql_mode = 'NONSENSE'",
        "SET @a = 5, div_precision_increment = @a, @a = 6",
        "SET div_precision_increment = (SELECT COUNT(*) FROM t)",
        "SET @old = @@sql_mode, sql_mode = 'ANSI'",
        "SET sql_mode = @old",
        "SET group_concat_max_len = @@group_concat_max_len * 2",
        "SET NAMES latin1, @a = 'ü'",
        "SET time_zone = @b",
        "SET GLOBAL sort_buffer_size = 100000",
        "SET PERSIST sort_buffer_size = 100000",
        "SET max_allowed_packet = 1000",
        "SET SESSION TRANSACTION READ ONLY, @a = 1",
        "SET sort_buffer_size = 1",
        "SET sql_mode = DEFAULT, time_zone = DEFAULT, NAMES utf8mb4",
        "SELECT @@sql_mode INTO @old",
        "SET STATEMENT time_zone = '+01:00' FOR SELECT 1",
        "SELECT /*+ SET_VAR(time_zone = '+09:00') */ FROM_UNIXTIME(0), @@time_zone",
    ]);
    let after = dice.pick(&[
        "SELECT @@sql_mode, @@time_zone, @@div_precision_increment",
        "SELECT @a, @old, @@group_concat_max_len",
        "SHOW WARNINGS",
        "SELECT @@transaction_read_only, @@max_allowed_packet, @@sort_buffer_size",
    ]);
    let mut steps = queries(&[set, after]);
    if dice.percent(50) {
        steps.insert(1, Step::Pause);
    }
    steps
}
