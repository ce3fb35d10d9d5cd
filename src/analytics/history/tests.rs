//! Differences of rows over minutes: with restarts, moves to `_other`, a clock set back, and limits. Totals stay exact.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::analytics::event::{Digest, Identity, QueryEvent};
use crate::analytics::names::Names;
use crate::analytics::queries::{LocalQueries, Queries};

struct World {
    queries: Arc<Queries>,
    workers: Vec<LocalQueries>,
    names: Names,
    text: Arc<str>,
}

impl World {
    fn new(max: usize, workers: usize) -> Self {
        let queries = Arc::new(Queries::new(max, workers));
        let worker = |number| LocalQueries::new(Arc::clone(&queries), number).unwrap();
        Self {
            workers: (0..workers).map(worker).collect(),
            queries,
            names: Names::new(9),
            text: "SELECT ?".into(),
        }
    }

    fn run(&mut self, worker: usize, digest: u128, at_ms: u64, total_us: u64, fails: bool) {
        let identity = Identity {
            user: self.names.intern("ann"),
            app: self.names.intern(""),
            schema: self.names.intern("s"),
        };
        let digest = Digest {
            id: digest,
            text: &self.text,
            kind: "select",
        };
        let mut event = QueryEvent::new(digest, &identity, Instant::now());
        (event.total_us, event.rows) = (total_us, 2);
        event.error = fails.then_some((1064, "wrong"));
        self.workers[worker].with(&digest, &identity, |part| {
            part.record(&event, at_ms, false, 1)
        });
    }

    fn look(&self, log: &mut MinuteLog) -> Vec<store::Row> {
        log.look(&self.queries.readings())
    }
}

/// Digest, executions and time of each row.
fn shown(rows: &[store::Row]) -> Vec<(u128, u64, u64)> {
    let shown = |row: &store::Row| (row.digest, row.sums.executions, row.sums.total_us);
    rows.iter().map(shown).collect()
}

fn counted(row: &store::Row) -> u64 {
    let mut latency = Histogram::default();
    latency.add_sketch(&row.latency).unwrap();
    latency.count()
}

#[test]
fn a_minute_has_what_came_since_the_last_look() {
    let mut world = World::new(10, 2);
    let mut log = MinuteLog::new(10, 0);
    world.run(0, 7, 1, 1_000, false);
    world.run(1, 7, 1, 10, true);
    world.run(1, 8, 1, 50, false);
    let rows = world.look(&mut log);
    assert_eq!(shown(&rows), [(7, 2, 1_010), (8, 1, 50)]);
    let row = &rows[0];
    assert_eq!(
        (&*row.user, &*row.schema, &*row.text, &*row.kind),
        ("ann", "s", "SELECT ?", "select")
    );
    assert_eq!(
        (row.sums.errors, row.sums.rows_sent, counted(row)),
        (1, 4, 2)
    );
    assert_eq!(world.look(&mut log), []);
    world.run(0, 8, 2, 200, false);
    let rows = world.look(&mut log);
    assert_eq!(shown(&rows), [(8, 1, 200)]);
    let mut latency = Histogram::default();
    latency.add_sketch(&rows[0].latency).unwrap();
    let p50_us = latency.quantile(0.5).unwrap();
    assert!(
        p50_us.abs_diff(200) <= 200 / 32,
        "{p50_us}: of this minute alone"
    );
}

/// Rows that are moved to `_other` were told already; `_other` tells only what was not.
#[test]
fn a_row_that_is_given_up_is_not_told_twice() {
    let mut world = World::new(16, 2);
    let mut log = MinuteLog::new(100, 0);
    for digest in 1..=16 {
        world.run(0, digest, 1_000, 10 * digest as u64, false);
    }
    world.run(1, 1, 1_000, 5, false);
    assert_eq!(world.look(&mut log).len(), 16);
    world.queries.make_room(50_000, 10_000);
    assert_eq!(world.look(&mut log), [], "given up, and read where it was");
    // One more of digest 1 that nobody has told; then one worker moves its parts, and the other does not.
    world.run(0, 1, 51_000, 7, false);
    world.workers[0].move_leaving();
    assert_eq!(shown(&world.look(&mut log)), [(0, 1, 7)]);
    world.workers[1].move_leaving();
    assert_eq!(world.look(&mut log), []);
    // The digest comes again, with more than it had before.
    for _ in 0..3 {
        world.run(1, 1, 52_000, 1, false);
    }
    assert_eq!(shown(&world.look(&mut log)), [(1, 3, 3)]);
}

