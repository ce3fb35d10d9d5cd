//! The binary log as positions and table changes, and the strict gate on it. Never changes data.
//!
//! `stream` reads the log, `decode` turns its bytes into events, `transaction` gathers them into touched tables, `changes` remembers
//! them, `barrier` asks the server where the log ends, `gate` decides. Without a usable log every question is answered
//! `Unavailable` with a named reason, and the rest of the proxy works on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::backend::control::Control;
use crate::config::Config;
use crate::shutdown::Shutdown;
use barrier::Answer;
use catalog::Catalog;
use line::Line;

mod barrier;
mod catalog;
mod facts;
mod monitor;
#[cfg(test)]
mod simulation;
mod stream;

pub mod changes;
pub mod decode;
pub mod gate;
pub mod line;
pub mod position;
pub mod reader;
pub mod statement;
pub mod transaction;

pub use changes::{Change, ChangeLog, Touch, Watched};
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
    /// Callers that may wait for a barrier at a time.
    pub waiters_max: usize,
}

impl BinlogSettings {
    /// From section `[binlog]` of the configuration.
    pub fn from_config(config: &Config) -> Self {
        let ms = Duration::from_millis;
        Self {
            enabled: config.binlog.enabled,
            server_id: config.binlog.server_id,
            reconnect: ms(config.binlog.reconnect_ms),
            silence_max: ms(config.binlog.silence_ms_max),
            heartbeat: ms(config.binlog.heartbeat_ms),
            ..Self::default()
        }
    }
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
            waiters_max: 100_000,
        }
    }
}

/// Why nothing can be certified just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unavailable {
    /// A client writes past the log (`sql_log_bin=0`).
    UnloggedWriter,
    /// No server takes the writes, or several: whose log would count?
    NoWriter,
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
    /// What the server applies from a source is not in its own log, or may become visible in another order.
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
            Self::UnloggedWriter => "binlog_unlogged_writer",
            Self::NoWriter => "binlog_no_writer",
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

impl Unavailable {
    fn of_precondition(name: &str) -> Self {
        match name {
            "log_bin" => Self::LogOff,
            "gtid_mode" => Self::GtidOff,
            "binlog_format" => Self::FormatNotRow,
            "binlog_order_commits" => Self::CommitOrderOff,
            _ => Self::ReplicaOrderOff,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    epoch: u64,
    position: Position,
}

/// The server whose log is read, as found when the stream connected.
#[derive(Debug)]
struct Server {
    /// The turn of the control plane in which it was reached: in another one the writer is another server.
    turn: u64,
    uuid: String,
    base: String,
    status_sql: &'static str,
    checksum: bool,
    exact_names: bool,
}

/// Whether the log can be used.
#[derive(Clone)]
enum State {
    Down { reason: Unavailable, detail: String },
    Up(Arc<Server>),
}

#[derive(Default)]
struct Counters {
    events: AtomicU64,
    bytes: AtomicU64,
    transactions: AtomicU64,
    reconnects: AtomicU64,
    barriers: AtomicU64,
    barrier_waiters: AtomicU64,
    barrier_us: AtomicU64,
    /// Microseconds plus one; 0: never measured.
    lag_us: AtomicU64,
}

/// A request to give up the current stream, with its reason.
#[derive(Default)]
struct Kicks {
    reason: Mutex<Option<&'static str>>,
    arrived: Notify,
}

impl Kicks {
    fn take(&self) -> Option<&'static str> {
        self.reason.lock().take()
    }

    async fn wait(&self) -> &'static str {
        loop {
            let arrived = self.arrived.notified();
            if let Some(reason) = self.take() {
                return reason;
            }
            arrived.await;
        }
    }
}

/// Handle on the log: share it as `Arc<Binlog>`; every method may be called from any runtime.
pub struct Binlog {
    settings: BinlogSettings,
    control: Option<Arc<Control>>,
    server_id: u32,
    replica_uuid: String,
    log: RwLock<ChangeLog>,
    mark: watch::Sender<Mark>,
    state: RwLock<State>,
    line: Line<(), Result<Answer, GateError>>,
    catalog: Catalog,
    counters: Counters,
    kicks: Kicks,
    /// Sessions that write past the log.
    unlogged: AtomicUsize,
    /// There is no server whose log would count.
    leaderless: AtomicBool,
}

