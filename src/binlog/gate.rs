//! The strict gate: may an answer computed earlier stand for the base tables now? Says yes only when it is proven.
//!
//! # What is known of the server
//! The log is a sequence of commits. `end(c)` is where commit `c` ends in it; `S` is what the status statement
//! (`SHOW BINARY LOG STATUS`) answers; a commit is visible once read views opened from then on contain it.
//! - A1. A commit is never visible before `S` covers it (measured: 0 of 7,544; the reverse happens often).
//! - A2. A commit that is in `gtid_executed` is visible (the reverse is not true).
//! - A3. Commits become visible in log order (`binlog_order_commits=ON`), so what is visible is a prefix of the log.
//! - A4. `S` never goes back on one server run, and nothing visible ever disappears.
//! - A5. The stream hands us the whole log in order, and `processed` moves over a commit only after `ChangeLog` recorded it.
//!   Everything in `ChangeLog` errs towards "changed": what is not understood or not remembered counts as changed.
//! - A6. Positions compare only within one epoch. The epoch moves when the stream cannot prove that it continues the very
//!   log it read before, when the server restarted, and when `S` is seen below what was already processed.
//!
//! The tests hold A1 and A2 against a real server, the simulation uses A1 to A4 as its only rules.
//!
//! # Filling: `fill_start`, the query, `fill_end`
//! `fill_start` takes a barrier `P0` (a status call issued after the caller arrived), waits until the stream processed `P0`,
//! and looks at the last change `L` of the query's tables up to the position `F >= P0` processed by then. `L` must be
//! known visible (A2, or a read view seen beyond it). By A3 every relevant commit up to `F` is then visible, before the query
//! opens its read view. `fill_end` takes a barrier `P1` after the query answered, waits until the stream processed it, and
//! demands the same epoch and no relevant change in `(F, P1]`. The read view held every relevant commit up to `F`, and by A1
//! nothing beyond `P1`; between them there is none: the result is the state of the tables at every position in `[F, P1]`.
//! Without the look at `L` this is wrong: a commit below `P0` may be invisible to the read view, and the result,
//! filed as the state at `P0`, would miss it for ever. (`simulation.rs` shows that failure when the look is left out.)
//!
//! # Serving: `unchanged_since(tables, since, epoch)`
//! The answer is the state of its tables at `since`, and every relevant commit up to `since` was visible when it was made.
//! Barrier `P` is issued after the request arrived; the stream has processed `P`; no relevant change in `(since, P]`; same
//! epoch. When the request arrived, the visible relevant commits were all at or below `P` (A1), hence at or below `since`,
//! and all up to `since` were visible (A4). So the answer equals the tables as they were when the request arrived.
//! Whatever a client was told before (its own commit, another's, an earlier read) was visible or acknowledged before the
//! request, so it is below `P` and in the answer: read-your-writes and monotonic reads follow.
//! The caller compares `grant_epoch()` after this returns: it was moved before `processed` was.
//!
//! # What it does not see
//! Writers with `sql_log_bin=0` (policy forbids them); tables of engines other than InnoDB, views, and system schemas: those
//! are refused by `fill_start` (`TableNotTracked`).

use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::changes::ChangeLog;
use super::position::{Position, TableKey};
use super::{Binlog, Unavailable};

/// Longest wait of one step of a fill. A fill that does not get through is simply not cached.
const FILL_MS_MAX: u64 = 250;

/// Why the gate did not open. Every one means: ask the base tables.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GateError {
    /// The stream or a precondition is missing.
    #[error("binlog unavailable: {0}")]
    Unavailable(Unavailable),
    /// A table changed after the position.
    #[error("{table} changed at {at}")]
    Changed {
        /// Which.
        table: TableKey,
        /// Where.
        at: Position,
    },
    /// The log's continuity was lost in between.
    #[error("the log was not continuous")]
    Epoch,
    /// Users, roles or privileges changed during the fill.
    #[error("privileges changed")]
    Grants,
    /// The status call did not answer in time.
    #[error("the barrier was late")]
    BarrierLate,
    /// The status call failed.
    #[error("the barrier failed: {0}")]
    BarrierFailed(String),
    /// The stream did not reach the barrier in time.
    #[error("the stream is behind")]
    StreamLate,
    /// A commit below the barrier is not known to be visible yet.
    #[error("a commit is not visible yet")]
    NotVisible,
    /// The table cannot be followed in the log.
    #[error("{table} is not tracked: {why}")]
    TableNotTracked {
        /// Which.
        table: TableKey,
        /// A stable label: engine, view, system_schema, missing, name.
        why: &'static str,
    },
    /// Too many wait already.
    #[error("too many waiters")]
    Overload,
}

impl GateError {
    /// A stable word for metrics, `decisions` and `EXPLAIN ROUTE`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(reason) => reason.label(),
            Self::Changed { .. } => "gate_changed",
            Self::Epoch => "gate_epoch",
            Self::Grants => "gate_grants",
            Self::BarrierLate => "gate_barrier_late",
            Self::BarrierFailed(_) => "gate_barrier_failed",
            Self::StreamLate => "gate_stream_late",
            Self::NotVisible => "gate_not_visible",
            Self::TableNotTracked { .. } => "gate_table_not_tracked",
            Self::Overload => "gate_overload",
        }
    }
}

