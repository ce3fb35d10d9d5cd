//! From sums since start to rows of one minute: what each row of `queries` has more than at the last look. Pure; knows
//! no clock and no file.
//!
//! # Totals stay exact
//! A row that is given up is moved to `_other`, worker by worker, and may begin anew meanwhile: then it has less than
//! before, and `_other` has more by what was already told. So differences are taken with their sign. A row that has less
//! of anything is told by `_other`: its difference, which is negative, is added to that of `_other`, and what remains is
//! what nobody told yet. The same way rows without a place of their own are added up. Over all rows and minutes the
//! sums are those of `queries`; only which row they stand in can differ for the minute of a move.

use ahash::AHashMap;

use super::histogram::{BUCKETS, Histogram};
use super::names::OTHER;
use super::queries::{QueryKey, QueryRow, Reading};
use crate::store::{self, Sums};

const SUMS: usize = Sums::NAMES.len();

/// A minute in milliseconds.
const MINUTE_MS: u64 = 60_000;

/// What was counted up to the last look.
#[derive(Debug)]
struct Counted {
    sums: Sums,
    latency: Box<[u8]>,
}

/// Follows the rows from minute to minute.
#[derive(Debug)]
pub struct MinuteLog {
    rows_max: usize,
    open: u64,
    before: AHashMap<QueryKey, Counted>,
}

impl MinuteLog {
    /// Nothing counted yet. A minute has at most `rows_max` rows by time, as many again with errors, and `_other`.
    pub fn new(rows_max: usize, now_ms: u64) -> Self {
        Self {
            rows_max,
            open: now_ms / MINUTE_MS,
            before: AHashMap::new(),
        }
    }

    /// The minute that runs, in minutes since 1970.
    pub fn open(&self) -> u64 {
        self.open
    }

    /// Turns to the minute of `now_ms`, milliseconds since 1970: the minute that ended, when another one runs now. A
    /// clock that is set back ends a minute too; rows of a minute that comes twice are added up by whoever keeps them.
    pub fn turn(&mut self, now_ms: u64) -> Option<u64> {
        let now = now_ms / MINUTE_MS;
        let ended = std::mem::replace(&mut self.open, now);
        (ended != now).then_some(ended)
    }

    /// What was counted since the last look, as rows: those with the most time first, then those with errors, `_other`
    /// at the end.
    pub fn look(&mut self, readings: &[Reading]) -> Vec<store::Row> {
        let mut before = std::mem::take(&mut self.before);
        let (mut rows, mut other) = (Vec::new(), Other::default());
        for reading in readings {
            let counted = Counted {
                sums: sums(&reading.row),
                latency: reading.latency.clone(),
            };
            let old = before.remove(&reading.key);
            let same = |old: &Counted| old.sums == counted.sums && old.latency == counted.latency;
            if !old.as_ref().is_some_and(same) {
                let difference = Difference::between(old.as_ref(), Some(&counted));
                match difference
                    .gained()
                    .filter(|_| reading.key != QueryKey::OTHER)
                {
                    Some(gained) => rows.push((reading, gained)),
                    None => other.add(&difference),
                }
            }
            self.before.insert(reading.key, counted);
        }
        for gone in before.values() {
            other.add(&Difference::between(Some(gone), None));
        }
        self.choose(rows, other)
    }

    fn choose(&self, mut rows: Vec<Found<'_>>, mut other: Other) -> Vec<store::Row> {
        rows.sort_by(|(a, left), (b, right)| {
            let by_time = right.sums.total_us.cmp(&left.sums.total_us);
            by_time.then(a.key.cmp(&b.key))
        });
        let mut rest = rows.split_off(rows.len().min(self.rows_max));
        // Stable: of as many errors, the ones with more time.
        rest.sort_by_key(|(_, row)| std::cmp::Reverse(row.sums.errors));
        let wrong = rest.iter().take_while(|(_, row)| row.sums.errors > 0);
        let wrong = wrong.count().min(self.rows_max);
        for (_, gained) in rest.split_off(wrong) {
            other.add(&gained.into());
        }
        rows.append(&mut rest);
        let named = rows.into_iter().map(|(reading, gained)| {
            let row = &reading.row;
            store::Row {
                digest: row.digest,
                text: row.text.clone(),
                kind: row.kind.into(),
                user: row.user.clone(),
                app: row.app.clone(),
                schema: row.schema.clone(),
                sums: gained.sums,
                latency: gained.sketch(),
            }
        });
        named.chain(other.row()).collect()
    }
}

type Found<'a> = (&'a Reading, Gained);

/// What a row has more than before, or less.
#[derive(Debug)]
struct Difference {
    sums: [i128; SUMS],
    /// Buckets whose count is another, in order.
    latency: Vec<(usize, i128)>,
}

