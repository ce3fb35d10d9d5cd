//! COM_QUERY: from the text to its answer. `answer_query` is the one line that every statement follows.

use super::answers::{Question, Tried};
use super::deadline::in_time;
use super::error::SessionError;
use super::observe::{Execution, Observer, us};
use super::prepared::{Bound, leaves_out_trackers};
use super::relay::{Timing, relay_answer, send_to_backend};
use super::ruling::{Ruled, Subject};
use super::statements::mentions_log_switch;
use super::worker::Worker;
use super::{Entrance, Session};
use crate::analytics::ServedBy;
use crate::backend::variables::is_holding;
use crate::binlog::Binlog;
use crate::cache::Fill;
use crate::protocol::command::{Command, QueryBody, put_query};
use crate::protocol::packet::{HEADER_BYTES, write_packet};
use crate::protocol::relay::{Expect, Summary};
use crate::protocol::{capability, status};
use crate::router::plain;
use crate::router::reason::Reason;
use crate::router::ties::{Reported, Tie};
use crate::sql::env::SessionEnv;
use crate::sql::{Kind, LexMode, Statement};
use crate::views;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

/// A request that was relayed to the session's own backend connection.
pub(super) struct Request<'a> {
    /// What ran; `None` for an execution of a statement that we do not know.
    pub statement: Option<&'a Arc<Statement>>,
    /// Why the backend answered it.
    pub reason: Reason,
    /// Its length with headers.
    pub bytes_in: u64,
}

impl Session {
    /// How this session's texts are to be read.
    pub(super) fn lex_mode(&self) -> LexMode {
        LexMode {
            no_backslash_escapes: self.state.status & status::NO_BACKSLASH_ESCAPES != 0,
            ..self.lex_base
        }
    }

    /// Answers a text whose bytes are all in the buffer: the one line that every statement follows.
    pub(super) async fn answer_query(&mut self, length: usize) -> Result<(), SessionError> {
        let mut timing = Timing::start();
        let mode = self.lex_mode();
        let packet = self
            .client
            .input
            .peek()
            .get(HEADER_BYTES + 1..HEADER_BYTES + length)
            .unwrap_or_default();
        let Ok(query) = QueryBody::parse(packet, self.client.capabilities) else {
            // The server knows best how to refuse it.
            return self.relay_unread(length, &mut timing).await;
        };
        let statement = self.worker.statement(query.text, mode);
        if self.observer.wants_app() {
            note_app(&mut self.observer, &self.worker, &query);
        }
        self.observer
            .starts(&self.worker, Some(&statement), timing.started);
        if self.entrance == Entrance::Admin {
            return self
                .relay_statement(length, &statement, Reason::Admin, None, &mut timing)
                .await
                .map(drop);
        }
        if self.asks_admin(query.text) {
            return Box::pin(self.answer_from_admin(length, &statement, &mut timing)).await;
        }
        if self.worker.rooms.rules.is_any() && statement.kind != Kind::ExplainRoute {
            return Box::pin(self.answer_ruled(length, statement, &mut timing)).await;
        }
        self.answer_statement(length, &statement, &mut timing).await
    }

    /// Answers a statement that query rules may have something to say of.
    async fn answer_ruled(
        &mut self,
        length: usize,
        statement: Arc<Statement>,
        timing: &mut Timing,
    ) -> Result<(), SessionError> {
        let subject = Subject {
            statement: &statement,
            prepared: None,
            command: Command::Query,
            length,
        };
        match self.ask_rules(&subject, timing).await? {
            Ruled::Refused => Ok(()),
            Ruled::Goes => self.answer_statement(length, &statement, timing).await,
            Ruled::Replaced(length) => {
                let text = self.query_text(length);
                let statement = self.worker.statement(&text, self.lex_mode());
                self.answer_statement(length, &statement, timing).await
            }
        }
    }

    /// Answers a statement by what it is.
    async fn answer_statement(
        &mut self,
        length: usize,
        statement: &Arc<Statement>,
        timing: &mut Timing,
    ) -> Result<(), SessionError> {
        if matches!(
            statement.kind,
            Kind::Kill | Kind::ExplainRoute | Kind::Use | Kind::Set
        ) {
            let text = self.query_text(length);
            return self
                .answer_session_statement(length, &text, statement, timing)
                .await;
        }
        let unread = statement.kind == Kind::Multi || statement.opaque.is_some();
        if unread && mentions_log_switch(self.body(length)) {
            self.set_unlogged(true);
        }
        let (cache, views) = (&self.worker.rooms.cache, self.views_enabled());
        if let Some(reason) = plain(statement, cache, views, self.caching()) {
            return self
                .relay_statement(length, statement, reason, None, timing)
                .await
                .map(drop);
        }
        let text = self.query_text(length);
        self.answer_read(length, &text, statement, timing).await
    }

    /// A copy of the text at the front of the buffer.
    fn query_text(&self, length: usize) -> Vec<u8> {
        let packet = self.body(length);
        QueryBody::parse(packet, self.client.capabilities)
            .map(|query| query.text.to_vec())
            .unwrap_or_default()
    }

