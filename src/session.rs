//! One client connection: log in, read a command, answer it, until quit.
//! The only room that holds a client socket and a backend connection at once. Never decides where a statement goes (`router`),
//! never parses SQL (`sql`), never counts (`analytics`).

mod admin;
mod answers;
mod client;
mod commands;
mod deadline;
mod diagnostics;
mod error;
mod exchange;
mod explain;
mod lease;
pub mod listener;
mod login;
mod lot;
mod observe;
mod prepared;
mod proxied;
mod relay;
pub mod rooms;
mod ruling;
mod spread;
pub mod statements;
mod text;
pub mod throttle;
pub mod tls;
pub mod verifiers;
mod watch;
pub mod worker;

use crate::backend::connection::ServerConnection;
use crate::protocol::auth::Nonce;
use crate::protocol::command::Command;
use crate::protocol::packet::{HEADER_BYTES, PAYLOAD_BYTES_MAX, header};
use crate::protocol::relay::{Expect, ResponseMachine};
use crate::protocol::response::ERR_HEADER;
use crate::protocol::{ProtocolError, capability};
use crate::router::session_state::SessionState;
use crate::router::ties::Ties;
use crate::router::traces::Traces;
use crate::sql::{ClientCharset, LexMode};
use ahash::AHashMap;
use client::Client;
use error::SessionError;
use lease::{Away, Person};
use listener::{Entrance, Incoming};
use login::{Account, Claim};
use lot::Seat;
use mysql_common::collations::CollationId;
use observe::Observer;
use prepared::Prepared;
use ruling::{Known, Ruling};
use spread::Spread;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use watch::{Cut, Ticks};
use worker::Worker;

/// One client, logged in.
struct Session {
    worker: Rc<Worker>,
    entrance: Entrance,
    client: Client,
    backend: ServerConnection,
    machine: ResponseMachine,
    state: SessionState,
    prepared: AHashMap<u32, Prepared>,
    /// Bytes of the texts in `prepared`.
    prepared_bytes: usize,
    observer: Observer,
    /// It writes past the binary log (`sql_log_bin=0`).
    is_unlogged: bool,
    /// The user stands in `admin.users`.
    is_administrator: bool,
    /// The pipe to the admin engine, once an administrator on the app port has asked it something.
    admin: Option<ServerConnection>,
    /// The challenge that a COM_CHANGE_USER answers.
    nonce: Nonce,
    /// How texts of this session are read, but for what the status bits say.
    lex_base: LexMode,
    /// The last statement ended without an error.
    last_ok: bool,
    /// A goodbye of the server (its last error packet) went to the client already.
    said_goodbye: bool,
    /// Who it is to the backend.
    person: Person,
    /// Its entry among those that could give their connection up.
    seat: Rc<Seat>,
    /// What ties it to its connection.
    ties: Ties,
    /// What the next statement may ask about the last ones.
    traces: Traces,
    /// What it was when it left its connection; `None` while it has one.
    away: Option<Away>,
    /// How often the server reported a change of state.
    changes: u64,
    /// The last answer ended with an error or an EOF packet, which reports nothing: what it changed comes with the next OK.
    is_unreported: bool,
    /// `changes` and the number of its prepared statements when one of them was found to be bound to its connection.
    unplaceable: Option<(u64, usize)>,
    /// The id of the statement that it prepared last.
    statement_ids: u32,
    /// Prepared statements with parameters that wait at the server as long data.
    long_data: usize,
    /// What query rules say of the statement at hand, where there are any.
    ruling: Option<Box<Ruling>>,
    /// The query rules that this client may meet.
    known_class: Option<Box<Known>>,
    /// Its part in a cluster; `None` without one.
    spread: Option<Box<Spread>>,
}

/// What a successful login gives.
struct Opened {
    backend: ServerConnection,
    account: Account,
    id: u32,
    nonce: Nonce,
    state: SessionState,
    person: Person,
}

/// What woke an idle session.
enum Woken {
    /// A whole command is in the buffer: its payload length, all physical packets counted as far as they are known.
    Command(Request),
    /// The session is over, in order.
    Quit,
}

