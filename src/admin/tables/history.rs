//! `tidegate.history`: the file with statistics of the past.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::{Row, Value};
use crate::store::{Status, Store};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "history",
    description: "One row: the file that query_history is read from, and how it is.",
    columns: &[
        column(
            "path",
            Type::Text,
            "The file; NULL when history.path is empty.",
        ),
        column(
            "state",
            Type::Varchar(16),
            "on: written once a minute. starting: not opened yet. failing: could not be opened or written the last time, tried again every minute. off: not wanted, or not to be used as it is, and then left so.",
        ),
        column(
            "reason",
            Type::Varchar(255),
            "Why it is not on; NULL when it is.",
        ),
        column(
            "size_bytes",
            Type::BigInt,
            "Size of the file when it was last written; beside it stands a log of some megabytes at most.",
        ),
        column(
            "minutes",
            Type::BigInt,
            "Minutes kept, those in which nothing ran included; without those in which Tidegate did not run.",
        ),
        column("oldest", Type::Datetime, "The oldest minute kept (UTC)."),
        column("newest", Type::Datetime, "The newest minute kept (UTC)."),
        column("written", Type::BigInt, "Minutes written since start."),
        column(
            "lost",
            Type::BigInt,
            "Minutes since start that could not be kept: the disk was full or too slow, or the file could not be used.",
        ),
        column(
            "unread",
            Type::BigInt,
            "Readings of query_history since start that failed; who asked was told why.",
        ),
    ],
    rows: |sources| Arc::new((sources.history)()),
};

/// The row of the store; without one, of none.
pub fn source(store: Option<Arc<Store>>) -> RowsFn {
    Arc::new(move || match &store {
        Some(store) => {
            let path = store.path().display().to_string();
            vec![row(Value::from(path), &store.status())]
        }
        None => vec![row(Value::Null, &none())],
    })
}

fn none() -> Status {
    Status {
        state: crate::store::State::Off,
        reason: "history.path is empty".to_owned(),
        ..Status::default()
    }
}

fn row(path: Value, status: &Status) -> Row {
    let minute = |minute: Option<u64>| minute.map_or(Value::Null, Value::unix_minutes);
    vec![
        path,
        status.state.label().into(),
        Value::text_or_null(status.reason.as_str()).cut(255),
        status.bytes.into(),
        status.minutes.into(),
        minute(status.oldest),
        minute(status.newest),
        status.written.into(),
        status.lost.into(),
        status.unread.into(),
    ]
}
