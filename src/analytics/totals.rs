//! Sums over everything a worker did, for metrics: exact since start, never bounded away, one writer each.

use std::sync::atomic::AtomicU64;

use super::counter::Counter;
use super::event::{QueryEvent, ServedBy};
use super::histogram::{Histogram, Recording};
use super::transactions::{Outcome, TransactionRecord};

/// Durations with their sum.
#[derive(Debug, Default)]
pub struct Timing {
    buckets: Recording<AtomicU64>,
    sum_us: Counter,
}

impl Timing {
    fn record(&self, us: u64) {
        self.buckets.record(us);
        self.sum_us.add(us);
    }

    fn merge_into(&self, into: &mut TimingSum) {
        self.buckets.merge_into(&mut into.histogram);
        into.sum_us += self.sum_us.get();
    }
}

/// Durations as read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TimingSum {
    /// Counts by bucket.
    pub histogram: Histogram,
    /// All durations together, in microseconds.
    pub sum_us: u64,
}

/// What one worker counted.
#[derive(Debug, Default)]
pub struct Totals {
    duration: [Timing; ServedBy::ALL.len()],
    errors: [Counter; ServedBy::ALL.len()],
    queue: Timing,
    backend: Timing,
    drain: Timing,
    rows: Counter,
    affected_rows: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    warnings: Counter,
    slow: Counter,
    no_index: Counter,
    transactions: [Counter; Outcome::ALL.len()],
    transaction: Timing,
    transaction_idle_us: Counter,
    transaction_statements: Counter,
}

impl Totals {
    pub(super) fn query(&self, event: &QueryEvent<'_>, slow: bool) {
        let by = event.served_by.index();
        self.duration[by].record(event.total_us);
        self.errors[by].add(u64::from(event.error.is_some()));
        // Phases only of what had them: a million cache hits would make any queue look short.
        if matches!(event.served_by, ServedBy::Backend | ServedBy::View) {
            self.queue.record(event.queue_us);
            self.backend.record(event.backend_us);
        }
        self.drain.record(event.drain_us);
        self.rows.add(event.rows);
        self.affected_rows.add(event.affected_rows);
        self.bytes_in.add(event.bytes_in);
        self.bytes_out.add(event.bytes_out);
        self.warnings.add(u64::from(event.warnings));
        self.slow.add(u64::from(slow));
        self.no_index.add(u64::from(event.no_index_used()));
    }

    pub(super) fn transaction(&self, record: &TransactionRecord) {
        self.transactions[record.outcome as usize].add(1);
        self.transaction.record(record.duration_us);
        self.transaction_idle_us.add(record.idle_us);
        self.transaction_statements.add(record.statements);
    }

    pub(super) fn autocommit(&self) {
        self.transactions[Outcome::Autocommit as usize].add(1);
    }

    /// Adds this worker's counts to `into`.
    pub(super) fn merge_into(&self, into: &mut TotalsRow) {
        for (mine, theirs) in self.duration.iter().zip(&mut into.duration) {
            mine.merge_into(theirs);
        }
        for (mine, theirs) in self.errors.iter().zip(&mut into.errors) {
            *theirs += mine.get();
        }
        for (mine, theirs) in self.transactions.iter().zip(&mut into.transactions) {
            *theirs += mine.get();
        }
        self.queue.merge_into(&mut into.queue);
        self.backend.merge_into(&mut into.backend);
        self.drain.merge_into(&mut into.drain);
        self.transaction.merge_into(&mut into.transaction);
        into.rows += self.rows.get();
        into.affected_rows += self.affected_rows.get();
        into.bytes_in += self.bytes_in.get();
        into.bytes_out += self.bytes_out.get();
        into.warnings += self.warnings.get();
        into.slow += self.slow.get();
        into.no_index += self.no_index.get();
        into.transaction_idle_us += self.transaction_idle_us.get();
        into.transaction_statements += self.transaction_statements.get();
    }
}

/// All workers together, since start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TotalsRow {
    /// Time in all by who answered, in the order of [`ServedBy::ALL`]; its count is the number of executions.
    pub duration: [TimingSum; ServedBy::ALL.len()],
    /// Errors by who answered.
    pub errors: [u64; ServedBy::ALL.len()],
    /// Time in the queue for a connection, of what went to the backend.
    pub queue: TimingSum,
    /// Time in the backend, of what went there.
    pub backend: TimingSum,
    /// Time waiting for clients.
    pub drain: TimingSum,
    /// Rows sent.
    pub rows: u64,
    /// Rows changed.
    pub affected_rows: u64,
    /// Bytes of requests.
    pub bytes_in: u64,
    /// Bytes of answers.
    pub bytes_out: u64,
    /// Warnings.
    pub warnings: u64,
    /// Executions over the threshold.
    pub slow: u64,
    /// Executions without an index.
    pub no_index: u64,
    /// Transactions by outcome, in the order of [`Outcome::ALL`].
    pub transactions: [u64; Outcome::ALL.len()],
    /// Duration of transactions of more than one statement.
    pub transaction: TimingSum,
    /// Time in which transactions waited for their app.
    pub transaction_idle_us: u64,
    /// Statements in transactions.
    pub transaction_statements: u64,
}

impl TotalsRow {
    /// Executions.
    pub fn queries(&self) -> u64 {
        self.duration
            .iter()
            .map(|timing| timing.histogram.count())
            .sum()
    }
}
