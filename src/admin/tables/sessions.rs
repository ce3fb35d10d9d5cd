//! `tidegate.sessions`: who is connected and what they do.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::{Row, Value};
use crate::analytics::{Analytics, SessionInfo};
use crate::router::ties::Tie;

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "sessions",
    description: "One row per client connection that is open now.",
    columns: &[
        column(
            "id",
            Type::BigInt,
            "Connection id that the client was told; KILL takes it.",
        ),
        column(
            "user",
            Type::Name(96),
            "User that it logged in as; empty before login.",
        ),
        column("app", Type::Name(96), "Application, see queries.app."),
        column("client", Type::Name(64), "Address and port of the client."),
        column(
            "schema_name",
            Type::Name(64),
            "Default schema now; empty for none.",
        ),
        column(
            "state",
            Type::Varchar(16),
            "login, idle, queued (waiting for a backend connection), running, sending or closing.",
        ),
        column(
            "state_ms",
            Type::BigInt,
            "How long it has been in this state.",
        ),
        column(
            "digest",
            Type::Name(32),
            "Digest of the statement that runs, or ran last; joins queries.digest. NULL before the first.",
        ),
        column(
            "transaction_ms",
            Type::BigInt,
            "How long its transaction has been open; NULL when none is.",
        ),
        column(
            "transaction_statements",
            Type::BigInt,
            "Statements of that transaction so far; NULL when none is open.",
        ),
        column(
            "backend_id",
            Type::BigInt,
            "Connection id at the server of the connection that it holds; NULL when it holds none.",
        ),
        column(
            "pinned_by",
            Type::Name(32),
            "What keeps it on that connection (transaction, temporary_table, user_lock ...); NULL when nothing does, and while \
             a statement runs the state before it.",
        ),
        column("queries", Type::BigInt, "Statements run since login."),
        column("received_bytes", Type::BigInt, "Bytes of its requests."),
        column("sent_bytes", Type::BigInt, "Bytes of the answers to it."),
        column("tls", Type::Bool, "1 when the client uses TLS."),
        column("worker", Type::BigInt, "Worker thread that serves it."),
        column("connected_at", Type::Datetime, "When it connected (UTC)."),
    ],
    rows: |sources| Arc::new((sources.sessions)()),
};

/// The rows of who is connected.
pub fn source(analytics: Arc<Analytics>) -> RowsFn {
    Arc::new(move || {
        let now_ms = analytics.now_ms();
        let sessions = analytics.sessions().list();
        sessions
            .iter()
            .map(|session| row(session, now_ms))
            .collect()
    })
}

fn pinned_by(session: &SessionInfo) -> Option<&'static str> {
    let at = usize::try_from(session.tie.get()).ok()?.checked_sub(1)?;
    Tie::ALL.get(at).map(|(_, label)| *label)
}

fn row(session: &SessionInfo, now_ms: u64) -> Row {
    let identity = session.identity();
    let backend_id = Some(session.backend_id.get()).filter(|id| *id != 0);
    let opened_ms = Some(session.transaction.started_ms.get()).filter(|ms| *ms != 0);
    vec![
        session.id.into(),
        identity.user.text().into(),
        identity.app.text().into(),
        session.client.to_string().into(),
        identity.schema.text().into(),
        session.state().label().into(),
        now_ms.saturating_sub(session.since_ms()).into(),
        Value::digest(session.digest().unwrap_or(0)),
        opened_ms.map(|ms| now_ms.saturating_sub(ms)).into(),
        opened_ms
            .map(|_| session.transaction.statements.get())
            .into(),
        backend_id.into(),
        backend_id.and_then(|_| pinned_by(session)).into(),
        session.queries.get().into(),
        session.bytes_in.get().into(),
        session.bytes_out.get().into(),
        (session.tls.get() != 0).into(),
        session.worker.into(),
        Value::unix_millis(session.connected_ms),
    ]
}
