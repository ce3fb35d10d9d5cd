//! More cacheable results than there is room for: the room is kept, the answers stay right.

use std::time::{Duration, Instant};

use super::vitals::watch;
use super::{PATIENCE, api, app};
use crate::support::raw::{Raw, query};
use crate::support::{MySql, Tidegate, wait_until};

const CONNECTIONS: usize = 8;
/// One row in so many is changed between two rounds.
const WRITTEN_EACH: usize = 1_000;
/// What every round but the first may add to the memory that the first one left behind.
const GROWTH_BYTES_MAX: u64 = 8 << 20;

/// How much of a flood.
struct Size {
    /// Rows, each a result of its own of about 4 KiB.
    rows: usize,
    /// Room for results.
    bytes_max: u64,
    /// Rounds go on for so long, and are two at least.
    length: Duration,
    /// The table is changed before every other round, so that nothing that was kept may be used.
    writes: bool,
}

/// The columns of the row that one client reads, as text.
fn row(client: &mut Raw, a: usize) -> Vec<u8> {
    client.send(&query(&format!("SELECT a, c, b FROM t WHERE a = {a}")));
    let deadline = Instant::now() + PATIENCE;
    let mut packets = Vec::new();
    loop {
        let packet = client.read_packet(deadline).expect("in time");
        packets.push(packet.expect("open").1);
        if packets.len() > 1 && packets[packets.len() - 1][0] == 0xFE {
            break;
        }
    }
    assert_eq!(packets.len(), 6, "one row");
    packets.swap_remove(4)
}

/// Every row once; the answers are compared with what the rows are after `written` changes.
fn read_all_rows(gate: &Tidegate, schema: &str, rows: usize, written: usize) {
    let lane = |lane: usize| {
        let mut client = app(gate, schema);
        for a in (lane..rows).step_by(CONNECTIONS) {
            let c = if a % WRITTEN_EACH == 0 { written } else { 0 };
            let [a_text, c_text] = [a, c].map(|number| number.to_string());
            let right = [
                &[a_text.len() as u8],
                a_text.as_bytes(),
                &[c_text.len() as u8],
                c_text.as_bytes(),
            ];
            let right = right.concat();
            let row = row(&mut client, a);
            assert_eq!(row[..right.len()], right, "row {a} after {written} changes");
        }
    };
    std::thread::scope(|scope| {
        for n in 0..CONNECTIONS {
            scope.spawn(move || lane(n));
        }
    });
}

/// A table of `rows` rows in a schema of its own.
fn table(server: &MySql, rows: usize) -> String {
    let schema = server.schema("cacheflood");
    server.run(&format!(
        "CREATE TABLE {schema}.t (a INT PRIMARY KEY, c INT NOT NULL, b VARCHAR(5000)); SET SESSION cte_max_recursion_depth = 1000000; \
         INSERT INTO {schema}.t WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {rows}) \
         SELECT i, 0, REPEAT('x', 4000) FROM n"
    ));
    schema
}

async fn flood(server: &MySql, size: &Size) {
    let schema = table(server, size.rows);
    let gate = Tidegate::of(server)
        .set("cache.bytes_max", &size.bytes_max.to_string())
        // On a busy machine the gate is late more often than not, and then nothing would be filed.
        .set("cache.gate_wait_ms_max", "1000")
        .set("cache.tables", &format!("[\"{schema}.t\"]"))
        .start();
    wait_until("the log is followed", PATIENCE, || {
        (api(&gate, "binlog")[0]["state"] == "running").then_some(())
    });
    let start = Instant::now();
    let ((rounds, first), seen) = watch(&gate, server, || {
        read_all_rows(&gate, &schema, size.rows, 0);
        let (first, mut round) = (gate.resident_bytes(), 1);
        let mut written = 0;
        while round < 2 || start.elapsed() < size.length {
            if size.writes && round % 2 == 0 {
                written = round;
                server.run(&format!(
                    "UPDATE {schema}.t SET c = {written} WHERE a % {WRITTEN_EACH} = 0"
                ));
            }
            read_all_rows(&gate, &schema, size.rows, written);
            round += 1;
        }
        (round, first)
    });
    let last = gate.resident_bytes();
    println!(
        "cache flood: {rounds} rounds, resident after the first {} MiB, after the last {} MiB",
        first >> 20,
        last >> 20
    );
    assert_bounded(&gate, size).await;
    assert!(
        last < first + GROWTH_BYTES_MAX,
        "{} bytes more after the first round",
        last - first
    );
    // A result of 4 KiB stands in a buffer that may be half as large again, and what has to go for another may stand beside it.
    let growth_bytes_max = 2 * size.bytes_max + (32 << 20);
    seen.assert_over(&gate, "cache flood", rounds * size.rows, growth_bytes_max);
    gate.stop();
}

/// Results were filed, had to go, and those that are left keep to their room.
async fn assert_bounded(gate: &Tidegate, size: &Size) {
    let sql = "SELECT fills, evictions, size_bytes, fill_bytes, hits FROM cache_totals";
    let (fills, evictions, kept, fill_bytes, hits): (u64, u64, u64, u64, u64) =
        gate.admin(sql).await[0];
    println!("cache flood: {fills} fills, {evictions} evictions, {hits} hits, {kept} bytes");
    assert!(
        fills > size.rows as u64 / 2,
        "{fills} fills: the flood did not reach the cache"
    );
    assert!(evictions > 0, "nothing had to go");
    // What was just filed may stand beside what has to go for it, until the next sweep.
    assert!(
        kept > 0 && kept < size.bytes_max * 3 / 2,
        "{kept} bytes are kept"
    );
    wait_until("the room is kept", PATIENCE, || {
        let kept = api(gate, "cache_totals")[0]["size_bytes"].as_u64()?;
        (kept > 0 && kept <= size.bytes_max).then_some(())
    });
    assert_eq!(fill_bytes, 0, "memory of fills that are over");
}

#[tokio::test]
async fn results_without_end_stay_within_the_room_for_them() {
    let size = Size {
        rows: 3_000,
        bytes_max: 2 << 20,
        length: Duration::ZERO,
        writes: false,
    };
    flood(MySql::shared(), &size).await;
}

#[tokio::test]
#[ignore = "minutes: make soak"]
async fn soak_results_without_end_for_minutes() {
    let size = Size {
        rows: 40_000,
        bytes_max: 48 << 20,
        length: Duration::from_secs(120),
        writes: true,
    };
    flood(&MySql::start(&[]), &size).await;
}
