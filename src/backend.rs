//! The server side: connections, pool, control plane, probes. Never decides where a statement goes.

pub mod certificates;
pub mod compression;
pub mod connection;
pub mod control;
pub mod defaults;
pub mod door;
pub mod login;
pub mod nodes;
pub mod pool;
pub mod probe;
pub mod statements;
pub mod stream;
pub mod target;
pub mod tls;
pub mod variables;
pub mod wire;