impl Binlog {
    /// Starts the stream, the barrier and the monitor on the runtime of the caller. Connects in the background: a backend
    /// that is down, is MariaDB or refuses only makes the log `Unavailable`, and is tried again.
    pub fn start(control: Arc<Control>, settings: BinlogSettings, stop: &Shutdown) -> Arc<Self> {
        if !settings.enabled {
            return Self::unavailable(Unavailable::Disabled);
        }
        let binlog = Arc::new(Self::new(settings, Some(control), Unavailable::Starting));
        tokio::spawn(stream::run(binlog.clone(), stop.clone()));
        tokio::spawn(barrier::serve(binlog.clone(), stop.clone()));
        tokio::spawn(monitor::run(binlog.clone(), stop.clone()));
        binlog
    }

    /// A handle for which everything is unavailable for `reason`.
    pub fn unavailable(reason: Unavailable) -> Arc<Self> {
        Arc::new(Self::new(BinlogSettings::default(), None, reason))
    }

    fn new(settings: BinlogSettings, control: Option<Arc<Control>>, reason: Unavailable) -> Self {
        let random: u128 = rand::random();
        // High numbers are nobody's; a server with a low one is an operator's.
        let server_id = match settings.server_id {
            0 => 0x7000_0000 | (random as u32 & 0x0FFF_FFFF),
            id => id,
        };
        let hex = format!("{random:032x}");
        let groups = [
            hex.get(..8),
            hex.get(8..12),
            hex.get(12..16),
            hex.get(16..20),
            hex.get(20..),
        ];
        Self {
            server_id,
            replica_uuid: groups.map(Option::unwrap_or_default).join("-"),
            log: RwLock::new(ChangeLog::new(settings.tables_max)),
            mark: watch::Sender::new(Mark::default()),
            state: RwLock::new(State::Down {
                reason,
                detail: String::new(),
            }),
            line: Line::new(settings.waiters_max),
            catalog: Catalog::new(settings.tables_max),
            counters: Counters::default(),
            kicks: Kicks::default(),
            unlogged: AtomicUsize::new(0),
            leaderless: AtomicBool::new(false),
            control,
            settings,
        }
    }

    /// Whether answers can be certified now.
    ///
    /// # Errors
    /// The reason why not.
    pub fn available(&self) -> Result<(), Unavailable> {
        if self.unlogged.load(SeqCst) > 0 {
            return Err(Unavailable::UnloggedWriter);
        }
        if self.leaderless.load(SeqCst) {
            return Err(Unavailable::NoWriter);
        }
        self.server().map(drop)
    }

    /// Whether it is decided if the log can be followed: it is, or something that will last keeps us from it.
    pub fn is_settled(&self) -> bool {
        !matches!(
            self.available(),
            Err(Unavailable::Starting
                | Unavailable::Settling
                | Unavailable::Unreachable
                | Unavailable::Silent
                | Unavailable::Reconnecting)
        )
    }

    /// The last change of a table that the stream has recorded; `None` before the stream started.
    pub fn last_change(&self, table: &TableKey) -> Option<Change> {
        let log = self.log.read();
        (log.epoch() > 0).then(|| log.last_change(table).clone())
    }

    /// The last position at which the definition of a table may have changed; `None` before the stream started.
    pub fn last_definition(&self, table: &TableKey) -> Option<Position> {
        let log = self.log.read();
        (log.epoch() > 0).then(|| log.last_definition(table))
    }

    /// Everything up to here has been recorded; positions compare within `epoch()` only.
    pub fn processed(&self) -> Position {
        self.log.read().processed()
    }

    /// Moves whenever continuity was lost: what was certified in another epoch is void.
    pub fn epoch(&self) -> u64 {
        self.log.read().epoch()
    }

    /// Moves whenever users, roles or privileges may have changed.
    pub fn grant_epoch(&self) -> u64 {
        self.log.read().grant_epoch()
    }

    /// `@@server_uuid` of the server whose log is read, while it is. A result may be certified only if it came from this server.
    pub fn server_uuid(&self) -> Option<String> {
        self.server().ok().map(|server| server.uuid.clone())
    }

    /// Whether the log that is read now is that of another server than the one with this `@@server_uuid`.
    pub fn is_of_another(&self, server_uuid: Option<&str>) -> bool {
        let server = self.server();
        server.is_ok_and(|server| server_uuid != Some(server.uuid.as_str()))
    }

