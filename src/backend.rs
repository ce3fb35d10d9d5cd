//! The server side: connections, pool, control plane, probes. Never decides where a statement goes.

pub mod control;
pub mod probe;
