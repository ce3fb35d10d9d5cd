//! Rewritten answers against base answers on a real server: random nasty tables, random statements, views built as in
//! production, every cell compared byte by byte in both protocols.
//!
//! `TIDEGATE_EXACT_SECONDS` sets how long it runs (60), `TIDEGATE_EXACT_SEED` where it begins; a failure prints its seed.

mod check;
mod queries;
mod random;
mod tables;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use check::Round;

/// Statements made for each table.
const QUERIES: usize = 60;
/// A run that rewrites less than this share of its statements tests nothing.
const REWRITTEN_PERCENT_MIN: usize = 25;

/// What a run counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Statements made.
    pub made: usize,
    /// Patterns accepted.
    pub accepted: usize,
    /// Answers compared.
    pub compared: usize,
    /// Of these with parameters, in the binary protocol.
    pub bound: usize,
    /// Of these with rows.
    pub with_rows: usize,
    /// Refusals by rule.
    pub refused: BTreeMap<&'static str, usize>,
    /// Statements the server itself refused.
    pub server_refused: usize,
    /// Views that could not be built.
    pub unbuilt: usize,
    /// What was different.
    pub failures: Vec<String>,
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[tokio::test]
async fn answers_from_views_are_the_base_tables_answers() {
    let seconds = setting("TIDEGATE_EXACT_SECONDS", 60);
    let mut seed = setting("TIDEGATE_EXACT_SEED", 1);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut counts = Counts::default();
    let mut rounds = 0;
    while Instant::now() < until && counts.failures.len() < 5 {
        Round::new(seed).await.run(QUERIES, &mut counts).await;
        seed += 1;
        rounds += 1;
    }
    println!("rounds {rounds}, last seed {}", seed - 1);
    println!("{counts:#?}");
    assert!(
        counts.failures.is_empty(),
        "{}",
        counts.failures.join("\n\n")
    );
    assert!(counts.accepted * 100 >= counts.made * REWRITTEN_PERCENT_MIN);
    assert!(counts.with_rows * 4 > counts.compared && counts.bound * 4 > counts.compared);
}