/// Who spoke while a session was idle.
enum Heard {
    Client(io::Result<usize>),
    Backend(io::Result<usize>),
    /// Somebody asks for a kill, or for a look at the stop signal.
    Call,
}

/// A command at the front of the client's buffer.
#[derive(Debug, Clone, Copy)]
struct Request {
    /// Payload length of the first physical packet.
    length: usize,
    /// All of the request is in the buffer; else it must be streamed.
    whole: bool,
}

/// Serves one client from accept to end.
pub async fn run(worker: &Rc<Worker>, incoming: Incoming) {
    let Incoming {
        socket,
        peer,
        entrance,
        place,
    } = incoming;
    let rooms = &worker.rooms;
    let socket = match socket.into_stream() {
        Ok(socket) => socket,
        Err(error) => return tracing::debug!(%error, "client lost before login"),
    };
    let buffer_bytes = rooms.config.client.buffer_bytes;
    let mut client = Client::new(socket, peer, buffer_bytes, worker.clock.watch());
    let opened = tokio::select! {
        biased;
        // Apart: what a login takes is free again when it is over.
        opened = Box::pin(Session::open(worker, &mut client, entrance)) => opened,
        // Who has not logged in yet has nothing that could be waited for.
        () = rooms.shutdown.requested() => Err(SessionError::Stopping),
    };
    match opened {
        Ok(opened) => {
            let mut session = Box::new(Session::new(worker.clone(), entrance, client, opened));
            let ended = session.serve().await;
            Box::pin(session.close(ended)).await;
        }
        Err(error) => {
            // Counted before it is told: who has heard it may look it up.
            rooms.throttle.failed_if_refused(&error, client.peer.ip());
            observe::session_ended(worker, &error, client.peer);
            end_with_error(&mut client, &error).await;
        }
    }
    drop(place);
}

/// Tells the client why its session ends, if it can still be told.
async fn end_with_error(client: &mut Client, error: &SessionError) {
    let told = error.told();
    let tell = async {
        match &told {
            Some((code, sqlstate, text)) if !client.is_mid_packet => {
                client.send_error(*code, sqlstate, text).await?;
            }
            None if error.was_told() => {}
            _ => return Ok(()),
        }
        client.linger().await
    };
    // Whoever does not take its last message within a second has lost it.
    let _ = tokio::time::timeout(Duration::from_secs(1), tell).await;
}

/// How the texts of a new session are read: by its character set and the server's version.
fn lex_base(client: &Client, backend: &ServerConnection) -> LexMode {
    let collation =
        mysql_common::collations::Collation::resolve(CollationId::from(client.collation));
    let (server_version, mariadb) = backend.facts.version_id();
    LexMode {
        charset: ClientCharset::from_name(collation.charset()),
        ignore_space: client.capabilities & capability::IGNORE_SPACE != 0,
        server_version,
        mariadb,
        ..LexMode::default()
    }
}

/// The state of a session that begins, or begins anew.
async fn fresh_state(
    worker: &Worker,
    entrance: Entrance,
    status: u16,
    schema: &Arc<str>,
) -> SessionState {
    let mut state = SessionState::new(status, schema.clone());
    if entrance == Entrance::App {
        let globals = worker.rooms.defaults.known().await;
        worker.rooms.settled().await;
        if globals.is_none_or(|globals| !statements::is_plain_mode(&globals.sql_mode)) {
            state.inexact = Some("sql_mode");
        }
    }
    state
}

/// Whether an account stands in `admin.users`.
fn is_administrator(worker: &Worker, account: &Account) -> bool {
    worker
        .rooms
        .config
        .admin
        .users
        .iter()
        .any(|user| **user == *account.user)
}

