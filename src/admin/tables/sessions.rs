//! `tidegate.sessions`: who is connected and what they do.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "sessions",
    description: "One row per client connection that is open now.",
    columns: &[
        column(
            "id",
            Type::BigInt,
            "Connection id as the client knows it (CONNECTION_ID() through the proxy).",
        ),
        column(
            "user",
            Type::Name(96),
            "User it logged in as; NULL before login.",
        ),
        column("app", Type::Name(96), "Application name, see queries.app."),
        column("client", Type::Name(64), "Address and port of the client."),
        column(
            "schema_name",
            Type::Name(64),
            "Default schema now; NULL when none.",
        ),
        column(
            "state",
            Type::Varchar(32),
            "login, idle, running, in_transaction, waiting or closing.",
        ),
        column(
            "digest",
            Type::Name(32),
            "Digest of the statement that runs now or ran last; joins queries.digest.",
        ),
        column(
            "state_us",
            Type::BigInt,
            "How long it has been in this state.",
        ),
        column(
            "in_transaction",
            Type::Bool,
            "1 while the server says that a transaction is open.",
        ),
        column(
            "backend_id",
            Type::BigInt,
            "Connection id of the backend connection that it holds; NULL when none.",
        ),
        column("queries", Type::BigInt, "Statements run since login."),
        column(
            "connected_at",
            Type::Datetime,
            "When the connection was accepted (UTC).",
        ),
    ],
    rows: |sources| Arc::new((sources.sessions)()),
};
