//! One backend connection of the data plane, logged in (`login`): reset, and small exchanges of our own on it.
//! Relaying a client's statement is the session's work; here nothing is ever sent to a client.

use super::nodes::NodeId;
use super::pool::{Pool, Slot};
use super::statements::Statements;
use super::stream::Stream;
use super::target::Like;
use super::variables::{Values, Variables};
use crate::protocol::auth::Secret;
use crate::protocol::capability;
use crate::protocol::command::Command;
use crate::protocol::packet::{HEADER_BYTES, PacketBuffer, write_packet};
use crate::protocol::relay::{Event, Expect, ResponseMachine, Summary};
use crate::protocol::{ProtocolError, command};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncWriteExt, DuplexStream};

/// Capabilities that matter only for how the login itself is written.
const LOGIN_ONLY: u32 = capability::SSL
    | capability::CONNECT_WITH_DB
    | capability::PLUGIN_AUTH
    | capability::PLUGIN_AUTH_LENENC
    | capability::CONNECT_ATTRS
    | capability::SECURE_CONNECTION
    | capability::CAN_HANDLE_EXPIRED_PASSWORDS;

/// Why an exchange of our own failed. After any but `Refused` the connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The socket.
    #[error("backend connection: {0}")]
    Io(#[from] io::Error),
    /// The backend broke the protocol.
    #[error("backend connection: {0}")]
    Protocol(#[from] ProtocolError),
    /// The server answered with an error.
    #[error("backend: {code} {message}")]
    Refused {
        /// MySQL error number.
        code: u16,
        /// SQLSTATE.
        sqlstate: [u8; 5],
        /// The server's text.
        message: String,
    },
}

impl ExchangeError {
    /// The server has ended the connection and said why: a statement of `init_connect` failed. It says so to the first statement.
    pub fn is_abort(&self) -> bool {
        matches!(self, Self::Refused { code: 1184, .. })
    }
}

/// What makes two backend connections the same to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionKey {
    /// User name.
    pub user: Arc<str>,
    /// Capabilities, without those of the login itself.
    pub capabilities: u32,
    /// The client has no default schema, so a connection that ever had one will not do.
    pub needs_no_schema: bool,
    /// How the client came, where that counts.
    pub like: Option<Like>,
    /// The count of changes of grants that its login must have seen.
    pub grants_min: Option<u64>,
    /// The one that the session had before, by its serial number: nothing has to be carried there. 0: a login.
    pub last: u64,
}

impl ConnectionKey {
    /// The key for a client that negotiated `capabilities`.
    pub fn new(user: Arc<str>, capabilities: u32, needs_no_schema: bool) -> Self {
        Self {
            user,
            capabilities: capabilities & !LOGIN_ONLY,
            needs_no_schema,
            like: None,
            grants_min: None,
            last: 0,
        }
    }
}

/// What a backend says of itself in its greeting; our own greeting repeats it to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Version text.
    pub version: Vec<u8>,
    /// Capabilities offered.
    pub capabilities: u32,
    /// Default collation id, the low 8 bits.
    pub collation: u8,
}

impl ServerFacts {
    /// The version as one number (9.7.4 is 90704), and whether it is MariaDB.
    pub fn version_id(&self) -> (u32, bool) {
        let text = String::from_utf8_lossy(&self.version);
        let mariadb = text.contains("MariaDB");
        // MariaDB puts a 5.5.5- in front for old replicas.
        let text = text
            .strip_prefix("5.5.5-")
            .filter(|_| mariadb)
            .unwrap_or(&text);
        let mut numbers = text
            .split(|c: char| !c.is_ascii_digit())
            .map(|n| n.parse::<u32>().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0).min(99);
        (next() * 10_000 + next() * 100 + next(), mariadb)
    }
}

/// A logged-in backend connection.
pub struct ServerConnection {
    /// The socket.
    pub stream: Stream,
    /// Bytes the server sent that were not used yet.
    pub input: PacketBuffer,
    /// Capabilities in force.
    pub capabilities: u32,
    /// The server's id of this connection.
    pub thread_id: u32,
    /// Status bits of the last answer to an exchange of our own.
    pub status: u16,
    /// The count of changes of accounts and grants when it was logged in; `None`: nobody would tell.
    pub grants: Option<u64>,
    /// How its client came, where that counts.
    pub like: Option<Like>,
    /// It may be given to another client after a reset.
    pub poolable: bool,
    /// A default schema was chosen on it at some time; there is no way back to none.
    pub had_schema: bool,
    /// The collation id in force after a reset is the server's default; this is the one it was opened with.
    pub collation: u16,
    /// What the server said of itself.
    pub facts: ServerFacts,
    /// The payload of the OK that ended the login, as the client may see it; empty once it was used.
    pub login_ok: Vec<u8>,
    /// What is known of its session state; `None` from the first change of unknown extent on.
    pub known: Option<Known>,
    /// LAST_INSERT_ID(), when known.
    pub last_insert_id: Option<u64>,
    /// What the server has prepared on it.
    pub statements: Statements,
    /// The variables of its server that can be carried, once looked up.
    pub variables: Option<Arc<Variables>>,
    /// The server reports changes of session state in all OK packets.
    pub reports: bool,
    /// It reports the GTIDs of commits, too, and for our sake alone.
    pub reports_gtids: bool,
    /// The server that it leads to.
    pub node: NodeId,
    /// It was left as its last session had it: whoever logs in must reset it.
    pub is_used: bool,
    /// With this another connection of the same login can be opened.
    pub secret: Option<Secret>,
    /// Tells connections apart, also those of different servers.
    pub serial: u64,
    pub(super) is_gone: bool,
    pub(super) user: Arc<str>,
    pub(super) opened: Instant,
    pub(super) slot: Option<Slot>,
}

