//! Clients that are slower than the server: their answers wait where they are, not in the proxy's memory.

use std::io::Read;
use std::time::{Duration, Instant};

use super::{PATIENCE, app, assert_serves};
use crate::support::raw::{Raw, query};
use crate::support::{APP_USER, MySql, Tidegate, wait_until};

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
        let room = block.len().min(bytes - got);
        match raw.stream().read(&mut block[..room]) {
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

#[test]
fn a_reader_that_has_stopped_for_good_is_let_go_with_its_connection() {
    let server = MySql::start(&[]);
    let gate = Tidegate::of(&server)
        .set("client.stall_ms_max", "1000")
        .start();
    let mut stalled = app(&gate, "");
    stalled.send(&large(10_000));
    let running =
        format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{APP_USER}'");
    wait_until("its statement runs", PATIENCE, || {
        (server.run(&running) == "1\n").then_some(())
    });
    let begun = Instant::now();
    wait_until("the server is free again", PATIENCE, || {
        (server.run(&running) == "0\n").then_some(())
    });
    let freed = begun.elapsed();
    // Who reads slowly but steadily is not let go.
    let mut steady = app(&gate, "");
    steady.send(&large(900_000));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        let piece = read_some(&mut steady, 1 << 18, Instant::now() + PATIENCE);
        assert_eq!(piece, 1 << 18, "the result ended");
        assert_serves(&gate);
    }
    println!(
        "stalled: let go after {freed:?}, all after {:?}",
        begun.elapsed()
    );
    gate.stop();
}

#[test]
fn a_client_that_is_silent_for_too_long_is_let_go() {
    let server = MySql::start(&[]);
    let gate = Tidegate::of(&server)
        .set("client.idle_ms_max", "1000")
        .start();
    let (mut silent, mut drip) = (app(&gate, ""), app(&gate, ""));
    // Half a command is not a command.
    drip.send(&query("SELECT 1")[..7]);
    // A statement that runs for longer is not silence.
    let mut waiting = app(&gate, "");
    waiting.send(&query("SELECT SLEEP(2.5)"));
    assert_eq!(silent.end(PATIENCE), Some(4031));
    assert_eq!(drip.end(PATIENCE), Some(4031));
    assert_eq!(waiting.answer(Instant::now() + PATIENCE), Ok(()));
    gate.stop();
}
