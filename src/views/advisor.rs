//! Turns what was asked into what is worth building: sliding counts per pattern, thresholds, merging, back-off. Pure:
//! takes `now` and estimates from its caller, does no IO and never creates anything itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::definition::Definition;

/// Parts a window is divided into; the oldest part leaves at once.
const SLOTS: usize = 10;
/// A view this small is never worth a smaller one beside it.
const SMALL_ROWS: u64 = 1_000;
/// The first wait after a definition failed for a reason that may last, in ms.
const BACKOFF_FIRST_MS: u64 = 3_600_000;
/// The longest wait of a definition, in ms.
const BACKOFF_LAST_MS: u64 = 24 * 3_600_000;

/// Executions and their time within the last `window_ms`, from counters that only grow.
#[derive(Debug, Clone, Default)]
pub struct Window {
    slots: [(u64, u64); SLOTS],
    slot: u64,
    seen: (u64, u64),
}

impl Window {
    /// Takes the counters' present totals (executions, microseconds) at `now_ms`.
    pub fn advance(&mut self, now_ms: u64, window_ms: u64, totals: (u64, u64)) {
        let slot = now_ms / (window_ms / SLOTS as u64).max(1);
        let passed = slot.saturating_sub(self.slot).min(SLOTS as u64);
        for step in 1..=passed {
            if let Some(part) = self.slots.get_mut(index(self.slot + step)) {
                *part = (0, 0);
            }
        }
        if passed == SLOTS as u64 {
            self.slots = Default::default();
        }
        self.slot = self.slot.max(slot);
        if let Some(part) = self.slots.get_mut(index(self.slot)) {
            part.0 += totals.0.saturating_sub(self.seen.0);
            part.1 += totals.1.saturating_sub(self.seen.1);
        }
        self.seen = totals;
    }

    /// Executions and microseconds in the window.
    pub fn totals(&self) -> (u64, u64) {
        self.slots
            .iter()
            .fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }
}

fn index(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

/// What one statement asked of the base tables within the window.
#[derive(Debug, Clone)]
pub struct Demand {
    /// The view that would answer it.
    pub definition: Arc<Definition>,
    /// Executions on base tables in the window.
    pub count: u64,
    /// Their time, in microseconds.
    pub time_us: u64,
}

/// When a repeated aggregate is worth a view.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// Executions within the window.
    pub repeat_count_min: u64,
    /// Mean time on base tables, in microseconds.
    pub mean_us_min: u64,
}

/// A view worth thinking about.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// What it would store.
    pub definition: Arc<Definition>,
    /// Executions it would have answered in the window.
    pub count: u64,
    /// Their time on base tables, in microseconds.
    pub time_us: u64,
    /// Why it is not to be built, or `None` when the demand suffices.
    pub short_of: Option<String>,
}

impl Candidate {
    /// Mean time on base tables, in microseconds.
    pub fn mean_us(&self) -> u64 {
        self.time_us.checked_div(self.count).unwrap_or(0)
    }
}

/// Groups demands by definition, judges each, and merges those that one view serves as well as two. The most expensive
/// stands first. `rows` estimates the groups of a definition; `None` when unknown.
pub fn candidates(
    demands: &[Demand],
    thresholds: Thresholds,
    rows: &dyn Fn(&Definition) -> Option<u64>,
) -> Vec<Candidate> {
    let mut groups: BTreeMap<u128, Candidate> = BTreeMap::new();
    for demand in demands {
        let entry = groups
            .entry(demand.definition.fingerprint())
            .or_insert_with(|| Candidate {
                definition: Arc::clone(&demand.definition),
                count: 0,
                time_us: 0,
                short_of: None,
            });
        entry.count += demand.count;
        entry.time_us += demand.time_us;
    }
    let mut all: Vec<Candidate> = groups
        .into_values()
        .filter(|candidate| candidate.count > 0)
        .map(|mut candidate| {
            candidate.short_of = short_of(&candidate, thresholds);
            candidate
        })
        .collect();
    all.sort_by_key(|c| (c.short_of.is_some(), std::cmp::Reverse(c.time_us)));
    let mut out: Vec<Candidate> = Vec::with_capacity(all.len());
    for candidate in all {
        let joined = out
            .iter_mut()
            .filter(|kept| kept.short_of.is_none())
            .any(|kept| absorb(kept, &candidate, rows));
        if !joined {
            out.push(candidate);
        }
    }
    out
}

fn short_of(candidate: &Candidate, thresholds: Thresholds) -> Option<String> {
    if candidate.count < thresholds.repeat_count_min {
        return Some(format!(
            "asked {} of {} times in the window",
            candidate.count, thresholds.repeat_count_min
        ));
    }
    if candidate.mean_us() < thresholds.mean_us_min {
        return Some(format!(
            "takes {:.1} ms on base tables, {:.1} ms is the least worth a view",
            candidate.mean_us() as f64 / 1000.0,
            thresholds.mean_us_min as f64 / 1000.0
        ));
    }
    None
}

