//! Is a statement worth a place: what its digest costs, how often the very same question came back, and whether keeping its
//! answers has helped before. Fixed memory whatever the traffic: small tables of atomics in which newcomers push out the rare.
//! Estimates, not records; analytics counts exactly. Pure: the minute is passed in.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::sql::DigestId;

/// Digests whose cost is remembered (a power of two).
const DIGEST_SLOTS: usize = 8192;
/// Questions whose repeats are counted (a power of two).
const QUESTION_SLOTS: usize = 65_536;
/// Repeats count within this many minutes of each other.
const REPEAT_MINUTES_MAX: u16 = 60;
/// A fill that was of no use makes the next 2, 4, 8 .. 1024 chances pass.
const BACK_OFF_LEVEL_MAX: u64 = 10;

fn slots(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

fn slot(slots: &[AtomicU64], hash: u64) -> Option<&AtomicU64> {
    slots.get(hash as usize & (slots.len() - 1))
}

/// See the module.
#[derive(Debug)]
pub struct Worth {
    /// tag:32, mean microseconds:32.
    costs: Box<[AtomicU64]>,
    /// tag:40, count:8, minute:16.
    questions: Box<[AtomicU64]>,
    /// tag:32, level:16, chances still to pass:16.
    back_offs: Box<[AtomicU64]>,
}

impl Default for Worth {
    fn default() -> Self {
        Self {
            costs: slots(DIGEST_SLOTS),
            questions: slots(QUESTION_SLOTS),
            back_offs: slots(DIGEST_SLOTS),
        }
    }
}

fn digest_tag(digest: DigestId) -> (u64, u64) {
    let low = digest.0 as u64;
    // A tag of 0 would look like an empty slot.
    (low, ((digest.0 >> 64) as u64 >> 32) | 1)
}

impl Worth {
    /// Notes what one execution took in the backend: a mean that follows with weight 1/8.
    pub fn observe(&self, digest: DigestId, backend_us: u64) {
        let (hash, tag) = digest_tag(digest);
        let Some(slot) = slot(&self.costs, hash) else {
            return;
        };
        let sample = backend_us.min(u64::from(u32::MAX));
        let old = slot.load(Relaxed);
        let mean = match old >> 32 == tag {
            true => {
                let mean = old & 0xFFFF_FFFF;
                mean - mean / 8 + sample / 8
            }
            false => sample,
        };
        slot.store(tag << 32 | mean.min(u64::from(u32::MAX)), Relaxed);
    }

    /// The mean backend time of a digest in microseconds; `None` if it is not remembered.
    pub fn mean_us(&self, digest: DigestId) -> Option<u64> {
        let (hash, tag) = digest_tag(digest);
        let value = slot(&self.costs, hash)?.load(Relaxed);
        (value >> 32 == tag).then_some(value & 0xFFFF_FFFF)
    }

    /// Counts one appearance of a question (a key's hash) and answers how often it appeared lately, this time included.
    pub fn count(&self, hash: u64, minute: u16) -> u32 {
        let Some(slot) = slot(&self.questions, hash) else {
            return 0;
        };
        let tag = hash >> 24 | 1;
        let old = slot.load(Relaxed);
        let (count, age) = (old >> 16 & 0xFF, minute.wrapping_sub(old as u16));
        let is_recent = age <= REPEAT_MINUTES_MAX;
        let new = match old >> 24 == tag {
            true if is_recent => (count + 1).min(255),
            true => 1,
            // Another question has the place: it loses one count to each newcomer, so that a flood of questions that
            // never come back does not push out those that do.
            false if is_recent && count > 1 => {
                slot.store(old - (1 << 16), Relaxed);
                return 1;
            }
            false => 1,
        };
        slot.store(tag << 24 | new << 16 | u64::from(minute), Relaxed);
        new as u32
    }

    /// How often a question appeared lately, without counting it.
    pub fn appearances(&self, hash: u64, minute: u16) -> u32 {
        let value = slot(&self.questions, hash).map_or(0, |slot| slot.load(Relaxed));
        let is_recent = minute.wrapping_sub(value as u16) <= REPEAT_MINUTES_MAX;
        match value >> 24 == (hash >> 24 | 1) && is_recent {
            true => (value >> 16 & 0xFF) as u32,
            false => 0,
        }
    }

    /// True if this chance to fill is to be passed by, because the last fills of this digest helped nobody. Counts the chance.
    pub fn passes(&self, digest: DigestId) -> bool {
        let (hash, tag) = digest_tag(digest);
        let Some(slot) = slot(&self.back_offs, hash) else {
            return false;
        };
        let value = slot.load(Relaxed);
        if value >> 32 != tag || value & 0xFFFF == 0 {
            return false;
        }
        slot.store(value - 1, Relaxed);
        true
    }

    /// A kept answer became worthless before it was used once.
    pub fn was_useless(&self, digest: DigestId) {
        self.back_off(digest, |level| level + 1);
    }

    /// A result of this digest can never be kept (too large).
    pub fn is_hopeless(&self, digest: DigestId) {
        self.back_off(digest, |_| BACK_OFF_LEVEL_MAX);
    }

    fn back_off(&self, digest: DigestId, next: impl FnOnce(u64) -> u64) {
        let (hash, tag) = digest_tag(digest);
        let Some(slot) = slot(&self.back_offs, hash) else {
            return;
        };
        let value = slot.load(Relaxed);
        let level = if value >> 32 == tag {
            value >> 16 & 0xFFFF
        } else {
            0
        };
        let level = next(level).min(BACK_OFF_LEVEL_MAX);
        slot.store(tag << 32 | level << 16 | 1 << level, Relaxed);
    }

    /// A kept answer was used: the digest starts afresh.
    pub fn was_useful(&self, digest: DigestId) {
        let (hash, tag) = digest_tag(digest);
        if let Some(slot) = slot(&self.back_offs, hash)
            && slot.load(Relaxed) >> 32 == tag
        {
            slot.store(0, Relaxed);
        }
    }
}
