//! One backend connection of the data plane: connect, log in, reset, and small exchanges of our own on it.
//! Relaying a client's statement is the session's work; here nothing is ever sent to a client.

use super::pool::Slot;
use super::stream::Stream;
use super::target::Target;
use crate::config::TlsMode;
use crate::protocol::auth::{ClientAuth, ClientStep, Secret};
use crate::protocol::capability;
use crate::protocol::command::Command;
use crate::protocol::handshake::{Attributes, Greeting, HandshakeResponse, SslRequest};
use crate::protocol::packet::{HEADER_BYTES, PacketBuffer, ReadError, write_packet};
use crate::protocol::relay::{Event, Expect, ResponseMachine, Summary};
use crate::protocol::response::{ERR_HEADER, ErrPacket, OkPacket};
use crate::protocol::{ProtocolError, command};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// Largest packet of a login from the server: a greeting, a key, an error.
const LOGIN_PACKET_BYTES_MAX: usize = 65_536;

/// The largest packet we tell the server that we take: we relay whatever comes.
const PACKET_BYTES_MAX: u32 = 1 << 30;

/// Capabilities that matter only for how the login itself is written.
const LOGIN_ONLY: u32 = capability::SSL
    | capability::CONNECT_WITH_DB
    | capability::PLUGIN_AUTH
    | capability::PLUGIN_AUTH_LENENC
    | capability::CONNECT_ATTRS
    | capability::SECURE_CONNECTION
    | capability::CAN_HANDLE_EXPIRED_PASSWORDS;

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The backend could not be reached, or went away during the login.
    #[error("cannot reach the backend: {0}")]
    Unreachable(#[from] io::Error),
    /// The backend refused the login; the client is told so in its words.
    #[error("the backend refused the login: {code} {message}")]
    Refused {
        /// MySQL error number.
        code: u16,
        /// SQLSTATE.
        sqlstate: [u8; 5],
        /// The server's text.
        message: String,
    },
    /// The backend broke the protocol.
    #[error("the backend's login packets: {0}")]
    Protocol(#[from] ProtocolError),
    /// The backend wants the password itself, and only SHA256 of it is known.
    #[error("the backend wants the password itself")]
    NeedPassword,
    /// It took too long.
    #[error("no login within {0:?}")]
    Timeout(Duration),
    /// TLS is required and the backend has none.
    #[error("backend.tls = required, but the backend offers no TLS")]
    NoTls,
}

impl From<ReadError> for ConnectError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => Self::Unreachable(error),
            ReadError::Protocol(error) => Self::Protocol(error),
        }
    }
}

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
        /// The server's text.
        message: String,
    },
}

/// Who logs in, and with what.
pub struct Login<'a> {
    /// User name as the client wrote it.
    pub user: &'a [u8],
    /// What we can prove.
    pub secret: Secret,
    /// Default schema; empty for none.
    pub schema: &'a [u8],
    /// Capabilities wanted; masked by what the server offers.
    pub capabilities: u32,
    /// Collation id.
    pub collation: u16,
    /// Connection attributes.
    pub attributes: Attributes,
}

/// What makes two backend connections the same to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionKey {
    /// User name.
    pub user: Arc<str>,
    /// Capabilities, without those of the login itself.
    pub capabilities: u32,
    /// The client starts without a default schema, so a connection that ever had one will not do.
    pub needs_no_schema: bool,
}

