//! Where a prepared statement of the session is: its id on the connection at hand, preparing it there again when it is not, and the
//! commands that only name it. Statements stay prepared on a connection for the next session that prepares the same.

use super::Prepared;
use crate::backend::connection::{ExchangeError, Known};
use crate::protocol::command::Command;
use crate::protocol::packet::HEADER_BYTES;
use crate::protocol::relay::{Expect, Summary};
use crate::router::ties::Tie;
use crate::session::Session;
use crate::session::error::SessionError;
use crate::sql::Kind;
use xxhash_rust::xxh3::Xxh3;

impl Prepared {
    /// What it is in all, types of its values included; known once the session left a connection.
    fn full_key(&self) -> Option<u128> {
        Some(self.key? ^ self.history.hash().rotate_left(1))
    }

    /// Whether its executions may ask ROW_COUNT().
    pub fn asks_row_count(&self) -> bool {
        self.statement
            .as_ref()
            .is_none_or(|s| s.hold.reads_row_count)
    }
}

impl Session {
    /// The id of a statement of the client on the session's connection; prepares it there if it is not.
    ///
    /// # Errors
    /// `Unattached` with the server's error when it cannot be prepared any more.
    pub(in crate::session) async fn place_statement(
        &mut self,
        id: u32,
        alone: bool,
    ) -> Result<u32, SessionError> {
        self.attach().await?;
        let serial = self.backend.serial;
        let Some(prepared) = self.prepared.get_mut(&id) else {
            return Err(SessionError::Internal("a statement that is not prepared"));
        };
        if !alone {
            if prepared.on.0 == serial && self.backend.statements.has(prepared.on.1) {
                return Ok(prepared.on.1);
            }
            if let Some(found) = prepared
                .full_key()
                .and_then(|key| self.backend.statements.find(key))
            {
                prepared.on = (serial, found);
                return Ok(found);
            }
        }
        let Some(text) = prepared.text.clone() else {
            return Err(SessionError::Internal("a prepared statement was lost"));
        };
        let key = prepared.full_key().filter(|_| !alone);
        let asked = Box::pin(
            self.backend
                .run(Command::StmtPrepare, &text, Expect::Prepare),
        );
        let done = match self.client.wait_for_backend(asked).await? {
            Ok(summary) => {
                if summary.warnings > 0 {
                    self.clear_conditions().await?;
                }
                summary.prepared
            }
            Err(ExchangeError::Refused {
                code,
                sqlstate,
                message,
            }) => {
                self.traces.miscounted();
                self.clear_conditions().await?;
                return Err(SessionError::Unattached {
                    code,
                    sqlstate,
                    text: message,
                });
            }
            Err(error) => return Err(error.into()),
        };
        let done = done.ok_or(SessionError::Internal("an answer to a PREPARE of ours"))?;
        self.enter_on_connection(done.statement_id, key).await?;
        if let Some(prepared) = self.prepared.get_mut(&id) {
            prepared.on = (serial, done.statement_id);
        }
        Ok(done.statement_id)
    }

    /// A PREPARE of ours leaves no warnings behind.
    async fn clear_conditions(&mut self) -> Result<(), SessionError> {
        let cleared = Box::pin(self.backend.clear_conditions());
        Ok(self.client.wait_for_backend(cleared).await??)
    }

