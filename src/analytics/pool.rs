//! How full the connection pool was over the last minutes, and what that says about its size. Reads samples that
//! somebody takes of the pool; never touches a connection.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// A quarter of an hour at a sample a second.
const SAMPLES_MAX: usize = 900;

/// The pool at one moment. Sums are since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolSample {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Connections lent.
    pub active: u64,
    /// Connections idle.
    pub idle: u64,
    /// Clients waiting.
    pub waiting: u64,
    /// Connections allowed.
    pub connections_max: u64,
    /// Checkouts that had to wait.
    pub waits: u64,
    /// Time they waited, in microseconds.
    pub wait_us: u64,
    /// Waits given up and connects failed.
    pub failures: u64,
}

/// The pool over a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolWindow {
    /// Length that the samples really cover, in milliseconds.
    pub window_ms: u64,
    /// Connections lent, averaged over time.
    pub active_mean: f64,
    /// The most lent at a sample.
    pub active_max: u64,
    /// Connections idle, averaged over time.
    pub idle_mean: f64,
    /// Clients waiting, averaged over time.
    pub waiting_mean: f64,
    /// The most waiting at a sample.
    pub waiting_max: u64,
    /// Share of the allowed connections that was lent, averaged over time.
    pub utilization: f64,
    /// Checkouts that waited.
    pub waits: u64,
    /// Mean wait of those, in microseconds; none when nobody waited.
    pub wait_us_mean: Option<f64>,
    /// Failures.
    pub failures: u64,
    /// What the numbers say, worst first.
    pub verdict: &'static str,
}

/// Samples of the last quarter of an hour.
#[derive(Debug, Default)]
pub struct PoolHistory {
    samples: Mutex<VecDeque<PoolSample>>,
}

impl PoolHistory {
    /// Takes in a sample; about one a second.
    pub fn sample(&self, sample: PoolSample) {
        let mut samples = self.samples.lock();
        if samples.len() >= SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The last `window_ms` before the newest sample; none before there are two.
    pub fn window(&self, window_ms: u64) -> Option<PoolWindow> {
        let samples = self.samples.lock();
        let last = *samples.back()?;
        let from_ms = last.at_ms.saturating_sub(window_ms);
        let inside: Vec<PoolSample> = samples
            .iter()
            .filter(|sample| sample.at_ms >= from_ms)
            .copied()
            .collect();
        window_of(&inside)
    }
}

/// Each sample stands until the next one.
fn window_of(samples: &[PoolSample]) -> Option<PoolWindow> {
    let (first, last) = (samples.first()?, samples.last()?);
    let window_ms = last.at_ms.checked_sub(first.at_ms).filter(|ms| *ms > 0)?;
    let mean = |of: fn(&PoolSample) -> f64| {
        let area: f64 = samples
            .iter()
            .zip(samples.iter().skip(1))
            .map(|(sample, next)| of(sample) * next.at_ms.saturating_sub(sample.at_ms) as f64)
            .sum();
        area / window_ms as f64
    };
    let waits = last.waits.saturating_sub(first.waits);
    let wait_us = last.wait_us.saturating_sub(first.wait_us);
    let mut window = PoolWindow {
        window_ms,
        active_mean: mean(|sample| sample.active as f64),
        active_max: samples
            .iter()
            .map(|sample| sample.active)
            .max()
            .unwrap_or(0),
        idle_mean: mean(|sample| sample.idle as f64),
        waiting_mean: mean(|sample| sample.waiting as f64),
        waiting_max: samples
            .iter()
            .map(|sample| sample.waiting)
            .max()
            .unwrap_or(0),
        utilization: mean(|sample| sample.active as f64 / (sample.connections_max.max(1)) as f64),
        waits,
        wait_us_mean: (waits > 0).then(|| wait_us as f64 / waits as f64),
        failures: last.failures.saturating_sub(first.failures),
        verdict: "ok",
    };
    window.verdict = verdict(&window);
    Some(window)
}

fn verdict(window: &PoolWindow) -> &'static str {
    if window.failures > 10 {
        "connection_issues"
    } else if window.waits > 0 || window.waiting_max > 0 {
        "undersized"
    } else if window.utilization > 0.8 {
        "high_utilization"
    } else if window.utilization < 0.3 && window.idle_mean > 10.0 {
        "oversized"
    } else {
        "ok"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ms: u64, active: u64, idle: u64, waiting: u64) -> PoolSample {
        PoolSample {
            at_ms,
            active,
            idle,
            waiting,
            connections_max: 10,
            ..PoolSample::default()
        }
    }

    #[test]
    fn means_are_weighted_by_time() {
        let history = PoolHistory::default();
        assert_eq!(history.window(1_000), None);
        history.sample(sample(0, 100, 0, 0));
        history.sample(sample(10_000, 8, 2, 1));
        assert_eq!(history.window(5_000), None);
        history.sample(sample(13_000, 4, 6, 0));
        history.sample(PoolSample {
            waits: 4,
            wait_us: 100,
            ..sample(14_000, 0, 0, 0)
        });
        let window = history.window(4_000).unwrap();
        assert_eq!(
            (window.window_ms, window.active_mean, window.active_max),
            (4_000, 7.0, 8)
        );
        assert_eq!(
            (window.utilization, window.waits, window.wait_us_mean),
            (0.7, 4, Some(25.0))
        );
        assert_eq!(
            (window.waiting_mean, window.waiting_max, window.verdict),
            (0.75, 1, "undersized")
        );
    }

    #[test]
    fn verdicts() {
        let of = |samples: [PoolSample; 2]| window_of(&samples).unwrap().verdict;
        assert_eq!(
            of([sample(0, 9, 1, 0), sample(1, 9, 1, 0)]),
            "high_utilization"
        );
        assert_eq!(of([sample(0, 1, 20, 0), sample(1, 1, 20, 0)]), "oversized");
        assert_eq!(of([sample(0, 5, 5, 0), sample(1, 5, 5, 0)]), "ok");
        assert_eq!(
            of([
                sample(0, 5, 5, 0),
                PoolSample {
                    failures: 11,
                    ..sample(1, 5, 5, 9)
                }
            ]),
            "connection_issues"
        );
    }
}
