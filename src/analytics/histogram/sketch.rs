//! A histogram as few bytes, for the history file, and back. The bytes may come from anywhere: any of them are taken or
//! refused, none allocates more than a histogram has.
//!
//! For each bucket that counted something, in order: how many buckets it is past the one before (past -1 at first), then
//! its count; both as LEB128 (seven bits a byte, the low ones first, the high bit set but in the last byte).

use super::{BUCKETS, Histogram, middle, rank};

/// The largest sum of counts that is taken: more than there can be, and some of them still fit 64 bits.
const COUNT_MAX: u64 = 1 << 60;
/// Seven bits a byte.
const VARINT_BYTES_MAX: usize = 9;

/// Why bytes are no sketch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SketchError {
    /// They end in the middle of a number, or a number is longer than any of ours.
    #[error("a number in a latency sketch has no end")]
    Number,
    /// A bucket that does not exist, or the same one twice.
    #[error("a latency sketch names a bucket that there is not")]
    Bucket,
    /// A count of nothing, or of more than there can be.
    #[error("a latency sketch counts what cannot be")]
    Count,
}

fn push(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Result<u64, SketchError> {
    let mut number = 0;
    for place in 0..VARINT_BYTES_MAX {
        let (byte, rest) = bytes.split_first().ok_or(SketchError::Number)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(SketchError::Number)
}

/// The buckets of a sketch with their counts, in order. Ends at the first error.
struct Buckets<'a> {
    bytes: &'a [u8],
    next: usize,
    sum: u64,
}

impl<'a> Buckets<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            next: 0,
            sum: 0,
        }
    }

    fn read(&mut self) -> Result<(usize, u64), SketchError> {
        let skipped = usize::try_from(take(&mut self.bytes)?).map_err(|_| SketchError::Bucket)?;
        let bucket = self.next.checked_add(skipped);
        let bucket = bucket.filter(|bucket| *bucket < BUCKETS);
        let bucket = bucket.ok_or(SketchError::Bucket)?;
        let count = take(&mut self.bytes)?;
        self.sum = self.sum.saturating_add(count);
        if count == 0 || self.sum > COUNT_MAX {
            return Err(SketchError::Count);
        }
        self.next = bucket + 1;
        Ok((bucket, count))
    }
}

impl Iterator for Buckets<'_> {
    type Item = Result<(usize, u64), SketchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.bytes = &[];
        }
        Some(read)
    }
}

/// [`Histogram::quantile`] for some rising shares at once, from the bytes alone: a table of history asks it of each row.
/// None when nothing was counted.
///
/// # Errors
/// What is wrong with the bytes.
pub fn quantiles<const N: usize>(
    bytes: &[u8],
    shares: [f64; N],
) -> Result<Option<[u64; N]>, SketchError> {
    let mut total = 0;
    for counted in Buckets::of(bytes) {
        total += counted?.1;
    }
    let mut found = [0; N];
    let mut open = found.iter_mut().zip(shares).peekable();
    let mut seen = 0;
    for (bucket, count) in Buckets::of(bytes).flatten() {
        seen += count;
        while let Some((to, _)) = open.next_if(|(_, share)| rank(*share, total) <= seen) {
            *to = middle(bucket);
        }
    }
    Ok((total > 0).then_some(found))
}

impl Histogram {
    /// Appends the sketch. What is counted beyond 2^60 in all is left out.
    pub fn encode(&self, into: &mut Vec<u8>) {
        let (mut next, mut room) = (0, COUNT_MAX);
        for (bucket, count) in self.counts.iter().enumerate() {
            let count = (*count).min(room);
            if count > 0 {
                push((bucket - next) as u64, into);
                push(count, into);
                next = bucket + 1;
                room -= count;
            }
        }
    }

    /// Adds what a sketch counts. No bytes at all count nothing.
    ///
    /// # Errors
    /// What is wrong with the bytes; what stood before that was added.
    pub fn add_sketch(&mut self, bytes: &[u8]) -> Result<(), SketchError> {
        for counted in Buckets::of(bytes) {
            let (bucket, count) = counted?;
            self.add(bucket, count);
        }
        Ok(())
    }

    /// Adds up two sketches; bytes that are none count as far as they can be read.
    pub fn merge_sketches(left: &[u8], right: &[u8]) -> Vec<u8> {
        let mut sum = Self::default();
        for bytes in [left, right] {
            // The file is checked when it is opened; what is broken in it all the same must not end the writer.
            let _ = sum.add_sketch(bytes);
        }
        let mut merged = Vec::with_capacity(left.len() + right.len());
        sum.encode(&mut merged);
        merged
    }

