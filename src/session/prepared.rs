//! Prepared statements of one session: what each is, and the one line that an execution follows. The client's ids are ours: on each
//! connection that the session comes to, a statement has another one (`place`).
//! Never decodes a value further than a check needs.

use super::answers::{Question, Tried, select_list_bytes};
use super::deadline::in_time;
use super::error::SessionError;
use super::relay::{Ask, Timing, relay_answer, send_to_backend};
use super::ruling::{Ruled, Subject};
use super::statements::{PreparedKill, Victim, mentions_log_switch, whole_number};
use super::text::{Request, may_change_state};
use super::{Entrance, Session};
use crate::backend::statements::StatementKey;
use crate::binlog::Binlog;
use crate::cache::Fill;
use crate::protocol::command::{Command, EXECUTE_CURSOR_ANY, Execute, Parameters};
use crate::protocol::packet::{HEADER_BYTES, write_packet};
use crate::protocol::relay::{Expect, PrepareOk};
use crate::router::plain;
use crate::router::reason::Reason;
use crate::sql::placement::{Hint, hint};
use crate::sql::session_statement::KillId;
use crate::sql::{Kind, Statement};
use crate::views::pattern::check::ParameterValue;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

mod history;
mod place;
mod streamed;
mod values;

use history::TypeHistory;
pub(super) use place::leaves_out_trackers;
use values::{parameter_value, put_value};

/// Prepared statements that one session may have open; the server's own limit is for all sessions together.
const PREPARED_MAX: usize = 65_536;

/// The first id of a session's statements.
const FIRST_ID: u32 = 1 << 30;

/// Longer texts and type lists are not held, so their executions are only relayed.
const HELD_BYTES_MAX: usize = 32 * 1024;

/// Texts of prepared statements that one session may have held.
const SESSION_BYTES_MAX: usize = 1 << 20;

/// A statement that the client prepared on its backend connection.
pub(super) struct Prepared {
    /// What it is; `None` when its text was too long to be read.
    pub statement: Option<Arc<Statement>>,
    /// Its text; `None` when it was too long to be held: then it cannot be prepared again elsewhere.
    pub text: Option<Arc<[u8]>>,
    /// An execution may be answered from elsewhere.
    may_be_better: bool,
    /// Its columns may be made of parameters, so that their types show in its answers.
    shows_parameters: bool,
    /// Parameters it declares.
    declared: usize,
    /// [`SessionState::env_changes`](crate::router::session_state::SessionState) when it was prepared: some variables stick to it.
    env_changes: u64,
    /// Type entries that the client sent last.
    types: Arc<[u8]>,
    /// The execution at hand brings its types itself.
    brings_types: bool,
    /// The connection that it was last found on, by its serial number, and its id there.
    on: (u64, u32),
    /// What it is, with the state that it was prepared in; known once the session left a connection.
    key: Option<StatementKey>,
    /// Types of the values that it was given so far: the server goes by them for good (measured on 9.7.4: an integer after a
    /// floating point number is one).
    history: TypeHistory,
    /// That state.
    env: Option<u128>,
    /// [`Session::changes`] when it was prepared.
    changes: u64,
    /// A parameter waits at the backend as long data.
    long_data: bool,
    /// It was sent long data for a parameter that it has not: the server refuses its executions until it is reset.
    is_spoiled: bool,
    /// Its tables may have changed since it was executed last.
    is_outdated: bool,
    /// The execution at hand asks for a cursor.
    opens_cursor: bool,
    /// It has a parameter that waits at the server as long data.
    takes_long_data: bool,
    /// It is a KILL: whom it means shows in its parameter.
    kill: Option<PreparedKill>,
    /// What its text asks for itself, in a cluster.
    pub hint: Option<Hint>,
    /// What the client prepared, where a query rule has put another statement in its place.
    written: Option<Box<Written>>,
}

/// A statement as its client wrote it.
struct Written {
    statement: Arc<Statement>,
    /// `None` when it was too long to be held: then rules that have to see it match nothing.
    text: Option<Arc<[u8]>>,
}

