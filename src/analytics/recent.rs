//! How long the phases of a query took in the last minute. Each worker fills histograms of its own and hands them over
//! once a second; nothing here is on the path of a query but four additions.
//!
//! hdrhistogram, because the numbers are for people who look at the last minute: two exact digits, and a worker's
//! second is added to the shared slot in one call. Totals since start, for metrics, are `totals`.

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::event::{QueryEvent, ServedBy};

/// Slots of ten seconds make the last minute; one more is being filled.
const SLOTS: u64 = 7;
const SLOT_MS: u64 = 10_000;
/// An hour; what takes longer counts as an hour here.
const MAX_US: u64 = 3_600_000_000;
const DIGITS: u8 = 2;

/// The phases told apart.
pub const PHASES: [&str; 4] = ["total", "queue", "backend", "drain"];

/// One histogram a phase, in the order of [`PHASES`].
type Phases = Vec<Histogram<u64>>;

fn empty() -> Phases {
    // The bounds are constants that hdrhistogram accepts, so none is left out.
    PHASES
        .iter()
        .filter_map(|_| Histogram::new_with_bounds(1, MAX_US, DIGITS).ok())
        .collect()
}

/// One phase over the last minute, in microseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseRow {
    /// One of [`PHASES`].
    pub phase: &'static str,
    /// Executions.
    pub count: u64,
    /// Mean.
    pub mean_us: f64,
    /// Quantiles, to two digits.
    pub p50_us: u64,
    /// 95 % took at most this.
    pub p95_us: u64,
    /// 99 % did.
    pub p99_us: u64,
    /// 99.9 % did.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    phases: Phases,
}

/// The last minute of all workers.
#[derive(Debug)]
pub struct Recent {
    slots: Mutex<Vec<Slot>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            slots: Mutex::new(
                (0..SLOTS)
                    .map(|_| Slot {
                        number: 0,
                        phases: empty(),
                    })
                    .collect(),
            ),
        }
    }
}

impl Recent {
    /// A row for each phase over the last 60 to 70 seconds before `now_ms`.
    pub fn rows(&self, now_ms: u64) -> Vec<PhaseRow> {
        let mut sum = empty();
        let oldest = (now_ms / SLOT_MS).saturating_sub(SLOTS - 1);
        for slot in self
            .slots
            .lock()
            .iter()
            .filter(|slot| slot.number >= oldest)
        {
            add(&mut sum, &slot.phases);
        }
        PHASES
            .iter()
            .zip(&sum)
            .map(|(phase, histogram)| PhaseRow {
                phase,
                count: histogram.len(),
                mean_us: histogram.mean(),
                p50_us: histogram.value_at_quantile(0.5),
                p95_us: histogram.value_at_quantile(0.95),
                p99_us: histogram.value_at_quantile(0.99),
                p999_us: histogram.value_at_quantile(0.999),
                max_us: histogram.max(),
            })
            .collect()
    }

    fn publish(&self, phases: &Phases, at_ms: u64) {
        let number = at_ms / SLOT_MS;
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get_mut((number % SLOTS) as usize) else {
            return;
        };
        if slot.number != number {
            slot.number = number;
            slot.phases.iter_mut().for_each(Histogram::reset);
        }
        add(&mut slot.phases, phases);
    }
}

fn add(to: &mut Phases, from: &Phases) {
    for (to, from) in to.iter_mut().zip(from).filter(|(_, from)| !from.is_empty()) {
        // Same bounds on both sides, so nothing can fall outside.
        let _ = to.add(from);
    }
}

/// One worker's current second.
#[derive(Debug)]
pub(super) struct LocalRecent {
    phases: Phases,
    dirty: bool,
}

impl LocalRecent {
    pub(super) fn new() -> Self {
        Self {
            phases: empty(),
            dirty: false,
        }
    }

    pub(super) fn record(&mut self, event: &QueryEvent<'_>) {
        let [total, queue, backend, drain] = &mut self.phases[..] else {
            return;
        };
        total.saturating_record(event.total_us);
        drain.saturating_record(event.drain_us);
        if matches!(event.served_by, ServedBy::Backend | ServedBy::View) {
            queue.saturating_record(event.queue_us);
            backend.saturating_record(event.backend_us);
        }
        self.dirty = true;
    }

    pub(super) fn publish(&mut self, recent: &Recent, at_ms: u64) {
        if std::mem::take(&mut self.dirty) {
            recent.publish(&self.phases, at_ms);
            self.phases.iter_mut().for_each(Histogram::reset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_last_minute_and_no_more() {
        let recent = Recent::default();
        let mut phases = empty();
        phases[0].record(1_000).unwrap();
        recent.publish(&phases, 5_000);
        recent.publish(&phases, 64_000);
        let count = |now_ms| recent.rows(now_ms)[0].count;
        assert_eq!(
            (count(64_500), count(70_000), count(125_000), count(140_000)),
            (2, 1, 1, 0)
        );
        // The slot of 5 s is taken again by 75 s.
        recent.publish(&phases, 75_000);
        assert_eq!(count(76_000), 2);
        assert_eq!(recent.rows(76_000)[0].p99_us / 10, 100);
    }
}
