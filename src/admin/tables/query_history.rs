//! `tidegate.query_history`: what ran in each minute of the past, from the history file.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::admin::bounds::Bounds;
use crate::admin::catalog::{Bounded, SCHEMA, Table, Type, column};
use crate::admin::sources::BoundedRowsFn;
use crate::admin::value::{Row, Value};
use crate::analytics::histogram::quantiles;
use crate::store::{self, Store, Wanted};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "query_history",
    description: "One row per minute, digest, user, app and schema: what ran in that minute, from the file in history.path. The minute that runs is not in it yet. Read from the file at each statement: the newest admin.rows_max rows between the bounds that WHERE sets on minute (=, <, <=, >, >=, BETWEEN, with a moment written as there).",
    columns: &[
        column(
            "minute",
            Type::Datetime,
            "The minute (UTC), by its beginning, written as 2026-01-31 23:59:00.",
        ),
        column(
            "digest",
            Type::Name(32),
            "Digest of the statement; joins queries.digest. NULL for what has no row of its own: in _other stands what history.rows_per_minute_max left no room for.",
        ),
        column(
            "digest_text",
            Type::Text,
            "The statement with its literals as ?; NULL where digest is.",
        ),
        column(
            "kind",
            Type::Varchar(32),
            "What kind of statement it is: select, insert, begin ...; NULL where digest is.",
        ),
        column("user", Type::Name(96), "User that ran it."),
        column("app", Type::Name(96), "Application that ran it."),
        column(
            "schema_name",
            Type::Name(64),
            "Default schema that it ran in; empty for none.",
        ),
        column(
            "executions",
            Type::BigInt,
            "How often it ran in that minute, errors included.",
        ),
        column(
            "errors",
            Type::BigInt,
            "How many executions ended with an error.",
        ),
        column(
            "warnings",
            Type::BigInt,
            "Sum of the warning counts of the results.",
        ),
        column(
            "slow",
            Type::BigInt,
            "Executions that took longer than analytics.slow_query_ms.",
        ),
        column(
            "no_index_used",
            Type::BigInt,
            "Executions whose result carried the server's flag that no index was used.",
        ),
        column("rows_sent", Type::BigInt, "Rows sent to clients."),
        column(
            "rows_affected",
            Type::BigInt,
            "Rows changed, as the server reported them.",
        ),
        column("received_bytes", Type::BigInt, "Bytes of the requests."),
        column("sent_bytes", Type::BigInt, "Bytes of the answers."),
        column(
            "queue_us",
            Type::BigInt,
            "Sum of times waiting for a backend connection.",
        ),
        column(
            "backend_us",
            Type::BigInt,
            "Sum of times from the request sent to the backend until the last byte of its answer.",
        ),
        column(
            "first_byte_us",
            Type::BigInt,
            "Sum of times from the request sent to the backend until the first byte of its answer.",
        ),
        column(
            "drain_us",
            Type::BigInt,
            "Sum of times waiting for clients to take their answers.",
        ),
        column("total_us", Type::BigInt, "Sum of all times."),
        column(
            "by_backend",
            Type::BigInt,
            "Executions answered by the backend as the client wrote them.",
        ),
        column("by_view", Type::BigInt, "Executions answered from a view."),
        column(
            "by_cache",
            Type::BigInt,
            "Executions answered from the result cache.",
        ),
        column(
            "by_local",
            Type::BigInt,
            "Executions answered by the proxy itself.",
        ),
        column(
            "by_admin",
            Type::BigInt,
            "Executions answered by the virtual schema.",
        ),
        column(
            "by_backend_us",
            Type::BigInt,
            "Sum of times of those that the backend answered.",
        ),
        column(
            "by_view_us",
            Type::BigInt,
            "Sum of times of those answered from a view.",
        ),
        column(
            "by_cache_us",
            Type::BigInt,
            "Sum of times of those answered from the result cache.",
        ),
        column(
            "by_local_us",
            Type::BigInt,
            "Sum of times of those that the proxy answered itself.",
        ),
        column(
            "by_admin_us",
            Type::BigInt,
            "Sum of times of those that the virtual schema answered.",
        ),
        column(
            "p50_us",
            Type::BigInt,
            "Half of the executions of that minute took at most this; exact to 3.1 %. NULL when that is not known.",
        ),
        column(
            "p95_us",
            Type::BigInt,
            "95 % of the executions of that minute took at most this; exact to 3.1 %.",
        ),
        column(
            "p99_us",
            Type::BigInt,
            "99 % of the executions of that minute took at most this; exact to 3.1 %.",
        ),
    ],
    rows: |sources| {
        let rows = (sources.query_history)(Bounds::default());
        Arc::new(rows.unwrap_or_default())
    },
};

/// It is bounded by its minute.
pub const BOUNDED: Bounded = Bounded {
    table: &TABLE,
    column: 0,
    rows: |sources, bounds| (sources.query_history)(bounds).map(Arc::new),
};

/// A minute in microseconds.
const MINUTE_US: i64 = 60_000_000;

/// The newest rows of the store within bounds, at most `rows_max`, read within `wait_max`; without a store, none.
pub fn source(store: Option<Arc<Store>>, rows_max: usize, wait_max: Duration) -> BoundedRowsFn {
    Arc::new(move |bounds| {
        let Some(store) = &store else {
            return Ok(Vec::new());
        };
        let wanted = Wanted {
            from: minute(bounds.from_us, 0),
            to: minute(bounds.to_us, u64::MAX),
            rows_max,
            wait_max,
        };
        let (mut rows, mut written) = (Vec::new(), Written::default());
        let read = store.read(wanted, |minute, found| {
            rows.push(row(minute, found, &mut written));
        });
        read.map_err(|error| format!("history: {error}"))?;
        Ok(rows)
    })
}

/// The minute of a bound; `otherwise` where there is none.
fn minute(bound_us: Option<i64>, otherwise: u64) -> u64 {
    bound_us.map_or(otherwise, |us| {
        u64::try_from(us.div_euclid(MINUTE_US)).unwrap_or(0)
    })
}

/// Values that many rows have, each written once.
#[derive(Default)]
struct Written {
    minutes: HashMap<u64, Value>,
    digests: HashMap<u128, Value>,
}

fn row(minute: u64, found: &store::Row, written: &mut Written) -> Row {
    let minutes = written.minutes.entry(minute);
    let minute = minutes
        .or_insert_with_key(|minute| Value::unix_minutes(*minute))
        .clone();
    let digests = written.digests.entry(found.digest);
    let digest = digests.or_insert_with_key(|digest| Value::digest(*digest));
    // There are many: no room is left over.
    let mut row = Vec::with_capacity(TABLE.columns.len());
    row.extend([
        minute,
        digest.clone(),
        Value::text_or_null(&found.text),
        Value::text_or_null(&found.kind),
        (&found.user).into(),
        (&found.app).into(),
        (&found.schema).into(),
    ]);
    row.extend(found.sums.values().map(Value::from));
    // Part of a sketch would give wrong percentiles: one that is broken gives none.
    let latency = quantiles(&found.latency, [0.5, 0.95, 0.99]).ok().flatten();
    row.extend(
        latency.map_or([Value::Null, Value::Null, Value::Null], |us| {
            us.map(Value::from)
        }),
    );
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Sums;

    #[test]
    fn the_sums_stand_in_their_columns() {
        let names: Vec<&str> = TABLE.columns.iter().map(|column| column.name).collect();
        assert_eq!(&names[7..7 + Sums::NAMES.len()], Sums::NAMES);
    }
}