impl Prepared {
    /// A statement that is only relayed.
    pub fn unread() -> Self {
        Self {
            statement: None,
            text: None,
            may_be_better: false,
            shows_parameters: false,
            declared: 0,
            env_changes: 0,
            types: Arc::default(),
            brings_types: false,
            on: (0, 0),
            key: None,
            history: TypeHistory::default(),
            env: None,
            changes: 0,
            long_data: false,
            is_spoiled: false,
            is_outdated: false,
            opens_cursor: false,
            takes_long_data: false,
            kill: None,
            hint: None,
            written: None,
        }
    }
}

impl Prepared {
    /// Why its next execution needs the writer, whatever it is.
    pub fn needs_writer(&self) -> Option<&'static str> {
        let reasons = [
            (self.opens_cursor, "cursor"),
            // Its value is where it was sent.
            (self.takes_long_data, "long_data"),
            (self.text.is_none(), "unread_text"),
            (
                self.history.is_mixed() || self.is_spoiled || self.long_data,
                "parameter_types",
            ),
        ];
        reasons
            .into_iter()
            .find(|(met, _)| *met)
            .map(|(_, why)| why)
    }

    /// The same, prepared on a connection under an id there.
    pub fn unread_on(on: (u64, u32)) -> Self {
        Self {
            on,
            ..Self::unread()
        }
    }
}

impl Prepared {
    /// What query rules are to see of it: the statement and its text.
    fn as_written(&self) -> (Option<Arc<Statement>>, Option<Arc<[u8]>>) {
        match &self.written {
            Some(written) => (Some(written.statement.clone()), written.text.clone()),
            None => (self.statement.clone(), self.text.clone()),
        }
    }

    /// Bytes of texts that it holds.
    fn held_bytes(&self) -> usize {
        let written = self.written.as_ref().and_then(|it| it.text.as_ref());
        let texts = [self.text.as_ref(), written];
        texts.into_iter().flatten().map(|text| text.len()).sum()
    }

    /// Long data that waits at the server is to be forgotten there: the statement's id on this connection, if there is any.
    pub(super) fn reset_long_data(&mut self, serial: u64) -> Option<u32> {
        let had = std::mem::replace(&mut self.long_data, false);
        (had && self.on.0 == serial).then_some(self.on.1)
    }
}

/// Whether a parameter stands where a column is made: before the outermost FROM.
fn shows_parameters(statement: &Statement, text: &[u8]) -> bool {
    let list = text.get(..select_list_bytes(text)).unwrap_or(text);
    statement.kind == Kind::Select && list.contains(&b'?')
}

/// What an execution runs.
struct TakenIn {
    statement: Option<Arc<Statement>>,
    /// Its text and parameters if it may be answered from elsewhere, or why not.
    better: Result<(Arc<[u8]>, Bound), Reason>,
}

/// The parameters of one execution, apart from the client's buffer.
pub(super) struct Bound {
    nulls: Vec<u8>,
    types: Vec<u8>,
    values: Vec<u8>,
    /// Each value's type code and place in `values`; `None` is NULL.
    each: Vec<(u16, Option<(usize, usize)>)>,
}

impl Bound {
    /// For the cache's key.
    pub fn key(&self) -> crate::cache::BoundParameters<'_> {
        crate::cache::BoundParameters {
            nulls: &self.nulls,
            types: &self.types,
            values: &self.values,
        }
    }

    /// For the views' checks.
    pub fn values(&self) -> Vec<ParameterValue<'_>> {
        let value = |&(code, at): &(u16, Option<(usize, usize)>)| match at {
            None => ParameterValue::Null,
            Some((start, end)) => {
                parameter_value(code, self.values.get(start..end).unwrap_or_default())
            }
        };
        self.each.iter().map(value).collect()
    }

    /// A parameter block of the same values in another order, for a connection without query attributes. `None`: a number that is
    /// not there.
    pub fn reordered(&self, order: &[u16]) -> Option<Vec<u8>> {
        if order.is_empty() {
            return Some(Vec::new());
        }
        let mut nulls = vec![0u8; order.len().div_ceil(8)];
        let (mut types, mut values) = (Vec::new(), Vec::new());
        for (place, number) in order.iter().enumerate() {
            let (code, at) = *self.each.get(usize::from(*number))?;
            types.extend_from_slice(&code.to_le_bytes());
            match at {
                None => *nulls.get_mut(place / 8)? |= 1 << (place % 8),
                Some((start, end)) => put_value(&mut values, code, self.values.get(start..end)?),
            }
        }
        nulls.push(1);
        nulls.extend_from_slice(&types);
        nulls.extend_from_slice(&values);
        Some(nulls)
    }
}

