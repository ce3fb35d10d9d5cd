//! One statement in a cluster: to the server that suits it, and once more elsewhere when that one could not answer and nothing of its
//! answer has reached the client. Never repeats what may have been done.

use super::super::exchange::all_rows;
use super::super::prepared::Prepared;
use super::super::relay::{Timing, Turns};
use super::{Goal, Hold, OWN_WRITES_MISSING, Own, Wants, several_writers};
use crate::backend::connection::ExchangeError;
use crate::backend::nodes::{Node, NodeId, Writer};
use crate::binlog::Binlog;
use crate::cache::Fill;
use crate::config::Consistency;
use crate::protocol::command::QueryBody;
use crate::protocol::packet::HEADER_BYTES;
use crate::protocol::relay::{Expect, PrepareOk};
use crate::protocol::status;
use crate::router::place::{Asked, Place, place};
use crate::router::reason::Reason;
use crate::session::Session;
use crate::session::error::SessionError;
use crate::session::observe::digest_of;
use crate::sql::placement::{Hint, hint};
use crate::sql::skipped::skipped_rows;
use crate::sql::{Kind, Statement};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// How often a read that was not answered runs again on another server.
const RETRIES_MAX: usize = 1;

/// Draws for a reader that is not the one which failed.
const DRAWS_MAX: u64 = 16;

/// After a reader did not have the session's writes in time, for so many ticks the writer is asked at once.
const BEHIND_TICKS: u64 = 1;

/// After a reader could not be used at all, for so many.
const UNAVAILABLE_TICKS: u64 = 8;

/// The way of one statement.
pub(in crate::session) struct Course {
    place: Place,
    /// The reader that has failed.
    avoid: Option<NodeId>,
    tried: usize,
    /// The server does all of it or nothing, and an error says that it was nothing.
    may_turn: bool,
}

impl Session {
    /// Relays the statement at the front of the buffer to the server that suits it.
    pub(in crate::session) async fn relay_steered(
        &mut self,
        length: usize,
        statement: &Arc<Statement>,
        reason: Reason,
        mut fill: Option<Box<Fill<Binlog>>>,
        timing: &mut Timing,
    ) -> Result<Option<u64>, SessionError> {
        let needs_writer = fill.is_some().then_some("cache_fill");
        let asked = self.hint_at_front(length);
        let mut course = self.course(statement, asked, needs_writer);
        loop {
            self.set_out(&mut course, statement).await?;
            self.restore_diagnostics_before(statement).await?;
            let fill = fill.take();
            let relayed = self.relay_here(length, statement, reason, fill, timing);
            match relayed.await {
                Err(error) => self.turned(&mut course, error, timing).await?,
                Ok(backend_us) => {
                    // What was not held is gone.
                    let text = match course.place {
                        Place::Reader(_) => self.text_at_front(length).to_vec(),
                        _ => Vec::new(),
                    };
                    self.arrived(&course, statement, &text, length);
                    return Ok(backend_us);
                }
            }
        }
    }

    /// Prepares the statement at the front of the buffer where its executions will run.
    pub(in crate::session) async fn prepare_steered(
        &mut self,
        length: usize,
        id: u32,
        statement: &Statement,
        shows_parameters: bool,
    ) -> Result<Option<PrepareOk>, SessionError> {
        let needs_writer = shows_parameters.then_some("parameter_types");
        let asked = hint(self.body(length), self.lex_mode());
        let mut course = self.course(statement, asked, needs_writer);
        loop {
            self.set_out(&mut course, statement).await?;
            match self.relay_prepare(length, id, Some(statement)).await {
                Err(error) => {
                    self.turned(&mut course, error, &mut Timing::start())
                        .await?
                }
                Ok(done) => {
                    self.release_request(HEADER_BYTES + length);
                    return Ok(done);
                }
            }
        }
    }

    /// Relays the execution at the front of the buffer to the server that suits it.
    pub(in crate::session) async fn execution_steered(
        &mut self,
        length: usize,
        statement: &Arc<Statement>,
        reason: Reason,
        mut fill: Option<Box<Fill<Binlog>>>,
        timing: &mut Timing,
    ) -> Result<Option<u64>, SessionError> {
        let Some(id) = self.statement_id() else {
            return Err(SessionError::Internal("an execution without a statement"));
        };
        let prepared = self.prepared.get(&id);
        let needs_writer = match fill.is_some() {
            true => Some("cache_fill"),
            false => prepared.and_then(Prepared::needs_writer),
        };
        let asked = prepared.and_then(|prepared| prepared.hint);
        let text = prepared.and_then(|prepared| prepared.text.clone());
        let mut course = self.course(statement, asked, needs_writer);
        loop {
            self.set_out(&mut course, statement).await?;
            let fill = fill.take();
            let relayed = self.execution_here(length, Some(statement), reason, fill, timing);
            match relayed.await {
                Err(error) => {
                    // On the next connection it has another number.
                    self.rename_statement(id);
                    self.turned(&mut course, error, timing).await?;
                }
                Ok(backend_us) => {
                    let text = text.as_deref().unwrap_or_default();
                    self.arrived(&course, statement, text, length);
                    return Ok(backend_us);
                }
            }
        }
    }

