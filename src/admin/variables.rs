//! The system variables that clients ask for at start, with values that are true for the virtual schema.
//! Never the backend's: those are asked for on the app port.

use super::value::Value;

/// The version that VERSION() and the greeting tell. Drivers read the number in front to know what the server can do.
pub const VERSION: &str = concat!("8.4.0-tidegate-", env!("CARGO_PKG_VERSION"));

/// Longest statement that an admin session takes, in bytes; also `@@max_allowed_packet`.
pub const STATEMENT_BYTES_MAX: usize = 1024 * 1024;

/// Longest single value that a statement may make, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// How a value is written.
enum Default {
    /// 1 or 0 in SELECT, ON or OFF in SHOW.
    Switch(bool),
    Number(i64),
    Text(&'static str),
    Null,
}

use Default::{Null, Number, Switch, Text};

/// Sorted by name.
static VARIABLES: &[(&str, Default)] = &[
    ("auto_increment_increment", Number(1)),
    ("autocommit", Switch(true)),
    ("big_tables", Switch(false)),
    ("character_set_client", Text("utf8mb4")),
    ("character_set_connection", Text("utf8mb4")),
    ("character_set_database", Text("utf8mb4")),
    ("character_set_results", Text("utf8mb4")),
    ("character_set_server", Text("utf8mb4")),
    ("character_set_system", Text("utf8mb3")),
    ("collation_connection", Text("utf8mb4_general_ci")),
    ("collation_database", Text("utf8mb4_general_ci")),
    ("collation_server", Text("utf8mb4_general_ci")),
    ("default_storage_engine", Text("TIDEGATE")),
    ("default_week_format", Number(0)),
    ("div_precision_increment", Number(4)),
    ("error_count", Number(0)),
    ("event_scheduler", Text("OFF")),
    ("foreign_key_checks", Switch(true)),
    ("group_concat_max_len", Number(VALUE_BYTES_MAX as i64)),
    ("gtid_mode", Text("OFF")),
    ("have_ssl", Text("YES")),
    ("identity", Number(0)),
    ("init_connect", Text("")),
    ("interactive_timeout", Number(28_800)),
    ("last_insert_id", Number(0)),
    ("lc_messages", Text("en_US")),
    ("lc_time_names", Text("en_US")),
    ("license", Text("Apache-2.0")),
    ("log_bin", Switch(false)),
    ("lower_case_table_names", Number(1)),
    ("max_allowed_packet", Number(STATEMENT_BYTES_MAX as i64)),
    ("max_execution_time", Number(0)),
    ("net_buffer_length", Number(16_384)),
    ("net_read_timeout", Number(30)),
    ("net_write_timeout", Number(60)),
    ("optimizer_switch", Text("")),
    ("performance_schema", Switch(false)),
    ("profiling", Switch(false)),
    ("protocol_version", Number(10)),
    ("query_cache_size", Number(0)),
    ("query_cache_type", Text("OFF")),
    ("read_only", Switch(true)),
    ("resultset_metadata", Text("FULL")),
    ("server_id", Number(0)),
    ("session_track_schema", Switch(false)),
    ("session_track_system_variables", Text("")),
    ("socket", Null),
    ("sql_auto_is_null", Switch(false)),
    ("sql_mode", Text("")),
    ("sql_notes", Switch(true)),
    ("sql_quote_show_create", Switch(true)),
    ("sql_safe_updates", Switch(false)),
    ("sql_select_limit", Number(i64::MAX)),
    ("sql_warnings", Switch(false)),
    ("storage_engine", Text("TIDEGATE")),
    ("super_read_only", Switch(true)),
    ("system_time_zone", Text("UTC")),
    ("time_zone", Text("+00:00")),
    ("transaction_isolation", Text("READ-COMMITTED")),
    ("transaction_read_only", Switch(true)),
    ("tx_isolation", Text("READ-COMMITTED")),
    ("tx_read_only", Switch(true)),
    ("unique_checks", Switch(true)),
    ("version", Text(VERSION)),
    ("version_comment", Text("Tidegate virtual schema")),
    ("version_compile_machine", Text(std::env::consts::ARCH)),
    ("version_compile_os", Text(std::env::consts::OS)),
    ("wait_timeout", Number(28_800)),
    ("warning_count", Number(0)),
];

/// Whether a scope asks for more than this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `session.`, `local.` or none.
    Session,
    /// `global.`, `persist.`, `persist_only.`.
    Global,
}

/// The scope and the lower-case name of what stood behind `@@`.
pub fn without_scope(name: &str) -> (Scope, String) {
    let name = name.to_ascii_lowercase();
    match name.split_once('.') {
        Some(("session" | "local", rest)) => (Scope::Session, rest.to_owned()),
        Some(("global" | "persist" | "persist_only", rest)) => (Scope::Global, rest.to_owned()),
        _ => (Scope::Session, name),
    }
}

fn find(name: &str) -> Option<&'static Default> {
    let at = VARIABLES
        .binary_search_by_key(&name, |(known, _)| known)
        .ok()?;
    VARIABLES.get(at).map(|(_, default)| default)
}

/// The value of a variable that was not set, by lower-case name.
pub fn default(name: &str) -> Option<Value> {
    Some(match find(name)? {
        Switch(on) => Value::from(*on),
        Number(number) => Value::Int(*number),
        Text(text) => Value::from(*text),
        Null => Value::Null,
    })
}

/// The names of all variables, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().map(|(name, _)| *name)
}

/// A value as SHOW VARIABLES writes it.
pub fn shown(name: &str, value: &Value) -> String {
    match (find(name), value) {
        (Some(Switch(_)), Value::Int(number)) => if *number == 0 { "OFF" } else { "ON" }.to_owned(),
        (_, Value::Null) => String::new(),
        (_, Value::Int(number)) => number.to_string(),
        (_, Value::Real(number)) => number.to_string(),
        (_, Value::Text(text)) => text.to_string(),
    }
}

/// What a word given to a switch means: `SET autocommit = OFF`. None when it is not a switch or not such a word.
pub fn switch(name: &str, word: &str) -> Option<Value> {
    if !matches!(find(name), Some(Switch(_))) {
        return None;
    }
    match word.to_ascii_uppercase().as_str() {
        "ON" | "TRUE" => Some(Value::Int(1)),
        "OFF" | "FALSE" => Some(Value::Int(0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_so_that_it_can_be_searched() {
        assert!(VARIABLES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for name in names() {
            assert!(default(name).is_some(), "{name}");
        }
        assert_eq!(default("nonsense"), None);
    }

    #[test]
    fn scopes_and_switches() {
        assert_eq!(
            without_scope("GLOBAL.Read_Only"),
            (Scope::Global, "read_only".to_owned())
        );
        assert_eq!(without_scope("x"), (Scope::Session, "x".to_owned()));
        assert_eq!(switch("autocommit", "off"), Some(Value::Int(0)));
        assert_eq!(switch("sql_mode", "off"), None);
        assert_eq!(shown("autocommit", &Value::Int(1)), "ON");
        assert_eq!(shown("wait_timeout", &Value::Int(1)), "1");
    }
}