/// A number that no other connection has.
pub(super) fn next_serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// The state of a connection that can be carried to another one.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its variables.
    pub values: Arc<Values>,
    /// Which they are.
    pub variables: Arc<Variables>,
    /// Its default schema.
    pub schema: Option<Box<str>>,
    /// The server's name for itself.
    pub server: Box<str>,
    /// Collation id of texts in its answers. A login and SET NAMES .. COLLATE set it, and no variable shows it.
    pub results_collation: u16,
}

impl ServerConnection {
    /// A connection to an engine in this process, which is logged in already.
    pub fn in_process(pipe: DuplexStream, capabilities: u32, buffer_bytes: usize) -> Self {
        Self {
            stream: Stream::Pipe(pipe),
            input: PacketBuffer::new(buffer_bytes),
            capabilities,
            thread_id: 0,
            status: crate::protocol::status::AUTOCOMMIT,
            had_schema: true,
            grants: None,
            poolable: false,
            collation: 0,
            facts: ServerFacts {
                version: Vec::new(),
                capabilities,
                collation: 0,
            },
            login_ok: Vec::new(),
            known: None,
            last_insert_id: None,
            statements: Statements::default(),
            variables: None,
            reports: false,
            reports_gtids: false,
            node: NodeId::FIRST,
            is_used: false,
            secret: None,
            like: None,
            serial: next_serial(),
            is_gone: false,
            user: Arc::from(""),
            opened: Instant::now(),
            slot: None,
        }
    }

    /// What stands in the place of a connection that a session has given up; reading from it waits for ever.
    pub fn gone(&self) -> Self {
        let (pipe, _) = tokio::io::duplex(1);
        let facts = self.facts.clone();
        Self {
            facts,
            user: self.user.clone(),
            input: PacketBuffer::none(),
            status: self.status,
            collation: self.collation,
            node: self.node,
            is_gone: true,
            ..Self::in_process(pipe, self.capabilities, 0)
        }
    }

    /// Whether it is only the place of one.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Makes a new connection out of the right to this one.
    pub fn into_slot(self) -> Option<Slot> {
        self.slot
    }

