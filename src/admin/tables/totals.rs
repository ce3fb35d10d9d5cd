//! `tidegate.totals`: everything since start, in one row.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::Value;
use crate::analytics::{Analytics, Outcome};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "totals",
    description: "One row: sums over everything since start, and how many are connected now.",
    columns: &[
        column("sessions", Type::BigInt, "Client connections open now."),
        column(
            "executions",
            Type::BigInt,
            "Statements answered, errors included.",
        ),
        column("errors", Type::BigInt, "Of them, answered with an error."),
        column(
            "warnings",
            Type::BigInt,
            "Sum of the warning counts of the results.",
        ),
        column("rows_sent", Type::BigInt, "Rows sent to clients."),
        column("rows_affected", Type::BigInt, "Rows changed."),
        column("received_bytes", Type::BigInt, "Bytes of requests."),
        column("sent_bytes", Type::BigInt, "Bytes of answers."),
        column(
            "queue_us",
            Type::BigInt,
            "Time waiting for a backend connection, of what went to the backend.",
        ),
        column(
            "backend_us",
            Type::BigInt,
            "Time in the backend, of what went there.",
        ),
        column(
            "drain_us",
            Type::BigInt,
            "Time waiting for clients to take their answers.",
        ),
        column(
            "slow",
            Type::BigInt,
            "Statements that took longer than analytics.slow_query_ms.",
        ),
        column(
            "no_index_used",
            Type::BigInt,
            "Statements whose result said that no index was used.",
        ),
        column("committed", Type::BigInt, "Transactions committed."),
        column("rolled_back", Type::BigInt, "Transactions rolled back."),
        column(
            "deadlocks",
            Type::BigInt,
            "Transactions ended as the victim of a deadlock.",
        ),
        column(
            "disconnected",
            Type::BigInt,
            "Transactions lost with their connection; the server rolled them back.",
        ),
        column(
            "ended_unknown",
            Type::BigInt,
            "Transactions that ended inside a statement that does not say how.",
        ),
        column(
            "autocommits",
            Type::BigInt,
            "Statements that wrote in no transaction of their own.",
        ),
        column(
            "transaction_us",
            Type::BigInt,
            "Duration of transactions of more than one statement.",
        ),
        column(
            "transaction_idle_us",
            Type::BigInt,
            "Of that, time in which they waited for their application.",
        ),
        column(
            "transaction_statements",
            Type::BigInt,
            "Statements in transactions.",
        ),
    ],
    rows: |sources| Arc::new((sources.totals)()),
};

/// The row of what was observed.
pub fn source(analytics: Arc<Analytics>) -> RowsFn {
    Arc::new(move || {
        let totals = analytics.totals();
        let ended = |outcome: Outcome| {
            let at = Outcome::ALL.iter().position(|known| *known == outcome);
            Value::from(at.and_then(|at| totals.transactions.get(at).copied()))
        };
        vec![vec![
            analytics.sessions().len().into(),
            totals.queries().into(),
            totals.errors.iter().sum::<u64>().into(),
            totals.warnings.into(),
            totals.rows.into(),
            totals.affected_rows.into(),
            totals.bytes_in.into(),
            totals.bytes_out.into(),
            totals.queue.sum_us.into(),
            totals.backend.sum_us.into(),
            totals.drain.sum_us.into(),
            totals.slow.into(),
            totals.no_index.into(),
            ended(Outcome::Committed),
            ended(Outcome::RolledBack),
            ended(Outcome::Deadlock),
            ended(Outcome::Disconnected),
            ended(Outcome::Unknown),
            ended(Outcome::Autocommit),
            totals.transaction.sum_us.into(),
            totals.transaction_idle_us.into(),
            totals.transaction_statements.into(),
        ]]
    })
}
