//! The session variables that can be carried from one backend connection to another: which they are, how they are read in one
//! query, and the one SET that makes a connection's equal to a session's. Pure: asks no server.
//!
//! What is on neither list here is no session variable, or cannot be told apart (`SET GLOBAL` alone changes it).

use ahash::AHashMap;
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::sync::{Arc, Weak};

use xxhash_rust::xxh3::Xxh3;

/// Session variables that every account may set, whose value can be read and set again without another effect (found on 9.7.4
/// by setting each of its 628 variables; the last lines are MariaDB's own). In the order in which they are set: the character set
/// of the connection before its collation.
const CARRIED: &str = "sql_mode character_set_client character_set_results character_set_connection collation_connection \
    character_set_server collation_server time_zone autocommit transaction_isolation transaction_read_only tx_isolation \
    tx_read_only auto_increment_increment auto_increment_offset big_tables block_encryption_mode completion_type \
    cte_max_recursion_depth default_collation_for_utf8mb4 default_storage_engine default_table_encryption \
    default_tmp_storage_engine default_week_format div_precision_increment enable_cascade_triggers \
    enable_secondary_engine_statistics end_markers_in_json eq_range_index_dive_limit explain_format \
    explain_json_format_version explicit_defaults_for_timestamp external_table_secondary_storage_engine \
    external_table_storage_engine foreign_key_checks generated_random_password_length group_concat_max_len \
    group_replication_consistency information_schema_stats_expiry innodb_ddl_buffer_size innodb_ddl_threads \
    innodb_ft_enable_stopword innodb_ft_user_stopword_table innodb_lock_wait_timeout innodb_parallel_read_threads \
    innodb_table_locks interactive_timeout join_buffer_size keep_files_on_create lc_messages lc_time_names \
    lock_wait_timeout long_query_time max_execution_time max_heap_table_size max_join_size \
    max_points_in_geometry max_seeks_for_key max_sort_length max_sp_recursion_depth myisam_sort_buffer_size \
    myisam_stats_method net_retry_count old_alter_table optimizer_max_subgraph_pairs optimizer_prune_level \
    optimizer_search_depth optimizer_switch parser_max_mem_size print_identified_with_as_hex query_alloc_block_size \
    range_alloc_block_size range_optimizer_max_mem_size read_buffer_size read_rnd_buffer_size \
    restrict_fk_on_non_standard_key resultset_metadata secondary_engine_cost_threshold select_into_disk_sync \
    set_operations_buffer_size show_create_table_skip_secondary_engine show_create_table_verbosity \
    show_gipk_in_create_table_and_information_schema sort_buffer_size sql_auto_is_null sql_big_selects sql_buffer_result \
    sql_notes sql_quote_show_create sql_safe_updates sql_select_limit sql_warnings tmp_table_size \
    transaction_alloc_block_size transaction_allow_batching unique_checks \
    updatable_views_with_limit use_secondary_engine windowing_use_high_precision \
    max_statement_time max_recursive_iterations max_rowid_filter_size standard_compliant_cte system_versioning_asof \
    column_compression_threshold use_stat_tables histogram_size histogram_type optimizer_use_condition_selectivity \
    idle_transaction_timeout idle_write_transaction_timeout idle_readonly_transaction_timeout tmp_memory_table_size \
    eq_range_index_dive_limit join_cache_level mrr_buffer_size";

/// Session variables whose assignment holds a session to its connection: their value cannot be read or set again without
/// another effect (to read one that is deprecated leaves a warning), or needs a privilege. The server is asked to name them when they are assigned.
const HOLDING: &str = "timestamp insert_id rand_seed1 rand_seed2 pseudo_thread_id pseudo_replica_mode pseudo_slave_mode \
    gtid_next sql_log_bin sql_log_off profiling profiling_history_size optimizer_trace optimizer_trace_features \
    optimizer_trace_limit optimizer_trace_max_mem_size optimizer_trace_offset session_track_gtids session_track_schema \
    session_track_state_change session_track_system_variables session_track_transaction_info wait_timeout \
    net_read_timeout net_write_timeout rbr_exec_mode require_row_format binlog_direct_non_transactional_updates \
    binlog_format binlog_row_image binlog_row_value_options binlog_rows_query_log_events \
    binlog_transaction_compression binlog_transaction_compression_level_zstd bulk_insert_buffer_size \
    character_set_database collation_database character_set_filesystem connection_memory_chunk_size \
    connection_memory_limit global_connection_memory_tracking histogram_generation_max_mem_size immediate_server_version \
    innodb_strict_mode innodb_tmpdir internal_tmp_mem_storage_engine low_priority_updates max_delayed_threads \
    max_error_count max_insert_delayed_threads min_examined_row_limit original_commit_timestamp \
    original_server_version preload_buffer_size select_into_buffer_size select_into_disk_sync_delay \
    sql_generate_invisible_primary_key sql_require_primary_key xa_detach_on_prepare \
    debug debug_sync max_length_for_sort_data query_prealloc_size terminology_use_previous transaction_prealloc_size \
    gtid_domain_id gtid_seq_no server_id skip_replication last_gtid";

