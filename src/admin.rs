//! The virtual schema: SQL over snapshots of the other rooms. Never touches a client's data.