impl Session {
    /// Greets, authenticates, and finds the backend connection.
    async fn open(
        worker: &Worker,
        client: &mut Client,
        entrance: Entrance,
    ) -> Result<Opened, SessionError> {
        let rooms = &worker.rooms;
        client.may_log_in_for(rooms.config.login.handshake_ms_max);
        proxied::meet(client).await?;
        if !rooms.throttle.allows(client.peer.ip(), Instant::now()) {
            let text = "Too many failed logins from this address (login.failures_per_source_max)";
            return Err(login::refuse(client, 1129, b"HY000", text).await);
        }
        let id = rooms.next_session_id();
        let (response, nonce) = login::greet(client, worker, entrance, id).await?;
        let claim = Claim {
            user: &response.user,
            schema: &response.schema,
            plugin: &response.plugin,
            answer: &response.auth_response,
            attributes: &response.attributes,
        };
        let account = Account::of(&claim);
        let (backend, nonce) = match entrance {
            Entrance::App => login::authenticate(client, worker, &claim, nonce).await?,
            Entrance::Admin => {
                login::authenticate_admin(client, worker, &claim, nonce).await?;
                (
                    admin::admin_backend(worker, client, &account, id).await?,
                    nonce,
                )
            }
        };
        let mut backend = backend;
        let person = match entrance {
            Entrance::Admin => Person::of_admin(),
            Entrance::App => {
                let aborted = lease::begin(client, &mut backend, rooms).await?;
                let person = Person::new(worker, claim.user, claim.attributes, &backend);
                Person { aborted, ..person }
            }
        };
        let state = fresh_state(worker, entrance, backend.status, &account.schema).await;
        login::send_login_ok(client, &backend).await?;
        if person.aborted.is_some() {
            backend = backend.gone();
        }
        rooms.throttle.succeeded(client.peer.ip());
        Ok(Opened {
            backend,
            account,
            id,
            nonce,
            state,
            person,
        })
    }

    fn new(worker: Rc<Worker>, entrance: Entrance, client: Client, opened: Opened) -> Self {
        let Opened {
            backend,
            account,
            id,
            nonce,
            state,
            person,
        } = opened;
        let lex_base = lex_base(&client, &backend);
        // Nothing of ours has run there, and the connection itself knows all.
        let is_untouched = lease::has_warned(&backend);
        let is_administrator = is_administrator(&worker, &account);
        let mut observer = Observer::new(&worker, &client, &backend, &account, id, entrance);
        let seat = Seat::new(observer.info().clone());
        if entrance == Entrance::App {
            observer.begins_with(worker.rooms.defaults.present().as_ref());
            worker.lot.enter(&seat, backend.node);
        }
        let spread = match entrance {
            Entrance::App => Spread::new(&worker.rooms, backend.node),
            Entrance::Admin => None,
        };
        Self {
            spread,
            state,
            machine: ResponseMachine::new(Expect::Simple, backend.capabilities),
            worker,
            entrance,
            client,
            backend,
            prepared: AHashMap::new(),
            prepared_bytes: 0,
            observer,
            is_unlogged: false,
            is_administrator,
            admin: None,
            nonce,
            lex_base,
            last_ok: true,
            said_goodbye: false,
            person,
            seat,
            ties: Ties::default(),
            traces: match is_untouched {
                true => Traces::default(),
                false => Traces::new(),
            },
            away: None,
            changes: 0,
            is_unreported: false,
            unplaceable: None,
            statement_ids: 0,
            long_data: 0,
            ruling: None,
            known_class: None,
        }
    }

    /// Reads commands and answers them until the client quits or something breaks.
    async fn serve(&mut self) -> Result<(), SessionError> {
        loop {
            match self.next_command().await? {
                Woken::Quit => return Ok(()),
                Woken::Command(request) if self.is_quit(request) => return Ok(()),
                Woken::Command(request) => self.answer_or_refuse(request).await?,
            }
            if self.backend.is_wanted() {
                self.leave().await?;
            }
        }
    }

    /// Answers one command; with an error if there is no backend connection for it.
    async fn answer_or_refuse(&mut self, request: Request) -> Result<(), SessionError> {
        self.seat.busy();
        let answered = self.answer(request).await;
        if self.ruling.is_some() {
            self.end_ruling();
        }
        match answered {
            Err(SessionError::Unattached {
                code,
                sqlstate,
                text,
            }) if request.whole => {
                // A rule may have put another text in its place.
                let front = header(self.client.input.peek());
                let length = front.map_or(request.length, |(length, _)| length);
                self.client.input.consume(HEADER_BYTES + length);
                let told = self.client.send_error(code, &sqlstate, &text).await;
                told.map_err(SessionError::ClientIo)
            }
            answered => answered,
        }
    }

