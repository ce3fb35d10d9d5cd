//! One writer per worker and many readers: nothing is lost, and no reader ever sees numbers go back.

use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;

const WRITERS: usize = 2;
const EACH: u64 = 60_000;

fn write(analytics: &Analytics, worker: usize) {
    let recorder = analytics.recorder(worker).unwrap();
    let identities = [
        analytics.identity("ann", "shop", "s"),
        analytics.identity("bob", "jobs", ""),
    ];
    let texts: Vec<Arc<str>> = (0..40)
        .map(|number| format!("SELECT {number}").into())
        .collect();
    for number in 0..EACH {
        let text = &texts[(number % 40) as usize];
        let digest = Digest {
            id: 1 + u128::from(number % 40),
            text,
            kind: "select",
        };
        let mut event = QueryEvent::new(digest, &identities[(number % 2) as usize], Instant::now());
        event.served_by = ServedBy::ALL[(number % 5) as usize];
        event.reason = "test";
        (event.total_us, event.rows, event.bytes_out) = (number % 1_000, 2, 10);
        if number % 100 == 0 {
            event.error = Some((1064, "near 'x'"));
        }
        recorder.record(&event);
    }
}

/// Reads everything, and gives rows up, until told to stop.
fn read(analytics: &Analytics, done: &AtomicBool) {
    let mut before = (0, 0);
    while !done.load(Ordering::Acquire) {
        let count = analytics.queries().iter().map(|row| row.count).sum::<u64>();
        let now = (count, analytics.totals().queries());
        assert!(
            now.0 >= before.0 && now.1 >= before.1,
            "{now:?} after {before:?}"
        );
        before = now;
        analytics.queries.make_room(u64::MAX, 0);
        analytics.errors();
        analytics.decisions();
        analytics.recent();
    }
}

#[test]
fn totals_are_exact_with_readers_all_the_time() {
    // Fewer rows than keys, so that rows are also refused, given up and moved under the readers' eyes.
    let config = config::Analytics {
        digests_max: 32,
        slow_query_ms: 1_000_000,
        ..config::Analytics::default()
    };
    let analytics = Analytics::new(&config, WRITERS);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (analytics, done) = (&*analytics, &done);
        let writers: Vec<_> = (0..WRITERS)
            .map(|worker| scope.spawn(move || write(analytics, worker)))
            .collect();
        (0..2).for_each(|_| drop(scope.spawn(move || read(analytics, done))));
        let written: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Release);
        assert!(written.iter().all(Result::is_ok));
    });
    let all = WRITERS as u64 * EACH;
    let sum = |rows: &[QueryRow], of: fn(&QueryRow) -> u64| rows.iter().map(of).sum::<u64>();
    for rows in [analytics.queries(), analytics.digests()] {
        assert_eq!(
            (sum(&rows, |row| row.count), sum(&rows, |row| row.rows)),
            (all, 2 * all)
        );
        assert_eq!(sum(&rows, |row| row.errors), all / 100);
        assert_eq!(sum(&rows, |row| row.served.iter().sum()), all);
    }
    let totals = analytics.totals();
    assert_eq!((totals.queries(), totals.bytes_out), (all, 10 * all));
    let sum_us: u64 = totals.duration.iter().map(|timing| timing.sum_us).sum();
    assert_eq!(sum_us, WRITERS as u64 * EACH / 1_000 * 499_500);
    assert_eq!(
        analytics
            .decisions()
            .iter()
            .map(|row| row.count)
            .sum::<u64>(),
        all
    );
    assert_eq!(
        analytics.errors().iter().map(|row| row.count).sum::<u64>(),
        all / 100
    );
    assert_eq!(analytics.recent().first().unwrap().count, all);
    assert!(analytics.queries.len() <= 32);
}

#[test]
fn a_recorder_is_given_out_once() {
    let analytics = Analytics::new(&config::Analytics::default(), 1);
    let first = analytics.recorder(0);
    assert!(first.is_some() && analytics.recorder(0).is_none() && analytics.recorder(1).is_none());
}

#[test]
fn slow_statements_keep_their_text_only_when_asked() {
    for sample_literals in [false, true] {
        let config = config::Analytics {
            sample_literals,
            slow_query_ms: 5,
            ..config::Analytics::default()
        };
        let analytics = Analytics::new(&config, 1);
        let recorder = analytics.recorder(0).unwrap();
        let identity = analytics.identity("ann", "", "");
        let text: Arc<str> = "SELECT ?".into();
        let mut event = QueryEvent::new(
            Digest {
                id: 1,
                text: &text,
                kind: "select",
            },
            &identity,
            Instant::now(),
        );
        event.total_us = 5_000;
        event.text = Some(b"SELECT 'secret'");
        recorder.record(&event);
        (event.total_us, event.reason) = (4_999, "why");
        recorder.record(&event);
        let slow = analytics.slow_queries();
        assert_eq!(slow.len(), 1);
        assert_eq!(
            slow[0].sample.as_deref(),
            sample_literals.then_some("SELECT 'secret'")
        );
        assert_eq!(analytics.reason(analytics.queries()[0].reason), "why");
    }
}

#[test]
fn apps_are_bounded_and_counted() {
    let config = config::Analytics {
        apps_max: 1,
        ..config::Analytics::default()
    };
    let analytics = Analytics::new(&config, 1);
    let recorder = analytics.recorder(0).unwrap();
    assert_eq!(
        (&**recorder.app("a").text(), &**recorder.app("b").text()),
        ("a", OTHER)
    );
    assert!(analytics.lost().contains(&Lost {
        what: "app_names",
        count: 1
    }));
}

#[test]
fn the_page_for_prometheus_is_valid_and_adds_up() {
    let config = config::Analytics {
        digests_max: 100,
        ..config::Analytics::default()
    };
    let analytics = Analytics::new(&config, 1);
    let recorder = analytics.recorder(0).unwrap();
    let identity = analytics.identity("ann", "shop", "s");
    let text: Arc<str> = "SELECT ?".into();
    for id in 0..90 {
        let mut event = QueryEvent::new(
            Digest {
                id,
                text: &text,
                kind: "select",
            },
            &identity,
            Instant::now(),
        );
        (event.total_us, event.backend_us, event.reason) = (2_000, 1_000, "plain");
        event.error = (id == 3).then_some((1064, "near 'x'"));
        recorder.record(&event);
    }
    let metrics = crate::metrics::Metrics::new().unwrap();
    let source = Arc::clone(&analytics);
    metrics.add_source(move |samples| source.export(samples));
    let page = metrics.text().unwrap();
    for line in [
        "tidegate_query_duration_seconds_bucket{served_by=\"backend\",le=\"0.001024\"} 0",
        "tidegate_query_duration_seconds_bucket{served_by=\"backend\",le=\"0.002048\"} 90",
        "tidegate_query_duration_seconds_sum{served_by=\"backend\"} 0.18",
        "tidegate_query_backend_seconds_bucket{le=\"0.001024\"} 90",
        "tidegate_errors_total{code=\"1064\"} 1",
        "tidegate_decisions_total{about=\"backend\",reason=\"plain\"} 90",
        "tidegate_digest_statistics_rows 90",
        "tidegate_metrics_dropped_samples_total 0",
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "no line {line} in\n{page}"
        );
    }
    assert_eq!(
        page.matches("tidegate_digest_executions_total{").count(),
        50
    );
}
