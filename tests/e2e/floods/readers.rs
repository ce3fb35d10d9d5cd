//! Clients that are slower than the server: their answers wait where they are, not in the proxy's memory.

use std::io::Read;
use std::time::{Duration, Instant};

use super::{PATIENCE, app, assert_serves};
use crate::support::raw::{Raw, query};
use crate::support::{MySql, Tidegate};

/// What a result of any size may add to the proxy's memory.
const GROWTH_BYTES_MAX: u64 = 8 << 20;

/// A result of `count` rows of 64 KiB.
fn large(count: u32) -> Vec<u8> {
    query(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
         SELECT a.i, REPEAT('x', 65000) FROM n a JOIN n b LIMIT {count}"
    ))
}

/// Reads up to `bytes`, in small pieces; answers how many came before the deadline.
fn read_some(raw: &mut Raw, bytes: usize, deadline: Instant) -> usize {
    let (mut block, mut got) = ([0; 8192], 0);
    let left = deadline.saturating_duration_since(Instant::now());
    raw.stream()
        .set_read_timeout(Some(left.max(Duration::from_millis(1))))
        .expect("a timeout can be set");
    while got < bytes {
        match raw.stream().read(&mut block) {
            Ok(0) | Err(_) => break,
            Ok(count) => got += count,
        }
    }
    got
}

#[test]
fn slow_readers_of_large_results_cost_no_memory() {
    const RESULT_BYTES: usize = 300 << 20;
    let gate = Tidegate::of(MySql::shared()).start();
    let mut slow = app(&gate, "");
    let mut stalled: Vec<Raw> = (0..10).map(|_| app(&gate, "")).collect();
    assert_serves(&gate);
    let before = gate.resident_bytes();
    for raw in stalled.iter_mut() {
        raw.send(&large(10_000));
    }
    slow.send(&large(4_900));
    let (mut got, mut highest) = (0, 0);
    while got < RESULT_BYTES {
        let piece = read_some(&mut slow, 4 << 20, Instant::now() + PATIENCE);
        assert!(piece > 0, "the result ended after {got} bytes");
        got += piece;
        highest = highest.max(gate.resident_bytes());
    }
    assert_serves(&gate);
    let grown = highest.saturating_sub(before);
    println!(
        "slow readers: {got} bytes read, {} KiB more memory at most",
        grown >> 10
    );
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes more");
    drop(stalled);
    gate.stop();
}
