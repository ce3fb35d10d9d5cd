//! Every command but COM_QUERY: relayed with the answer that it has, answered truly, or refused with the server's own words.
//! None is answered OK without being done.

use super::error::SessionError;
use super::lease::{self, Person};
use super::login::{self, Account, Claim};
use super::observe::Execution;
use super::prepared::Prepared;
use super::relay::{Ask, Timing, relay_answer, relay_long_request, send_to_backend};
use super::statements::Victim;
use super::{Entrance, Session, fresh_state};
use crate::admin;
use crate::analytics::ServedBy;
use crate::backend::variables::is_holding;
use crate::protocol::auth::Nonce;
use crate::protocol::command::Command;
use crate::protocol::handshake::ChangeUser;
use crate::protocol::packet::HEADER_BYTES;
use crate::protocol::relay::{Expect, Summary};
use crate::protocol::{ProtocolError, capability};
use crate::router::reason::Reason;
use crate::router::session_state::SessionState;
use crate::router::ties::{Reported, Tie, Ties};
use crate::router::traces::Traces;
use crate::sql::Statement;
use std::sync::Arc;

/// The shortest body of a command that has no answer: a statement, and for long data a parameter too.
fn body_bytes_min(command: Command) -> usize {
    match command {
        Command::StmtClose => 4,
        Command::StmtSendLongData => 6,
        _ => 0,
    }
}

impl Session {
    /// Answers a command whose bytes are all in the buffer.
    pub(super) async fn answer_command(
        &mut self,
        command: Command,
        length: usize,
    ) -> Result<(), SessionError> {
        if length < 1 + body_bytes_min(command) {
            return self.answer_malformed(length).await;
        }
        if self.entrance == Entrance::Admin && !admin::relayed(command) {
            return self.refuse_admin_command(command, length).await;
        }
        match command {
            Command::StmtExecute => self.execute(length).await,
            Command::StmtPrepare => self.prepare(length).await,
            Command::StmtClose => self.close_prepared(length).await,
            Command::StmtSendLongData | Command::StmtReset | Command::StmtFetch => {
                self.relay_prepared_command(command, length).await
            }
            Command::BinlogDump | Command::BinlogDumpGtid | Command::RegisterReplica => {
                self.ties.until_reset(Tie::Replication);
                self.state.reusable = false;
                self.relay_command(command, length).await.map(drop)
            }
            Command::SetOption => {
                // A reset does not take it back.
                self.state.reusable = false;
                self.ties.until_reset(Tie::SetOption);
                self.set_option(length).await
            }
            // Apart: it is as large as a login.
            Command::ChangeUser => Box::pin(self.change_user(length)).await,
            Command::ResetConnection => Box::pin(self.reset_connection(length)).await,
            Command::InitDb => self.init_db(length).await,
            Command::ProcessKill => Box::pin(self.process_kill(length)).await,
            // The clone protocol goes on in ways that we do not follow; the others are the server's own.
            Command::Clone
            | Command::TableDump
            | Command::Sleep
            | Command::Connect
            | Command::Time
            | Command::DelayedInsert
            | Command::ConnectOut
            | Command::Daemon
            | Command::SubscribeGroupReplicationStream => self.answer_unknown(length).await,
            _ => self.relay_command(command, length).await.map(drop),
        }
    }

