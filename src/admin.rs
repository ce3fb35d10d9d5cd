//! The virtual schema: SQL over snapshots of the other rooms. Never touches a client's data and changes nothing.
//!
//! `catalog` lists the tables; `sources` gives their rows; `vtab` shows them to SQLite as virtual tables.
//! A statement goes `lexer` -> `statement` (what it is) -> `dialect` (MySQL to SQLite) -> `engine` (SQLite on its own thread).

pub mod catalog;
pub mod context;
pub mod dialect;
pub mod engine;
pub mod error;
pub mod functions;
pub mod information_schema;
pub mod lexer;
pub mod show;
pub mod sources;
pub mod statement;
pub mod tables;
pub mod time;
pub mod typing;
pub mod value;
pub mod variables;
pub mod vtab;

pub use context::Identity;
pub use error::Error;
pub use sources::{RowsFn, Sources};
pub use value::{Row, Value};

/// The version that the virtual schema tells clients, in VERSION() and for the greeting of the admin port.
pub fn version() -> &'static str {
    variables::VERSION
}
