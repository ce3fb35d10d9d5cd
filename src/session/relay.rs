//! One command of a client to its backend connection and the whole answer back, as bytes. The hot path: no row is decoded,
//! nothing is allocated in the steady state. Knows where time went; decides nothing.

use super::client::Client;
use super::error::SessionError;
use super::watch::Watch;
use crate::backend::connection::ServerConnection;
use crate::backend::variables::is_holding;
use crate::binlog::Binlog;
use crate::cache::Fill;
use crate::protocol::packet::{HEADER_BYTES, PAYLOAD_BYTES_MAX, header, put_header};
use crate::protocol::relay::{Event, Expect, Fed, ResponseMachine, Summary};
use crate::protocol::response::{ERR_HEADER, ErrPacket, OK_HEADER};
use crate::protocol::tracking::{Hidden, write_ok};
use crate::protocol::{ProtocolError, capability};
use std::io;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// Room that is made when a packet that must be whole is not.
const SHORT_BYTES: usize = 4096;

/// Where the time of one exchange went.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The request was whole.
    pub started: Instant,
    /// The request was with the backend.
    pub sent: Instant,
    /// The first byte of the answer came; `None` before.
    pub first_byte: Option<Instant>,
    /// The last byte of the answer came.
    pub last_byte: Instant,
    /// The last byte was with the client.
    pub ended: Instant,
    /// Waiting for the client to take the answer, before the last byte came.
    pub drain: Duration,
}

impl Timing {
    /// A clock that starts now.
    pub fn start() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            sent: now,
            first_byte: None,
            last_byte: now,
            ended: now,
            drain: Duration::ZERO,
        }
    }
}

/// Writes to the backend and makes sure that it is on its way. `watch` is that of the client whose bytes they are.
///
/// # Errors
/// The backend's socket; `TimedOut` when it takes nothing for `backend.silence_ms_max`.
pub async fn send_to_backend(
    watch: &Watch,
    backend: &mut ServerConnection,
    bytes: &[u8],
) -> Result<(), SessionError> {
    let stream = &mut backend.stream;
    let write = async {
        stream.write_all(bytes).await?;
        if stream.is_buffered() {
            stream.flush().await?;
        }
        Ok(())
    };
    match watch.limit(watch.clock.silence_max, write).await {
        Ok(sent) => sent.map_err(SessionError::BackendIo),
        Err(_) => Err(SessionError::BackendIo(io::ErrorKind::TimedOut.into())),
    }
}

/// What is asked of an answer on its way.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Its shape.
    pub expect: Expect,
    /// The id by which the client will know the statement that was prepared.
    pub statement_id: Option<u32>,
}

impl From<Expect> for Ask {
    fn from(expect: Expect) -> Self {
        Self {
            expect,
            statement_id: None,
        }
    }
}

/// Session state that is reported for our sake alone.
pub(super) fn hidden(backend: &ServerConnection, renews: bool) -> Hidden {
    Hidden {
        state_changes: backend.reports,
        leaves_mark: renews,
        gtids: backend.reports_gtids,
        is_variable: match backend.reports {
            true => is_holding,
            false => |_| false,
        },
    }
}

/// Errors that another server of the cluster may have no reason for: such an answer is not passed on, and the statement may be run
/// elsewhere instead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Turns {
    /// None.
    #[default]
    Never,
    /// Of a reader: all but those that somebody wanted.
    Read,
    /// Of a server that does not take writes any more.
    Write,
}

impl Turns {
    /// Whether an answer that is nothing but this error is to be turned back.
    fn at(self, error: &ErrPacket<'_>) -> bool {
        match self {
            Self::Never => false,
            // Killed, or longer than the session wanted to wait: it would take as long elsewhere.
            Self::Read => !matches!(error.code, 1317 | 1969 | 3024 | PROGRESS),
            Self::Write => {
                let text = error.message.to_ascii_lowercase();
                let has = |words: &[u8]| memchr::memmem::find(&text, words).is_some();
                // 1290 has other uses, too.
                error.code == 1836 || error.code == 1290 && (has(b"read-only") || has(b"read_only"))
            }
        }
    }
}

/// MariaDB's progress reports look like errors of this number.
const PROGRESS: u16 = 0xFFFF;