impl Session {
    /// COM_STMT_PREPARE of a statement that query rules may have something to say of.
    async fn prepare_ruled(
        &mut self,
        length: usize,
        statement: Arc<Statement>,
    ) -> Result<(), SessionError> {
        let mut timing = Timing::start();
        let may_be_held =
            length <= HELD_BYTES_MAX && self.prepared_bytes + length <= SESSION_BYTES_MAX;
        let written = Written {
            statement,
            text: may_be_held.then(|| Arc::from(self.body(length))),
        };
        let subject = Subject {
            statement: &written.statement,
            prepared: None,
            command: Command::StmtPrepare,
            length,
        };
        match self.ask_rules(&subject, &mut timing).await? {
            Ruled::Refused => Ok(()),
            Ruled::Goes => self.prepare_as(length, written.statement, None).await,
            Ruled::Replaced(length) => {
                let statement = self.worker.statement(self.body(length), self.lex_mode());
                self.prepare_as(length, statement, Some(Box::new(written)))
                    .await
            }
        }
    }

    /// COM_STMT_PREPARE.
    pub(super) async fn prepare(&mut self, length: usize) -> Result<(), SessionError> {
        if self.prepared.len() >= PREPARED_MAX {
            self.client.input.consume(HEADER_BYTES + length);
            let text =
                "Can't create more prepared statements in one session (Tidegate's limit: 65536)";
            return self
                .client
                .send_error(1461, b"42000", text)
                .await
                .map_err(SessionError::ClientIo);
        }
        let statement = self.worker.statement(self.body(length), self.lex_mode());
        if self.entrance == Entrance::App && self.worker.rooms.rules.is_any() {
            return Box::pin(self.prepare_ruled(length, statement)).await;
        }
        self.prepare_as(length, statement, None).await
    }

    /// Prepares the statement at the front of the buffer; `written`: what stood there before.
    async fn prepare_as(
        &mut self,
        length: usize,
        statement: Arc<Statement>,
        written: Option<Box<Written>>,
    ) -> Result<(), SessionError> {
        if matches!(statement.kind, Kind::Set) && mentions_log_switch(self.body(length)) {
            self.set_unlogged(true);
        }
        let may_be_held = self.entrance == Entrance::App
            && length <= HELD_BYTES_MAX
            && self.prepared_bytes + length <= SESSION_BYTES_MAX;
        let may_be_better = may_be_held
            && statement.is_plain_read()
            && (statement.aggregate || statement.cacheable.is_ok());
        let text: Option<Arc<[u8]>> = may_be_held.then(|| Arc::from(self.body(length)));
        let shows_parameters = shows_parameters(&statement, self.body(length));
        let kill = (self.entrance == Entrance::App && statement.kind == Kind::Kill)
            .then(|| PreparedKill::read(self.body(length), self.lex_mode()))
            .flatten();
        let env_changes = self.state.env_changes;
        let id = self.next_statement_id();
        let hint = self
            .spread
            .as_ref()
            .and_then(|_| hint(self.body(length), self.lex_mode()));
        let done = match self.spread {
            None => self.relay_prepare(length, id, Some(&statement)).await?,
            Some(_) => {
                Box::pin(self.prepare_steered(length, id, &statement, shows_parameters)).await?
            }
        };
        if let Some(done) = done {
            self.statement_ids = id;
            let declared = usize::from(done.params);
            // A tree that nothing will be planned from would stay for as long as the statement is prepared.
            let statement = match may_be_better {
                false if statement.select_ast.is_some() => Arc::new(statement.without_tree()),
                _ => statement,
            };
            let prepared = Prepared {
                statement: Some(statement),
                text,
                may_be_better,
                shows_parameters,
                declared,
                env_changes,
                kill,
                hint,
                written,
                on: (self.backend.serial, done.statement_id),
                changes: self.changes,
                ..Prepared::unread()
            };
            self.prepared_bytes += prepared.held_bytes();
            self.enter_prepared(id, prepared).await?;
        }
        Ok(())
    }

