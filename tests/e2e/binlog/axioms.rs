//! What the gate's argument takes for granted of a server, measured on this one while writers commit in every way:
//! A1 nothing is visible before the status statement covers it; A2 what is in `gtid_executed` is visible; A3 visible is a prefix
//! of the log. The log itself is read afterwards by SHOW BINLOG EVENTS, not by our own reader.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::*;

const WRITERS: usize = 5;
const RUN: Duration = Duration::from_secs(4);

/// One commit of the log.
struct Commit {
    writer: usize,
    gtid: u64,
    end: (u32, u64),
}

/// What a reader saw: the writers' counters, and what the server said before or after.
enum Seen {
    /// `gtid_executed` before the read.
    Executed(String, Vec<u64>),
    /// The status position after the read.
    Position((u32, u64), Vec<u64>),
}

/// Adds one to the writer's counter, each writer in a way of its own.
async fn write(writer: usize, n: u64, conn: &mut Conn, other: &mut Conn) {
    let update = format!("UPDATE d.w{writer} SET v = v + 1");
    let xid = format!("'{writer}-{n}'");
    match writer {
        0 => conn.query_drop(update).await.unwrap(),
        1 => {
            let both = "UPDATE d.shared SET v = v + 1";
            conn.query_drop(format!("BEGIN; {update}; {both}; COMMIT"))
                .await
                .unwrap();
        }
        2 => {
            let text = format!("SET binlog_transaction_compression = ON; {update}");
            conn.query_drop(text).await.unwrap();
        }
        _ => {
            let text = format!("XA START {xid}; {update}; XA END {xid}; XA PREPARE {xid}");
            conn.query_drop(text).await.unwrap();
            // Writer 3 commits its branch itself, writer 4 lets another session do it.
            let committer = if writer == 3 { conn } else { other };
            committer
                .query_drop(format!("XA COMMIT {xid}"))
                .await
                .unwrap();
        }
    }
}

async fn counters(conn: &mut Conn) -> Vec<u64> {
    let columns: Vec<String> = (0..WRITERS)
        .map(|w| format!("(SELECT v FROM d.w{w})"))
        .collect();
    let row: Row = conn
        .query_first(format!("SELECT {}", columns.join(", ")))
        .await
        .unwrap()
        .unwrap();
    (0..WRITERS).map(|w| row.get(w).unwrap()).collect()
}

fn place(file: &str, offset: u64) -> (u32, u64) {
    (file.rsplit('.').next().unwrap().parse().unwrap(), offset)
}

/// Every commit that changed a writer's counter, in log order.
fn commits(server: &MySql) -> Vec<Commit> {
    let mut commits = Vec::new();
    let mut prepared: HashMap<String, usize> = HashMap::new();
    let files = server.run("SHOW BINARY LOGS");
    for file in files.lines().map(|line| line.split('\t').next().unwrap()) {
        let (mut gtid, mut writer, mut branch) = (0, None, None);
        for line in server
            .run(&format!("SHOW BINLOG EVENTS IN '{file}'"))
            .lines()
        {
            let cells: Vec<&str> = line.split('\t').collect();
            let [_, _, kind, _, end, info] = cells[..] else {
                continue;
            };
            let end = place(file, end.parse().unwrap());
            match kind {
                "Gtid" => {
                    gtid = info
                        .trim_end_matches('\'')
                        .rsplit(':')
                        .next()
                        .unwrap()
                        .parse()
                        .unwrap();
                    (writer, branch) = (None, None);
                }
                "Table_map" => {
                    let name = info.split("(d.w").nth(1);
                    let number = name.map(|n| n.trim_end_matches(')').parse().unwrap());
                    writer = number.or(writer);
                }
                "Query" if info.starts_with("XA START ") => branch = Some(info[9..].to_owned()),
                "XA_prepare" => {
                    prepared.insert(branch.take().unwrap(), writer.unwrap());
                }
                "Query" if info.starts_with("XA COMMIT ") => {
                    let writer = prepared[&info[10..]];
                    commits.push(Commit { writer, gtid, end });
                }
                "Xid" => {
                    commits.extend(writer.map(|writer| Commit { writer, gtid, end }));
                }
                _ => {}
            }
        }
    }
    commits
}

