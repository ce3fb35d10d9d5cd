//! More cacheable results than there is room for: the room is kept, the answers stay right.

use std::time::Instant;

use super::{PATIENCE, api, app, assert_serves};
use crate::support::raw::query;
use crate::support::{MySql, Tidegate, wait_until};

const CONNECTIONS: usize = 8;
const ROWS: usize = 3_000;
const BYTES_MAX: u64 = 2 << 20;

/// Every row once, each a result of its own of about 4 KiB; the answers are compared with what the rows are.
fn read_all_rows(gate: &Tidegate, schema: &str) {
    let lane = |lane: usize| {
        let mut client = app(gate, schema);
        for a in (lane..ROWS).step_by(CONNECTIONS) {
            client.send(&query(&format!("SELECT a, b FROM t WHERE a = {a}")));
            let deadline = Instant::now() + PATIENCE;
            let mut packets = Vec::new();
            loop {
                let packet = client.read_packet(deadline).expect("in time");
                packets.push(packet.expect("open").1);
                if packets.len() > 1 && packets[packets.len() - 1][0] == 0xFE {
                    break;
                }
            }
            let row = &packets[packets.len() - 2];
            let number = a.to_string();
            assert_eq!(&row[1..=number.len()], number.as_bytes());
            assert_eq!(packets.len(), 5, "one row");
        }
    };
    std::thread::scope(|scope| {
        for n in 0..CONNECTIONS {
            scope.spawn(move || lane(n));
        }
    });
}

#[tokio::test]
async fn results_without_end_stay_within_the_room_for_them() {
    let server = MySql::shared();
    let schema = server.schema("cacheflood");
    server.run(&format!(
        "CREATE TABLE {schema}.t (a INT PRIMARY KEY, b VARCHAR(5000)); SET SESSION cte_max_recursion_depth = 100000; \
         INSERT INTO {schema}.t WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {ROWS}) SELECT i, REPEAT('x', 4000) FROM n"
    ));
    let gate = Tidegate::of(server)
        .set("cache.bytes_max", &BYTES_MAX.to_string())
        // On a busy machine the gate is late more often than not, and then nothing would be filed.
        .set("cache.gate_wait_ms_max", "1000")
        .set("cache.tables", &format!("[\"{schema}.t\"]"))
        .start();
    wait_until("the log is followed", PATIENCE, || {
        (api(&gate, "binlog")[0]["state"] == "running").then_some(())
    });
    read_all_rows(&gate, &schema);
    let half = gate.resident_bytes();
    read_all_rows(&gate, &schema);
    let whole = gate.resident_bytes();
    let sql = "SELECT fills, evictions, size_bytes, fill_bytes, hits FROM cache_totals";
    let (fills, evictions, size, fill_bytes, hits): (u64, u64, u64, u64, u64) =
        gate.admin(sql).await[0];
    println!(
        "cache flood: {fills} fills, {evictions} evictions, {hits} hits, {size} bytes, resident {} and {} MiB",
        half >> 20,
        whole >> 20
    );
    assert!(
        fills > ROWS as u64 / 2,
        "{fills} fills: the flood did not reach the cache"
    );
    assert!(evictions > 0, "nothing had to go");
    // What was just filed may stand beside what has to go for it, until the next sweep.
    assert!(
        size > 0 && size < BYTES_MAX * 3 / 2,
        "{size} bytes are kept"
    );
    wait_until("the room is kept", PATIENCE, || {
        let size = api(&gate, "cache_totals")[0]["size_bytes"].as_u64()?;
        (size > 0 && size <= BYTES_MAX).then_some(())
    });
    assert_eq!(fill_bytes, 0, "memory of fills that are over");
    assert!(
        whole < half + (8 << 20),
        "{} bytes more after the second round",
        whole - half
    );
    assert_serves(&gate);
    gate.stop();
}