/// What there is of an answer whose first packet may be an error that is turned back.
enum First {
    /// Not all of the packet.
    Short,
    /// It goes to the client.
    Passes,
    /// Its length with the header.
    TurnsBack(usize),
}

/// Looks at the first packet of an answer: whether more of it must be there.
///
/// # Errors
/// `TurnedBack`.
fn is_too_short_to_pass(
    backend: &mut ServerConnection,
    turns: Turns,
) -> Result<bool, SessionError> {
    if turns == Turns::Never {
        return Ok(false);
    }
    match first(backend.input.peek(), turns) {
        First::Passes => Ok(false),
        First::Short => Ok(true),
        First::TurnsBack(length) => {
            backend.input.consume(length);
            Err(SessionError::TurnedBack)
        }
    }
}

fn first(answer: &[u8], turns: Turns) -> First {
    let Some((length, _)) = header(answer) else {
        return First::Short;
    };
    match answer.get(HEADER_BYTES) {
        None => First::Short,
        Some(&ERR_HEADER) => match answer.get(HEADER_BYTES..HEADER_BYTES + length) {
            None => First::Short,
            Some(payload) if ErrPacket::parse(payload).is_ok_and(|error| turns.at(&error)) => {
                First::TurnsBack(HEADER_BYTES + length)
            }
            Some(_) => First::Passes,
        },
        Some(_) => First::Passes,
    }
}

/// Relays the answer to a command that was sent, until its last byte is with the client.
///
/// # Errors
/// Either side's socket, or a stream of the backend that makes no sense. The session must end: the exchange is half done.
pub async fn relay_answer(
    client: &mut Client,
    backend: &mut ServerConnection,
    machine: &mut ResponseMachine,
    ask: impl Into<Ask>,
    timing: &mut Timing,
    mut fill: Option<&mut Fill<Binlog>>,
) -> Result<Summary, SessionError> {
    let ask = ask.into();
    machine.reset(ask.expect, backend.capabilities);
    if edits(client, backend) {
        machine.hold_back();
    }
    if !client.owed.is_empty() {
        machine.hold_all();
    }
    let offers_file = std::mem::take(&mut client.offers_file);
    let turns = std::mem::take(&mut client.turns);
    let renews = std::mem::take(&mut client.renews_transaction);
    let (mut prepared_id, mut is_short) = (None, false);
    loop {
        // Where an error of ours would stand in what the client has by now.
        let place = machine.next_sequence();
        let cut_off = |client: &mut Client, error| {
            client.sequence = place.unwrap_or(0);
            client.is_mid_packet = place.is_none();
            error
        };
        if backend.input.is_empty() || is_short {
            let more = read_more(client, backend, is_short).await;
            more.map_err(|error| cut_off(client, error))?;
        }
        let arrived = Instant::now();
        if machine.is_untouched() && is_too_short_to_pass(backend, turns)? {
            is_short = true;
            continue;
        }
        timing.first_byte.get_or_insert(arrived);
        if let Some(id) = ask.statement_id.filter(|_| machine.is_untouched()) {
            is_short = !rename_statement(backend.input.peek_mut(), id, &mut prepared_id);
            if is_short {
                continue;
            }
        }
        let fed = machine
            .feed(backend.input.peek())
            .map_err(|error| cut_off(client, SessionError::BackendProtocol(error)))?;
        if let Some(error) = unasked_file(offers_file, &fed) {
            return Err(cut_off(client, error));
        }
        is_short =
            fed.event.is_none() && fed.ok_bytes == 0 && fed.consumed < backend.input.peek().len();
        pass_on(client, backend, &fed, renews, fill.as_deref_mut()).await?;
        match fed.event {
            None => timing.drain += arrived.elapsed(),
            Some(Event::Done(mut summary)) => {
                timing.last_byte = arrived;
                timing.ended = Instant::now();
                if let (Some(prepared), Some(id)) = (&mut summary.prepared, prepared_id) {
                    prepared.statement_id = id;
                }
                return Ok(summary);
            }
            Some(Event::LocalInfile { .. }) => {
                relay_file(client, backend).await?;
                machine.infile_sent();
            }
        }
    }
}

/// Whether OK packets may say what the client has not asked for.
fn edits(client: &Client, backend: &ServerConnection) -> bool {
    backend.reports
        || backend.reports_gtids
        || tracks(backend.capabilities) != tracks(client.capabilities)
}

