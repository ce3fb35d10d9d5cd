//! `tidegate.settings`: the configuration in use.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::runtime::Runtime;
use crate::admin::sources::RowsFn;
use crate::admin::value::{Row, Value};
use crate::config::{Config, Setting};

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "settings",
    description: "One row per configuration key with the value in use; secrets show as ***.",
    columns: &[
        column(
            "name",
            Type::Varchar(64),
            "Section and key, as in the configuration file.",
        ),
        column("value", Type::Text, "The value in use."),
        column(
            "default_value",
            Type::Text,
            "The value when the key is not written.",
        ),
        column(
            "unit",
            Type::Varchar(16),
            "Unit of the value; NULL when it has none.",
        ),
        column("allowed", Type::Text, "What the value may be."),
        column(
            "reloadable",
            Type::Bool,
            "1 when a change takes effect without a restart.",
        ),
        column("description", Type::Text, "What the key does."),
    ],
    rows: |sources| Arc::new((sources.settings)()),
};

/// The rows of a configuration.
pub fn source(config: Arc<Config>) -> RowsFn {
    Arc::new(move || rows(&config))
}

/// The rows of the configuration in force.
pub fn live(runtime: Arc<Runtime>) -> RowsFn {
    Arc::new(move || rows(&runtime.config()))
}

fn rows(config: &Config) -> Vec<Row> {
    let row = |setting: Setting| {
        vec![
            setting.name.into(),
            setting.value.into(),
            setting.default.into(),
            Value::text_or_null(setting.unit),
            setting.allowed.into(),
            setting.reloadable.into(),
            setting.help.into(),
        ]
    };
    config.settings().into_iter().map(row).collect()
}
