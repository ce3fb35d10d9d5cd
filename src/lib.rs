//! Tidegate: a MySQL-wire proxy that answers repeated aggregates from exact views and caches results that cannot have changed.
//!
//! # Code map
//! The rooms stand in reading order; a room imports only rooms above it (`tests/tidy.rs` holds the table).
//! One query is one line: `session::listener` -> `session::login` -> `session` (read a command) -> `session::text`
//! -> `router::plain` -> `session::answers` (cache | view) | backend -> `protocol::relay` -> `analytics::recorder`.
//! ARCHITECTURE.md has the rooms, the invariants and the reasons.

pub mod config;
pub mod metrics;
pub mod shutdown;

pub mod protocol;
pub mod sql;
pub mod store;

pub mod backend;

pub mod binlog;

pub mod analytics;

pub mod cache;
pub mod views;

pub mod router;

pub mod admin;

pub mod http;
pub mod session;

pub mod server;
