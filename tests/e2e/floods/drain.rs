//! SIGTERM: idle clients are closed with a word, running statements and open transactions may end within the limit, then exit 0.

use std::time::{Duration, Instant};

use super::{PATIENCE, app};
use crate::support::raw::{Raw, query};
use crate::support::{MySql, Tidegate, wait_until};

/// Waits until the server runs the statement.
fn runs(server: &MySql, statement: &str) {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '{statement}%'"
    );
    wait_until("the statement runs", PATIENCE, || {
        (server.run(&sql) == "1\n").then_some(())
    });
}

fn ask(client: &mut Raw, sql: &str) -> Result<(), u16> {
    client.send(&query(sql));
    client.answer(Instant::now() + PATIENCE)
}

#[test]
fn a_stop_waits_for_transactions_and_statements_and_for_nobody_else() {
    let server = MySql::start(&[]);
    server.run("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY)");
    let gate = Tidegate::of(&server)
        .set("runtime.shutdown_drain_ms_max", "40000")
        .set("login.handshake_ms_max", "60000")
        .set("client.idle_ms_max", "600000")
        .start();
    let (mut idle, mut trading, mut running) = (app(&gate, "d"), app(&gate, "d"), app(&gate, "d"));
    // Neither of these has said enough to be waited for.
    let (mut greeted, _) = Raw::greeted(gate.app_port, PATIENCE).expect("a greeting");
    greeted.send(&[1, 2]);
    let mut half = app(&gate, "d");
    half.send(&query("SELECT 1")[..6]);
    assert_eq!(ask(&mut trading, "BEGIN"), Ok(()));
    assert_eq!(ask(&mut trading, "INSERT INTO t VALUES (1)"), Ok(()));
    running.send(&query("SELECT SLEEP(2)"));
    runs(&server, "SELECT SLEEP");
    let start = Instant::now();
    gate.ask_to_stop();
    assert_eq!(idle.end(PATIENCE), Some(1053), "an idle client is told");
    // The transaction goes on and is committed.
    assert_eq!(ask(&mut trading, "INSERT INTO t VALUES (2)"), Ok(()));
    assert_eq!(ask(&mut trading, "COMMIT"), Ok(()));
    assert_eq!(trading.end(PATIENCE), Some(1053));
    assert_eq!(running.answer(Instant::now() + PATIENCE), Ok(()));
    assert_eq!(running.end(PATIENCE), Some(1053));
    let status = gate.wait_end();
    assert!(status.success(), "{status}:\n{}", gate.log());
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}: the half-said held the stop up",
        start.elapsed()
    );
    assert_eq!(server.run("SELECT a FROM d.t"), "1\n2\n");
    drop((greeted, half));
}

#[test]
fn a_stop_cuts_off_what_does_not_end_in_time() {
    let server = MySql::start(&[]);
    server.run("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY)");
    let gate = Tidegate::of(&server)
        .set("runtime.shutdown_drain_ms_max", "1000")
        .start();
    let (mut trading, mut running, mut stalled) =
        (app(&gate, "d"), app(&gate, "d"), app(&gate, "d"));
    assert_eq!(ask(&mut trading, "BEGIN"), Ok(()));
    assert_eq!(ask(&mut trading, "INSERT INTO t VALUES (1)"), Ok(()));
    running.send(&query("SELECT SLEEP(60)"));
    stalled.send(&query("SELECT REPEAT('x', 60000000)"));
    runs(&server, "SELECT SLEEP");
    runs(&server, "SELECT REPEAT");
    let start = Instant::now();
    gate.ask_to_stop();
    let status = gate.wait_end();
    assert!(status.success(), "{status}:\n{}", gate.log());
    assert!(
        start.elapsed() > Duration::from_millis(900) && start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    assert!(trading.end(PATIENCE).is_some() && running.end(PATIENCE).is_some());
    assert_eq!(server.run("SELECT COUNT(*) FROM d.t"), "0\n");
}
