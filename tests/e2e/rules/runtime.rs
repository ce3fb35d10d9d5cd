//! Changes through the admin schema: whole or not at all, in force for the next statement of every session, kept by SAVE.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::support::raw::{Raw, packet};
use crate::support::wire::{parse_greeting, scramble};

/// A change, and the number of rows that it says it changed.
async fn change(admin: &mut Conn, sql: &str) -> u64 {
    let changed = admin.query_drop(sql).await;
    changed.unwrap_or_else(|error| panic!("{sql}: {error}"));
    admin.affected_rows()
}

/// Rules come, change and go under the eyes of a session that is there all the time.
#[tokio::test]
async fn rules_change_while_sessions_run() {
    let server = MySql::shared();
    let schema = schema(server, "changing").await;
    let gate = gate(server, "");
    let (mut conn, mut admin) = (gate.connect(&schema).await, gate.connect_admin().await);
    let sql = "SELECT a FROM t WHERE id = 1";
    let prepared = conn.prep("SELECT a FROM t WHERE id = ?").await.unwrap();
    assert_eq!(number(&mut conn, sql).await.unwrap(), Some(10));
    let insert = "INSERT INTO tidegate.rules (name, text, block) VALUES ('one', '^SELECT `a`', 'first'), ('two', 'nothing', 'x')";
    assert_eq!(change(&mut admin, insert).await, 2);
    assert_eq!(refusal(number(&mut conn, sql).await).1, "first");
    assert_eq!(refusal(conn.exec_drop(&prepared, (1,)).await).1, "first");
    assert_eq!(
        number(&mut conn, "SELECT id FROM t WHERE id = 1")
            .await
            .unwrap(),
        Some(1)
    );
    let text = "UPDATE rules SET block = CONCAT(block, ' and last'), position = position + 100 WHERE name = 'one'";
    assert_eq!(change(&mut admin, text).await, 1);
    assert_eq!(refusal(number(&mut conn, sql).await).1, "first and last");
    let order: Vec<(String, u64)> = admin
        .query("SELECT name, position FROM rules")
        .await
        .unwrap();
    assert_eq!(order, [("two".to_owned(), 20), ("one".to_owned(), 110)]);
    admin
        .exec_drop(
            "UPDATE rules SET enabled = ? WHERE name = ?",
            (false, "one"),
        )
        .await
        .unwrap();
    assert_eq!(number(&mut conn, sql).await.unwrap(), Some(10));
    assert_eq!(
        change(
            &mut admin,
            "UPDATE rules SET enabled = 1, block = NULL, timeout_ms = 5000 WHERE name = 'one'"
        )
        .await,
        1
    );
    assert_eq!(number(&mut conn, sql).await.unwrap(), Some(10));
    assert_eq!(hits(&gate, "one").await, 4, "counts go on over changes");
    assert_eq!(
        change(&mut admin, "DELETE FROM rules WHERE name LIKE 'o%'").await,
        1
    );
    assert_eq!(change(&mut admin, "DELETE FROM rules").await, 1);
    assert_eq!(number(&mut conn, sql).await.unwrap(), Some(10));
    let left: Option<u64> = admin
        .query_first("SELECT COUNT(*) FROM rules")
        .await
        .unwrap();
    assert_eq!(left, Some(0));
}

