//! Latency in log-linear buckets of fixed bounds: one writer, any readers, merged by addition. Never locks; allocates
//! only when a latency range is seen for the first time.
//!
//! 16 buckets an octave of microseconds, so that a quantile is off by at most 1/32 (3.1 %) when the middle of its
//! bucket is given. Fixed integer bounds, because only those merge exactly over workers, digests and minutes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

mod sketch;

pub use sketch::{SketchError, quantiles};

/// Buckets an octave.
const PER_OCTAVE: usize = 16;
/// The first octave that is divided; below it each microsecond has a bucket of its own.
const FIRST_OCTAVE: u32 = 4;
/// The last octave told apart: 2^36 us are 19 hours, and what is longer counts as that long.
const LAST_OCTAVE: u32 = 36;
/// Buckets in all.
pub const BUCKETS: usize = PER_OCTAVE * (LAST_OCTAVE - FIRST_OCTAVE + 2) as usize;
/// Buckets that come into being together: two octaves, one or two cache lines.
const CHUNK: usize = 2 * PER_OCTAVE;
const CHUNKS: usize = BUCKETS / CHUNK;

/// The bucket of a duration.
pub fn bucket_of(us: u64) -> usize {
    if us < PER_OCTAVE as u64 {
        return us as usize;
    }
    let octave = us.ilog2();
    if octave > LAST_OCTAVE {
        return BUCKETS - 1;
    }
    let sub = (us >> (octave - FIRST_OCTAVE)) as usize & (PER_OCTAVE - 1);
    PER_OCTAVE * (octave - FIRST_OCTAVE + 1) as usize + sub
}

/// The smallest duration in a bucket and the smallest one above it, in microseconds.
pub fn bounds_of(bucket: usize) -> (u64, u64) {
    let bucket = bucket.min(BUCKETS - 1);
    let (group, sub) = (bucket / PER_OCTAVE, (bucket % PER_OCTAVE) as u64);
    if group == 0 {
        return (sub, sub + 1);
    }
    let shift = group - 1;
    let low = (PER_OCTAVE as u64 + sub) << shift;
    (low, low + (1 << shift))
}

/// What stands for every duration of a bucket.
fn middle(bucket: usize) -> u64 {
    let (low, above) = bounds_of(bucket);
    low + (above - 1 - low) / 2
}

/// Which of `total` durations, in order and from 1, the share `quantile` does not pass. At least one was counted.
fn rank(quantile: f64, total: u64) -> u64 {
    ((quantile.clamp(0.0, 1.0) * total as f64).ceil() as u64).clamp(1, total.max(1))
}

/// A count of one bucket. Small where there are many histograms, wide where one counts everything.
pub trait Cell {
    /// A count of nothing.
    const ZERO: Self;
    /// Adds, as the only writer; stops at the largest count.
    fn add(&self, amount: u64);
    /// Reads.
    fn get(&self) -> u64;
}

impl Cell for AtomicU32 {
    const ZERO: Self = AtomicU32::new(0);

    fn add(&self, amount: u64) {
        let amount = u32::try_from(amount).unwrap_or(u32::MAX);
        self.store(self.load(Relaxed).saturating_add(amount), Relaxed);
    }

    fn get(&self) -> u64 {
        u64::from(self.load(Relaxed))
    }
}

impl Cell for AtomicU64 {
    const ZERO: Self = AtomicU64::new(0);

    fn add(&self, amount: u64) {
        self.store(self.load(Relaxed).saturating_add(amount), Relaxed);
    }

    fn get(&self) -> u64 {
        self.load(Relaxed)
    }
}

/// The side that is written: by one thread at a time, read by any. With small cells about 300 bytes empty and 128 for
/// each two octaves seen; a small cell stops at 2^32-1, half a day of one bucket at 100,000 a second.
#[derive(Debug)]
pub struct Recording<C = AtomicU32> {
    chunks: [OnceLock<Box<[C; CHUNK]>>; CHUNKS],
}

impl<C> Default for Recording<C> {
    fn default() -> Self {
        Self {
            chunks: [const { OnceLock::new() }; CHUNKS],
        }
    }
}

impl<C: Cell> Recording<C> {
    /// Counts one duration. Single writer: a plain load and store, so two threads recording at once lose counts.
    pub fn record(&self, us: u64) {
        let bucket = bucket_of(us);
        self.chunk(bucket / CHUNK)[bucket % CHUNK].add(1);
    }

