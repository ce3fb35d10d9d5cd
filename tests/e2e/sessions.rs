//! Sessions whose answers depend on what the session did before: the same statements past the proxy and through it, with cache
//! and views on, must give the same answers. Each case is a fault that was there once.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use crate::support::mysql::connect;
use crate::support::{MySql, Tidegate};

/// A statement's rows as text, or its error number.
async fn answer(conn: &mut Conn, sql: &str) -> Result<Vec<String>, u16> {
    match conn.query::<Row, _>(sql).await {
        Ok(rows) => Ok(rows.into_iter().map(as_text).collect()),
        Err(mysql_async::Error::Server(error)) => Err(error.code),
        Err(error) => panic!("{sql}: {error}"),
    }
}

fn as_text(row: Row) -> String {
    let cells: Vec<String> = row.unwrap().iter().map(|cell| cell.as_sql(true)).collect();
    cells.join(" ")
}

/// A server with one small table, and a proxy whose cache takes every read of it.
fn rig() -> (MySql, Tidegate, String) {
    let server = MySql::start(&[]);
    let schema = server.schema("sessions");
    server.run(&format!(
        "CREATE TABLE {schema}.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT NOT NULL); \
         INSERT INTO {schema}.t (v) VALUES (1), (2), (3)"
    ));
    let tables = format!("[\"{schema}.t\"]");
    let gate = Tidegate::of(&server).set("cache.tables", &tables).start();
    (server, gate, schema)
}

