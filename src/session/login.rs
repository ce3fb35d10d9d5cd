//! From an accepted socket to a logged-in session: our greeting, TLS, authentication against the backend's own accounts,
//! and the backend connection that the session will use. Never keeps a password; never logs one.
//!
//! ```text
//! greeting -> [TLS] -> response -> right scramble of a known password --> backend login by SHA256(password) -> OK
//!                                    | unknown, or the backend wants more        | wants the password itself
//!                                    v                                           v
//!                                  password asked for (TLS or RSA) --> backend login by password --> remembered -> OK
//!          another plugin than ours: the backend is asked for the account's --> ours: as above, on that connection
//!                                                                           --> another: both talk it out (`handed`) -> OK
//! ```

pub(super) mod attributes;
mod handed;
mod warm;

use super::client::Client;
use super::error::SessionError;
use super::listener::Entrance;
use super::rooms::Rooms;
use super::spread::{Goal, Hold};
use super::worker::Worker;
use crate::admin;
use crate::backend::compression::Algorithm;
use crate::backend::connection::{ConnectionKey, ExchangeError, ServerConnection};
use crate::backend::login::{self as backend_login, ConnectError, Login};
use crate::backend::pool::Grant;
use crate::backend::stream::Stream;
use crate::backend::target::Like;
use crate::config::{Compression, PoolMode, TlsMode};
use crate::protocol::auth::{
    CACHING_SHA2, Known, NATIVE, NativeVerifier, Nonce, Proof, Secret, ServerAuth, ServerStep,
    Verifier,
};
use crate::protocol::handshake::{Greeting, HandshakeResponse, SslRequest};
use crate::protocol::packet::{HEADER_BYTES, header};
use crate::protocol::response::OkPacket;
use crate::protocol::tracking::{Hidden, write_ok};
use crate::protocol::{ProtocolError, capability, status};
use handed::Waiting;
use std::sync::Arc;
use std::time::Instant;

/// Largest packet of a login from a client: names, a password, 64 KiB of attributes.
pub const LOGIN_PACKET_BYTES_MAX: usize = 128 * 1024;

/// Who logged in.
pub struct Account {
    /// User name.
    pub user: Arc<str>,
    /// Default schema asked for; empty for none.
    pub schema: Arc<str>,
    /// Connection attribute `program_name`.
    pub program: Option<Vec<u8>>,
}

impl Account {
    /// Who a claim is from.
    pub fn of(claim: &Claim<'_>) -> Self {
        let program = claim
            .attributes
            .iter()
            .find(|(name, _)| name == b"program_name");
        Self {
            user: String::from_utf8_lossy(claim.user).into(),
            schema: String::from_utf8_lossy(claim.schema).into(),
            program: program.map(|(_, value)| value.clone()),
        }
    }
}

/// Ends a login with the backend's own OK where it came to us unchanged, else with one that says the same.
///
/// # Errors
/// The client's socket.
pub async fn send_login_ok(
    client: &mut Client,
    backend: &ServerConnection,
) -> Result<(), SessionError> {
    let tracks = |caps| caps & capability::SESSION_TRACK;
    let sent = match backend.login_ok.as_slice() {
        [] => client.send_ok(backend.status).await,
        payload if tracks(backend.capabilities) == tracks(client.capabilities) => {
            client.send_packet(payload).await
        }
        payload => {
            let (from, to) = (backend.capabilities, client.capabilities);
            let mut packet = Vec::with_capacity(64);
            write_ok(
                payload,
                from,
                to,
                &NOTHING,
                &[],
                &mut packet,
                client.sequence,
            )
            .map_err(SessionError::BackendProtocol)?;
            client.sequence = client.sequence.wrapping_add(1);
            client.send(&packet).await
        }
    };
    sent.map_err(SessionError::ClientIo)?;
    client.begin_compression();
    Ok(())
}