impl ConnectionKey {
    /// The key for a client that negotiated `capabilities`.
    pub fn new(user: Arc<str>, capabilities: u32, needs_no_schema: bool) -> Self {
        Self {
            user,
            capabilities: capabilities & !LOGIN_ONLY,
            needs_no_schema,
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
    /// A default schema was chosen on it at some time; there is no way back to none.
    pub had_schema: bool,
    /// The collation id in force after a reset is the server's default; this is the one it was opened with.
    pub collation: u16,
    /// What the server said of itself.
    pub facts: ServerFacts,
    /// The payload of the OK that ended the login, as the client may see it; empty once it was used.
    pub login_ok: Vec<u8>,
    user: Arc<str>,
    opened: Instant,
    _slot: Option<Slot>,
}

impl ServerConnection {
    /// Connects and logs in within `target.connect_max`. `slot` is the right to do so and lives as long as the connection;
    /// it is handed back by a failed attempt, since the caller may try again with another secret.
    pub async fn open(
        target: &Target,
        login: &Login<'_>,
        buffer_bytes: usize,
    ) -> Result<Self, ConnectError> {
        let attempt = Self::open_unlimited(target, login, buffer_bytes);
        match tokio::time::timeout(target.connect_max, attempt).await {
            Ok(done) => done,
            Err(_) => Err(ConnectError::Timeout(target.connect_max)),
        }
    }

    async fn open_unlimited(
        target: &Target,
        login: &Login<'_>,
        buffer_bytes: usize,
    ) -> Result<Self, ConnectError> {
        let mut stream = Stream::Tcp(target.connect().await?);
        let mut input = PacketBuffer::new(buffer_bytes);
        let (payload, mut sequence) = read_packet(&mut input, &mut stream).await?;
        if payload.first() == Some(&ERR_HEADER) {
            return Err(refused(&payload)?);
        }
        let greeting = Greeting::parse(&payload)?;
        let tls = match target.tls_mode {
            TlsMode::Disabled => false,
            TlsMode::Preferred => greeting.capabilities & capability::SSL != 0,
            TlsMode::Required if greeting.capabilities & capability::SSL == 0 => {
                return Err(ConnectError::NoTls);
            }
            TlsMode::Required => true,
        };
        let capabilities = login_capabilities(login, greeting.capabilities, tls);
        if tls {
            let mut request = Vec::new();
            SslRequest {
                capabilities,
                packet_bytes_max: PACKET_BYTES_MAX,
                collation: login.collation,
            }
            .write(&mut request);
            sequence = sequence.wrapping_add(1);
            stream = start_tls(target, stream, &request, sequence).await?;
        }
        let mut auth = ClientAuth::new(
            login.secret.clone(),
            stream.is_secure(),
            None,
            &greeting.plugin,
            greeting.nonce,
        );
        let response = HandshakeResponse {
            capabilities,
            packet_bytes_max: PACKET_BYTES_MAX,
            collation: login.collation,
            user: login.user.to_vec(),
            auth_response: auth.first_response()?.to_vec(),
            schema: login.schema.to_vec(),
            plugin: auth.plugin().to_vec(),
            attributes: login.attributes.clone(),
            ..HandshakeResponse::default()
        };
        let mut payload = Vec::new();
        response.write(&mut payload);
        let mut connection = Self {
            stream,
            input,
            capabilities: capabilities & !capability::SSL,
            thread_id: greeting.connection_id,
            status: greeting.status,
            had_schema: !login.schema.is_empty(),
            collation: login.collation,
            facts: ServerFacts {
                version: greeting.version,
                capabilities: greeting.capabilities,
                collation: greeting.collation,
            },
            login_ok: Vec::new(),
            user: String::from_utf8_lossy(login.user).into(),
            opened: Instant::now(),
            _slot: None,
        };
        connection
            .authenticate(&mut auth, payload, sequence.wrapping_add(1))
            .await?;
        Ok(connection)
    }

    /// Sends `payload` and goes on until the server accepts or refuses.
    async fn authenticate(
        &mut self,
        auth: &mut ClientAuth,
        payload: Vec<u8>,
        sequence: u8,
    ) -> Result<(), ConnectError> {
        send_packet(&mut self.stream, &payload, sequence).await?;
        loop {
            let (payload, sequence) = read_packet(&mut self.input, &mut self.stream).await?;
            match auth.on_packet(&payload)? {
                ClientStep::Send(answer) => {
                    send_packet(&mut self.stream, &answer, sequence.wrapping_add(1)).await?;
                }
                ClientStep::Wait => {}
                ClientStep::Done => {
                    self.status = OkPacket::parse(&payload, self.capabilities)?.status;
                    self.login_ok = payload;
                    return Ok(());
                }
                ClientStep::Refused => return Err(refused(&payload)?),
                ClientStep::NeedPassword => return Err(ConnectError::NeedPassword),
            }
        }
    }

    /// Ties the right to a backend connection to this one's life.
    pub fn hold(&mut self, slot: Slot) {
        self._slot = Some(slot);
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
            && !(key.needs_no_schema && self.had_schema)
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

    /// COM_RESET_CONNECTION.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn reset(&mut self) -> Result<(), ExchangeError> {
        self.status = self
            .run(Command::ResetConnection, &[], Expect::Simple)
            .await?
            .status;
        Ok(())
    }

    /// COM_INIT_DB.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn use_schema(&mut self, schema: &[u8]) -> Result<(), ExchangeError> {
        self.had_schema = true;
        self.run(Command::InitDb, schema, Expect::Simple)
            .await
            .map(drop)
    }

    /// Runs a statement of ours and gives every byte of the answer to `each`.
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
        self.exchange(Command::Query, body, Expect::Query, each)
            .await
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
        let mut payload = Vec::with_capacity(body.len() + 1);
        payload.push(command.byte());
        payload.extend_from_slice(body);
        send_packet(&mut self.stream, &payload, 0).await?;
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
            message: String::from_utf8_lossy(&error.message).into_owned(),
        }),
    }
}