/// Variables that change another one when they are set; the other one is set behind them ([`CARRIED`] has them in this order).
const FOLLOWERS: [(&str, &str); 3] = [
    ("character_set_connection", "collation_connection"),
    ("character_set_server", "collation_server"),
    ("max_join_size", "sql_big_selects"),
];

/// What SET NAMES sets besides the character set of results.
const NAMED: [&str; 3] = [
    "character_set_client",
    "character_set_connection",
    "collation_connection",
];

/// Columns of the query before the variables: ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID(), DATABASE(), the server.
const LEADING: usize = 5;

/// Longer values than this are not carried.
const VALUE_BYTES_MAX: usize = 4096;

/// The carried variables of one server.
#[derive(Debug)]
pub struct Variables {
    names: Box<[&'static str]>,
    read_sql: String,
    read_more_sql: String,
    track_sql: String,
    tells_gtids: bool,
    /// Values that sessions have now.
    known: Mutex<AHashMap<u128, Weak<Values>>>,
}

/// Different sets of values that are looked for when the next one comes; those beyond have a copy each.
const KNOWN_MAX: usize = 1_024;

/// Values of the carried variables of one session. Equal values have equal hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    values: Box<[Option<Box<str>>]>,
    /// Names them all.
    pub hash: u128,
}

/// What one query tells of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// ROW_COUNT() of the statement before the query.
    pub row_count: i64,
    /// FOUND_ROWS() of the statement before the query.
    pub found_rows: u64,
    /// LAST_INSERT_ID().
    pub last_insert_id: u64,
    /// The default schema; `None` when none is chosen.
    pub schema: Option<Box<str>>,
    /// The server's name for itself; empty where it has none.
    pub server: Box<str>,
    /// The variables.
    pub values: Arc<Values>,
}

impl PartialEq for Variables {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
            && self.read_sql == other.read_sql
            && self.track_sql == other.track_sql
            && self.tells_gtids == other.tells_gtids
    }
}

