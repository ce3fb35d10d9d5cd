//! HTTP: metrics, health, JSON of the admin tables, one page that shows them. Never changes anything; takes GET only.
//!
//! Bounded: connections at once, time of a request, time without progress, length of the address line (hyper's own limits).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::admin::Admin;
use crate::shutdown::Shutdown;

mod bounded;
mod routes;

/// One condition of being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name: backend, listeners ...
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

/// Text for Prometheus, made at each scrape; or why there is none.
pub type MetricsFn = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;
/// The conditions of being ready, looked at on each call.
pub type ReadyFn = Arc<dyn Fn() -> Vec<Check> + Send + Sync>;

/// What the pages are made of.
#[derive(Clone)]
pub struct Pages {
    /// The admin tables.
    pub admin: Arc<Admin>,
    /// `/metrics`.
    pub metrics: MetricsFn,
    /// `/readyz`.
    pub ready: ReadyFn,
}

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; others wait in the kernel's queue.
    pub connections_max: usize,
    /// Longest time of one request.
    pub request_ms_max: u64,
    /// Longest time without a byte in either direction.
    pub idle_ms_max: u64,
    /// Longest life of a connection.
    pub connection_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 128,
            request_ms_max: 10_000,
            idle_ms_max: 30_000,
            connection_ms_max: 300_000,
        }
    }
}

/// Serves until the stop signal, then lets running requests end.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    pages: Pages,
    limits: Limits,
    stop: Shutdown,
) -> io::Result<()> {
    let routes = routes::routes(pages, Duration::from_millis(limits.request_ms_max));
    let listener = bounded::Listener::new(listener, limits);
    let heard = stop.clone();
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move { heard.requested().await })
        .await
}

#[cfg(test)]
mod tests;
