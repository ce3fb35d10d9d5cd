//! Every table over real rooms: its rows are as wide as its columns, and their values are of the columns' types.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::admin::catalog::{self, Type};
use crate::admin::{Sources, Value};
use crate::analytics::histogram::Histogram;
use crate::analytics::peer::Peer;
use crate::analytics::{Analytics, Digest, MinuteLog, PoolSample, QueryEvent, ServedBy};
use crate::backend::control::{Control, ControlSettings};
use crate::backend::nodes::Nodes;
use crate::backend::probe::Probe;
use crate::binlog::{Binlog, Unavailable};
use crate::cache::{Cache, Settings};
use crate::config::{Config, Rule};
use crate::router::rules::Active;
use crate::store::{self, Minute, Store};

fn sources() -> (Sources, Arc<Analytics>) {
    let config = Arc::new(Config::default());
    let analytics = Analytics::new(&config.analytics, 1);
    let control = Control::new(ControlSettings::from_config(&config));
    let backend = || "db.example:3306".to_owned();
    let log = Binlog::unavailable(Unavailable::Starting);
    let settings = Settings::from(&config.cache);
    let cached = Cache::new(settings, log, tokio::runtime::Handle::current());
    let ruled = ruled();
    let sources = Sources {
        history: history::source(None),
        query_history: query_history::source(None, 100, Duration::ZERO),
        cache: cache::source(cached.clone(), 100),
        cache_totals: cache_totals::source(cached),
        pools: pools::source(Nodes::new(&config).unwrap()),
        backends: backends::source(Nodes::new(&config).unwrap(), Probe::new(control)),
        binlog: binlog::source(backend(), Binlog::unavailable(Unavailable::Starting)),
        settings: settings::source(config),
        rules: rules::source(ruled.clone()),
        limits: rules::limits(ruled.clone()),
        breakers: rules::breakers(ruled),
        ..Sources::of_analytics(&analytics)
    };
    (sources, analytics)
}

/// One rule whose limit and breaker were met.
fn ruled() -> Arc<Active> {
    let rule = Rule {
        name: "few".to_owned(),
        concurrent_max: 1,
        breaker_timeouts: 1,
        ..Rule::default()
    };
    let active = Active::new(&[rule]).unwrap();
    if let Some(gate) = &active.now().all[0].gate {
        gate.bucket("*");
        gate.ended(7, true, None, Instant::now());
    }
    Arc::new(active)
}

/// Two executions, one slow and wrong, by ann in shop, and a pool that was looked at twice.
fn observe(analytics: &Arc<Analytics>) {
    let recorder = analytics.recorder(0).unwrap();
    let identity = analytics.identity("ann", "web", "shop");
    let text: Arc<str> = "SELECT ?".into();
    for (total_us, error, served_by) in [
        (1_000, None, ServedBy::Backend),
        (9_000_000, Some((1064u16, "wrong")), ServedBy::Cache),
    ] {
        let digest = Digest {
            id: 0xAB,
            text: &text,
            kind: "select",
        };
        let mut event = QueryEvent::new(digest, &identity, Instant::now());
        event.total_us = total_us;
        event.error = error;
        event.served_by = served_by;
        event.reason = "plain_read";
        recorder.record(&event);
    }
    for at_ms in [analytics.now_ms() - 1_000, analytics.now_ms()] {
        analytics.pool().sample(PoolSample {
            at_ms,
            active: 3,
            connections_max: 10,
            ..PoolSample::default()
        });
    }
}

fn fits(kind: Type, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Int(_) => matches!(kind, Type::BigInt | Type::Bool | Type::Double),
        Value::Real(_) => kind == Type::Double,
        Value::Text(text) => match kind {
            Type::Datetime => crate::admin::time::Moment::parse(text).is_some(),
            kind => kind
                .characters_max()
                .is_some_and(|max| text.chars().count() <= max as usize),
        },
    }
}

/// A store with what analytics observed as one minute, in a folder that must outlive it.
fn past(analytics: &Arc<Analytics>) -> (Arc<Store>, tempfile::TempDir) {
    let folder = tempfile::TempDir::new().unwrap();
    let store = Store::start(store::Settings {
        path: folder.path().join("history.db"),
        keep_days: 1,
        bytes_max: 1 << 30,
        merge: Histogram::merge_sketches,
    })
    .unwrap();
    let rows = MinuteLog::new(10, 0).look(&analytics.readings());
    store.write(Minute {
        minute: 29_000_000,
        rows,
    });
    let until = Instant::now() + Duration::from_secs(20);
    while store.status().written < 1 {
        assert!(Instant::now() < until, "{:?}", store.status());
        std::thread::sleep(Duration::from_millis(5));
    }
    (store, folder)
}

