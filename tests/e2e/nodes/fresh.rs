//! Kept results and views of the old writer's time are answers no more once another server takes the writes.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use super::{SEEN_MAX, until, until_log_of};
use crate::support::mysql::{APP_PASSWORD, APP_USER, options};
use crate::support::{Tidegate, Topology};

const SUM: &str = "SELECT kind, SUM(v) FROM d.t GROUP BY kind ORDER BY kind";

/// A table whose sums are 3000 in all, on every server.
fn fill(topology: &Topology) {
    topology.servers[0].run(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, kind INT NOT NULL, v DECIMAL(12,2) NOT NULL);
         SET SESSION cte_max_recursion_depth = 100000;
         INSERT INTO d.t (kind, v) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
           SELECT i % 5, 1 FROM n",
    );
    topology.wait_copied(0);
}

async fn total(conn: &mut Conn) -> mysql_async::Result<i64> {
    let rows: Vec<(i64, String)> = conn.query(SUM).await?;
    let cents = rows
        .iter()
        .map(|(_, sum)| sum.replace('.', "").parse::<i64>().expect("a number"));
    Ok(cents.sum::<i64>() / 100)
}

async fn decided(gate: &Tidegate, reason: &str) -> i64 {
    let sql = format!(
        "SELECT CAST(COALESCE(SUM(count), 0) AS SIGNED) FROM decisions WHERE reason = '{reason}'"
    );
    let rows: Vec<(i64,)> = gate.admin(&sql).await;
    rows[0].0
}

/// Asks until an answer came as `reason` says; every answer must be `expected`.
async fn until_answered(gate: &Tidegate, conn: &mut Conn, reason: &str, expected: i64) {
    let (begin, before) = (Instant::now(), decided(gate, reason).await);
    loop {
        assert_eq!(total(conn).await.expect("an answer"), expected);
        if decided(gate, reason).await > before {
            return;
        }
        assert!(
            begin.elapsed() < 3 * SEEN_MAX,
            "never {reason}: {}",
            gate.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An answer is kept; the writer changes; what is written there past the proxy is in the next answer, for sessions from before
/// and after.
async fn turn(reason: &str, settings: &[(&str, &str)]) {
    let topology = Topology::start();
    fill(&topology);
    let mut builder = topology.tidegate();
    for (key, value) in settings {
        builder = builder.set(key, value);
    }
    let gate = builder.start();
    until_log_of(&gate, &topology.servers[0]).await;
    let mut old = gate.connect("d").await;
    until_answered(&gate, &mut old, reason, 3_000).await;
    let mut expected = 3_000;
    for (from, to, nodes) in [
        (
            0,
            1,
            [
                "backend reader up - reads",
                "second writer up - -",
                "third reader up - reads",
            ],
        ),
        (
            1,
            2,
            [
                "backend reader up - reads",
                "second reader up - reads",
                "third writer up - -",
            ],
        ),
        (
            2,
            0,
            [
                "backend writer up - -",
                "second reader up - reads",
                "third reader up - reads",
            ],
        ),
    ] {
        topology.switch_over(from, to);
        until(&gate, nodes).await;
        for round in 0..5 {
            topology.servers[to].run("UPDATE d.t SET v = v + 1 WHERE id = 7");
            expected += 1;
            let mut new = gate.connect("d").await;
            let found = [total(&mut old).await, total(&mut new).await];
            let found = found.map(|total| total.expect("an answer"));
            assert_eq!(found, [expected; 2], "round {round} after {from} to {to}");
            // Kept again, so that there is something to be wrong with.
            if round == 2 {
                until_answered(&gate, &mut new, reason, expected).await;
            }
        }
        let by_old = total(&mut old).await.expect("an answer");
        assert_eq!(by_old, expected);
    }
    gate.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kept_result_outlives_the_writer() {
    turn(
        "cache_hit",
        &[("views.enabled", "false"), ("cache.tables", "[\"d.t\"]")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_view_outlives_the_writer() {
    let settings = [
        ("cache.enabled", "false"),
        ("views.repeat_count_min", "2"),
        ("views.mean_ms_min", "0"),
        ("views.rebuild_interval_ms_min", "100"),
        ("views.size_ratio_max", "0.5"),
        ("views.gate_wait_ms_max", "1000"),
    ];
    turn("view", &settings).await;
}

/// A client through the proxy; tries until it is let in.
async fn join(port: u16) -> Conn {
    loop {
        match Conn::new(options(port, APP_USER, APP_PASSWORD, "d")).await {
            Ok(conn) => return conn,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Adds one again and again; `done` is what was acknowledged.
fn write(port: u16, done: Arc<AtomicI64>, stop: Arc<AtomicI64>) -> JoinHandle<i64> {
    tokio::spawn(async move {
        let (mut conn, mut tried) = (join(port).await, 0);
        while stop.load(SeqCst) == 0 {
            tried += 1;
            match conn
                .query_drop("UPDATE d.t SET v = v + 1 WHERE id = 7")
                .await
            {
                Ok(()) => {
                    done.fetch_add(1, SeqCst);
                }
                Err(_) => conn = join(port).await,
            }
        }
        tried
    })
}

/// Reads again and again: whatever was acknowledged before the question is in the answer.
fn read(port: u16, done: Arc<AtomicI64>, stop: Arc<AtomicI64>) -> JoinHandle<i64> {
    tokio::spawn(async move {
        let (mut conn, mut answers) = (join(port).await, 0);
        while stop.load(SeqCst) == 0 {
            let least = 3_000 + done.load(SeqCst);
            match total(&mut conn).await {
                Ok(total) => {
                    assert!(
                        total >= least,
                        "{total}, but {least} were acknowledged before"
                    );
                    answers += 1;
                }
                Err(_) => conn = join(port).await,
            }
        }
        answers
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_read_through_switchovers() {
    let topology = Topology::start();
    fill(&topology);
    let gate = topology
        .tidegate()
        .set("views.enabled", "false")
        .set("cache.tables", "[\"d.t\"]")
        .start();
    until_log_of(&gate, &topology.servers[0]).await;
    let (done, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let writer = write(gate.app_port, done.clone(), stop.clone());
    let readers: Vec<_> = (0..3)
        .map(|_| read(gate.app_port, done.clone(), stop.clone()))
        .collect();
    let topology = Arc::new(topology);
    for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 2)] {
        let turned = topology.clone();
        tokio::task::spawn_blocking(move || turned.switch_over(from, to))
            .await
            .expect("turned");
        until_log_of(&gate, &topology.servers[to]).await;
        let (begin, before) = (Instant::now(), done.load(SeqCst));
        while done.load(SeqCst) < before + 20 {
            assert!(
                begin.elapsed() < SEEN_MAX,
                "no writes after {from} to {to}: {}",
                gate.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    stop.store(1, SeqCst);
    let tried = writer.await.expect("the writer");
    for reader in readers {
        assert!(reader.await.expect("a reader") > 100);
    }
    let acknowledged = done.load(SeqCst);
    let end = total(&mut gate.connect("d").await)
        .await
        .expect("an answer")
        - 3_000;
    assert!(
        (acknowledged..=tried).contains(&end),
        "{acknowledged} <= {end} <= {tried}"
    );
    gate.stop();
}
