//! Thresholds, windows, merging and back-off at chosen times.

use super::*;
use crate::views::definition::{BaseTable, MeasureFunction, ViewEnv};

const LIMITS: Thresholds = Thresholds {
    repeat_count_min: 5,
    mean_us_min: 20_000,
};

fn definition(keys: &[&str], sums: &[&str]) -> Arc<Definition> {
    Arc::new(Definition::new(
        BaseTable {
            schema: "shop".into(),
            name: "orders".into(),
        },
        keys.iter().map(|key| (*key).to_owned()),
        sums.iter()
            .map(|sum| (MeasureFunction::Sum, Some((*sum).to_owned()))),
        ViewEnv::default(),
    ))
}

fn demand(definition: &Arc<Definition>, count: u64, mean_us: u64) -> Demand {
    Demand {
        definition: Arc::clone(definition),
        count,
        time_us: count * mean_us,
    }
}

#[test]
fn a_window_forgets_what_is_old() {
    let mut window = Window::default();
    window.advance(1_000_000, 10_000, (3, 30));
    assert_eq!(window.totals(), (3, 30));
    window.advance(1_005_000, 10_000, (5, 50));
    assert_eq!(window.totals(), (5, 50));
    window.advance(1_012_000, 10_000, (5, 50));
    assert_eq!(window.totals(), (2, 20));
    window.advance(1_099_000, 10_000, (6, 70));
    assert_eq!(window.totals(), (1, 20));
}

#[test]
fn too_few_or_too_fast_says_so() {
    let one = definition(&["`a`"], &["`x`"]);
    let short = |d: Demand| candidates(&[d], LIMITS, &|_| None)[0].short_of.clone();
    assert!(short(demand(&one, 4, 90_000)).unwrap().contains("4 of 5"));
    assert!(short(demand(&one, 9, 1_000)).unwrap().contains("1.0 ms"));
    assert_eq!(short(demand(&one, 5, 20_000)), None);
}

#[test]
fn digests_of_one_definition_count_together() {
    let one = definition(&["`a`"], &["`x`"]);
    let found = candidates(
        &[demand(&one, 2, 30_000), demand(&one, 3, 30_000)],
        LIMITS,
        &|_| None,
    );
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].count, 5);
    assert_eq!(found[0].short_of, None);
}

#[test]
fn equal_keys_share_a_view() {
    let revenue = definition(&["`d`"], &["`x`"]);
    let cost = definition(&["`d`"], &["`y`"]);
    let rare = definition(&["`d`"], &["`z`"]);
    let found = candidates(
        &[
            demand(&revenue, 9, 50_000),
            demand(&cost, 2, 50_000),
            demand(&rare, 1, 50_000),
        ],
        LIMITS,
        &|_| None,
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].definition.covers(&revenue) && found[0].definition.covers(&cost));
    assert!(!found[0].definition.covers(&rare));
}

#[test]
fn a_large_view_does_not_swallow_a_small_one() {
    let small = definition(&["`a`"], &["`x`"]);
    let large = definition(&["`a`", "`b`"], &["`x`"]);
    let demands = [demand(&small, 9, 50_000), demand(&large, 9, 60_000)];
    let sized = |large_rows: u64| {
        move |d: &Definition| Some(if d.keys.len() == 2 { large_rows } else { 20 })
    };
    assert_eq!(candidates(&demands, LIMITS, &sized(50_000)).len(), 2);
    let found = candidates(&demands, LIMITS, &sized(900));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].definition, large);
    assert_eq!(found[0].count, 18);
    assert_eq!(candidates(&demands, LIMITS, &|_| None).len(), 2);
}

#[test]
fn the_dearest_comes_first() {
    let one = definition(&["`a`"], &[]);
    let two = definition(&["`b`"], &[]);
    let found = candidates(
        &[demand(&one, 9, 50_000), demand(&two, 9, 70_000)],
        LIMITS,
        &|_| None,
    );
    assert_eq!(found[0].definition, two);
}

#[test]
fn waits_double_and_end() {
    let mut backoff = Backoff::new(8);
    assert_eq!(backoff.hold(1, 0, "x"), 3_600_000);
    assert!(backoff.held(1, 3_599_999).is_some());
    assert!(backoff.held(1, 3_600_000).is_none());
    assert_eq!(backoff.hold(1, 3_600_000, "x"), 7_200_000);
    for _ in 0..40 {
        backoff.hold(1, 0, "x");
    }
    assert_eq!(backoff.hold(1, 0, "x"), BACKOFF_LAST_MS);
    backoff.clear(1);
    assert_eq!(backoff.hold(1, 0, "x"), BACKOFF_FIRST_MS);
}

#[test]
fn a_ban_stays_and_memory_is_bounded() {
    let mut backoff = Backoff::new(4);
    backoff.ban(7, "answered differently");
    for other in 100..200 {
        backoff.hold(other, 0, "x");
    }
    backoff.clear(7);
    backoff.hold(7, 0, "x");
    assert!(backoff.held(7, u64::MAX).is_some());
    assert!(backoff.entries.len() <= 4);
}