    fn text_at_front(&self, length: usize) -> &[u8] {
        let packet = self.body(length);
        let query = QueryBody::parse(packet, self.client.capabilities);
        query.map(|query| query.text).unwrap_or_default()
    }

    fn hint_at_front(&self, length: usize) -> Option<Hint> {
        hint(self.text_at_front(length), self.lex_mode())
    }

    /// Where a statement would run now, and why.
    pub(in crate::session) fn place_of(
        &self,
        statement: &Statement,
        hint: Option<Hint>,
        needs_writer: Option<&'static str>,
    ) -> Place {
        let rooms = &self.worker.rooms;
        let is_away = self.backend.is_gone();
        let is_elsewhere = !is_away && !rooms.nodes.takes_writes(self.backend.node);
        let tie = match (is_away, self.is_on_reader()) {
            (true, _) => None,
            (false, true) => self.moving_tie(),
            (false, false) => self.tie(),
        };
        let learnt = self.worker.writers_only.borrow();
        let learnt = learnt.contains(&statement.id.0).then_some("left_state");
        let ruled = self.routed();
        let placed = place(&Asked {
            statement,
            hint: ruled.or(hint),
            state: &self.state,
            tie,
            on_reader: is_elsewhere,
            needs_writer: needs_writer.or(learnt),
            reads: rooms.config.cluster.reads,
            consistency: rooms.config.cluster.consistency,
        });
        // What a query rule asks for is done as a hint is.
        match placed {
            Place::Writer("hint") if ruled.is_some() => Place::Writer("rule"),
            Place::Reader("hint") if ruled.is_some() => Place::Reader("rule"),
            placed => placed,
        }
    }

    /// The server that a statement would go to now, and why.
    pub(in crate::session) fn explain_place(
        &self,
        text: &[u8],
        statement: &Statement,
    ) -> (String, &'static str) {
        let nodes = &self.worker.rooms.nodes;
        let place = self.place_of(statement, hint(text, self.lex_mode()), None);
        let here = nodes.node(self.backend.node);
        let reader = self.reader(None);
        let (node, why) = match (place, reader) {
            (Place::Reader(why), Some(reader)) => (Some(reader), why),
            (Place::Reader(_), None) => (None, "no_reader"),
            (Place::Here(why), _) => (here.cloned(), why),
            (Place::Writer(why), _) => (None, why),
        };
        match (node, nodes.writer()) {
            (Some(node), _) | (None, Writer::One(node)) => (node.name.to_string(), why),
            (None, writer) => (String::new(), writer.label()),
        }
    }

    fn course(
        &self,
        statement: &Statement,
        hint: Option<Hint>,
        needs_writer: Option<&'static str>,
    ) -> Course {
        let is_alone = !self.state.in_transaction() && self.state.status & status::AUTOCOMMIT != 0;
        let is_whole = matches!(
            statement.kind,
            Kind::Insert | Kind::Replace | Kind::Update | Kind::Delete | Kind::Ddl | Kind::Account
        );
        Course {
            place: self.place_of(statement, hint, needs_writer),
            avoid: None,
            tried: 0,
            may_turn: is_alone
                && is_whole
                && statement.opaque.is_none()
                && !statement.hold.runs_unseen,
        }
    }

    /// Makes ready for the statement to be relayed: a reader is there and has what it must have, or the writer is wanted.
    async fn set_out(
        &mut self,
        course: &mut Course,
        statement: &Statement,
    ) -> Result<(), SessionError> {
        if matches!(course.place, Place::Reader(_))
            && let Err(why) = self.go_to_reader(course.avoid).await?
        {
            course.place = Place::Writer(why);
        }
        let (wants, turns) = match course.place {
            Place::Reader(_) => (Wants::Reader(self.backend.node), Turns::Read),
            Place::Here(_) => (Wants::Here, Turns::Never),
            Place::Writer(_) if course.may_turn => (Wants::Writer, Turns::Write),
            Place::Writer(_) => (Wants::Writer, Turns::Never),
        };
        if wants == Wants::Writer {
            self.guard_writes(statement)?;
        }
        let takes_writes = self.worker.rooms.nodes.takes_writes(self.backend.node);
        let is_here = !self.backend.is_gone() && takes_writes;
        if let Some(spread) = &mut self.spread {
            if is_here && wants == Wants::Writer {
                // It was a reader when the session came.
                (spread.on_reader, spread.home) = (false, None);
            }
            (spread.wants, spread.turns) = (wants, turns);
            spread.holds_request = turns != Turns::Never;
        }
        // Whatever the last answer was, nothing of this one has come.
        self.machine.reset(Expect::Query, self.backend.capabilities);
        Ok(())
    }