/// Changes that are refused, with the number of the error and a part of its words.
const BAD: &[(&str, u16, &str)] = &[
    (
        "INSERT INTO rules (name, block) VALUES ('a', 'x'), ('b', '')",
        1366,
        "column 'name' at row 2: has nothing to do",
    ),
    (
        "INSERT INTO rules (name, text, block) VALUES ('a', 'x', 'y'), ('b', '(', 'y')",
        1366,
        "column 'text' at row 2: is no regular expression: unclosed group",
    ),
    (
        "INSERT INTO rules (name, raw_text, log) VALUES ('a', '(((a{1,999}){1,999}){1,999})', 1)",
        1366,
        "needs more than",
    ),
    (
        "INSERT INTO rules (name, client, log) VALUES ('a', '10.0.0.0/33', 1)",
        1366,
        "column 'client' at row 1",
    ),
    (
        "INSERT INTO rules (name, timeout_ms) VALUES ('a', -1)",
        1366,
        "out of range; allowed: 0 to 86400000",
    ),
    (
        "INSERT INTO rules (name, timeout_ms) VALUES ('a', 'soon')",
        1366,
        "column 'timeout_ms' at row 1: is text",
    ),
    (
        "INSERT INTO rules (name, rewrite) VALUES ('a', 'SELECT 1; DROP TABLE t')",
        1366,
        "more than one statement",
    ),
    (
        "INSERT INTO rules (name, log) VALUES ('KEPT', 1)",
        1062,
        "Duplicate entry",
    ),
    (
        "INSERT INTO rules (name, log) VALUES ('a', 1), ('a', 1)",
        1062,
        "Duplicate entry 'a'",
    ),
    (
        "INSERT INTO rules (name, lag) VALUES ('a', 1)",
        1054,
        "did you mean log?",
    ),
    (
        "INSERT INTO rules (name, log) VALUES ('a')",
        1136,
        "Column count",
    ),
    ("INSERT INTO rules VALUES ('a')", 1064, "name the columns"),
    (
        "UPDATE rules SET name = 'a b'",
        1366,
        "column 'name' at row 1",
    ),
    ("UPDATE rules SET hits = 0", 1054, "hits"),
    (
        "UPDATE rules SET block = nowhere WHERE name = 'kept'",
        1054,
        "nowhere",
    ),
    (
        "UPDATE settings SET value = 'session' WHERE name = 'pool.mode'",
        1238,
        "'pool.mode' takes effect at the next start only",
    ),
    (
        "UPDATE settings SET value = 5",
        1238,
        "takes effect at the next start only",
    ),
    (
        "UPDATE settings SET value = 'loud' WHERE name = 'log.level'",
        1366,
        "of log.level is \"loud\"; allowed: error, warn",
    ),
    (
        "UPDATE settings SET value = 'soon' WHERE name = 'analytics.slow_query_ms'",
        1366,
        "of analytics.slow_query_ms",
    ),
    (
        "UPDATE settings SET name = 'x' WHERE name = 'log.level'",
        1290,
        "only value can be changed",
    ),
    ("DELETE FROM settings", 1290, "neither added nor removed"),
    (
        "INSERT INTO users (name) VALUES ('a')",
        1366,
        "column 'password' at row 1: is missing",
    ),
    (
        "INSERT INTO users (name, password) VALUES ('', 'x')",
        1366,
        "column 'name' at row 1",
    ),
    (
        "INSERT INTO users (name, password) VALUES ('a', 'x'), ('a', 'y')",
        1062,
        "Duplicate entry 'a' for key 'users.name'",
    ),
    (
        "INSERT INTO backends (name) VALUES ('x')",
        1290,
        "[[nodes]]",
    ),
    ("DELETE FROM queries", 1290, "read-only"),
];

/// What is wrong is said with row and column, and nothing of the statement is done.
#[tokio::test]
async fn bad_changes_change_nothing() {
    let server = MySql::shared();
    let gate = gate(server, "{name = 'kept', text = 'x', block = 'no'}");
    let mut admin = gate.connect_admin().await;
    let everything = "SELECT (SELECT GROUP_CONCAT(name) FROM rules), (SELECT COUNT(*) FROM users), (SELECT GROUP_CONCAT(value) FROM settings)";
    let before: Option<(String, u64, String)> = admin.query_first(everything).await.unwrap();
    for (sql, code, part) in BAD {
        let (found, words) = refusal(admin.query_drop(*sql).await);
        assert!(
            found == *code && words.contains(*part),
            "{sql}: {found} {words}"
        );
    }
    let after: Option<(String, u64, String)> = admin.query_first(everything).await.unwrap();
    assert_eq!(before, after);
    // HTTP reads, and administrators on the app port do.
    let body = crate::support::process::http_get(gate.http_port, "/api/rules")
        .expect("it answers")
        .1;
    assert!(body.contains("kept"), "{body}");
}