fn login_capabilities(login: &Login<'_>, offered: u32, tls: bool) -> u32 {
    let mut capabilities = login.capabilities & offered & capability::OFFERED_MAX;
    capabilities |= capability::PROTOCOL_41 | capability::SECURE_CONNECTION;
    capabilities |= offered
        & (capability::PLUGIN_AUTH | capability::PLUGIN_AUTH_LENENC | capability::CONNECT_ATTRS);
    capabilities &= !capability::CONNECT_WITH_DB;
    if !login.schema.is_empty() {
        capabilities |= capability::CONNECT_WITH_DB;
    }
    if tls {
        capabilities |= capability::SSL;
    }
    capabilities
}

async fn start_tls(
    target: &Target,
    mut stream: Stream,
    request: &[u8],
    sequence: u8,
) -> Result<Stream, ConnectError> {
    send_packet(&mut stream, request, sequence).await?;
    match stream {
        Stream::Tcp(tcp) => Ok(target.secure(tcp).await?),
        other => Ok(other),
    }
}

async fn send_packet(stream: &mut Stream, payload: &[u8], mut sequence: u8) -> io::Result<()> {
    let mut out = Vec::with_capacity(payload.len() + HEADER_BYTES);
    write_packet(&mut out, &mut sequence, payload);
    stream.write_all(&out).await?;
    stream.flush().await
}

async fn read_packet(
    input: &mut PacketBuffer,
    stream: &mut Stream,
) -> Result<(Vec<u8>, u8), ConnectError> {
    if input
        .fill_packet(stream, LOGIN_PACKET_BYTES_MAX)
        .await?
        .is_none()
    {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let (sequence, payload) = input
        .packet()
        .ok_or(ProtocolError::Malformed("login packet"))?;
    let payload = payload.to_vec();
    input.consume(HEADER_BYTES + payload.len());
    Ok((payload, sequence))
}

fn refused(payload: &[u8]) -> Result<ConnectError, ProtocolError> {
    let error = ErrPacket::parse(payload)?;
    Ok(ConnectError::Refused {
        code: error.code,
        sqlstate: error.sqlstate,
        message: String::from_utf8_lossy(error.message).into_owned(),
    })
}
