//! Transactions as the status bits show them: duration, statements, idle time, outcome. Never asks the server.
//!
//! Bit 0x1 of every result says whether a transaction is open, and it alone is believed: the server's transaction
//! tracker loses the transaction after `CREATE TEMPORARY TABLE`. What the statement was only names the outcome.
//!
//! ```text
//!            bit 0 -> 1                      bit 1 -> 0, error 1213, connection lost
//!   none ---------------------> open ------------------------------------------------> none
//!                                |  ^  statement with bit 1; error other than 1213
//!                                +--+  (1205 leaves the transaction open)
//!                                |  ^  BEGIN or AND CHAIN with bit still 1: one ends, one begins
//!                                +--+
//! ```

use std::time::Instant;

use super::counter::Clock;
use super::event::Identity;
use super::isolation::{self, Isolation, Level};
use super::names::Name;
use super::recorder::Recorder;
use super::sessions::LiveTransaction;
use crate::sql::{Kind, Statement};

/// Status bits, from the server's protocol documentation.
const STATUS_IN_TRANS: u16 = 0x1;
const STATUS_IN_TRANS_READONLY: u16 = 0x2000;
/// Deadlock: the server has rolled the whole transaction back.
const ERROR_DEADLOCK: u16 = 1213;

/// What a statement means to a transaction that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// Nothing.
    None,
    /// BEGIN, START TRANSACTION: commits an open one.
    Begin,
    /// COMMIT.
    Commit,
    /// ROLLBACK, but not to a savepoint; COM_RESET_CONNECTION and COM_CHANGE_USER.
    Rollback,
    /// What commits when it ends an open one: DDL, LOCK TABLES, `SET autocommit = 1`. When the bit stays (CREATE TEMPORARY
    /// TABLE, another SET) nothing was committed.
    ImplicitCommit,
}

impl Boundary {
    /// What the statement means to an open transaction.
    pub fn of(statement: &Statement) -> Self {
        match statement.kind {
            Kind::Begin => Self::Begin,
            Kind::Commit => Self::Commit,
            // To a savepoint is not to the end.
            Kind::Rollback if statement.digest_text.split(' ').any(|word| word == "TO") => {
                Self::None
            }
            Kind::Rollback => Self::Rollback,
            Kind::Ddl | Kind::Account | Kind::Lock | Kind::Unlock | Kind::Set => {
                Self::ImplicitCommit
            }
            Kind::Maintenance | Kind::Flush | Kind::Reset | Kind::Admin => Self::ImplicitCommit,
            _ => Self::None,
        }
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Committed by COMMIT or implicitly.
    Committed,
    /// By ROLLBACK or a reset of the connection.
    RolledBack,
    /// Deadlock victim.
    Deadlock,
    /// The connection was lost with the transaction open; the server rolls back.
    Disconnected,
    /// Ended inside a statement that does not say how (a procedure).
    Unknown,
    /// One statement that wrote, in no transaction of its own.
    Autocommit,
}

impl Outcome {
    /// All of them, in the order of columns and labels.
    pub const ALL: [Self; 6] = [
        Self::Committed,
        Self::RolledBack,
        Self::Deadlock,
        Self::Disconnected,
        Self::Unknown,
        Self::Autocommit,
    ];

    /// The word in columns and labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::Deadlock => "deadlock",
            Self::Disconnected => "disconnected",
            Self::Unknown => "unknown",
            Self::Autocommit => "autocommit",
        }
    }
}

/// A statement that has ended.
#[derive(Debug, Clone, Copy)]
pub struct StatementEnd<'a> {
    /// What it means to an open transaction.
    pub boundary: Boundary,
    /// When its request had been read.
    pub started: Instant,
    /// When its answer had been sent.
    pub ended: Instant,
    /// Status bits of its last packet; not looked at when there was an error, whose packet has none.
    pub status: u16,
    /// Its error code.
    pub error: Option<u16>,
    /// Rows it changed.
    pub affected_rows: u64,
    /// Its digest; 0 for none.
    pub digest: u128,
    /// Who ran it.
    pub identity: &'a Identity,
    /// Whether it may have set the isolation level without our reading how.
    pub forgets_isolation: bool,
    /// Whether it read or wrote a table: such a statement is a transaction.
    pub touches_tables: bool,
}

/// A transaction that has ended. Times in microseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct TransactionRecord {
    /// The client's connection id.
    pub session: u64,
    /// Whose.
    pub user: Name,
    /// Which app's.
    pub app: Name,
    /// In which schema.
    pub schema: Name,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
    /// From its first statement's request to its last one's answer.
    pub duration_us: u64,
    /// Time its statements took.
    pub busy_us: u64,
    /// Time between its statements: the server held its locks and waited for the app.
    pub idle_us: u64,
    /// Statements, with BEGIN and COMMIT: each is a round trip.
    pub statements: u64,
    /// Rows changed.
    pub affected_rows: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether it was declared read only.
    pub read_only: bool,
    /// Isolation level, when known.
    pub isolation: Option<&'static str>,
    /// Digest of its last statement; 0 for none.
    pub last_digest: u128,
}

