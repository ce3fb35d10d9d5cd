//! Filling: one client fetches a result, keeps a copy while it streams by, and files it when the gate agrees; others who want the
//! same wait for that. A fill that fails, is dropped or is too large costs nobody an answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::entries::{Entry, count};
use super::gate::Gate;
use super::key::Key;
use super::{Cache, Origin};
use crate::binlog::TableKey;
use crate::protocol::relay::Summary;
use crate::protocol::status;

/// Fills under way at one time; beyond it results are relayed and not kept.
const FLIGHTS_MAX: usize = 4096;

/// Fills under way, by key.
#[derive(Debug, Default)]
pub(super) struct Flights {
    flights: Mutex<HashMap<Key, watch::Receiver<()>>>,
}

/// What somebody who wants a result finds.
#[derive(Debug)]
pub(super) enum Boarding {
    /// He is the first: he fetches it.
    First(Flight),
    /// Somebody is at it: this ends when he is done, one way or the other.
    Wait(watch::Receiver<()>),
    /// Too many already.
    Full,
}

/// The right to fill one key. Dropping it lets those who wait go.
#[derive(Debug)]
pub(super) struct Flight {
    key: Key,
    flights: Arc<Flights>,
    /// Closed by the drop, which is the signal.
    _done: watch::Sender<()>,
}

impl Flights {
    pub(super) fn board(self: &Arc<Self>, key: &Key) -> Boarding {
        let mut flights = self.flights.lock();
        if let Some(done) = flights.get(key) {
            return Boarding::Wait(done.clone());
        }
        if flights.len() >= FLIGHTS_MAX {
            return Boarding::Full;
        }
        let (sender, receiver) = watch::channel(());
        flights.insert(key.clone(), receiver);
        Boarding::First(Flight {
            key: key.clone(),
            flights: self.clone(),
            _done: sender,
        })
    }

    pub(super) fn under_way(&self) -> usize {
        self.flights.lock().len()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Before the signal goes out, so that who wakes up can take off himself.
        self.flights.flights.lock().remove(&self.key);
    }
}

/// Why a result was fetched and not kept. The labels are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FillRefusal {
    /// Longer than `cache.entry_bytes_max`.
    TooLarge,
    /// All fills under way together hold too much.
    MemoryFull,
    /// It ended in an error.
    Error,
    /// It gave warnings: SHOW WARNINGS after a kept answer would find none.
    Warnings,
    /// Not exactly one plain result set: a cursor, several results, OUT parameters, a file.
    Shape,
    /// It changed session state, or a transaction was open at its end.
    Session,
    /// The gate did not agree; its label.
    Gate(&'static str),
}

impl FillRefusal {
    /// The stable word for metrics and admin tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::MemoryFull => "fill_memory_full",
            Self::Error => "error",
            Self::Warnings => "warnings",
            Self::Shape => "shape",
            Self::Session => "session_state",
            Self::Gate(label) => label,
        }
    }
}

/// Whether a finished response may be kept.
pub(super) fn judge(summary: &Summary) -> Result<(), FillRefusal> {
    const REFUSED: u16 = status::MORE_RESULTS | status::METADATA_CHANGED | status::PS_OUT_PARAMS;
    if summary.error.is_some() {
        return Err(FillRefusal::Error);
    }
    let one_result = summary.result_sets == 1 && !summary.has_cursor && !summary.had_infile;
    if !one_result || summary.status_any & REFUSED != 0 {
        return Err(FillRefusal::Shape);
    }
    if summary.warnings != 0 {
        return Err(FillRefusal::Warnings);
    }
    let tracked = summary.session_state.is_some() || summary.session_state_lost;
    let in_transaction = summary.status_any & (status::IN_TRANS | status::IN_TRANS_READONLY) != 0;
    match tracked || in_transaction || summary.status & status::AUTOCOMMIT == 0 {
        true => Err(FillRefusal::Session),
        false => Ok(()),
    }
}

/// A copy of a response that is streaming by, within bounds.
#[derive(Debug)]
struct FillBuffer {
    bytes: Vec<u8>,
    refused: Option<FillRefusal>,
    /// Bytes in all buffers of the cache.
    held: Arc<AtomicU64>,
}

