//! From nothing to a logged-in backend connection: connect, greeting, TLS, authentication. Never waits longer than the target says;
//! never keeps a secret.

use super::compression::{Algorithm, Role};
use super::connection::{ServerConnection, ServerFacts, next_serial, send_packet};
use super::nodes::NodeId;
use super::statements::Statements;
use super::stream::Stream;
use super::target::{Like, Target};
use crate::config::BackendTlsMode;
use crate::protocol::auth::{
    CACHING_SHA2, CLEAR, ClientAuth, ClientStep, NATIVE, Nonce, SHA256, Secret,
};
use crate::protocol::handshake::{
    AUTH_SWITCH_HEADER, Attributes, AuthSwitch, Greeting, HandshakeResponse, SslRequest,
};
use crate::protocol::packet::{HEADER_BYTES, PacketBuffer, ReadError};
use crate::protocol::response::{ERR_HEADER, ErrPacket, OK_HEADER, OkPacket};
use crate::protocol::{ProtocolError, capability};
use std::io;
use std::time::{Duration, Instant};

/// Largest packet of a login from the server: a greeting, a key, an error.
const LOGIN_PACKET_BYTES_MAX: usize = 65_536;

/// The largest packet we tell the server that we take: we relay whatever comes.
const PACKET_BYTES_MAX: u32 = 1 << 30;

/// No server has a plugin of this name, so it answers with the one that the account has, and a challenge for it.
const NO_PLUGIN: &[u8] = b"tidegate_asks";

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
    /// The account has a plugin of this name, which is none of ours.
    #[error(
        "the account's authentication plugin '{0}' is not one that Tidegate can speak for a client"
    )]
    OtherPlugin(String),
    /// It took too long.
    #[error("no login within {0:?}")]
    Timeout(Duration),
    /// TLS is required and the backend has none.
    #[error("backend.tls wants TLS, but the backend offers none")]
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

/// A greeting that was answered with TLS where it has to be, but with no name yet.
struct Begun {
    stream: Stream,
    input: PacketBuffer,
    greeting: Greeting,
    capabilities: u32,
    compression: Option<Algorithm>,
    like: Option<Like>,
    sequence: u8,
}

/// A login that waits for the proof of a client: the server has said which plugin the account has.
pub struct Asked {
    connection: ServerConnection,
    compression: Option<Algorithm>,
    /// The account's plugin.
    pub plugin: Vec<u8>,
    /// The challenge for it, as the server sent it.
    challenge: Vec<u8>,
    /// The whole request to go on with that plugin.
    pub switch: Vec<u8>,
    sequence: u8,
}

/// What a server said in the course of a login.
pub enum Heard {
    /// It accepts: the OK.
    Ok(Vec<u8>),
    /// Something for the client.
    More(Vec<u8>),
}

/// Connects and logs in within `target.connect_max`.
///
/// # Errors
/// Unreachable, refused, or a secret that does not do.
pub async fn open(
    target: &Target,
    login: &Login<'_>,
    buffer_bytes: usize,
) -> Result<ServerConnection, ConnectError> {
    limited(target, async {
        let begun = Begun::new(target, login, buffer_bytes).await?;
        let (plugin, nonce) = (begun.greeting.plugin.clone(), begun.greeting.nonce);
        let mut auth = ClientAuth::new(
            login.secret.clone(),
            begun.stream.is_secure(),
            None,
            &plugin,
            nonce,
        );
        let (answer, plugin) = (auth.first_response()?.to_vec(), auth.plugin());
        let compression = begun.compression;
        let mut connection = begun.respond(login, plugin, answer).await?;
        let ok = authenticate(&mut connection, &mut auth, None).await?;
        logged_in(&mut connection, ok, compression)?;
        // What such a password is worth is decided elsewhere, and may change at any time.
        connection.poolable &= auth.plugin() != CLEAR;
        // Only this plugin takes the same proof again.
        connection.secret = match auth.plugin() == CACHING_SHA2 {
            true => Some(login.secret.hashed()),
            false => None,
        };
        Ok(connection)
    })
    .await
}

