//! What a statement costs before it is routed: the digest pass, the look-up of a known digest, and the first meeting with one.
//! Prints nanoseconds of this thread's CPU time per statement, the best of several batches. `cargo bench --bench digest`. Judges
//! nothing.

use std::hint::black_box;

use tidegate::sql::{DigestScratch, LexMode, LocalStatements, StatementCache};

const BATCHES: u32 = 9;
const BATCH_NS: u64 = 20_000_000;
const CALLS_BETWEEN_LOOKS: u32 = 10;

/// CPU time of this thread, which a busy machine disturbs less than the clock on the wall.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec of our own.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Best time of one call, in nanoseconds.
fn best_ns(mut work: impl FnMut()) -> f64 {
    let start = cpu_ns();
    let mut calls = 0u32;
    while cpu_ns() - start < BATCH_NS {
        for _ in 0..CALLS_BETWEEN_LOOKS {
            work();
        }
        calls += CALLS_BETWEEN_LOOKS;
    }
    let mut best = f64::MAX;
    for _ in 0..BATCHES {
        let start = cpu_ns();
        for _ in 0..calls {
            work();
        }
        best = best.min((cpu_ns() - start) as f64 / f64::from(calls));
    }
    best
}

fn statements() -> Vec<(&'static str, String)> {
    let columns: Vec<String> = (1..=12)
        .map(|n| format!("`t0`.`column_{n}` AS `c{n}`"))
        .collect();
    let rows: Vec<String> = (0..1000)
        .map(|n| format!("({n}, 'name {n}', {n}.5, NULL, '2026-01-01 00:00:00')"))
        .collect();
    let list: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    vec![
        ("point select", "SELECT c FROM sbtest1 WHERE id=501847".into()),
        ("range, order", "SELECT DISTINCT c FROM sbtest1 WHERE id BETWEEN 501847 AND 501946 ORDER BY c".into()),
        ("update", "UPDATE sbtest1 SET c='68487932199-96439406143-93774651418-41631865787' WHERE id=501847".into()),
        ("insert, 4 columns", "INSERT INTO sbtest1 (id, k, c, pad) VALUES (501847, 502, '68487932199-96439406143', '67847967377-48000963322')".into()),
        ("set", "SET autocommit=1".into()),
        ("begin", "BEGIN".into()),
        (
            "dashboard aggregate",
            "SELECT DATE_FORMAT(transaction_date, '%Y-%m') AS month, SUM(CASE WHEN transaction_type = 'INVOICE' THEN amount ELSE 0 END) AS revenue FROM financial_transactions WHERE transaction_date BETWEEN '2024-01-01' AND '2024-12-31' GROUP BY DATE_FORMAT(transaction_date, '%Y-%m') ORDER BY month".into(),
        ),
        (
            "orm select, 2 joins",
            format!(
                "SELECT {} FROM `orders` `t0` INNER JOIN `customers` `t1` ON `t0`.`customer_id` = `t1`.`id` LEFT JOIN `addresses` `t2` ON `t1`.`address_id` = `t2`.`id` WHERE `t1`.`email` = 'someone@example.com' AND `t0`.`state` IN ('new', 'paid', 'sent') ORDER BY `t0`.`created_at` DESC LIMIT 20",
                columns.join(", ")
            ),
        ),
        ("IN list of 500", format!("SELECT a FROM t WHERE b IN ({})", list.join(","))),
        ("insert, 1000 rows", format!("INSERT INTO t (a, b, c, d, e) VALUES {}", rows.join(","))),
    ]
}

fn main() {
    let mode = LexMode::default();
    let mut scratch = DigestScratch::new(2048);
    let mut local = LocalStatements::new(StatementCache::new(1000), 1000);
    println!(
        "{:<22} {:>8} {:>10} {:>12} {:>14}",
        "statement", "bytes", "digest ns", "+ known ns", "first time ns"
    );
    for (name, text) in statements() {
        let text = text.as_bytes();
        let digest = best_ns(|| {
            scratch.run(black_box(text), mode);
            black_box(scratch.hash());
        });
        let known = best_ns(|| {
            scratch.run(black_box(text), mode);
            black_box(local.get(&scratch, text));
        });
        let first = best_ns(|| {
            scratch.run(black_box(text), mode);
            black_box(StatementCache::new(1).get_or_parse(&scratch, text));
        });
        println!(
            "{name:<22} {:>8} {digest:>10.0} {known:>12.0} {first:>14.0}",
            text.len()
        );
    }
}