    fn chunk(&self, number: usize) -> &[C; CHUNK] {
        self.chunks[number].get_or_init(|| Box::new([C::ZERO; CHUNK]))
    }

    /// Adds what was recorded to `into`.
    pub fn merge_into(&self, into: &mut Histogram) {
        for (number, chunk) in self.chunks.iter().enumerate() {
            let Some(chunk) = chunk.get() else { continue };
            for (offset, counter) in chunk.iter().enumerate() {
                into.add(number * CHUNK + offset, counter.get());
            }
        }
    }

    /// Adds `other` to this one. Single writer of `self`; `other` must not be written meanwhile.
    pub fn absorb(&self, other: &Self) {
        for (number, theirs) in other.chunks.iter().enumerate() {
            let Some(theirs) = theirs.get() else { continue };
            for (to, from) in self.chunk(number).iter().zip(theirs.iter()) {
                to.add(from.get());
            }
        }
    }
}

/// The side that is read: counts by bucket, a plain value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    fn add(&mut self, bucket: usize, count: u64) {
        if let Some(slot) = self.counts.get_mut(bucket) {
            // Counts can come from a file.
            *slot = slot.saturating_add(count);
            self.total = self.total.saturating_add(count);
        }
    }

    /// Counts one duration (for histograms built at read).
    pub fn record(&mut self, us: u64) {
        self.add(bucket_of(us), 1);
    }

    /// Forgets everything, so that one histogram can serve many rows.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// Adds another histogram; exact.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
        self.total = self.total.saturating_add(other.total);
    }

    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Durations shorter than `us`; exact when `us` is the lower bound of a bucket, as every power of two is.
    pub fn count_below(&self, us: u64) -> u64 {
        self.counts.iter().take(bucket_of(us)).sum()
    }

    /// The duration that the share `quantile` (0 to 1) of all durations does not pass: the middle of its bucket, in
    /// microseconds. None when nothing was counted.
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        if self.total == 0 {
            return None;
        }
        let rank = rank(quantile, self.total);
        let mut seen = 0u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                return Some(middle(bucket));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_are_contiguous_and_hold_their_bounds() {
        let mut expected = 0;
        for bucket in 0..BUCKETS {
            let (low, above) = bounds_of(bucket);
            assert_eq!(low, expected);
            assert_eq!((bucket_of(low), bucket_of(above - 1)), (bucket, bucket));
            expected = above;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn powers_of_two_are_exact_limits() {
        let mut histogram = Histogram::default();
        for us in [0, 1, 63, 64, 65, 1023, 1024, 5_000_000] {
            histogram.record(us);
        }
        assert_eq!(
            (
                histogram.count_below(64),
                histogram.count_below(1024),
                histogram.count()
            ),
            (3, 6, 8)
        );
    }

    #[test]
    fn empty_has_no_quantile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    proptest! {
        /// hdrhistogram with three digits is the oracle: our quantile is within one bucket of the true one.
        #[test]
        fn quantiles_agree_with_hdrhistogram(values in prop::collection::vec(1u64..100_000_000, 1..400), q in 0.0f64..1.0) {
            let mut oracle = hdrhistogram::Histogram::<u64>::new_with_max(1 << 37, 3).unwrap();
            let recording = Recording::<AtomicU32>::default();
            for value in &values {
                oracle.record(*value).unwrap();
                recording.record(*value);
            }
            let mut ours = Histogram::default();
            recording.merge_into(&mut ours);
            let (ours, truth) = (ours.quantile(q).unwrap() as f64, oracle.value_at_quantile(q) as f64);
            prop_assert!((ours - truth).abs() <= truth * (1.0 / 32.0 + 0.002) + 1.0, "{ours} against {truth}");
        }

        #[test]
        fn merging_is_recording_together(left in prop::collection::vec(any::<u64>(), 0..100), right in prop::collection::vec(any::<u64>(), 0..100)) {
            let (a, b, both) = (Recording::<AtomicU64>::default(), Recording::default(), Recording::<AtomicU32>::default());
            left.iter().for_each(|us| { a.record(*us); both.record(*us); });
            right.iter().for_each(|us| { b.record(*us); both.record(*us); });
            let (mut merged, mut together) = (Histogram::default(), Histogram::default());
            a.merge_into(&mut merged);
            b.merge_into(&mut merged);
            both.merge_into(&mut together);
            prop_assert_eq!(&merged, &together);
            a.absorb(&b);
            let mut absorbed = Histogram::default();
            a.merge_into(&mut absorbed);
            prop_assert_eq!(absorbed, together);
        }
    }
}
