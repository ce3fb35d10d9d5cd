//! History's clock: at the end of each minute, what analytics counted goes to the store as rows. Holds no rows itself.

use crate::analytics::histogram::Histogram;
use crate::analytics::{Analytics, MinuteLog};
use crate::config::Config;
use crate::shutdown::Shutdown;
use crate::store::{Minute, Settings, Store};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often the clock is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest wait for the disk at the end.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// Takes rows from analytics to the store.
pub struct History {
    analytics: Arc<Analytics>,
    store: Arc<Store>,
    log: Mutex<MinuteLog>,
}

impl History {
    /// Opens the file; none when the operator wants no history.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(config: &Config, analytics: &Arc<Analytics>) -> io::Result<Option<Arc<Self>>> {
        let Some(settings) = Settings::from_config(config, Histogram::merge_sketches) else {
            return Ok(None);
        };
        let log = MinuteLog::new(config.history.rows_per_minute_max, now_ms());
        Ok(Some(Arc::new(Self {
            analytics: analytics.clone(),
            store: Store::start(settings)?,
            log: Mutex::new(log),
        })))
    }

    /// The file.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Hands over each minute at its end, until the stop signal.
    pub async fn run(self: Arc<Self>, stop: Shutdown) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = stop.requested() => return,
                _ = looks.tick() => {}
            }
            let history = self.clone();
            // Reading many rows takes milliseconds, which the control plane has better use for.
            let turn = tokio::task::spawn_blocking(move || history.turn(now_ms()));
            if let Err(error) = turn.await {
                tracing::error!(%error, "a minute of history was not taken");
            }
        }
    }

    fn turn(&self, now_ms: u64) {
        let mut log = self.log.lock();
        if let Some(minute) = log.turn(now_ms) {
            let rows = log.look(&self.analytics.readings());
            self.store.write(Minute { minute, rows });
        }
    }

    /// Writes the minute that runs, when nobody is served any more, and closes the file. Waits for the disk some seconds.
    pub fn finish(&self) {
        self.turn(now_ms());
        let minute = {
            let mut log = self.log.lock();
            Minute {
                minute: log.open(),
                rows: log.look(&self.analytics.readings()),
            }
        };
        self.store.write(minute);
        if !self.store.finish(FINISH_MAX) {
            tracing::warn!(path = %self.store.path().display(), "the disk is slow: the last minute of history may be lost");
        }
    }
}

/// The system's clock, which may be set: minutes of different runs of the process belong to one time.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
