//! `tidegate.backends`: the servers behind the proxy.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::{Row, Value};
use crate::backend::nodes::{Node, Nodes, Role, Why};
use crate::backend::probe::{Flavour, Probe};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "backends",
    description: "One row per backend server: what it is, what it can do and how it is.",
    columns: &[
        column("backend", Type::Name(255), "Address as configured."),
        column(
            "name",
            Type::Name(64),
            "Its name in [[nodes]]; that of backend.url is backend.",
        ),
        column(
            "role",
            Type::Varchar(16),
            "writer, reader, or unknown while nobody has looked or it is down.",
        ),
        column(
            "state",
            Type::Varchar(16),
            "up, draining (it answers, but nothing new begins there), down, or unknown before the first probe.",
        ),
        column(
            "reason",
            Type::Varchar(48),
            "Why it is not up, or why it gets no reads; NULL when there is no reason.",
        ),
        column(
            "state_us",
            Type::BigInt,
            "How long it has been in this role and state.",
        ),
        column(
            "reads",
            Type::Bool,
            "1 when it is a reader that may be read from now.",
        ),
        column(
            "weight",
            Type::BigInt,
            "Its share of the reads against those of the other readers.",
        ),
        column(
            "lag_ms",
            Type::BigInt,
            "How far it is behind; NULL for the writer, and when that is not known.",
        ),
        column(
            "connections_active",
            Type::BigInt,
            "Its connections that a session holds now.",
        ),
        column(
            "connections_idle",
            Type::BigInt,
            "Its connections kept for the next session.",
        ),
        column(
            "changes",
            Type::BigInt,
            "Changes of its role, of its state, and of whether it gets reads, since start.",
        ),
        column(
            "flavour",
            Type::Varchar(16),
            "mysql or mariadb; like what follows up to binlog_missing, known of the writer only, after its first probe.",
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

/// One row for each node; `probe` knows more of the one that it looks at.
pub fn source(nodes: Arc<Nodes>, probe: Arc<Probe>) -> RowsFn {
    Arc::new(move || {
        let rows = nodes.all().iter().map(|node| row(&nodes, node, &probe));
        rows.collect()
    })
}

/// What is told of a node's looks.
struct Looks {
    state: &'static str,
    us: Option<u64>,
    count: u64,
    failures: u64,
    error: Option<Arc<str>>,
    since: Instant,
}

fn looks(nodes: &Nodes, node: &Node, probe: &Probe) -> Looks {
    if !nodes.is_cluster() {
        let health = probe.snapshot();
        return Looks {
            state: match (health.probes, health.up) {
                (0, _) => "unknown",
                (_, true) => "up",
                (_, false) => "down",
            },
            us: health.latency_us,
            count: health.probes,
            failures: health.failures,
            error: health.error.map(Into::into),
            since: health.since,
        };
    }
    let (state, counters) = (node.state.load(), &node.counters);
    let count = counters.looks.load(Relaxed);
    Looks {
        state: match count {
            0 => "unknown",
            _ => state.health.label(),
        },
        us: Some(counters.look_us.load(Relaxed)).filter(|us| *us > 0),
        count,
        failures: counters.failures.load(Relaxed),
        error: state.error.clone(),
        since: state.since,
    }
}

fn row(nodes: &Nodes, node: &Node, probe: &Probe) -> Row {
    let looks = looks(nodes, node, probe);
    let state = node.state.load();
    let found = probe.capabilities().load_full();
    let is_probed = !nodes.is_cluster() || state.role == Role::Writer;
    // An empty version: no probe has succeeded, and nothing else of it is known.
    let known = is_probed && !found.version_text.is_empty();
    let when_known = |value: Value| if known { value } else { Value::Null };
    let text = |text: &str| when_known(Value::text_or_null(text));
    let uuid = match state.server_uuid.as_deref() {
        Some(uuid) => Value::text_or_null(uuid),
        None => text(&found.server_uuid),
    };
    let (mut active, mut idle) = (0, 0);
    for user in node.pool.snapshot() {
        active += user.active;
        idle += user.idle;
    }
    let reason = state.health.why().or(state.no_reads);
    vec![
        (&*node.target.address).into(),
        (&node.name).into(),
        state.role.label().into(),
        looks.state.into(),
        reason.map(Why::label).into(),
        Value::micros(looks.since.elapsed()),
        (state.role == Role::Reader && state.no_reads.is_none()).into(),
        node.weight.into(),
        state.lag_ms.into(),
        active.into(),
        idle.into(),
        node.counters.changes.load(Relaxed).into(),
        when_known(
            match found.flavour {
                Flavour::MySql => "mysql",
                Flavour::MariaDb => "mariadb",
            }
            .into(),
        ),
        text(&found.version_text),
        text(&found.version_comment),
        uuid,
        when_known(found.read_only.into()),
        when_known(found.super_read_only.into()),
        when_known(found.secondary_engine.clone().into()),
        when_known(found.rapid.into()),
        when_known(found.tls.into()),
        when_known(found.broken_precondition().map(|broken| broken.name).into()),
        looks.us.into(),
        looks.count.into(),
        looks.failures.into(),
        looks.error.map(Value::from).into(),
    ]
}