#[tokio::test]
async fn rows_fit_their_columns() {
    let (sources, analytics) = sources();
    observe(&analytics);
    let (store, _folder) = past(&analytics);
    let sources = Sources {
        history: history::source(Some(store.clone())),
        query_history: query_history::source(Some(store), 100, Duration::from_secs(9)),
        ..sources
    };
    let client = Peer::At("10.0.0.9:5555".parse().unwrap());
    let identity = Arc::new(analytics.identity("ann", "web", "shop"));
    let session = analytics
        .sessions()
        .register(7, client, 0, identity, analytics.now_ms() - 5_000);
    session
        .info()
        .transaction
        .started_ms
        .set(analytics.now_ms() - 2_000);
    let may_be_empty = [
        "users",
        "changes",
        "pools",
        "views",
        "view_candidates",
        "view_totals",
        "cache",
        "backend_changes",
    ];
    for table in catalog::TABLES {
        let rows = (table.rows)(&sources);
        assert!(
            !rows.is_empty() || may_be_empty.contains(&table.name),
            "{} is empty",
            table.name
        );
        for row in rows.iter() {
            assert_eq!(row.len(), table.columns.len(), "{}", table.name);
            for (value, column) in row.iter().zip(table.columns) {
                assert!(
                    fits(column.kind, value),
                    "{}.{}: {value:?}",
                    table.name,
                    column.name
                );
            }
        }
    }
}

#[tokio::test]
async fn the_past_is_shown_by_its_minute() {
    let (sources, analytics) = sources();
    observe(&analytics);
    let (store, _folder) = past(&analytics);
    let sources = Sources {
        history: history::source(Some(store.clone())),
        query_history: query_history::source(Some(store), 100, Duration::from_secs(9)),
        ..sources
    };
    let past = |column| cell("query_history", &sources, column);
    for column in [
        "digest",
        "digest_text",
        "kind",
        "user",
        "app",
        "schema_name",
        "executions",
        "errors",
        "slow",
        "total_us",
        "by_cache_us",
        "p50_us",
    ] {
        assert_eq!(past(column), cell("queries", &sources, column), "{column}");
    }
    assert_eq!(past("minute"), "2025-02-19 21:20:00".into());
    // The largest time is known of a row since start, not of a minute: here p99 is the middle of its bucket.
    let Value::Int(p99_us) = past("p99_us") else {
        panic!()
    };
    assert!(p99_us.abs_diff(9_000_000) < 9_000_000 / 32, "{p99_us}");
    let about = |column| cell("history", &sources, column);
    assert_eq!(
        (about("state"), about("minutes"), about("lost")),
        ("on".into(), 1.into(), 0.into())
    );
    assert_eq!(
        (about("oldest"), about("newest")),
        (past("minute"), past("minute"))
    );
}

fn cell(table: &str, sources: &Sources, column: &str) -> Value {
    let table = catalog::find("tidegate", table).unwrap();
    let at = table
        .columns
        .iter()
        .position(|known| known.name == column)
        .unwrap();
    (table.rows)(sources)[0][at].clone()
}

#[tokio::test]
async fn what_was_observed_is_shown() {
    let (sources, analytics) = sources();
    observe(&analytics);
    let query = |column| cell("queries", &sources, column);
    assert_eq!(query("digest"), "000000000000000000000000000000ab".into());
    assert_eq!(
        (query("executions"), query("errors"), query("slow")),
        (2.into(), 1.into(), 1.into())
    );
    assert_eq!(
        (query("by_backend"), query("by_cache"), query("by_view")),
        (1.into(), 1.into(), 0.into())
    );
    assert_eq!(
        (query("total_us"), query("max_us")),
        (9_001_000.into(), 9_000_000.into())
    );
    assert_eq!(
        (query("mean_us"), query("time_share")),
        (4_500_500.0.into(), 1.0.into())
    );
    assert_eq!(query("last_reason"), "plain_read".into());
    assert_eq!(cell("errors", &sources, "error_number"), 1064.into());
    assert_eq!(cell("slow_queries", &sources, "served_by"), "cache".into());
    assert_eq!(cell("pool_usage", &sources, "active_max"), 3.into());
    assert_eq!(cell("backends", &sources, "state"), "unknown".into());
    assert_eq!(cell("backends", &sources, "flavour"), Value::Null);
    assert_eq!(cell("binlog", &sources, "state"), "binlog_starting".into());
    assert_eq!(cell("binlog", &sources, "position"), Value::Null);
}

#[tokio::test]
async fn an_open_transaction_is_a_row_and_goes_with_its_session() {
    let (sources, analytics) = sources();
    let client = Peer::At("10.0.0.9:5555".parse().unwrap());
    let identity = Arc::new(analytics.identity("ann", "web", "shop"));
    let session = analytics
        .sessions()
        .register(7, client, 0, identity, analytics.now_ms());
    assert!((sources.transactions)().is_empty());
    assert_eq!(cell("sessions", &sources, "transaction_ms"), Value::Null);
    session
        .info()
        .transaction
        .started_ms
        .set(analytics.now_ms() - 2_000);
    session.info().transaction.busy_us.set(500_000);
    let Value::Int(idle_us) = cell("transactions", &sources, "idle_us") else {
        panic!()
    };
    assert!((1_500_000..2_000_000).contains(&idle_us), "{idle_us}");
    assert_eq!(cell("transactions", &sources, "state"), "open".into());
    drop(session);
    assert!((sources.transactions)().is_empty());
    assert!((sources.sessions)().is_empty());
}
