//! The statements that mean something to the session itself: USE, SET, KILL with an id of ours, EXPLAIN ROUTE.
//! USE and SET go to the backend as they stand; here is only what follows from them.

use super::Session;
use super::error::SessionError;
use super::observe::Execution;
use super::relay::Timing;
use super::rooms::Rooms;
use crate::analytics::{Kill, KillUnderWay, ServedBy, SessionInfo};
use crate::backend::connection::ExchangeError;
use crate::backend::nodes::NodeId;
use crate::protocol::packet::HEADER_BYTES;
use crate::router::reason::Reason;
use crate::router::ties::Tie;
use crate::sql::session_statement::{
    self, Assignment, KillId, Scope, SessionStatement, SetTarget, SetValue,
};
use crate::sql::{ClientCharset, LexMode, Statement};
use crate::views::pattern::check::ParameterValue;
use std::sync::Arc;

/// What a session statement will mean to the session once the backend has done it; read from its text before that is gone.
#[derive(Default)]
struct Afterwards {
    /// USE: the new default schema.
    schema: Option<String>,
    /// SET TRANSACTION: something waits for the next transaction.
    next_transaction: bool,
    /// The texts of this session cannot be read for sure from now on.
    unreadable: Option<&'static str>,
    /// `sql_log_bin`: writes go past the log from now on (true), or into it again (false).
    unlogged: Option<bool>,
    /// The connection cannot be brought back to how it was.
    not_reusable: bool,
}

impl Session {
    /// Answers one of them.
    pub(super) async fn answer_session_statement(
        &mut self,
        length: usize,
        text: &[u8],
        statement: &Arc<Statement>,
        timing: &mut Timing,
    ) -> Result<(), SessionError> {
        let parsed = session_statement::parse(text, self.lex_mode());
        if let SessionStatement::ExplainRoute(at) = parsed {
            self.client.input.consume(HEADER_BYTES + length);
            let rest = text.get(at..).unwrap_or_default();
            return Box::pin(self.explain_route(rest, statement, timing)).await;
        }
        self.restore_diagnostics_before(statement).await?;
        if let SessionStatement::Kill {
            query,
            id: KillId::Number(id),
        } = parsed
            && let Some(victim) = Victim::of(&self.worker.rooms, id, query)
        {
            return Box::pin(self.kill(victim, length, statement, timing)).await;
        }
        let afterwards = afterwards(&parsed);
        if afterwards.unlogged == Some(true) {
            // Before it takes effect, not after.
            self.set_unlogged(true);
        }
        self.relay_statement(length, statement, Reason::NotARead, None, timing)
            .await?;
        if afterwards.unlogged == Some(false) && self.last_ok {
            self.set_unlogged(false);
        }
        self.state.reusable &= !afterwards.not_reusable;
        if afterwards.not_reusable {
            self.ties.until_reset(Tie::Role);
        }
        self.state.next_transaction_set |= afterwards.next_transaction;
        if let Some(why) = afterwards.unreadable {
            self.state.inexact.get_or_insert(why);
        }
        match &parsed {
            SessionStatement::Set(set) if self.last_ok => self.observer.assigned(set),
            SessionStatement::Set(_) | SessionStatement::Use(_) | SessionStatement::Kill { .. } => {
            }
            _ => self.observer.assigned_unread(),
        }
        if let Some(schema) = afterwards.schema.filter(|_| self.last_ok) {
            self.schema_changed(schema.into());
        }
        Ok(())
    }
}

/// A KILL that was prepared.
#[derive(Debug, Clone, Copy)]
pub(super) struct PreparedKill {
    /// Only the statement is meant.
    pub query: bool,
    /// Whom.
    pub id: KillId,
}

impl PreparedKill {
    /// Reads it from its text; `None` if it is another statement.
    pub fn read(text: &[u8], mode: LexMode) -> Option<Self> {
        match session_statement::parse(text, mode) {
            SessionStatement::Kill { query, id } => Some(Self { query, id }),
            _ => None,
        }
    }
}

/// Whom a KILL with an id of ours means.
pub(super) struct Victim {
    /// Only the statement is meant.
    query: bool,
    session: Arc<SessionInfo>,
    /// While it lives, the victim stays on its connection.
    _under_way: KillUnderWay,
    /// The connection's id there; 0: it has none now, so nothing runs.
    pub backend_id: u64,
    /// The server that it is on.
    pub node: NodeId,
}

