//! No answer is ever older than what anybody was already told. Writers, through the proxy and past it, move money between rows and
//! book new ones; readers ask for aggregates that views and cache answer whenever they may. Each answer must hold every commit
//! that was acknowledged, and every one that any reader had seen, before it was asked for; and a sum that no transaction changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use crate::support::{MySql, Tidegate};

/// Rows at the start: enough that an aggregate takes a while, few enough that a view is built in a moment.
const ROWS: i64 = 20_000;
/// The sum of all amounts, for ever.
const TOTAL: i64 = ROWS * 100;
/// Times that writers work, then rest until views answer again.
const ROUNDS: u32 = 4;
/// Answers that must be given while they work, and from views while they rest.
const BUSY: u64 = 300;
const FROM_VIEWS: i64 = 30;
/// The longest rest; far more than views need.
const LIMIT: Duration = Duration::from_secs(60);

/// Every statement gives count and sum in its last two columns, in one row or several. `{day}` is a day before all bookings,
/// another one in each run, so that only views and base tables can answer; without it the cache can.
const QUESTIONS: [&str; 5] = [
    "SELECT grp, COUNT(*), SUM(amount) FROM ledger GROUP BY grp ORDER BY grp",
    "SELECT COUNT(*), SUM(amount) FROM ledger WHERE day >= '{day}' AND day < '2030-01-01'",
    "SELECT COUNT(*), SUM(amount) FROM ledger WHERE day >= '2024-01-01' AND day < '2030-01-01'",
    "SELECT DATE_FORMAT(day, '%Y-%m') AS month, COUNT(*) AS n, SUM(amount) AS s FROM ledger WHERE day > '{day}' GROUP BY month ORDER BY month",
    "SELECT grp, COUNT(*), SUM(amount) FROM ledger WHERE day >= '{day}' GROUP BY grp HAVING COUNT(*) > 0 ORDER BY grp",
];

/// What writers and readers know of each other.
#[derive(Default)]
struct Log {
    /// Bookings whose COMMIT was sent, or is about to be.
    started: AtomicI64,
    /// Bookings whose COMMIT was acknowledged.
    acknowledged: AtomicI64,
    /// The most bookings any answer has held.
    seen: AtomicI64,
    /// Answers checked.
    answers: AtomicU64,
    rest: AtomicBool,
    stop: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_older_than_what_anybody_was_told() {
    let server = MySql::start(&[]);
    server.run(&format!(
        "CREATE DATABASE d; USE d; SET SESSION cte_max_recursion_depth = {ROWS};
         CREATE TABLE ledger (id BIGINT PRIMARY KEY AUTO_INCREMENT, grp INT NOT NULL, day DATE NOT NULL, amount DECIMAL(15,2) NOT NULL);
         INSERT INTO ledger (grp, day, amount) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         SELECT i % 7, '2024-01-01' + INTERVAL i % 90 DAY, 100 FROM n"
    ));
    let gate = Tidegate::of(&server)
        .set("views.repeat_count_min", "2")
        .set("views.mean_ms_min", "0")
        .set("views.rebuild_interval_ms_min", "0")
        .set("views.size_ratio_max", "1.0")
        .set("views.shadow_samples", "1")
        .set("cache.auto_mean_ms_min", "0")
        .set("cache.auto_repeat_min", "1")
        .start();
    let log = Arc::new(Log::default());
    let mut tasks = Vec::new();
    for number in 0..4_u32 {
        let conn = if number % 2 == 0 {
            gate.connect("d").await
        } else {
            server.connect("d").await
        };
        tasks.push(tokio::spawn(write(conn, number, log.clone())));
    }
    for number in 0..3_usize {
        tasks.push(tokio::spawn(read(
            gate.connect("d").await,
            number,
            log.clone(),
        )));
    }
    for round in 1..=ROUNDS {
        let busy = log.answers.load(SeqCst) + BUSY;
        until(&tasks, &log, || log.answers.load(SeqCst) >= busy).await;
        log.rest.store(true, SeqCst);
        let start = Instant::now();
        let before = served(&gate).await;
        while served(&gate).await[1] < before[1] + FROM_VIEWS {
            let late = start.elapsed() > LIMIT;
            assert!(
                !late,
                "round {round}: {:?} by base, view, cache; views do not come back",
                served(&gate).await
            );
            until(&tasks, &log, || true).await;
        }
        log.rest.store(false, SeqCst);
    }
    log.stop.store(true, SeqCst);
    for task in tasks {
        task.await.expect("every writer and reader was content");
    }
    let served = served(&gate).await;
    assert!(
        served[0] > 0 && served[2] > FROM_VIEWS,
        "answers from base, view, cache: {served:?}"
    );
    gate.stop();
}

/// How many questions base tables, views and cache have answered.
async fn served(gate: &Tidegate) -> [i64; 3] {
    let sql = "SELECT SUM(by_backend), SUM(by_view), SUM(by_cache) FROM tidegate.queries WHERE digest_text LIKE '%COUNT%'";
    let rows: Vec<(Option<i64>, Option<i64>, Option<i64>)> = gate.admin(sql).await;
    let (backend, view, cache) = rows.first().copied().unwrap_or_default();
    [backend, view, cache].map(|count| count.unwrap_or(0))
}

/// Waits for a condition, a moment at least; ends all when a writer or reader has failed, whose own message then tells why.
async fn until(tasks: &[JoinHandle<()>], log: &Log, condition: impl Fn() -> bool) {
    loop {
        if tasks.iter().any(JoinHandle::is_finished) {
            log.stop.store(true, SeqCst);
            panic!("a writer or reader has failed: see its message above");
        }
        // The grain of the check.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if condition() {
            return;
        }
    }
}

