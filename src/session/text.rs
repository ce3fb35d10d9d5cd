//! COM_QUERY: from the text to its answer. `answer_query` is the one line that every statement follows.

use super::error::SessionError;
use super::observe::Execution;
use super::observe::Observer;
use super::relay::{Timing, relay_answer, send_to_backend};
use super::worker::Worker;
use super::{Entrance, Session};
use crate::analytics::ServedBy;
use crate::backend::connection::ExchangeError;
use crate::protocol::command::{QueryBody, put_query};
use crate::protocol::packet::{HEADER_BYTES, write_packet};
use crate::protocol::relay::Expect;
use crate::protocol::status;
use crate::router::reason::Reason;
use crate::sql::session_statement::{
    self, Assignment, Scope, SessionStatement, SetTarget, SetValue,
};
use crate::sql::{ClientCharset, Kind, LexMode, Statement};
use std::sync::Arc;
use std::time::Instant;

/// What a session statement will mean to the session once the backend has done it; read from its text before that is gone.
#[derive(Default)]
struct Afterwards {
    /// USE: the new default schema.
    schema: Option<String>,
    /// SET TRANSACTION: something waits for the next transaction.
    next_transaction: bool,
    /// The texts of this session cannot be read for sure from now on.
    unreadable: Option<&'static str>,
    /// The connection cannot be brought back to how it was.
    not_reusable: bool,
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
                .relay_statement(length, &statement, Reason::Admin, &mut timing)
                .await;
        }
        if !matches!(
            statement.kind,
            Kind::Kill | Kind::ExplainRoute | Kind::Use | Kind::Set
        ) {
            self.restore_diagnostics_before(&statement).await?;
            return self
                .relay_statement(length, &statement, Reason::PlainRead, &mut timing)
                .await;
        }
        let text = query.text.to_vec();
        self.answer_session_statement(length, &text, &statement, &mut timing)
            .await
    }

    /// The statements that mean something to the session itself.
    async fn answer_session_statement(
        &mut self,
        length: usize,
        text: &[u8],
        statement: &Arc<Statement>,
        timing: &mut Timing,
    ) -> Result<(), SessionError> {
        self.restore_diagnostics_before(statement).await?;
        let parsed = session_statement::parse(text, self.lex_mode());
        if let SessionStatement::Kill {
            query,
            id: Some(id),
        } = parsed
            && let Some(backend_id) = self.worker.rooms.backend_id_of(id)
        {
            let what = if query { "QUERY" } else { "CONNECTION" };
            self.client.input.consume(HEADER_BYTES + length);
            return self
                .relay_own_text(format!("KILL {what} {backend_id}").as_bytes())
                .await;
        }
        let afterwards = afterwards(parsed);
        self.relay_statement(length, statement, Reason::NotARead, timing)
            .await?;
        self.state.reusable &= !afterwards.not_reusable;
        self.state.next_transaction_set |= afterwards.next_transaction;
        if let Some(why) = afterwards.unreadable {
            self.state.inexact.get_or_insert(why);
        }
        if let Some(schema) = afterwards.schema.filter(|_| self.last_ok) {
            self.schema_changed(schema.into());
        }
        Ok(())
    }

    /// Relays the statement at the front of the buffer to the session's own backend connection.
    async fn relay_statement(
        &mut self,
        length: usize,
        statement: &Arc<Statement>,
        reason: Reason,
        timing: &mut Timing,
    ) -> Result<(), SessionError> {
        self.forward(length).await?;
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
        self.last_ok = summary.error.is_none();
        self.state
            .observe(statement, self.last_ok.then_some(summary.status));
        let served_by = if self.entrance == Entrance::Admin {
            ServedBy::Admin
        } else {
            ServedBy::Backend
        };
        let execution = Execution {
            statement: Some(statement),
            served_by,
            reason,
            timing,
            summary: &summary,
            bytes_in: (HEADER_BYTES + length) as u64,
            text: None,
        };
        self.observer.ends(&self.worker, &execution);
        self.machine.recycle(summary);
        Ok(())
    }

    async fn relay_unread(
        &mut self,
        length: usize,
        timing: &mut Timing,
    ) -> Result<(), SessionError> {
        self.restore_diagnostics().await?;
        self.forward(length).await?;
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
    pub(super) async fn relay_own_text(&mut self, sql: &[u8]) -> Result<(), SessionError> {
        let mut body = Vec::with_capacity(sql.len() + 8);
        put_query(&mut body, self.backend.capabilities, sql);
        let mut packet = Vec::with_capacity(body.len() + HEADER_BYTES);
        write_packet(&mut packet, &mut 0, &body);
        send_to_backend(&mut self.backend, &packet).await?;
        let mut timing = Timing::start();
        relay_answer(
            &mut self.client,
            &mut self.backend,
            &mut self.machine,
            Expect::Query,
            &mut timing,
            None,
        )
        .await
        .map(drop)
    }

    /// Before a statement: if the last answer did not come from the backend, the backend connection must know what a question
    /// about that answer would be told. A plain read asks nothing and leaves its own answer behind.
    pub(super) async fn restore_diagnostics_before(
        &mut self,
        statement: &Statement,
    ) -> Result<(), SessionError> {
        if self.state.found_rows_elsewhere.is_none() {
            return Ok(());
        }
        if statement.kind == Kind::Select
            && statement.opaque.is_none()
            && !statement.reads_diagnostics
        {
            self.state.found_rows_elsewhere = None;
            return Ok(());
        }
        self.restore_diagnostics().await
    }

    /// Brings FOUND_ROWS(), ROW_COUNT() and the warnings of the backend connection to what the last answer left behind.
    pub(super) async fn restore_diagnostics(&mut self) -> Result<(), SessionError> {
        let Some(rows) = self.state.found_rows_elsewhere.take() else {
            return Ok(());
        };
        match self
            .backend
            .query(rows_statement(rows).as_bytes(), |_| Ok(()))
            .await
        {
            Ok(_) | Err(ExchangeError::Refused { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
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

fn afterwards(parsed: SessionStatement) -> Afterwards {
    let mut after = Afterwards::default();
    match parsed {
        SessionStatement::Use(schema) => after.schema = Some(schema),
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

fn is_plain_mode(mode: &str) -> bool {
    let mode = mode.to_ascii_uppercase();
    !READING_MODES.iter().any(|word| mode.contains(word))
}

fn is_safe_charset(name: &str) -> bool {
    ClientCharset::from_name(name) != ClientCharset::Unsafe
}

/// A SELECT with exactly this many rows and no warning.
fn rows_statement(rows: u64) -> String {
    match rows {
        0 => "SELECT 1 FROM DUAL WHERE 0".to_owned(),
        1 => "SELECT 1".to_owned(),
        n => format!(
            "SELECT 1 FROM JSON_TABLE(CONCAT('[',REPEAT('1,',{}),'1]'),'$[*]' COLUMNS(a INT PATH '$')) AS t",
            n - 1
        ),
    }
}
