//! The app: several clients with short transactions and point reads, and two that show dashboards with moving date ranges.
//! Times every operation as the client sees it. Does not write the fact table: what a booking does to views and cache is shown apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::dashboards;
use crate::{Demo, SCHEMA, say};

/// How long it works.
const LASTS: Duration = Duration::from_secs(20);
/// Clients with transactions and point reads.
const CLIENTS: u32 = 4;
/// Clients that show dashboards.
const VIEWERS: u32 = 2;

/// Times of one kind of operation in microseconds.
pub struct Timed {
    /// What was timed.
    pub name: &'static str,
    /// Client-visible times.
    pub us: Histogram<u64>,
}

/// What one client did.
struct Done {
    transactions: Histogram<u64>,
    reads: Histogram<u64>,
    dashboards: Histogram<u64>,
}

impl Done {
    fn new() -> Done {
        // From 1 us to an hour, three digits.
        let empty = || Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("valid bounds");
        Done {
            transactions: empty(),
            reads: empty(),
            dashboards: empty(),
        }
    }

    fn add(&mut self, other: &Done) {
        for (all, one) in [
            (&mut self.transactions, &other.transactions),
            (&mut self.reads, &other.reads),
            (&mut self.dashboards, &other.dashboards),
        ] {
            all.add(one).expect("equal bounds");
        }
    }
}

/// Runs all clients through the proxy and merges their times.
pub async fn run(demo: &Demo) -> Vec<Timed> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for seed in 0..CLIENTS + VIEWERS {
        let conn = demo.gate.connect(SCHEMA).await;
        let stop = stop.clone();
        tasks.push(if seed < CLIENTS {
            tokio::spawn(client(conn, demo.rows, seed, stop))
        } else {
            tokio::spawn(viewer(conn, seed, stop))
        });
    }
    let start = Instant::now();
    while start.elapsed() < LASTS {
        // The time is the workload's length, not a wait for something.
        tokio::time::sleep(LASTS / 4).await;
        let seen: Vec<(Option<i64>,)> = demo
            .gate
            .admin("SELECT SUM(executions) FROM tidegate.queries WHERE schema_name = 'shop'")
            .await;
        let seen = seen.first().and_then(|row| row.0).unwrap_or(0);
        say(&format!("  {seen} statements seen by the proxy"));
    }
    stop.store(true, Ordering::Relaxed);
    let mut all = Done::new();
    for task in tasks {
        all.add(&task.await.expect("a client of the workload failed"));
    }
    vec![
        Timed {
            name: "point read",
            us: all.reads,
        },
        Timed {
            name: "short transaction",
            us: all.transactions,
        },
        Timed {
            name: "dashboard",
            us: all.dashboards,
        },
    ]
}

/// A small generator of its own, so that the same seed does the same work in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        // Marsaglia's xorshift64: plenty for choosing rows.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

async fn client(mut conn: Conn, rows: u64, seed: u32, stop: Arc<AtomicBool>) -> Done {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ u64::from(seed + 1));
    let mut done = Done::new();
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..4 {
            let start = Instant::now();
            read(&mut conn, &mut dice, rows)
                .await
                .expect("a point read works");
            record(&mut done.reads, start);
        }
        let start = Instant::now();
        transaction(&mut conn, &mut dice)
            .await
            .expect("a transaction works");
        record(&mut done.transactions, start);
    }
    let _ = conn.disconnect().await;
    done
}

/// One row by key: half as text, half as a prepared statement.
async fn read(conn: &mut Conn, dice: &mut Dice, rows: u64) -> mysql_async::Result<()> {
    let id = 1 + dice.below(rows);
    if id.is_multiple_of(2) {
        let sql = format!(
            "SELECT project_id, amount, status FROM financial_transactions WHERE transaction_id = {id}"
        );
        conn.query_drop(sql).await
    } else {
        let sql = "SELECT name, project_type, budget FROM projects WHERE project_id = ?";
        conn.exec_drop(sql, (1 + id % 2000,)).await
    }
}

/// Notes an event on a project: read it, write the event, count the change, commit.
async fn transaction(conn: &mut Conn, dice: &mut Dice) -> mysql_async::Result<()> {
    let project = 1 + dice.below(2000);
    conn.query_drop("START TRANSACTION").await?;
    conn.query_drop(format!(
        "SELECT name, budget FROM projects WHERE project_id = {project}"
    ))
    .await?;
    conn.exec_drop(
        "INSERT INTO business_events (event_date, project_id, event_type, note) VALUES ('2025-12-01', ?, 'COMMENTED', 'seen')",
        (project,),
    )
    .await?;
    conn.query_drop(format!(
        "UPDATE projects SET changes = changes + 1 WHERE project_id = {project}"
    ))
    .await?;
    conn.query_drop("COMMIT").await
}

/// Shows one dashboard after the other; the date range moves each time.
async fn viewer(mut conn: Conn, seed: u32, stop: Arc<AtomicBool>) -> Done {
    let boards = dashboards::all();
    let mut done = Done::new();
    let mut turn = seed * 50;
    while !stop.load(Ordering::Relaxed) {
        for board in &boards {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let start = Instant::now();
            conn.query_drop(
                board.sql(dashboards::APP_STEPS.start + turn % dashboards::APP_STEPS.len() as u32),
            )
            .await
            .expect("a dashboard works");
            record(&mut done.dashboards, start);
        }
        turn += 1;
    }
    let _ = conn.disconnect().await;
    done
}

fn record(times: &mut Histogram<u64>, start: Instant) {
    times.saturating_record(start.elapsed().as_micros().max(1) as u64);
}
