//! `tidegate.users`, `tidegate.changes`: users whose passwords are listed, and what was changed at run time.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::runtime::Runtime;
use crate::admin::sources::RowsFn;

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "users",
    description: "One row per user whose password is listed; all others log in with what the backend knows of them.",
    columns: &[
        column("name", Type::Name(32), "Name as the client sends it."),
        column(
            "password",
            Type::Varchar(255),
            "Password on both sides of Tidegate; always shown as ***.",
        ),
    ],
    rows: |sources| Arc::new((sources.users)()),
};

/// See its description.
pub static CHANGES: Table = Table {
    schema: SCHEMA,
    name: "changes",
    description: "One row per rule, user or setting that is not as it was saved, or not as the configuration file has it.",
    columns: &[
        column("kind", Type::Varchar(8), "rule, user or setting."),
        column("name", Type::Name(64), "Name of the rule, user or setting."),
        column(
            "written",
            Type::Text,
            "What the configuration file says; NULL: nothing. RESET brings it back.",
        ),
        column(
            "saved",
            Type::Text,
            "What holds at the next start. DISCARD brings it back.",
        ),
        column("in_force", Type::Text, "What holds now."),
        column(
            "is_saved",
            Type::Bool,
            "0: it is lost at the next start unless SAVE keeps it.",
        ),
    ],
    rows: |sources| Arc::new((sources.changes)()),
};

/// The rows of `users`.
pub fn source(runtime: Arc<Runtime>) -> RowsFn {
    Arc::new(move || runtime.user_rows())
}

/// The rows of `changes`.
pub fn changes(runtime: Arc<Runtime>) -> RowsFn {
    Arc::new(move || runtime.change_rows())
}
