//! The history file (SQLite): rows of each minute, kept for some days and up to some size. One writer thread.
//!
//! Plain rows in, plain rows out: what a row means is known above; this room adds up rows with the same key, and asks the
//! function it was given to add up their latencies. Knows no other room but config.
//!
//! ```text
//! starting --opened--> on <--a write fails / the next one works--> failing
//!     \--damaged, of a newer version, or not ours--> off, for as long as the process lives; the file is left as it is
//! ```
//! Nobody waits for the disk: minutes go through a bounded queue, and what finds no room or cannot be written is counted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;

use crate::config;

mod file;
mod reader;
mod sums;
mod writer;

pub use file::{StoreError, VERSION};
pub use sums::Sums;

/// Minutes that may wait for the writer. A disk that hangs longer loses minutes, which are counted.
const QUEUE_MINUTES_MAX: usize = 8;

/// Adds up two latency sketches, as they stand in rows. Must take any bytes: they come from a file.
pub type Merge = fn(&[u8], &[u8]) -> Vec<u8>;

/// What ran in one minute, by digest, user, app and schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Digest id; 0 for what is told apart by no digest.
    pub digest: u128,
    /// Digest text; empty when the file has none.
    pub text: Arc<str>,
    /// Kind of statement; empty when the file has none.
    pub kind: Arc<str>,
    /// User.
    pub user: Arc<str>,
    /// App.
    pub app: Arc<str>,
    /// Schema.
    pub schema: Arc<str>,
    /// What adds up.
    pub sums: Sums,
    /// Latencies, in a form that [`Merge`] adds up.
    pub latency: Vec<u8>,
}

/// Rows of one minute.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Minute {
    /// Whole minutes since 1970, UTC.
    pub minute: u64,
    /// Its rows; those with a key that the file has already are added to them.
    pub rows: Vec<Row>,
}

/// Where and how much.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// Older minutes are deleted.
    pub keep_days: u32,
    /// Room in the file; the oldest minutes are deleted when it is used up.
    pub bytes_max: u64,
    /// Adds up latencies.
    pub merge: Merge,
}

impl Settings {
    /// What the operator wrote; none when no history is wanted.
    pub fn from_config(config: &config::Config, merge: Merge) -> Option<Self> {
        Some(Self {
            path: config.history_path()?,
            keep_days: config.history.keep_days,
            bytes_max: config.history.bytes_max,
            merge,
        })
    }
}

/// How the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Not opened yet.
    #[default]
    Starting,
    /// Written once a minute.
    On,
    /// Could not be opened or written the last time; tried again every minute.
    Failing,
    /// Cannot be used as it is, and is left so.
    Off,
}

impl State {
    /// The word in tables and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::On => "on",
            Self::Failing => "failing",
            Self::Off => "off",
        }
    }
}

/// What can be told of the file without reading it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// How it is.
    pub state: State,
    /// Why it is not on; empty when it is.
    pub reason: String,
    /// Whether it was opened and may be read.
    pub is_readable: bool,
    /// Its size in bytes, without its log of changes.
    pub bytes: u64,
    /// Minutes kept.
    pub minutes: u64,
    /// The oldest minute kept, in minutes since 1970.
    pub oldest: Option<u64>,
    /// The newest minute kept.
    pub newest: Option<u64>,
    /// Minutes written since start.
    pub written: u64,
    /// Minutes that could not be kept since start.
    pub lost: u64,
    /// Readings of the file that failed since start.
    pub unread: u64,
}

/// Which rows to read.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The first minute, in minutes since 1970.
    pub from: u64,
    /// The last minute.
    pub to: u64,
    /// At most so many rows: the newest.
    pub rows_max: usize,
    /// Longest time for it.
    pub wait_max: Duration,
}

/// What the threads share.
#[derive(Debug, Default)]
struct Shared {
    /// Of this only what the writer knows; the counters below are added at reading.
    status: Mutex<Status>,
    lost: AtomicU64,
    unread: AtomicU64,
}

/// The history file. The writer thread ends when the store is finished or dropped.
#[derive(Debug)]
pub struct Store {
    settings: Settings,
    shared: Arc<Shared>,
    queue: Mutex<Option<SyncSender<Minute>>>,
    ended: Mutex<Receiver<()>>,
}

impl Store {
    /// Starts the writer, which opens the file.
    ///
    /// # Errors
    /// The system gives no thread. What is wrong with the file is in [`Store::status`] and in the log.
    pub fn start(settings: Settings) -> io::Result<Arc<Self>> {
        let shared = Arc::new(Shared::default());
        let (queue, minutes) = sync_channel(QUEUE_MINUTES_MAX);
        let (end, ended) = sync_channel(1);
        let writer = writer::Writer::new(settings.clone(), shared.clone());
        std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || {
                writer.run(&minutes);
                // Nobody listens when the wait for the end was over before.
                let _ = end.try_send(());
            })?;
        Ok(Arc::new(Self {
            settings,
            shared,
            queue: Mutex::new(Some(queue)),
            ended: Mutex::new(ended),
        }))
    }

    /// Hands a minute to the writer. Never waits: when the queue is full, the minute is lost and counted.
    pub fn write(&self, minute: Minute) {
        let queue = self.queue.lock();
        let sent = queue.as_ref().is_some_and(|to| to.try_send(minute).is_ok());
        if !sent {
            self.shared.lost.fetch_add(1, Relaxed);
        }
    }

    /// Writes what waits, closes the file and ends the writer. True when that was done within `wait_max`; what is
    /// handed in later is lost.
    pub fn finish(&self, wait_max: Duration) -> bool {
        drop(self.queue.lock().take());
        let ended = self.ended.lock().recv_timeout(wait_max);
        !matches!(ended, Err(RecvTimeoutError::Timeout))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.settings.path
    }

    /// How the file is.
    pub fn status(&self) -> Status {
        Status {
            lost: self.shared.lost.load(Relaxed),
            unread: self.shared.unread.load(Relaxed),
            ..self.shared.status.lock().clone()
        }
    }

    /// Hands rows with their minute to `take`, newest minute first. None while the file is not open. Waits for the disk.
    ///
    /// # Errors
    /// The file cannot be read, or not in time. Counted, too.
    pub fn read(&self, wanted: Wanted, take: impl FnMut(u64, &Row)) -> Result<(), StoreError> {
        if !self.shared.status.lock().is_readable {
            return Ok(());
        }
        reader::read(&self.settings.path, wanted, take).inspect_err(|_| {
            self.shared.unread.fetch_add(1, Relaxed);
        })
    }
}

#[cfg(test)]
mod tests;