/// At a login nothing is reported for our sake.
const NOTHING: Hidden = Hidden {
    leaves_mark: false,
    state_changes: false,
    gtids: false,
    is_variable: |_| false,
};

/// What the backend connection of a client speaks: what the client does, and the reports of session state that sharing goes by.
fn backend_capabilities(client: &Client, worker: &Worker) -> u32 {
    match worker.rooms.config.pool.mode {
        PoolMode::Session => client.capabilities,
        PoolMode::Transaction => client.capabilities | capability::SESSION_TRACK & offered(worker),
    }
}

fn offered(worker: &Worker) -> u32 {
    let facts = worker.rooms.facts.load();
    facts.as_deref().map_or(0, |facts| facts.capabilities)
}

/// What a client claims, in the response to the greeting or in COM_CHANGE_USER.
pub struct Claim<'a> {
    /// User name.
    pub user: &'a [u8],
    /// Default schema; empty for none.
    pub schema: &'a [u8],
    /// The plugin of `answer`.
    pub plugin: &'a [u8],
    /// The answer to our challenge.
    pub answer: &'a [u8],
    /// Connection attributes, in order.
    pub attributes: &'a crate::protocol::handshake::Attributes,
}

/// Greets a client and reads its response, by way of TLS if it wants that.
///
/// # Errors
/// The client's socket, its packets, or TLS that is required and not used.
pub async fn greet(
    client: &mut Client,
    worker: &Worker,
    entrance: Entrance,
    session_id: u32,
) -> Result<(HandshakeResponse, Nonce), SessionError> {
    let nonce = Nonce::generate().ok_or(SessionError::Internal("no random numbers"))?;
    let rooms = &worker.rooms;
    let mut greeting = match entrance {
        Entrance::App => app_greeting(worker, nonce)?,
        Entrance::Admin => admin_greeting(nonce),
    };
    greeting.connection_id = session_id;
    if rooms.tls.is_some() && !client.stream.is_secure() {
        greeting.capabilities |= capability::SSL;
    }
    greeting.capabilities |= compression_offered(rooms, entrance);
    let mut payload = Vec::with_capacity(128);
    greeting.write(&mut payload);
    client.sequence = 0;
    client
        .send_packet(&payload)
        .await
        .map_err(SessionError::ClientIo)?;
    let first = read_first_packet(client).await?;
    let response = match SslRequest::parse(&first) {
        Some(_) => {
            start_tls(client, worker).await?;
            client.read_login_packet(LOGIN_PACKET_BYTES_MAX).await?
        }
        None => first,
    };
    let response = HandshakeResponse::parse(&response).map_err(SessionError::ClientProtocol)?;
    if response.capabilities & capability::REQUIRED != capability::REQUIRED {
        return Err(SessionError::ClientProtocol(ProtocolError::Unsupported(
            "a client from before MySQL 4.1",
        )));
    }
    let agreed = response.capabilities & greeting.capabilities;
    client.capabilities = agreed & !capability::COMPRESSION;
    client.compression = match algorithm(&response, agreed) {
        Ok(algorithm) => algorithm,
        Err((code, text)) => return Err(refuse(client, code, b"HY000", text).await),
    };
    client.like = Like {
        secure: client.stream.is_secure(),
        compression: client.compression,
    };
    client.collation = response.collation;
    if rooms.config.tls.mode == TlsMode::Required && !client.stream.is_secure() {
        let text = "Connections using insecure transport are prohibited (tls.mode = \"required\")";
        return Err(refuse(client, 3159, b"HY000", text).await);
    }
    Ok((response, nonce))
}