    /// Two servers take writes: a session that is tied to one of them goes on there, but writes nothing.
    fn guard_writes(&self, statement: &Statement) -> Result<(), SessionError> {
        let nodes = &self.worker.rooms.nodes;
        if self.backend.is_gone() || nodes.takes_writes(self.backend.node) {
            return Ok(());
        }
        let is_harmless = statement.opaque.is_none()
            && !statement.hold.runs_unseen
            && matches!(
                statement.kind,
                Kind::Select
                    | Kind::Show
                    | Kind::Set
                    | Kind::Use
                    | Kind::Rollback
                    | Kind::Savepoint
                    | Kind::Unlock
                    | Kind::Deallocate
                    | Kind::Explain
                    | Kind::Diagnostics
                    | Kind::Kill
                    | Kind::Empty
            );
        match nodes.writer() {
            Writer::Several(names) if !is_harmless => Err(several_writers(&names)),
            _ => Ok(()),
        }
    }

    fn reader(&self, avoid: Option<NodeId>) -> Option<Arc<Node>> {
        let seed = self.observer.session_id();
        for turn in 0..DRAWS_MAX {
            let node = self.worker.rooms.nodes.reader(seed ^ turn << 32)?;
            if Some(node.id) != avoid {
                return Some(node);
            }
        }
        None
    }