    /// For the admin table `binlog`.
    pub fn snapshot(&self) -> BinlogSnapshot {
        let state = match (self.available(), self.state.read().clone()) {
            // Why it cannot be used, whether it is followed or not.
            (Err(reason), State::Down { detail, .. }) => State::Down { reason, detail },
            (Err(reason), State::Up(_)) => State::Down {
                reason,
                detail: String::new(),
            },
            (_, state) => state,
        };
        let (state, detail, server) = match state {
            State::Up(server) => ("running", String::new(), Some(server)),
            State::Down { reason, detail } => (reason.label(), detail, None),
        };
        let counters = &self.counters;
        let lag_us = counters.lag_us.load(Relaxed);
        let log = self.log.read();
        let position = (log.epoch() > 0).then(|| log.processed());
        BinlogSnapshot {
            state,
            detail,
            server_uuid: server.as_ref().map(|s| s.uuid.clone()),
            file: server
                .as_ref()
                .zip(position)
                .map(|(s, p)| format!("{}.{:06}", s.base, p.file)),
            position,
            gtid: log.last_commit().and_then(|c| c.gtid.clone()),
            events: counters.events.load(Relaxed),
            transactions: counters.transactions.load(Relaxed),
            bytes: counters.bytes.load(Relaxed),
            lag_ms: (lag_us > 0).then(|| (lag_us - 1) as f64 / 1000.0),
            reconnects: counters.reconnects.load(Relaxed),
            epoch: log.epoch(),
            grant_epoch: log.grant_epoch(),
            tables: log.tables(),
            barriers: counters.barriers.load(Relaxed),
            barrier_waiters: counters.barrier_waiters.load(Relaxed),
            barrier_us: counters.barrier_us.load(Relaxed),
        }
    }

    fn with_log<T>(&self, f: impl FnOnce(&ChangeLog) -> T) -> T {
        f(&self.log.read())
    }

    fn server(&self) -> Result<Arc<Server>, Unavailable> {
        match &*self.state.read() {
            State::Up(server) if self.is_current(server) => Ok(server.clone()),
            State::Up(_) => Err(Unavailable::Reconnecting),
            State::Down { reason, .. } => Err(*reason),
        }
    }

    /// Whether this is the server that the control plane works with now.
    fn is_current(&self, server: &Server) -> bool {
        let control = self.control.as_ref();
        control.is_none_or(|control| control.turn() == server.turn)
    }

    /// No server takes the writes from now on, or several do: nothing is certified until there is one again.
    pub fn writer_lost(&self) {
        self.leaderless.store(true, SeqCst);
    }

    /// One server takes the writes. `is_other`: the control plane was turned to it just now, and the log followed so far is that of
    /// another.
    pub fn writer_found(&self, is_other: bool) {
        if is_other {
            self.kick("the writer is another server");
        }
        self.leaderless.store(false, SeqCst);
    }

    fn set_up(&self, server: &Arc<Server>) {
        let same = matches!(&*self.state.read(), State::Up(now) if Arc::ptr_eq(now, server));
        if !same {
            *self.state.write() = State::Up(server.clone());
        }
    }

    fn set_down(&self, reason: Unavailable, detail: &str) {
        *self.state.write() = State::Down {
            reason,
            detail: detail.to_owned(),
        };
    }

    /// A session writes past the log from now on: nothing can be certified until it ends, and then everything from before is void.
    pub fn unlogged_begins(&self) {
        self.unlogged.fetch_add(1, SeqCst);
    }

    /// Such a session writes into the log again, or is gone.
    pub fn unlogged_ends(&self) {
        // Down first: between the two nobody may believe what is known.
        self.kick("a client wrote past the log");
        self.unlogged.fetch_sub(1, SeqCst);
    }

    /// Closes the gates and makes the stream begin anew: what it read before cannot be trusted to continue.
    fn kick(&self, reason: &'static str) {
        self.set_down(Unavailable::Reconnecting, reason);
        *self.kicks.reason.lock() = Some(reason);
        self.kicks.arrived.notify_one();
    }

    /// A status call issued after now.
    async fn ask(&self, deadline: Instant) -> Result<Answer, GateError> {
        self.available().map_err(GateError::Unavailable)?;
        let answer = self.line.join(()).map_err(|_| GateError::Overload)?;
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(GateError::BarrierFailed("stopped".into())),
            Err(_) => Err(GateError::BarrierLate),
        }
    }

    /// Waits until `position` of `epoch` is processed.
    async fn reached(
        &self,
        position: Position,
        epoch: u64,
        deadline: Instant,
    ) -> Result<(), GateError> {
        let there = |mark: &Mark| mark.epoch != epoch || mark.position >= position;
        let mark = *self.mark.borrow();
        let mark = if there(&mark) {
            mark
        } else {
            let mut marks = self.mark.subscribe();
            match tokio::time::timeout_at(deadline, marks.wait_for(there)).await {
                Ok(Ok(mark)) => *mark,
                Ok(Err(_)) => return Err(GateError::Unavailable(Unavailable::Reconnecting)),
                Err(_) => return Err(GateError::StreamLate),
            }
        };
        if mark.epoch == epoch {
            Ok(())
        } else {
            Err(GateError::Epoch)
        }
    }
}
