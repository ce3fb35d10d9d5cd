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