impl Difference {
    /// None stands for a row that is not there.
    fn between(old: Option<&Counted>, new: Option<&Counted>) -> Self {
        let values = |counted: Option<&Counted>| counted.map_or([0; SUMS], |c| c.sums.values());
        let (less, more) = (values(old), values(new));
        let mut sums = [0; SUMS];
        for ((sum, more), less) in sums.iter_mut().zip(more).zip(less) {
            *sum = i128::from(more) - i128::from(less);
        }
        let histogram = |counted: Option<&Counted>| {
            let mut histogram = Histogram::default();
            // Our own sketch: it can be read.
            let _ = histogram.add_sketch(counted.map_or(&[], |counted| &counted.latency));
            histogram
        };
        let (less, more) = (histogram(old), histogram(new));
        let buckets = more.counts().iter().zip(less.counts()).enumerate();
        Self {
            sums,
            latency: buckets
                .map(|(bucket, (more, less))| (bucket, i128::from(*more) - i128::from(*less)))
                .filter(|(_, difference)| *difference != 0)
                .collect(),
        }
    }

    /// The same when nothing is less.
    fn gained(&self) -> Option<Gained> {
        let mut sums = [0; SUMS];
        for (to, from) in sums.iter_mut().zip(self.sums) {
            *to = u64::try_from(from).ok()?;
        }
        let latency = self.latency.iter();
        Some(Gained {
            sums: Sums::from_values(sums),
            latency: latency
                .map(|(bucket, count)| Some((*bucket, u64::try_from(*count).ok()?)))
                .collect::<Option<_>>()?,
        })
    }
}

/// What a row has more than before.
#[derive(Debug)]
struct Gained {
    sums: Sums,
    latency: Vec<(usize, u64)>,
}

impl Gained {
    fn sketch(&self) -> Vec<u8> {
        let mut histogram = Histogram::default();
        for (bucket, count) in &self.latency {
            histogram.add_to_bucket(*bucket, *count);
        }
        let mut bytes = Vec::new();
        histogram.encode(&mut bytes);
        bytes
    }
}

impl From<Gained> for Difference {
    fn from(gained: Gained) -> Self {
        let latency = gained.latency.into_iter();
        Self {
            sums: gained.sums.values().map(i128::from),
            latency: latency
                .map(|(bucket, count)| (bucket, count.into()))
                .collect(),
        }
    }
}

/// Adds up what gets no row of its own.
#[derive(Debug)]
struct Other {
    sums: [i128; SUMS],
    latency: Vec<i128>,
}

impl Default for Other {
    fn default() -> Self {
        Self {
            sums: [0; SUMS],
            latency: vec![0; BUCKETS],
        }
    }
}

impl Other {
    fn add(&mut self, difference: &Difference) {
        for (sum, part) in self.sums.iter_mut().zip(difference.sums) {
            *sum += part;
        }
        for (bucket, count) in &difference.latency {
            if let Some(sum) = self.latency.get_mut(*bucket) {
                *sum += count;
            }
        }
    }

    /// The row, unless nothing was counted. What is less than nothing in all (counters that reached their end) is nothing.
    fn row(self) -> Option<store::Row> {
        let positive = |number: i128| u64::try_from(number.max(0)).unwrap_or(u64::MAX);
        let latency = self.latency.into_iter().map(positive).enumerate();
        let gained = Gained {
            sums: Sums::from_values(self.sums.map(positive)),
            latency: latency.filter(|(_, count)| *count > 0).collect(),
        };
        if gained.sums == Sums::default() && gained.latency.is_empty() {
            return None;
        }
        Some(store::Row {
            digest: 0,
            text: "".into(),
            kind: "".into(),
            user: OTHER.into(),
            app: OTHER.into(),
            schema: OTHER.into(),
            sums: gained.sums,
            latency: gained.sketch(),
        })
    }
}

/// The sums of a row, in the words of the history file.
fn sums(row: &QueryRow) -> Sums {
    let [by_backend, by_view, by_cache, by_local, by_admin] = row.served;
    let [
        by_backend_us,
        by_view_us,
        by_cache_us,
        by_local_us,
        by_admin_us,
    ] = row.served_us;
    Sums {
        executions: row.count,
        errors: row.errors,
        warnings: row.warnings,
        slow: row.slow,
        no_index_used: row.no_index,
        rows_sent: row.rows,
        rows_affected: row.affected_rows,
        received_bytes: row.bytes_in,
        sent_bytes: row.bytes_out,
        queue_us: row.queue_us,
        backend_us: row.backend_us,
        first_byte_us: row.first_byte_us,
        drain_us: row.drain_us,
        total_us: row.total_us,
        by_backend,
        by_view,
        by_cache,
        by_local,
        by_admin,
        by_backend_us,
        by_view_us,
        by_cache_us,
        by_local_us,
        by_admin_us,
    }
}

#[cfg(test)]
mod tests;
