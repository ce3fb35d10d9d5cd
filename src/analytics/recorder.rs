//! One worker's side of analytics: takes in events, counts them. Never waits, never locks and never allocates for a
//! digest it knows; never fails.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use ahash::AHashMap;
use crossbeam_utils::CachePadded;

use super::counter::Clock;
use super::decisions::LocalDecisions;
use super::errors::LocalErrors;
use super::event::{Digest, Identity, QueryEvent};
use super::names::{Name, Names};
use super::parts::Ring;
use super::queries::LocalQueries;
use super::recent::{LocalRecent, Recent};
use super::totals::Totals;
use super::transactions::TransactionRecord;

/// How often a worker hands over what it only keeps for itself.
const TICK_MS: u64 = 1_000;
/// How often while there is more to be moved than is moved at once.
const BUSY_TICK_MS: u64 = 10;
/// App names a worker knows without asking; more are looked up each time.
const APPS_KNOWN_MAX: usize = 1_000;
/// A sample of a slow statement is cut after this.
const SAMPLE_BYTES_MAX: usize = 4_096;

/// A slow execution. Times in microseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowQuery {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// Digest id.
    pub digest: u128,
    /// Digest text.
    pub text: Arc<str>,
    /// The statement as written, when `analytics.sample_literals` is on.
    pub sample: Option<String>,
    /// Who ran it.
    pub identity: Identity,
    /// Who answered.
    pub served_by: &'static str,
    /// Why that one.
    pub reason: &'static str,
    /// Time in all.
    pub total_us: u64,
    /// In the queue.
    pub queue_us: u64,
    /// In the backend.
    pub backend_us: u64,
    /// Waiting for the client.
    pub drain_us: u64,
    /// Rows sent.
    pub rows: u64,
    /// Bytes of the answer.
    pub bytes_out: u64,
    /// Error code.
    pub error: Option<u16>,
}

/// What a recorder shares with its readers.
#[derive(Debug)]
pub(super) struct Outlets {
    pub(super) totals: Arc<CachePadded<Totals>>,
    pub(super) transactions: Arc<Ring<TransactionRecord>>,
    pub(super) slow: Arc<Ring<SlowQuery>>,
    pub(super) recent: Arc<Recent>,
    pub(super) apps: Arc<Names>,
    pub(super) clock: Clock,
    pub(super) slow_us: Arc<AtomicU64>,
    pub(super) sample_literals: bool,
}

#[derive(Debug)]
pub(super) struct Inside {
    pub(super) queries: LocalQueries,
    pub(super) decisions: LocalDecisions,
    pub(super) errors: LocalErrors,
    pub(super) recent: LocalRecent,
    pub(super) apps: AHashMap<Box<str>, Name>,
    pub(super) next_tick_ms: u64,
}

/// The recorder of one worker thread. It can be sent to its thread, and then is used from that one only.
#[derive(Debug)]
pub struct Recorder {
    outlets: Outlets,
    inside: RefCell<Inside>,
}

impl Recorder {
    pub(super) fn new(outlets: Outlets, inside: Inside) -> Self {
        Self {
            outlets,
            inside: RefCell::new(inside),
        }
    }

    /// The clock that all stamps come from.
    pub fn clock(&self) -> Clock {
        self.outlets.clock
    }

    /// Counts one execution.
    pub fn record(&self, event: &QueryEvent<'_>) {
        let at_ms = self.outlets.clock.unix_ms(event.ended);
        let slow = event.total_us >= self.outlets.slow_us.load(Relaxed);
        self.outlets.totals.query(event, slow);
        let inside = &mut *self.inside.borrow_mut();
        let reason = inside
            .decisions
            .served(event.served_by, event.reason, &event.digest, at_ms);
        inside.queries.with(&event.digest, event.identity, |part| {
            part.record(event, at_ms, slow, reason)
        });
        inside.recent.record(event);
        if let Some((code, message)) = event.error {
            inside.errors.record(code, message, event.identity, at_ms);
        }
        if slow {
            self.outlets.slow.push(self.slow(event, at_ms));
        }
        if at_ms >= inside.next_tick_ms {
            self.tick_inside(inside, at_ms);
        }
    }

    /// Counts a decision that did not send an execution anywhere: why a result was not kept, why no view was built.
    pub fn decision(
        &self,
        about: &'static str,
        reason: &'static str,
        digest: Option<&Digest<'_>>,
        at: Instant,
    ) {
        let at_ms = self.outlets.clock.unix_ms(at);
        self.inside
            .borrow_mut()
            .decisions
            .record(about, reason, digest, at_ms);
    }

    /// Counts an error that belongs to no statement: a login refused, a broken packet.
    pub fn error(&self, code: u16, message: &str, identity: &Identity, at: Instant) {
        let at_ms = self.outlets.clock.unix_ms(at);
        self.inside
            .borrow_mut()
            .errors
            .record(code, message, identity, at_ms);
    }

    /// The app of this name: found without a lock when this worker has met it.
    pub fn app(&self, name: &str) -> Name {
        let inside = &mut *self.inside.borrow_mut();
        if let Some(app) = inside.apps.get(name) {
            return app.clone();
        }
        let app = self.outlets.apps.intern(name);
        if inside.apps.len() < APPS_KNOWN_MAX {
            inside.apps.insert(name.into(), app.clone());
        }
        app
    }

    /// To be called about once a second, so that an idle worker hands over what it has. A busy one does it by itself.
    pub fn tick(&self, now: Instant) {
        self.tick_inside(
            &mut self.inside.borrow_mut(),
            self.outlets.clock.unix_ms(now),
        );
    }

    fn tick_inside(&self, inside: &mut Inside, at_ms: u64) {
        inside.recent.publish(&self.outlets.recent, at_ms);
        let more = inside.queries.move_leaving();
        inside.next_tick_ms = at_ms + if more { BUSY_TICK_MS } else { TICK_MS };
    }

    /// A transaction of more than one statement has ended.
    pub(super) fn transaction(&self, record: TransactionRecord) {
        self.outlets.totals.transaction(&record);
        self.outlets.transactions.push(record);
    }

    /// A statement that wrote has committed by itself.
    pub(super) fn autocommit(&self) {
        self.outlets.totals.autocommit();
    }

    fn slow(&self, event: &QueryEvent<'_>, at_ms: u64) -> SlowQuery {
        let sample = event
            .text
            .filter(|_| self.outlets.sample_literals)
            .map(|text| {
                let cut = text.get(..SAMPLE_BYTES_MAX).unwrap_or(text);
                String::from_utf8_lossy(cut).into_owned()
            });
        SlowQuery {
            at_ms,
            digest: event.digest.id,
            text: Arc::clone(event.digest.text),
            sample,
            identity: event.identity.clone(),
            served_by: event.served_by.label(),
            reason: event.reason,
            total_us: event.total_us,
            queue_us: event.queue_us,
            backend_us: event.backend_us,
            drain_us: event.drain_us,
            rows: event.rows,
            bytes_out: event.bytes_out,
            error: event.error.map(|(code, _)| code),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.tick(Instant::now());
    }
}