/// Connects and asks how the account of `login.user` proves itself, without proving anything.
///
/// # Errors
/// Unreachable, or refused at once.
pub async fn ask(
    target: &Target,
    login: &Login<'_>,
    buffer_bytes: usize,
) -> Result<Asked, ConnectError> {
    limited(target, async {
        let begun = Begun::new(target, login, buffer_bytes).await?;
        let compression = begun.compression;
        let mut connection = begun.respond(login, NO_PLUGIN, Vec::new()).await?;
        let (payload, sequence) =
            read_packet(&mut connection.input, &mut connection.stream).await?;
        match payload.first() {
            Some(&ERR_HEADER) => Err(refused(&payload)?),
            Some(&AUTH_SWITCH_HEADER) => {
                let switch = AuthSwitch::parse(&payload)?;
                let (plugin, challenge) = (switch.plugin.to_vec(), switch.data.to_vec());
                Ok(Asked {
                    connection,
                    compression,
                    plugin,
                    challenge,
                    sequence: sequence.wrapping_add(1),
                    switch: payload,
                })
            }
            _ => Err(ProtocolError::Unexpected("authentication").into()),
        }
    })
    .await
}

async fn limited<T>(
    target: &Target,
    login: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    match tokio::time::timeout(target.connect_max, login).await {
        Ok(done) => done,
        Err(_) => Err(ConnectError::Timeout(target.connect_max)),
    }
}

impl Asked {
    /// The challenge as a nonce, if it is one.
    pub fn nonce(&self) -> Option<Nonce> {
        Nonce::from_slice(&self.challenge)
    }

    /// Whether the link to the server is hidden from the network.
    pub fn is_secure(&self) -> bool {
        self.connection.stream.is_secure()
    }

    /// Proves the claim.
    ///
    /// # Errors
    /// Refused, or a secret that does not do.
    pub async fn prove(
        mut self,
        target: &Target,
        secret: Secret,
    ) -> Result<ServerConnection, ConnectError> {
        limited(target, async move {
            // What the greeting said has no weight any more: the switch comes first.
            let nonce = self.nonce().unwrap_or(Nonce::ZERO);
            let mut auth = ClientAuth::new(secret, self.is_secure(), None, &self.plugin, nonce);
            let first = (
                std::mem::take(&mut self.switch),
                self.sequence.wrapping_sub(1),
            );
            let ok = authenticate(&mut self.connection, &mut auth, Some(first)).await?;
            self.accepted(ok)
        })
        .await
    }

    /// Hands on what the client says. The time is the caller's to limit, here and in [`hear`](Self::hear).
    ///
    /// # Errors
    /// The socket's.
    pub async fn say(&mut self, payload: &[u8]) -> io::Result<()> {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        send_packet(&mut self.connection.stream, payload, sequence).await
    }

    /// Waits for what the server says. Cancel safe.
    ///
    /// # Errors
    /// Refused, or the socket's.
    pub async fn hear(&mut self) -> Result<Heard, ConnectError> {
        let connection = &mut self.connection;
        let (payload, sequence) =
            read_packet(&mut connection.input, &mut connection.stream).await?;
        self.sequence = sequence.wrapping_add(1);
        match payload.first() {
            Some(&OK_HEADER) => Ok(Heard::Ok(payload)),
            Some(&ERR_HEADER) => Err(refused(&payload)?),
            _ => Ok(Heard::More(payload)),
        }
    }

    /// The server has accepted with this OK.
    ///
    /// # Errors
    /// It is none.
    pub fn accepted(mut self, ok: Vec<u8>) -> Result<ServerConnection, ConnectError> {
        logged_in(&mut self.connection, ok, self.compression)?;
        Ok(self.connection)
    }

    /// Answers with nothing, and waits for the refusal.
    pub async fn give_up(mut self, target: &Target) {
        let _ = limited(target, async move {
            self.say(&[]).await?;
            self.hear().await
        })
        .await;
    }
}

impl Begun {
    async fn new(
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
        let offers_tls = greeting.capabilities & capability::SSL != 0;
        let tls = match target.tls_mode {
            BackendTlsMode::Disabled => false,
            BackendTlsMode::Preferred | BackendTlsMode::AsClient => offers_tls && target.uses_tls(),
            _ if !offers_tls => return Err(ConnectError::NoTls),
            _ => true,
        };
        let compression = target.algorithm(greeting.capabilities);
        let capabilities = login_capabilities(login, greeting.capabilities, tls)
            | compression.map_or(0, Algorithm::capability);
        if tls {
            let mut request = Vec::new();
            SslRequest {
                // The same as later on: some, as NO_SCHEMA, the server takes from here only.
                capabilities,
                packet_bytes_max: PACKET_BYTES_MAX,
                collation: login.collation,
            }
            .write(&mut request);
            sequence = sequence.wrapping_add(1);
            stream = start_tls(target, stream, &request, sequence).await?;
        }
        Ok(Self {
            stream,
            input,
            greeting,
            capabilities,
            compression,
            like: target.like,
            sequence: sequence.wrapping_add(1),
        })
    }

