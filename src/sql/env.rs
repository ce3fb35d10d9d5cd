//! The session variables that can change a byte of an answer: one query that reads them, one value that holds them.
//! Never asks a server itself, and never guesses a value that it was not given.
//!
//! Not readable by any query, so whoever sees them set must stop answering from elsewhere: `timestamp`, `rand_seed1`,
//! `rand_seed2`, `insert_id`, user variables.

use std::fmt::Write as _;

use xxhash_rust::xxh3::Xxh3;

/// Reads the environment on MySQL 8.0 or later. One row; hand it to [`SessionEnv::from_row`].
pub const SELECT_SQL: &str = "SELECT DATABASE(),CURRENT_USER(),CURRENT_ROLE(),@@sql_mode,@@time_zone,\
@@character_set_client,@@character_set_connection,@@collation_connection,@@character_set_results,\
@@div_precision_increment,@@group_concat_max_len,@@default_week_format,@@lc_time_names,@@sql_select_limit,\
@@max_join_size,@@sql_big_selects,@@windowing_use_high_precision,@@autocommit,@@transaction_isolation,\
@@sql_auto_is_null,@@max_sort_length,@@max_allowed_packet,@@lc_messages,@@sql_notes,@@max_error_count,\
@@block_encryption_mode,@@optimizer_switch,@@resultset_metadata,@@use_secondary_engine,@@max_execution_time,\
@@cte_max_recursion_depth,@@default_collation_for_utf8mb4,@@max_points_in_geometry,@@range_optimizer_max_mem_size,\
@@sql_buffer_result,@@parser_max_mem_size,@@server_uuid";

/// Reads the environment on MariaDB 10.6 or later: the same columns, NULL where MariaDB has no such variable.
pub const SELECT_SQL_MARIADB: &str = "SELECT DATABASE(),CURRENT_USER(),CURRENT_ROLE(),@@sql_mode,@@time_zone,\
@@character_set_client,@@character_set_connection,@@collation_connection,@@character_set_results,\
@@div_precision_increment,@@group_concat_max_len,@@default_week_format,@@lc_time_names,@@sql_select_limit,\
@@max_join_size,@@sql_big_selects,NULL,@@autocommit,@@tx_isolation,\
@@sql_auto_is_null,@@max_sort_length,@@max_allowed_packet,@@lc_messages,@@sql_notes,@@max_error_count,\
NULL,@@optimizer_switch,NULL,NULL,@@max_statement_time,\
@@max_recursive_iterations,NULL,NULL,NULL,@@sql_buffer_result,NULL,NULL";

/// Columns of the environment query.
pub const COLUMNS: usize = 37;

/// The one `sql_mode` in which statements are rewritten: the server's default of 8.0 to 9.7.
pub const DEFAULT_SQL_MODE: &str = "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,\
ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION";

/// Client character sets in which an ASCII byte is always that ASCII character, so that spans of a statement can be moved
/// into another one. (In gbk or sjis the second byte of a character can be a backslash.)
const SAFE_CHARACTER_SETS: [&str; 5] = ["utf8mb4", "utf8mb3", "utf8", "latin1", "ascii"];

/// A row of the environment query that is not what the query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// Another number of columns.
    #[error("the environment row has {0} columns")]
    Columns(usize),
    /// A value that is not UTF-8: names and modes could not be told apart, so nothing may depend on it.
    #[error("column {0} of the environment row is not UTF-8")]
    NotUtf8(usize),
    /// NULL where the server never has NULL.
    #[error("column {0} of the environment row is NULL")]
    Null(usize),
}

/// Why a session's environment rules out rewriting. The labels are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EnvRefusal {
    /// `sql_mode` is not the server's default.
    SqlMode,
    /// `character_set_client` or `character_set_connection` is not known to be safe for moving spans.
    CharacterSet,
    /// `div_precision_increment` is not 4.
    DivPrecisionIncrement,
    /// `default_week_format` is not 0.
    DefaultWeekFormat,
    /// `lc_time_names` is not en_US.
    LcTimeNames,
    /// `sql_select_limit` is set.
    SelectLimit,
    /// `max_join_size` is set or `sql_big_selects` is off.
    JoinLimit,
    /// `autocommit` is off.
    Autocommit,
    /// Neither REPEATABLE READ nor READ COMMITTED.
    Isolation,
    /// `windowing_use_high_precision`, `sql_auto_is_null`, `max_sort_length` or `resultset_metadata` is not the default, or
    /// `range_optimizer_max_mem_size` is below it.
    OtherVariable,
}