/// Moves money between two rows and books a row of nothing, in one transaction; then lets some answers pass, so that there are
/// quiet times for views and cache and busy ones against them.
async fn write(mut conn: Conn, number: u32, log: Arc<Log>) {
    let mut turn = u64::from(number);
    while !log.stop.load(SeqCst) {
        turn += 1;
        let from = 1 + (turn * 7919 + u64::from(number) * 13) % (ROWS as u64 / 2);
        // Lower numbers are locked first: writers cannot deadlock over rows.
        let to = from + ROWS as u64 / 2;
        log.started.fetch_add(1, SeqCst);
        for statement in [
            "BEGIN".to_owned(),
            format!("UPDATE ledger SET amount = amount - 3 WHERE id = {from}"),
            format!("UPDATE ledger SET amount = amount + 3 WHERE id = {to}"),
            format!(
                "INSERT INTO ledger (grp, day, amount) VALUES ({}, '2024-03-05', 0)",
                turn % 7
            ),
            "COMMIT".to_owned(),
        ] {
            conn.query_drop(&statement)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        log.acknowledged.fetch_add(1, SeqCst);
        let pause = log.answers.load(SeqCst) + [0, 1, 5, 20][turn as usize % 4];
        let waits = || log.answers.load(SeqCst) < pause || log.rest.load(SeqCst);
        while waits() && !log.stop.load(SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Asks and checks. Odd turns by the binary protocol.
async fn read(mut conn: Conn, number: usize, log: Arc<Log>) {
    let mut turn = number;
    while !log.stop.load(SeqCst) {
        turn += 1;
        // Each question several times in a row, so that it is there to be cached.
        let day = format!(
            "{:04}-{:02}-{:02}",
            1900 + turn % 100,
            1 + turn % 12,
            1 + turn % 28
        );
        let sql = &QUESTIONS[turn / 8 % QUESTIONS.len()].replace("{day}", &day);
        let told = log.acknowledged.load(SeqCst).max(log.seen.load(SeqCst));
        let rows: Vec<mysql_async::Row> = if turn.is_multiple_of(2) {
            conn.query(sql).await
        } else {
            conn.exec(sql, ()).await
        }
        .expect("the question is answered");
        let possible = log.started.load(SeqCst);
        let (mut count, mut total) = (-ROWS, 0.0);
        for row in &rows {
            count += row.get::<i64, _>(row.len() - 2).expect("a count");
            total += row.get::<f64, _>(row.len() - 1).expect("a sum");
        }
        assert!(
            count >= told,
            "{sql}\ngave {count} bookings when {told} had been told of"
        );
        assert!(
            count <= possible,
            "{sql}\ngave {count} bookings of {possible} ever begun"
        );
        assert_eq!(total, TOTAL as f64, "{sql}\nholds half a transaction");
        log.seen.fetch_max(count, SeqCst);
        log.answers.fetch_add(1, SeqCst);
    }
}