/// Every setting that says that it can be changed does take effect; no other one says so.
#[tokio::test]
async fn settings_take_effect() {
    let server = MySql::shared();
    let schema = schema(server, "settings").await;
    let gate = Tidegate::of(server)
        .set("cache.auto", "false")
        .set("cache.tables", &format!("[\"{schema}.t\"]"))
        .start();
    let mut admin = gate.connect_admin().await;
    let live: Vec<String> = admin
        .query("SELECT name FROM settings WHERE reloadable = 1 ORDER BY name")
        .await
        .unwrap();
    let tested = ["analytics.slow_query_ms", "cache.enabled", "log.level"];
    assert_eq!(live, tested);
    let set = |name: &str, value: &str| {
        format!("UPDATE settings SET value = '{value}' WHERE name = '{name}'")
    };
    let mut conn = gate.connect(&schema).await;

    let slow = "SELECT COUNT(*) FROM slow_queries WHERE digest_text LIKE '%SLEEP%'";
    conn.query_drop("SELECT SLEEP(0.05)").await.unwrap();
    assert_eq!(gate.admin::<u64>(slow).await, [0]);
    assert_eq!(
        change(&mut admin, &set("analytics.slow_query_ms", "20")).await,
        1
    );
    conn.query_drop("SELECT SLEEP(0.05)").await.unwrap();
    assert_eq!(gate.admin::<u64>(slow).await, [1]);
    let shown: Option<String> = admin
        .query_first("SELECT value FROM settings WHERE name = 'analytics.slow_query_ms'")
        .await
        .unwrap();
    assert_eq!(shown.as_deref(), Some("20"));

    let kept = async |conn: &mut Conn| {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let reason = route(conn, "SELECT a FROM t WHERE id = 1", "cache")
                .await
                .unwrap();
            if reason != "cache_miss" || Instant::now() > deadline {
                return reason;
            }
            number(conn, "SELECT a FROM t WHERE id = 1").await.unwrap();
        }
    };
    assert_eq!(kept(&mut conn).await, "cache_hit");
    change(&mut admin, &set("cache.enabled", "false")).await;
    assert_eq!(kept(&mut conn).await, "not_cacheable:cache_disabled");
    change(&mut admin, &set("cache.enabled", "1")).await;
    assert_eq!(kept(&mut conn).await, "cache_hit");

    assert!(!gate.log().contains("DEBUG"));
    change(&mut admin, &set("log.level", "debug")).await;
    refusal(
        Conn::new(as_app(&gate, "x", "no_such_schema"))
            .await
            .map(drop),
    );
    crate::support::wait_until("debug lines", Duration::from_secs(20), || {
        gate.log().contains("DEBUG").then_some(())
    });
}

/// What the proxy answers to a client that knows mysql_native_password only: 0 is OK, 0xFE asks for another plugin.
fn native_login(gate: &Tidegate, password: &str) -> u8 {
    let wait = Duration::from_secs(60);
    let (mut raw, greeting) = Raw::greeted(gate.app_port, wait).expect("it greets");
    let (nonce, _) = parse_greeting(&greeting);
    let proof = scramble("mysql_native_password", &nonce, password);
    let mut response = 0x0008_8201_u32.to_le_bytes().to_vec();
    response.extend((1_u32 << 24).to_le_bytes());
    response.push(45);
    response.extend([0; 23]);
    response.extend(APP_USER.as_bytes());
    response.extend([0, proof.len() as u8]);
    response.extend(proof);
    response.extend(b"mysql_native_password\0");
    assert!(raw.send(&packet(1, &response)));
    let answer = raw.read_packet(Instant::now() + wait).expect("in time");
    answer.expect("an answer").1[0]
}

/// Listed users come and go: only they log in by mysql_native_password, by the password that counts now. It is never shown.
#[tokio::test]
async fn users_change() {
    let server = MySql::shared();
    let gate = gate(server, "");
    let mut admin = gate.connect_admin().await;
    assert_eq!(native_login(&gate, APP_PASSWORD), 0xFE);
    let listed = format!("INSERT INTO users (name, password) VALUES ('{APP_USER}', 'not-the-one')");
    assert_eq!(change(&mut admin, &listed).await, 1);
    assert_ne!(native_login(&gate, APP_PASSWORD), 0);
    let rows: Vec<(String, String)> = admin
        .query("SELECT name, password FROM users")
        .await
        .unwrap();
    assert_eq!(rows, [(APP_USER.to_owned(), "***".to_owned())]);
    let right = format!("UPDATE users SET password = '{APP_PASSWORD}' WHERE name = '{APP_USER}'");
    assert_eq!(change(&mut admin, &right).await, 1);
    assert_eq!(native_login(&gate, APP_PASSWORD), 0);
    let row: Vec<(String, String, bool)> = admin
        .query("SELECT kind, in_force, is_saved FROM changes")
        .await
        .unwrap();
    assert_eq!(row, [("user".to_owned(), "***".to_owned(), false)]);
    change(&mut admin, "DELETE FROM users").await;
    assert_eq!(native_login(&gate, APP_PASSWORD), 0xFE);
    assert!(!gate.log().contains("not-the-one"));
}

