//! Limits and breakers at given moments.

use super::*;

fn gate(change: impl FnOnce(&mut Rule)) -> Arc<Gate> {
    let mut rule = Rule::default();
    change(&mut rule);
    Gate::of(&rule, None).expect("it holds something back")
}

fn at(start: Instant, ms: u64) -> Instant {
    start + Duration::from_millis(ms)
}

#[test]
fn so_many_run_and_so_many_wait_in_order() {
    let gate = gate(|rule| (rule.concurrent_max, rule.queue_max, rule.queue_ms_max) = (2, 2, 9));
    let bucket = gate.bucket("*");
    let take = || bucket.enters();
    let (Ok(Place::Taken(first)), Ok(Place::Taken(_second))) = (take(), take()) else {
        panic!("two may run")
    };
    let (Ok(Place::Queued(mut third)), Ok(Place::Queued(mut fourth))) = (take(), take()) else {
        panic!("two may wait")
    };
    assert_eq!(take().unwrap_err(), Refusal::Running);
    assert!(third.try_recv().is_err());
    drop(first);
    let third = third.try_recv().expect("it is its turn");
    assert!(fourth.try_recv().is_err());
    // Whoever comes now stands behind the one that waits, also when a place is free.
    let Ok(Place::Queued(fifth)) = take() else {
        panic!("it waits")
    };
    drop(fifth);
    drop(third);
    drop(fourth.try_recv().expect("it is its turn"));
    let row = bucket.row("*");
    assert_eq!(
        (
            row.running,
            row.waiting,
            row.started,
            row.queued,
            row.refused
        ),
        (1, 0, 4, 3, 1)
    );
}

#[test]
fn who_gives_up_takes_no_place() {
    let gate = gate(|rule| (rule.concurrent_max, rule.queue_max, rule.queue_ms_max) = (1, 9, 9));
    let bucket = gate.bucket("*");
    let Ok(Place::Taken(first)) = bucket.enters() else {
        panic!("one may run")
    };
    let waiting: Vec<_> = (0..3).map(|_| bucket.enters().unwrap()).collect();
    drop(waiting);
    drop(first);
    assert_eq!(bucket.row("*").running, 0);
    assert!(matches!(bucket.enters(), Ok(Place::Taken(_))));
}

#[test]
fn a_permit_that_was_sent_and_not_taken_is_free_again() {
    let gate = gate(|rule| (rule.concurrent_max, rule.queue_max, rule.queue_ms_max) = (1, 9, 9));
    let bucket = gate.bucket("*");
    let Ok(Place::Taken(first)) = bucket.enters() else {
        panic!("one may run")
    };
    let Ok(Place::Queued(second)) = bucket.enters() else {
        panic!("one may wait")
    };
    drop(first);
    assert_eq!(bucket.row("*").running, 1);
    drop(second);
    assert_eq!(bucket.row("*").running, 0);
}

#[test]
fn a_limit_that_changes_goes_on_counting() {
    let mut rule = Rule {
        concurrent_max: 1,
        queue_max: 5,
        queue_ms_max: 9,
        ..Rule::default()
    };
    let gate = Gate::of(&rule, None).unwrap();
    let bucket = gate.bucket("*");
    let _first = bucket.enters().unwrap();
    let Ok(Place::Queued(mut second)) = bucket.enters() else {
        panic!("it waits")
    };
    rule.concurrent_max = 2;
    let same = Gate::of(&rule, Some(&gate)).unwrap();
    assert!(Arc::ptr_eq(&same, &gate));
    same.takes(&rule);
    let _second = second.try_recv().expect("two may run now");
    assert!(matches!(bucket.enters(), Ok(Place::Queued(_))));
    rule.limit_by = "user".to_owned();
    let other = Gate::of(&rule, Some(&gate)).unwrap();
    assert!(!Arc::ptr_eq(&other, &gate));
}

#[test]
fn a_rate_lets_a_burst_through_and_then_so_many_a_second() {
    let gate = gate(|rule| rule.rate_per_s_max = 10);
    let (bucket, start) = (gate.bucket("*"), Instant::now());
    let begun = |ms| bucket.begins(at(start, ms)).is_ok();
    assert_eq!((0..50).filter(|_| begun(0)).count(), 10);
    assert!(!begun(99));
    assert!(begun(100));
    assert!(!begun(100));
    assert_eq!((0..50).filter(|_| begun(1_100)).count(), 10);
    let hour = (0..3_600_000u64)
        .step_by(7)
        .filter(|ms| begun(10_000 + ms))
        .count();
    assert!((36_000..=36_011).contains(&hour), "{hour}");
    assert!(gate.bucket("other").begins(start).is_ok());
}