    /// Relays a command as it stands, and its answer if it has one.
    pub(super) async fn relay_command(
        &mut self,
        command: Command,
        length: usize,
    ) -> Result<Option<Summary>, SessionError> {
        self.attach().await?;
        self.forward(length).await?;
        let Some(expect) = Expect::of(command) else {
            return Ok(None);
        };
        let mut timing = Timing::start();
        let summary = relay_answer(
            &mut self.client,
            &mut self.backend,
            &mut self.machine,
            expect,
            &mut timing,
            None,
        )
        .await?;
        if summary.error.is_none() && expect == Expect::Simple && summary.status != 0 {
            self.state.status = summary.status;
        }
        let reported = Reported::of(&summary, is_holding);
        self.note_reported(reported);
        self.note_commits(&summary);
        if summary.error.is_some() {
            self.is_unreported = true;
        } else if expect == Expect::Simple {
            self.is_unreported = false;
        }
        if command != Command::Statistics || summary.error.is_some() {
            self.ties.observe_command(command, &summary, reported);
            self.traces.commanded(match (&summary.error, command) {
                (Some(_), _) => Some(-1),
                (None, Command::Ping | Command::InitDb | Command::StmtReset) => Some(0),
                (None, _) => None,
            });
        }
        Ok(Some(summary))
    }

    /// Sends the command at the front of the client's buffer to the backend as it stands.
    pub(super) async fn forward(&mut self, length: usize) -> Result<(), SessionError> {
        let bytes = self
            .client
            .input
            .peek()
            .get(..HEADER_BYTES + length)
            .unwrap_or_default();
        send_to_backend(&self.client.watch, &mut self.backend, bytes).await?;
        self.request_sent(HEADER_BYTES + length);
        Ok(())
    }

    /// The body of the command at the front of the buffer, behind the command byte.
    pub(super) fn body(&self, length: usize) -> &[u8] {
        self.client
            .input
            .peek()
            .get(HEADER_BYTES + 1..HEADER_BYTES + length)
            .unwrap_or_default()
    }

