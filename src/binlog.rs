//! The binary log as positions and table changes, and the strict gate on it. Never changes data.
