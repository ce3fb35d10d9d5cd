//! The one stop signal and the wait for the tasks that heard it. Knows no room.
//!
//! ```text
//! running --first SIGTERM or SIGINT--> stopping --all tasks ended, the time is over, or a second signal--> stopped
//! ```
//! Stopping: listeners accept nobody, sessions idle in no transaction close, the others finish what they run.
//! Cut short: what still runs is dropped.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

/// A handle on the stop signal; clones are the same signal.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    stopping: CancellationToken,
    cut_short: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Running.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody to stop; a second call cuts the wait short.
    pub fn request(&self) {
        if self.stopping.is_cancelled() {
            self.cut_short.cancel();
        }
        self.stopping.cancel();
    }

    /// Whether somebody asked for a stop.
    pub fn is_requested(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Waits until somebody asks for a stop. Safe to drop and call again, as in `select!`.
    pub fn requested(&self) -> WaitForCancellationFuture<'_> {
        self.stopping.cancelled()
    }

    /// Waits until what still runs is to be dropped.
    pub fn cut_short(&self) -> WaitForCancellationFuture<'_> {
        self.cut_short.cancelled()
    }

    /// Wraps a task so that [`Self::drained`] waits for it. Spawn the result on any runtime.
    pub fn track<F: Future>(&self, task: F) -> impl Future<Output = F::Output> + use<F> {
        self.tasks.track_future(task)
    }

    /// Tasks tracked that have not ended.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// After a request: waits for all tracked tasks, at most `wait_max`, then cuts short what still runs. True when all
    /// had ended by themselves.
    pub async fn drained(&self, wait_max: Duration) -> bool {
        self.tasks.close();
        let ended = tokio::select! {
            () = self.tasks.wait() => true,
            () = self.cut_short.cancelled() => false,
            () = tokio::time::sleep(wait_max) => false,
        };
        self.cut_short.cancel();
        ended
    }

    /// Turns SIGTERM and SIGINT into requests, for ever. The handlers are in place when this returns.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen(&self) -> io::Result<impl Future<Output = ()> + Send + use<>> {
        let (mut term, mut int) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let shutdown = self.clone();
        Ok(async move {
            loop {
                let name = tokio::select! {
                    _ = term.recv() => "SIGTERM",
                    _ = int.recv() => "SIGINT",
                };
                if shutdown.is_requested() {
                    tracing::warn!(signal = name, "second signal: stopping at once");
                } else {
                    tracing::info!(signal = name, "stopping: running statements may end");
                }
                shutdown.request();
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_tasks_that_listen() {
        let shutdown = Shutdown::new();
        let heard = shutdown.clone();
        tokio::spawn(shutdown.track(async move {
            heard.requested().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }));
        assert!(!shutdown.is_requested());
        shutdown.request();
        assert_eq!(shutdown.tasks(), 1);
        assert!(shutdown.drained(Duration::from_secs(1)).await);
        assert_eq!(shutdown.tasks(), 0);
    }

    #[tokio::test]
    async fn cuts_short_what_does_not_end() {
        let shutdown = Shutdown::new();
        let heard = shutdown.clone();
        let task = tokio::spawn(shutdown.track(async move { heard.cut_short().await }));
        shutdown.request();
        assert!(!shutdown.drained(Duration::from_millis(20)).await);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_second_request_does_not_wait() {
        let shutdown = Shutdown::new();
        tokio::spawn(shutdown.track(std::future::pending::<()>()));
        shutdown.request();
        shutdown.request();
        let started = std::time::Instant::now();
        assert!(!shutdown.drained(Duration::from_secs(60)).await);
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn hears_a_signal() {
        let shutdown = Shutdown::new();
        tokio::spawn(shutdown.listen().unwrap());
        let pid = std::process::id().to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        tokio::time::timeout(Duration::from_secs(5), shutdown.requested())
            .await
            .unwrap();
    }
}
