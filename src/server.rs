//! Builds each room once, starts its tasks, runs and drains. Holds no logic of its own.
