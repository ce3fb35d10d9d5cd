//! Numbers with one writer and any readers, and the clock they are stamped by. Never a read-modify-write, never a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A number that one thread writes and any thread reads. A plain load and store: on the hot path that is an ordinary
/// addition, while `fetch_add` would be a locked instruction. The price: two writers would lose counts.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds, on the writer's thread.
    pub fn add(&self, amount: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Keeps the larger, on the writer's thread.
    pub fn raise(&self, value: u64) {
        if value > self.0.load(Relaxed) {
            self.0.store(value, Relaxed);
        }
    }

    /// Keeps the smaller, where 0 means none yet, on the writer's thread.
    pub fn lower(&self, value: u64) {
        let now = self.0.load(Relaxed);
        if now == 0 || value < now {
            self.0.store(value, Relaxed);
        }
    }

    /// Replaces, on the writer's thread.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Reads, on any thread.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Turns the monotonic clock of the hot path into wall time without asking for it again. Wall time that is set later
/// does not move it: stamps of one process stay in order.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    start_unix_ms: u64,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: Instant::now(),
            start_unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Milliseconds since 1970 at `at`.
    pub fn unix_ms(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start).as_millis();
        self.start_unix_ms
            .saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// When the clock was started, in milliseconds since 1970.
    pub fn started_unix_ms(&self) -> u64 {
        self.start_unix_ms
    }
}
