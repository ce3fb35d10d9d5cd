//! Executions that are too long to be held. One that counts on parameter types which only we have seen is given them on its way.
//! Never holds more of an execution than its head.

use super::Session;
use super::SessionError;
use crate::protocol::command::{Command, Execute};
use crate::protocol::packet::{HEADER_BYTES, header};
use crate::session::relay::Instead;
use crate::sql::Statement;
use std::sync::Arc;

/// The longest head of an execution: command, statement, flags, iterations, count, null bits, and whether types follow.
const HEAD_BYTES_MAX: usize = 1 + 4 + 1 + 4 + 9 + 65_535_usize.div_ceil(8) + 1;

impl Session {
    /// What is known of an execution that is too long to be held, and what must stand in place of its first bytes: when its
    /// parameter types came with an execution that we answered ourselves, the backend has never seen them.
    ///
    /// # Errors
    /// The client's socket; types that do not fit the parameters.
    pub(in crate::session) async fn begin_streamed_execution(
        &mut self,
    ) -> Result<(Option<Arc<Statement>>, Option<Instead>), SessionError> {
        let Some(id) = self
            .statement_id()
            .filter(|id| self.prepared.contains_key(id))
        else {
            return Ok((None, None));
        };
        self.hold_head().await?;
        let server_id = self.place_statement(id, false).await?;
        self.rename_statement(server_id);
        let caps = self.client.capabilities;
        let head = self.client.input.peek();
        let length = header(head).map_or(0, |(length, _)| length);
        let body = head
            .get(HEADER_BYTES + 1..(HEADER_BYTES + length).min(head.len()))
            .unwrap_or_default();
        let Some(prepared) = self.prepared.get_mut(&id) else {
            return Ok((None, None));
        };
        // Whatever types it brings stay unknown to us, so nothing of it is answered from elsewhere from now on, and it stays here.
        prepared.may_be_better = false;
        let types = std::mem::take(&mut prepared.types);
        let statement = prepared.statement.clone();
        let is_known = types.is_empty() || self.backend.statements.has_types(server_id, &types);
        prepared.text = None;
        self.backend.statements.keep(server_id);
        if is_known {
            return Ok((statement, None));
        }
        let parsed = Execute::parse(body).and_then(|e| e.before_types(caps, prepared.declared));
        let Ok(before) = parsed else {
            // The server knows best how to refuse it.
            return Ok((statement, None));
        };
        if before.types_follow || before.count == 0 {
            return Ok((statement, None));
        }
        if before.count != prepared.declared {
            return Err(SessionError::Internal(
                "an execution with other parameters than those that its types were sent for",
            ));
        }
        let mut bytes = vec![Command::StmtExecute.byte()];
        bytes.extend_from_slice(body.get(..before.bytes).unwrap_or_default());
        bytes.push(1);
        bytes.extend_from_slice(&types);
        let of = 1 + before.bytes + 1;
        Ok((statement, Some(Instead { bytes, of })))
    }

    /// Long data that is too long to be held: it goes to the statement's id on this connection.
    ///
    /// # Errors
    /// The client's socket; the statement cannot be prepared on the connection.
    pub(in crate::session) async fn begin_streamed_data(&mut self) -> Result<(), SessionError> {
        let known = self
            .statement_id()
            .filter(|id| self.prepared.contains_key(id));
        let Some(id) = known else {
            // No statement has this id on any server.
            self.rename_statement(u32::MAX);
            return Ok(());
        };
        self.note_long_data(id, Command::StmtSendLongData).await?;
        let server_id = self.place_statement(id, false).await?;
        self.rename_statement(server_id);
        Ok(())
    }

    /// Waits until the head of the execution is in the buffer.
    async fn hold_head(&mut self) -> Result<(), SessionError> {
        let length = header(self.client.input.peek()).map_or(0, |(length, _)| length);
        let wanted = HEADER_BYTES + length.min(HEAD_BYTES_MAX);
        self.client.input.reserve(wanted);
        while self.client.input.peek().len() < wanted {
            self.client.fill().await?;
        }
        Ok(())
    }
}
