//! What rules hold back: how many statements may begin in a second and run at once, who waits for a place, and breakers that open
//! when statements of a digest keep timing out. Goes by the moment that it is given; waits for nothing itself.
//!
//! ```text
//! breaker: closed --so many timeouts in the window--> open --pause over: one is let through--> probing
//!          probing --it ends in time--> closed        probing --it times out, or is lost--> open
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use crate::config::rules::Rule;

/// Buckets of one rule; when so many are in use, those that come later share one.
const BUCKETS_MAX: usize = 10_000;

/// Digests with timeouts that one rule looks after; when there are more, the one whose last timeout is longest ago goes.
const BREAKERS_MAX: usize = 10_000;

/// What counts those that found no bucket of their own.
const OTHERS: &str = "_other";

/// Window and pause of a breaker when the rule says nothing.
const WINDOW_MS: u64 = 60_000;
const PAUSE_MS: u64 = 10_000;

/// What limits are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedBy {
    /// The rule as a whole.
    Rule,
    /// Each user.
    User,
    /// Each app.
    App,
    /// Each digest.
    Digest,
    /// Each client address.
    Client,
}

/// Why a statement may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Too many began within a second.
    Rate,
    /// Too many run, and nobody or nobody more may wait.
    Running,
    /// It waited as long as it may.
    Late,
    /// The breaker of its digest is open for so many milliseconds yet.
    Open(u64),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Limits {
    rate_per_s_max: u64,
    concurrent_max: u64,
    queue_max: u64,
    queue: Duration,
    breaker_timeouts: usize,
    breaker_window: Duration,
    breaker_pause: Duration,
}

impl Limits {
    fn of(rule: &Rule) -> Self {
        let or = |ms: u64, otherwise| Duration::from_millis(if ms == 0 { otherwise } else { ms });
        Self {
            rate_per_s_max: rule.rate_per_s_max,
            concurrent_max: rule.concurrent_max,
            queue_max: rule.queue_max,
            queue: Duration::from_millis(rule.queue_ms_max),
            breaker_timeouts: usize::try_from(rule.breaker_timeouts).unwrap_or(usize::MAX),
            breaker_window: or(rule.breaker_window_ms, WINDOW_MS),
            breaker_pause: or(rule.breaker_pause_ms, PAUSE_MS),
        }
    }
}

/// Limits and breakers of one rule.
#[derive(Debug)]
pub struct Gate {
    by: CountedBy,
    limits: Arc<RwLock<Limits>>,
    buckets: Mutex<HashMap<Box<str>, Arc<Bucket>>>,
    breakers: Mutex<HashMap<u128, Breaker>>,
}

impl Gate {
    /// The gate of a rule; `None` when it holds nothing back. One that counts by the same goes on with what it has counted.
    pub fn of(rule: &Rule, before: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        if !rule.is_limit() && rule.breaker_timeouts == 0 {
            return None;
        }
        let by = match rule.limit_by.as_str() {
            "user" => CountedBy::User,
            "app" => CountedBy::App,
            "digest" => CountedBy::Digest,
            "client" => CountedBy::Client,
            _ => CountedBy::Rule,
        };
        if let Some(before) = before.filter(|before| before.by == by) {
            return Some(before.clone());
        }
        Some(Arc::new(Self {
            by,
            limits: Arc::new(RwLock::new(Limits::of(rule))),
            buckets: Mutex::default(),
            breakers: Mutex::default(),
        }))
    }

    /// The rule that it belongs to is in force as written here.
    pub fn takes(&self, rule: &Rule) {
        *self.limits.write() = Limits::of(rule);
        let buckets: Vec<Arc<Bucket>> = self.buckets.lock().values().cloned().collect();
        // More may run now.
        buckets.iter().for_each(Bucket::admit);
    }

    /// What it counts for.
    pub fn by(&self) -> CountedBy {
        self.by
    }

    /// Longest wait.
    pub fn queue(&self) -> Duration {
        self.limits.read().queue
    }

    /// Whether it has limits beside breakers.
    pub fn is_limit(&self) -> bool {
        let limits = self.limits.read();
        limits.rate_per_s_max > 0 || limits.concurrent_max > 0
    }