type State = (Option<String>, String, u64, u64);

/// Names of the rules, `log.level`, how many things differ from what is saved or written, and how many are not saved.
async fn state(gate: &Tidegate) -> State {
    let asked = "SELECT (SELECT GROUP_CONCAT(name) FROM rules), (SELECT value FROM settings WHERE name = 'log.level'), (SELECT COUNT(*) FROM changes), (SELECT COUNT(*) FROM changes WHERE NOT is_saved)";
    gate.admin::<State>(asked).await.remove(0)
}

fn is(rules: Option<&str>, level: &str, changed: u64, unsaved: u64) -> State {
    (rules.map(str::to_owned), level.to_owned(), changed, unsaved)
}

const WRITTEN: &str = "{name = 'written', text = 'FROM `w`', block = 'w'}";
const LEVEL: &str = "info,tidegate::http=debug";

/// DISCARD and RESET bring back what they say; the file is there exactly while something differs from the configuration.
#[tokio::test]
async fn changes_are_undone() {
    let server = MySql::shared();
    let gate = gate(server, WRITTEN);
    let file = gate.data_folder().join("runtime.toml");
    let mut admin = gate.connect_admin().await;
    assert_eq!(state(&gate).await, is(Some("written"), "info", 0, 0));
    change(
        &mut admin,
        "INSERT INTO rules (name, text, block) VALUES ('odd', 'x', 'y')",
    )
    .await;
    let set = format!("UPDATE settings SET value = '{LEVEL}' WHERE name = 'log.level'");
    change(&mut admin, &set).await;
    assert_eq!(state(&gate).await, is(Some("written,odd"), LEVEL, 2, 2));
    assert!(!file.exists());
    change(&mut admin, "SAVE").await;
    assert_eq!(state(&gate).await.3, 0);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    change(&mut admin, "DELETE FROM rules").await;
    assert_eq!(state(&gate).await, is(None, LEVEL, 3, 2));
    change(&mut admin, "DISCARD").await;
    assert_eq!(state(&gate).await, is(Some("written,odd"), LEVEL, 2, 0));
    change(&mut admin, "RESET").await;
    assert_eq!(state(&gate).await, is(Some("written"), "info", 2, 2));
    change(&mut admin, "SAVE").await;
    assert!(!file.exists(), "nothing differs from the configuration");
    assert_eq!(state(&gate).await, is(Some("written"), "info", 0, 0));
}

/// What SAVE kept is there after a restart, what came later is not.
#[tokio::test]
async fn saved_changes_survive_a_restart() {
    let server = MySql::shared();
    let gate = gate(server, WRITTEN);
    let asked = "SELECT raw_text, block FROM rules WHERE name = 'odd'";
    let mut admin = gate.connect_admin().await;
    change(
        &mut admin,
        r#"INSERT INTO rules (name, raw_text, block) VALUES ('odd', '"\\''é #', 'it''s "so"\n')"#,
    )
    .await;
    let set = format!("UPDATE settings SET value = '{LEVEL}' WHERE name = 'log.level'");
    change(&mut admin, &set).await;
    change(&mut admin, "SAVE").await;
    let rule: Option<(String, String)> = admin.query_first(asked).await.unwrap();
    change(&mut admin, "DELETE FROM rules WHERE name = 'written'").await;
    drop(admin);
    gate.stop();
    gate.start_again();
    assert_eq!(state(&gate).await, is(Some("written,odd"), LEVEL, 2, 0));
    let mut admin = gate.connect_admin().await;
    assert_eq!(rule, admin.query_first(asked).await.unwrap());
    let mut conn = gate.connect("").await;
    assert_eq!(refusal(conn.query_drop("SELECT 1 FROM w").await).1, "w");
    // That there are no rules is a state, too.
    change(&mut admin, "DELETE FROM rules").await;
    change(&mut admin, "SAVE").await;
    drop((admin, conn));
    gate.stop();
    gate.start_again();
    assert_eq!(state(&gate).await.0, None);
    gate.stop();
    // A file that cannot be read is no reason to start with less than was saved.
    let file = gate.data_folder().join("runtime.toml");
    std::fs::write(&file, "[pool]\nmode = \"session\"\n").unwrap();
    let started = std::panic::AssertUnwindSafe(|| gate.start_again());
    assert!(std::panic::catch_unwind(started).is_err());
    assert!(
        gate.log().contains("runtime.toml:2: pool.mode"),
        "{}",
        gate.log()
    );
}
