//! The virtual schema in a session: on the admin port all of it, on the app port the statements of administrators that ask for
//! nothing else. The admin engine is a backend connection like any other, over a pipe in this process.

use super::Session;
use super::client::Client;
use super::error::SessionError;
use super::login::{self, Account};
use super::observe::Execution;
use super::relay::{Timing, relay_answer, send_to_backend};
use super::worker::Worker;
use crate::admin;
use crate::analytics::ServedBy;
use crate::backend::connection::ServerConnection;
use crate::protocol::command::Command;
use crate::protocol::packet::HEADER_BYTES;
use crate::protocol::relay::Expect;
use crate::router::reason::Reason;
use crate::sql::Statement;
use std::sync::Arc;
use std::time::Instant;

/// The admin engine's pipe as a backend connection, for a client that came by the admin port.
///
/// # Errors
/// The schema it asked for is not served there; the client has been told.
pub(super) async fn admin_backend(
    worker: &Worker,
    client: &mut Client,
    account: &Account,
    session_id: u32,
) -> Result<ServerConnection, SessionError> {
    let schema = Some(account.schema.to_string()).filter(|schema| !schema.is_empty());
    match open(worker, client, &account.user, schema, u64::from(session_id)) {
        Ok(connection) => Ok(connection),
        Err(error) => {
            let sqlstate = sqlstate(&error);
            Err(login::refuse(client, error.number(), &sqlstate, &error.to_string()).await)
        }
    }
}

fn open(
    worker: &Worker,
    client: &Client,
    user: &str,
    schema: Option<String>,
    connection_id: u64,
) -> Result<ServerConnection, admin::Error> {
    let host = client
        .peer
        .ip()
        .map_or("localhost".to_owned(), |ip| ip.to_string());
    let identity = admin::Identity {
        user: user.to_owned(),
        host,
        connection_id,
        schema,
    };
    let pipe = worker.rooms.admin.connect(identity, client.capabilities)?;
    let buffer_bytes = worker.rooms.config.client.buffer_bytes;
    Ok(ServerConnection::in_process(
        pipe,
        client.capabilities,
        buffer_bytes,
    ))
}

fn sqlstate(error: &admin::Error) -> [u8; 5] {
    error
        .sqlstate()
        .as_bytes()
        .first_chunk()
        .copied()
        .unwrap_or(*b"HY000")
}

impl Session {
    /// Whether a text on the app port is an administrator's question to the virtual schema.
    pub(super) fn asks_admin(&self, text: &[u8]) -> bool {
        self.is_administrator
            && std::str::from_utf8(text)
                .is_ok_and(|text| admin::is_admin_statement(text, &self.state.schema))
    }

    /// Answers such a text from the admin engine; the session's own backend connection hears nothing of it.
    pub(super) async fn answer_from_admin(
        &mut self,
        length: usize,
        statement: &Arc<Statement>,
        timing: &mut Timing,
    ) -> Result<(), SessionError> {
        if self.admin.is_none() {
            let schema = Some("tidegate".to_owned());
            match open(
                &self.worker,
                &self.client,
                self.backend.user(),
                schema,
                self.observer.session_id(),
            ) {
                Ok(connection) => self.admin = Some(connection),
                Err(error) => {
                    self.client.input.consume(HEADER_BYTES + length);
                    let (number, state, text) =
                        (error.number(), sqlstate(&error), error.to_string());
                    return self
                        .client
                        .send_error(number, &state, &text)
                        .await
                        .map_err(SessionError::ClientIo);
                }
            }
        }
        let Some(pipe) = &mut self.admin else {
            return Ok(());
        };
        let bytes = self
            .client
            .input
            .peek()
            .get(..HEADER_BYTES + length)
            .unwrap_or_default();
        send_to_backend(&self.client.watch, pipe, bytes).await?;
        self.client.input.consume(HEADER_BYTES + length);
        timing.sent = Instant::now();
        let summary = relay_answer(
            &mut self.client,
            pipe,
            &mut self.machine,
            Expect::Query,
            timing,
            None,
        )
        .await?;
        self.traces.served_elsewhere(summary.rows);
        let execution = Execution {
            statement: Some(statement),
            served_by: ServedBy::Admin,
            reason: Reason::Admin,
            timing,
            summary: &summary,
            bytes_in: (HEADER_BYTES + length) as u64,
            text: None,
        };
        self.observer.ends(&self.worker, &execution);
        Ok(())
    }

    /// On the admin port: a command that the engine cannot be asked is refused.
    pub(super) async fn refuse_admin_command(
        &mut self,
        command: Command,
        length: usize,
    ) -> Result<(), SessionError> {
        self.client.input.consume(HEADER_BYTES + length);
        let text = format!(
            "The admin schema does not know the command '{}'",
            command.name()
        );
        self.client
            .send_error(1047, b"08S01", &text)
            .await
            .map_err(SessionError::ClientIo)
    }
}
