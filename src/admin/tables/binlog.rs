//! `tidegate.binlog`: the stream of changes from the backend.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::Value;
use crate::binlog::Binlog;

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
            Type::Varchar(64),
            "running, or the name of the reason why it is not.",
        ),
        column(
            "detail",
            Type::Text,
            "More words on that reason; NULL when it runs.",
        ),
        column(
            "server_uuid",
            Type::Name(36),
            "Identifier of the server that it reads; NULL while it reads none.",
        ),
        column("file", Type::Name(255), "Log file that is being read."),
        column(
            "position",
            Type::Name(64),
            "Everything up to here has been taken in; NULL before the first event.",
        ),
        column("gtid", Type::Name(160), "Last transaction taken in."),
        column(
            "lag_ms",
            Type::Double,
            "Last measured time from asking the server for its position until the stream had come there; NULL before the first.",
        ),
        column(
            "epoch",
            Type::BigInt,
            "Moves on whenever changes may have been missed; what was made in an older epoch is not used.",
        ),
        column(
            "grant_epoch",
            Type::BigInt,
            "Moves on whenever accounts or privileges may have changed.",
        ),
        column("events", Type::BigInt, "Events received since start."),
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
            "Tables whose last change is remembered by name.",
        ),
        column(
            "barriers",
            Type::BigInt,
            "Questions for the current position that were sent to the server.",
        ),
        column(
            "barrier_callers",
            Type::BigInt,
            "Statements that were served by these questions.",
        ),
        column(
            "barrier_us",
            Type::BigInt,
            "Time of the last such question; 0 before the first.",
        ),
        column(
            "reconnects",
            Type::BigInt,
            "How often the stream had to be opened again.",
        ),
    ],
    rows: |sources| Arc::new((sources.binlog)()),
};

/// The row of the log that is read from `backend`.
pub fn source(backend: String, binlog: Arc<Binlog>) -> RowsFn {
    Arc::new(move || {
        let log = binlog.snapshot();
        vec![vec![
            backend.as_str().into(),
            log.state.into(),
            Value::text_or_null(log.detail),
            log.server_uuid.into(),
            log.file.into(),
            log.position.map(|position| position.to_string()).into(),
            log.gtid.map(|gtid| gtid.to_string()).into(),
            log.lag_ms.into(),
            log.epoch.into(),
            log.grant_epoch.into(),
            log.events.into(),
            log.transactions.into(),
            log.bytes.into(),
            log.tables.into(),
            log.barriers.into(),
            log.barrier_waiters.into(),
            log.barrier_us.into(),
            log.reconnects.into(),
        ]]
    })
}