/// What a client compresses with, or MySQL's words for why it cannot be.
fn algorithm(
    response: &HandshakeResponse,
    agreed: u32,
) -> Result<Option<Algorithm>, (u16, &'static str)> {
    let (wanted, agreed) = (response.capabilities, agreed & capability::COMPRESSION);
    match (agreed, response.zstd_level) {
        // It would go on compressed although nobody has offered that.
        (0, _) if wanted & capability::COMPRESS != 0 => {
            Err((3922, "Invalid compression algorithm 'zlib'."))
        }
        (0, _) if wanted & capability::ZSTD_COMPRESSION != 0 => {
            Err((3922, "Invalid compression algorithm 'zstd'."))
        }
        (0, _) => Ok(None),
        _ if agreed & capability::COMPRESS != 0 => Ok(Some(Algorithm::Zlib)),
        (_, level @ 1..=22) => Ok(Some(Algorithm::Zstd(level))),
        _ => Err((3923, "Invalid zstd compression level for algorithm 'zstd'.")),
    }
}

/// What we offer to compress with: where the backend is to do as the client, only what the backend can.
fn compression_offered(rooms: &Rooms, entrance: Entrance) -> u32 {
    let allowed = compression_allowed(&rooms.config.client.compression);
    let follows = rooms.config.backend.compression == Compression::AsClient;
    match rooms.facts.load().as_deref() {
        Some(facts) if follows && entrance == Entrance::App => allowed & facts.capabilities,
        _ => allowed,
    }
}

/// The capabilities of what clients may compress with.
fn compression_allowed(algorithms: &[String]) -> u32 {
    let one = |name: &String| match name.as_str() {
        "zlib" => capability::COMPRESS,
        "zstd" => capability::ZSTD_COMPRESSION,
        _ => 0,
    };
    algorithms.iter().fold(0, |all, name| all | one(name))
}

fn app_greeting(worker: &Worker, nonce: Nonce) -> Result<Greeting, SessionError> {
    let facts = worker.rooms.facts.load();
    let Some(facts) = facts.as_deref() else {
        let error = std::io::Error::new(
            std::io::ErrorKind::NotConnected,
            "it has not answered since Tidegate started",
        );
        return Err(SessionError::Connect(ConnectError::Unreachable(error)));
    };
    let capabilities = facts.capabilities & capability::OFFERED_MAX | capability::PLUGIN_AUTH;
    Ok(greeting(
        facts.version.clone(),
        capabilities,
        facts.collation,
        nonce,
    ))
}

fn admin_greeting(nonce: Nonce) -> Greeting {
    greeting(admin::version().into(), admin::CAPABILITIES, 255, nonce)
}

fn greeting(version: Vec<u8>, capabilities: u32, collation: u8, nonce: Nonce) -> Greeting {
    Greeting {
        version,
        connection_id: 0,
        capabilities,
        collation,
        status: crate::protocol::status::AUTOCOMMIT,
        nonce,
        plugin: crate::protocol::auth::CACHING_SHA2.to_vec(),
        mariadb_capabilities: 0,
    }
}

/// Reads exactly one packet and no byte more: what follows a TLS request belongs to TLS.
async fn read_first_packet(client: &mut Client) -> Result<Vec<u8>, SessionError> {
    let mut head = [0; HEADER_BYTES];
    client.read_exactly(&mut head).await?;
    let (length, sequence) = header(&head).ok_or(SessionError::Internal("header"))?;
    crate::protocol::packet::expect_sequence(client.sequence, sequence)
        .map_err(SessionError::ClientProtocol)?;
    if length > LOGIN_PACKET_BYTES_MAX {
        let error = ProtocolError::TooLarge {
            what: "handshake response",
            bytes_max: LOGIN_PACKET_BYTES_MAX,
        };
        return Err(SessionError::ClientProtocol(error));
    }
    let mut payload = vec![0; length];
    client.read_exactly(&mut payload).await?;
    client.sequence = client.sequence.wrapping_add(1);
    Ok(payload)
}

