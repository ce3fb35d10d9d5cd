//! `tidegate.backends`: the servers behind the proxy.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "backends",
    description: "One row per backend server: what it is, what it can do and how it is.",
    columns: &[
        column("backend", Type::Name(255), "Address as configured."),
        column("role", Type::Varchar(16), "writer or reader."),
        column("state", Type::Varchar(16), "up, down or unknown."),
        column(
            "state_us",
            Type::BigInt,
            "How long it has been in this state.",
        ),
        column(
            "flavour",
            Type::Varchar(16),
            "mysql or mariadb; NULL before the first probe.",
        ),
        column("version", Type::Name(96), "Version as the server tells it."),
        column(
            "secondary_engine",
            Type::Name(64),
            "Secondary engine found by the probe (RAPID on HeatWave); NULL when none.",
        ),
        column("tls", Type::Bool, "1 when connections to it are encrypted."),
        column(
            "latency_us",
            Type::BigInt,
            "Time of the last successful probe.",
        ),
        column(
            "binlog_ready",
            Type::Bool,
            "1 when every precondition for following its binary log is met.",
        ),
        column(
            "last_error",
            Type::Text,
            "Last error of a probe; NULL when there was none.",
        ),
        column(
            "probed_at",
            Type::Datetime,
            "When it was last probed (UTC).",
        ),
    ],
    rows: |sources| Arc::new((sources.backends)()),
};
