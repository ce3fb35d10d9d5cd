//! The strict gate: may an answer computed earlier stand for the base tables now? Says yes only when it is proven.
//!
//! # What is known of the server
//! The log is a sequence of commits. `end(c)` is where commit `c` ends in it; `S` is what the status statement
//! (`SHOW BINARY LOG STATUS`) answers; a commit is visible once read views opened from then on contain it.
//! - A1. A commit is never visible before `S` covers it (measured: 0 of 7,544; the reverse happens often).
//! - A2. A commit that is in `gtid_executed` is visible (the reverse is not true).
//! - A3. Commits become visible in log order (`binlog_order_commits=ON`), so what is visible is a prefix of the log.
//!   An XA branch counts where its XA COMMIT stands.
//! - A4. `S` never goes back on one server run, and nothing visible ever disappears.
//! - A5. The stream hands us the whole log in order, and `processed` moves over a commit only after `ChangeLog` recorded it.
//!   Everything in `ChangeLog` errs towards "changed": what is not understood or not remembered counts as changed.
//! - A6. Positions compare only within one epoch. The epoch moves when the stream cannot prove that it continues the very
//!   log it read before, when the server restarted, and when `S` is seen below what was already processed. One thing goes
//!   unseen, because a status answer carries no identity of its log: `RESET BINARY LOGS AND GTIDS` after which the new log,
//!   at the first status call and before the server ends the old dump, ends exactly where the stream stood in the old one.
//!
//! The end-to-end tests hold A1 to A3 against a real server, also for XA; the simulation has A1 to A4 as its only rules.
//!
//! # Filling: `fill_start`, the query, `fill_end`
//! `fill_start` looks at the last change `L` of the query's tables up to the position `F` that the stream has processed (a
//! barrier before that only keeps commits already there from spoiling the fill at its end). `L` must be known visible: its
//! GTID is in `gtid_executed` (A2), or a later one was. By A3 every relevant commit up to `F` is then visible, before the query
//! opens its read view. At the start of an epoch no GTIDs are known; then everything up to there counts as visible once each
//! GTID that was owned at that time is owned no more (`stream::settle`).
//!
//! `fill_end` takes a barrier `P1` after the query answered, waits until the stream processed it, and demands the same epoch
//! and no relevant change in `(F, P1]`. The read view held every relevant commit up to `F`, and by A1 nothing beyond `P1`;
//! between them there is none: the result is the state of the tables at every position in `[F, P1]`.
//! Without the look at `L` this is wrong: a commit below `F` may be invisible to the read view, and the result, filed as the
//! state at `F`, would miss it for ever. (`simulation.rs` shows that failure when the look is left out.)
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
//! # Foreign keys
//! A cascade that InnoDB does by itself leaves no trace of the child's rows (before 9.6, or with `innodb_native_foreign_keys`).
//! Rows events say whether cascades were logged. The first fill of a table finds its ancestors by cascading keys; a change of
//! an ancestor whose event does not say so counts as a change of the table. The ancestors are asked for again after any
//! definition among them changed, and after those changes are seen visible.
//!
//! # What it does not see
//! Writers with `sql_log_bin=0` (policy forbids them). Tables of engines other than InnoDB, views, system schemas and tables
//! loaded into a secondary engine are refused by `fill_start` (`TableNotTracked`). A result must come from the server whose
//! log is read: `server_uuid()` says which one that is.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use thiserror::Error;
use tokio::time::Instant;

use super::barrier::set_contains;
use super::catalog::{Described, FAMILY_MAX, Family, describe, refused_by_name};
use super::changes::{Change, ChangeLog, Watched};
use super::position::{Position, TableKey};
use super::{Binlog, Unavailable};

/// Longest wait of one step of a fill, and of a bare barrier. A fill that does not get through is simply not kept.
const STEP_MS_MAX: u64 = 250;
/// First pause between two looks at what is visible; doubles.
const SEE_US_MIN: u64 = 200;

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
        /// A stable label: engine, view, system_schema, missing, name, unreadable ..
        why: &'static str,
    },
    /// Too many wait already.
    #[error("too many waiters")]
    Overload,
}

impl GateError {
    /// Whether the next attempt may well succeed although nothing was changed: it says nothing about the table.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::TableNotTracked { why, .. } => {
                matches!(*why, "unreadable" | "slow" | "other_server")
            }
            _ => true,
        }
    }

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
    watched: Vec<Watched>,
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