    /// The id of the next statement for the client: far from those that servers give out, so that one which the client has closed
    /// is unknown to every server by the same number.
    pub(super) fn next_statement_id(&self) -> u32 {
        self.statement_ids.wrapping_add(1).max(FIRST_ID)
    }

    /// Relays a PREPARE. The client learns `id`; the answer is the server's own.
    pub(super) async fn relay_prepare(
        &mut self,
        length: usize,
        id: u32,
        statement: Option<&Statement>,
    ) -> Result<Option<PrepareOk>, SessionError> {
        self.attach().await?;
        self.forward(length).await?;
        let ask = Ask {
            expect: Expect::Prepare,
            statement_id: Some(id),
        };
        let mut timing = Timing::start();
        self.client.turns = self.turns();
        let (client, backend, machine) = (&mut self.client, &mut self.backend, &mut self.machine);
        let summary = relay_answer(client, backend, machine, ask, &mut timing, None).await?;
        self.ties.prepared(statement, &summary);
        if summary.error.is_some() {
            // Else it counts nothing, and leaves the count before it (measured on 9.7.4).
            self.traces.commanded(Some(-1));
            self.is_unreported = true;
        }
        Ok(summary.prepared)
    }

    /// COM_STMT_EXECUTE: the one line that every execution follows.
    pub(super) async fn execute(&mut self, length: usize) -> Result<(), SessionError> {
        let mut timing = Timing::start();
        let Some(id) = self
            .statement_id()
            .filter(|id| self.prepared.contains_key(id))
        else {
            return self
                .refuse_unknown_prepared(Command::StmtExecute, length)
                .await;
        };
        if self.worker.rooms.rules.is_any() && self.entrance == Entrance::App {
            let asked = Box::pin(self.ask_rules_of(id, length, &mut timing));
            if asked.await? {
                return Ok(());
            }
        }
        let victim = self.victim(id, length);
        let TakenIn { statement, better } = self.take_in(id, length);
        self.observer
            .starts(&self.worker, statement.as_deref(), timing.started);
        if let (Some(statement), Some(victim)) = (&statement, victim) {
            self.restore_diagnostics_before(statement).await?;
            return Box::pin(self.kill(victim, length, statement, &mut timing)).await;
        }
        let (statement, text, bound) = match (&statement, &better) {
            (Some(statement), Ok((text, bound))) => (statement, text, bound),
            (statement, better) => {
                let reason = better.as_ref().err();
                let reason = reason.copied().unwrap_or(Reason::PreparedRelayed);
                return self
                    .relay_execution(length, statement.as_ref(), reason, None, &mut timing)
                    .await
                    .map(drop);
            }
        };
        let question = Question {
            statement,
            text,
            bound: Some(bound),
            bytes_in: (HEADER_BYTES + length) as u64,
        };
        let prepared_env = self.prepared.get(&id).map(|prepared| prepared.env_changes);
        let tried = match prepared_env == Some(self.state.env_changes) {
            true => self.try_better(&question, &mut timing).await?,
            false => Tried::not(Reason::Environment("changed_since_prepare")),
        };
        let (reason, fill, env) = match tried {
            Tried::Not { reason, fill, env } => (reason, fill, env),
            Tried::Answered => {
                self.client.input.consume(HEADER_BYTES + length);
                return Ok(());
            }
        };
        let base_us = self
            .relay_execution(length, Some(statement), reason, fill, &mut timing)
            .await?;
        if let (Some(base_us), Some(env), true) = (base_us, env, statement.aggregate) {
            self.observe_aggregate(&question, &env, base_us);
        }
        Ok(())
    }

    /// Asks the query rules about an execution. True: the client has its answer, an error.
    async fn ask_rules_of(
        &mut self,
        id: u32,
        length: usize,
        timing: &mut Timing,
    ) -> Result<bool, SessionError> {
        let prepared = self.prepared.get(&id).map(Prepared::as_written);
        let Some((Some(statement), prepared)) = prepared else {
            return Ok(false);
        };
        let subject = Subject {
            statement: &statement,
            prepared,
            command: Command::StmtExecute,
            length,
        };
        let ruled = self.ask_rules(&subject, timing).await?;
        Ok(matches!(ruled, Ruled::Refused))
    }

