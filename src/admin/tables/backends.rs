//! `tidegate.backends`: the servers behind the proxy.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::{Row, Value};
use crate::backend::probe::{Flavour, Probe};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "backends",
    description: "One row per backend server: what it is, what it can do and how it is.",
    columns: &[
        column("backend", Type::Name(255), "Address as configured."),
        column(
            "state",
            Type::Varchar(16),
            "up, down, or unknown before the first probe.",
        ),
        column(
            "state_us",
            Type::BigInt,
            "How long it has been in this state.",
        ),
        column(
            "flavour",
            Type::Varchar(16),
            "mysql or mariadb; NULL before the first successful probe.",
        ),
        column("version", Type::Name(96), "Version as the server tells it."),
        column(
            "version_comment",
            Type::Name(128),
            "The build, as the server tells it.",
        ),
        column(
            "server_uuid",
            Type::Name(36),
            "The server's own identifier; NULL when it has none.",
        ),
        column(
            "read_only",
            Type::Bool,
            "1 when it takes no writes from ordinary users.",
        ),
        column(
            "super_read_only",
            Type::Bool,
            "1 when it takes no writes at all: a reader.",
        ),
        column(
            "secondary_engine",
            Type::Name(64),
            "Secondary engine that the probe found; NULL when there is none.",
        ),
        column(
            "rapid",
            Type::Bool,
            "1 when that engine is HeatWave's RAPID.",
        ),
        column("tls", Type::Bool, "1 when the server offers TLS."),
        column(
            "binlog_missing",
            Type::Name(64),
            "First precondition for following its binary log that does not hold; NULL when all hold.",
        ),
        column(
            "latency_us",
            Type::BigInt,
            "Time of the last successful probe's query.",
        ),
        column("probes", Type::BigInt, "Probes made since start."),
        column("probe_failures", Type::BigInt, "How many of them failed."),
        column(
            "last_error",
            Type::Text,
            "Last error of a probe; NULL when there was none.",
        ),
    ],
    rows: |sources| Arc::new((sources.backends)()),
};

/// The row of the backend at `backend`, as its probe found it.
pub fn source(backend: String, probe: Arc<Probe>) -> RowsFn {
    Arc::new(move || vec![row(&backend, &probe)])
}

fn row(backend: &str, probe: &Probe) -> Row {
    let health = probe.snapshot();
    let found = probe.capabilities().load_full();
    // An empty version: no probe has succeeded, and nothing else of it is known.
    let known = !found.version_text.is_empty();
    let when_known = |value: Value| if known { value } else { Value::Null };
    let state = match (health.probes, health.up) {
        (0, _) => "unknown",
        (_, true) => "up",
        (_, false) => "down",
    };
    vec![
        backend.into(),
        state.into(),
        Value::micros(health.since.elapsed()),
        when_known(
            match found.flavour {
                Flavour::MySql => "mysql",
                Flavour::MariaDb => "mariadb",
            }
            .into(),
        ),
        Value::text_or_null(found.version_text.as_str()),
        Value::text_or_null(found.version_comment.as_str()),
        Value::text_or_null(found.server_uuid.as_str()),
        when_known(found.read_only.into()),
        when_known(found.super_read_only.into()),
        found.secondary_engine.clone().into(),
        when_known(found.rapid.into()),
        when_known(found.tls.into()),
        found.broken_precondition().map(|broken| broken.name).into(),
        health.latency_us.into(),
        health.probes.into(),
        health.failures.into(),
        health.error.into(),
    ]
}
