//! Who may hold a backend connection: a fixed number over all workers, idle ones kept by key, a queue with a deadline. A connection
//! that comes free goes straight to who waits for one like it. Touched when a session gets or leaves a connection, not per query
//! while there are enough. Never opens a connection itself.

use super::connection::{ConnectionKey, ServerConnection};
use crate::config;
use dashmap::DashMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Who has waited so much longer than others is served first, even if that costs a connection that would fit them.
const PATIENCE: Duration = Duration::from_millis(50);

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

/// The right to one backend connection; when dropped, it goes to whoever waits first.
pub struct Slot {
    pool: Arc<Pool>,
    counters: Arc<UserCounters>,
    /// Nobody took it, and its place is being given to the next.
    is_refused: bool,
}

impl Slot {
    /// Where it is from.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Relaxed);
        if !self.is_refused {
            self.pool.freed();
        }
    }
}

struct Idle {
    connection: ServerConnection,
    since: Instant,
    worker: usize,
    /// Its client has left for good: it is kept for the next login only for a while.
    is_surplus: bool,
}

/// What a session that asked for a connection is given.
pub enum Grant {
    /// One that is open.
    Connection(Box<ServerConnection>),
    /// The right to open one.
    Slot(Slot),
}

struct Waiter {
    number: u64,
    /// What fits; `None`: only a place to open one.
    key: Option<ConnectionKey>,
    user: Arc<str>,
    since: Instant,
    tell: oneshot::Sender<Grant>,
}

#[derive(Default)]
struct State {
    open: usize,
    idle: VecDeque<Idle>,
    waiters: VecDeque<Waiter>,
    numbers: u64,
}

/// The pool of one backend.
pub struct Pool {
    limits: config::Pool,
    state: Mutex<State>,
    users: DashMap<Arc<str>, Arc<UserCounters>>,
    waiting: AtomicUsize,
    /// Moves when somebody begins to wait: sessions that could give their connection up are looked for then.
    starving: watch::Sender<u64>,
}

impl Pool {
    /// An empty pool with these limits.
    pub fn new(limits: config::Pool) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            users: DashMap::new(),
            waiting: AtomicUsize::new(0),
            starving: watch::Sender::new(0),
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

    /// Sessions waiting for a connection now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Whether a client waits for a connection.
    pub fn has_waiters(&self) -> bool {
        self.waiting() > 0
    }

    /// Tells when somebody begins to wait.
    pub fn starving(&self) -> watch::Receiver<u64> {
        self.starving.subscribe()
    }

    /// A place for one more connection of `user`, waiting at most `pool.wait_ms_max`.
    ///
    /// # Errors
    /// None came free in time, or too many wait.
    pub async fn slot(self: &Arc<Self>, user: &str) -> Result<Slot, PoolError> {
        match self.acquire(user, None, 0).await? {
            Grant::Slot(slot) => Ok(slot),
            // Nobody offers a connection to who asked for a place.
            Grant::Connection(connection) => connection.into_slot().ok_or(PoolError::Timeout {
                wait_ms: 0,
                max: self.limits.connections_max,
            }),
        }
    }

    /// An idle connection that fits `key`, a place for a new one, or what comes free first; waits at most `pool.wait_ms_max`.
    ///
    /// # Errors
    /// Nothing came free in time, too many wait, or the user has all it may have.
    pub async fn acquire(
        self: &Arc<Self>,
        user: &str,
        key: Option<&ConnectionKey>,
        worker: usize,
    ) -> Result<Grant, PoolError> {
        if let Some(idle) = key.and_then(|key| self.take_idle(key, worker)) {
            return Ok(Grant::Connection(Box::new(idle)));
        }
        let counters = self.counters(user);
        let user_max = self.limits.connections_per_user_max;
        let is_user_full = || user_max > 0 && counters.open.load(Relaxed) >= user_max;
        if is_user_full() && !self.evict_idle(Some(user)) && key.is_none() {
            counters.refused_total.fetch_add(1, Relaxed);
            return Err(PoolError::UserLimit { max: user_max });
        }
        if !is_user_full()
            && let Some(slot) = self.slot_now(&counters, false)
        {
            return Ok(Grant::Slot(slot));
        }
        let grant = self.wait(user, key, &counters).await?;
        if let Grant::Connection(connection) = &grant {
            self.counters(connection.user())
                .reused_total
                .fetch_add(1, Relaxed);
        }
        Ok(grant)
    }