impl EnvRefusal {
    /// The stable name of the rule, for metrics and admin tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::SqlMode => "env_sql_mode",
            Self::CharacterSet => "env_character_set",
            Self::DivPrecisionIncrement => "env_div_precision_increment",
            Self::DefaultWeekFormat => "env_default_week_format",
            Self::LcTimeNames => "env_lc_time_names",
            Self::SelectLimit => "env_sql_select_limit",
            Self::JoinLimit => "env_join_limit",
            Self::Autocommit => "env_autocommit",
            Self::Isolation => "env_isolation",
            Self::OtherVariable => "env_other_variable",
        }
    }
}

/// Everything in a session that can change a byte of an answer. Equal values give equal answers to the same statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEnv {
    /// Default schema, `None` when none is chosen.
    pub schema: Option<String>,
    /// `CURRENT_USER()`: the account, not what the client typed.
    pub user: String,
    /// `CURRENT_ROLE()`: the roles in force.
    pub roles: String,
    /// `sql_mode`.
    pub sql_mode: String,
    /// `time_zone`.
    pub time_zone: String,
    /// `character_set_client`.
    pub character_set_client: String,
    /// `character_set_connection`.
    pub character_set_connection: String,
    /// `collation_connection`.
    pub collation_connection: String,
    /// `character_set_results`; `None` means results are not converted.
    pub character_set_results: Option<String>,
    /// The other variables in the order of the query, from `div_precision_increment` on.
    others: Vec<Option<String>>,
    /// A hash of all of the above, so that a cache key need not hash them again.
    fingerprint: u128,
}

/// Column of the first variable kept in `others`.
const OTHERS_FROM: usize = 9;

/// Names of the variables kept in `others`, in order; the ones that [`SessionEnv::mirror_sql`] sets are marked.
const OTHERS: [(&str, bool); COLUMNS - OTHERS_FROM] = [
    ("div_precision_increment", true),
    ("group_concat_max_len", true),
    ("default_week_format", true),
    ("lc_time_names", true),
    ("sql_select_limit", true),
    ("max_join_size", true),
    ("sql_big_selects", true),
    ("windowing_use_high_precision", true),
    ("autocommit", true),
    ("transaction_isolation", true),
    ("sql_auto_is_null", true),
    ("max_sort_length", true),
    ("max_allowed_packet", false),
    ("lc_messages", true),
    ("sql_notes", true),
    // Changes only how many warnings are listed; setting it takes a privilege that our own user need not have.
    ("max_error_count", false),
    ("block_encryption_mode", false),
    ("optimizer_switch", false),
    ("resultset_metadata", false),
    ("use_secondary_engine", false),
    ("max_execution_time", false),
    ("cte_max_recursion_depth", false),
    ("default_collation_for_utf8mb4", false),
    // Three that can fail a statement or give it a warning, and one that changes how its columns are described.
    ("max_points_in_geometry", false),
    ("range_optimizer_max_mem_size", false),
    ("sql_buffer_result", false),
    ("parser_max_mem_size", false),
    // Not of the session: which server it is connected to. Behind one address there may be another one now.
    ("server_uuid", false),
];

impl SessionEnv {
    /// Makes the environment from the one row of [`SELECT_SQL`] (or its MariaDB form), values as text.
    ///
    /// # Errors
    /// When the row does not have the query's shape or a value cannot be read exactly; the environment is then unknown.
    pub fn from_row(row: &[Option<Vec<u8>>]) -> Result<Self, EnvError> {
        if row.len() != COLUMNS {
            return Err(EnvError::Columns(row.len()));
        }
        let mut hasher = Xxh3::new();
        let mut values: Vec<Option<String>> = Vec::with_capacity(COLUMNS);
        for (at, value) in row.iter().enumerate() {
            match value {
                None => hasher.update(&[0]),
                Some(bytes) => {
                    hasher.update(&[1]);
                    hasher.update(&(bytes.len() as u64).to_le_bytes());
                    hasher.update(bytes);
                }
            }
            let text = match value {
                None => None,
                Some(bytes) => Some(
                    String::from_utf8(bytes.clone()).map_err(|_not_utf8| EnvError::NotUtf8(at))?,
                ),
            };
            values.push(text);
        }
        let others = values.split_off(OTHERS_FROM);
        let mut values = values.into_iter().enumerate();
        let mut next = || values.next().and_then(|(_, value)| value);
        let schema = next();
        let user = next().ok_or(EnvError::Null(1))?;
        // MySQL says 'NONE' without roles, MariaDB NULL.
        let roles = next().unwrap_or_default();
        Ok(Self {
            schema,
            user,
            roles,
            sql_mode: next().ok_or(EnvError::Null(3))?,
            time_zone: next().ok_or(EnvError::Null(4))?,
            character_set_client: next().ok_or(EnvError::Null(5))?,
            character_set_connection: next().ok_or(EnvError::Null(6))?,
            collation_connection: next().ok_or(EnvError::Null(7))?,
            character_set_results: next(),
            others,
            fingerprint: hasher.digest128(),
        })
    }

