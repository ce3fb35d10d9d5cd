//! Who may hold a backend connection: one permit a connection over all workers, idle ones kept by key, waits with a deadline.
//! Touched when a client comes and goes, never per query. Never opens a connection itself.

use super::connection::{ConnectionKey, ServerConnection};
use crate::config;
use dashmap::DashMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Users with counters of their own; those beyond share `_other`.
const USERS_COUNTED_MAX: usize = 1_000;

/// Why no connection could be had.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum PoolError {
    /// All connections stayed in use for the whole wait.
    #[error("no backend connection became free within {wait_ms} ms (pool.connections_max = {max})")]
    Timeout {
        /// How long the client waited.
        wait_ms: u64,
        /// The limit that was reached.
        max: usize,
    },
    /// Too many clients wait already.
    #[error("{waiting} clients wait for a backend connection already (pool.waiters_max)")]
    TooManyWaiters {
        /// Clients waiting.
        waiting: usize,
    },
    /// The user has all the connections it may have.
    #[error("the user has {max} backend connections already (pool.connections_per_user_max)")]
    UserLimit {
        /// The limit.
        max: usize,
    },
}

/// Counters of one user's connections.
#[derive(Debug, Default)]
pub struct UserCounters {
    open: AtomicUsize,
    idle: AtomicUsize,
    waiting: AtomicUsize,
    opened_total: AtomicU64,
    reused_total: AtomicU64,
    waits_total: AtomicU64,
    wait_us_sum: AtomicU64,
    wait_us_max: AtomicU64,
    refused_total: AtomicU64,
}

/// One row of the admin table `pools`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRow {
    /// Backend user.
    pub user: String,
    /// Connections lent to a client.
    pub active: usize,
    /// Connections kept for the next client.
    pub idle: usize,
    /// Clients waiting now.
    pub waiting: usize,
    /// Connections opened since start.
    pub opened_total: u64,
    /// Logins served by an idle connection.
    pub reused_total: u64,
    /// Waits since start.
    pub waits_total: u64,
    /// Sum of all waits.
    pub wait_us_sum: u64,
    /// Longest wait.
    pub wait_us_max: u64,
    /// Clients turned away.
    pub refused_total: u64,
    /// The limit over all users.
    pub connections_max: usize,
}

/// The right to one backend connection; gives it back when dropped.
pub struct Slot {
    _permit: OwnedSemaphorePermit,
    counters: Arc<UserCounters>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Relaxed);
    }
}

struct Idle {
    connection: ServerConnection,
    since: Instant,
    worker: usize,
}

/// The pool of one backend.
pub struct Pool {
    limits: config::Pool,
    permits: Arc<Semaphore>,
    idle: Mutex<VecDeque<Idle>>,
    users: DashMap<Arc<str>, Arc<UserCounters>>,
    waiting: AtomicUsize,
}