impl Victim {
    /// The session with our id `id`, if there is one.
    pub fn of(rooms: &Rooms, id: u64, query: bool) -> Option<Self> {
        let session = rooms.analytics.sessions().get(id)?;
        let under_way = KillUnderWay::of(session.clone());
        let backend_id = session.backend_id.get();
        let node = NodeId(u16::try_from(session.node.get()).unwrap_or_default());
        Some(Self {
            node,
            query,
            session,
            _under_way: under_way,
            backend_id,
        })
    }
}

impl Victim {
    /// The session itself ends, too: it would go on without its connection.
    pub fn request_end(&self) {
        self.session.request_kill(Kill::Connection);
    }
}

/// A row if the account may kill what is not its own. Roles are not looked into.
const MAY_KILL_OTHERS: &[u8] = b"SELECT 1 FROM information_schema.user_privileges WHERE privilege_type IN ('CONNECTION_ADMIN', 'SUPER') LIMIT 1";

impl Session {
    /// Runs a KILL of somebody who has an id of ours, in place of the command at the front of the buffer.
    pub(super) async fn kill(
        &mut self,
        victim: Victim,
        length: usize,
        statement: &Arc<Statement>,
        timing: &mut Timing,
    ) -> Result<(), SessionError> {
        self.attach().await?;
        self.client.input.consume(HEADER_BYTES + length);
        if victim.backend_id == 0 || victim.node != self.backend.node {
            return self.kill_away(&victim).await;
        }
        let what = if victim.query { "QUERY" } else { "CONNECTION" };
        let sql = format!("KILL {what} {}", victim.backend_id);
        let summary = self.relay_own_text(sql.as_bytes(), timing).await?;
        self.last_ok = summary.error.is_none();
        if self.last_ok && !victim.query && self.spread.is_some() {
            // It would go on without its connection.
            victim.request_end();
        }
        self.state
            .observe(statement, self.last_ok.then_some(summary.status));
        let execution = Execution {
            statement: Some(statement),
            served_by: ServedBy::Backend,
            reason: Reason::NotARead,
            timing,
            summary: &summary,
            bytes_in: (HEADER_BYTES + length) as u64,
            text: None,
        };
        self.observer.ends(&self.worker, &execution);
        self.machine.recycle(summary);
        Ok(())
    }
}

impl Session {
    /// The victim holds no connection, or one to another server, so the server cannot be asked whether he may be killed: one's own may
    /// be, and others by who has the privilege. What of his runs elsewhere is ended by the control plane.
    pub(super) async fn kill_away(&mut self, victim: &Victim) -> Result<(), SessionError> {
        self.last_ok = self.may_kill(victim).await?;
        self.traces.forget();
        let told = match self.last_ok {
            true => {
                if victim.backend_id != 0 {
                    self.kill_elsewhere(victim).await;
                }
                if !victim.query {
                    victim.session.request_kill(Kill::Connection);
                }
                self.client.send_ok(self.state.status).await
            }
            false => {
                let text = format!("You are not owner of thread {}", victim.session.id);
                self.client.send_error(1095, b"HY000", &text).await
            }
        };
        told.map_err(SessionError::ClientIo)
    }

    async fn kill_elsewhere(&self, victim: &Victim) {
        let Some(node) = self.worker.rooms.nodes.node(victim.node).cloned() else {
            return;
        };
        let what = if victim.query { "QUERY" } else { "CONNECTION" };
        let sql = format!("KILL {what} {}", victim.backend_id);
        // On the control plane's own threads: its driver's connections live there.
        let killed = self.worker.rooms.control_runtime.spawn(async move {
            if let Err(error) = node.control.execute(&sql).await {
                tracing::debug!(%error, node = %node.name, "a KILL on another server failed");
            }
        });
        let _ = self.client.wait_for_backend(killed).await;
    }