    /// A 128-bit hash of every value: equal environments have equal fingerprints.
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// The value of one of the variables that have no field of their own, e.g. `"div_precision_increment"`.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let at = OTHERS.iter().position(|(known, _)| *known == name)?;
        self.others.get(at)?.as_deref()
    }

    /// Whether a statement of this session may be rewritten at all: every variable that expressions of the accepted kind
    /// can depend on has the value for which the rewrites were measured.
    ///
    /// # Errors
    /// The first rule that is not met.
    pub fn is_default_enough(&self) -> Result<(), EnvRefusal> {
        const UNLIMITED: &str = "18446744073709551615";
        let is = |name: &str, wanted: &str| self.variable(name) == Some(wanted);
        let safe = |name: &str| SAFE_CHARACTER_SETS.contains(&name);
        let rules = [
            (self.sql_mode == DEFAULT_SQL_MODE, EnvRefusal::SqlMode),
            (
                safe(&self.character_set_client) && safe(&self.character_set_connection),
                EnvRefusal::CharacterSet,
            ),
            (
                is("div_precision_increment", "4"),
                EnvRefusal::DivPrecisionIncrement,
            ),
            (
                is("default_week_format", "0"),
                EnvRefusal::DefaultWeekFormat,
            ),
            (is("lc_time_names", "en_US"), EnvRefusal::LcTimeNames),
            (is("sql_select_limit", UNLIMITED), EnvRefusal::SelectLimit),
            (
                is("max_join_size", UNLIMITED) && is("sql_big_selects", "1"),
                EnvRefusal::JoinLimit,
            ),
            (is("autocommit", "1"), EnvRefusal::Autocommit),
            (
                is("transaction_isolation", "REPEATABLE-READ")
                    || is("transaction_isolation", "READ-COMMITTED"),
                EnvRefusal::Isolation,
            ),
            (
                is("windowing_use_high_precision", "1")
                    && is("sql_auto_is_null", "0")
                    && is("max_sort_length", "1024")
                    && is("resultset_metadata", "FULL")
                    && self.has_range_memory(),
                EnvRefusal::OtherVariable,
            ),
        ];
        rules
            .into_iter()
            .find(|(met, _)| !met)
            .map_or(Ok(()), |(_, refusal)| Err(refusal))
    }

    /// Whether ranges have the memory that they have by default: with less a base table warns where a view does not.
    fn has_range_memory(&self) -> bool {
        const DEFAULT_BYTES: u64 = 8 << 20;
        let bytes = self
            .variable("range_optimizer_max_mem_size")
            .and_then(|bytes| bytes.parse().ok());
        matches!(bytes, Some(0 | DEFAULT_BYTES..))
    }

    /// One SET statement that gives another connection to the same server the same environment, as far as a rewritten
    /// SELECT can depend on it. Schema, user and roles are not set. `None` when a value cannot be written safely.
    pub fn mirror_sql(&self) -> Option<String> {
        let mut sql = format!(
            "SET sql_mode={},time_zone={},character_set_client={},character_set_connection={},collation_connection={},\
             character_set_results={}",
            quoted(&self.sql_mode)?,
            quoted(&self.time_zone)?,
            quoted(&self.character_set_client)?,
            quoted(&self.character_set_connection)?,
            quoted(&self.collation_connection)?,
            match &self.character_set_results {
                Some(name) => quoted(name)?,
                None => "NULL".to_owned(),
            }
        );
        for ((name, mirrored), value) in OTHERS.iter().zip(&self.others) {
            if !mirrored {
                continue;
            }
            let Some(value) = value else { continue };
            let text = if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
                value.clone()
            } else {
                quoted(value)?
            };
            let _infallible = write!(sql, ",{name}={text}");
        }
        Some(sql)
    }
}