    /// Whom the execution at the front of the buffer kills, if it is a KILL with an id of ours.
    fn victim(&self, id: u32, length: usize) -> Option<Victim> {
        let prepared = self.prepared.get(&id)?;
        let kill = prepared.kill?;
        let number = match kill.id {
            KillId::Number(number) => number,
            KillId::Parameter if !prepared.long_data => {
                let execute = Execute::parse(self.body(length)).ok()?;
                let caps = self.client.capabilities;
                let parameters = execute.parameters(caps, prepared.declared).ok()?;
                if parameters.count != prepared.declared {
                    return None;
                }
                let bound = bound(&parameters, &prepared.types)?;
                whole_number(bound.values().first()?)?
            }
            _ => return None,
        };
        Victim::of(&self.worker.rooms, number, kill.query)
    }

    /// Remembers the types that an execution brings, and copies its parameters if it may be answered from elsewhere.
    fn take_in(&mut self, id: u32, length: usize) -> TakenIn {
        let (caps, caching) = (self.client.capabilities, self.caching());
        let rooms = &self.worker.rooms;
        let packet = self
            .client
            .input
            .peek()
            .get(HEADER_BYTES + 1..HEADER_BYTES + length)
            .unwrap_or_default();
        let mut taken = TakenIn {
            statement: None,
            better: Err(Reason::PreparedRelayed),
        };
        let Some(prepared) = self.prepared.get_mut(&id) else {
            return taken;
        };
        taken.statement.clone_from(&prepared.statement);
        let parsed = Execute::parse(packet)
            .and_then(|e| e.parameters(caps, prepared.declared).map(|p| (e.flags, p)));
        prepared.brings_types = true;
        let Ok((flags, parameters)) = parsed else {
            return taken;
        };
        prepared.brings_types = parameters.types.is_some() || prepared.declared == 0;
        if let Some(types) = parameters.types
            && *types != *prepared.types
        {
            prepared.types = Arc::from(types);
            prepared.history.add(types, prepared.shows_parameters);
        }
        let simple = flags & EXECUTE_CURSOR_ANY == 0
            && parameters.count == prepared.declared
            && !prepared.long_data;
        prepared.takes_long_data = std::mem::replace(&mut prepared.long_data, false);
        if prepared.takes_long_data {
            self.long_data = self.long_data.saturating_sub(1);
        }
        prepared.opens_cursor = flags & EXECUTE_CURSOR_ANY != 0;
        if let (Some(statement), Some(text)) = (&taken.statement, &prepared.text)
            && simple
            && prepared.may_be_better
        {
            let (cache, views) = (&rooms.cache, rooms.config.views.enabled);
            taken.better = match plain(statement, cache, views, caching) {
                Some(reason) => Err(reason),
                None => bound(&parameters, &prepared.types)
                    .map(|bound| (text.clone(), bound))
                    .ok_or(Reason::PreparedRelayed),
            };
        }
        taken
    }

    /// Relays the execution at the front of the buffer. If the backend has not seen the parameter types that the client counts on,
    /// they are put into the packet.
    async fn relay_execution(
        &mut self,
        length: usize,
        statement: Option<&Arc<Statement>>,
        reason: Reason,
        fill: Option<Box<Fill<Binlog>>>,
        timing: &mut Timing,
    ) -> Result<Option<u64>, SessionError> {
        match statement.filter(|_| self.spread.is_some()) {
            Some(statement) => {
                Box::pin(self.execution_steered(length, statement, reason, fill, timing)).await
            }
            None => {
                self.execution_here(length, statement, reason, fill, timing)
                    .await
            }
        }
    }

