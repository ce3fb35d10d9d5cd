//! The probe in front of each kind of server: what it is, whether it is up.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use tidegate::backend::control::{Control, ControlSettings};
use tidegate::backend::probe::{Flavour, Probe, probe};
use tidegate::config;

use crate::support::{MySql, Tidegate};

fn control(url: &str) -> std::sync::Arc<Control> {
    let backend = config::Backend {
        url: url.parse().unwrap(),
        ..config::Backend::default()
    };
    Control::new(ControlSettings::new(backend, 2))
}

#[tokio::test]
async fn a_server_is_known_by_what_it_says() {
    let mysql = probe(&control(&MySql::shared().root_url())).await.unwrap();
    assert_eq!(mysql.flavour, Flavour::MySql);
    assert!(mysql.at_least(8, 0, 0) && mysql.tls && !mysql.rapid);
    assert_eq!(mysql.server_uuid.len(), 36);
    assert_eq!(mysql.auth_plugin_default, "caching_sha2_password");
    assert!(mysql.default_collation.starts_with("utf8mb4"));
    assert_eq!(mysql.secondary_engine, None);
    assert_eq!(mysql.broken_precondition(), None);
    let mock = MySql::start_with_mock(&["--binlog-order-commits=OFF"]);
    mock.run("SET GLOBAL super_read_only = ON");
    let mock = probe(&control(&mock.root_url())).await.unwrap();
    assert_eq!(mock.secondary_engine.as_deref(), Some("MOCK"));
    assert!(mock.super_read_only && mock.read_only);
    assert_eq!(
        mock.broken_precondition().unwrap().name,
        "binlog_order_commits"
    );
    let maria = probe(&control(&MySql::shared_mariadb().root_url()))
        .await
        .unwrap();
    assert_eq!(maria.flavour, Flavour::MariaDb);
    assert!(maria.at_least(10, 0, 0));
    assert!(maria.server_uuid.is_empty());
}

#[tokio::test]
async fn up_and_down_are_told_with_their_reason() {
    let server = MySql::start(&[]);
    let probe = Probe::new(control(&server.root_url()));
    assert!(!probe.snapshot().up && probe.snapshot().probes == 0);
    probe.once().await.unwrap();
    let up = probe.snapshot();
    assert!(up.up && up.error.is_none() && up.latency_us.is_some());
    server.kill9();
    assert!(probe.once().await.is_err());
    let down = probe.snapshot();
    assert!(!down.up && down.error.is_some() && down.since > up.since);
    server.start_again();
    // The kept connection died with the server; the next attempt makes a new one.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while probe.once().await.is_err() {
        assert!(tokio::time::Instant::now() < deadline);
    }
    assert_eq!((probe.snapshot().up, probe.snapshot().failures), (true, 1));
}

#[tokio::test]
async fn what_a_probe_learns_is_told_before_the_backend_counts_as_up() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (probe, hears) = (Arc::new(OnceLock::<Arc<Probe>>::new()), told.clone());
    let asked = probe.clone();
    let control = control(&MySql::shared().root_url());
    let probing = Probe::telling(control, move |found| {
        let up = asked.get().expect("it is made").snapshot().up;
        hears.lock().unwrap().push((up, found.version_text.clone()));
    });
    assert!(probe.set(probing.clone()).is_ok());
    probing.once().await.unwrap();
    probing.once().await.unwrap();
    let told = told.lock().unwrap();
    let ups: Vec<bool> = told.iter().map(|(up, _)| *up).collect();
    assert_eq!(ups, [false, true]);
    assert!(told.iter().all(|(_, version)| !version.is_empty()));
}

/// Whether there is an engine was looked up once a second, and by a third of all starts for the first time before the probe knew:
/// then the cache stayed shut for the first second of a proxy that had said it was ready.
#[tokio::test]
async fn a_proxy_that_is_ready_knows_whether_there_is_an_engine() {
    let server = MySql::shared();
    let schema = server.schema("engine");
    server.run(&format!("CREATE TABLE {schema}.t (a INT PRIMARY KEY)"));
    for _ in 0..6 {
        let gate = Tidegate::of(server)
            .set("cache.tables", &format!("[\"{schema}.t\"]"))
            .start();
        let mut client = gate.connect(&schema).await;
        let route: Vec<(String, String)> =
            client.query("EXPLAIN ROUTE SELECT a FROM t").await.unwrap();
        let reason = route.iter().find(|(name, _)| name == "reason");
        let reason = &reason.expect("a reason").1;
        assert!(!reason.contains("secondary_engine"), "{route:?}");
        gate.kill9();
    }
}