    /// The bucket that a statement falls into.
    pub fn bucket(&self, key: &str) -> Arc<Bucket> {
        let mut buckets = self.buckets.lock();
        if let Some(bucket) = buckets.get(key) {
            return bucket.clone();
        }
        if buckets.len() >= BUCKETS_MAX {
            let now = Instant::now();
            buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1 || bucket.is_in_use(now));
        }
        let is_full = buckets.len() >= BUCKETS_MAX;
        let key = if is_full { OTHERS } else { key };
        let new = || Arc::new(Bucket::new(self.limits.clone()));
        buckets.entry(key.into()).or_insert_with(new).clone()
    }

    /// Whether a statement of a digest may begin by its breaker.
    ///
    /// # Errors
    /// `Open`.
    pub fn allows(self: &Arc<Self>, digest: u128, now: Instant) -> Result<Option<Probe>, Refusal> {
        let limits = *self.limits.read();
        if limits.breaker_timeouts == 0 {
            return Ok(None);
        }
        let is_probe = match self.breakers.lock().get_mut(&digest) {
            None => false,
            Some(breaker) => breaker.allows(now).map_err(Refusal::Open)?,
        };
        Ok(is_probe.then(|| Probe {
            gate: self.clone(),
            digest,
            is_told: false,
        }))
    }

    /// A statement of a digest has ended.
    pub fn ended(&self, digest: u128, timed_out: bool, probe: Option<Probe>, now: Instant) {
        let limits = *self.limits.read();
        if limits.breaker_timeouts == 0 || (!timed_out && probe.is_none()) {
            return;
        }
        let is_probe = probe.is_some();
        if let Some(mut probe) = probe {
            probe.is_told = true;
        }
        let mut breakers = self.breakers.lock();
        if !breakers.contains_key(&digest) && breakers.len() >= BREAKERS_MAX {
            let oldest = breakers.iter().min_by_key(|(_, breaker)| breaker.last);
            if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                breakers.remove(&oldest);
            }
        }
        let breaker = breakers.entry(digest).or_insert_with(|| Breaker::new(now));
        breaker.ended(timed_out, is_probe, &limits, now);
    }

    /// Its buckets, for the admin table.
    pub fn rows(&self) -> Vec<BucketRow> {
        let buckets = self.buckets.lock();
        buckets
            .iter()
            .map(|(key, bucket)| bucket.row(key))
            .collect()
    }

    /// Its breakers, for the admin table.
    pub fn breaker_rows(&self, now: Instant) -> Vec<BreakerRow> {
        let window = self.limits.read().breaker_window;
        let breakers = self.breakers.lock();
        let row = |(digest, breaker): (&u128, &Breaker)| breaker.row(*digest, window, now);
        breakers.iter().map(row).collect()
    }
}

