//! The history file behind the built program: written at its end, read after a new start, and in nobody's way when it
//! cannot be used.

use mysql_async::prelude::Queryable;

use crate::support::{MySql, Tidegate, wait_until};
use std::time::{Duration, Instant};

/// What history shows of one schema: kind, user, executions, errors, rows, whether times add up, text.
type Shown = (String, String, u64, u64, u64, bool, String);

async fn shown(gate: &Tidegate, schema: &str) -> Vec<Shown> {
    let mut rows: Vec<Shown> = gate
        .admin(&format!(
            "SELECT kind, user, SUM(executions), SUM(errors), SUM(rows_sent), \
             MIN(p50_us > 0 AND p50_us <= p99_us AND total_us >= by_backend_us AND total_us > 0), MAX(digest_text) \
             FROM query_history WHERE schema_name = '{schema}' AND kind <> 'insert' GROUP BY digest, kind, user"
        ))
        .await;
    rows.sort();
    rows
}

async fn run(gate: &Tidegate, schema: &str, times: u64) {
    let mut app = gate.connect(schema).await;
    for at in 0..times {
        let rows: Vec<u64> = app
            .query(format!("SELECT a FROM t WHERE a <> {at}"))
            .await
            .unwrap();
        assert_eq!(rows.len(), 2);
    }
    assert!(app.query_drop("SELECT nothing FROM t").await.is_err());
    app.disconnect().await.unwrap();
}

/// Waits until the file was opened so often: that happens beside the start of the rest.
fn opened(gate: &Tidegate, times: usize) {
    wait_until("the history file is open", Duration::from_secs(20), || {
        (gate.log().matches("history is on").count() == times).then_some(())
    });
}

/// Statements of two runs of the program are told by the third, each as often as it ran.
#[tokio::test]
async fn what_ran_is_there_after_a_stop() {
    let server = MySql::shared();
    let schema = server.schema("past");
    server.run(&format!(
        "CREATE TABLE {schema}.t (a BIGINT PRIMARY KEY); INSERT INTO {schema}.t VALUES (1000), (1001)"
    ));
    let gate = Tidegate::of(server).start();
    run(&gate, &schema, 5).await;
    gate.stop();
    gate.start_again();
    opened(&gate, 2);
    let expected = |runs: u64| {
        let row = |executions, errors, rows, text: &str| -> Shown {
            let (kind, user) = ("select".to_owned(), "app".to_owned());
            (kind, user, executions, errors, rows, true, text.to_owned())
        };
        [
            row(runs, runs, 0, "SELECT `nothing` FROM `t`"),
            row(5 * runs, 0, 10 * runs, "SELECT `a` FROM `t` WHERE `a` != ?"),
        ]
    };
    assert_eq!(shown(&gate, &schema).await, expected(1));
    // The same statements again, in the same minute or a later one.
    run(&gate, &schema, 5).await;
    gate.stop();
    gate.start_again();
    opened(&gate, 3);
    assert_eq!(shown(&gate, &schema).await, expected(2));
    let about: Vec<(String, u64, u64, bool, Option<String>)> = gate
        .admin("SELECT state, lost, unread, minutes BETWEEN 1 AND 10 AND size_bytes > 0 AND newest >= oldest, reason FROM history")
        .await;
    assert_eq!(about, [("on".to_owned(), 0, 0, true, None)]);
    assert!(gate.log().contains("history is on"));
    let recent: Vec<(u64, u64)> = gate
        .admin(&format!(
            "SELECT SUM(minute >= NOW() - INTERVAL 1 HOUR), COUNT(*) FROM query_history \
             WHERE minute BETWEEN NOW() - INTERVAL 1 DAY AND NOW() + INTERVAL 1 DAY AND schema_name = '{schema}'"
        ))
        .await;
    assert!(recent[0].0 >= 2 && recent[0].0 == recent[0].1, "{recent:?}");
    gate.stop();
}

/// A minute is written when it ends, and then no crash takes it away.
#[tokio::test]
async fn a_minute_that_ended_survives_a_crash() {
    let server = MySql::shared();
    let schema = server.schema("crash");
    server.run(&format!(
        "CREATE TABLE {schema}.t (a BIGINT PRIMARY KEY); INSERT INTO {schema}.t VALUES (1000), (1001)"
    ));
    let gate = Tidegate::of(server).start();
    run(&gate, &schema, 3).await;
    let until = Instant::now() + Duration::from_secs(90);
    let written = loop {
        let rows = shown(&gate, &schema).await;
        // All of them: a minute can end between two statements.
        if rows.iter().map(|row| row.2).sum::<u64>() == 4 {
            break rows;
        }
        assert!(Instant::now() < until, "{rows:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    gate.kill9();
    gate.start_again();
    opened(&gate, 2);
    assert_eq!(shown(&gate, &schema).await, written);
    gate.stop();
}

/// A file that is damaged stays as it is; the proxy says so and serves.
#[tokio::test]
async fn a_damaged_file_is_in_nobodys_way() {
    let server = MySql::shared();
    let folder = crate::support::process::new_folder("damaged");
    let path = folder.join("history.db");
    let garbage = vec![0x5A; 10_000];
    std::fs::write(&path, &garbage).unwrap();
    let gate = Tidegate::of(server)
        .set("history.path", &format!("\"{}\"", path.display()))
        .start();
    let mut app = gate.connect("").await;
    let one: Option<u64> = app.query_first("SELECT 1").await.unwrap();
    assert_eq!(one, Some(1));
    app.disconnect().await.unwrap();
    wait_until("the log tells it", Duration::from_secs(20), || {
        let log = gate.log();
        let line = log.lines().find(|line| line.contains("history is off"))?;
        (line.contains("history.db") && line.contains("damaged")).then_some(())
    });
    let states: Vec<(String, String)> = gate.admin("SELECT state, reason FROM history").await;
    assert_eq!(states[0].0, "off");
    assert!(states[0].1.contains("it is damaged"), "{}", states[0].1);
    let none: Vec<u64> = gate.admin("SELECT executions FROM query_history").await;
    assert!(none.is_empty(), "{none:?}");
    gate.stop();
    assert!(std::fs::read(&path).unwrap() == garbage);
}

/// Without a path there is no file and no thread, and the tables say so.
#[tokio::test]
async fn no_path_no_history() {
    let gate = Tidegate::of(MySql::shared())
        .set("history.path", "\"\"")
        .start();
    let states: Vec<(String, String)> = gate.admin("SELECT state, reason FROM history").await;
    assert_eq!(
        states,
        [("off".to_owned(), "history.path is empty".to_owned())]
    );
    assert!(!gate.log().contains("history is"));
    gate.stop();
}
