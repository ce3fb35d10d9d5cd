//! Each rule that keeps a statement on the writer, by a query that must reach it; and what must stay with the session wherever it goes.

use super::*;

/// What is done before, and the statement whose server is asked for. `{}` in it is the place for `@@server_id`.
const ON_WRITER: [(&[&str], &str, &str); 22] = [
    (&[], "SELECT {} FROM t LIMIT 1 FOR UPDATE", "locking_read"),
    (&[], "SELECT {} FROM t LIMIT 1 FOR SHARE", "locking_read"),
    (
        &[],
        "SELECT {} FROM t LIMIT 1 LOCK IN SHARE MODE",
        "locking_read",
    ),
    (&["BEGIN"], "SELECT {} FROM t LIMIT 1", "in_transaction"),
    (
        &["SET autocommit = 0"],
        "SELECT {} FROM t LIMIT 1",
        "in_transaction",
    ),
    (
        &["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
        "SELECT {} FROM t LIMIT 1",
        "in_transaction",
    ),
    (&[], "SELECT {}, f(1) FROM t LIMIT 1", "stored_routine"),
    (&[], "CALL p()", "not_a_read"),
    (
        &[],
        "SELECT /*!40000 {} */ FROM t LIMIT 1",
        "opaque_statement",
    ),
    (
        &["CREATE TEMPORARY TABLE own (a INT)"],
        "SELECT {} FROM t LIMIT 1",
        "temporary_table",
    ),
    (
        &[],
        "SELECT /* tidegate:writer */ {} FROM t LIMIT 1",
        "hint",
    ),
    (&["SET @a = 1"], "SELECT {} FROM t LIMIT 1", "user_variable"),
    (&[], "SELECT {}, @a FROM t LIMIT 1", "user_variable"),
    (
        &[],
        "SELECT {}, GET_LOCK('a', 0) FROM t LIMIT 1",
        "user_lock",
    ),
    (
        &["DO GET_LOCK('b', 0)"],
        "SELECT {} FROM t LIMIT 1",
        "user_lock",
    ),
    (&["LOCK TABLES t READ"], "SELECT {} FROM t LIMIT 1", "lock"),
    (
        &[],
        "SELECT {}, IS_FREE_LOCK('c') FROM t LIMIT 1",
        "server_function",
    ),
    (
        &[],
        "SELECT {}, LAST_INSERT_ID() FROM t LIMIT 1",
        "reads_diagnostics",
    ),
    (
        &[],
        "SELECT {}, CONNECTION_ID() FROM t LIMIT 1",
        "connection_id",
    ),
    (
        &[],
        "SELECT {} FROM information_schema.tables LIMIT 1",
        "system_schema",
    ),
    (
        &[],
        "SELECT SQL_CALC_FOUND_ROWS {} FROM t LIMIT 1",
        "sql_calc_found_rows",
    ),
    (&[], "SELECT {}", "no_table"),
];

async fn reason(conn: &mut Conn, sql: &str) -> (String, String) {
    let rows: Vec<(String, String)> = conn.query(format!("EXPLAIN ROUTE {sql}")).await.unwrap();
    let named: BTreeMap<String, String> = rows.into_iter().collect();
    (named["node"].clone(), named["node_reason"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_reader_must_not_answer_reaches_the_writer() {
    let topology = Topology::start();
    let gate = rig(&topology, &[("log.level", "\"debug\"")]);
    topology.servers[0].run(
        "USE bank; CREATE FUNCTION f(a INT) RETURNS INT DETERMINISTIC RETURN a; CREATE PROCEDURE p() SELECT @@server_id",
    );
    topology.wait_copied(0);
    until_seen(&gate, "backend", &["second", "third"]).await;
    for (before, sql, why) in ON_WRITER {
        let sql = sql.replace("{}", "@@server_id");
        let mut conn = gate.connect("bank").await;
        let first = cell(&mut conn, WHERE).await;
        assert_ne!(first, "1", "{:?}", decisions(&gate).await);
        for statement in before {
            conn.query_drop(*statement).await.unwrap();
        }
        let told = reason(&mut conn, &sql).await;
        assert_eq!(
            (told.0.as_str(), told.1.as_str()),
            ("backend", why),
            "{sql}"
        );
        let found = cell(&mut conn, &sql).await;
        assert_eq!(found.split(' ').next(), Some("1"), "{before:?} {sql}");
        let found: Row = match sql.contains("SELECT") && before.is_empty() {
            true => conn.exec_first(&sql, ()).await.unwrap().unwrap(),
            false => continue,
        };
        assert_eq!(found.get::<u32, _>(0), Some(1), "prepared: {sql}");
    }
    reads_come_back(&gate).await;
    what_is_asked_about_a_read_is_known(&gate).await;
    hints_move_reads(&gate).await;
    kills_find_their_server(&gate).await;
    gate.stop();
}

/// What ended lets the session go to its reader again.
async fn reads_come_back(gate: &Tidegate) {
    let mut conn = gate.connect("bank").await;
    for (begin, end) in [
        ("BEGIN", "COMMIT"),
        ("SET autocommit = 0", "SET autocommit = 1"),
        ("LOCK TABLES t READ", "UNLOCK TABLES"),
        ("DO GET_LOCK('d', 0)", "DO RELEASE_ALL_LOCKS()"),
    ] {
        conn.query_drop(begin).await.unwrap();
        assert_eq!(cell(&mut conn, WHERE).await, "1", "{begin}");
        conn.query_drop(end).await.unwrap();
        if begin.starts_with("LOCK") {
            // What it was is not known to have ended before a reset.
            conn.reset().await.unwrap();
            conn.query_drop("USE bank").await.unwrap();
        }
        assert_ne!(cell(&mut conn, WHERE).await, "1", "{end}");
    }
    conn.disconnect().await.unwrap();
}

/// Variables go along, and what the last answer left behind is where the client can ask for it.
async fn what_is_asked_about_a_read_is_known(gate: &Tidegate) {
    let mut conn = gate.connect("bank").await;
    conn.query_drop("SET sql_select_limit = 7, time_zone = '+03:00', sql_mode = ''")
        .await
        .unwrap();
    let seen =
        "SELECT @@server_id > 1, @@sql_select_limit, @@time_zone, @@sql_mode, DATABASE() FROM t";
    assert_eq!(cell(&mut conn, seen).await, "1 7 +03:00  bank");
    // A warning of a reader.
    assert_eq!(
        cell(&mut conn, "SELECT @@server_id > 1 FROM t WHERE id = '1x'").await,
        "1"
    );
    let warnings: Vec<(String, u16, String)> = conn.query("SHOW WARNINGS").await.unwrap();
    assert_eq!(warnings[0].1, 1292, "{warnings:?}");
    conn.query_drop("SELECT @@server_id FROM t WHERE id = '1x'")
        .await
        .unwrap();
    conn.query_drop("UPDATE t SET n = n WHERE id = 1")
        .await
        .unwrap();
    // Rows found on a reader, asked for after a move.
    conn.query_drop("SELECT id FROM t UNION SELECT id + 1 FROM t")
        .await
        .unwrap();
    assert_eq!(cell(&mut conn, "SELECT FOUND_ROWS()").await, "2");
    conn.query_drop("SELECT id FROM t LIMIT 1").await.unwrap();
    conn.query_drop("BEGIN").await.unwrap();
    assert_eq!(cell(&mut conn, "SELECT FOUND_ROWS()").await, "1");
    conn.query_drop("COMMIT").await.unwrap();
    // An error is the writer's.
    let error = ask(&mut conn, "SELECT @@server_id FROM nowhere")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Server(error) if error.code == 1146),
        "{error}"
    );
    let errors: Vec<(String, u16, String)> = conn.query("SHOW ERRORS").await.unwrap();
    assert_eq!(errors[0].1, 1146);
    // What failed may be asked about up to the next statement.
    assert_eq!(cell(&mut conn, WHERE).await, "1");
    // A write and its row count between two reads.
    assert_ne!(cell(&mut conn, WHERE).await, "1");
    conn.query_drop("INSERT INTO t VALUES (50, 1), (51, 1)")
        .await
        .unwrap();
    assert_eq!(conn.affected_rows(), 2);
    assert_eq!(cell(&mut conn, "SELECT ROW_COUNT()").await, "2");
    assert_eq!(
        cell(
            &mut conn,
            "SELECT @@server_id > 1, COUNT(*) FROM t WHERE id >= 50"
        )
        .await,
        "1 2"
    );
    assert_eq!(cell(&mut conn, "SELECT ROW_COUNT()").await, "-1");
    conn.query_drop("DELETE FROM t WHERE id >= 50")
        .await
        .unwrap();
    conn.disconnect().await.unwrap();
}

async fn hints_move_reads(gate: &Tidegate) {
    let mut conn = gate.connect("bank").await;
    let before = decisions(gate).await;
    let found = cell(&mut conn, "SELECT /* tidegate:reader */ @@server_id").await;
    assert_ne!(found, "1", "{before:?} {:?}", decisions(gate).await);
    assert_eq!(
        cell(&mut conn, "SELECT @@server_id, '/* tidegate:reader */'")
            .await
            .as_bytes()[0],
        b'1'
    );
    let found: Option<u32> = conn
        .exec_first(
            "SELECT @@server_id FROM t WHERE id = ? /* tidegate:writer */",
            (1,),
        )
        .await
        .unwrap();
    assert_eq!(found, Some(1));
    let error = conn
        .query_drop("INSERT INTO t VALUES (1, 1) /* tidegate:reader */")
        .await
        .unwrap_err();
    // At the writer: the row is there already.
    assert!(
        matches!(&error, Error::Server(error) if error.code == 1062),
        "{error}"
    );
    conn.disconnect().await.unwrap();
}

/// A KILL of a session that is on a reader ends what runs there, whatever has the same number elsewhere.
async fn kills_find_their_server(gate: &Tidegate) {
    let mut conn = gate.connect("bank").await;
    let id = conn.id();
    let slow = tokio::spawn(async move {
        let slept = ask(&mut conn, "SELECT SLEEP(30) FROM t LIMIT 1").await;
        (conn, slept)
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut other = gate.connect("bank").await;
    let begin = Instant::now();
    other.query_drop(format!("KILL QUERY {id}")).await.unwrap();
    let (mut conn, slept) = slow.await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20));
    // SLEEP() is interrupted in its own way.
    assert!(
        matches!(slept.as_deref(), Ok("1")) || slept.is_err(),
        "{slept:?}"
    );
    assert_ne!(cell(&mut conn, WHERE).await, "1");
    other.query_drop(format!("KILL {id}")).await.unwrap();
    let begin = Instant::now();
    while ask(&mut conn, WHERE).await.is_ok() {
        assert!(begin.elapsed() < SEEN_MAX, "it lives on");
    }
    other.disconnect().await.unwrap();
}
