//! Every Prometheus series in one table: name, kind, labels, help. Never measures anything itself: at a scrape it asks
//! the sources that were given to it, each of which reads a snapshot of its room.
//!
//! Bounded: a series has at most [`SAMPLES_MAX`] samples and a label value at most [`LABEL_BYTES_MAX`] bytes; what a source
//! brings beyond that is dropped and counted in `tidegate_metrics_dropped_samples_total`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use prometheus::core::{Collector, Desc};
use prometheus::proto;
use prometheus::{Registry, TextEncoder};

pub mod process;
pub mod series;

pub use series::SERIES;

/// Samples of one series. Histograms count as one.
pub const SAMPLES_MAX: usize = 500;
/// Longest label value; a longer one is cut at a character.
pub const LABEL_BYTES_MAX: usize = 96;
/// Upper bounds of latency buckets as powers of two in microseconds: from 64 us to 33.6 s. Powers of two, because our
/// own histograms can say exactly how many were below one.
const BOUND_EXPONENTS: std::ops::RangeInclusive<u32> = 6..=25;

/// What a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets; its name ends in `_seconds`.
    Histogram,
}

/// One series: a row of [`SERIES`].
#[derive(Debug)]
pub struct Series {
    /// Full name with unit.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Label names; samples bring as many values.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Durations as a source has them: how many were shorter than a bound, how many in all, and their sum.
pub struct Durations<'a> {
    /// How many were below so many microseconds; must be exact for powers of two.
    pub count_below: &'a dyn Fn(u64) -> u64,
    /// How many.
    pub count: u64,
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

/// What one scrape brings together.
#[derive(Debug, Default)]
pub struct Samples {
    families: BTreeMap<&'static str, Family>,
    dropped: u64,
}

#[derive(Debug)]
struct Family {
    series: &'static Series,
    metrics: Vec<proto::Metric>,
    labels: BTreeSet<Vec<String>>,
}

impl Samples {
    /// A sample of a counter or gauge. `values` are the label values in the order of the series' labels.
    pub fn set(&mut self, series: &'static Series, values: &[&str], value: f64) {
        debug_assert!(
            series.kind != Kind::Histogram,
            "{} is a histogram",
            series.name
        );
        let Some(mut metric) = self.metric(series, values) else {
            return;
        };
        if series.kind == Kind::Counter {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.push(series, metric);
    }

    /// A sample of a counter or gauge that is a whole number.
    pub fn count(&mut self, series: &'static Series, values: &[&str], value: u64) {
        self.set(series, values, value as f64);
    }

    /// A sample of a counter or gauge that is a time, given in microseconds and told in seconds.
    pub fn time(&mut self, series: &'static Series, values: &[&str], us: u64) {
        self.set(series, values, us as f64 / 1e6);
    }

    /// A sample of a histogram.
    pub fn durations(
        &mut self,
        series: &'static Series,
        values: &[&str],
        durations: &Durations<'_>,
    ) {
        debug_assert!(
            series.kind == Kind::Histogram,
            "{} is no histogram",
            series.name
        );
        let Some(mut metric) = self.metric(series, values) else {
            return;
        };
        let mut histogram = proto::Histogram::default();
        let buckets = BOUND_EXPONENTS.map(|exponent| {
            let us = 1u64 << exponent;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(us as f64 / 1e6);
            bucket.set_cumulative_count((durations.count_below)(us));
            bucket
        });
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(durations.count);
        histogram.set_sample_sum(durations.sum_us as f64 / 1e6);
        metric.set_histogram(histogram);
        self.push(series, metric);
    }

    /// An empty sample with its labels; none when it would be one too many or is there already.
    fn metric(&mut self, series: &'static Series, values: &[&str]) -> Option<proto::Metric> {
        debug_assert_eq!(values.len(), series.labels.len(), "{}", series.name);
        let family = self.families.entry(series.name).or_insert_with(|| Family {
            series,
            metrics: Vec::new(),
            labels: BTreeSet::new(),
        });
        let values: Vec<String> = values
            .iter()
            .map(|value| bounded(value).to_owned())
            .collect();
        if values.len() != series.labels.len()
            || family.metrics.len() >= SAMPLES_MAX
            || !family.labels.insert(values.clone())
        {
            self.dropped += 1;
            return None;
        }
        let pairs = series.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value);
            pair
        });
        Some(proto::Metric::from_label(pairs.collect()))
    }

    fn push(&mut self, series: &'static Series, metric: proto::Metric) {
        if let Some(family) = self.families.get_mut(series.name) {
            family.metrics.push(metric);
        }
    }

    fn families(self) -> Vec<proto::MetricFamily> {
        let filled = self
            .families
            .into_values()
            .filter(|family| !family.metrics.is_empty());
        filled
            .map(|family| {
                let mut out = proto::MetricFamily::default();
                out.set_name(family.series.name.to_owned());
                out.set_help(family.series.help.to_owned());
                out.set_field_type(match family.series.kind {
                    Kind::Counter => proto::MetricType::COUNTER,
                    Kind::Gauge => proto::MetricType::GAUGE,
                    Kind::Histogram => proto::MetricType::HISTOGRAM,
                });
                out.set_metric(family.metrics);
                out
            })
            .collect()
    }
}