/// Whether one view can serve both without making either noticeably dearer; if so `kept` becomes that view.
fn absorb(
    kept: &mut Candidate,
    other: &Candidate,
    rows: &dyn Fn(&Definition) -> Option<u64>,
) -> bool {
    let asked_again = other.short_of.is_none() || other.count >= 2;
    let Some(merged) = served_by_one(&kept.definition, &other.definition, rows) else {
        return false;
    };
    if !asked_again && merged != *kept.definition {
        return false;
    }
    if merged != *kept.definition {
        kept.definition = Arc::new(merged);
    }
    kept.count += other.count;
    kept.time_us += other.time_us;
    true
}

/// The one definition that serves both as well as two would: the same keys with the measures of both, or the larger one
/// when it covers the smaller and has not many more groups.
pub fn served_by_one(
    one: &Definition,
    two: &Definition,
    rows: &dyn Fn(&Definition) -> Option<u64>,
) -> Option<Definition> {
    if one.base != two.base {
        return None;
    }
    if one.keys == two.keys {
        return one.merged(two);
    }
    let (larger, smaller) = if one.covers(two) {
        (one, two)
    } else if two.covers(one) {
        (two, one)
    } else {
        return None;
    };
    let (larger_rows, smaller_rows) = (rows(larger)?, rows(smaller)?);
    (larger_rows <= (2 * smaller_rows).max(SMALL_ROWS)).then(|| larger.clone())
}

/// Why a definition waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Until when, in the caller's ms; `None` for ever.
    pub until_ms: Option<u64>,
    /// Why, in words.
    pub reason: String,
}

/// Definitions that failed or were dropped, and how long each waits before it is tried again.
#[derive(Debug, Default)]
pub struct Backoff {
    entries: HashMap<u128, (u32, Held)>,
    entries_max: usize,
}

impl Backoff {
    /// Remembers at most `entries_max` definitions; beyond that the one that is free soonest is forgotten.
    pub fn new(entries_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            entries_max: entries_max.max(1),
        }
    }

    /// The definition failed or was dropped: it waits 1 h, then 2 h, 4 h .. 24 h. Returns the wait in ms.
    /// A ban stays.
    pub fn hold(&mut self, fingerprint: u128, now_ms: u64, reason: impl Into<String>) -> u64 {
        self.hold_from(fingerprint, now_ms, BACKOFF_FIRST_MS, reason)
    }

    /// As [`Backoff::hold`] with another first wait, for failures that soon pass.
    pub fn hold_from(
        &mut self,
        fingerprint: u128,
        now_ms: u64,
        first_ms: u64,
        reason: impl Into<String>,
    ) -> u64 {
        let times = match self.entries.get(&fingerprint) {
            Some((_, held)) if held.until_ms.is_none() => return u64::MAX,
            Some((times, _)) => *times,
            None => 0,
        };
        let wait_ms = first_ms
            .saturating_mul(1 << times.min(16))
            .min(BACKOFF_LAST_MS);
        self.put(
            fingerprint,
            times.saturating_add(1),
            Held {
                until_ms: Some(now_ms.saturating_add(wait_ms)),
                reason: reason.into(),
            },
        );
        wait_ms
    }

    /// The definition is never tried again in this process.
    pub fn ban(&mut self, fingerprint: u128, reason: impl Into<String>) {
        let held = Held {
            until_ms: None,
            reason: reason.into(),
        };
        self.put(fingerprint, 0, held);
    }

    fn put(&mut self, fingerprint: u128, times: u32, held: Held) {
        if self.entries.len() >= self.entries_max && !self.entries.contains_key(&fingerprint) {
            let soonest = self
                .entries
                .iter()
                .min_by_key(|(_, (_, held))| held.until_ms.unwrap_or(u64::MAX))
                .map(|(key, _)| *key);
            if let Some(key) = soonest {
                self.entries.remove(&key);
            }
        }
        self.entries.insert(fingerprint, (times, held));
    }

    /// The hold in force at `now_ms`.
    pub fn held(&self, fingerprint: u128, now_ms: u64) -> Option<&Held> {
        self.entries
            .get(&fingerprint)
            .map(|(_, held)| held)
            .filter(|held| held.until_ms.is_none_or(|until| until > now_ms))
    }

    /// The definition proved itself: its next failure counts as its first. A ban stays.
    pub fn clear(&mut self, fingerprint: u128) {
        if self
            .entries
            .get(&fingerprint)
            .is_some_and(|(_, held)| held.until_ms.is_some())
        {
            self.entries.remove(&fingerprint);
        }
    }
}

#[cfg(test)]
#[path = "advisor/tests.rs"]
mod tests;