async fn start_tls(client: &mut Client, worker: &Worker) -> Result<(), SessionError> {
    let Some(tls) = &worker.rooms.tls else {
        return Err(SessionError::ClientProtocol(ProtocolError::Unexpected(
            "handshake: TLS was not offered",
        )));
    };
    let placeholder = Stream::Pipe(tokio::io::duplex(1).0);
    match std::mem::replace(&mut client.stream, placeholder) {
        Stream::Tcp(tcp) => {
            let tls = client.shake_hands(tls.acceptor().accept(tcp)).await?;
            client.stream = Stream::Tls(Box::new(tls.into()));
            Ok(())
        }
        _ => Err(SessionError::ClientProtocol(ProtocolError::Unexpected(
            "handshake: a second TLS request",
        ))),
    }
}

/// Tells the client an error and answers with the end of its session.
pub async fn refuse(
    client: &mut Client,
    code: u16,
    sqlstate: &[u8; 5],
    text: &str,
) -> SessionError {
    match client.send_error(code, sqlstate, text).await {
        Ok(()) => SessionError::LoginRefused {
            code,
            text: text.to_owned(),
        },
        Err(error) => SessionError::ClientIo(error),
    }
}

/// Proves the claim against the backend and answers with a backend connection for it. The last OK is left to the caller.
///
/// # Errors
/// Refused (the client has been told), or any failure of client, pool or backend.
pub async fn authenticate(
    client: &mut Client,
    worker: &Worker,
    claim: &Claim<'_>,
    nonce: Nonce,
) -> Result<(ServerConnection, Nonce), SessionError> {
    let rooms = &worker.rooms;
    let users = rooms.users.load();
    let listed = users.iter().find(|u| u.name.as_bytes() == claim.user);
    let listed_native = listed.map(|u| NativeVerifier::of_password(u.password.reveal().as_bytes()));
    let sha2 = match listed {
        Some(user) => Some(Verifier::of_password(user.password.reveal().as_bytes())),
        None => rooms
            .verifiers
            .get(claim.user, rooms.grant_epoch(), Instant::now()),
    };
    let known = Known {
        sha2: sha2.as_ref(),
        native: listed_native.as_ref(),
    };
    let mut waiting = None;
    let can_switch = client.capabilities & capability::PLUGIN_AUTH != 0;
    if can_switch && listed.is_none() && asks_first(claim.plugin, sha2.is_some()) {
        let asked = handed::ask(client, worker, claim).await?;
        if asked.is_the_backends(claim.plugin) {
            let (backend, seen) = asked.relay(client, worker).await?;
            return Ok((backend, seen.unwrap_or(nonce)));
        }
        waiting = Some(asked);
    }
    let password = listed.map(|user| user.password.reveal().as_bytes());
    let mut auth = ServerAuth::new(nonce, client.stream.is_secure(), rooms.rsa.clone());
    let judged = judge(
        client,
        worker,
        claim,
        (&mut auth, known, password),
        &mut waiting,
    )
    .await;
    if let Some(waiting) = waiting {
        waiting.give_up().await;
    }
    let (backend, seen) = judged?;
    Ok((backend, seen.unwrap_or(*auth.nonce())))
}

/// Whether the backend is asked for the account's plugin before the client is asked for a proof. Not where the client comes with the
/// plugin that we speak ourselves, so that nobody holds a backend connection while he thinks: if the account turns out to have a
/// plugin that we do not know, that is early enough.
fn asks_first(plugin: &[u8], is_known: bool) -> bool {
    plugin == NATIVE || plugin != CACHING_SHA2 && !is_known
}