    /// The pool that its place is in.
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        self.slot.as_ref().map(Slot::pool)
    }

    /// Whether somebody waits for a connection like it.
    pub fn is_wanted(&self) -> bool {
        self.slot
            .as_ref()
            .is_some_and(|slot| slot.pool().has_waiters())
    }

    /// Ties the right to a backend connection to this one's life.
    pub fn hold(&mut self, slot: Slot) {
        self.slot = Some(slot);
    }

    /// The user it is logged in as, shared.
    pub fn user_arc(&self) -> Arc<str> {
        self.user.clone()
    }

    /// The user it is logged in as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Time since it was opened.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Whether a client with this key cannot tell it from a new one (after a reset).
    pub fn fits(&self, key: &ConnectionKey) -> bool {
        self.user == key.user
            && self.capabilities & !LOGIN_ONLY == key.capabilities
            && self.like == key.like
            && !(key.needs_no_schema && self.had_schema)
            && key
                .grants_min
                .is_none_or(|least| self.grants >= Some(least))
    }

    /// True when the server has neither closed it nor sent anything unasked.
    pub fn is_quiet(&self) -> bool {
        self.input.is_empty() && self.stream.is_quiet()
    }

    /// Runs one command of ours whose answer has no rows, or whose rows nobody wants.
    ///
    /// # Errors
    /// `Refused` leaves the connection usable, all others do not.
    pub async fn run(
        &mut self,
        command: Command,
        body: &[u8],
        expect: Expect,
    ) -> Result<Summary, ExchangeError> {
        self.exchange(command, body, expect, |_| Ok(())).await
    }

    /// Sends a command that has no answer.
    ///
    /// # Errors
    /// The socket's.
    pub async fn send(&mut self, command: Command, body: &[u8]) -> io::Result<()> {
        let mut payload = Vec::with_capacity(body.len() + 1);
        payload.push(command.byte());
        payload.extend_from_slice(body);
        send_packet(&mut self.stream, &payload, 0).await
    }

    /// COM_RESET_CONNECTION.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn reset(&mut self) -> Result<(), ExchangeError> {
        self.forget();
        self.status = self
            .run(Command::ResetConnection, &[], Expect::Simple)
            .await?
            .status;
        Ok(())
    }

    /// Its state is as after a login: unknown to us, and nothing is reported or prepared.
    pub fn forget(&mut self) {
        self.known = None;
        self.last_insert_id = None;
        (self.reports, self.reports_gtids) = (false, false);
        self.is_used = false;
        self.statements.clear();
    }

    /// Makes the server report changes of session state in its OK packets; from a server that cannot, nothing is asked.
    ///
    /// # Errors
    /// As [`run`](Self::run), but never `Refused`.
    pub async fn track(
        &mut self,
        variables: &Arc<Variables>,
        with_gtids: bool,
    ) -> Result<(), ExchangeError> {
        // What is on already may not be set in a transaction.
        let is_new = with_gtids && variables.tells_gtids() && !self.reports_gtids;
        let gtids = match is_new {
            true => ",session_track_gtids=OWN_GTID",
            false => "",
        };
        let sql = format!("SET {}{gtids}", variables.track_sql());
        self.variables = Some(variables.clone());
        match self.query(sql.as_bytes(), |_| Ok(())).await {
            Ok(_) => {
                self.reports = true;
                self.reports_gtids |= is_new;
            }
            Err(error) if error.is_abort() => return Err(error),
            Err(ExchangeError::Refused { .. }) => self.reports = false,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes that back: the variables of the trackers are the client's own again. In a transaction the server goes on to report GTIDs:
    /// it would refuse anything else.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn untrack(&mut self, in_transaction: bool) -> Result<(), ExchangeError> {
        let takes_gtids = self.reports_gtids && !in_transaction;
        let gtids = match takes_gtids {
            true => ",session_track_gtids=DEFAULT",
            false => "",
        };
        let sql = format!(
            "SET session_track_system_variables=DEFAULT,session_track_state_change=DEFAULT{gtids}"
        );
        self.query(sql.as_bytes(), |_| Ok(())).await?;
        self.reports = false;
        self.reports_gtids &= !takes_gtids;
        Ok(())
    }

    /// COM_INIT_DB.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn use_schema(&mut self, schema: &[u8]) -> Result<Summary, ExchangeError> {
        self.had_schema = true;
        self.run(Command::InitDb, schema, Expect::Simple).await
    }

    /// Runs a statement of ours and gives every byte of the answer to `each`. It leaves no warnings behind: somebody may ask.
    ///
    /// # Errors
    /// As [`run`](Self::run); an error of `each` ends the exchange with the connection unusable.
    pub async fn query(
        &mut self,
        sql: &[u8],
        each: impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<Summary, ExchangeError> {
        let mut body = Vec::with_capacity(sql.len() + 2);
        command::put_query(&mut body, self.capabilities, sql);
        let body = body.get(1..).unwrap_or_default();
        let exchanged = self.exchange(Command::Query, body, Expect::Query, each);
        let summary = exchanged.await?;
        if summary.warnings > 0 {
            let mut plain = Vec::new();
            command::put_query(&mut plain, self.capabilities, b"DO 0");
            let plain = plain.get(1..).unwrap_or_default();
            self.run(Command::Query, plain, Expect::Query).await?;
        }
        Ok(summary)
    }

    /// Takes away the warnings and errors of the statement before. A PREPARE does, and leaves ROW_COUNT() and FOUND_ROWS() alone
    /// (measured on 9.7.4).
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn clear_conditions(&mut self) -> Result<(), ExchangeError> {
        let asked = self.run(Command::StmtPrepare, b"DO 0", Expect::Prepare);
        if let Some(prepared) = asked.await?.prepared {
            let id = prepared.statement_id.to_le_bytes();
            self.send(Command::StmtClose, &id).await?;
        }
        Ok(())
    }

    /// One command, its whole answer.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn exchange(
        &mut self,
        command: Command,
        body: &[u8],
        expect: Expect,
        mut each: impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<Summary, ExchangeError> {
        self.send(command, body).await?;
        let mut machine = ResponseMachine::new(expect, self.capabilities);
        loop {
            if self.input.is_empty() && self.input.fill(&mut self.stream).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            let fed = machine.feed(self.input.peek())?;
            let bytes = self.input.peek().get(..fed.consumed).unwrap_or_default();
            each(bytes)?;
            self.input.consume(fed.consumed);
            match fed.event {
                None => {}
                Some(Event::Done(summary)) => return finished(summary),
                Some(Event::LocalInfile { .. }) => {
                    return Err(ProtocolError::Unexpected("answer to our own query").into());
                }
            }
        }
    }
}

fn finished(mut summary: Summary) -> Result<Summary, ExchangeError> {
    match summary.error.take() {
        None => Ok(summary),
        Some(error) => Err(ExchangeError::Refused {
            code: error.code,
            sqlstate: error.sqlstate,
            message: String::from_utf8_lossy(&error.message).into_owned(),
        }),
    }
}

pub(super) async fn send_packet(
    stream: &mut Stream,
    payload: &[u8],
    mut sequence: u8,
) -> io::Result<()> {
    let mut out = Vec::with_capacity(payload.len() + HEADER_BYTES);
    write_packet(&mut out, &mut sequence, payload);
    stream.write_all(&out).await?;
    stream.flush().await
}
