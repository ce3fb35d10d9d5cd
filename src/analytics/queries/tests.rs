//! Rows are bounded, merged over workers, and lose nothing when they are given up.

use std::time::Instant;

use super::*;
use crate::analytics::names::Names;

struct World {
    queries: Arc<Queries>,
    names: Names,
    text: Arc<str>,
}

impl World {
    fn new(max: usize, workers: usize) -> Self {
        Self {
            queries: Arc::new(Queries::new(max, workers)),
            names: Names::new(99),
            text: "SELECT ?".into(),
        }
    }

    fn worker(&self, number: usize) -> LocalQueries {
        LocalQueries::new(Arc::clone(&self.queries), number).unwrap()
    }

    fn run(&self, worker: &mut LocalQueries, digest: u128, user: &str, at_ms: u64, total_us: u64) {
        let identity = Identity {
            user: self.names.intern(user),
            app: self.names.intern(""),
            schema: self.names.intern("s"),
        };
        let digest = Digest {
            id: digest,
            text: &self.text,
            kind: "select",
        };
        let mut event = QueryEvent::new(digest, &identity, Instant::now());
        (event.total_us, event.backend_us, event.rows, event.status) =
            (total_us, total_us / 2, 3, 0x20);
        worker.with(&digest, &identity, |part| {
            part.record(&event, at_ms, total_us > 900, 1)
        });
    }

    fn counts(&self) -> Vec<(u128, u64)> {
        let mut counts: Vec<_> = self
            .queries
            .digests()
            .iter()
            .map(|row| (row.digest, row.count))
            .collect();
        counts.sort_unstable();
        counts
    }
}

#[test]
fn workers_are_merged_per_user_and_per_digest() {
    let world = World::new(10, 2);
    let (mut one, mut two) = (world.worker(0), world.worker(1));
    world.run(&mut one, 7, "ann", 100, 1_000);
    world.run(&mut two, 7, "ann", 50, 10);
    world.run(&mut two, 7, "bob", 200, 100);
    let mut rows = world.queries.rows();
    rows.sort_by(|a, b| a.user.cmp(&b.user));
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (&*row.user, row.count, row.total_us, row.slow, row.no_index))
        .collect();
    assert_eq!(seen, [("ann", 2, 1_010, 1, 2), ("bob", 1, 100, 0, 1)]);
    assert_eq!(
        (
            rows[0].first_ms,
            rows[0].last_ms,
            rows[0].max_us,
            rows[0].p99_us
        ),
        (50, 100, 1_000, 1_000)
    );
    assert_eq!(
        (
            rows[0].backend_us,
            rows[0].rows,
            rows[0].served[0],
            &*rows[0].schema
        ),
        (505, 6, 2, "s")
    );
    let digests = world.queries.digests();
    assert_eq!(
        (digests.len(), digests[0].count, &*digests[0].user),
        (1, 3, "")
    );
}

#[test]
fn a_full_table_counts_in_other() {
    let world = World::new(2, 1);
    let mut worker = world.worker(0);
    for digest in [1, 2, 3, 4, 1] {
        world.run(&mut worker, digest, "ann", 1, 5);
    }
    assert_eq!(world.counts(), [(0, 2), (1, 2), (2, 1)]);
    assert_eq!((world.queries.lost(), world.queries.len()), (2, 2));
}

#[test]
fn quiet_rows_give_way_and_totals_stay() {
    let world = World::new(16, 2);
    let (mut one, mut two) = (world.worker(0), world.worker(1));
    for digest in 1..=16 {
        world.run(&mut one, digest, "ann", 1_000, digest as u64);
    }
    world.run(&mut two, 1, "ann", 1_000, 1);
    world.run(&mut two, 3, "ann", 9_000, 1);
    world.queries.make_room(5_000, 10_000);
    assert_eq!(world.queries.len(), 16, "nothing was quiet for long enough");
    // 3 ran a moment ago, so 1 and 2 are the cheapest of the quiet ones.
    world.queries.make_room(11_500, 10_000);
    assert_eq!((world.queries.len(), world.queries.retired()), (14, 2));
    assert_eq!(
        world.counts().iter().map(|(_, count)| count).sum::<u64>(),
        18
    );
    assert_eq!(
        world.counts().len(),
        16,
        "still read until the workers have moved them"
    );

    one.move_leaving();
    assert_eq!(
        world.counts()[..2],
        [(0, 2), (1, 1)],
        "worker two has not moved its part of 1"
    );
    world.run(&mut two, 1, "ann", 12_000, 1);
    two.move_leaving();
    assert_eq!(world.counts()[..2], [(0, 4), (3, 2)]);
    // The same digest comes again as a row of its own.
    world.run(&mut two, 1, "ann", 13_000, 1);
    assert_eq!(world.counts()[..2], [(0, 4), (1, 1)]);
}

#[test]
fn what_workers_do_not_move_is_bounded() {
    let world = World::new(64, 1);
    let mut idle = world.worker(0);
    for round in 0..50u128 {
        for digest in 0..64 {
            world.run(&mut idle, 1 + round * 64 + digest, "ann", 1, 1);
        }
        world.queries.make_room(100_000, 1);
    }
    let leaving = world.queries.leaving[0].lock().len();
    assert!(leaving <= 64 / 4 + 64 / 8, "{leaving}");
    assert_eq!(
        world.counts().iter().map(|(_, count)| count).sum::<u64>(),
        50 * 64
    );
}

#[test]
fn many_parts_are_moved_in_steps() {
    let world = World::new(2_000, 1);
    let mut worker = world.worker(0);
    for digest in 1..=2_000 {
        world.run(&mut worker, digest, "ann", 1, 1);
    }
    world.queries.make_room(100_000, 1);
    assert_eq!(world.queries.len(), 1_750);
    let mut steps = 1;
    while worker.move_leaving() {
        steps += 1;
    }
    assert_eq!(steps, 4);
    assert_eq!((world.counts().len(), world.counts()[0]), (1_751, (0, 250)));
}