    /// The counts by bucket.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Counts `count` durations of a bucket at once; of a bucket that does not exist, none.
    pub fn add_to_bucket(&mut self, bucket: usize, count: u64) {
        self.add(bucket, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(histogram: &Histogram) -> Vec<u8> {
        let mut bytes = Vec::new();
        histogram.encode(&mut bytes);
        bytes
    }

    fn of(durations: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        durations.iter().for_each(|us| histogram.record(*us));
        histogram
    }

    #[test]
    fn a_sketch_is_short() {
        assert!(encoded(&Histogram::default()).is_empty());
        // Bucket 3, twice; then bucket 15, 300 times.
        let mut histogram = of(&[3, 3]);
        histogram.add(15, 300);
        assert_eq!(encoded(&histogram), [3, 2, 11, 0xAC, 0x02]);
        let spread: Vec<u64> = (0..1_000).map(|at| 200 + at * 7).collect();
        let bytes = encoded(&of(&spread)).len();
        assert!(bytes < 300, "{bytes}");
    }

    #[test]
    fn what_is_no_sketch_is_refused() {
        let mut histogram = Histogram::default();
        let mut refused = |bytes: &[u8]| histogram.add_sketch(bytes);
        assert_eq!(refused(&[3]), Err(SketchError::Number));
        assert_eq!(refused(&[3, 0x80]), Err(SketchError::Number));
        assert_eq!(refused(&[0xFF; 40]), Err(SketchError::Number));
        assert_eq!(refused(&[0xA0, 0x04, 1]), Err(SketchError::Bucket));
        assert_eq!(refused(&[3, 0]), Err(SketchError::Count));
        let most = [0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
        assert_eq!(refused(&most), Ok(()));
        assert_eq!(
            refused(&[&most[..], &[0, 1]].concat()),
            Err(SketchError::Count)
        );
        let many = (0..100).fold(most.to_vec(), |sum, _| {
            Histogram::merge_sketches(&sum, &most)
        });
        assert_eq!(of(&[]).add_sketch(&many), Ok(()), "counts stop");
    }

    proptest! {
        #[test]
        fn encoding_loses_nothing(durations in prop::collection::vec(any::<u64>(), 0..300)) {
            let histogram = of(&durations);
            let mut back = Histogram::default();
            prop_assert_eq!(back.add_sketch(&encoded(&histogram)), Ok(()));
            prop_assert_eq!(back, histogram);
        }

        #[test]
        fn sketches_add_up(left in prop::collection::vec(any::<u64>(), 0..100), right in prop::collection::vec(any::<u64>(), 0..100)) {
            let both = of(&[&left[..], &right[..]].concat());
            let merged = Histogram::merge_sketches(&encoded(&of(&left)), &encoded(&of(&right)));
            prop_assert_eq!(merged, encoded(&both));
        }

        #[test]
        fn quantiles_of_the_bytes_are_those_of_the_histogram(durations in prop::collection::vec(any::<u64>(), 0..300)) {
            let histogram = of(&durations);
            let shares = [0.0, 0.5, 0.95, 0.99, 1.0];
            let expected = shares.map(|share| histogram.quantile(share));
            let found = quantiles(&encoded(&histogram), shares).unwrap();
            prop_assert_eq!(found.map(|found| found.map(Some)).unwrap_or_default(), expected);
        }

        /// Any bytes: no panic, no more memory, and whatever was taken can be asked, added and written again.
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), other in prop::collection::vec(0u8..20, 0..60)) {
            let mut histogram = Histogram::default();
            for _ in 0..3 {
                let _ = histogram.add_sketch(&bytes);
                let _ = histogram.add_sketch(&other);
            }
            let copy = histogram.clone();
            histogram.merge(&copy);
            prop_assert_eq!(histogram.quantile(0.99).is_some(), histogram.count() > 0);
            prop_assert!(histogram.counts().len() == BUCKETS && encoded(&histogram).len() <= BUCKETS * 11);
            prop_assert_eq!(quantiles(&bytes, [0.5]).is_err(), Histogram::default().add_sketch(&bytes).is_err());
            let merged = Histogram::merge_sketches(&bytes, &other);
            prop_assert_eq!(Histogram::default().add_sketch(&merged), Ok(()));
        }
    }
}
