//! Which session variables an ordinary user may set, and to what: asked of the server at the start of a run, by trying.

use std::time::Duration;

use super::client::{Client, Expect, lenenc};
use super::program::Identity;
use super::{play::PASSWORD, stage::USERS};
use crate::support::MySql;

const DEPRECATE_EOF: u32 = 0x0100_0000;

/// A variable and the values that the server took for it, as SQL.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub name: String,
    pub values: Vec<String>,
}

/// Values for variables whose kind their present value does not tell, or where most values would end or stop a session.
const VALUES: &[(&str, &[&str])] = &[
    (
        "sql_mode",
        &[
            "''",
            "'ANSI_QUOTES'",
            "'NO_BACKSLASH_ESCAPES'",
            "'STRICT_TRANS_TABLES'",
            "'ANSI'",
            "'TRADITIONAL'",
            "'PIPES_AS_CONCAT,IGNORE_SPACE'",
            "'NO_UNSIGNED_SUBTRACTION'",
            "'PAD_CHAR_TO_FULL_LENGTH'",
            "'ERROR_FOR_DIVISION_BY_ZERO'",
            "'HIGH_NOT_PRECEDENCE'",
            "'REAL_AS_FLOAT'",
            "'NO_ZERO_DATE,NO_ZERO_IN_DATE'",
            "'TIME_TRUNCATE_FRACTIONAL'",
            "'ONLY_FULL_GROUP_BY,NO_AUTO_VALUE_ON_ZERO'",
            "1411",
            "CONCAT(@@sql_mode, ',ANSI_QUOTES')",
        ],
    ),
    (
        "time_zone",
        &["'+00:00'", "'-05:30'", "'+14:00'", "'SYSTEM'"],
    ),
    (
        "character_set_client",
        &[
            "utf8mb4", "latin1", "utf8mb3", "gbk", "cp1251", "'ascii'", "binary",
        ],
    ),
    (
        "character_set_results",
        &[
            "utf8mb4", "latin1", "NULL", "ucs2", "cp1251", "binary", "utf16",
        ],
    ),
    (
        "character_set_connection",
        &["utf8mb4", "latin1", "ucs2", "cp1251", "binary"],
    ),
    (
        "collation_connection",
        &[
            "utf8mb4_bin",
            "latin1_german2_ci",
            "utf8mb4_0900_as_cs",
            "latin1_bin",
            "utf8mb4_unicode_ci",
            "binary",
        ],
    ),
    ("character_set_database", &["latin1", "utf8mb4"]),
    ("collation_database", &["latin1_bin", "utf8mb4_bin"]),
    ("character_set_server", &["latin1", "utf8mb4"]),
    ("collation_server", &["latin1_bin", "utf8mb4_0900_ai_ci"]),
    ("character_set_filesystem", &["binary", "latin1"]),
    (
        "lc_time_names",
        &["'de_DE'", "'fr_FR'", "'en_US'", "'ja_JP'"],
    ),
    ("lc_messages", &["'de_DE'", "'fr_FR'", "'en_US'"]),
    (
        "transaction_isolation",
        &[
            "'READ-COMMITTED'",
            "'REPEATABLE-READ'",
            "'SERIALIZABLE'",
            "'READ-UNCOMMITTED'",
        ],
    ),
    (
        "sql_select_limit",
        &["1", "2", "1000", "18446744073709551615"],
    ),
    ("timestamp", &["1700000000", "1.5", "1700000000.123456"]),
    ("insert_id", &["50", "7777"]),
    ("last_insert_id", &["11", "4000000000"]),
    ("identity", &["12", "0"]),
    ("rand_seed1", &["5", "99"]),
    ("rand_seed2", &["7", "12345"]),
    ("div_precision_increment", &["0", "2", "9", "30"]),
    ("group_concat_max_len", &["4", "10", "65536"]),
    ("max_execution_time", &["0", "100000"]),
    ("max_join_size", &["1000", "18446744073709551615"]),
    ("long_query_time", &["10", "0", "100.5"]),
    ("session_track_schema", &["ON", "OFF"]),
    ("session_track_state_change", &["ON", "OFF"]),
    (
        "session_track_system_variables",
        &[
            "'*'",
            "''",
            "'sql_mode,time_zone'",
            "'autocommit'",
            "'character_set_client,lc_time_names'",
        ],
    ),
    ("session_track_gtids", &["OFF", "OWN_GTID", "ALL_GTIDS"]),
    (
        "session_track_transaction_info",
        &["OFF", "STATE", "CHARACTERISTICS"],
    ),
    ("default_storage_engine", &["InnoDB", "MEMORY"]),
    ("default_tmp_storage_engine", &["InnoDB", "MEMORY"]),
    ("completion_type", &["NO_CHAIN", "CHAIN", "0", "1"]),
    ("binlog_row_image", &["full", "minimal"]),
    ("use_secondary_engine", &["OFF", "ON"]),
    ("explain_format", &["TRADITIONAL", "TREE", "JSON"]),
    (
        "optimizer_switch",
        &["'mrr=off'", "'index_merge=off,semijoin=off'", "'default'"],
    ),
    ("optimizer_trace", &["'enabled=off'", "'enabled=on'"]),
    ("block_encryption_mode", &["'aes-256-cbc'", "'aes-128-ecb'"]),
    ("default_week_format", &["0", "3", "7"]),
    ("updatable_views_with_limit", &["YES", "NO"]),
    ("select_into_buffer_size", &["131072"]),
    // What its warning says depends on the sessions beside.
    ("enable_cascade_triggers", &[]),
    ("debug_sync", &[]),
    ("pseudo_thread_id", &[]),
];