/// Asks until the answer comes from the cache.
async fn until_cached(conn: &mut Conn, sql: &str) {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let _ = answer(conn, sql).await;
        let rows = answer(conn, &format!("EXPLAIN ROUTE {sql}")).await;
        if rows
            .as_ref()
            .is_ok_and(|rows| rows.iter().any(|row| row.contains("cache_hit")))
        {
            return;
        }
        let last = rows;
        assert!(
            std::time::Instant::now() < end,
            "{sql} never came from the cache: {last:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_the_session_did_before_is_seen_as_past_the_proxy() {
    let (server, gate, schema) = rig();
    let programs: [&[&str]; 6] = [
        &[
            "SELECT id FROM t ORDER BY id LIMIT 1 OFFSET 1",
            "SELECT FOUND_ROWS()",
        ],
        &[
            "SELECT id FROM t WHERE id < 4 LIMIT 9, 1",
            "SELECT FOUND_ROWS()",
        ],
        &[
            "INSERT INTO t (v) VALUES (4), (5), (6)",
            "SELECT ROW_COUNT(), COUNT(*) > 0 FROM t",
        ],
        &[
            "SELECT SQL_CALC_FOUND_ROWS id FROM t LIMIT 1",
            "SELECT FOUND_ROWS(), COUNT(*) > 0 FROM t",
        ],
        &[
            "SELECT COUNT(*) FROM t",
            "SELECT FOUND_ROWS()",
            "SHOW WARNINGS",
        ],
        &[
            "SET @@transaction_read_only = 1",
            "SELECT COUNT(*) > 0 FROM t",
            "INSERT INTO t (v) VALUES (7)",
            "SELECT ROW_COUNT()",
        ],
    ];
    let mut warm = gate.connect(&schema).await;
    until_cached(&mut warm, "SELECT COUNT(*) > 0 FROM t").await;
    for skipping in [programs[0][0], programs[1][0]] {
        until_cached(&mut warm, skipping).await;
    }
    for program in programs {
        let mut through = gate.connect(&schema).await;
        let mut past = server.connect(&schema).await;
        for sql in program {
            let (through, past) = (
                answer(&mut through, sql).await,
                answer(&mut past, sql).await,
            );
            // Row counts of the table differ by what both sides insert; what they say of the session must not.
            if !sql.starts_with("SELECT COUNT(*) FROM") {
                assert_eq!(through, past, "{sql} in {program:?}");
            }
        }
    }
}

/// Variables that no row depends on, but an error or a warning.
#[tokio::test]
async fn a_variable_that_fails_a_statement_or_warns_is_seen_as_past_the_proxy() {
    let (server, gate, schema) = rig();
    let shape =
        "SELECT LENGTH(ST_Buffer(POINT(id, id), 1, ST_Buffer_Strategy('point_circle', 8))) FROM t";
    let range = "SELECT v FROM t WHERE id IN (1, 2, 3)";
    let mut warm = gate.connect(&schema).await;
    for sql in [shape, range] {
        until_cached(&mut warm, sql).await;
    }
    let programs = [
        ["SET max_points_in_geometry = 3", shape],
        ["SET range_optimizer_max_mem_size = 1", range],
    ];
    for program in programs {
        let mut through = gate.connect(&schema).await;
        let mut past = server.connect(&schema).await;
        for sql in program.into_iter().chain(["SHOW WARNINGS"]) {
            let told = answer(&mut through, sql).await;
            assert_eq!(told, answer(&mut past, sql).await, "{sql} in {program:?}");
        }
        assert_ne!(answer(&mut past, "SHOW WARNINGS").await, Ok(Vec::new()));
    }
}

#[tokio::test]
async fn preparing_an_aggregate_leaves_the_row_count_alone() {
    let (_server, gate, schema) = rig();
    let mut conn = gate.connect(&schema).await;
    conn.query_drop("UPDATE t SET v = v + 10").await.unwrap();
    let statement = conn.prep("SELECT SUM(v) FROM t WHERE v > ?").await.unwrap();
    let count: Option<i64> = conn.query_first("SELECT ROW_COUNT()").await.unwrap();
    // The driver's own PREPARE sets it to 0 past the proxy as well; ours must add nothing (-1 is a query's).
    assert_ne!(count, Some(-1));
    conn.close(statement).await.unwrap();
}

#[tokio::test]
async fn a_writer_past_the_log_makes_no_answer_stale() {
    let (_server, gate, schema) = rig();
    let mut reader = gate.connect(&schema).await;
    let sql = "SELECT SUM(v) FROM t";
    until_cached(&mut reader, sql).await;
    let mut writer = connect(gate.app_port, "root", "", &schema).await;
    writer
        .query_drop("SET @@SESSION.SQL_LOG_BIN = 0")
        .await
        .unwrap();
    for round in 1..=20_i64 {
        writer
            .query_drop("UPDATE t SET v = v + 1 WHERE id = 1")
            .await
            .unwrap();
        let sum: Option<i64> = reader.query_first(sql).await.unwrap();
        assert_eq!(sum, Some(6 + round), "while it writes past the log");
    }
    writer.disconnect().await.unwrap();
    let sum: Option<i64> = reader.query_first(sql).await.unwrap();
    assert_eq!(sum, Some(26), "after it has left");
    // And service comes back.
    until_cached(&mut reader, sql).await;
    let sum: Option<i64> = reader.query_first(sql).await.unwrap();
    assert_eq!(sum, Some(26));
}

#[tokio::test]
async fn a_silent_client_is_closed_and_a_busy_one_is_not() {
    let (server, _, schema) = rig();
    let gate = Tidegate::of(&server)
        .set("client.idle_ms_max", "1000")
        .start();
    let mut silent = gate.connect(&schema).await;
    silent.query_drop("DO 1").await.unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let open = gate
            .admin::<i64>("SELECT COUNT(*) FROM sessions WHERE user = 'app'")
            .await;
        if open == [0] {
            break;
        }
        assert!(
            std::time::Instant::now() < end,
            "{open:?} sessions are still there"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(silent.query_drop("DO 1").await.is_err(), "it was closed");
    let mut busy = gate.connect(&schema).await;
    let slept: Option<i64> = busy.query_first("SELECT SLEEP(3)").await.unwrap();
    assert_eq!(slept, Some(0));
}
