//! `tidegate.transactions`: open and recently ended transactions.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "transactions",
    description: "One row per open transaction and per recently ended one (at most analytics.events_max), as the status bits on the wire showed them.",
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
            "Default schema at its start; NULL when none.",
        ),
        column("state", Type::Varchar(16), "open or ended."),
        column(
            "outcome",
            Type::Varchar(16),
            "committed, rolled_back, implicit or lost; NULL while open.",
        ),
        column(
            "isolation",
            Type::Varchar(20),
            "Isolation level; NULL when it is not known.",
        ),
        column(
            "read_only",
            Type::Bool,
            "1 for START TRANSACTION READ ONLY.",
        ),
        column("statements", Type::BigInt, "Statements run in it."),
        column(
            "duration_us",
            Type::BigInt,
            "From its first statement's start until its end, or until now.",
        ),
        column(
            "idle_us",
            Type::BigInt,
            "How much of that no statement ran: the application was thinking.",
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