    /// Goes to the session's reader, and makes sure that it has what the session wrote. The inner error: the writer must answer, and why.
    async fn go_to_reader(
        &mut self,
        avoid: Option<NodeId>,
    ) -> Result<Result<(), &'static str>, SessionError> {
        let Some(node) = self.reader(avoid) else {
            return Ok(Err("no_reader"));
        };
        let by_session = self.worker.rooms.config.cluster.consistency == Consistency::Session;
        let now = self.worker.clock.now();
        let Some(spread) = &mut self.spread else {
            return Ok(Err("no_reader"));
        };
        if by_session && spread.own == Own::Unknown {
            return Ok(Err("own_writes_unknown"));
        }
        if now < spread.not_before.0 {
            return Ok(Err(spread.not_before.1));
        }
        spread.wants = Wants::Reader(node.id);
        if let Err(error) = self.attach().await {
            // Unless the session is away, it is its own connection that has failed.
            if !self.backend.is_gone() || matches!(error, SessionError::ClientIo(_)) {
                return Err(error);
            }
            tracing::debug!(%error, node = %node.name, "a reader could not be used");
            let nodes = &self.worker.rooms.nodes;
            nodes.report_failure(node.id, &error.to_string());
            if let Some(spread) = &mut self.spread {
                spread.not_before = (now + UNAVAILABLE_TICKS, "reader_unavailable");
            }
            return Ok(Err("reader_unavailable"));
        }
        if self.backend.node != node.id {
            return Ok(Err(self.tie().map_or("tied", |tie| tie.label())));
        }
        if let Some(spread) = &mut self.spread {
            spread.on_reader = true;
        }
        match by_session {
            true => self.wait_for_own_writes(&node).await,
            false => Ok(Ok(())),
        }
    }

    async fn wait_for_own_writes(
        &mut self,
        node: &Node,
    ) -> Result<Result<(), &'static str>, SessionError> {
        let ms = self.worker.rooms.config.cluster.gtid_wait_ms_max;
        let sql = match self.spread.as_deref() {
            Some(spread) if spread.seen_on != Some(node.id) => match &spread.own {
                // A wait of 0 would have no end.
                Own::Last(gtids) if ms == 0 => {
                    format!("SELECT 1-GTID_SUBSET('{gtids}',@@GLOBAL.gtid_executed)")
                }
                Own::Last(gtids) => {
                    let (s, ms) = (ms / 1_000, ms % 1_000);
                    format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{gtids}',{s}.{ms:03})")
                }
                Own::None => return Ok(Ok(())),
                // Learnt only now, by a report that was late.
                Own::Unknown => return Ok(Err(OWN_WRITES_MISSING)),
            },
            _ => return Ok(Ok(())),
        };
        let mut bytes = Vec::new();
        let keeps = |more: &[u8]| super::super::exchange::keep(&mut bytes, more, 4_096);
        let asked = self.backend.query(sql.as_bytes(), keeps);
        let asked = self.client.wait_for_backend(asked).await?;
        match asked {
            Ok(_) | Err(ExchangeError::Refused { .. }) => self.traces.moved(),
            Err(error) => {
                let nodes = &self.worker.rooms.nodes;
                nodes.report_failure(node.id, &error.to_string());
                return match self.survives_loss() {
                    true => Ok(Err("reader_unavailable")),
                    false => Err(error.into()),
                };
            }
        }
        let row = all_rows(&bytes, self.backend.capabilities).and_then(|mut rows| rows.pop());
        let is_there = row.is_some_and(|row| matches!(row.as_slice(), [Some(n)] if n == b"0"));
        let now = self.worker.clock.now();
        if let Some(spread) = &mut self.spread {
            match is_there {
                true => spread.seen_on = Some(node.id),
                false => spread.not_before = (now + BEHIND_TICKS, OWN_WRITES_MISSING),
            }
        }
        match is_there {
            true => Ok(Ok(())),
            false => Ok(Err(OWN_WRITES_MISSING)),
        }
    }

    /// The statement was not answered. Answers if it is to be tried again elsewhere.
    ///
    /// # Errors
    /// It is not: the error.
    async fn turned(
        &mut self,
        course: &mut Course,
        error: SessionError,
        timing: &mut Timing,
    ) -> Result<(), SessionError> {
        timing.first_byte = None;
        match (course.place, &error) {
            (Place::Reader(_), SessionError::TurnedBack) => {
                // The writer's word counts, and its diagnostics.
                self.leaves_no_trace();
                course.place = Place::Writer("refused_by_reader");
            }
            // One that took too long may still run there, and would run twice.
            (Place::Reader(_), SessionError::BackendIo(cause))
                if self.machine.is_untouched() && cause.kind() != io::ErrorKind::TimedOut =>
            {
                let node = self.backend.node;
                if !self.survives_loss() {
                    return Err(error);
                }
                let nodes = &self.worker.rooms.nodes;
                nodes.report_failure(node, "a read was not answered");
                (course.avoid, course.tried) = (Some(node), course.tried + 1);
                if course.tried > RETRIES_MAX {
                    // What ends two servers must not reach a third.
                    return Err(error);
                }
                self.decided("reader", "failed");
            }
            (Place::Writer(_), SessionError::TurnedBack) => {
                self.leaves_no_trace();
                course.may_turn = false;
                self.decided("writer", "held_read_only");
                if !self.finds_other_writer().await? {
                    // The server at hand says once more what it said.
                    course.place = Place::Here("no_other_writer");
                }
            }
            _ => return Err(error),
        }
        Ok(())
    }

    /// A statement has failed on the connection that the client will not hear of.
    fn leaves_no_trace(&mut self) {
        if self.traces.are_known() {
            self.traces.moved();
        }
    }

    /// The session's server takes no writes, although it should: waits until another one does. False: none in time.
    async fn finds_other_writer(&mut self) -> Result<bool, SessionError> {
        let rooms = self.worker.rooms.clone();
        let node = self.backend.node;
        let mut hold = Hold::new(&rooms);
        let mut changes = rooms.nodes.changes();
        rooms.nodes.report_failure(node, "it is read-only");
        while rooms.nodes.takes_writes(node) {
            if !hold
                .wait(&self.client, &mut changes, std::time::Duration::MAX)
                .await?
            {
                return Ok(false);
            }
        }
        match hold.node(&self.client, &Goal::Writer).await {
            Ok(_) => Ok(true),
            Err(SessionError::Unattached { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The statement was answered.
    fn arrived(&mut self, course: &Course, statement: &Statement, text: &[u8], length: usize) {
        let (about, why) = course.place.parts();
        let digest = digest_of(statement);
        let recorder = &self.worker.recorder;
        recorder.decision(about, why, Some(&digest), Instant::now());
        self.release_request(HEADER_BYTES + length);
        if !matches!(course.place, Place::Reader(_)) {
            return;
        }
        if let Some(tie) = self.moving_tie() {
            tracing::debug!(
                tie = tie.label(),
                "a statement left state on a reader; it goes to the writer from now on"
            );
            self.worker.learn_writers_only(statement.id.0);
        }
        if self.traces.row_count.is_some() && self.traces.found_rows.is_none() && self.last_ok {
            let rows = self.spread.as_ref().map_or(0, |spread| spread.rows);
            let skipped = skipped_rows(text, self.lex_mode(), |_| None);
            self.traces.found_rows = match skipped {
                Some(0) => Some(rows),
                Some(skipped) if rows > 0 => Some(rows.saturating_add(skipped)),
                _ => None,
            };
        }
    }

    /// The request that was held is done with.
    fn release_request(&mut self, bytes: usize) {
        if let Some(spread) = &mut self.spread
            && std::mem::take(&mut spread.holds_request)
        {
            spread.turns = Turns::Never;
            self.client.input.consume(bytes);
        }
    }

    fn decided(&self, about: &'static str, why: &'static str) {
        let recorder = &self.worker.recorder;
        recorder.decision(about, why, None, Instant::now());
    }
}