    pub(super) fn statement_id(&self) -> Option<u32> {
        let bytes = self
            .client
            .input
            .peek()
            .get(HEADER_BYTES + 1..HEADER_BYTES + 5)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// A command that has no answer when it is right, but was cut short: MySQL answers that, MariaDB does not. Sent on, its answer
    /// would be taken for that of the next command, and so on for all that follow. So it stays here, with MySQL's words.
    async fn answer_malformed(&mut self, length: usize) -> Result<(), SessionError> {
        self.client.input.consume(HEADER_BYTES + length);
        self.client
            .send_error(1835, b"HY000", "Malformed communication packet.")
            .await
            .map_err(SessionError::ClientIo)
    }

    /// A byte that is no command of ours: the server's own answer to such.
    pub(super) async fn answer_unknown(&mut self, length: usize) -> Result<(), SessionError> {
        self.client.input.consume(HEADER_BYTES + length);
        self.client
            .send_error(1047, b"08S01", "Unknown command")
            .await
            .map_err(SessionError::ClientIo)
    }

    /// A request that is too long to be held: relayed in pieces, unread.
    pub(super) async fn answer_streamed(
        &mut self,
        command: Option<Command>,
    ) -> Result<(), SessionError> {
        use Command::{Query, StmtExecute, StmtPrepare, StmtSendLongData};
        let known =
            command.filter(|c| matches!(c, Query | StmtPrepare | StmtExecute | StmtSendLongData));
        let Some(command) = known.filter(|_| self.entrance == Entrance::App) else {
            let bytes_max = self.worker.rooms.config.client.statement_bytes_max;
            let error = ProtocolError::TooLarge {
                what: "command",
                bytes_max,
            };
            return Err(SessionError::ClientProtocol(error));
        };
        self.restore_diagnostics().await?;
        let (statement, instead) = match command {
            StmtExecute => self.begin_streamed_execution().await?,
            StmtSendLongData => {
                self.begin_streamed_data().await?;
                (None, None)
            }
            _ => (None, None),
        };
        let mut timing = Timing::start();
        self.observer
            .starts(&self.worker, statement.as_deref(), timing.started);
        let bytes_max = self.worker.rooms.config.client.packet_bytes_max;
        let (client, backend) = (&mut self.client, &mut self.backend);
        let bytes_in = relay_long_request(client, backend, bytes_max, instead).await?;
        timing.sent = std::time::Instant::now();
        let Some(expect) = Expect::of(command) else {
            return Ok(());
        };
        self.client.offers_file = command == Query && self.client.can_send_files();
        let id = self.next_statement_id();
        let (client, backend, machine) = (&mut self.client, &mut self.backend, &mut self.machine);
        let ask = Ask {
            expect,
            statement_id: (command == StmtPrepare).then_some(id),
        };
        let summary = relay_answer(client, backend, machine, ask, &mut timing, None).await?;
        self.note_streamed(command, statement.as_deref(), &summary);
        if let Some(done) = &summary.prepared {
            self.statement_ids = id;
            let on = (self.backend.serial, done.statement_id);
            self.enter_prepared(id, Prepared::unread_on(on)).await?;
        }
        let execution = Execution {
            statement: statement.as_deref(),
            served_by: ServedBy::Backend,
            reason: if statement.is_some() {
                Reason::PreparedRelayed
            } else {
                Reason::Oversize
            },
            timing: &timing,
            summary: &summary,
            bytes_in,
            text: None,
        };
        self.observer.ends(&self.worker, &execution);
        self.machine.recycle(summary);
        Ok(())
    }

    /// What a request that was not held has done to the session.
    fn note_streamed(
        &mut self,
        command: Command,
        statement: Option<&Statement>,
        summary: &Summary,
    ) {
        let status = summary.error.is_none().then_some(summary.status);
        match statement {
            None if command == Command::StmtPrepare => return,
            Some(statement) => self.state.observe(statement, status),
            None => self.state.observe_unknown("oversize_statement", status),
        }
        self.observe_connection(statement, summary);
    }

    /// COM_SET_OPTION: several statements in one text or not, as by the capability. Not even another login takes it back.
    async fn set_option(&mut self, length: usize) -> Result<(), SessionError> {
        let option = self.body(length).first_chunk::<2>().copied();
        let summary = self.relay_command(Command::SetOption, length).await?;
        if summary.is_some_and(|summary| summary.error.is_none()) {
            for capabilities in [
                &mut self.client.capabilities,
                &mut self.backend.capabilities,
            ] {
                match option.map(u16::from_le_bytes) {
                    Some(0) => *capabilities |= capability::MULTI_STATEMENTS,
                    Some(1) => *capabilities &= !capability::MULTI_STATEMENTS,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    async fn init_db(&mut self, length: usize) -> Result<(), SessionError> {
        self.place_all().await?;
        let schema: Arc<str> = String::from_utf8_lossy(self.body(length)).into();
        let summary = self.relay_command(Command::InitDb, length).await?;
        self.backend.had_schema = true;
        if summary.is_some_and(|s| s.error.is_none()) {
            self.schema_changed(schema);
        }
        Ok(())
    }

    /// The default schema is another one now.
    pub(super) fn schema_changed(&mut self, schema: Arc<str>) {
        self.observer.set_schema(&self.worker, &schema);
        self.state.schema = schema;
        self.state.forget_env();
        self.backend.had_schema = true;
    }

    /// Nothing of what the session did so far is left.
    fn begin_anew(&mut self) {
        self.prepared.clear();
        (self.prepared_bytes, self.long_data) = (0, 0);
        self.ties = Ties::default();
        self.traces = Traces::new();
        self.is_unreported = false;
        self.changes += 1;
    }

    async fn reset_connection(&mut self, length: usize) -> Result<(), SessionError> {
        self.attach().await?;
        self.look_back().await?;
        let traces = self.traces;
        let summary = self.relay_command(Command::ResetConnection, length).await?;
        if let Some(summary) = summary.filter(|s| s.error.is_none()) {
            self.set_unlogged(false);
            self.begin_anew();
            self.traces = traces;
            self.traces.reset();
            self.backend.forget();
            let rooms = self.worker.rooms.clone();
            let armed = lease::arm(&mut self.backend, &rooms);
            self.client.wait_for_backend(armed).await??;
            let reusable = self.state.reusable;
            let schema = self.state.schema.clone();
            self.state = SessionState {
                reusable,
                ..fresh_state(&self.worker, self.entrance, summary.status, &schema).await
            };
            self.observer
                .begins_with(self.worker.rooms.defaults.present().as_ref());
        }
        Ok(())
    }

    /// COM_PROCESS_KILL with an id that the client got from our greeting means the session that we greeted.
    async fn process_kill(&mut self, length: usize) -> Result<(), SessionError> {
        let id = self
            .body(length)
            .first_chunk::<4>()
            .map(|id| u64::from(u32::from_le_bytes(*id)));
        let Some(victim) = id.and_then(|id| Victim::of(&self.worker.rooms, id, false)) else {
            let relayed = self.relay_command(Command::ProcessKill, length).await;
            return relayed.map(drop);
        };
        self.attach().await?;
        self.client.input.consume(HEADER_BYTES + length);
        if victim.backend_id == 0 || victim.node != self.backend.node {
            return self.kill_away(&victim).await;
        }
        let sql = format!("KILL {}", victim.backend_id);
        let mut timing = Timing::start();
        let relayed = self.relay_own_text(sql.as_bytes(), &mut timing);
        let killed = relayed.await?.error.is_none();
        if killed && self.spread.is_some() {
            victim.request_end();
        }
        Ok(())
    }

    /// COM_CHANGE_USER: a new login on the same socket. As on the server, a refused one ends the connection.
    async fn change_user(&mut self, length: usize) -> Result<(), SessionError> {
        let parsed = ChangeUser::parse(self.body(length), self.client.capabilities);
        self.client.input.consume(HEADER_BYTES + length);
        let request = parsed.map_err(SessionError::ClientProtocol)?;
        let claim = Claim {
            user: &request.user,
            schema: &request.schema,
            // The C library answers only to a new challenge here: nothing at all is not yet the empty password.
            plugin: if request.auth_response.is_empty() {
                b""
            } else {
                &request.plugin
            },
            answer: &request.auth_response,
            attributes: &request.attributes,
        };
        self.client.collation = request.collation;
        let account = Account::of(&claim);
        // The old connection goes first: what it holds must be free before the client hears OK, and so must its place.
        self.set_unlogged(false);
        self.worker.lot.leave(&self.seat);
        let gone = self.backend.gone();
        let old = std::mem::replace(&mut self.backend, gone);
        if old.is_gone() {
            self.state.reusable = false;
        }
        if std::mem::replace(&mut self.state.reusable, false) {
            self.worker.rooms.give_back(old, self.worker.id).await;
        } else {
            drop(old);
        }
        let nonce: Nonce = self.nonce;
        self.client
            .may_log_in_for(self.worker.rooms.config.login.handshake_ms_max);
        let (mut backend, nonce) =
            login::authenticate(&mut self.client, &self.worker, &claim, nonce).await?;
        let rooms = self.worker.rooms.clone();
        let armed = lease::arm(&mut backend, &rooms);
        self.client.wait_for_backend(armed).await??;
        self.nonce = nonce;
        self.person = Person::new(&self.worker, claim.user, claim.attributes, &backend);
        self.hold(backend);
        self.settles();
        self.away = None;
        self.begin_anew();
        self.state = fresh_state(
            &self.worker,
            self.entrance,
            self.backend.status,
            &account.schema,
        )
        .await;
        self.lex_base = super::lex_base(&self.client, &self.backend);
        self.is_administrator = super::is_administrator(&self.worker, &account);
        self.admin = None;
        self.observer
            .set_account(&self.worker, &account, &self.backend);
        self.observer
            .begins_with(self.worker.rooms.defaults.present().as_ref());
        // Last: who has heard it finds the new account everywhere.
        login::send_login_ok(&mut self.client, &self.backend).await
    }
}