    /// The same, wherever the session is.
    pub(super) async fn execution_here(
        &mut self,
        length: usize,
        statement: Option<&Arc<Statement>>,
        reason: Reason,
        mut fill: Option<Box<Fill<Binlog>>>,
        timing: &mut Timing,
    ) -> Result<Option<u64>, SessionError> {
        let Some(id) = self.statement_id() else {
            return Err(SessionError::Internal("an execution without a statement"));
        };
        if statement.is_none_or(|statement| may_change_state(statement)) {
            Box::pin(self.place_all()).await?;
        }
        let server_id = self.place_statement(id, false).await?;
        match statement {
            Some(statement) => self.restore_diagnostics_before(statement).await?,
            None => self.restore_diagnostics().await?,
        }
        let text = self.prepared.get(&id).and_then(|it| it.text.as_deref());
        let leaves_out = statement.is_some_and(|statement| statement.hold.shows_trackers)
            && text.is_some_and(leaves_out_trackers);
        let retracks = self
            .show_trackers(statement.map(|statement| &**statement), leaves_out)
            .await?;
        match self.with_types(length, id, server_id) {
            None => self.forward(length).await?,
            Some(packet) => {
                send_to_backend(&self.client.watch, &mut self.backend, &packet).await?;
                self.request_sent(HEADER_BYTES + length);
            }
        }
        timing.sent = Instant::now();
        self.client.renews_transaction =
            statement.is_some_and(|statement| self.renews_transaction(statement));
        // The bit for a cursor also comes with rows of a procedure that used one inside: it counts where one was asked for.
        let asks_cursor = self.prepared.get(&id).is_none_or(|it| it.opens_cursor);
        let expect = match asks_cursor {
            true => Expect::Execute,
            false => Expect::Query,
        };
        self.client.turns = self.turns();
        let deadline = self.deadline();
        let (client, backend, machine) = (&mut self.client, &mut self.backend, &mut self.machine);
        let relayed = relay_answer(
            client,
            backend,
            machine,
            expect,
            timing,
            fill.as_deref_mut(),
        );
        let summary = in_time(deadline, pin!(relayed)).await?;
        let request = Request {
            statement,
            reason,
            bytes_in: (HEADER_BYTES + length) as u64,
        };
        self.note_cursor(id, summary.has_cursor);
        self.note_executed(id, &summary);
        let backend_us = self.answered(&request, summary, fill, timing);
        self.track_again(retracks).await?;
        if statement.is_some_and(|s| matches!(s.kind, Kind::Set | Kind::Use)) {
            // What it sets may stand in its parameters.
            self.state.inexact.get_or_insert("prepared_set");
            self.observer.assigned_unread();
            self.state.reusable = false;
        }
        Ok(backend_us)
    }

    /// The execution at the front of the buffer with the types that its client sent earlier, when the server goes by others or
    /// never got any. Its statement gets the id that it has on this connection.
    fn with_types(&mut self, length: usize, id: u32, server_id: u32) -> Option<Vec<u8>> {
        let caps = self.client.capabilities;
        self.rename_statement(server_id);
        let prepared = self.prepared.get(&id)?;
        let statements = &mut self.backend.statements;
        let is_known = statements.has_types(server_id, &prepared.types);
        if !is_known {
            statements.sent_types(server_id, &prepared.types);
        }
        if is_known || prepared.brings_types || prepared.types.is_empty() {
            return None;
        }
        let body = self
            .client
            .input
            .peek()
            .get(HEADER_BYTES + 1..HEADER_BYTES + length)?;
        let execute = Execute::parse(body).ok()?;
        let parameters = execute.parameters(caps, prepared.declared).ok()?;
        if parameters.types.is_some() {
            return None;
        }
        // Everything up to and with the null bitmap stays; the byte behind it says whether types follow.
        let before = body.len().checked_sub(parameters.values.len() + 1)?;
        let mut payload = vec![Command::StmtExecute.byte()];
        payload.extend_from_slice(body.get(..before)?);
        payload.push(1);
        payload.extend_from_slice(&prepared.types);
        payload.extend_from_slice(parameters.values);
        let mut packet = Vec::with_capacity(payload.len() + HEADER_BYTES);
        write_packet(&mut packet, &mut 0, &payload);
        Some(packet)
    }
}

/// Copies the parameters of an execution; `None` when values and types do not fit each other: the server will say so.
fn bound(parameters: &Parameters<'_>, types: &[u8]) -> Option<Bound> {
    let mut each = Vec::with_capacity(parameters.count);
    if parameters.count > 0 {
        let base = parameters.values.as_ptr() as usize;
        let place = |value: &[u8]| {
            (
                value.as_ptr() as usize - base,
                value.as_ptr() as usize - base + value.len(),
            )
        };
        let read = parameters.for_each(
            Some(types),
            |_| false,
            |_, value| each.push((value.type_code, value.value.map(place))),
        );
        read.ok()?;
    }
    Some(Bound {
        nulls: parameters.nulls.to_vec(),
        types: types.to_vec(),
        values: parameters.values.to_vec(),
        each,
    })
}
