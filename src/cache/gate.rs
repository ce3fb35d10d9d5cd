//! What the cache needs of the binary log: proof that an answer may be kept, and that a kept one still holds.
//! A trait, so that the cache's own logic can be simulated over an abstract log; in service it is always [`Binlog`].

use std::future::Future;
use std::time::Duration;

use crate::binlog::{Binlog, FillToken, GateError, Position, TableKey};

/// Where and under which numbers a result is filed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filed {
    /// The result is the state of its tables here.
    pub position: Position,
    /// Positions compare within this epoch only.
    pub epoch: u64,
    /// Privileges as of this number.
    pub grant_epoch: u64,
}

/// The strict gate. The contract is that of [`Binlog`]'s methods of the same names.
pub trait Gate: Send + Sync + 'static {
    /// Proof, so far, of a fill.
    type Token: std::fmt::Debug + Send + 'static;

    /// The label of the reason why nothing can be proven now.
    fn available(&self) -> Result<(), &'static str>;

    /// Moves when continuity is lost.
    fn epoch(&self) -> u64;

    /// Moves when privileges may have changed.
    fn grant_epoch(&self) -> u64;

    /// The last known change of a table.
    fn last_change(&self, table: &TableKey) -> Option<Position>;

    /// Whether `tables` are as they were at `since`, asked of the server after this call began.
    fn unchanged_since(
        &self,
        tables: &[TableKey],
        since: Position,
        epoch: u64,
        wait: Duration,
    ) -> impl Future<Output = Result<Position, GateError>> + Send;

    /// Before a query whose result is to be kept.
    fn fill_start(
        &self,
        tables: &[TableKey],
    ) -> impl Future<Output = Result<Self::Token, GateError>> + Send;

    /// After its last row.
    fn fill_end(&self, token: Self::Token)
    -> impl Future<Output = Result<Filed, GateError>> + Send;
}

impl Gate for Binlog {
    type Token = FillToken;

    fn available(&self) -> Result<(), &'static str> {
        Binlog::available(self).map_err(|reason| reason.label())
    }

    fn epoch(&self) -> u64 {
        Binlog::epoch(self)
    }

    fn grant_epoch(&self) -> u64 {
        Binlog::grant_epoch(self)
    }

    fn last_change(&self, table: &TableKey) -> Option<Position> {
        Binlog::last_change(self, table).map(|change| change.position)
    }

    async fn unchanged_since(
        &self,
        tables: &[TableKey],
        since: Position,
        epoch: u64,
        wait: Duration,
    ) -> Result<Position, GateError> {
        Binlog::unchanged_since(self, tables, since, epoch, wait).await
    }

    async fn fill_start(&self, tables: &[TableKey]) -> Result<FillToken, GateError> {
        Binlog::fill_start(self, tables).await
    }

    async fn fill_end(&self, token: FillToken) -> Result<Filed, GateError> {
        let (epoch, grant_epoch) = (token.epoch(), token.grant_epoch());
        let position = Binlog::fill_end(self, token).await?;
        Ok(Filed {
            position,
            epoch,
            grant_epoch,
        })
    }
}