#[derive(Debug)]
struct Open {
    began: Instant,
    last_ended: Instant,
    busy_us: u64,
    idle_us: u64,
    statements: u64,
    affected_rows: u64,
    read_only: bool,
    isolation: Level,
    last_digest: u128,
}

/// Follows the transactions of one session. Pure but for the recorder it reports to.
#[derive(Debug)]
pub struct TransactionTracker {
    session: u64,
    clock: Clock,
    isolation: Isolation,
    open: Option<Open>,
}

fn us_between(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
}

impl TransactionTracker {
    /// A session with no transaction open.
    pub fn new(session: u64, clock: Clock) -> Self {
        Self {
            session,
            clock,
            isolation: Isolation::default(),
            open: None,
        }
    }

    /// The isolation levels of the session, to be told of what sets them.
    pub fn isolation(&mut self) -> &mut Isolation {
        &mut self.isolation
    }

    /// Whether a transaction is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes in a statement that has ended; shows the open transaction in `live` and reports an ended one to `recorder`.
    pub fn observe(&mut self, end: &StatementEnd<'_>, live: &LiveTransaction, recorder: &Recorder) {
        let was_open = self.open.is_some();
        let is_open = match end.error {
            Some(ERROR_DEADLOCK) => false,
            Some(_) => was_open,
            None => end.status & STATUS_IN_TRANS != 0,
        };
        // BEGIN in a transaction is the first statement of the new one; COMMIT AND CHAIN is the last one of the old.
        let names_an_end = matches!(
            end.boundary,
            Boundary::Begin | Boundary::Commit | Boundary::Rollback
        );
        let restarted = was_open && is_open && end.error.is_none() && names_an_end;
        if restarted && end.boundary == Boundary::Begin {
            self.close(Outcome::Committed, end.identity, recorder);
        }
        if self.open.is_none() && (is_open || was_open) {
            self.open = Some(Open::begin(end.started, self.isolation.begin()));
        }
        if let Some(open) = &mut self.open {
            open.take(end);
        }
        if was_open && (!is_open || (restarted && end.boundary != Boundary::Begin)) {
            let level = self.open.as_ref().and_then(|open| open.isolation);
            self.close(outcome_of(end), end.identity, recorder);
            if is_open {
                // AND CHAIN: with the characteristics of the one before.
                self.open = Some(Open::begin(end.ended, level));
            }
        }
        if !was_open && !is_open && end.error.is_none() {
            if end.touches_tables {
                self.isolation.begin();
            }
            if end.affected_rows > 0 {
                recorder.autocommit();
            }
        }
        if end.forgets_isolation {
            self.isolation.forget();
        }
        self.show(live);
    }

    /// The connection ended; an open transaction ended with it.
    pub fn disconnected(
        &mut self,
        identity: &Identity,
        live: &LiveTransaction,
        recorder: &Recorder,
    ) {
        self.close(Outcome::Disconnected, identity, recorder);
        self.show(live);
    }

    fn close(&mut self, outcome: Outcome, identity: &Identity, recorder: &Recorder) {
        let Some(open) = self.open.take() else { return };
        recorder.transaction(TransactionRecord {
            session: self.session,
            user: identity.user.clone(),
            app: identity.app.clone(),
            schema: identity.schema.clone(),
            started_ms: self.clock.unix_ms(open.began),
            duration_us: us_between(open.began, open.last_ended),
            busy_us: open.busy_us,
            idle_us: open.idle_us,
            statements: open.statements,
            affected_rows: open.affected_rows,
            outcome,
            read_only: open.read_only,
            isolation: open.isolation,
            last_digest: open.last_digest,
        });
    }

    fn show(&self, live: &LiveTransaction) {
        let Some(open) = &self.open else {
            live.started_ms.set(0);
            return;
        };
        live.statements.set(open.statements);
        live.busy_us.set(open.busy_us);
        live.affected_rows.set(open.affected_rows);
        live.isolation.set(isolation::number(open.isolation));
        live.started_ms.set(self.clock.unix_ms(open.began));
    }
}

impl Open {
    fn begin(at: Instant, isolation: Level) -> Self {
        Self {
            began: at,
            last_ended: at,
            busy_us: 0,
            idle_us: 0,
            statements: 0,
            affected_rows: 0,
            read_only: false,
            isolation,
            last_digest: 0,
        }
    }

    fn take(&mut self, end: &StatementEnd<'_>) {
        self.idle_us += us_between(self.last_ended, end.started);
        self.busy_us += us_between(end.started, end.ended);
        self.last_ended = end.ended;
        self.statements += 1;
        self.affected_rows += end.affected_rows;
        self.read_only |= end.error.is_none() && end.status & STATUS_IN_TRANS_READONLY != 0;
        self.last_digest = end.digest;
    }
}

fn outcome_of(end: &StatementEnd<'_>) -> Outcome {
    match (end.error, end.boundary) {
        (Some(ERROR_DEADLOCK), _) => Outcome::Deadlock,
        (None, Boundary::Commit | Boundary::ImplicitCommit | Boundary::Begin) => Outcome::Committed,
        (None, Boundary::Rollback) => Outcome::RolledBack,
        _ => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests;