/// The first half of a fill: the token, and the changes that must be shown visible before it may be used.
pub(super) fn begin_fill(log: &ChangeLog, watched: Vec<Watched>) -> (FillToken, Vec<Change>) {
    let unseen = watched
        .iter()
        .map(|table| log.last_watched(table))
        .filter(|change| change.position > log.visible())
        .cloned()
        .collect();
    let readers = watched.iter().filter(|table| !table.ancestor);
    let token = FillToken {
        tables: readers.map(|table| table.key.clone()).collect(),
        watched,
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
    unchanged(log, &token.watched, token.position, token.epoch, end)
}

/// Whether the tables stand as they stood at `since`, once the stream has processed the barrier `end`.
pub(super) fn unchanged(
    log: &ChangeLog,
    watched: &[Watched],
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
    match log.first_changed(watched, since) {
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
        let answer = self.ask(Instant::now() + step_max()).await?;
        Ok(answer.status.position)
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
        self.available().map_err(GateError::Unavailable)?;
        let deadline = Instant::now() + wait;
        let watched = match self.known_families(tables) {
            Some(watched) => watched,
            None => {
                // Without a family nothing is known of ancestors; a change since then is found more cheaply first.
                let plain = plain(tables);
                self.with_log(|log| unchanged(log, &plain, since, epoch, log.processed()))?;
                self.watch(tables, deadline).await?
            }
        };
        // What already changed can be refused without asking the server.
        self.with_log(|log| unchanged(log, &watched, since, epoch, log.processed()))?;
        let end = self.barrier_processed(deadline).await?;
        self.with_log(|log| unchanged(log, &watched, since, epoch, end))
    }

    /// Before a query whose result is to be kept. The caller runs the query after this returns, outside any transaction.
    ///
    /// # Errors
    /// Any: run the query, but keep nothing.
    pub async fn fill_start(&self, tables: &[TableKey]) -> Result<FillToken, GateError> {
        self.available().map_err(GateError::Unavailable)?;
        let deadline = Instant::now() + step_max();
        // Not needed for the proof: it only keeps a commit that is already there from spoiling the fill at its end.
        self.barrier_processed(deadline).await?;
        let watched = match self.known_families(tables) {
            Some(watched) => watched,
            None => self.watch(tables, deadline).await?,
        };
        let (token, unseen) = self.with_log(|log| begin_fill(log, watched));
        self.see(token.epoch, &unseen, deadline).await?;
        Ok(token)
    }

    /// After the query's last row. Returns the position for `since` of later gates; file the result under the token's epochs.
    ///
    /// # Errors
    /// Any: keep nothing.
    pub async fn fill_end(&self, token: FillToken) -> Result<Position, GateError> {
        let deadline = Instant::now() + step_max();
        let end = self.barrier_processed(deadline).await?;
        self.with_log(|log| end_fill(log, &token, end))
    }

    /// A barrier that the stream has already processed.
    async fn barrier_processed(&self, deadline: Instant) -> Result<Position, GateError> {
        let answer = self.ask(deadline).await?;
        let end = answer.status.position;
        self.reached(end, answer.epoch, deadline).await?;
        Ok(end)
    }

    /// A place in the log such that what the server says of `table` from now on tells of every change of it up to there, and the
    /// epoch of that place.
    ///
    /// # Errors
    /// Late, or the log is not available: ask the server later.
    pub async fn seen(&self, table: &TableKey) -> Result<(u64, Position), GateError> {
        let deadline = Instant::now() + step_max();
        let (at, epoch, last) =
            self.with_log(|log| (log.processed(), log.epoch(), log.last_change(table).clone()));
        self.see(epoch, &[last], deadline).await?;
        Ok((epoch, at))
    }

    /// Waits until every one of `changes` is known visible.
    async fn see(
        &self,
        epoch: u64,
        changes: &[Change],
        deadline: Instant,
    ) -> Result<(), GateError> {
        let mut pause = Duration::from_micros(SEE_US_MIN);
        loop {
            let visible = self.with_log(ChangeLog::visible);
            if changes.iter().all(|c| c.position <= visible) {
                return Ok(());
            }
            let answer = self.ask(deadline).await?;
            if answer.epoch != epoch {
                return Err(GateError::Epoch);
            }
            for change in changes.iter().filter(|c| c.position > visible) {
                let executed = &answer.status.executed;
                if change
                    .gtid
                    .as_ref()
                    .is_some_and(|g| set_contains(executed, g))
                {
                    self.log.write().saw_visible(epoch, change.position);
                }
            }
            if Instant::now() + pause >= deadline {
                return Err(GateError::NotVisible);
            }
            if self.with_log(|log| changes.iter().any(|c| c.position > log.visible())) {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }

    /// The tables to watch for a query on `tables`, when all of them are known.
    fn known_families(&self, tables: &[TableKey]) -> Option<Vec<Watched>> {
        let log = self.log.read();
        let mut watched = Vec::with_capacity(tables.len());
        for key in tables {
            watched.extend_from_slice(&self.catalog.family(&log, key)?);
        }
        Some(watched)
    }

    /// The same, asking the server for those that are not known.
    async fn watch(
        &self,
        tables: &[TableKey],
        deadline: Instant,
    ) -> Result<Vec<Watched>, GateError> {
        let mut watched = Vec::with_capacity(tables.len());
        for key in tables {
            let known = self.with_log(|log| self.catalog.family(log, key));
            let family = match known {
                Some(family) => family,
                None => {
                    match tokio::time::timeout_at(deadline, self.explore(key, deadline)).await {
                        Ok(family) => family?,
                        Err(_) => return Err(not_tracked(key, "slow")),
                    }
                }
            };
            watched.extend_from_slice(&family);
        }
        Ok(watched)
    }

    /// Asks the server for a table and its ancestors. What it answers holds from the position noted before: every definition
    /// up to there is seen visible before the question.
    async fn explore(&self, key: &TableKey, deadline: Instant) -> Result<Family, GateError> {
        let server = self.server().map_err(GateError::Unavailable)?;
        let Some(control) = &self.control else {
            return Err(GateError::Unavailable(Unavailable::Disabled));
        };
        let unreadable = |_| not_tracked(key, "unreadable");
        let mut conn = control
            .conn()
            .await
            .map_err(|_| not_tracked(key, "unreadable"))?;
        let uuid = conn.query_first("SELECT @@server_uuid").await;
        if uuid.map_err(unreadable)? != Some(server.uuid.clone()) {
            return Err(not_tracked(key, "other_server"));
        }
        let (at, epoch) = self.with_log(|log| (log.processed(), log.epoch()));
        let mut family = vec![Watched {
            key: key.clone(),
            ancestor: false,
        }];
        let mut next = 0;
        while let Some(member) = family.get(next).cloned() {
            next += 1;
            if let Some(why) = refused_by_name(&member.key) {
                return Err(not_tracked(key, why));
            }
            let last = self.with_log(|log| log.last_change(&member.key).clone());
            self.see(epoch, &[last], deadline).await?;
            let described = describe(&mut conn, &member.key, server.exact_names).await;
            match described.map_err(unreadable)? {
                Described::Untracked(_) if member.ancestor => {
                    return Err(not_tracked(key, "foreign_key"));
                }
                Described::Untracked(why) => return Err(not_tracked(key, why)),
                Described::Tracked(parents) => {
                    for parent in parents {
                        if !family.iter().any(|m| m.key == parent) {
                            family.push(Watched {
                                key: parent,
                                ancestor: true,
                            });
                        }
                    }
                }
            }
            if family.len() > FAMILY_MAX {
                return Err(not_tracked(key, "foreign_key"));
            }
        }
        let family: Family = family.into();
        self.catalog.insert(key.clone(), family.clone(), at, epoch);
        Ok(family)
    }
}

fn step_max() -> Duration {
    Duration::from_millis(STEP_MS_MAX)
}

fn plain(tables: &[TableKey]) -> Vec<Watched> {
    let plain = tables.iter().map(|key| Watched {
        key: key.clone(),
        ancestor: false,
    });
    plain.collect()
}

fn not_tracked(table: &TableKey, why: &'static str) -> GateError {
    GateError::TableNotTracked {
        table: table.clone(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::super::changes::Touch;
    use super::*;

    #[tokio::test]
    async fn nothing_is_asked_of_a_table_before_its_last_change_is_known_visible() {
        let binlog = Binlog::unavailable(Unavailable::Disabled);
        let (table, other) = (TableKey::new("d", "t"), TableKey::new("d", "u"));
        let (begin, defined) = (Position::new(1, 100), Position::new(1, 200));
        let touch = Touch {
            definitions: vec![table.clone()],
            ..Touch::default()
        };
        let epoch = {
            let mut log = binlog.log.write();
            log.begin(begin);
            let epoch = log.epoch();
            log.saw_visible(epoch, begin);
            log.apply(defined, None, &touch);
            epoch
        };
        assert_eq!(binlog.seen(&other).await, Ok((epoch, defined)));
        assert!(binlog.seen(&table).await.is_err());
        binlog.log.write().saw_visible(epoch, defined);
        assert_eq!(binlog.seen(&table).await, Ok((epoch, defined)));
    }
}
