//! Questions whose answers depend on what the session did before.

use crate::generated_sessions::dice::Dice;

const ALL: &[&str] = &[
    "SELECT ROW_COUNT()",
    "SELECT FOUND_ROWS()",
    "SELECT LAST_INSERT_ID()",
    "SELECT ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID()",
    "SHOW WARNINGS",
    "SHOW ERRORS",
    "SHOW COUNT(*) WARNINGS",
    "SELECT @@warning_count, @@error_count",
    "SELECT @a, @b, @c, @p, @trig",
    "SELECT @a",
    "SELECT DATABASE(), SCHEMA()",
    "SELECT CURRENT_USER(), USER(), CURRENT_ROLE()",
    "SELECT @@sql_mode, @@time_zone, @@autocommit",
    "SELECT @@character_set_client, @@character_set_connection, @@character_set_results, @@collation_connection",
    "SELECT @@transaction_isolation, @@transaction_read_only",
    "SELECT @@session.sql_select_limit, @@lc_time_names, @@div_precision_increment, @@group_concat_max_len",
    "SELECT * FROM t ORDER BY id",
    "SELECT id, s FROM t WHERE id = 3",
    "SELECT * FROM a ORDER BY id",
    "SELECT COUNT(*), MAX(n) FROM l",
    "SELECT * FROM v ORDER BY id LIMIT 3",
    "SELECT 'ü', HEX('ü'), CHARSET('x'), COLLATION('x')",
    "SELECT \"a\" AS a",
    "SELECT 'a\\'b' AS quoted",
    "SELECT 7/3, 1/0",
    "SELECT FROM_UNIXTIME(86400), UNIX_TIMESTAMP('2024-01-01')",
    "SELECT DATE_FORMAT('2024-03-05', '%M %W'), WEEK('2024-12-30')",
    "SELECT GROUP_CONCAT(s ORDER BY id) FROM t",
    "SELECT IS_FREE_LOCK('{s}_a'), IS_USED_LOCK('{s}_a') = CONNECTION_ID()",
    "SELECT CONNECTION_ID() = CONNECTION_ID()",
    "SHOW TABLES",
    "SHOW VARIABLES LIKE 'collation%'",
    "SHOW VARIABLES LIKE 'sql\\_%'",
    "SELECT 1 FROM DUAL WHERE 0",
    "DO 1",
    "SELECT 1 || 0, NOT 1 BETWEEN -5 AND 5",
    "INSERT INTO l VALUES (9, 'probe')",
    "UPDATE t SET v = 99 WHERE id = 5",
    "UPDATE t SET v = v WHERE id < 3",
    "SELECT statement_count FROM (SELECT 1 AS statement_count) x",
    "",
];

/// One of them.
pub(super) fn any(dice: &mut Dice) -> &'static str {
    ALL[dice.below(ALL.len())]
}
