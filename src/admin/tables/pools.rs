//! `tidegate.pools`: backend connections and who waits for them.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::Row;
use crate::backend::nodes::Nodes;
use crate::backend::pool::PoolRow;

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "pools",
    description: "One row per backend and user: connections lent, kept and waited for. Who logs in gets a connection of that user's.",
    columns: &[
        column("backend", Type::Name(255), "Backend address."),
        column("user", Type::Name(96), "User whose connections these are."),
        column(
            "active",
            Type::BigInt,
            "Connections that a session holds now.",
        ),
        column(
            "idle",
            Type::BigInt,
            "Connections kept open for the next session.",
        ),
        column(
            "waiting",
            Type::BigInt,
            "Sessions waiting for a connection now.",
        ),
        column(
            "connections_max",
            Type::BigInt,
            "Limit on the connections of all users together (pool.connections_max).",
        ),
        column("opened", Type::BigInt, "Connections opened since start."),
        column(
            "reused",
            Type::BigInt,
            "Logins served by a connection that was kept.",
        ),
        column(
            "waits",
            Type::BigInt,
            "Logins that had to wait for a place.",
        ),
        column("wait_us", Type::BigInt, "Sum of these waits."),
        column("wait_max_us", Type::BigInt, "Longest of these waits."),
        column(
            "refused",
            Type::BigInt,
            "Logins turned away because no place came free in pool.wait_ms_max.",
        ),
    ],
    rows: |sources| Arc::new((sources.pools)()),
};

/// The rows of each node's pool.
pub fn source(nodes: Arc<Nodes>) -> RowsFn {
    Arc::new(move || {
        let rows = nodes.all().iter().flat_map(|node| {
            let users = node.pool.snapshot().into_iter();
            users.map(|user| row(&node.target.address, user))
        });
        rows.collect()
    })
}

fn row(address: &str, user: PoolRow) -> Row {
    vec![
        address.into(),
        user.user.into(),
        user.active.into(),
        user.idle.into(),
        user.waiting.into(),
        user.connections_max.into(),
        user.opened_total.into(),
        user.reused_total.into(),
        user.waits_total.into(),
        user.wait_us_sum.into(),
        user.wait_us_max.into(),
        user.refused_total.into(),
    ]
}