    /// A place if one is free, also one of an idle connection.
    fn slot_now(self: &Arc<Self>, counters: &Arc<UserCounters>, queues: bool) -> Option<Slot> {
        loop {
            let mut state = self.state.lock();
            if queues && !state.waiters.is_empty() {
                return None;
            }
            if state.open < self.limits.connections_max {
                state.open += 1;
                drop(state);
                return Some(self.new_slot(counters));
            }
            // Those that wait have a better right to it.
            let evicted = match state.waiters.is_empty() {
                true => state.idle.pop_front(),
                false => None,
            };
            drop(state);
            evicted.as_ref()?;
            self.forget(evicted);
        }
    }

    fn new_slot(self: &Arc<Self>, counters: &Arc<UserCounters>) -> Slot {
        counters.open.fetch_add(1, Relaxed);
        counters.opened_total.fetch_add(1, Relaxed);
        Slot {
            pool: self.clone(),
            counters: counters.clone(),
            is_refused: false,
        }
    }

    /// A place for one more connection of `user` if one is free at once. For connections of our own, which must never take what
    /// a waiting client could have, nor make a client wait.
    pub fn slot_at_once(self: &Arc<Self>, user: &str) -> Option<Slot> {
        self.slot_now(&self.counters(user), true)
    }

    async fn wait(
        self: &Arc<Self>,
        user: &str,
        key: Option<&ConnectionKey>,
        counters: &Arc<UserCounters>,
    ) -> Result<Grant, PoolError> {
        let waiting = self.waiting.fetch_add(1, Relaxed);
        let _guard = Decrement(&self.waiting);
        if waiting >= self.limits.waiters_max {
            counters.refused_total.fetch_add(1, Relaxed);
            return Err(PoolError::TooManyWaiters { waiting });
        }
        counters.waiting.fetch_add(1, Relaxed);
        let _user_guard = Decrement(&counters.waiting);
        let started = Instant::now();
        let (tell, mut told) = oneshot::channel();
        let queued = self.enqueue(user, key, tell);
        self.starving.send_modify(|count| *count += 1);
        let limit = Duration::from_millis(self.limits.wait_ms_max);
        let outcome = tokio::time::timeout(limit, &mut told).await;
        drop(queued);
        let waited_us = started.elapsed().as_micros() as u64;
        counters.waits_total.fetch_add(1, Relaxed);
        counters.wait_us_sum.fetch_add(waited_us, Relaxed);
        counters.wait_us_max.fetch_max(waited_us, Relaxed);
        // What came between the deadline and the end of the queueing is not lost.
        let grant = outcome
            .ok()
            .and_then(Result::ok)
            .or_else(|| told.try_recv().ok());
        grant.ok_or_else(|| {
            counters.refused_total.fetch_add(1, Relaxed);
            PoolError::Timeout {
                wait_ms: self.limits.wait_ms_max,
                max: self.limits.connections_max,
            }
        })
    }

    fn enqueue(
        self: &Arc<Self>,
        user: &str,
        key: Option<&ConnectionKey>,
        tell: oneshot::Sender<Grant>,
    ) -> Queued {
        let mut state = self.state.lock();
        state.numbers += 1;
        let number = state.numbers;
        state.waiters.push_back(Waiter {
            number,
            key: key.cloned(),
            user: user.into(),
            since: Instant::now(),
            tell,
        });
        // Something may have come free since we looked: a place, or a connection of another kind that can be closed.
        let is_place_free = state.open < self.limits.connections_max;
        state.open += usize::from(is_place_free);
        let evicted = match is_place_free {
            true => None,
            false => state.idle.pop_front(),
        };
        drop(state);
        if is_place_free {
            self.freed();
        }
        match evicted {
            // It may fit after all; then it is handed over.
            Some(idle) if key.is_some_and(|key| idle.connection.fits(key)) => {
                self.counters(idle.connection.user())
                    .idle
                    .fetch_sub(1, Relaxed);
                self.give_back(idle.connection, idle.worker, idle.is_surplus);
            }
            other => self.forget(other),
        }
        Queued {
            pool: self.clone(),
            number,
        }
    }