    /// A read that may have a better answer than the backend's.
    async fn answer_read(
        &mut self,
        length: usize,
        text: &[u8],
        statement: &Arc<Statement>,
        timing: &mut Timing,
    ) -> Result<(), SessionError> {
        let question = Question {
            statement,
            text,
            bound: None,
            bytes_in: (HEADER_BYTES + length) as u64,
        };
        let (reason, fill, env) = match self.try_better(&question, timing).await? {
            Tried::Not { reason, fill, env } => (reason, fill, env),
            Tried::Answered => {
                self.client.input.consume(HEADER_BYTES + length);
                return Ok(());
            }
        };
        let base_us = self
            .relay_statement(length, statement, reason, fill, timing)
            .await?;
        if let (Some(base_us), Some(env), true) = (base_us, env, statement.aggregate) {
            self.observe_aggregate(&question, &env, base_us);
        }
        Ok(())
    }

    /// Tells the views what an aggregate cost on the base tables.
    pub(super) fn observe_aggregate(
        &self,
        question: &Question<'_>,
        env: &Arc<SessionEnv>,
        base_us: u64,
    ) {
        let mut scratch = self.worker.scratch.borrow_mut();
        scratch.run(question.text, self.lex_mode());
        let observed = views::Question {
            statement: question.statement,
            text: question.text,
            scratch: &scratch,
            schema: env.schema.as_deref().unwrap_or_default(),
            env,
        };
        let parameters = question.bound.map(Bound::values).unwrap_or_default();
        self.worker
            .rooms
            .views
            .observe(&observed, &parameters, base_us);
    }

    /// Relays the statement at the front of the buffer to the session's own backend connection; the answer also goes into `fill`.
    /// Answers with the backend's time in microseconds if there was no error.
    pub(super) async fn relay_statement(
        &mut self,
        length: usize,
        statement: &Arc<Statement>,
        reason: Reason,
        fill: Option<Box<Fill<Binlog>>>,
        timing: &mut Timing,
    ) -> Result<Option<u64>, SessionError> {
        if self.spread.is_some() {
            return Box::pin(self.relay_steered(length, statement, reason, fill, timing)).await;
        }
        if self.entrance == Entrance::App {
            self.restore_diagnostics_before(statement).await?;
        }
        self.relay_here(length, statement, reason, fill, timing)
            .await
    }

    /// The same, wherever the session is.
    pub(super) async fn relay_here(
        &mut self,
        length: usize,
        statement: &Arc<Statement>,
        reason: Reason,
        mut fill: Option<Box<Fill<Binlog>>>,
        timing: &mut Timing,
    ) -> Result<Option<u64>, SessionError> {
        self.attach().await?;
        let leaves_out =
            statement.hold.shows_trackers && leaves_out_trackers(&self.query_text(length));
        let retracks = self.show_trackers(Some(statement), leaves_out).await?;
        self.forward_statement(length, statement).await?;
        timing.sent = Instant::now();
        self.client.offers_file = self.may_load(statement);
        self.client.turns = self.turns();
        self.client.renews_transaction = self.renews_transaction(statement);
        let deadline = self.deadline();
        let (client, backend, machine) = (&mut self.client, &mut self.backend, &mut self.machine);
        let relayed = relay_answer(
            client,
            backend,
            machine,
            Expect::Query,
            timing,
            fill.as_deref_mut(),
        );
        let summary = in_time(deadline, pin!(relayed)).await?;
        let request = Request {
            statement: Some(statement),
            reason,
            bytes_in: (HEADER_BYTES + length) as u64,
        };
        let backend_us = self.answered(&request, summary, fill, timing);
        self.track_again(retracks).await?;
        Ok(backend_us)
    }

    /// The tail of every answer of the session's own backend connection: what the statement did to the session, to the statistics
    /// and to the cache. Answers with the backend's time in microseconds if there was no error.
    pub(super) fn answered(
        &mut self,
        request: &Request<'_>,
        mut summary: Summary,
        fill: Option<Box<Fill<Binlog>>>,
        timing: &Timing,
    ) -> Option<u64> {
        let ok = summary.error.is_none();
        if self.ruling.is_some() {
            self.ruled_statement_answered(&mut summary);
        }
        let status = ok.then_some(summary.status);
        match request.statement {
            Some(statement) => self.state.observe(statement, status),
            None => self.state.observe_unknown("unknown_prepared", status),
        }
        self.observe_connection(request.statement.map(|statement| &**statement), &summary);
        let execution = Execution {
            statement: request.statement.map(|statement| &**statement),
            served_by: match self.entrance {
                Entrance::Admin => ServedBy::Admin,
                Entrance::App => ServedBy::Backend,
            },
            reason: request.reason,
            timing,
            summary: &summary,
            bytes_in: request.bytes_in,
            text: None,
        };
        self.observer.ends(&self.worker, &execution);
        let backend_us = us((timing.last_byte - timing.sent).saturating_sub(timing.drain));
        if let Some(statement) = request.statement.filter(|s| ok && s.cacheable.is_ok()) {
            self.worker.rooms.cache.observe(statement.id, backend_us);
        }
        if let Some(fill) = fill {
            fill.complete(&summary, backend_us);
        }
        self.machine.recycle(summary);
        self.last_ok = ok;
        ok.then_some(backend_us)
    }