    async fn may_kill(&mut self, victim: &Victim) -> Result<bool, SessionError> {
        let own =
            self.observer.info().identity().user.text() == victim.session.identity().user.text();
        if own {
            return Ok(true);
        }
        let asked = self.backend.query(MAY_KILL_OTHERS, |_| Ok(()));
        match self.client.wait_for_backend(asked).await? {
            Ok(summary) => Ok(summary.rows > 0),
            Err(ExchangeError::Refused { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The number that a bound value stands for as an id: drivers bind integers, but also texts and floating point numbers.
pub(super) fn whole_number(value: &ParameterValue<'_>) -> Option<u64> {
    match value {
        ParameterValue::Int(number) => u64::try_from(*number).ok(),
        // Within what such a number can hold exactly.
        ParameterValue::Double(number) if (0.0..9e15).contains(number) && number.fract() == 0.0 => {
            Some(*number as u64)
        }
        ParameterValue::Bytes(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
        _ => None,
    }
}

/// `sql_mode` words that change how a text is read.
const READING_MODES: [&str; 9] = [
    "ANSI",
    "QUOTES",
    "BACKSLASH",
    "ORACLE",
    "MSSQL",
    "DB2",
    "POSTGRESQL",
    "MAXDB",
    "PIPES",
];

impl Session {
    /// The session begins or ceases to write past the binary log.
    pub(super) fn set_unlogged(&mut self, unlogged: bool) {
        if std::mem::replace(&mut self.is_unlogged, unlogged) == unlogged {
            return;
        }
        match unlogged {
            true => self.worker.rooms.binlog.unlogged_begins(),
            false => self.worker.rooms.binlog.unlogged_ends(),
        }
    }
}

/// Whether a text that is not looked into may switch `sql_log_bin`.
pub(super) fn mentions_log_switch(text: &[u8]) -> bool {
    text.windows(7)
        .any(|word| word.eq_ignore_ascii_case(b"log_bin"))
}

fn afterwards(parsed: &SessionStatement) -> Afterwards {
    let mut after = Afterwards::default();
    match parsed {
        SessionStatement::Use(schema) => after.schema = Some(schema.clone()),
        // KILL with an id of the server's own: nothing of this session changes.
        SessionStatement::Kill { .. } => {}
        SessionStatement::Set(assignments) => assignments
            .iter()
            .for_each(|a| note_assignment(&mut after, a)),
        _ => {
            after.not_reusable = true;
            after.unreadable = Some("unknown_set");
        }
    }
    after
}

fn note_assignment(after: &mut Afterwards, assignment: &Assignment) {
    match &assignment.target {
        SetTarget::Isolation(Scope::NextTransaction)
        | SetTarget::AccessMode(Scope::NextTransaction) => {
            after.next_transaction = true;
        }
        SetTarget::Variable(Scope::NextTransaction, _) => after.next_transaction = true,
        SetTarget::Variable(_, name) if name == "sql_log_bin" => {
            let on = match &assignment.value {
                SetValue::Default => true,
                SetValue::Word(word) => {
                    word.eq_ignore_ascii_case("on") || word.eq_ignore_ascii_case("true")
                }
                SetValue::Number(number) => number == "1",
                _ => false,
            };
            after.unlogged = Some(!on);
        }
        SetTarget::Role | SetTarget::ResourceGroup => after.not_reusable = true,
        SetTarget::Variable(_, name) if name == "sql_mode" => {
            let plain = match &assignment.value {
                SetValue::Default => true,
                SetValue::Text(text) => is_plain_mode(&String::from_utf8_lossy(text)),
                SetValue::Word(word) => is_plain_mode(word),
                _ => false,
            };
            if !plain {
                after.unreadable = Some("sql_mode");
            }
        }
        SetTarget::Variable(_, name) if name.starts_with("session_track") => {
            after.unreadable = Some("session_track")
        }
        SetTarget::Variable(_, name)
            if matches!(
                name.as_str(),
                "timestamp" | "insert_id" | "rand_seed1" | "rand_seed2"
            ) =>
        {
            after.unreadable = Some("unreadable_variable");
        }
        SetTarget::Variable(_, name) if name == "character_set_client" => {
            after.unreadable = Some("charset")
        }
        SetTarget::Names | SetTarget::CharacterSet => {
            let safe = match &assignment.value {
                SetValue::Default => true,
                SetValue::Text(text) => is_safe_charset(&String::from_utf8_lossy(text)),
                SetValue::Word(word) => is_safe_charset(word),
                _ => false,
            };
            if !safe {
                after.unreadable = Some("charset");
            }
        }
        _ => {}
    }
}

/// Whether a `sql_mode` leaves texts to be read as by default.
pub fn is_plain_mode(mode: &str) -> bool {
    let mode = mode.to_ascii_uppercase();
    !READING_MODES.iter().any(|word| mode.contains(word))
}

fn is_safe_charset(name: &str) -> bool {
    ClientCharset::from_name(name) != ClientCharset::Unsafe
}
