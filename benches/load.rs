//! The load: clients that each ask for one row by key, again and again, and check that they get it. Measures rate and latency,
//! and the CPU time that a process took meanwhile.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Statement};

use crate::support::mysql::{APP_PASSWORD, APP_USER, connect};

/// Rows of the table.
pub const ROWS: u32 = 100_000;
/// Clients at a time.
pub const CLIENTS: u32 = 8;

/// Text or binary protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// COM_QUERY.
    Text,
    /// COM_STMT_EXECUTE of a statement prepared once.
    Prepared,
}

impl Kind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Prepared => "prepared",
        }
    }
}

/// The account of the crowds. It has no password.
pub const USER: &str = "crowd";

/// What each client of a crowd does again and again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// One row by key, prepared.
    Prepared,
    /// A transaction of ten rows by key and a sum over a hundred.
    ReadOnly,
    /// A transaction of four rows by key and a change of one.
    ReadWrite,
}

impl Work {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Work::Prepared => "point selects",
            Work::ReadOnly => "read-only transactions",
            Work::ReadWrite => "read-write transactions",
        }
    }
}

/// One run.
pub struct Sample {
    /// Queries a second.
    pub qps: f64,
    /// CPU time of the charged process per query in microseconds; None when no process is charged.
    pub cpu_us: Option<f64>,
    /// Median client-visible time in microseconds.
    pub p50_us: f64,
    /// 99th percentile of it.
    pub p99_us: f64,
    /// Memory of the charged process at the end.
    pub rss_mib: Option<f64>,
    /// Statements that failed.
    pub errors: u64,
}

/// The statements that make the table.
pub fn setup() -> String {
    format!(
        "CREATE DATABASE bench; USE bench; SET SESSION cte_max_recursion_depth = {ROWS};
         CREATE TABLE t (id INT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL);
         INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         SELECT i, i * 7919 % {ROWS}, RPAD(CONCAT('row-', i), 119, 'abcdefghij'), RPAD('', 59, '0123456789') FROM n;
         CREATE USER {USER}@'%' IDENTIFIED BY ''; GRANT SELECT, UPDATE ON bench.* TO {USER}@'%'"
    )
}

/// Runs the load against a port for that long after a warm-up of a second.
pub fn run(port: u16, charged: Option<u32>, kind: Kind, seconds: u32) -> Sample {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut clients = Vec::new();
        for seed in 0..CLIENTS {
            clients.push((seed, connect(port, APP_USER, APP_PASSWORD, "bench").await));
        }
        let (clients, _) = burst(clients, kind, Duration::from_secs(1)).await;
        let (cpu, start) = (charged.map(cpu_us), Instant::now());
        let (clients, times) = burst(clients, kind, Duration::from_secs(u64::from(seconds))).await;
        let elapsed = start.elapsed().as_secs_f64();
        let cpu = charged
            .zip(cpu)
            .map(|(id, before)| (cpu_us(id) - before) / times.len() as f64);
        for (_, conn) in clients {
            let _ = conn.disconnect().await;
        }
        let at = |quantile| times.value_at_quantile(quantile) as f64;
        Sample {
            qps: times.len() as f64 / elapsed,
            cpu_us: cpu,
            p50_us: at(0.5),
            p99_us: at(0.99),
            rss_mib: charged.map(rss_mib),
            errors: 0,
        }
    })
}

/// Runs one kind of work with so many clients for that long after a warm-up of a second. What fails is counted.
pub fn crowd(port: u16, charged: Option<u32>, work: Work, clients: u32, seconds: u32) -> Sample {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut members = Vec::new();
        for seed in 0..clients {
            let mut conn = connect(port, USER, "", "bench").await;
            let one = conn
                .prep("SELECT c FROM t WHERE id = ?")
                .await
                .expect("it can be prepared");
            let sum = conn.prep("SELECT SUM(k) FROM t WHERE id BETWEEN ? AND ? + 99");
            let sum = sum.await.expect("it can be prepared");
            let change = conn.prep("UPDATE t SET k = k + 1 WHERE id = ?").await;
            let change = change.expect("it can be prepared");
            members.push(Member {
                conn,
                one,
                sum,
                change,
                id: seed * 12_345 % ROWS,
            });
        }
        let (members, ..) = together(members, work, Duration::from_secs(1)).await;
        let (cpu, start) = (charged.map(cpu_us), Instant::now());
        let lasts = Duration::from_secs(u64::from(seconds));
        let (members, times, statements, errors) = together(members, work, lasts).await;
        let elapsed = start.elapsed().as_secs_f64();
        let sample = Sample {
            qps: statements as f64 / elapsed,
            cpu_us: charged
                .zip(cpu)
                .map(|(id, before)| (cpu_us(id) - before) / statements as f64),
            p50_us: times.value_at_quantile(0.5) as f64,
            p99_us: times.value_at_quantile(0.99) as f64,
            rss_mib: charged.map(rss_mib),
            errors,
        };
        for member in members {
            let _ = member.conn.disconnect().await;
        }
        sample
    })
}

