//! The probe in front of each kind of server: what it is, whether it is up.

use std::time::Duration;

use tidegate::backend::control::{Control, ControlSettings};
use tidegate::backend::probe::{Flavour, Probe, probe};
use tidegate::config;

use crate::support::MySql;

fn control(url: &str) -> std::sync::Arc<Control> {
    let backend = config::Backend {
        url: url.parse().unwrap(),
        ..config::Backend::default()
    };
    Control::new(ControlSettings {
        backend,
        connections_max: 2,
    })
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