impl FillBuffer {
    fn push(&mut self, bytes: &[u8], entry_bytes_max: usize, held_max: u64) {
        if self.refused.is_some() {
            return;
        }
        let length = self.bytes.len() + bytes.len();
        if length > entry_bytes_max {
            return self.refuse(FillRefusal::TooLarge);
        }
        let held = self.held.fetch_add(bytes.len() as u64, Relaxed) + bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        if held > held_max {
            self.refuse(FillRefusal::MemoryFull);
        }
    }

    /// Gives the memory back at once: the rest of the response may be long.
    fn refuse(&mut self, why: FillRefusal) {
        self.take();
        self.refused = Some(why);
    }

    /// The copy, without spare room.
    fn take(&mut self) -> Bytes {
        let bytes = std::mem::take(&mut self.bytes);
        self.held.fetch_sub(bytes.len() as u64, Relaxed);
        Bytes::from(bytes.into_boxed_slice())
    }
}

impl Drop for FillBuffer {
    fn drop(&mut self) {
        self.take();
    }
}

/// The right and the duty to fetch a result: run the query now, [`push`](Self::push) every byte of its response,
/// then [`complete`](Self::complete). Dropping it gives up.
#[derive(Debug)]
pub struct Fill<G: Gate> {
    cache: Arc<Cache<G>>,
    /// `None` once it is known that nothing will be kept: nobody need wait for the rest of a long response.
    flight: Option<Flight>,
    token: G::Token,
    tables: Arc<[TableKey]>,
    origin: Origin,
    buffer: FillBuffer,
}

impl<G: Gate> Fill<G> {
    pub(super) fn new(
        cache: Arc<Cache<G>>,
        flight: Flight,
        token: G::Token,
        tables: Arc<[TableKey]>,
        origin: Origin,
    ) -> Self {
        let held = cache.fill_bytes.clone();
        let buffer = FillBuffer {
            bytes: Vec::new(),
            refused: None,
            held,
        };
        Self {
            cache,
            flight: Some(flight),
            token,
            tables,
            origin,
            buffer,
        }
    }

    /// Takes the next bytes of the response, as they go to the client.
    pub fn push(&mut self, bytes: &[u8]) {
        let settings = &self.cache.settings;
        let held_max = settings.fill_bytes_max();
        self.buffer.push(bytes, settings.entry_bytes_max, held_max);
        if self.buffer.refused.is_some() {
            self.flight = None;
        }
    }

    /// The response is over. Files it if it may be kept; the last question to the gate is asked in the background, so that the
    /// client does not wait for it. `backend_us` is what the backend took, to the last byte.
    pub fn complete(self, summary: &Summary, backend_us: u64) {
        let verdict = match self.buffer.refused {
            Some(refusal) => Err(refusal),
            None => judge(summary),
        };
        if let Err(refusal) = verdict {
            return self.cache.fill_refused(&self.origin, refusal);
        }
        let shape = Shape {
            rows: summary.rows,
            columns: summary.columns,
            status: summary.status,
            backend_us,
        };
        let runtime = self.cache.runtime.clone();
        runtime.spawn(self.file(shape));
    }

    async fn file(mut self, shape: Shape) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        let cache = self.cache;
        let filed = match cache.gate.fill_end(self.token).await {
            Ok(filed) => filed,
            Err(error) => {
                return cache.fill_refused(&self.origin, FillRefusal::Gate(error.label()));
            }
        };
        let entry = Entry {
            id: cache.entries.next_id(),
            packets: self.buffer.take(),
            rows: shape.rows,
            columns: shape.columns,
            status: shape.status,
            tables: self.tables,
            filed: Mutex::new(filed),
            fill_us: shape.backend_us,
            digest: self.origin.digest,
            user: self.origin.user,
            schema: self.origin.schema,
            is_binary: self.origin.is_binary,
            filled_at: SystemTime::now(),
            hits: AtomicU64::new(0),
            used_after_ms: AtomicU64::new(0),
        };
        count(&cache.counters.fills);
        cache.entries.insert(flight.key.clone(), Arc::new(entry));
        // Those who wait wake up only now and find the entry.
        drop(flight);
    }
}

/// What is kept of a response beside its bytes.
#[derive(Debug, Clone, Copy)]
struct Shape {
    rows: u64,
    columns: u32,
    status: u16,
    backend_us: u64,
}