/// What is counted together.
#[derive(Debug)]
pub struct Bucket {
    limits: Arc<RwLock<Limits>>,
    inside: Mutex<Inside>,
    started: AtomicU64,
    queued: AtomicU64,
    wait_us: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Inside {
    running: u64,
    waiting: VecDeque<oneshot::Sender<Permit>>,
    /// Those that wait for their moment by the rate.
    delayed: u64,
    /// When the next one may begin, if there were no burst.
    due: Option<Instant>,
}

/// Where a statement stands that wants to run.
#[derive(Debug)]
pub enum Place {
    /// It may run.
    Taken(Permit),
    /// Its turn comes here; dropped, it is given up.
    Queued(oneshot::Receiver<Permit>),
}

impl Bucket {
    fn new(limits: Arc<RwLock<Limits>>) -> Self {
        Self {
            limits,
            inside: Mutex::default(),
            started: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            wait_us: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    fn is_in_use(&self, now: Instant) -> bool {
        let inside = self.inside.lock();
        inside.running > 0 || inside.due.is_some_and(|due| due > now)
    }

    fn refuse<T>(&self, why: Refusal) -> Result<T, Refusal> {
        self.refused.fetch_add(1, Relaxed);
        Err(why)
    }

    /// When a statement may begin by the rate: `None`, now; else after the wait that it says. Whoever waits and then does not
    /// begin has used up a place all the same.
    ///
    /// # Errors
    /// `Rate`.
    pub fn begins(self: &Arc<Self>, now: Instant) -> Result<Option<Delay>, Refusal> {
        let limits = *self.limits.read();
        if limits.rate_per_s_max == 0 {
            return Ok(None);
        }
        let step = Duration::from_nanos(1_000_000_000 / limits.rate_per_s_max);
        let burst = Duration::from_secs(1).saturating_sub(step);
        let mut inside = self.inside.lock();
        let due = inside.due.unwrap_or(now).max(now);
        let wait = (due - now).saturating_sub(burst);
        if wait.is_zero() {
            inside.due = Some(due + step);
            return Ok(None);
        }
        if inside.delayed >= limits.queue_max || wait > limits.queue {
            drop(inside);
            return self.refuse(Refusal::Rate);
        }
        inside.due = Some(due + step);
        inside.delayed += 1;
        drop(inside);
        self.queued.fetch_add(1, Relaxed);
        Ok(Some(Delay {
            bucket: self.clone(),
            wait,
        }))
    }

    /// Takes a place among those that run, or one in the queue.
    ///
    /// # Errors
    /// `Running`.
    pub fn enters(self: &Arc<Self>) -> Result<Place, Refusal> {
        let limits = *self.limits.read();
        let mut inside = self.inside.lock();
        inside.waiting.retain(|waiting| !waiting.is_closed());
        let has_room = inside.running < limits.concurrent_max && inside.waiting.is_empty();
        if limits.concurrent_max == 0 || has_room {
            inside.running += 1;
            drop(inside);
            self.started.fetch_add(1, Relaxed);
            return Ok(Place::Taken(Permit::new(self)));
        }
        if inside.waiting.len() as u64 >= limits.queue_max {
            drop(inside);
            return self.refuse(Refusal::Running);
        }
        let (sender, receiver) = oneshot::channel();
        inside.waiting.push_back(sender);
        drop(inside);
        self.queued.fetch_add(1, Relaxed);
        Ok(Place::Queued(receiver))
    }

    /// A statement has waited for so long; `late`: in vain.
    pub fn waited(&self, waited: Duration, late: bool) {
        let us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.wait_us.fetch_add(us, Relaxed);
        if late {
            self.refused.fetch_add(1, Relaxed);
        }
    }

    /// Gives free places to those that wait.
    fn admit(self: &Arc<Self>) {
        let most = self.limits.read().concurrent_max;
        let mut lost = Vec::new();
        let mut inside = self.inside.lock();
        while most == 0 || inside.running < most {
            let Some(first) = inside.waiting.pop_front() else {
                break;
            };
            inside.running += 1;
            match first.send(Permit::new(self)) {
                Ok(()) => {
                    self.started.fetch_add(1, Relaxed);
                }
                Err(permit) => {
                    inside.running -= 1;
                    lost.push(permit);
                }
            }
        }
        drop(inside);
        // Nobody took them, and their places are counted as free already.
        lost.into_iter().for_each(Permit::forget);
    }

    fn leaves(self: &Arc<Self>) {
        let mut inside = self.inside.lock();
        inside.running = inside.running.saturating_sub(1);
        let is_waited_for = !inside.waiting.is_empty();
        drop(inside);
        if is_waited_for {
            self.admit();
        }
    }

    fn row(&self, key: &str) -> BucketRow {
        let inside = self.inside.lock();
        let waiting = inside.waiting.iter().filter(|waiting| !waiting.is_closed());
        BucketRow {
            key: key.to_owned(),
            running: inside.running,
            waiting: waiting.count() as u64 + inside.delayed,
            started: self.started.load(Relaxed),
            queued: self.queued.load(Relaxed),
            wait_us: self.wait_us.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }
}

/// A statement that has to wait for its moment by the rate; counts among those that wait while it lives.
#[derive(Debug)]
pub struct Delay {
    bucket: Arc<Bucket>,
    /// For so long.
    pub wait: Duration,
}

impl Drop for Delay {
    fn drop(&mut self) {
        let mut inside = self.bucket.inside.lock();
        inside.delayed = inside.delayed.saturating_sub(1);
    }
}

/// A place among those that run, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    bucket: Option<Arc<Bucket>>,
}

impl Permit {
    fn new(bucket: &Arc<Bucket>) -> Self {
        Self {
            bucket: Some(bucket.clone()),
        }
    }

    fn forget(mut self) {
        self.bucket = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(bucket) = self.bucket.take() {
            bucket.leaves();
        }
    }
}

/// The one statement that an open breaker lets through. Lost without an outcome, the next one is let through at once.
#[derive(Debug)]
pub struct Probe {
    gate: Arc<Gate>,
    digest: u128,
    is_told: bool,
}

impl Drop for Probe {
    fn drop(&mut self) {
        if !self.is_told
            && let Some(breaker) = self.gate.breakers.lock().get_mut(&self.digest)
        {
            breaker.lost();
        }
    }
}

/// What a breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open(Instant),
    Probing,
}

/// The breaker of one digest.
#[derive(Debug)]
struct Breaker {
    state: State,
    timeouts: VecDeque<Instant>,
    last: Instant,
    opened: u64,
    refused: u64,
}

impl Breaker {
    fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            timeouts: VecDeque::new(),
            last: now,
            opened: 0,
            refused: 0,
        }
    }