/// Whether `uuid:1-5:7` contains a number.
fn contains(executed: &str, number: u64) -> bool {
    executed.trim().split(':').skip(1).any(|range| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        (low.parse().unwrap()..=high.parse().unwrap()).contains(&number)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_keeps_the_order_that_the_gate_relies_on() {
    let server = MySql::start(&[]);
    server.run(
        "CREATE DATABASE d; CREATE TABLE d.shared (v BIGINT); INSERT INTO d.shared VALUES (0)",
    );
    for writer in 0..WRITERS {
        server.run(&format!(
            "CREATE TABLE d.w{writer} (v BIGINT); INSERT INTO d.w{writer} VALUES (0)"
        ));
    }
    server.run("RESET BINARY LOGS AND GTIDS");
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicUsize::new(0));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (mut conn, mut other) = (server.connect_root().await, server.connect_root().await);
        let (stop, written) = (stop.clone(), written.clone());
        writers.push(tokio::spawn(async move {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                write(writer, n, &mut conn, &mut other).await;
                written.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let mut readers = Vec::new();
    for reader in 0..2 {
        let mut conn = server.connect_root().await;
        let stop = stop.clone();
        readers.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                if reader == 0 {
                    let executed: Option<String> = conn
                        .query_first("SELECT @@GLOBAL.gtid_executed")
                        .await
                        .unwrap();
                    seen.push(Seen::Executed(executed.unwrap(), counters(&mut conn).await));
                } else {
                    let values = counters(&mut conn).await;
                    let row: Option<Row> =
                        conn.query_first("SHOW BINARY LOG STATUS").await.unwrap();
                    let row = row.unwrap();
                    let (file, offset): (String, u64) = (row.get(0).unwrap(), row.get(1).unwrap());
                    seen.push(Seen::Position(place(&file, offset), values));
                }
            }
            seen
        }));
    }
    sleep(RUN).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let mut seen = Vec::new();
    for reader in readers {
        seen.extend(reader.await.unwrap());
    }
    judge(&commits(&server), &seen, written.load(Ordering::Relaxed));
}

fn judge(commits: &[Commit], seen: &[Seen], written: usize) {
    assert_eq!(commits.len(), written, "the log has every write once");
    let mut ends: Vec<Vec<(u32, u64)>> = vec![Vec::new(); WRITERS];
    for commit in commits {
        ends[commit.writer].push(commit.end);
    }
    let in_log =
        |writer: usize, until: (u32, u64)| ends[writer].partition_point(|end| *end <= until) as u64;
    let (mut early, mut missing, mut gaps, mut ahead) =
        ([0; WRITERS], [0; WRITERS], [0; WRITERS], 0);
    for seen in seen {
        let values = match seen {
            Seen::Executed(_, values) | Seen::Position(_, values) => values,
        };
        for (writer, value) in values.iter().enumerate() {
            let last = *value as usize;
            let end = last.checked_sub(1).map(|n| ends[writer][n]);
            match seen {
                Seen::Position(position, _) => {
                    early[writer] += u32::from(end.is_some_and(|end| end > *position));
                    ahead += u32::from(in_log(writer, *position) > *value);
                }
                Seen::Executed(executed, _) => {
                    let mine = commits.iter().filter(|c| c.writer == writer);
                    let next = mine.skip(last).take(3);
                    missing[writer] += next.filter(|c| contains(executed, c.gtid)).count();
                }
            }
            // Whatever of the others stands before the last commit seen must be seen too.
            for (other, seen_of_other) in values.iter().enumerate() {
                let must = end.map_or(0, |end| in_log(other, end));
                gaps[other] += u32::from(must > *seen_of_other);
            }
        }
    }
    println!(
        "{} commits, {} reads: visible before its position {early:?}, executed but not visible {missing:?}, \
         gaps {gaps:?}; position ahead of visibility {ahead} times",
        commits.len(),
        seen.len()
    );
    assert_eq!(
        (early, missing, gaps),
        ([0; WRITERS], [0; WRITERS], [0; WRITERS])
    );
}