    /// Says who we are; the server's verdict is still to be read.
    async fn respond(
        mut self,
        login: &Login<'_>,
        plugin: &[u8],
        auth_response: Vec<u8>,
    ) -> Result<ServerConnection, ConnectError> {
        let response = HandshakeResponse {
            capabilities: self.capabilities,
            packet_bytes_max: PACKET_BYTES_MAX,
            collation: login.collation,
            user: login.user.to_vec(),
            auth_response,
            schema: login.schema.to_vec(),
            plugin: plugin.to_vec(),
            attributes: login.attributes.clone(),
            zstd_level: self.compression.map_or(0, Algorithm::zstd_level),
            ..HandshakeResponse::default()
        };
        let mut payload = Vec::new();
        response.write(&mut payload);
        send_packet(&mut self.stream, &payload, self.sequence).await?;
        Ok(ServerConnection {
            stream: self.stream,
            input: self.input,
            capabilities: self.capabilities & !(capability::SSL | capability::COMPRESSION),
            thread_id: self.greeting.connection_id,
            status: self.greeting.status,
            had_schema: !login.schema.is_empty(),
            grants: None,
            // Names that are not text cannot be told apart by our keys.
            poolable: std::str::from_utf8(login.user).is_ok(),
            collation: login.collation,
            facts: ServerFacts {
                version: self.greeting.version,
                capabilities: self.greeting.capabilities,
                collation: self.greeting.collation,
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
            like: self.like,
            serial: next_serial(),
            is_gone: false,
            user: String::from_utf8_lossy(login.user).into(),
            opened: Instant::now(),
            slot: None,
        })
    }
}

/// Goes on until the server accepts or refuses; answers with its OK. `first`: a packet that it sent already.
async fn authenticate(
    connection: &mut ServerConnection,
    auth: &mut ClientAuth,
    mut first: Option<(Vec<u8>, u8)>,
) -> Result<Vec<u8>, ConnectError> {
    loop {
        let (payload, sequence) = match first.take() {
            Some(first) => first,
            None => read_packet(&mut connection.input, &mut connection.stream).await?,
        };
        let next = sequence.wrapping_add(1);
        if let Some(plugin) = other_plugin(&payload)? {
            // Answered with nothing, so that the server counts a failed login and not a broken handshake.
            send_packet(&mut connection.stream, &[], next).await?;
            let _ = read_packet(&mut connection.input, &mut connection.stream).await;
            return Err(ConnectError::OtherPlugin(plugin));
        }
        match auth.on_packet(&payload)? {
            ClientStep::Send(answer) => send_packet(&mut connection.stream, &answer, next).await?,
            ClientStep::Wait => {}
            ClientStep::Done => return Ok(payload),
            ClientStep::Refused => return Err(refused(&payload)?),
            ClientStep::NeedPassword => return Err(ConnectError::NeedPassword),
        }
    }
}

/// The plugin that the server switches to, if it is none of ours.
fn other_plugin(payload: &[u8]) -> Result<Option<String>, ProtocolError> {
    if payload.first() != Some(&AUTH_SWITCH_HEADER) {
        return Ok(None);
    }
    let plugin = AuthSwitch::parse(payload)?.plugin;
    let is_ours = matches!(plugin, CACHING_SHA2 | SHA256 | NATIVE | CLEAR);
    Ok((!is_ours).then(|| String::from_utf8_lossy(plugin).into_owned()))
}

/// The OK of a login: from here on packets are compressed, if that was agreed on.
fn logged_in(
    connection: &mut ServerConnection,
    ok: Vec<u8>,
    compression: Option<Algorithm>,
) -> Result<(), ProtocolError> {
    if let Some(algorithm) = compression {
        let ahead = connection.input.take();
        connection.stream.compress(algorithm, Role::Client, &ahead);
    }
    connection.status = OkPacket::parse(&ok, connection.capabilities)?.status;
    connection.login_ok = ok;
    Ok(())
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