impl Variables {
    /// Those of a server that has variables of these names.
    pub fn of<'a>(existing: impl Iterator<Item = &'a str>) -> Self {
        let existing: std::collections::HashSet<String> =
            existing.map(str::to_ascii_lowercase).collect();
        let listed = |list: &'static str| {
            let there = list
                .split_ascii_whitespace()
                .filter(|name| existing.contains(*name));
            let mut names: Vec<&'static str> = Vec::new();
            there.for_each(|name| {
                if !names.contains(&name) {
                    names.push(name);
                }
            });
            names
        };
        let names = listed(CARRIED);
        let server = match existing.contains("server_uuid") {
            true => "@@server_uuid",
            false => "@@hostname",
        };
        let mut rest = format!("LAST_INSERT_ID(),DATABASE(),{server}");
        names.iter().for_each(|name| {
            let _infallible = write!(rest, ",@@{name}");
        });
        let track_sql = format!(
            "session_track_system_variables=CONCAT(@@GLOBAL.session_track_system_variables,',{}'),session_track_state_change=1",
            listed(HOLDING).join(",")
        );
        Self {
            names: names.into(),
            read_sql: format!("SELECT 0,0,{rest}"),
            read_more_sql: format!("SELECT ROW_COUNT(),FOUND_ROWS(),{rest}"),
            track_sql,
            tells_gtids: false,
            known: Mutex::default(),
        }
    }

    /// The same of a server that numbers its transactions, and tells who commits which number if asked to.
    pub fn with_gtids(self) -> Self {
        Self {
            tells_gtids: true,
            ..self
        }
    }

    /// Whether the server tells a session the GTIDs of its commits, and tells nobody who does not ask.
    pub fn tells_gtids(&self) -> bool {
        self.tells_gtids
    }

    /// The query that [`snapshot`](Self::snapshot) reads; with what the statement before it counted and found (and with a
    /// warning, since FOUND_ROWS() is deprecated), or with zeros in that place.
    pub fn read_sql(&self, with_rows: bool) -> &str {
        match with_rows {
            true => &self.read_more_sql,
            false => &self.read_sql,
        }
    }

    /// The assignments of a SET that make the server report what we must know.
    pub fn track_sql(&self) -> &str {
        &self.track_sql
    }

    /// Reads the one row of [`read_sql`](Self::read_sql). `None`: something in it cannot be carried exactly.
    pub fn snapshot(&self, row: &[Option<Vec<u8>>]) -> Option<Snapshot> {
        if row.len() != LEADING + self.names.len() {
            return None;
        }
        let text = |at: usize| match row.get(at)? {
            None => Some(None),
            Some(bytes) => plain(bytes).map(Some),
        };
        let number = |at: usize| text(at)??.parse::<u64>().ok();
        let row_count = text(0)??.parse().ok()?;
        let (found_rows, last_insert_id) = (number(1)?, number(2)?);
        let schema = text(3)?.map(Box::from);
        let server = text(4)?.unwrap_or_default().into();
        let mut hasher = Xxh3::new();
        let mut values = Vec::with_capacity(self.names.len());
        for at in LEADING..row.len() {
            let value = text(at)?;
            add(&mut hasher, value);
            values.push(value);
        }
        Some(Snapshot {
            row_count,
            found_rows,
            last_insert_id,
            schema,
            server,
            values: self.shared(&values, hasher.digest128()),
        })
    }

    /// The values of a session on a server with other variables, as this one has them: what it does not have is left out, and what
    /// the other one does not have stays as it is here.
    pub fn translate(&self, here: &Values, other: &Self, values: &Values) -> Values {
        let value = |(name, here): (&&'static str, &Option<Box<str>>)| match other
            .names
            .iter()
            .position(|known| known == name)
        {
            Some(at) => values.values.get(at).cloned().flatten(),
            None => here.clone(),
        };
        let values: Box<[_]> = self.names.iter().zip(&here.values).map(value).collect();
        let mut hasher = Xxh3::new();
        values
            .iter()
            .for_each(|value| add(&mut hasher, value.as_deref()));
        Values {
            values,
            hash: hasher.digest128(),
        }
    }

    /// The same values as another session has them, if one has: most sessions are set alike, and thousands of them may be idle.
    fn shared(&self, values: &[Option<&str>], hash: u128) -> Arc<Values> {
        let mut known = self.known.lock();
        if let Some(found) = known.get(&hash).and_then(Weak::upgrade) {
            return found;
        }
        let values = Arc::new(Values {
            values: values.iter().map(|value| value.map(Box::from)).collect(),
            hash,
        });
        if known.len() >= KNOWN_MAX {
            known.retain(|_, values| values.strong_count() > 0);
        }
        if known.len() < KNOWN_MAX {
            known.insert(hash, Arc::downgrade(&values));
        }
        values
    }

    /// The assignments of a SET that turns `from` into `to`; empty when they are equal. `renamed`: a SET NAMES stands before them.
    pub fn difference(&self, from: &Values, to: &Values, renamed: bool) -> String {
        let mut sql = String::new();
        if from.hash == to.hash && !renamed {
            return sql;
        }
        let differs = |name: &str| self.value(from, name) != self.value(to, name);
        // Setting the first of these changes the second, too.
        let follows = |name: &str| {
            FOLLOWERS
                .iter()
                .any(|(first, second)| *second == name && differs(first))
        };
        for ((name, from), to) in self.names.iter().zip(&from.values).zip(&to.values) {
            let is_renamed = renamed
                && (NAMED.contains(name) || *name == "character_set_results" && to.is_none());
            let is_done = renamed && *name == "character_set_results" && to.is_some();
            if is_done || from == to && !follows(name) && !is_renamed {
                continue;
            }
            let comma = if sql.is_empty() { "" } else { "," };
            let _infallible = match to {
                None => write!(sql, "{comma}{name}=NULL"),
                Some(value) if is_number(value) => write!(sql, "{comma}{name}={value}"),
                Some(value) => write!(sql, "{comma}{name}='{value}'"),
            };
        }
        sql
    }

    fn value<'v>(&self, values: &'v Values, name: &str) -> Option<&'v str> {
        let at = self.names.iter().position(|known| *known == name)?;
        values.values.get(at)?.as_deref()
    }
}

fn add(hasher: &mut Xxh3, value: Option<&str>) {
    hasher.update(&[u8::from(value.is_some())]);
    hasher.update(value.unwrap_or_default().as_bytes());
    hasher.update(&[0]);
}

/// Whether the server names a variable for our sake alone: nobody else asked for it.
pub fn is_holding(name: &[u8]) -> bool {
    HOLDING
        .split_ascii_whitespace()
        .any(|known| known.as_bytes() == name)
}

/// A value that can stand between quotes as it is: visible ASCII without quote and backslash.
fn plain(bytes: &[u8]) -> Option<&str> {
    let plain = bytes.len() <= VALUE_BYTES_MAX
        && bytes
            .iter()
            .all(|b| (b.is_ascii_graphic() || *b == b' ') && !matches!(b, b'\'' | b'\\' | b'`'));
    std::str::from_utf8(bytes).ok().filter(|_| plain)
}