#[test]
fn a_row_that_begins_anew_with_less_is_told_by_other() {
    let mut world = World::new(16, 1);
    let mut log = MinuteLog::new(100, 0);
    for _ in 0..5 {
        world.run(0, 1, 1_000, 1, false);
    }
    for digest in 2..=16 {
        world.run(0, digest, 1_000, 900, false);
    }
    world.look(&mut log);
    world.queries.make_room(50_000, 10_000);
    world.workers[0].move_leaving();
    world.run(0, 1, 51_000, 3, false);
    let rows = world.look(&mut log);
    assert_eq!(shown(&rows), [(0, 1, 3)]);
    assert_eq!((&*rows[0].user, counted(&rows[0])), (OTHER, 1));
    world.run(0, 1, 52_000, 4, false);
    assert_eq!(shown(&world.look(&mut log)), [(1, 1, 4)]);
}

#[test]
fn rows_beyond_the_limit_are_added_up() {
    let mut world = World::new(100, 1);
    let mut log = MinuteLog::new(2, 0);
    for digest in 1..=10 {
        world.run(
            0,
            digest,
            1,
            100 * digest as u64,
            digest <= 3 || digest == 10,
        );
    }
    let rows = world.look(&mut log);
    // 10 and 9 by time; 3 and 2 by errors, of which 1 found no place; the others together.
    assert_eq!(
        shown(&rows),
        [
            (10, 1, 1_000),
            (9, 1, 900),
            (3, 1, 300),
            (2, 1, 200),
            (0, 6, 3_100)
        ]
    );
    assert_eq!((rows[4].sums.errors, counted(&rows[4])), (1, 6));
}

#[test]
fn a_minute_ends_when_another_begins() {
    let mut log = MinuteLog::new(1, 59_999);
    assert_eq!((log.open(), log.turn(59_999)), (0, None));
    assert_eq!((log.turn(60_000), log.open()), (Some(0), 1));
    assert_eq!(log.turn(119_999), None);
    assert_eq!(log.turn(600_000), Some(1), "after a sleep");
    assert_eq!((log.turn(61_000), log.open()), (Some(10), 1), "set back");
    assert_eq!(log.turn(120_000), Some(1), "comes twice, is told twice");
}

proptest! {
    /// Whatever runs, is given up and is moved: the rows of all minutes add up to what `queries` has at the end.
    #[test]
    fn totals_stay_exact(steps in prop::collection::vec((0u8..10, 1u128..40, 0u64..5_000), 1..400), rows_max in 1usize..6) {
        let mut world = World::new(16, 2);
        let mut log = MinuteLog::new(rows_max, 0);
        let mut told = [0; SUMS];
        let mut durations = 0;
        let mut ran: BTreeMap<u128, u64> = BTreeMap::new();
        let mut now_ms = 1;
        let mut tell = |rows: Vec<store::Row>| {
            assert!(rows.len() <= 2 * rows_max + 1);
            for row in rows {
                durations += counted(&row);
                assert_eq!(counted(&row), row.sums.executions);
                for (sum, part) in told.iter_mut().zip(row.sums.values()) {
                    *sum += part;
                }
            }
        };
        for (what, digest, us) in steps {
            now_ms += us;
            match what {
                0 => tell(world.look(&mut log)),
                1 => world.queries.make_room(now_ms, 1_000),
                2 => { world.workers[digest as usize % 2].move_leaving(); }
                _ => {
                    world.run(what as usize % 2, digest, now_ms, us, what == 3);
                    *ran.entry(digest).or_default() += 1;
                }
            }
        }
        tell(world.look(&mut log));
        prop_assert_eq!(durations, ran.values().sum::<u64>());
        let mut all = [0; SUMS];
        for reading in world.queries.readings() {
            for (sum, part) in all.iter_mut().zip(sums(&reading.row).values()) {
                *sum += part;
            }
        }
        prop_assert_eq!(told, all);
    }
}