/// A value in single quotes; `None` for one that would need escaping, which no value of these variables does.
fn quoted(value: &str) -> Option<String> {
    let plain = value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\'' && byte != b'\\' || byte == b' ');
    plain.then(|| format!("'{value}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row as a fresh 9.7 session gives it.
    fn row() -> Vec<Option<Vec<u8>>> {
        [
            Some("shop"),
            Some("app@%"),
            Some("NONE"),
            Some(DEFAULT_SQL_MODE),
            Some("SYSTEM"),
            Some("utf8mb4"),
            Some("utf8mb4"),
            Some("utf8mb4_0900_ai_ci"),
            Some("utf8mb4"),
            Some("4"),
            Some("1024"),
            Some("0"),
            Some("en_US"),
            Some("18446744073709551615"),
            Some("18446744073709551615"),
            Some("1"),
            Some("1"),
            Some("1"),
            Some("REPEATABLE-READ"),
            Some("0"),
            Some("1024"),
            Some("67108864"),
            Some("en_US"),
            Some("1"),
            Some("1024"),
            Some("aes-128-ecb"),
            Some("index_merge=on"),
            Some("FULL"),
            Some("ON"),
            Some("0"),
            Some("1000"),
            Some("utf8mb4_0900_ai_ci"),
            Some("65536"),
            Some("8388608"),
            Some("0"),
            Some("18446744073709551615"),
            Some("3d27f50a-e4ae-11f1-845f-02fc00000001"),
        ]
        .map(|value| value.map(|text| text.as_bytes().to_vec()))
        .to_vec()
    }

    fn with(at: usize, value: Option<&str>) -> SessionEnv {
        let mut row = row();
        row[at] = value.map(|text| text.as_bytes().to_vec());
        SessionEnv::from_row(&row).unwrap()
    }

    #[test]
    fn queries_have_the_declared_columns() {
        for sql in [SELECT_SQL, SELECT_SQL_MARIADB] {
            assert_eq!(sql.split(',').count(), COLUMNS);
            assert!(!sql.contains('\n'));
        }
        for ((name, _), item) in OTHERS.iter().zip(SELECT_SQL.split(',').skip(OTHERS_FROM)) {
            assert_eq!(item, format!("@@{name}"));
        }
    }

    #[test]
    fn a_fresh_session_is_default_enough() {
        let env = SessionEnv::from_row(&row()).unwrap();
        assert_eq!(env.schema.as_deref(), Some("shop"));
        assert_eq!(env.character_set_results.as_deref(), Some("utf8mb4"));
        assert_eq!(env.is_default_enough(), Ok(()));
    }

    #[test]
    fn each_rule_refuses_by_its_name() {
        for (at, value, label) in [
            (3, "ANSI_QUOTES", "env_sql_mode"),
            (5, "gbk", "env_character_set"),
            (6, "sjis", "env_character_set"),
            (9, "8", "env_div_precision_increment"),
            (11, "1", "env_default_week_format"),
            (12, "de_DE", "env_lc_time_names"),
            (13, "10", "env_sql_select_limit"),
            (14, "1000", "env_join_limit"),
            (15, "0", "env_join_limit"),
            (16, "0", "env_other_variable"),
            (17, "0", "env_autocommit"),
            (18, "SERIALIZABLE", "env_isolation"),
            (18, "READ-UNCOMMITTED", "env_isolation"),
            (19, "1", "env_other_variable"),
            (20, "4", "env_other_variable"),
            (27, "NONE", "env_other_variable"),
            (33, "8388607", "env_other_variable"),
        ] {
            let refusal = with(at, Some(value)).is_default_enough().unwrap_err();
            assert_eq!(refusal.label(), label, "{at} {value}");
        }
        for (at, value) in [(18, "READ-COMMITTED"), (33, "0"), (33, "16777216")] {
            assert_eq!(with(at, Some(value)).is_default_enough(), Ok(()));
        }
    }

    #[test]
    fn every_value_counts_in_the_fingerprint() {
        let whole = SessionEnv::from_row(&row()).unwrap().fingerprint();
        for at in 0..COLUMNS {
            assert_ne!(with(at, Some("x")).fingerprint(), whole, "{at}");
        }
        assert_ne!(with(0, None).fingerprint(), with(0, Some("")).fingerprint());
    }

    #[test]
    fn bad_rows_are_errors() {
        assert_eq!(SessionEnv::from_row(&[]), Err(EnvError::Columns(0)));
        let mut bad = row();
        bad[0] = Some(vec![0xe9]);
        assert_eq!(SessionEnv::from_row(&bad), Err(EnvError::NotUtf8(0)));
        bad[0] = None;
        bad[1] = None;
        assert_eq!(SessionEnv::from_row(&bad), Err(EnvError::Null(1)));
    }

    #[test]
    fn the_mirror_sets_what_a_select_can_see() {
        let sql = SessionEnv::from_row(&row()).unwrap().mirror_sql().unwrap();
        assert!(sql.starts_with("SET sql_mode='ONLY_FULL_GROUP_BY,"));
        assert!(sql.contains(",collation_connection='utf8mb4_0900_ai_ci',"));
        assert!(sql.contains(",div_precision_increment=4,"));
        assert!(!sql.contains("max_allowed_packet"));
        let unconverted = with(8, None).mirror_sql().unwrap();
        assert!(unconverted.contains("character_set_results=NULL"));
        assert_eq!(with(4, Some("a'b")).mirror_sql(), None);
    }
}
