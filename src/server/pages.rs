//! What the HTTP room shows, put together from the rooms: the scrape, and the conditions of being ready. Never listens itself.

use super::series;
use crate::backend::nodes::Writer;
use crate::http::{Check, Pages};
use crate::metrics::{Metrics, MetricsError};
use crate::session::listener::DoorCounters;
use crate::session::rooms::Rooms;
use std::sync::Arc;

/// The pages over these rooms.
///
/// # Errors
/// A series is described wrongly: a fault of ours that a test would have found.
pub fn pages(rooms: &Arc<Rooms>, doors: &Arc<DoorCounters>) -> Result<Pages, MetricsError> {
    let metrics = Arc::new(metrics(rooms, doors)?);
    let ready = rooms.clone();
    Ok(Pages {
        admin: rooms.admin.clone(),
        metrics: Arc::new(move || metrics.text().map_err(|error| error.to_string())),
        ready: Arc::new(move || checks(&ready)),
    })
}

fn metrics(rooms: &Arc<Rooms>, doors: &Arc<DoorCounters>) -> Result<Metrics, MetricsError> {
    let metrics = Metrics::new()?;
    let analytics = rooms.analytics.clone();
    metrics.add_source(move |samples| analytics.export(samples));
    let store = rooms.store.clone();
    metrics.add_source(move |samples| series::history(store.as_deref(), samples));
    let (nodes, doors) = (rooms.nodes.clone(), doors.clone());
    metrics.add_source(move |samples| series::pools(&nodes, samples));
    metrics.add_source(move |samples| series::door(&doors, samples));
    let rules = rooms.rules.clone();
    metrics.add_source(move |samples| series::rules(&rules.now(), samples));
    let (probe, binlog) = (rooms.probe.clone(), rooms.binlog.clone());
    metrics.add_source(move |samples| series::backend(&probe.snapshot(), samples));
    metrics.add_source(move |samples| series::binlog(&binlog.snapshot(), samples));
    let nodes = rooms.nodes.clone();
    metrics.add_source(move |samples| series::nodes(&nodes, samples));
    let (cache, views) = (rooms.cache.clone(), rooms.views.clone());
    metrics.add_source(move |samples| series::cache(&cache.totals(), samples));
    metrics.add_source(move |samples| series::views(&views.snapshot(), samples));
    Ok(metrics)
}

/// Whether somebody takes writes, and who, or why not.
fn backend(rooms: &Rooms) -> (bool, String) {
    if rooms.nodes.is_cluster() {
        return match rooms.nodes.writer() {
            Writer::One(node) => (true, format!("{} takes writes", node.name)),
            Writer::None(why) => (false, why.label().to_owned()),
            Writer::Several(names) => {
                let names = names.join(", ");
                (false, format!("{}: {names}", Writer::SEVERAL))
            }
        };
    }
    let health = rooms.probe.snapshot();
    let told = match (health.up, health.error) {
        (true, _) => "up".to_owned(),
        (false, Some(error)) => error,
        (false, None) => "not reached yet".to_owned(),
    };
    (health.up, told)
}

/// Ready means: a client that comes now can be served. Views and cache only make it faster, so they do not count.
fn checks(rooms: &Rooms) -> Vec<Check> {
    let (is_up, backend) = backend(rooms);
    let greeting = rooms.facts.load().is_some();
    let stopping = rooms.shutdown.is_requested();
    vec![
        Check {
            name: "backend",
            ok: is_up,
            detail: backend,
        },
        Check {
            name: "greeting",
            ok: greeting,
            detail: if greeting {
                "known"
            } else {
                "the backend was never reached"
            }
            .to_owned(),
        },
        Check {
            name: "running",
            ok: !stopping,
            detail: if stopping { "stopping" } else { "yes" }.to_owned(),
        },
    ]
}