/// The exchange between the client and us, in which it proves that it knows a password, or gives it. With a nonce where the client
/// has seen another than that of `auth`.
async fn judge(
    client: &mut Client,
    worker: &Worker,
    claim: &Claim<'_>,
    (auth, known, listed): (&mut ServerAuth, Known<'_>, Option<&[u8]>),
    waiting: &mut Option<Waiting<'_>>,
) -> Result<(ServerConnection, Option<Nonce>), SessionError> {
    let mut step = auth.start(client.capabilities, claim.plugin, claim.answer, known);
    loop {
        step = match step {
            ServerStep::Send(payload) => ask(client, auth, &payload, known).await?,
            ServerStep::Accepted { before_ok, proof } => {
                let secret = match (proof, listed) {
                    (_, Some(password)) => Secret::of_password(password),
                    (Proof::Stage1(stage1), None) => Secret::Stage1(stage1),
                    (Proof::Native, None) => {
                        return Err(SessionError::Internal("native proof of an unlisted user"));
                    }
                };
                match accept(client, worker, claim, secret, &before_ok, waiting.take()).await? {
                    Some(backend) => return Ok((backend, None)),
                    None => auth.demand_password(),
                }
            }
            ServerStep::Check(password) => {
                return check(client, worker, claim, &password, waiting.take()).await;
            }
            ServerStep::Denied(why) => {
                tracing::debug!(why, "login denied");
                let user = String::from_utf8_lossy(claim.user);
                let text = format!("Access denied for user '{user}' (Tidegate: {why})");
                return Err(refuse(client, 1045, b"28000", &text).await);
            }
        };
    }
}

/// Sends a payload of the exchange and judges the client's answer.
async fn ask(
    client: &mut Client,
    auth: &mut ServerAuth,
    payload: &[u8],
    known: Known<'_>,
) -> Result<ServerStep, SessionError> {
    client
        .send_packet(payload)
        .await
        .map_err(SessionError::ClientIo)?;
    let answer = zeroize::Zeroizing::new(client.read_login_packet(LOGIN_PACKET_BYTES_MAX).await?);
    auth.on_packet(&answer, known)
        .map_err(SessionError::ClientProtocol)
}

/// A client has proved its password to us: is the backend of the same mind? `None`: the backend wants the password itself, or
/// what we know is out of date.
async fn accept(
    client: &mut Client,
    worker: &Worker,
    claim: &Claim<'_>,
    secret: Secret,
    before_ok: &[u8],
    waiting: Option<Waiting<'_>>,
) -> Result<Option<ServerConnection>, SessionError> {
    let from_memory = matches!(secret, Secret::Stage1(_));
    let connected = match waiting {
        Some(waiting) => waiting.prove(client, worker, secret).await,
        None => connect(client, worker, claim, secret, true).await,
    };
    let backend = match connected {
        Ok(backend) => backend,
        Err(SessionError::Connect(ConnectError::NeedPassword)) => return Ok(None),
        Err(SessionError::Connect(ConnectError::Refused { code: 1045, .. })) if from_memory => {
            worker.rooms.verifiers.forget(claim.user);
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if !before_ok.is_empty() {
        client
            .send_packet(before_ok)
            .await
            .map_err(SessionError::ClientIo)?;
    }
    Ok(Some(backend))
}

/// An account that the server has closed (locked 3118, blocked after failures 3955, expired 1862) may have been so without a word in
/// the log: what is known of it, and the connections that nobody uses, are from before.
fn forget_if_closed(
    worker: &Worker,
    claim: &Claim<'_>,
    connected: &Result<ServerConnection, SessionError>,
) {
    use ConnectError::Refused;
    let code = match connected {
        Err(SessionError::Connect(Refused { code, .. })) => *code,
        _ => return,
    };
    if matches!(code, 1862 | 3118 | 3955) {
        worker.rooms.verifiers.forget(claim.user);
        let user = String::from_utf8_lossy(claim.user);
        worker.rooms.drop_idle(Some(&user));
    }
}

/// A client gave its password: the backend judges it, and a right one is remembered in hashed form. If the account has a plugin that
/// is not about a password of ours at all, client and backend talk it out.
async fn check(
    client: &mut Client,
    worker: &Worker,
    claim: &Claim<'_>,
    password: &[u8],
    waiting: Option<Waiting<'_>>,
) -> Result<(ServerConnection, Option<Nonce>), SessionError> {
    let rooms = &worker.rooms;
    let (epoch, began) = (rooms.grant_epoch(), Instant::now());
    let secret = Secret::of_password(password);
    let connected = match waiting {
        Some(waiting) => waiting.prove(client, worker, secret).await,
        None => connect(client, worker, claim, secret, false).await,
    };
    forget_if_closed(worker, claim, &connected);
    let can_switch = client.capabilities & capability::PLUGIN_AUTH != 0;
    let backend = match connected {
        Err(SessionError::Connect(ConnectError::OtherPlugin(_))) if can_switch => {
            let asked = handed::ask(client, worker, claim).await?;
            return asked.relay(client, worker).await;
        }
        connected => connected?,
    };
    // A connection that is not for others has a password that may change without our hearing of it.
    if !password.is_empty() && backend.poolable {
        rooms
            .verifiers
            .learn(claim.user, Verifier::of_password(password), epoch, began);
        warm::others(client, worker, claim, password, backend.node).await;
    }
    Ok((backend, None))
}

/// A client's claim, as we make it to the backend.
fn backend_claim<'a>(client: &Client, claim: &Claim<'a>, secret: Secret) -> Login<'a> {
    Login {
        user: claim.user,
        secret,
        schema: claim.schema,
        capabilities: client.capabilities,
        collation: client.collation,
        attributes: attributes::with_client(claim.attributes, client.peer),
    }
}

/// A backend connection for a claim: an idle one if the claim is `proven` already, else a new one, whose login is the proof.
async fn connect(
    client: &mut Client,
    worker: &Worker,
    claim: &Claim<'_>,
    secret: Secret,
    proven: bool,
) -> Result<ServerConnection, SessionError> {
    let began = Instant::now();
    let connected = find_connection(client, worker, claim, secret, proven).await;
    client.waited_since(began);
    connected
}

async fn find_connection(
    client: &Client,
    worker: &Worker,
    claim: &Claim<'_>,
    secret: Secret,
    proven: bool,
) -> Result<ServerConnection, SessionError> {
    let rooms = &worker.rooms;
    let user: Arc<str> = String::from_utf8_lossy(claim.user).into();
    let capabilities = backend_capabilities(client, worker);
    let mut key = ConnectionKey::new(user.clone(), capabilities, claim.schema.is_empty());
    // The server warns of some options at each login, and goes on to do so: such a connection is nobody else's.
    let warns = client.capabilities & capability::NO_SCHEMA != 0;
    let mut reuses = proven && !warns && std::str::from_utf8(claim.user).is_ok();
    let mut hold = Hold::new(rooms);
    loop {
        let node = hold.node_for_login(client).await?;
        key.like = node.target.wanted(client.like);
        let wanted = reuses.then_some(&key);
        let mut idle = match node.pool.acquire(&user, wanted, worker.id).await? {
            Grant::Slot(slot) => {
                let grants = rooms.grant_epoch();
                let mut login = backend_claim(client, claim, secret.clone());
                login.capabilities = capabilities;
                let buffer_bytes = rooms.config.client.buffer_bytes;
                let target = node.target.for_client(client.like);
                let mut backend = match backend_login::open(&target, &login, buffer_bytes).await {
                    Err(error) if hold.may_wait(&Goal::Writer, &error) => {
                        drop(slot);
                        hold.failed(client, &node, error).await?;
                        continue;
                    }
                    opened => opened?,
                };
                backend.hold(slot);
                (backend.grants, backend.node) = (grants, node.id);
                backend.poolable &= !warns;
                rooms.saw_facts(&backend.facts);
                return Ok(backend);
            }
            Grant::Connection(idle) => *idle,
        };
        if !idle.is_quiet() || !rooms.is_login_current(&idle).await {
            continue;
        }
        let taken = take_over(&mut idle, client, claim);
        match tokio::time::timeout(node.target.connect_max, taken).await {
            Ok(Ok(true)) => {
                idle.secret = idle.secret.map(|_| secret.hashed());
                return Ok(idle);
            }
            Ok(Ok(false) | Err(ExchangeError::Refused { .. })) | Err(_) => reuses = false,
            Ok(Err(error)) => tracing::debug!(%error, "an idle backend connection was broken"),
        }
    }
}

/// A row if the server runs something at each login.
const HAS_INIT_CONNECT: &[u8] = b"SELECT 1 FROM DUAL WHERE @@GLOBAL.init_connect <> ''";

/// Brings a reset connection into the state that a login of this client would have given. False: only a login can do that, because
/// the server runs statements of its own at each.
async fn take_over(
    backend: &mut ServerConnection,
    client: &Client,
    claim: &Claim<'_>,
) -> Result<bool, ExchangeError> {
    // What was said at the first client's login is not this one's.
    backend.login_ok.clear();
    if backend.is_used {
        backend.reset().await?;
    }
    let asked = backend.query(HAS_INIT_CONNECT, |_| Ok(())).await?;
    if asked.rows > 0 {
        return Ok(false);
    }
    let collation = mysql_common::collations::Collation::resolve(
        mysql_common::collations::CollationId::from(client.collation),
    );
    let names = format!(
        "SET NAMES '{}' COLLATE '{}'",
        collation.charset(),
        collation.collation()
    );
    let named = backend.query(names.as_bytes(), |_| Ok(())).await?;
    if named.warnings > 0 {
        // A deprecated character set warns; a login with it does not.
        backend.query(b"DO 0", |_| Ok(())).await?;
    }
    if !claim.schema.is_empty() {
        let used = backend.use_schema(claim.schema).await?;
        // A login with a schema tells it to who tracks the session's state.
        if let Some(state) = used.session_state {
            backend.login_ok = login_ok(backend, &state);
        }
    }
    Ok(true)
}

/// The payload of a login's OK with such a session state.
fn login_ok(backend: &ServerConnection, session_state: &[u8]) -> Vec<u8> {
    let ok = OkPacket {
        status: backend.status | status::SESSION_STATE_CHANGED,
        session_state,
        ..OkPacket::default()
    };
    let mut packet = Vec::with_capacity(HEADER_BYTES + 16 + session_state.len());
    ok.write(&mut packet, &mut 0, backend.capabilities, false);
    packet.split_off(HEADER_BYTES)
}

/// Logs an administrator in: the one account of `[admin]`.
///
/// # Errors
/// Refused (the client has been told), or the client's socket or packets.
pub async fn authenticate_admin(
    client: &mut Client,
    worker: &Worker,
    claim: &Claim<'_>,
    nonce: Nonce,
) -> Result<(), SessionError> {
    let (user, password) = &worker.rooms.admin_account;
    let verifier = Verifier::of_password(password.as_bytes());
    let native = NativeVerifier::of_password(password.as_bytes());
    let known = Known {
        sha2: Some(&verifier),
        native: Some(&native),
    };
    let mut auth = ServerAuth::new(nonce, client.stream.is_secure(), worker.rooms.rsa.clone());
    let mut step = auth.start(client.capabilities, claim.plugin, claim.answer, known);
    let allowed = loop {
        step = match step {
            ServerStep::Send(payload) => ask(client, &mut auth, &payload, known).await?,
            ServerStep::Accepted { before_ok, .. } => {
                if !before_ok.is_empty() {
                    client
                        .send_packet(&before_ok)
                        .await
                        .map_err(SessionError::ClientIo)?;
                }
                break true;
            }
            ServerStep::Check(password) => break verifier.check_password(&password),
            ServerStep::Denied(_) => break false,
        };
    };
    if allowed && claim.user == user.as_bytes() {
        return Ok(());
    }
    let text = format!(
        "Access denied for user '{}' to the admin schema",
        String::from_utf8_lossy(claim.user)
    );
    Err(refuse(client, 1045, b"28000", &text).await)
}
