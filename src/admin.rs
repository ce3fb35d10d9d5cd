//! The virtual schema: SQL over snapshots of the other rooms. Never touches a client's data and changes nothing.
//!
//! `catalog` lists the tables; `sources` gives their rows; `vtab` shows them to SQLite as virtual tables.

pub mod catalog;
pub mod information_schema;
pub mod sources;
pub mod tables;
pub mod time;
pub mod value;

pub use sources::{RowsFn, Sources};
pub use value::{Row, Value};
