//! A client that never says the same thing twice: texts, apps and errors without end.

use std::time::Instant;

use super::{PATIENCE, app, assert_serves};
use crate::support::{MySql, Tidegate};

/// Connections that send at once.
const CONNECTIONS: usize = 4;
/// Texts sent at once before their answers are read.
const BATCH: usize = 250;
/// What the second half of a flood may add to the memory that the first half left behind.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

/// Statement number `n`: no two have the same digest. Reads, aggregates that views look at, texts that are no SQL, new app names.
fn text(n: usize) -> String {
    match n / 7 % 4 {
        0 => format!("SELECT 1 AS c{n}"),
        1 => format!("SELECT COUNT(*) AS c{n}, SUM(a) FROM t GROUP BY b"),
        2 => format!("FLOOD{n} IS NO SQL"),
        _ => format!("DO @v{n} /*app='a{n}'*/"),
    }
}

/// Sends texts `from..to` over several connections at once; answers how many were answered with an error.
fn send(gate: &Tidegate, schema: &str, from: usize, to: usize) -> usize {
    let lane = |lane: usize| {
        let mut client = app(gate, schema);
        let texts: Vec<String> = (from + lane..to).step_by(CONNECTIONS).map(text).collect();
        let errors = texts
            .chunks(BATCH)
            .map(|batch| client.ask_all(batch, Instant::now() + PATIENCE).1);
        errors.sum::<usize>()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|n| scope.spawn(move || lane(n)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .sum()
    })
}

/// Two halves of a flood of `count` texts, and what must be seen afterwards.
async fn flood(gate: &Tidegate, schema: &str, count: usize, digests_max: u64) {
    let start = Instant::now();
    let mut errors = send(gate, schema, 0, count / 2);
    let half = gate.resident_bytes();
    errors += send(gate, schema, count / 2, count);
    let whole = gate.resident_bytes();
    let no_sql = (0..count).filter(|n| text(*n).ends_with("NO SQL")).count();
    assert_eq!(errors, no_sql);
    println!(
        "digest flood: {count} texts in {:.1} s, resident after the half {} MiB, after all {} MiB",
        start.elapsed().as_secs_f64(),
        half >> 20,
        whole >> 20
    );
    assert!(
        whole < half + GROWTH_BYTES_MAX,
        "the second half of the flood added {} bytes",
        whole - half
    );
    let of_flood = "user <> '' AND app <> 'tidegate'";
    let sums = format!(
        "SELECT COUNT(*), SUM(executions), SUM(errors), SUM(digest_text = '_other') FROM queries WHERE {of_flood}"
    );
    let (rows, executions, failed, other): (u64, u64, u64, u64) = gate.admin(&sums).await[0];
    // Rows that were given up are still shown until their worker has moved them to `_other`.
    assert!(
        rows <= digests_max * 3 / 2 && rows > digests_max / 2,
        "{rows} rows"
    );
    assert_eq!((executions, failed), (count as u64, no_sql as u64));
    assert!(other > 0, "no row for what found no room");
    let lost: Vec<(String, u64)> = gate.admin("SELECT what, count FROM lost").await;
    println!("digest flood: lost {lost:?}");
    assert!(
        lost.iter().any(|(_, count)| *count > 0),
        "nothing was counted as lost: {lost:?}"
    );
    let told: Vec<(u64,)> = gate
        .admin("SELECT SUM(count) FROM errors WHERE error_number = 1064")
        .await;
    assert_eq!(told, [(no_sql as u64,)]);
    assert_serves(gate);
}

#[tokio::test]
async fn texts_without_end_are_counted_in_bounded_memory() {
    let server = MySql::shared();
    let schema = server.schema("digests");
    server.run(&format!(
        "CREATE TABLE {schema}.t (a INT PRIMARY KEY, b INT); INSERT INTO {schema}.t VALUES (1, 1), (2, 1)"
    ));
    let gate = Tidegate::of(server)
        .set("analytics.digests_max", "2000")
        .set("statements.cache_entries_max", "2000")
        .start();
    flood(&gate, &schema, 60_000, 2_000).await;
    gate.stop();
}
