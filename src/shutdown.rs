//! The one stop signal. Everybody who waits also listens to it; the server sends it once. Knows no room.

use tokio::sync::watch;

/// Sends the stop signal; dropping it sends it too, so that no task outlives its server.
#[derive(Debug)]
pub struct Trigger {
    stop: watch::Sender<bool>,
}

/// Hears the stop signal. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    stop: watch::Receiver<bool>,
}

/// A new signal and its listener.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger { stop: sender }, Shutdown { stop: receiver })
}

impl Trigger {
    /// Asks everybody to stop. Asking again changes nothing.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl Shutdown {
    /// Waits until a stop is asked for. Cancel safe.
    pub async fn requested(&self) {
        let mut stop = self.stop.clone();
        // An error means that the trigger is gone, which is a stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// The process cannot install signal handlers.
pub async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_hears_a_stop_also_afterwards() {
        let (trigger, early) = channel();
        assert!(!early.is_requested());
        let late = early.clone();
        trigger.stop();
        early.requested().await;
        late.requested().await;
        assert!(late.is_requested());
    }

    #[tokio::test]
    async fn a_dropped_trigger_is_a_stop() {
        let (trigger, shutdown) = channel();
        drop(trigger);
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }
}
