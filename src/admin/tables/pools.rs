//! `tidegate.pools`: backend connections and who waits for them.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "pools",
    description: "One row per pool of backend connections: the whole, and one per user where users have pools of their own.",
    columns: &[
        column("backend", Type::Name(255), "Backend address."),
        column(
            "user",
            Type::Name(96),
            "User whose connections these are; NULL for the sum over all users.",
        ),
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
            "Limit on active + idle (pool.connections_max).",
        ),
        column(
            "acquired",
            Type::BigInt,
            "Connections handed out since start.",
        ),
        column(
            "reused",
            Type::BigInt,
            "How many of those were idle ones, not new.",
        ),
        column("opened", Type::BigInt, "Connections opened since start."),
        column("closed", Type::BigInt, "Connections closed since start."),
        column(
            "connect_errors",
            Type::BigInt,
            "Connects and logins that failed.",
        ),
        column(
            "wait_timeouts",
            Type::BigInt,
            "Waits given up after pool.wait_ms_max.",
        ),
        column("waits", Type::BigInt, "Acquisitions that had to wait."),
        column("wait_us", Type::BigInt, "Sum of waiting times."),
        column("wait_max_us", Type::BigInt, "Longest waiting time."),
    ],
    rows: |sources| Arc::new((sources.pools)()),
};