/// One client of a crowd.
struct Member {
    conn: Conn,
    one: Statement,
    sum: Statement,
    change: Statement,
    id: u32,
}

type Together = (Vec<Member>, Histogram<u64>, u64, u64);

async fn together(members: Vec<Member>, work: Work, lasts: Duration) -> Together {
    let end = Instant::now() + lasts;
    let tasks: Vec<_> = members
        .into_iter()
        .map(|member| tokio::spawn(member.works(work, end)))
        .collect();
    let mut all = times();
    let (mut members, mut statements, mut errors) = (Vec::new(), 0, 0);
    for task in tasks {
        let (member, times, done, failed) = task.await.expect("a client failed");
        all.add(&times).expect("histograms that grow can be added");
        members.push(member);
        statements += done;
        errors += failed;
    }
    (members, all, statements, errors)
}

impl Member {
    async fn works(mut self, work: Work, end: Instant) -> (Self, Histogram<u64>, u64, u64) {
        let mut spent = times();
        let (mut statements, mut errors) = (0, 0);
        loop {
            let start = Instant::now();
            if start >= end {
                return (self, spent, statements, errors);
            }
            match self.once(work).await {
                Ok(done) => statements += done,
                Err(_) => errors += 1,
            }
            spent.saturating_record(start.elapsed().as_micros() as u64);
        }
    }

    fn next(&mut self) -> u32 {
        self.id = (self.id + 7919) % ROWS;
        self.id + 1
    }

    async fn row(&mut self) -> Result<(), mysql_async::Error> {
        let id = self.next();
        let found: Option<String> = self.conn.exec_first(&self.one, (id,)).await?;
        assert!(
            found.is_some_and(|text| text.starts_with("row-")),
            "row {id} was not found"
        );
        Ok(())
    }

    /// Does the work once; the number of statements.
    async fn once(&mut self, work: Work) -> Result<u64, mysql_async::Error> {
        if work == Work::Prepared {
            self.row().await?;
            return Ok(1);
        }
        self.conn.query_drop("BEGIN").await?;
        let rows = if work == Work::ReadOnly { 10 } else { 4 };
        for _ in 0..rows {
            self.row().await?;
        }
        let id = self.next();
        match work {
            Work::ReadWrite => self.conn.exec_drop(&self.change, (id,)).await?,
            _ => self.conn.exec_drop(&self.sum, (id, id)).await?,
        }
        self.conn.query_drop("COMMIT").await?;
        Ok(rows + 3)
    }
}

type Client = (u32, Conn);

async fn burst(clients: Vec<Client>, kind: Kind, lasts: Duration) -> (Vec<Client>, Histogram<u64>) {
    let end = Instant::now() + lasts;
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(work(client, kind, end)))
        .collect();
    let mut all = times();
    let mut clients = Vec::new();
    for task in tasks {
        let (client, times) = task.await.expect("a client failed");
        all.add(&times).expect("histograms that grow can be added");
        clients.push(client);
    }
    (clients, all)
}

async fn work((seed, mut conn): Client, kind: Kind, end: Instant) -> (Client, Histogram<u64>) {
    const SQL: &str = "SELECT c FROM t WHERE id = ?";
    let statement = conn.prep(SQL).await.expect("it can be prepared");
    let mut spent = times();
    let mut id = seed * 12_345;
    loop {
        // Steps by a number prime to ROWS: every row comes by.
        id = (id + 7919) % ROWS;
        let start = Instant::now();
        if start >= end {
            return ((seed, conn), spent);
        }
        let found: Option<String> = match kind {
            Kind::Prepared => conn
                .exec_first(&statement, (id + 1,))
                .await
                .expect("it can be run"),
            Kind::Text => conn
                .query_first(format!("SELECT c FROM t WHERE id = {}", id + 1))
                .await
                .expect("it can be run"),
        };
        spent.saturating_record(start.elapsed().as_micros() as u64);
        assert!(
            found.is_some_and(|text| text.starts_with("row-")),
            "row {} was not found",
            id + 1
        );
    }
}

/// User and system time of a process in microseconds since its start, in steps of the kernel's clock tick.
fn cpu_us(id: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("the process runs");
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15, counted from 1.
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<f64>().expect("a number"))
        .sum();
    // SAFETY: a plain query of a system constant.
    let a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    ticks / a_second * 1e6
}

/// Resident memory of a process.
fn rss_mib(id: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/statm")).expect("the process runs");
    let pages: f64 = text
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(f64::NAN);
    pages * 4096.0 / f64::from(1 << 20)
}

/// Microseconds up to a minute.
fn times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("valid bounds")
}
