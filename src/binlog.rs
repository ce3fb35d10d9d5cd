//! The binary log as positions and table changes, and the strict gate on it. Never changes data.
//!
//! `stream` reads the log, `decode` turns its bytes into events, `transaction` gathers them into touched tables, `changes` remembers
//! them, `barrier` asks the server where the log ends, `gate` decides. Without a usable log every question is answered
//! `Unavailable` with a named reason, and the rest of the proxy works on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::Instant;

pub mod changes;
pub mod gate;
pub mod line;
pub mod position;

pub use changes::{Change, ChangeLog, Touch};
pub use gate::{FillToken, GateError};
pub use position::{Gtid, Position, TableKey};

/// What the operator may set (section `[binlog]`).
#[derive(Clone, Debug)]
pub struct BinlogSettings {
    /// Off: everything is `Unavailable::Disabled`.
    pub enabled: bool,
    /// Our id among the server's replicas; 0 = random high.
    pub server_id: u32,
    /// Wait between two attempts to connect the stream.
    pub reconnect: Duration,
    /// A stream that said nothing for so long (heartbeats count) is cut and counts as unavailable.
    pub silence_max: Duration,
    /// How often the server is asked to send a heartbeat when nothing happens.
    pub heartbeat: Duration,
    /// Tables remembered by name.
    pub tables_max: usize,
}

impl Default for BinlogSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            server_id: 0,
            reconnect: Duration::from_millis(1000),
            silence_max: Duration::from_millis(1000),
            heartbeat: Duration::from_millis(200),
            tables_max: 100_000,
        }
    }
}

/// Why nothing can be certified just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unavailable {
    /// Switched off in the configuration.
    Disabled,
    /// Not connected yet.
    Starting,
    /// Commits that were in flight at the start are not known visible yet.
    Settling,
    /// MariaDB: another log, other GTIDs.
    NotMySql,
    /// The backend cannot be reached.
    Unreachable,
    /// No REPLICATION SLAVE: the stream is refused.
    NoStreamPrivilege,
    /// No REPLICATION CLIENT: the status call is refused.
    NoStatusPrivilege,
    /// `log_bin=OFF`.
    LogOff,
    /// `gtid_mode` is not ON.
    GtidOff,
    /// `binlog_format` is not ROW.
    FormatNotRow,
    /// `binlog_order_commits=OFF`.
    CommitOrderOff,
    /// `binlog-do-db` or `binlog-ignore-db` is set.
    LogFiltered,
    /// `replica_preserve_commit_order=OFF` on a server that applies from a source.
    ReplicaOrderOff,
    /// No event and no heartbeat within `silence_max`.
    Silent,
    /// The stream broke and is not back yet.
    Reconnecting,
}