#[test]
fn a_rate_may_be_waited_for() {
    let gate = gate(|rule| (rule.rate_per_s_max, rule.queue_max, rule.queue_ms_max) = (2, 2, 600));
    let (bucket, start) = (gate.bucket("*"), Instant::now());
    assert!(bucket.begins(start).unwrap().is_none());
    assert!(bucket.begins(start).unwrap().is_none());
    let wait = bucket.begins(start).unwrap().expect("it waits");
    assert_eq!(wait.wait, Duration::from_millis(500));
    // The next one would have to wait a second.
    assert_eq!(bucket.begins(start).unwrap_err(), Refusal::Rate);
    assert_eq!(bucket.row("*").waiting, 1);
    drop(wait);
    assert_eq!(bucket.row("*").waiting, 0);
}

#[test]
fn a_breaker_opens_probes_and_closes() {
    let gate = gate(|rule| {
        (
            rule.breaker_timeouts,
            rule.breaker_window_ms,
            rule.breaker_pause_ms,
        ) = (3, 1_000, 500);
    });
    let start = Instant::now();
    let allowed = |ms| gate.allows(7, at(start, ms));
    let times_out = |ms| gate.ended(7, true, None, at(start, ms));
    // Too far apart.
    [0, 600, 1_200].into_iter().for_each(times_out);
    assert!(matches!(allowed(1_200), Ok(None)));
    times_out(1_500);
    assert_eq!(allowed(1_600).unwrap_err(), Refusal::Open(400));
    assert!(matches!(gate.allows(8, at(start, 1_600)), Ok(None)));
    // Late outcomes of those that began before change nothing.
    times_out(1_700);
    gate.ended(7, false, None, at(start, 1_800));
    assert_eq!(allowed(1_999).unwrap_err(), Refusal::Open(1));
    let probe = allowed(2_000).unwrap().expect("one is let through");
    assert_eq!(allowed(2_000).unwrap_err(), Refusal::Open(0));
    gate.ended(7, true, Some(probe), at(start, 2_100));
    assert_eq!(allowed(2_200).unwrap_err(), Refusal::Open(400));
    let probe = allowed(2_600).unwrap().expect("one is let through");
    gate.ended(7, false, Some(probe), at(start, 2_700));
    assert!(matches!(allowed(2_700), Ok(None)));
    // It counts from zero again.
    [2_800, 2_810].into_iter().for_each(times_out);
    assert!(matches!(allowed(2_820), Ok(None)));
    let row = gate.breaker_rows(at(start, 2_820)).pop().unwrap();
    assert_eq!(
        (row.state, row.timeouts, row.opened, row.refused),
        ("closed", 2, 2, 4)
    );
}

#[test]
fn a_probe_that_is_lost_lets_the_next_one_through() {
    let gate = gate(|rule| rule.breaker_timeouts = 1);
    let start = Instant::now();
    gate.ended(7, true, None, start);
    let probe = gate.allows(7, at(start, 10_000)).unwrap().expect("a probe");
    assert!(gate.allows(7, at(start, 10_000)).is_err());
    drop(probe);
    assert!(matches!(gate.allows(7, at(start, 10_000)), Ok(Some(_))));
}

#[test]
fn buckets_and_breakers_are_bounded() {
    let gate = gate(|rule| (rule.concurrent_max, rule.breaker_timeouts) = (1, 1));
    let held: Vec<_> = (0..BUCKETS_MAX + 5)
        .map(|at| gate.bucket(&at.to_string()))
        .collect();
    assert_eq!(gate.rows().len(), BUCKETS_MAX + 1);
    drop(held);
    gate.bucket("new");
    assert_eq!(gate.rows().len(), 1);
    let start = Instant::now();
    for digest in 0..BREAKERS_MAX as u128 + 5 {
        gate.ended(digest, true, None, at(start, digest as u64));
    }
    assert_eq!(gate.breaker_rows(start).len(), BREAKERS_MAX);
    assert!(matches!(gate.allows(0, start), Ok(None)));
}