fn tracks(capabilities: u32) -> u32 {
    capabilities & capability::SESSION_TRACK
}

/// Reads more of an answer; `is_short`: what is there already is only a part of a packet that must be whole.
async fn read_more(
    client: &Client,
    backend: &mut ServerConnection,
    is_short: bool,
) -> Result<(), SessionError> {
    if is_short {
        let held = backend.input.peek().len();
        backend.input.reserve(held + SHORT_BYTES);
    }
    let read = backend.input.fill(&mut backend.stream);
    match client.wait_for_backend(read).await? {
        Ok(1..) => Ok(()),
        Ok(_) => Err(SessionError::BackendIo(io::ErrorKind::UnexpectedEof.into())),
        Err(error) => Err(SessionError::BackendIo(error)),
    }
}

/// No server asks for a file out of the blue. One that does wants to be given what it has no right to.
fn unasked_file(offers_file: bool, fed: &Fed) -> Option<SessionError> {
    let asks = matches!(fed.event, Some(Event::LocalInfile { .. }));
    (asks && !offers_file).then(|| {
        let error = ProtocolError::Unexpected("an answer to a statement that loads no file");
        SessionError::BackendProtocol(error)
    })
}

/// Passes on what was fed to the machine, with an OK packet at its end as the client is to see it.
async fn pass_on(
    client: &mut Client,
    backend: &mut ServerConnection,
    fed: &Fed,
    renews: bool,
    fill: Option<&mut Fill<Binlog>>,
) -> Result<(), SessionError> {
    let bytes = backend.input.peek().get(..fed.consumed).unwrap_or_default();
    let edited = match fed.ok_bytes {
        0 => client
            .overdue
            .as_ref()
            .and_then(|overdue| overdue.edit(bytes, fed)),
        length => {
            let (from, to) = (backend.capabilities, client.capabilities);
            let owed = std::mem::take(&mut client.owed);
            let edited = edit_ok(bytes, length, from, to, &hidden(backend, renews), &owed);
            Some(edited.map_err(SessionError::BackendProtocol)?)
        }
    };
    let sent = edited.as_deref().unwrap_or(bytes);
    client.send(sent).await.map_err(SessionError::ClientIo)?;
    if let Some(fill) = fill {
        fill.push(sent);
    }
    backend.input.consume(fed.consumed);
    Ok(())
}

/// The answer to a PREPARE with the id that the client is to know; notes the server's. False: not enough of it is here.
fn rename_statement(answer: &mut [u8], id: u32, server_id: &mut Option<u32>) -> bool {
    match answer.get_mut(HEADER_BYTES..) {
        Some([OK_HEADER, rest @ ..]) => match rest.first_chunk_mut::<4>() {
            Some(place) => {
                *server_id = Some(u32::from_le_bytes(*place));
                *place = id.to_le_bytes();
                true
            }
            None => false,
        },
        Some([_, ..]) => true,
        _ => false,
    }
}

/// The same bytes with the OK packet at their end as the client is to see it.
fn edit_ok(
    bytes: &[u8],
    ok_bytes: usize,
    from_caps: u32,
    to_caps: u32,
    hidden: &Hidden,
    owed: &[u8],
) -> Result<Vec<u8>, ProtocolError> {
    let at = bytes.len().saturating_sub(ok_bytes);
    let (before, packet) = bytes.split_at(at);
    let malformed = ProtocolError::Malformed("OK packet");
    let (_, sequence) = header(packet).ok_or(malformed)?;
    let payload = packet.get(HEADER_BYTES..).ok_or(malformed)?;
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(before);
    write_ok(
        payload, from_caps, to_caps, hidden, owed, &mut out, sequence,
    )?;
    Ok(out)
}

/// Relays the file of a LOAD DATA LOCAL from the client up to its empty packet. An empty packet behind a full one only ends
/// that one.
async fn relay_file(
    client: &mut Client,
    backend: &mut ServerConnection,
) -> Result<(), SessionError> {
    let mut continued = false;
    loop {
        let length = relay_packet(client, backend, &mut Shift::default()).await?;
        if length == 0 && !continued {
            return Ok(());
        }
        continued = length == PAYLOAD_BYTES_MAX;
    }
}