/// Every variable that can be set, with at least one value other than DEFAULT.
pub(super) fn discover(server: &MySql) -> Vec<Variable> {
    let identity = Identity {
        user: USERS[0].to_owned(),
        collation: 45,
        schema: String::new(),
    };
    let login = || {
        let patience = Duration::from_secs(60);
        let login = Client::login(server.port, &identity, PASSWORD, DEPRECATE_EOF, patience);
        login.0.expect("an ordinary user logs in")
    };
    let mut client = login();
    let list = client.ask(b"\x03SHOW SESSION VARIABLES", Expect::Results);
    let rows = list.packets.iter().filter_map(|(_, row)| two_texts(row));
    let mut variables = Vec::new();
    for (name, value) in rows.collect::<Vec<_>>() {
        let mut values = candidates(&name, &value);
        values.retain(|value| {
            let sql = format!("\x03SET SESSION {name} = {value}");
            client
                .ask(sql.as_bytes(), Expect::Results)
                .packets
                .first()
                .is_some_and(|(_, ok)| ok.first() == Some(&0))
        });
        if !values.is_empty() {
            values.push("DEFAULT".to_owned());
            variables.push(Variable { name, values });
        }
        client.ask(&[0x1F], Expect::Simple);
    }
    client.quit();
    variables
}

/// A row of two texts.
fn two_texts(row: &[u8]) -> Option<(String, String)> {
    let (length, width) = lenenc(row)?;
    let end = width + length as usize;
    let name = row.get(width..end)?;
    let (length, width) = lenenc(row.get(end..)?)?;
    let value = row.get(end + width..end + width + length as usize)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let is_row = end + width + length as usize == row.len();
    is_row.then(|| (text(name), text(value)))
}

fn candidates(name: &str, value: &str) -> Vec<String> {
    if let Some((_, values)) = VALUES.iter().find(|(other, _)| *other == name) {
        return values.iter().map(|value| (*value).to_owned()).collect();
    }
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    match value.parse::<u64>() {
        // Short ones would end sessions for reasons of time.
        _ if name.contains("timeout") => owned(&["600", "1000", "28800"]),
        _ if matches!(value, "ON" | "OFF") => owned(&["ON", "OFF", "1", "0"]),
        Ok(number) => {
            let near = [number, number.saturating_add(1), number / 2];
            let mut values: Vec<String> = near.iter().map(u64::to_string).collect();
            values.extend(owned(&["1", "1000"]));
            values
        }
        Err(_) => vec![format!("'{}'", value.replace('\'', "''"))],
    }
}