impl Pool {
    /// An empty pool with these limits.
    pub fn new(limits: config::Pool) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(limits.connections_max)),
            idle: Mutex::new(VecDeque::new()),
            users: DashMap::new(),
            waiting: AtomicUsize::new(0),
            limits,
        })
    }

    fn counters(&self, user: &str) -> Arc<UserCounters> {
        if let Some(found) = self.users.get(user) {
            return found.clone();
        }
        let name = if self.users.len() < USERS_COUNTED_MAX {
            user
        } else {
            "_other"
        };
        self.users.entry(Arc::from(name)).or_default().clone()
    }

    /// A permit for one more connection of `user`, waiting at most `pool.wait_ms_max`.
    /// Idle connections of others make room first.
    pub async fn slot(&self, user: &str) -> Result<Slot, PoolError> {
        let counters = self.counters(user);
        let user_max = self.limits.connections_per_user_max;
        if user_max > 0 && counters.open.load(Relaxed) >= user_max && !self.evict_idle(Some(user)) {
            counters.refused_total.fetch_add(1, Relaxed);
            return Err(PoolError::UserLimit { max: user_max });
        }
        if self.permits.available_permits() == 0 {
            self.evict_idle(None);
        }
        let permit = match self.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait(&counters).await?,
        };
        counters.open.fetch_add(1, Relaxed);
        counters.opened_total.fetch_add(1, Relaxed);
        Ok(Slot {
            _permit: permit,
            counters,
        })
    }

    /// Whether a client waits for a connection.
    pub fn has_waiters(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// A permit for one more connection of `user` if one is free at once. For connections of our own, which must never take what
    /// a waiting client could have, nor make a client wait.
    pub fn slot_at_once(&self, user: &str) -> Option<Slot> {
        if self.has_waiters() {
            return None;
        }
        if self.permits.available_permits() == 0 {
            self.evict_idle(None);
        }
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        let counters = self.counters(user);
        counters.open.fetch_add(1, Relaxed);
        counters.opened_total.fetch_add(1, Relaxed);
        Some(Slot {
            _permit: permit,
            counters,
        })
    }

    async fn wait(&self, counters: &UserCounters) -> Result<OwnedSemaphorePermit, PoolError> {
        let waiting = self.waiting.fetch_add(1, Relaxed);
        let _guard = Decrement(&self.waiting);
        if waiting >= self.limits.waiters_max {
            counters.refused_total.fetch_add(1, Relaxed);
            return Err(PoolError::TooManyWaiters { waiting });
        }
        counters.waiting.fetch_add(1, Relaxed);
        let _user_guard = Decrement(&counters.waiting);
        let started = Instant::now();
        let limit = Duration::from_millis(self.limits.wait_ms_max);
        let outcome = tokio::time::timeout(limit, self.permits.clone().acquire_owned()).await;
        let waited_us = started.elapsed().as_micros() as u64;
        counters.waits_total.fetch_add(1, Relaxed);
        counters.wait_us_sum.fetch_add(waited_us, Relaxed);
        counters.wait_us_max.fetch_max(waited_us, Relaxed);
        match outcome {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed; a closed one would mean the same to the client.
            Ok(Err(_)) | Err(_) => {
                counters.refused_total.fetch_add(1, Relaxed);
                Err(PoolError::Timeout {
                    wait_ms: self.limits.wait_ms_max,
                    max: self.limits.connections_max,
                })
            }
        }
    }

    /// An idle connection that fits `key`, preferably one whose socket belongs to `worker`'s reactor.
    pub fn take_idle(&self, key: &ConnectionKey, worker: usize) -> Option<ServerConnection> {
        let mut dropped = Vec::new();
        let mut idle = self.idle.lock();
        let taken = loop {
            let fits = |i: &Idle| i.connection.fits(key);
            let own = idle.iter().rposition(|i| i.worker == worker && fits(i));
            let Some(at) = own.or_else(|| idle.iter().rposition(fits)) else {
                break None;
            };
            let Some(found) = idle.remove(at) else {
                break None;
            };
            self.counters(found.connection.user())
                .idle
                .fetch_sub(1, Relaxed);
            if found.connection.is_quiet() && !self.is_too_old(&found) {
                break Some(found.connection);
            }
            dropped.push(found);
        };
        drop(idle);
        drop(dropped);
        if let Some(connection) = &taken {
            self.counters(connection.user())
                .reused_total
                .fetch_add(1, Relaxed);
        }
        taken
    }

    /// Keeps a connection that was reset, for the next client; one too many or too old is closed.
    pub fn give_back(&self, connection: ServerConnection, worker: usize) {
        let counters = self.counters(connection.user());
        let entry = Idle {
            connection,
            since: Instant::now(),
            worker,
        };
        // A waiting client needs the permit, not this connection.
        if self.is_too_old(&entry) || self.waiting.load(Relaxed) > 0 {
            return;
        }
        let mut idle = self.idle.lock();
        idle.push_back(entry);
        counters.idle.fetch_add(1, Relaxed);
        let oldest = if idle.len() > self.limits.idle_max {
            idle.pop_front()
        } else {
            None
        };
        drop(idle);
        self.forget(oldest);
        // Somebody may have begun to wait since we looked.
        if self.has_waiters() {
            self.evict_idle(None);
        }
    }

    fn is_too_old(&self, idle: &Idle) -> bool {
        idle.connection.age() > Duration::from_millis(self.limits.lifetime_ms_max)
            || idle.since.elapsed() > Duration::from_millis(self.limits.idle_ms_max)
    }

    fn evict_idle(&self, user: Option<&str>) -> bool {
        let mut idle = self.idle.lock();
        let at = idle
            .iter()
            .position(|i| user.is_none_or(|u| i.connection.user() == u));
        let evicted = at.and_then(|at| idle.remove(at));
        drop(idle);
        let any = evicted.is_some();
        self.forget(evicted);
        any
    }

    fn forget(&self, evicted: Option<Idle>) {
        if let Some(evicted) = evicted {
            self.counters(evicted.connection.user())
                .idle
                .fetch_sub(1, Relaxed);
        }
    }

    /// Closes what has been idle or open for too long; called once a second by the control plane.
    pub fn reap(&self) {
        let mut idle = self.idle.lock();
        let (keep, old): (VecDeque<Idle>, VecDeque<Idle>) =
            idle.drain(..).partition(|i| !self.is_too_old(i));
        *idle = keep;
        drop(idle);
        old.into_iter().for_each(|i| self.forget(Some(i)));
    }

    /// Closes every idle connection of `user`, or of all: after a change of accounts or grants nobody inherits an old login.
    pub fn drop_idle(&self, user: Option<&str>) {
        while self.evict_idle(user) {}
    }

    /// The rows of the admin table `pools`.
    pub fn snapshot(&self) -> Vec<PoolRow> {
        self.users
            .iter()
            .map(|entry| self.row(entry.key(), entry.value()))
            .collect()
    }

    fn row(&self, user: &str, c: &UserCounters) -> PoolRow {
        let idle = c.idle.load(Relaxed);
        PoolRow {
            user: user.to_owned(),
            active: c.open.load(Relaxed).saturating_sub(idle),
            idle,
            waiting: c.waiting.load(Relaxed),
            opened_total: c.opened_total.load(Relaxed),
            reused_total: c.reused_total.load(Relaxed),
            waits_total: c.waits_total.load(Relaxed),
            wait_us_sum: c.wait_us_sum.load(Relaxed),
            wait_us_max: c.wait_us_max.load(Relaxed),
            refused_total: c.refused_total.load(Relaxed),
            connections_max: self.limits.connections_max,
        }
    }
}

struct Decrement<'a>(&'a AtomicUsize);

impl Drop for Decrement<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
