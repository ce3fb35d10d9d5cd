//! `tidegate.binlog`: the stream of changes from the backend.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "binlog",
    description: "One row per followed binary log: where it is, how far behind, and why it is not usable when it is not.",
    columns: &[
        column(
            "backend",
            Type::Name(255),
            "Address of the server that it is read from.",
        ),
        column(
            "state",
            Type::Varchar(16),
            "connecting, streaming, disconnected or unavailable.",
        ),
        column(
            "reason",
            Type::Varchar(64),
            "Why it is not streaming; NULL when it is.",
        ),
        column(
            "position",
            Type::Name(128),
            "Position up to which events were taken in.",
        ),
        column(
            "gtid",
            Type::Name(255),
            "Last transaction taken in; NULL without GTIDs.",
        ),
        column(
            "epoch",
            Type::BigInt,
            "Moves on whenever changes may have been missed; results of older epochs are not used.",
        ),
        column(
            "grant_epoch",
            Type::BigInt,
            "Moves on whenever privileges may have changed.",
        ),
        column("events", Type::BigInt, "Events taken in since start."),
        column(
            "transactions",
            Type::BigInt,
            "Transactions taken in since start.",
        ),
        column(
            "received_bytes",
            Type::BigInt,
            "Bytes received since start.",
        ),
        column(
            "tables",
            Type::BigInt,
            "Tables whose last change is remembered.",
        ),
        column(
            "barriers",
            Type::BigInt,
            "Questions for the current position sent to the server.",
        ),
        column(
            "barrier_p99_us",
            Type::BigInt,
            "99th percentile of the time of such a question; NULL before the first.",
        ),
        column(
            "reconnects",
            Type::BigInt,
            "How often the stream had to be opened again.",
        ),
        column(
            "silence_us",
            Type::BigInt,
            "Time since the last event or heartbeat.",
        ),
        column(
            "last_error",
            Type::Text,
            "Last error of the stream; NULL when there was none.",
        ),
    ],
    rows: |sources| Arc::new((sources.binlog)()),
};
