//! Transactions from sequences of status bits.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::analytics::Analytics;
use crate::config;

const OPEN: u16 = STATUS_IN_TRANS | 0x2;

struct Script {
    analytics: Arc<Analytics>,
    recorder: Recorder,
    tracker: TransactionTracker,
    live: LiveTransaction,
    now: Instant,
}

impl Script {
    fn new() -> Self {
        let analytics = Analytics::new(&config::Analytics::default(), 1);
        let recorder = analytics.recorder(0).unwrap();
        let tracker = TransactionTracker::new(9, analytics.clock());
        Self {
            analytics,
            recorder,
            tracker,
            live: LiveTransaction::default(),
            now: Instant::now(),
        }
    }

    /// 3 ms after the last one, a statement of 2 ms.
    fn run(&mut self, boundary: Boundary, status: u16, error: Option<u16>) -> &mut Self {
        let identity = self.analytics.identity("ann", "shop", "s");
        let started = self.now + Duration::from_millis(3);
        let ended = started + Duration::from_millis(2);
        self.now = ended;
        let affected_rows = u64::from(boundary == Boundary::None && error.is_none());
        let end = StatementEnd {
            boundary,
            started,
            ended,
            status,
            error,
            affected_rows,
            digest: 5,
            identity: &identity,
            forgets_isolation: false,
            touches_tables: boundary == Boundary::None,
        };
        self.tracker.observe(&end, &self.live, &self.recorder);
        self
    }

    #[track_caller]
    fn expect(&self, outcomes: &[(Outcome, u64)]) {
        let ended: Vec<_> = self
            .analytics
            .transactions()
            .iter()
            .map(|t| (t.outcome, t.statements))
            .collect();
        assert_eq!(ended, outcomes);
    }
}

#[test]
fn begin_to_commit() {
    let mut script = Script::new();
    script
        .run(Boundary::Begin, OPEN, None)
        .run(Boundary::None, OPEN, None);
    assert_eq!(
        (
            script.live.statements.get(),
            script.live.started_ms.get() > 0
        ),
        (2, true)
    );
    script
        .run(Boundary::Commit, 2, None)
        .expect(&[(Outcome::Committed, 3)]);
    let record = &script.analytics.transactions()[0];
    assert_eq!(
        (record.duration_us, record.busy_us, record.idle_us),
        (12_000, 6_000, 6_000)
    );
    assert_eq!(
        (record.affected_rows, &**record.app.text(), record.session),
        (1, "shop", 9)
    );
    assert_eq!(script.live.started_ms.get(), 0);
}

#[test]
fn a_deadlock_ends_it_and_a_lock_timeout_does_not() {
    let mut script = Script::new();
    script
        .run(Boundary::Begin, OPEN, None)
        .run(Boundary::None, 0, Some(1205));
    assert!(script.tracker.is_open());
    script
        .run(Boundary::None, 0, Some(1213))
        .expect(&[(Outcome::Deadlock, 3)]);
    assert!(!script.tracker.is_open());
}

#[test]
fn begin_in_a_transaction_commits_it() {
    let mut script = Script::new();
    script
        .run(Boundary::Begin, OPEN, None)
        .run(Boundary::None, OPEN, None)
        .run(Boundary::Begin, OPEN, None);
    script.expect(&[(Outcome::Committed, 2)]);
    script
        .run(Boundary::Rollback, 2, None)
        .expect(&[(Outcome::Committed, 2), (Outcome::RolledBack, 2)]);
}

#[test]
fn chain_ends_one_and_begins_another() {
    let mut script = Script::new();
    script
        .run(Boundary::Begin, OPEN, None)
        .run(Boundary::Commit, OPEN, None);
    script.expect(&[(Outcome::Committed, 2)]);
    assert!(script.tracker.is_open());
    let identity = script.analytics.identity("ann", "shop", "s");
    script
        .tracker
        .disconnected(&identity, &script.live, &script.recorder);
    script.expect(&[(Outcome::Committed, 2), (Outcome::Disconnected, 0)]);
}

#[test]
fn without_autocommit_the_first_statement_begins_it() {
    let mut script = Script::new();
    script
        .run(
            Boundary::None,
            STATUS_IN_TRANS | STATUS_IN_TRANS_READONLY,
            None,
        )
        .run(Boundary::None, 0, None);
    script.expect(&[(Outcome::Unknown, 2)]);
    assert!(script.analytics.transactions()[0].read_only);
}

#[test]
fn a_write_of_its_own_is_one_too_and_a_stray_commit_is_none() {
    let mut script = Script::new();
    script
        .run(Boundary::None, 2, None)
        .run(Boundary::Commit, 2, None)
        .run(Boundary::ImplicitCommit, 2, None);
    script.expect(&[]);
    let totals = script.analytics.totals();
    assert_eq!(totals.transactions[Outcome::Autocommit as usize], 1);
    assert_eq!(totals.transaction.histogram.count(), 0);
}

#[test]
fn outcomes_are_in_the_order_of_all() {
    for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
        assert_eq!(outcome as usize, place);
    }
}

#[test]
fn boundaries_of_statements() {
    let cache = crate::sql::StatementCache::new(100);
    let mut scratch = crate::sql::DigestScratch::new(2_048);
    for (text, boundary) in [
        ("start transaction read only", Boundary::Begin),
        ("COMMIT AND CHAIN", Boundary::Commit),
        ("rollback work to savepoint a", Boundary::None),
        ("ROLLBACK", Boundary::Rollback),
        ("ALTER TABLE t ADD c INT", Boundary::ImplicitCommit),
        ("SET autocommit = 1", Boundary::ImplicitCommit),
        ("UPDATE t SET a = 1", Boundary::None),
    ] {
        scratch.run(text.as_bytes(), crate::sql::LexMode::default());
        let statement = cache.get_or_parse(&scratch, text.as_bytes());
        assert_eq!(Boundary::of(&statement), boundary, "{text}");
        assert_eq!(
            crate::analytics::Digest::from(&*statement).id,
            statement.id.0
        );
    }
}

#[test]
fn a_temporary_table_does_not_end_it() {
    let mut script = Script::new();
    script
        .run(Boundary::Begin, OPEN, None)
        .run(Boundary::ImplicitCommit, OPEN, None);
    script.expect(&[]);
    script
        .run(Boundary::ImplicitCommit, 2, None)
        .expect(&[(Outcome::Committed, 3)]);
}
