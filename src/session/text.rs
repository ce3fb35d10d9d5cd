//! COM_QUERY: from the text to its answer. `answer_query` is the one line that every statement follows.

use super::Session;
use super::error::SessionError;
use super::observe::Execution;
use super::relay::{Timing, relay_answer, send_to_backend};
use crate::analytics::ServedBy;
use crate::backend::connection::ExchangeError;
use crate::protocol::command::{QueryBody, put_query};
use crate::protocol::packet::{HEADER_BYTES, write_packet};
use crate::protocol::relay::Expect;
use crate::protocol::status;
use crate::router::reason::Reason;
use crate::sql::{Kind, LexMode, Statement};
use std::sync::Arc;
use std::time::Instant;

impl Session {
    /// How this session's texts are to be read.
    pub(super) fn lex_mode(&self) -> LexMode {
        LexMode {
            no_backslash_escapes: self.state.status & status::NO_BACKSLASH_ESCAPES != 0,
            ..LexMode::default()
        }
    }

    /// Answers a text whose bytes are all in the buffer.
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
            let mut named = None;
            query.for_each_attribute(|a| {
                if a.name == b"program_name" {
                    named = a.value;
                }
            });
            self.observer
                .note_app(&self.worker, named, self.worker.last_comment(query.text));
        }
        self.observer
            .starts(&self.worker, Some(&statement), timing.started);
        self.restore_diagnostics_before(&statement).await?;
        self.relay_statement(length, &statement, Reason::PlainRead, &mut timing)
            .await
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
        let ok = summary.error.is_none();
        self.state
            .observe(statement, ok, ok.then_some(summary.status));
        let execution = Execution {
            statement: Some(statement),
            served_by: ServedBy::Backend,
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
