//! What analytics tells Prometheus, read from its snapshots at a scrape. Bounded: sums, and the digests with the most
//! time; per user, app and schema there is the admin schema.

use std::collections::BTreeMap;

use super::event::ServedBy;
use super::sessions::SessionState;
use super::totals::TimingSum;
use super::transactions::Outcome;
use super::{Analytics, QueryRow, TotalsRow};
use crate::metrics::{Durations, Samples, Series, series};

/// Digests told apart on the page.
const DIGESTS_MAX: usize = 50;
/// Error codes told apart on the page; MySQL has more, an installation meets a few dozen.
const CODES_MAX: usize = 200;

impl Analytics {
    /// Brings everything observed.
    pub fn export(&self, samples: &mut Samples) {
        export_totals(&self.totals(), samples);
        export_digests(self.queries.digests(), samples);
        samples.count(&series::DIGEST_ROWS, &[], self.queries.len() as u64);
        for row in self.decisions() {
            samples.count(&series::DECISIONS, &[row.about, row.reason], row.count);
        }
        for lost in self.lost() {
            samples.count(&series::LOST, &[lost.what], lost.count);
        }
        self.export_errors(samples);
        self.export_sessions(samples);
    }

    fn export_errors(&self, samples: &mut Samples) {
        let mut codes: BTreeMap<u16, u64> = BTreeMap::new();
        for row in self.errors() {
            *codes.entry(row.code).or_default() += row.count;
        }
        // By code, so that the same ones stay on the page from scrape to scrape.
        for (code, count) in codes.into_iter().take(CODES_MAX) {
            samples.count(&series::ERRORS, &[&code.to_string()], count);
        }
    }

    fn export_sessions(&self, samples: &mut Samples) {
        let (mut states, mut open, mut oldest_ms) = ([0u64; SessionState::ALL.len()], 0, None);
        for session in self.sessions.list() {
            if let Some(count) = states.get_mut(session.state() as usize) {
                *count += 1;
            }
            let started_ms = session.transaction.started_ms.get();
            if started_ms > 0 {
                open += 1;
                oldest_ms =
                    Some(oldest_ms.map_or(started_ms, |oldest: u64| oldest.min(started_ms)));
            }
        }
        for (state, count) in SessionState::ALL.iter().zip(states) {
            samples.count(&series::SESSIONS, &[state.label()], count);
        }
        samples.count(&series::TRANSACTIONS_OPEN, &[], open);
        let age_ms = oldest_ms.map_or(0, |oldest| self.now_ms().saturating_sub(oldest));
        samples.time(&series::TRANSACTION_OLDEST, &[], age_ms * 1_000);
    }
}

fn export_timing(
    series: &'static Series,
    labels: &[&str],
    timing: &TimingSum,
    samples: &mut Samples,
) {
    let histogram = &timing.histogram;
    let count_below = |us| histogram.count_below(us);
    samples.durations(
        series,
        labels,
        &Durations {
            count_below: &count_below,
            count: histogram.count(),
            sum_us: timing.sum_us,
        },
    );
}

fn export_totals(totals: &TotalsRow, samples: &mut Samples) {
    for served_by in ServedBy::ALL {
        let (place, label) = (served_by.index(), served_by.label());
        export_timing(
            &series::QUERY_DURATION,
            &[label],
            &totals.duration[place],
            samples,
        );
        samples.count(&series::QUERY_ERRORS, &[label], totals.errors[place]);
    }
    for (series, timing) in [
        (&series::QUERY_QUEUE, &totals.queue),
        (&series::QUERY_BACKEND, &totals.backend),
        (&series::QUERY_DRAIN, &totals.drain),
        (&series::TRANSACTION_DURATION, &totals.transaction),
    ] {
        export_timing(series, &[], timing, samples);
    }
    for (series, count) in [
        (&series::QUERY_ROWS, totals.rows),
        (&series::QUERY_AFFECTED_ROWS, totals.affected_rows),
        (&series::QUERY_WARNINGS, totals.warnings),
        (&series::QUERY_SLOW, totals.slow),
        (&series::QUERY_NO_INDEX, totals.no_index),
        (&series::QUERY_RECEIVED, totals.bytes_in),
        (&series::QUERY_SENT, totals.bytes_out),
        (
            &series::TRANSACTION_STATEMENTS,
            totals.transaction_statements,
        ),
    ] {
        samples.count(series, &[], count);
    }
    for (outcome, count) in Outcome::ALL.iter().zip(totals.transactions) {
        samples.count(&series::TRANSACTIONS, &[outcome.label()], count);
    }
    samples.time(&series::TRANSACTION_IDLE, &[], totals.transaction_idle_us);
}

fn export_digests(mut rows: Vec<QueryRow>, samples: &mut Samples) {
    rows.sort_by(|a, b| b.total_us.cmp(&a.total_us).then(a.digest.cmp(&b.digest)));
    for row in rows.iter().take(DIGESTS_MAX) {
        let digest = if row.digest == 0 {
            row.kind.to_owned()
        } else {
            format!("{:032x}", row.digest)
        };
        let labels = [digest.as_str(), row.kind];
        samples.count(&series::DIGEST_EXECUTIONS, &labels, row.count);
        samples.time(&series::DIGEST_TIME, &labels, row.total_us);
        samples.count(&series::DIGEST_ERRORS, &labels, row.errors);
    }
}