fn is_number(value: &str) -> bool {
    let digits = value.strip_prefix('-').unwrap_or(value);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && digits.bytes().filter(|b| *b == b'.').count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        Variables::of(
            [
                "sql_mode",
                "server_uuid",
                "character_set_connection",
                "collation_connection",
                "div_precision_increment",
                "timestamp",
                "port",
            ]
            .into_iter(),
        )
    }

    fn snapshot(values: [Option<&str>; 4]) -> Option<Snapshot> {
        let leading = [
            Some("-1"),
            Some("3"),
            Some("18446744073709551615"),
            None,
            Some("uuid"),
        ];
        let row: Vec<_> = leading
            .into_iter()
            .chain(values)
            .map(|value| value.map(|text| text.as_bytes().to_vec()))
            .collect();
        variables().snapshot(&row)
    }

    #[test]
    fn only_what_the_server_has_is_read_and_tracked() {
        let sql = variables();
        assert_eq!(
            sql.read_sql(true),
            "SELECT ROW_COUNT(),FOUND_ROWS(),LAST_INSERT_ID(),DATABASE(),@@server_uuid,@@sql_mode,@@character_set_connection,\
             @@collation_connection,@@div_precision_increment"
        );
        assert!(sql.track_sql().contains(",',timestamp')"));
    }

    #[test]
    fn sessions_that_are_set_alike_share_one_copy() {
        let variables = variables();
        let of = |mode| {
            let row = [
                Some("0"),
                Some("0"),
                Some("0"),
                None,
                Some("uuid"),
                Some(mode),
            ];
            let row = row.into_iter().chain([None; 3]);
            let row: Vec<_> = row.map(|v| v.map(|v| v.as_bytes().to_vec())).collect();
            variables.snapshot(&row).expect("plain").values
        };
        let (one, two, other) = (of("ANSI"), of("ANSI"), of(""));
        assert!(Arc::ptr_eq(&one, &two) && !Arc::ptr_eq(&one, &other));
        drop((one, two));
        assert_eq!(of("ANSI").hash, of("ANSI").hash);
    }

    #[test]
    fn a_difference_is_what_must_be_set() {
        let of = |values| snapshot(values).expect("plain").values;
        let a = of([Some("ANSI"), Some("latin1"), Some("latin1_bin"), Some("4")]);
        let b = of([Some(""), Some("utf8mb4"), Some("latin1_bin"), Some("9")]);
        let v = variables();
        assert_eq!(v.difference(&a, &a, false), "");
        assert_eq!(
            v.difference(&a, &a, true),
            "character_set_connection='latin1',collation_connection='latin1_bin'"
        );
        assert_eq!(
            v.difference(&a, &b, false),
            "sql_mode='',character_set_connection='utf8mb4',collation_connection='latin1_bin',div_precision_increment=9"
        );
        assert_ne!(a.hash, b.hash);
        assert_eq!(v.translate(&a, &v, &b), *b);
        let fewer = Variables::of(["div_precision_increment"].into_iter());
        let nine = fewer.snapshot(&["0", "0", "0", "s", "u", "9"].map(|text| Some(text.into())));
        let nine = nine.expect("plain").values;
        assert_eq!(
            v.difference(&a, &v.translate(&a, &fewer, &nine), false),
            "div_precision_increment=9"
        );
        let null = of([None, Some("latin1"), Some("latin1_bin"), Some("4")]);
        assert_eq!(v.difference(&a, &null, false), "sql_mode=NULL");
        let empty = of([Some(""), Some("latin1"), Some("latin1_bin"), Some("4")]);
        assert_ne!(null.hash, empty.hash);
    }

    #[test]
    fn what_cannot_be_quoted_is_not_carried() {
        assert!(snapshot([Some("a'b"), None, None, None]).is_none());
        assert!(snapshot([Some("\u{e9}"), None, None, None]).is_none());
        assert!(variables().snapshot(&[]).is_none());
        let found = snapshot([Some("x"), None, None, Some("4")]).expect("plain");
        assert_eq!((found.found_rows, found.last_insert_id), (3, u64::MAX));
        assert_eq!(found.schema, None);
    }

    #[test]
    fn numbers_are_not_quoted() {
        for (text, number) in [
            ("12", true),
            ("-1", true),
            ("10.000000", true),
            ("1.2.3", false),
            ("+00:00", false),
            ("", false),
            ("-", false),
        ] {
            assert_eq!(is_number(text), number, "{text}");
        }
    }

    #[test]
    fn no_variable_is_on_both_lists() {
        for name in CARRIED.split_ascii_whitespace() {
            assert!(!is_holding(name.as_bytes()), "{name}");
        }
    }
}
