//! `tidegate.transactions`: open and recently ended transactions.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::{Row, Value};
use crate::analytics::{Analytics, SessionInfo, TransactionRecord, isolation};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "transactions",
    description: "One row per open transaction and per recently ended one (the last analytics.events_max), as the status bits on the wire showed them.",
    columns: &[
        column(
            "session_id",
            Type::BigInt,
            "Session that ran it; joins sessions.id.",
        ),
        column("user", Type::Name(96), "User of the session."),
        column("app", Type::Name(96), "Application of the session."),
        column(
            "schema_name",
            Type::Name(64),
            "Default schema; empty for none.",
        ),
        column("state", Type::Varchar(16), "open or ended."),
        column(
            "outcome",
            Type::Varchar(16),
            "committed, rolled_back, deadlock, disconnected, autocommit or unknown; NULL while it is open.",
        ),
        column(
            "isolation",
            Type::Varchar(20),
            "Isolation level by the server's default and the session's SET statements; NULL when it is not known.",
        ),
        column(
            "read_only",
            Type::Bool,
            "1 when it was declared read only; NULL while it is open.",
        ),
        column(
            "statements",
            Type::BigInt,
            "Statements in it, BEGIN and COMMIT included: each is a round trip.",
        ),
        column("rows_affected", Type::BigInt, "Rows that it changed."),
        column(
            "duration_us",
            Type::BigInt,
            "From its first statement until its end, or until now.",
        ),
        column(
            "busy_us",
            Type::BigInt,
            "How much of that its statements took.",
        ),
        column(
            "idle_us",
            Type::BigInt,
            "How much of that no statement ran: the server held its locks and waited for the application.",
        ),
        column(
            "last_digest",
            Type::Name(32),
            "Digest of its last statement; joins queries.digest.",
        ),
        column("started_at", Type::Datetime, "When it began (UTC)."),
    ],
    rows: |sources| Arc::new((sources.transactions)()),
};

/// The rows of what was observed: the open ones first.
pub fn source(analytics: Arc<Analytics>) -> RowsFn {
    Arc::new(move || {
        let now_ms = analytics.now_ms();
        let sessions = analytics.sessions().list();
        let open = sessions.iter().filter_map(|session| open(session, now_ms));
        let ended = analytics.transactions();
        open.chain(ended.iter().rev().map(row)).collect()
    })
}

fn open(session: &SessionInfo, now_ms: u64) -> Option<Row> {
    let started_ms = session.transaction.started_ms.get();
    if started_ms == 0 {
        return None;
    }
    let identity = session.identity();
    let duration_us = now_ms.saturating_sub(started_ms).saturating_mul(1000);
    let busy_us = session.transaction.busy_us.get().min(duration_us);
    Some(vec![
        session.id.into(),
        identity.user.text().into(),
        identity.app.text().into(),
        identity.schema.text().into(),
        "open".into(),
        Value::Null,
        isolation::of_number(session.transaction.isolation.get()).into(),
        Value::Null,
        session.transaction.statements.get().into(),
        session.transaction.affected_rows.get().into(),
        duration_us.into(),
        busy_us.into(),
        (duration_us - busy_us).into(),
        Value::digest(session.digest().unwrap_or(0)),
        Value::unix_millis(started_ms),
    ])
}

fn row(ended: &TransactionRecord) -> Row {
    vec![
        ended.session.into(),
        ended.user.text().into(),
        ended.app.text().into(),
        ended.schema.text().into(),
        "ended".into(),
        ended.outcome.label().into(),
        ended.isolation.into(),
        ended.read_only.into(),
        ended.statements.into(),
        ended.affected_rows.into(),
        ended.duration_us.into(),
        ended.busy_us.into(),
        ended.idle_us.into(),
        Value::digest(ended.last_digest),
        Value::unix_millis(ended.started_ms),
    ]
}
