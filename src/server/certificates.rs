//! New certificates without a restart: files that were replaced are noticed, and SIGHUP has all of them read again. What does not do
//! is logged, and the old ones stay in use. Connections that are there keep what they began with.

use crate::backend::certificates::TlsError;
use crate::session::rooms::Rooms;
use crate::shutdown::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;

/// Pause between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks until the stop signal.
pub(super) async fn watch(rooms: Arc<Rooms>, mut hangups: Signal, stop: Shutdown) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        let always = tokio::select! {
            () = stop.requested() => return,
            _ = looks.tick() => false,
            Some(()) = hangups.recv() => true,
        };
        if let Some(tls) = &rooms.tls {
            tell("clients", tls.reload(always));
        }
        for node in rooms.nodes.all() {
            tell("the backend", node.target.tls().reload(always));
            // The control plane goes the way of one of them.
            if let Some(tls) = &node.control.settings().tls {
                tell("the control plane", tls.reload(always));
            }
        }
    }
}

fn tell(towards: &'static str, reloaded: Result<bool, TlsError>) {
    match reloaded {
        Ok(false) => {}
        Ok(true) => tracing::info!(towards, "certificates were read again"),
        Err(error) => {
            tracing::error!(towards, %error, "new certificates do not do; the old ones stay in use");
        }
    }
}
