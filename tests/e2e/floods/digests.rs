//! A client that never says the same thing twice: texts, apps and errors without end.

use std::time::Instant;

use super::vitals::watch;
use super::{PATIENCE, app};
use crate::support::wire::{DEPRECATE_EOF, Wire};
use crate::support::{APP_PASSWORD, APP_USER, MySql, Tidegate};

/// Connections that send at once.
const CONNECTIONS: usize = 4;
/// Texts sent at once before their answers are read.
const BATCH: usize = 250;
/// One text in so many is prepared, executed and closed instead of being asked.
const PREPARED_EACH: usize = 25;

/// How much of a flood.
struct Size {
    /// Texts.
    count: usize,
    /// Limit on statements and on rows of statistics, each.
    digests_max: u64,
}

impl Size {
    /// What all of it may add to the memory that the proxy had before. For each of `digests_max`: a statement of 4 KiB in the
    /// process's cache, one in the worker's, a row of statistics of 3 KiB and what the history last saw of it, 1 KiB; half as
    /// much again for what the allocator cannot use. The rest is room for connections.
    fn growth_bytes_max(&self) -> u64 {
        self.digests_max * 18 * 1024 + (16 << 20)
    }

    /// What the second half may add to the memory that the first half left behind: the rows that the history saw first when a
    /// minute ended, and what an allocator does.
    fn second_half_bytes_max(&self) -> u64 {
        self.digests_max * 1024 * 3 / 2 + (16 << 20)
    }
}

/// Statement number `n`: no two have the same digest. Reads, aggregates that views look at, texts that are no SQL, new app names.
fn text(n: usize) -> String {
    match n / 7 % 4 {
        0 => format!("SELECT 1 AS c{n}"),
        1 => format!("SELECT COUNT(*) AS c{n}, SUM(a) FROM t GROUP BY b"),
        2 => format!("FLOOD{n} IS NO SQL"),
        _ => format!("DO @v{n} /*app='a{n}'*/"),
    }
}

fn is_no_sql(n: usize) -> bool {
    n / 7 % 4 == 2
}

fn is_prepared(n: usize) -> bool {
    n.is_multiple_of(PREPARED_EACH) && !is_no_sql(n)
}

/// Prepares a text, executes it, and closes it.
fn prepare(client: &mut Wire, n: usize) {
    let (packets, statement) = client.prepare(text(n).as_bytes());
    let statement = statement.unwrap_or_else(|| panic!("{}: {packets:?}", text(n)));
    let answer = client.execute(statement, &[]);
    assert_ne!(answer[0].payload[0], 0xFF, "{}: {answer:?}", text(n));
    client.close(statement);
}

/// Sends texts `from..to` over several connections at once; answers how many were answered with an error.
fn send(gate: &Tidegate, schema: &str, from: usize, to: usize) -> usize {
    let lane = |lane: usize| {
        let mut client = app(gate, schema);
        let preparing = Wire::login(gate.app_port, APP_USER, APP_PASSWORD, schema, DEPRECATE_EOF);
        let mut preparing = preparing.unwrap_or_else(|_| panic!("no login"));
        let (mut batch, mut errors) = (Vec::new(), 0);
        for n in (from + lane..to).step_by(CONNECTIONS) {
            match is_prepared(n) {
                true => prepare(&mut preparing, n),
                false => batch.push(text(n)),
            }
            if batch.len() == BATCH {
                errors += client.ask_all(&batch, Instant::now() + PATIENCE).1;
                batch.clear();
            }
        }
        errors + client.ask_all(&batch, Instant::now() + PATIENCE).1
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

/// Two halves of a flood, and what must be seen afterwards.
async fn flood(gate: &Tidegate, server: &MySql, schema: &str, size: &Size) {
    let count = size.count;
    let ((errors, half), seen) = watch(gate, server, || {
        let errors = send(gate, schema, 0, count / 2);
        let half = gate.resident_bytes();
        (errors + send(gate, schema, count / 2, count), half)
    });
    let whole = gate.resident_bytes();
    let no_sql = (0..count).filter(|n| is_no_sql(*n)).count();
    let prepared = (0..count).filter(|n| is_prepared(*n)).count();
    assert_eq!(errors, no_sql);
    println!(
        "digest flood: {count} texts, {prepared} of them prepared, resident after the half {} MiB, after all {} MiB",
        half >> 20,
        whole >> 20
    );
    assert!(
        whole < half + size.second_half_bytes_max(),
        "the second half of the flood added {} bytes",
        whole - half
    );
    seen.assert_over(gate, "digest flood", count, size.growth_bytes_max());
    assert_counted(gate, size, no_sql).await;
}

/// Nothing of the flood is missing in the sums, although most of it has no row of its own.
async fn assert_counted(gate: &Tidegate, size: &Size, no_sql: usize) {
    // `SELECT ?` is what the ordinary client asks.
    let sums = "SELECT COUNT(*), SUM(executions), SUM(errors), SUM(digest_text = '_other') FROM queries \
                WHERE user <> '' AND app <> 'tidegate' AND digest_text <> 'SELECT ?'";
    let (rows, executions, failed, other): (u64, u64, u64, u64) = gate.admin(sums).await[0];
    // Rows that were given up are still shown until their worker has moved them to `_other`.
    assert!(
        rows <= size.digests_max * 3 / 2 && rows > size.digests_max / 2,
        "{rows} rows"
    );
    assert_eq!((executions, failed), (size.count as u64, no_sql as u64));
    assert!(other > 0, "no row for what found no room");
    let lost: Vec<(String, u64)> = gate.admin("SELECT what, count FROM lost").await;
    println!("digest flood: {rows} rows, lost {lost:?}");
    assert!(
        lost.iter().any(|(_, count)| *count > 0),
        "nothing was counted as lost: {lost:?}"
    );
    let told: Vec<(u64,)> = gate
        .admin("SELECT SUM(count) FROM errors WHERE error_number = 1064")
        .await;
    assert_eq!(told, [(no_sql as u64,)]);
}

/// A schema with the table that the texts read.
fn schema(server: &MySql) -> String {
    let schema = server.schema("digests");
    server.run(&format!(
        "CREATE TABLE {schema}.t (a INT PRIMARY KEY, b INT); INSERT INTO {schema}.t VALUES (1, 1), (2, 1)"
    ));
    schema
}

#[tokio::test]
async fn texts_without_end_are_counted_in_bounded_memory() {
    let server = MySql::shared();
    let size = Size {
        count: 60_000,
        digests_max: 2_000,
    };
    let gate = Tidegate::of(server)
        .set("analytics.digests_max", &size.digests_max.to_string())
        .set(
            "statements.cache_entries_max",
            &size.digests_max.to_string(),
        )
        .start();
    flood(&gate, server, &schema(server), &size).await;
    gate.stop();
}

/// The same with the limits that Tidegate has by default: 20,000 statements, and as many rows of statistics.
#[tokio::test]
#[ignore = "minutes: make soak"]
async fn soak_a_million_distinct_texts() {
    let server = MySql::start(&[]);
    let size = Size {
        count: 1_000_000,
        digests_max: 20_000,
    };
    let gate = Tidegate::of(&server).start();
    flood(&gate, &server, &schema(&server), &size).await;
    gate.stop();
}
