//! Which statements the cache takes: by the operator's rule, or because they are dear and come back. One function gives the
//! verdict and its reason together. Knows nothing of transactions: the router does not ask in one.

use std::collections::HashSet;

use super::Settings;
use super::key::Request;
use super::worth::Worth;
use crate::binlog::TableKey;
use crate::sql::{DigestId, Kind, Statement, Uncacheable};

/// Why a statement is not answered from the cache, or its answer not kept. The labels are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skip {
    /// Switched off in the configuration.
    Disabled,
    /// The statement itself forbids it.
    Statement(Uncacheable),
    /// The user stands in `cache.users_exclude`.
    UserExcluded,
    /// Not chosen by a rule, and `cache.auto` is off.
    NotChosen,
    /// Not chosen by a rule, and its mean time is below `cache.auto_mean_ms_min`, or not known yet.
    TooCheap,
    /// Not chosen by a rule, and the same question came less than `cache.auto_repeat_min` times lately.
    TooRare,
    /// Kept answers of this digest were of no use lately.
    BackOff,
    /// A table without a schema, and the session has none.
    NoSchema,
    /// The isolation level or autocommit of the session does not allow shared answers.
    Isolation,
    /// A secondary engine may answer, and it is not known to be at one position of the log.
    SecondaryEngine,
    /// The binary log cannot prove anything now; its label.
    Unavailable(&'static str),
    /// The strict gate did not open in time, or failed; its label.
    Gate(&'static str),
    /// Another client was fetching the same result and did not come back within `cache.fill_wait_ms_max`.
    FillWait,
    /// Too many results are being fetched already.
    FillsFull,
}

impl Skip {
    /// The stable word for metrics and admin tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::Disabled => "cache_disabled",
            Self::Statement(reason) => reason.label(),
            Self::UserExcluded => "user_excluded",
            Self::NotChosen => "not_chosen",
            Self::TooCheap => "too_cheap",
            Self::TooRare => "too_rare",
            Self::BackOff => "back_off",
            Self::NoSchema => "no_schema",
            Self::Isolation => "isolation",
            Self::SecondaryEngine => "secondary_engine",
            Self::Unavailable(label) | Self::Gate(label) => label,
            Self::FillWait => "fill_wait",
            Self::FillsFull => "fills_full",
        }
    }
}

/// The operator's choices, ready to look up.
#[derive(Debug)]
pub(super) struct Rules {
    digests: HashSet<DigestId>,
    tables: HashSet<TableKey>,
    users_exclude: HashSet<String>,
    auto: bool,
    auto_mean_us_min: u64,
    auto_repeat_min: u32,
}

impl Rules {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            digests: settings.digests.iter().copied().collect(),
            tables: settings.tables.iter().cloned().collect(),
            users_exclude: settings.users_exclude.iter().cloned().collect(),
            auto: settings.auto,
            auto_mean_us_min: settings.auto_mean.as_micros().min(u128::from(u64::MAX)) as u64,
            auto_repeat_min: settings.auto_repeat_min,
        }
    }

    /// What can be said of a statement without its session. `chosen`: by a query rule.
    pub(super) fn may_take(
        &self,
        statement: &Statement,
        chosen: bool,
        worth: &Worth,
    ) -> Result<(), Skip> {
        statement.cacheable.map_err(Skip::Statement)?;
        if statement.kind != Kind::Select || !statement.is_plain_read() {
            return Err(Skip::Statement(Uncacheable::NotQuery));
        }
        if self.tables.is_empty() && !chosen && !self.digests.contains(&statement.id) {
            self.dear_enough(statement.id, worth)?;
        }
        Ok(())
    }

    /// The tables of a request that the cache takes, or why it does not. `counts`: note this appearance of the question.
    pub(super) fn judge(
        &self,
        request: &Request<'_>,
        worth: &Worth,
        minute: u16,
        counts: bool,
    ) -> Result<Vec<TableKey>, Skip> {
        let statement = request.statement;
        // What most statements fail at comes first: they are cheap, and this is their only cost here.
        self.may_take(statement, request.is_chosen, worth)?;
        let by_digest = request.is_chosen || self.digests.contains(&statement.id);
        if self.users_exclude.contains(account_name(&request.env.user)) {
            return Err(Skip::UserExcluded);
        }
        let tables = tables(request)?;
        let by_rule = by_digest || tables.iter().all(|table| self.tables.contains(table));
        if !by_rule {
            self.dear_enough(statement.id, worth)?;
        }
        environment(request)?;
        if by_rule {
            return Ok(tables);
        }
        let hash = request.hash();
        let appearances = match counts {
            true => worth.count(hash, minute),
            false => worth.appearances(hash, minute),
        };
        match appearances >= self.auto_repeat_min {
            true => Ok(tables),
            false => Err(Skip::TooRare),
        }
    }

    fn dear_enough(&self, digest: DigestId, worth: &Worth) -> Result<(), Skip> {
        if !self.auto {
            return Err(Skip::NotChosen);
        }
        match worth.mean_us(digest) {
            Some(mean) if mean >= self.auto_mean_us_min => Ok(()),
            _ => Err(Skip::TooCheap),
        }
    }

    /// True if a rule of the operator chose it: then past uselessness does not count.
    pub(super) fn is_chosen(&self, digest: DigestId, tables: &[TableKey]) -> bool {
        self.digests.contains(&digest) || tables.iter().all(|table| self.tables.contains(table))
    }
}

/// The user of `user@host`. A user name may hold an `@`, a host may not.
fn account_name(account: &str) -> &str {
    account.rsplit_once('@').map_or(account, |(user, _)| user)
}

/// The tables with their schemas. Aliases of one table count once.
fn tables(request: &Request<'_>) -> Result<Vec<TableKey>, Skip> {
    let mut tables = Vec::with_capacity(request.statement.reads.len());
    for table in &request.statement.reads {
        let schema = table.schema.as_ref().or(request.env.schema.as_ref());
        let key = TableKey::new(schema.ok_or(Skip::NoSchema)?, &table.name);
        if !tables.contains(&key) {
            tables.push(key);
        }
    }
    match tables.is_empty() {
        true => Err(Skip::Statement(Uncacheable::NoTable)),
        false => Ok(tables),
    }
}

/// READ UNCOMMITTED sees what may never be; under SERIALIZABLE and without autocommit a read is part of a transaction.
fn environment(request: &Request<'_>) -> Result<(), Skip> {
    let isolation = request.env.variable("transaction_isolation");
    if !matches!(isolation, Some("REPEATABLE-READ" | "READ-COMMITTED")) {
        return Err(Skip::Isolation);
    }
    match request.env.variable("autocommit") {
        Some("1" | "ON") => Ok(()),
        _ => Err(Skip::Isolation),
    }
}
