//! `tidegate.lost`: what could not be kept.

use std::sync::Arc;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::analytics::{Analytics, Lost};
use crate::store::Store;

/// See its description.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "lost",
    description: "One row per kind of observation that a limit left no room for, and how often: nothing is dropped without a count.",
    columns: &[
        column("what", Type::Varchar(64), "What was lost."),
        column(
            "count",
            Type::BigInt,
            "How often since start; 0 is as it should be.",
        ),
    ],
    rows: |sources| Arc::new((sources.lost)()),
};

/// The rows of what was observed, and of its history.
pub fn source(analytics: Arc<Analytics>, store: Option<Arc<Store>>) -> RowsFn {
    Arc::new(move || {
        let minutes = Lost {
            what: "history_minutes",
            count: store.as_ref().map_or(0, |store| store.status().lost),
        };
        let lost = analytics.lost().into_iter().chain([minutes]);
        lost.map(|lost| vec![lost.what.into(), lost.count.into()])
            .collect()
    })
}