impl Unavailable {
    /// A stable word for metrics and the admin schema.
    pub fn label(self) -> &'static str {
        match self {
            Self::Disabled => "binlog_disabled",
            Self::Starting => "binlog_starting",
            Self::Settling => "binlog_settling",
            Self::NotMySql => "binlog_not_mysql",
            Self::Unreachable => "binlog_unreachable",
            Self::NoStreamPrivilege => "binlog_no_replication_slave",
            Self::NoStatusPrivilege => "binlog_no_replication_client",
            Self::LogOff => "binlog_off",
            Self::GtidOff => "binlog_gtid_mode_not_on",
            Self::FormatNotRow => "binlog_format_not_row",
            Self::CommitOrderOff => "binlog_order_commits_off",
            Self::LogFiltered => "binlog_filtered",
            Self::ReplicaOrderOff => "binlog_replica_order_off",
            Self::Silent => "binlog_silent",
            Self::Reconnecting => "binlog_reconnecting",
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One row for the admin table `binlog`.
#[derive(Clone, Debug, Default)]
pub struct BinlogSnapshot {
    /// `running`, or the label of the reason why not.
    pub state: &'static str,
    /// More words on the state, for people; empty when running.
    pub detail: String,
    /// `@@server_uuid` of the server the stream reads.
    pub server_uuid: Option<String>,
    /// The log file being read.
    pub file: Option<String>,
    /// Everything up to here has been recorded.
    pub position: Option<Position>,
    /// The last transaction recorded.
    pub gtid: Option<Gtid>,
    /// Events received since the start.
    pub events: u64,
    /// Transactions recorded since the start.
    pub transactions: u64,
    /// Bytes received since the start.
    pub bytes: u64,
    /// Last measured time from a barrier until the stream had processed it, in milliseconds.
    pub lag_ms: Option<f64>,
    /// Times the stream was connected again.
    pub reconnects: u64,
    /// Continuity number: moves when everything became invalid.
    pub epoch: u64,
    /// Privilege number: moves when users, roles or privileges may have changed.
    pub grant_epoch: u64,
    /// Tables remembered by name.
    pub tables: usize,
    /// Barrier calls made, and callers served by them.
    pub barriers: u64,
    /// Callers served by barrier calls.
    pub barrier_waiters: u64,
    /// Last time a barrier call took, in microseconds.
    pub barrier_us: u64,
}

/// What the stream has published: positions count within their epoch only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) epoch: u64,
    pub(crate) position: Position,
}

/// Handle on the log: share it as `Arc<Binlog>`; every method may be called from any runtime.
pub struct Binlog {
    log: RwLock<ChangeLog>,
    mark: watch::Sender<Mark>,
    state: RwLock<Result<(), Unavailable>>,
}

impl Binlog {
    /// A handle for which everything is unavailable for `reason`.
    pub fn unavailable(reason: Unavailable) -> Arc<Self> {
        let (mark, _) = watch::channel(Mark {
            epoch: 0,
            position: Position::default(),
        });
        Arc::new(Self {
            log: RwLock::new(ChangeLog::new(16)),
            mark,
            state: RwLock::new(Err(reason)),
        })
    }

    /// Whether answers can be certified now.
    ///
    /// # Errors
    /// The reason why not.
    pub fn available(&self) -> Result<(), Unavailable> {
        *self.state.read()
    }

    /// The last change of a table that the stream has recorded; `None` before the stream started.
    pub fn last_change(&self, table: &TableKey) -> Option<Change> {
        let log = self.log.read();
        (log.epoch() > 0).then(|| log.last_change(table).clone())
    }

    /// Moves whenever continuity was lost: what was certified in another epoch is void.
    pub fn epoch(&self) -> u64 {
        self.log.read().epoch()
    }

    /// Moves whenever users, roles or privileges may have changed.
    pub fn grant_epoch(&self) -> u64 {
        self.log.read().grant_epoch()
    }

    /// For the admin table `binlog`.
    pub fn snapshot(&self) -> BinlogSnapshot {
        let log = self.log.read();
        BinlogSnapshot {
            state: self.available().map_or_else(|r| r.label(), |()| "running"),
            epoch: log.epoch(),
            grant_epoch: log.grant_epoch(),
            tables: log.tables(),
            ..BinlogSnapshot::default()
        }
    }

    pub(crate) fn with_log<T>(&self, f: impl FnOnce(&ChangeLog) -> T) -> T {
        f(&self.log.read())
    }

    async fn barrier_until(&self, _deadline: Instant) -> Result<(Position, u64), GateError> {
        self.available().map_err(GateError::Unavailable)?;
        Err(GateError::Unavailable(Unavailable::Starting))
    }

    /// Waits until `position` of `epoch` is processed.
    async fn reached(
        &self,
        position: Position,
        epoch: u64,
        deadline: Instant,
    ) -> Result<(), GateError> {
        let mut marks = self.mark.subscribe();
        let passed = marks.wait_for(|mark| mark.epoch != epoch || mark.position >= position);
        match tokio::time::timeout_at(deadline, passed).await {
            Ok(Ok(mark)) if mark.epoch == epoch => Ok(()),
            Ok(Ok(_)) => Err(GateError::Epoch),
            Ok(Err(_)) => Err(GateError::Unavailable(Unavailable::Reconnecting)),
            Err(_) => Err(GateError::StreamLate),
        }
    }

    async fn see(
        &self,
        _epoch: u64,
        _changes: Vec<Change>,
        _deadline: Instant,
    ) -> Result<(), GateError> {
        Err(GateError::NotVisible)
    }

    async fn tracked(&self, _token: &FillToken, _deadline: Instant) -> Result<(), GateError> {
        Ok(())
    }
}