    /// What a statement has done to the connection that it ran on.
    pub(super) fn observe_connection(&mut self, statement: Option<&Statement>, summary: &Summary) {
        let reported = Reported::of(summary, is_holding);
        self.note_reported(reported);
        if self.spread.is_some() {
            self.note_commits(summary);
            self.note_unnumbered(statement);
        }
        self.ties.observe(statement, summary, reported);
        self.traces.answered(statement, summary);
        let sets_insert_id = statement.is_none_or(|s| s.hold.sets_insert_id || s.hold.runs_unseen);
        if summary.last_insert_id != 0 || sets_insert_id {
            self.backend.last_insert_id = None;
        }
        let ends_by_eof = self.backend.capabilities & capability::DEPRECATE_EOF == 0;
        self.is_unreported = summary.error.is_some() || ends_by_eof && summary.result_sets > 0;
    }

    /// Sends the statement at the front of the client's buffer to the backend: as it stands, but for a count that only we know.
    async fn forward_statement(
        &mut self,
        length: usize,
        statement: &Statement,
    ) -> Result<(), SessionError> {
        if !self.traces.is_count_elsewhere || !statement.hold.reads_row_count {
            return self.forward(length).await;
        }
        let text = self.query_text(length);
        match self.with_row_count(statement, &text)? {
            None => self.forward(length).await,
            Some(text) => {
                self.send_text(&text).await?;
                self.request_sent(HEADER_BYTES + length);
                Ok(())
            }
        }
    }

    /// Sends a text of ours to the backend.
    async fn send_text(&mut self, sql: &[u8]) -> Result<(), SessionError> {
        let mut body = Vec::with_capacity(sql.len() + 8);
        put_query(&mut body, self.backend.capabilities, sql);
        let mut packet = Vec::with_capacity(body.len() + HEADER_BYTES);
        write_packet(&mut packet, &mut 0, &body);
        send_to_backend(&self.client.watch, &mut self.backend, &packet).await
    }

    /// Whether a statement may end a transaction and begin another.
    pub(super) fn renews_transaction(&self, statement: &Statement) -> bool {
        self.state.in_transaction()
            && matches!(statement.kind, Kind::Begin | Kind::Commit | Kind::Rollback)
            && !statement.digest_text.contains(" TO ")
    }

    /// Whether the server may ask this client for a file now: the client can, and its statement may be one that loads it.
    fn may_load(&self, statement: &Statement) -> bool {
        let may = matches!(statement.kind, Kind::Load | Kind::Multi | Kind::Other);
        (may || statement.opaque.is_some()) && self.client.can_send_files()
    }

    async fn relay_unread(
        &mut self,
        length: usize,
        timing: &mut Timing,
    ) -> Result<(), SessionError> {
        self.restore_diagnostics().await?;
        self.ties.until_reset(Tie::UnreadStatement);
        self.forward(length).await?;
        self.client.offers_file = self.client.can_send_files();
        let summary = relay_answer(
            &mut self.client,
            &mut self.backend,
            &mut self.machine,
            Expect::Query,
            timing,
            None,
        )
        .await?;
        self.state.observe_unknown(
            "unread_text",
            summary.error.is_none().then_some(summary.status),
        );
        Ok(())
    }

    /// Runs a statement that we wrote in place of the client's, and relays its answer.
    pub(super) async fn relay_own_text(
        &mut self,
        sql: &[u8],
        timing: &mut Timing,
    ) -> Result<Summary, SessionError> {
        self.attach().await?;
        self.send_text(sql).await?;
        timing.sent = Instant::now();
        let summary = relay_answer(
            &mut self.client,
            &mut self.backend,
            &mut self.machine,
            Expect::Query,
            timing,
            None,
        )
        .await?;
        self.traces.forget();
        Ok(summary)
    }
}

/// Whether a statement may change what others are prepared in.
pub(super) fn may_change_state(statement: &Statement) -> bool {
    let effects = &statement.effects;
    effects.env
        || effects.may_change_schema
        || statement.opaque.is_some()
        || changes_tables(statement)
}

/// Whether it may change tables that others were prepared for.
pub(super) fn changes_tables(statement: &Statement) -> bool {
    statement.kind == Kind::Ddl || statement.kind == Kind::Multi
}

fn note_app(observer: &mut Observer, worker: &Worker, query: &QueryBody<'_>) {
    let mut named = None;
    query.for_each_attribute(|attribute| {
        if attribute.name == b"program_name" {
            named = attribute.value;
        }
    });
    observer.note_app(worker, named, worker.last_comment(query.text));
}
