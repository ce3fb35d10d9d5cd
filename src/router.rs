//! Decides where a statement goes and says why. Pure: awaits nothing, writes nothing.

pub mod reason;
pub mod session_state;