    fn views_enabled(&self) -> bool {
        self.worker.rooms.config.views.enabled
    }

    fn is_quit(&self, request: Request) -> bool {
        // With whatever behind it: the server goes then, too, and has no answer.
        request.length > 0
            && self.client.input.peek().get(HEADER_BYTES) == Some(&Command::Quit.byte())
    }

    /// Waits for the next command: also for the backend to hang up, for a kill, and for the stop signal.
    async fn next_command(&mut self) -> Result<Woken, SessionError> {
        let clock = self.worker.clock.clone();
        let since = clock.now();
        loop {
            if self.seat.take_wanted() && !self.leave().await? {
                // What has turned out to tie it is known now: somebody else may be free to go.
                self.seat.busy();
                if let Some(pool) = self.backend.pool() {
                    self.worker.lot.ask(self.backend.node, pool.waiting());
                }
            }
            if !self.backend.input.is_empty() {
                // More than the answer to the last command: whatever it is, it is not the answer to the next one.
                if self.loses_nothing() {
                    continue;
                }
                return self.backend_spoke(Ok(1)).await;
            }
            if self.observer.is_killed() {
                return Err(self.client.unasked(SessionError::Killed));
            }
            if let Some(request) = self.buffered_request()? {
                return Ok(Woken::Command(request));
            }
            // Half a command is none, and nothing to wait for.
            if self.worker.stopping.get() && !self.state.in_transaction() {
                return Err(self.client.unasked(SessionError::Stopping));
            }
            // However slowly a request drips in, it has to be there when the client would have been silent for too long.
            let idle = (since + clock.idle_max).saturating_sub(clock.now());
            let (most, why) = match self.client.input.is_empty() {
                false if clock.stall_max < idle => (clock.stall_max, "client.stall_ms_max"),
                _ => (idle, "client.idle_ms_max"),
            };
            let rest = self.rest((since + clock.hold_max).saturating_sub(clock.now()));
            if rest == Some(0) && self.leave().await? {
                continue;
            }
            let heard = self.heard(most.min(rest.filter(|rest| *rest > 0).unwrap_or(most)));
            match heard.await {
                Ok(Heard::Client(Ok(0))) => return Ok(Woken::Quit),
                Ok(Heard::Client(Ok(_)) | Heard::Call) => {}
                Ok(Heard::Client(Err(error))) => return Err(SessionError::ClientIo(error)),
                Ok(Heard::Backend(_)) if self.loses_nothing() => {}
                Ok(Heard::Backend(read)) => return self.backend_spoke(read).await,
                Err(_) if rest.is_some_and(|rest| (1..most).contains(&rest)) => {}
                Err(_) => return Err(self.client.unasked(SessionError::TimedOut(why))),
            }
        }
    }

    /// The session has nothing to do: after how many ticks it leaves its connection, if nothing ties it there.
    fn rest(&self, left: Ticks) -> Option<Ticks> {
        if self.backend.is_gone() {
            return None;
        }
        let tie = self.tie();
        self.observer.set_tie(tie);
        if tie.is_some() {
            return None;
        }
        self.worker.lot.rests(&self.seat);
        Some(left)
    }

    /// Whoever speaks first.
    async fn heard(&mut self, most: Ticks) -> Result<Heard, Cut> {
        let (client, backend, observer) = (&mut self.client, &mut self.backend, &self.observer);
        let is_attached = !backend.is_gone();
        let (input, stream) = (&mut client.input, &mut client.stream);
        let first = async {
            tokio::select! {
                biased;
                read = input.fill(stream) => Heard::Client(read),
                read = backend.input.fill(&mut backend.stream), if is_attached => Heard::Backend(read),
                () = observer.woken() => Heard::Call,
            }
        };
        client.watch.limit(most, first).await
    }