/// What goes to the backend in place of the first bytes of a long request.
pub struct Instead {
    /// At least as many as they replace; few, since they are held.
    pub bytes: Vec<u8>,
    /// How many of the client's they replace; these are in the buffer.
    pub of: usize,
}

/// By how much a request on its way differs from what the client sends.
#[derive(Default)]
struct Shift {
    /// Bytes that go before whatever comes next.
    carry: Vec<u8>,
    /// Bytes of what comes next that do not go.
    skip: usize,
}

/// Relays one physical packet of the client, in pieces as they come: 16 MiB are never held. Answers its length.
async fn relay_packet(
    client: &mut Client,
    backend: &mut ServerConnection,
    shift: &mut Shift,
) -> Result<usize, SessionError> {
    while client.input.peek().len() < HEADER_BYTES {
        client.fill().await?;
    }
    let (length, sequence) = header(client.input.peek()).ok_or(SessionError::Internal("header"))?;
    client.sequence = sequence.wrapping_add(1);
    if shift.carry.is_empty() {
        pass(client, backend, HEADER_BYTES + length).await?;
    } else {
        relay_shifted(client, backend, (length, sequence), shift).await?;
    }
    Ok(length)
}

/// The same with a few bytes more: a full packet stays full and leaves as many for the next one, the last one grows.
async fn relay_shifted(
    client: &mut Client,
    backend: &mut ServerConnection,
    (length, sequence): (usize, u8),
    shift: &mut Shift,
) -> Result<(), SessionError> {
    let skip = std::mem::take(&mut shift.skip).min(length);
    client.input.consume(HEADER_BYTES + skip);
    let ours = shift.carry.len() + length - skip;
    let sent = match length {
        PAYLOAD_BYTES_MAX => PAYLOAD_BYTES_MAX,
        // One packet more, and the numbers of the answer's packets would not be those that the client waits for.
        _ if ours >= PAYLOAD_BYTES_MAX => {
            return Err(SessionError::Internal(
                "an execution too long to be given its parameter types",
            ));
        }
        _ => ours,
    };
    let mut head = Vec::with_capacity(HEADER_BYTES + shift.carry.len());
    put_header(&mut head, sent, sequence);
    head.append(&mut shift.carry);
    send_to_backend(&client.watch, backend, &head).await?;
    pass(client, backend, HEADER_BYTES + sent - head.len()).await?;
    while shift.carry.len() < ours - sent {
        if client.input.is_empty() {
            client.fill().await?;
        }
        let piece = client.input.peek();
        let used = piece.len().min(ours - sent - shift.carry.len());
        shift
            .carry
            .extend_from_slice(piece.get(..used).unwrap_or_default());
        client.input.consume(used);
    }
    Ok(())
}

/// Passes so many bytes of the client on, in pieces as they come.
async fn pass(
    client: &mut Client,
    backend: &mut ServerConnection,
    mut left: usize,
) -> Result<(), SessionError> {
    loop {
        let piece = client.input.peek();
        let piece = piece.get(..left.min(piece.len())).unwrap_or_default();
        send_to_backend(&client.watch, backend, piece).await?;
        left -= piece.len();
        let used = piece.len();
        client.input.consume(used);
        if left == 0 {
            return Ok(());
        }
        client.fill().await?;
    }
}

/// Relays a request that is longer than we care to hold: its physical packets, up to the first that is not full.
/// Answers the number of bytes. `bytes_max` ends a client that never comes to an end.
///
/// # Errors
/// Either side's socket, more than `bytes_max`, or a packet that has no room for what stands in place of its first bytes.
pub async fn relay_long_request(
    client: &mut Client,
    backend: &mut ServerConnection,
    bytes_max: usize,
    instead: Option<Instead>,
) -> Result<u64, SessionError> {
    let mut total = 0u64;
    let mut shift = instead.map_or_else(Shift::default, |instead| Shift {
        carry: instead.bytes,
        skip: instead.of,
    });
    loop {
        let length = relay_packet(client, backend, &mut shift).await?;
        total += length as u64;
        if length < PAYLOAD_BYTES_MAX {
            return Ok(total);
        }
        if total > bytes_max as u64 {
            let error = crate::protocol::ProtocolError::TooLarge {
                what: "request",
                bytes_max,
            };
            return Err(SessionError::ClientProtocol(error));
        }
    }
}
