//! Transactions as the admin schema shows them, against what the server's own instruments say of the same ones.

use mysql_async::prelude::Queryable;

use crate::support::{MySql, Tidegate};

/// What a session sets before each of its transactions, and how it begins it.
const TRANSACTIONS: &[(&str, &str)] = &[
    ("", "BEGIN"),
    ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "BEGIN"),
    // Used up by the one before.
    ("", "BEGIN"),
    (
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "BEGIN",
    ),
    ("", "START TRANSACTION READ ONLY"),
    ("SET @@transaction_isolation = 'READ-UNCOMMITTED'", "BEGIN"),
    ("SET transaction_isolation = 'SERIALIZABLE'", "BEGIN"),
    ("SET @@SESSION.transaction_isolation = DEFAULT", "BEGIN"),
];

#[tokio::test]
async fn isolation_levels_are_those_that_the_server_used() {
    let server = MySql::start(&["--transaction-isolation=REPEATABLE-READ"]);
    server
        .run("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY); INSERT INTO d.t VALUES (1)");
    let gate = Tidegate::of(&server).start();
    let mut conn = gate.connect("d").await;
    let id: Option<u64> = conn.query_first("SELECT CONNECTION_ID()").await.unwrap();
    for (number, (set, begin)) in TRANSACTIONS.iter().enumerate() {
        if !set.is_empty() {
            conn.query_drop(*set).await.unwrap();
        }
        conn.query_drop(*begin).await.unwrap();
        // Each has one statement more than the one before: moments may be equal.
        for _ in 0..=number {
            conn.query_drop("SELECT a FROM t").await.unwrap();
        }
        conn.query_drop("COMMIT").await.unwrap();
    }
    let theirs = server.run(&format!(
        "SELECT h.ISOLATION_LEVEL FROM performance_schema.events_transactions_history h
         JOIN performance_schema.threads t USING (THREAD_ID)
         WHERE t.PROCESSLIST_ID = {} AND h.AUTOCOMMIT = 'NO' ORDER BY h.EVENT_ID",
        id.unwrap()
    ));
    let theirs: Vec<String> = theirs.lines().map(|line| line.replace(' ', "-")).collect();
    let sql = "SELECT isolation FROM transactions WHERE state = 'ended' ORDER BY statements";
    let ours: Vec<(Option<String>,)> = gate.admin(sql).await;
    let ours: Vec<String> = ours
        .into_iter()
        .map(|(level,)| level.unwrap_or_else(|| "unknown".into()))
        .collect();
    assert_eq!(ours.len(), TRANSACTIONS.len());
    assert_eq!(ours, theirs);
    // What a procedure may have set is not known, and an open transaction shows what is.
    server.run("CREATE PROCEDURE d.p() SET SESSION transaction_isolation = 'SERIALIZABLE'");
    let open = "SELECT isolation FROM transactions WHERE state = 'open'";
    conn.query_drop("BEGIN").await.unwrap();
    let shown: Vec<(Option<String>,)> = gate.admin(open).await;
    assert_eq!(shown, [(Some("REPEATABLE-READ".into()),)]);
    conn.query_drop("COMMIT").await.unwrap();
    conn.query_drop("CALL p()").await.unwrap();
    conn.query_drop("BEGIN").await.unwrap();
    let shown: Vec<(Option<String>,)> = gate.admin(open).await;
    assert_eq!(shown, [(None,)]);
    conn.query_drop("COMMIT").await.unwrap();
    gate.stop();
}