    /// The command at the front of the buffer, if enough of it is there. Grows the buffer for a statement that is worth holding.
    fn buffered_request(&mut self) -> Result<Option<Request>, SessionError> {
        let held = self.client.input.peek().len();
        let Some((length, sequence)) = header(self.client.input.peek()) else {
            return Ok(None);
        };
        if sequence != 0 {
            self.client.sequence = sequence.wrapping_add(1);
            return Err(SessionError::ClientProtocol(ProtocolError::Sequence {
                expected: 0,
                got: sequence,
            }));
        }
        if length > self.worker.rooms.config.client.statement_bytes_max
            || length == PAYLOAD_BYTES_MAX
        {
            // The command byte is enough to know what to do with it.
            // Ten bytes of body have the statement id of an execution.
            return Ok((held >= HEADER_BYTES + 10).then_some(Request {
                length,
                whole: false,
            }));
        }
        if held >= HEADER_BYTES + length {
            return Ok(Some(Request {
                length,
                whole: true,
            }));
        }
        // Memory grows with what has arrived, not with what was announced.
        let wanted = (HEADER_BYTES + length)
            .min((held * 2).max(self.worker.rooms.config.client.buffer_bytes));
        self.client.input.reserve(wanted);
        Ok(None)
    }

    /// The backend sent something unasked, or hung up: its last words go to the client, as they would without us.
    async fn backend_spoke(&mut self, read: io::Result<usize>) -> Result<Woken, SessionError> {
        match read {
            Ok(0) => self.said_goodbye = true,
            Ok(_) if self.backend.input.peek().get(HEADER_BYTES) == Some(&ERR_HEADER) => {
                let words = self.backend.input.peek().to_vec();
                self.client
                    .send(&words)
                    .await
                    .map_err(SessionError::ClientIo)?;
                self.said_goodbye = true;
            }
            // Anything else is the answer to nothing.
            Ok(_) => {
                let error = ProtocolError::Unexpected("an idle connection");
                return Err(self.client.unasked(SessionError::BackendProtocol(error)));
            }
            Err(error) => {
                tracing::debug!(%error, "the backend connection failed while idle");
                self.said_goodbye = true;
            }
        }
        Err(SessionError::BackendIo(io::ErrorKind::UnexpectedEof.into()))
    }

    /// Answers one command.
    async fn answer(&mut self, request: Request) -> Result<(), SessionError> {
        self.client.sequence = 1;
        let byte = self.client.input.peek().get(HEADER_BYTES).copied();
        let command = match (byte, request.length) {
            (_, 0) | (None, _) => {
                return Err(SessionError::ClientProtocol(ProtocolError::Malformed(
                    "empty command",
                )));
            }
            (Some(byte), _) => Command::from_byte(byte),
        };
        if self.spread.is_some() {
            let is_tied = command == Some(Command::ResetConnection) && self.moving_tie().is_some();
            if let Some(spread) = &mut self.spread {
                spread.begin(command, is_tied);
            }
        }
        if !request.whole {
            return Box::pin(self.answer_streamed(command)).await;
        }
        match command {
            Some(Command::Query) => self.answer_query(request.length).await,
            Some(command) => self.answer_command(command, request.length).await,
            None => self.answer_unknown(request.length).await,
        }
    }

    /// Gives the backend connection back or closes it, tells the client if there is something to tell.
    async fn close(mut self: Box<Self>, ended: Result<(), SessionError>) {
        if let Err(error) = &ended {
            // A refusal in here is that of a COM_CHANGE_USER.
            let throttle = &self.worker.rooms.throttle;
            throttle.failed_if_refused(error, self.client.peer.ip());
            observe::session_ended(&self.worker, error, self.client.peer);
            if !self.said_goodbye {
                end_with_error(&mut self.client, error).await;
            }
        }
        self.set_unlogged(false);
        self.observer.closed(&self.worker);
        self.worker.lot.leave(&self.seat);
        if self.backend.is_gone() {
            return self.give_up_place();
        }
        let backend_is_whole = matches!(
            ended,
            Ok(())
                | Err(SessionError::Killed
                    | SessionError::Stopping
                    | SessionError::TimedOut(_)
                    | SessionError::ClientProtocol(ProtocolError::Sequence { .. }))
        );
        if self.entrance == Entrance::App
            && backend_is_whole
            && self.state.reusable
            && !self.worker.stopping.get()
        {
            self.worker
                .rooms
                .give_back(self.backend, self.worker.id)
                .await;
        }
    }
}