    /// Whether the statement that may begin is a probe; else the milliseconds until there may be one.
    fn allows(&mut self, now: Instant) -> Result<bool, u64> {
        match self.state {
            State::Closed => Ok(false),
            State::Open(until) if until <= now => {
                self.state = State::Probing;
                Ok(true)
            }
            State::Open(until) => {
                self.refused += 1;
                Err((until - now).as_millis() as u64)
            }
            State::Probing => {
                self.refused += 1;
                Err(0)
            }
        }
    }

    fn ended(&mut self, timed_out: bool, is_probe: bool, limits: &Limits, now: Instant) {
        let opens = match (timed_out, is_probe) {
            (false, true) => {
                self.state = State::Closed;
                self.timeouts.clear();
                false
            }
            (true, true) => true,
            (true, false) if self.state == State::Closed => {
                let recent = |at: Instant| now.duration_since(at) <= limits.breaker_window;
                while self.timeouts.front().is_some_and(|at| !recent(*at)) {
                    self.timeouts.pop_front();
                }
                self.timeouts.push_back(now);
                self.timeouts.len() >= limits.breaker_timeouts
            }
            // It began before the breaker opened.
            _ => false,
        };
        if timed_out {
            self.last = now;
        }
        if opens {
            self.state = State::Open(now + limits.breaker_pause);
            self.timeouts.clear();
            self.opened += 1;
        }
    }

    /// The probe has gone, and nobody knows how it would have ended.
    fn lost(&mut self) {
        if self.state == State::Probing {
            self.state = State::Open(self.last);
        }
    }

    fn row(&self, digest: u128, window: Duration, now: Instant) -> BreakerRow {
        let recent = |at: &&Instant| now.duration_since(**at) <= window;
        BreakerRow {
            digest,
            state: match self.state {
                State::Closed => "closed",
                State::Open(_) => "open",
                State::Probing => "probing",
            },
            timeouts: self.timeouts.iter().filter(recent).count() as u64,
            opened: self.opened,
            refused: self.refused,
            opens_again_ms: match self.state {
                State::Open(until) => Some(until.saturating_duration_since(now).as_millis() as u64),
                _ => None,
            },
        }
    }
}

/// One row of the admin table `limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketRow {
    /// User, app, digest or address; `*` for a rule as a whole.
    pub key: String,
    /// Statements that run.
    pub running: u64,
    /// Statements that wait.
    pub waiting: u64,
    /// Statements that began.
    pub started: u64,
    /// Statements that had to wait.
    pub queued: u64,
    /// Their waits together, in microseconds.
    pub wait_us: u64,
    /// Statements that were refused.
    pub refused: u64,
}

/// One row of the admin table `breakers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerRow {
    /// The digest.
    pub digest: u128,
    /// closed, open or probing.
    pub state: &'static str,
    /// Timeouts in the window, while it is closed.
    pub timeouts: u64,
    /// How often it opened.
    pub opened: u64,
    /// Statements that it refused.
    pub refused: u64,
    /// Milliseconds until one is let through; `None` unless it is open.
    pub opens_again_ms: Option<u64>,
}

#[cfg(test)]
mod tests;