    /// A place came free: the first who waits may have it, if his user may have one more.
    fn freed(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            let user_max = self.limits.connections_per_user_max;
            let may =
                |user: &str| user_max == 0 || self.counters(user).open.load(Relaxed) < user_max;
            let Some(at) = state.waiters.iter().position(|w| may(&w.user)) else {
                state.open = state.open.saturating_sub(1);
                return;
            };
            let Some(waiter) = state.waiters.remove(at) else {
                continue;
            };
            drop(state);
            let slot = self.new_slot(&self.counters(&waiter.user));
            match waiter.tell.send(Grant::Slot(slot)) {
                Ok(()) => return,
                // He has left: the next one.
                Err(Grant::Slot(mut slot)) => slot.is_refused = true,
                Err(Grant::Connection(_)) => return,
            }
        }
    }

    /// An idle connection that fits `key`, preferably one whose socket belongs to `worker`'s reactor.
    pub fn take_idle(&self, key: &ConnectionKey, worker: usize) -> Option<ServerConnection> {
        let mut dropped = Vec::new();
        let mut state = self.state.lock();
        let taken = loop {
            let rank = |(at, i): (usize, &Idle)| {
                let fits = i.connection.fits(key);
                // A session wants its own one back, and leaves those of clients that are gone to logins, which must reset any.
                let is_for_it = (key.last == 0) == i.is_surplus;
                let is_last = i.connection.serial == key.last;
                fits.then_some((is_last, is_for_it, i.worker == worker, at))
            };
            let best = state.idle.iter().enumerate().filter_map(rank).max();
            let Some((.., at)) = best else {
                break None;
            };
            let Some(found) = state.idle.remove(at) else {
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
        drop(state);
        drop(dropped);
        if let Some(connection) = &taken {
            self.counters(connection.user())
                .reused_total
                .fetch_add(1, Relaxed);
        }
        taken
    }

    /// Takes a connection that its session has left: the first who waits for one like it has it; if somebody has waited much longer
    /// for another, it makes room for him; else it is kept. One that is too old is closed.
    pub fn give_back(&self, connection: ServerConnection, worker: usize, is_surplus: bool) {
        let entry = Idle {
            connection,
            since: Instant::now(),
            worker,
            is_surplus,
        };
        if self.is_too_old(&entry) {
            return;
        }
        let mut entry = entry;
        loop {
            let mut state = self.state.lock();
            let fitting = |w: &Waiter| {
                let key = w.key.as_ref();
                key.is_some_and(|key| entry.connection.fits(key))
            };
            let at = state.waiters.iter().position(fitting);
            let overdue = match (
                state.waiters.front(),
                at.and_then(|at| state.waiters.get(at)),
            ) {
                (Some(first), Some(fitting)) => {
                    fitting.since.saturating_duration_since(first.since) > PATIENCE
                }
                (Some(_), None) => true,
                (None, _) => false,
            };
            let waiter = at
                .filter(|_| !overdue)
                .and_then(|at| state.waiters.remove(at));
            let Some(waiter) = waiter else {
                match overdue {
                    false => self.keep(state, entry),
                    // Dropped behind the lock, it gives its place to the first.
                    true => drop(state),
                }
                return;
            };
            drop(state);
            match waiter
                .tell
                .send(Grant::Connection(Box::new(entry.connection)))
            {
                Err(Grant::Connection(connection)) => {
                    entry = Idle {
                        connection: *connection,
                        since: Instant::now(),
                        worker,
                        is_surplus,
                    }
                }
                _ => return,
            }
        }
    }

    fn keep(&self, mut state: parking_lot::MutexGuard<'_, State>, entry: Idle) {
        let counters = self.counters(entry.connection.user());
        state.idle.push_back(entry);
        counters.idle.fetch_add(1, Relaxed);
        let most = self.limits.idle_max.min(self.limits.connections_max);
        let oldest = if state.idle.len() > most {
            state.idle.pop_front()
        } else {
            None
        };
        drop(state);
        self.forget(oldest);
    }

    fn is_too_old(&self, idle: &Idle) -> bool {
        let idle_ms_max = match idle.is_surplus {
            true => self.limits.surplus_ms_max.min(self.limits.idle_ms_max),
            false => self.limits.idle_ms_max,
        };
        idle.connection.age() > Duration::from_millis(self.limits.lifetime_ms_max)
            || idle.since.elapsed() > Duration::from_millis(idle_ms_max)
    }

    /// A client has left for good that had given its connection up: one like it is not wanted any more.
    pub fn gone(&self, key: &ConnectionKey) {
        let mut state = self.state.lock();
        let like = |idle: &&mut Idle| !idle.is_surplus && idle.connection.fits(key);
        if let Some(idle) = state.idle.iter_mut().find(like) {
            idle.is_surplus = true;
            idle.since = Instant::now();
        }
    }

    fn evict_idle(&self, user: Option<&str>) -> bool {
        let mut state = self.state.lock();
        let at = state
            .idle
            .iter()
            .position(|i| user.is_none_or(|u| i.connection.user() == u));
        let evicted = at.and_then(|at| state.idle.remove(at));
        drop(state);
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
        let mut state = self.state.lock();
        let (keep, old): (VecDeque<Idle>, VecDeque<Idle>) =
            state.idle.drain(..).partition(|i| !self.is_too_old(i));
        state.idle = keep;
        drop(state);
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

/// A place in the queue; leaving it gives it up.
struct Queued {
    pool: Arc<Pool>,
    number: u64,
}

impl Drop for Queued {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        state.waiters.retain(|w| w.number != self.number);
    }
}

struct Decrement<'a>(&'a AtomicUsize);

impl Drop for Decrement<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