/// Proof, so far, of a fill: every relevant commit up to `position` was visible before the query began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FillToken {
    tables: Vec<TableKey>,
    position: Position,
    epoch: u64,
    grant_epoch: u64,
}

impl FillToken {
    /// The tables it speaks of.
    pub fn tables(&self) -> &[TableKey] {
        &self.tables
    }

    /// The position from which on the result will be the state of the tables.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The epoch to file the result under.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The grant epoch to file the result under.
    pub fn grant_epoch(&self) -> u64 {
        self.grant_epoch
    }
}

/// The first half of a fill, once the stream has processed the barrier: the token and the tables whose last change must be
/// shown visible before the token may be used (empty when that is known already).
pub(super) fn begin_fill(log: &ChangeLog, tables: &[TableKey]) -> (FillToken, Vec<super::Change>) {
    let unseen = tables
        .iter()
        .map(|key| log.last_change(key))
        .filter(|change| change.position > log.visible())
        .cloned()
        .collect();
    let token = FillToken {
        tables: tables.to_vec(),
        position: log.processed(),
        epoch: log.epoch(),
        grant_epoch: log.grant_epoch(),
    };
    (token, unseen)
}

/// The second half, once the stream has processed the barrier `end`.
pub(super) fn end_fill(
    log: &ChangeLog,
    token: &FillToken,
    end: Position,
) -> Result<Position, GateError> {
    if log.grant_epoch() != token.grant_epoch && log.epoch() == token.epoch {
        return Err(GateError::Grants);
    }
    unchanged(log, &token.tables, token.position, token.epoch, end)
}

/// Whether `tables` stand as they stood at `since`, once the stream has processed the barrier `end`.
pub(super) fn unchanged(
    log: &ChangeLog,
    tables: &[TableKey],
    since: Position,
    epoch: u64,
    end: Position,
) -> Result<Position, GateError> {
    if log.epoch() != epoch || epoch == 0 {
        return Err(GateError::Epoch);
    }
    if log.processed() < end {
        return Err(GateError::StreamLate);
    }
    match log.first_changed(tables, since) {
        Some((table, change)) => Err(GateError::Changed {
            table: table.clone(),
            at: change.position,
        }),
        None => Ok(end.max(since)),
    }
}

impl Binlog {
    /// Where the log ends, asked of the server after this call began. One status call serves all who came before it.
    ///
    /// # Errors
    /// Unavailable, late or failed; never hangs.
    pub async fn barrier(&self) -> Result<Position, GateError> {
        let deadline = Instant::now() + Duration::from_millis(FILL_MS_MAX);
        Ok(self.barrier_until(deadline).await?.0)
    }

    /// Waits until the stream has recorded everything up to `position`; false at the deadline or when the log's continuity was lost.
    pub async fn wait_processed(&self, position: Position, deadline: Instant) -> bool {
        let epoch = self.epoch();
        self.reached(position, epoch, deadline).await.is_ok()
    }

    /// The gate in front of an answer that is the state of `tables` at `since` in `epoch`. Waits at most `wait`.
    /// Returns the position up to which the answer is now proven: a later call may pass it as `since`.
    ///
    /// # Errors
    /// Any: ask the base tables instead.
    pub async fn unchanged_since(
        &self,
        tables: &[TableKey],
        since: Position,
        epoch: u64,
        wait: Duration,
    ) -> Result<Position, GateError> {
        // What already changed can be refused without asking the server.
        self.with_log(|log| unchanged(log, tables, since, epoch, log.processed()))?;
        let end = self.barrier_processed(Instant::now() + wait).await?;
        self.with_log(|log| unchanged(log, tables, since, epoch, end))
    }

    /// Before a query whose result is to be kept. The caller runs the query after this returns, outside any transaction.
    ///
    /// # Errors
    /// Any: run the query, but keep nothing.
    pub async fn fill_start(&self, tables: &[TableKey]) -> Result<FillToken, GateError> {
        let deadline = Instant::now() + Duration::from_millis(FILL_MS_MAX);
        self.barrier_processed(deadline).await?;
        let (token, unseen) = self.with_log(|log| begin_fill(log, tables));
        if !unseen.is_empty() {
            self.see(token.epoch, unseen, deadline).await?;
        }
        self.tracked(&token, deadline).await?;
        Ok(token)
    }

    /// After the query's last row. Returns the position for `since` of later gates; file the result under the token's epochs.
    ///
    /// # Errors
    /// Any: keep nothing.
    pub async fn fill_end(&self, token: FillToken) -> Result<Position, GateError> {
        let deadline = Instant::now() + Duration::from_millis(FILL_MS_MAX);
        let end = self.barrier_processed(deadline).await?;
        self.with_log(|log| end_fill(log, &token, end))
    }

    /// A barrier that the stream has already processed.
    async fn barrier_processed(&self, deadline: Instant) -> Result<Position, GateError> {
        let (end, epoch) = self.barrier_until(deadline).await?;
        self.reached(end, epoch, deadline).await?;
        Ok(end)
    }
}
