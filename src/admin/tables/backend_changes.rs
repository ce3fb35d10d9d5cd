//! `tidegate.backend_changes`: what became of the servers of a cluster, and when.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::Value;
use crate::backend::nodes::{Nodes, Why};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "backend_changes",
    description: "One row per change of a server of the cluster or of who takes the writes, the last ones (analytics.events_max).",
    columns: &[
        column("at", Type::Datetime, "When it was seen (UTC)."),
        column(
            "backend_name",
            Type::Name(255),
            "The server, as in backends.name; of a change of the writer the one that takes the writes, or all that do.",
        ),
        column(
            "role",
            Type::Varchar(16),
            "What it is from then on: writer, reader, unknown.",
        ),
        column(
            "state",
            Type::Varchar(32),
            "up, draining or down; writer_one when another takes the writes; writer_several or writer_none_.. when none may get any.",
        ),
        column(
            "reason",
            Type::Varchar(48),
            "Why it is not up, or why it gets no reads; NULL when there is no reason.",
        ),
        column(
            "lag_ms",
            Type::BigInt,
            "How far it was behind; NULL when that was not known.",
        ),
        column(
            "error",
            Type::Text,
            "The error that made it so; NULL when there was none.",
        ),
    ],
    rows: |sources| Arc::new((sources.backend_changes)()),
};

/// The last changes, oldest first.
pub fn source(nodes: Arc<Nodes>) -> RowsFn {
    Arc::new(move || {
        let rows = nodes.events().into_iter().map(|event| {
            vec![
                Value::moment(event.at),
                event.node.into(),
                event.role.into(),
                event.state.into(),
                event.reason.map(Why::label).into(),
                event.lag_ms.into(),
                event.error.map(Value::from).into(),
            ]
        });
        rows.collect()
    })
}