fn bounded(value: &str) -> &str {
    let end = (0..=LABEL_BYTES_MAX.min(value.len()))
        .rev()
        .find(|end| value.is_char_boundary(*end));
    value.get(..end.unwrap_or(0)).unwrap_or_default()
}

type Source = Box<dyn Fn(&mut Samples) + Send + Sync>;

/// The sources and the registry that asks them.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    sources: Arc<RwLock<Vec<Source>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metrics({} sources)", self.sources.read().len())
    }
}

/// The page could not be made: a mistake of ours, never of a client.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

impl Metrics {
    /// The media type of [`Metrics::text`].
    pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

    /// With the process itself as the first source.
    ///
    /// # Errors
    /// When [`SERIES`] has a row that Prometheus does not take.
    pub fn new() -> Result<Self, MetricsError> {
        let metrics = Self {
            registry: Registry::new(),
            sources: Arc::default(),
        };
        let descs = SERIES.iter().map(|series| {
            let labels = series
                .labels
                .iter()
                .map(|label| (*label).to_owned())
                .collect();
            Desc::new(
                series.name.to_owned(),
                series.help.to_owned(),
                labels,
                std::collections::HashMap::new(),
            )
        });
        let asking = Asking {
            descs: descs.collect::<Result<_, _>>()?,
            sources: Arc::clone(&metrics.sources),
            dropped: AtomicU64::new(0),
        };
        metrics.registry.register(Box::new(asking))?;
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        metrics.add_source(move |samples| process::sample(samples, started));
        Ok(metrics)
    }

    /// Adds somebody who brings samples at each scrape. It may lock briefly and must not wait.
    pub fn add_source(&self, source: impl Fn(&mut Samples) + Send + Sync + 'static) {
        self.sources.write().push(Box::new(source));
    }

    /// The page for Prometheus.
    ///
    /// # Errors
    /// When a family cannot be written.
    pub fn text(&self) -> Result<String, MetricsError> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}

/// The one collector: a scrape is one walk over the sources.
struct Asking {
    descs: Vec<Desc>,
    sources: Arc<RwLock<Vec<Source>>>,
    dropped: AtomicU64,
}

impl Collector for Asking {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut samples = Samples::default();
        for source in self.sources.read().iter() {
            source(&mut samples);
        }
        let dropped = self.dropped.fetch_add(samples.dropped, Relaxed) + samples.dropped;
        samples.count(&series::METRICS_DROPPED_SAMPLES, &[], dropped);
        samples.families()
    }
}

#[cfg(test)]
mod tests;