    /// Before a statement that may change the state that statements are prepared in: those of the session that are not prepared on
    /// this connection are, while the state is still theirs, and stay.
    pub(in crate::session) async fn place_all(&mut self) -> Result<(), SessionError> {
        let ids: Vec<u32> = self.prepared.keys().copied().collect();
        for id in ids {
            match self.place_statement(id, false).await {
                Ok(server_id) => self.backend.statements.keep(server_id),
                // Its tables are gone, perhaps: its execution will say so.
                Err(SessionError::Unattached { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Before a statement that may change tables: at the next execution of each of the session's statements the server prepares it
    /// again, and says so (9.7.4: in the status, and by warnings that are missing). Prepared anew elsewhere it would not.
    pub(in crate::session) fn keep_until_executed(&mut self) {
        let mut all = self.prepared.values_mut();
        all.by_ref()
            .for_each(|prepared| prepared.is_outdated = true);
    }

    /// Remembers a statement that the client has prepared.
    pub(in crate::session) async fn enter_prepared(
        &mut self,
        id: u32,
        prepared: Prepared,
    ) -> Result<(), SessionError> {
        let (server_id, is_held) = (prepared.on.1, prepared.text.is_some());
        self.prepared.insert(id, prepared);
        self.enter_on_connection(server_id, None).await?;
        if !is_held {
            self.backend.statements.keep(server_id);
        }
        Ok(())
    }

    async fn enter_on_connection(
        &mut self,
        server_id: u32,
        key: Option<u128>,
    ) -> Result<(), SessionError> {
        // Without a key nobody else finds it: ids and serial numbers are far from any hash.
        let own = u128::from(self.backend.serial) << 32 | u128::from(server_id);
        let most = self.worker.rooms.config.pool.prepared_max;
        let statements = &mut self.backend.statements;
        if let Some(old) = statements.prepared(server_id, key.unwrap_or(own), most) {
            let id = old.to_le_bytes();
            let closed = self.backend.send(Command::StmtClose, &id);
            closed.await.map_err(SessionError::BackendIo)?;
        }
        Ok(())
    }

    /// The session is about to leave its connection in this state: its statements are named so that they can be found by others, and
    /// on other connections. False: one was prepared in another state, or its text is not known.
    pub(in crate::session) fn place_prepared(&mut self, known: &Known) -> bool {
        if self.prepared.is_empty() {
            return true;
        }
        let mut hash = Xxh3::new();
        hash.update(&known.values.hash.to_le_bytes());
        hash.update(known.schema.as_deref().unwrap_or("\0").as_bytes());
        let env = hash.digest128();
        let (serial, is_on_reader) = (self.backend.serial, self.is_on_reader());
        for prepared in self.prepared.values_mut() {
            let Some(text) = &prepared.text else {
                return false;
            };
            match prepared.env {
                Some(then) if then == env => {}
                None if prepared.changes == self.changes => {
                    let mut hash = Xxh3::new();
                    hash.update(&env.to_le_bytes());
                    hash.update(text);
                    let key = hash.digest128();
                    (prepared.env, prepared.key) = (Some(env), Some(key));
                }
                _ => return false,
            }
            // On a reader it was executed before its values got another type, and never since.
            let is_bound = prepared.is_spoiled || prepared.is_outdated;
            if prepared.history.is_mixed() && !is_on_reader || is_bound {
                return false;
            }
            // Its values may have got types since it was named.
            if let Some(key) = prepared.full_key().filter(|_| prepared.on.0 == serial) {
                self.backend.statements.rename(prepared.on.1, key);
            }
        }
        true
    }

    /// COM_STMT_CLOSE: closed for good where it is; elsewhere it stays until it is the least recently used.
    pub(in crate::session) async fn close_prepared(
        &mut self,
        length: usize,
    ) -> Result<(), SessionError> {
        let gone = self.statement_id().and_then(|id| {
            self.ties.cursor_closed(id);
            self.prepared.remove(&id)
        });
        let Some(gone) = gone else {
            // As on the server: no answer, and nothing happens.
            self.client.input.consume(HEADER_BYTES + length);
            return Ok(());
        };
        if gone.long_data {
            self.long_data = self.long_data.saturating_sub(1);
        }
        self.prepared_bytes = self.prepared_bytes.saturating_sub(gone.held_bytes());
        let is_here = !self.backend.is_gone()
            && gone.on.0 == self.backend.serial
            && self.backend.statements.has(gone.on.1)
            && !self.prepared.values().any(|other| other.on == gone.on);
        if !is_here {
            self.client.input.consume(HEADER_BYTES + length);
            return Ok(());
        }
        self.backend.statements.closed(gone.on.1);
        self.rename_statement(gone.on.1);
        self.forward(length).await
    }

    /// COM_STMT_SEND_LONG_DATA, COM_STMT_RESET and COM_STMT_FETCH: relayed under the statement's id on this connection.
    pub(in crate::session) async fn relay_prepared_command(
        &mut self,
        command: Command,
        length: usize,
    ) -> Result<(), SessionError> {
        let known = self
            .statement_id()
            .filter(|id| self.prepared.contains_key(id));
        let Some(id) = known else {
            return self.refuse_unknown_prepared(command, length).await;
        };
        match command {
            Command::StmtReset if self.ties.has_diagnostics() && !self.is_here(id) => {
                return self.answer_reset(id, length).await;
            }
            Command::StmtFetch if !self.is_here(id) => return self.fetch_nothing(length).await,
            _ => {}
        }
        let placed = match self.note_long_data(id, command).await {
            Ok(()) => self.place_statement(id, false).await,
            Err(error) => Err(error),
        };
        let server_id = match placed {
            Ok(server_id) => server_id,
            // Long data has no answer, not even an error; the execution will have it.
            Err(SessionError::Unattached { .. }) if command == Command::StmtSendLongData => {
                self.client.input.consume(HEADER_BYTES + length);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.rename_statement(server_id);
        let summary = self.relay_command(command, length).await?;
        let is_over = summary.is_some_and(|s| {
            command == Command::StmtReset || s.status & crate::protocol::status::LAST_ROW_SENT != 0
        });
        if is_over {
            self.ties.cursor_closed(id);
        }
        Ok(())
    }

    /// Whether a statement is prepared on the session's connection.
    fn is_here(&self, id: u32) -> bool {
        let on = self
            .prepared
            .get(&id)
            .map_or((0, 0), |prepared| prepared.on);
        on.0 == self.backend.serial && self.backend.statements.holds(on.1)
    }

    /// COM_STMT_FETCH of a statement that is on another connection: it has no cursor, and may not even be prepared here now. The server
    /// says so of another one.
    async fn fetch_nothing(&mut self, length: usize) -> Result<(), SessionError> {
        self.attach().await?;
        let own: Vec<u32> = self
            .prepared
            .values()
            .map(|prepared| prepared.on.1)
            .collect();
        if let Some(id) = self.backend.statements.any_but(&own) {
            self.rename_statement(id);
            return self
                .relay_command(Command::StmtFetch, length)
                .await
                .map(drop);
        }
        let command = Command::StmtPrepare;
        let asked = Box::pin(self.backend.run(command, b"DO 0", Expect::Prepare));
        let prepared = self.client.wait_for_backend(asked).await??.prepared;
        let id = prepared.map_or(u32::MAX, |prepared| prepared.statement_id);
        self.rename_statement(id);
        self.relay_command(Command::StmtFetch, length).await?;
        // It stays: the next time there is one, and no warnings are taken away by a PREPARE.
        self.enter_on_connection(id, None).await
    }

    /// COM_STMT_RESET of a statement that is on another connection: it has nothing to be reset, and to prepare it here would take
    /// away the warnings that the client may ask for.
    async fn answer_reset(&mut self, id: u32, length: usize) -> Result<(), SessionError> {
        self.note_long_data(id, Command::StmtReset).await?;
        self.client.input.consume(HEADER_BYTES + length);
        let asked = self.backend.run(Command::Ping, &[], Expect::Simple);
        let summary = self.client.wait_for_backend(asked).await??;
        self.observe_own(&summary);
        self.is_unreported = false;
        self.state.status = summary.status;
        self.traces.commanded(Some(0));
        let told = self.client.send_ok(summary.status).await;
        told.map_err(SessionError::ClientIo)
    }

    /// Long data waits at the server for the statement, or no more. A statement that takes some is nobody else's meanwhile.
    pub(in crate::session) async fn note_long_data(
        &mut self,
        id: u32,
        command: Command,
    ) -> Result<(), SessionError> {
        let sends = command == Command::StmtSendLongData;
        let Some(prepared) = self.prepared.get_mut(&id) else {
            return Ok(());
        };
        let place = HEADER_BYTES + 5..HEADER_BYTES + 7;
        let parameter = self.client.input.peek().get(place);
        let parameter = parameter.and_then(|bytes| bytes.first_chunk::<2>());
        let is_wrong =
            parameter.is_none_or(|n| usize::from(u16::from_le_bytes(*n)) >= prepared.declared);
        match command {
            Command::StmtSendLongData => prepared.is_spoiled |= is_wrong,
            Command::StmtReset => (prepared.is_spoiled, self.unplaceable) = (false, None),
            _ => {}
        }
        let (had, on) = (prepared.long_data, prepared.on);
        if command == Command::StmtFetch || had == sends {
            return Ok(());
        }
        prepared.long_data = sends;
        match sends {
            false => self.long_data = self.long_data.saturating_sub(1),
            true => {
                self.long_data += 1;
                let shares = |(other, p): (&u32, &Prepared)| *other != id && p.on == on;
                if self.prepared.iter().any(shares) {
                    self.place_statement(id, true).await?;
                }
            }
        }
        Ok(())
    }

    /// An execution has told what it tells once only.
    pub(in crate::session) fn note_executed(&mut self, id: u32, summary: &Summary) {
        let outdated = self.prepared.get_mut(&id).filter(|it| it.is_outdated);
        if let Some(prepared) = outdated.filter(|_| summary.error.is_none()) {
            (prepared.is_outdated, self.unplaceable) = (false, None);
        }
    }

    /// A cursor is open for the statement, or the execution has closed the one that was.
    pub(in crate::session) fn note_cursor(&mut self, id: u32, has_cursor: bool) {
        match has_cursor {
            true => self.ties.cursor_opened(id),
            false => self.ties.cursor_closed(id),
        }
    }

    /// Writes another statement id into the command at the front of the buffer.
    pub(in crate::session) fn rename_statement(&mut self, server_id: u32) {
        let place = HEADER_BYTES + 1..HEADER_BYTES + 5;
        if let Some(place) = self.client.input.peek_mut().get_mut(place) {
            place.copy_from_slice(&server_id.to_le_bytes());
        }
    }

    /// A statement that the client has not prepared: the server says so, and remembers that it did. Under the client's id unless that
    /// is another statement's on this connection.
    pub(in crate::session) async fn refuse_unknown_prepared(
        &mut self,
        command: Command,
        length: usize,
    ) -> Result<(), SessionError> {
        self.attach().await?;
        let id = self.statement_id().unwrap_or_default();
        if self.backend.statements.has(id) {
            self.rename_statement(u32::MAX);
        }
        self.relay_command(command, length).await.map(drop)
    }

    /// Before a statement that may show the variables of the trackers: they are made the client's own, unless its pattern leaves them
    /// out. Answers whether the server is to report again after it.
    pub(in crate::session) async fn show_trackers(
        &mut self,
        statement: Option<&crate::sql::Statement>,
        leaves_out: bool,
    ) -> Result<bool, SessionError> {
        let Some(statement) = statement else {
            return Ok(false);
        };
        let hold = &statement.hold;
        let shows = hold.names_trackers || hold.shows_trackers && !leaves_out;
        let reports = self.backend.reports || self.backend.reports_gtids;
        if !shows || !reports {
            return Ok(false);
        }
        if self.ties.has_diagnostics() || self.is_unreported {
            // What changed so far is told with the next OK, and that must not be the one to a SET of ours.
            Box::pin(self.ask_reports()).await?;
        }
        Box::pin(self.look_back()).await?;
        let asked = Box::pin(self.backend.untrack(self.state.in_transaction()));
        self.client.wait_for_backend(asked).await??;
        let only_reads =
            matches!(statement.kind, Kind::Show | Kind::Select) && !hold.names_trackers;
        if !only_reads {
            self.ties.until_reset(Tie::SessionTrack);
        }
        Ok(only_reads)
    }

    /// The server reports again.
    pub(in crate::session) async fn track_again(
        &mut self,
        again: bool,
    ) -> Result<(), SessionError> {
        if !again {
            return Ok(());
        }
        if self.ties.has_diagnostics() {
            // What the statement left behind may be asked for: nothing of ours may come in between.
            self.ties.until_reset(Tie::SessionTrack);
            return Ok(());
        }
        Box::pin(self.look_back()).await?;
        let rooms = self.worker.rooms.clone();
        let armed = Box::pin(crate::session::lease::arm(&mut self.backend, &rooms));
        Ok(self.client.wait_for_backend(armed).await??)
    }
}

/// Whether a SHOW VARIABLES is surely not about the session's trackers: by the letters at the start of its pattern.
pub(in crate::session) fn leaves_out_trackers(text: &[u8]) -> bool {
    const PLAIN: &[u8] = b" \t\r\n_'%\\.;";
    let text = text.to_ascii_lowercase();
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || PLAIN.contains(b);
    let has_where = memchr::memmem::find(&text, b"where").is_some();
    if !text.starts_with(b"show") || has_where || !text.iter().all(is_plain) {
        return false;
    }
    let Some(at) = memchr::memmem::find(&text, b"like") else {
        return false;
    };
    let pattern = text.get(at + 4..).unwrap_or_default().trim_ascii_start();
    let Some(pattern) = pattern.strip_prefix(b"'") else {
        return false;
    };
    let end = pattern.iter().position(|b| !b.is_ascii_alphanumeric());
    let start = pattern.get(..end.unwrap_or(0)).unwrap_or_default();
    !b"session".starts_with(start) && !start.starts_with(b"session")
}

#[cfg(test)]
mod tests {
    use super::leaves_out_trackers;

    #[test]
    fn a_pattern_shows_what_it_leaves_out() {
        for (text, leaves_out) in [
            ("SHOW VARIABLES LIKE 'collation%'", true),
            ("show session variables like 'sql\\_%'", true),
            ("SHOW VARIABLES LIKE 'auto_increment_increment'", true),
            ("SHOW VARIABLES LIKE 'sessio%'", false),
            ("SHOW VARIABLES LIKE 'session_track_schema'", false),
            ("SHOW VARIABLES LIKE '%track%'", false),
            ("SHOW VARIABLES LIKE 's\\ession%'", false),
            ("SHOW VARIABLES", false),
            ("SHOW VARIABLES WHERE Variable_name LIKE 'a%' OR 1", false),
            ("SHOW VARIABLES LIKE /* 'a' */ '%'", false),
        ] {
            assert_eq!(leaves_out_trackers(text.as_bytes()), leaves_out, "{text}");
        }
    }
}
